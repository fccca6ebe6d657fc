"""The parts that earlier runs left, and what becomes of one for which fewer rows come."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from intune_dw_cli.archive.layout import SMALLER, Layout
from intune_dw_cli.archive.manifest import Manifest
from intune_dw_cli.export.files import make_folder
from intune_dw_cli.export.parts import Part
from intune_dw_cli.export.plan import Slice


class HeldParts:
    """Keeps parts of earlier runs from being replaced by ones with fewer rows: the PartGuard of an archive.

    Attributes:
        parts: All of them.
    """

    def __init__(self, layout: Layout, base: Manifest | None) -> None:
        self._layout = layout
        self._by_collection = {h.name: h.parts for h in base.collections.values()} if base else {}
        self._by_path = {part.path: part for parts in self._by_collection.values() for part in parts}
        self.parts = frozenset(self._by_path.values())
        self._smaller: dict[str, Part] = {}

    def held(self, path: str) -> Part | None:
        """Return the part that is held under a path."""
        return self._by_path.get(path)

    def replaced_by(self, item: Slice) -> list[str]:
        """Return the held parts that the rows of a slice may replace."""
        low, high = item.range.bounds()
        return [
            part.path
            for part in self._by_collection.get(item.collection, ())
            if part.date_key is None or (low or 0) <= part.date_key <= (high or part.date_key)
        ]

    def aside(self, path: str) -> Path:
        """Return where a smaller file that came for a path is put."""
        folder = self._layout.root / SMALLER
        make_folder(folder)
        return folder / PurePosixPath(path)

    def put_aside(self, part: Part) -> None:
        """Hear that the smaller file is there."""
        self._smaller[part.path] = replace(part, path=f"{SMALLER}/{part.path}")

    def smaller(self, parts: Iterable[Part]) -> tuple[Part, ...]:
        """Return what this run has put aside for parts that it kept."""
        return tuple(self._smaller[p.path] for p in parts if p in self.parts and p.path in self._smaller)
