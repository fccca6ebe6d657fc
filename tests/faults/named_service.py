"""A small OData service whose collections and properties have any names at all."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from xml.sax.saxutils import quoteattr

from answering import Answer, answering

Rows = Sequence[Mapping[str, Any]]
PREFIX = "/feed"
JSON = "application/json; odata.metadata=minimal"


class Instant(str):
    """A text whose property is a DateTimeOffset."""


_TYPES = {int: "Edm.Int64", str: "Edm.String", Instant: "Edm.DateTimeOffset"}
_BEYOND_XML = {*(chr(c) for c in range(0x20) if chr(c) not in "\t\n\r"), "\ufffe", "\uffff"}


@dataclass
class NamedService:
    """The service while it runs. A collection is served at a number, so that any name can be listed.

    Attributes:
        data: Rows of each collection, all with the properties of the first.
        refusal: What collections are answered with under 400, None for their rows.
        refusals: How many times they are, -1 for always.
    """

    data: Mapping[str, Rows]
    refusal: bytes | None = None
    refusals: int = -1
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{PREFIX}"

    def answer(self, target: str) -> Answer:
        path = urlsplit(target).path.removeprefix(PREFIX).strip("/")
        if path == "":
            sets = [{"name": name, "kind": "EntitySet", "url": f"set{n}"} for n, name in enumerate(self.data)]
            return 200, JSON, json.dumps({"value": sets}).encode()
        if path == "$metadata":
            return 200, "application/xml", metadata(self.data).encode()
        if self.refusal is not None and self.refusals != 0:
            self.refusals -= 1
            return 400, JSON, self.refusal
        if "filter=" in target:
            return 400, JSON, b'{"error": {"code": "BadRequest", "message": "no filters here"}}'
        rows = list(self.data.values())[int(path.removeprefix("set"))]
        return 200, JSON, json.dumps({"value": list(rows)}).encode()


def metadata(data: Mapping[str, Rows]) -> str:
    """CSDL of all collections whose names, and whose properties' names, XML can hold."""
    types, sets = [], []
    for number, (name, rows) in enumerate(data.items()):
        if any(not _is_xml(text) for text in (name, *rows[0])):
            continue
        props = "".join(f"<Property Name={_attribute(p)} Type='{_TYPES[type(v)]}'/>" for p, v in rows[0].items())
        key = "<Key><PropertyRef Name='Id'/></Key>"
        types.append(f"<EntityType Name='T{number}'>{key}{props}</EntityType>")
        sets.append(f"<EntitySet Name={_attribute(name)} EntityType='n.T{number}'/>")
    schema = (
        f"<Schema Namespace='n'>{''.join(types)}<EntityContainer Name='c'>{''.join(sets)}</EntityContainer></Schema>"
    )
    return f"<?xml version='1.0' encoding='utf-8'?><Edmx><DataServices>{schema}</DataServices></Edmx>"


def _attribute(text: str) -> str:
    return quoteattr(text, {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})


def _is_xml(text: str) -> bool:
    return not any(c in _BEYOND_XML or "\ud800" <= c <= "\udfff" for c in text) and text.strip() == text != ""


@contextlib.contextmanager
def serving(data: Mapping[str, Rows], refusal: bytes | None = None) -> Iterator[NamedService]:
    """Serve collections from memory."""
    service = NamedService(data, refusal)
    with answering(service.answer) as service.port:
        yield service
