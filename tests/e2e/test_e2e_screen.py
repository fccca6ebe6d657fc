"""What a person sees: on a terminal of 80 columns, without colour, on a dumb one, with an old code page."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from harness import Cli, SandboxProcess, Serve
from terminal import on_terminal

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")

ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|.)")
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7][0-9;]*m")
ERASE = "\x1b[2K"


def plain(seen: str) -> str:
    """What was written, without what moves the cursor and colours."""
    return ESCAPE.sub("", seen).replace("\r", "")


def left(seen: str) -> list[str]:
    """The lines that are left once the moving display has been taken back."""
    return plain(seen[seen.rfind(ERASE) + len(ERASE) :] if ERASE in seen else seen).splitlines()


def test_what_is_waited_for_is_said_and_taken_back(cli: Cli, serve: Serve) -> None:
    sandbox = serve()
    sandbox.fault("kind=stall,collection=$metadata,seconds=2,times=0")
    sandbox.fault("kind=429,collection=users,retry-after=2")
    sandbox.fault("kind=429,collection=devices,retry-after=1")
    env = {"INTUNE_DW_URL": sandbox.url}
    code, seen = on_terminal(cli, "pull", "devices", "users", "-o", "out/", env=env)
    assert code == 0
    shown = plain(seen)
    asking = shown.index("asking the service which collections it has")
    waiting = [shown.index(f": {name}: the service asks for patience (429)") for name in ("users", "devices")]
    assert asking < min(waiting)
    assert re.search(r"waiting [12] s: users", shown)
    lines = left(seen)
    assert lines[0].split() == ["collection", "rows", "files", "size"]
    assert [line.split()[0] for line in lines[1:3]] == ["devices", "users"]
    assert re.fullmatch(r"complete: 2 collections, .* in [\d.]+ s, 2 retries", lines[3])
    assert len(lines) == 4


@pytest.mark.parametrize(
    "command", ["collections", "collections devices", "status A", "backup B --no-charts", "verify A"]
)
def test_80_columns_break_no_word(cli: Cli, csv_archive: Path, command: str) -> None:
    (cli.cwd / "A").symlink_to(csv_archive)
    code, seen = on_terminal(cli, *command.split())
    assert code == 0
    lines = left(seen)
    assert lines
    assert max(map(len, lines)) <= 80


def test_a_pull_of_many_shows_one_table_and_one_line(cli: Cli) -> None:
    code, seen = on_terminal(cli, "pull", "--all", "--days", "2", "-o", "out/", columns=120)
    assert code == 0
    lines = left(seen)
    assert len({line.split()[0] for line in lines[1:-1]}) == len(lines) - 2 > 10
    assert re.fullmatch(r"complete: \d+ collections, [\d,]+ rows, \d+ files, [\d.]+ \w+ in [\d.]+ s", lines[-1])


def test_without_colour_nothing_is_coloured_and_nothing_is_lost(cli: Cli) -> None:
    code, coloured = on_terminal(cli, "pull", "devcies")
    assert code == 2
    assert COLOUR.search(coloured)
    code, seen = on_terminal(cli, "pull", "devcies", env={"NO_COLOR": "1"})
    assert code == 2
    assert not COLOUR.search(seen)
    assert plain(seen) == plain(coloured)


def test_a_dumb_terminal_gets_plain_lines(cli: Cli) -> None:
    code, seen = on_terminal(cli, "pull", "devices", "-o", "x.csv", env={"TERM": "dumb"})
    assert code == 0
    assert "\x1b" not in seen
    assert [line.split(":")[0] for line in seen.splitlines()] == [
        "asking the service which collections it has ...",
        "devices",
        "complete",
    ]


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "ascii"])
@pytest.mark.parametrize("command", ["pull --help", "collections", "pull devcies", "pull users -o -"])
def test_an_old_code_page_ends_no_run(cli: Cli, hostile: SandboxProcess, encoding: str, command: str) -> None:
    env = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "INTUNE_DW_URL": hostile.url}
    said = cli(*command.split(), env=env)
    assert said.code == (2 if "devcies" in command else 0), said.err
    if command == "pull users -o -":
        assert said.stdout == cli("pull", "users", "-o", "-", env={"INTUNE_DW_URL": hostile.url}).stdout  # data: UTF-8
    else:
        assert said.stdout.decode(encoding).isascii() or encoding != "ascii"


def test_a_piped_table_has_no_blanks_at_the_end_of_its_lines(cli: Cli) -> None:
    piped = cli("collections").ok().out
    assert [line for line in piped.splitlines() if line != line.rstrip()] == []
    assert len(piped.splitlines()) > 40
