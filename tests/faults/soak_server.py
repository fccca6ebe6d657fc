"""A warehouse of any number of rows that cost next to nothing to make, and that goes wrong all the time.

    python tests/faults/soak_server.py ROWS SEED FAULTS

prints the feed URL and serves until it is killed. A tenth of the rows is in `devices`, the rest in 20 days of
`devicePropertyHistories`. FAULTS is the share of requests for pages that fail, in turn by 429, 503, a reset, a body cut
short, and a page cut short under right framing; which, the seed decides. `/faults` counts them.
"""

from __future__ import annotations

import datetime as dt
import gzip
import json
import re
import socket
import struct
import sys
import threading
from collections import Counter
from hashlib import blake2b
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

ROOT = "/DataWarehouseFEService"
DAYS = 20
PAGE = 5000
FACT, DIMENSION = "devicePropertyHistories", "devices"
KINDS = ("429", "503", "reset", "short", "cut")
_PROPERTIES = {
    "deviceKey": "Int64",
    "deviceName": "String",
    "osVersion": "String",
    "storage": "Int64",
    "score": "Double",
}
_ROW = '"deviceKey":%d,"deviceName":"DESKTOP-%08X","osVersion":"10.0.%d","storage":%d,"score":%d.25}'
_DATE_KEY = re.compile(r"DateKey (eq|ge|le|gt|lt) (\d+)", re.IGNORECASE)


def first_key(collection: str, day: int) -> int:
    """The keys of a day begin here, so that no two rows of all have the same."""
    return 1_000_000_000 * (day + 1 if collection == FACT else 0)


def rows_of(collection: str, rows: int) -> int:
    """Rows of a day, or of the whole dimension."""
    return rows // 10 if collection == DIMENSION else (rows - rows // 10) // DAYS


def metadata() -> bytes:
    """The CSDL of both."""
    kinds = ""
    for name, key in ((FACT, ("dateKey", "deviceKey")), (DIMENSION, ("deviceKey",))):
        properties = {**({"dateKey": "Int32"} if name == FACT else {}), **_PROPERTIES}
        keys = "".join(f'<PropertyRef Name="{k}"/>' for k in key)
        kinds += f'<EntityType Name="{name}"><Key>{keys}</Key>'
        kinds += "".join(f'<Property Name="{p}" Type="Edm.{t}"/>' for p, t in properties.items()) + "</EntityType>"
    sets = "".join(f'<EntitySet Name="{n}" EntityType="w.{n}"/>' for n in (FACT, DIMENSION))
    return (
        '<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"><edmx:DataServices>'
        f'<Schema Namespace="w" xmlns="http://docs.oasis-open.org/odata/ns/edm">{kinds}'
        f'<EntityContainer Name="c">{sets}</EntityContainer></Schema></edmx:DataServices></edmx:Edmx>'
    ).encode()


class Server(ThreadingHTTPServer):
    """Answers with pages, or not."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, rows: int, seed: int, share: float) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.rows, self.seed, self.share = rows, seed, share
        today = dt.datetime.now(dt.UTC).date()
        self.days = [int(f"{today - dt.timedelta(days=n):%Y%m%d}") for n in reversed(range(DAYS))]
        self.attempts: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{ROOT}"

    def fault(self, target: str) -> str | None:
        """What goes wrong with this request."""
        with self.lock:
            self.attempts[target] += 1
            drawn = blake2b(f"{self.seed}/{target}/{self.attempts[target]}".encode(), digest_size=4).digest()
            draw = int.from_bytes(drawn, "big") / 2**32
            if draw >= self.share:
                return None
            kind = KINDS[int(draw / self.share * len(KINDS))]
            self.faults[kind] += 1
            return kind

    def page(self, collection: str, day: int, skip: int) -> bytes:
        """One page; its nextLink leads on within the day."""
        total, key = rows_of(collection, self.rows), first_key(collection, day)
        row = (f'{{"dateKey":{self.days[day]},' if collection == FACT else "{") + _ROW
        end = min(skip + PAGE, total)
        numbers = ((key + i, i * 2654435761 % 2**32, i % 30000, i * 4096, i % 100) for i in range(skip, end))
        body, link = ",".join(map(row.__mod__, numbers)), ""
        if end < total:
            link = f',"@odata.nextLink":"{self.url}/{collection}?api-version=v1.0&$skiptoken={day}.{end}"'
        return f'{{"@odata.context":"{self.url}/$metadata#{collection}","value":[{body}]{link}}}'.encode()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        path, _, query = unquote(self.path).partition("?")
        name = path.removeprefix(ROOT).strip("/")
        if name == "faults":
            return self.reply(200, json.dumps(self.server.faults).encode())
        if not name:
            sets = [{"name": n, "kind": "EntitySet", "url": n} for n in (FACT, DIMENSION)]
            return self.reply(200, json.dumps({"@odata.context": "$metadata", "value": sets}).encode())
        if name == "$metadata":
            return self.reply(200, metadata(), kind="application/xml")
        token = re.search(r"\$skiptoken=(\d+)\.(\d+)", query)
        day, skip = (int(token[1]), int(token[2])) if token else (self.day_of(query) if name == FACT else 0, 0)
        return self.serve_page(name, day, skip)

    def day_of(self, query: str) -> int | None:
        """The place of the day that is asked for, None where there is none."""
        asked = _DATE_KEY.findall(query)
        exact = [int(digits) for operator, digits in asked if operator == "eq"]
        return self.server.days.index(exact[0]) if exact and exact[0] in self.server.days else None

    def serve_page(self, name: str, day: int | None, skip: int) -> None:
        kind = self.server.fault(self.path)
        if kind == "429":
            return self.reply(429, b"{}", {"Retry-After": "0"})
        if kind == "503":
            return self.reply(503, b"{}")
        if kind == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return None
        body = b'{"value":[]}' if day is None else self.server.page(name, day, skip)
        if kind == "cut":
            body = body[: len(body) // 2]
        packed = gzip.compress(body, 1)
        if kind == "short":
            self.close_connection = True
            return self.reply(200, packed[: len(packed) // 2], {"Content-Encoding": "gzip"}, length=len(packed))
        return self.reply(200, packed, {"Content-Encoding": "gzip"})

    def reply(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        *,
        kind: str = "application/json",
        length: int | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


if __name__ == "__main__":
    server = Server(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
    print(server.url, flush=True)
    server.serve_forever()
