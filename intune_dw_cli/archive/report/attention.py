"""What needs a person: missing slices and days, open manual steps, warnings; and the losses to come."""

from __future__ import annotations

import datetime as dt
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from intune_dw_cli.archive.report.days import MOST_RUNS, date_of, dates, iso, runs_markup
from intune_dw_cli.archive.report.facts import Archive, Holding
from intune_dw_cli.archive.report.figures import and_more, counted, figure
from intune_dw_cli.archive.report.html import MOST_ROWS, Html, code, el, escape, group, listed, small, table, word

_MOST_THIN = 4


def attention(archive: Archive) -> Html:
    """Return what needs a person, and the losses to come."""
    groups = [
        _missing_slices(archive),
        _open_steps(archive),
        _missing_days(archive),
        _odd_days(archive),
        _warnings(archive),
    ]
    found = [g for g in groups if g]
    calm = el("p", "No gaps, no missing slices, no warnings, no open manual steps.", class_="calm")
    return el(
        "section",
        el("h2", "What needs attention"),
        *(found or [calm]),
        *_losses(archive),
    )


def _missing_slices(archive: Archive) -> Html | None:
    rows = []
    for holding in archive.holdings:
        reasons: dict[str, list[str]] = {}
        for missing in holding.missing:
            reasons.setdefault(str(missing.get("reason")), []).append(str(missing.get("slice")))
        for reason, slices in reasons.items():
            shown = f"{', '.join(slices[:MOST_RUNS])}{and_more(len(slices) - MOST_RUNS)}"
            rows.append((archive.label(holding), str(len(slices)), word(shown), word(reason)))
    if not rows:
        return None
    return group(
        "Missing slices",
        "Planned and not held. The same backup command fetches what the service still has.",
        table(("Collection", "#Slices", "Which", "Why"), rows, "Missing slices by collection"),
    )


def _open_steps(archive: Archive) -> Html | None:
    steps = archive.open_steps
    if not steps:
        return None
    items = [_step(step) for step in steps[:MOST_ROWS]]
    return group(
        "Open manual steps",
        "These trend charts are not in the archive, and the move resets them: save each in the portal, then attach it.",
        el("ol", *items, class_="steps"),
    )


def _step(step: Mapping[str, Any]) -> Html:
    item = str(step.get("item"))
    reason = str(step.get("reason") or "")
    status = f" (HTTP {step['status']})" if step.get("status") else ""
    command = f"intune-dw backup ARCHIVE --attach FILE --as {shlex.quote(item)}"
    facts: list[tuple[str, Html]] = [
        ("Why", Html(word(reason or str(step.get("state"))) + escape(status))),
        ("In the portal", word(str(step.get("portal_path") or "not known"))),
        ("Attach it with", code(command)),
    ]
    if step.get("permission"):
        facts.append(("Automatic with", Html(escape("the Microsoft Graph permission ") + code(step["permission"]))))
    return el(
        "li",
        el("p", el("b", word(str(step.get("title") or item))), " ", _group_of(step), class_="title"),
        el("dl", *(el("div", el("dt", name), el("dd", value)) for name, value in facts)),
    )


def _group_of(step: Mapping[str, Any]) -> Html:
    optional = " (optional)" if step.get("optional") else ""
    return el("small", word(str(step.get("group") or "")), optional)


def _missing_days(archive: Archive) -> Html | None:
    """Return the days that are not held. A run that did not happen is missing everywhere: collections share a row."""
    found: dict[tuple[tuple[dt.date, ...], str], list[Holding]] = {}
    for holding in archive.holdings:
        at_risk = {
            d: str(r.get("lost_on")) for r in holding.gaps.get("at_risk") or () if (d := date_of(r.get("date_key")))
        }
        if lost := holding.gap_days("lost"):
            found.setdefault((tuple(lost), ""), []).append(holding)
        if at_risk:
            until = at_risk[min(at_risk)] if holding.feed == archive.newest_feed else ""
            found.setdefault((tuple(sorted(at_risk)), until), []).append(holding)
    rows = [
        (runs_markup(days), archive.labels(held), *_remedy(days, until))
        for (days, until), held in sorted(found.items(), key=_first)
    ]
    if not rows:
        return None
    return group(
        "Missing days",
        "Days of a daily snapshot that are not in the archive.",
        table(("Days", "Collections", "State", "What to do"), rows, "Missing days"),
    )


def _remedy(days: Sequence[dt.date], until: str) -> tuple[str, Html]:
    if not until:
        return "Lost for good", escape("Nothing: no feed has them any more.")
    words = f"intune-dw backup ARCHIVE --from {days[0]} --to {days[-1]}".split()
    command = el("code", Html(" ".join(el("span", piece, class_="day") for piece in words)))
    return "Can still be fetched", Html(dates(f"The first is lost on {until}.") + el("div", command))


def _odd_days(archive: Archive) -> Html | None:
    rows: list[tuple[Html, str, Html]] = []
    empty: dict[tuple[dt.date, ...], list[Holding]] = {}
    for holding in archive.holdings:
        if days := holding.gap_days("empty"):
            empty.setdefault(tuple(days), []).append(holding)
        thin = [t for t in holding.gaps.get("thin") or () if date_of(t.get("date_key"))]
        if thin:
            newest = [
                f"{date_of(t['date_key'])}: {figure(t['rows'])}, usual {figure(t['median'])}"
                for t in thin[-_MOST_THIN:]
            ]
            text = ("the newest: " if len(thin) > _MOST_THIN else "") + "; ".join(newest)
            rows.append((archive.label(holding), "Few rows", Html(dates(text) + small(counted(len(thin), "day")))))
    rows = [
        (archive.labels(held), "No rows", runs_markup(days)) for days, held in sorted(empty.items(), key=_first)
    ] + rows
    if not rows:
        return None
    return group(
        "Days that look wrong",
        "Held, with no rows or with under half the median of the three days before and after.",
        table(("Collections", "What", "Days"), rows, "Days with no or few rows"),
    )


def _first(item: tuple[Any, Any]) -> Any:
    """Return what groups are sorted by: their days, and the first collection's place is kept."""
    return item[0]


def _warnings(archive: Archive) -> Html | None:
    rows = [(archive.label(h), word(w)) for h in archive.holdings for w in h.warnings]
    if not rows:
        return None
    return group("Warnings", "", table(("Collection", "Warning"), rows, "Warnings by collection"))


def _losses(archive: Archive) -> list[Html]:
    """Return the days that the service drops next, soonest first; a feed that was left has nothing to lose."""
    by_day: dict[tuple[str, int], list[str]] = {}
    for holding in archive.holdings:
        loss = holding.gaps.get("next_loss")
        if loss and holding.feed == archive.newest_feed:
            by_day.setdefault((str(loss["lost_on"]), int(loss["date_key"])), []).append(holding.name)
    if not by_day:
        return []
    rows = [(dates(lost_on), dates(iso(key)), listed(names)) for (lost_on, key), names in sorted(by_day.items())]
    return [
        group(
            "Upcoming losses",
            "The first day that is not held yet, and when the service drops it for good unless a backup runs before.",
            table(("Lost on", "Day", "Collections"), rows, "Days that the service drops next"),
            calm=True,
        )
    ]
