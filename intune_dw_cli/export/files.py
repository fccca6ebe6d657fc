"""Files that appear whole or not at all, private to the user.

A file is written as `NAME.partial` beside its final name, then flushed to the disk, checked and renamed. Only the
rename makes it real; whatever stops the process before leaves the final name untouched.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from intune_dw_cli.errors import OutputError
from intune_dw_cli.windows import replace, windows_error

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

PARTIAL = ".partial"
FREE_SPACE = "Free space or choose another disk, then run the same command again; what is complete is kept"
_FILE_MODE = 0o600
_FOLDER_MODE = 0o700


class AtomicFile(io.RawIOBase):
    """A binary file under construction: counts and hashes what is written.

    Args:
        path: The final name. Missing folders are made.
        root: A folder above it that the file may not leave: no folder in between may be a symbolic link.
        within: A folder that must be there already: gone, it was removed by somebody, and is not made anew.

    Raises:
        OutputError: the disk does not take it, or it would lie elsewhere.
    """

    def __init__(self, path: Path, root: Path | None = None, *, within: Path | None = None) -> None:
        super().__init__()
        self.path = path
        self._root = root
        self.partial = path.with_name(path.name + PARTIAL)
        self.size = 0
        self._hash = hashlib.sha256()
        self._file: io.BufferedWriter | None = None
        with disk_errors(path):
            if within is not None:
                within.stat()
            self._refuse_links(path)
            make_folder(path.parent)
            self._file = open_private(self.partial)

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Buffer, /) -> int:
        """Append bytes. Raises OutputError when the disk does not take them."""
        view = memoryview(data)
        assert self._file is not None, "written after the end"
        with disk_errors(self.path, self.size + view.nbytes):
            self._file.write(view)
        self._hash.update(view)
        self.size += view.nbytes
        return view.nbytes

    @property
    def sha256(self) -> str:
        """Hex digest of what was written so far."""
        return self._hash.hexdigest()

    def prepare(self) -> None:
        """Flush to the disk and check the length, without giving the final name yet."""
        assert self._file is not None, "ended twice"
        with disk_errors(self.path, self.size):
            self._file.flush()
            os.fsync(self._file.fileno())
            written = os.fstat(self._file.fileno()).st_size
            self._file.close()
        self._file = None
        if written != self.size:
            raise OutputError(
                f"{self.partial} has {written} bytes on the disk, {self.size} were written",
                hint="Something else writes to this folder, or the disk is failing.",
            )

    def commit(self, path: Path | None = None) -> None:
        """Give the file its final name, or another on the same disk, replacing what was there; then it is durable."""
        if self._file is not None:
            self.prepare()
        final = path or self.path
        with disk_errors(final, self.size):
            self._refuse_links(final)
            if path is not None:
                make_folder(final.parent)  # its own was there when it was opened: gone, it was removed by somebody
            replace(self.partial, final)
            sync_folder(final.parent)

    def discard(self) -> None:
        """Remove what was written. Does nothing after `commit`."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None
        with contextlib.suppress(OSError):
            self.partial.unlink()

    def _refuse_links(self, path: Path) -> None:
        if self._root is not None:
            refuse_links(self._root, path)


def write_atomic(path: Path, data: bytes, root: Path | None = None, *, within: Path | None = None) -> None:
    """Write a whole small file. Arguments and errors as for AtomicFile."""
    file = AtomicFile(path, root, within=within)
    try:
        file.write(data)
        file.commit()
    except BaseException:
        file.discard()
        raise


def copy_atomic(source: Path, target: Path, root: Path | None = None) -> None:
    """Copy a file, of any size, to a name where it appears whole. Raises what AtomicFile raises."""
    file = AtomicFile(target, root)
    try:
        with disk_errors(source), source.open("rb") as stream:
            shutil.copyfileobj(stream, file)
        file.commit()
    except BaseException:
        file.discard()
        raise


def open_private(path: Path) -> io.BufferedWriter:
    """Create a file that only the user can read, replacing a left-over; never follows a symbolic link."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags, _FILE_MODE)
    if hasattr(os, "fchmod"):
        os.fchmod(descriptor, _FILE_MODE)  # whatever the umask says
    return os.fdopen(descriptor, "wb")


def open_append(path: Path, *, devices: bool = False) -> io.BufferedWriter:
    """Open a file for appending, created for the user alone where it does not exist; never follows a symbolic link.

    Args:
        devices: Whether a link to something that is no file, such as /dev/stderr, may be followed.

    Raises:
        OSError: ELOOP where it is a link; what opening a file raises.
    """
    follow = devices and path.exists() and not path.is_file()
    if path.is_symlink() and not follow:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
    if not follow:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    is_new = not path.exists()
    descriptor = os.open(path, flags, _FILE_MODE)
    if is_new and hasattr(os, "fchmod"):
        os.fchmod(descriptor, _FILE_MODE)  # whatever the umask says
    return os.fdopen(descriptor, "ab")


def refuse_links(root: Path, path: Path) -> None:
    """Refuse a path that leaves its root by a symbolic link: none of its folders below the root may be one.

    Raises:
        OutputError: one is; it is named.
    """
    for folder in path.relative_to(root).parents:
        if folder != Path() and (root / folder).is_symlink():
            raise output_error(OSError(errno.ELOOP, os.strerror(errno.ELOOP)), root / folder)


def make_folder(path: Path) -> None:
    """Create a folder and its missing parents, each for the user alone; folders that exist are left as they are."""
    missing = []
    while not path.exists():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=_FOLDER_MODE)
            folder.chmod(_FOLDER_MODE)


def sync_folder(path: Path) -> None:
    """Make renames in a folder durable, where the system has a way to (POSIX)."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems
            raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def disk_errors(path: Path, size: int = 0) -> Iterator[None]:
    """Turn an OSError about a path into an OutputError that says what to do.

    Args:
        path: The file.
        size: Bytes that it has at least when it is whole; 0 where that is not known.
    """
    try:
        yield
    except OSError as error:
        raise output_error(error, path, size) from None


def output_error(error: OSError, path: Path, size: int = 0) -> OutputError:
    """Return the OutputError for an OSError; arguments as for `disk_errors`."""
    if (known := windows_error(error, path)) is not None:
        return known
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        where = "on the disk" if error.errno == errno.ENOSPC else "in the quota"
        figures = [f"it takes {size:,} bytes or more"] * (size > 0) + _free(path)
        told = f" ({', '.join(figures)})" if figures else ""
        full = OutputError(f"no space left {where} while writing {path}{told}", hint=f"{FREE_SPACE}.")
        full.no_space = True
        return full
    what, hint = _ADVICE.get(error.errno or 0, ("cannot be written: {0}", "Check the path and the disk."))
    return OutputError(f"{path} {what.format(error.strerror or error)}", hint=hint)


_PERMISSIONS = (
    "cannot be written: {0}",
    "Check the permissions of the file and its folder.",
)
_IN_THE_WAY = (
    "cannot be written: something else is in the way ({0})",
    "Choose another name, or move what is there.",
)
_ADVICE = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _PERMISSIONS),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST, errno.EISDIR), _IN_THE_WAY),
    errno.ELOOP: (
        "is a symbolic link: what is written there would go somewhere else",
        "Remove the link, or name the place that it leads to.",
    ),
    errno.EFBIG: (
        "cannot be written: it grew larger than the file system or a limit (ulimit -f) allows",
        "Choose another disk or a higher limit, or take less: Parquet, --compression.",
    ),
    errno.ENOENT: (
        "cannot be written: its folder is gone or cannot be made",
        "Check the path. Run the same command again if something removed the folder meanwhile.",
    ),
}


def _free(path: Path) -> list[str]:
    for folder in path.absolute().parents:
        with contextlib.suppress(OSError):
            return [f"{shutil.disk_usage(folder).free // (1024 * 1024):,} MiB are free"]
    return []
