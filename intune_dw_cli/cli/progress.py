"""Showing a run: a moving display on a terminal, plain lines elsewhere, and the figures for the summary."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from intune_dw_cli.cli.console import ASKING, Terminal, clean, duration_text, size_text
from intune_dw_cli.events import (
    ChartOpen,
    ChartSaved,
    ChartStarted,
    CollectionFailed,
    CollectionFinished,
    CollectionPlanned,
    Event,
    PageFetched,
    PartCommitted,
    Retrying,
    SliceFinished,
    SliceRestarted,
    SliceStarted,
    Throttled,
    Warned,
)

_HEARTBEAT = 30.0
_WAITS_SHOWN = 4


@dataclass(slots=True)
class CollectionFigures:
    """What a run has done for one collection."""

    slices: int = 1
    done: int = 0
    rows: int = 0
    wire_bytes: int = 0
    files: int = 0
    file_bytes: int = 0
    active: int = 0
    state: str = "waiting"


@dataclass(slots=True)
class RunFigures:
    """What a run has done, told by its events. Observed from several threads."""

    collections: dict[str, CollectionFigures] = field(default_factory=dict)
    warnings: list[tuple[str | None, str]] = field(default_factory=list)
    retries: int = 0
    throttled: int = 0
    waits: dict[str, tuple[str, float]] = field(default_factory=dict)
    chart: tuple[str, float] | None = None
    started: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.started

    @property
    def rows(self) -> int:
        """Rows fetched so far."""
        return sum(c.rows for c in self.collections.values())

    @property
    def wire_bytes(self) -> int:
        """Bytes received so far, as compressed on the wire."""
        return sum(c.wire_bytes for c in self.collections.values())

    def note(self, event: Event) -> None:
        """Take in an event."""
        with self.lock:
            if isinstance(event, Warned):
                self.warnings.append((event.collection, event.message))
            elif isinstance(event, Retrying | Throttled):
                self._note_wait(event)
            elif isinstance(event, ChartStarted | ChartSaved | ChartOpen):
                self.chart = (event.title, time.monotonic()) if isinstance(event, ChartStarted) else None
            elif event.collection:
                _note_collection(self.collections.setdefault(event.collection, CollectionFigures()), event)

    def _note_wait(self, event: Retrying | Throttled) -> None:
        if isinstance(event, Throttled):
            self.throttled += 1
            reason = "the service asks for patience (429)"
        else:
            self.retries += 1
            reason = event.reason
        self.waits[event.collection or "service"] = (reason, time.monotonic() + event.wait)


def _note_collection(figures: CollectionFigures, event: Event) -> None:
    match event:
        case CollectionPlanned():
            figures.slices, figures.done = event.slices + event.held, event.held
        case SliceStarted():
            figures.active += 1
            figures.state = "fetching"
        case PageFetched():
            figures.rows += event.rows
            figures.wire_bytes += event.wire_bytes
        case SliceRestarted():
            figures.rows -= event.rows
        case SliceFinished():
            figures.done += 1
            figures.active -= 1
        case PartCommitted():
            figures.files += 1
            figures.file_bytes += event.bytes
        case CollectionFinished():
            figures.state = "complete"
        case CollectionFailed():
            figures.state = "failed"
        case _:
            pass


class Reporter:
    """Observes a run and shows it on a terminal, in the way that fits the terminal."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self.figures = RunFigures()
        self._display: _Display | None = None
        self._last_line = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Take in an event; called from worker threads."""
        self.figures.note(event)
        if self._display is None and not self._terminal.quiet:
            self._say(event)

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Show progress while the block runs."""
        if not self._terminal.live:
            yield
            return
        self._display = _Display(self.figures)
        with Live(
            get_renderable=self._display.render, console=self._terminal.err, refresh_per_second=8, transient=True
        ):
            yield
        self._display = None
        for collection, message in self.figures.warnings:
            self._terminal.warn(f"{collection}: {message}" if collection else message)

    def _say(self, event: Event) -> None:
        """Plain lines: what ends, what waits, and now and then how far it is."""
        terminal, name = self._terminal, event.collection or "service"
        match event:
            case CollectionFinished():
                figures = self.figures.collections[name]
                held = " (held)" if not figures.rows and not figures.files else ""
                terminal.say(f"{name}: {figures.rows:,} rows{held}")
            case CollectionFailed():
                terminal.say(f"{name}: failed: {event.message}")
            case ChartSaved():
                terminal.say(f"chart {name}: saved")
            case ChartOpen():
                terminal.say(f"chart {name}: {event.state}: {event.reason}")
            case Warned():
                terminal.warn(f"{event.collection}: {event.message}" if event.collection else event.message)
            case Throttled() | Retrying() if terminal.talk.verbose > 1:
                pass  # the log says so already
            case Throttled():
                terminal.say(
                    f"{name}: the service asks for {_patience(event)} (429); next attempt in {event.wait:.0f} s, "
                    f"{event.limit} requests at a time"
                )
            case Retrying():
                terminal.say(f"{name}: {event.reason}; attempt {event.attempt + 1} in {event.wait:.1f} s")
            case PartCommitted() if terminal.talk.verbose:
                terminal.say(f"{name}: {event.path} ({event.rows:,} rows, {size_text(event.bytes)})")
            case PageFetched() if time.monotonic() - self._last_line > _HEARTBEAT:
                self._last_line = time.monotonic()
                terminal.say(self.figures_line())
            case _:
                pass

    def figures_line(self) -> str:
        """Return how far the run is, in one line."""
        figures = self.figures
        done = sum(c.state == "complete" for c in figures.collections.values())
        return (
            f"{done} of {len(figures.collections)} collections, {figures.rows:,} rows, "
            f"{size_text(figures.wire_bytes)} received in {duration_text(figures.seconds)}"
        )


def _patience(event: Throttled) -> str:
    """Name what the service asks for where that is more than is waited."""
    much = event.asked is not None and event.asked > event.wait
    return f"{event.asked:,.0f} s of patience, more than is waited at a time" if much else "patience"


class _Display:
    """The moving display: one bar in all, one line for each collection at work, and the reason of a wait."""

    def __init__(self, figures: RunFigures) -> None:
        self._figures = figures
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=20), TextColumn("{task.fields[text]}")
        )
        self._all = self._progress.add_task("collections", text="")
        self._tasks: dict[str, TaskID] = {}

    def render(self) -> RenderableType:
        """Return what is on the screen now."""
        figures, now = self._figures, time.monotonic()
        with figures.lock:
            snapshot = [(n, c.active, c.done, c.slices, c.rows) for n, c in figures.collections.items()]
            ended = sum(c.state in ("complete", "failed") for c in figures.collections.values())
            waits, chart = sorted(figures.waits.items(), key=lambda wait: -wait[1][1]), figures.chart
        seconds = max(figures.seconds, 0.001)
        if not snapshot and not waits:
            return Text(f"{ASKING} ({seconds:.0f} s)")
        rows = sum(s[4] for s in snapshot)
        text = f"{ended}/{len(snapshot)}  {rows:,} rows  {rows / seconds:,.0f}/s  {size_text(figures.wire_bytes)}"
        self._progress.update(self._all, total=max(len(snapshot), 1), completed=ended, text=text)
        for name, active, done, slices, held in snapshot:
            self._show(name, active, done, slices, held)
        lines: list[RenderableType] = [self._progress]
        if chart:
            title, since = chart
            lines.append(Text(f"trend chart, made by Microsoft Graph ({now - since:.0f} s): {clean(title)}"))
        for name, (reason, until) in waits[:_WAITS_SHOWN]:
            if until > now:
                said = f"waiting {until - now:.0f} s: {clean(name)}: {clean(reason)}"
                lines.append(Text(said, style="yellow", no_wrap=True, overflow="ellipsis"))
        return Group(*lines)

    def _show(self, name: str, active: int, done: int, slices: int, rows: int) -> None:
        task = self._tasks.get(name)
        if active <= 0:
            if task is not None:
                self._progress.remove_task(self._tasks.pop(name))
            return
        if task is None:
            task = self._tasks[name] = self._progress.add_task(clean(name)[:40], text="")
        self._progress.update(task, total=max(slices, 1), completed=done, text=f"{rows:,} rows")
