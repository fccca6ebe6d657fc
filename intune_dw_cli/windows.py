"""What is different on Windows where files are written: files that others hold, and paths that are too long."""

from __future__ import annotations

import os
import time
from pathlib import Path

from intune_dw_cli.errors import OutputError

# winerror.h
_HELD = frozenset({5, 32, 33})  # ERROR_ACCESS_DENIED (a rename over an open file), SHARING_VIOLATION, LOCK_VIOLATION
_TOO_LONG = frozenset({2, 3, 206})  # FILE_NOT_FOUND, PATH_NOT_FOUND, FILENAME_EXCED_RANGE
_LONGEST = 259  # MAX_PATH without the closing NUL
_PATIENCE = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds between attempts to replace a file that something holds."""


def replace(source: Path, target: Path) -> None:
    """Rename over what is there; on Windows wait a moment for virus scanners and indexers, which open what is new."""
    for wait in (*_PATIENCE, None):
        try:
            os.replace(source, target)  # noqa: PTH105 - the atomic primitive, by its name
        except PermissionError as error:
            if wait is None or _code(error) not in _HELD:
                raise
            time.sleep(wait)
        else:
            return


def windows_error(error: OSError, path: Path) -> OutputError | None:
    """Return what Windows alone knows of an error about a path, None where that is nothing."""
    code, length = _code(error), len(os.fspath(path.absolute()))
    if code in _HELD and path.exists():
        return OutputError(
            f"{path} cannot be written: it is open in another program, or may not be changed",
            hint="Close it there (Excel holds a file as long as it shows it) and run the same command again, or write "
            "elsewhere. What was there before is unchanged.",
        )
    if code in _TOO_LONG and length > _LONGEST:
        return OutputError(
            f"{path} cannot be written: the path has {length} characters, and this Windows takes {_LONGEST}",
            hint="Choose a folder with a shorter name, such as D:\\intune, or allow long paths (LongPathsEnabled).",
        )
    return None


def _code(error: OSError) -> int | None:
    """Return the Windows error code, None elsewhere."""
    code = getattr(error, "winerror", None)
    return code if isinstance(code, int) else None
