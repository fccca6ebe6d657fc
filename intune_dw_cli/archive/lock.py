"""One run at a time: the archive's lock, held by the operating system and gone with the process that held it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from filelock import FileLock, Timeout

from intune_dw_cli.archive.layout import Layout
from intune_dw_cli.errors import ArchiveLockedError
from intune_dw_cli.export.files import disk_errors, make_folder, write_atomic


@contextmanager
def archive_lock(layout: Layout) -> Iterator[None]:
    """Hold the archive's lock.

    Raises:
        ArchiveLockedError: another run holds it; the message names its process, host and start.
        OutputError: the folder cannot be written.
    """
    with disk_errors(layout.lock):
        make_folder(layout.state)
        lock = FileLock(layout.lock, mode=0o600)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ArchiveLockedError(
                f"another run is at work in {layout.root}{_holder(layout)}",
                hint="Wait for it to end. A lock cannot be left behind: it goes when that process ends.",
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
        holder = json.loads(layout.holder.read_bytes())
        return f" (process {holder['pid']} on {holder['host']}, started {holder['started']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
