"""An HTTP server that knows its open connections, so that stopping also ends idle and stalled ones."""

from __future__ import annotations

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ConnectionServer(ThreadingHTTPServer):
    """Serves each connection in a thread of its own, and can cut them all."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[ConnectionHandler]) -> None:
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, handler)

    def opened(self, connection: socket.socket) -> None:
        """Remember a connection."""
        with self._lock:
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        """Forget a connection."""
        with self._lock:
            self._open.discard(connection)

    def disconnect_all(self) -> None:
        """Cut every connection."""
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class ConnectionHandler(BaseHTTPRequestHandler):
    """One connection of such a server; it is kept alive."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: ConnectionServer

    def setup(self) -> None:
        """Make the connection known."""
        super().setup()
        self.server.opened(self.connection)

    def finish(self) -> None:
        """Make its end known."""
        self.server.closed(self.connection)
        super().finish()
