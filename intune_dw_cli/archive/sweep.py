"""Removing what a killed run left half written."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from contextlib import suppress
from pathlib import Path

from intune_dw_cli.export.files import PARTIAL, disk_errors


def remove_partials(root: Path, *, sound: Container[str]) -> None:
    """Remove the files of an archive that were left half written, and folders that are empty without them.

    Args:
        root: The archive's folder.
        sound: Names of folders in it that need not be looked into.

    Raises:
        OutputError: the disk does not take it.
    """
    with disk_errors(root):
        for left in [*_partials(root, sound)]:
            left.unlink()
            with suppress(OSError):
                left.parent.rmdir()


def _partials(root: Path, sound: Container[str]) -> Iterator[Path]:
    """Yield the files that were left half written. (`rglob` takes three times as long.)"""
    top, folders = str(root), [str(root)]
    while folders:
        folder = folders.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if folder != top or entry.name not in sound:
                        folders.append(entry.path)
                elif entry.name.endswith(PARTIAL):
                    yield Path(entry.path)
