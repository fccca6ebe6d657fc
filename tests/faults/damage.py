"""What can become of an answer between the service and us."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator

from meddler import CLOSE, RESET, Piece, framed

from intune_dw_cli.sandbox.messages import Response

Damage = Callable[[Response], "Response | Iterable[Piece]"]
DRIP, SILENCE = 0.15, 3.0
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def packed(true: Response, body: bytes) -> bytes:
    """A framed answer that claims to be gzip."""
    return framed(Response(200, body, true.content_type), headers={"Content-Encoding": "gzip"})


def of_body(change: Callable[[bytes], bytes]) -> Damage:
    """The answer with another body, rightly framed."""
    return lambda true: [framed(Response(200, change(true.body), true.content_type))]


def cut(share: float) -> Damage:
    return of_body(lambda body: body[: int(len(body) * share)])


def dripping(true: Response) -> Iterator[Piece]:
    """One byte now and then, which would take minutes."""
    yield framed(true)[: -len(true.body)]
    for place in range(len(true.body)):
        yield true.body[place : place + 1]
        yield DRIP


def dripping_headers(true: Response) -> Iterator[Piece]:
    """One byte now and then from the first line on, and no end of headers."""
    for place in range(12):
        yield framed(true)[place : place + 1]
        yield DRIP
    for _ in range(40):
        yield b"X-Wait: 1\r\n" if _ else framed(true)[12:17]
        yield DRIP
    yield CLOSE


def dragging(true: Response) -> Iterator[Piece]:
    """Much and again much, and no end for long."""
    yield framed(true, length=len(true.body) + 40 * 5000)[: -len(true.body)]
    for _ in range(40):
        yield b" " * 5000
        yield DRIP
    yield true.body


def answered(status: int) -> Damage:
    return lambda _: Response(status)


FAULTS: dict[str, tuple[Damage, str]] = {
    **{str(status): (answered(status), str(status)) for status in (408, 500, 502, 503, 504)},
    "a gateway's page under 502": (lambda _: Response(502, b"<html>bad gateway</html>", "text/html"), "502"),
    "reset before the headers": (lambda _: [RESET], "closed the connection"),
    "closed before the headers": (lambda _: [CLOSE], "closed the connection"),
    "reset in the headers": (lambda true: [framed(true)[:40], 0.05, RESET], "closed the connection"),
    "closed in the headers": (lambda true: [framed(true)[:40], CLOSE], ""),
    "reset in the body": (lambda true: [framed(true)[:-30], 0.05, RESET], "reset"),
    "short body": (lambda true: [framed(true)[:-30], CLOSE], "fewer bytes"),
    "no body at all": (lambda true: [framed(true)[: -len(true.body)], CLOSE], "fewer bytes"),
    "no HTTP": (lambda _: [b"SSH-2.0-OpenSSH_9.6\r\n", CLOSE], "closed the connection"),
    "chunks cut short": (lambda true: [CHUNKED + b"%x\r\n" % len(true.body), true.body, CLOSE], "broke off"),
    "chunks of no size": (lambda true: [CHUNKED + true.body, CLOSE], "broke off"),
    "length too small": (lambda true: [framed(true, length=len(true.body) // 2)], "cut short"),
    "gzip cut": (lambda true: [packed(true, gzip.compress(true.body)[:-20])], "gzip data is cut short"),
    "gzip's checksum cut": (lambda true: [packed(true, gzip.compress(true.body)[:-4])], "gzip data is cut short"),
    "gzip damaged": (lambda true: [packed(true, _flipped(gzip.compress(true.body)))], "gzip data is damaged"),
    "gzip that is none": (lambda true: [packed(true, true.body)], "gzip data is damaged"),
    "JSON cut early": (cut(0.1), "cut short"),
    "JSON cut late": (cut(0.97), "cut short"),
    "JSON's last brace cut": (of_body(lambda body: body[:-1]), "cut short"),
    "JSON and more": (of_body(lambda body: body + b"}"), "not valid JSON"),
    "JSON twice": (of_body(lambda body: body * 2), "not valid JSON"),
    "zeros for the last bytes": (of_body(lambda body: body[:-40] + bytes(40)), "JSON"),
    "1 byte now and then": (dripping, "hardly anything came"),
    "headers without end": (dripping_headers, "did not answer in time"),
    "no end for long": (dragging, "had not ended after"),
    "silence": (lambda true: [SILENCE, framed(true)], "did not answer in time"),
    "silence in the body": (lambda true: [framed(true)[:-30], SILENCE, framed(true)[-30:]], "nothing came"),
    "a web page": (lambda _: Response(200, b"<html>sign in</html>", "text/html"), "web page"),
    "an error object": (lambda _: Response(200, b'{"error":{"code":"X","message":"later"}}'), "error under status 200"),
    "an error after the rows": (
        of_body(lambda body: body[: body.rindex(b"]") + 1] + b',"error":{"code":"X","message":"later"}}'),
        "error under status 200",
    ),
    "the wrapped error of the service": (lambda _: Response(200, b'{"_version":3,"Message":"later"}'), "200"),
    "an empty body": (lambda _: Response(200), "empty"),
    "blanks": (lambda _: Response(200, b" \r\n"), "empty"),
    "null": (lambda _: Response(200, b"null"), "not a page of rows"),
    "latin-1 that says utf-8": (
        lambda true: [framed(Response(200, _as_latin_1(true.body)), kind="application/json;charset=utf-8")],
        "not valid UTF-8",
    ),
}
"""What can happen to an answer, and what the error says while it goes on."""

HARMLESS: dict[str, Damage] = {
    "a byte order mark": of_body(lambda body: b"\xef\xbb\xbf" + body),
    "utf-8 that says latin-1": lambda true: [framed(true, kind="application/json;charset=iso-8859-1")],
    "utf-8 that says utf-16": lambda true: [framed(true, kind="application/json;charset=utf-16")],
    "utf-8 that says nonsense": lambda true: [framed(true, kind="application/json;charset=klingon")],
    "utf-8 that says text": lambda true: [framed(true, kind="text/html")],
    "no type": lambda true: [framed(true, kind="")],
    "escaped": of_body(lambda body: json.dumps(json.loads(body)).encode()),
    "spaced out": of_body(lambda body: json.dumps(json.loads(body), indent=3, ensure_ascii=False).encode()),
    "members of gzip": lambda true: [packed(true, b"".join(map(gzip.compress, (true.body[:9], true.body[9:]))))],
    "in chunks": lambda true: [CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (len(true.body), true.body)],
    "ended by the end": lambda true: [b"HTTP/1.0 200 OK\r\n\r\n", true.body, CLOSE],
    "in pieces": lambda true: [framed(true)[:50], 0.02, framed(true)[50:200], 0.02, framed(true)[200:]],
}
"""Odd answers that hold what they should."""


SLOW = ("1 byte now and then", "headers without end", "no end for long", "silence", "silence in the body")
"""Those of FAULTS that only a time-out ends."""


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0x55]) + data[middle + 1 :]


def _as_latin_1(body: bytes) -> bytes:
    text = body.decode().replace('"displayName":"', '"displayName":"Zo\xeb ', 1).replace('"value":[', '"value":[ ', 1)
    data = text.encode("latin-1", "replace")
    return data if not data.isascii() else data.replace(b'":"', b'":"\xeb', 1)
