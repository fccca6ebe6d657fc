"""A static OData server in a process of its own: pages are mapped, compressed, and only sent.

It has a service document, `$metadata`, DateKey filters (`eq`, `ge`, `le`, `gt`, `lt`, joined by `and`), absolute
nextLinks, keep-alive, and a think time before each answer. One thread a connection; a thread that sends or waits
holds no lock, so the server's part of the processor is the kernel's copying.

    python -m tests.benchmarks.server FOLDER [THINK_SECONDS]

prints the feed URL and serves until its stdin ends. The header `X-Next` repeats the nextLink, for clients that do not
look into the body (the ones that measure this server's own ceiling).
"""

from __future__ import annotations

import bisect
import contextlib
import json
import mmap
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from tests.benchmarks.dataset import head, read_index
from tests.benchmarks.tables import TABLES

_ROOT = "/ReportingService/DataWarehouseFEService"
_TERM = re.compile(r"DateKey (eq|ge|le|gt|lt) (\d+)", re.IGNORECASE)
_ENOUGH = 10**9


class StaticServer:
    """Serves one dataset on a free port of the loopback."""

    def __init__(self, folder: Path, think: float = 0.0) -> None:
        self._spec, _, self._pages = read_index(folder)
        self._days = [p.day for p in self._pages]
        table = TABLES[self._spec.case]
        self._think = think
        self._metadata = table.metadata(self._spec.collections).encode()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}{_ROOT}"
        self._service = json.dumps(
            {
                "@odata.context": f"{self.url}/$metadata",
                "value": [{"name": n, "url": n} for n in self._spec.collections],
            }
        ).encode()
        with (folder / "pages").open("rb") as file:
            self._map = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        # Into the page cache before the clock starts.
        for offset in range(0, len(self._map), 4096):
            self._map[offset]

    def serve(self) -> None:
        """Accept connections for ever."""
        while True:
            connection, _ = self._listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        pending = b""
        with connection, contextlib.suppress(ConnectionError):
            while True:
                while b"\r\n\r\n" not in pending:
                    received = connection.recv(65536)
                    if not received:
                        return
                    pending += received
                request, _, pending = pending.partition(b"\r\n\r\n")
                target = unquote(request.split(b" ", 2)[1].decode())
                if self._think:
                    time.sleep(self._think)
                for piece in self._answer(target):
                    connection.sendall(piece)

    def _answer(self, target: str) -> list[bytes | memoryview]:
        path, _, query = target.partition("?")
        name = path.removeprefix(_ROOT).strip("/")
        if not name:
            return [_headers(len(self._service)), self._service]
        if name == "$metadata":
            return [_headers(len(self._metadata), kind="application/xml"), self._metadata]
        if name not in self._spec.collections:
            return [b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"]
        place, end = self._range(query)
        if place == end:
            body = head(name) + b"]}"
            return [_headers(len(body)), body]
        page = self._pages[place]
        link = f"{self.url}/{name}?api-version=v1.0&$skiptoken={place + 1}.{end}" if place + 1 < end else ""
        tail = page.finish(f'],"@odata.nextLink":"{link}"}}'.encode() if link else b"]}")
        return [
            _headers(page.size + len(tail), packed=True, link=link),
            self._map[page.offset : page.offset + page.size],
            tail,
        ]

    def _range(self, query: str) -> tuple[int, int]:
        """Return the pages that a query asks for: from the first to (not including) the second."""
        if token := re.search(r"\$skiptoken=(\d+)\.(\d+)", query):
            return int(token[1]), int(token[2])
        low, high = 0, _ENOUGH
        for operator, digits in _TERM.findall(query):
            day = int(digits)
            if operator in ("eq", "ge", "gt"):
                low = max(low, day + (operator == "gt"))
            if operator in ("eq", "le", "lt"):
                high = min(high, day - (operator == "lt"))
        start = bisect.bisect_left(self._days, low)
        return start, max(start, bisect.bisect_right(self._days, high))


def _headers(length: int, *, packed: bool = False, link: str = "", kind: str = "application/json") -> bytes:
    more = "Content-Encoding: gzip\r\n" * packed + (f"X-Next: {link}\r\n" if link else "")
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{more}\r\n".encode()


@contextlib.contextmanager
def serving(folder: Path, think: float = 0.0) -> Iterator[str]:
    """Serve a dataset from another process while the block runs; gives the feed URL."""
    command = [sys.executable, "-m", "tests.benchmarks.server", str(folder), str(think)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            raise RuntimeError("the benchmark's server did not start")
        try:
            yield url
        finally:
            process.kill()


def main() -> None:
    """Serve until stdin ends."""
    server = StaticServer(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0)
    threading.Thread(target=server.serve, daemon=True).start()
    print(server.url, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
