"""How the days in a partitioned folder are redacted: one table must not hold some of them redacted and some clear.

A CSV header does not tell pseudonyms from what they stand for, and no file tells the key. So a small file beside the
collection's folder holds the redaction's label; where there is none, the days are as served.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from intune_dw_cli.data.redact import in_words
from intune_dw_cli.errors import UsageError
from intune_dw_cli.export.files import PARTIAL, disk_errors, write_atomic
from intune_dw_cli.export.plan import CollectionPlan


def keep_to_one_redaction(root: Path, plans: Iterable[CollectionPlan], folders: Mapping[str, str]) -> None:
    """Note how the days that are about to come are redacted, unless others are there that are redacted otherwise.

    Args:
        root: The partitioned folder.
        folders: The folder of each collection below it, by the collection's name.

    Raises:
        UsageError: they are; nothing was changed.
        OutputError: the disk does not take the note.
    """
    dated = [plan for plan in plans if plan.entity_set.date_key is not None]
    new = [plan for plan in dated if not _has_days(root / folders[plan.entity_set.name])]
    for plan in dated:
        folder = root / folders[plan.entity_set.name]
        mine, held = plan.schema.redaction, _noted(_note_of(folder))
        if plan not in new and mine != held:
            raise UsageError(
                f"personal columns of the days in {folder} are {in_words(held)}; in this run they would be "
                f"{in_words(mine)}",
                hint="Give another folder with -o, or the --redact and the key with which these days were pulled.",
                collection=plan.entity_set.name,
            )
    for plan in new:
        note, label = _note_of(root / folders[plan.entity_set.name]), plan.schema.redaction
        if label is not None:
            write_atomic(note, f"{label}\n".encode())
        else:
            with disk_errors(note), contextlib.suppress(FileNotFoundError):
                note.unlink()


def _note_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.redaction")


def _noted(note: Path) -> str | None:
    with disk_errors(note), contextlib.suppress(FileNotFoundError):
        return note.read_text("utf-8").strip()
    return None


def _has_days(folder: Path) -> bool:
    return any(part.suffix != PARTIAL for part in folder.glob("dateKey=*/part.*"))
