"""Damaged `$metadata` and service documents: a model that can be worked with, or a typed error."""

from __future__ import annotations

import json
import random
import re
import xml.sax
import xml.sax.xmlreader
from collections import defaultdict

import foreign
import pytest
from mutation import CASES, LONG_CASES, MARKS, mutated
from named_service import metadata

from intune_dw_cli.data.schema import CollectionSchema
from intune_dw_cli.errors import ProtocolError
from intune_dw_cli.reference import reference
from intune_dw_cli.sandbox.csdl import document
from intune_dw_cli.service.csdl import Metadata, parse_metadata, parse_service_document

SAMPLE = [reference()[name] for name in ("devices", "ownertypes", "dates")]
CSDL = [
    document(SAMPLE, "normal").encode(),
    document(SAMPLE, "odd-namespace").encode(),
    foreign.METADATA.encode(),
    foreign.METADATA.replace("utf-8", "utf-16").encode("utf-16"),
    metadata({"things": [{"Id": 1, "name": "x"}], "a&b": [{"Id": 1, "dateKey": 2}]}).encode(),
]
DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")  # what it says of the encoding is no help to a second reader
TAGS = [*MARKS, b"<Key>", b"</Key>", b"</EntityType>", b"<Property Name='Id'/>", b"<!DOCTYPE x>", b"<![CDATA["]
TAGS += [b"<!--", b"-->", b"&#0;", b"&#x1F;", b"&lt;", b"&x;", b'Name=""', b"BaseType='n.T0'", b"Collection(", b"Edm."]
LISTS = [
    json.dumps({"value": [{"name": n, "kind": "EntitySet", "url": n} for n in ("devices", "users")]}).encode(),
    json.dumps({"@odata.context": "x", "value": [{"name": "a"}, {"name": "b", "kind": "Singleton"}]}).encode(),
]


class Elements(xml.sax.ContentHandler):
    """The names in a document, by local name of the element: read by Python's own parser, blind to namespaces."""

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, set[str]] = defaultdict(set)

    def startElement(self, name: str, attrs: xml.sax.xmlreader.AttributesImpl) -> None:  # noqa: N802 - the parser's name
        self.names[name.rpartition(":")[2]].add((attrs.get("Name") or "").strip())


def require_workable(model: Metadata, text: bytes) -> None:
    """All that the rest of the program takes for granted of a model, and no collection that the text has not."""
    elements = Elements()
    bare = text.decode("utf-16" if text[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    xml.sax.parseString(DECLARATION.sub("", bare), elements)
    names, properties = elements.names["EntitySet"], elements.names["Property"]
    assert {name.strip() for name in model.entity_sets} <= names
    for name, kind in model.entity_sets.items():
        columns = [p.name for p in kind.properties]
        assert {*columns} <= properties
        assert len({*columns}) == len(columns)
        day = next((c for c in columns if c.casefold() == "datekey"), None)
        schema = CollectionSchema.of(name, kind, day)
        assert {*schema.key} <= {*columns}
        assert len(schema.wire) == len(schema.arrow) == len(columns)


@pytest.mark.parametrize("number", range(len(CSDL)))
def test_the_corpus_is_workable(number: int) -> None:
    model = parse_metadata(CSDL[number])
    assert model.entity_sets
    require_workable(model, CSDL[number])


def test_damaged_metadata_is_a_workable_model_or_refused(rng: random.Random, is_long: bool) -> None:
    cases = LONG_CASES if is_long else CASES
    read = 0
    for _ in range(cases):
        text = mutated(rng.choice(CSDL), rng, TAGS)
        try:
            model = parse_metadata(text)
        except ProtocolError:
            continue
        read += 1
        try:
            require_workable(model, text)
        except (AssertionError, xml.sax.SAXException) as error:
            raise AssertionError(text) from error
    assert cases / 20 < read < cases * 19 / 20


def test_damaged_service_documents_are_read_as_any_parser_reads_them_or_refused(
    rng: random.Random, is_long: bool
) -> None:
    cases = LONG_CASES if is_long else CASES
    read = 0
    for _ in range(cases):
        text = mutated(rng.choice(LISTS), rng)
        try:
            found = parse_service_document(text)
        except ProtocolError:
            continue
        read += 1
        items = json.loads(text)["value"]
        names = [i["name"] for i in items if i.get("kind") in (None, "EntitySet")]
        spelled = [n.encode("utf-8", "backslashreplace").decode() for n in dict.fromkeys(names)]
        assert [info.name for info in found] == spelled, text
    assert cases / 20 < read < cases * 19 / 20
