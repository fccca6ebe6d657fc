"""The rows of each day as bars, drawn as SVG that is read aloud too."""

from __future__ import annotations

import datetime as dt
import statistics
from collections.abc import Iterable

from intune_dw_cli.archive.report.days import runs_of, runs_text
from intune_dw_cli.archive.report.facts import Days, Holding
from intune_dw_cli.archive.report.figures import figure
from intune_dw_cli.archive.report.html import Html, cut, el

_WIDTH = 240.0
_HEIGHT = 44.0
_MARKS = 9.0


def bar_chart(holding: Holding, ident: str) -> Html:
    """Return the rows by day as bars; days that are missing, empty or thin have a mark of their own below the axis."""
    days = holding.days
    if days is None:
        return Html("")
    title = el("title", f"Rows of {cut(holding.name)} by day", id=f"{ident}t")
    desc = el("desc", _description(days), id=f"{ident}d")
    axis = _path("axis", f"M0 {_HEIGHT}H{_WIDTH:.0f}")
    return el(
        "svg",
        title,
        desc,
        axis,
        *_bars(days),
        *_marks(days),
        viewBox=f"0 0 {_WIDTH:.0f} {_HEIGHT + _MARKS:.0f}",
        role="img",
        aria_labelledby=f"{ident}t {ident}d",
    )


def legend() -> Html:
    """Return what the marks below the axis mean."""
    marks = [
        ("M2.5 2.5l5 5m0-5l-5 5", "mark", "missing (also shaded)"),
        ("M2.8 5a2.2 2.2 0 1 0 4.4 0a2.2 2.2 0 1 0-4.4 0", "mark", "no rows"),
        ("M5 2.2l3 5.4h-6z", "mark full", "few rows (bar in outline)"),
    ]
    items = [
        el("span", el("svg", _path(kind, shape), viewBox="0 0 10 10", aria_hidden="true"), f" {name}")
        for shape, kind, name in marks
    ]
    return el("p", "Each bar is a day. Marks below the axis: ", *items, class_="legend")


def _bars(days: Days) -> list[Html]:
    step = _WIDTH / len(days.span)
    width = step - (0.8 if step > 3 else 0)
    most = max(days.held, default=1)
    foot, across = _dot(_HEIGHT), _dot(width)
    paths: dict[str, list[str]] = {"bar": [], "bar thin": []}
    for place, day in enumerate(days.span):
        if rows := days.rows.get(day):
            height = max(1.0, rows / most * (_HEIGHT - 2))
            kind = "bar thin" if day in days.thin else "bar"
            paths[kind].append(f"M{_dot(place * step)} {foot}v-{_dot(height)}h{across}V{foot}")
    return [_path(kind, "".join(pieces)) for kind, pieces in paths.items() if pieces]


def _marks(days: Days) -> list[Html]:
    """Return the marks: x and a shaded gap for missing days, a ring for empty ones, a triangle for thin ones."""
    step = _WIDTH / len(days.span)
    middle = _HEIGHT + _MARKS / 2 + 0.5
    shade, crosses = [], []
    for first, last in runs_of(days.missing):
        begin, end = (first - days.first).days * step, ((last - days.first).days + 1) * step
        shade.append(f"M{_dot(begin)} 0H{_dot(end)}V{_dot(_HEIGHT)}H{_dot(begin)}z")
        crosses.append(f"M{_dot((begin + end) / 2 - 2.5)} {_dot(middle - 2.5)}l5 5m0-5l-5 5")
    rings = [
        f"M{_dot(x - 2.2)} {_dot(middle)}a2.2 2.2 0 1 0 4.4 0a2.2 2.2 0 1 0-4.4 0" for x in _centres(days, days.empty)
    ]
    triangles = [f"M{_dot(x)} {_dot(middle - 2.8)}l3 5.4h-6z" for x in _centres(days, sorted(days.thin))]
    marks = [("gap", shade), ("mark", crosses), ("mark", rings), ("mark full", triangles)]
    return [_path(kind, "".join(pieces)) for kind, pieces in marks if pieces]


def _centres(days: Days, marked: Iterable[dt.date]) -> list[float]:
    step = _WIDTH / len(days.span)
    return [((day - days.first).days + 0.5) * step for day in marked if days.first <= day <= days.last]


def _description(days: Days) -> str:
    held = days.held or [0]
    text = (
        f"{days.first} to {days.last}: {figure(min(held))} to {figure(max(held))} rows a day, "
        f"median {figure(statistics.median(held))}."
    )
    named = [("Missing", days.missing), ("No rows", days.empty), ("Few rows", sorted(days.thin))]
    return text + "".join(f" {name}: {runs_text(found)}." for name, found in named if found)


def _path(kind: str, shape: str) -> Html:
    return el("path", class_=kind, d=shape)


def _dot(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
