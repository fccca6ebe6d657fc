"""Compare an archive with the service: read slices again and tell, row by row, what differs.

This is proof before a move is approved: what was archived is what the service gives now. Days settle and dimensions go
on living, so a difference is not damage; it is said of what kind it is.
"""

from __future__ import annotations

import datetime as dt
import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from intune_dw_cli.archive.layout import Layout
from intune_dw_cli.archive.manifest import Holding, Manifest, read_manifest
from intune_dw_cli.archive.records import Identity, SliceRecord
from intune_dw_cli.data.datekey import DateKeyRange, today_in_utc
from intune_dw_cli.data.formats import FileFormat
from intune_dw_cli.data.redact import Redaction
from intune_dw_cli.errors import ArchiveError, UsageError
from intune_dw_cli.events import Observer, ignore
from intune_dw_cli.export.engine import Engine, SliceOutput
from intune_dw_cli.export.files import make_folder
from intune_dw_cli.export.names import file_stems
from intune_dw_cli.export.outcome import SliceResult
from intune_dw_cli.export.parts import PartNaming
from intune_dw_cli.export.plan import CollectionPlan, Slice, window
from intune_dw_cli.export.pull import slice_parts
from intune_dw_cli.identity.secret import Secret
from intune_dw_cli.service.warehouse import Warehouse

SAMPLE = 20
_NULL = "\x00null"


@dataclass(frozen=True, slots=True)
class Comparison:
    """How one slice compares.

    Attributes:
        rows: Rows that the service gives now.
        added: Rows whose key only the service has.
        removed: Rows whose key only the archive has.
        changed: Rows with the same key and other values.
        error: Why the slice could not be read again, None where it could.
    """

    collection: str
    slice: str
    rows: int
    added: int = 0
    removed: int = 0
    changed: int = 0
    error: str | None = None

    @property
    def is_equal(self) -> bool:
        """Whether the service gives exactly what is archived."""
        return not (self.added or self.removed or self.changed or self.error)

    def __str__(self) -> str:
        if self.error:
            return f"{self.collection} {self.slice}: could not be read again: {self.error}"
        if self.is_equal:
            return f"{self.collection} {self.slice}: {self.rows:,} rows, equal"
        counts = (("added", self.added), ("removed", self.removed), ("changed", self.changed))
        said = ", ".join(f"{count:,} rows {what}" for what, count in counts if count)
        return f"{self.collection} {self.slice}: {said} ({self._kind()})"

    def _kind(self) -> str:
        if self.slice == "all":
            return "the dimension has changed since"
        if self.added and not self.removed and not self.changed:
            return "late data: run backup again"
        return "the day was restated: run backup again"


def compare_with_service(
    root: Path,
    warehouse: Warehouse,
    *,
    sample: int | None = SAMPLE,
    seed: int = 0,
    today: dt.date | None = None,
    workers: int = 4,
    redaction_key: Secret | None = None,
    observer: Observer = ignore,
    stop: threading.Event | None = None,
) -> list[Comparison]:
    """Read slices of an archive from the service again, and compare them by key and value.

    Only days that the service should still have by its documented retention are read, and whole dimensions.

    Args:
        sample: How many slices, chosen by `seed`; None for all.
        redaction_key: The key of an archive whose personal data is pseudonymised; what is read is pseudonymised too.
        today: From which the retention counts; the present day in UTC by default.

    Returns:
        One comparison a slice, in the order of the manifest.

    Raises:
        ArchiveError: no archive, an unfinished one without a manifest, or one of another feed.
        UsageError: the archive is pseudonymised, and the key is missing or another one.
        SignInError, OutputError, InterruptedRunError: the comparison could not be made.
    """
    layout = Layout(root)
    layout.require()
    manifest = read_manifest(layout.manifest)
    if manifest is None:
        raise ArchiveError(
            f"the first backup into {root} has not ended yet", hint=f"Finish it: intune-dw backup {root}"
        )
    _require_same_feed(manifest.identity, warehouse)
    redaction = _redaction_of(manifest.identity, redaction_key)
    chosen = _choose(manifest, warehouse, sample, seed, today or today_in_utc())
    make_folder(layout.state)
    with TemporaryDirectory(prefix="compare-", dir=layout.state) as folder:
        reader = _Rereader(Path(folder), manifest, warehouse, redaction)
        engine = Engine(warehouse, workers=workers, observer=observer, stop=stop)
        errors = reader.read(engine, chosen)
        return [
            Comparison(record.collection, record.slice, 0, error=errors[record.collection, record.slice])
            if (record.collection, record.slice) in errors
            else _compare(layout.root, Path(folder), record, reader.results[record.collection, record.slice])
            for _, record, _ in chosen
        ]


_Chosen = tuple[Holding, SliceRecord, Slice]


def _choose(manifest: Manifest, warehouse: Warehouse, sample: int | None, seed: int, today: dt.date) -> list[_Chosen]:
    known = {e.name: e for e in warehouse.entity_sets}
    candidates: list[_Chosen] = []
    for holding in manifest.collections.values():
        entity_set = known.get(holding.name)
        if entity_set is None:
            continue
        first = window(entity_set, today).first or today
        for record in holding.slices.values():
            item = _slice_of(record)
            if item is not None and record.parts and (item.range.first is None or item.range.first > first):
                candidates.append((holding, record, item))
    if sample is None or sample >= len(candidates):
        return candidates
    picked = set(random.Random(seed).sample(range(len(candidates)), sample))  # noqa: S311 - a sample is no secret
    return [each for number, each in enumerate(candidates) if number in picked]


def _slice_of(record: SliceRecord) -> Slice | None:
    """Return the slice of a record of one day or of a whole collection, None for others."""
    if record.slice == "all":
        return Slice(record.collection)
    try:
        return Slice(record.collection, DateKeyRange.day(dt.date.fromisoformat(record.slice)))
    except ValueError:
        return None


class _Rereader:
    """Reads slices into a folder of their own, in the archive's format."""

    def __init__(self, folder: Path, manifest: Manifest, warehouse: Warehouse, redaction: Redaction | None) -> None:
        self._folder = folder
        self._warehouse = warehouse
        self._redaction = redaction
        identity = manifest.identity
        self._format = FileFormat("parquet" if identity.format == "parquet" else "csv", identity.compression)
        self._stems = file_stems(e.name for e in warehouse.entity_sets)
        self.results: dict[tuple[str, str], SliceResult] = {}

    def read(self, engine: Engine, chosen: Sequence[_Chosen]) -> dict[tuple[str, str], str]:
        """Read them; return what went wrong, by collection and slice."""
        names = list(dict.fromkeys(record.collection for _, record, _ in chosen))
        plans = {
            name: CollectionPlan(
                entity_set=self._warehouse.entity_set(name),
                slices=tuple(item for _, record, item in chosen if record.collection == name),
                redaction=self._redaction,
            )
            for name in names
        }

        def open_output(item: Slice, additional: bool) -> SliceOutput:
            stem = self._stems[item.collection]
            naming = PartNaming(stem, stem, self._format.suffix)
            plan = plans[item.collection]
            return slice_parts(self._folder, naming, plan, item, self._format, additional, self._warehouse.source)

        outcomes = engine.run(list(plans.values()), open_output, failures=len(chosen) + 1, typed=self._format.is_typed)
        errors: dict[tuple[str, str], str] = {}
        for outcome in outcomes:
            name = outcome.plan.entity_set.name
            self.results |= {(name, result.slice.label): result for result in outcome.results}
            errors |= {(name, f.slice.label): str(f.error) for f in outcome.failures}
        for _, record, _ in chosen:
            key = (record.collection, record.slice)
            if key not in self.results and key not in errors:
                errors[key] = "the service takes no DateKey filter here"
        return errors


def _compare(root: Path, folder: Path, record: SliceRecord, result: SliceResult) -> Comparison:
    if [p.sha256 for p in record.parts] == [p.sha256 for p in result.parts]:
        return Comparison(record.collection, record.slice, result.rows)
    try:
        held = _rows(root, [p.path for p in record.parts])
        fresh = _rows(folder, [p.path for p in result.parts])
    except (OSError, pa.ArrowException) as error:
        return Comparison(record.collection, record.slice, result.rows, error=f"{type(error).__name__}: run verify")
    key = list(record.schema.key) or sorted(set(held.column_names) | set(fresh.column_names))
    here, there = _only_in(held, fresh, key), _only_in(fresh, held, key)
    changed = here & there
    return Comparison(
        record.collection,
        record.slice,
        result.rows,
        added=len(there - changed),
        removed=len(here - changed),
        changed=len(changed),
    )


def _rows(root: Path, paths: Sequence[str]) -> pa.Table:
    """Read parts as text columns, null apart from empty text."""
    return pa.concat_tables([_part(root / PurePosixPath(path)) for path in paths], promote_options="default")


def _part(path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        table = pq.read_table(path, partitioning=None)
        return pa.table({n: table[n].cast(pa.string()) for n in table.column_names})
    with pa.input_stream(str(path), compression="detect") as stream:
        names = pacsv.open_csv(stream, parse_options=_PARSE).schema.names
    convert = pacsv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    with pa.input_stream(str(path), compression="detect") as stream:
        return pacsv.read_csv(stream, parse_options=_PARSE, convert_options=convert)


_PARSE = pacsv.ParseOptions(newlines_in_values=True)


def _only_in(one: pa.Table, other: pa.Table, key: Sequence[str]) -> set[tuple[str, ...]]:
    """Return the keys of the rows of one table that the other does not have exactly so."""
    names = sorted(set(one.column_names) | set(other.column_names))
    mine, theirs = _comparable(one, names), _comparable(other, names)
    rest = mine.join(theirs, keys=names, join_type="left anti", use_threads=False)
    return set(_tuples(rest, key))


def _comparable(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """Return all columns as text without nulls: a join takes no null for equal to another."""
    absent = pa.nulls(table.num_rows, pa.string())
    columns = {n: table[n] if n in table.column_names else absent for n in names}
    return pa.table({name: column.fill_null(_NULL) for name, column in columns.items()})


def _tuples(table: pa.Table, key: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return zip(*(table[name].to_pylist() for name in key), strict=True)


def _redaction_of(held: Identity, key: Secret | None) -> Redaction | None:
    """Return the redaction that an archive was made with."""
    if held.redaction is None:
        return None
    if held.redaction == Redaction("drop").label:
        return Redaction("drop")
    if key is None:
        raise UsageError(
            "personal data in this archive is pseudonymised, so its key is needed to compare it",
            hint="Give --redact-key-file FILE, or set INTUNE_DW_REDACT_KEY.",
        )
    redaction = Redaction("hash", key)
    if redaction.label != held.redaction:
        raise UsageError(
            f"the archive was pseudonymised with another key: {held.redaction}, not {redaction.label}",
            hint="Give the key that the archive was begun with.",
        )
    return redaction


def _require_same_feed(held: Identity, warehouse: Warehouse) -> None:
    if held.source != warehouse.source:
        raise ArchiveError(
            f"the archive is of {held.source}, not of {warehouse.source}",
            hint="Give the feed URL that the archive was last fed from.",
        )
