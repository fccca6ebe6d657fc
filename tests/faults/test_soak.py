"""Millions of rows through `backup` while the service fails all the time: complete, and memory stays where it was."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest
from harness import Cli, Ended, by_name, finish, running
from soak_server import DAYS, DIMENSION, FACT, KINDS, first_key, rows_of

LIMIT_MIB = 300
FLAT = 0.05
FAULTS = 0.1  # of the requests for pages: six in a row, which would end a slice, are not to be expected

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory of a child is read from /proc")


@pytest.fixture
def serve_rows(faults_seed: int) -> Iterator[Callable[[int], str]]:
    """Start a server of so many rows; gives the feed URL."""
    started: list[subprocess.Popen[bytes]] = []

    def start(rows: int) -> str:
        program = str(Path(__file__).with_name("soak_server.py"))
        args = [sys.executable, program, str(rows), str(faults_seed), str(FAULTS)]
        started.append(subprocess.Popen(args, stdout=subprocess.PIPE))
        out = started[-1].stdout
        assert out
        return out.readline().decode().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def run_sampled(cli: Cli, *args: object) -> tuple[Ended, list[int]]:
    """Run, and return the resident memory in KiB, ten times a second."""
    samples: list[int] = []
    with running(cli.start(*args)) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            found = [line.split()[1] for line in status.read_text("utf-8").splitlines() if line.startswith("VmRSS")]
            samples += map(int, found)
            time.sleep(0.1)
        return finish(process), samples


def check_rows(root: Path, rows: int) -> None:
    """The archive holds every row that the server has, and none twice: counts and sums of keys, read by DuckDB."""
    for name, days in ((FACT, range(DAYS)), (DIMENSION, range(1))):
        each = rows_of(name, rows)
        files = f"read_parquet('{root}/data/{name}/**/*.parquet')"
        select = f"SELECT count(*), sum(deviceKey), min(score), max(score) FROM {files}"
        ((count, keys, least, most),) = duckdb.connect().execute(select).fetchall()
        total = sum(each * first_key(name, day) + each * (each - 1) // 2 for day in days)
        assert (count, int(keys), least, most) == (each * len(days), total, 0.25, 99.25)
        assert by_name(root)[name]["rows"] == each * len(days)
        assert not by_name(root)[name]["warnings"]


@pytest.mark.parametrize("rows", [100_000, pytest.param(None, marks=pytest.mark.long)], ids=["quick", "soak"])
def test_every_row_arrives_through_all_faults_in_flat_memory(
    rows: int | None,
    home: Path,
    tmp_path: Path,
    serve_rows: Callable[[int], str],
    pytestconfig: pytest.Config,
    record_property: Callable[[str, object], None],
) -> None:
    soak = rows is None
    rows = rows or int(pytestconfig.getoption("--soak-rows"))
    url = serve_rows(rows)
    ended, samples = run_sampled(Cli(home, tmp_path, f"{url}?api-version=v1.0"), "backup", "A", "-f", "parquet", "-q")
    ended.ok()
    check_rows(tmp_path / "A", rows)
    with urllib.request.urlopen(f"{url}/faults", timeout=10) as answer:
        faults = json.load(answer)
    assert set(faults) == set(KINDS) if soak else faults
    peak, third = max(samples) / 1024, len(samples) // 3
    middle, last = (statistics.median(part) / 1024 for part in (samples[third : 2 * third], samples[2 * third :]))
    figures = {"rows": rows, "peak_mib": peak, "middle_mib": middle, "last_mib": last, "faults": sum(faults.values())}
    for name, value in figures.items():
        record_property(name, value)
    print({name: round(value) for name, value in figures.items()})
    assert peak <= LIMIT_MIB
    if soak:
        assert abs(last - middle) <= FLAT * middle
