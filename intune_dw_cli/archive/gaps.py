"""What an archive lacks, and what will be lost when: told by the rows of each day and the documented retention.

Pure arithmetic over days: no clock. A day is lost for good when the service drops it: the day after it has been kept
for the retention (a snapshot of 1 January with 30 days is on the service until 31 January).
"""

from __future__ import annotations

import datetime as dt
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from intune_dw_cli.data.datekey import DateKeyRange, days_after, from_date_key, to_date_key

_NEIGHBOURS = 3
_WEEKS = 3
_ENOUGH_WEEKS = 2
_THIN = 0.5


@dataclass(frozen=True, slots=True)
class ThinDay:
    """A day with fewer than half the rows of its neighbours, unless it is so every week.

    A fleet that rests at the weekend has few rows there, and which days that is differs by country. So a day is not
    thin that has half the rows that the same day of the week had in the weeks around it: three before and three after,
    of which two at least are held.

    Attributes:
        date_key: The day (yyyymmdd).
        rows: Rows held.
        median: Median of the rows of the three days before and after it.
    """

    date_key: int
    rows: int
    median: float


@dataclass(frozen=True, slots=True)
class Loss:
    """A day that is not held and the day (ISO) on which the service will have dropped it."""

    date_key: int
    lost_on: str


@dataclass(frozen=True, slots=True)
class Gaps:
    """The days of one collection. DateKeys are yyyymmdd.

    Attributes:
        first, last: First and last held day with rows, None when there is none.
        service_first: First day that the service should still have by its documented retention.
        missing: Days between first and last that are not held at all.
        lost: Those of them that the service has dropped already.
        at_risk: Days not held that the service should still have, with the day of their loss.
        empty: Days between first and last that are held and have no rows.
        thin: Days with under half the rows of their neighbours, and no weekly pattern that explains it.
        next_loss: The first day after the last held one: lost on that date unless a backup runs before.
    """

    first: int | None
    last: int | None
    service_first: int
    missing: tuple[int, ...]
    lost: tuple[int, ...]
    at_risk: tuple[Loss, ...]
    empty: tuple[int, ...]
    thin: tuple[ThinDay, ...]
    next_loss: Loss | None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing and no day looks wrong."""
        return not (self.missing or self.at_risk or self.empty or self.thin)


def find_gaps(
    rows_by_day: Mapping[int, int], *, as_of: dt.date, retention_days: int, unfetched: Iterable[int] = ()
) -> Gaps:
    """Compare the days held with the days there should be.

    Args:
        rows_by_day: Rows of each held day, by DateKey; a day without rows counts as held.
        as_of: The day from which the last run's plan counted.
        retention_days: Days that the service keeps.
        unfetched: Days that were planned and could not be fetched.
    """
    with_rows = sorted(day for day, rows in rows_by_day.items() if rows)
    service_first = days_after(as_of, -retention_days)
    first, last = (with_rows[0], with_rows[-1]) if with_rows else (None, None)
    inside = _days(first, last)
    missing = tuple(day for day in inside if day not in rows_by_day)
    absent = sorted({*missing, *(day for day in unfetched if day not in rows_by_day)})
    at_risk = tuple(Loss(day, _lost_on(day, retention_days)) for day in absent if from_date_key(day) >= service_first)
    following = to_date_key(days_after(from_date_key(last), 1)) if last else None
    return Gaps(
        first=first,
        last=last,
        service_first=to_date_key(service_first),
        missing=missing,
        lost=tuple(day for day in missing if from_date_key(day) < service_first),
        at_risk=at_risk,
        empty=tuple(day for day in inside if rows_by_day.get(day) == 0),
        thin=tuple(_thin_days(rows_by_day, inside)),
        next_loss=Loss(following, _lost_on(following, retention_days)) if following else None,
    )


@lru_cache(maxsize=64)  # most collections have the same days
def _days(first: int | None, last: int | None) -> tuple[int, ...]:
    if first is None or last is None:
        return ()
    begin, end = from_date_key(first), from_date_key(last)
    return tuple(map(to_date_key, DateKeyRange(begin, end).days()))


def _thin_days(rows_by_day: Mapping[int, int], inside: Sequence[int]) -> Iterable[ThinDay]:
    each = [rows_by_day.get(day, 0) for day in inside]
    for position, rows in enumerate(each):
        begin = max(0, position - _NEIGHBOURS)
        if not rows or rows >= _THIN * max(each[begin : position + 1 + _NEIGHBOURS]):
            continue  # the usual case, without a median
        day = inside[position]
        around = each[begin:position] + each[position + 1 : position + 1 + _NEIGHBOURS]
        median = statistics.median([r for r in around if r])
        if rows < _THIN * median and not _is_usual(rows_by_day, day, rows):
            yield ThinDay(day, rows, median)


def _is_usual(rows_by_day: Mapping[int, int], day: int, rows: int) -> bool:
    """Whether this day of the week has so few rows in other weeks, too."""
    weeks = [week for week in range(-_WEEKS, _WEEKS + 1) if week]
    alike = [rows_by_day.get(to_date_key(days_after(from_date_key(day), 7 * week)), 0) for week in weeks]
    held = [other for other in alike if other]
    return len(held) >= _ENOUGH_WEEKS and rows >= _THIN * statistics.median(held)


def _lost_on(date_key: int, retention_days: int) -> str:
    return days_after(from_date_key(date_key), retention_days + 1).isoformat()
