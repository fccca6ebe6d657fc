"""Help leads with examples that exist, fits 80 columns, and ends with exit codes, variables and what to do next."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import COMMANDS, calls, options, unknown_in

from intune_dw_cli import __version__
from intune_dw_cli.cli.commands import PLACES
from intune_dw_cli.cli.help import EXIT_CODES, START, epilog
from intune_dw_cli.cli.version import version_text
from intune_dw_cli.identity.locations import Locations
from intune_dw_cli.identity.profiles import Profile, ProfileStore


def run(*args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user's shell does, with an environment of our own."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "SYSTEMROOT") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "intune_dw_cli", *args],
        env={**kept, "COLUMNS": "80", "PYTHONUTF8": "1", **environ},
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )


def examples(text: str) -> list[str]:
    """The example lines of a help text."""
    return [line.strip() for line in text.splitlines() if line.startswith("  intune-dw ")]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_leads_with_examples_that_exist_and_fit(name: str) -> None:
    text = COMMANDS[name].help
    assert text.splitlines()[2] == "[bold]Examples[/bold]"
    found = examples(text)
    assert len(found) >= 2
    assert [call[0] for line in found for call in calls(line)] == [name] * len(found)
    assert [word for line in found for call in calls(line) for word in unknown_in(call)] == []
    assert max(map(len, text.splitlines()[1:])) <= 78


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_codes_variables_and_the_next_step(name: str) -> None:
    *_, codes, variables, last = [p for p in epilog(name).split("\n\n") if not p.startswith("Unattended")]
    assert codes.startswith("Exit codes: 0 ")
    assert "INTUNE_DW_LOG_FILE" in variables
    assert last.startswith("Next: ")
    numbers = [int(part.split()[0]) for part in codes.removeprefix("Exit codes: ").split("; ")]
    assert set(numbers) <= set(EXIT_CODES)
    assert numbers == sorted(numbers)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained_in_a_panel_of_its_own_kind(name: str) -> None:
    own = {p for p in options(name).values() if "--help" not in p.opts and p.opts[0].startswith("-")}
    assert [p.opts for p in own if not p.help or not p.help.endswith(".")] == []
    assert [p.opts for p in own if not p.rich_help_panel] == []


def test_help_prints_no_line_that_80_columns_break() -> None:
    shown = run("backup", "--help").stdout
    assert all(line in shown for line in examples(COMMANDS["backup"].help))
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.index("Examples") < shown.index("--format") < shown.index("Exit codes") < shown.index("Next:")


def test_alone_it_says_how_to_start_and_has_done_nothing() -> None:
    alone = run()
    assert (alone.returncode, alone.stdout) == (2, "")
    assert alone.stderr == START + "\n"
    assert max(map(len, START.splitlines())) <= 80
    shown = [line for line in START.splitlines() if line.startswith("  ")]
    assert len(shown) == 5
    assert [word for line in shown for call in calls(line.split("   ")[0]) for word in unknown_in(call)] == []


def test_every_command_has_a_place_in_the_overview() -> None:
    overview = run("--help").stdout
    assert all(name in overview for name in COMMANDS)
    assert {f"{command.rich_help_panel}:" for command in COMMANDS.values()} <= set(overview.splitlines())
    assert all(f"{code} {meaning.split(':')[0]}" in " ".join(overview.split()) for code, meaning in EXIT_CODES.items())


@pytest.mark.parametrize("name", COMMANDS)
def test_overview_says_of_a_command_what_its_own_help_says_first(name: str) -> None:
    assert PLACES[name].help == " ".join(COMMANDS[name].help.split("\n\n")[0].split())


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_overview_and_version_import_no_command_and_no_engine(option: str) -> None:
    code = f"import sys; sys.argv = ['intune-dw', {option!r}]; import intune_dw_cli.cli.app as a\ntry: a.main()\n"
    code += "finally: print(*sys.modules, sep='\\n', file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    loaded = set(done.stderr.splitlines())
    heavy = {"pyarrow", "requests", "msal", "cryptography", "rich", "intune_dw_cli.sandbox", "intune_dw_cli.cli.pull"}
    assert "intune_dw_cli.cli.app" in loaded
    assert not heavy & loaded


def test_version_says_what_a_bug_report_needs() -> None:
    said = run("--version")
    assert said.returncode == 0
    first, second, third = said.stdout.splitlines()
    assert first == f"intune-dw {__version__}"
    assert second.startswith(f"Python {sys.version.split()[0]}, ")
    assert [part for part in ("pyarrow", "requests", "urllib3", "msal", "typer") if f"{part} " not in third] == []


def test_version_does_without_records_of_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intune_dw_cli.cli.version.sys.path", ["/no-such-folder"])
    assert version_text().splitlines()[2] == "the versions of the parts are not recorded in this build"


WRONG = {
    "backupp": ("there is no command backupp; did you mean backup?", "intune-dw --help"),
    "pull --formt csv": ("--formt", "did you mean --format", "intune-dw pull --help"),
    "pull devices --days": ("--days needs a value",),
    "pull devices --days many": ("--days must be a whole number", "intune-dw pull --help"),
    "pull devices --days 0": ("--days 0", "at least 1", "--days 1 is today"),
    "pull devices --days 40000": ("--days 40000", "Leave it out"),
    "collections --dates --days 1000000000 --sandbox": ("--days 1000000000", "more than a century"),
    "pull devices --top 0": ("--top 0", "--top 10"),
    "pull devices --workers 0": ("--workers 0", "--workers 1"),
    "pull devcies --sandbox": ("devcies", "did you mean devices"),
    "pull devices --select devceName --sandbox": ("devceName", "did you mean deviceName"),
    "backup": ("ARCHIVE is missing", "intune-dw backup ./contoso-backup"),
    "backup a b": ("(b)", "intune-dw backup --help"),
    "backup a --workers 0": ("--workers 0", "--workers 1"),
    "backup a --attach x.csv": ("--as", "intune-dw status a"),
    "verify a --against-service --sample 0": ("--sample 0", "--all"),
    "collections --cloud usgv": ("usgv", "usgov"),
    "collections -f tabl": ("tabl", "table, json, csv"),
    "sandbox --fault kind=50": ("'50'", "500"),
    "status a --max-age soon": ("soon", "26h"),
}


@pytest.mark.parametrize("command", WRONG)
def test_a_wrong_command_line_gets_one_error_and_a_hint(command: str, tmp_path: Path) -> None:
    said = run(*command.split(), INTUNE_DW_HOME=str(tmp_path))
    assert said.returncode == 2, said.stderr
    assert said.stdout == ""
    assert said.stderr.startswith("error: ")
    assert said.stderr.count("error: ") == 1
    assert "  hint: " in said.stderr
    assert "╭" not in said.stderr
    assert [word for word in WRONG[command] if word not in said.stderr] == [], said.stderr


def test_a_wrong_variable_is_named(tmp_path: Path) -> None:
    said = run("pull", "devices", INTUNE_DW_WORKERS="many", INTUNE_DW_HOME=str(tmp_path))
    assert said.returncode == 2
    assert "INTUNE_DW_WORKERS must be a whole number" in said.stderr


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        ("logout", "--all"),
        ("backup", "--moved"),
        ("backup", "--attach"),
        ("backup", "--as"),
        ("collections", "--format"),
    ],
)
def test_what_would_do_harm_by_a_forgotten_variable_has_none(command: str, flag: str) -> None:
    option = options(command)[flag]
    assert not option.envvar
    assert option.help.endswith("Has no variable.")


def test_a_variable_for_pull_leaves_the_profile_of_logout_alone(tmp_path: Path) -> None:
    home = {"INTUNE_DW_HOME": str(tmp_path)}
    url = "https://fef.msua01.manage.microsoft.com/ReportingService/DataWarehouseFEService"
    store = ProfileStore(Locations.from_environ(home))
    store.save("default", Profile(feed_url=url))
    assert run("logout", INTUNE_DW_ALL="1", **home).returncode == 0
    assert store.load("default").feed_url == url
    assert run("logout", "--all", **home).returncode == 0
    assert store.default() is None
