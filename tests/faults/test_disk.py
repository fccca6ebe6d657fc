"""A disk that is full, not for us, or gone: a clear message, nothing short, and once it is right, the same bytes."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from forks import Forks, Step
from harness import INTUNE_DW, STATE, Cli, SandboxProcess, finish, tree

BACKUP = ("--only", "devices", "--workers", "1")
TWO = ("--only", "devices", "--only", "users", "--workers", "1")

POINTS: Mapping[str, Callable[[Step], bool]] = {
    "the lock is opened": lambda s: s.call == "open" and s.path.endswith("/lock"),
    "the journal is begun": lambda s: s.call == "write" and s.path.endswith("journal.jsonl"),
    "the journal is flushed": lambda s: s.call == "fsync" and s.path.endswith("journal.jsonl"),
    "$metadata is written": lambda s: s.call == "write" and s.path.startswith("metadata.xml"),
    "a folder is made": lambda s: s.call == "mkdir" and s.path.startswith("data"),
    "a part is opened": lambda s: s.call == "open" and s.path.startswith("data"),
    "a part is written": lambda s: s.call == "write" and s.path.startswith("data"),
    "a part is flushed": lambda s: s.call == "fsync" and s.path.endswith("csv.partial"),
    "a part is renamed": lambda s: s.call == "replace" and s.path.startswith("data"),
    "a folder is flushed": lambda s: s.call == "fsync" and s.path == "data/devices",
    "the manifest is written": lambda s: s.call == "write" and s.path.startswith("manifest.json"),
    "the manifest is renamed": lambda s: s.call == "replace" and s.path == "manifest.json",
    "the report is written": lambda s: s.call == "write" and s.path.startswith("report.html"),
    "the sums are flushed": lambda s: s.call == "fsync" and s.path.startswith("SHA256SUMS"),
    "the log of runs is written": lambda s: s.call == "write" and s.path.endswith("runs.jsonl"),
}
"""Where on its way the disk begins to refuse. Ten and more for each kind of refusal."""

SPACE = r"while writing \S+ \((it takes [\d,]+ bytes or more, )?[\d,]+ MiB are free\)"
SAYS = {
    "ENOSPC": "no space left on the disk " + SPACE,
    "EDQUOT": "no space left in the quota " + SPACE,
    "EROFS": r"\S+ cannot be written: Read-only file system",
    "EACCES": r"\S+ cannot be written: Permission denied",
    "EPERM": r"\S+ cannot be written: Operation not permitted",
}
ADVICE = {"ENOSPC": "Free space", "EDQUOT": "Free space", "EROFS": "permissions", "EACCES": "permissions"}


@dataclass(frozen=True)
class Unbroken:
    files: dict[str, str]
    steps: list[Step]

    def at(self, point: str) -> int:
        return next(step.number for step in self.steps if POINTS[point](step))


@pytest.fixture(scope="module")
def unbroken(home: Path, tenant: SandboxProcess, forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    folder = tmp_path_factory.mktemp("unbroken")
    steps = forks.steps(Cli(home, folder, tenant.url), folder / "A", "backup", "A", *BACKUP)
    return Unbroken(tree(folder / "A"), steps)


@pytest.fixture
def one(home: Path, tenant: SandboxProcess, tmp_path: Path) -> Cli:
    return Cli(home, tmp_path, tenant.url)


def check_finals(root: Path, whole: Mapping[str, str]) -> None:
    """Whatever has its final name has all its bytes."""
    for path, digest in tree(root).items():
        assert path.endswith(".partial") or digest == whole[path], f"{path} is not what it should be"


@pytest.mark.parametrize("error", SAYS)
def test_wherever_the_disk_begins_to_refuse_it_is_said_and_the_same_command_continues(
    error: str, unbroken: Unbroken, forks: Forks, one: Cli, rng: random.Random, is_long: bool
) -> None:
    for number, point in enumerate(POINTS if is_long else rng.sample(list(POINTS), 10)):
        root = one.cwd / f"A{number}"
        args = ("backup", root, *BACKUP)
        short = error in ("ENOSPC", "EDQUOT")
        ended = forks.run(one, root, *args, at=unbroken.at(point), how=error, short=short).ok(1)
        assert re.search(SAYS[error], ended.err), (point, ended.err)
        assert ADVICE.get(error, "permissions") in ended.err
        assert ended.err.count("error:") == 1, (point, ended.err)
        check_finals(root, unbroken.files)
        forks.run(one, root, *args).ok()
        assert tree(root) == unbroken.files, point


def test_wherever_the_archive_is_removed_it_is_said_and_the_same_command_makes_it_anew(
    forks: Forks, one: Cli, rng: random.Random, is_long: bool
) -> None:
    whole = Unbroken({}, forks.steps(one, one.cwd / "whole", "backup", "whole", *TWO))
    files = tree(one.cwd / "whole")
    for number, point in enumerate(POINTS if is_long else rng.sample(list(POINTS), 10)):
        root = one.cwd / f"A{number}"
        args = ("backup", root, *TWO)
        ended = forks.run(one, root, *args, at=whole.at(point), how="remove").ok(1)
        assert re.search("its folder is gone|vanished while the run was at work", ended.err), (point, ended.err)
        assert "Run the same command again" in ended.err
        forks.run(one, root, *args).ok()
        assert tree(root) == files, point


@pytest.mark.parametrize("when", ["killed", "at work"])
def test_a_part_that_somebody_removed_is_in_no_manifest_and_is_fetched_again(
    when: str, forks: Forks, one: Cli, unbroken: Unbroken
) -> None:
    root = one.cwd / "A"
    part = root / "data" / "devices" / "devices.csv"
    at = unbroken.at("the manifest is written")
    if when == "killed":
        forks.run(one, root, "backup", root, *BACKUP, at=at)
        part.unlink()
    else:
        script = one.cwd / "sitecustomize.py"
        script.write_text(
            "import os\n"
            "from intune_dw_cli.archive import journal\n"
            "commit = journal.Journal.commit\n"
            "def remove(self, record):\n"
            "    commit(self, record)\n"
            f"    os.unlink({str(part)!r})\n"
            "journal.Journal.commit = remove\n",
            "utf-8",
        )
        said = one("backup", root, *BACKUP, env={"PYTHONPATH": str(one.cwd)}).ok(1)
        assert f"{part} vanished while the run was at work" in said.err
        assert not (root / "manifest.json").exists()
    forks.run(one, root, "backup", root, *BACKUP).ok()
    assert tree(root) == unbroken.files


def test_a_full_disk_that_some_of_the_run_fits_on_tells_how_much_the_rest_needs(forks: Forks, one: Cli) -> None:
    root = one.cwd / "A"
    forks.run(one, root, "backup", "A", *TWO).ok()
    users = (root / "data" / "users" / "users.csv").stat().st_size
    shutil.copytree(root, one.cwd / "B")
    steps = forks.steps(one, one.cwd / "B", "backup", "B", *TWO)
    at = next(s.number for s in steps if s.call == "write" and s.path.startswith("data/users"))
    ended = forks.run(one, root, "backup", "A", *TWO, at=at, how="ENOSPC").ok(1)
    assert f"what is complete is kept. It needs about {round(users / 1024)} KiB more." in ended.err


@pytest.mark.parametrize("form", [(), ("-f", "parquet")], ids=["csv", "parquet"])
def test_a_pull_that_the_disk_refuses_leaves_no_file(
    form: tuple[str, ...], forks: Forks, one: Cli, rng: random.Random
) -> None:
    out = one.cwd / "out"
    out.mkdir()
    args = ("pull", "devices", "users", "-o", "out/", "--workers", "1", *form)
    steps = forks.steps(one, out, *args)
    whole = tree(out)
    for step in rng.sample([s for s in steps if s.call in ("open", "write", "fsync", "replace")], 6):
        shutil.rmtree(out)
        out.mkdir()
        ended = forks.run(one, out, *args, at=step.number, how="ENOSPC", short=True).ok(1)
        assert "no space left on the disk" in ended.err
        for path, digest in tree(out).items():
            assert digest == whole[path], (step, path)
        forks.run(one, out, *args).ok()
        assert tree(out) == whole, step


def in_namespace(script: str, cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a shell script as root of a user namespace with mounts of its own; skip where the machine allows none."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no user namespace to mount a small disk in (unshare -rm)")
    command = [unshare, "-rm", "sh", "-euc", script]
    return subprocess.run(command, cwd=cwd, env=dict(env), check=False, capture_output=True, text=True, timeout=120)


def test_a_disk_that_is_really_full_is_said_and_with_more_room_the_same_command_continues(
    one: Cli, unbroken: Unbroken
) -> None:
    (one.cwd / "disk").mkdir()
    script = f"""
        mount -t tmpfs -o size=48k none disk
        code=0; {INTUNE_DW} backup disk/A {" ".join(BACKUP)} || code=$?
        test $code = 1
        find disk/A -name '*.partial' | wc -l
        mount -o remount,size=64m none disk
        {INTUNE_DW} backup disk/A {" ".join(BACKUP)} 2>second
        cp -r disk/A A
    """
    ended = in_namespace(script, one.cwd, one.environment())
    assert ended.returncode == 0, ended.stderr
    assert re.search("warning: only [0-9]+ KiB are free on the disk", ended.stderr), ended.stderr
    assert re.search(SAYS["ENOSPC"], ended.stderr)
    assert ended.stdout.strip() == "0"
    assert tree(one.cwd / "A") == unbroken.files


def test_a_disk_that_is_really_read_only_is_said(one: Cli) -> None:
    (one.cwd / "disk").mkdir()
    script = f"""
        mount -t tmpfs none disk
        mount -o remount,ro none disk
        {INTUNE_DW} backup disk/A {" ".join(BACKUP)}
    """
    ended = in_namespace(script, one.cwd, one.environment())
    assert ended.returncode == 1, ended.stderr
    assert re.search(SAYS["EROFS"], ended.stderr)


def test_a_folder_that_is_really_not_for_us_is_said(one: Cli) -> None:
    (one.cwd / "theirs").mkdir(mode=0o500)
    command: list[str] = [INTUNE_DW, "backup", "theirs/A", *BACKUP]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may write anywhere, and there is no setpriv to take that away")
        command = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", *command]
    process = subprocess.Popen(
        command, cwd=one.cwd, env=one.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert re.search(SAYS["EACCES"], finish(process).ok(1).err)


def test_a_limit_on_the_size_of_files_is_said(one: Cli, unbroken: Unbroken) -> None:
    process = subprocess.Popen(
        ["sh", "-c", f'ulimit -f 8; exec {INTUNE_DW} "$@"', "sh", "backup", "A", *BACKUP],
        cwd=one.cwd,
        env=one.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert "larger than the file system or a limit (ulimit -f) allows" in finish(process).ok(1).err
    check_finals(one.cwd / "A", unbroken.files)
    one("backup", "A", *BACKUP).ok()
    assert tree(one.cwd / "A") == unbroken.files


def test_room_is_estimated_from_what_is_held_before_a_run_begins(one: Cli, forks: Forks) -> None:
    root = one.cwd / "A"
    dry = one("backup", root, *BACKUP, "--dry-run", "--json").ok().json
    assert dry["bytes_needed"] is None
    assert dry["bytes_free"] > 0
    forks.run(one, root, "backup", root, *BACKUP).ok()
    size = (root / "data" / "devices" / "devices.csv").stat().st_size
    assert one("backup", root, *BACKUP, "--dry-run", "--json").ok().json["bytes_needed"] == size
    shown = one("backup", root, *BACKUP, "--dry-run").ok()
    assert f"it would take about {round(size / 1024)} KiB, judged by what is held" in shown.err
    assert not (root / STATE / "journal.jsonl").exists()


def test_where_room_is_short_the_run_says_so_before_it_begins(one: Cli) -> None:
    one("backup", "A", *BACKUP).ok()
    (one.cwd / "sitecustomize.py").write_text(
        "import collections, shutil\n"
        "shutil.disk_usage = lambda path: collections.namedtuple('Usage', 'total used free')(9, 9, 1024)\n",
        "utf-8",
    )
    for more in ((), ("--dry-run",)):
        said = one("backup", "A", *BACKUP, *more, env={"PYTHONPATH": str(one.cwd)}).ok()
        assert re.search(r"warning: this run needs about \d+ KiB on the disk, and 1 KiB are free", said.err)
