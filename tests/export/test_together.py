"""Rows of small pages are written together, all of them, in their order."""

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
def test_every_row_is_written_once_and_in_order(sizes: list[int], enough: int) -> None:
    written: list[pa.RecordBatch] = []
    together = RowsTogether(written.append, enough)
    for batch in batches_of(sizes):
        together.add(batch)
    together.flush()
    assert [n for w in written for n in w["n"].to_pylist()] == [*range(sum(sizes))]
    assert all(w.schema == SCHEMA for w in written)
    assert all(w.num_rows >= enough for w in written[:-1])
    # Never more is held than what is not enough, so that memory is bounded by a page.
    assert all(w.num_rows < enough + max(sizes) for w in written)


def test_a_batch_that_is_enough_by_itself_is_not_copied() -> None:
    written: list[pa.RecordBatch] = []
    (batch,) = batches_of([4])
    RowsTogether(written.append, 4).add(batch)
    assert written == [batch]
    assert written[0] is batch


@pytest.mark.parametrize("size", [1, 3])
def test_each_page_is_passed_on_where_one_row_is_enough(size: int) -> None:
    written: list[pa.RecordBatch] = []
    together = RowsTogether(written.append, 1)
    for number, batch in enumerate(batches_of([size] * 5), 1):
        together.add(batch)
        assert len(written) == number
