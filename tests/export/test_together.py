"""Rows of small pages are taken together, all of them, in their order."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intune_dw_cli.export.together import RowsTogether

SCHEMA = pa.schema([pa.field("n", pa.int64()), pa.field("text", pa.string())])


def batches_of(sizes: list[int]) -> list[pa.RecordBatch]:
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    columns = [[*range(start, start + size)] for start, size in zip(starts, sizes, strict=True)]
    return [pa.RecordBatch.from_pydict({"n": c, "text": [str(n) for n in c]}, SCHEMA) for c in columns]


@given(st.lists(st.integers(0, 9), max_size=20), st.integers(1, 12))
def test_every_row_is_given_back_once_and_in_order(sizes: list[int], enough: int) -> None:
    together = RowsTogether(enough)
    given_back = [together.add(batch) for batch in batches_of(sizes)]
    written = [rows for rows in (*given_back, together.rest()) if rows is not None]
    assert [n for w in written for n in w["n"].to_pylist()] == [*range(sum(sizes))]
    assert all(w.schema == SCHEMA for w in written)
    assert all(w.num_rows >= enough for w in written[:-1])
    # Never more is held than what is not enough, so that memory is bounded by a page.
    assert all(w.num_rows < enough + max(sizes) for w in written)


def test_a_batch_that_is_enough_by_itself_is_not_copied() -> None:
    (batch,) = batches_of([4])
    assert RowsTogether(4).add(batch) is batch


@pytest.mark.parametrize("size", [1, 3])
def test_each_page_is_passed_on_where_one_row_is_enough(size: int) -> None:
    together = RowsTogether(1)
    for batch in batches_of([size] * 5):
        assert together.add(batch) is batch
    assert together.rest() is None
