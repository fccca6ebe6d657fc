"""Rows by day, without reading them: what the service can be asked cheaply.

The service counts nothing (`$count` is not among its options), so a day is counted by its first page, of the DateKey
alone: one request, exact where the page is the last. Where more pages follow, the end of the rows is sought with
`$skip` and `$top=1`, which bring a row or none: a few requests, until the number is known to a tenth. Both are
documented options; the order of rows, which is not, does not matter to a number.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from intune_dw_cli.data.datekey import DateKeyRange
from intune_dw_cli.errors import (
    BadRequestError,
    FilterIgnoredError,
    InterruptedRunError,
    IntuneDwError,
    SignInError,
    UnavailableError,
)
from intune_dw_cli.service.page import Page
from intune_dw_cli.service.warehouse import EntitySet, Warehouse

PRECISION = 0.1
MOST_PROBES = 16
_BEYOND = 2**31 - 1  # no day has so many rows: a service that gives one there takes no notice of $skip


@dataclass(frozen=True, slots=True)
class RowCount:
    """How many rows there are: exactly, between two numbers, or at least so many (`most` is None)."""

    least: int
    most: int | None

    @property
    def is_exact(self) -> bool:
        """Whether the number is known."""
        return self.least == self.most

    @property
    def estimate(self) -> int:
        """The number, or the middle of what it may be."""
        return self.least if self.most is None else (self.least + self.most) // 2


@dataclass(slots=True)
class DayCounts:
    """Rows of a collection by day (yyyymmdd), in order.

    Attributes:
        requests: How many requests that took.
        error: Why days are missing, None where none is.
    """

    entity_set: EntitySet
    rows: dict[int, RowCount] = field(default_factory=dict)
    requests: int = 0
    error: IntuneDwError | None = None


def count_days(
    warehouse: Warehouse,
    ranges: Sequence[tuple[EntitySet, DateKeyRange]],
    *,
    workers: int,
    stop: threading.Event,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[DayCounts]:
    """Count the rows of each day of closed ranges, several days at the same time.

    Args:
        progress: Told how many days are done, of how many; from worker threads.

    Raises:
        SignInError, InterruptedRunError: nothing else could be asked either. What else fails is in `DayCounts.error`.
    """
    total = sum(1 for _, days in ranges for _ in days.days())
    done = 0
    lock = threading.Lock()
    found = [DayCounts(entity_set) for entity_set, _ in ranges]

    def one(counter: RowCounter, counts: DayCounts, day: DateKeyRange) -> None:
        nonlocal done
        if stop.is_set():
            raise InterruptedRunError("stopped before the end")
        if counts.error is None:
            try:
                rows = counter.count(day)
                with lock:
                    counts.rows[day.bounds()[0] or 0] = rows
            except (SignInError, InterruptedRunError):
                raise
            except IntuneDwError as error:
                counts.error = counts.error or error
        with lock:
            done += 1
            progress(done, total)

    with ThreadPoolExecutor(workers, thread_name_prefix="count") as pool:
        jobs = []
        counters = []
        for counts, (entity_set, days) in zip(found, ranges, strict=True):
            counters.append(RowCounter(warehouse, entity_set))
            newest_first = sorted(days.days(), reverse=True)
            jobs += [pool.submit(one, counters[-1], counts, DateKeyRange.day(day)) for day in newest_first]
        try:
            for job in jobs:
                job.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    for counts, counter in zip(found, counters, strict=True):
        counts.rows = dict(sorted(counts.rows.items()))
        counts.requests = counter.requests
    return found


class RowCounter:
    """Counts rows of one collection, by day or as a whole. Several threads may use it; it learns from each count.

    Attributes:
        requests: Requests so far.
    """

    def __init__(self, warehouse: Warehouse, entity_set: EntitySet) -> None:
        self._warehouse = warehouse
        self._entity_set = entity_set
        self._column = entity_set.date_key or next(iter(entity_set.entity_type.key), None)
        self._documented, self._selected = True, self._column is not None
        self._guess: int | None = None
        self._can_skip: bool | None = None
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self.requests = 0

    def count(self, days: DateKeyRange = DateKeyRange()) -> RowCount:
        """Count the rows of a DateKey range; open at both ends: of the whole collection.

        Raises:
            FilterIgnoredError: rows of other days came.
            IntuneDwError: what Warehouse.page raises.
        """
        page = self._first_page(days)
        rows, next_link = page.document()
        self._require_days(rows, days)
        if next_link is None:
            return RowCount(len(rows), len(rows))
        found = self._seek(days, len(rows)) if self._skips(days) else RowCount(len(rows), None)
        self._guess = found.estimate
        return found

    def _seek(self, days: DateKeyRange, least: int) -> RowCount:
        """Narrow down where the rows end. A guess that is right costs two probes."""
        low, high = least, None
        guesses = (
            [int(self._guess * (1 - PRECISION / 2)), int(self._guess * (1 + PRECISION / 2))] if self._guess else []
        )
        for _ in range(MOST_PROBES):
            if high is not None and high - low <= PRECISION * low:
                break
            fitting = [g for g in guesses if low < g and (high is None or g < high)]
            middle = max(2 * low, 1) if high is None else (low + high) // 2
            at = fitting[0] if fitting else middle
            try:
                is_there = self._has_row(days, at)
            except (BadRequestError, UnavailableError):
                break  # too deep for the service: what is known so far is what can be said
            low, high = (at + 1, high) if is_there else (low, at)
        return RowCount(low, high)

    def _skips(self, days: DateKeyRange) -> bool:
        """Whether the service takes notice of `$skip`; asked once."""
        with self._lock:
            if self._can_skip is None:
                try:
                    self._can_skip = not self._has_row(days, _BEYOND)
                except (BadRequestError, UnavailableError):
                    self._can_skip = False
            return self._can_skip

    def _has_row(self, days: DateKeyRange, at: int) -> bool:
        rows, _ = self._ask(days, self._documented, self._selected, skip=at, top=1).document()
        return bool(rows)

    def _first_page(self, days: DateKeyRange) -> Page:
        """Ask in the documented way, then in those that services were seen to want instead."""
        known = (self._documented, self._selected)
        selects = dict.fromkeys([self._selected, False])
        ways = dict.fromkeys([known, *((documented, s) for s in selects for documented in (True, False))])
        refusal: IntuneDwError | None = None
        for documented, selected in ways:
            try:
                page = self._ask(days, documented, selected)
            except BadRequestError as error:
                refusal = error
                continue
            self._documented, self._selected = documented, selected
            return page
        assert refusal is not None
        raise refusal

    def _ask(self, days: DateKeyRange, documented: bool, selected: bool, **more: int) -> Page:
        name = "DateKey" if documented else self._entity_set.date_key or ""
        url = self._warehouse.url(
            self._entity_set,
            filter=days.filter(name),
            select=[self._column] if selected and self._column else None,
            **more,
        )
        with self._counting:
            self.requests += 1
        return self._warehouse.page(url, collection=self._entity_set.name)

    def _require_days(self, rows: Sequence[object], days: DateKeyRange) -> None:
        name, (low, high) = self._entity_set.date_key, days.bounds()
        if name is None or days.is_open:
            return
        for row in rows:
            day = str(row.get(name) if isinstance(row, dict) else None)  # Int64 may be text
            if not day.isdecimal() or not (low or 0) <= int(day) <= (high or int(day)):
                raise FilterIgnoredError(
                    "the service takes no DateKey filter here, so its days cannot be counted",
                    collection=self._entity_set.name,
                )
