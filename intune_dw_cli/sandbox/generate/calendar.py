"""dates (the calendar) and deviceCategories."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from intune_dw_cli.sandbox.timestamps import midnight
from intune_dw_cli.sandbox.words import CATEGORIES

if TYPE_CHECKING:
    from intune_dw_cli.sandbox.generate.source import Record
    from intune_dw_cli.sandbox.noise import Noise


def calendar_days(oldest: int, today: int) -> range:
    """Return the days of the calendar: from the 1st of January of the oldest held day to today."""
    return range(date(date.fromordinal(oldest).year, 1, 1).toordinal(), today + 1)


def calendar_row(day: int) -> list[Record]:
    """Return the calendar's one row of that day, `dateKey` aside. Weeks begin on Sunday, as in US reports."""
    moment = date.fromordinal(day)
    return [
        {
            "fullDate": midnight(day),
            "dayOfWeek": moment.isoweekday() % 7 + 1,
            "dayOfMonth": moment.day,
            "dayOfYear": moment.timetuple().tm_yday,
            "weekOfYear": int(moment.strftime("%U")) + 1,
            "monthOfYear": moment.month,
            "calendarQuarter": (moment.month - 1) // 3 + 1,
            "calendarYear": moment.year,
        }
    ]


def categories(noise: Noise) -> list[Record]:
    """Return the device categories: the sentinel, then the tenant's own."""
    rows: list[Record] = [
        {
            "deviceCategoryID": "00000000-0000-0000-0000-000000000000",
            "deviceCategoryKey": -1,
            "deviceCategoryName": "Not Available",
        }
    ]
    for place, name in enumerate(CATEGORIES):
        rows.append(
            {
                "deviceCategoryID": noise.guid("category", place),
                "deviceCategoryKey": place + 1,
                "deviceCategoryName": name,
            }
        )
    return rows
