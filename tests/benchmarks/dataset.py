"""Makes the pages of a table once, compressed, into one file that the server maps: no work is left for the clock.

A page is stored as a gzip stream that ends on a byte boundary after its last row. What follows depends on the request
(the nextLink, absolute like the service's own) and is appended by the server as one stored block: see `Page.finish`.

Pages of one day are rendered once; for another day only the DateKeys are exchanged before compression.

    python -m tests.benchmarks.dataset FOLDER '{"case": "fact", "rows": 100000}'
"""

from __future__ import annotations

import datetime as dt
import json
import sys
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.tables import DAY, TABLES, device_key

_LEVEL = 4
_GZIP = 31


@dataclass(frozen=True)
class Spec:
    """What to make.

    Attributes:
        case: A table of `TABLES`.
        rows: In all.
        page_rows: Rows a page.
        days: Days among which the rows are divided, the last of them yesterday (UTC); 1 where there is no DateKey.
        collections: Names under which the same rows are served.
    """

    case: str = "fact"
    rows: int = 1_000_000
    page_rows: int = 10_000
    days: int = 25
    collections: tuple[str, ...] = ("devicePropertyHistories",)

    @property
    def rows_a_day(self) -> int:
        """Rows of each day; `rows` is a multiple of the days."""
        return self.rows // self.days


@dataclass(frozen=True)
class Page:
    """Where a page's stream is in the file, and what its end needs: checksum and length of the text so far."""

    day: int
    offset: int
    size: int
    crc: int
    length: int
    rows: int

    def finish(self, tail: bytes) -> bytes:
        """Return what ends the stream with this text: a stored block (RFC 1951 3.2.4) and the trailer (RFC 1952)."""
        size = len(tail)
        block = b"\x01" + size.to_bytes(2, "little") + (size ^ 0xFFFF).to_bytes(2, "little") + tail
        crc = zlib.crc32(tail, self.crc)
        return block + crc.to_bytes(4, "little") + ((self.length + size) & 0xFFFFFFFF).to_bytes(4, "little")


def head(collection: str) -> bytes:
    """Return the text before a page's rows."""
    return f'{{"@odata.context":"http://localhost/DataWarehouseFEService/$metadata#{collection}","value":['.encode()


def make(folder: Path, spec: Spec) -> None:
    """Write `pages` and `index.json` into a new folder. The index also says what a correct output holds."""
    if spec.rows % spec.days:
        raise ValueError(f"{spec.rows} rows do not divide into {spec.days} days")
    folder.mkdir(parents=True)
    table = TABLES[spec.case]
    yesterday = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)
    days = [int(f"{yesterday - dt.timedelta(days=n):%Y%m%d}") for n in reversed(range(spec.days))]
    starts = range(0, spec.rows_a_day, spec.page_rows)
    pages: list[Page] = []
    texts: dict[str, int] = dict.fromkeys(table.texts, 0)
    orders = [(spec, days, first) for first in starts]
    with (folder / "pages").open("wb") as file, ProcessPoolExecutor() as pool:
        few = spec.rows <= 10_000  # not worth a second process
        for made, lengths in map(_make_page, orders) if few else pool.map(_make_page, orders):
            for stream, page in made:
                pages.append(Page(offset=file.tell(), **page))
                file.write(stream)
            for name, length in lengths.items():
                texts[name] += length * len(days)
    pages.sort(key=lambda p: (p.day, p.offset))
    expected = {
        "rows": spec.rows,
        "key_sum": sum(map(device_key, range(spec.rows_a_day))) * len(days),
        "days": len(days) if table.has_days else None,
        "text_bytes": texts,
    }
    index = {"spec": asdict(spec), "expected": expected, "pages": [asdict(p) for p in pages]}
    (folder / "index.json").write_text(json.dumps(index))


def read_index(folder: Path) -> tuple[Spec, dict[str, Any], list[Page]]:
    """Return what was made, what a correct output holds, and the pages in order of days."""
    raw = json.loads((folder / "index.json").read_text())
    spec = Spec(**{**raw["spec"], "collections": tuple(raw["spec"]["collections"])})
    return spec, raw["expected"], [Page(**p) for p in raw["pages"]]


def _make_page(order: tuple[Spec, list[int], int]) -> tuple[list[tuple[bytes, dict[str, int]]], dict[str, int]]:
    """Make one page of each day. Also returns the UTF-8 length of each text property, by an independent parse."""
    spec, days, first = order
    table = TABLES[spec.case]
    end = min(first + spec.page_rows, spec.rows_a_day)
    text = table.rows(first, end)
    rows = json.loads(f"[{text}]")
    lengths = {n: sum(len(r[n].encode()) for r in rows if r[n] is not None) for n in table.texts}
    template = head(spec.collections[0]) + text.encode()
    made = []
    for day in days:
        body = template.replace(str(DAY).encode(), str(day).encode()) if table.has_days else template
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        stream = packer.compress(body) + packer.flush(zlib.Z_FULL_FLUSH)
        fields = {"day": day, "size": len(stream), "crc": zlib.crc32(body), "length": len(body), "rows": end - first}
        made.append((stream, fields))
    return made, lengths


if __name__ == "__main__":
    given = json.loads(sys.argv[2])
    make(Path(sys.argv[1]), Spec(**{**given, "collections": tuple(given.get("collections", Spec.collections))}))
