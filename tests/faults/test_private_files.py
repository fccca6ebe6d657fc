"""What is written is for the user alone, and goes nowhere else through a link that somebody planted."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from archives import FACT, TODAY, back_up
from harness import STATE, Cli, Ended, tree

from intune_dw_cli.archive.verify import verify
from intune_dw_cli.data.formats import FileFormat
from intune_dw_cli.data.schema import CollectionSchema, Column
from intune_dw_cli.errors import ArchiveError, OutputError
from intune_dw_cli.export import aside
from intune_dw_cli.export.ordered import OrderedOutput
from intune_dw_cli.identity.cache import PlainVault, TokenCache
from intune_dw_cli.identity.locations import Locations, private_directory
from intune_dw_cli.identity.profiles import Profile, ProfileStore
from intune_dw_cli.sandbox import Fault, Sandbox, ServerConfig, TenantConfig

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes and links as POSIX has them")


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with Sandbox(TenantConfig(today=TODAY, devices=20, days=2), ServerConfig(page_size=50)) as running:
        yield running


@pytest.fixture
def sandbox(shared: Sandbox) -> Iterator[Sandbox]:
    """A small tenant, no faults yet."""
    shared.clear_faults()
    yield shared
    shared.clear_faults()


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def require_private(top: Path, *, but: tuple[Path, ...] = ()) -> list[str]:
    """Every file is 0600, every folder 0700; return the files."""
    modes = {p: oct(p.stat().st_mode & 0o7777) for p in top.rglob("*") if p not in but}
    assert {str(p): mode for p, mode in modes.items() if mode != oct(0o700 if p.is_dir() else 0o600)} == {}
    return sorted(p.relative_to(top).as_posix() for p in modes if p.is_file())


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077], ids=oct)
def test_all_that_is_written_is_for_the_user_alone_whatever_the_umask(
    sandbox: Sandbox, home: Path, tmp_path: Path, mask: int
) -> None:
    cli = Cli(home, tmp_path, sandbox.feed_url)
    sandbox.add_fault(Fault(kind="403", collection="ownerTypes"))
    with umask(mask):
        cli("backup", "made/A", "--only", "ownerTypes", "--only", "dates", "--log-file", "log.txt").ok(3)
        unfinished = require_private(tmp_path)
        sandbox.clear_faults()
        back_up(tmp_path / "B", sandbox, charts=True, keep_dimensions=True)
        cli("pull", FACT, "--partition", "-f", "parquet", "-o", "days/er/").ok()
        cli("pull", FACT, "-o", "deep/er/history.csv").ok()
    files = require_private(tmp_path)
    assert {"made/A/.intune-dw/journal.jsonl", "made/A/.intune-dw/lock", "log.txt"} <= {*unfinished}
    wanted = ["B/manifest.json", "B/SHA256SUMS", "B/report.html", "B/views.sql", "B/history/", "B/metadata.xml"]
    wanted += ["B/data/", "B/charts/", "B/.intune-dw/runs.jsonl", "deep/", "days/"]
    assert [name for name in wanted if not any(path.startswith(name) for path in files)] == []


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077], ids=oct)
def test_profile_token_cache_and_state_are_for_the_user_alone(tmp_path: Path, mask: int) -> None:
    locations = Locations.from_environ({"INTUNE_DW_HOME": str(tmp_path / "not" / "there" / "yet")})
    assert locations is not None
    with umask(mask):
        ProfileStore(locations).save("contoso", Profile(tenant="contoso.com"))
        private_directory(locations.cache)
        cache = TokenCache(PlainVault(locations.cache / "tokens.json"), locations.cache / "tokens.json.lock")
        cache.sign_out()
        private_directory(locations.state)
    files = require_private(tmp_path)
    assert {Path(path).name for path in files} >= {"profiles.json", "tokens.json"}


# -- links ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(shared: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished archive with charts and a dated copy of its dimensions; not to be changed."""
    root = tmp_path_factory.mktemp("finished") / "A"
    back_up(root, shared, charts=True, keep_dimensions=True)
    return root


def plant(link: Path, elsewhere: Path) -> None:
    """Put a link in place of what is there, to a copy of it elsewhere."""
    link.parent.mkdir(parents=True, exist_ok=True)
    target = elsewhere / "victim"
    if link.is_dir():
        shutil.copytree(link, target)
        shutil.rmtree(link)
    elif link.exists():
        shutil.copy(link, target)
        link.unlink()
    elif link.suffix in ("", ".partial-rows"):
        target.mkdir()
    else:
        target.write_bytes(b"precious")
    if target.is_dir():
        (target / "precious.partial").write_bytes(b"precious")
    link.symlink_to(target)


CHART = "charts/configuration-policies"
FOLLOWED_NEVER = ["data", "data/devices", f"data/{FACT}", "history", "history/devices", "charts", STATE]
FOLLOWED_NEVER += [f"{STATE}/{name}" for name in ("lock", "journal.jsonl", "runs.jsonl", "lock-holder.json")]
FOLLOWED_NEVER += ["manifest.json", "SHA256SUMS"]
REPLACED = ["manifest.json.partial", "SHA256SUMS.partial", "data/devices/devices.csv"]
REPLACED += ["data/devices/devices.csv.partial", CHART, f"{CHART}/report.csv.partial"]


@pytest.mark.parametrize("place", [*FOLLOWED_NEVER, *REPLACED])
def test_a_link_in_an_archive_is_refused_or_replaced_but_not_followed(
    finished: Path, sandbox: Sandbox, tmp_path: Path, place: str
) -> None:
    root, elsewhere = shutil.copytree(finished, tmp_path / "A"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    plant(root / place, elsewhere)
    before = tree(elsewhere)
    if place in REPLACED:
        back_up(root, sandbox, charts=True, keep_dimensions=True)
        assert not (root / place).is_symlink()
        assert verify(root).findings == ()
    else:
        with pytest.raises((ArchiveError, OutputError), match=f"{re.escape(place)} is a symbolic link"):
            back_up(root, sandbox, charts=True, keep_dimensions=True)
    assert tree(elsewhere) == before


Pull = Callable[[Cli], Ended]
PULLS: dict[str, Pull] = {
    "one.csv": lambda cli: cli("pull", FACT, "-o", "one.csv"),
    "one.csv.partial": lambda cli: cli("pull", FACT, "-o", "one.csv"),
    "out/devices.parquet": lambda cli: cli("pull", "devices", "-f", "parquet", "-o", "out/"),
}
REFUSED_PULLS: dict[str, Pull] = {
    "out/devices": lambda cli: cli("pull", "devices", "--partition", "-o", "out/"),
    "log.txt": lambda cli: cli("pull", "devices", "--log-file", "log.txt"),
}


@pytest.mark.parametrize("place", [*PULLS, *REFUSED_PULLS])
def test_a_link_planted_where_a_pull_writes_is_refused_or_replaced_but_not_followed(
    sandbox: Sandbox, home: Path, tmp_path: Path, place: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    plant(tmp_path / place, tmp_path / "elsewhere")
    before = tree(tmp_path / "elsewhere")
    ended = (PULLS | REFUSED_PULLS)[place](Cli(home, tmp_path, sandbox.feed_url))
    assert tree(tmp_path / "elsewhere") == before
    if place in PULLS:
        ended.ok()
        assert not (tmp_path / place).is_symlink()
    else:
        assert f"{place} is a symbolic link" in ended.ok(1).err


def test_a_link_in_place_of_the_folder_for_rows_that_wait_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "_IN_MEMORY", 0)
    (tmp_path / "elsewhere").mkdir()
    plant(tmp_path / "one.csv.partial-rows", tmp_path / "elsewhere")
    before = tree(tmp_path / "elsewhere")
    schema = CollectionSchema("things", (Column("id", "Edm.Int64", pa.int64(), pa.int64()),), ("id",), None)
    sink = FileFormat("csv").open(io.BytesIO(), schema, additional=False, provenance={})
    output = OrderedOutput(sink, schema, tmp_path / "one.csv.partial-rows", look_ahead=2, stop=threading.Event())
    with pytest.raises(OutputError, match="partial-rows is a symbolic link"):
        output.slot(1, by_day=None).write(pa.RecordBatch.from_pydict({"id": [1]}, schema=schema.wire))
    output.close()
    assert tree(tmp_path / "elsewhere") == before


def test_a_log_may_go_to_what_is_no_file(sandbox: Sandbox, home: Path, tmp_path: Path) -> None:
    said = Cli(home, tmp_path, sandbox.feed_url)("pull", "ownerTypes", "-q", "--log-file", "/dev/stderr").ok()
    assert "ownerTypes" in said.err
