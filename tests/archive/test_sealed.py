"""JSON with its own hash: the text is the hashed one in lines, and any other text of the same content is as good."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intune_dw_cli.archive import sealed

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
CONTENTS = st.dictionaries(st.text(), VALUES, max_size=5)


def canonical(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


@given(CONTENTS, st.integers(0, 6))
def test_the_text_says_the_content_and_the_hash_of_its_compact_form(content: dict[str, Any], levels: int) -> None:
    text = sealed.encode(content, levels)
    digest = hashlib.sha256(canonical(content)).hexdigest()
    assert json.loads(text) == {"content": content, "content_sha256": digest}
    assert sealed.content_sha256(content) == digest
    assert sealed.decode(text) == (content, True)
    assert text.isascii()


@given(CONTENTS)
def test_the_hash_of_a_text_as_it_was_written_is_taken_from_the_text(content: dict[str, Any]) -> None:
    text = sealed.encode(content, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealed, "content_sha256", lambda _: "")
        assert sealed.decode(text)[1]


@given(CONTENTS, st.sampled_from([None, 0, 3]), st.booleans(), st.booleans())
def test_another_text_of_the_same_content_is_as_good(
    content: dict[str, Any], indent: int | None, sort_keys: bool, ascii_only: bool
) -> None:
    document = {"content_sha256": sealed.content_sha256(content), "content": content}
    text = json.dumps(document, indent=indent, sort_keys=sort_keys, ensure_ascii=ascii_only)
    assert sealed.decode(text.encode("utf-8", "surrogatepass")) == (content, True)


@given(st.dictionaries(st.text(), VALUES, min_size=1, max_size=5), st.data())
def test_a_changed_content_is_not_that_of_the_hash(content: dict[str, Any], data: st.DataObject) -> None:
    text = sealed.encode(content, 4)
    name = data.draw(st.sampled_from(sorted(content)))
    other = data.draw(VALUES.filter(lambda value: canonical(value) != canonical(content[name])))
    swapped = sealed.encode({**content, name: other}, 4)
    seal, body = text.rpartition(b',\n "content_sha256"')[2], swapped.rpartition(b',\n "content_sha256"')[0]
    assert sealed.decode(body + b',\n "content_sha256"' + seal)[1] is False


@pytest.mark.parametrize("added", ['"content":{"a":2},', '"content_sha256":"x",'])
def test_a_second_member_of_a_name_is_not_overlooked(added: str) -> None:
    text = sealed.encode({"a": 1}, 4).decode().replace('\n "content_sha256"', f'\n {added}\n "content_sha256"')
    content, is_whole = sealed.decode(text.encode())
    assert is_whole == (content == {"a": 1})


@pytest.mark.parametrize("text", ["", "[]", "1", "{}", '{"content":{}}', '{"content_sha256":""}', '{"content":'])
def test_what_is_no_such_document_is_refused(text: str) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        sealed.decode(text.encode())
