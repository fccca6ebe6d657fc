"""One response of a collection: find its rows and its nextLink without parsing the rows.

The text of a page (OData 4.0 JSON Format, 4.5 and 12) is an object whose `value` is an array of rows. Only what stands
before and after that array is parsed here; the rows are handed on as text. This is a *reading*, proven only when that
text decodes as the rows of one array: when it does not, `Page.document` parses it all.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from intune_dw_cli import jsontext
from intune_dw_cli.errors import MalformedPageError, ProtocolError
from intune_dw_cli.service.problem import is_error_object, parse_problem

_BOM = b"\xef\xbb\xbf"
_STRING = rb'"(?:[^"\\\x00-\x1f]|\\.)*"'
_BLANKS = b" \t\r\n"  # of JSON (RFC 8259 2); `\s` and strip() know more
_GAP = rb"[ \t\r\n]*"
_KEY = re.compile(_GAP + rb"(" + _STRING + rb")" + _GAP + rb":" + _GAP)
_SCALAR = re.compile(_STRING + rb"|[-+0-9.eE]+|true|false|null")
_ARRAY = re.compile(rb"\[" + _GAP)
_COMMA = re.compile(_GAP + rb",")
_MAX_TAIL = 65536
_MAX_CANDIDATES = 32
_HINT = "If this goes on, check the feed URL, and whether a proxy or a sign-in page stands in between."


@dataclass(frozen=True, slots=True)
class Page:
    """One page as received.

    Attributes:
        body: The decompressed text, UTF-8, without byte order mark.
        url: The request that gave it; repeating it gives the page again.
        request_id: The client-request-id of that request.
        span: Where in `body` the rows stand (between the brackets of `value`), None when only a full parse can tell.
        next_link: The nextLink as served, None on the last page. Certain once the rows have decoded.
        texts: The names of the members beside `value`, None where one of them is neither text nor null.
    """

    body: bytes
    url: str
    request_id: str
    span: tuple[int, int] | None
    next_link: str | None
    texts: tuple[str, ...] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the page certainly has no row."""
        return self.span is not None and self.span[0] == self.span[1]

    def rows(self) -> memoryview | None:
        """Return the text of the rows, between the brackets of `value`; None when that takes a full parse."""
        return None if self.span is None else memoryview(self.body)[slice(*self.span)]

    def document(self) -> tuple[list[Any], str | None]:
        """Parse the page in full: its rows and its nextLink. Numbers stay exact: int or Served.

        Raises:
            MalformedPageError: not JSON, or not a page of rows.
            ProtocolError: nested too deeply.
        """
        return _parse(self.body, self.request_id)


def read_page(body: bytes, *, url: str, request_id: str) -> Page:
    """Read the envelope of a page.

    Raises:
        MalformedPageError: the body is empty, HTML, an error object, not UTF-8 or not a page of rows.
        ProtocolError: it is nested too deeply.
    """
    text = body.removeprefix(_BOM).strip(_BLANKS)
    _require_utf8(text, request_id)
    frame = _frame(text)
    if frame is None:
        _, next_link = _parse(text, request_id)
        return Page(text, url, request_id, None, next_link)
    span, members = frame
    try:
        next_link = _next_link(members)
    except ValueError as error:
        raise _malformed(str(error), request_id) from None
    texts = tuple(members) if all(v is None or isinstance(v, str) for v in members.values()) else None
    return Page(text, url, request_id, span, next_link, texts)


def _require_utf8(text: bytes, request_id: str) -> None:
    if text.isascii():
        return
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        in_midst = error.reason == "unexpected end of data"
        what = "the page is cut short" if in_midst else f"the page is not valid UTF-8 (byte {error.start})"
        raise _malformed(what, request_id) from None


def _frame(text: bytes) -> tuple[tuple[int, int], dict[str, Any]] | None:
    """Return (span of the rows, members beside `value`), or None when only a full parse can tell."""
    head = _read_head(text)
    if head is None:
        return None
    start, members = head
    if text[start : start + 1] == b"]":
        tail = _read_tail(text[start + 1 :])
        return None if tail is None else ((start, start), members | tail)
    if text[start : start + 1] != b"{":
        return None
    end = len(text)
    for _ in range(_MAX_CANDIDATES):
        end = text.rfind(b"]", start, end)
        if end < 0 or len(text) - end > _MAX_TAIL:
            return None
        tail = _read_tail(text[end + 1 :])
        if tail is not None:
            return (start, end), members | tail
    return None


def _read_head(text: bytes) -> tuple[int, dict[str, Any]] | None:
    """Return where the array of `value` begins (after its bracket), and the members that stand before it."""
    if text[:1] != b"{":
        return None
    position = 1
    members: dict[str, Any] = {}
    while key := _KEY.match(text, position):
        position = key.end()
        if key[1] == b'"value"':
            opened = _ARRAY.match(text, position)
            return (opened.end(), members) if opened else None
        scalar = _SCALAR.match(text, position)
        comma = scalar and _COMMA.match(text, scalar.end())
        if scalar is None or comma is None:
            return None
        try:
            members[jsontext.loads(key[1])] = jsontext.loads(scalar[0])
        except ValueError:
            return None
        position = comma.end()
    return None


def _read_tail(tail: bytes) -> dict[str, Any] | None:
    """Parse what follows the array's closing bracket, or return None when it is not the end of a page."""
    tail = tail.lstrip(_BLANKS)
    try:
        members = jsontext.loads(b"{" + (tail[1:] if tail[:1] == b"," else tail))
    except (ValueError, RecursionError):
        return None
    if not isinstance(members, dict) or "value" in members or bool(members) != (tail[:1] == b","):
        return None
    return members


def _next_link(members: dict[str, Any]) -> str | None:
    """Return the nextLink among the members of a page; OData 4.01 lets a service leave out `odata.`.

    Raises:
        ValueError: there is one, but it is no text, or an error stands beside the rows (OData 4.0 Protocol 11.4):
            taking that for the last page could lose rows.
    """
    if is_error_object({"value": None, **members}):
        raise ValueError(f"an error under status 200: {_complaint(members)}")
    link = members.get("@odata.nextLink", members.get("@nextLink"))
    if link is None or (isinstance(link, str) and link.strip()):
        return link
    raise ValueError("the nextLink is not a text")


def _parse(text: bytes, request_id: str) -> tuple[list[Any], str | None]:
    try:
        document = jsontext.loads_exact(text)
    except RecursionError:
        # It is whole as far as it was read: another request would bring no other.
        raise ProtocolError(
            "the page is nested too deeply to be a page of rows", hint=_HINT, request_id=request_id
        ) from None
    except ValueError as error:
        raise _malformed(_describe(text, error), request_id) from None
    if not isinstance(document, dict) or not isinstance(document.get("value"), list):
        if isinstance(document, dict) and is_error_object(document):
            raise _malformed(f"an error under status 200: {_complaint(document)}", request_id)
        raise _malformed("the answer is JSON but not a page of rows (it has no `value` array)", request_id)
    try:
        return document["value"], _next_link(document)
    except ValueError as error:
        raise _malformed(str(error), request_id) from None


def _complaint(members: dict[str, Any]) -> str:
    """Say what the error among these members is."""
    try:
        text = json.dumps({k: v for k, v in members.items() if k != "value"}, default=str)
    except RecursionError:
        return "nested too deeply to be read"
    problem = parse_problem(text.encode(), "application/json")
    return problem.message or problem.code or "no further explanation"


def _describe(text: bytes, error: ValueError) -> str:
    if not text:
        return "the answer is empty"
    if text[:1] == b"<":
        return "the answer is a web page, not JSON"
    if isinstance(error, json.JSONDecodeError) and (
        error.pos >= len(error.doc) or error.msg.startswith("Unterminated string")
    ):
        return "the page is cut short"
    return "the page is not valid JSON"


def _malformed(message: str, request_id: str) -> MalformedPageError:
    return MalformedPageError(message, hint=_HINT, request_id=request_id)
