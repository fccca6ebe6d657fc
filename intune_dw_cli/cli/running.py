"""What `pull` and `backup` share: a run that can be stopped, and the summary at its end."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from types import FrameType
from typing import Any

from rich.table import Table

from intune_dw_cli.cli.console import Terminal, clean, duration_text, size_text
from intune_dw_cli.cli.progress import RunFigures
from intune_dw_cli.errors import InterruptedRunError, IntuneDwError
from intune_dw_cli.export.plan import CollectionPlan

SUMMARY_VERSION = 1

_STDOUT, _STDERR = 1, 2
_LEAVE_AFTER = 4.0  # seconds; the engine gives the slices under way 3


@contextmanager
def stoppable(
    terminal: Terminal,
    command: str | None = None,
    *,
    words: str = "stopping",
    again: str | None = "The same command begins again",
) -> Iterator[threading.Event]:
    """Give an event that Ctrl-C and termination signals set; a second signal ends the process at once.

    It ends after 4 seconds in any case: whatever waits for a server that does not answer hears of no event. Nothing is
    lost by that, as nothing is by a kill.

    Args:
        command: Its name in the JSON object of a failure; None where a failure has none.
        words: Said at the first signal.
        again: What the same command does when it is given again; None where there is nothing to say of that.

    Raises:
        InterruptedRunError: as raised inside, with the command to give again as its hint.
    """
    stop, ended = threading.Event(), threading.Event()
    # A signal interrupts the main thread anywhere, also where it holds the lock of an event: a simple queue has none.
    asked: SimpleQueue[bool] = SimpleQueue()
    last_word = threading.Lock()  # for good: either the run ends by itself, or it is ended
    hint = f"{again}: {command_line()}" if again else None
    signalled = False

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal signalled
        if signalled:
            os._exit(130)
        signalled = True
        asked.put(True)
        if not terminal.quiet:
            _write_past_locks(f"\n{words} (Ctrl-C again to leave at once)")

    def watch() -> None:
        if not asked.get():
            return
        stop.set()
        if not ended.wait(_LEAVE_AFTER) and last_word.acquire(blocking=False):
            error = InterruptedRunError("stopped before the end", hint=hint)
            _write_past_locks(f"error: {error}" + (f"\n  hint: {hint}" if hint else ""))
            if terminal.talk.json and command and not terminal.has_answered:
                _write_past_locks(json.dumps(_failure(command, error), indent=2), _STDOUT)
            os._exit(error.exit_code)

    wanted = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, n)]
    threading.Thread(target=watch, name="stop", daemon=True).start()
    before = {number: signal.signal(number, on_signal) for number in wanted}
    try:
        yield stop
    except InterruptedRunError as error:
        error.hint = hint or error.hint
        raise
    finally:
        ended.set()
        last_word.acquire()
        asked.put(False)
        for number, handler in before.items():
            signal.signal(number, handler)


def command_line() -> str:
    """Return the command that is running, as it can be typed again."""
    words = ["intune-dw", *sys.argv[1:]]
    return clean(subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words))


def _write_past_locks(text: str, stream: int = _STDERR) -> None:
    """Say something although the display or the stream may be locked by what was interrupted."""
    with suppress(OSError):
        os.write(stream, f"{text}\n".encode())


@dataclass(frozen=True, slots=True)
class CollectionSummary:
    """One line of the summary."""

    name: str
    state: str
    rows: int
    files: int
    bytes: int
    missing: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended, for people and, as JSON, for programs (version 1: names may be added, none go)."""

    command: str
    state: str
    collections: Sequence[CollectionSummary]
    figures: RunFigures
    errors: Sequence[IntuneDwError] = ()
    more: dict[str, Any] = field(default_factory=dict)

    def show(self, terminal: Terminal) -> None:
        """Print it: the table and the last line to stderr, JSON to stdout with --json."""
        if not terminal.quiet:
            if len(self.collections) > 1:
                terminal.err.print(self._table())
            terminal.say(self._line())
        if terminal.talk.json:
            terminal.print_json(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        return {
            "version": SUMMARY_VERSION,
            "command": self.command,
            "state": self.state,
            "rows": sum(c.rows for c in self.collections),
            "files": sum(c.files for c in self.collections),
            "bytes": sum(c.bytes for c in self.collections),
            "seconds": round(self.figures.seconds, 3),
            "wire_bytes": self.figures.wire_bytes,
            "retries": self.figures.retries,
            "throttled": self.figures.throttled,
            "collections": [
                {
                    "name": c.name,
                    "state": c.state,
                    "rows": c.rows,
                    "files": c.files,
                    "bytes": c.bytes,
                    "missing": list(c.missing),
                }
                for c in self.collections
            ],
            "warnings": [{"collection": name, "message": text} for name, text in self.figures.warnings],
            "errors": [error_json(error) for error in self.errors],
            **self.more,
        }

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("collection", overflow="fold")
        for heading in ("rows", "files", "size"):
            table.add_column(heading, justify="right", no_wrap=True)
        all_complete = all(c.state == "complete" for c in self.collections)
        if not all_complete:
            table.add_column("state", no_wrap=True)
        for c in self.collections:
            cells = [clean(c.name), f"{c.rows:,}", f"{c.files:,}", size_text(c.bytes)]
            style = None if c.state == "complete" else "bold yellow"
            table.add_row(*cells, *([] if all_complete else [c.state]), style=style)
        return table

    def _line(self) -> str:
        rows = sum(c.rows for c in self.collections)
        files = sum(c.files for c in self.collections)
        size = sum(c.bytes for c in self.collections)
        figures = self.figures
        trouble = f", {figures.retries + figures.throttled} retries" if figures.retries + figures.throttled else ""
        warned = len(figures.warnings)
        trouble += f", {warned} warning{'s' * (warned != 1)}" if warned else ""
        return (
            f"{self.state}: {len(self.collections)} collection{'s' * (len(self.collections) != 1)}, {rows:,} rows, "
            f"{files:,} file{'s' * (files != 1)}, {size_text(size)} in {duration_text(figures.seconds)}{trouble}"
        )


def error_json(error: IntuneDwError) -> dict[str, Any]:
    """Return an error as JSON values."""
    return {
        "type": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "collection": error.collection,
        "client_request_id": error.request_id,
        "exit_code": error.exit_code,
    }


@contextmanager
def reported(terminal: Terminal, command: str) -> Iterator[None]:
    """With --json, print a foreseen failure as JSON too before it goes on its way."""
    try:
        yield
    except IntuneDwError as error:
        if terminal.talk.json:
            terminal.print_json(_failure(command, error))
        raise


def _failure(command: str, error: IntuneDwError) -> dict[str, Any]:
    """Return a run that ended with an error as JSON values."""
    return {"version": SUMMARY_VERSION, "command": command, "state": "failed", "errors": [error_json(error)]}


def show_plan(
    terminal: Terminal,
    plans: Sequence[CollectionPlan],
    files: Mapping[str, str],
    more: Mapping[str, int | None] | None = None,
) -> None:
    """Print what a run would fetch and write: a table, or JSON with --json. A slice takes one request or more.

    Args:
        files: What each collection would be written to.
        more: Further figures for the JSON.
    """
    if terminal.talk.json:
        rows = [
            {
                "collection": plan.entity_set.name,
                "slices": [s.label for s in plan.slices],
                "output": files[plan.entity_set.name],
            }
            for plan in plans
        ]
        terminal.print_json({"version": SUMMARY_VERSION, "dry_run": True, "collections": rows, **(more or {})})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("collection", overflow="fold")
    table.add_column("slices", justify="right", no_wrap=True)
    table.add_column("range", overflow="fold")
    table.add_column("output", overflow="fold")
    for plan in plans:
        labels = [s.label for s in plan.slices]
        span = "nothing to fetch" if not labels else labels[0] if len(labels) == 1 else f"{labels[0]} to {labels[-1]}"
        table.add_row(clean(plan.entity_set.name), f"{len(labels):,}", span, clean(files[plan.entity_set.name]))
    terminal.table(table)
    slices = sum(len(plan.slices) for plan in plans)
    terminal.say(f"dry run: at least {slices:,} requests for {len(plans)} collections; nothing was fetched")
