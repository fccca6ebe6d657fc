"""Reading the body of a response: whole or an error, decompressed within a bound."""

from __future__ import annotations

import contextlib
import time
import zlib
from collections.abc import Callable
from typing import Any

import requests
from urllib3.exceptions import HTTPError

from intune_dw_cli.errors import ProtocolError, TransportError
from intune_dw_cli.service.large import LARGE, LargeAnswers

inflation: Any = zlib
with contextlib.suppress(ImportError):  # the same functions, three times as fast; not for every platform
    from isal import isal_zlib as inflation

_CHUNK = 256 * 1024
_TOGETHER = 4 * 1024 * 1024
"""Received bytes that are inflated in one go: more than a page has, so that a page is inflated without being copied."""
_GZIP = 31
_PIECE = LARGE
"""Bytes inflated at a time: while a piece is made, it is held twice. More than one piece has to wait for its turn."""
_LEAST = 4096
"""Bytes that must come in the time in which silence would end an answer: a byte now and then is no better."""


def read_body(
    response: requests.Response, *, max_bytes: int, max_seconds: float, max_silence: float, large: LargeAnswers
) -> tuple[bytes, int]:
    """Return the decompressed body and the number of bytes that came over the wire.

    requests' own decoding is not used because it takes a gzip stream that is cut short for a whole one.

    Args:
        max_bytes: After decompression.
        max_seconds: For the whole body.
        max_silence: Seconds in which some KiB must come, unless it ends; of silence itself the socket takes care.
        large: Gives large bodies their turn.

    Raises:
        InterruptedRunError: stopped while waiting for that turn.
        TransportError: reset, stall, fewer bytes than announced, gzip cut short or damaged. Worth a retry.
        ProtocolError: more than `max_bytes` after decompression, or an encoding that was not asked for.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise ProtocolError(
            f"the answer is compressed as {encoding!r}, which was not asked for",
            hint="A proxy seems to change the service's answers; connect without it.",
        )
    # One block that grows, not many little ones: those would keep the heap of their thread from shrinking.
    waiting = bytearray()
    with large.reading() as holding:
        inflater = _Inflater(max_bytes, holding) if "gzip" in encoding else None
        try:
            return _received(response, inflater, waiting, holding, max_bytes, max_seconds, max_silence)
        finally:  # before the turn ends: a traceback may hold on to them
            waiting.clear()
            if inflater is not None:
                inflater.clear()


def _received(
    response: requests.Response,
    inflater: _Inflater | None,
    waiting: bytearray,
    holding: Callable[[int], None],
    max_bytes: int,
    max_seconds: float,
    max_silence: float,
) -> tuple[bytes, int]:
    begun = since = time.monotonic()
    fresh = 0
    try:
        # read1 gives what has come; read would wait for a whole chunk, and a dripping answer would never time out.
        while chunk := response.raw.read1(_CHUNK, decode_content=False):
            waiting += chunk
            if inflater is None:
                _check_bound(len(waiting), max_bytes)
                holding(len(waiting))
            elif len(waiting) >= _TOGETHER:
                inflater.feed(waiting)
                waiting.clear()
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
    if inflater is None:
        return bytes(waiting), received
    inflater.feed(waiting)
    return inflater.finish(), received


class _Inflater:
    """Inflates gzip (one or more members, RFC 1952 2.2) up to a bound."""

    def __init__(self, max_bytes: int, holding: Callable[[int], None]) -> None:
        self._max = max_bytes
        self._holding = holding
        self._stream = inflation.decompressobj(_GZIP)
        self._pieces: list[bytes] = []
        self._size = 0
        self._fed = False

    def feed(self, data: bytes | bytearray) -> None:
        self._fed = self._fed or bool(data)
        try:
            while data:
                if self._stream.eof:
                    self._stream = inflation.decompressobj(_GZIP)
                self._holding(self._size)
                most = min(_PIECE, self._max - self._size + 1)
                piece = self._stream.decompress(data, most)
                self._pieces.append(piece)
                self._size += len(piece)
                _check_bound(self._size, self._max)
                data = self._stream.unconsumed_tail or self._stream.unused_data
        except inflation.error:
            raise TransportError("the answer broke off: its gzip data is damaged") from None

    def finish(self) -> bytes:
        if self._fed and not self._stream.eof:
            raise TransportError("the answer broke off: its gzip data is cut short")
        return b"".join(self._pieces)  # a single piece is not copied

    def clear(self) -> None:
        self._pieces.clear()


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
