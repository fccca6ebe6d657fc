"""One suite for both kinds of file: the same rows give the same bytes, and an independent reader gets them back."""

from __future__ import annotations

import csv
import datetime as dt
import gc
import gzip
import io
import random
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from declared_columns import schema_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intune_dw_cli.data import parquet_sink
from intune_dw_cli.data.formats import FileFormat
from intune_dw_cli.data.schema import ADDITIONAL
from intune_dw_cli.errors import OutputError, ProtocolError, UsageError
from intune_dw_cli.service.csdl import Property

SCHEMA = schema_of(
    ("id", "Edm.Int64"),
    ("flag", "Edm.Boolean"),
    ("ratio", "Edm.Double"),
    Property("price", "Edm.Decimal", precision=18, scale=4),
    ("text", "Edm.String"),
    ("when", "Edm.DateTimeOffset"),
    ("day", "Edm.Date"),
    key=("id",),
)
FORMATS = [
    FileFormat("csv"),
    FileFormat("csv", "gzip"),
    FileFormat("csv", "zstd"),
    FileFormat("csv", excel=True),
    FileFormat("parquet"),
    FileFormat("parquet", "gzip"),
]
every_format = pytest.mark.parametrize("fmt", FORMATS, ids=lambda f: f"{f.suffix}{'-excel' * f.excel}")
ORDINARY = {"id": 1, "flag": True, "ratio": 0.5, "price": Decimal("1.5000"), "text": "x", "when": None, "day": None}


class Collected(io.RawIOBase):
    """A stream that keeps what is written, and fails when told to."""

    def __init__(self, error: BaseException | None = None, after: int = 0) -> None:
        self.bytes = bytearray()
        self._error, self._after = error, after

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        if self._error is not None and len(self.bytes) >= self._after:
            raise self._error
        self.bytes += data
        return memoryview(data).nbytes


def batches(rows: Sequence[dict[str, Any]], cuts: Sequence[int] = (), additional: bool = False) -> list[pa.RecordBatch]:
    schema = SCHEMA.wire.append(pa.field(ADDITIONAL, pa.string())) if additional else SCHEMA.wire
    whole = pa.RecordBatch.from_pylist(list(rows), schema=schema)
    ends = [*sorted(cuts), len(rows)]
    return [whole.slice(begin, end - begin) for begin, end in zip([0, *ends], ends, strict=False)]


def written(fmt: FileFormat, parts: Sequence[pa.RecordBatch], *, additional: bool = False) -> bytes:
    stream = Collected()
    sink = fmt.open(stream, SCHEMA, additional=additional, provenance={"intune_dw.collection": "things"})
    for part in parts:
        sink.write(part)
    sink.close()
    assert not stream.closed
    return bytes(stream.bytes)


def csv_rows(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline=""), strict=True))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    [
        "",
        '"',
        '""',
        "a,b",
        "line\r\nbreak",
        "\n",
        "\r",
        "\t",
        "NULL",
        "null",
        " padded ",
        "'",
        "\u2028",
        "\ufeff",
        "\U0001f469\u200d\U0001f4bb",
        "=1+1",
        "00042",
        "\x00",
        "x" * 300,
    ]
)
times = st.sampled_from(
    ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "2024-02-29T23:59:59.1Z", "2024-01-01T00:00:00+02:00"]
)
tables = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.none() | st.integers(-(2**63), 2**63 - 1),
            "flag": st.none() | st.booleans(),
            "ratio": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "price": st.none() | st.decimals(-(10**13), 10**13, places=4),
            "text": st.none() | texts,
            "when": st.none() | times,
            "day": st.none() | st.dates().map(dt.date.isoformat),
        }
    ),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(tables, st.data())
def test_any_division_into_batches_gives_the_same_bytes(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(rows)), max_size=4))
    copies = [pa.RecordBatch.from_pylist(b.to_pylist(), schema=b.schema) for b in batches(rows, cuts)]
    for fmt in FORMATS:
        once = written(fmt, batches(rows))
        assert written(fmt, batches(rows, cuts)) == once
        assert written(fmt, copies) == once


@every_format
@pytest.mark.parametrize("size", [1, 7, 1000, 4097, 50_000])
def test_large_tables_do_not_depend_on_the_page_size(
    fmt: FileFormat, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_sink, "row_group_rows", lambda _: 512)
    rows = [
        {**ORDINARY, "id": i, "text": f"row {i % 97}" if i % 5 else None} for i in range(10_000 if size > 7 else 700)
    ]
    whole = written(fmt, batches(rows))
    assert written(fmt, batches(rows, range(size, len(rows), size))) == whole


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables)
def test_csv_and_parquet_hold_equal_values(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    # DuckDB's reader takes a NUL for the end; the csv module below reads it.
    readable = [{k: v.replace("\x00", "~") if k == "text" and v else v for k, v in row.items()} for row in rows]
    (tmp_path / "t.parquet").write_bytes(written(FileFormat("parquet"), batches(readable)))
    (tmp_path / "t.csv").write_bytes(written(FileFormat("csv"), batches(readable)))
    types = (
        "{'id':'BIGINT','flag':'BOOLEAN','ratio':'DOUBLE','price':'DECIMAL(18,4)','text':'VARCHAR',"
        "'when':'VARCHAR','day':'DATE'}"
    )
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone='UTC'")
        columns = 'id, flag, ratio, price, "text", epoch_us("when"::TIMESTAMPTZ), "day"'
        parquet = connection.sql(f"SELECT {columns} FROM read_parquet('{tmp_path}/t.parquet')").fetchall()
        # allow_quoted_nulls: a quoted empty text is a text.
        read_csv = (
            f"read_csv('{tmp_path}/t.csv', header=true, columns={types}, quote='\"', escape='\"', delim=',', "
            "allow_quoted_nulls=false, nullstr='', new_line='\\n', strict_mode=true, auto_detect=false)"
        )
        plain = connection.sql(f"SELECT {columns} FROM {read_csv}").fetchall()
    assert parquet == plain
    assert [(r[0], r[1], r[2], r[3], r[4]) for r in parquet] == [
        (r["id"], r["flag"], r["ratio"], r["price"], r["text"]) for r in readable
    ]


@settings(max_examples=80, deadline=None)
@given(tables)
def test_csv_is_read_back_by_the_csv_module(rows: list[dict[str, Any]]) -> None:
    data = written(FileFormat("csv"), batches(rows))
    header, *lines = csv_rows(data)
    assert header == [c.name for c in SCHEMA.columns]
    assert [line[4] for line in lines] == [row["text"] or "" for row in rows]
    assert [line[5] for line in lines] == [row["when"] or "" for row in rows]
    assert [line[0] for line in lines] == ["" if row["id"] is None else str(row["id"]) for row in rows]
    assert [line[2] and float(line[2]) for line in lines] == ["" if r["ratio"] is None else r["ratio"] for r in rows]


def test_null_is_empty_and_empty_text_is_quoted() -> None:
    data = written(FileFormat("csv"), batches([{"id": 1, "text": ""}, {"id": 2, "text": None}]))
    assert data == b'id,flag,ratio,price,text,when,day\n1,,,,"",,\n2,,,,,,\n'


def test_text_of_a_time_is_kept_as_served_in_csv() -> None:
    data = written(FileFormat("csv"), batches([{"when": "2024-01-01T00:00:00.1234567+02:00"}, {"when": "never"}]))
    assert [line[5] for line in csv_rows(data)[1:]] == ["2024-01-01T00:00:00.1234567+02:00", "never"]


@every_format
def test_table_without_rows_has_its_columns(fmt: FileFormat) -> None:
    for parts in ([], batches([])):
        data = written(fmt, parts)
        if fmt.format == "parquet":
            table = pq.read_table(io.BytesIO(data))
            assert (table.num_rows, table.column_names) == (0, [c.name for c in SCHEMA.columns])
        else:
            assert csv_rows(plain(fmt, data)) == [[c.name for c in SCHEMA.columns]]


def plain(fmt: FileFormat, data: bytes) -> bytes:
    if fmt.compression == "gzip":
        return gzip.decompress(data).removeprefix(b"\xef\xbb\xbf")
    if fmt.compression == "zstd":
        return pa.CompressedInputStream(pa.BufferReader(data), "zstd").read()
    return data.removeprefix(b"\xef\xbb\xbf")


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_compressed_csv_is_the_plain_csv_compressed(compression: str) -> None:
    rows = [{**ORDINARY, "id": i} for i in range(3000)]
    fmt = FileFormat("csv", compression)
    data = written(fmt, batches(rows, range(0, 3000, 100)))
    assert plain(fmt, data) == written(FileFormat("csv"), batches(rows))
    assert len(data) < 20_000


@every_format
def test_additional_column_stands_last(fmt: FileFormat) -> None:
    data = written(fmt, batches([{"id": 1, ADDITIONAL: '{"x":"é"}'}, {"id": 2}], additional=True), additional=True)
    if fmt.format == "parquet":
        assert pq.read_table(io.BytesIO(data)).column(ADDITIONAL).to_pylist() == ['{"x":"é"}', None]
    else:
        assert [line[-1] for line in csv_rows(plain(fmt, data))] == [ADDITIONAL, '{"x":"é"}', ""]


@every_format
@pytest.mark.parametrize(
    "error", [OutputError("disk full"), BrokenPipeError(32, "gone"), KeyboardInterrupt()], ids=repr
)
@pytest.mark.parametrize("after", [0, 5000])
def test_error_of_the_stream_comes_out_as_it_was_raised(fmt: FileFormat, error: BaseException, after: int) -> None:
    stream = Collected(error, after)
    chance = random.Random(1)
    rows = [{**ORDINARY, "id": i, "text": chance.randbytes(200).hex()} for i in range(3000)]
    sinks = []

    def write() -> None:
        sinks.append(fmt.open(stream, SCHEMA, additional=False, provenance={}))
        for part in batches(rows, range(300, 3000, 300)):
            sinks[0].write(part)
        sinks[0].close()

    with pytest.raises(type(error)) as caught:
        write()
    assert str(caught.value) == str(error)
    for sink in sinks:
        sink.abandon()


@every_format
def test_abandoned_sink_writes_nothing_more(fmt: FileFormat, capfd: pytest.CaptureFixture[str]) -> None:
    stream = Collected()
    sink = fmt.open(stream, SCHEMA, additional=False, provenance={})
    sink.write(batches([ORDINARY])[0])
    sink.abandon()
    before = bytes(stream.bytes)
    stream._error = OutputError("written after the end")
    del sink
    gc.collect()
    assert bytes(stream.bytes) == before
    assert capfd.readouterr().err == ""


@every_format
def test_abandoning_a_closed_sink_does_no_harm(fmt: FileFormat) -> None:
    stream = Collected()
    sink = fmt.open(stream, SCHEMA, additional=False, provenance={})
    sink.close()
    whole = bytes(stream.bytes)
    sink.abandon()
    assert bytes(stream.bytes) == whole


@pytest.mark.parametrize("fmt", [f for f in FORMATS if f.format == "csv"], ids=str)
def test_csv_writes_nothing_before_its_first_rows_so_that_a_stream_can_begin_again(fmt: FileFormat) -> None:
    stream = Collected()
    sink = fmt.open(stream, SCHEMA, additional=False, provenance={})
    sink.abandon()
    assert stream.bytes == b""


def test_row_groups_have_a_fixed_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_sink, "row_group_rows", lambda _: 100)
    rows = [{**ORDINARY, "id": i} for i in range(250)]
    data = written(FileFormat("parquet"), batches(rows, [30, 99, 100, 230]))
    file = pq.ParquetFile(io.BytesIO(data))
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [100, 100, 50]
    assert file.read().column("id").to_pylist() == list(range(250))


def test_long_texts_end_a_row_group_early_whatever_the_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_sink, "_CHUNK_ROWS", 50)
    monkeypatch.setattr(parquet_sink, "_GROUP_TEXT", 90_000)
    # Two chunks of long texts fill a row group, short ones none.
    rows = [{**ORDINARY, "id": i, "text": "x" * (1000 if i < 200 else 1)} for i in range(500)]
    data = written(FileFormat("parquet"), batches(rows))
    file = pq.ParquetFile(io.BytesIO(data))
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [100, 100, 300]
    assert file.read().column("id").to_pylist() == list(range(500))
    assert written(FileFormat("parquet"), batches(rows, [1, 49, 51, 180, 300])) == data


@pytest.mark.parametrize(("columns", "rows"), [(0, 65536), (1, 65536), (16, 65536), (40, 16384), (1000, 16384)])
def test_wide_tables_have_smaller_row_groups(columns: int, rows: int) -> None:
    assert parquet_sink.row_group_rows(columns) == rows


def test_only_columns_of_values_that_repeat_have_a_dictionary() -> None:
    schema = schema_of(("id", "Edm.Int64"), ("model", "Edm.String"), ("notes", "Edm.String"))
    long = "a text of more than a thousand letters " * 30
    rows = {"id": range(20_000), "model": [f"model {n % 10}" for n in range(20_000)], "notes": [long] * 20_000}
    stream = io.BytesIO()
    sink = FileFormat("parquet").open(stream, schema, additional=False, provenance={})
    sink.write(pa.RecordBatch.from_pydict(rows, schema=schema.wire))
    sink.close()
    group = pq.ParquetFile(stream).metadata.row_group(0)
    assert [group.column(i).has_dictionary_page for i in range(3)] == [False, True, False]
    assert pq.read_table(stream).to_pydict() == {name: list(values) for name, values in rows.items()}


def test_parquet_is_zstd_and_tells_where_it_came_from() -> None:
    data = written(FileFormat("parquet"), batches([ORDINARY]))
    file = pq.ParquetFile(io.BytesIO(data))
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    assert file.schema_arrow.metadata[b"intune_dw.collection"] == b"things"
    assert file.schema_arrow.field("when").type == pa.timestamp("us", "UTC")


def test_parquet_refuses_a_text_that_is_no_value_of_its_type() -> None:
    with pytest.raises(ProtocolError, match="property when "):
        written(FileFormat("parquet"), batches([{"when": "never"}]))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: FileFormat("csv", "brotli"), "cannot be compressed as brotli"),
        (lambda: FileFormat("parquet", excel=True), "--excel goes with CSV only"),
    ],
)
def test_formats_that_do_not_exist_are_usage_errors(make: Callable[[], FileFormat], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make()


@pytest.mark.parametrize(
    ("fmt", "suffix"),
    [
        (FileFormat(), ".csv"),
        (FileFormat("csv", "gzip"), ".csv.gz"),
        (FileFormat("csv", "zstd"), ".csv.zst"),
        (FileFormat("parquet"), ".parquet"),
    ],
)
def test_suffix_says_what_is_inside(fmt: FileFormat, suffix: str) -> None:
    assert fmt.suffix == suffix
