"""Where configuration, token cache and state live, and how a private file is written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from intune_dw_cli.errors import OutputError
from intune_dw_cli.windows import replace

HOME_VARIABLE = "INTUNE_DW_HOME"
_APP = "intune-dw"
PRIVATE = 0o600
"""Mode of every file: for its owner alone."""


@dataclass(frozen=True, slots=True)
class Locations:
    """The three directories of one user. None of them needs to exist.

    Attributes:
        config: Profiles.
        cache: The token cache.
        state: Logs and the like.
    """

    config: Path
    cache: Path
    state: Path

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Locations | None:
        """Return the directories, or None where the user has no home directory, as under some schedulers.

        `INTUNE_DW_HOME` puts all three under one folder. Otherwise they are where the platform wants them
        (platformdirs: XDG on Linux, Library on macOS, AppData\\Local on Windows).
        """
        home = environ.get(HOME_VARIABLE, "").strip()
        if home:
            root = Path(os.path.abspath(Path(home).expanduser()))  # noqa: PTH100 - resolve() would follow links
            return cls(root / "config", root / "cache", root / "state")
        try:
            found = cls(
                Path(platformdirs.user_config_dir(_APP, appauthor=False)),
                Path(platformdirs.user_cache_dir(_APP, appauthor=False)),
                Path(platformdirs.user_state_dir(_APP, appauthor=False)),
            )
        except (OSError, RuntimeError):
            return None
        return found if found.config.is_absolute() else None


def private_directory(path: Path) -> None:
    """Create a directory and its missing parents, each for its owner alone; what exists is left as it is.

    Raises:
        OutputError: it cannot be created.
    """
    try:
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(mode=0o700, exist_ok=True)
            folder.chmod(0o700)  # whatever the umask says
        path.mkdir(exist_ok=True)  # complains where a file is in the way
    except OSError as error:
        raise OutputError(f"cannot create {path}: {error.strerror}", hint=_ELSEWHERE) from None


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read (0600), wholly or not at all.

    A reader sees the old content or the new, never a part. On Windows the user's profile folder is what protects it.

    Raises:
        OutputError: the directory or the file cannot be written.
    """
    private_directory(path.parent)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)  # mode 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            replace(Path(name), path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}", hint=_ELSEWHERE) from None


_ELSEWHERE = f"Make the folder writable, or choose another one with the environment variable {HOME_VARIABLE}."
