"""The manifest: the archive's final inventory. The same data gives the same bytes, whatever interrupted the run.

manifest.json carries its own hash: see `sealed`. It holds no clock and no machine names: those are in the log of runs.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from intune_dw_cli import __version__, jsontext
from intune_dw_cli.archive import sealed
from intune_dw_cli.archive.charts import ChartRecord
from intune_dw_cli.archive.gaps import Gaps, find_gaps
from intune_dw_cli.archive.layout import SMALLER
from intune_dw_cli.archive.records import (
    DOCUMENTS,
    IDENTITY,
    VERSION,
    Identity,
    Json,
    SchemaRecord,
    SliceRecord,
    part_from_json,
    part_to_json,
)
from intune_dw_cli.archive.shape import Every, Shape, require_day
from intune_dw_cli.data.datekey import is_snapshot, to_date_key
from intune_dw_cli.data.schema import ADDITIONAL
from intune_dw_cli.errors import ArchiveDamagedError, ArchiveError
from intune_dw_cli.export.parts import Part
from intune_dw_cli.export.plan import USUAL_RETENTION_DAYS

State = Literal["complete", "partial"]

_LEVELS = 4  # content, collections, a collection, its slices
_MOST_DAYS = 36500
_HOLDING = Shape(
    {
        "name": str,
        "feed": int,
        "folder": str,
        "kind": str,
        "retention_days": (int, None),
        "schemas": list,
        "slices": [{"schema": int}],
        "missing": [{"slice": str, "reason": str}],
        "snapshots": list,
    }
)
_CONTENT = Shape(
    {
        **IDENTITY,
        "tool": str,
        "as_of": str,
        "documents": DOCUMENTS,
        "feeds": [str],
        "drift": Every([str]),
        "charts_wanted": bool,
        "charts": list,
        "collections": list,
    }
)


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
        retention_days: Documented days of history, None where there is no figure.
        feed: Which of the manifest's feeds it came from, from 1.
        slices: The committed slices by label, in the order of the plan.
        missing: Slices that the last run did not get.
        snapshots: Copies of a collection without days as it was on earlier days (`--keep-dimensions`).
    """

    name: str
    folder: str
    kind: str
    retention_days: int | None = None
    feed: int = 1
    slices: dict[str, SliceRecord] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)
    snapshots: list[Part] = field(default_factory=list)

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
        return sorted([p for s in self.slices.values() for p in s.parts], key=attrgetter("path"))

    @property
    def rows(self) -> int:
        """Rows held."""
        return sum(s.rows for s in self.slices.values())

    @property
    def has_days(self) -> bool:
        """Whether its rows have a DateKey."""
        return any(s.schema.date_key for s in self.slices.values())

    def rows_by_day(self, as_of: dt.date) -> dict[int, int]:
        """Return the rows of each day held (yyyymmdd), ascending; a DateKey that is no snapshot's is no day."""
        days = {p.date_key: p.rows for p in self.parts if p.date_key is not None and is_snapshot(p.date_key, as_of)}
        return dict(sorted(days.items()))

    def gaps(self, as_of: dt.date) -> Gaps | None:
        """Return what days are missing or look wrong; None for a collection without days."""
        if not self.has_days:
            return None
        return self._gaps(self.rows_by_day(as_of), as_of)

    def _gaps(self, rows: Mapping[int, int], as_of: dt.date) -> Gaps:
        unfetched = [to_date_key(day) for m in self.missing if (day := _day(m.slice))]
        return find_gaps(
            rows, as_of=as_of, retention_days=self.retention_days or USUAL_RETENTION_DAYS, unfetched=unfetched
        )

    def copied(self) -> Holding:
        """Return a holding that may be changed without changing this one (records and parts never change)."""
        return replace(self, slices=dict(self.slices), missing=list(self.missing), snapshots=list(self.snapshots))

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

    def to_json(self, as_of: dt.date) -> Json:
        """Return the holding as JSON values; the gaps count from `as_of`."""
        ordered = sorted(self.slices.values(), key=_slice_order)
        schemas = list(dict.fromkeys(s.schema for s in ordered))
        rows_by_day = self.rows_by_day(as_of)
        days = list(rows_by_day)
        gaps = self._gaps(rows_by_day, as_of) if self.has_days else None
        return {
            "name": self.name,
            "feed": self.feed,
            "folder": self.folder,
            "kind": self.kind,
            "retention_days": self.retention_days,
            "state": self.state,
            "rows": self.rows,
            "days": {"first": days[0], "last": days[-1], "count": len(days)} if days else None,
            "gaps": asdict(gaps) if gaps else None,
            "schemas": [s.to_json() for s in schemas],
            "slices": [s.to_json(schemas.index(s.schema)) for s in ordered],
            "missing": [asdict(m) for m in sorted(self.missing, key=lambda m: m.slice)],
            "snapshots": [part_to_json(p) for p in sorted(self.snapshots, key=lambda p: p.path)],
            "warnings": self.warnings,
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Holding:
        """Read a holding. Raises KeyError, TypeError, IndexError, ValueError where it is none."""
        _HOLDING.require(raw)
        if not 0 < (raw["retention_days"] or 1) <= _MOST_DAYS:
            raise ValueError("more days than any service keeps")
        schemas = [SchemaRecord.from_json(s) for s in raw["schemas"]]
        slices = [SliceRecord.from_json(s, schemas[s["schema"]]) for s in raw["slices"]]
        return cls(
            raw["name"],
            raw["folder"],
            raw["kind"],
            raw["retention_days"],
            raw["feed"],
            {s.slice: s for s in slices},
            [Missing(m["slice"], m["reason"]) for m in raw["missing"]],
            [part_from_json(p) for p in raw["snapshots"]],
        )


@dataclass(slots=True)
class Manifest:
    """An archive's inventory.

    Attributes:
        as_of: The day (ISO) that the last run's plan counts from.
        documents: SHA-256 of metadata.xml and service.json.
        collections: Of the present feed, by name, in the order of the service document.
        feeds: Every feed URL that the archive was fed from; the last one is the present one. Surrogate keys begin
            anew with each, so rows of two feeds are kept apart.
        former: What was held of earlier feeds. Nothing of it is ever fetched again.
        charts: What became of each trend chart of the admin center; empty where none was ever asked for.
        charts_wanted: Whether an open chart makes the archive partial.
        drift: How the service's model differs from the documentation's and from that of the last run.
    """

    identity: Identity
    as_of: str
    documents: dict[str, str]
    collections: dict[str, Holding]
    feeds: list[str] = field(default_factory=list)
    former: list[Holding] = field(default_factory=list)
    drift: dict[str, list[str]] = field(default_factory=dict)
    charts: list[ChartRecord] = field(default_factory=list)
    charts_wanted: bool = False
    tool: str = f"intune-dw {__version__}"

    @property
    def state(self) -> State:
        """complete when every collection is, and no chart that was asked for is open."""
        if any(c.missing for c in self.collections.values()) or self.open_charts:
            return "partial"
        return "complete"

    @property
    def open_charts(self) -> list[ChartRecord]:
        """The charts that a person must still save by hand, or a later run."""
        return [c for c in self.charts if c.is_open] if self.charts_wanted else []

    @property
    def holdings(self) -> list[Holding]:
        """What is held of all feeds, the earliest first."""
        return [*self.former, *self.collections.values()]

    @property
    def parts(self) -> dict[str, Part]:
        """Every part by its path."""
        return {p.path: p for h in self.holdings for p in (*h.parts, *h.snapshots)}

    def copied(self) -> Manifest:
        """Return a manifest whose holdings may be changed without changing those of this one."""
        return replace(
            self,
            collections={name: holding.copied() for name, holding in self.collections.items()},
            former=[holding.copied() for holding in self.former],
        )

    def after_move(self, source: str) -> Manifest:
        """Return the manifest as the base of the first run against another feed: all that is held is of former feeds.

        The tenant's move left nothing to be continued: what was missing then is missing for good.
        """
        former = [replace(h, missing=[]) for h in self.holdings]
        return replace(
            self,
            identity=replace(self.identity, source=source),
            feeds=[*self.feeds, source],
            collections={},
            former=former,
        )

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
            "feeds": self.feeds,
            "drift": self.drift,
            "charts_wanted": self.charts_wanted,
            "charts": [c.to_json() for c in self.charts],
            "collections": [h.to_json(dt.date.fromisoformat(self.as_of)) for h in self.holdings],
        }

    def encode(self, content: Json | None = None) -> bytes:
        """Return the bytes of manifest.json: indented, a slice on one line.

        Args:
            content: What `content` gave, where that is at hand.
        """
        return sealed.encode(content or self.content(), _LEVELS)

    def hashes(self) -> dict[str, str]:
        """Return the SHA-256 of every file that the manifest lists, by its path."""
        charts = {f.path: f.sha256 for c in self.charts for f in c.files}
        return {**self.documents, **charts, **{path: part.sha256 for path, part in self.parts.items()}}


def smaller_text(record: SliceRecord) -> str:
    """Say that a slice came with fewer rows than are held."""
    paths = [part.path.removeprefix(f"{SMALLER}/") for part in record.smaller]
    return f"{', '.join(paths)} came with fewer rows than held; the held file stays"


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
        content, is_whole = sealed.decode(text)
        version = content["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ArchiveDamagedError(f"{path} is no manifest, or is damaged", hint=_RESTORE) from None
    if version != VERSION:
        raise ArchiveError(
            f"the archive is of format version {version}, this program knows version {VERSION}",
            hint="Use the version of intune-dw that made it, or a newer one.",
        )
    if not is_whole:
        raise ArchiveDamagedError(f"{path} does not match its own hash: it was changed", hint=_RESTORE)
    try:
        return _manifest(content)
    except (KeyError, TypeError, IndexError, ValueError):
        raise ArchiveDamagedError(f"{path} lacks what a manifest has", hint=_RESTORE) from None


def misstatements(path: Path, manifest: Manifest) -> Iterator[str]:
    """Yield where a manifest that was read says of itself what does not follow from its slices and parts."""
    content = jsontext.loads(path.read_bytes())["content"]
    as_of = dt.date.fromisoformat(manifest.as_of)
    if content.get("state") != manifest.state:
        yield f"the state is given as {content.get('state')}, but what is held is {manifest.state}"
    for raw in content["collections"]:
        told = next(h for h in manifest.holdings if (h.name, h.feed) == (raw["name"], raw["feed"])).to_json(as_of)
        for name in ("state", "rows", "days"):
            if raw.get(name) != told[name]:
                yield f"{raw['name']}: {name} given as {raw.get(name)}, but its slices have {told[name]}"


_RESTORE = "Restore it from a copy of the archive."


def _manifest(content: Mapping[str, Any]) -> Manifest:
    _CONTENT.require(content)
    required = [name for name in Identity.__slots__ if name != "redaction"]
    identity = Identity(**{name: content[name] for name in required}, redaction=content.get("redaction"))
    holdings = [Holding.from_json(c) for c in content["collections"]]
    feeds = list(content["feeds"])
    require_day(content["as_of"])
    if len({(h.name, h.feed) for h in holdings}) < len(holdings) or any(not 0 < h.feed <= len(feeds) for h in holdings):
        raise ValueError("a collection twice, or of a feed that there is not")
    return Manifest(
        identity,
        content["as_of"],
        dict(content["documents"]),
        {h.name: h for h in holdings if h.feed == len(feeds)},
        feeds,
        [h for h in holdings if h.feed < len(feeds)],
        dict(content["drift"]),
        [ChartRecord.from_json(c) for c in content["charts"]],
        content["charts_wanted"],
        content["tool"],
    )


def _slice_order(record: SliceRecord) -> tuple[int, str]:
    first = min((p.date_key for p in record.parts if p.date_key is not None), default=0)
    return first, record.slice


def _day(label: str) -> dt.date | None:
    """Return the day of a slice's label, None where it is not of one day."""
    try:
        return dt.date.fromisoformat(label)
    except ValueError:
        return None


def encode_sums(hashes: Mapping[str, str]) -> bytes:
    """Return the bytes of SHA256SUMS, for `sha256sum -c`."""
    return "".join(f"{digest}  {path}\n" for path, digest in sorted(hashes.items())).encode()


def decode_sums(text: bytes) -> dict[str, str]:
    """Return what a SHA256SUMS says; lines that are none are left out."""
    lines = text.decode("utf-8", "replace").split("\n")
    pairs = [line.split("  ", 1) for line in lines if "  " in line]
    return {path: digest for digest, path in pairs}
