"""How one collection is laid out: days, blocks of ids, and rows as JSON text.

Every row has an id: its place in an order that never changes. Rows are made in blocks of STRIDE neighbouring
ids, so that a page can start anywhere at the cost of one block, and a link needs to name nothing but the day
and the next id.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from bisect import bisect_left
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from intune_dw_cli.sandbox.timestamps import date_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

STRIDE = 1024
NO_DAY = 0
"""The day under which a collection without dateKey keeps all its rows."""

_RENDERED_BLOCKS = 16
"""Blocks kept as text for each collection: enough for a few clients, little enough for any tenant."""

to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Block(NamedTuple):
    """Rows as JSON text with their ids, both ascending by id."""

    ids: Sequence[int]
    rows: Sequence[str]


class Place(NamedTuple):
    """A row's address inside a collection; a page continues at the first row on or after it."""

    day: int
    id: int


class Source(ABC):
    """The rows of one collection.

    Attributes:
        days: Ordinal days held, ascending; one NO_DAY for a collection whose key holds no dateKey.
    """

    def __init__(self, days: Sequence[int]) -> None:
        self.days = days
        self.block = lru_cache(maxsize=_RENDERED_BLOCKS)(self._block)

    @abstractmethod
    def span(self, day: int) -> range:
        """Return the ids that may have a row on that day."""

    @abstractmethod
    def _block(self, day: int, number: int) -> Block:
        """Make the rows of the ids from number x STRIDE on, cut to the span."""

    def count(self, day: int) -> int:
        """Return the number of rows of that day."""
        span = self.span(day)
        return sum(len(self.block(day, number).ids) for number in block_numbers(span.start, span.stop))

    def walk(self, days: Iterable[int], start: Place) -> Iterator[tuple[int, Block]]:
        """Yield the blocks of those days from `start` on, the first one cut."""
        for day in days:
            if day < start.day:
                continue
            span = self.span(day)
            first = max(span.start, start.id) if day == start.day else span.start
            for number in block_numbers(first, span.stop):
                block = self.block(day, number)
                if number * STRIDE < first:
                    cut = bisect_left(block.ids, first)
                    block = Block(block.ids[cut:], block.rows[cut:])
                if block.ids:
                    yield day, block

    def cut(self, day: int, number: int) -> range:
        """Return the ids of one block that lie in the span."""
        span = self.span(day)
        return range(max(span.start, number * STRIDE), min(span.stop, (number + 1) * STRIDE))


def block_numbers(start: int, stop: int) -> range:
    """Return the numbers of the blocks that ids from start up to stop lie in."""
    return range(start // STRIDE, -(-stop // STRIDE)) if start < stop else range(0)


Record = dict[str, Any]


class Dimension(Source):
    """A collection without days whose row is a function of its id alone.

    Args:
        ids: All ids.
        record: Makes the row of an id.
        exists: Tells whether an id has a row; None where all have.
    """

    def __init__(
        self, ids: range, record: Callable[[int], Record], exists: Callable[[int], bool] | None = None
    ) -> None:
        super().__init__((NO_DAY,))
        self._ids = ids
        self._record = record
        self._exists = exists

    def span(self, day: int) -> range:
        """Return all ids: there is one day only."""
        return self._ids

    def count(self, day: int) -> int:
        """Return the number of rows."""
        return len(self._ids) if self._exists is None else sum(map(self._exists, self._ids))

    def _block(self, day: int, number: int) -> Block:
        ids: Sequence[int] = self.cut(day, number)
        if self._exists is not None:
            ids = list(filter(self._exists, ids))
        return Block(ids, [to_json(self._record(id_)) for id_ in ids])


class Fixed(Source):
    """A collection of a few rows that are all there at once."""

    def __init__(self, records: Sequence[Record]) -> None:
        super().__init__((NO_DAY,))
        self.records = records

    def span(self, day: int) -> range:
        """Return the positions of the rows."""
        return range(len(self.records))

    def _block(self, day: int, number: int) -> Block:
        ids = self.cut(day, number)
        return Block(ids, [to_json(self.records[id_]) for id_ in ids])


class DailySummary(Source):
    """A fact of a few rows a day; `records` makes the rows of one day, `dateKey` aside."""

    def __init__(self, days: Sequence[int], records: Callable[[int], Sequence[Record]]) -> None:
        super().__init__(days)
        self._records = lru_cache(maxsize=64)(records)

    def span(self, day: int) -> range:
        """Return the positions of the day's rows."""
        return range(len(self._records(day)))

    def count(self, day: int) -> int:
        """Return the number of rows of the day."""
        return len(self._records(day))

    def _block(self, day: int, number: int) -> Block:
        ids, records, key = self.cut(day, number), self._records(day), date_key(day)
        return Block(ids, [to_json({"dateKey": key, **records[id_]}) for id_ in ids])
