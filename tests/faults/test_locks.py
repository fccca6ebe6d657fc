"""Of two runs in one archive one works and the other leaves, naming it; nothing that died is in the way."""

from __future__ import annotations

import errno
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from harness import STATE, Cli, SandboxProcess, finish, journal_lines, running, tree, wait_until

BACKUP = ("backup", "A", "--only", "device*", "--only", "policyDev*", "--from", "-2d", "--no-charts")
LIMIT = 2.0

WARM = """
import sys
import intune_dw_cli.archive.backup, intune_dw_cli.cli.app, intune_dw_cli.cli.connect
import intune_dw_cli.cli.progress, intune_dw_cli.cli.pull, intune_dw_cli.cli.stopping, intune_dw_cli.cli.summary
print("ready", flush=True)
sys.stdin.readline()
sys.argv[1:] = {args!r}
intune_dw_cli.cli.app.main()
"""
"""Everything is imported before the clock starts: the limit is for the tool, not for reading it from a busy disk."""


@pytest.fixture
def slow(home: Path) -> Iterator[SandboxProcess]:
    process = SandboxProcess("--think-time", 0.15, "--page-size", 15, home=home, devices=30, days=3)
    yield process
    process.stop()


def warm(cli: Cli, url: str, *args: str) -> subprocess.Popen[bytes]:
    """A run that waits for a line on its stdin."""
    process = subprocess.Popen(
        [sys.executable, "-c", WARM.format(args=list(args))],
        cwd=cli.cwd,
        env=cli.environment({"INTUNE_DW_URL": url}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    return process


def go(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin
    process.stdin.write(b"\n")
    process.stdin.flush()


def check_named(said: str, holder: subprocess.Popen[bytes], since: datetime) -> None:
    """The message names process, host and start of the run that holds the lock."""
    found = re.search(r"\(process (\d+) on (\S+), started (\S+)\)", said)
    assert found, said
    assert (int(found[1]), found[2]) == (holder.pid, socket.gethostname())
    assert since - timedelta(seconds=1) <= datetime.fromisoformat(found[3]) <= datetime.now(UTC)


@pytest.mark.parametrize("args", [BACKUP, ("backup", "A", "--attach", "x.csv", "--as", "assignment-status")])
def test_a_second_run_leaves_within_two_seconds_and_names_the_first(
    args: tuple[str, ...], cli: Cli, slow: SandboxProcess, record_property: Callable[[str, object], None]
) -> None:
    (cli.cwd / "x.csv").write_text("a\n1\n", "utf-8")
    since = datetime.now(UTC)
    with (
        running(warm(cli, slow.url, *args)) as second,
        running(cli.start(*BACKUP, env={"INTUNE_DW_URL": slow.url})) as first,
    ):
        wait_until(lambda: journal_lines(cli.cwd / "A") >= 2)
        begun = time.monotonic()
        go(second)
        said = finish(second).ok(6)
        seconds = time.monotonic() - begun
        assert seconds < LIMIT
        record_property("seconds", seconds)
        check_named(said.err, first, since)
        finish(first).ok()
    cli("verify", "A").ok()


@pytest.mark.cases(quick=3, long=30)
def test_of_two_runs_begun_at_once_where_one_was_killed_before_one_works_and_the_other_names_it(
    case: int, cli: Cli, slow: SandboxProcess
) -> None:
    there = {"INTUNE_DW_URL": slow.url}
    assert cli.killed_at(cli.cwd / "A", 2, *BACKUP, "--url", slow.url)
    left = json.loads((cli.cwd / "A" / STATE / "lock-holder.json").read_text("utf-8"))
    since = datetime.now(UTC)
    with running(warm(cli, slow.url, *BACKUP)) as one, running(warm(cli, slow.url, *BACKUP)) as two:
        go(one)
        go(two)
        ended = {process: finish(process) for process in (one, two)}
        assert sorted(e.code for e in ended.values()) == [0, 6]
        loser, winner = sorted(ended, key=lambda process: -ended[process].code)
        assert left["pid"] not in (one.pid, two.pid)
        check_named(ended[loser].err, winner, since)
    cli("backup", "B", *BACKUP[2:], env=there).ok()
    assert tree(cli.cwd / "A") == tree(cli.cwd / "B")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def test_a_share_without_locks_is_refused_and_left_alone(number: int, cli: Cli, tenant: SandboxProcess) -> None:
    fcntl = pytest.importorskip("fcntl")
    program = f"""
import fcntl, os, sys
def flock(descriptor, operation):
    raise OSError({number}, os.strerror({number}))
fcntl.flock = flock
sys.argv[1:] = {list(BACKUP)!r}
from intune_dw_cli.cli import main
main()
"""
    assert fcntl
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program],
        cwd=cli.cwd,
        env=cli.environment({"INTUNE_DW_URL": tenant.url}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    said = finish(process).ok(1)
    assert "the file system of A has no locks" in said.err
    assert "local disk" in said.err
    assert tree(cli.cwd / "A") == {}
    cli(*BACKUP, env={"INTUNE_DW_URL": tenant.url}).ok()  # elsewhere, or once locks are there, nothing is in the way
