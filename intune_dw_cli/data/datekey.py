"""DateKey: the day of a snapshot as the integer yyyymmdd, and ranges of such days.

Days are calendar days in UTC, as the warehouse takes its snapshots at midnight UTC.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from intune_dw_cli.errors import UsageError

_ISO = re.compile(r"(\d{4})-(\d{2})-(\d{2})", re.ASCII)
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})", re.ASCII)
_FIRST_SNAPSHOT = dt.date(2010, 1, 1)
_FIRST_KEY, _LAST_KEY = 1_01_01, 9999_12_31
_AGO = re.compile(r"-(\d{1,5})d", re.ASCII)


@lru_cache(maxsize=4096)  # an archive of years has the same days in each collection, and is asked for them often
def to_date_key(day: dt.date) -> int:
    """Return the DateKey of a day: 2024-01-15 becomes 20240115."""
    return day.year * 10000 + day.month * 100 + day.day


@lru_cache(maxsize=4096)
def from_date_key(key: int) -> dt.date:
    """Return the day of a DateKey. Raises ValueError when it is no calendar day."""
    if not _FIRST_KEY <= key <= _LAST_KEY:
        raise ValueError(f"{key} is no DateKey")
    return dt.date(key // 10000, key // 100 % 100, key % 100)


def days_after(day: dt.date, days: int) -> dt.date:
    """Return the day so many days later, or earlier where `days` is negative; the calendar's last or first one at most.

    Days come from the service, from archives and from people, and systems write 9999-12-31 and 0001-01-01 for "none".
    """
    return dt.date.fromordinal(min(max(day.toordinal() + days, dt.date.min.toordinal()), dt.date.max.toordinal()))


def today_in_utc() -> dt.date:
    """Return the day that the warehouse goes by. The only place that asks the clock for it, in no host's time zone."""
    return dt.datetime.now(dt.UTC).date()


@lru_cache(maxsize=4096)
def is_snapshot(key: int, today: dt.date) -> bool:
    """Whether a snapshot can be of this DateKey: a calendar day, not before Intune was, nor later than next week.

    Rows with another DateKey (0, 19000101 and 99991231 are what systems write for "none") are rows like any other, but
    no days of a history: nothing is missing between them and it.
    """
    try:
        return _FIRST_SNAPSHOT <= from_date_key(key) <= days_after(today, 7)
    except ValueError:
        return False


def parse_day(text: str, *, today: dt.date) -> dt.date:
    """Read a day as people write it: `2024-01-15`, `20240115`, `today`, `yesterday` or `-7d` (days before today).

    Raises:
        UsageError: not such a text, or no day of the calendar.
    """
    word = text.strip().lower()
    if word in ("today", "yesterday"):
        return days_after(today, -(word == "yesterday"))
    try:
        if ago := _AGO.fullmatch(word):
            return today - dt.timedelta(days=int(ago[1]))
        if match := _ISO.fullmatch(word) or _COMPACT.fullmatch(word):
            return dt.date(*map(int, match.groups()))
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text!r} is not a day of the calendar", hint="Write the day as 2024-01-15 or 20240115."
        ) from None
    raise UsageError(
        f"{text!r} is not a date",
        hint="Write 2024-01-15, 20240115, today, yesterday or -7d (seven days ago).",
    )


@dataclass(frozen=True, slots=True, order=True)
class DateKeyRange:
    """A range of days, both ends included, either end open (None).

    Raises:
        ValueError: `first` is after `last`.
    """

    first: dt.date | None = None
    last: dt.date | None = None

    def __post_init__(self) -> None:
        if self.first and self.last and self.first > self.last:
            raise ValueError(f"{self.first} is after {self.last}")

    @classmethod
    def day(cls, day: dt.date) -> DateKeyRange:
        """Return the range of one day."""
        return cls(day, day)

    @property
    def is_day(self) -> bool:
        """Whether the range is exactly one day."""
        return self.first is not None and self.first == self.last

    @property
    def is_open(self) -> bool:
        """Whether both ends are open, so that every DateKey is inside."""
        return self.first is None and self.last is None

    def bounds(self) -> tuple[int | None, int | None]:
        """Return the first and last DateKey (yyyymmdd, included), None for an open end."""
        return (
            to_date_key(self.first) if self.first else None,
            to_date_key(self.last) if self.last else None,
        )

    def days(self) -> Iterator[dt.date]:
        """Yield each day in order. Raises ValueError when an end is open."""
        if self.first is None or self.last is None:
            raise ValueError("an open range has no list of days")
        for offset in range((self.last - self.first).days + 1):
            yield self.first + dt.timedelta(days=offset)

    def filter(self, spelling: str = "DateKey") -> str | None:
        """Return the range as an OData `$filter` with that spelling of the property, or None when it is open.

        One day is `DateKey eq 20240115`; the documented operators are lt, le, eq, ge, gt joined by `and`.
        """
        low, high = self.bounds()
        if low is not None and low == high:
            return f"{spelling} eq {low}"
        parts = [f"{spelling} ge {low}"] if low is not None else []
        parts += [f"{spelling} le {high}"] if high is not None else []
        return " and ".join(parts) or None

    def halves(self) -> tuple[DateKeyRange, DateKeyRange] | None:
        """Split a closed range of two days or more in two, or return None."""
        if self.first is None or self.last is None or self.is_day:
            return None
        middle = self.first + (self.last - self.first) // 2
        return DateKeyRange(self.first, middle), DateKeyRange(middle + dt.timedelta(days=1), self.last)

    def __str__(self) -> str:
        if self.is_day:
            return str(self.first)
        return f"{self.first or ''}..{self.last or ''}"
