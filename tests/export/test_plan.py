"""Whatever the bounds and whatever the retention: each day is in exactly one slice of the plan."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intune_dw_cli.data.datekey import DateKeyRange, days_after
from intune_dw_cli.errors import UsageError
from intune_dw_cli.export.plan import (
    CollectionPlan,
    Slice,
    plan_slices,
    refuse_ranges_without_datekey,
    window,
)
from intune_dw_cli.reference import reference
from intune_dw_cli.service.csdl import EntityType, Property
from intune_dw_cli.service.warehouse import EntitySet

PROPERTIES = tuple(Property(n, t) for n, t in (("dateKey", "Edm.Int32"), ("id", "Edm.Int64"), ("text", "Edm.String")))
FACT = EntitySet(
    name="things",
    url="things",
    entity_type=EntityType("thing", ("dateKey", "id"), PROPERTIES),
    declared=True,
    reference=None,
    date_key="dateKey",
    row_last_modified=None,
)
LONG = replace(
    FACT, name="mamCheckins", reference=next(c for c in reference().values() if (c.retention_days or 0) > 30)
)
DIMENSION = replace(FACT, name="devices", date_key=None)
LOOKUP = replace(FACT, name="ownerTypes", date_key=None)

days = st.dates(dt.date(1, 1, 1), dt.date(9999, 12, 31))
todays = st.dates(dt.date(2015, 1, 1), dt.date(2100, 12, 31))


@st.composite
def ranges(draw: st.DrawFn, near: st.SearchStrategy[dt.date]) -> DateKeyRange:
    ends = draw(st.tuples(st.none() | near, st.none() | near))
    if None in ends:
        return DateKeyRange(*ends)
    return DateKeyRange(*sorted(ends))  # type: ignore[type-var]


def covers(slices: tuple[Slice, ...], day: dt.date) -> int:
    return sum((s.range.first or dt.date.min) <= day <= (s.range.last or dt.date.max) for s in slices)


@pytest.mark.parametrize("entity_set", [FACT, LONG], ids=["30-days", "longer"])
@given(data=st.data(), today=todays | days | st.sampled_from([dt.date.min, dt.date.max]))
def test_each_day_within_the_bounds_is_in_one_slice_and_none_outside_is_in_any(
    entity_set: EntitySet, data: st.DataObject, today: dt.date
) -> None:
    near = st.integers(-120, 120).map(lambda n: days_after(today, n)) | days
    bounds = data.draw(ranges(near))
    slices = plan_slices(entity_set, bounds, today)
    edges = [e for s in (bounds, window(entity_set, today), *(s.range for s in slices)) for e in (s.first, s.last) if e]
    shifts = [e + dt.timedelta(days=n) for e in edges for n in (-1, 0, 1) if dt.date.min < e < dt.date.max]
    for day in {dt.date.min, dt.date.max, data.draw(near), *edges, *shifts}:
        inside = (bounds.first or dt.date.min) <= day <= (bounds.last or dt.date.max)
        assert covers(slices, day) == inside
    assert len({s.label for s in slices}) == len(slices)
    for one, two in pairwise(slices):
        assert one.range.last is not None
        assert two.range.first == one.range.last + dt.timedelta(days=1)
    assert all(s.by_day != s.range.is_day and s.filtered for s in slices)


@given(todays)
def test_without_bounds_there_is_one_slice_a_day_of_the_window_and_two_open_ends(today: dt.date) -> None:
    first, *middle, last = plan_slices(FACT, DateKeyRange(), today)
    assert (first.range.first, last.range.last) == (None, None)
    assert [s.range for s in middle] == [DateKeyRange.day(today - dt.timedelta(days=n)) for n in range(30, -1, -1)]
    assert len(plan_slices(LONG, DateKeyRange(), today)) == LONG.reference.retention_days + 3  # type: ignore[union-attr,operator]


def test_a_collection_without_datekey_is_one_slice_and_takes_no_range() -> None:
    today = dt.date(2024, 1, 31)
    assert plan_slices(DIMENSION, DateKeyRange(), today) == (Slice("devices"),)
    assert Slice("devices").label == "all"
    with pytest.raises(UsageError, match="devices has no DateKey"):
        plan_slices(DIMENSION, DateKeyRange.day(today), today)


def test_a_range_for_collections_without_datekey_names_those_that_have_one() -> None:
    refuse_ranges_without_datekey([FACT], [FACT, DIMENSION])
    with pytest.raises(UsageError, match="devices has no DateKey") as caught:
        refuse_ranges_without_datekey([FACT, DIMENSION], [LONG, FACT, DIMENSION])
    assert caught.value.hint == "These collections have one: mamCheckins, things."
    with pytest.raises(UsageError, match="devices, ownerTypes have no DateKey"):
        refuse_ranges_without_datekey([DIMENSION, LOOKUP], [FACT])


@given(st.integers(1, 40), st.data())
def test_what_is_uncovered_and_what_is_committed_are_together_the_whole_slice_once(
    length: int, data: st.DataObject
) -> None:
    begin = dt.date(2024, 1, 1)
    whole = Slice("things", DateKeyRange(begin, begin + dt.timedelta(days=length - 1)), by_day=length > 1)
    pieces = [whole]
    committed: list[Slice] = []
    while pieces:  # commit some pieces, divide others, leave the rest
        piece = pieces.pop()
        fate = data.draw(st.sampled_from(["commit", "divide", "leave"]))
        if fate == "commit":
            committed.append(piece)
        elif fate == "divide":
            pieces += piece.halves()
    left = whole.uncovered({s.label for s in committed})
    for day in whole.range.days():
        assert covers((*committed, *left), day) == 1
    assert whole.uncovered(()) == (whole,)
    assert all(s.by_day != s.range.is_day for s in left)


@pytest.mark.parametrize(
    "item",
    [
        Slice("things"),
        Slice("things", DateKeyRange(None, dt.date(2024, 1, 1)), by_day=True),
        Slice("things", DateKeyRange.day(dt.date(2024, 1, 1))),
        Slice("things", DateKeyRange(dt.date(2024, 1, 1), dt.date(2024, 1, 9)), by_day=True, filtered=False),
    ],
    ids=lambda s: s.label,
)
def test_what_cannot_be_divided_is_covered_whole_or_not_at_all(item: Slice) -> None:
    assert item.halves() == ()
    assert item.uncovered(()) == (item,)
    assert item.uncovered({item.label}) == ()


def test_a_selection_is_read_with_datekey_and_written_without() -> None:
    plan = CollectionPlan(entity_set=FACT, slices=(), select=("text",))
    assert plan.read == ("text", "dateKey")
    assert [c.name for c in plan.schema.columns] == ["text"]
    assert ([c.name for c in plan.read_schema.columns], plan.read_schema.date_key) == (["text", "dateKey"], "dateKey")
    assert CollectionPlan(entity_set=FACT, slices=(), select=("dateKey", "text")).read == ("dateKey", "text")
    assert CollectionPlan(entity_set=DIMENSION, slices=(), select=("text",)).read == ("text",)
    assert CollectionPlan(entity_set=FACT, slices=()).read is None
