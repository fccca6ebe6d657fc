"""Puts an answer on the socket: compression, framing, and the faults that happen on the way."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
import zlib
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Iterator

    from intune_dw_cli.sandbox.faults import Fault
    from intune_dw_cli.sandbox.messages import Request, Response

_CHUNK = 1 << 20
_BOM = b"\xef\xbb\xbf"
_RESET_PAUSE = 0.05
"""Time for the peer to read what was sent before a reset throws it away."""


class DisconnectedError(Exception):
    """We cut the connection; nothing more may be sent on it."""


def accepts_gzip(request: Request) -> bool:
    """Tell whether the client takes gzip."""
    for part in request.headers.get("accept-encoding", "").lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def gzip(body: bytes) -> bytes:
    """Compress fast: level 1."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()


class Wire:
    """Sends answers on one connection.

    Args:
        connection: The socket.
        stopping: Ends stalls and drips early when the server stops.
    """

    def __init__(self, connection: socket.socket, stopping: threading.Event) -> None:
        self._connection = connection
        self._stopping = stopping

    def send(self, request: Request, response: Response, *, keep_alive: bool) -> None:
        """Send an answer, with its fault if it has one.

        Raises:
            DisconnectedError: if the fault was to cut the connection.
        """
        fault = response.wire
        kind = fault.kind if fault else ""
        if fault is not None and kind == "bomb":
            self._send_bomb(request, response, fault)
            return
        body, packed = _encoded(request, response)
        head = _head(request, response, len(body), gzipped=packed, keep_alive=keep_alive)
        if fault is None or kind not in ("reset", "close", "stall", "drip"):
            self._connection.sendall(head + body)
        else:
            self._misbehave(fault, head, body)

    def _misbehave(self, fault: Fault, head: bytes, body: bytes) -> None:
        cut = int(len(body) * fault.after)
        if fault.kind == "close":
            self._connection.sendall(head + body[:cut])
            self._hang_up()
        elif fault.kind == "reset":
            if fault.at == "body":
                self._connection.sendall(head + body[:cut])
                time.sleep(_RESET_PAUSE)
            self._reset()
        elif fault.kind == "stall":
            first = head + body[:cut] if fault.at == "body" else b""
            self._connection.sendall(first)
            self._wait(fault.seconds)
            self._connection.sendall((head + body)[len(first) :])
        else:
            self._connection.sendall(head)
            for place in range(len(body)):
                self._connection.sendall(body[place : place + 1])
                self._wait(fault.seconds)

    def _wait(self, seconds: float) -> None:
        if self._stopping.wait(seconds):
            self._hang_up()

    def _hang_up(self) -> None:
        self._connection.shutdown(socket.SHUT_RDWR)
        raise DisconnectedError

    def _reset(self) -> None:
        """Close so that the peer gets a TCP reset: linger time 0, and no polite FIN before."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # close() waits for the file objects on top of the socket; the descriptor itself does not.
        os.close(self._connection.detach())
        raise DisconnectedError

    def _send_bomb(self, request: Request, response: Response, fault: Fault) -> None:
        """Send valid JSON that is mostly blanks: small on the wire where gzip is taken, of the full size if not."""
        response.body, real = b"", response.body
        blanks = max(fault.size - len(real), 0)
        if accepts_gzip(request):
            packer = zlib.compressobj(9, zlib.DEFLATED, 31)
            body = b"".join(packer.compress(piece) for piece in _padded(real, blanks)) + packer.flush()
            self._connection.sendall(_head(request, response, len(body), gzipped=True, keep_alive=True) + body)
            return
        self._connection.sendall(_head(request, response, len(real) + blanks, gzipped=False, keep_alive=True))
        for piece in _padded(real, blanks):
            self._connection.sendall(piece)


def _padded(body: bytes, blanks: int) -> Iterator[bytes]:
    yield body[:1]
    for start in range(0, blanks, _CHUNK):
        yield b" " * min(_CHUNK, blanks - start)
    yield body[1:]


def _encoded(request: Request, response: Response) -> tuple[bytes, bool]:
    """Return the body as it goes out, and whether it is gzip."""
    fault, body = response.wire, response.body
    if fault is not None and fault.kind == "bom":
        body = _BOM + body
    if fault is not None and fault.kind == "json-cut":
        body = body[: int(len(body) * fault.after)]
    if not body or not accepts_gzip(request):
        return body, False
    packed = gzip(body)
    if fault is not None and fault.kind == "gzip-cut":
        packed = packed[: int(len(packed) * fault.after)]
    return packed, True


def _head(request: Request, response: Response, length: int, *, gzipped: bool, keep_alive: bool) -> bytes:
    fields = {
        "Date": formatdate(usegmt=True),
        "Content-Type": response.content_type,
        "Content-Length": str(length),
        "OData-Version": "4.0",
        "request-id": str(uuid4()),
        **response.headers,
    }
    if gzipped:
        fields["Content-Encoding"] = "gzip"
    if not keep_alive:
        fields["Connection"] = "close"
    if "client-request-id" in request.headers:
        fields["client-request-id"] = request.headers["client-request-id"]
    phrase = HTTPStatus(response.status).phrase
    lines = [f"HTTP/1.1 {response.status} {phrase}", *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
