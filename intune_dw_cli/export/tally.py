"""What a slice must satisfy before it counts: its rows counted, inside its range, its keys looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from intune_dw_cli.data.datekey import DateKeyRange
from intune_dw_cli.data.schema import CollectionSchema
from intune_dw_cli.errors import FilterIgnoredError
from intune_dw_cli.export.together import RowsTogether

_KEY_BYTES = 64 * 1024 * 1024
_CHUNK_ROWS = 64 * 1024
_PIECES = 64


class SliceTally:
    """Counts rows and checks them as they pass.

    Args:
        schema: The columns.
        days: Every row must be of these.
        typed: Whether Arrow's types are kept and not the texts that came. Keys are told apart by what is kept, so that
            a recount of the file finds the same: `08:30:00Z` and `08:30:00+00:00` are two texts and one timestamp.

    Attributes:
        rows: Rows seen.
        pages: Pages seen.
        first_date_key, last_date_key: Smallest and largest DateKey seen (yyyymmdd).
    """

    def __init__(self, schema: CollectionSchema, days: DateKeyRange, *, typed: bool) -> None:
        self._schema = schema
        self._low, self._high = days.bounds()
        self._absent: frozenset[str] | None = None
        # Within one day the DateKey tells nothing apart.
        self._keys = KeyTally([k for k in schema.key if not (days.is_day and k == schema.date_key)])
        columns = [c for c in schema.columns if c.name in schema.key]
        self._kept = columns if typed and any(c.arrow != c.wire for c in columns) else None
        self.rows = 0
        self.pages = 0
        self.wire_bytes = 0
        self.first_date_key: int | None = None
        self.last_date_key: int | None = None

    def observe(self, batch: pa.RecordBatch, absent: frozenset[str]) -> None:
        """Take note of a decoded page.

        Raises:
            FilterIgnoredError: a row lies outside the slice's range.
            ProtocolError: the text of a key is no value of its declared type, and that is what is kept.
        """
        self.pages += 1
        if batch.num_rows == 0:
            return
        self.rows += batch.num_rows
        self._absent = absent if self._absent is None else self._absent & absent
        self._observe_days(batch)
        if self._schema.key:
            self._keys.observe(self._as_kept(batch))

    def _as_kept(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if self._kept is None:
            return batch
        arrays = [column.to_arrow(batch.column(column.name)) for column in self._kept]
        return pa.RecordBatch.from_arrays(arrays, names=[column.name for column in self._kept])

    @property
    def absent(self) -> tuple[str, ...]:
        """Declared properties that no row of the slice had, in schema order."""
        return tuple(c.name for c in self._schema.columns if c.name in (self._absent or ()))

    def duplicates(self) -> int | None:
        """Return how many rows repeat the key of another row of the slice; None where that was not looked at.

        It is not where the entity type has no key, part of it was not selected, or the rows came in no order of their
        keys and there are too many to hold: see KeyTally.
        """
        return self._keys.duplicates() if self._schema.key else None

    def _observe_days(self, batch: pa.RecordBatch) -> None:
        if self._schema.date_key is None:
            return
        column = batch.column(self._schema.date_key)
        span: dict[str, Any] = pc.min_max(column).as_py()
        if column.null_count and (self._low is not None or self._high is not None):
            raise FilterIgnoredError("a row without DateKey came for a DateKey range")
        if span["min"] is None:
            return
        if (self._low is not None and span["min"] < self._low) or (self._high is not None and span["max"] > self._high):
            raise FilterIgnoredError(
                f"rows of {span['min']} to {span['max']} came where {self._low or ''}..{self._high or ''} was asked for"
            )
        self.first_date_key = min(span["min"], self.first_date_key or span["min"])
        self.last_date_key = max(span["max"], self.last_date_key or span["max"])


class KeyTally:
    """Counts rows that repeat a key, exactly and in bounded memory.

    Rows that come in the order of their keys, as a service that pages by key sends them, need none: a repeated key is
    the neighbour of its like. In case the order breaks, up to 64 MiB of keys are held (8 million keys of 8 bytes); once
    they are let go, only the order can tell.

    Args:
        columns: The columns of the key; none: all rows have the same.
    """

    def __init__(self, columns: list[str]) -> None:
        self._columns = columns
        self._together = RowsTogether()
        self._rows = 0
        self._repeats = 0  # of neighbours, while in order
        self._ordered = True
        self._last: pa.RecordBatch | None = None
        self._held: list[pa.RecordBatch] | None = []
        self._loose: list[pa.RecordBatch] = []
        self._loose_rows = 0
        self._bytes = 0

    @property
    def held_bytes(self) -> int:
        """Bytes of keys that are held."""
        return self._bytes

    def observe(self, batch: pa.RecordBatch) -> None:
        """Take note of rows; there is at least one."""
        self._rows += batch.num_rows
        if not self._columns:
            return
        self._take(self._together.add(batch.select(self._columns)))

    def _take(self, batch: pa.RecordBatch | None) -> None:
        if batch is None:
            return
        keys = _told_apart(batch)
        if self._ordered:
            self._compare(keys)
        if self._held is not None:
            self._hold(keys)

    def duplicates(self) -> int | None:
        """Return how many rows repeat the key of another one; None where that can no longer be told."""
        if not self._columns:
            return max(0, self._rows - 1)
        self._take(self._together.rest())
        if self._ordered:
            return self._repeats
        if self._held is None:
            return None
        return self._rows - count_distinct(pa.Table.from_batches([*self._held, *self._loose]), self._columns[-1])

    def _compare(self, keys: pa.RecordBatch) -> None:
        """See whether keys go on in order, and count those that are like the one before."""
        before = keys if self._last is None else pa.concat_batches([self._last, keys])
        self._last = pa.concat_batches([keys.slice(keys.num_rows - 1)])
        less, equal = None, None
        for name in self._columns:
            left, right = before[name].slice(0, len(before) - 1), before[name].slice(1)
            column_less, column_equal = pc.less(left, right), pc.equal(left, right)
            less = column_less if less is None else pc.or_(less, pc.and_(equal, column_less))
            equal = column_equal if equal is None else pc.and_(equal, column_equal)
        repeats = pc.sum(equal).as_py() or 0
        # A key without value has no place in an order: it is neither less nor equal.
        self._ordered = (pc.sum(less).as_py() or 0) + repeats == len(before) - 1 and not any(
            column.null_count for column in keys.columns
        )
        self._repeats += repeats

    def _hold(self, keys: pa.RecordBatch) -> None:
        assert self._held is not None
        self._loose.append(keys)
        self._loose_rows += keys.num_rows
        if self._loose_rows < _CHUNK_ROWS:
            return
        # One block in place of many little ones between what is given back: they would keep the heap from shrinking.
        chunk = pa.concat_batches(self._loose)
        self._loose, self._loose_rows = [], 0
        self._held.append(chunk)
        self._bytes += chunk.nbytes
        if self._bytes > _KEY_BYTES:
            self._held, self._bytes = None, 0


def _told_apart(keys: pa.RecordBatch) -> pa.RecordBatch:
    """Return keys whose like values are equal: Arrow is of two minds about -0.0, and NaN is like no other to it."""
    if not any(pa.types.is_floating(t) for t in keys.schema.types):
        return keys
    arrays = [c.cast(pa.string()) if pa.types.is_floating(c.type) else c for c in keys.columns]
    return pa.RecordBatch.from_arrays(arrays, names=keys.schema.names)


def count_distinct(keys: pa.Table, piece_by: str) -> int:
    """Return the number of distinct rows of a table of key columns.

    Counted in pieces, by the end of one column's values, so that a table of all rows need not stand in memory.
    """
    # By number: Arrow would take names such as `.a` or `[0]` for paths.
    names = [f"k{number}" for number in range(keys.num_columns)]
    pieces = (piece.rename_columns(names) for piece in _pieces(keys, piece_by))
    return sum(int(piece.group_by(names, use_threads=False).aggregate([]).num_rows) for piece in pieces)


def _pieces(keys: pa.Table, column: str) -> Iterator[pa.Table]:
    """Divide rows so that equal ones are in the same piece."""
    values = keys[column]
    if pa.types.is_integer(values.type):
        ends = pc.bit_wise_and(values, pa.scalar(_PIECES - 1, values.type))
    elif pa.types.is_string(values.type):
        ends = pc.utf8_slice_codeunits(values, -1)
    else:
        yield keys
        return
    if len(kinds := pc.unique(ends)) > _PIECES:
        yield keys
        return
    for kind in kinds:
        yield keys.filter(pc.equal(ends, kind) if kind.is_valid else pc.is_null(ends))
