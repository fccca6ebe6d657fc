"""Slices that are read to be measured: their rows, and the bytes and the time that they take. Nothing is written."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from intune_dw_cli.data.formats import FileFormat
from intune_dw_cli.errors import IntuneDwError, ProtocolError
from intune_dw_cli.events import Event, Observer, PageFetched, Retrying, SliceFinished, SliceStarted, Throttled, Warned
from intune_dw_cli.export.engine import Engine
from intune_dw_cli.export.parts import Part, to_write
from intune_dw_cli.export.plan import CollectionPlan, Slice
from intune_dw_cli.export.provenance import provenance
from intune_dw_cli.service.warehouse import Warehouse

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer


@dataclass(slots=True)
class Sample:
    """What was read of a collection.

    Attributes:
        item: The slice, None where none was read yet.
        rows: Its rows.
        bytes: Size of the file that they would be.
        wire_bytes: Bytes of its pages as they came, compressed.
        empty_bytes: Size of such a file without rows.
        started: When it was begun, on the monotonic clock.
        seconds: How long it took.
        error: Why it could not be read; None where it was.
    """

    item: Slice | None = None
    rows: int = 0
    bytes: int = 0
    wire_bytes: int = 0
    empty_bytes: int = 0
    started: float = 0.0
    seconds: float = 0.0
    error: IntuneDwError | None = None


class Sampler:
    """Reads slices as a run would, and measures them.

    Args:
        warehouse: Where from.
        fmt: The files they are measured as.
        workers: Slices under way at once.
        observer: Hears of waits and warnings.
        stop: When set, reading ends with InterruptedRunError.
    """

    def __init__(
        self, warehouse: Warehouse, fmt: FileFormat, workers: int, observer: Observer, stop: threading.Event
    ) -> None:
        self._warehouse = warehouse
        self._format = fmt
        self._observer = observer
        self._engine = Engine(warehouse, workers=workers, observer=self._note, stop=stop)
        self._samples: dict[str, Sample] = {}

    def of(self, plan: CollectionPlan) -> Sample:
        """Return what was read of a collection last."""
        return self._samples.setdefault(plan.entity_set.name, Sample())

    def read(self, plans: Sequence[CollectionPlan]) -> None:
        """Read plans of one slice each. What fails is in the sample's `error`; raises what `Engine.run` raises."""
        by_name = {plan.entity_set.name: plan for plan in plans}
        for plan in plans:
            self._samples[plan.entity_set.name] = Sample(plan.slices[0])

        def open_output(item: Slice, additional: bool) -> _Measuring:
            if not item.filtered:
                raise ProtocolError("the service takes no DateKey filter here, so no single day can be read")
            plan = by_name[item.collection]
            sample = self._samples[item.collection]
            sample.rows = sample.bytes = 0
            sample.empty_bytes = self._empty_bytes(plan)
            return _Measuring(sample, plan, self._format, additional, self._warehouse.source)

        for outcome in self._engine.run(plans, open_output, failures=1):
            if outcome.failures:
                self._samples[outcome.plan.entity_set.name].error = outcome.failures[0].error

    def _empty_bytes(self, plan: CollectionPlan) -> int:
        """Return what a file without rows has: header, or schema and footer."""
        nothing = Sample()
        _Measuring(nothing, plan, self._format, False, self._warehouse.source).finish()
        return nothing.bytes

    def _note(self, event: Event) -> None:
        sample = self._samples.get(event.collection or "")
        match event:
            case SliceStarted() if sample:
                sample.started = time.monotonic()
            case SliceFinished() if sample:
                sample.seconds = time.monotonic() - sample.started
            case PageFetched() if sample:
                sample.wire_bytes += event.wire_bytes
            case Retrying() | Throttled() | Warned():
                self._observer(event)
            case _:
                pass


class _Measuring:
    """Encodes the rows of a slice as a file would have them, and keeps nothing but the sizes."""

    def __init__(self, sample: Sample, plan: CollectionPlan, fmt: FileFormat, additional: bool, source: str) -> None:
        self._sample = sample
        self._schema = plan.schema
        self._sink = fmt.open(
            _Bytes(sample), plan.schema, additional=additional, provenance=provenance(plan.schema, source)
        )

    def write(self, batch: pa.RecordBatch) -> None:
        self._sample.rows += batch.num_rows
        self._sink.write(to_write(batch, self._schema))

    def finish(self) -> tuple[Part, ...]:
        self._sink.close()
        return ()

    def abort(self) -> None:
        self._sink.abandon()


class _Bytes:
    """A stream that counts."""

    def __init__(self, sample: Sample) -> None:
        self._sample = sample

    def write(self, data: Buffer, /) -> int:
        size = memoryview(data).nbytes
        self._sample.bytes += size
        return size
