"""CSV: RFC 4180, UTF-8, `\\n`, a header always; null is empty and empty text is `""`, so nothing is lost.

`excel` trades losslessness for safety in a spreadsheet: see `CsvSink`.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from intune_dw_cli.data.outlet import ByteStream, Outlet
from intune_dw_cli.data.schema import ADDITIONAL, CollectionSchema

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

# What a spreadsheet runs (a leading = + - @, or a tab or line break before one) and what it rewrites: texts made of
# digits and marks (leading zeros, long numbers, version numbers taken for dates), exponents such as 1E5 or 1E + 5,
# money, shares and negatives in brackets, times with AM or PM, English months beside digits, and truth values. Blanks
# are passed over almost anywhere, no-break and thin ones, which group thousands, among them.
_BLANK = r"\s\v\p{Z}"  # `\s` of RE2 lacks the vertical tab, and all beyond ASCII
_BLANKS = f"[{_BLANK}]*"
_MARKS = rf"[\d.,:/\-+()%\p{{Sc}}'{_BLANK}]*"
_DIGITS = rf"{_MARKS}\d{_MARKS}"
_MONTH = "(jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|sept?(ember)?|oct(ober)?|nov(ember)?"
_MONTH += "|dec(ember)?)"
_UNSAFE = "(?i)" + "|".join(
    (
        rf"^{_BLANKS}[=+\-@\t\r\n]",
        rf"^{_DIGITS}(e{_DIGITS})?([ap]m|[{_BLANK}][ap])?{_BLANKS}$",
        rf"^({_DIGITS}{_MONTH}{_MARKS}|{_MARKS}{_MONTH}{_DIGITS})$",
        rf"^{_BLANKS}(true|false){_BLANKS}$",
    )
)
_EXACT_DIGITS = 15
_BATCH_ROWS = 16384


class CsvSink:
    """Writes CSV. Nothing, not even the header, goes to the stream before the first rows or the end.

    With `excel` the file begins with a BOM, lines end in CRLF, and a cell that a spreadsheet would run as a formula or
    mangle is led by an apostrophe: texts that look like formulas or numbers, numbers of more than 15 digits.
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
        self._arrow = pa.schema([pa.field(n, self._type(i, schema)) for i, n in enumerate(names)])
        self._compression = compression
        self._outlet = Outlet(stream)
        self._file = pa.PythonFile(self._outlet, mode="w")
        self._out = self._file
        self._writer: pacsv.CSVWriter | None = None

    def typed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the rows as they are: CSV has the texts as served."""
        return batch

    def write(self, batch: pa.RecordBatch) -> None:
        """Append decoded rows."""
        writer = self._writer or self._begin()
        if self._excel:
            columns = [_guard(v) if i in self._guarded else v for i, v in enumerate(batch.columns)]
            batch = pa.RecordBatch.from_arrays(columns, schema=self._arrow)
        writer.write_batch(batch)

    def close(self) -> None:
        """End the file; the stream stays open."""
        (self._writer or self._begin()).close()
        self._out.close()  # ends the compressor's frame
        self._file.close()

    def abandon(self) -> None:
        """Write nothing more: the file will not be finished."""
        self._outlet.shut()

    def _begin(self) -> pacsv.CSVWriter:
        if self._compression:
            self._out = pa.CompressedOutputStream(self._file, self._compression)
        self._out.write(_header(self._arrow.names, self._excel))
        rows = pa.PythonFile(_CarriageReturns(self._out), mode="w") if self._excel else self._out
        options = pacsv.WriteOptions(include_header=False, batch_size=_BATCH_ROWS)
        self._writer = pacsv.CSVWriter(rows, self._arrow, write_options=options)
        return self._writer

    def _type(self, index: int, schema: CollectionSchema) -> pa.DataType:
        if index >= len(schema.columns):
            return pa.string()
        wire = schema.columns[index].wire
        return pa.string() if self._excel and _may_be_long(wire) else wire


class _CarriageReturns(io.RawIOBase):
    """Ends rows in CRLF and leaves line ends within quotes: an option of pyarrow, but only of its newest releases."""

    def __init__(self, out: pa.NativeFile) -> None:
        self._out = out
        self._quoted = False

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        pieces = bytes(data).split(b'"')
        for outside in range(int(self._quoted), len(pieces), 2):
            pieces[outside] = pieces[outside].replace(b"\n", b"\r\n")
        self._quoted ^= len(pieces) % 2 == 0
        self._out.write(b'"'.join(pieces))
        return memoryview(data).nbytes


def _header(names: list[str], excel: bool) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerow(names)  # with both, so that a name with either is quoted
    line = text.getvalue() if excel else text.getvalue().removesuffix("\r\n") + "\n"
    return line.encode("utf-8-sig" if excel else "utf-8")


def _may_be_long(wire: pa.DataType) -> bool:
    """Whether numbers of this type may have more digits than a spreadsheet keeps."""
    return bool(pa.types.is_int64(wire) or pa.types.is_decimal(wire))


def _guard(values: pa.Array) -> pa.Array:
    if _may_be_long(values.type):
        texts = values.cast(pa.string())
        digits = pc.utf8_length(pc.replace_substring_regex(texts, r"^-?(0\.)?0*|\.|[eE].*$", ""))
        safe = pc.less_equal(digits, _EXACT_DIGITS)
        return pc.if_else(safe, texts, pc.binary_join_element_wise("'", texts, ""))
    if pa.types.is_string(values.type):
        unsafe = pc.match_substring_regex(values, _UNSAFE)
        return pc.if_else(unsafe, pc.binary_join_element_wise("'", values, ""), values)
    return values
