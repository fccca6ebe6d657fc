"""What a service says never steers the terminal: not by names, not by error texts, not by values on the screen."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Cli, Ended
from named_service import NamedService, serving
from terminal import on_terminal

from intune_dw_cli.cli.console import Terminal
from intune_dw_cli.cli.options import Talk

pty = pytest.importorskip("pty", reason="pseudo-terminals as POSIX has them")

ESCAPES = {
    "colour": "\x1b[31mred",
    "clear": "\x1b[2J\x1b[H",
    "link": "\x1b]8;;https://evil.example/\x07click\x1b]8;;\x07",
    "clipboard": "\x1b]52;c;cm0gLXJmIC8=\x07",
    "title": "\x1b]0;title\x1b\\",
    "device": "\x1bP+q544e\x1b\\",
    "C1": "\x9b31m\x9d0;t\x9c\x90\x85",
    "override": "\u202egnp.exe",
    "isolate": "\u2066a\u2069\u2068b\u2067c",
    "marks": "\u200e\u200f\u061c",
    "return": "good\rerror: forged",
    "line": "x\nerror: forged\nwarning: forged",
    "separator": "x\u2028error: forged\u2029",
    "back": "abc\b\b\bxyz\x7f\x00\x0b\x0c",
    "tab": "a\tb",
}
FORBIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def rows_of(name: str) -> list[dict[str, Any]]:
    return [{"Id": 1, "dateKey": 20240115, name: name}]


@pytest.fixture(scope="module")
def service() -> Iterator[NamedService]:
    """Every escape is the name of a collection, of its property and a value of it."""
    with serving({name: rows_of(name) for name in ESCAPES.values()}) as running:
        yield running


@pytest.fixture(scope="module")
def refusing() -> Iterator[NamedService]:
    """The same names, but collections are refused with an error text that is all escapes."""
    error = {"error": {"code": "Bad" + ESCAPES["title"], "message": " ".join(ESCAPES.values())}}
    with serving({name: rows_of(name) for name in ESCAPES.values()}, json.dumps(error).encode()) as running:
        yield running


def require_tame(text: str) -> None:
    assert not FORBIDDEN.search(text), FORBIDDEN.search(text)
    assert not re.search("^(?:error|warning): forged", text, re.MULTILINE)


def said(ended: Ended, log: Path | None = None) -> str:
    """What a command said, on both streams and in the log; it must have said something of the names."""
    text = ended.out + ended.err + (log.read_text("utf-8", errors="strict") if log else "")
    require_tame(text)
    assert "evil.example" in text
    return text


def on_screen(cli: Cli, *args: str) -> str:
    """Run on a terminal, and return what came to its screen."""
    _, seen = on_terminal(cli, *args, columns=200, env={"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"})
    return seen.replace("\r\n", "\n")


@pytest.fixture
def quiet_cli(service: NamedService, home: Path, tmp_path: Path) -> Cli:
    return Cli(home, tmp_path, service.url)


def test_names_and_refusals_are_tame_on_both_streams_and_in_the_log(
    service: NamedService, refusing: NamedService, home: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log.txt"
    cli = Cli(home, tmp_path, service.url)
    said(cli("backup", "A", "-vv", "--log-file", log).ok(), log)
    (tmp_path / "A" / "metadata.xml").write_bytes(b"")
    said(cli("verify", "A").ok(5) and cli("backup", "A", "-v", "--dry-run").ok())
    said(Cli(home, tmp_path, refusing.url)("pull", "--all", "-vv", "--log-file", log).ok(1), log)
    said(Cli(home, tmp_path, refusing.url)("backup", "B", "--log-file", log).ok(3), log)
    said(cli("status", "B").ok(3))
    assert len(log.read_text("utf-8").splitlines()) > len(ESCAPES)


def test_lists_of_names_are_tame(quiet_cli: Cli) -> None:
    said(quiet_cli("collections").ok())
    said(quiet_cli("collections", ESCAPES["link"]).ok())
    said(quiet_cli("collections", "--drift").ok())
    said(quiet_cli("collections", ESCAPES["link"][:-1]).ok(2))
    said(quiet_cli("pull", "--all", "--dry-run").ok())


def test_json_holds_the_names_and_no_character_that_a_terminal_obeys(
    refusing: NamedService, quiet_cli: Cli, home: Path, tmp_path: Path
) -> None:
    for ended in (
        quiet_cli("pull", "--all", "-o", "out/", "--json").ok(),
        quiet_cli("collections", "--json").ok(),
        Cli(home, tmp_path, refusing.url)("pull", "--all", "-o", "out/", "--json").ok(1),
    ):
        require_tame(ended.out)
        assert ended.out.isascii()
        assert {c["name"] for c in ended.json["collections"]} == {*ESCAPES.values()}


def test_what_is_data_for_a_program_is_tame_on_a_screen_and_exact_in_a_pipe(quiet_cli: Cli) -> None:
    screen = on_screen(quiet_cli, "collections", "-f", "csv") + on_screen(quiet_cli, "collections")
    for name in ("link", "C1", "override"):
        screen += on_screen(quiet_cli, "pull", ESCAPES[name], "-o", "-")
        assert ESCAPES[name] in quiet_cli("pull", ESCAPES[name], "-o", "-", "-q").ok().stdout.decode()
    require_tame(screen)
    assert "click" in screen
    assert "gnp.exe" in screen


def test_a_message_of_the_log_is_one_line_and_tame(tmp_path: Path) -> None:
    terminal = Terminal(Talk(quiet=True, log_file=tmp_path / "log.txt"))
    assert terminal.quiet
    logger = logging.getLogger("intune_dw_cli.of-a-test")
    for name in ESCAPES.values():
        logger.info("the service says %s", name)
    try:
        raise ValueError(ESCAPES["clear"])
    except ValueError:
        logger.exception("and then")
    Terminal(Talk(quiet=True))  # closes nothing, but the log is no longer written to
    lines = (tmp_path / "log.txt").read_text("utf-8").splitlines()
    require_tame("\n".join(lines))
    assert sum("the service says" in line for line in lines) == len(ESCAPES)
    assert lines[len(ESCAPES)].endswith("and then")
