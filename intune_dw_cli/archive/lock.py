"""One run at a time: the archive's lock, held by the operating system and gone with the process that held it."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from filelock import FileLock, Timeout

from intune_dw_cli import jsontext
from intune_dw_cli.archive.layout import Layout
from intune_dw_cli.errors import ArchiveLockedError, OutputError
from intune_dw_cli.export.files import disk_errors, make_folder, write_atomic

_SETTLED = 0.3  # seconds in which a run that has just taken the lock has put its name to it
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})


@contextmanager
def archive_lock(layout: Layout) -> Iterator[None]:
    """Hold the archive's lock.

    It keeps apart the runs of one machine, and of several where the archive is on a share that passes locks on. A share
    that says it has none is refused; one that keeps each machine's locks to itself (NFS mounted with `nolock` or
    `local_lock`, SMB with `nobrl`) cannot be told from a local disk.

    Raises:
        ArchiveLockedError: another run holds it; the message names its process, host and start.
        ArchiveError: one of the archive's own folders or files is a symbolic link.
        OutputError: the folder cannot be written, or is on a file system without locks.
    """
    with disk_errors(layout.lock):
        layout.refuse_links()
        make_folder(layout.state)
        lock = FileLock(layout.lock, mode=0o600, fallback_to_soft=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            time.sleep(_SETTLED)
            raise ArchiveLockedError(
                f"another run is at work in {layout.root}{_holder(layout)}",
                hint="Wait for it to end. A lock cannot be left behind: it goes when that process ends.",
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            raise OutputError(
                f"the file system of {layout.root} has no locks ({error.strerror}): two runs could meet in it",
                hint="Back up to a local disk, or to a share that has locks, and copy the archive when it is complete.",
            ) from None
    try:
        started = datetime.now(UTC).isoformat(timespec="seconds")
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "started": started}
        write_atomic(layout.holder, json.dumps(holder).encode())
        yield
    finally:
        with suppress(OSError):
            layout.holder.unlink()
        lock.release()


def _holder(layout: Layout) -> str:
    try:
        holder = jsontext.loads(layout.holder.read_bytes())
        return f" (process {holder['pid']} on {holder['host']}, started {holder['started']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
