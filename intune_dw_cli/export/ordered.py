"""One file from many slices, its rows in DateKey order whatever the number of workers.

The first unfinished slice writes straight to the file. Slices ahead of it keep their rows aside, first in memory and
then on disk (Arrow IPC, no encoding cost), and are taken in when their turn comes: memory does not grow with the rows.
"""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pyarrow as pa

from intune_dw_cli.data.formats import Sink
from intune_dw_cli.data.schema import CollectionSchema
from intune_dw_cli.errors import InterruptedRunError
from intune_dw_cli.export.aside import RowsAside
from intune_dw_cli.export.parts import split_by_day, to_write

_POLL = 0.5


class AbandonedError(Exception):
    """Another slice of the same file did not end well, so that this one is of no use."""


class OrderedOutput:
    """Takes the slices of one collection, in any order, and writes them in the order of their numbers.

    Args:
        sink: Where the rows go.
        schema: The columns to write.
        folder: Where rows may be kept aside; made when needed and removed at the end.
        look_ahead: How many slices beyond the first unfinished one may be open.
        stop: Set when the run is to end.
    """

    def __init__(
        self, sink: Sink, schema: CollectionSchema, folder: Path, *, look_ahead: int, stop: threading.Event
    ) -> None:
        self._sink = sink
        self._schema = schema
        self._folder = folder
        self._look_ahead = look_ahead
        self._stop = stop
        self._turn = 0
        self._abandoned = False
        self._passing_on = False
        self._slots: dict[int, _Slot] = {}
        self._changed = threading.Condition()
        self.rows = 0

    def slot(self, number: int, *, by_day: str | None) -> _Slot:
        """Return the place for a slice's rows; waits while the slice is too far ahead of the first unfinished one.

        Args:
            number: Its place among the slices.
            by_day: The column, written or not, by whose days its rows are put in order; None: they are in order.

        Raises:
            AbandonedError: a slice that should come before was aborted.
        """
        with self._changed:
            while number > self._turn + self._look_ahead:
                if self._stop.is_set():
                    raise InterruptedRunError("stopped before the end")
                if self._abandoned:
                    raise AbandonedError
                self._changed.wait(_POLL)
            aside = RowsAside(self._folder / f"{number}.arrow", self._folder.parent)
            slot = _Slot(self, number, by_day, aside)
            self._slots[number] = slot
            return slot

    @property
    def turn(self) -> int:
        """The number of the first slice that is not wholly written."""
        return self._turn

    def end(self) -> None:
        """End the file: all slices are written."""
        self._sink.close()

    def abandon(self) -> None:
        """Note that a slice will not be whole, nor the file: whoever waits for its turn is sent away."""
        with self._changed:
            self._abandoned = True
            self._changed.notify_all()

    def close(self) -> None:
        """Remove what was kept aside; a file that was not ended stays without end."""
        self._sink.abandon()
        for slot in self._slots.values():
            slot.drop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def take(self, slot: _Slot, batch: pa.RecordBatch) -> None:
        """Write a batch of the slice whose turn it is, or keep it aside."""
        # No lock, so that slices ahead go on while this one encodes: only the slice itself can end its turn.
        if slot.number == self._turn and slot.by_day is None:
            self._drain(slot)
            self._write(to_write(batch, self._schema))
            return
        for day, rows in split_by_day(batch, slot.by_day):
            slot.keep(day, self._sink.typed(to_write(rows, self._schema)))

    def finished(self, slot: _Slot) -> None:
        """Note that a slice has given all its rows; write it, and those behind it, as far as the turn goes.

        One thread does that at a time. A slice that ends meanwhile is written by that thread.

        Raises:
            AbandonedError: another slice was aborted, or could not be written: nothing more is.
        """
        with self._changed:
            slot.done = True
            if self._abandoned:
                raise AbandonedError
            if self._passing_on:
                return
            self._passing_on = True
        try:
            while head := self._done_head():
                self._drain(head)
                with self._changed:
                    del self._slots[self._turn]
                    self._turn += 1
                    self._changed.notify_all()
        except BaseException:
            self.abandon()
            self._passing_on = False
            raise

    def _done_head(self) -> _Slot | None:
        """Return the slice whose turn it is if it has given all its rows; else nobody passes the turn on any more."""
        with self._changed:
            head = self._slots.get(self._turn)
            if head is None or not head.done:
                self._passing_on = False
                return None
            return head

    def _drain(self, slot: _Slot) -> None:
        for day in slot.aside.days:
            for batch in slot.aside.batches(day):
                self._write(batch)
        slot.drop()

    def _write(self, batch: pa.RecordBatch) -> None:
        self._sink.write(batch)
        self.rows += batch.num_rows


class _Slot:
    """The rows of one slice on their way into an OrderedOutput."""

    def __init__(self, output: OrderedOutput, number: int, by_day: str | None, aside: RowsAside) -> None:
        self._output = output
        self.number = number
        self.by_day = by_day
        self.done = False
        self.aside = aside

    def write(self, batch: pa.RecordBatch) -> None:
        """Append decoded rows."""
        self._output.take(self, batch)

    def finish(self) -> tuple[()]:
        """All rows of the slice were given."""
        self._output.finished(self)
        return ()

    def abort(self) -> None:
        """Forget rows that were kept aside (rows already written stay: the whole file is then discarded)."""
        self.drop()
        self._output.abandon()

    def keep(self, day: int | None, batch: pa.RecordBatch) -> None:
        """Put rows aside."""
        self.aside.add(day, batch)

    def drop(self) -> None:
        """Release what was kept aside."""
        self.aside.drop()
