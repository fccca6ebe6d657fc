"""Damaged pages: rows exactly as a plain JSON parser and exact arithmetic read them, or a typed error."""

from __future__ import annotations

import json
import math
import random
import re
from decimal import Decimal
from typing import Any

import pytest
from declared_columns import INTEGERS, schema_of, unframed
from mutation import CASES, LONG_CASES, MARKS, mutated

from intune_dw_cli.data import decode
from intune_dw_cli.data.decode import PageDecoder
from intune_dw_cli.data.schema import ADDITIONAL, CollectionSchema
from intune_dw_cli.errors import ProtocolError
from intune_dw_cli.service.page import Page, read_page
from intune_dw_cli.service.problem import is_error_object

SCHEMA = schema_of(
    ("id", "Edm.Int64"),
    ("dateKey", "Edm.Int32"),
    ("flag", "Edm.Boolean"),
    ("ratio", "Edm.Double"),
    ("name", "Edm.String"),
    ("at", "Edm.Date"),
)
ROW = {"id": 2**53 + 1, "dateKey": 20240115, "flag": True, "ratio": 0.1, "name": "},{", "at": "2024-01-15"}
ROWS = [ROW, {**ROW, "id": -1, "flag": None}, {**ROW, "id": 3, "name": "", "at": None}]
DOCUMENTS: list[Any] = [
    {"@odata.context": "https://h/$metadata#things", "value": ROWS, "@odata.nextLink": "https://h/things?$skiptoken=3"},
    {"@odata.nextLink": "things?$skiptoken=3", "value": ROWS},
    {"value": [{**row, "id": str(row["id"])} for row in ROWS]},
    {"value": [{**row, "name@odata.type": "#String"} for row in ROWS]},
    {"value": [{**row, "new": [1, {"deep": None}]} for row in ROWS]},
    {"value": [{"id": 1, "flag": 1}, {"id": 2, "flag": 0}]},
    {"value": [{"id": 1, "ratio": "INF"}, {"id": 2, "ratio": "-INF"}, {"id": 3, "ratio": "2.5"}]},
    {"value": []},
]
CORPUS = [
    *(json.dumps(document, separators=(",", ":")).encode() for document in DOCUMENTS),
    *(json.dumps(document, indent=1).encode() for document in DOCUMENTS),
]
REFUSALS = [
    b'{"value":[{"id":1}],"error":{"code":"x","message":"y"}}',
    b'{"value":[],"@odata.nextLink":"https://h/x","error":{"code":"x","message":"y"}}',
    b'{"error":{"code":"x","message":"y"},"value":[{"id":1}]}',
    b'{"value":[{"id":1}],"odata.error":{"code":"x","message":{"value":"y"}}}',
    b'{"@odata.context":"c","value":[{"id":1},{"id":2}],"Error":{"message":"y"}}',
]
"""Answers that look like a page and end before all rows are there: an error stands beside them."""
NULLS = [
    b'{"value":[{"id":1}]}null{"value":[{"id":2}]}',
    b'{"value":[{"id":1}],"@odata.nextLink":"a"}null{"value":[{"id":2}],"@odata.nextLink":"b"}',
    b'{"@odata.context":"c","value":[{"id":1}]} \n null\n {"@odata.context":"c","value":[{"id":2}]}',
    b'{"value":[{"id":1,"name":"]}null"}],"@odata.nextLink":"a"}',
]
"""Texts with a bare null after an object, out of whose bounds pyarrow.json reads, and one without."""
WORDS = [
    *MARKS,
    b'"value"',
    b"},{",
    b'},{"id":',
    b"12.0",
    b'"12"',
    b"12.5",
    b'"id":',
    b"false",
    b"NaN",
    b"-Infinity",
    b"1E3",
    b"1e999",
]
SURROGATE = re.compile("[\ud800-\udfff]")
UNSURE = object()


class MisfitError(Exception):
    """A value that contradicts its declared type beyond doubt."""


def exact(value: Any, edm_type: str) -> Any:
    """What a JSON value is in a column; UNSURE where a service may mean it in a way that readers differ about."""
    if value is None:
        return None
    if edm_type in ("Edm.String", "Edm.Date"):
        return SURROGATE.sub("\ufffd", value) if isinstance(value, str) else UNSURE
    if isinstance(value, list | dict):
        raise MisfitError
    if edm_type == "Edm.Boolean":
        return value if isinstance(value, bool) else UNSURE
    if isinstance(value, bool):
        raise MisfitError
    if edm_type == "Edm.Double" and not isinstance(value, str):
        if math.isinf(float(value)):
            raise MisfitError
        return float(value)
    if isinstance(value, str):
        if edm_type == "Edm.Double":
            return float(value) if value in ("INF", "-INF", "2.5") else UNSURE
        if not re.fullmatch(r"-?\d{1,18}", value, re.ASCII):
            return UNSURE
        value = int(value)
    low, high = INTEGERS[edm_type]
    if not low <= value <= high or value != value // 1:
        raise MisfitError
    return int(value)


def with_characters(value: Any) -> Any:
    """A JSON value as `_additional` holds it: half a character is U+FFFD there, as in a declared column."""
    if isinstance(value, dict):
        return {name: with_characters(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [with_characters(inner) for inner in value]
    return SURROGATE.sub("\ufffd", value) if isinstance(value, str) else value


def refuse(_constant: str) -> None:
    raise ValueError("no JSON")


def expected(body: bytes) -> tuple[list[dict[str, Any]], str | None] | None:
    """Rows and nextLink of a page; None where the body is no page of rows."""
    try:
        text = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
        document = json.loads(text.strip(" \t\r\n"), parse_float=Decimal, parse_constant=refuse)
    except (ValueError, ArithmeticError, RecursionError):
        return None
    if not isinstance(document, dict) or not isinstance(document.get("value"), list):
        return None
    link = document.get("@odata.nextLink", document.get("@nextLink"))
    if is_error_object({**document, "value": None}) or not (link is None or (isinstance(link, str) and link.strip())):
        return None
    if not all(isinstance(row, dict) for row in document["value"]):
        return None
    return [row_of(row) for row in document["value"]], link


def row_of(row: dict[str, Any]) -> dict[str, Any]:
    columns = {c.name.casefold(): c for c in SCHEMA.columns}
    values: dict[str, Any] = dict.fromkeys((c.name for c in SCHEMA.columns), None)
    extra: dict[str, Any] = {}
    for name, value in row.items():
        column = columns.get(name.casefold())
        if column is not None:
            values[column.name] = exact(value, column.edm_type)
        elif "@" not in name:
            extra[name] = with_characters(value)
    return {**values, ADDITIONAL: extra}


def outcome(body: bytes, schema: CollectionSchema, *, framed: bool) -> tuple[list[dict[str, Any]], str | None] | None:
    """What the decoder makes of a body, None for a typed error."""
    try:
        page: Page = read_page(body, url="https://h/things", request_id="r")
        decoded = PageDecoder(schema).decode(page if framed else unframed(page))
    except ProtocolError:
        return None
    rows = decoded.batch.to_pylist()
    for row in rows:
        row[ADDITIONAL] = json.loads(row.get(ADDITIONAL) or "{}", parse_float=Decimal)
    return rows, decoded.next_link


def require_right(body: bytes) -> bool:
    """Compare with the plain reading; return whether the body was a page."""
    fast, full = outcome(body, SCHEMA, framed=True), outcome(body, SCHEMA, framed=False)
    assert fast == full, body
    try:
        wanted = expected(body)
    except MisfitError:
        assert fast is None, body
        return False
    if wanted is None:
        assert fast is None, body
        return False
    is_sure = not any(value is UNSURE for row in wanted[0] for value in row.values())
    if fast is None:
        assert not is_sure, body
        return False
    assert fast[1] == wanted[1], body
    assert len(fast[0]) == len(wanted[0]), body
    for got, row in zip(fast[0], wanted[0], strict=True):
        assert {n: v for n, v in got.items() if row[n] is not UNSURE} == {
            n: v for n, v in row.items() if v is not UNSURE
        }, body
    return True


@pytest.mark.parametrize("number", range(len(CORPUS)))
def test_the_corpus_is_read_right(number: int) -> None:
    assert require_right(CORPUS[number])


def test_damaged_pages_with_an_error_beside_the_rows_are_refused(rng: random.Random, is_long: bool) -> None:
    assert not any(map(require_right, REFUSALS))
    for _ in range((LONG_CASES if is_long else CASES) // 4):
        require_right(mutated(rng.choice(REFUSALS), rng, WORDS))


def test_no_bare_null_reaches_the_reader_that_crashes_on_it(
    rng: random.Random, is_long: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder, read, reached = json.JSONDecoder(), decode._read_json, 0

    def watched(body: bytes, *more: Any) -> Any:
        nonlocal reached
        reached += 1
        text = body.decode("utf-8")
        try:
            _, end = decoder.raw_decode(text)
        except (ValueError, RecursionError):
            return None  # the reader gets no further than that
        assert not text[end:].lstrip(" \t\r\n").startswith("null"), body
        return read(body, *more)

    monkeypatch.setattr(decode, "_read_json", watched)
    cases = (LONG_CASES if is_long else CASES) // 4
    for number in range(cases):
        require_right(mutated(NULLS[number % len(NULLS)], rng, WORDS) if number >= len(NULLS) else NULLS[number])
    assert reached > cases / 50


def test_damaged_pages_are_read_as_any_parser_reads_them_or_refused(rng: random.Random, is_long: bool) -> None:
    cases = LONG_CASES if is_long else CASES
    pages = sum(require_right(mutated(rng.choice(CORPUS), rng, WORDS)) for _ in range(cases))
    assert cases / 20 < pages < cases * 19 / 20  # neither all noise nor all harmless
