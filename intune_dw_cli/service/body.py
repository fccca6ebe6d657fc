"""Reading the body of a response: whole or an error, decompressed within a bound."""

from __future__ import annotations

import time
import zlib

import requests
from urllib3.exceptions import HTTPError

from intune_dw_cli.errors import ProtocolError, TransportError

_CHUNK = 64 * 1024
_GZIP = 31
_LEAST = 4096
"""Bytes that must come in the time in which silence would end an answer: a byte now and then is no better."""


def read_body(
    response: requests.Response, *, max_bytes: int, max_seconds: float, max_silence: float
) -> tuple[bytes, int]:
    """Return the decompressed body and the number of bytes that came over the wire.

    requests' own decoding is not used because it takes a gzip stream that is cut short for a whole one.

    Args:
        max_bytes: After decompression.
        max_seconds: For the whole body.
        max_silence: Seconds in which some KiB must come, unless it ends; of silence itself the socket takes care.

    Raises:
        TransportError: reset, stall, fewer bytes than announced, gzip cut short or damaged. Worth a retry.
        ProtocolError: more than `max_bytes` after decompression, or an encoding that was not asked for.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise ProtocolError(
            f"the answer is compressed as {encoding!r}, which was not asked for",
            hint="A proxy seems to change the service's answers; connect without it.",
        )
    inflater = _Inflater(max_bytes) if "gzip" in encoding else None
    body = bytearray()
    begun = since = time.monotonic()
    fresh = 0
    try:
        # read1 gives what has come; read would wait for a whole chunk, and a dripping answer would never time out.
        while chunk := response.raw.read1(_CHUNK, decode_content=False):
            if inflater is None:
                body += chunk
                _check_bound(len(body), max_bytes)
            else:
                inflater.feed(chunk)
            fresh += len(chunk)
            now = time.monotonic()
            if now > begun + max_seconds:
                raise TransportError(f"the answer had not ended after {max_seconds:.0f} seconds")
            if now > since + max_silence:
                if fresh < _LEAST:
                    raise TransportError("the answer broke off: hardly anything came for too long")
                since, fresh = now, 0
    except (HTTPError, OSError) as error:
        raise TransportError(f"the answer broke off: {_reason(error)}") from None
    received = response.raw.tell()
    return (bytes(body) if inflater is None else inflater.finish()), received


class _Inflater:
    """Inflates gzip (one or more members, RFC 1952 2.2) up to a bound."""

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._stream = zlib.decompressobj(_GZIP)
        self._body = bytearray()
        self._fed = False

    def feed(self, data: bytes) -> None:
        self._fed = True
        try:
            while data:
                if self._stream.eof:
                    self._stream = zlib.decompressobj(_GZIP)
                self._body += self._stream.decompress(data, self._max - len(self._body) + 1)
                _check_bound(len(self._body), self._max)
                data = self._stream.unconsumed_tail or self._stream.unused_data
        except zlib.error:
            raise TransportError("the answer broke off: its gzip data is damaged") from None

    def finish(self) -> bytes:
        if self._fed and not self._stream.eof:
            raise TransportError("the answer broke off: its gzip data is cut short")
        return bytes(self._body)


def _check_bound(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise ProtocolError(
            f"one answer is larger than {max_bytes // (1024 * 1024)} MiB and was not read further",
            hint="A page of the warehouse is far smaller; check the feed URL.",
        )


def _reason(error: Exception) -> str:
    text = str(error).lower()
    if "timed out" in text:
        return "nothing came for too long"
    if "reset" in text:
        return "the connection was reset"
    if "incomplete" in text or "ended prematurely" in text:
        return "fewer bytes came than announced"
    return type(error).__name__
