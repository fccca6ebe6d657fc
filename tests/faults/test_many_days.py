"""A slice of hundreds of days, where the system lets a process have 64 files: as macOS, with 256, for four workers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from harness import INTUNE_DW, Cli, Ended, Serve, finish, tree

FACT = "policyDeviceActivities"
FILES = 64
pytestmark = pytest.mark.skipif(shutil.which("sh") is None, reason="ulimit is of POSIX shells")


def limited(cli: Cli, *args: str) -> Ended:
    """Run with no more than 64 open files."""
    process = subprocess.Popen(
        ["sh", "-c", f'ulimit -n {FILES}; exec {INTUNE_DW} "$@"', "sh", *args],
        cwd=cli.cwd,
        env=cli.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    return finish(process, 120)


@pytest.mark.parametrize(
    "args",
    [
        ("backup", "{out}", "--only", FACT),
        ("backup", "{out}", "--only", FACT, "-f", "parquet"),
        ("pull", FACT, "-o", "{out}/x.csv"),
    ],
    ids=["backup-csv", "backup-parquet", "pull"],
)
def test_a_collection_that_takes_no_filter_is_divided_into_days_with_few_open_files(
    args: tuple[str, ...], home: Path, tmp_path: Path, serve: Serve
) -> None:
    # Both spellings of the first slice's filter are refused: the collection is read whole.
    sandbox = serve(devices=8, days=150)
    cli = Cli(home, tmp_path, sandbox.url)
    trees = []
    for name in ("limited", "free"):
        sandbox.fault(f"kind=400,collection={FACT},times=2")
        words = [word.format(out=name) for word in (*args, "--workers", "1")]
        said = (limited(cli, *words) if name == "limited" else cli(*words)).ok()
        assert "the whole collection is read instead" in said.err
        trees.append(tree(tmp_path / name))
    assert trees[0] == trees[1]
    assert len(trees[0]) > (150 if args[0] == "backup" else 0)
