"""Run again on a finished archive: new days come in, the newest held ones and the dimensions are read once more."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import pytest
from harness import STATE, TODAY, Cli, SandboxProcess, Serve, by_name, first_pages, free_port, manifest, tree

CHOICE = ("--only", "polic*", "--only", "device*", "--only", "users")
FACT = "devicePropertyHistories"


def days_of(root: Path, name: str) -> list[int]:
    """The days with rows of a collection, as the manifest has them."""
    return [p["date_key"] for s in by_name(root)[name]["slices"] for p in s["parts"] if p["rows"]]


def key(day: dt.date) -> int:
    return int(day.strftime("%Y%m%d"))


@pytest.fixture
def moved_on(lone_cli: Cli, serve: Serve) -> tuple[Cli, SandboxProcess]:
    """A finished archive A of three days ago, and its tenant with the clock moved on to today."""
    then = TODAY - dt.timedelta(days=3)
    sandbox = serve(today=then, days=6)
    cli = Cli(lone_cli.home, lone_cli.cwd, sandbox.url)
    cli("backup", "A", *CHOICE).ok()
    assert max(days_of(cli.cwd / "A", FACT)) == key(then)
    sandbox.clock(TODAY)
    return cli, sandbox


def test_new_days_are_added_and_no_day_is_lost_that_the_service_has_forgotten(
    moved_on: tuple[Cli, SandboxProcess],
) -> None:
    cli, sandbox = moved_on
    root = cli.cwd / "A"
    before = days_of(root, FACT)
    mark = sandbox.mark()
    cli("backup", "A", *CHOICE).ok()
    cli("verify", "A").ok()
    days = days_of(root, FACT)
    assert days == sorted({*before, *(key(TODAY - dt.timedelta(days=n)) for n in range(3))})
    expected = sandbox.control("GET", "expected")["collections"][FACT]["days"]
    held = {str(p["date_key"]): p["rows"] for s in by_name(root)[FACT]["slices"] for p in s["parts"]}
    assert {day: held[day] for day in expected} == expected
    asked = first_pages(sandbox.requests(mark))
    dimensions = [name for (name, _) in asked if name in ("devices", "users", "policies", "policyTypes")]
    assert sorted(dimensions) == ["devices", "policies", "policyTypes", "users"]


def test_only_the_last_two_held_days_are_read_again(moved_on: tuple[Cli, SandboxProcess]) -> None:
    cli, sandbox = moved_on
    root = cli.cwd / "A"
    held = days_of(root, FACT)
    settled = max(held[:-2])
    mark = sandbox.mark()
    cli("backup", "A", *CHOICE).ok()
    asked = [text for name, text in first_pages(sandbox.requests(mark)) if name == FACT]
    assert f"DateKey eq {held[-1]}" in asked
    assert f"DateKey eq {held[-2]}" in asked
    assert all(int(word) > settled for text in asked for word in text.split() if word.isdigit()), asked


def test_run_again_at_once_changes_no_file_of_data(cli: Cli) -> None:
    cli("backup", "A", *CHOICE).ok()
    before = tree(cli.cwd / "A")
    cli("backup", "A", *CHOICE).ok()
    again = tree(cli.cwd / "A")
    assert {n: d for n, d in again.items() if n.startswith("data/")} == {
        n: d for n, d in before.items() if n.startswith("data/")
    }
    cli("verify", "A").ok()
    cli("backup", "A", *CHOICE).ok()
    assert tree(cli.cwd / "A") == again


def test_an_update_that_is_killed_is_sound_and_continues_to_the_bytes_of_an_unbroken_update(
    lone_cli: Cli, serve: Serve
) -> None:
    then = TODAY - dt.timedelta(days=2)
    sandbox = serve("--think-time", 0.02, today=then, days=4)
    cli = Cli(lone_cli.home, lone_cli.cwd, sandbox.url)
    for name in ("A", "unbroken"):
        cli("backup", name, *CHOICE).ok()
    sandbox.clock(TODAY)
    cli("backup", "unbroken", *CHOICE).ok()
    assert cli.killed_at(cli.cwd / "A", 12, "backup", "A", *CHOICE)
    cli("verify", "A").ok(3)
    cli("backup", "A", *CHOICE).ok()
    assert tree(cli.cwd / "A") == tree(cli.cwd / "unbroken")
    cli("verify", "A").ok()


def test_a_day_that_comes_back_smaller_does_not_replace_the_held_one_and_is_warned_about(lone_cli: Cli) -> None:
    port = free_port()
    big = SandboxProcess(home=lone_cli.home, port=port, devices=60, days=3)
    cli = Cli(lone_cli.home, lone_cli.cwd, big.url)
    root = cli.cwd / "A"
    try:
        cli("backup", "A", *CHOICE).ok()
    finally:
        big.stop()
    held = {n: d for n, d in tree(root).items() if f"/{FACT}/" in n}
    small = SandboxProcess(home=lone_cli.home, port=port, devices=20, days=3)
    try:
        said = cli("backup", "A", *CHOICE).ok()
        cli("verify", "A").ok()
        assert {n: d for n, d in tree(root).items() if f"/{FACT}/" in n} == held
        warnings = by_name(root)[FACT]["warnings"]
        assert any("fewer rows" in w for w in warnings)
        assert any(str(key(TODAY)) in w for w in warnings)
        beside = [p for p in (root / STATE).rglob("part.csv") if FACT in str(p)]
        assert len(beside) == 2
        assert FACT in said.err
        assert "fewer" in said.err
        # The very same once more: nothing grows, nothing is lost.
        cli("backup", "A", *CHOICE).ok()
        cli("verify", "A").ok()
        assert {n: d for n, d in tree(root).items() if f"/{FACT}/" in n} == held
    finally:
        small.stop()


def test_parts_left_by_a_killed_run_do_not_spoil_the_finished_archive(lone_cli: Cli, serve: Serve) -> None:
    sandbox = serve("--think-time", 0.02)
    cli = Cli(lone_cli.home, lone_cli.cwd, sandbox.url)
    root = cli.cwd / "A"
    assert cli.killed_at(root, 20, "backup", "A", *CHOICE)
    # What a kill leaves of a day that the service has dropped by the time of the next run.
    left = root / "data" / FACT / "dateKey=20200101" / "part.csv.partial"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"dateKey,deviceKey\n2020")
    os.utime(left)
    cli("backup", "A", *CHOICE).ok()
    cli("verify", "A").ok()


def test_the_manifest_says_of_what_day_it_is_and_holds_no_clock(cli: Cli) -> None:
    cli("backup", "A", *CHOICE).ok()
    content = manifest(cli.cwd / "A")
    assert content["as_of"] == TODAY.isoformat()
    text = (cli.cwd / "A" / "manifest.json").read_text("utf-8")
    assert f"{TODAY.isoformat()}T" not in text
    assert os.uname().nodename not in text
