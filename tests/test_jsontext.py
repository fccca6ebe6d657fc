"""JSON is what RFC 8259 says, not what Python's reader takes beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intune_dw_cli.archive.journal import encode_line, whole_lines
from intune_dw_cli.archive.manifest import read_manifest
from intune_dw_cli.archive.sealed import content_sha256
from intune_dw_cli.errors import ArchiveDamagedError, MalformedPageError
from intune_dw_cli.jsontext import Served, dumps_exact, first_value, loads, loads_exact
from intune_dw_cli.service.csdl import parse_service_document

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


def test_no_reader_of_the_service_or_of_an_archive_takes_a_bare_word(tmp_path: Path) -> None:
    with pytest.raises(MalformedPageError):
        parse_service_document(b'{"value":[{"name":"devices","url":"devices","x":NaN}]}')
    content = {"version": 1, "x": float("nan")}
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"content": content, "content_sha256": content_sha256(content)}))
    with pytest.raises(ArchiveDamagedError, match="is no manifest"):
        read_manifest(path)
    assert [*whole_lines(encode_line(content))] == []
