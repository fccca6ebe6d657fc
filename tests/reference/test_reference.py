"""The documented model that ships with the package is sound: what else would explain the service to anyone."""

from __future__ import annotations

import re

import pytest

from intune_dw_cli.reference import ReferenceCollection, reference

COLLECTIONS = list(reference().values())
IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9]*", re.ASCII)


def test_the_42_collections_of_the_v1_page_are_there_and_a_second_name_of_one_is_not() -> None:
    assert sum(c.v1_listed for c in COLLECTIONS) == 42
    assert "mamdevicehealth" not in reference()


def test_the_facts_are_the_collections_with_days_apart_from_the_calendar() -> None:
    assert {c.name for c in COLLECTIONS if c.date_key} - {c.name for c in COLLECTIONS if c.kind == "fact"} == {"dates"}


@pytest.mark.parametrize("collection", COLLECTIONS, ids=lambda c: c.name)
def test_names_are_plain_and_keys_are_properties(collection: ReferenceCollection) -> None:
    names = [p.name for p in collection.properties]
    assert all(IDENTIFIER.fullmatch(name) for name in (collection.name, collection.entity_type, *names))
    assert len({n.casefold() for n in names}) == len(names)
    assert collection.key
    assert set(collection.key) <= set(names)
    assert not any(p.nullable for p in collection.properties if p.name in collection.key)
    assert all(set(row) <= set(names) for row in collection.lookup_rows)
    assert collection.row_last_modified in (None, *names)


@pytest.mark.parametrize("collection", COLLECTIONS, ids=lambda c: c.name)
def test_joins_lead_to_a_property_of_the_same_type(collection: ReferenceCollection) -> None:
    for joining in collection.properties:
        if joining.references:
            other, _, name = joining.references.partition(".")
            target = reference()[other.casefold()].property(name)
            assert target is not None
            assert target.type == joining.type


def test_properties_are_found_whatever_their_case() -> None:
    devices = reference()["devices"]
    found = devices.property("OSVERSION")
    assert found is not None
    assert found.name == "oSVersion"
    assert devices.property("nosuch") is None


@pytest.mark.parametrize("served", ["iccid", "ICCID", "ICCD"])
def test_properties_are_found_by_the_spellings_that_the_service_was_seen_with(served: str) -> None:
    found = reference()["devices"].property(served)
    assert found is not None
    assert (found.name, found.personal) == ("ICCD", True)


def test_no_description_speaks_of_how_the_reference_was_made() -> None:
    texts = [c.description for c in COLLECTIONS] + [p.description for c in COLLECTIONS for p in c.properties]
    assert not [text for text in texts if re.search(r"\b(seed|OCR|L\d+|template)\b", text, re.IGNORECASE)]
