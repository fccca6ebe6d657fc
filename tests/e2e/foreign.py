"""A small OData 4.0 server that is not the sandbox: its own names, spellings and manners."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from answering import Answer, answering

NAMESPACE = "Contoso.Reporting.V1.Model"
TYPES = "Contoso.Reporting.V1.Model.Types"

METADATA = f"""<?xml version="1.0" encoding="utf-8"?>
<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx">
 <edmx:DataServices>
  <Schema Namespace="{TYPES}" xmlns="http://docs.oasis-open.org/odata/ns/edm">
   <EnumType Name="Colour"><Member Name="Red" Value="0"/></EnumType>
   <EntityType Name="Thing" Abstract="true"><Key><PropertyRef Name="Id"/></Key>
    <Property Name="Id" Type="Edm.Int64" Nullable="false"/>
    <Property Name="Name" Type="Edm.String"/>
   </EntityType>
   <EntityType Name="DailyReading" BaseType="{TYPES}.Thing">
    <Property Name="dateKey" Type="Edm.Int32" Nullable="false"/>
    <Property Name="Big" Type="Edm.Int64"/>
    <Property Name="Exact" Type="Edm.Decimal" Precision="20" Scale="6"/>
    <Property Name="When" Type="Edm.DateTimeOffset"/>
    <Property Name="On" Type="Edm.Boolean"/>
    <Property Name="Mark" Type="Edm.Guid"/>
    <Property Name="Colour" Type="{TYPES}.Colour"/>
   </EntityType>
   <EntityType Name="Place" BaseType="{TYPES}.Thing"/>
  </Schema>
  <Schema Namespace="{NAMESPACE}" xmlns="http://docs.oasis-open.org/odata/ns/edm">
   <EntityContainer Name="Everything">
    <EntitySet Name="readings" EntityType="{TYPES}.DailyReading"/>
    <EntitySet Name="Places" EntityType="{TYPES}.Place"/>
   </EntityContainer>
  </Schema>
 </edmx:DataServices>
</edmx:Edmx>"""


@dataclass(kw_only=True)
class Manners:
    """How the server behaves.

    Attributes:
        prefix: The path before the collections.
        page_size: Rows a page.
        links: nextLink as an absolute URL, relative to the collection's folder, or a path from the root.
        spaced: JSON with a blank after commas and colons, as `json.dumps` writes it.
        int64_text: Int64 as JSON text.
        annotated: Rows and envelope full of annotations, as under odata.metadata=full.
        filters: `works`, `ignored`, or `refused` with 400.
        metadata: Whether there is a `$metadata`.
        link_first: nextLink before `value`.
        skips: `$skip` is heeded.
    """

    prefix: str = "/any/prefix/DataWarehouseFEService"
    page_size: int = 7
    links: str = "absolute"
    spaced: bool = False
    int64_text: bool = False
    annotated: bool = False
    filters: str = "works"
    metadata: bool = True
    link_first: bool = False
    packed: bool = False
    skips: bool = False


@dataclass
class ForeignServer:
    """The server while it runs; `seen` are the targets asked for."""

    manners: Manners
    data: Mapping[str, list[dict[str, Any]]]
    port: int = 0
    seen: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.manners.prefix}"


@contextlib.contextmanager
def serving(manners: Manners, data: Mapping[str, list[dict[str, Any]]]) -> Iterator[ForeignServer]:
    """Serve collections from memory."""
    server = ForeignServer(manners, data)

    def answer(target: str) -> Answer:
        server.seen.append(target)
        return _answer(server, target)

    with answering(answer, packed=manners.packed) as server.port:
        yield server


JSON = "application/json; odata.metadata=minimal; odata.streaming=true"


def _answer(server: ForeignServer, target: str) -> Answer:
    manners, parts = server.manners, urlsplit(target)
    if not parts.path.startswith(manners.prefix):
        return 404, "text/plain", b"not here"
    rest = parts.path.removeprefix(manners.prefix).strip("/")
    if rest == "$metadata":
        return (200, "application/xml", METADATA.encode()) if manners.metadata else (404, "text/plain", b"none")
    if rest == "":
        sets = [{"name": name, "kind": "EntitySet", "url": name} for name in server.data]
        sets.append({"name": "Me", "kind": "Singleton", "url": "Me"})
        return _json(manners, {"@odata.context": f"{server.url}/$metadata", "value": sets})
    if rest not in server.data:
        return 404, "text/plain", b"no such thing"
    return _page(server, rest, dict(parse_qsl(parts.query)))


def _page(server: ForeignServer, name: str, options: dict[str, str]) -> tuple[int, str, bytes]:
    manners, rows = server.manners, server.data[name]
    if "$filter" in options:
        if manners.filters == "refused":
            return 400, JSON, b'{"error": {"code": "BadRequest", "message": "no filters here"}}'
        if manners.filters == "works":
            rows = [row for row in rows if _matches(row, options["$filter"])]
    if manners.skips and "$skip" in options:
        rows = rows[int(options["$skip"]) :]
    if "$top" in options:
        rows = rows[: int(options["$top"])]
    start = int(options.get("$skiptoken", "0"))
    page = [_row(manners, name, row) for row in rows[start : start + manners.page_size]]
    document: dict[str, Any] = {"@odata.context": f"{server.url}/$metadata#{name}"}
    if manners.annotated:
        document |= {"@odata.count": len(rows), "@vendor.note": {"deep": [1, {"value": []}]}}
    link: dict[str, Any] = {}
    if start + manners.page_size < len(rows):
        again = {k: v for k, v in options.items() if k != "$skiptoken"} | {"$skiptoken": start + manners.page_size}
        tail = f"{name}?{urlencode(again, safe='$')}"
        base = {"absolute": server.url + "/", "relative": "", "rooted": manners.prefix + "/"}[manners.links]
        link = {"@odata.nextLink": base + tail}
    document |= {**link, "value": page} if manners.link_first else {"value": page, **link}
    return _json(manners, document)


def _row(manners: Manners, name: str, row: dict[str, Any]) -> dict[str, Any]:
    if manners.int64_text:
        row = {k: str(v) if k in ("Id", "Big") and v is not None else v for k, v in row.items()}
    if not manners.annotated:
        return row
    marked: dict[str, Any] = {"@odata.type": f"#{TYPES}.X", "@odata.id": f"{name}({row['Id']})", "@odata.etag": 'W/"1"'}
    for key, value in row.items():
        marked |= {f"{key}@odata.type": "#Int64"} if key in ("Id", "Big") else {}
        marked[key] = value
    return marked | {"Owner@odata.navigationLink": f"{name}({row['Id']})/Owner"}


def _matches(row: dict[str, Any], text: str) -> bool:
    tests = {"eq": int.__eq__, "ge": int.__ge__, "le": int.__le__, "gt": int.__gt__, "lt": int.__lt__}
    clauses = re.findall(r"(\w+) (eq|ge|le|gt|lt) (\d+)", text)
    day = {key.lower(): value for key, value in row.items()}["datekey"]
    return all(tests[operator](day, int(number)) for _, operator, number in clauses)


def _json(manners: Manners, document: dict[str, Any]) -> tuple[int, str, bytes]:
    separators = None if manners.spaced else (",", ":")
    return 200, JSON, json.dumps(document, separators=separators, indent=1 if manners.spaced else None).encode()
