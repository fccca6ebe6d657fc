"""What is compared: ours through the real command, and what an admin would write instead.

A contender takes a feed URL, a collection and a folder for its output, in a fresh process. The scripts are functions
here, run by `python -m tests.benchmarks.contenders NAME URL COLLECTION FOLDER`; each prints the rows it saw.

`parse` is the reference of all ratios: requests, and orjson.loads of each page with the result thrown away. Nothing
that parses all rows in one thread of Python can be faster. Without orjson it is json.loads, and no target is judged.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_HEADERS = {"Authorization": "Bearer benchmark", "Accept": "application/json", "Accept-Encoding": "gzip"}


@dataclass(frozen=True)
class Contender:
    """One way to take a collection out.

    Attributes:
        name: For the table.
        options: Arguments of `intune-dw`, with the placeholders {collection} and {out}; None for a script.
        output: Glob of the files it leaves in its folder; None where it leaves none.
        needs: Modules without which it is left out.
    """

    name: str
    options: tuple[str, ...] | None = None
    output: str | None = None
    needs: tuple[str, ...] = ()

    def available(self, python: str) -> bool:
        """Whether what it needs is installed where that interpreter looks."""
        looks = [f"importlib.util.find_spec({module!r}) or sys.exit(1)" for module in self.needs]
        command = [python, "-c", "; ".join(["import importlib.util, sys", *looks])]
        return not self.needs or subprocess.run(command, check=False).returncode == 0

    def command(self, url: str, collection: str, out: Path, *more: str, python: str = sys.executable) -> list[str]:
        """Return the command line. `more` goes to `intune-dw`."""
        if self.options is None:
            return [python, "-m", "tests.benchmarks.contenders", self.name, url, collection, str(out)]
        options = [o.format(collection=collection, out=out) for o in self.options]
        return [str(Path(sys.executable).with_name("intune-dw")), *options, "--json", *more]


CONTENDERS = {
    c.name: c
    for c in (
        Contender("fetch"),
        Contender("inflate"),
        Contender("parse"),
        Contender("dictwriter", None, "rows.csv"),
        Contender("pandas", None, "rows.parquet", ("pandas",)),
        Contender("polars", None, "rows.parquet", ("polars",)),
        Contender("dlt", None, "rows/{collection}/*.parquet", ("dlt",)),
        Contender("pull-parquet", ("pull", "{collection}", "-o", "{out}/rows.parquet"), "rows.parquet"),
        Contender("pull-csv", ("pull", "{collection}", "-o", "{out}/rows.csv"), "rows.csv"),
        Contender(
            "backup-parquet",
            ("backup", "{out}/archive", "-f", "parquet", "--only", "{collection}", "--no-charts"),
            "archive/data/{collection}/**/*.parquet",
        ),
        Contender(
            "backup-csv",
            ("backup", "{out}/archive", "--only", "{collection}", "--no-charts"),
            "archive/data/{collection}/**/*.csv",
        ),
        Contender("serial-parquet", None, "rows.parquet"),
    )
}
"""By name. `fetch` (a bare socket) and `inflate` (requests, nothing parsed) show the ceilings of server and client."""


def _pages(url: str, collection: str) -> Iterator[tuple[bytes, Callable[[str | None], None]]]:
    """Yield each page's text; the consumer gives back the nextLink that it found there."""
    import requests

    with requests.Session() as session:
        session.headers.update(_HEADERS)
        link: list[str | None] = [f"{url}/{collection}"]
        while link[0]:
            response = session.get(link[0])
            response.raise_for_status()
            link[0] = response.headers.get("X-Next")
            yield response.content, lambda found: link.__setitem__(0, found)


def fetch(url: str, collection: str, out: Path) -> None:
    """Receive every page on a bare socket and look at nothing: what the server can give. Prints bytes, not rows."""
    feed = urlsplit(url)
    target: str | None = f"{feed.path}/{collection}"
    buffer = memoryview(bytearray(1 << 20))
    total = requests_sent = 0
    with socket.create_connection((feed.hostname, feed.port)) as connection:
        while target:
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {feed.netloc}\r\n\r\n".encode())
            requests_sent += 1
            received = connection.recv_into(buffer)
            head, _, body = bytes(buffer[:received]).partition(b"\r\n\r\n")
            lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
            left = int(lines["Content-Length"]) - len(body)
            total += int(lines["Content-Length"])
            while left:
                left -= connection.recv_into(buffer, min(left, len(buffer)))
            target = lines.get("X-Next", "").removeprefix(f"http://{feed.netloc}")
    print(json.dumps({"requests": requests_sent, "wire_bytes": total}))


def inflate(url: str, collection: str, out: Path) -> None:
    """Receive and decompress every page, as requests does it."""
    total = sum(len(body) for body, _ in _pages(url, collection))
    print(json.dumps({"text_bytes": total}))


def parse(url: str, collection: str, out: Path) -> None:
    """Parse every page and throw the result away."""
    loads: Callable[[bytes], Any] = json.loads
    if importlib.util.find_spec("orjson"):
        import orjson

        loads = orjson.loads
    rows = 0
    for body, follow in _pages(url, collection):
        document = loads(body)
        rows += len(document["value"])
        follow(document.get("@odata.nextLink"))
    print(json.dumps({"rows": rows}))


def dictwriter(url: str, collection: str, out: Path) -> None:
    """Write CSV with the standard library: the script that everybody writes first."""
    rows = 0
    writer = None
    with (out / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        for body, follow in _pages(url, collection):
            document = json.loads(body)
            for row in document["value"]:
                if writer is None:
                    writer = csv.DictWriter(file, list(row))
                    writer.writeheader()
                writer.writerow(row)
            rows += len(document["value"])
            follow(document.get("@odata.nextLink"))
    print(json.dumps({"rows": rows}))


def pandas(url: str, collection: str, out: Path) -> None:
    """Collect data frames, write Parquet: the script that data people write first."""
    import pandas as pd

    frames = []
    for body, follow in _pages(url, collection):
        document = json.loads(body)
        frames.append(pd.DataFrame(document["value"]))
        follow(document.get("@odata.nextLink"))
    frame = pd.concat(frames, ignore_index=True)
    frame.to_parquet(out / "rows.parquet", compression="zstd")
    print(json.dumps({"rows": len(frame)}))


def polars(url: str, collection: str, out: Path) -> None:
    """The same with Polars."""
    import polars as pl

    frames = []
    for body, follow in _pages(url, collection):
        document = json.loads(body)
        frames.append(pl.from_dicts(document["value"], infer_schema_length=None))
        follow(document.get("@odata.nextLink"))
    frame = pl.concat(frames, how="vertical_relaxed")
    frame.write_parquet(out / "rows.parquet")
    print(json.dumps({"rows": frame.height}))


def dlt(url: str, collection: str, out: Path) -> None:
    """Load with dlt's REST client into Parquet files."""
    import dlt as library
    from dlt.sources.helpers.rest_client import RESTClient
    from dlt.sources.helpers.rest_client.paginators import JSONLinkPaginator

    library.config["schema.naming"] = "direct"  # names as served
    paginator = JSONLinkPaginator(next_url_path="'@odata.nextLink'")
    client = RESTClient(base_url=url, headers=_HEADERS, paginator=paginator, data_selector="value")
    pipeline = library.pipeline(
        "benchmark",
        pipelines_dir=str(out / "state"),
        destination=library.destinations.filesystem(bucket_url=out.as_uri()),
        dataset_name="rows",
    )
    pipeline.run(client.paginate(collection), table_name=collection, loader_file_format="parquet")
    print(json.dumps({}))


def serial_parquet(url: str, collection: str, out: Path) -> None:
    """Do what a pull does, with our own functions, but one thing after the other: no page is requested ahead.

    Prints the seconds spent in requests and in all else: without prefetch a pull takes their sum, and no prefetch
    can bring it below the larger of the two.
    """
    from intune_dw_cli.data.decode import PageDecoder
    from intune_dw_cli.data.formats import FileFormat
    from intune_dw_cli.export.files import AtomicFile
    from intune_dw_cli.export.plan import CollectionPlan, Slice
    from intune_dw_cli.identity.tokens import StaticToken
    from intune_dw_cli.service.feed import FeedUrl
    from intune_dw_cli.service.transport import Transport
    from intune_dw_cli.service.warehouse import Warehouse

    transport = Transport(StaticToken("benchmark", origin="the benchmark"))
    warehouse = Warehouse(FeedUrl.parse(url, allowed_hosts=()), transport)
    entity_set = warehouse.entity_set(collection)
    plan = CollectionPlan(entity_set=entity_set, slices=(Slice(collection),))
    decoder = PageDecoder(plan.declared_schema)
    file = AtomicFile(out / "rows.parquet")
    sink = FileFormat("parquet").open(file, plan.schema, additional=False, provenance={})
    link: str | None = warehouse.url(entity_set)
    waited = worked = 0.0
    rows = 0
    while link:
        begun = time.perf_counter()
        page = warehouse.page(link)
        received = time.perf_counter()
        decoded = decoder.decode(page)
        sink.write(decoded.batch)
        rows += decoded.batch.num_rows
        link = warehouse.follow(page, decoded.next_link) if decoded.next_link else None
        waited += received - begun
        worked += time.perf_counter() - received
    begun = time.perf_counter()
    sink.close()
    file.commit()
    worked += time.perf_counter() - begun
    transport.close()
    print(json.dumps({"rows": rows, "request_seconds": waited, "work_seconds": worked}))


SCRIPTS: dict[str, Callable[[str, str, Path], None]] = {
    "fetch": fetch,
    "inflate": inflate,
    "parse": parse,
    "dictwriter": dictwriter,
    "pandas": pandas,
    "polars": polars,
    "dlt": dlt,
    "serial-parquet": serial_parquet,
}

if __name__ == "__main__":
    SCRIPTS[sys.argv[1]](sys.argv[2], sys.argv[3], Path(sys.argv[4]))
