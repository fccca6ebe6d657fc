"""Where the time of a pull goes, by stage: the command in this process, its functions wrapped with clocks.

    python -m tests.benchmarks.profile [--rows 1000000] [--case fact] [--page-rows 10000] [--workers 4] [--json FILE]

Each stage counts its own time only: what a wrapped function spends in another wrapped function is the other's. Shares
are of the processor time of the whole process, start included; `other` is what no stage accounts for (imports, events,
threads, Python between the stages). `wait` is no processor time: seconds in which a thread that fetches waited
for the service, summed over threads. A stage whose function is gone is reported as missing, not as zero.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.benchmarks.dataset import Spec, make
from tests.benchmarks.server import serving
from tests.benchmarks.tables import TABLES

_PACKAGE = "intune_dw_cli."
STAGES: tuple[tuple[str, str], ...] = (
    ("request", "service.transport:Transport._request"),
    ("receive", "service.transport:read_body"),
    ("inflate", "service.body:_Inflater.feed"),
    ("inflate", "service.body:_Inflater.finish"),
    ("envelope", "service.warehouse:read_page"),
    ("decode: names, glue", "data.decode:PageDecoder._decode_rows"),
    ("parse", "data.decode:_read_json"),
    ("cast", "data.decode:_typed"),
    ("cast", "data.schema:CollectionSchema.to_arrow"),
    ("slow path", "data.decode:PageDecoder._decode_document"),
    ("checks", "export.tally:SliceTally.observe"),
    ("checks", "export.tally:SliceTally.duplicates"),
    ("order, spill", "export.ordered:OrderedOutput.take"),
    ("order, spill", "export.ordered:OrderedOutput.finished"),
    ("encode", "data.parquet_sink:ParquetSink.write"),
    ("encode", "data.parquet_sink:ParquetSink.close"),
    ("encode", "data.csv_sink:CsvSink.write"),
    ("encode", "data.csv_sink:CsvSink.close"),
    ("write, hash", "export.files:AtomicFile.write"),
    ("fsync, rename", "export.files:AtomicFile.commit"),
)
"""A stage's name and one of its functions."""


class Clocks:
    """Sums each stage's own processor and wall time over all threads."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = defaultdict(float)
        self.wall: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self.missing: list[str] = []
        self._lock = threading.Lock()
        self._local = threading.local()

    def install(self) -> None:
        """Wrap the functions of all stages."""
        for stage, place in STAGES:
            module_name, _, path = place.partition(":")
            *owners, name = path.split(".")
            try:
                owner: Any = importlib.import_module(_PACKAGE + module_name)
                for each in owners:
                    owner = getattr(owner, each)
                setattr(owner, name, self._timed(stage, getattr(owner, name)))
            except (ImportError, AttributeError):
                self.missing.append(place)

    def _timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            stack = self._local.__dict__.setdefault("stack", [])
            frame = [0.0, 0.0]  # processor and wall time of wrapped functions inside
            stack.append(frame)
            cpu, wall = time.thread_time(), time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
                stack.pop()
                if stack:
                    stack[-1][0] += cpu
                    stack[-1][1] += wall
                with self._lock:
                    self.cpu[stage] += cpu - frame[0]
                    self.wall[stage] += wall - frame[1]
                    self.calls[stage] += 1

        return timed


def profile(command: list[str]) -> dict[str, Any]:
    """Run `intune-dw` with these arguments in this process and return seconds and shares by stage."""
    clocks = Clocks()
    clocks.install()
    from intune_dw_cli.cli import main as intune_dw

    sys.argv = ["intune-dw", *command]
    begun = time.perf_counter()
    with suppress(SystemExit):
        intune_dw()
    wall = time.perf_counter() - begun
    total = time.process_time()
    order = dict.fromkeys(stage for stage, _ in STAGES)
    stages = {
        stage: {"cpu": clocks.cpu[stage], "share": clocks.cpu[stage] / total, "calls": clocks.calls[stage]}
        for stage in order
        if clocks.calls[stage]
    }
    rest = total - sum(s["cpu"] for s in stages.values())
    stages["other"] = {"cpu": rest, "share": rest / total, "calls": 0}
    waited = sum(clocks.wall[s] - clocks.cpu[s] for s in ("request", "receive"))
    return {"cpu": total, "wall": wall, "wait": waited, "stages": stages, "missing": clocks.missing}


def main() -> None:
    """Profile pull-parquet, then pull-csv, each in a fresh process."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.profile", description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--case", choices=[*TABLES], default="fact")
    parser.add_argument("--page-rows", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--inside", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(profile(options.inside)))
        return
    days = 25 if TABLES[options.case].has_days else 1
    spec = Spec(case=options.case, rows=options.rows // days * days, page_rows=options.page_rows, days=days)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="intune-dw-profile-") as temporary:
        folder = Path(temporary)
        make(folder / "data", spec)
        with serving(folder / "data") as url:
            for kind in ("parquet", "csv"):
                found[f"pull-{kind}"] = _in_child(url, spec, folder, kind, options.workers)
    for name, result in found.items():
        print(_table(name, spec, result))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def _in_child(url: str, spec: Spec, folder: Path, kind: str, workers: int) -> dict[str, Any]:
    pull = ["pull", spec.collections[0], "-o", f"{folder}/rows.{kind}", "--workers", str(workers), "--quiet"]
    inside = [sys.executable, "-m", "tests.benchmarks.profile", "--inside", *pull]
    environment = {
        **os.environ,
        "INTUNE_DW_URL": url,
        "INTUNE_DW_ACCESS_TOKEN": "benchmark",
        "INTUNE_DW_HOME": str(folder / "home"),
    }
    done = subprocess.run(inside, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _table(name: str, spec: Spec, result: dict[str, Any]) -> str:
    lines = [
        f"{name}: {spec.case}, {spec.rows:,} rows, pages of {spec.page_rows:,}: "
        f"{result['wall']:.2f} s, {result['cpu']:.2f} s CPU, waited for the service {result['wait']:.2f} s"
    ]
    for stage, seconds in result["stages"].items():
        per_row = seconds["cpu"] / spec.rows * 1e9
        lines.append(f"  {stage:<20} {seconds['share']:6.1%} {seconds['cpu']:7.3f} s {per_row:7.0f} ns a row")
    if result["missing"]:
        lines.append(f"  not found, so not counted: {', '.join(result['missing'])}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
