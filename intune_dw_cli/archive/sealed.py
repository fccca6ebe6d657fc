"""JSON that carries its own hash: {"content": {...}, "content_sha256": "..."}.

The hash is of the content as compact JSON with sorted keys, in ASCII. The file is that very text, only broken into
lines: so the hash of a file as it was written needs neither the content written anew nor its keys sorted.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from intune_dw_cli import jsontext

Json = dict[str, Any]

_COMPACT = json.JSONEncoder(ensure_ascii=True, sort_keys=True, separators=(",", ":"), check_circular=False)
_BREAK = re.compile(rb"\n *")  # no text within JSON holds a line break as it is
_DOCUMENT = re.compile(rb'\{"content":(\{.*\}),"content_sha256":"([0-9a-f]{64})"\}', re.DOTALL)


def encode(content: Json, levels: int) -> bytes:
    """Return the bytes of a document: so many levels of its content in lines of their own, what is deeper in one."""
    text = _laid_out(content, levels, "\n ").encode()
    digest = hashlib.sha256(_BREAK.sub(b"", text)).hexdigest()
    return b'{\n "content":%s,\n "content_sha256":"%s"\n}\n' % (text, digest.encode())


def decode(text: bytes) -> tuple[Json, bool]:
    """Return the content of a document, and whether its hash is that of the content, however the text is laid out.

    Raises:
        KeyError, TypeError, ValueError, RecursionError: the text is no such document.
    """
    document = jsontext.loads(text)
    content, digest = document["content"], document["content_sha256"]
    written = _DOCUMENT.fullmatch(_BREAK.sub(b"", text))
    if written and hashlib.sha256(written[1]).hexdigest().encode() == written[2]:
        return content, True
    return content, content_sha256(content) == digest


def content_sha256(content: Json) -> str:
    """Return the hash of a content, in hex digits."""
    return hashlib.sha256(_COMPACT.encode(content).encode()).hexdigest()


def _laid_out(value: Any, levels: int, indent: str) -> str:
    """Return JSON text in lines; what is deeper than so many levels is written at once, which is many times faster."""
    if not levels or not value or not isinstance(value, dict | list):
        return _COMPACT.encode(value)
    deeper = indent + " "
    if isinstance(value, dict):
        items = [f"{_COMPACT.encode(k)}:{_laid_out(value[k], levels - 1, deeper)}" for k in sorted(value)]
        return "{" + deeper + ("," + deeper).join(items) + indent + "}"
    return "[" + deeper + ("," + deeper).join([_laid_out(v, levels - 1, deeper) for v in value]) + indent + "]"
