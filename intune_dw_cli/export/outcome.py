"""What became of what was to be fetched: of each slice, and of a collection."""

from __future__ import annotations

from dataclasses import dataclass, field

from intune_dw_cli.errors import IntuneDwError
from intune_dw_cli.export.parts import Part
from intune_dw_cli.export.plan import CollectionPlan, Slice


@dataclass(frozen=True, slots=True)
class SliceResult:
    """A slice whose rows are all in committed files.

    Attributes:
        duplicates: Rows that repeat another row's key, None where that was not looked at.
        absent: Declared properties that no row had.
        parts: The committed files.
    """

    slice: Slice
    rows: int
    pages: int
    duplicates: int | None
    absent: tuple[str, ...]
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class SliceFailure:
    """A slice that could not be fetched, and why."""

    slice: Slice
    error: IntuneDwError


@dataclass(slots=True)
class CollectionOutcome:
    """What became of a collection: complete when `failures` is empty."""

    plan: CollectionPlan
    results: list[SliceResult] = field(default_factory=list)
    failures: list[SliceFailure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Rows in this run's committed slices."""
        return sum(r.rows for r in self.results)
