"""Killed wherever it may be: the same command continues, and the bytes are those of a run that nothing stopped."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from forks import Forks, Step
from harness import STATE, TODAY, Cli, Ended, SandboxProcess, first_pages, journal_lines, running, tree

KILLED = -signal.SIGKILL
SMALL = ("--only", "policyDev*", "--only", "devices", "--from", "today", "--workers", "1")
UPDATE = ("--only", "policyDev*", "--only", "devices", "--from", "-1d", "--workers", "1")
WORKERS = 4
WIDE = ("--only", "policyD*", "--only", "device*", "--from", "-12d", "--workers", str(WORKERS))
PIECES = 8
NAMED = ("page", "write", "fsync", "replace", "truncate")
"""What the quick set is killed before; the long one is killed before each call, also those that make and remove."""

WRITTEN_AT_THE_END = ("manifest.json", "views.sql", "report.html", "SHA256SUMS")

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="SIGKILL and fork are POSIX")


@dataclass(frozen=True)
class Unbroken:
    """What a run leaves that nothing stopped.

    Attributes:
        steps: Its calls to the disk.
        seconds: How long it took.
        forked_seconds: How long the fork server took.
    """

    files: dict[str, str]
    steps: list[Step]
    seconds: float = 0.0
    forked_seconds: float = 0.0


@pytest.fixture(scope="module")
def small(home: Path, tenant: SandboxProcess, forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    """Two collections, one day, one worker: the order of the steps is the same each time."""
    folder = tmp_path_factory.mktemp("small")
    one = Cli(home, folder, tenant.url)
    steps = forks.steps(one, folder / "A", "backup", "A", *SMALL)
    return Unbroken(tree(folder / "A"), steps)


@pytest.fixture
def one(home: Path, tenant: SandboxProcess, tmp_path: Path) -> Cli:
    return Cli(home, tmp_path, tenant.url)


def killed(forks: Forks, one: Cli, root: Path, at: int, how: str = "kill", choice: Sequence[str] = SMALL) -> Ended:
    return forks.run(one, root, "backup", root, *choice, at=at, how=how)


def finished(forks: Forks, one: Cli, root: Path, choice: Sequence[str] = SMALL) -> None:
    forks.run(one, root, "backup", root, *choice).ok()


def check_finals(root: Path, whole: dict[str, str]) -> None:
    """Whatever has its final name has all its bytes."""
    for path, digest in tree(root).items():
        assert path.endswith(".partial") or digest == whole[path], f"{path} is not what it should be"


def over(root: Path) -> bool:
    """Whether the run came to its end: the same command would be a new run. Only its log and its lock may lack."""
    return (root / "manifest.json").exists() and not (root / STATE / "journal.jsonl").exists()


def asked_again(tenant: SandboxProcess, mark: int) -> int:
    return sum(times - 1 for times in first_pages(tenant.requests(mark)).values())


@pytest.mark.parametrize("piece", range(PIECES))
def test_killed_before_each_call_to_the_disk_it_continues_to_the_same_bytes(
    piece: int, small: Unbroken, tenant: SandboxProcess, forks: Forks, one: Cli, is_long: bool
) -> None:
    steps = [step for step in small.steps if is_long or step.call in NAMED]
    for step in steps[piece::PIECES]:
        root, mark = one.cwd / f"A{step.number}", tenant.mark()
        assert killed(forks, one, root, step.number).code == KILLED, step
        check_finals(root, small.files)
        if not over(root):
            finished(forks, one, root)
            assert asked_again(tenant, mark) <= 1, step
        assert tree(root) == small.files, step


@pytest.mark.parametrize("piece", range(2))
def test_killed_in_the_middle_of_each_write_it_continues_to_the_same_bytes(
    piece: int, small: Unbroken, tenant: SandboxProcess, forks: Forks, one: Cli
) -> None:
    writes = [step for step in small.steps if step.call == "write"]
    assert {Path(step.path).name.removesuffix(".partial") for step in writes} >= {"journal.jsonl", *WRITTEN_AT_THE_END}
    for step in writes[piece::2]:
        root, mark = one.cwd / f"A{step.number}", tenant.mark()
        assert killed(forks, one, root, step.number, "torn").code == KILLED, step
        check_finals(root, small.files)
        finished(forks, one, root)
        assert tree(root) == small.files, step
        assert asked_again(tenant, mark) <= 1, step


def test_a_torn_line_of_the_journal_spoils_none_that_is_written_after_it(
    small: Unbroken, tenant: SandboxProcess, forks: Forks, one: Cli
) -> None:
    root = one.cwd / "A"
    lines = [step.number for step in small.steps if step.call == "write" and step.path.endswith("journal.jsonl")]
    assert killed(forks, one, root, lines[1], "torn").code == KILLED
    again = forks.steps(one, shutil.copytree(root, one.cwd / "B"), "backup", "B", *SMALL)
    end = next(step.number for step in again if step.path.startswith("manifest.json"))
    assert killed(forks, one, root, end).code == KILLED
    mark = tenant.mark()
    finished(forks, one, root)
    assert tree(root) == small.files
    assert not first_pages(tenant.requests(mark))


def test_a_file_is_flushed_before_it_gets_its_name_and_the_name_before_anything_speaks_of_it(small: Unbroken) -> None:
    """A kill takes nothing from the system's cache; a power cut does. What survives that is a matter of the order."""
    renamed = [step for step in small.steps if step.call == "replace"]
    assert len(renamed) > 8
    for step in renamed:
        folder = step.path.rpartition("/")[0]
        before = [s for s in small.steps[: step.number] if s.path == f"{step.path}.partial"]
        assert before[-1].call == "fsync", step
        after = small.steps[step.number + 1]
        assert after.call == "fsync", step
        assert after.path == folder or not folder, step
        if step.path.startswith("data/"):
            spoken = next(s for s in small.steps[step.number :] if s.path.endswith("journal.jsonl"))
            assert spoken.number > after.number, step
    for step in small.steps:
        if step.call == "write" and step.path.endswith("journal.jsonl"):
            after = small.steps[step.number + 1]
            assert (after.call, after.path) == ("fsync", step.path), step


@pytest.mark.cases(quick=12, long=200)
def test_killed_again_while_it_continues_it_still_comes_to_the_same_bytes(
    case: int, small: Unbroken, tenant: SandboxProcess, forks: Forks, one: Cli, rng: random.Random
) -> None:
    root, mark, kills = one.cwd / "A", tenant.mark(), 0
    while kills < 2 + case % 3 and not over(root):
        # A run that continues takes fewer steps: it may come to its end instead, which is no kill.
        step = rng.randrange(len(small.steps) // (1 + kills))
        kills += killed(forks, one, root, step, rng.choice(["kill", "torn"])).code == KILLED
        check_finals(root, small.files)
    if not over(root):
        finished(forks, one, root)
    assert tree(root) == small.files
    assert asked_again(tenant, mark) <= kills


@pytest.fixture(scope="module")
def wide_tenant(home: Path) -> Iterator[SandboxProcess]:
    """A tenant that takes its time, so that there is time to kill."""
    process = SandboxProcess("--think-time", 0.015, "--page-size", 100, home=home, devices=60)
    yield process
    process.stop()


@pytest.fixture(scope="module")
def wide(home: Path, wide_tenant: SandboxProcess, forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    """Many slices, four workers."""
    folder = tmp_path_factory.mktemp("wide")
    cli = Cli(home, folder, wide_tenant.url)
    begun = time.monotonic()
    cli("backup", "A", *WIDE).ok()
    between = time.monotonic()
    forks.run(cli, folder / "B", "backup", "B", *WIDE).ok()
    return Unbroken(tree(folder / "A"), [], between - begun, time.monotonic() - between)


@pytest.mark.cases(quick=10, long=100)
def test_killed_at_five_random_moments_it_continues_to_the_same_bytes(
    case: int,
    wide: Unbroken,
    wide_tenant: SandboxProcess,
    forks: Forks,
    home: Path,
    tmp_path: Path,
    rng: random.Random,
    record_property: Callable[[str, object], None],
) -> None:
    """The installed command in one case of five; in the others a fork of it, which need not be read from the disk."""
    cli = Cli(home, tmp_path, wide_tenant.url)

    def cut_short(root: Path) -> bool:
        if case % 5 == 0:
            return killed_after(cli.start("backup", root, *WIDE), rng.uniform(0, wide.seconds))
        ended = forks.run(cli, root, "backup", root, *WIDE, after=rng.uniform(0, wide.forked_seconds))
        assert ended.code in (0, KILLED)
        return ended.code == KILLED

    archives, kills, again, mark = 1, 0, 0, wide_tenant.mark()
    root = tmp_path / "A1"
    for _ in range(5):
        while over(root) or not cut_short(root):
            assert tree(root) == wide.files
            archives, kills, mark = archives + 1, 0, wide_tenant.mark()
            root = tmp_path / f"A{archives}"
        kills += 1
        check_finals(root, wide.files)
        assert asked_again(wide_tenant, mark) <= WORKERS * kills
    if not over(root):
        forks.run(cli, root, "backup", root, *WIDE).ok()
    assert tree(root) == wide.files
    again = asked_again(wide_tenant, mark)
    assert again <= WORKERS * kills
    record_property("asked_again_a_kill", again / kills)


def killed_after(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Kill after so many seconds; False where the process had ended before."""
    with running(process):
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return True
    assert process.returncode == 0
    return False


def test_killed_while_an_archive_is_added_to_each_file_is_the_old_or_the_new_one(
    home: Path, forks: Forks, tmp_path: Path, rng: random.Random, is_long: bool
) -> None:
    process = SandboxProcess("--page-size", 50, home=home, devices=30, days=3, today=TODAY - timedelta(days=1))
    try:
        cli = Cli(home, tmp_path, process.url)
        finished(forks, cli, tmp_path / "old", UPDATE)
        old = tree(tmp_path / "old")
        process.clock(TODAY)
        shutil.copytree(tmp_path / "old", tmp_path / "new")
        steps = forks.steps(cli, tmp_path / "new", "backup", "new", *UPDATE)
        new = tree(tmp_path / "new")
        assert {p for p in old if old[p] != new[p]} >= {"manifest.json", "report.html", "SHA256SUMS"}
        for step in steps if is_long else rng.sample(steps, 10):
            root = tmp_path / f"A{step.number}"
            shutil.copytree(tmp_path / "old", root)
            assert killed(forks, cli, root, step.number, choice=UPDATE).code == KILLED, step
            done = over(root) and tree(root) == new
            for path, digest in tree(root).items():
                assert path.endswith(".partial") or digest in (old.get(path), new[path]), (step, path)
            forks.run(cli, root, "verify", root).ok(3 if journal_lines(root) else 0)
            if not done:
                finished(forks, cli, root, UPDATE)
            assert tree(root) == new, step
    finally:
        process.stop()


def test_killed_while_it_pulls_to_a_file_the_file_is_the_former_one_or_the_whole_new_one(
    tenant: SandboxProcess, forks: Forks, one: Cli
) -> None:
    whole, former = "out/devices.csv", b"what was there\n"
    args = ("pull", "policyDeviceActivities", "--from", "-2d", "--workers", 1, "-o", whole)
    out = one.cwd / "out"
    out.mkdir()
    steps = forks.steps(one, out, *args)
    new = (one.cwd / whole).read_bytes()
    replaced = next(s.number for s in steps if s.call == "replace")
    for step in steps:
        (one.cwd / whole).write_bytes(former)
        assert forks.run(one, out, *args, at=step.number).code == KILLED
        assert (one.cwd / whole).read_bytes() == (former if step.number <= replaced else new), step
    forks.run(one, out, *args).ok()
    assert [p.name for p in out.iterdir()] == ["devices.csv"]


def test_killed_at_the_end_of_a_run_over_all_days_nothing_is_asked_for_again(
    tenant: SandboxProcess, forks: Forks, one: Cli, rng: random.Random, is_long: bool
) -> None:
    choice = ("--only", "policyDev*", "--only", "devices", "--workers", "1")
    steps = forks.steps(one, one.cwd / "A", "backup", "A", *choice)
    whole = tree(one.cwd / "A")
    first = next(s.number for s in steps if s.path.startswith("manifest.json"))
    last = next(s.number for s in steps if s.path.endswith("runs.jsonl"))
    for step in steps[first : last + 1] if is_long else rng.sample(steps[first : last + 1], 4):
        root, mark = one.cwd / f"A{step.number}", tenant.mark()
        assert killed(forks, one, root, step.number, choice=choice).code == KILLED, step
        finished(forks, one, root, choice)
        assert tree(root) == whole, step
        assert asked_again(tenant, mark) == 0, step
