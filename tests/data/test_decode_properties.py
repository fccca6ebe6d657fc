"""Decoding as a property: whatever the rows, both paths give what an independent conversion gives."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from declared_columns import INTEGERS, converted, page_of, schema_of, unframed
from hypothesis import given, settings
from hypothesis import strategies as st

from intune_dw_cli.data.decode import DecodedPage, PageDecoder
from intune_dw_cli.data.schema import ADDITIONAL
from intune_dw_cli.errors import ProtocolError
from intune_dw_cli.service.csdl import Property
from intune_dw_cli.service.page import read_page

TYPES = [*INTEGERS, "Edm.Boolean", "Edm.Double", "Edm.Decimal", "Edm.String", "Edm.Guid", "Edm.DateTimeOffset"]
SCALE = 4
NASTY = [
    '},{"p0":1',
    "},{",
    '"}],"@odata.nextLink":"x"',
    "null",
    "\\",
    "\u2028",
    "\x00",
    "",
    "\U0001f600",
    "} null",
    "0x1",
]
texts = st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=["Cs"]), max_size=10)


class Raw(str):
    """A piece of JSON text."""


def literals(edm_type: str) -> st.SearchStrategy[Raw]:
    """JSON texts of good values of a type, in all the ways in which services write them."""
    if edm_type in INTEGERS:
        low, high = INTEGERS[edm_type]
        numbers = st.integers(low, high) | st.sampled_from([low, high, 0, min(high, 2**53 + 1)])
        return numbers.flatmap(
            lambda n: st.sampled_from([f"{n}", f'"{n}"', f"{n}.0", f"{n}.000", f"{n}e0", f"{n * 10}e-1", f'"{n}.0"'])
        ).map(Raw)
    if edm_type == "Edm.Boolean":
        return st.sampled_from(["true", "false", "0", "1", '"true"', '"false"']).map(Raw)
    if edm_type == "Edm.Double":
        finite = st.floats(allow_nan=False, allow_infinity=False)
        special = st.sampled_from(['"INF"', '"-INF"', "0", "-0.0", "1e300", "123456789012345678901234567890", '"1.5"'])
        return (finite.map(repr) | finite.map(lambda f: json.dumps(repr(f))) | special).map(Raw)
    if edm_type == "Edm.Decimal":
        numbers = st.decimals(-(10**20), 10**20, places=SCALE)
        return numbers.flatmap(lambda d: st.sampled_from([f"{d:f}", f'"{d:f}"'])).map(Raw)
    return texts.flatmap(lambda t: st.sampled_from([json.dumps(t), json.dumps(t, ensure_ascii=False)])).map(Raw)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[dict[str, str]]]:
    """Types of the columns p0, p1, ..., and rows of JSON literals; a column may be written in one way or in several."""
    types = draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=5))
    cells = [
        draw(st.sampled_from([literals(t), st.none().map(lambda _: Raw("null")), literals(t) | st.just(Raw("null"))]))
        for t in types
    ]
    missing = draw(st.booleans())
    shuffled = draw(st.booleans())
    rows = []
    for _ in range(draw(st.integers(0, 5))):
        row = {f"p{i}": draw(cell) for i, cell in enumerate(cells) if not (missing and draw(st.booleans()))}
        names = draw(st.permutations(list(row))) if shuffled else list(row)
        rows.append({name: row[name] for name in names})
    return types, rows


def properties(types: list[str]) -> list[Property]:
    return [
        Property(f"p{i}", t, precision=30, scale=SCALE) if t == "Edm.Decimal" else Property(f"p{i}", t)
        for i, t in enumerate(types)
    ]


def json_of(rows: list[dict[str, str]], comma: str, colon: str) -> str:
    return "[" + comma.join("{" + comma.join(f'"{n}"{colon}{v}' for n, v in r.items()) + "}" for r in rows) + "]"


def expected(text: str, types: list[str]) -> list[dict[str, Any]]:
    rows = json.loads(text, parse_float=Decimal)
    return [{f"p{i}": converted(row.get(f"p{i}"), t) for i, t in enumerate(types)} for row in rows]


def same(decoded: DecodedPage, wanted: list[dict[str, Any]]) -> None:
    got = decoded.batch.to_pylist()
    assert got == wanted
    assert [[type(v) for v in row.values()] for row in got] == [[type(v) for v in row.values()] for row in wanted]


@settings(max_examples=250, deadline=None)
@given(tables(), st.sampled_from([(",", ":"), (", ", ": "), (",\n", ":"), (" , ", " : ")]))
def test_both_paths_agree_with_an_independent_conversion(
    table: tuple[list[str], list[dict[str, str]]], spacing: tuple[str, str]
) -> None:
    types, rows = table
    text = json_of(rows, *spacing)
    decoder = PageDecoder(schema_of(*properties(types)))
    page = page_of(text, "https://h/next")
    wanted = expected(text, types)
    fast, full, again = decoder.decode(page), decoder.decode(unframed(page)), decoder.decode(page)
    for decoded in (fast, full, again):
        same(decoded, wanted)
        assert decoded.next_link == "https://h/next"
    sent = {name for row in rows for name in row}
    assert fast.absent == full.absent == ({f"p{i}" for i in range(len(types))} - sent if rows else set())


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["id", "new", "Other", "x y", "n@odata.type", "},{"]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False) | texts,
                lambda v: st.lists(v, max_size=3) | st.dictionaries(texts, v, max_size=3),
                max_leaves=5,
            ),
            max_size=4,
        ),
        max_size=4,
    )
)
def test_undeclared_properties_lose_nothing(rows: list[dict[str, Any]]) -> None:
    for number, row in enumerate(rows):
        row["id"] = number
    text = to_json(rows)
    page = page_of(text)
    for decoded in (PageDecoder(schema_of(("id", "Edm.Int64"))).decode(p) for p in (page, unframed(page))):
        got = decoded.batch.to_pylist()
        assert [row["id"] for row in got] == list(range(len(rows)))
        extra = [json.loads(row.get(ADDITIONAL) or "{}", parse_float=Decimal) for row in got]
        wanted = json.loads(text, parse_float=Decimal)
        assert extra == [{k: v for k, v in row.items() if k != "id" and "@" not in k} for row in wanted]


def to_json(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{to_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(to_json, value)) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value)


TOKENS = [
    *(s.encode() for s in ("{", "}", "[", "]", ",", ":", '"id"', '"name"', '"flag"', "1", "12.5", "true", "null")),
    *(s.encode() for s in ('"x"', '"1"', "0", "1e5", "-")),
    b'{"id":1}',
    b'},{"id":',
    b" ",
    b"\n",
    b"\x00",
    b"\xff",
    b"\\",
    b'"',
]
FUZZED = schema_of(("id", "Edm.Int64"), ("name", "Edm.String"), ("flag", "Edm.Boolean"))


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=40) | st.lists(st.sampled_from(TOKENS), max_size=16).map(b"".join), st.booleans())
def test_any_bytes_give_rows_or_a_typed_error(inner: bytes, wrapped: bool) -> None:
    body = b'{"value":[{"id":1},{"id":2' + inner + b"}]}" if wrapped else b'{"value":[' + inner + b"]}"
    try:
        decoded = PageDecoder(FUZZED).decode(read_page(body, url="https://h/x", request_id="r"))
    except ProtocolError:
        return
    rows = json.loads(body)["value"]
    assert decoded.batch.num_rows == len(rows)
    assert [r["id"] for r in decoded.batch.to_pylist()] == [converted(found(r), "Edm.Int64") for r in rows]


def found(row: dict[str, Any]) -> Any:
    value = row.get("id")
    return value if value is None or isinstance(value, str) else Decimal(str(value))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_page_cut_or_damaged_by_a_byte_is_never_decoded_into_fewer_rows(data: st.DataObject) -> None:
    body = json.dumps({"value": [{"id": i, "name": "},{"} for i in range(4)]}, separators=(",", ":")).encode()
    place = data.draw(st.integers(0, len(body) - 1))
    damaged = data.draw(
        st.sampled_from([body[:place], body[:place] + body[place + 1 :], body[:place] + b"\x00" + body[place + 1 :]])
    )
    try:
        decoded = PageDecoder(FUZZED).decode(read_page(damaged, url="https://h/x", request_id="r"))
    except ProtocolError:
        return
    assert decoded.batch.num_rows == 4


@pytest.mark.parametrize(
    "edm_type", ["Edm.Single", "Edm.Untyped", "Edm.Duration", "Collection(Edm.String)", "ns.Complex"]
)
def test_every_other_type_is_decoded_alike_on_both_paths(edm_type: str) -> None:
    decoder = PageDecoder(schema_of(("p", edm_type)))
    text = (
        '[{"p":0.25},{"p":null},{"p":"7"}]' if edm_type == "Edm.Single" else '[{"p":"PT1H"},{"p":[1,"a"]},{"p":null}]'
    )
    fast, full = (decoder.decode(p).batch for p in (page_of(text), unframed(page_of(text))))
    assert fast.equals(full)


numerals = st.from_regex(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(numerals, st.booleans()), min_size=1, max_size=5), st.booleans())
def test_a_number_that_is_kept_as_text_is_kept_digit_for_digit(cells: list[tuple[str, bool]], nested: bool) -> None:
    """As a JSON number and as JSON text, on both paths, beside a number that the fast path could not read."""
    schema = schema_of(("free", "Edm.Decimal"), ("id", "Edm.Int64"))
    more = [{"x": f"[{n}]"} if nested else {} for n, _ in cells]
    pieces = [{"free": json.dumps(n) if t else n, "id": "1", **m} for (n, t), m in zip(cells, more, strict=True)]
    page = page_of(json_of(pieces, ",", ":"))
    for decoded in (PageDecoder(schema).decode(page), PageDecoder(schema).decode(unframed(page))):
        got = decoded.batch.to_pylist()
        assert [row["free"] for row in got] == [number for number, _ in cells]
        if nested:
            assert [row[ADDITIONAL] for row in got] == [f'{{"x":[{number}]}}' for number, _ in cells]
