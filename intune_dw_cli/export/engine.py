"""Runs the slices of a plan with a bounded number of workers, and says what became of each collection."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from intune_dw_cli.data.datekey import DateKeyRange
from intune_dw_cli.data.decode import PageDecoder
from intune_dw_cli.data.redact import has_undeclared
from intune_dw_cli.data.schema import ADDITIONAL
from intune_dw_cli.errors import (
    BadRequestError,
    FilterIgnoredError,
    InterruptedRunError,
    IntuneDwError,
    TransportError,
    UnavailableError,
)
from intune_dw_cli.events import (
    CollectionFailed,
    CollectionFinished,
    Observer,
    PageFetched,
    SliceFinished,
    SliceRestarted,
    SliceStarted,
    Warned,
    ignore,
)
from intune_dw_cli.export.ordered import AbandonedError
from intune_dw_cli.export.outcome import CollectionOutcome, SliceFailure, SliceResult
from intune_dw_cli.export.pages import PageReader, Reading
from intune_dw_cli.export.parts import Part
from intune_dw_cli.export.plan import CollectionPlan, Slice
from intune_dw_cli.export.tally import SliceTally
from intune_dw_cli.export.together import ROWS_TOGETHER, RowsTogether
from intune_dw_cli.service.warehouse import Warehouse

_FAILURES_PER_COLLECTION = 3
_POLL = 0.2
_GRACE = 3.0
CONTINUES = "Run the same command again to continue."


class SliceOutput(Protocol):
    """Where the rows of one slice go. Used by one thread."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Append decoded rows. They have DateKey, where the collection has it, also when it is not to be kept."""

    def finish(self) -> tuple[Part, ...]:
        """Make what was written real. Returns the files that hold the slice now, under their final names."""

    def abort(self) -> None:
        """Undo what was written."""


class _WidenedError(Exception):
    """An undeclared property came where the file's columns were already fixed without `_additional`."""


class Engine:
    """Fetches plans.

    Args:
        warehouse: Where from.
        workers: Slices under way at once.
        observer: Hears what happens, from the worker threads.
        stop: When set, the run ends with InterruptedRunError as soon as the requests under way return.
        rows_together: Rows that are written at a time where pages are smaller; 1 passes each page on as it comes.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        *,
        workers: int = 4,
        observer: Observer = ignore,
        stop: threading.Event | None = None,
        rows_together: int = ROWS_TOGETHER,
    ) -> None:
        self._warehouse = warehouse
        self._workers = max(1, workers)
        self._observer = observer
        self._stop = stop or threading.Event()
        self.rows_together = rows_together
        self.decoding = threading.BoundedSemaphore(max(1, min(self._workers, os.cpu_count() or 1)))
        # How the service wants DateKey spelled in $filter: as documented, until it answers 400 to that.
        self.documented_spelling = True

    def run(
        self,
        plans: Sequence[CollectionPlan],
        open_output: Callable[[Slice, bool], SliceOutput],
        *,
        committed: Callable[[SliceResult], None] = lambda _: None,
        failures: int = _FAILURES_PER_COLLECTION,
        one_file: bool = False,
        typed: bool = False,
    ) -> list[CollectionOutcome]:
        """Fetch every slice of every plan.

        Args:
            plans: Fetched in this order, slices in theirs.
            open_output: Gives the output of a slice; the flag says whether its rows have the column `_additional`.
            committed: Called once a slice's files are in place, before it counts as done.
            failures: Failed slices after which a collection's remaining slices are left.
            one_file: Whether all slices of a collection go to one file. They then have the same columns: when
                `_additional` turns out to be needed, the collection begins again with the flag set for all. It begins
                again also when the service takes no DateKey filter: with one slice that is not `filtered`.
            typed: Whether the outputs keep Arrow's types and not the texts that came; keys are told apart accordingly.

        Returns:
            One outcome a plan. A collection that fails does not stop the others.

        Raises:
            IntuneDwError: one that ends the run (see there), for instance a refused sign-in.
        """
        states = [_CollectionState(plan, failures, one_file, typed) for plan in plans]
        queue = deque((state, item) for state in states for item in state.slices)
        for state in states:
            if not state.plan.slices:
                self._observer(CollectionFinished(state.name, 0))
        fetchers = ThreadPoolExecutor(self._workers, thread_name_prefix="page")
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="slice")
        running: dict[Future[SliceResult], tuple[_CollectionState, Slice]] = {}
        try:
            while queue or running:
                while queue and len(running) < self._workers:
                    state, item = queue.popleft()
                    if state.wants():
                        worker = _SliceWorker(self, state, item, fetchers, open_output)
                        running[pool.submit(worker.run, committed)] = (state, item)
                    else:
                        self._settle(state, queue)
                done, _ = wait(running, timeout=_POLL, return_when=FIRST_COMPLETED)
                if self._stop.is_set():
                    raise InterruptedRunError("stopped before the end", hint=CONTINUES)
                for future in done:
                    state, item = running.pop(future)
                    self._collect(future, state, item, queue)
                    self._settle(state, queue)
        except BaseException:
            # Let the slices under way notice and clean up, but do not wait for a server that does not answer.
            self._stop.set()
            wait(running, timeout=_GRACE)
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            fetchers.shutdown(wait=False, cancel_futures=True)
        return [state.outcome for state in states]

    def _collect(
        self,
        future: Future[SliceResult],
        state: _CollectionState,
        item: Slice,
        queue: deque[tuple[_CollectionState, Slice]],
    ) -> None:
        """Take in how a slice ended; fatal errors are raised."""
        try:
            state.outcome.results.append(future.result())
        except AbandonedError:
            return  # the slice that it waited for says why
        except FilterIgnoredError as error:
            reason = f"{error.message}; the whole collection is read instead"
            state.restart(reason, [Slice(state.name, state.plan.bounds, by_day=True, filtered=False)])
        except _WidenedError:
            state.additional = True
            state.restart("undeclared properties came; the collection is read again", state.slices)
        except IntuneDwError as error:
            if error.ends_run:
                raise
            halves = () if state.one_file else item.halves()
            if not halves or not isinstance(error, TransportError | UnavailableError):
                state.outcome.failures.append(SliceFailure(item, _kept(error)))
                return
            # Too much for one answer chain, perhaps: ask for less at a time.
            state.pending += len(halves)
            queue.extendleft((state, half) for half in reversed(halves))

    def _settle(self, state: _CollectionState, queue: deque[tuple[_CollectionState, Slice]]) -> None:
        """Note that a slice is out of the way; end its collection when it was the last, or begin it again."""
        state.pending -= 1
        if state.pending:
            return
        if state.again is not None:
            reason, slices = state.again
            self.warn(state, reason)
            self._observer(SliceRestarted(state.name, state.outcome.rows, reason))
            state.outcome.results.clear()
            state.outcome.failures.clear()
            state.begin(slices)
            queue.extendleft((state, item) for item in reversed(slices))
            return
        if state.outcome.failures:
            self._observer(CollectionFailed(state.name, str(state.outcome.failures[0].error)))
        else:
            self._observer(CollectionFinished(state.name, state.outcome.rows))

    def warn(self, state: _CollectionState, message: str) -> None:
        """Send a warning and keep it for the outcome, once."""
        if message not in state.outcome.warnings:
            state.outcome.warnings.append(message)
            self._observer(Warned(state.name, message))


class _CollectionState:
    """What the slices of one collection share."""

    def __init__(self, plan: CollectionPlan, failures: int, one_file: bool, typed: bool) -> None:
        self.plan = plan
        self.name = plan.entity_set.name
        self.outcome = CollectionOutcome(plan)
        self.decoder = PageDecoder(plan.declared_schema, plan.read)
        self.use_select = plan.select is not None
        self.one_file = one_file
        self.typed = typed
        self.additional = False
        self._failures = failures
        self.begin(plan.slices)

    def begin(self, slices: Sequence[Slice]) -> None:
        """Set out to fetch these slices."""
        self.slices = tuple(slices)
        self.pending = len(self.slices)
        self.again: tuple[str, Sequence[Slice]] | None = None

    def restart(self, reason: str, slices: Sequence[Slice]) -> None:
        """Have the collection begin again once the slices under way are done."""
        self.again = self.again or (reason, slices)

    def wants(self) -> bool:
        """Whether the collection's waiting slices are still worth fetching."""
        return len(self.outcome.failures) < self._failures and self.again is None


class _SliceWorker:
    """Fetches one slice into one output."""

    def __init__(
        self,
        engine: Engine,
        state: _CollectionState,
        item: Slice,
        fetchers: ThreadPoolExecutor,
        open_output: Callable[[Slice, bool], SliceOutput],
    ) -> None:
        self._engine = engine
        self._state = state
        self._slice = item
        self._plan = state.plan
        self._schema = state.plan.read_schema
        # Taken now, in the thread that runs the plan: all slices that run together must agree.
        self._additional = state.additional
        # Where the service cannot be asked for the range, it is applied here.
        self._local = not item.filtered or self._plan.modified_since is not None
        self._reader = PageReader(engine._warehouse, state.decoder, fetchers, state.name, engine.decoding)
        self._open_output = open_output
        self._observer = engine._observer

    def run(self, committed: Callable[[SliceResult], None]) -> SliceResult:
        self._observer(SliceStarted(self._state.name, self._slice.label))
        additional = self._additional
        while True:
            output = self._open_output(self._slice, additional)
            tally = SliceTally(self._schema, self._slice.range, typed=self._state.typed)
            try:
                widened = self._fill(output, tally, additional)
                if not widened:
                    result = SliceResult(
                        self._slice,
                        tally.rows,
                        tally.pages,
                        tally.duplicates(),
                        tally.absent,
                        output.finish(),
                    )
                    break
            except BaseException:
                output.abort()
                raise
            output.abort()
            additional = True
            self._observer(SliceRestarted(self._state.name, tally.rows, "undeclared properties came"))
        committed(result)
        self._remark(result, additional)
        self._observer(SliceFinished(self._state.name, self._slice.label, result.rows))
        return result

    def _fill(self, output: SliceOutput, tally: SliceTally, additional: bool) -> bool:
        """Write all pages; return True when the rows need the column `_additional` and the output lacks it."""
        together = RowsTogether(self._engine.rows_together)
        for reading in self._readings():
            if self._engine._stop.is_set():
                raise InterruptedRunError("stopped before the end", hint=CONTINUES)
            batch = reading.decoded.batch
            if self._local:
                batch = within(batch, self._plan.entity_set.date_key, self._slice.range)
            if self._plan.top is not None:
                batch = batch.slice(0, self._plan.top - tally.rows)
            batch = self._redacted(batch)
            if ADDITIONAL in batch.schema.names and not additional:
                if self._state.one_file:
                    raise _WidenedError
                return True
            tally.observe(batch, reading.decoded.absent)
            if (rows := together.add(_with_additional(batch) if additional else batch)) is not None:
                output.write(rows)
            self._observer(PageFetched(self._state.name, batch.num_rows, reading.wire_bytes))
            if self._plan.top is not None and tally.rows >= self._plan.top:
                break
            del reading, batch, rows  # the next page is waited for without them
        if (rows := together.rest()) is not None:
            output.write(rows)
        return False

    def _redacted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if self._plan.redaction is None:
            return batch
        if has_undeclared(batch):
            text = "undeclared properties came and are left out: nobody knows whether they are personal"
            self._engine.warn(self._state, text)
        return self._plan.redaction.rows(batch, self._schema)

    def _readings(self) -> Iterator[Reading]:
        """Yield the pages; a 400 to the first request is met with what the service may understand instead."""
        refusal: BadRequestError | UnavailableError | None = None
        for documented, selected in self._ways():
            readings = self._reader.read(self._url(documented, selected))
            try:
                first = next(readings)
            except BadRequestError as error:
                refusal = error
                continue
            except UnavailableError as error:
                if not (selected and error.status == 500):  # what $select was answered with in 2017
                    raise
                refusal = error
                continue
            self._engine.documented_spelling = documented
            self._state.use_select = selected
            yield first
            yield from readings
            return
        assert refusal is not None
        if self._slice.range.is_open or not self._slice.filtered or self._plan.modified_since is not None:
            raise refusal
        raise FilterIgnoredError(
            f"the service does not accept a DateKey filter here ({refusal.status})",
            collection=self._state.name,
            request_id=refusal.request_id,
        )

    def _ways(self) -> list[tuple[bool, bool]]:
        """Return the ways to ask, most promising first: (documented spelling of the filter, with $select)."""
        current = self._engine.documented_spelling
        spellings = [current] if self._filter(True) == self._filter(False) else [current, not current]
        selects = [True, False] if self._state.use_select else [False]
        return [(documented, selected) for documented in spellings for selected in selects]

    def _filter(self, documented: bool) -> str | None:
        entity_set = self._plan.entity_set
        if self._plan.modified_since is not None:
            name = "RowLastModifiedDateTimeUTC" if documented else entity_set.row_last_modified
            return f"{name} ge {self._plan.modified_since}"
        if not self._slice.filtered or entity_set.date_key is None:
            return None
        return self._slice.range.filter("DateKey" if documented else entity_set.date_key)

    def _url(self, documented: bool, selected: bool) -> str:
        return self._engine._warehouse.url(
            self._plan.entity_set,
            filter=self._filter(documented),
            select=self._plan.read if selected else None,
            # The service would count rows that the range leaves out.
            top=None if self._local and not self._slice.range.is_open else self._plan.top,
        )

    def _remark(self, result: SliceResult, additional: bool) -> None:
        """Warn of what the user should know about a committed slice."""
        if unknown := self._plan.unknown:
            text = f"not in the documentation, so redacted like personal data: {', '.join(unknown)}"
            self._engine.warn(self._state, text)
        if additional:
            self._engine.warn(self._state, f"undeclared properties are kept as JSON in the column {ADDITIONAL}")
        if result.duplicates:
            key = ", ".join(self._schema.key)
            self._engine.warn(self._state, f"several rows have the same key ({key}); all are kept")
        if result.absent:
            self._engine.warn(self._state, f"declared but not sent, so left empty: {', '.join(result.absent)}")


def _kept(error: IntuneDwError) -> IntuneDwError:
    """Make an error fit to be kept: its traceback would keep alive what was in hand, which may be a page too large."""
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)


def within(batch: pa.RecordBatch, date_key: str | None, days: DateKeyRange) -> pa.RecordBatch:
    """Return the rows whose DateKey lies in a range."""
    low, high = days.bounds()
    if date_key is None or days.is_open:
        return batch
    column = batch.column(date_key)
    mask: Any = pc.is_valid(column)
    if low is not None:
        mask = pc.and_(mask, pc.greater_equal(column, low))
    if high is not None:
        mask = pc.and_(mask, pc.less_equal(column, high))
    return batch.filter(mask)


def _with_additional(batch: pa.RecordBatch) -> pa.RecordBatch:
    if ADDITIONAL in batch.schema.names:
        return batch
    return batch.append_column(ADDITIONAL, pa.nulls(batch.num_rows, pa.string()))
