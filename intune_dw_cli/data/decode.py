"""Page text to record batches, exactly and without a Python loop over rows.

The fast path hands the page to `pyarrow.json` as it is, as one line with one object, with the schema of `$metadata` for
the rows in its `value`: integers and decimals are converted from their digits, never through a float. A success proves
the reading of the envelope. Whatever does not fit (nested values, undeclared properties, `12.0` for an integer) goes
through a full parse, which is slower and just as exact.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from intune_dw_cli import jsontext
from intune_dw_cli.data.schema import ADDITIONAL, CollectionSchema, Column
from intune_dw_cli.errors import MalformedPageError, ProtocolError
from intune_dw_cli.service.page import Page

# pyarrow.json reads a `null` that stands for a whole object out of bounds (seen in 26.0). It would have to follow the
# end of an object, and that the end of an array. Such text is left to the full parse.
_BARE_NULL = re.compile(rb"\}\s*n")
_CHANGED = re.compile(r"Column\(/value/\[\]/(.*)\) changed from \w+ to (string|number)", re.DOTALL)
_FIRST_ROW = 64 * 1024  # bytes that hold the first row of a page, as a rule
_NUMERAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_SURROGATE = re.compile("[\ud800-\udfff]")
_TEXT = pa.string()
_NO_NUMBERS = pa.array(["inf", "-inf", "nan"])  # OData JSON Format 7.1
_FLAG = pa.int8()


@dataclass(frozen=True, slots=True)
class DecodedPage:
    """One page as a record batch.

    Attributes:
        batch: The rows, in the schema's `wire` types; a last column `_additional` where undeclared properties came.
        next_link: The page's nextLink, now certain.
        absent: Declared properties that no row of the page has.
    """

    batch: pa.RecordBatch
    next_link: str | None
    absent: frozenset[str]


class PageDecoder:
    """Decodes the pages of one collection. May be shared by threads.

    Args:
        declared: Every property that `$metadata` declares: what a page may hold.
        select: The names to keep, None for all. Others are dropped even where the service sends them.
    """

    def __init__(self, declared: CollectionSchema, select: Sequence[str] | None = None) -> None:
        self._schema = declared
        self._select = select
        self._by_name = {c.name: c for c in declared.columns}
        self._by_folded = {c.name.casefold(): c for c in declared.columns}
        # How this service writes a column where that is not the declared way: numbers as JSON strings
        # (IEEE754Compatible), booleans as 0 and 1. Learned from its pages.
        self._written_as: dict[str, pa.DataType] = {}

    def decode(self, page: Page) -> DecodedPage:
        """Decode a page.

        Raises:
            MalformedPageError: the text is not valid JSON; asking for the page again may help.
            ProtocolError: a value contradicts the type that `$metadata` declares.
        """
        if page.is_empty:
            batch = pa.RecordBatch.from_pylist([], schema=self._schema.wire)
            decoded = DecodedPage(batch, page.next_link, frozenset())
        else:
            decoded = self._decode_rows(page) or self._decode_document(page)
        if self._select is None:
            return decoded
        kept = decoded.absent.intersection(self._select)
        return DecodedPage(decoded.batch.select(list(self._select)), decoded.next_link, kept)

    # -- fast path --------------------------------------------------------------------------------------------

    def _decode_rows(self, page: Page) -> DecodedPage | None:
        text = page.rows()
        if page.span is None or text is None:
            return None
        body, members = page.body, page.texts
        if members is None:  # an envelope with more than texts: leave it out
            body, members = b"".join((b'{"value":[', text, b"]}")), ()
        if page.body.find(b"]", *page.span) >= 0 and _BARE_NULL.search(page.body, *page.span):
            return None
        spelling = self._spelling(text)
        rows = spelling and self._read(body, members, spelling)
        if not spelling or not rows:
            return None
        present = frozenset(spelling.values())
        arrays, absent = [], set()
        for index, column in enumerate(self._schema.columns):
            values = _typed(column, rows.field(index))
            if values is None:
                return None
            if (
                column.name not in present
                and values.null_count == len(values)
                and f'"{column.name}"'.encode() not in body
            ):
                absent.add(column.name)
            arrays.append(values)
        batch = pa.RecordBatch.from_arrays(arrays, schema=self._schema.wire)
        return DecodedPage(batch, page.next_link, frozenset(absent))

    def _column(self, name: str) -> Column | None:
        """Return the column that a served name means; the service's spelling may differ in case."""
        return self._by_name.get(name) or self._by_folded.get(name.casefold())

    def _spelling(self, text: memoryview) -> dict[str, str] | None:
        """Return the names in the first row with the column each one fills ("" for an annotation)."""
        row = _first_row(text)
        if row is None:
            return None
        spelling: dict[str, str] = {}
        for name, value in row.items():
            column = self._column(name)
            if column is not None:
                spelling[name] = column.name
                self._learn(column, type(value))
            elif "@" in name and isinstance(value, str):
                spelling[name] = ""
            else:
                return None
        columns = [c for c in spelling.values() if c]
        return spelling if len(set(columns)) == len(columns) else None

    def _learn(self, column: Column, written: type) -> bool:
        """Note how a column is written; return whether that was news."""
        if written is str and not pa.types.is_string(column.wire) and not pa.types.is_boolean(column.wire):
            return self._written_as.setdefault(column.name, _TEXT) is not None
        if written is int and pa.types.is_boolean(column.wire):
            return self._written_as.setdefault(column.name, _FLAG) is not None
        return False

    def _read(self, body: bytes, members: Sequence[str], spelling: Mapping[str, str]) -> pa.StructArray | None:
        """Parse the rows; learn from a refusal how a column is written, and try again."""
        if any(map(_SURROGATE.search, (*members, *spelling))):
            return None  # no field of Arrow can be called so
        served = {column: name for name, column in spelling.items() if column}
        annotations = [pa.field(name, _TEXT) for name, column in spelling.items() if not column]
        for _ in range(len(self._schema.columns) + 1):
            fields = [
                pa.field(served.get(c.name, c.name), self._written_as.get(c.name, c.wire)) for c in self._schema.columns
            ]
            try:
                return _read_json(body, members, fields + annotations)
            except pa.ArrowInvalid as error:
                changed = _CHANGED.search(str(error))
                column = self._column(changed[1]) if changed else None
                if changed is None or column is None or column.name in self._written_as:
                    return None
                if not self._learn(column, {"string": str, "number": int}[changed[2]]):
                    return None
        return None

    # -- full parse -------------------------------------------------------------------------------------------

    def _decode_document(self, page: Page) -> DecodedPage:
        rows, next_link = page.document()
        values: dict[str, list[Any]] = {c.name: [None] * len(rows) for c in self._schema.columns}
        additional: list[str | None] = [None] * len(rows)
        seen: set[str] = set()
        for index, row in enumerate(rows):
            if not isinstance(row, dict):
                raise MalformedPageError("a row of the page is no JSON object", request_id=page.request_id)
            extra: dict[str, Any] = {}
            for name, value in row.items():
                column = self._column(name)
                if column is not None:
                    values[column.name][index] = value
                    seen.add(column.name)
                elif "@" not in name:
                    extra[name] = value
            if extra:
                additional[index] = _text(extra)
        try:
            arrays = [_exact(c, values[c.name]) for c in self._schema.columns]
        except ProtocolError as error:
            error.request_id = page.request_id
            raise
        schema = self._schema.wire
        if any(additional):
            arrays.append(pa.array(additional, pa.string()))
            schema = schema.append(pa.field(ADDITIONAL, pa.string()))
        batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
        absent = frozenset(c.name for c in self._schema.columns if rows and c.name not in seen)
        return DecodedPage(batch, next_link, absent)


def _first_row(text: memoryview) -> dict[str, Any] | None:
    """Parse the first row; None where it is none."""
    for size in (_FIRST_ROW, len(text)):
        try:
            row = jsontext.first_value(str(text[:size], "utf-8", "ignore"))
        except (ValueError, RecursionError):
            continue
        return row if isinstance(row, dict) else None
    return None


def _read_json(body: bytes, members: Sequence[str], fields: list[pa.Field]) -> pa.StructArray | None:
    """Parse a page into one struct a row; None where it is more than one object, or a row is none.

    Args:
        body: The page.
        members: The names of all members beside `value`; they hold texts.
        fields: What a row may have.

    Raises:
        ArrowInvalid: a value does not fit its field, a member is not named, or the text is no JSON.
    """
    envelope = [pa.field("value", pa.list_(pa.struct(fields))), *(pa.field(name, _TEXT) for name in members)]
    table = pj.read_json(
        pa.BufferReader(body),
        read_options=pj.ReadOptions(use_threads=False, block_size=len(body) + 1),
        parse_options=pj.ParseOptions(explicit_schema=pa.schema(envelope), unexpected_field_behavior="error"),
    )
    if table.num_rows != 1:
        return None
    (array,) = table.column(0).chunks
    rows = array.values
    return rows if rows.null_count == 0 else None


def _typed(column: Column, values: pa.Array) -> pa.Array | None:
    """Return values in the wire type, None where what was written is not plainly a value of it."""
    if values.type.equals(column.wire):
        return values if not pa.types.is_floating(column.wire) or _are_numbers(values, values) else None
    if pa.types.is_boolean(column.wire):
        span = pc.min_max(values)
        if span["min"].is_valid and not 0 <= span["min"].as_py() <= span["max"].as_py() <= 1:
            return None
    elif pa.types.is_integer(column.wire) and pc.any(pc.match_substring(values, "x", ignore_case=True)).as_py():
        return None  # Arrow would read 0x10 as a hexadecimal number
    try:
        cast = values.cast(column.wire)
    except pa.ArrowInvalid:
        return None
    return cast if not pa.types.is_floating(column.wire) or _are_numbers(cast, values) else None


def _are_numbers(numbers: pa.Array, written: pa.Array) -> bool:
    """Whether doubles are finite, or written as OData writes what is not.

    Arrow takes the bare words NaN and Infinity, which are no JSON, and makes a number that is too large infinite.
    """
    fit = pc.is_finite(numbers)
    if pa.types.is_string(written.type):
        fit = pc.or_(fit, pc.is_in(pc.utf8_lower(written), _NO_NUMBERS))
    return pc.all(fit).as_py() is not False


def _exact(column: Column, values: list[Any]) -> pa.Array:
    convert = _converter(column)
    try:
        return pa.array([None if v is None else convert(v) for v in values], column.wire)
    except (ValueError, ArithmeticError, pa.ArrowInvalid, TypeError):
        raise ProtocolError(
            f"property {column.name} is declared {column.edm_type} but holds a value that does not fit it",
            hint="The service contradicts its own $metadata. Leave the collection out, or report it to Microsoft "
            "with the client-request-id.",
        ) from None


def _converter(column: Column) -> Callable[[Any], Any]:
    if pa.types.is_string(column.wire):
        return _text
    if pa.types.is_boolean(column.wire):
        return _boolean
    if pa.types.is_float32(column.wire):
        return _single
    if pa.types.is_floating(column.wire):
        return _double
    if pa.types.is_decimal(column.wire):
        return _number
    return _integer


def _number(value: Any) -> Decimal:
    """Take a JSON number, or one as text (IEEE754Compatible); Decimal itself takes much more, down to lists."""
    if isinstance(value, str) and _NUMERAL.fullmatch(value):
        return Decimal(value)
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return Decimal(value)
    raise TypeError("not a number")


def _integer(value: Any) -> int:
    number = _number(value)
    if not number.is_finite() or abs(number) >= 1 << 64 or number != int(number):
        raise ValueError("not an integer")
    return int(number)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in (0, 1, "0", "1"):
        return bool(int(value))
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ValueError("not a boolean")


def _double(value: Any) -> float:
    """OData JSON Format 7.1: -INF, INF and NaN are strings."""
    if isinstance(value, str) and value.lower() in ("inf", "-inf", "nan"):
        return float(value)
    number = float(_number(value))
    if math.isinf(number):
        raise ValueError("larger than any double")
    return number


def _single(value: Any) -> float:
    number = _double(value)
    struct.pack("<f", number)  # OverflowError where it is larger than any single
    return number


def _text(value: Any) -> str:
    try:
        text = value if isinstance(value, str) else jsontext.dumps_exact(value)
    except RecursionError:
        raise ProtocolError("a value of the page is nested too deeply") from None
    # A lone surrogate is no character and has no UTF-8: it becomes U+FFFD, as text decoders do.
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)
