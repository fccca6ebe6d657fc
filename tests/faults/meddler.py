"""A server in front of the sandbox that may answer with any bytes, and writes down every header that it gets."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from types import TracebackType
from typing import Final, Self
from urllib.parse import parse_qsl, urlsplit

import trustme

from intune_dw_cli.sandbox import Sandbox
from intune_dw_cli.sandbox.messages import Request, Response
from intune_dw_cli.sandbox.server import ROOT
from intune_dw_cli.sandbox.wire import DisconnectedError, Wire

TLS_RECORD: Final = b"\x16"
NO_PAGE: Final = Response(200, b'{"value":[]}')
"""What a server without a sandbox answers: to whoever follows a link to it, the end of the collection."""


class Cut(Enum):
    """Ends a connection: in good order, or with a TCP reset."""

    CLOSE = 1
    RESET = 2


CLOSE, RESET = Cut.CLOSE, Cut.RESET
Piece = bytes | float | Cut
"""What goes onto the socket: bytes, seconds of silence, or the end of the connection."""


@dataclass(frozen=True)
class Heard:
    """A request as it came.

    Attributes:
        headers: All of them, by lower-case name.
        nth: Which request for this very target it is, from 1.
        tls: Whether it came over TLS.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)
    nth: int
    tls: bool

    @property
    def collection(self) -> str:
        """The last segment of the path: a collection, `$metadata`, or the root's own name."""
        return urlsplit(self.target).path.rpartition("/")[2]

    @property
    def later(self) -> bool:
        """Whether it asks for a page that is not the first."""
        return "$skiptoken" in {name for name, _ in parse_qsl(urlsplit(self.target).query)}


Meddle = Callable[[Heard, Response], "Response | Iterable[Piece] | None"]
"""Given a request and the true answer, returns another one, raw pieces for the socket, or None for the true answer."""


def truthful(_heard: Heard, _response: Response) -> None:
    """Meddle with nothing."""


def framed(
    response: Response, *, kind: str | None = None, length: int | None = None, headers: Mapping[str, str] | None = None
) -> bytes:
    """Return an answer as bytes: uncompressed, with a Content-Length that may lie."""
    fields = {
        "Content-Type": kind or response.content_type,
        "Content-Length": str(len(response.body) if length is None else length),
        **response.headers,
        **(headers or {}),
    }
    head = "\r\n".join([f"HTTP/1.1 {response.status} So", *(f"{name}: {value}" for name, value in fields.items())])
    return head.encode("latin-1") + b"\r\n\r\n" + response.body


class Meddler:
    """The server; a context manager that serves while it is open.

    Args:
        sandbox: Gives the true answers (it need not be started); None for a server that is nobody's feed.
        meddle: What to make of them.
        understood: Turns the target of a request into the one that the sandbox is asked for.
        authority: Signs a certificate for whatever name a client asks for; the server then speaks TLS to clients that
            begin so, and plain HTTP to the others, on the same port.
    """

    def __init__(
        self,
        sandbox: Sandbox | None = None,
        meddle: Meddle = truthful,
        *,
        understood: Callable[[str], str] = str,
        authority: trustme.CA | None = None,
    ) -> None:
        self.sandbox = sandbox
        self.meddle = meddle
        self._understood = understood
        self.heard: list[Heard] = []
        self.connections = 0
        self._authority = authority
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._certificates: dict[str, trustme.LeafCert] = {}
        self._stopping = threading.Event()
        self._server = _Server(self)
        self.port: int = self._server.server_address[1]

    @property
    def origin(self) -> str:
        """Scheme, address and port."""
        return f"{'https' if self._authority else 'http'}://127.0.0.1:{self.port}"

    @property
    def feed_url(self) -> str:
        """The feed URL by address."""
        return f"{self.origin}{ROOT}?api-version=v1.0"

    def bearers(self) -> list[str]:
        """Every Authorization header that came."""
        return [heard.headers["authorization"] for heard in self.heard if "authorization" in heard.headers]

    def forget(self) -> None:
        """Forget what was heard."""
        with self._lock:
            self.heard.clear()
            self._counts.clear()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), name="meddler", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()

    # -- one connection ---------------------------------------------------------------------------------------

    def serve(self, connection: socket.socket) -> None:
        """Answer the requests of one connection until it ends."""
        with self._lock:
            self.connections += 1
        tls = self._authority is not None and connection.recv(1, socket.MSG_PEEK) == TLS_RECORD
        if tls:
            connection = self._context().wrap_socket(connection, server_side=True)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.closing(connection), connection.makefile("rb") as incoming:
            while (line := incoming.readline(65537)).strip():
                method, target, _ = line.decode("latin-1").split(" ", 2)
                fields = iter(lambda: incoming.readline(65537).decode("latin-1").strip(), "")
                pairs = (text.partition(":") for text in fields)
                headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
                if not self._answer(connection, method, target, headers, tls):
                    return

    def _answer(self, connection: socket.socket, method: str, target: str, headers: dict[str, str], tls: bool) -> bool:
        """Answer one request; return whether another may follow."""
        with self._lock:
            self._counts[target] += 1
            heard = Heard(method, target, headers, self._counts[target], tls)
            self.heard.append(heard)
        request = Request(
            method, self._understood(target), {**headers, "x-forwarded-proto": "https" if tls else "http"}
        )
        found = self.sandbox.router.find(request.path) if self.sandbox else None
        response = found[0].answer(request, found[1]) if found else Response(404) if self.sandbox else NO_PAGE
        answer = self.meddle(heard, response)
        if answer is None or isinstance(answer, Response):
            try:
                Wire(connection, self._stopping).send(request, answer or response, keep_alive=True)
            except DisconnectedError:
                return False
            return True
        for piece in answer:
            if isinstance(piece, Cut):
                if piece is RESET:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
            if isinstance(piece, float):
                if self._stopping.wait(piece):
                    return False
            else:
                connection.sendall(piece)
        return True

    def _context(self) -> ssl.SSLContext:
        """TLS with a certificate for the address, or for the name that the client says it wants."""

        def named(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _context: ssl.SSLContext) -> None:
            if name:
                connection.context = self._certified(name)

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._own.configure_cert(context)
        context.sni_callback = named
        return context

    @cached_property
    def _own(self) -> trustme.LeafCert:
        assert self._authority is not None
        return self._authority.issue_cert("127.0.0.1", "::1", "localhost")

    def _certified(self, name: str) -> ssl.SSLContext:
        assert self._authority is not None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with self._lock:
            if name not in self._certificates:
                self._certificates[name] = self._authority.issue_cert(name)
            self._certificates[name].configure_cert(context)
        return context


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, meddler: Meddler) -> None:
        self.meddler = meddler
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing about clients that went away."""


class _Handler(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        self.server.meddler.serve(self.request)
