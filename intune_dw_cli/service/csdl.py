"""What the service holds: its service document (JSON) and its `$metadata` (CSDL, XML).

The warehouse's namespace, container name and nullability are documented nowhere, so elements are matched by
local name and everything that is not needed is passed over (OData 4.0 CSDL, part 3). The XML comes from the
network: no DTD, no entities, bounded size and depth.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from xml.parsers import expat

from intune_dw_cli import jsontext
from intune_dw_cli.errors import MalformedPageError, ProtocolError
from intune_dw_cli.service.problem import is_error_object

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

_MAX_BYTES = 64 * 1024 * 1024
_MAX_DEPTH = 100
_MAX_ANCESTORS = 64
_TYPE_KINDS = frozenset({"EntityType", "ComplexType", "EnumType", "TypeDefinition"})
# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (b"<\x00", "utf-16-le"),
    (b"\x00<", "utf-16-be"),
)
_ENCODINGS = frozenset({"utf-8", "ascii", "iso8859-1", "cp1252"})
_DECLARED = re.compile(rb"\s*<\?xml[^<>]*?\sencoding\s*=\s*[\"']([A-Za-z0-9._\-]{1,40})[\"']")
_DOCTYPE = "XML with a document type declaration, which is refused"
_HINT = (
    "Check the feed URL: it must be the 'OData feed for reporting service' of this tenant (Intune admin "
    "center, Reports > Data warehouse). A proxy or a sign-in page may also have answered in its place."
)


@dataclass(frozen=True, slots=True)
class EntitySetInfo:
    """One collection of the service document: its name, and its URL as written there (often relative)."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class Property:
    """One column of an entity type.

    Attributes:
        name: As `$metadata` spells it.
        type: `Edm.Int64` and so on. A type definition is replaced by its underlying type, an enumeration by
            `Edm.String`; complex types and `Collection(...)` keep their text; no type at all is
            `Edm.Untyped`.
        nullable: True unless `Nullable="false"` (OData 4.0 CSDL 6.2.1).
        precision: None where absent.
        scale: `"variable"`, a number, or None where absent (which CSDL 6.2.4 reads as 0 for Edm.Decimal).
        max_length: None where absent or `max`.
        enum: The type is an enumeration; JSON holds its member names (OData 4.0 JSON Format 7.1).
    """

    name: str
    type: str
    nullable: bool = True
    precision: int | None = None
    scale: int | Literal["variable"] | None = None
    max_length: int | None = None
    enum: bool = False


@dataclass(frozen=True, slots=True)
class EntityType:
    """An entity type: qualified name, key property names in key order, properties in document order.

    A key that names anything but properties of the type counts as none. Inherited properties come first, those of the
    remotest ancestor before all.
    """

    name: str
    key: tuple[str, ...]
    properties: tuple[Property, ...]


@dataclass(frozen=True, slots=True)
class Metadata:
    """The entity sets of all containers with their entity types; sets of unknown type are left out."""

    entity_sets: Mapping[str, EntityType]

    def entity_type_of(self, set_name: str, others: Container[str] = ()) -> EntityType | None:
        """Return the entity type of a set, by exact name, else ignoring case; None where there is none.

        Args:
            set_name: The set's name as the service document spells it.
            others: Names of other sets, whose types are not meant.
        """
        exact = self.entity_sets.get(set_name)
        if exact is not None:
            return exact
        wanted = set_name.casefold()
        alike = (name for name in self.entity_sets if name.casefold() == wanted and name not in others)
        return next((self.entity_sets[name] for name in alike), None)


def parse_service_document(body: bytes) -> list[EntitySetInfo]:
    """List the entity sets of a service document, in its order (OData 4.0 JSON Format 5).

    An item without `kind` is an entity set; singletons and function imports are passed over; an item without
    `url` takes its name; of two items with one name the first counts.

    Raises:
        MalformedPageError: the body is empty, HTML, cut short or an error object: another request may bring better.
        ProtocolError: the body is whole, and something else.
    """
    try:
        document: object = jsontext.loads(body)
    except (ValueError, RecursionError):
        raise _not_a_service_document(_looks_like(body), MalformedPageError) from None
    items = document.get("value") if isinstance(document, dict) else None
    if not isinstance(items, list):
        passing = isinstance(document, dict) and is_error_object(document)
        kind = MalformedPageError if passing else ProtocolError
        raise _not_a_service_document("JSON without a list named `value`", kind)
    sets: dict[str, EntitySetInfo] = {}
    for item in items:
        info = _entity_set_info(item)
        if info is not None:
            sets.setdefault(info.name, info)
    return list(sets.values())


def parse_metadata(body: bytes) -> Metadata:
    """Read a CSDL document in XML (OData 4.0 CSDL).

    Several schemas, containers and aliases are joined; base types are followed; of duplicates the first
    counts. UTF-8 and UTF-16 (with or without mark) are understood.

    Raises:
        MalformedPageError: the body is not XML, cut short or HTML: another request may bring better.
        ProtocolError: the body is XML without a Schema, with a document type declaration, nested too deeply, or too
            large.
    """
    text = _decoded(body)
    model = _Model()
    parser = expat.ParserCreate("utf-8")  # our own decoding counts, not the XML declaration's
    parser.StartElementHandler = model.start
    parser.EndElementHandler = model.end
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(text.encode(), True)
    except expat.ExpatError as error:
        raise _not_metadata(f"{_looks_like(body)} ({error})", MalformedPageError) from None
    if not model.schemas:
        raise _not_metadata("XML without a Schema element")
    return Metadata(model.entity_sets())


def _entity_set_info(item: object) -> EntitySetInfo | None:
    """Read one item of a service document; None for what is not an entity set."""
    if not isinstance(item, dict):
        raise _not_a_service_document("JSON whose `value` does not list collections")
    if item.get("kind") not in (None, "EntitySet"):
        return None
    name, url = item.get("name"), item.get("url")
    if not isinstance(name, str) or not name.strip():
        raise _not_a_service_document("JSON whose `value` lists something without a name")
    return EntitySetInfo(_writable(name), url if isinstance(url, str) and url.strip() else name)


def _writable(name: str) -> str:
    """Spell out lone surrogates, which JSON can hold and no UTF-8 file: `\\ud800` as six characters."""
    return name.encode("utf-8", "backslashreplace").decode()


def _not_a_service_document(seen: str, kind: type[ProtocolError] = ProtocolError) -> ProtocolError:
    return kind(f"The answer is not an OData service document: it is {seen}.", hint=_HINT)


def _not_metadata(seen: str, kind: type[ProtocolError] = ProtocolError) -> ProtocolError:
    return kind(f"The answer is not an OData $metadata document: it is {seen}.", hint=_HINT)


def _refuse_doctype(*_: object) -> None:
    raise _not_metadata(_DOCTYPE)


def _looks_like(body: bytes) -> str:
    """A word for what came instead; never a piece of the body."""
    head = body[:2000].replace(b"\x00", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").lower()
    if not head:
        return "empty"
    if head.startswith((b"<!doctype html", b"<html")) or b"<html" in head:
        return "an HTML page"
    if head.startswith(b"<"):
        return "broken or foreign XML"
    if head.startswith((b"{", b"[")):
        return "broken or foreign JSON"
    return "neither JSON nor XML"


def _decoded(body: bytes) -> str:
    """Decode an XML document and refuse document type declarations, whatever the encoding hides."""
    if len(body) > _MAX_BYTES:
        raise _not_metadata(f"larger than {_MAX_BYTES // 1024 // 1024} MiB")
    try:
        text = body.decode(_encoding(body)).removeprefix("\ufeff")
        text.encode()
    except (ValueError, LookupError):
        raise _not_metadata("text in an unknown or broken encoding", MalformedPageError) from None
    if re.search(r"<!(?:DOCTYPE|ENTITY)", text, re.IGNORECASE):
        if _looks_like(body) == "an HTML page":
            raise _not_metadata("an HTML page", MalformedPageError)
        raise _not_metadata(_DOCTYPE)
    return text


def _encoding(body: bytes) -> str:
    """The encoding by mark, by the zero byte of a UTF-16 `<`, by declaration, else UTF-8 (XML 1.0 F)."""
    for mark, encoding in _MARKS:
        if body.startswith(mark):
            return encoding
    declared = _DECLARED.match(body[:200])
    name = codecs.lookup(declared[1].decode()).name if declared else "utf-8"
    if name.startswith("utf-16"):  # declared in readable ASCII, so it cannot be: a known slip of .NET
        name = "utf-8"
    if name not in _ENCODINGS:
        raise LookupError(name)
    return name


@dataclass(slots=True)
class _RawType:
    """A type as written, before names are resolved."""

    kind: str
    name: str
    attributes: dict[str, str]
    key: list[str] = field(default_factory=list)
    properties: list[dict[str, str]] = field(default_factory=list)


class _Model:
    """Collects types, aliases and entity sets while expat walks, then resolves them."""

    def __init__(self) -> None:
        self.schemas = 0
        self._path: list[str] = ["", ""]
        self._namespace = ""
        self._aliases: dict[str, str] = {}
        self._types: dict[str, _RawType] = {}
        self._current: _RawType | None = None
        self._sets: list[dict[str, str]] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Take note of one element, by local name and by the two elements around it."""
        local = name.rpartition(":")[2]
        if len(self._path) > _MAX_DEPTH:
            raise _not_metadata(f"XML nested more than {_MAX_DEPTH} deep")
        match (self._path[-2], self._path[-1], local):
            case (_, _, "Schema"):
                self._open_schema(attributes)
            case (_, _, "Include"):
                self._alias(attributes)
            case (_, "Schema", kind) if kind in _TYPE_KINDS:
                self._open_type(kind, attributes)
            case ("Schema", "EntityType", "Property") if self._current is not None:
                self._current.properties.append(attributes)
            case ("EntityType", "Key", "PropertyRef") if self._current is not None:
                self._current.key.append(attributes.get("Name", "").strip())
            case (_, "EntityContainer", "EntitySet"):
                self._sets.append(attributes)
        self._path.append(local)

    def end(self, _name: str) -> None:
        """Leave one element."""
        self._path.pop()

    def entity_sets(self) -> dict[str, EntityType]:
        """Resolve every entity set whose entity type the document declares."""
        simple = self._by_simple_name()
        built: dict[str, EntityType] = {}
        sets: dict[str, EntityType] = {}
        for attributes in self._sets:
            name = attributes.get("Name", "")
            wanted = attributes.get("EntityType", "").strip()
            raw = self._find(wanted, "EntityType") or simple.get(wanted.rpartition(".")[2])
            if not name or name in sets or raw is None:
                continue
            if raw.name not in built:
                built[raw.name] = self._entity_type(raw)
            sets[name] = built[raw.name]
        return sets

    def _open_schema(self, attributes: dict[str, str]) -> None:
        self.schemas += 1
        self._namespace = attributes.get("Namespace", "").strip()
        self._alias(attributes)

    def _alias(self, attributes: dict[str, str]) -> None:
        alias = attributes.get("Alias", "").strip()
        if alias:
            self._aliases.setdefault(alias, attributes.get("Namespace", "").strip())

    def _open_type(self, kind: str, attributes: dict[str, str]) -> None:
        simple = attributes.get("Name", "").strip()
        name = f"{self._namespace}.{simple}"
        self._current = _RawType(kind, name, attributes)
        if simple:
            self._types.setdefault(name, self._current)

    def _find(self, qualified: str, *kinds: str) -> _RawType | None:
        namespace, _, name = qualified.strip().rpartition(".")
        raw = self._types.get(f"{namespace}.{name}")
        if raw is None:
            raw = self._types.get(f"{self._aliases.get(namespace, namespace)}.{name}")
        return raw if raw is not None and raw.kind in kinds else None

    def _by_simple_name(self) -> dict[str, _RawType | None]:
        """Entity types by unqualified name; None where two namespaces share it."""
        simple: dict[str, _RawType | None] = {}
        for raw in self._types.values():
            if raw.kind == "EntityType":
                name = raw.name.rpartition(".")[2]
                simple[name] = None if name in simple else raw
        return simple

    def _entity_type(self, raw: _RawType) -> EntityType:
        properties: dict[str, Property] = {}
        key: list[str] = []
        for ancestor in self._lineage(raw):
            key = key or [name for name in ancestor.key if name]
            for attributes in ancestor.properties:
                prop = self._property(attributes)
                if prop.name:
                    properties.setdefault(prop.name, prop)
        # Paths into complex properties are no columns, and part of a key tells no rows apart.
        known = key if all(name in properties for name in key) else []
        return EntityType(raw.name.removeprefix("."), tuple(dict.fromkeys(known)), tuple(properties.values()))

    def _lineage(self, raw: _RawType) -> list[_RawType]:
        """The type and its ancestors, remotest first; a circle ends where it closes."""
        lineage: list[_RawType] = []
        seen: set[str] = set()
        current: _RawType | None = raw
        while current is not None and current.name not in seen and len(lineage) < _MAX_ANCESTORS:
            seen.add(current.name)
            lineage.append(current)
            current = self._find(current.attributes.get("BaseType", ""), "EntityType")
        return lineage[::-1]

    def _property(self, attributes: dict[str, str]) -> Property:
        type_name, facets, enum = self._resolved_type(attributes)
        return Property(
            name=attributes.get("Name", "").strip(),
            type=type_name,
            nullable=attributes.get("Nullable", "").strip().lower() not in {"false", "0"},
            precision=_number(facets.get("Precision")),
            scale=_scale(facets.get("Scale")),
            max_length=_number(facets.get("MaxLength")),
            enum=enum,
        )

    def _resolved_type(self, attributes: dict[str, str]) -> tuple[str, dict[str, str], bool]:
        """Type text, facets (a property's own before its definition's) and whether it is an enumeration."""
        type_name = attributes.get("Type", "").strip() or "Edm.Untyped"
        facets = attributes
        for _ in range(_MAX_ANCESTORS):
            raw = self._find(type_name, "TypeDefinition", "EnumType")
            if raw is None:
                break
            if raw.kind == "EnumType":
                return "Edm.String", facets, True
            facets = {**raw.attributes, **facets}
            type_name = raw.attributes.get("UnderlyingType", "").strip() or "Edm.Untyped"
        return type_name, facets, False


def _number(text: str | None) -> int | None:
    """A facet's whole number; None for `max`, nonsense or nothing."""
    return int(text) if text is not None and re.fullmatch(r"\s*[0-9]{1,9}\s*", text) else None


def _scale(text: str | None) -> int | Literal["variable"] | None:
    if text is not None and text.strip().lower() in {"variable", "floating"}:
        return "variable"
    return _number(text)
