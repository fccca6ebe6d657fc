"""The tables of `collections`: names stay whole in 80 columns, less weighty columns give way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from intune_dw_cli.cli.console import clean

_BESIDES = len("  dimension  60 d  props  ")
"""Columns that the collection table takes beside name and key."""
_LEAST_KEY = 12


def collection_table(rows: list[dict[str, Any]], width: int) -> Table:
    """Return the collections under their categories; the key is cut or left out where `width` leaves no room for it."""
    room = width - max((len(row["name"]) for row in rows), default=0) - _BESIDES
    table = _table("collection", "kind", "days", "props", *(["key"] if room >= _LEAST_KEY else []))
    for category in dict.fromkeys(row["category"] for row in rows):
        table.add_row(Text(clean(category or "Not documented").upper(), style="bold"))
        for row in rows:
            if row["category"] == category:
                kept = f"{row['retention_days']} d" if row["retention_days"] else "yes" if row["date_keyed"] else ""
                key = ", ".join(row["key"])
                shown = key if len(key) <= room else f"{key[: room - 3]}..."
                cells = [row["name"], row["kind"], kept, str(row["property_count"]), shown]
                table.add_row(*map(clean, cells[: len(table.columns)]))
    return table


def property_table(rows: list[dict[str, Any]]) -> Table:
    """Return the properties of a collection; the description says what a property joins."""
    table = _table("property", "type", "", "description")
    for row in rows:
        marks = [mark for mark, is_so in (("key", row["key"]), ("personal", row["personal"])) if is_so]
        joins = f" (joins {row['joins']})" if row["joins"] else ""
        table.add_row(
            clean(row["name"]), clean(row["type"]), ", ".join(marks), clean((row["description"] or "") + joins)
        )
    table.columns[-1].no_wrap = False
    table.columns[-1].overflow = "fold"
    return table


def drift_table(rows: list[dict[str, Any]]) -> Table:
    """Return how the service's model differs from the documented one."""
    table = _table("collection", "property", "change", "documented", "here")
    for row in rows:
        table.add_row(*(clean(row[name]) for name in ("collection", "property", "change", "before", "after")))
    return table


def fault_table(kinds: Mapping[str, str]) -> Table:
    """Return the kinds of faults of the sandbox, each with its own settings."""
    table = _table("kind", "what goes wrong: settings")
    table.columns[-1].no_wrap = False
    for kind, words in kinds.items():
        table.add_row(kind, words)
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, no_wrap=True, justify="right" if heading == "props" else "left")
    return table
