"""A file is private, whole or absent, and never written through somebody else's link."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from intune_dw_cli.errors import OutputError
from intune_dw_cli.export import files
from intune_dw_cli.export.files import AtomicFile, copy_atomic, make_folder, open_private, write_atomic


@pytest.fixture(params=[0o000, 0o777, 0o022], ids=oct)
def any_umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


class FailingFile:
    """A file that fails with an error number when it is asked to do one thing."""

    def __init__(self, file: object, failing: str, number: int) -> None:
        self._file, self._failing, self._number = file, failing, number

    def __getattr__(self, name: str) -> object:
        if name == self._failing:
            raise OSError(self._number, os.strerror(self._number))
        return getattr(self._file, name)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """Make every new file fail at `write` or `flush` with an error number."""

    def arrange(operation: str, number: int) -> None:
        monkeypatch.setattr(files, "open_private", lambda path: FailingFile(open_private(path), operation, number))

    return arrange


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.mark.usefixtures("any_umask")
def test_files_and_new_folders_are_for_the_user_alone_whatever_the_umask(tmp_path: Path) -> None:
    target = tmp_path / "new" / "deeper" / "file.csv"
    file = AtomicFile(target)
    file.write(b"rows")
    assert mode(file.partial) == 0o600
    file.commit()
    assert (mode(target), mode(target.parent), mode(target.parent.parent)) == (0o600, 0o700, 0o700)


def test_a_folder_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir(mode=0o755)
    (tmp_path / "shared").chmod(0o755)
    make_folder(tmp_path / "shared" / "mine")
    assert (mode(tmp_path / "shared"), mode(tmp_path / "shared" / "mine")) == (0o755, 0o700)


def test_a_link_planted_under_the_partial_name_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "out.csv.partial").symlink_to(victim)
    write_atomic(tmp_path / "out.csv", b"rows")
    assert victim.read_bytes() == b"precious"
    assert (tmp_path / "out.csv").read_bytes() == b"rows"
    assert not (tmp_path / "out.csv").is_symlink()


def test_a_link_that_appears_just_before_the_file_is_opened_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "out.csv.partial").symlink_to(tmp_path / "victim")
    monkeypatch.setattr(Path, "unlink", lambda _self: None)  # the attacker is quicker
    with pytest.raises(OutputError, match="in the way"):
        AtomicFile(tmp_path / "out.csv")
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_a_link_under_the_final_name_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "out.csv").symlink_to(victim)
    write_atomic(tmp_path / "out.csv", b"rows")
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "out.csv").is_symlink()
    assert (tmp_path / "out.csv").read_bytes() == b"rows"


@pytest.mark.parametrize("operation", ["write", "flush", "fileno"])
@pytest.mark.parametrize(
    ("number", "says", "advises"),
    [
        (errno.ENOSPC, r"no space left on the disk while writing .*out\.csv \(.*[\d,]+ MiB are free\)", "Free space"),
        (errno.EDQUOT, "no space left in the quota", "Free space"),
        (errno.EACCES, "cannot be written: Permission denied", "permissions"),
        (errno.EPERM, "cannot be written", "permissions"),
        (errno.EROFS, "cannot be written: Read-only", "permissions"),
        (errno.EIO, "cannot be written: Input/output error", "Check the path and the disk"),
    ],
    ids=lambda v: errno.errorcode.get(v) if isinstance(v, int) else "",
)
def test_an_error_of_the_disk_says_what_to_do_and_the_old_file_stays(
    tmp_path: Path, failing, operation: str, number: int, says: str, advises: str
) -> None:
    target = tmp_path / "out.csv"
    write_atomic(target, b"yesterday")
    failing(operation, number)
    with pytest.raises(OutputError, match=says) as caught:
        write_atomic(target, b"today")
    assert advises in (caught.value.hint or "")
    assert os.listdir(tmp_path) == ["out.csv"]  # noqa: PTH208
    assert target.read_bytes() == b"yesterday"


def test_a_rename_that_is_refused_leaves_the_old_file_and_no_partial_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.csv"
    write_atomic(target, b"yesterday")

    def refuse(_source: object, _target: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OutputError, match="Permission denied"):
        write_atomic(target, b"today")
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]
    assert target.read_bytes() == b"yesterday"


def test_the_file_is_on_the_disk_before_its_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace
    folder = os.stat(tmp_path).st_ino  # noqa: PTH116

    def note_fsync(descriptor: int) -> None:
        done.append("sync folder" if os.fstat(descriptor).st_ino == folder else "sync file")
        fsync(descriptor)

    def note_replace(source: Path, target: Path) -> None:
        done.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    write_atomic(tmp_path / "out.csv", b"rows")
    assert done == ["sync file", "rename", "sync folder"]


def test_a_length_that_is_not_what_was_written_is_noticed_before_the_rename(tmp_path: Path) -> None:
    file = AtomicFile(tmp_path / "out.csv")
    file.write(b"rows")
    with file.partial.open("ab") as other:
        other.write(b"theirs, not ours")
    with pytest.raises(OutputError, match="has 16 bytes on the disk") as caught:
        file.commit()
    assert "Something else writes" in (caught.value.hint or "")
    file.discard()
    assert list(tmp_path.iterdir()) == []


def test_size_and_hash_are_those_of_the_file(tmp_path: Path) -> None:
    file = AtomicFile(tmp_path / "out.csv")
    for piece in (b"a" * 5000, bytearray(b"b" * 70000), memoryview(b"c")):
        assert file.write(piece) == len(piece)
    file.prepare()
    assert not (tmp_path / "out.csv").exists()
    file.commit()
    data = (tmp_path / "out.csv").read_bytes()
    assert (file.size, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_discard_removes_what_was_written_and_after_the_commit_nothing(tmp_path: Path) -> None:
    file = AtomicFile(tmp_path / "out.csv")
    file.write(b"rows")
    file.discard()
    assert list(tmp_path.iterdir()) == []
    whole = AtomicFile(tmp_path / "out.csv")
    whole.commit()
    whole.discard()
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]


def test_a_file_may_be_committed_under_another_name(tmp_path: Path) -> None:
    file = AtomicFile(tmp_path / "out.csv")
    file.write(b"rows")
    file.commit(tmp_path / "aside" / "out.csv")
    assert (tmp_path / "aside" / "out.csv").read_bytes() == b"rows"
    assert not (tmp_path / "out.csv").exists()


def test_what_is_in_the_way_is_named_and_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="in the way") as caught:
        write_atomic(tmp_path / "file" / "out.csv", b"")
    assert "Choose another name" in (caught.value.hint or "")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="in the way"):
        write_atomic(tmp_path / "folder", b"rows")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_a_copy_appears_whole_or_not_at_all(tmp_path: Path, failing) -> None:
    (tmp_path / "source").write_bytes(b"x" * 3_000_000)
    copy_atomic(tmp_path / "source", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"x" * 3_000_000
    with pytest.raises(OutputError):
        copy_atomic(tmp_path / "missing", tmp_path / "copy")
    failing("write", errno.ENOSPC)
    with pytest.raises(OutputError, match="no space"):
        copy_atomic(tmp_path / "source", tmp_path / "copy")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy", "source"]
    assert (tmp_path / "copy").stat().st_size == 3_000_000


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EIO], ids=errno.errorcode.get)
def test_a_file_system_that_cannot_sync_folders_is_no_error_but_a_failing_disk_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    if number == errno.EIO:
        with pytest.raises(OSError, match="Input/output"):
            files.sync_folder(tmp_path)
    else:
        files.sync_folder(tmp_path)
