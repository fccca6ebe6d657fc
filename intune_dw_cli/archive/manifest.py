"""The manifest: the archive's final inventory. The same data gives the same bytes, whatever interrupted the run.

manifest.json is {"content": {...}, "content_sha256": "..."}; the hash is of the content as compact JSON with sorted
keys. It holds no clock and no machine names: those are in the log of runs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from intune_dw_cli import __version__
from intune_dw_cli.archive.records import (
    VERSION,
    Identity,
    Json,
    SchemaRecord,
    SliceRecord,
)
from intune_dw_cli.data.schema import ADDITIONAL
from intune_dw_cli.errors import ArchiveDamagedError, ArchiveError
from intune_dw_cli.export.parts import Part

State = Literal["complete", "partial"]


@dataclass(frozen=True, slots=True)
class Missing:
    """A planned slice that is not held, and why."""

    slice: str
    reason: str


@dataclass(slots=True)
class Holding:
    """What the archive holds of one collection.

    Attributes:
        folder: Its folder below the root, with `/`.
        kind: fact, dimension or lookup.
        slices: The committed slices by label, in the order of the plan.
        missing: Slices that the last run did not get.
    """

    name: str
    folder: str
    kind: str
    slices: dict[str, SliceRecord] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)

    @property
    def warnings(self) -> list[str]:
        """What the user should know about the rows held; told by the slices, so that resuming changes nothing."""
        slices = self.slices.values()
        found = []
        if duplicates := sum(s.duplicates or 0 for s in slices):
            found.append(f"{duplicates} rows repeat the key of another row of their slice; all are kept")
        if widened := sum(p.additional for p in self.parts):
            found.append(f"undeclared properties are kept as JSON in the column {ADDITIONAL} of {widened} parts")
        if absent := sorted({name for s in slices for name in s.absent}):
            found.append(f"declared but not sent in some slices, so left empty: {', '.join(absent)}")
        if any(s.slice.startswith("unfiltered") for s in slices):
            found.append("the service takes no DateKey filter here: the collection was read whole")
        found += [smaller_text(s) for s in slices if s.smaller]
        return found

    @property
    def state(self) -> State:
        """complete when nothing that was planned is missing."""
        return "partial" if self.missing else "complete"

    @property
    def parts(self) -> list[Part]:
        """Every part, by path."""
        return sorted((p for s in self.slices.values() for p in s.parts), key=lambda p: p.path)

    @property
    def rows(self) -> int:
        """Rows held."""
        return sum(s.rows for s in self.slices.values())

    @property
    def date_keys(self) -> list[int]:
        """The days held (yyyymmdd), ascending."""
        return sorted(p.date_key for p in self.parts if p.date_key is not None)

    def absorb(self, record: SliceRecord) -> None:
        """Take in a committed slice. Parts that it replaced leave the slices that held them."""
        paths = {p.path for p in record.parts}
        for label, held in list(self.slices.items()):
            kept = tuple(p for p in held.parts if p.path not in paths)
            if label == record.slice or (held.parts and not kept):
                del self.slices[label]
            elif len(kept) < len(held.parts):
                self.slices[label] = replace(held, parts=kept, rows=sum(p.rows for p in kept))
        self.slices[record.slice] = record

    def prune(self, planned: Iterable[str]) -> None:
        """Drop slices without parts that are no longer planned: what they asked for is asked for otherwise now."""
        wanted = set(planned)
        for label, held in list(self.slices.items()):
            if not held.parts and label not in wanted:
                del self.slices[label]

    def to_json(self) -> Json:
        """Return the holding as JSON values."""
        ordered = sorted(self.slices.values(), key=_slice_order)
        schemas = list(dict.fromkeys(s.schema for s in ordered))
        days = self.date_keys
        return {
            "name": self.name,
            "folder": self.folder,
            "kind": self.kind,
            "state": self.state,
            "rows": self.rows,
            "days": {"first": days[0], "last": days[-1], "count": len(days)} if days else None,
            "schemas": [s.to_json() for s in schemas],
            "slices": [{**s.to_json(), "schema": schemas.index(s.schema)} for s in ordered],
            "missing": [asdict(m) for m in sorted(self.missing, key=lambda m: m.slice)],
            "warnings": self.warnings,
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Holding:
        """Read a holding. Raises KeyError, TypeError, IndexError where it is none."""
        schemas = [SchemaRecord.from_json(s) for s in raw["schemas"]]
        slices = [SliceRecord.from_json({**s, "schema": schemas[s["schema"]].to_json()}) for s in raw["slices"]]
        return cls(
            raw["name"],
            raw["folder"],
            raw["kind"],
            {s.slice: s for s in slices},
            [Missing(m["slice"], m["reason"]) for m in raw["missing"]],
        )


@dataclass(slots=True)
class Manifest:
    """An archive's inventory.

    Attributes:
        as_of: The day (ISO) that the last run's plan counts from.
        documents: SHA-256 of metadata.xml and service.json.
        collections: By name, in the order of the service document.
    """

    identity: Identity
    as_of: str
    documents: dict[str, str]
    collections: dict[str, Holding]
    tool: str = f"intune-dw {__version__}"

    @property
    def state(self) -> State:
        """complete when every collection is."""
        return "partial" if any(c.missing for c in self.collections.values()) else "complete"

    def content(self) -> Json:
        """Return the hashed part as JSON values."""
        return {
            "version": VERSION,
            "tool": self.tool,
            "state": self.state,
            **asdict(self.identity),
            "as_of": self.as_of,
            "timestamps": "text as served" if self.identity.format == "csv" else "cut to microseconds",
            "documents": dict(sorted(self.documents.items())),
            "collections": [c.to_json() for c in self.collections.values()],
        }

    def encode(self) -> bytes:
        """Return the bytes of manifest.json."""
        content = self.content()
        document = {"content_sha256": content_sha256(content), "content": content}
        return (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()

    def sums(self, manifest: bytes) -> bytes:
        """Return the bytes of SHA256SUMS, for `sha256sum -c`."""
        hashes = {"manifest.json": hashlib.sha256(manifest).hexdigest(), **self.documents}
        hashes |= {p.path: p.sha256 for c in self.collections.values() for p in c.parts}
        return "".join(f"{digest}  {path}\n" for path, digest in sorted(hashes.items())).encode()


def smaller_text(record: SliceRecord) -> str:
    """Say that a slice came with fewer rows than are held."""
    return f"{', '.join(record.smaller)} came with fewer rows than held; the held file stays"


def content_sha256(content: Json) -> str:
    """Return the hash of a manifest's content: of its compact JSON with sorted keys."""
    text = json.dumps(content, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read_manifest(path: Path) -> Manifest | None:
    """Read a manifest; None where there is none.

    Raises:
        ArchiveDamagedError: it cannot be read, or its content does not match its own hash.
        ArchiveError: it is of a version that this program does not know.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ArchiveDamagedError(f"{path} cannot be read: {error.strerror}") from None
    try:
        document = json.loads(text)
        content, digest = document["content"], document["content_sha256"]
        version = content["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ArchiveDamagedError(f"{path} is no manifest, or is damaged", hint=_RESTORE) from None
    if version != VERSION:
        raise ArchiveError(
            f"the archive is of format version {version}, this program knows version {VERSION}",
            hint="Use the version of intune-dw that made it, or a newer one.",
        )
    if content_sha256(content) != digest:
        raise ArchiveDamagedError(f"{path} does not match its own hash: it was changed", hint=_RESTORE)
    try:
        return _manifest(content)
    except (KeyError, TypeError, IndexError, AttributeError):
        raise ArchiveDamagedError(f"{path} lacks what a manifest has", hint=_RESTORE) from None


def misstatements(path: Path, manifest: Manifest) -> Iterator[str]:
    """Yield where a manifest that was read says of itself what does not follow from its slices and parts."""
    content = json.loads(path.read_bytes())["content"]
    if content.get("state") != manifest.state:
        yield f"the state is given as {content.get('state')}, but what is held is {manifest.state}"
    for raw in content["collections"]:
        told = manifest.collections[raw["name"]].to_json()
        for name in ("state", "rows", "days"):
            if raw.get(name) != told[name]:
                yield f"{raw['name']}: {name} given as {raw.get(name)}, but its slices have {told[name]}"


_RESTORE = "Restore it from a copy of the archive."


def _manifest(content: Mapping[str, Any]) -> Manifest:
    identity = Identity(**{name: content[name] for name in Identity.__slots__})
    holdings = [Holding.from_json(c) for c in content["collections"]]
    return Manifest(
        identity, content["as_of"], dict(content["documents"]), {h.name: h for h in holdings}, content["tool"]
    )


def _slice_order(record: SliceRecord) -> tuple[int, str]:
    first = min((p.date_key for p in record.parts if p.date_key is not None), default=0)
    return first, record.slice
