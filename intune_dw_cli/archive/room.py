"""How much room on the disk a run needs, as far as what is held can tell, and how much there is."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from intune_dw_cli.export.parts import Part
from intune_dw_cli.export.plan import CollectionPlan, Slice

_MIB = 1024 * 1024
_LITTLE = 1024 * _MIB


@dataclass(frozen=True, slots=True)
class Room:
    """Room on the disk, in bytes.

    Attributes:
        needed: By the parts that the plan fetches, if they are as large as those held: a file that is replaced is there
            beside its successor for a while. None where nothing is held to tell it by.
        unknown: Collections to be fetched of which nothing is held.
        free: Of the disk, None where the system does not tell.
    """

    needed: int | None
    unknown: tuple[str, ...]
    free: int | None

    @property
    def needed_text(self) -> str:
        """What is needed, in words; empty where nothing tells it."""
        if not self.needed:
            return ""
        return f"{'at least ' if self.unknown else 'about '}{_text(self.needed)}"

    @property
    def warning(self) -> str | None:
        """What to say before a run begins; None where there is room enough."""
        if self.free is None:
            return None
        if self.needed is not None and self.needed > self.free:
            return f"this run needs {self.needed_text} on the disk, and {_text(self.free)} are free"
        if self.needed is None and self.free < _LITTLE:
            return f"only {_text(self.free)} are free on the disk; what a first backup takes, nobody knows beforehand"
        return None


def find_room(plans: Sequence[CollectionPlan], held: Mapping[str, Iterable[Part]], root: Path) -> Room:
    """Estimate what fetching takes, by the mean size of a collection's held days, or by its only file.

    Args:
        plans: What is still to be fetched.
        held: The parts of each collection that has any.
        root: The archive's folder, whether it exists or not.
    """
    needed, known, unknown = 0, False, []
    for plan in plans:
        sizes = [part.bytes for part in held.get(plan.entity_set.name, ())]
        if not sizes and plan.slices:
            unknown.append(plan.entity_set.name)
        if sizes:
            known = True
            # A range with an open end is there for days that nobody expects.
            files = sum(_files(each, len(sizes)) for each in plan.slices)
            needed += files * sum(sizes) // len(sizes)
    return Room(needed if known else None, tuple(unknown), _free(root))


def _files(item: Slice, held: int) -> int:
    """Return how many files of the mean size a slice brings, where so many are held."""
    if not item.filtered:
        return held
    return 0 if item.by_day else 1


def _free(root: Path) -> int | None:
    for folder in (root, *root.absolute().parents):
        try:
            return shutil.disk_usage(folder).free
        except OSError:
            continue
    return None


def _text(size: int) -> str:
    unit, name = (_MIB, "MiB") if size >= _MIB else (1024, "KiB")
    return f"{round(size / unit):,} {name}"
