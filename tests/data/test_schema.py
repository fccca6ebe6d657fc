"""Edm types as Arrow types, and texts as typed values."""

from __future__ import annotations

import datetime as dt
import sys
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from declared_columns import schema_of
from hypothesis import given, settings
from hypothesis import strategies as st

from intune_dw_cli.data.schema import ADDITIONAL, TIMESTAMP, Column
from intune_dw_cli.errors import ProtocolError
from intune_dw_cli.service.csdl import Property

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MICROSECOND = dt.timedelta(microseconds=1)


def typed(edm_type: str, *texts: str | None) -> pa.Array:
    return Column.of(Property("p", edm_type)).to_arrow(pa.array(texts, pa.string()))


def micros(*moment: int) -> int:
    return (dt.datetime(*moment, tzinfo=dt.UTC) - EPOCH) // MICROSECOND


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2024-02-29T23:59:59Z", micros(2024, 2, 29, 23, 59, 59)),
        ("2024-02-29T23:59:59.1Z", micros(2024, 2, 29, 23, 59, 59, 100000)),
        ("2024-02-29T23:59:59.12Z", micros(2024, 2, 29, 23, 59, 59, 120000)),
        ("2024-02-29T23:59:59.123Z", micros(2024, 2, 29, 23, 59, 59, 123000)),
        ("2024-02-29T23:59:59.1234Z", micros(2024, 2, 29, 23, 59, 59, 123400)),
        ("2024-02-29T23:59:59.12345Z", micros(2024, 2, 29, 23, 59, 59, 123450)),
        ("2024-02-29T23:59:59.123456Z", micros(2024, 2, 29, 23, 59, 59, 123456)),
        ("2024-02-29T23:59:59.1234569Z", micros(2024, 2, 29, 23, 59, 59, 123456)),
        ("2024-02-29T23:59:59.123456999Z", micros(2024, 2, 29, 23, 59, 59, 123456)),
        ("0001-01-01T00:00:00Z", micros(1, 1, 1)),
        ("9999-12-31T23:59:59.9999999Z", micros(9999, 12, 31, 23, 59, 59, 999999)),
        ("0001-01-01T00:00:00+14:00", micros(1, 1, 1) - 14 * 3600 * 10**6),
        ("2024-03-31T02:30:00+02:00", micros(2024, 3, 31, 0, 30)),
        ("2023-11-05T01:30:00.5-05:30", micros(2023, 11, 5, 7, 0, 0, 500000)),
        ("2024-01-01T00:00:00.1234567+02:00", micros(2023, 12, 31, 22, 0, 0, 123456)),
        ("2024-01-01T00:00Z", micros(2024, 1, 1)),
        ("2024-01-01t01:02:03z", micros(2024, 1, 1, 1, 2, 3)),
        ("2024-01-01T01:02:03", micros(2024, 1, 1, 1, 2, 3)),
        ("2024-01-01T01:02:03.1234567", micros(2024, 1, 1, 1, 2, 3, 123456)),
        ("2024-01-01 01:02:03Z", micros(2024, 1, 1, 1, 2, 3)),
        ("2024-01-01", micros(2024, 1, 1)),
        (" 2024-01-01T01:02:03Z ", micros(2024, 1, 1, 1, 2, 3)),
    ],
)
def test_point_in_time_is_exact_to_the_microsecond_and_cut_beyond(text: str, value: int) -> None:
    for others in ((), ("2024-01-01T00:00:00Z", None), ("2024-01-01T00:00:00.1234567Z",)):
        got = typed("Edm.DateTimeOffset", text, *others)
        assert got.type == TIMESTAMP
        assert got.cast(pa.int64())[0].as_py() == value


MOMENTS = st.tuples(
    st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30))
    | st.datetimes(dt.datetime(1969, 12, 30), dt.datetime(1971, 1, 2))
    | st.datetimes(dt.datetime(2261, 12, 30), dt.datetime(2262, 4, 13)),
    st.sampled_from(["", ".5", ".123456", ".1234567", ".9999999", ".000000999"]),
    st.sampled_from([0, -840, 330, 840]),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.none() | MOMENTS, max_size=6))
def test_moments_of_all_years_in_one_column_are_cut_to_microseconds(
    moments: list[tuple[dt.datetime, str, int] | None],
) -> None:
    texts: list[str | None] = []
    values: list[int | None] = []
    for moment in moments:
        if moment is None:
            texts.append(None)
            values.append(None)
            continue
        local, fraction, minutes = moment
        zone = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}" if minutes else "Z"
        texts.append(f"{local:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + fraction + zone)
        cut = int((fraction[1:] + "000000")[:6]) if fraction else 0
        utc = local.replace(microsecond=cut, tzinfo=dt.UTC) - dt.timedelta(minutes=minutes)
        values.append((utc - EPOCH) // MICROSECOND)
    got = typed("Edm.DateTimeOffset", *texts)
    assert got.type == TIMESTAMP
    assert got.cast(pa.int64()).to_pylist() == values


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2024-02-30T00:00:00Z",
        "2024-01-01T24:00:00Z",
        "2024-13-01T00:00:00Z",
        "20240101",
        "1/2/2024",
        "2024-01-01T00:00:00.Z",
        "10000-01-01T00:00:00Z",
        "2024-01-01T00:00:00+25:00",
        "2024-01-01T00:00:00ZZ",
    ],
)
def test_text_that_is_no_point_in_time_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError, match=r"property p holds a text that is no Edm\.DateTimeOffset") as caught:
        typed("Edm.DateTimeOffset", "2024-01-01T00:00:00Z", text)
    assert "-f csv" in (caught.value.hint or "")


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.none()
        | st.tuples(
            st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 12, 31)),
            st.integers(0, 7),
            st.integers(-14 * 60, 14 * 60),
        ),
        max_size=5,
    )
)
def test_any_mix_of_decimals_and_offsets_is_the_same_instant(moments: list[Any]) -> None:
    texts: list[str | None] = []
    wanted: list[int | None] = []
    for moment in moments:
        if moment is None:
            texts.append(None)
            wanted.append(None)
            continue
        when, decimals, offset = moment
        digits = f"{when.microsecond:06d}7"[:decimals]
        sign, minutes = ("-" if offset < 0 else "+"), abs(offset)
        zone = f"{sign}{minutes // 60:02d}:{minutes % 60:02d}" if offset else "Z"
        texts.append(f"{when:%H:%M:%S}".join((f"{when.date().isoformat()}T", f".{digits}{zone}" if digits else zone)))
        kept = when.replace(microsecond=int(f"{digits[:6]:0<6}"), tzinfo=dt.UTC)
        wanted.append((kept - EPOCH) // MICROSECOND - offset * 60 * 10**6)
    assert typed("Edm.DateTimeOffset", *texts).cast(pa.int64()).to_pylist() == wanted


def test_time_of_day() -> None:
    got = typed("Edm.TimeOfDay", "00:00:00", "23:59:59.9999999", "12:34:56.789", "07:00", None)
    assert got.type == pa.time64("us")
    assert got.to_pylist() == [dt.time(0), dt.time(23, 59, 59, 999999), dt.time(12, 34, 56, 789000), dt.time(7), None]


def test_date() -> None:
    got = typed("Edm.Date", "0001-01-01", "9999-12-31", "2024-02-29", None)
    assert got.to_pylist() == [dt.date(1, 1, 1), dt.date(9999, 12, 31), dt.date(2024, 2, 29), None]


def test_binary_in_base64url_with_and_without_padding() -> None:
    got = typed("Edm.Binary", "-_-_", "AA==", "AA", "", None, "AAE=", "AAE")
    assert got.to_pylist() == [b"\xfb\xff\xbf", b"\x00", b"\x00", b"", None, b"\x00\x01", b"\x00\x01"]


@pytest.mark.parametrize(
    ("edm_type", "text"),
    [
        ("Edm.TimeOfDay", "24:00:00"),
        ("Edm.TimeOfDay", "noon"),
        ("Edm.TimeOfDay", "12:00:00+01:00"),
        ("Edm.TimeOfDay", ""),
        ("Edm.Date", "2023-02-29"),
        ("Edm.Date", "2024-01-01T00:00:00Z"),
        ("Edm.Date", ""),
        ("Edm.Binary", "A"),
        ("Edm.Binary", "é"),
        ("Edm.Binary", "A A="),
    ],
)
def test_text_that_is_no_value_of_its_type_is_refused(edm_type: str, text: str) -> None:
    with pytest.raises(ProtocolError, match=f"no {edm_type}"):
        typed(edm_type, text)


@pytest.mark.parametrize(
    ("declared", "wire", "arrow"),
    [
        (Property("p", "Edm.Byte"), pa.uint8(), pa.uint8()),
        (Property("p", "Edm.SByte"), pa.int8(), pa.int8()),
        (Property("p", "Edm.Int16"), pa.int16(), pa.int16()),
        (Property("p", "Edm.Int32"), pa.int32(), pa.int32()),
        (Property("p", "Edm.Int64"), pa.int64(), pa.int64()),
        (Property("p", "Edm.Boolean"), pa.bool_(), pa.bool_()),
        (Property("p", "Edm.Double"), pa.float64(), pa.float64()),
        (Property("p", "Edm.Single"), pa.float32(), pa.float32()),
        (Property("p", "Edm.Decimal", precision=10, scale=2), pa.decimal128(10, 2), pa.decimal128(10, 2)),
        (Property("p", "Edm.Decimal", scale=2), pa.decimal128(38, 2), pa.decimal128(38, 2)),
        (Property("p", "Edm.Decimal", precision=39, scale=2), pa.string(), pa.string()),
        (Property("p", "Edm.Decimal", precision=5, scale=6), pa.string(), pa.string()),
        (Property("p", "Edm.Decimal", scale="variable"), pa.string(), pa.string()),
        (Property("p", "Edm.Decimal"), pa.string(), pa.string()),
        (Property("p", "Edm.Guid"), pa.string(), pa.string()),
        (Property("p", "Edm.Duration"), pa.string(), pa.string()),
        (Property("p", "Collection(Edm.Int64)"), pa.string(), pa.string()),
        (Property("p", "ns.Unknown"), pa.string(), pa.string()),
        (Property("p", "Edm.DateTimeOffset"), pa.string(), TIMESTAMP),
        (Property("p", "Edm.Date"), pa.string(), pa.date32()),
        (Property("p", "Edm.TimeOfDay"), pa.string(), pa.time64("us")),
        (Property("p", "Edm.Binary"), pa.string(), pa.binary()),
    ],
)
def test_types_come_from_the_declaration(declared: Property, wire: pa.DataType, arrow: pa.DataType) -> None:
    column = Column.of(declared)
    assert (column.wire, column.arrow) == (wire, arrow)


class Asked:
    """Stands before the finders of modules and notes which ones are looked for."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def find_spec(self, name: str, *_: object) -> None:
        self.names.append(name)


@pytest.mark.parametrize(
    "text", ["2024-02-29T23:59:59Z", "2024-02-29T23:59:59.1234567Z", "0001-01-01T00:00:00.0000000Z"]
)
def test_timestamps_are_read_without_a_look_for_modules(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    typed("Edm.DateTimeOffset", text)
    texts, column, asked = pa.array([text], pa.string()), Column.of(Property("p", "Edm.DateTimeOffset")), Asked()
    monkeypatch.setattr(sys, "meta_path", [asked, *sys.meta_path])
    column.to_arrow(texts)
    assert asked.names == []  # Arrow looks for dateutil to find out the type of a bare text: on each page


def test_numbers_pass_as_they_are() -> None:
    column = Column.of(Property("p", "Edm.Decimal", precision=38, scale=10))
    values = pa.array([Decimal("1234567890123456789012345678.0123456789")], column.wire)
    assert column.to_arrow(values) is values


def test_additional_column_passes_to_arrow_as_it_is() -> None:
    schema = schema_of(("id", "Edm.Int64"), ("when", "Edm.Date"))
    batch = pa.RecordBatch.from_arrays(
        [pa.array([1]), pa.array(["2024-01-01"]), pa.array(['{"x":1}'])], names=["id", "when", ADDITIONAL]
    )
    assert schema.to_arrow(batch).to_pylist() == [{"id": 1, "when": dt.date(2024, 1, 1), ADDITIONAL: '{"x":1}'}]


def test_selection_keeps_a_key_only_when_all_of_it_is_named() -> None:
    schema = schema_of(("dateKey", "Edm.Int32"), ("id", "Edm.Int64"), ("name", "Edm.String"), key=("dateKey", "id"))
    assert schema.select(["name", "id", "dateKey"]).key == ("dateKey", "id")
    chosen = schema.select(["name", "id"])
    assert (chosen.key, chosen.date_key, [c.name for c in chosen.columns]) == ((), None, ["name", "id"])
    assert schema.select(["dateKey"]).date_key == "dateKey"
