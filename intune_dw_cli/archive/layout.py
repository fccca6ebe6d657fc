"""Where things are in an archive."""

from __future__ import annotations

from pathlib import Path

from intune_dw_cli.errors import ArchiveError
from intune_dw_cli.export.files import PARTIAL

MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
METADATA = "metadata.xml"
SERVICE = "service.json"
REPORT = "report.html"
VIEWS = "views.sql"
DATA = "data"
HISTORY = "history"
STATE = ".intune-dw"
SMALLER = f"{STATE}/smaller"


class Layout:
    """The paths of one archive."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifest = root / MANIFEST
        self.sums = root / SUMS
        self.metadata = root / METADATA
        self.service = root / SERVICE
        self.report = root / REPORT
        self.views = root / VIEWS
        self.state = root / STATE
        self.journal = self.state / "journal.jsonl"
        self.lock = self.state / "lock"
        self.holder = self.state / "lock-holder.json"
        self.runs = self.state / "runs.jsonl"

    @property
    def exists(self) -> bool:
        """Whether an archive is here, finished or begun."""
        return self.manifest.is_file() or self.journal.is_file()

    @property
    def lost_manifest(self) -> bool:
        """Whether everything but the manifest says that a finished archive was here."""
        return not self.exists and self.sums.is_file() and self.state.is_dir()

    def require(self) -> None:
        """Raise ArchiveError when no archive is here."""
        if not self.exists:
            what = "is no archive (it has no manifest.json)" if self.root.is_dir() else "does not exist"
            raise ArchiveError(f"{self.root} {what}", hint="Make one with: intune-dw backup " + str(self.root))

    def refuse_links(self) -> None:
        """Raise ArchiveError where the archive's own folders or files are symbolic links: they would lead elsewhere."""
        for folder in (self.root, self.state):
            if not folder.is_dir():
                continue
            for entry in folder.iterdir():
                if entry.is_symlink() and entry.suffix != PARTIAL:  # half-written files are replaced, never followed
                    raise ArchiveError(
                        f"{entry} is a symbolic link, and an archive holds its own files",
                        hint="Remove the link, and bring back what should be there from a copy of the archive.",
                    )

    def require_usable(self) -> None:
        """Raise ArchiveError when a backup cannot be put here: something else is."""
        if self.root.exists() and not self.root.is_dir():
            raise ArchiveError(f"{self.root} is a file, not a folder", hint="Give the name of a folder.")
        if self.exists or not self.root.is_dir():
            return
        if any(entry.name != STATE for entry in self.root.iterdir()):
            raise ArchiveError(
                f"{self.root} holds other files and is no archive",
                hint="Give an empty folder, or a name that does not exist yet.",
            )
