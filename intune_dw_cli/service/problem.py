"""What an error body says, whichever of the service's many shapes it has.

Intune wraps its errors as JSON, as JSON text inside `Message` (up to twice), as XML, through Graph as the
standard error object (OData 4.0 JSON Format 19), and gateways in front of it answer HTML or nothing. The
result is safe to print: one line, bounded, without control characters or terminal escapes.
"""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from intune_dw_cli import jsontext

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_MESSAGE = 500

_MAX_BODY = 256 * 1024
_MAX_NESTING = 8  # steps, two for JSON inside a message: one more wrapping than was ever seen
_MAX_FIELD = 100
_ERROR_KEYS = ("error", "odata.error", "@odata.error", "@error")
_GUID = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_ACTIVITY = re.compile(rf"Activity ID:\s?({_GUID})", re.IGNORECASE)
_BOILERPLATE = re.compile(
    rf"(?:\s-\s)?\b(?:Operation ID \(for customer support\):(?:\s?{_GUID})?|Activity ID:\s?{_GUID})",
    re.IGNORECASE,
)
_EMPTY_TAIL = re.compile(r"\s-\s(?:Url|CustomApiErrorPhrase|Activity ID):(?=\s-\s|\s?$)", re.IGNORECASE)
_SCOPE = r"[A-Za-z][\w.:/\-]*"
_SCOPES = re.compile(rf"following (?:scopes|roles|permissions):\s?({_SCOPE}(?:\s?[,;]\s?{_SCOPE})*)", re.IGNORECASE)
_ESCAPES = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # operating system command, such as a window title or a link
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # control sequence, such as a colour or a cursor move
    r"|\x1b[ -/]*[0-~]?"
)
_ELEMENT = re.compile(r"<(?:[\w.\-]{1,64}:)?([\w.\-]{1,64})(?:\s[^<>]*)?>([^<]*)</")
_HEADINGS = tuple(re.compile(rf"<{tag}(?:\s[^<>]*)?>([^<]*)<", re.IGNORECASE) for tag in ("title", "h1", "h2"))
_TAG = re.compile(r"<[^<>]*>")


@dataclass(frozen=True, slots=True)
class Problem:
    """What an error body says.

    Attributes:
        message: One line of at most 500 characters; empty where the body says nothing.
        code: The service's error code, the outermost where several are nested.
        activity_id: The GUID that Microsoft support asks for; through Graph, its request-id.
        retry_after: Text of the body's own `RetryAfter`: seconds or a date.
        scopes: The API permissions of which the service wants one.
    """

    message: str
    code: str | None = None
    activity_id: str | None = None
    retry_after: str | None = None
    scopes: tuple[str, ...] = ()


def parse_problem(body: bytes, content_type: str | None) -> Problem:
    """Read an error body: JSON, JSON inside its message, XML, HTML, else text.

    Never raises, whatever the body holds. An empty body gives an empty message.

    Args:
        body: The decompressed body. Only the first 256 KiB are looked at.
        content_type: The Content-Type header; only its charset and an HTML type are believed.
    """
    text = _decoded(body[:_MAX_BODY], content_type or "").strip("\ufeff \t\r\n\x00")
    findings = _Findings()
    document = _json(text)
    if document is not None:
        findings.read(document)
    elif text.startswith("<"):
        _read_markup(text, "html" in (content_type or "").lower(), findings)
    if document is None and not findings.message and not text.startswith("<"):
        findings.message = text
    return findings.problem()


def is_error_object(document: Mapping[str, object]) -> bool:
    """Whether a JSON object under status 200 is an error in disguise.

    True for the standard error object, also beside rows (a failure in mid-stream), and for the shapes with
    `Message` or `ErrorCode`. A page or service document, which has `value`, is none.
    """
    fields = _lowered(document)
    for name in _ERROR_KEYS:
        error = fields.get(name)
        if isinstance(error, dict) and _lowered(error).keys() & {"code", "message"}:
            return True
        if isinstance(error, str) and error and "value" not in fields:
            return True
    if "value" in fields or "@odata.context" in fields:
        return False
    return any(isinstance(fields.get(name), str) for name in ("message", "errorcode"))


class _Findings:
    """Gathers what the nested shapes say: outermost code, innermost message."""

    def __init__(self) -> None:
        self.message = ""
        self._code = ""
        self._activity_id = ""
        self._retry_after = ""

    def read(self, document: object, depth: int = 0) -> None:
        """Read a decoded JSON value; strings may hold JSON again."""
        if isinstance(document, list):
            document = next((item for item in document if isinstance(item, dict)), None)
        if isinstance(document, str):
            self._read_text(document, depth)
        elif isinstance(document, dict) and depth < _MAX_NESTING:
            self._read_object(_lowered(document), depth)

    def problem(self) -> Problem:
        """The findings, cleaned for display."""
        full = _one_line(self.message)
        activity = _ACTIVITY.search(full)
        return Problem(
            message=_shortened(_trimmed(full)),
            code=_one_line(self._code)[:_MAX_FIELD] or None,
            activity_id=_significant(activity[1] if activity else "") or _significant(self._activity_id),
            retry_after=_one_line(self._retry_after)[:_MAX_FIELD] or None,
            scopes=_scopes(full),
        )

    def _read_text(self, text: str, depth: int) -> None:
        inner = _json(text) if depth < _MAX_NESTING else None
        if inner is None:
            self.message = text if text.strip() else self.message
        else:
            self.read(inner, depth + 1)

    def _read_object(self, fields: dict[str, object], depth: int) -> None:
        self._code = self._code or _first(fields, "errorcode", "code")
        self._activity_id = self._activity_id or _first(fields, "activityid", "request-id")
        self._retry_after = self._retry_after or _first(fields, "retryafter", "retry-after")
        for name in ("innererror", "httpheaders"):
            self._read_detail(fields.get(name))
        for name in _ERROR_KEYS:
            if isinstance(fields.get(name), dict):
                self.read(fields[name], depth + 1)
                return
        if isinstance(fields.get("error"), str):  # the shape of OAuth 2.0, RFC 6749 section 5.2
            self._code = self._code or str(fields["error"])
        for name in ("message", "error_description", "detail", "title", "value"):
            value = fields.get(name)
            if isinstance(value, str | dict) and value:
                self.read(value, depth + 1)
                return

    def _read_detail(self, value: object) -> None:
        """Take identifiers and waiting time, never a message, from an inner error or echoed headers."""
        detail = _json(value) if isinstance(value, str) else value
        if not isinstance(detail, dict):
            return
        fields = _lowered(detail)
        self._activity_id = self._activity_id or _first(fields, "activityid", "request-id")
        self._retry_after = self._retry_after or _first(fields, "retryafter", "retry-after")


def _read_markup(text: str, is_html: bool, findings: _Findings) -> None:
    if is_html or re.search(r"<html[\s>]|<!doctype html", text[:2000], re.IGNORECASE):
        found = (match[1] for match in (pattern.search(text) for pattern in _HEADINGS) if match)
        heading = next((title for title in found if title.strip()), "")
        findings.message = html.unescape(heading or _TAG.sub(" ", text))
        return
    elements: dict[str, object] = {}
    for match in _ELEMENT.finditer(_without_cdata(text)):
        elements.setdefault(match[1], html.unescape(match[2]))
    findings.read(elements)
    if not findings.message:
        findings.message = html.unescape(_TAG.sub(" ", text))


def _without_cdata(text: str) -> str:
    """Turn CDATA sections into escaped text."""
    first, *others = text.split("<![CDATA[")
    pieces = [first]
    for piece in others:
        inner, _, rest = piece.partition("]]>")
        pieces += [html.escape(inner), rest]
    return "".join(pieces)


def _decoded(body: bytes, content_type: str) -> str:
    charset = re.search(r"charset\s*=\s*[\"']?([A-Za-z0-9._\-]{1,40})", content_type, re.IGNORECASE)
    encoding = charset[1] if charset else "utf-8"
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    try:
        return body.decode(encoding, errors="replace")
    except (LookupError, ValueError):
        return body.decode("utf-8", errors="replace")


def _json(text: str) -> object:
    """The decoded value where the text is a JSON object, array or string; else None."""
    if not text.lstrip().startswith(("{", "[", '"')):
        return None
    try:
        value: object = jsontext.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list | str) else None


def _lowered(document: Mapping[str, object]) -> dict[str, object]:
    """The members by lower-case name; of two that differ in case only, the first."""
    fields: dict[str, object] = {}
    for name, value in document.items():
        fields.setdefault(str(name).lower(), value)
    return fields


def _first(fields: Mapping[str, object], *names: str) -> str:
    """The first of these members that is a number or a text with something in it, as text."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, str) and value.strip():
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return repr(value)
    return ""


def _one_line(text: str) -> str:
    """One line without terminal escapes, control, format (bidi, zero-width) or surrogate characters."""
    plain = _ESCAPES.sub("", text)
    kept = (" " if char.isspace() else char for char in plain)
    return " ".join("".join(char for char in kept if unicodedata.category(char)[0] != "C").split())


def _trimmed(text: str) -> str:
    """Drop the support boilerplate; the Url stays, for it shows how the service read the request."""
    short = _BOILERPLATE.sub("", text)
    while (shorter := _EMPTY_TAIL.sub("", short)) != short:
        short = shorter
    return short.strip(" -")


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1].rstrip() + "…"


def _significant(guid: str) -> str | None:
    """A GUID that identifies something: not empty, not all zeros."""
    text = _one_line(guid)[:_MAX_FIELD]
    return text if text.strip("0-") else None


def _scopes(text: str) -> tuple[str, ...]:
    match = _SCOPES.search(text)
    if match is None:
        return ()
    names = (name.strip().rstrip(".") for name in re.split(r"[,;]", match[1]))
    return tuple(dict.fromkeys(name for name in names if name))
