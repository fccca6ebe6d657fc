"""Memory does not grow with the rows: a million take what a hundred thousand take."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Cli, SandboxProcess

pytestmark = pytest.mark.skipif(not hasattr(os, "wait4"), reason="a child's peak memory is told by POSIX systems")

FACT = "devicePropertyHistories"
ALLOWED = 1.2


@pytest.fixture(scope="module")
def large(home: Path) -> Iterator[SandboxProcess]:
    """A tenant of more than a million history rows, about 20,000 a day."""
    process = SandboxProcess("--page-size", 5000, home=home, devices=24_000, days=60)
    yield process
    process.stop()


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_million_rows_take_no_more_memory_than_a_hundred_thousand(
    large: SandboxProcess, home: Path, tmp_path: Path, form: str
) -> None:
    cli = Cli(home, tmp_path, large.url)
    few = cli.measured("pull", FACT, "--days", 6, "-o", f"few.{form}", "--json").ok()
    many = cli.measured("pull", FACT, "--days", 60, "-o", f"many.{form}", "--json").ok()
    assert 90_000 < few.json["rows"] < 150_000
    assert many.json["rows"] > 1_000_000
    for run in (few, many):
        print(f"{form}: {run.json['rows']:,} rows in {run.peak_kib // 1024} MiB")
    assert many.peak_kib < ALLOWED * few.peak_kib
