"""JSON is what RFC 8259 says, not what Python's reader takes beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intune_dw_cli.jsontext import Served, dumps_exact, first_value, loads, loads_exact

READERS: list[Callable[[str], Any]] = [loads, loads_exact, first_value]
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", '{"a":[NaN]}', "[1,-Infinity]"])
def test_a_bare_word_for_a_number_is_no_json(reader: Callable[[str], Any], text: str) -> None:
    json.loads(text)  # it is to Python
    with pytest.raises(ValueError, match="no JSON"):
        reader(text)


@pytest.mark.parametrize("reader", READERS)
@given(values)
def test_json_is_read_as_any_reader_reads_it(reader: Callable[[str], Any], value: Any) -> None:
    text = json.dumps(value)
    assert reader(text) == json.loads(text, parse_float=Decimal if reader is loads_exact else float)


@pytest.mark.parametrize("text", ["1e5", "-0", "1.10", "9" * 5000, "0.1", '[1.50,{"a":-0.0}]', "true", "null", "1e999"])
def test_numbers_keep_their_digits(text: str) -> None:
    assert dumps_exact(loads_exact(text)) == text


def test_an_exact_number_counts_as_one() -> None:
    number = loads_exact("1.50")
    assert isinstance(number, Served)
    assert number == Decimal("1.5")
