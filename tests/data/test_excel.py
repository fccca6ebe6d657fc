"""CSV for spreadsheets: nothing that runs, nothing that is mangled, ordinary cells as they are."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from declared_columns import schema_of
from hypothesis import example, given, settings
from hypothesis import strategies as st

from intune_dw_cli.data.formats import FileFormat
from intune_dw_cli.service.csdl import Property


def excel(edm_type: str, *values: Any, **facets: Any) -> bytes:
    schema = schema_of(Property("p", edm_type, **facets))
    stream = io.BytesIO()
    sink = FileFormat("csv", excel=True).open(stream, schema, additional=False, provenance={})
    sink.write(pa.RecordBatch.from_pylist([{"p": v} for v in values], schema=schema.wire))
    sink.close()
    return stream.getvalue()


def cells(edm_type: str, *values: Any, **facets: Any) -> list[str]:
    text = excel(edm_type, *values, **facets).decode("utf-8-sig")
    return [line[0] if line else "" for line in csv.reader(io.StringIO(text, newline=""))][1:]


def test_file_begins_with_a_byte_order_mark_and_lines_end_in_crlf() -> None:
    assert excel("Edm.String", "x") == b'\xef\xbb\xbfp\r\n"x"\r\n'


@settings(max_examples=60, deadline=None)
@given(st.lists(st.none() | st.sampled_from(["a\nb", "\r\n", '"\n"', '"', "\n", "", "x"]), max_size=6))
def test_line_ends_within_cells_are_left_alone(texts: list[str | None]) -> None:
    data = excel("Edm.String", *texts).decode("utf-8-sig")
    quoted = ["" if t is None else '"' + ("'" * (t[:1] in tuple("\r\n")) + t).replace('"', '""') + '"' for t in texts]
    assert data == "".join(f"{line}\r\n" for line in ["p", *quoted])


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1+1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        " =1",
        "=",
        "-",
        "--",
        '=HYPERLINK("x")',
        "+cmd|' /C calc'!A0",
        "00042",
        "0",
        "42",
        "1234567890123456789",
        "1e5",
        "1E+5",
        "1.5",
        "1,000",
        "2024-01-15",
        "1/2",
        "12:30",
        "1-2",
        " 007 ",
        "10.0.19045",
        "3.14e-2",
        ".7E 7",
        "1 E7",
        "1E+ 7",
        "7E -3",
        "7 E - 3 ",
        "1\u00a0E\u00a07",
        "7\u00a0",
        "\u00a07",
        "1\u00a0234\u00a0567",
        "1\u202f234,5",
        "1\u2009234",
        "\u00a0=1+1",
        "\u20097:30",
        "1 Mar\u00a02024",
        "\u3000true",
        "\u20b95",
        "(5)",
        "$5",
        "5 \u20ac",
        "5%",
        "12:30 PM",
        "1 a",
        "MAR1",
        "SEPT2",
        "1-Mar",
        "Dec-2024",
        "5 May 2024",
        "January 5, 2024",
        "TRUE",
        "false",
        "\t1",
        "\tx",
        "\rx",
        "\nx",
    ],
)
def test_text_that_would_run_or_be_rewritten_is_led_by_an_apostrophe(text: str) -> None:
    assert cells("Edm.String", text) == [f"'{text}"]


@pytest.mark.parametrize(
    "text",
    [
        "LAPTOP-01",
        "a=b",
        "x@y.z",
        "1a",
        "E 7",
        "7E",
        "7 E x",
        "a\u00a07",
        "v1.2",
        "Windows 10",
        "5 devices",
        "é",
        "'quoted'",
        "",
        "ff0000e1-aaaa-0000-0000-000000000001",
        "a\r\nb",
        "{1}",
        "#N/A",
        "May",
        "Marketing 2",
        "Decoy-3",
        "5 apps",
        "truest",
        "E5",
        "1e",
        "e",
        ".",
        ":",
        "/",
        "N/A",
        "\u0660\u0661",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert cells("Edm.String", text) == [text]


@pytest.mark.parametrize(
    ("number", "cell"),
    [
        (0, "0"),
        (-5, "-5"),
        (20240115, "20240115"),
        (999_999_999_999_999, "999999999999999"),
        (-999_999_999_999_999, "-999999999999999"),
        (10**15, f"'{10**15}"),
        (-(10**15), f"'-{10**15}"),
        (2**63 - 1, f"'{2**63 - 1}"),
        (-(2**63), f"'{-(2**63)}"),
        (None, ""),
    ],
)
def test_integer_of_more_than_15_digits_is_led_by_an_apostrophe(number: int | None, cell: str) -> None:
    assert cells("Edm.Int64", number) == [cell]


@pytest.mark.parametrize(
    ("number", "cell"),
    [
        ("1.50", "1.50"),
        ("-0.05", "-0.05"),
        ("123456789012345.00", "'123456789012345.00"),
        ("1234567890123.45", "1234567890123.45"),
        ("-12345678901234.56", "'-12345678901234.56"),
    ],
)
def test_decimal_of_more_than_15_digits_is_led_by_an_apostrophe(number: str, cell: str) -> None:
    assert cells("Edm.Decimal", Decimal(number), precision=30, scale=2) == [cell]


@pytest.mark.parametrize(
    ("edm_type", "text"), [("Edm.DateTimeOffset", "2024-01-15T00:00:00Z"), ("Edm.Date", "2024-01-15")]
)
def test_dates_are_for_the_spreadsheet_to_read(edm_type: str, text: str) -> None:
    assert cells(edm_type, text) == [text]


@settings(max_examples=200, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.from_regex(r"[=+@\-\s]{0,2}[0-9eE.,:/ -]{0,6}")
)
@example("\x0b=")
@example("\x0b007\x0b")
def test_no_cell_begins_like_a_formula_and_none_changes_otherwise(text: str) -> None:
    (cell,) = cells("Edm.String", text)
    assert cell.removeprefix("'" if cell != text else "") == text
    assert cell == "" or cell.lstrip(" \t\r\n\x0b\x0c")[:1] not in tuple("=+-@")
