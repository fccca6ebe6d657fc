"""The README is true: its commands are run, its outputs are theirs, and it names what exists.

A `console` block is a session against the sandbox tenant: `$ command`, then what it prints, stdout before stderr. A
line `...` stands for any lines. Only what must vary is not compared: dates, durations, sizes and counts over 999.

Renew the outputs with: python tests/test_readme.py
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "cli"))

from commands import COMMANDS, calls, environment_names, global_options, options, unknown_in

from intune_dw_cli.cli.help import EXIT_CODES, START, epilog
from intune_dw_cli.sandbox import Sandbox

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PACKAGE = ROOT / "intune_dw_cli"
ANY = "..."
FOREIGN_OPTIONS = {
    *("--user", "--spec", "--no-index", "--now"),  # pip, pipx, systemctl
    *("--query",),  # az
    *("--markdown",),  # tests.benchmarks.run
    *("--long", "--faults-seed"),  # tests/faults
    *("--name", "--collect-data", "--recursive-copy-metadata"),  # pyinstaller
}
FOREIGN_VARIABLES = {"HTTPS_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "NO_COLOR", "COLUMNS", "TERM"}
VARYING = {
    r"\d{4}-\d{2}-\d{2}": "DATE",
    r"\b20\d{6}\b": "DATEKEY",
    r"in [\d.]+ s\b|in \d+ min \d+ s": "in TIME",
    r"\b\d+ min ago": "TIME ago",
    r"[\d.]+ (B|KiB|MiB)\b": "SIZE",
    r"\d{1,3}(,\d{3})+": "COUNT",
    r"at most \d+ rows": "at most COUNT rows",
    "[\u2581-\u2588x]{5,}": "BARS",
}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the line of the file that it begins in, its lines."""

    language: str
    line: int
    lines: tuple[str, ...]


def blocks(text: str) -> Iterator[Block]:
    """Yield the fenced blocks."""
    language: str | None = None
    start, lines = 0, list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            if language is None:
                language, start, lines = line.strip()[3:], number, []
            else:
                yield Block(language, start, tuple(lines))
                language = None
        elif language is not None:
            lines.append(line)
    assert language is None


def session(block: Block) -> list[tuple[str, list[str]]]:
    """Return the commands of a console block, each with the lines it prints."""
    found: list[tuple[str, list[str]]] = []
    for line in block.lines:
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return [(command, "\n".join(lines).strip("\n").splitlines()) for command, lines in found]


TEXT = README.read_text(encoding="utf-8")
BLOCKS = list(blocks(TEXT))
CONSOLE = [block for block in BLOCKS if block.language == "console"]
PYTHON = [block for block in BLOCKS if block.language == "python"]
SESSION = [each for block in CONSOLE for each in session(block)]


def run_session(folder: Path) -> list[list[str]]:
    """Run all commands, one after the other in one folder, and return what each printed."""
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TMPDIR") if name in os.environ}
    environ = {
        **kept,
        "PATH": sysconfig.get_path("scripts") + os.pathsep + kept.get("PATH", ""),
        "HOME": str(folder / "home"),
        "INTUNE_DW_HOME": str(folder / "home"),
        "COLUMNS": "100",
        "PYTHONUTF8": "1",
    }
    printed = []
    for command, _ in SESSION:
        ended = subprocess.run(
            ["bash", "-c", command], cwd=folder, env=environ, capture_output=True, encoding="utf-8", check=False
        )
        printed.append([line.rstrip() for line in (ended.stdout + ended.stderr).strip("\n").splitlines()])
    return printed


def normal(line: str) -> str:
    for pattern, word in VARYING.items():
        line = re.sub(pattern, word, line)
    return re.sub(" +", " ", line).rstrip()


def agrees(written: list[str], printed: list[str]) -> bool:
    """Whether lines of the README are what was printed."""
    if ANY not in written:
        return [*map(normal, written)] == [*map(normal, printed)]
    place = written.index(ANY)
    head, tail = written[:place], written[place + 1 :]
    rest = printed[len(head) :]
    shown = rest[len(rest) - len(tail) :]
    return len(rest) >= len(tail) and [*map(normal, head + tail)] == [*map(normal, printed[: len(head)] + shown)]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[str]]]:
    """The folder in which the sessions were run, and what each command printed."""
    if shutil.which("bash") is None:
        pytest.skip("the sessions are written for bash")
    folder = tmp_path_factory.mktemp("readme")
    return folder, run_session(folder)


@pytest.mark.parametrize("number", range(len(SESSION)), ids=[command for command, _ in SESSION])
def test_a_command_prints_what_the_readme_says(number: int, ran: tuple[Path, list[list[str]]]) -> None:
    written, printed = SESSION[number][1], ran[1][number]
    assert agrees(written, printed), "\n".join(["printed:", *printed, "", "README:", *written])


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: f"line {block.line}")
def test_python_in_the_readme_runs(block: Block, ran: tuple[Path, list[list[str]]]) -> None:
    code = "\n".join(block.lines)
    imports = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Import)]
    for name in {alias.name.partition(".")[0] for node in imports for alias in node.names}:
        pytest.importorskip(name, reason=f"{name} is not installed here")
    with Sandbox() as sandbox:
        service = {"INTUNE_DW_URL": sandbox.feed_url, "INTUNE_DW_ACCESS_TOKEN": "any", "INTUNE_DW_HOME": str(ran[0])}
        ended = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ran[0],
            env={**os.environ, **service},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
    assert ended.returncode == 0, ended.stderr


def test_the_comparison_sees_what_differs() -> None:
    assert agrees(["a", ANY, "5 files in 1.2 s"], ["a", "b", "5 files in 0.1 s"])
    assert agrees([ANY, "z"], ["z"])
    assert not agrees(["a", ANY, "5 files in 1.2 s"], ["a", "b", "6 files in 1.2 s"])
    assert not agrees(["a", "b"], ["a", "b", "c"])
    assert not agrees(["a", ANY, "a"], ["a"])
    assert not agrees(["complete: 1,200 rows"], ["partial: 1,200 rows"])


def test_the_two_commands_of_a_fresh_machine_stand_first() -> None:
    shell = [block.lines for block in BLOCKS if block.language == "sh"][:3]
    begin = "python3 -m venv .venv && .venv/bin/pip install"
    assert shell[1] == (f"{begin} . && .venv/bin/intune-dw backup ./contoso-backup --sandbox",)
    assert shell[2] == (f"{begin} '.[test]' && .venv/bin/python -m pytest -n auto",)


def test_commands_and_options_in_the_readme_exist() -> None:
    found = [
        (block.line, word)
        for block in BLOCKS
        if block.language in ("sh", "console", "cron", "ini", "bat", "powershell")
        for line in block.lines
        if "intune-dw" in line
        for call in _calls(line)
        for word in unknown_in(call)
    ]
    assert found == []
    everywhere = {name for command in COMMANDS for name in options(command)} | set(global_options())
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", TEXT))
    assert named - everywhere - FOREIGN_OPTIONS == set()


def _calls(line: str) -> Iterator[list[str]]:
    """The calls in a line of any of these languages."""
    if "intune-dw.exe" in line:  # cmd and PowerShell quote in ways of their own
        found = re.search(r'intune-dw\.exe\W*(?:"? -Argument ")?[\s"\\]*((?!Argument)\w[^"]*)"', line)
        assert found, line
        yield found[1].split()
    elif not line.startswith(("pyinstaller", "[Environment]", "schtasks", "Register-", "$account")):
        yield from calls(line.strip().removeprefix("$ ").removeprefix("ExecStart="))


def test_every_command_is_in_the_readme() -> None:
    assert [name for name in COMMANDS if f"intune-dw {name}" not in TEXT] == []


def test_variables_in_the_readme_and_the_help_are_those_of_the_code() -> None:
    helps = "\n".join([START, *(epilog(name) + COMMANDS[name].help for name in COMMANDS)])
    explained = "\n".join(str(p.help) for name in COMMANDS for p in options(name).values())
    pattern = re.compile(r"\b(?:INTUNE_DW|AZURE)_[A-Z_]*[A-Z]\b")
    named = set(pattern.findall(TEXT + helps + explained))
    read = {name for text in strings() for name in pattern.findall(text)}
    by_rule = environment_names()
    assert named - read - by_rule == set()
    assert read - by_rule - named == set()
    assert {name for name in FOREIGN_VARIABLES if name in TEXT} >= {"HTTPS_PROXY", "NO_PROXY", "NO_COLOR"}


def test_exit_codes_are_the_same_in_readme_help_and_code() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", TEXT, re.MULTILINE)
    assert {int(code): meaning for code, meaning in rows} == dict(EXIT_CODES)
    used: set[int] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            words = ast.unparse(node) if isinstance(node, ast.Call | ast.Assign | ast.AnnAssign) else ""
            if re.match(r"[\w.]*(Exit|_exit|_leave|sys\.exit)\(|exit_code\b.*=", words):
                used |= {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, int)}
    assert used <= set(EXIT_CODES)
    assert {3, 4, 5, 6, 130} <= used


def strings() -> Iterator[str]:
    """Every piece of text in the package that is no docstring of its own."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_messages_in_the_table_of_troubles_are_those_of_the_code() -> None:
    table = TEXT.partition("| the message has |")[2].partition("\n\n")[0]
    named = [piece for row in table.splitlines()[2:] for piece in re.findall(r"`([^`]+)`", row.split("|")[1])]
    assert len(named) > 12
    known = "\n".join(strings())
    assert [piece for piece in named if re.sub(r" \d+$", "", piece) not in known] == []


def test_links_within_the_readme_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL), re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) - anchors == set()
    assert [path for path in re.findall(r"\]\((?!#|http)([^)]+)\)", TEXT) if not (ROOT / path).exists()] == []


def shortened(said: list[str], written: list[str]) -> list[str]:
    """What was printed, with `...` in the place where the README has it."""
    if ANY not in written:
        return said
    place = written.index(ANY)
    return [*said[:place], ANY, *said[len(said) - (len(written) - place - 1) :]]


def renewed() -> str:
    """The README with the outputs that its commands print now; what agrees stays as it is."""
    with tempfile.TemporaryDirectory() as folder:
        printed = run_session(Path(folder))
    lines, ends = TEXT.splitlines(), len(printed)
    for block in reversed(CONSOLE):
        new: list[str] = []
        begins = ends - len(session(block))
        for (command, written), said in zip(session(block), printed[begins:ends], strict=True):
            new += [f"$ {command}", *(written if agrees(written, said) else shortened(said, written)), ""]
        ends = begins
        lines[block.line : block.line + len(block.lines)] = new[:-1]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    README.write_text(renewed(), encoding="utf-8", newline="\n")
