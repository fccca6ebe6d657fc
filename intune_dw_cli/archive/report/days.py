"""Days as they are read: DateKeys as dates, and many days as runs of days."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import Any

from intune_dw_cli.archive.report.figures import counted
from intune_dw_cli.archive.report.html import Html, escape, small
from intune_dw_cli.data.datekey import from_date_key, to_date_key

DAY = dt.timedelta(days=1)
MOST_RUNS = 12
_DATE = re.compile(r"\b\d{4}-\d\d-\d\d\b", re.ASCII)


def date_of(key: Any) -> dt.date | None:
    """Return the day of a DateKey, None where it is none."""
    try:
        day = from_date_key(int(key))
    except (TypeError, ValueError):
        return None
    return day if to_date_key(day) == int(key) else None


def iso(key: int) -> str:
    """Return a DateKey as an ISO day, as it is where it is none."""
    return str(date_of(key) or key)


def runs_of(days: Sequence[dt.date]) -> list[tuple[dt.date, dt.date]]:
    """Return ascending days as closed spans."""
    runs: list[tuple[dt.date, dt.date]] = []
    for day in days:
        if runs and day - runs[-1][1] == DAY:
            runs[-1] = (runs[-1][0], day)
        else:
            runs.append((day, day))
    return runs


def runs_text(days: Sequence[dt.date]) -> str:
    """Return ascending days as text: `2024-03-01 to 2024-03-04, 2024-03-09`."""
    runs = runs_of(days)
    shown = [str(first) if first == last else f"{first} to {last}" for first, last in runs[:MOST_RUNS]]
    return ", ".join(shown) + (f" and {len(runs) - MOST_RUNS} more spans" if len(runs) > MOST_RUNS else "")


def runs_markup(days: Sequence[dt.date]) -> Html:
    """Return ascending days as text, with how many they are below."""
    return Html(dates(runs_text(days)) + small(counted(len(days), "day")))


def dates(text: str) -> Html:
    """Return text whose dates stay on one line."""
    return Html(_DATE.sub(r'<span class="day">\g<0></span>', escape(text)))
