"""An end for answers whose headers have none: to a socket, a byte now and then is no silence."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from urllib3.connection import HTTPConnection
from urllib3.exceptions import ReadTimeoutError

_LOOKS = 20  # at the connections, within the limit
_SELDOM = 5.0  # seconds between two looks, at most


class HeadLimit:
    """Cuts connections on which a request and the headers of its answer take too long. Used by several threads.

    Args:
        seconds: How long they may take, connecting included.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._begun: dict[HTTPConnection, float] = {}
        self._cut: set[HTTPConnection] = set()
        self._lock = threading.Lock()
        self._watch: threading.Thread | None = None
        self._closed = threading.Event()

    def close(self) -> None:
        """Look after connections no longer."""
        self._closed.set()

    @contextmanager
    def on(self, connection: HTTPConnection, pool: Any, target: str) -> Iterator[None]:
        """Send a request and read the headers of its answer.

        Args:
            connection: Used by one thread at a time.
            pool, target: The connection's pool and what is asked for, as the error wants them.

        Raises:
            ReadTimeoutError: it took too long.
        """
        with self._lock:
            self._begun[connection] = time.monotonic()
            if self._watch is None:
                self._watch = threading.Thread(target=self._look, name="heads", daemon=True)
                self._watch.start()
        try:
            yield
        finally:
            with self._lock:
                del self._begun[connection]
                late = connection in self._cut
                self._cut.discard(connection)
            if late:
                raise ReadTimeoutError(pool, target, "timed out: the headers of the answer had no end") from None

    def _look(self) -> None:
        while not self._closed.wait(min(self._seconds / _LOOKS, _SELDOM)):
            with self._lock:
                end = time.monotonic() - self._seconds
                for connection in [c for c, begun in self._begun.items() if begun < end]:
                    self._cut.add(connection)
                    if isinstance(connection.sock, socket.socket):
                        with suppress(OSError):  # it may be closed by now, or not yet connected
                            # Not the method of a TLS socket: that would pull it away from the thread that reads.
                            socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)
