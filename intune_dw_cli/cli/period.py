"""Days and instants as they are typed: --from, --to, --days, --modified-since."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING

from intune_dw_cli.cli.options import require_positive
from intune_dw_cli.errors import UsageError

if TYPE_CHECKING:
    from intune_dw_cli.data.datekey import DateKeyRange

_MOST_DAYS = 36_525
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d{1,7})?)?Z?)?", re.ASCII)


def day_range(first: str | None, last: str | None, days: int | None, today: dt.date) -> DateKeyRange:
    """Return the DateKey range that --from, --to and --days name.

    Raises:
        UsageError: no dates, the first after the last, or --days together with --from.
    """
    from intune_dw_cli.data.datekey import DateKeyRange, days_after, parse_day

    if days is not None:
        if first or last:
            raise UsageError("--days cannot be combined with --from or --to", hint="Use one way to give the days.")
        require_days(days, "--days 1 is today (UTC), --days 2 today and yesterday.")
        return DateKeyRange(days_after(today, 1 - days), today)
    begin = parse_day(first, today=today) if first else None
    end = parse_day(last, today=today) if last else None
    if begin and end and begin > end:
        raise UsageError(f"--from {begin} is after --to {end}", hint="Exchange them.")
    return DateKeyRange(begin, end)


def require_days(days: int | None, hint: str) -> None:
    """Raise UsageError where --days is less than 1, with the hint, or more than a century."""
    require_positive("--days", days, hint)
    if days is not None and days > _MOST_DAYS:
        raise UsageError(f"--days {days} is more than a century", hint="Leave it out to take all days there are.")


def instant(text: str | None) -> str | None:
    """Return a point in time as the service takes it: ISO 8601 with Z.

    Raises:
        UsageError: not a point in time.
    """
    if text is None:
        return None
    value = text.strip()
    hint = "Write 2024-01-15 or 2024-01-15T08:30:00Z (UTC)."
    if not _INSTANT.fullmatch(value):
        raise UsageError(f"--modified-since {text!r} is not a point in time", hint=hint)
    day, _, clock = value.rstrip("Z").partition("T")
    clock = clock or "00:00:00"
    if clock.count(":") == 1:
        clock += ":00"
    try:
        dt.datetime.fromisoformat(f"{day}T{clock[:8]}")
    except ValueError:
        raise UsageError(f"--modified-since {text!r} is not a point in time", hint=hint) from None
    return f"{day}T{clock}Z"
