"""How a run ended, for people and, as one JSON object, for programs; and what a dry run would do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from intune_dw_cli.cli.console import Terminal, clean, duration_text, size_text
from intune_dw_cli.cli.progress import RunFigures
from intune_dw_cli.errors import IntuneDwError
from intune_dw_cli.export.plan import CollectionPlan

SUMMARY_VERSION = 1


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
            terminal.print_json(failure_json(command, error))
        raise


def failure_json(command: str, error: IntuneDwError) -> dict[str, Any]:
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
