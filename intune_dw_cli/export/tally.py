"""What a slice must satisfy before it counts: its rows counted, inside its range, its keys looked at."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from intune_dw_cli.data.datekey import DateKeyRange
from intune_dw_cli.data.schema import CollectionSchema
from intune_dw_cli.errors import FilterIgnoredError

_KEY_ROWS = 8_000_000


class SliceTally:
    """Counts rows and checks them as they pass.

    Attributes:
        rows: Rows seen.
        pages: Pages seen.
        first_date_key, last_date_key: Smallest and largest DateKey seen (yyyymmdd).
    """

    def __init__(self, schema: CollectionSchema, days: DateKeyRange) -> None:
        self._schema = schema
        self._low, self._high = days.bounds()
        self._absent: frozenset[str] | None = None
        # Within one day the DateKey tells nothing apart.
        self._key = [k for k in schema.key if not (days.is_day and k == schema.date_key)]
        self._keys: list[pa.RecordBatch] = []
        self.rows = 0
        self.pages = 0
        self.wire_bytes = 0
        self.first_date_key: int | None = None
        self.last_date_key: int | None = None

    def observe(self, batch: pa.RecordBatch, absent: frozenset[str]) -> None:
        """Take note of a decoded page.

        Raises:
            FilterIgnoredError: a row lies outside the slice's range.
        """
        self.pages += 1
        if batch.num_rows == 0:
            return
        self.rows += batch.num_rows
        self._absent = absent if self._absent is None else self._absent & absent
        self._observe_days(batch)
        if self._schema.key and self.rows <= _KEY_ROWS:
            self._keys.append(batch.select(self._key))
        else:
            self._keys.clear()

    @property
    def absent(self) -> tuple[str, ...]:
        """Declared properties that no row of the slice had, in schema order."""
        return tuple(c.name for c in self._schema.columns if c.name in (self._absent or ()))

    def duplicates(self) -> int | None:
        """Return how many rows repeat the key of another row of the slice; None where that was not looked at.

        It is not where the entity type has no key, part of it was not selected, or the slice has more than 8 million
        rows (the keys of a slice are held in memory until it ends).
        """
        if not self._schema.key or (self.rows and not self._keys):
            return None
        if not self._key:
            return max(0, self.rows - 1)
        table = pa.Table.from_batches(self._keys) if self._keys else None
        return self.rows - count_distinct(table) if table is not None else 0

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


def count_distinct(keys: pa.Table) -> int:
    """Return the number of distinct rows of a table of key columns."""
    return int(keys.group_by(keys.column_names, use_threads=False).aggregate([]).num_rows)
