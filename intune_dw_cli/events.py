"""What a run tells while it runs. The engine emits; whoever called it draws, logs or ignores.

Observers are called from worker threads, one at a time for each emitting thread: they must be thread-safe and quick.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events; `collection` is None for requests that belong to none."""

    collection: str | None


@dataclass(frozen=True, slots=True)
class CollectionPlanned(Event):
    """A collection is part of the run, with so many slices to fetch and so many already held."""

    slices: int
    held: int = 0
    rows_held: int = 0


@dataclass(frozen=True, slots=True)
class SliceStarted(Event):
    """A slice is being fetched."""

    slice: str


@dataclass(frozen=True, slots=True)
class PageFetched(Event):
    """A page arrived and decoded: its rows, and its bytes as they came over the wire."""

    rows: int
    wire_bytes: int


@dataclass(frozen=True, slots=True)
class SliceRestarted(Event):
    """A slice begins again, and `rows` rows that were counted before must be taken back."""

    rows: int
    reason: str


@dataclass(frozen=True, slots=True)
class PartCommitted(Event):
    """A file is in place under its final name."""

    path: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class SliceFinished(Event):
    """All rows of a slice are safe."""

    slice: str
    rows: int


@dataclass(frozen=True, slots=True)
class Retrying(Event):
    """A request failed for now and is sent again after `wait` seconds; `attempt` counts from 1."""

    reason: str
    wait: float
    attempt: int


@dataclass(frozen=True, slots=True)
class Throttled(Event):
    """The service asked for patience (429): `wait` seconds, and at most `limit` requests at a time from now on.

    `asked` is how many seconds it named itself, None where it named none; the wait has an upper limit.
    """

    wait: float
    attempt: int
    limit: int
    asked: float | None = None


@dataclass(frozen=True, slots=True)
class Warned(Event):
    """Something the user should know, though nothing failed."""

    message: str


@dataclass(frozen=True, slots=True)
class CollectionFinished(Event):
    """Everything planned of a collection is safe."""

    rows: int


@dataclass(frozen=True, slots=True)
class CollectionFailed(Event):
    """A collection ended with something missing."""

    message: str


@dataclass(frozen=True, slots=True)
class ChartStarted(Event):
    """A trend chart is being fetched; `collection` is its item. An export job may take minutes."""

    title: str


@dataclass(frozen=True, slots=True)
class ChartSaved(Event):
    """A trend chart is safe; `collection` is its item."""

    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ChartOpen(Event):
    """A trend chart was not saved: a person must do it by hand (manual), or a later run (failed)."""

    state: str
    reason: str


Observer = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """Observe nothing."""
