"""A journal that is torn, garbled, or of another run: what is whole is taken, what does not fit is refused by name."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from forks import Forks
from harness import STATE, Cli, SandboxProcess, Serve, first_pages, tree

from intune_dw_cli.archive.journal import encode_line

BACKUP = ("--only", "policyDev*", "--only", "devices", "--from", "-2d", "--workers", "1")


@dataclass(frozen=True)
class Begun:
    """An archive whose run was killed when all slices were fetched, and what an unbroken run leaves."""

    root: Path
    files: dict[str, str]
    slices: int


@pytest.fixture(scope="module")
def begun(home: Path, tenant: SandboxProcess, forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Begun:
    folder = tmp_path_factory.mktemp("begun")
    one = Cli(home, folder, tenant.url)
    mark = tenant.mark()
    steps = forks.steps(one, folder / "whole", "backup", "whole", *BACKUP)
    slices = sum(first_pages(tenant.requests(mark)).values())
    at = next(s.number for s in steps if s.path.startswith("manifest.json"))
    forks.run(one, folder / "A", "backup", "A", *BACKUP, at=at)
    return Begun(folder / "A", tree(folder / "whole"), slices)


@pytest.fixture
def one(home: Path, tenant: SandboxProcess, tmp_path: Path, begun: Begun) -> Cli:
    """The command line in a folder with a copy of the archive."""
    shutil.copytree(begun.root, tmp_path / "A")
    return Cli(home, tmp_path, tenant.url)


@pytest.mark.cases(quick=6, long=200)
def test_a_journal_is_taken_up_to_its_last_whole_line(
    case: int, one: Cli, begun: Begun, forks: Forks, tenant: SandboxProcess, rng: random.Random
) -> None:
    journal = one.cwd / "A" / STATE / "journal.jsonl"
    text = bytearray(journal.read_bytes())
    place = rng.randrange(len(text))
    if case % 2:
        text[place] ^= 1 << rng.randrange(4)  # a higher bit may change but the case of a digit of the checksum
    else:
        del text[place:]
    journal.write_bytes(text)
    whole = text[:place].count(b"\n")
    mark = tenant.mark()
    forks.run(one, one.cwd / "A", "backup", "A", *BACKUP).ok()
    assert tree(one.cwd / "A") == begun.files
    # The first line is the run's header: without it nothing is known.
    assert sum(first_pages(tenant.requests(mark)).values()) == begun.slices - max(0, whole - 1)


def other_version(root: Path) -> None:
    journal = root / STATE / "journal.jsonl"
    header, _, rest = journal.read_bytes().partition(b"\n")
    entry = json.loads(header)["entry"]
    journal.write_bytes(encode_line({**entry, "version": 2}) + rest)


def nothing(_root: Path) -> None:
    """Leave the archive as it is."""


@pytest.mark.parametrize(
    ("args", "damage", "says"),
    [
        (("-f", "parquet"), nothing, "format csv (this run: parquet)"),
        (("--compression", "gzip"), nothing, "compression none (this run: gzip)"),
        (("--api-version", "beta"), nothing, "API version v1.0 (this run: beta)"),
        ((), other_version, "format version 2, this program knows 1"),
    ],
    ids=["format", "compression", "api-version", "journal-version"],
)
def test_an_unfinished_run_of_another_kind_is_refused_by_name_and_left_alone(
    args: tuple[str, ...], damage: Callable[[Path], None], says: str, one: Cli, begun: Begun, forks: Forks
) -> None:
    root = one.cwd / "A"
    damage(root)
    before = tree(root, state=True)
    said = forks.run(one, root, "backup", "A", *BACKUP, *args).ok(1)
    assert says in said.err
    before.pop(f"{STATE}/lock-holder.json", None)  # that of the killed run
    assert tree(root, state=True) == before
    if damage is nothing:
        forks.run(one, root, "backup", "A", *BACKUP).ok()
        assert tree(root) == begun.files


def test_an_unfinished_run_of_another_feed_or_tenant_is_refused_by_name(
    one: Cli, begun: Begun, forks: Forks, serve: Serve, tenant: SandboxProcess
) -> None:
    root = one.cwd / "A"
    other = serve(devices=30, days=3)
    there = Cli(one.home, one.cwd, other.url)
    said = forks.run(there, root, "backup", "A", *BACKUP).ok(1)
    assert f"it holds feed URL {tenant.url.partition('?')[0]} (this run: {other.url.partition('?')[0]})" in said.err
    steps = forks.steps(one, one.cwd / "C", "backup", "C", *BACKUP, "--tenant", "contoso.example")
    at = next(s.number for s in steps if s.path.startswith("manifest.json"))
    forks.run(one, one.cwd / "D", "backup", "D", *BACKUP, "--tenant", "contoso.example", at=at)
    said = forks.run(one, one.cwd / "D", "backup", "D", *BACKUP, "--tenant", "fabrikam.example").ok(1)
    assert "tenant contoso.example (this run: fabrikam.example)" in said.err
