"""What an archive knows of itself: identity, schemas, slices and parts, as JSON and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from intune_dw_cli.archive.layout import METADATA, SERVICE
from intune_dw_cli.archive.shape import Maybe, Shape
from intune_dw_cli.data.schema import CollectionSchema
from intune_dw_cli.errors import ArchiveError
from intune_dw_cli.export.outcome import SliceResult
from intune_dw_cli.export.parts import Part

VERSION = 1

Json = dict[str, Any]

_TEXT = (str, None)
IDENTITY = {"source": str, "tenant": _TEXT, "api_version": str, "format": str, "compression": _TEXT}
IDENTITY |= {"redaction": Maybe(_TEXT)}
"""Shape of an Identity."""
DOCUMENTS = {METADATA: str, SERVICE: str}
"""Shape of the documents' hashes."""
_SCHEMA = Shape({"columns": [{"name": str, "type": str}], "key": [str], "date_key": _TEXT, "redacted": Maybe([str])})
_KEY = ([(str, int, float, bool, None)], None)
_PART = Shape(
    {
        "path": str,
        "date_key": (int, None),
        "rows": int,
        "bytes": int,
        "sha256": str,
        "additional": bool,
        "first_key": _KEY,
        "last_key": _KEY,
    }
)
_SLICE = Shape(
    {
        "collection": str,
        "slice": str,
        "rows": int,
        "pages": int,
        "duplicates": (int, None),
        "absent": [str],
        "parts": list,
        "smaller": list,
    }
)

_ID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


@dataclass(frozen=True, slots=True)
class Identity:
    """What an archive is of. A backup of anything else does not go into it.

    Attributes:
        source: The feed URL without query.
        tenant: The tenant's id or one of its domains, None where it is not known.
        format: csv or parquet.
        compression: As in FileFormat.
        redaction: How personal columns are redacted (Redaction.label); None where they are kept.
    """

    source: str
    tenant: str | None
    api_version: str
    format: str
    compression: str | None
    redaction: str | None = None

    def require_same(self, held: Identity, *, moved: bool = False) -> None:
        """Raise ArchiveError, naming each difference, when the archive is of something else.

        Args:
            held: What the archive is of.
            moved: Whether another feed URL is welcome: the tenant was moved to another data center.
        """
        names = {
            "source": "feed URL",
            "tenant": "tenant",
            "api_version": "API version",
            "format": "format",
            "compression": "compression",
            "redaction": "redaction",
        }
        mine, theirs = asdict(self), asdict(held)
        differing = [
            f"{label} {theirs[name] or 'none'} (this run: {mine[name] or 'none'})"
            for name, label in names.items()
            if mine[name] != theirs[name]
            and not (name == "tenant" and not _is_other_tenant(self.tenant, held.tenant))
            and not (name == "source" and moved)
        ]
        if differing:
            hint = "Give another folder, or the options with which the archive was begun."
            if self.source != held.source:
                hint += " If the tenant was moved to another data center, add --moved: what is held stays as it is."
            raise ArchiveError(f"the archive is of another kind: it holds {'; '.join(differing)}", hint=hint)

    def is_known_move(self, held: Identity) -> bool:
        """Whether this is the same tenant under another feed URL, beyond doubt."""
        if self.source == held.source or self.tenant is None or held.tenant is None:
            return False
        return self.tenant.casefold() == held.tenant.casefold()

    def joined(self, held: Identity) -> Identity:
        """Return this with what both say of the tenant: an id rather than a domain, a domain rather than nothing."""
        if self.tenant is None or (held.tenant is not None and _is_id(held.tenant) and not _is_id(self.tenant)):
            return replace(self, tenant=held.tenant)
        return self


def _is_other_tenant(one: str | None, other: str | None) -> bool:
    """Whether two texts name two tenants. A tenant that is not known is no other, nor can an id tell a domain's."""
    if one is None or other is None or _is_id(one) != _is_id(other):
        return False
    return one.casefold() != other.casefold()


def _is_id(tenant: str) -> bool:
    return bool(_ID.fullmatch(tenant))


@dataclass(frozen=True, slots=True)
class SchemaRecord:
    """The columns that parts were written with: (name, Edm type) pairs, key and DateKey column.

    Attributes:
        redacted: The properties that were left out, or pseudonymised and so are text now.
    """

    columns: tuple[tuple[str, str], ...]
    key: tuple[str, ...]
    date_key: str | None
    redacted: tuple[str, ...] = ()

    @classmethod
    def of(cls, schema: CollectionSchema) -> SchemaRecord:
        """Return the record of a schema."""
        return cls(tuple((c.name, c.edm_type) for c in schema.columns), schema.key, schema.date_key, schema.redacted)

    def to_json(self) -> Json:
        """Return the record as JSON values."""
        return {
            "columns": [{"name": name, "type": kind} for name, kind in self.columns],
            "key": list(self.key),
            "date_key": self.date_key,
            "redacted": list(self.redacted),
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> SchemaRecord:
        """Read a record. Raises KeyError, TypeError, ValueError where it is none."""
        _SCHEMA.require(raw)
        columns = tuple((c["name"], c["type"]) for c in raw["columns"])
        if not {*raw["key"], raw["date_key"]} <= {None, *(name for name, _ in columns)}:
            raise ValueError("a key of columns that there are not")
        return cls(columns, tuple(raw["key"]), raw["date_key"], tuple(raw.get("redacted", ())))


@dataclass(frozen=True, slots=True)
class SliceRecord:
    """A committed slice: what was asked, what came, and the parts it is in.

    Attributes:
        duplicates: Rows that repeat another row's key, None where that was not looked at.
        absent: Declared properties that no row had.
        smaller: Files with fewer rows than were held, where they were put aside; the held ones stayed.
    """

    collection: str
    slice: str
    rows: int
    pages: int
    duplicates: int | None
    absent: tuple[str, ...]
    schema: SchemaRecord
    parts: tuple[Part, ...]
    smaller: tuple[Part, ...] = ()

    @classmethod
    def of(cls, result: SliceResult, schema: CollectionSchema, smaller: tuple[Part, ...] = ()) -> SliceRecord:
        """Return the record of a result."""
        return cls(
            result.slice.collection,
            result.slice.label,
            sum(p.rows for p in result.parts),
            result.pages,
            result.duplicates,
            result.absent,
            SchemaRecord.of(schema),
            result.parts,
            smaller,
        )

    def to_json(self, schema: int | None = None) -> Json:
        """Return the record as JSON values.

        Args:
            schema: What to write for the schema, where it is written elsewhere.
        """
        return {
            "collection": self.collection,
            "slice": self.slice,
            "rows": self.rows,
            "pages": self.pages,
            "duplicates": self.duplicates,
            "absent": list(self.absent),
            "schema": self.schema.to_json() if schema is None else schema,
            "parts": [part_to_json(part) for part in self.parts],
            "smaller": [part_to_json(part) for part in self.smaller],
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], schema: SchemaRecord | None = None) -> SliceRecord:
        """Read a record; its schema, where that is written elsewhere.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        _SLICE.require(raw)
        return cls(
            raw["collection"],
            raw["slice"],
            raw["rows"],
            raw["pages"],
            raw["duplicates"],
            tuple(raw["absent"]),
            schema or SchemaRecord.from_json(raw["schema"]),
            tuple(part_from_json(part) for part in raw["parts"]),
            tuple(part_from_json(part) for part in raw["smaller"]),
        )


def part_to_json(part: Part) -> Json:
    """Return a part as JSON values; row keys are lists."""
    return {
        "path": part.path,
        "date_key": part.date_key,
        "rows": part.rows,
        "bytes": part.bytes,
        "sha256": part.sha256,
        "first_key": None if part.first_key is None else list(part.first_key),
        "last_key": None if part.last_key is None else list(part.last_key),
        "additional": part.additional,
    }


def part_from_json(raw: Mapping[str, Any]) -> Part:
    """Read a part. Raises KeyError, TypeError where it is none."""
    _PART.require(raw)
    return Part(
        path=raw["path"],
        date_key=raw["date_key"],
        rows=raw["rows"],
        bytes=raw["bytes"],
        sha256=raw["sha256"],
        first_key=None if raw["first_key"] is None else tuple(raw["first_key"]),
        last_key=None if raw["last_key"] is None else tuple(raw["last_key"]),
        additional=raw["additional"],
    )
