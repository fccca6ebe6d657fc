"""Page text to record batches, exactly and without a Python loop over rows.

The fast path re-frames the rows as one JSON object a line and lets `pyarrow.json` parse them against the schema of
`$metadata`: integers and decimals are converted from their digits, never through a float. A success proves the
framing: each line parsed as one object and the lines are as many as the separators said. Whatever does not fit (nested
values, undeclared properties, `12.0` for an integer) goes through a full parse, which is slower and just as exact.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from intune_dw_cli.data.schema import ADDITIONAL, CollectionSchema, Column
from intune_dw_cli.errors import MalformedPageError, ProtocolError
from intune_dw_cli.service.page import Page, Served

# pyarrow.json reads a bare `null` between rows out of bounds (seen in 26.0); such text is left to the full parse.
_BARE_NULL = re.compile(rb"\}\s*n")
_CHANGED = re.compile(r"Column\(/(.*)\) changed from \w+ to (string|number)")
_NUMERAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_SURROGATE = re.compile("[\ud800-\udfff]")
_TEXT = pa.string()
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
            decoded = self._decode_lines(page) or self._decode_document(page)
        if self._select is None:
            return decoded
        kept = decoded.absent.intersection(self._select)
        return DecodedPage(decoded.batch.select(list(self._select)), decoded.next_link, kept)

    # -- fast path --------------------------------------------------------------------------------------------

    def _decode_lines(self, page: Page) -> DecodedPage | None:
        framed = page.lines()
        if framed is None or _BARE_NULL.search(framed[0]):
            return None
        lines, count = framed
        spelling = self._spelling(lines)
        table = spelling and self._read(lines, spelling)
        if not spelling or not table or table.num_rows != count:
            return None
        present = frozenset(spelling.values())
        arrays, absent = [], set()
        for column in self._schema.columns:
            values = _typed(column, table.column(column.name).combine_chunks())
            if values is None:
                return None
            if column.name not in present and values.null_count == count and f'"{column.name}"'.encode() not in lines:
                absent.add(column.name)
            arrays.append(values)
        batch = pa.RecordBatch.from_arrays(arrays, schema=self._schema.wire)
        return DecodedPage(batch, page.next_link, frozenset(absent))

    def _column(self, name: str) -> Column | None:
        """Return the column that a served name means; the service's spelling may differ in case."""
        return self._by_name.get(name) or self._by_folded.get(name.casefold())

    def _spelling(self, lines: bytes) -> dict[str, str] | None:
        """Return the names in the first row with the column each one fills ("" for an annotation)."""
        end = lines.find(b"\n{")
        try:
            row = json.loads(lines if end < 0 else lines[:end])
        except (ValueError, RecursionError):
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

    def _read(self, lines: bytes, spelling: Mapping[str, str]) -> pa.Table | None:
        """Parse the lines; learn from a refusal how a column is written, and try again."""
        served = {column: name for name, column in spelling.items() if column}
        annotations = [pa.field(name, _TEXT) for name, column in spelling.items() if not column]
        for _ in range(len(self._schema.columns) + 1):
            fields = [
                pa.field(served.get(c.name, c.name), self._written_as.get(c.name, c.wire)) for c in self._schema.columns
            ]
            try:
                table = _read_json(lines, pa.schema(fields + annotations))
            except pa.ArrowInvalid as error:
                changed = _CHANGED.search(str(error))
                column = self._column(changed[1]) if changed else None
                if changed is None or column is None or column.name in self._written_as:
                    return None
                if not self._learn(column, {"string": str, "number": int}[changed[2]]):
                    return None
                continue
            return table.select(range(len(fields))).rename_columns([c.name for c in self._schema.columns])
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


def _read_json(lines: bytes, schema: pa.Schema) -> pa.Table:
    return pj.read_json(
        pa.BufferReader(lines),
        read_options=pj.ReadOptions(use_threads=False, block_size=len(lines) + 1),
        parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
    )


def _typed(column: Column, values: pa.Array) -> pa.Array | None:
    """Return values in the wire type, None where what was written is not plainly a value of it."""
    if values.type.equals(column.wire):
        return values
    if pa.types.is_boolean(column.wire):
        span = pc.min_max(values)
        if span["min"].is_valid and not 0 <= span["min"].as_py() <= span["max"].as_py() <= 1:
            return None
    elif pa.types.is_integer(column.wire) and pc.any(pc.match_substring(values, "x", ignore_case=True)).as_py():
        return None  # Arrow would read 0x10 as a hexadecimal number
    try:
        return values.cast(column.wire)
    except pa.ArrowInvalid:
        return None


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
    return value if isinstance(value, float) else float(_number(value))


def _text(value: Any) -> str:
    try:
        text = value if isinstance(value, str) else _json(value)
    except RecursionError:
        raise ProtocolError("a value of the page is nested too deeply") from None
    # A lone surrogate is no character and has no UTF-8: it becomes U+FFFD, as text decoders do.
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _json(value: Any) -> str:
    """Serialise compactly, numbers digit for digit (json.dumps would put a Decimal through a float)."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_json, value)) + "]"
    if isinstance(value, Served):
        return value.text
    return json.dumps(value, ensure_ascii=False)
