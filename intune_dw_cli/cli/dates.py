"""`collections --dates`: the rows of each day that the service holds, as a picture, JSON or CSV."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from intune_dw_cli.cli.console import Terminal, clean
from intune_dw_cli.cli.period import require_days
from intune_dw_cli.cli.sparkline import has_blocks, sparkline
from intune_dw_cli.data.datekey import today_in_utc

if TYPE_CHECKING:
    import threading

    from intune_dw_cli.archive.gaps import Gaps
    from intune_dw_cli.export.daycount import DayCounts, RowCount
    from intune_dw_cli.service.warehouse import Warehouse

_INDENT = "  "


def ask_days(
    terminal: Terminal,
    warehouse: Warehouse,
    names: Sequence[str],
    days: int | None,
    *,
    workers: int,
    stop: threading.Event,
) -> list[DayCounts]:
    """Count the days of the named collections, or of all that have any.

    Raises:
        UsageError: one of them has no days.
    """
    from intune_dw_cli.data.datekey import DateKeyRange, days_after
    from intune_dw_cli.export.choice import choose
    from intune_dw_cli.export.daycount import count_days
    from intune_dw_cli.export.plan import refuse_ranges_without_datekey, window

    require_days(days, "Give --days 14 for two weeks, or leave it out for the documented retention.")
    known = warehouse.entity_sets
    chosen = choose(warehouse, names or ["*"], skip=[e for e in known if e.date_key is None])
    refuse_ranges_without_datekey(chosen, known)
    today = today_in_utc()
    last = DateKeyRange(days_after(today, 1 - days), today) if days else None
    ranges = [(e, last or window(e, today)) for e in chosen]
    asked = sum(1 for _, span in ranges for _ in span.days())
    terminal.say(f"asking for {asked:,} days, one request each and a few more where a day has several pages")
    with terminal.counting() as show:
        return count_days(
            warehouse,
            ranges,
            workers=workers,
            stop=stop,
            progress=lambda done, total: show("asking for the rows of each day", done, total),
        )


def gaps_of(counts: DayCounts, today: dt.date) -> Gaps:
    """Return the days that are empty or thin among those that were counted."""
    from intune_dw_cli.archive.gaps import find_gaps
    from intune_dw_cli.export.plan import USUAL_RETENTION_DAYS

    rows = {day: count.estimate for day, count in counts.rows.items()}
    days = counts.entity_set.retention_days or USUAL_RETENTION_DAYS
    return find_gaps(rows, as_of=today, retention_days=days)


def draw(terminal: Terminal, found: Sequence[DayCounts]) -> None:
    """Print the picture: a line about each collection, then its days as bars, then its gaps in words."""
    today = today_in_utc()
    blocks = has_blocks(terminal.out.encoding, dumb=terminal.out.is_dumb_terminal)
    for counts in found:
        terminal.out.print(_headline(counts), soft_wrap=True)
        if counts.error is not None:
            terminal.out.print(Text(f"{_INDENT}{clean(counts.error.message)}", "bold red"), soft_wrap=True)
        gaps = gaps_of(counts, today)
        days = list(counts.rows)
        thin = {day.date_key for day in gaps.thin}
        line = sparkline(
            [counts.rows[day].estimate for day in days],
            gaps={place for place, day in enumerate(days) if day in gaps.empty},
            thin={place for place, day in enumerate(days) if day in thin},
            blocks=blocks,
        )
        if any(count.estimate for count in counts.rows.values()):
            room = max(20, terminal.out.width - len(_INDENT))
            for part in line.divide(range(room, len(line), room)):
                terminal.out.print(Text(_INDENT) + part, soft_wrap=True)
        for text in _gap_texts(gaps):
            terminal.out.print(Text(f"{_INDENT}gap: {text}", "yellow"), soft_wrap=True)


def to_json(found: Sequence[DayCounts]) -> list[dict[str, Any]]:
    """Return the counts as JSON values. `rows_at_most` is null where only the least is known."""
    today = today_in_utc()
    return [
        {
            "collection": counts.entity_set.name,
            "retention_days": counts.entity_set.retention_days,
            "requests": counts.requests,
            "error": counts.error.message if counts.error else None,
            "days": [
                {"date_key": day, "rows_at_least": count.least, "rows_at_most": count.most}
                for day, count in counts.rows.items()
            ],
            "empty": list((gaps := gaps_of(counts, today)).empty),
            "thin": [day.date_key for day in gaps.thin],
        }
        for counts in found
    ]


def to_rows(found: Sequence[DayCounts]) -> list[dict[str, Any]]:
    """Return the counts as rows, one a day and collection."""
    return [
        {"collection": each["collection"], **day, "gap": _mark(day["date_key"], each)}
        for each in to_json(found)
        for day in each["days"]
    ]


def _mark(day: int, counts: dict[str, Any]) -> str:
    return "empty" if day in counts["empty"] else "thin" if day in counts["thin"] else ""


def _headline(counts: DayCounts) -> Text:
    from intune_dw_cli.data.datekey import from_date_key

    line = Text(clean(counts.entity_set.name), "bold")
    with_rows = [day for day, count in counts.rows.items() if count.estimate]
    if not with_rows:
        return line + Text(": no rows" if counts.rows else "", "")
    first, last = from_date_key(with_rows[0]), from_date_key(with_rows[-1])
    most = max(counts.rows.values(), key=lambda count: count.estimate)
    return line + Text(f"  {first} to {last}, {len(with_rows)} days, at most {rows_text(most)} a day", "")


def rows_text(count: RowCount) -> str:
    """Return a count as people read it: exact, about so many, or at least so many."""
    if count.most is None:
        return f"{count.least:,} or more rows"
    number = f"{count.estimate:,} row{'s' * (count.estimate != 1)}"
    return number if count.is_exact else f"about {number}"


def _gap_texts(gaps: Gaps) -> list[str]:
    from intune_dw_cli.data.datekey import from_date_key

    texts = [f"{from_date_key(day)}: no rows" for day in gaps.empty]
    texts += [
        f"{from_date_key(day.date_key)}: {day.rows:,} rows, the days around it {day.median:,.0f}" for day in gaps.thin
    ]
    return sorted(texts)
