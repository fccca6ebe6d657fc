"""Reading a part back: does it hold the rows, columns, days and keys that were recorded?"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from intune_dw_cli.archive.records import SchemaRecord, SliceRecord
from intune_dw_cli.data.schema import ADDITIONAL, Column
from intune_dw_cli.errors import ProtocolError
from intune_dw_cli.export.parts import Part
from intune_dw_cli.export.tally import KeyTally
from intune_dw_cli.service.csdl import Property

_BLOCK = 4 * 1024 * 1024


def check_contents(root: Path, record: SliceRecord) -> Iterator[tuple[str, str]]:
    """Read the parts of a slice and yield (path, what is wrong) for each disagreement with the record."""
    duplicates: int | None = 0
    for part in record.parts:
        try:
            reading = _read(root / PurePosixPath(part.path), part, record.schema)
        except (OSError, pa.ArrowException, ValueError) as error:
            yield part.path, f"cannot be read back: {_first_line(error)}"
            duplicates = None
            continue
        yield from ((part.path, text) for text in reading.disagreements(part, record))
        found = reading.duplicates
        duplicates = None if duplicates is None or found is None else duplicates + found
    # A key without the day may come again on another day: such slices were counted as a whole.
    counted = len(record.parts) == 1 or record.schema.date_key in record.schema.key
    if (
        counted
        and not record.smaller
        and None not in (duplicates, record.duplicates)
        and duplicates != record.duplicates
    ):
        text = f"{duplicates} rows repeat a key, {record.duplicates} are recorded for slice {record.slice}"
        yield record.parts[0].path, text


def check_copy(root: Path, part: Part) -> Iterator[str]:
    """Read a dated copy and yield what is wrong. Only its rows are recorded: its columns were those of its day."""
    path = root / PurePosixPath(part.path)
    try:
        if path.name.endswith(".parquet"):
            rows = int(pq.read_metadata(path).num_rows)
        else:
            columns, _ = _head(path)
            own = columns[: len(columns) - part.additional]
            schema = SchemaRecord(tuple((name, "Edm.String") for name in own), tuple(own[:1]), None)
            rows = _read(path, part, schema).rows
    except (OSError, pa.ArrowException, ValueError) as error:
        yield f"cannot be read back: {_first_line(error)}"
        return
    if rows != part.rows:
        yield _other_rows(rows, part)


class _Reading:
    """What a part was found to hold."""

    def __init__(self, columns: list[str], key: tuple[str, ...], date_key: str | None) -> None:
        self.columns = columns
        self._key = list(key)
        self._date_key = date_key
        self._tally = KeyTally(self._key)
        self._ends: tuple[pa.RecordBatch, pa.RecordBatch] | None = None  # the keys of the first and the last row
        self._days: set[Any] = set()
        self.rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows == 0:
            return
        self.rows += batch.num_rows
        if self._date_key:
            self._days.update(str(d) for d in pc.unique(batch.column(self._date_key)).to_pylist())
        if self._key:
            keys = batch.select(self._key)
            self._tally.observe(keys)
            first, last = (pa.concat_batches([keys.slice(row, 1)]) for row in (0, keys.num_rows - 1))
            self._ends = (self._ends[0] if self._ends else first, last)

    @property
    def duplicates(self) -> int | None:
        """Rows that repeat a key, None where that cannot be told."""
        return self._tally.duplicates() if self._key and self.rows else 0

    def disagreements(self, part: Part, record: SliceRecord) -> Iterator[str]:
        if self.rows != part.rows:
            yield _other_rows(self.rows, part)
        wanted = [name for name, _ in record.schema.columns] + [ADDITIONAL] * part.additional
        if self.columns != wanted:
            yield "its columns are not the recorded ones"
            return
        if part.date_key is not None and self._days - {str(part.date_key)}:
            yield f"holds rows of other days than {part.date_key}"
        if self._ends:
            first, last = self._ends
            typed = part.path.endswith(".parquet")
            wanted_keys = [_recorded(key, record.schema, typed) for key in (part.first_key, part.last_key)]
            if [_texts(first.columns), _texts(last.columns)] != wanted_keys:
                yield "its first or last row is not the recorded one"


def _other_rows(rows: int, part: Part) -> str:
    return f"holds {rows} rows, {part.rows} are recorded"


def _read(path: Path, part: Part, schema: SchemaRecord) -> _Reading:
    needed = list(dict.fromkeys([*schema.key, *([schema.date_key] if schema.date_key else [])]))
    if path.name.endswith(".parquet"):
        with pq.ParquetFile(path) as file:
            reading = _Reading(file.schema_arrow.names, schema.key, schema.date_key)
            for batch in file.iter_batches(columns=needed or None):
                reading.add(batch)
        return reading
    names = [name for name, _ in schema.columns] + [ADDITIONAL] * part.additional
    header, has_rows = _head(path)
    reading = _Reading(header, schema.key, schema.date_key)
    if header != names:
        reading.rows = part.rows  # what cannot be told is not complained of
        return reading
    if not has_rows:
        return reading  # the CSV reader would see an empty file
    with pa.input_stream(str(path), compression="detect") as stream:
        reader = pacsv.open_csv(
            stream,
            read_options=pacsv.ReadOptions(block_size=_BLOCK, use_threads=False),
            # A row of one column that is null is an empty line.
            parse_options=pacsv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=needed or None,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        for batch in reader:
            reading.add(batch)
    return reading


def _head(path: Path) -> tuple[list[str], bool]:
    """Return the header of a CSV file, and whether anything follows it."""
    with pa.input_stream(str(path), compression="detect") as stream:
        text = io.StringIO(stream.read(_BLOCK).decode("utf-8", "replace"), newline="")
    return next(csv.reader(text), []), bool(text.read(1))


def _texts(row: Iterable[pa.Array]) -> list[str | None]:
    """Return the first value of each column as the text that a record has for it."""
    digits = (pa.types.is_decimal(c.type) or pa.types.is_floating(c.type) for c in row)
    return [_text((c[:1].cast(pa.string()) if d else c)[0].as_py()) for c, d in zip(row, digits, strict=True)]


def _recorded(key: tuple[Any, ...] | None, schema: SchemaRecord, typed: bool) -> list[str | None]:
    """Return a recorded key as it reads in the file: the record has text where Parquet has a typed value."""
    if not typed:
        return [_text(value) for value in key or ()]
    try:
        return _as_typed(key, schema)
    except (ProtocolError, ValueError, TypeError, ArithmeticError):
        return []  # no value of the declared type: the file has none like it


def _as_typed(key: tuple[Any, ...] | None, schema: SchemaRecord) -> list[str | None]:
    types = dict(schema.columns)
    columns = [Column.of(Property(name, types[name])) for name in schema.key]
    return _texts([c.to_arrow(_decoded(v, c.wire)) for c, v in zip(columns, key or (), strict=False)])


def _decoded(value: Any, wire: pa.DataType) -> pa.Array:
    """Return a recorded value as decoding gave it. Raises ValueError, TypeError where it is of another type."""
    digits = pa.types.is_floating(wire) and isinstance(value, str)
    return pa.array([value], pa.string()).cast(wire) if digits else pa.array([value], wire)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
