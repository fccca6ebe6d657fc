"""What a run will bring: rows, bytes and time, estimated from one day of each fact and the first rows of the rest.

For a collection with days one whole day is read, as the run would read it. The first day that has rows is sought, and
it and one in the middle are counted (export.daycount). The error bar is the range of these days, and as much again on
either side: likely, not certain. Of any other collection the first rows are read, and all of them are counted. Nothing
is written. What is not estimated: rows outside the documented retention, waits that the service asks for, and how the
service behaves at another hour.
"""

from __future__ import annotations

import datetime as dt
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from intune_dw_cli.data.formats import FileFormat
from intune_dw_cli.errors import InterruptedRunError, IntuneDwError, SignInError
from intune_dw_cli.events import Observer, ignore
from intune_dw_cli.export.daycount import RowCounter
from intune_dw_cli.export.plan import CollectionPlan, Slice
from intune_dw_cli.export.sampler import Sample, Sampler
from intune_dw_cli.service.warehouse import Warehouse

FIRST_ROWS = 1000
TIME_FACTOR = 2
REPETITION = 0.05
"""What may be left of days that compress together: most rows of a fact come again every day (seen: 0.1 to 0.4)."""
_TRIES_FOR_ROWS = 3


@dataclass(frozen=True, slots=True)
class Amount:
    """A number with its error bar; all three are equal where it is known."""

    low: float
    middle: float
    high: float

    @classmethod
    def exactly(cls, number: float) -> Amount:
        """Return a number that is known."""
        return cls(number, number, number)

    def times(self, factor: float) -> Amount:
        """Return so many times as much."""
        return Amount(self.low * factor, self.middle * factor, self.high * factor)

    def plus(self, other: Amount) -> Amount:
        """Return the sum; the ends of the error bars add up, as if all erred to the same side."""
        return Amount(self.low + other.low, self.middle + other.middle, self.high + other.high)

    @property
    def is_exact(self) -> bool:
        """Whether the number is known."""
        return self.low == self.high


NOTHING = Amount.exactly(0)


@dataclass(slots=True)
class Estimate:
    """What one collection will bring.

    Attributes:
        rows: Rows.
        bytes: Bytes of the files.
        wire_bytes: Bytes to be received.
        seconds: Time with the workers of the probe, if it had them alone.
        read: Rows read for the estimate.
        error: Why there is none, None where there is.
    """

    plan: CollectionPlan
    rows: Amount = NOTHING
    bytes: Amount = NOTHING
    wire_bytes: Amount = NOTHING
    seconds: Amount = NOTHING
    read: int = 0
    error: IntuneDwError | None = None


def total(estimates: Sequence[Estimate]) -> Estimate:
    """Return the sum of estimates; its plan is the first one's and means nothing."""
    result = Estimate(estimates[0].plan)
    for each in estimates:
        result.rows = result.rows.plus(each.rows)
        result.bytes = result.bytes.plus(each.bytes)
        result.wire_bytes = result.wire_bytes.plus(each.wire_bytes)
        result.seconds = result.seconds.plus(each.seconds)
        result.read += each.read
    return result


def estimate(
    warehouse: Warehouse,
    plans: Sequence[CollectionPlan],
    fmt: FileFormat,
    *,
    today: dt.date,
    file_a_day: bool,
    workers: int,
    observer: Observer = ignore,
    stop: threading.Event | None = None,
) -> list[Estimate]:
    """Estimate what plans will bring.

    Args:
        fmt: What the files would be.
        file_a_day: Whether each day gets a file of its own.
        today: Its snapshot may not be whole yet, so another day is read where there is one.
        observer: Hears of waits and warnings.

    Raises:
        SignInError, InterruptedRunError: nothing else could be asked either. What else fails is in `Estimate.error`.
    """
    stop = stop or threading.Event()
    sampler = Sampler(warehouse, fmt, workers, observer, stop)
    for attempt in range(_TRIES_FOR_ROWS):  # another day, where the one that was read had no rows
        sampler.read(
            [
                replace(plan, slices=found[attempt : attempt + 1], top=_most(plan, found[attempt]))
                for plan in plans
                if len(found := _samples(plan, today)) > attempt
                and not (sampler.of(plan).rows or sampler.of(plan).error)
            ]
        )
    with ThreadPoolExecutor(workers, thread_name_prefix="estimate") as pool:
        return list(
            pool.map(
                lambda plan: _conclude(warehouse, plan, sampler.of(plan), fmt, today, file_a_day, workers, stop), plans
            )
        )


def _samples(plan: CollectionPlan, today: dt.date) -> tuple[Slice, ...]:
    """Return the slices that may be read, best first: whole days, the newest before others; else the first slice."""
    days = _days(plan)
    if not days:
        return plan.slices[:1]
    settled = [item for item in days if item.range.first != today]
    return tuple(reversed(settled or days))


def _days(plan: CollectionPlan) -> list[Slice]:
    return [item for item in plan.slices if item.range.is_day]


def _most(plan: CollectionPlan, item: Slice) -> int | None:
    """Return how many rows are read of a slice: a day is read to its end."""
    if item.range.is_day:
        return plan.top
    return min(plan.top or FIRST_ROWS, FIRST_ROWS)


def _conclude(
    warehouse: Warehouse,
    plan: CollectionPlan,
    sample: Sample,
    fmt: FileFormat,
    today: dt.date,
    file_a_day: bool,
    workers: int,
    stop: threading.Event,
) -> Estimate:
    if stop.is_set():
        raise InterruptedRunError("stopped before the end")
    if sample.error is not None:
        return Estimate(plan, error=sample.error)
    if sample.item is None:
        return Estimate(plan)
    try:
        rows, slices = _rows_of(warehouse, plan, sample, today)
    except (SignInError, InterruptedRunError):
        raise
    except IntuneDwError as error:
        return Estimate(plan, read=sample.rows, error=error)
    # Where the day that was read had no rows, what it cost is what each slice costs.
    share = rows.times(1 / sample.rows) if sample.rows else Amount.exactly(slices)
    content = rows.times((sample.bytes - sample.empty_bytes) / max(1, sample.rows))
    if slices > 1 and not file_a_day and fmt.is_compressed:
        content = replace(content, low=content.low * REPETITION)
    heads = sample.empty_bytes * (slices if file_a_day else 1)
    return Estimate(
        plan,
        rows=rows,
        bytes=content.plus(Amount.exactly(heads)),
        wire_bytes=share.times(sample.wire_bytes),
        seconds=_in_doubt(share.times(sample.seconds / workers)),
        read=sample.rows,
    )


def _in_doubt(seconds: Amount) -> Amount:
    """Return a time with a wider bar: one measurement tells no more than the order, disk and other load apart."""
    return Amount(seconds.low / TIME_FACTOR, seconds.middle, seconds.high * TIME_FACTOR)


def _rows_of(warehouse: Warehouse, plan: CollectionPlan, sample: Sample, today: dt.date) -> tuple[Amount, int]:
    """Return the rows of a plan, and in how many slices they come."""
    assert sample.item is not None
    counter = RowCounter(warehouse, plan.entity_set)
    days = _days(plan)
    if not days:
        return _rows_of_whole(plan, sample, counter), 1
    seen = {sample.item: sample.rows}

    def count(item: Slice) -> int:
        if item not in seen:
            seen[item] = counter.count(item.range).estimate
        return seen[item]

    held = days[_first_held(days, days.index(sample.item), count) :]
    for item in (*held[len(held) // 2 :][:1], days[-1]):
        count(item)
    known = sum(rows for item, rows in seen.items() if item in held)
    usual = [rows for item, rows in seen.items() if item in held and item.range.first != today] or [known]
    spread = max(usual) - min(usual)
    day = Amount(max(0, min(usual) - spread), sum(usual) / len(usual), max(usual) + spread)
    unseen = day.times(sum(item not in seen for item in held))
    return Amount.exactly(known).plus(unseen), len(days)


def _first_held(days: Sequence[Slice], last: int, count: Callable[[Slice], int]) -> int:
    """Return the place of the first day with rows, sought by halves: history has a beginning and no other hole.

    Args:
        last: A place that has rows, or else the last that is looked at.
    """
    for place in range(min(2, last)):  # as a rule the first or, counted in snapshots, the second day of the window
        if count(days[place]):
            return place
    low, high = min(1, last), last
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if count(days[middle]) else (middle, high)
    return high


def _rows_of_whole(plan: CollectionPlan, sample: Sample, counter: RowCounter) -> Amount:
    most = plan.top or math.inf
    if sample.rows < min(FIRST_ROWS, most) or sample.rows >= most:
        return Amount.exactly(sample.rows)
    if plan.modified_since is not None:
        return Amount(sample.rows, sample.rows, most)  # how many rows changed the service cannot be asked
    assert sample.item is not None
    found = counter.count(sample.item.range)
    low, high = max(found.least, sample.rows), math.inf if found.most is None else found.most
    return Amount(min(low, most), min(max(found.estimate, low), most), min(high, most))
