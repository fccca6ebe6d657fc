"""Days as ordinals, dateKeys and DateTimeOffset texts, and back."""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache

OPEN_END = "9999-12-31T00:00:00Z"
"""What the warehouse writes for "has not ended"."""

TICKS_PER_SECOND = 10_000_000
_SECONDS_PER_DAY = 86_400
_INSTANT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,12}))?)?(?:(Z)|([+-])(\d\d):(\d\d))", re.ASCII
)


@lru_cache(maxsize=8192)
def date_key(day: int) -> int:
    """Return the yyyymmdd integer of an ordinal day."""
    moment = date.fromordinal(day)
    return moment.year * 10_000 + moment.month * 100 + moment.day


def day_of_key(key: int) -> int | None:
    """Return the ordinal day of a yyyymmdd integer, None if there is no such day."""
    try:
        return date(key // 10_000, key // 100 % 100, key % 100).toordinal()
    except ValueError:
        return None


@lru_cache(maxsize=8192)
def iso_day(day: int) -> str:
    """Return the ordinal day as 2024-01-15."""
    return date.fromordinal(day).isoformat()


def midnight(day: int) -> str:
    """Return the first moment of a day as a DateTimeOffset text."""
    return f"{iso_day(day)}T00:00:00Z"


def moment(day: int, bits: int) -> str:
    """Return a moment on that day, chosen by `bits`: 0 to 7 decimals, trailing zeros dropped as .NET does."""
    second = bits % _SECONDS_PER_DAY
    fraction = f"{(bits >> 17) % TICKS_PER_SECOND:07}"[: (bits >> 13) % 8].rstrip("0")
    clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
    return f"{iso_day(day)}T{clock}.{fraction}Z" if fraction else f"{iso_day(day)}T{clock}Z"


def ticks(text: str) -> int | None:
    """Return a DateTimeOffset text as 100 ns ticks on the UTC line, None if it is none.

    Plain integers rather than datetime: an offset may push the years 0001 and 9999 over the edge.
    """
    match = _INSTANT.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    try:
        days = date(year, month, day).toordinal()
    except ValueError:
        return None
    if hour > 23 or minute > 59 or second > 59:
        return None
    seconds = days * _SECONDS_PER_DAY + hour * 3600 + minute * 60 + second
    if match[9]:
        offset = int(match[10]) * 3600 + int(match[11]) * 60
        seconds -= offset if match[9] == "+" else -offset
    return seconds * TICKS_PER_SECOND + int((match[7] or "0").ljust(7, "0")[:7])


def last_touch(today: int, phase: int, period: int) -> int:
    """Return the newest day on or before `today` on which something that changes every `period` days changed.

    It stands still between two changes however the clock moves, as a real row does.
    """
    return today - (today + phase) % period
