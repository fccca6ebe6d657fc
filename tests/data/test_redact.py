"""Redaction: which columns, what becomes of their values, and that a pseudonym depends on key and value alone."""

from __future__ import annotations

import hashlib
import hmac
import re

import pyarrow as pa
import pytest

from intune_dw_cli.data.redact import Redaction, in_words, personal_columns
from intune_dw_cli.data.schema import ADDITIONAL, CollectionSchema
from intune_dw_cli.errors import UsageError
from intune_dw_cli.identity.secret import Secret
from intune_dw_cli.reference import reference
from intune_dw_cli.service.csdl import EntityType, Property

KEY = "0123456789abcdef0123456789abcdef"
HASH = Redaction("hash", Secret(KEY))
DROP = Redaction("drop")
DEVICES = reference()["devices"]
NOT_KNOWN = CollectionSchema.of(
    "widgets",
    EntityType(
        "widget",
        ("widgetKey", "serial"),
        (
            Property("dateKey", "Edm.Int32"),
            Property("widgetKey", "Edm.Int64"),
            Property("serial", "Edm.String"),
            Property("size", "Edm.Int32"),
            Property("isOn", "Edm.Boolean"),
        ),
    ),
    "dateKey",
)


def devices(*properties: tuple[str, str], key: tuple[str, ...] = ()) -> CollectionSchema:
    declared = tuple(Property(name, kind) for name, kind in properties)
    return CollectionSchema.of("devices", EntityType("device", key, declared), None)


def column_of(redaction: Redaction, kind: str, values: list[object]) -> list[str | None]:
    """Redact values of a column that nobody knows, as a page would bring them."""
    schema = devices(("puzzle", kind))
    redacted = redaction.schema(schema, DEVICES)
    batch = pa.RecordBatch.from_arrays([pa.array(values, schema.columns[0].wire)], names=["puzzle"])
    column: list[str | None] = redaction.rows(batch, redacted).column(0).to_pylist()
    return column


def test_a_pseudonym_is_128_bits_of_hmac_sha_256_over_the_value_in_lower_case() -> None:
    expected = hmac.new(KEY.encode(), b"anna@contoso.com", hashlib.sha256).hexdigest()[:32]
    assert column_of(HASH, "Edm.String", ["Anna@Contoso.com"]) == [expected]


def test_the_same_value_has_one_pseudonym_in_every_page_and_spelling_and_others_have_others() -> None:
    low = "3f2504e0-4f89-11d3-9a0c-0305e82c3301"
    first = column_of(HASH, "Edm.Guid", [low, low.upper(), "other", None, low])
    assert first[0] == first[1] == first[4] == column_of(HASH, "Edm.String", ["x", low])[1]
    assert len({*first}) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", value) for value in first if value)


def test_null_stays_null_and_empty_text_stays_empty() -> None:
    assert column_of(HASH, "Edm.String", [None, "", None])[:3] == [None, "", None]


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("Edm.Int64", 9007199254740993, "9007199254740993"),
        ("Edm.Boolean", True, "true"),
        ("Edm.DateTimeOffset", "2024-01-15T08:00:00.1234567Z", "2024-01-15t08:00:00.1234567z"),
    ],
)
def test_what_is_no_text_is_pseudonymised_as_its_text(kind: str, value: object, text: str) -> None:
    assert column_of(HASH, kind, [value]) == [HASH.pseudonym(text)]
    redacted = HASH.schema(devices(("puzzle", kind)), DEVICES)
    assert [(c.edm_type, c.wire, c.arrow) for c in redacted.columns] == [("Edm.String", pa.string(), pa.string())]


def test_another_key_gives_other_pseudonyms_and_another_fingerprint() -> None:
    other = Redaction("hash", Secret(KEY[::-1]))
    assert other.pseudonym("anna") != HASH.pseudonym("anna")
    assert other.label != HASH.label
    assert re.fullmatch("hash:[0-9a-f]{16}", HASH.label)
    assert KEY not in repr(HASH) + HASH.label
    assert DROP.label == "drop"
    assert "fingerprint" in in_words(HASH.label)


def test_the_columns_that_the_reference_marks_are_redacted_and_no_others() -> None:
    declared = [(p.name, p.type) for p in DEVICES.properties]
    schema = devices(*declared, key=("deviceKey",))
    personal = {p.name for p in DEVICES.properties if p.personal}
    assert personal_columns(schema, DEVICES) == personal
    left = DROP.schema(schema, DEVICES)
    assert [c.name for c in left.columns] == [name for name, _ in declared if name not in personal]
    assert set(left.redacted) == personal
    assert left.key == ("deviceKey",)
    hashed = HASH.schema(schema, DEVICES)
    assert [c.name for c in hashed.columns] == [name for name, _ in declared]
    assert {c.name for c in hashed.columns if c.edm_type == "Edm.String"} >= personal


@pytest.mark.parametrize("name", ["iccid", "MEID", "IMEI", "wiFiMacAddress", "USERID"])
def test_a_personal_column_is_known_by_every_spelling(name: str) -> None:
    assert personal_columns(devices((name, "Edm.String")), DEVICES) == {name}


@pytest.mark.parametrize("name", ["deviceEnrollmentTypeKey", "osVersion", "brandNewKey"])
def test_states_and_surrogate_keys_stay_joinable_also_by_other_names(name: str) -> None:
    assert personal_columns(devices((name, "Edm.Int32")), DEVICES) == set()


def test_what_the_reference_does_not_know_is_taken_for_personal() -> None:
    assert personal_columns(devices(("primaryUser", "Edm.String")), DEVICES) == {"primaryUser"}
    assert personal_columns(NOT_KNOWN, None) == {"serial", "size", "isOn"}


def test_a_collection_that_loses_part_of_its_key_has_no_key() -> None:
    assert DROP.schema(NOT_KNOWN, None).key == ()
    assert HASH.schema(NOT_KNOWN, None).key == ("widgetKey", "serial")
    assert DROP.schema(NOT_KNOWN, None).date_key == "dateKey"


@pytest.mark.parametrize("redaction", [HASH, DROP])
def test_undeclared_properties_go_in_both_modes(redaction: Redaction) -> None:
    schema = redaction.schema(devices(("deviceKey", "Edm.Int64")), DEVICES)
    batch = pa.RecordBatch.from_pydict({"deviceKey": [1], ADDITIONAL: ['{"nickName":"Anna"}']})
    assert redaction.rows(batch, schema).schema.names == ["deviceKey"]


@pytest.mark.parametrize(
    ("mode", "key", "said"),
    [("hash", None, "needs a key"), ("hash", "x" * 31, "fewer than 32"), ("blur", None, "blur is not known")],
)
def test_no_key_a_short_key_and_an_unknown_mode_are_usage_errors(mode: str, key: str | None, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        Redaction(mode, Secret(key) if key else None)  # type: ignore[arg-type]
    assert caught.value.hint
    assert "xxx" not in str(caught.value)
    if mode == "hash":
        assert "openssl rand -hex 32" in caught.value.hint
