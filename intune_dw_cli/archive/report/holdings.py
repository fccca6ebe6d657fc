"""The collections of each feed as tables: those with days have a bar chart, the others follow."""

from __future__ import annotations

from collections.abc import Sequence

from intune_dw_cli.archive.report.barchart import bar_chart, legend
from intune_dw_cli.archive.report.days import dates
from intune_dw_cli.archive.report.facts import Archive, Holding
from intune_dw_cli.archive.report.figures import byte_size, counted, counted_copies, figure
from intune_dw_cli.archive.report.html import Html, badge, code, el, escape, humped, small, table, word


def holdings_by_feed(archive: Archive) -> list[Html]:
    """Return a section for each feed: daily collections with charts, then the others."""
    sections = []
    for feed in sorted({h.feed for h in archive.holdings}):
        mine = [h for h in archive.holdings if h.feed == feed]
        daily = [h for h in mine if h.days is not None]
        whole = [h for h in mine if h.days is None]
        title = f"Collections of feed {feed}" if archive.several else "Collections"
        where = [el("p", code(archive.feed(feed)))] if archive.several else []
        sections.append(el("section", el("h2", title), *where, *_daily(daily, feed), *_whole(whole)))
    return sections


def _daily(holdings: Sequence[Holding], feed: int) -> list[Html]:
    if not holdings:
        return []
    rows = [
        (
            Html(humped(h.name) + _retention(h)),
            badge(h.state),
            figure(h.rows),
            _day_span(h),
            _files(h),
            byte_size(h.bytes),
            Html(bar_chart(h, f"f{feed}c{number}") + _most(h)),
        )
        for number, h in enumerate(holdings, 1)
    ]
    columns = ("Collection", "State", "#Rows", "Days", "#Files", "#Size", "Rows by day")
    return [el("h3", "Daily"), legend(), table(columns, rows, "Daily collections", class_="daily")]


def _whole(holdings: Sequence[Holding]) -> list[Html]:
    if not holdings:
        return []
    rows = [(word(h.name), h.kind, badge(h.state), figure(h.rows), _files(h), byte_size(h.bytes)) for h in holdings]
    columns = ("Collection", "Kind", "State", "#Rows", "#Files", "#Size")
    return [el("h3", "Without days"), table(columns, rows, "Collections without days")]


def _files(holding: Holding) -> Html:
    copies = small(counted_copies(len(holding.copies))) if holding.copies else ""
    return Html(escape(figure(holding.files)) + copies)


def _most(holding: Holding) -> str:
    held = holding.days.held if holding.days else []
    return small(f"most {figure(max(held))} a day") if held else ""


def _retention(holding: Holding) -> str:
    days = holding.raw.get("retention_days")
    return small(f"retention {days} days") if days else ""


def _day_span(holding: Holding) -> Html:
    with_rows = [day for day, rows in holding.rows_by_day.items() if rows]
    if not with_rows:
        return escape("none held")
    ends = f"{with_rows[0]} to {with_rows[-1]}" if len(with_rows) > 1 else str(with_rows[0])
    return Html(dates(ends) + small(counted(len(with_rows), "day")))
