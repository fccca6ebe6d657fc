"""What will be fetched: a collection as slices, so that no row is outside the plan whatever the true retention is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Container, Sequence
from dataclasses import dataclass

from intune_dw_cli.data.datekey import DateKeyRange, days_after
from intune_dw_cli.data.redact import Redaction, is_unknown
from intune_dw_cli.data.schema import CollectionSchema
from intune_dw_cli.errors import UsageError
from intune_dw_cli.service.warehouse import EntitySet

USUAL_RETENTION_DAYS = 30
"""Days of history where the documentation gives a collection no figure of its own."""


@dataclass(frozen=True, slots=True)
class Slice:
    """The unit of fetch, commit and resume: one collection with one DateKey range, or one whole collection.

    Attributes:
        collection: The entity set's name.
        range: The DateKey range; open at both ends for a collection without DateKey.
        by_day: Whether rows of several days may come, to be put into one file a day.
        filtered: Whether the range is asked of the service. If not, all rows are read and the range is applied here.
    """

    collection: str
    range: DateKeyRange = DateKeyRange()
    by_day: bool = False
    filtered: bool = True

    @property
    def label(self) -> str:
        """The range as text, `all` for a whole collection; unique within a collection's plan."""
        if not self.filtered:
            return f"unfiltered {self.range}" if not self.range.is_open else "unfiltered"
        return "all" if self.range.is_open else str(self.range)

    def halves(self) -> tuple[Slice, ...]:
        """Return the slice as two with half the days each; nothing where it cannot be divided."""
        if not self.filtered:
            return ()
        return tuple(Slice(self.collection, days, by_day=not days.is_day) for days in self.range.halves() or ())

    def uncovered(self, committed: Container[str]) -> tuple[Slice, ...]:
        """Return what of the slice is not in committed slices, given by their labels: all, nothing, or halves."""
        if self.label in committed:
            return ()
        halves = self.halves()
        left = tuple(piece for half in halves for piece in half.uncovered(committed))
        return left if halves and left != halves else (self,)


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionPlan:
    """One collection's part of a run.

    Attributes:
        slices: In DateKey order.
        bounds: The DateKey range wanted in all.
        select: The properties to keep, None for all.
        top: Most rows to take, None for all.
        modified_since: An instant, as text with `Z`: only rows that the warehouse changed since then.
        redaction: What becomes of personal columns, None to keep them as they are.
    """

    entity_set: EntitySet
    slices: tuple[Slice, ...]
    bounds: DateKeyRange = DateKeyRange()
    select: tuple[str, ...] | None = None
    top: int | None = None
    modified_since: str | None = None
    redaction: Redaction | None = None

    @property
    def declared_schema(self) -> CollectionSchema:
        """The columns of all declared properties."""
        return CollectionSchema.of(self.entity_set.name, self.entity_set.entity_type, self.entity_set.date_key)

    @property
    def schema(self) -> CollectionSchema:
        """The columns to write."""
        return self._columns(self.select)

    @property
    def read(self) -> tuple[str, ...] | None:
        """The properties to ask for, None for all: those to keep, and DateKey, which tells a row's slice and place."""
        day = self.entity_set.date_key
        if self.select is None or day is None or day in self.select:
            return self.select
        return (*self.select, day)

    @property
    def read_schema(self) -> CollectionSchema:
        """The columns of the rows as they pass: read, and redacted."""
        return self._columns(self.read)

    @property
    def unknown(self) -> tuple[str, ...]:
        """The columns that are redacted only because the documentation does not know them."""
        names = set(self.schema.redacted)
        columns = [c for c in self.declared_schema.columns if c.name in names]
        return tuple(c.name for c in columns if is_unknown(c, self.entity_set.reference))

    @property
    def is_redacted_away(self) -> bool:
        """Whether redaction leaves no column. Where none is known at all, the rows will tell which there are."""
        return bool(self.declared_schema.columns) and not self.schema.columns

    def _columns(self, names: Sequence[str] | None) -> CollectionSchema:
        declared = self.declared_schema
        chosen = declared if names is None else declared.select(names)
        return chosen if self.redaction is None else self.redaction.schema(chosen, self.entity_set.reference)


def window(entity_set: EntitySet, today: dt.date) -> DateKeyRange:
    """Return the days that get a slice each: the documented retention (30 days where none is stated) up to today."""
    days = entity_set.retention_days or USUAL_RETENTION_DAYS
    return DateKeyRange(days_after(today, -days), today)


def plan_collection(
    entity_set: EntitySet,
    today: dt.date,
    *,
    bounds: DateKeyRange = DateKeyRange(),
    select: tuple[str, ...] | None = None,
    top: int | None = None,
    modified_since: str | None = None,
    redaction: Redaction | None = None,
) -> CollectionPlan:
    """Plan what is asked of one collection; the arguments are the attributes of CollectionPlan.

    A preview (`top`) and changes (`modified_since`) are one slice: the service is asked once, not day by day.

    Raises:
        UsageError: a date range or `modified_since` cannot be applied, or redaction leaves no column.
    """
    name = entity_set.name
    if modified_since and entity_set.row_last_modified is None:
        raise UsageError(
            f"{name} has no RowLastModifiedDateTimeUTC, so --modified-since cannot be applied",
            hint="Leave it out. `intune-dw collections NAME` shows the properties of a collection.",
        )
    slices = plan_slices(entity_set, bounds, today)
    if modified_since or top:
        slices = (Slice(name, bounds, by_day=entity_set.date_key is not None),)
    plan = CollectionPlan(
        entity_set=entity_set,
        slices=slices,
        bounds=bounds,
        select=select,
        top=top,
        modified_since=modified_since,
        redaction=redaction,
    )
    if plan.is_redacted_away:
        raise UsageError(
            f"{name}: --redact drop leaves no column: all are personal, or not in the documentation",
            hint="Use --redact hash, or leave the collection out.",
        )
    return plan


def plan_slices(entity_set: EntitySet, bounds: DateKeyRange, today: dt.date) -> tuple[Slice, ...]:
    """Cut a collection into slices within the bounds, in DateKey order.

    A collection with a DateKey gets one slice for each day of its window, one for all days before and one for all days
    after it, as far as the bounds reach. Any other collection is one slice.

    Raises:
        UsageError: bounds are given but the collection has no DateKey.
    """
    name = entity_set.name
    if entity_set.date_key is None:
        if not bounds.is_open:
            raise UsageError(
                f"{name} has no DateKey, so a date range cannot be applied to it", hint="Leave the days out."
            )
        return (Slice(name),)
    days = window(entity_set, today)
    first, last = days.first or today, days.last or today
    before, after = days_after(first, -1), days_after(last, 1)
    slices: list[Slice] = []
    if before < first and (bounds.first is None or bounds.first < first):
        end = before if bounds.last is None else min(before, bounds.last)
        slices.append(_slice(name, DateKeyRange(bounds.first, end)))
    begin = max(first, bounds.first or first)
    end = min(last, bounds.last or last)
    if begin <= end:
        slices += [_slice(name, DateKeyRange.day(day)) for day in DateKeyRange(begin, end).days()]
    if after > last and (bounds.last is None or bounds.last > last):
        begin = after if bounds.first is None else max(after, bounds.first)
        slices.append(_slice(name, DateKeyRange(begin, bounds.last)))
    return tuple(slices)


def _slice(name: str, days: DateKeyRange) -> Slice:
    return Slice(name, days, by_day=not days.is_day)


def refuse_ranges_without_datekey(chosen: Sequence[EntitySet], known: Sequence[EntitySet]) -> None:
    """Raise UsageError when one of the chosen collections cannot take a date range; name those that can."""
    without = [e.name for e in chosen if e.date_key is None]
    if without:
        with_key = ", ".join(sorted(e.name for e in known if e.date_key))
        verb = "has" if len(without) == 1 else "have"
        raise UsageError(
            f"{', '.join(without)} {verb} no DateKey, so a date range cannot be applied",
            hint=f"These collections have one: {with_key}.",
        )
