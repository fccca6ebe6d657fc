"""What a backup refuses to touch, and two runs at once."""

from __future__ import annotations

import json
import os
import shutil
import socket
from pathlib import Path

import pytest
from harness import STATE, Cli, SandboxProcess, Serve, finish, journal_lines, running, tree, wait_until

CHOICE = ("--only", "polic*", "--only", "devices")

DIFFERENCES = {
    "tenant": (("--tenant", "fabrikam"), ("tenant", "contoso", "fabrikam")),
    "format": (("--tenant", "contoso", "-f", "parquet"), ("format", "csv", "parquet")),
    "compression": (("--tenant", "contoso", "--compression", "gzip"), ("compression", "gzip")),
    "api-version": (("--tenant", "contoso", "--api-version", "beta"), ("API version", "v1.0", "beta")),
}


@pytest.fixture(scope="module")
def begun(home: Path, sandbox: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished archive of the tenant contoso, and one that was killed on the way; not to be changed."""
    cli = Cli(home, tmp_path_factory.mktemp("begun"), sandbox.url)
    cli("backup", "finished", *CHOICE, "--tenant", "contoso").ok()
    assert cli.killed_at(cli.cwd / "unfinished", 10, "backup", "unfinished", *CHOICE, "--tenant", "contoso")
    return {state: cli.cwd / state for state in ("finished", "unfinished")}


def whole(root: Path) -> dict[str, str]:
    return {name: digest for name, digest in tree(root, state=True).items() if not name.startswith(f"{STATE}/lock")}


@pytest.mark.parametrize("state", ["finished", "unfinished"])
@pytest.mark.parametrize("what", DIFFERENCES)
def test_an_archive_of_another_kind_is_refused_by_name_and_left_alone(
    cli: Cli, begun: dict[str, Path], what: str, state: str
) -> None:
    root = shutil.copytree(begun[state], cli.cwd / "A")
    before = whole(root)
    options, named = DIFFERENCES[what]
    said = cli("backup", "A", *CHOICE, *options).ok(1)
    assert all(word in said.err for word in named), said.err
    assert said.err.count("error:") == said.err.count("hint:") == 1
    assert whole(root) == before


@pytest.mark.parametrize("state", ["finished", "unfinished"])
def test_an_archive_of_another_feed_is_refused_by_name_and_left_alone(
    cli: Cli, serve: Serve, begun: dict[str, Path], state: str
) -> None:
    root = shutil.copytree(begun[state], cli.cwd / "A")
    before = whole(root)
    other = serve()
    said = cli("backup", "A", *CHOICE, "--url", other.url).ok(1)
    assert "feed URL" in said.err
    assert str(other.port) in said.err
    assert whole(root) == before


def test_a_folder_with_other_files_is_refused_and_left_alone(cli: Cli) -> None:
    folder = cli.cwd / "letters"
    folder.mkdir()
    (folder / "letter.txt").write_text("dear")
    said = cli("backup", "letters").ok(1)
    assert "holds other files" in said.err
    assert [p.name for p in folder.iterdir()] == ["letter.txt"]


def test_a_file_in_place_of_the_folder_is_refused_and_left_alone(cli: Cli) -> None:
    (cli.cwd / "A").write_text("not a folder")
    said = cli("backup", "A").ok(1)
    assert "is a file" in said.err
    assert (cli.cwd / "A").read_text() == "not a folder"


@pytest.mark.parametrize("path", ["file/A", "/proc/intune-dw/A"])
def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(cli: Cli, path: str) -> None:
    (cli.cwd / "file").write_text("in the way")
    said = cli("backup", path).ok(1)
    assert path in said.err
    assert said.err.count("error:") == said.err.count("hint:") == 1


def test_a_folder_without_an_archive_is_no_archive_to_verify(lone_cli: Cli) -> None:
    (lone_cli.cwd / "empty").mkdir()
    assert "is no archive" in lone_cli("verify", "empty").ok(1).err
    assert "does not exist" in lone_cli("verify", "nowhere").ok(1).err


def test_a_second_run_is_turned_away_at_once_and_told_which_process_on_which_host(cli: Cli, serve: Serve) -> None:
    slow = serve("--think-time", 0.2)
    env = {"INTUNE_DW_URL": slow.url}
    with running(cli.start("backup", "A", env=env)) as first:
        wait_until(lambda: journal_lines(cli.cwd / "A") >= 2)
        said = cli("backup", "A", env=env).ok(6)  # how soon: tests/faults/test_locks.py
        assert f"process {first.pid} on {socket.gethostname()}" in said.err
        first.terminate()
        finish(first).ok(130)


def test_of_two_runs_begun_together_one_does_the_work_and_the_other_is_turned_away(cli: Cli, serve: Serve) -> None:
    slow = serve("--think-time", 0.05)
    env = {"INTUNE_DW_URL": slow.url}
    with (
        running(cli.start("backup", "A", *CHOICE, env=env)) as one,
        running(cli.start("backup", "A", *CHOICE, env=env)) as two,
    ):
        ended = [finish(one), finish(two)]
    assert sorted(e.code for e in ended) == [0, 6]
    cli("verify", "A").ok()


def test_a_lock_that_a_dead_process_left_is_no_obstacle(cli: Cli, begun: dict[str, Path]) -> None:
    root = shutil.copytree(begun["unfinished"], cli.cwd / "A")
    holder = root / STATE / "lock-holder.json"
    assert (root / STATE / "lock").exists()
    holder.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": "2024-01-15"}))
    cli("backup", "A", *CHOICE, "--tenant", "contoso").ok()
    assert not holder.exists()
    cli("verify", "A").ok()


def test_a_glob_that_matches_nothing_is_a_usage_error(cli: Cli) -> None:
    said = cli("backup", "A", "--only", "devcies").ok(2)
    assert "devcies" in said.err
    assert not (cli.cwd / "A").exists()


def test_the_archive_is_bound_to_its_feed_not_to_how_the_url_is_spelled(
    cli: Cli, sandbox: SandboxProcess, begun: dict[str, Path]
) -> None:
    shutil.copytree(begun["finished"], cli.cwd / "A")
    root, _, query = sandbox.url.partition("?")
    cli("backup", "A", *CHOICE, "--url", f"{root}/?{query}").ok()
    cli("backup", "A", *CHOICE, "--url", root).ok()
