"""Killed, interrupted, torn: the same command continues, and the bytes are those of an unbroken run."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import (
    SEED,
    STATE,
    Cli,
    SandboxProcess,
    Serve,
    finish,
    first_pages,
    journal_lines,
    running,
    tree,
    wait_until,
)

WORKERS = 4
# Facts with their many slices, dimensions, and one collection of several pages.
CHOICE = ("--only", "policy[DU]*", "--only", "device*", "--only", "users", "--workers", str(WORKERS))


@dataclass(frozen=True)
class Unbroken:
    """What a run leaves that nothing stopped, and how many slices it had."""

    files: dict[str, str]
    slices: int


@pytest.fixture(scope="module")
def slow(home: Path) -> Iterator[SandboxProcess]:
    """A tenant that takes its time, so that there is time to kill."""
    process = SandboxProcess("--think-time", 0.015, "--page-size", 100, home=home, devices=80)
    yield process
    process.stop()


@pytest.fixture
def slow_cli(home: Path, tmp_path: Path, slow: SandboxProcess) -> Cli:
    return Cli(home, tmp_path, slow.url)


@pytest.fixture(scope="module")
def unbroken(home: Path, slow: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    """A run that nothing stopped."""
    folder = tmp_path_factory.mktemp("unbroken")
    mark = slow.mark()
    Cli(home, folder, slow.url)("backup", folder / "A", *CHOICE).ok()
    Cli(home, folder)("verify", folder / "A").ok()
    return Unbroken(tree(folder / "A"), len(first_pages(slow.requests(mark))))


def slices_asked_again(slow: SandboxProcess, mark: int) -> int:
    return sum(times - 1 for times in first_pages(slow.requests(mark)).values())


@pytest.mark.parametrize("number", range(8))
def test_killed_at_random_moments_it_continues_to_the_same_bytes_and_repeats_a_slice_a_worker_at_most(
    number: int, slow: SandboxProcess, slow_cli: Cli, unbroken: Unbroken
) -> None:
    root, moments = slow_cli.cwd / "A", random.Random(SEED + number)
    mark, kills = slow.mark(), 1 + number % 3  # once, twice or three times in a row
    for kill in range(1, kills + 1):
        lines = moments.randrange(int(0.8 * unbroken.slices * kill / kills))
        pause = moments.uniform(0, 0.05) if lines > 8 else moments.uniform(0, 0.5)
        with running(slow_cli.start("backup", "A", *CHOICE)) as process:
            if lines > 8:  # else it is killed in its first half second
                wait_until(lambda lines=lines: journal_lines(root) >= lines)
            time.sleep(pause)
            process.kill()
            process.wait()
        slow_cli("verify", "A").ok(3 if (root / STATE / "journal.jsonl").exists() else 1)
    slow_cli("backup", "A", *CHOICE).ok()
    assert tree(root) == unbroken.files
    assert slices_asked_again(slow, mark) <= WORKERS * kills


@pytest.mark.parametrize("lines", [1, 100])
def test_killed_at_a_chosen_point_it_continues_to_the_same_bytes(
    lines: int, slow: SandboxProcess, slow_cli: Cli, unbroken: Unbroken
) -> None:
    root, mark = slow_cli.cwd / "A", slow.mark()
    with running(slow_cli.start("backup", "A", *CHOICE)) as process:
        wait_until(lambda: journal_lines(root) >= lines)
        process.kill()
        process.wait()
    said = slow_cli("backup", "A", *CHOICE, "--json").ok()
    assert said.json["resumed"] is True
    assert tree(root) == unbroken.files
    assert slices_asked_again(slow, mark) <= WORKERS


def test_killed_while_the_inventory_is_written_it_ends_with_the_same_bytes(
    slow: SandboxProcess, slow_cli: Cli, unbroken: Unbroken
) -> None:
    root = slow_cli.cwd / "A"
    mark = slow.mark()
    with running(slow_cli.start("backup", "A", *CHOICE)) as process:
        wait_until(lambda: (root / "manifest.json").exists() or (root / "manifest.json.partial").exists(), every=0.0002)
        process.kill()
        process.wait()
    unfinished = (root / STATE / "journal.jsonl").exists()
    slow_cli("backup", "A", *CHOICE).ok()
    if unfinished:
        assert tree(root) == unbroken.files
        assert slices_asked_again(slow, mark) == 0
    slow_cli("verify", "A").ok()


@pytest.mark.parametrize("damage", ["torn", "garbled", "blank", "middle"])
def test_a_journal_with_a_bad_line_costs_what_stands_after_it_and_no_more(
    damage: str, slow: SandboxProcess, slow_cli: Cli, unbroken: Unbroken
) -> None:
    root = slow_cli.cwd / "A"
    with running(slow_cli.start("backup", "A", *CHOICE)) as process:
        wait_until(lambda: journal_lines(root) >= 60)
        process.kill()
        process.wait()
    journal = root / STATE / "journal.jsonl"
    text = journal.read_bytes()
    last = text.rstrip(b"\n").rfind(b"\n") + 1
    middle = text.find(b"rows", len(text) // 2)
    journal.write_bytes(
        {
            "torn": text[: last + 40],
            "garbled": text[:last] + text[last:].replace(b'"rows":', b'"rowz":'),
            "blank": text + b"\x00" * 512,
            "middle": text[:middle] + b"ROWS" + text[middle + 4 :],
        }[damage]
    )
    slow_cli("verify", "A").ok(3)
    mark = slow.mark()
    slow_cli("backup", "A", *CHOICE).ok()
    assert tree(root) == unbroken.files
    lost = text[middle:].count(b"\n") if damage == "middle" else damage in ("torn", "garbled")
    asked = sum(first_pages(slow.requests(mark)).values())
    assert asked == unbroken.slices - (text.count(b"\n") - 1 - lost)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_stops_in_five_seconds_says_how_to_continue_and_continues(
    number: signal.Signals, slow: SandboxProcess, slow_cli: Cli, unbroken: Unbroken
) -> None:
    root, mark = slow_cli.cwd / "A", slow.mark()
    with running(slow_cli.start("backup", "A", *CHOICE)) as process:
        wait_until(lambda: journal_lines(root) >= 20)
        process.send_signal(number)
        begun = time.monotonic()
        said = finish(process, 10).ok(130)
        assert time.monotonic() - begun < 5
    assert "same command" in said.err
    assert said.err.count("error:") == 1
    assert not list(root.rglob("*.partial"))
    slow_cli("verify", "A").ok(3)
    slow_cli("backup", "A", *CHOICE).ok()
    assert tree(root) == unbroken.files
    assert slices_asked_again(slow, mark) <= WORKERS


def test_asked_to_stop_while_the_service_is_silent_it_still_stops_in_five_seconds(lone_cli: Cli, serve: Serve) -> None:
    stalling = serve("--fault", "kind=stall,seconds=60,collection=devices,times=0")
    with running(lone_cli.start("backup", "A", env={"INTUNE_DW_URL": stalling.url})) as process:
        wait_until(lambda: any("/devices?" in t for t in stalling.requests()) or process.poll() is not None)
        wait_until(lambda: journal_lines(lone_cli.cwd / "A") >= 10)
        process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        said = finish(process, 20).ok(130)
        assert time.monotonic() - begun < 5
    assert "same command" in said.err


def test_a_pull_that_is_stopped_leaves_nothing_behind(slow_cli: Cli, slow: SandboxProcess) -> None:
    with running(slow_cli.start("pull", "--all", "-o", "out/")) as process:
        mark = slow.mark()
        wait_until(lambda: slow.mark() >= mark + 30)
        process.send_signal(signal.SIGTERM)
        finish(process, 10).ok(130)
    left = [p for p in (slow_cli.cwd / "out").rglob("*") if "partial" in p.name]
    assert not left
