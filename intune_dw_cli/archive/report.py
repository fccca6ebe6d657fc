"""report.html: what an archive holds and what it lacks, as one page for a change ticket.

A pure function of the manifest's content: no clock, no network, no script. What needs a person comes first. The page is
put together from elements (`_el`) that escape what they are given, so nothing the service says can become markup.
"""

from __future__ import annotations

import datetime as dt
import html
import re
import shlex
import statistics
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from intune_dw_cli.data.datekey import from_date_key, to_date_key

_LONGEST = 300
_MOST_ROWS = 200
_MOST_RUNS = 12
_MOST_THIN = 4
_MOST_DAYS = 4000
_DAY = dt.timedelta(days=1)
_OPEN = ("manual", "failed")


def render_report(content: Mapping[str, Any], manifest_sha256: str) -> str:
    """Return report.html.

    Args:
        content: The `content` of manifest.json. Missing optional fields count as empty.
        manifest_sha256: Hex digest of the bytes of manifest.json.
    """
    archive = _Archive(content)
    body = [
        _head(archive, manifest_sha256),
        _attention(archive),
        *_collections(archive),
        _charts(archive),
        _drift(archive),
        _proof(archive, manifest_sha256),
        _sign_off(),
    ]
    title = f"Intune Data Warehouse backup as of {archive.as_of}"
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    head = _el(
        "head",
        _el("meta", charset="utf-8"),
        _el("meta", http_equiv="Content-Security-Policy", content=policy),
        _el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        _el("meta", name="color-scheme", content="light"),
        _el("title", title),
        _Html(f"<style>{_STYLE}</style>"),
    )
    return f"<!DOCTYPE html>\n{_el('html', head, _el('body', _el('main', *body)), lang='en')}\n"


# -- what there is --------------------------------------------------------------------------------------------


class _Archive:
    """The manifest's content, with defaults for what it does not have."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._content = content
        self.as_of = str(content.get("as_of") or "?")
        self.complete = content.get("state") == "complete"
        self.holdings = [_Holding(c) for c in content.get("collections") or ()]
        self.charts: list[Mapping[str, Any]] = list(content.get("charts") or ())
        self.feeds = [str(f) for f in content.get("feeds") or [content.get("source") or "?"]]

    def get(self, name: str) -> str:
        """Return a value as text, `not known` where there is none."""
        value = self._content.get(name)
        return "not known" if value is None else str(value)

    @property
    def form(self) -> str:
        """Format, compression and what became of times."""
        compression = self._content.get("compression")
        return f"{self.get('format')}{f', {compression}' if compression else ''}; times: {self.get('timestamps')}"

    @property
    def several(self) -> bool:
        """Whether there is more than one feed."""
        return len(self.feeds) > 1 or any(h.feed > 1 for h in self.holdings)

    @property
    def newest_feed(self) -> int:
        """The feed that the last run read; what an older one had cannot be fetched any more."""
        return max((h.feed for h in self.holdings), default=1)

    @property
    def drift(self) -> Mapping[str, Any] | None:
        """Differences of the service's model, None where they were not looked for."""
        return self._content.get("drift")

    @property
    def documents(self) -> Mapping[str, str]:
        """Hashes of the service's documents by file name."""
        return self._content.get("documents") or {}

    @property
    def open_steps(self) -> list[Mapping[str, Any]]:
        """Charts that a person must save; optional ones last."""
        found = [c for c in self.charts if c.get("state") in _OPEN]
        return sorted(found, key=lambda c: bool(c.get("optional")))

    def feed(self, number: int) -> str:
        """Return a feed's URL."""
        return self.feeds[number - 1] if 0 < number <= len(self.feeds) else "?"

    def label(self, holding: _Holding) -> _Html:
        """Return a collection's name, with its feed where there are several."""
        return _Html(_humped(holding.name) + (_small(f"feed {holding.feed}") if self.several else ""))

    def labels(self, holdings: Sequence[_Holding]) -> _Html:
        """Return the names of collections, or how many they are where they are all that have days."""
        feeds = sorted({h.feed for h in holdings})
        daily = [h for h in self.holdings if h.days is not None and h.feed in feeds]
        where = _small(f"feed {', '.join(map(str, feeds))}") if self.several else ""
        everywhere = len(holdings) == len(daily) > 3
        names = _escape(f"all {len(daily)} daily collections") if everywhere else _names([h.name for h in holdings])
        return _Html(names + where)


@dataclass(frozen=True)
class _Holding:
    """A collection's entry."""

    raw: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.raw.get("name"))

    @property
    def kind(self) -> str:
        return str(self.raw.get("kind"))

    @property
    def feed(self) -> int:
        return int(self.raw.get("feed") or 1)

    @property
    def rows(self) -> int:
        return int(self.raw.get("rows") or 0)

    @property
    def missing(self) -> Sequence[Mapping[str, Any]]:
        return self.raw.get("missing") or ()

    @property
    def warnings(self) -> Sequence[str]:
        return self.raw.get("warnings") or ()

    @cached_property
    def parts(self) -> list[Mapping[str, Any]]:
        return [p for s in self.raw.get("slices") or () for p in s.get("parts") or ()]

    @property
    def bytes(self) -> int:
        return sum(int(p.get("bytes") or 0) for p in self.parts)

    @cached_property
    def rows_by_day(self) -> dict[dt.date, int]:
        days: Counter[dt.date] = Counter()
        for part in self.parts:
            if (day := _date(part.get("date_key"))) is not None:
                days[day] += int(part.get("rows") or 0)
        return dict(sorted(days.items()))

    @property
    def gaps(self) -> Mapping[str, Any]:
        return self.raw.get("gaps") or {}

    def gap_days(self, name: str) -> list[dt.date]:
        """Return the days of a list in `gaps`, which holds DateKeys or objects with one."""
        keys = [g.get("date_key") if isinstance(g, Mapping) else g for g in self.gaps.get(name) or ()]
        return sorted(day for key in keys if (day := _date(key)) is not None)

    @cached_property
    def days(self) -> _Days | None:
        with_rows = [day for day, rows in self.rows_by_day.items() if rows]
        at_risk = self.gap_days("at_risk")
        if not with_rows and not at_risk:
            return None
        ends = [*with_rows[:1], *with_rows[-1:], *at_risk]
        last = max(ends)
        first = max(min(ends), last - _MOST_DAYS * _DAY) if last.toordinal() > _MOST_DAYS else min(ends)
        return _Days(first, last, self.rows_by_day, frozenset(self.gap_days("thin")))


@dataclass(frozen=True)
class _Days:
    """Rows by day over a span; a day that is not in `rows` is not held."""

    first: dt.date
    last: dt.date
    rows: Mapping[dt.date, int]
    thin: frozenset[dt.date]

    @cached_property
    def span(self) -> list[dt.date]:
        return [self.first + n * _DAY for n in range((self.last - self.first).days + 1)]

    @property
    def missing(self) -> list[dt.date]:
        return [day for day in self.span if day not in self.rows]

    @property
    def empty(self) -> list[dt.date]:
        return [day for day in self.span if self.rows.get(day) == 0]

    @property
    def held(self) -> list[int]:
        return [rows for day in self.span if (rows := self.rows.get(day))]


# -- head and attention ---------------------------------------------------------------------------------------


def _head(archive: _Archive, manifest_sha256: str) -> _Html:
    holdings = archive.holdings
    files = sum(len(h.parts) for h in holdings)
    saved = (
        f"{_count(len(holdings), 'collection')}, {_count(sum(h.rows for h in holdings), 'row')}, "
        f"{_count(files, 'file')}, {_size(sum(h.bytes for h in holdings))}"
    )
    charts = [c for c in archive.charts if c.get("state") not in _OPEN]
    feeds = [_el("li", _code(url)) for url in archive.feeds]
    facts: list[tuple[str, _Html | str]] = [
        ("As of", _el("time", archive.as_of)),
        ("Saved", saved),
        ("Trend charts", f"{len(charts)} of {len(archive.charts)} saved" if archive.charts else "none in this archive"),
        (
            "Feeds, in order" if archive.several else "Feed",
            _el("ol", *feeds) if archive.several else _code(archive.feeds[0]),
        ),
        ("Tenant", _word(archive.get("tenant"))),
        ("API version", _word(archive.get("api_version"))),
        ("Format", _word(archive.form)),
        ("Made by", _word(archive.get("tool"))),
        ("SHA-256 of manifest.json", _code(manifest_sha256)),
    ]
    verdict = (
        "Every row that the service gave for everything planned is in a file that manifest.json lists."
        if archive.complete
        else "Something planned is not in the archive. The same backup command continues."
    )
    state = "complete" if archive.complete else "partial"
    return _el(
        "header",
        _el("p", "Intune Data Warehouse", class_="over"),
        _el("h1", "Backup report"),
        _el("p", _badge(state), " ", verdict, class_="verdict"),
        _el("dl", *(_el("div", _el("dt", name), _el("dd", value)) for name, value in facts)),
    )


def _attention(archive: _Archive) -> _Html:
    """Return what needs a person, and the losses to come."""
    groups = [
        _missing_slices(archive),
        _open_steps(archive),
        _missing_days(archive),
        _odd_days(archive),
        _warnings(archive),
    ]
    found = [group for group in groups if group]
    calm = _el("p", "No gaps, no missing slices, no warnings, no open manual steps.", class_="calm")
    return _el(
        "section",
        _el("h2", "What needs attention"),
        *(found or [calm]),
        *_losses(archive),
    )


def _missing_slices(archive: _Archive) -> _Html | None:
    rows = []
    for holding in archive.holdings:
        reasons: dict[str, list[str]] = {}
        for missing in holding.missing:
            reasons.setdefault(str(missing.get("reason")), []).append(str(missing.get("slice")))
        for reason, slices in reasons.items():
            shown = f"{', '.join(slices[:_MOST_RUNS])}{_and_more(len(slices) - _MOST_RUNS)}"
            rows.append((archive.label(holding), str(len(slices)), _word(shown), _word(reason)))
    if not rows:
        return None
    return _group(
        "Missing slices",
        "Planned and not held. The same backup command fetches what the service still has.",
        _table(("Collection", "#Slices", "Which", "Why"), rows, "Missing slices by collection"),
    )


def _open_steps(archive: _Archive) -> _Html | None:
    steps = archive.open_steps
    if not steps:
        return None
    items = [_step(step) for step in steps[:_MOST_ROWS]]
    return _group(
        "Open manual steps",
        "These trend charts are not in the archive, and the move resets them: save each in the portal, then attach it.",
        _el("ol", *items, class_="steps"),
    )


def _step(step: Mapping[str, Any]) -> _Html:
    item = str(step.get("item"))
    reason = str(step.get("reason") or "")
    status = f" (HTTP {step['status']})" if step.get("status") else ""
    command = f"intune-dw backup ARCHIVE --attach FILE --as {shlex.quote(item)}"
    facts: list[tuple[str, _Html]] = [
        ("Why", _Html(_word(reason or str(step.get("state"))) + _escape(status))),
        ("In the portal", _word(str(step.get("portal_path") or "not known"))),
        ("Attach it with", _code(command)),
    ]
    if step.get("permission"):
        facts.append(("Automatic with", _Html(_escape("the Microsoft Graph permission ") + _code(step["permission"]))))
    return _el(
        "li",
        _el("p", _el("b", _word(str(step.get("title") or item))), " ", _group_of(step), class_="title"),
        _el("dl", *(_el("div", _el("dt", name), _el("dd", value)) for name, value in facts)),
    )


def _group_of(step: Mapping[str, Any]) -> _Html:
    optional = " (optional)" if step.get("optional") else ""
    return _el("small", _word(str(step.get("group") or "")), optional)


def _missing_days(archive: _Archive) -> _Html | None:
    """Return the days that are not held. A run that did not happen is missing everywhere: collections share a row."""
    found: dict[tuple[tuple[dt.date, ...], str], list[_Holding]] = {}
    for holding in archive.holdings:
        dates = {d: str(r.get("lost_on")) for r in holding.gaps.get("at_risk") or () if (d := _date(r.get("date_key")))}
        if lost := holding.gap_days("lost"):
            found.setdefault((tuple(lost), ""), []).append(holding)
        if dates:
            until = dates[min(dates)] if holding.feed == archive.newest_feed else ""
            found.setdefault((tuple(sorted(dates)), until), []).append(holding)
    rows = [
        (_runs(days), archive.labels(held), *_remedy(days, until))
        for (days, until), held in sorted(found.items(), key=_first)
    ]
    if not rows:
        return None
    return _group(
        "Missing days",
        "Days of a daily snapshot that are not in the archive.",
        _table(("Days", "Collections", "State", "What to do"), rows, "Missing days"),
    )


def _remedy(days: Sequence[dt.date], until: str) -> tuple[str, _Html]:
    if not until:
        return "Lost for good", _escape("Nothing: no feed has them any more.")
    words = f"intune-dw backup ARCHIVE --from {days[0]} --to {days[-1]}".split()
    command = _el("code", _Html(" ".join(_el("span", word, class_="day") for word in words)))
    return "Can still be fetched", _Html(_dates(f"The first is lost on {until}.") + _el("div", command))


def _odd_days(archive: _Archive) -> _Html | None:
    rows: list[tuple[_Html, str, _Html]] = []
    empty: dict[tuple[dt.date, ...], list[_Holding]] = {}
    for holding in archive.holdings:
        if days := holding.gap_days("empty"):
            empty.setdefault(tuple(days), []).append(holding)
        thin = [t for t in holding.gaps.get("thin") or () if _date(t.get("date_key"))]
        if thin:
            newest = [
                f"{_date(t['date_key'])}: {_number(t['rows'])}, usual {_number(t['median'])}"
                for t in thin[-_MOST_THIN:]
            ]
            text = ("the newest: " if len(thin) > _MOST_THIN else "") + "; ".join(newest)
            rows.append((archive.label(holding), "Few rows", _Html(_dates(text) + _small(_count(len(thin), "day")))))
    rows = [(archive.labels(held), "No rows", _runs(days)) for days, held in sorted(empty.items(), key=_first)] + rows
    if not rows:
        return None
    return _group(
        "Days that look wrong",
        "Held, with no rows or with under half the median of the three days before and after.",
        _table(("Collections", "What", "Days"), rows, "Days with no or few rows"),
    )


def _first(item: tuple[Any, Any]) -> Any:
    """Return what groups are sorted by: their days, and the first collection's place is kept."""
    return item[0]


def _warnings(archive: _Archive) -> _Html | None:
    rows = [(archive.label(h), _word(w)) for h in archive.holdings for w in h.warnings]
    if not rows:
        return None
    return _group("Warnings", "", _table(("Collection", "Warning"), rows, "Warnings by collection"))


def _losses(archive: _Archive) -> list[_Html]:
    """Return the days that the service drops next, soonest first; a feed that was left has nothing to lose."""
    by_day: dict[tuple[str, int], list[str]] = {}
    for holding in archive.holdings:
        loss = holding.gaps.get("next_loss")
        if loss and holding.feed == archive.newest_feed:
            by_day.setdefault((str(loss["lost_on"]), int(loss["date_key"])), []).append(holding.name)
    if not by_day:
        return []
    rows = [(_dates(lost_on), _dates(_iso(key)), _names(names)) for (lost_on, key), names in sorted(by_day.items())]
    return [
        _group(
            "Upcoming losses",
            "The first day that is not held yet, and when the service drops it for good unless a backup runs before.",
            _table(("Lost on", "Day", "Collections"), rows, "Days that the service drops next"),
            calm=True,
        )
    ]


def _names(names: Sequence[str]) -> _Html:
    shown = [_word(name) for name in names[:_MOST_ROWS]]
    return _Html(", ".join(shown) + _escape(_and_more(len(names) - _MOST_ROWS)))


# -- collections ----------------------------------------------------------------------------------------------


def _collections(archive: _Archive) -> list[_Html]:
    """Return a section for each feed: daily collections with charts, then the others."""
    sections = []
    for feed in sorted({h.feed for h in archive.holdings}):
        mine = [h for h in archive.holdings if h.feed == feed]
        daily = [h for h in mine if h.days is not None]
        whole = [h for h in mine if h.days is None]
        title = f"Collections of feed {feed}" if archive.several else "Collections"
        where = [_el("p", _code(archive.feed(feed)))] if archive.several else []
        sections.append(_el("section", _el("h2", title), *where, *_daily(daily, feed), *_whole(whole)))
    return sections


def _daily(holdings: Sequence[_Holding], feed: int) -> list[_Html]:
    if not holdings:
        return []
    rows = [
        (
            _Html(_humped(h.name) + _retention(h)),
            _badge(str(h.raw.get("state"))),
            _number(h.rows),
            _day_span(h),
            _number(len(h.parts)),
            _size(h.bytes),
            _Html(_bar_chart(h, f"f{feed}c{number}") + _most(h)),
        )
        for number, h in enumerate(holdings, 1)
    ]
    columns = ("Collection", "State", "#Rows", "Days", "#Files", "#Size", "Rows by day")
    return [_el("h3", "Daily"), _legend(), _table(columns, rows, "Daily collections", class_="daily")]


def _whole(holdings: Sequence[_Holding]) -> list[_Html]:
    if not holdings:
        return []
    rows = [
        (_word(h.name), h.kind, _badge(str(h.raw.get("state"))), _number(h.rows), _number(len(h.parts)), _size(h.bytes))
        for h in holdings
    ]
    columns = ("Collection", "Kind", "State", "#Rows", "#Files", "#Size")
    return [_el("h3", "Without days"), _table(columns, rows, "Collections without days")]


def _most(holding: _Holding) -> str:
    held = holding.days.held if holding.days else []
    return _small(f"most {_number(max(held))} a day") if held else ""


def _retention(holding: _Holding) -> str:
    days = holding.raw.get("retention_days")
    return _small(f"retention {days} days") if days else ""


def _day_span(holding: _Holding) -> _Html:
    with_rows = [day for day, rows in holding.rows_by_day.items() if rows]
    if not with_rows:
        return _escape("none held")
    ends = f"{with_rows[0]} to {with_rows[-1]}" if len(with_rows) > 1 else str(with_rows[0])
    return _Html(_dates(ends) + _small(_count(len(with_rows), "day")))


_CHART_WIDTH = 240.0
_CHART_HEIGHT = 44.0
_MARKS = 9.0


def _bar_chart(holding: _Holding, ident: str) -> _Html:
    """Return the rows by day as bars; days that are missing, empty or thin have a mark of their own below the axis."""
    days = holding.days
    if days is None:
        return _Html("")
    title = _el("title", f"Rows of {_cut(holding.name)} by day", id=f"{ident}t")
    desc = _el("desc", _description(days), id=f"{ident}d")
    axis = _svg("path", "axis", f"M0 {_CHART_HEIGHT}H{_CHART_WIDTH:.0f}")
    return _el(
        "svg",
        title,
        desc,
        axis,
        *_bars(days),
        *_marks(days),
        viewBox=f"0 0 {_CHART_WIDTH:.0f} {_CHART_HEIGHT + _MARKS:.0f}",
        role="img",
        aria_labelledby=f"{ident}t {ident}d",
    )


def _bars(days: _Days) -> list[_Html]:
    step = _CHART_WIDTH / len(days.span)
    width = step - (0.8 if step > 3 else 0)
    most = max(days.held, default=1)
    paths: dict[str, list[str]] = {"bar": [], "bar thin": []}
    for place, day in enumerate(days.span):
        if rows := days.rows.get(day):
            height = max(1.0, rows / most * (_CHART_HEIGHT - 2))
            kind = "bar thin" if day in days.thin else "bar"
            paths[kind].append(
                f"M{_dot(place * step)} {_dot(_CHART_HEIGHT)}v-{_dot(height)}h{_dot(width)}V{_dot(_CHART_HEIGHT)}"
            )
    return [_svg("path", kind, "".join(pieces)) for kind, pieces in paths.items() if pieces]


def _marks(days: _Days) -> list[_Html]:
    """Return the marks: x and a shaded gap for missing days, a ring for empty ones, a triangle for thin ones."""
    step = _CHART_WIDTH / len(days.span)
    middle = _CHART_HEIGHT + _MARKS / 2 + 0.5
    shade, crosses = [], []
    for first, last in _runs_of(days.missing):
        begin, end = (first - days.first).days * step, ((last - days.first).days + 1) * step
        shade.append(f"M{_dot(begin)} 0H{_dot(end)}V{_dot(_CHART_HEIGHT)}H{_dot(begin)}z")
        crosses.append(f"M{_dot((begin + end) / 2 - 2.5)} {_dot(middle - 2.5)}l5 5m0-5l-5 5")
    rings = [
        f"M{_dot(x - 2.2)} {_dot(middle)}a2.2 2.2 0 1 0 4.4 0a2.2 2.2 0 1 0-4.4 0" for x in _centres(days, days.empty)
    ]
    triangles = [f"M{_dot(x)} {_dot(middle - 2.8)}l3 5.4h-6z" for x in _centres(days, sorted(days.thin))]
    marks = [("gap", shade), ("mark", crosses), ("mark", rings), ("mark full", triangles)]
    return [_svg("path", kind, "".join(pieces)) for kind, pieces in marks if pieces]


def _centres(days: _Days, marked: Iterable[dt.date]) -> list[float]:
    step = _CHART_WIDTH / len(days.span)
    return [((day - days.first).days + 0.5) * step for day in marked if days.first <= day <= days.last]


def _description(days: _Days) -> str:
    held = days.held or [0]
    text = (
        f"{days.first} to {days.last}: {_number(min(held))} to {_number(max(held))} rows a day, "
        f"median {_number(statistics.median(held))}."
    )
    named = [("Missing", days.missing), ("No rows", days.empty), ("Few rows", sorted(days.thin))]
    return text + "".join(f" {name}: {_runs_text(found)}." for name, found in named if found)


def _legend() -> _Html:
    marks = [
        ("M2.5 2.5l5 5m0-5l-5 5", "mark", "missing (also shaded)"),
        ("M2.8 5a2.2 2.2 0 1 0 4.4 0a2.2 2.2 0 1 0-4.4 0", "mark", "no rows"),
        ("M5 2.2l3 5.4h-6z", "mark full", "few rows (bar in outline)"),
    ]
    items = [
        _el("span", _el("svg", _svg("path", kind, shape), viewBox="0 0 10 10", aria_hidden="true"), f" {name}")
        for shape, kind, name in marks
    ]
    return _el("p", "Each bar is a day. Marks below the axis: ", *items, class_="legend")


def _svg(tag: str, kind: str, path: str) -> _Html:
    return _el(tag, class_=kind, d=path)


def _dot(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


# -- charts, drift, proof, signatures -------------------------------------------------------------------------


def _charts(archive: _Archive) -> _Html:
    if not archive.charts:
        return _el(
            "section",
            _el("h2", "Trend charts"),
            _el("p", "No trend charts were asked for. The move resets them: without --no-charts they are saved too."),
        )
    rows = [
        (
            _word(str(c.get("group") or "")),
            _Html(_word(str(c.get("title") or c.get("item"))) + (_small("optional") if c.get("optional") else "")),
            _badge(str(c.get("state"))),
            _chart_files(c.get("files") or ()),
        )
        for c in archive.charts
    ]
    return _el(
        "section",
        _el("h2", "Trend charts"),
        _table(
            ("Group", "Chart", "State", "Files (size, first digits of SHA-256)"), rows, "Trend charts", class_="files"
        ),
    )


def _chart_files(files: Sequence[Mapping[str, Any]]) -> _Html:
    if not files:
        return _escape("none")
    shown = [
        _el(
            "li",
            _code(f.get("path")),
            " ",
            _el("small", f"{_size(int(f.get('bytes') or 0))}, {str(f.get('sha256'))[:12]}"),
        )
        for f in files[:_MOST_ROWS]
    ]
    more = [_el("li", _and_more(len(files) - _MOST_ROWS))] if len(files) > _MOST_ROWS else []
    return _el("ul", *shown, *more, class_="plain")


def _drift(archive: _Archive) -> _Html:
    heading = _el("h2", "Changes of the service's model")
    if archive.drift is None:
        return _el("section", heading, _el("p", "Not compared."))
    lists = [
        _drift_list("Against the documentation", archive.drift.get("reference") or ()),
        _drift_list("Against the last run", archive.drift.get("last_run") or ()),
    ]
    return _el("section", heading, *lists)


def _drift_list(title: str, texts: Sequence[Any]) -> _Html:
    if not texts:
        return _el("p", _el("b", f"{title}: "), "no differences.")
    items = [_el("li", _word(str(text))) for text in texts[:_MOST_ROWS]]
    if len(texts) > _MOST_ROWS:
        items.append(_el("li", _and_more(len(texts) - _MOST_ROWS)))
    return _el("div", _el("h3", f"{title}: {_count(len(texts), 'difference')}"), _el("ul", *items))


def _proof(archive: _Archive, manifest_sha256: str) -> _Html:
    documents = [_el("li", _word(name), " ", _code(digest)) for name, digest in archive.documents.items()]
    ways: list[tuple[str, str]] = [
        ("This page belongs to that manifest", "sha256sum manifest.json"),
        ("The same in PowerShell", "Get-FileHash manifest.json -Algorithm SHA256"),
        ("No file has changed, without this tool", "sha256sum -c SHA256SUMS"),
        ("Hashes, file set and contents", "intune-dw verify ARCHIVE"),
        ("The archive agrees with the service", "intune-dw verify ARCHIVE --against-service"),
    ]
    return _el(
        "section",
        _el("h2", "Proof"),
        _el("p", "manifest.json lists every file with its rows, size and SHA-256. Its own SHA-256 is"),
        _el("p", _code(manifest_sha256), class_="hash"),
        _el("p", "Run in the archive's folder:"),
        _el("dl", *(_el("div", _el("dt", name), _el("dd", _code(command))) for name, command in ways)),
        *([_el("p", "The service's own description of its data:"), _el("ul", *documents)] if documents else []),
        class_="proof",
    )


def _sign_off() -> _Html:
    rows = [
        _el(
            "tr",
            _el("th", role, scope="row"),
            *(_el("td", _Html(""), data_label=label) for label in ("Name", "Date", "Signature")),
        )
        for role in ("Backed up by", "Verified by", "Move approved by")
    ]
    head = _el("tr", *(_el("th", name, scope="col") for name in ("", "Name", "Date", "Signature")))
    table = _el("table", _el("thead", head), _el("tbody", *rows), class_="sign")
    return _el("section", _el("h2", "Sign-off"), table, class_="whole")


# -- pieces ---------------------------------------------------------------------------------------------------


class _Html(str):
    """Text that is markup already."""

    __slots__ = ()


_VOID = {"meta"}


def _el(tag: str, *children: str, **attributes: str) -> _Html:
    """Return an element. Children that are no `_Html`, and all attributes, are escaped.

    `class_` stands for `class`, and `_` inside a name for `-`.
    """
    pairs = "".join(f' {n.rstrip("_").replace("_", "-")}="{_escape(v)}"' for n, v in attributes.items())
    if tag in _VOID:
        return _Html(f"<{tag}{pairs}>")
    inner = "".join(child if isinstance(child, _Html) else _escape(child) for child in children)
    end = "\n" if tag in _BLOCKS else ""
    return _Html(f"<{tag}{pairs}>{inner}</{tag}>{end}")


_BLOCKS = {"head", "header", "section", "div", "p", "h1", "h2", "h3", "dl", "li", "table", "thead", "tr", "svg"}


def _escape(text: str) -> _Html:
    return _Html(html.escape(text if text.isprintable() else "".join(map(_seen, text))))


def _seen(char: str) -> str:
    """Return a character so that it can be seen and does nothing: controls and text direction marks get names."""
    kind = unicodedata.category(char)
    if kind in ("Cc", "Cs", "Zl", "Zp") or (kind == "Cf" and char not in _JOINERS):
        return f"[U+{ord(char):04X}]"
    return char


_JOINERS = "\u200c\u200d"


def _word(text: str) -> _Html:
    """Return what the service or a user named, kept apart in its direction and bounded in length."""
    return _el("bdi", _cut(text))


def _humped(name: str) -> _Html:
    """Return a long name that may break before its capitals."""
    return _el("bdi", _Html("<wbr>".join(map(_escape, re.split(r"(?<=[a-z])(?=[A-Z])", _cut(name))))))


def _small(text: str) -> _Html:
    """Return the small print below a value; the blank keeps them apart where the page is read as text."""
    return _Html(f" {_el('small', text)}")


def _code(text: Any) -> _Html:
    return _el("code", _cut(str(text)))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _group(title: str, about: str, *content: _Html, calm: bool = False) -> _Html:
    lead = [_el("p", about)] if about else []
    return _el("div", _el("h3", title), *lead, *content, class_="group calm" if calm else "group")


def _badge(state: str) -> _Html:
    """Return a state with a sign, so that colour is not all that tells it."""
    sign = {"complete": "✓", "saved": "✓", "attached": "✓"}.get(state, "!")
    return _el("span", f"{sign} {_cut(state)}", class_="badge good" if sign == "✓" else "badge bad")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str, *, class_: str = "") -> _Html:
    """Return a table whose first column heads its rows. A column that begins with # holds numbers."""
    numeric = [name.startswith("#") for name in columns]
    labels = [name.removeprefix("#") for name in columns]
    kinds = [{"class_": "number"} if n else {} for n in numeric]
    head = _el("tr", *(_el("th", n, scope="col", **k) for n, k in zip(labels, kinds, strict=True)))
    body = [
        _el(
            "tr",
            _el("th", row[0], scope="row"),
            *(
                _el("td", _el("div", cell), data_label=label, **kind)
                for cell, label, kind in zip(row[1:], labels[1:], kinds[1:], strict=True)
            ),
        )
        for row in rows[:_MOST_ROWS]
    ]
    more = (
        [_el("p", f"{_and_more(len(rows) - _MOST_ROWS).lstrip()}: see manifest.json.")]
        if len(rows) > _MOST_ROWS
        else []
    )
    table = _el("table", _el("caption", caption), _el("thead", head), _el("tbody", *body), class_=class_)
    return _Html(table + "".join(more))


def _and_more(number: int) -> str:
    return f" and {number:,} more" if number > 0 else ""


def _runs(days: Sequence[dt.date]) -> _Html:
    return _Html(_dates(_runs_text(days)) + _small(_count(len(days), "day")))


def _dates(text: str) -> _Html:
    """Return text whose dates stay on one line."""
    return _Html(_DATE.sub(r'<span class="day">\g<0></span>', _escape(text)))


_DATE = re.compile(r"\b\d{4}-\d\d-\d\d\b", re.ASCII)


def _runs_text(days: Sequence[dt.date]) -> str:
    runs = _runs_of(days)
    shown = [str(first) if first == last else f"{first} to {last}" for first, last in runs[:_MOST_RUNS]]
    return ", ".join(shown) + (f" and {len(runs) - _MOST_RUNS} more spans" if len(runs) > _MOST_RUNS else "")


def _runs_of(days: Sequence[dt.date]) -> list[tuple[dt.date, dt.date]]:
    """Return ascending days as closed spans."""
    runs: list[tuple[dt.date, dt.date]] = []
    for day in days:
        if runs and day - runs[-1][1] == _DAY:
            runs[-1] = (runs[-1][0], day)
        else:
            runs.append((day, day))
    return runs


def _date(key: Any) -> dt.date | None:
    """Return the day of a DateKey, None where it is none."""
    try:
        day = from_date_key(int(key))
    except (TypeError, ValueError):
        return None
    return day if to_date_key(day) == int(key) else None


def _iso(key: int) -> str:
    return str(_date(key) or key)


def _number(value: float) -> str:
    return f"{value:,.1f}".removesuffix(".0")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _size(number: int) -> str:
    size, unit = float(number), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


_STYLE = re.sub(
    r"\s*\n\s*",
    "\n",
    """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:#fff;color:#1a1a1a;font:16px/1.5 system-ui,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1180px;margin:0 auto;padding:24px 20px 48px}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 8px}
h2{font-size:1.3rem;line-height:1.3;margin:40px 0 8px;padding-top:12px;border-top:2px solid #1a1a1a}
h3{font-size:1.02rem;margin:20px 0 4px}
p{margin:4px 0 8px}
.over{margin:0;color:#555;font-size:.9rem}
.verdict{font-size:1.05rem}
small{display:block;color:#555;font-size:.82rem;font-weight:400}
code{font:.86em/1.4 ui-monospace,Consolas,Menlo,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere;background:#f4f4f4;
padding:1px 4px;border-radius:3px}
p,li,dd,td bdi{overflow-wrap:anywhere}
td,tbody th{overflow-wrap:break-word;max-width:26rem}
.day{white-space:nowrap}
dl{margin:12px 0}
dl>div{display:grid;grid-template-columns:13rem 1fr;gap:0 16px;padding:4px 0;border-bottom:1px solid #e2e2e2}
dt{color:#555}
dd{margin:0;min-width:0}
dd ol,.plain{margin:0;padding-left:1.2rem}
.plain{list-style:none;padding:0}
.plain small{display:inline}
.group{border-left:4px solid #a3261b;padding:1px 0 1px 16px;margin:16px 0}
.group.calm,.calm{border-left-color:#1d5fa8}
.group h3{margin-top:0}
p.calm{border-left:4px solid #1b6b3a;padding-left:16px}
.steps{margin:8px 0;padding-left:1.4rem}
.steps li{margin-bottom:12px}
.steps dl{margin:4px 0}
.title{margin:0}
.title small{display:inline}
.badge{display:inline-block;white-space:nowrap;font-weight:600;font-size:.86rem;padding:0 8px;border:1px solid;
border-radius:3px}
.good{color:#14532d;background:#eef7f0}
.bad{color:#8a1f15;background:#fdf1ef;border-width:2px}
table{border-collapse:collapse;width:100%;margin:8px 0 16px;font-size:.92rem}
caption{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
th,td{text-align:left;vertical-align:top;padding:6px 12px 6px 0;border-bottom:1px solid #d9d9d9}
thead th{border-bottom:2px solid #1a1a1a;font-size:.84rem;white-space:nowrap}
tbody th{font-weight:600}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.daily td:last-child{width:250px;padding-right:0}
svg{display:block;width:240px;max-width:100%;height:auto}
.axis{stroke:#1a1a1a;fill:none;stroke-width:1}
.bar{fill:#1d5fa8}
.thin{fill:#fff;stroke:#1d5fa8;stroke-width:.8}
.gap{fill:#f3cfca}
.mark{fill:none;stroke:#a3261b;stroke-width:1.4}
.full{fill:#a3261b;stroke:none}
.legend{font-size:.88rem;color:#333}
.legend span{display:inline-block;margin-right:14px}
.legend svg{display:inline-block;width:1em;vertical-align:-.1em}
.sign td{height:56px;border-bottom:1px solid #1a1a1a}
.sign th{vertical-align:bottom}
.sign th:first-child{width:11rem}
.sign td+td{width:9rem}
.sign td+td+td{width:auto}
@media screen and (max-width:760px){
main{padding:16px 14px 40px}
dl>div{grid-template-columns:1fr}
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
table,tbody,tr,th,td{display:block;width:auto}
tr{border-bottom:1px solid #b5b5b5;padding:8px 0}
td,tbody th{overflow-wrap:anywhere;max-width:none}
tbody th,td{border:0;padding:1px 0}
.number{text-align:left}
td[data-label]{display:grid;grid-template-columns:6.5rem minmax(0,1fr);gap:0 8px}
td[data-label]::before{content:attr(data-label);color:#555}
.daily td:last-child>div{width:100%}
.daily td:last-child{display:block;width:auto;padding-top:4px}
.daily td:last-child::before{display:none}
.daily svg{width:100%}
.sign td,.sign td+td,.sign th:first-child{width:auto}
.sign td{height:48px;align-items:end;border-bottom:1px solid #1a1a1a}
.sign tr{border:0}
}
@page{size:A4;margin:15mm 14mm 17mm;
@bottom-right{content:"page " counter(page) " of " counter(pages);font:8pt sans-serif;color:#555}}
@media print{
body{font-size:9.5pt;line-height:1.4}
main{max-width:none;padding:0}
h1{font-size:18pt}
h2{font-size:13pt;margin-top:20pt}
h3{font-size:10.5pt}
table{font-size:8.5pt}
small,.badge,thead th{font-size:7.8pt}
h2,h3,h2+p,caption,.legend,.group>p,.proof p{break-after:avoid}
thead{display:table-header-group;break-inside:avoid;break-after:avoid}
tbody tr:first-child{break-before:avoid}
td,tbody th{max-width:15rem}
tr,svg,p,.steps li,dl>div{break-inside:avoid}
.whole,header{break-inside:avoid}
.daily td:last-child{width:176px}
.daily svg{width:176px}
.bar,.thin,.gap,.mark,.badge,code{-webkit-print-color-adjust:exact;print-color-adjust:exact}
}
""",
)
