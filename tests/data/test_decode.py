"""Decoding, case by case: each on the fast path where it has one, and always on the full parse."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from declared_columns import page_of, schema_of, unframed

from intune_dw_cli.data import decode
from intune_dw_cli.data.decode import DecodedPage, PageDecoder
from intune_dw_cli.data.schema import ADDITIONAL, CollectionSchema
from intune_dw_cli.errors import MalformedPageError, ProtocolError
from intune_dw_cli.service.csdl import Property
from intune_dw_cli.service.page import Page, read_page

SCHEMA = schema_of(
    ("id", "Edm.Int64"),
    ("small", "Edm.Int16"),
    ("name", "Edm.String"),
    ("flag", "Edm.Boolean"),
    ("ratio", "Edm.Double"),
    ("share", "Edm.Single"),
    Property("price", "Edm.Decimal", precision=10, scale=2),
    Property("exact", "Edm.Decimal"),
    ("guid", "Edm.Guid"),
    ("when", "Edm.DateTimeOffset"),
)
PATHS: list[Callable[[Page], Page]] = [lambda page: page, unframed]
both = pytest.mark.parametrize("path", PATHS, ids=["fast", "full"])


@pytest.fixture
def only_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full parse is a failure."""

    def refuse(*_: Any) -> None:
        raise AssertionError("a full parse was needed")

    monkeypatch.setattr(PageDecoder, "_decode_document", refuse)


def rows_of(decoded: DecodedPage) -> list[dict[str, Any]]:
    return decoded.batch.to_pylist()


def values(rows: str, name: str, path: Callable[[Page], Page], schema: CollectionSchema = SCHEMA) -> list[Any]:
    return [row[name] for row in rows_of(PageDecoder(schema).decode(path(page_of(rows))))]


@both
@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("id", "9223372036854775807", 2**63 - 1),
        ("id", "-9223372036854775808", -(2**63)),
        ("id", "9007199254740993", 2**53 + 1),
        ("id", '"9007199254740993"', 2**53 + 1),
        ("id", '"-5"', -5),
        ("id", "12.0", 12),
        ("id", "1e3", 1000),
        ("id", '"1e3"', 1000),
        ("id", '"12.0"', 12),
        ("id", "9.223372036854775807e18", 2**63 - 1),
        ("id", "-0", 0),
        ("small", "32767", 32767),
        ("flag", "true", True),
        ("flag", "0", False),
        ("flag", "1", True),
        ("flag", '"true"', True),
        ("flag", '"False"', False),
        ("ratio", "0.1", 0.1),
        ("ratio", "1e-400", 0.0),
        ("ratio", '"INF"', float("inf")),
        ("ratio", '"-INF"', float("-inf")),
        ("share", '"INF"', float("inf")),
        ("share", "0.5", 0.5),
        ("ratio", '"2.5"', 2.5),
        ("ratio", "3", 3.0),
        ("price", "12345678.90", Decimal("12345678.90")),
        ("price", '"0.10"', Decimal("0.10")),
        ("price", "1e3", Decimal("1000.00")),
        ("exact", "0.12345678901234567890123456789012345678901", "0.12345678901234567890123456789012345678901"),
        ("exact", "1.10", "1.10"),
        ("exact", '"1.10"', "1.10"),
        ("exact", "7", "7"),
        ("name", "5", "5"),
        ("name", "true", "true"),
        ("name", '"\\u0000\\u2028\\ud83d\\ude00"', "\x00\u2028\U0001f600"),
        ("name", '"\\ud800"', "\ufffd"),
        ("name", '"a\\udc00b"', "a\ufffdb"),
        ("name", '""', ""),
        ("name", "null", None),
        ("name", '{"a":[1,2.50,"x"]}', '{"a":[1,2.50,"x"]}'),
        ("name", "[]", "[]"),
        ("name", '"},{"', "},{"),
        ("guid", '"ff000000-0000-0000-0000-000000000001"', "ff000000-0000-0000-0000-000000000001"),
        ("when", '"0001-01-01T00:00:00.1234567Z"', "0001-01-01T00:00:00.1234567Z"),
        ("when", '"no time at all"', "no time at all"),
    ],
)
def test_value_is_decoded_exactly(path: Callable[[Page], Page], name: str, text: str, value: Any) -> None:
    first, second = f'{{"{name}":{text}}}', f'{{"{name}":null}}'
    for rows, wanted in ((f"[{first},{second}]", [value, None]), (f"[{second},{first}]", [None, value])):
        got = values(rows, name, path)
        assert got == wanted
        assert [type(v) for v in got] == [type(v) for v in wanted]


@both
@pytest.mark.parametrize("name", ["ratio", "share", "id", "name", "undeclared", "a@b"])
@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_a_bare_word_for_a_number_is_malformed(path: Callable[[Page], Page], name: str, word: str) -> None:
    """It is no JSON (RFC 8259 6), though Python and Arrow take it; OData writes it as a string."""
    with pytest.raises(MalformedPageError, match="not valid JSON"):
        PageDecoder(SCHEMA).decode(path(page_of(f'[{{"{name}":null}},{{"{name}":{word}}}]')))


@both
def test_not_a_number_is_a_double(path: Callable[[Page], Page]) -> None:
    (value,) = values('[{"ratio":"NaN"}]', "ratio", path)
    assert value != value


@both
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("id", "12.5"),
        ("id", '"12.5"'),
        ("id", "9223372036854775808"),
        ("id", '"9223372036854775808"'),
        ("id", "1e9999999"),
        ("id", "9" * 5000),
        ("id", "true"),
        ("id", '""'),
        ("id", '"0x10"'),
        ("id", '"1_000"'),
        ("id", '"\uff11\uff12"'),
        ("id", '"abc"'),
        ("id", '"NaN"'),
        ("id", "[0,[1,2],0]"),
        ("id", "{}"),
        ("small", "32768"),
        ("small", "-32769"),
        ("flag", "2"),
        ("flag", '"yes"'),
        ("flag", '""'),
        ("ratio", '"abc"'),
        ("ratio", '"1_0"'),
        ("ratio", "false"),
        ("ratio", "1e999"),
        ("ratio", "1.7976931348623159e308"),
        ("ratio", '"Infinity"'),
        ("ratio", '"-1e999"'),
        ("share", "1e39"),
        ("share", '"1e39"'),
        ("ratio", "[]"),
        ("price", "0.001"),
        ("price", "123456789.00"),
        ("price", '"NaN"'),
        ("price", "true"),
        ("price", "[0,[3,1,4],-2]"),
        ("price", '"x"'),
    ],
)
def test_value_that_contradicts_its_type_is_refused(path: Callable[[Page], Page], name: str, text: str) -> None:
    for rows in (f'[{{"{name}":{text}}}]', f'[{{"{name}":null}},{{"{name}":{text}}}]'):
        with pytest.raises(ProtocolError, match=f"property {name} ") as caught:
            PageDecoder(SCHEMA).decode(path(page_of(rows)))
        assert not isinstance(caught.value, MalformedPageError)
        assert text not in str(caught.value)
        assert caught.value.request_id == "r-1"


@both
def test_integer_of_5000_digits_is_kept_where_the_type_is_text(path: Callable[[Page], Page]) -> None:
    digits = "9" * 5000
    assert values(f'[{{"exact":{digits}}}]', "exact", path) == [digits]


@pytest.mark.usefixtures("only_fast")
@pytest.mark.parametrize(
    "rows",
    [
        '[{"id":1,"name":"a"},{"id":2,"name":"b"}]',
        '[{"id":"1"},{"id":"2"},{"id":null}]',
        '[{"id":null},{"id":"2"}]',
        '[{"flag":1},{"flag":0}]',
        '[{"flag":null},{"flag":0}]',
        '[{"price":"1.50"},{"price":"2"}]',
        '[{"ratio":"INF"},{"ratio":"1.5"}]',
        '[{"ID":1,"Name":"x"},{"ID":2,"Name":null}]',
        '[{"@odata.type":"#ns.Thing","@odata.id":"t(1)","id@odata.type":"#Int64","id":1},'
        '{"@odata.type":"#ns.Thing","@odata.id":"t(2)","id@odata.type":"#Int64","id":2}]',
        '[{"id":1},{"id":2,"name":"late"}]',
        '[ {\n "id" : 1 ,\n "name" : "a"\n } ,\n {\n "id" : 2,\n "name" : "b"\n } ]',
    ],
)
def test_usual_page_needs_no_full_parse(rows: str) -> None:
    decoded = PageDecoder(SCHEMA).decode(page_of(rows))
    wanted = PageDecoder(SCHEMA)
    assert decoded.batch.num_rows == len(json.loads(rows))
    assert decoded.batch.schema.equals(wanted._schema.wire)


@pytest.mark.usefixtures("only_fast")
def test_way_of_writing_is_learned_once_and_kept() -> None:
    decoder = PageDecoder(SCHEMA)
    for _ in range(2):
        assert rows_of(decoder.decode(page_of('[{"id":"1","flag":1}]')))[0]["id"] == 1


def test_service_may_change_its_way_of_writing_from_page_to_page() -> None:
    decoder = PageDecoder(SCHEMA)
    for text in ('"1"', "1", '"1"', "1.0", "null"):
        (row,) = rows_of(decoder.decode(page_of(f'[{{"id":{text}}}]')))
        assert row["id"] == (None if text == "null" else 1)


@both
def test_rows_may_mix_numbers_and_texts(path: Callable[[Page], Page]) -> None:
    assert values('[{"id":1},{"id":"2"},{"id":3.0}]', "id", path) == [1, 2, 3]


@both
def test_missing_properties_are_null_and_named_as_absent(path: Callable[[Page], Page]) -> None:
    decoded = PageDecoder(SCHEMA).decode(path(page_of('[{"id":1,"name":null},{"id":2,"small":null}]')))
    assert decoded.absent == {"flag", "ratio", "share", "price", "exact", "guid", "when"}
    assert rows_of(decoded)[0]["flag"] is None


@both
def test_names_in_another_case_fill_their_column(path: Callable[[Page], Page]) -> None:
    decoded = PageDecoder(SCHEMA).decode(path(page_of('[{"ID":1,"NAME":"x"},{"ID":2,"NAME":"y"}]')))
    assert [(r["id"], r["name"]) for r in rows_of(decoded)] == [(1, "x"), (2, "y")]
    assert {"id", "name"}.isdisjoint(decoded.absent)


@both
def test_exact_name_goes_before_one_in_another_case(path: Callable[[Page], Page]) -> None:
    schema = schema_of(("id", "Edm.Int64"), ("ID", "Edm.String"))
    (row,) = rows_of(PageDecoder(schema).decode(path(page_of('[{"ID":"x","id":1}]'))))
    assert row == {"id": 1, "ID": "x"}


@both
def test_of_a_key_that_stands_twice_the_last_counts(path: Callable[[Page], Page]) -> None:
    assert values('[{"id":1,"id":2}]', "id", path) == [2]


@both
def test_annotations_are_no_data(path: Callable[[Page], Page]) -> None:
    rows = '[{"@odata.etag":5,"id@odata.type":"#Int64","id":1,"name@x":{"y":[]}}]'
    decoded = PageDecoder(SCHEMA).decode(path(page_of(rows)))
    assert ADDITIONAL not in decoded.batch.schema.names


@both
def test_undeclared_properties_are_kept_as_json_digit_for_digit(path: Callable[[Page], Page]) -> None:
    rows = (
        '[{"id":1},{"id":2,"new":9007199254740993,"price2":0.12345678901234567890,"deep":{"a":[1.50,null,true,"é\\""]},'
        '"huge":%s,"q\\"k":"v"}]' % ("8" * 5000)
    )
    decoded = PageDecoder(SCHEMA).decode(path(page_of(rows)))
    first, second = (row[ADDITIONAL] for row in rows_of(decoded))
    assert first is None
    assert second == (
        '{"new":9007199254740993,"price2":0.12345678901234567890,"deep":{"a":[1.50,null,true,"é\\""]},"huge":%s,'
        '"q\\"k":"v"}' % ("8" * 5000)
    )
    assert decoded.batch.schema.names[-1] == ADDITIONAL


@both
def test_undeclared_text_that_is_no_unicode_does_not_stop_the_page(path: Callable[[Page], Page]) -> None:
    (row,) = rows_of(PageDecoder(SCHEMA).decode(path(page_of('[{"x":"\\ud800","\\udc00":1}]'))))
    assert json.loads(row[ADDITIONAL]) == {"x": "\ufffd", "\udc00": 1}


@both
def test_selected_columns_come_in_their_order_and_others_are_dropped(path: Callable[[Page], Page]) -> None:
    decoder = PageDecoder(SCHEMA, ["name", "flag", "id"])
    decoded = decoder.decode(path(page_of('[{"id":1,"name":"x","ratio":1,"undeclared":5}]', "https://h/n")))
    assert decoded.batch.schema.names == ["name", "flag", "id"]
    assert decoded.absent == {"flag"}
    assert decoded.next_link == "https://h/n"


@both
def test_page_without_rows_has_the_columns_and_the_link(path: Callable[[Page], Page]) -> None:
    decoded = PageDecoder(SCHEMA).decode(path(page_of("[]", "https://h/n")))
    assert decoded.batch.num_rows == 0
    assert decoded.batch.schema.equals(SCHEMA.wire)
    assert decoded.next_link == "https://h/n"
    assert decoded.absent == frozenset()


@both
def test_rows_without_properties_are_rows(path: Callable[[Page], Page]) -> None:
    assert len(values("[{},{},{}]", "id", path)) == 3


@pytest.mark.parametrize(
    "rows",
    [
        '[{"id":1}]}null{"value":[{"id":2}]',
        '[{"id":1}]} \n null\n{"value":[{"id":2}]',
        '[{"id":1}\n]\t}\rnull,{"value":[{"id":2}]',
        '[{"id":"]"}]}null[]',
        '[{"id":1}],"@odata.nextLink":"a"}null{"@odata.nextLink":"b","value":[{"id":2}]',
    ],
)
def test_bare_null_never_reaches_the_reader_that_crashes_on_it(rows: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: Any) -> None:
        raise AssertionError("pyarrow.json would read out of bounds")

    monkeypatch.setattr(decode, "_read_json", crash)
    with pytest.raises(MalformedPageError):
        PageDecoder(SCHEMA).decode(page_of(rows, "https://h/n"))


@pytest.mark.parametrize(
    "rows",
    [
        "[null]",
        '[{"id":1},null]',
        '[{"id":1},null,{"id":2}]',
        '[{"id":1},5]',
        '[{"id":1},[]]',
        '["x"]',
        '[{"id":1},{"id":2} null]',
        '[{"id":1} null]',
        '[{"id":1}]}{"value":[{"id":2}]',
        '[{"id":1}]} {"value":[]',
        '[{"id":1}]}[{"id":2}]',
        '[{"id":1},]',
        '[{"id":1} {"id":2}]',
        '[{"id":1}{"id":2}]',
        '[{"id":1},{"id":2},]',
        '[{"id":1},,{"id":2}]',
        '[{"id":1},{"id":2}},{"id":3}]',
        '[{"id":1}\x00,{"id":2}]',
        '[{"id":1},\x00{"id":2}]',
        '[{"id":1}\n{"id":2},{"id":3}]',
        '[{"id":01}]',
        '[{"id":1}\x0b,{"id":2}]',
        '[{"id":1},\x0c{"id":2}]',
        '[{\x0b"id":1}]',
        '[{"id":1}\x0b]',
        '[{"id":1,}]',
        '[{"name":"\x01"}]',
        '[{"name":"\\q"}]',
        "[{'id':1}]",
    ],
)
def test_text_that_is_no_list_of_objects_is_malformed(rows: str) -> None:
    with pytest.raises(MalformedPageError):
        PageDecoder(SCHEMA).decode(page_of(rows))


@both
@pytest.mark.parametrize("depth", [200, 450, 900, 10_000])
@pytest.mark.parametrize("name", ["name", "undeclared", "id", "a@b"])
def test_deep_nesting_is_decoded_or_a_typed_error(path: Callable[[Page], Page], depth: int, name: str) -> None:
    text = f'[{{"id":1}},{{"{name}":{"[" * depth}{"]" * depth}}}]'
    try:
        rows = PageDecoder(SCHEMA).decode(path(page_of(text))).batch.num_rows
    except ProtocolError:
        rows = None
    assert rows == 2 or (rows is None and (depth > 200 or name == "id"))


def test_rows_of_different_beginnings_are_all_there() -> None:
    rows = '[{"id":1,"name":"a"},{"name":"b","id":2},{"small":3},{"id":4,"name":"},{"}]'
    decoded = PageDecoder(SCHEMA).decode(page_of(rows))
    assert [r["id"] for r in rows_of(decoded)] == [1, 2, None, 4]


def test_nested_rows_that_look_like_rows_are_not_counted() -> None:
    rows = '[{"id":1,"name":[{"id":1},{"id":2}]},{"id":2,"name":null}]'
    decoded = PageDecoder(SCHEMA).decode(page_of(rows))
    assert [r["name"] for r in rows_of(decoded)] == ['[{"id":1},{"id":2}]', None]


@pytest.mark.parametrize(
    "text",
    [
        r'{"value":[{"id":1}],"\ud800":"x"}',
        r'{"\ud800":"x","value":[{"id":1}]}',
        r'{"value":[{"id":1,"\ud800@odata.type":"x"}]}',
    ],
)
def test_a_name_that_is_half_a_character_does_not_stop_the_page(text: str) -> None:
    page = read_page(text.encode(), url="https://h/things", request_id="r-1")
    assert PageDecoder(schema_of(("id", "Edm.Int64"))).decode(page).batch.to_pylist() == [{"id": 1}]
