"""A slice counts only when its rows are counted, inside its range, and their keys were looked at."""

from __future__ import annotations

import datetime as dt
import gc
import weakref
from collections.abc import Callable

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intune_dw_cli.data.datekey import DateKeyRange
from intune_dw_cli.data.schema import CollectionSchema
from intune_dw_cli.errors import FilterIgnoredError
from intune_dw_cli.export import tally as tally_module
from intune_dw_cli.export.tally import KeyTally, SliceTally

Batches = Callable[..., pa.RecordBatch]
MONDAY, TUESDAY, WEDNESDAY = 20240101, 20240102, 20240103
OPEN = DateKeyRange()
DAY = DateKeyRange.day(dt.date(2024, 1, 2))
UNTIL = DateKeyRange(None, dt.date(2024, 1, 2))
SINCE = DateKeyRange(dt.date(2024, 1, 2), None)
NOTHING: frozenset[str] = frozenset()


def test_rows_and_pages_and_days_are_counted(schema: CollectionSchema, batch_of: Batches) -> None:
    tally = SliceTally(schema, OPEN, typed=False)
    tally.observe(batch_of((1, TUESDAY), (2, WEDNESDAY)), NOTHING)
    tally.observe(batch_of(), NOTHING)
    tally.observe(batch_of((3, MONDAY), (4, None)), NOTHING)
    tally.observe(batch_of((5, None)), NOTHING)
    assert (tally.rows, tally.pages) == (5, 4)
    assert (tally.first_date_key, tally.last_date_key) == (MONDAY, WEDNESDAY)


@pytest.mark.parametrize("days", [DAY, UNTIL, SINCE], ids=str)
def test_rows_inside_the_range_are_accepted(days: DateKeyRange, schema: CollectionSchema, batch_of: Batches) -> None:
    tally = SliceTally(schema, days, typed=False)
    tally.observe(batch_of((1, TUESDAY)), NOTHING)
    assert tally.rows == 1


@pytest.mark.parametrize(
    ("days", "outside"),
    [(DAY, MONDAY), (DAY, WEDNESDAY), (UNTIL, WEDNESDAY), (SINCE, MONDAY), (DAY, None), (UNTIL, None), (SINCE, None)],
    ids=str,
)
def test_a_row_outside_the_range_or_without_day_is_refused(
    days: DateKeyRange, outside: int | None, schema: CollectionSchema, batch_of: Batches
) -> None:
    tally = SliceTally(schema, days, typed=False)
    tally.observe(batch_of((1, TUESDAY)), NOTHING)
    with pytest.raises(FilterIgnoredError):
        tally.observe(batch_of((2, TUESDAY), (3, outside), (4, TUESDAY)), NOTHING)


@pytest.mark.parametrize("days", [DAY, OPEN], ids=["one-day", "all-days"])
def test_rows_that_repeat_a_key_are_counted_across_pages(
    days: DateKeyRange, schema: CollectionSchema, batch_of: Batches
) -> None:
    tally = SliceTally(schema, days, typed=False)
    tally.observe(batch_of((1, TUESDAY), (2, TUESDAY), (1, TUESDAY)), NOTHING)
    tally.observe(batch_of((2, TUESDAY), (3, TUESDAY), (1, TUESDAY)), NOTHING)
    assert tally.duplicates() == 3


def test_the_same_id_on_another_day_is_another_row(schema: CollectionSchema, batch_of: Batches) -> None:
    tally = SliceTally(schema, OPEN, typed=False)
    tally.observe(batch_of((1, MONDAY), (1, TUESDAY), (1, None), (None, MONDAY), (1, None)), NOTHING)
    assert tally.duplicates() == 1


def test_within_a_day_the_day_alone_is_a_key_of_one_row(schema: CollectionSchema, batch_of: Batches) -> None:
    by_day = CollectionSchema("things", schema.columns, ("dateKey",), "dateKey")
    tally = SliceTally(by_day, DAY, typed=False)
    assert tally.duplicates() == 0
    tally.observe(batch_of((1, TUESDAY)), NOTHING)
    assert tally.duplicates() == 0
    tally.observe(batch_of((2, TUESDAY)), NOTHING)
    assert tally.duplicates() == 1


def test_without_key_nothing_is_said_of_duplicates(schema: CollectionSchema, batch_of: Batches) -> None:
    tally = SliceTally(CollectionSchema("things", schema.columns, (), "dateKey"), OPEN, typed=False)
    tally.observe(batch_of((1, MONDAY), (1, MONDAY)), NOTHING)
    assert tally.duplicates() is None


@pytest.fixture
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold no more than 64 bytes of keys, in chunks of two rows."""
    monkeypatch.setattr(tally_module, "_KEY_BYTES", 64)
    monkeypatch.setattr(tally_module, "_CHUNK_ROWS", 2)


@pytest.mark.usefixtures("little_room")
def test_rows_in_the_order_of_their_keys_need_no_room(schema: CollectionSchema, batch_of: Batches) -> None:
    tally = SliceTally(schema, OPEN, typed=False)
    for start in range(0, 300, 3):
        tally.observe(batch_of((start, MONDAY), (start + 1, MONDAY)), NOTHING)
    tally.observe(batch_of((5, TUESDAY), (5, TUESDAY), (6, TUESDAY)), NOTHING)
    tally.observe(batch_of((6, TUESDAY), (6, TUESDAY), (1, WEDNESDAY)), NOTHING)
    assert tally._keys.held_bytes == 0
    assert tally.duplicates() == 3


@pytest.mark.usefixtures("little_room")
@pytest.mark.parametrize("breach", [(5, MONDAY), (None, MONDAY), (300, None)], ids=str)
def test_out_of_order_and_beyond_the_room_nothing_is_said_of_duplicates(
    breach: tuple[int | None, int | None], schema: CollectionSchema, batch_of: Batches
) -> None:
    tally = SliceTally(schema, OPEN, typed=False)
    for start in range(0, 300, 3):
        tally.observe(batch_of((start, MONDAY), (start + 1, MONDAY)), NOTHING)
    tally.observe(batch_of(breach), NOTHING)
    assert (tally.duplicates(), tally.rows) == (None, 201)
    tally.observe(batch_of((1000, MONDAY)), NOTHING)
    assert tally.duplicates() is None


@pytest.mark.parametrize("names", [["number"], ["text"], ["text", "number"], ["number", "flag"], ["flag"]], ids=str)
@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.one_of(st.none(), st.integers(-3, 200)),
            st.one_of(st.none(), st.text("abé0", max_size=3)),
            st.one_of(st.none(), st.booleans()),
        ),
        min_size=1,
        max_size=60,
    ),
    cut=st.integers(1, 9),
    ordered=st.booleans(),
)
def test_duplicates_are_counted_exactly_in_any_order_and_type(
    names: list[str], rows: list[tuple[int | None, str | None, bool | None]], cut: int, ordered: bool
) -> None:
    schema = pa.schema({"number": pa.int32(), "text": pa.string(), "flag": pa.bool_()})
    places = [schema.names.index(name) for name in names]
    if ordered:
        rows = sorted(rows, key=lambda row: [(row[p] is not None, str(row[p]).zfill(4)) for p in places])
    tally = KeyTally(names)
    for start in range(0, len(rows), cut):
        columns = zip(*rows[start : start + cut], strict=True)
        arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
        tally.observe(pa.RecordBatch.from_arrays(arrays, schema=schema))
    keys = [tuple(row[p] for p in places) for row in rows]
    assert tally.duplicates() == len(keys) - len(set(keys))


def test_keys_out_of_order_are_held_in_bounded_room() -> None:
    tally = KeyTally(["id"])
    for start in range(20_000_000, 0, -50_000):
        tally.observe(pa.record_batch({"id": pa.array(range(start, start - 50_000, -1), pa.int64())}))
        assert tally.held_bytes <= 72 * 1024 * 1024
    assert (tally.duplicates(), tally.held_bytes) == (None, 0)


def test_a_slice_without_rows_has_no_duplicates_and_lacks_nothing(schema: CollectionSchema, batch_of: Batches) -> None:
    tally = SliceTally(schema, DAY, typed=False)
    tally.observe(batch_of(), frozenset({"text"}))
    assert (tally.duplicates(), tally.absent, tally.pages) == (0, (), 1)


def test_absent_is_what_no_page_with_rows_had_in_the_order_of_the_columns(
    schema: CollectionSchema, batch_of: Batches
) -> None:
    tally = SliceTally(schema, OPEN, typed=False)
    tally.observe(batch_of((1, MONDAY)), frozenset({"text", "id", "dateKey"}))
    assert tally.absent == ("id", "dateKey", "text")
    tally.observe(batch_of(), NOTHING)
    tally.observe(batch_of((2, MONDAY)), frozenset({"text"}))
    assert tally.absent == ("text",)
    tally.observe(batch_of((2, MONDAY)), frozenset({"id"}))
    assert tally.absent == ()


def test_a_collection_without_datekey_has_no_range_to_be_outside_of(
    schema: CollectionSchema, batch_of: Batches
) -> None:
    tally = SliceTally(CollectionSchema("things", schema.columns, ("id",), None), OPEN, typed=False)
    tally.observe(batch_of((1, None), (2, 5)), NOTHING)
    assert (tally.rows, tally.duplicates(), tally.first_date_key) == (2, 0, None)


def test_what_a_tally_holds_goes_with_it_and_does_not_wait_for_the_garbage_collector(
    schema: CollectionSchema, batch_of: Batches
) -> None:
    """Its keys are megabytes for a few objects, and Python looks for garbage by their number."""
    tally = SliceTally(schema, OPEN, typed=False)
    tally.observe(batch_of((1, MONDAY)), NOTHING)
    keys = weakref.ref(tally._keys)
    gc.disable()
    try:
        del tally
        assert keys() is None
    finally:
        gc.enable()
