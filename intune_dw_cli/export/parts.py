"""One file a slice, or one file a day where a slice holds several: the parts of an archive or a partitioned folder."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from intune_dw_cli.data.formats import FileFormat, Sink
from intune_dw_cli.data.schema import ADDITIONAL, CollectionSchema
from intune_dw_cli.export.aside import RowsAside
from intune_dw_cli.export.files import PARTIAL, AtomicFile

_OPEN_DAYS = 8  # files open at once in a slice of many days; a process may have but 256, and each takes memory
_NO_DAY = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True)
class Part:
    """A committed file.

    Attributes:
        path: Relative to the root of the output, with `/`.
        date_key: The day it holds (yyyymmdd), None for a collection without DateKey.
        sha256: Hex digest of the file's bytes.
        first_key, last_key: Key of the first and the last row in the file, None where it has no row or no key.
        additional: Whether it has the column `_additional`.
    """

    path: str
    date_key: int | None
    rows: int
    bytes: int
    sha256: str
    first_key: tuple[Any, ...] | None
    last_key: tuple[Any, ...] | None
    additional: bool


@dataclass(frozen=True, slots=True)
class PartNaming:
    """Where the parts of a collection lie below the root.

    Attributes:
        folder: The collection's folder, with `/`.
        stem: The file name without suffix where there are no days.
        suffix: For instance `.csv.gz`.
    """

    folder: str
    stem: str
    suffix: str

    def whole(self) -> str:
        """Return the path of a collection without days."""
        return f"{self.folder}/{self.stem}{self.suffix}"

    def day(self, date_key: int | None) -> str:
        """Return the path of a day, hive style, so that DuckDB, Spark and pandas read the folder as one table."""
        return f"{self.folder}/dateKey={_NO_DAY if date_key is None else date_key}/part{self.suffix}"


class PartGuard(Protocol):
    """Protects files that are held already from being replaced by ones with fewer rows."""

    def held(self, path: str) -> Part | None:
        """Return the part that is held under a path."""

    def aside(self, path: str) -> Path:
        """Return where a smaller file that came for a path is put."""

    def put_aside(self, part: Part) -> None:
        """Hear that the smaller file is there; the part is as it came, under the path that it came for."""


class PartsOutput:
    """Writes the rows of one slice into parts.

    Args:
        root: The output's root folder.
        naming: Names of the parts.
        fmt: CSV or Parquet.
        schema: The columns.
        additional: Whether the rows have the column `_additional`.
        provenance: Text pairs for Parquet's schema metadata.
        day: The DateKey that all rows have, None where there is none or rows tell it (`by_day`).
        by_day: The column, written or not, by whose days rows are divided into one part each; None: one part.
        guard: Keeps a part that is held from being replaced by one with fewer rows; None: all are replaced.
        keep_empty: Whether a slice without rows leaves an empty part also where it is divided by day.
        within: A folder that must be there already; see AtomicFile.
    """

    def __init__(
        self,
        root: Path,
        naming: PartNaming,
        fmt: FileFormat,
        schema: CollectionSchema,
        *,
        additional: bool,
        provenance: Mapping[str, str],
        day: int | None,
        by_day: str | None,
        keep_empty: bool = False,
        guard: PartGuard | None = None,
        within: Path | None = None,
    ) -> None:
        self._root = root
        self._within = within
        self._naming = naming
        self._schema = schema
        self._additional = additional
        self._fmt, self._provenance = fmt, provenance
        self._by_day = by_day
        self._keep_empty = keep_empty
        self._guard = guard
        self._parts: dict[int | None, _OpenPart] = {}
        self._aside: RowsAside | None = None
        self._day = day
        if by_day is None:
            self._part(day, naming.whole() if day is None else naming.day(day))

    def write(self, batch: pa.RecordBatch) -> None:
        """Append decoded rows. Raises OutputError when the disk does not take them."""
        if self._by_day is None:
            self._parts[self._day].write(batch)
            return
        for day, rows in split_by_day(batch, self._by_day):
            if day in self._parts or len(self._parts) < _OPEN_DAYS:
                self._part(day, self._naming.day(day)).write(rows)
            else:
                self._put_aside(day, rows)

    def finish(self) -> tuple[Part, ...]:
        """End all files, make sure they are on the disk, then give them their final names."""
        if not self._parts and self._keep_empty:
            self._part(None, self._naming.whole())
        for part in self._parts.values():
            part.prepare()
        if self._aside is not None:
            for day in self._aside.days:
                part = self._part(day, self._naming.day(day))
                for rows in self._aside.batches(day):
                    part.write(rows)
                part.prepare()
            self._drop_aside()
        order = sorted(self._parts, key=lambda d: (d is not None, d or 0))
        return tuple(self._commit(self._parts[day]) for day in order)

    def abort(self) -> None:
        """Remove what was written."""
        self._drop_aside()
        for part in self._parts.values():
            part.discard()

    def _put_aside(self, day: int | None, rows: pa.RecordBatch) -> None:
        """Keep rows of a day that cannot have an open file of its own until the others have theirs."""
        if self._aside is None:
            folder = self._root / PurePosixPath(self._naming.folder)
            self._aside = RowsAside(folder / f"rows-{secrets.token_hex(8)}{PARTIAL}", self._root)
        self._aside.add(day, rows)

    def _drop_aside(self) -> None:
        if self._aside is not None:
            self._aside.drop()
            self._aside = None

    def _commit(self, part: _OpenPart) -> Part:
        held = self._guard.held(part.path) if self._guard else None
        if self._guard and held is not None and held.rows > part.rows:
            self._guard.put_aside(part.commit(self._guard.aside(part.path)))
            return held
        return part.commit()

    def _part(self, day: int | None, path: str) -> _OpenPart:
        part = self._parts.get(day)
        if part is None:
            file = AtomicFile(self._root / PurePosixPath(path), self._root, within=self._within)
            part = _OpenPart(path, day, file, self._schema, self._additional)
            try:
                part.sink = self._fmt.open(file, self._schema, additional=self._additional, provenance=self._provenance)
            except BaseException:
                file.discard()  # who opens this output may never get it, so nobody else would
                raise
            self._parts[day] = part
        return part


class _OpenPart:
    def __init__(
        self, path: str, day: int | None, file: AtomicFile, schema: CollectionSchema, additional: bool
    ) -> None:
        self.path, self.day, self.file, self.schema, self.additional = path, day, file, schema, additional
        self.sink: Sink
        self.rows = 0
        self.first_key: tuple[Any, ...] | None = None
        self.last_key: tuple[Any, ...] | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows == 0:
            return
        if self.rows == 0:
            self.first_key = self._key_of(batch, 0)
        self.last_key = self._key_of(batch, batch.num_rows - 1)
        self.rows += batch.num_rows
        self.sink.write(to_write(batch, self.schema))

    def prepare(self) -> None:
        self.sink.close()
        self.file.prepare()

    def commit(self, path: Path | None = None) -> Part:
        self.file.commit(path)
        return Part(
            self.path,
            self.day,
            self.rows,
            self.file.size,
            self.file.sha256,
            self.first_key,
            self.last_key,
            self.additional,
        )

    def discard(self) -> None:
        self.sink.abandon()
        self.file.discard()

    def _key_of(self, batch: pa.RecordBatch, row: int) -> tuple[Any, ...] | None:
        return tuple(_key_value(batch.column(k)[row]) for k in self.schema.key) or None


def _key_value(value: pa.Scalar) -> Any:
    """Return a value of a key as JSON can hold it: a decimal as its digits, a double too (JSON has no NaN)."""
    is_digits = pa.types.is_decimal(value.type) or pa.types.is_floating(value.type)
    return (value.cast(pa.string()) if is_digits else value).as_py()


def to_write(batch: pa.RecordBatch, schema: CollectionSchema) -> pa.RecordBatch:
    """Return rows without the columns that were read for their day only."""
    wanted = {ADDITIONAL, *(c.name for c in schema.columns)}
    names = [name for name in batch.schema.names if name in wanted]
    return batch if len(names) == batch.num_columns else batch.select(names)


def split_by_day(batch: pa.RecordBatch, date_key: str | None) -> list[tuple[int | None, pa.RecordBatch]]:
    """Divide rows by their DateKey, in ascending order of days; the order within a day stays."""
    if date_key is None:
        return [(None, batch)]
    column = batch.column(date_key)
    days = column.unique().to_pylist()
    if len(days) == 1:
        return [(days[0], batch)]
    ordered = sorted(days, key=lambda d: (d is not None, d or 0))
    masks = [pc.is_null(column) if d is None else pc.equal(column, d) for d in ordered]
    return [(d, batch.filter(m)) for d, m in zip(ordered, masks, strict=True)]
