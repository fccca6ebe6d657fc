"""The envelope of a page: rows and nextLink found without a parse, and never found wrongly."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from intune_dw_cli.errors import MalformedPageError, ProtocolError
from intune_dw_cli.service.page import Page, read_page

URL = "https://fef.example/DataWarehouseFEService/devices?api-version=v1.0"
LINK = "https://fef.example/next?$skiptoken=a%2cb"
NASTY = [
    "},{",
    '},{"a":1',
    "}]",
    "]}",
    '"@odata.nextLink"',
    '"}],"@odata.nextLink":"https://evil.example/"',
    '],"@odata.nextLink":"x"}',
    "\\",
    '\\"',
    "\u2028\u2029",
    "\U0001f4bb",
    "\x00\x01\x1f",
    "[]",
    "{}",
    '{"value":[',
    "line\r\nbreak\t",
    "",
]
TOKENS = b'{ } [ ] , " "value" : "a" 1 null "@odata.nextLink" \\ \x00'.split()
texts = st.sampled_from(NASTY) | st.lists(st.sampled_from(NASTY), max_size=3).map("".join) | st.text(max_size=8)
names = st.sampled_from(["a", "b", "A", "value", "@odata.nextLink", "a@odata.type", "},{", "é", 'q"', "", ","]) | texts
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | texts
values = st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(names, v, max_size=3), max_leaves=6)
rows_of_one_shape = st.lists(names, min_size=1, max_size=4, unique=True).flatmap(
    lambda keys: st.lists(st.tuples(*[values] * len(keys)).map(lambda v: dict(zip(keys, v, strict=True))), max_size=5)
)
some_rows = rows_of_one_shape | st.lists(st.dictionaries(names, values, max_size=4), max_size=4)
spacings: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"separators": (",", ":")},
        {},
        {"indent": 2},
        {"indent": "\t"},
        {"separators": (" , ", " : ")},
        {"separators": (",\r\n", ":")},
        {"indent": 0},
    ]
)
other_members = st.dictionaries(
    st.sampled_from(["@odata.context", "@odata.count", "@x", "more"]),
    scalars | st.lists(scalars, max_size=2),
    max_size=3,
)
links = st.none() | st.just(LINK) | st.text(min_size=1, max_size=8).filter(str.strip)


def read(body: bytes | str) -> Page:
    return read_page(body.encode() if isinstance(body, str) else body, url=URL, request_id="r-1")


def agree(page: Page, rows: list[Any], link: str | None) -> None:
    """The page says what json.loads says; the text that it gives for the rows is theirs or no array."""
    assert page.document() == (rows, link)
    assert page.next_link == link
    text = page.rows()
    if text is None:
        return
    try:
        decoded = json.loads(b"[" + text + b"]")
    except ValueError:
        return  # the reading was wrong and shows it: the page is then parsed in full
    assert decoded == rows


@settings(max_examples=300, deadline=None)
@given(some_rows, spacings, other_members, other_members, links, st.booleans(), st.booleans())
def test_page_agrees_with_a_full_parse(
    rows: list[Any],
    spacing: dict[str, Any],
    before: dict[str, Any],
    after: dict[str, Any],
    link: str | None,
    link_first: bool,
    ascii_only: bool,
) -> None:
    link_member = {} if link is None else {"@odata.nextLink": link}
    after = {k: v for k, v in after.items() if k not in before}
    document = {**before, **(link_member if link_first else {}), "value": rows, **after}
    document |= {} if link_first else link_member
    try:
        body = json.dumps(document, ensure_ascii=ascii_only, **spacing).encode()
    except UnicodeEncodeError:  # a lone surrogate has no UTF-8
        body = json.dumps(document, **spacing).encode()
    agree(read(body), rows, link)


@pytest.mark.parametrize("spacing", [{"separators": (",", ":")}, {}, {"indent": 2}])
def test_page_is_framed_and_not_parsed(spacing: dict[str, Any]) -> None:
    rows = [{"a": 1, "b": '},{"a":1'}, {"b": "]}", "a": None}, {}]
    page = read(json.dumps({"@odata.context": "c", "value": rows, "@odata.nextLink": LINK}, **spacing))
    text = page.rows()
    assert text is not None
    assert json.loads(b"[" + text + b"]") == rows
    assert page.next_link == LINK


@pytest.mark.parametrize("spacing", [{"separators": (",", ":")}, {}, {"indent": 1}])
@pytest.mark.parametrize("tail", ["", ',"@odata.nextLink":"https://h/x"', ',"@odata.count":[1,2]'])
def test_page_cut_at_any_byte_is_never_a_shorter_page(spacing: dict[str, Any], tail: str) -> None:
    rows = [{"a": 1, "n": [{"a": 1}, {"a": 2}]}, {"a": "}]}", "n": "]"}, {"a": None, "n": {"value": []}}]
    text = '{"@odata.context":"c]}","value":' + json.dumps(rows, **spacing) + tail + "}"
    read(text).document()
    for end in range(len(text)):
        try:
            rows_left, _ = read(text[:end]).document()
        except MalformedPageError:
            continue
        pytest.fail(f"cut at {end}: taken for a page of {len(rows_left)} rows")


@settings(max_examples=100, deadline=None)
@given(some_rows, st.data())
def test_cut_page_whose_envelope_looks_right_fails_in_full(rows: list[Any], data: st.DataObject) -> None:
    body = json.dumps({"value": rows, "@odata.nextLink": LINK}, separators=(",", ":")).encode()
    cut = body[: data.draw(st.integers(0, len(body) - 1))]
    with pytest.raises(MalformedPageError):
        read(cut).document()


@pytest.mark.parametrize("link", ["5", "true", "{}", "[]", '""', '"  "', '["https://h/x"]'])
@pytest.mark.parametrize("rows", ["[]", '[{"a":1}]', '[{"a":1},{"b":2}]', "[null]"])
def test_nextlink_that_is_no_text_is_an_error(link: str, rows: str) -> None:
    for text in (f'{{"value":{rows},"@odata.nextLink":{link}}}', f'{{"@odata.nextLink":{link},"value":{rows}}}'):
        with pytest.raises(MalformedPageError, match="nextLink"):
            read(text).document()


def test_nextlink_null_means_the_last_page() -> None:
    assert read('{"value":[{"a":1}],"@odata.nextLink":null}').next_link is None


def test_nextlink_of_odata_4_01_is_read() -> None:
    assert read('{"value":[{"a":1}],"@nextLink":"https://h/x"}').next_link == "https://h/x"


@pytest.mark.parametrize("rows", ["[]", '[{"a":1}]', '[{"a":1},{"a":2}]', "[{}]"])
def test_error_beside_rows_is_not_a_last_page(rows: str) -> None:
    text = f'{{"value":{rows},"error":{{"code":"CancelledOnServiceTimeout","message":"broken off"}}}}'
    with pytest.raises(MalformedPageError, match=r"an error under status 200: broken off"):
        read(text).document()


def test_byte_order_mark_and_blanks_around_the_page_are_dropped() -> None:
    assert read(b'\xef\xbb\xbf \r\n{"value":[{"a":1}]}\n').rows() == b'{"a":1}'


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "empty"),
        (b" \r\n", "empty"),
        (b"<!DOCTYPE html><html>sign in</html>", "web page"),
        (b'{"value":[{"a":1}', "cut short"),
        (b"[]", "not a page of rows"),
        (b'"text"', "not a page of rows"),
        (b'{"value":{"a":1}}', "not a page of rows"),
        (b'{"values":[]}', "not a page of rows"),
        (b'{"value":[{"a":"\xff"}]}', "not valid UTF-8"),
        (b'{"error":{"code":"X","message":"went wrong"}}', "an error under status 200: went wrong"),
        (b'{"Message":"An error has occurred"}', "an error under status 200: An error has occurred"),
        (b'{"value":[{"a":1}]} trailing', "not valid JSON"),
        (b'{"value":[{"a":1e99999999999999999999}]}', "not valid JSON"),
    ],
)
def test_what_is_no_page_says_what_it_is(body: bytes, says: str) -> None:
    with pytest.raises(MalformedPageError, match=says) as caught:
        read(body).document()
    assert caught.value.request_id == "r-1"
    assert caught.value.hint


def test_page_nested_too_deeply_is_not_worth_another_request() -> None:
    with pytest.raises(ProtocolError, match="nested too deeply") as caught:
        read(b'{"value":' + b"[" * 10_000 + b"]" * 10_000 + b"}").document()
    assert not isinstance(caught.value, MalformedPageError)
    assert caught.value.request_id == "r-1"
    assert caught.value.hint


def test_page_without_rows_is_empty_and_keeps_its_link() -> None:
    page = read('{"@odata.context":"c","value":[ ],"@odata.nextLink":"https://h/x"}')
    assert page.is_empty
    assert page.next_link == "https://h/x"
    assert page.rows() == b""


def test_numbers_stay_exact_in_a_full_parse() -> None:
    digits = "7" * 5000
    rows, _ = read('{"value":[{"a":9007199254740993,"b":0.1000,"c":' + digits + "}]}").document()
    assert rows[0]["a"] == 2**53 + 1
    assert rows[0]["b"] == Decimal("0.1")
    assert str(rows[0]["c"]) == digits


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.lists(st.sampled_from(TOKENS), max_size=14).map(b"".join))
@example(b'{"value":[{"a":1}],"value":[{"a":2}]}')
def test_any_bytes_give_a_page_or_a_typed_error(body: bytes) -> None:
    try:
        page = read(body)
        page.rows()
        page.document()
    except MalformedPageError:
        pass


def test_second_value_member_is_left_to_the_full_parse() -> None:
    with pytest.raises(MalformedPageError, match="not a page of rows"):
        read('{"value":[{"a":1}],"value":5}')


@pytest.mark.parametrize("blank", ["\x0b", "\x0c", "\x1c", "\x85", "\xa0"])
@pytest.mark.parametrize(
    "text", ['{_"value":[]}', '{"value"_:[]}', '{"value":[_]}', '{"value":[]_}', '{"value":[]}_', '_{"value":[]}']
)
def test_what_json_takes_for_no_blank_is_none(text: str, blank: str) -> None:
    with pytest.raises(MalformedPageError):
        read(text.replace("_", blank))
