"""The columns of a collection: Edm types as Arrow types, once as a page holds them and once as Parquet does.

A page holds dates, times, GUIDs and enumerations as text. That text is kept through decoding (`wire`), so that CSV can
give it back exactly as served; Parquet gets the typed value (`arrow`). Types come from `$metadata`, never from rows.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from intune_dw_cli.errors import ProtocolError
from intune_dw_cli.service.csdl import EntityType, Property

ADDITIONAL = "_additional"
"""The column that takes, as one JSON object a row, the properties that `$metadata` does not declare."""

TIMESTAMP = pa.timestamp("us", tz="UTC")
_NANOSECONDS = pa.timestamp("ns", tz="UTC")
_SIX_DECIMALS = len("2024-01-15T08:30:00.123456Z")
# With their type: to find it out for a bare text, Arrow tries to import dateutil each time.
_NO_TEXT = pa.scalar(None, pa.string())
_FROM, _BEFORE = pa.scalar("1971", pa.string()), pa.scalar("2262", pa.string())
_TIME = pa.time64("us")
_MAX_PRECISION = 38

_WIRE_TYPES = {
    "Edm.Byte": pa.uint8(),
    "Edm.SByte": pa.int8(),
    "Edm.Int16": pa.int16(),
    "Edm.Int32": pa.int32(),
    "Edm.Int64": pa.int64(),
    "Edm.Boolean": pa.bool_(),
    "Edm.Double": pa.float64(),
    "Edm.Single": pa.float32(),
}
_ARROW_TYPES = {
    "Edm.DateTimeOffset": TIMESTAMP,
    "Edm.Date": pa.date32(),
    "Edm.TimeOfDay": _TIME,
    "Edm.Binary": pa.binary(),
}


@dataclass(frozen=True, slots=True)
class Column:
    """One property as a column.

    Attributes:
        name: The property's name, in the spelling of `$metadata`.
        edm_type: Its Edm type, for instance `Edm.Int64`.
        wire: The Arrow type that decoding gives: numbers and booleans typed, all else text.
        arrow: The Arrow type that Parquet gets.
    """

    name: str
    edm_type: str
    wire: pa.DataType
    arrow: pa.DataType

    @classmethod
    def of(cls, declared: Property) -> Column:
        """Return the column of a declared property."""
        wire = _WIRE_TYPES.get(declared.type) or _decimal(declared) or pa.string()
        return cls(declared.name, declared.type, wire, _ARROW_TYPES.get(declared.type, wire))

    def to_arrow(self, values: pa.Array) -> pa.Array:
        """Turn decoded values into the Parquet type; values that have it already pass.

        The seventh decimal of a DateTimeOffset is cut, not rounded: microseconds have six.

        Raises:
            ProtocolError: a text is no value of the declared type.
        """
        if self.arrow.equals(values.type):
            return values
        try:
            if self.edm_type == "Edm.DateTimeOffset":
                return _timestamps(values)
            if self.edm_type == "Edm.TimeOfDay":
                return _times(values)
            if self.edm_type == "Edm.Binary":
                return pa.array([_binary(v) for v in values.to_pylist()], pa.binary())
            return values.cast(self.arrow)
        except (pa.ArrowInvalid, ValueError):
            raise ProtocolError(
                f"property {self.name} holds a text that is no {self.edm_type}",
                hint="Export as CSV (-f csv): it keeps the text as served.",
            ) from None


@dataclass(frozen=True)
class CollectionSchema:
    """The columns of one collection, in the order of `$metadata`.

    Attributes:
        collection: The entity set's name.
        columns: What is exported.
        key: The names of the key columns that are among them.
        date_key: The name of the DateKey column, None where there is none.
        redaction: How personal columns are redacted, as in the manifest; None where they are not.
        redacted: Their names, also of those that are left out.
    """

    collection: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    date_key: str | None
    redaction: str | None = None
    redacted: tuple[str, ...] = ()

    @classmethod
    def of(cls, collection: str, declared: EntityType, date_key: str | None) -> CollectionSchema:
        """Return the schema of an entity type."""
        return cls(collection, tuple(map(Column.of, declared.properties)), declared.key, date_key)

    def select(self, names: Sequence[str]) -> CollectionSchema:
        """Return the schema of the named properties, in the given order.

        A part of a key is no key: unless all of it is named, nothing can be said about duplicates.
        """
        columns = {c.name: c for c in self.columns}
        return CollectionSchema(
            self.collection,
            tuple(columns[n] for n in names),
            self.key if set(self.key) <= set(names) else (),
            self.date_key if self.date_key in names else None,
        )

    @cached_property
    def wire(self) -> pa.Schema:
        """The Arrow schema that decoding gives."""
        return pa.schema([pa.field(c.name, c.wire) for c in self.columns])

    @cached_property
    def arrow(self) -> pa.Schema:
        """The Arrow schema that Parquet gets."""
        return pa.schema([pa.field(c.name, c.arrow) for c in self.columns])

    def to_arrow(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Turn a decoded batch into the Parquet types; an `_additional` column passes as it is."""
        arrays = [c.to_arrow(batch.column(i)) for i, c in enumerate(self.columns)]
        schema = self.arrow
        if batch.num_columns > len(self.columns):
            arrays.append(batch.column(len(self.columns)))
            schema = schema.append(pa.field(ADDITIONAL, pa.string()))
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _decimal(declared: Property) -> pa.DataType | None:
    """Return decimal128 where both facets fit it; a number without a fixed scale stays exact as text only."""
    if declared.type != "Edm.Decimal" or not isinstance(declared.scale, int):
        return None
    precision = declared.precision or _MAX_PRECISION
    if not 0 < precision <= _MAX_PRECISION or not 0 <= declared.scale <= precision:
        return None
    return pa.decimal128(precision, declared.scale)


def _timestamps(texts: pa.Array) -> pa.Array:
    # A cast that fails is dear, for it fails row by row: so look before.
    if (pc.max(pc.binary_length(texts)).as_py() or 0) <= _SIX_DECIMALS:
        return _any_timestamps(texts)
    # Seven decimals fit into nanoseconds, which know no years 0001 or 9999; before 1970 cutting them would round up.
    span = pc.min_max(texts).as_py()
    all_near = _FROM.as_py() <= span["min"] <= span["max"] < _BEFORE.as_py()
    near = None if all_near else pc.and_(pc.greater_equal(texts, _FROM), pc.less(texts, _BEFORE))
    try:
        within = texts if near is None else pc.if_else(near, texts, _NO_TEXT)
        values = within.cast(_NANOSECONDS).cast(TIMESTAMP, safe=False)
    except pa.ArrowInvalid:
        return _any_timestamps(texts)
    if near is None or values.null_count == texts.null_count:
        return values
    return pc.coalesce(values, _any_timestamps(pc.if_else(near, _NO_TEXT, texts)))


def _any_timestamps(texts: pa.Array) -> pa.Array:
    try:
        return texts.cast(TIMESTAMP)
    except pa.ArrowInvalid:
        pass
    six = pc.replace_substring_regex(texts, r"(\.\d{6})\d+", r"\1")
    try:
        return six.cast(TIMESTAMP)
    except pa.ArrowInvalid:
        # Tolerated beyond the ABNF: small letters, a missing zone (UTC is meant), a date alone.
        upper = pc.utf8_upper(pc.utf8_trim_whitespace(six))
        timed = pc.replace_substring_regex(upper, r"^(\d{4}-\d{2}-\d{2})$", r"\1T00:00:00")
        return pc.replace_substring_regex(timed, r"([T ][0-9:.]+)$", r"\1Z").cast(TIMESTAMP)


def _times(texts: pa.Array) -> pa.Array:
    dated = pc.binary_join_element_wise("1970-01-01T", texts, "Z", "")
    return _timestamps(dated).cast(pa.timestamp("us")).cast(_TIME)


_BASE64_TAIL = re.compile(r"=*$")


def _binary(text: str | None) -> bytes | None:
    """Decode base64url (OData JSON Format 7.1); padding may be absent."""
    if text is None:
        return None
    bare = _BASE64_TAIL.sub("", text)
    return base64.b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_", validate=True)
