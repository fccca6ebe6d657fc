"""Pull: collections into one file each, into a folder partitioned by day, or onto a stream."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from intune_dw_cli.data.datekey import to_date_key
from intune_dw_cli.data.formats import Encoding, FileFormat
from intune_dw_cli.data.outlet import ByteStream
from intune_dw_cli.data.schema import CollectionSchema
from intune_dw_cli.errors import IntuneDwError, OutputError
from intune_dw_cli.events import Observer, PartCommitted
from intune_dw_cli.export.engine import Engine, SliceOutput
from intune_dw_cli.export.files import AtomicFile
from intune_dw_cli.export.names import file_stems
from intune_dw_cli.export.ordered import OrderedOutput
from intune_dw_cli.export.outcome import CollectionOutcome, SliceResult
from intune_dw_cli.export.parts import PartGuard, PartNaming, PartsOutput
from intune_dw_cli.export.plan import CollectionPlan, Slice
from intune_dw_cli.export.provenance import provenance
from intune_dw_cli.export.redacted_days import keep_to_one_redaction

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer


@dataclass(frozen=True, slots=True)
class PulledFile:
    """A file under its final name (`-` for a stream)."""

    collection: str
    path: str
    rows: int
    bytes: int


@dataclass(slots=True)
class PullResult:
    """What a pull brought: one outcome a collection, and the files that now exist."""

    outcomes: list[CollectionOutcome]
    files: list[PulledFile]

    @property
    def errors(self) -> list[IntuneDwError]:
        """What failed."""
        return [failure.error for outcome in self.outcomes for failure in outcome.failures]


def pull_to_files(
    engine: Engine,
    plans: Sequence[CollectionPlan],
    paths: Mapping[str, Path],
    fmt: FileFormat,
    *,
    source: str,
    look_ahead: int,
    stop: threading.Event,
    observer: Observer,
) -> PullResult:
    """Write each collection into one file, rows in DateKey order. Replaces files that exist.

    Args:
        paths: The file of each collection, by its name.
        source: The feed, for Parquet's metadata.
        look_ahead: Slices that may be fetched ahead of the one being written.

    Raises:
        What Engine.run raises. A collection that did not end well leaves no file.
    """
    targets = {
        plan.entity_set.name: _Target(plan, fmt, _File(paths[plan.entity_set.name]), source, look_ahead, stop, observer)
        for plan in plans
    }
    return _run(engine, plans, targets, fmt)


def pull_to_stream(
    engine: Engine,
    plan: CollectionPlan,
    stream: ByteStream,
    fmt: Encoding,
    *,
    spill: Path,
    source: str,
    look_ahead: int,
    stop: threading.Event,
    observer: Observer,
) -> PullResult:
    """Write one collection onto a stream, rows in DateKey order.

    Args:
        spill: A folder where rows may wait for their turn.

    Raises:
        OutputError: the columns turned out to be others after rows had been written.
        BrokenPipeError: the reader of the stream went away.
    """
    target = _Target(plan, fmt, _Stream(stream, spill), source, look_ahead, stop, observer)
    return _run(engine, [plan], {plan.entity_set.name: target}, fmt)


def pull_to_partitions(
    engine: Engine,
    plans: Sequence[CollectionPlan],
    root: Path,
    fmt: FileFormat,
    *,
    source: str,
    observer: Observer,
    stems: Mapping[str, str] | None = None,
) -> PullResult:
    """Write one file a day and collection, hive style, below `root`; a collection without days is one file.

    Args:
        stems: The folder of each collection, by its name; made of the names of the plans by default.

    Raises:
        UsageError: days of a collection are there that are redacted otherwise; nothing was fetched.
        What Engine.run raises.
    """
    by_name = {plan.entity_set.name: plan for plan in plans}
    folders = stems or file_stems(by_name)
    keep_to_one_redaction(root, plans, folders)
    files: dict[str, PulledFile] = {}

    def open_output(item: Slice, additional: bool) -> SliceOutput:
        plan = by_name[item.collection]
        stem = folders[item.collection]
        return slice_parts(root, PartNaming(stem, stem, fmt.suffix), plan, item, fmt, additional, source)

    def committed(result: SliceResult) -> None:
        for part in result.parts:
            # A collection that begins again writes the same files again.
            files[part.path] = PulledFile(result.slice.collection, str(root / part.path), part.rows, part.bytes)
            observer(PartCommitted(result.slice.collection, part.path, part.rows, part.bytes))

    outcomes = engine.run(plans, open_output, committed=committed, typed=fmt.is_typed)
    return PullResult(outcomes, [files[path] for path in sorted(files)])


def slice_parts(
    root: Path,
    naming: PartNaming,
    plan: CollectionPlan,
    item: Slice,
    fmt: FileFormat,
    additional: bool,
    source: str,
    guard: PartGuard | None = None,
    within: Path | None = None,
) -> PartsOutput:
    """Return the output that writes one slice into parts below a root folder; arguments as for PartsOutput."""
    first = item.range.first
    return PartsOutput(
        root,
        naming,
        fmt,
        plan.schema,
        additional=additional,
        provenance=provenance(plan.schema, source),
        day=to_date_key(first) if first is not None and item.range.is_day and not item.by_day else None,
        by_day=plan.entity_set.date_key if item.by_day else None,
        keep_empty=not item.filtered,
        guard=guard,
        within=within,
    )


def _run(engine: Engine, plans: Sequence[CollectionPlan], targets: Mapping[str, _Target], fmt: Encoding) -> PullResult:
    try:
        outcomes = engine.run(
            plans,
            lambda item, additional: targets[item.collection].slot(item, additional),
            committed=lambda result: targets[result.slice.collection].commit_if_complete(),
            failures=1,
            one_file=True,
            typed=fmt.is_typed,
        )
    finally:
        for target in targets.values():
            target.close()
    files = [target.pulled for target in targets.values() if target.pulled]
    return PullResult(outcomes, files)


class _Destination(Protocol):
    """Where the bytes of one collection go."""

    spill: Path

    def begin(self) -> ByteStream: ...

    def commit(self) -> tuple[str, int]: ...

    def discard(self) -> None: ...


class _File:
    """A file that appears when it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.spill = path.with_name(path.name + ".partial-rows")
        self._file: AtomicFile | None = None

    def begin(self) -> ByteStream:
        self._file = AtomicFile(self._path)
        return self._file

    def commit(self) -> tuple[str, int]:
        assert self._file is not None
        self._file.commit()
        return str(self._path), self._file.size

    def discard(self) -> None:
        if self._file is not None:
            self._file.discard()


class _Stream:
    """A stream, counted. What was written cannot be taken back."""

    def __init__(self, stream: ByteStream, spill: Path) -> None:
        self._stream = stream
        self.spill = spill
        self._size = 0
        self._begun = False

    def begin(self) -> ByteStream:
        if self._size and self._begun:
            raise OutputError(
                "the service's answers changed their form after rows had been written to the output",
                hint="Write to a file with -o FILE: it can be begun again.",
            )
        self._begun = True
        return self

    def write(self, data: Buffer, /) -> int:
        written = self._stream.write(data)
        self._size += written
        return written

    def commit(self) -> tuple[str, int]:
        return "-", self._size

    def discard(self) -> None:
        """Nothing can be done."""


class _Target:
    """One collection on its way into one destination; begins again when its columns or slices change."""

    def __init__(
        self,
        plan: CollectionPlan,
        fmt: Encoding,
        destination: _Destination,
        source: str,
        look_ahead: int,
        stop: threading.Event,
        observer: Observer,
    ) -> None:
        self._plan = plan
        self._fmt = fmt
        self._destination = destination
        self._source = source
        self._look_ahead = look_ahead
        self._stop = stop
        self._observer = observer
        self._lock = threading.Lock()
        self._numbers: dict[Slice, int] = {}
        self._form: tuple[bool, bool] | None = None
        self._output: OrderedOutput | None = None
        self.pulled: PulledFile | None = None

    def slot(self, item: Slice, additional: bool) -> SliceOutput:
        """Return the output of one slice."""
        with self._lock:
            if self._form != (additional, item.filtered):
                self._begin(item, additional)
            output, number = self._output, self._numbers[item]
        assert output is not None
        return output.slot(number, by_day=self._plan.entity_set.date_key if item.by_day else None)

    def commit_if_complete(self) -> None:
        """Give the file its name once every slice is in it."""
        with self._lock:
            output = self._output
            if output is None or self.pulled or output.turn < len(self._numbers):
                return
            output.end()
            path, size = self._destination.commit()
            name = self._plan.entity_set.name
            self.pulled = PulledFile(name, path, output.rows, size)
        self._observer(PartCommitted(name, path, self.pulled.rows, size))

    def close(self) -> None:
        """Remove what is not complete."""
        if self._output is not None:
            self._output.close()
        if self.pulled is None:
            self._destination.discard()

    def _begin(self, item: Slice, additional: bool) -> None:
        if self._output is not None:
            self._output.close()
            self._destination.discard()
        slices = self._plan.slices if item.filtered else (item,)
        self._numbers = {each: number for number, each in enumerate(slices)}
        schema: CollectionSchema = self._plan.schema
        sink = self._fmt.open(
            self._destination.begin(), schema, additional=additional, provenance=provenance(schema, self._source)
        )
        self._output = OrderedOutput(
            sink, schema, self._destination.spill, look_ahead=self._look_ahead, stop=self._stop
        )
        self._form = (additional, item.filtered)
