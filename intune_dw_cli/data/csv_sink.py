"""CSV: RFC 4180, UTF-8, `\\n`, a header always; null is empty and empty text is `""`, so nothing is lost.

`excel` trades losslessness for safety in a spreadsheet: see `CsvSink`.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from intune_dw_cli.data.schema import ADDITIONAL, CollectionSchema

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

# What a spreadsheet runs (a leading = + - @, or a tab or line break before one) and what it rewrites: texts made of
# digits and marks (leading zeros, long numbers, version numbers taken for dates), and exponents such as 1E5.
_UNSAFE = r"^[\s]*[=+\-@\t\r\n]|^\s*[\d.,:/\- ]*\d[\d.,:/\- ]*([eE][+\-]?\d+)?\s*$"
_EXACT_DIGITS = 15
_BATCH_ROWS = 16384


class ByteStream(Protocol):
    """What a sink writes to: a binary file, or anything with its `write`."""

    def write(self, data: Buffer, /) -> int:
        """Append bytes, all of them."""


class CsvSink:
    """Writes CSV.

    With `excel` the file begins with a BOM, lines end in CRLF, and a cell that a spreadsheet would run as a formula or
    mangle is led by an apostrophe: texts that look like formulas or numbers, integers of more than 15 digits.
    """

    def __init__(
        self,
        stream: ByteStream,
        schema: CollectionSchema,
        additional: bool,
        *,
        compression: str | None = None,
        excel: bool = False,
    ) -> None:
        self._excel = excel
        self._guarded = frozenset(
            i for i, c in enumerate(schema.columns) if c.edm_type not in ("Edm.DateTimeOffset", "Edm.Date")
        )
        names = [c.name for c in schema.columns] + [ADDITIONAL] * additional
        # Opened over the raw stream: closing the compressor ends its frame and leaves the stream to its owner.
        self._file = pa.PythonFile(_Unclosed(stream), mode="w")
        self._out = pa.CompressedOutputStream(self._file, compression) if compression else self._file
        self._out.write(_header(names, excel))
        self._arrow = pa.schema([pa.field(n, self._type(i, schema)) for i, n in enumerate(names)])
        options = pacsv.WriteOptions(include_header=False, batch_size=_BATCH_ROWS, eol="\r\n" if excel else "\n")
        self._writer = pacsv.CSVWriter(self._out, self._arrow, write_options=options)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append decoded rows."""
        if self._excel:
            columns = [_guard(v) if i in self._guarded else v for i, v in enumerate(batch.columns)]
            batch = pa.RecordBatch.from_arrays(columns, schema=self._arrow)
        self._writer.write_batch(batch)

    def close(self) -> None:
        """End the file; the stream stays open."""
        self._writer.close()
        self._out.close()
        self._file.close()

    def _type(self, index: int, schema: CollectionSchema) -> pa.DataType:
        if index >= len(schema.columns):
            return pa.string()
        wire = schema.columns[index].wire
        return pa.string() if self._excel and pa.types.is_int64(wire) else wire


class _Unclosed(io.RawIOBase):
    """Passes writes on and keeps its own closing to itself."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        return self._stream.write(data)


def _header(names: list[str], excel: bool) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n" if excel else "\n").writerow(names)
    return text.getvalue().encode("utf-8-sig" if excel else "utf-8")


def _guard(values: pa.Array) -> pa.Array:
    if pa.types.is_int64(values.type):
        texts = values.cast(pa.string())
        limit = 10**_EXACT_DIGITS
        safe = pc.and_(pc.less(values, limit), pc.greater(values, -limit))
        return pc.if_else(safe, texts, pc.binary_join_element_wise("'", texts, ""))
    if pa.types.is_string(values.type):
        unsafe = pc.match_substring_regex(values, _UNSAFE)
        return pc.if_else(unsafe, pc.binary_join_element_wise("'", values, ""), values)
    return values
