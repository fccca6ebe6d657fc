"""What the manifest says, with defaults for what it does not have: the archive, its holdings and their days."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from intune_dw_cli.archive.report.days import DAY, date_of
from intune_dw_cli.archive.report.html import Html, escape, humped, listed, small
from intune_dw_cli.data.redact import in_words

_MOST_DAYS = 4000
_OPEN = ("manual", "failed")


class Archive:
    """The manifest's content, with defaults for what it does not have."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._content = content
        self.as_of = str(content.get("as_of") or "?")
        self.complete = content.get("state") == "complete"
        self.holdings = [Holding(c) for c in content.get("collections") or ()]
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
    def personal_data(self) -> str:
        """What became of personal data."""
        label = self._content.get("redaction")
        return in_words(None if label is None else str(label))

    @property
    def is_redacted(self) -> bool:
        """Whether personal data is left out or pseudonymised."""
        return self._content.get("redaction") is not None

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

    @property
    def saved_charts(self) -> list[Mapping[str, Any]]:
        """Charts that are in the archive."""
        return [c for c in self.charts if c.get("state") not in _OPEN]

    def feed(self, number: int) -> str:
        """Return a feed's URL."""
        return self.feeds[number - 1] if 0 < number <= len(self.feeds) else "?"

    def label(self, holding: Holding) -> Html:
        """Return a collection's name, with its feed where there are several."""
        return Html(humped(holding.name) + (small(f"feed {holding.feed}") if self.several else ""))

    def labels(self, holdings: Sequence[Holding]) -> Html:
        """Return the names of collections, or how many they are where they are all that have days."""
        feeds = sorted({h.feed for h in holdings})
        daily = [h for h in self.holdings if h.days is not None and h.feed in feeds]
        where = small(f"feed {', '.join(map(str, feeds))}") if self.several else ""
        everywhere = len(holdings) == len(daily) > 3
        names = escape(f"all {len(daily)} daily collections") if everywhere else listed([h.name for h in holdings])
        return Html(names + where)


@dataclass(frozen=True)
class Holding:
    """A collection's entry."""

    raw: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What the service calls it."""
        return str(self.raw.get("name"))

    @property
    def kind(self) -> str:
        """fact, dimension or lookup."""
        return str(self.raw.get("kind"))

    @property
    def state(self) -> str:
        """complete or partial."""
        return str(self.raw.get("state"))

    @property
    def feed(self) -> int:
        """Number of the feed that it came from, from 1."""
        return int(self.raw.get("feed") or 1)

    @property
    def rows(self) -> int:
        """Rows held."""
        return int(self.raw.get("rows") or 0)

    @property
    def missing(self) -> Sequence[Mapping[str, Any]]:
        """Planned slices that are not held: `slice`, `reason`."""
        return self.raw.get("missing") or ()

    @property
    def warnings(self) -> Sequence[str]:
        """What the user should know about the rows."""
        return self.raw.get("warnings") or ()

    @cached_property
    def parts(self) -> list[Mapping[str, Any]]:
        """The files that its rows are in."""
        return [p for s in self.raw.get("slices") or () for p in s.get("parts") or ()]

    @property
    def copies(self) -> Sequence[Mapping[str, Any]]:
        """Dated copies (`--keep-dimensions`): files whose rows are not counted again."""
        return self.raw.get("snapshots") or ()

    @property
    def files(self) -> int:
        """How many files it has, dated copies included."""
        return len(self.parts) + len(self.copies)

    @property
    def bytes(self) -> int:
        """Size of its files, dated copies included."""
        return sum(int(p.get("bytes") or 0) for p in (*self.parts, *self.copies))

    @cached_property
    def rows_by_day(self) -> dict[dt.date, int]:
        """Rows of each day held, ascending; files without a day, or with one that is no snapshot's, are left out."""
        held = self.raw.get("days") or {}
        first, last = date_of(held.get("first")) or dt.date.min, date_of(held.get("last")) or dt.date.max
        days: dict[dt.date, int] = {}
        for part in self.parts:
            if (day := date_of(part.get("date_key"))) is not None and first <= day <= last:
                days[day] = days.get(day, 0) + int(part.get("rows") or 0)
        return dict(sorted(days.items()))

    @property
    def gaps(self) -> Mapping[str, Any]:
        """Days that are missing or look wrong (archive.gaps)."""
        return self.raw.get("gaps") or {}

    def gap_days(self, name: str) -> list[dt.date]:
        """Return the days of a list in `gaps`, which holds DateKeys or objects with one."""
        keys = [g.get("date_key") if isinstance(g, Mapping) else g for g in self.gaps.get(name) or ()]
        return sorted(day for key in keys if (day := date_of(key)) is not None)

    @cached_property
    def days(self) -> Days | None:
        """The days from the first to the last with rows or at risk; None where there are none."""
        with_rows = [day for day, rows in self.rows_by_day.items() if rows]
        at_risk = self.gap_days("at_risk")
        if not with_rows and not at_risk:
            return None
        ends = [*with_rows[:1], *with_rows[-1:], *at_risk]
        last = max(ends)
        first = max(min(ends), last - _MOST_DAYS * DAY) if last.toordinal() > _MOST_DAYS else min(ends)
        return Days(first, last, self.rows_by_day, frozenset(self.gap_days("thin")))


@dataclass(frozen=True)
class Days:
    """Rows by day over a span; a day that is not in `rows` is not held."""

    first: dt.date
    last: dt.date
    rows: Mapping[dt.date, int]
    thin: frozenset[dt.date]

    @cached_property
    def span(self) -> list[dt.date]:
        """Every day, ascending."""
        return [self.first + n * DAY for n in range((self.last - self.first).days + 1)]

    @cached_property
    def missing(self) -> list[dt.date]:
        """Days that are not held."""
        return [day for day in self.span if day not in self.rows]

    @cached_property
    def empty(self) -> list[dt.date]:
        """Days that are held and have no rows."""
        return [day for day in self.span if self.rows.get(day) == 0]

    @cached_property
    def held(self) -> list[int]:
        """Rows of the days that have any, in the order of the days."""
        return [rows for day in self.span if (rows := self.rows.get(day))]
