"""Rows handed over to a caller as record batches, while the engine fetches what comes next."""

from __future__ import annotations

import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from intune_dw_cli.data.outlet import ByteStream
from intune_dw_cli.data.schema import ADDITIONAL, CollectionSchema
from intune_dw_cli.errors import InterruptedRunError, OutputError, ProtocolError
from intune_dw_cli.events import Observer
from intune_dw_cli.export.engine import Engine
from intune_dw_cli.export.plan import CollectionPlan
from intune_dw_cli.export.pull import pull_to_stream
from intune_dw_cli.service.warehouse import Warehouse

_BATCHES_AHEAD = 4
_POLL = 0.2
_GRACE = 5.0


class BatchStream:
    """The rows of one collection, in DateKey order, complete or an exception.

    Fetching begins at once, in threads of its own, and is never more than a few batches ahead. May be read once.

    Args:
        warehouse: Where from.
        plan: What.
        workers: Slices under way at once.
        observer: Hears what happens, from the worker threads.
    """

    def __init__(self, warehouse: Warehouse, plan: CollectionPlan, *, workers: int, observer: Observer) -> None:
        self._stop = threading.Event()
        self._handover = _Handover(self._stop)
        self._engine = Engine(warehouse, workers=workers, observer=observer, stop=self._stop, rows_together=1)
        arguments = (warehouse, plan, workers, observer)
        self._thread = threading.Thread(target=self._run, args=arguments, name="stream", daemon=True)
        self._thread.start()

    @property
    def schema(self) -> pa.Schema:
        """The columns, in the types of Parquet. Waits for the first rows, which tell whether `_additional` is needed.

        Raises:
            IntuneDwError: no rows can be had.
        """
        return self._handover.settle()

    @property
    def is_over(self) -> bool:
        """Whether nothing is being fetched any more."""
        return not self._thread.is_alive()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows. Ends only when every row of the plan was yielded.

        Raises:
            IntuneDwError: something could not be fetched. What was yielded before is a part only.
        """
        try:
            self._handover.settle()
            while (batch := self._handover.take()) is not None:
                yield batch
        finally:
            self.close()

    def close(self) -> None:
        """Stop fetching. Who reads on after that gets an InterruptedRunError."""
        self._stop.set()
        self._handover.shut()
        self._thread.join(_GRACE)

    def _run(self, warehouse: Warehouse, plan: CollectionPlan, workers: int, observer: Observer) -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="intune-dw-", ignore_cleanup_errors=True) as folder:
                result = pull_to_stream(
                    self._engine,
                    plan,
                    _Nowhere(),
                    self._handover,
                    spill=Path(folder) / "rows",
                    source=warehouse.source,
                    look_ahead=workers,
                    stop=self._stop,
                    observer=observer,
                )
            if result.errors:
                raise result.errors[0]
            if not result.files:
                raise ProtocolError("the rows ended before all slices were in", collection=plan.entity_set.name)
        except BaseException as error:
            self._handover.end(error)
        else:
            self._handover.end(None)


class _Handover:
    """Format and sink in one: what would be encoded into a file is kept for the caller."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._batches: deque[pa.RecordBatch] = deque()
        self._changed = threading.Condition()
        self._columns: CollectionSchema | None = None
        self._schema: pa.Schema | None = None
        self._settled = self._shut = False
        self._ended = False
        self._error: BaseException | None = None

    # -- the engine's side ------------------------------------------------------------------------------------

    def open(
        self, _stream: ByteStream, schema: CollectionSchema, *, additional: bool, provenance: Mapping[str, str]
    ) -> _Handover:
        with self._changed:
            if self._settled:
                raise OutputError(
                    "the service's answers changed their form after rows had been handed over",
                    hint="Pull the collection into a file: that can be begun again.",
                )
            self._batches.clear()
            self._columns = schema
            arrow = schema.arrow.append(pa.field(ADDITIONAL, pa.string())) if additional else schema.arrow
            self._schema = arrow.with_metadata({k: v.encode() for k, v in provenance.items()})
        return self

    @property
    def is_typed(self) -> bool:
        return True

    def typed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        assert self._columns is not None
        return self._columns.to_arrow(batch)

    def write(self, batch: pa.RecordBatch) -> None:
        typed = self.typed(batch)
        if not typed.num_rows:
            return
        with self._changed:
            while len(self._batches) >= _BATCHES_AHEAD:
                if self._stop.is_set():
                    raise InterruptedRunError("stopped before the end")
                self._changed.wait(_POLL)
            self._batches.append(typed.replace_schema_metadata(self._schema and self._schema.metadata))
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing is to be encoded."""

    def abandon(self) -> None:
        """Nothing was encoded."""

    def end(self, error: BaseException | None) -> None:
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    # -- the caller's side ------------------------------------------------------------------------------------

    def settle(self) -> pa.Schema:
        """Wait for the first rows, or the end; from now on the columns are what they are."""
        with self._changed:
            while not (self._batches or self._ended or self._shut):
                self._changed.wait(_POLL)
            self._settled = True
            if self._shut:
                raise InterruptedRunError("closed before the end")
            if not self._batches and self._error is not None:
                raise self._error
            assert self._schema is not None
            return self._schema

    def take(self) -> pa.RecordBatch | None:
        """Return the next rows, None after the last."""
        with self._changed:
            while not (self._batches or self._ended or self._shut):
                self._changed.wait(_POLL)
            if self._shut:
                raise InterruptedRunError("closed before the end")
            if self._batches:
                self._changed.notify_all()
                return self._batches.popleft()
            if self._error is not None:
                raise self._error
            return None

    def shut(self) -> None:
        """Hand nothing over any more."""
        with self._changed:
            self._shut = True
            self._changed.notify_all()


class _Nowhere:
    """The stream that nothing is written to."""

    def write(self, data: object, /) -> int:
        raise AssertionError("record batches are not encoded")
