"""`--dry-run --probe`: what a run would bring, as a table with its error bars, or as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from intune_dw_cli.cli.console import Terminal, clean, duration_text, size_text
from intune_dw_cli.cli.summary import SUMMARY_VERSION, error_json
from intune_dw_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from intune_dw_cli.export.estimate import Amount, Estimate


def require_dry_run(probe: bool, dry_run: bool) -> None:
    """Raise UsageError for --probe without --dry-run: it would be taken for the run itself."""
    if probe and not dry_run:
        raise UsageError("--probe goes with --dry-run", hint="Add --dry-run, or leave out --probe.")


def show_estimate(
    terminal: Terminal,
    found: Sequence[Estimate],
    files: Mapping[str, str],
    workers: int,
    free: int | None = None,
) -> None:
    """Show what a run would bring.

    Args:
        files: Where each collection would go.
        workers: With how many workers it was estimated.
        free: Bytes that the disk has free, None where that is not to be looked at.

    Raises:
        typer.Exit: a collection could not be estimated; the others are shown.
    """
    from intune_dw_cli.export.estimate import total

    everything = total(found)
    if terminal.talk.json:
        document = {"version": SUMMARY_VERSION, "dry_run": True, "workers": workers, "bytes_free": free}
        rows = [_json(each) | {"output": files[each.plan.entity_set.name]} for each in found]
        terminal.print_json(document | {"estimate": _amounts(everything), "collections": rows})
    else:
        terminal.table(_table(found))
    terminal.say(_line(everything, len(found), workers))
    terminal.say(
        "An estimate: from one day and the size of some others, or from the first rows. Time may be half or twice "
        "as long. Not in it: rows outside the documented retention, trend charts, waits that the service asks for."
    )
    if free is not None and everything.bytes.high > free:
        needed = _span(everything.bytes, size_text)
        terminal.warn(f"the disk has {size_text(free)} free, and the files may take {needed}")
    errors = [each.error for each in found if each.error]
    for error in errors:
        terminal.error(error)
    if errors:
        raise typer.Exit(errors[0].exit_code)


def _json(each: Estimate) -> dict[str, Any]:
    return {
        "collection": each.plan.entity_set.name,
        "slices": [s.label for s in each.plan.slices],
        **_amounts(each),
        "rows_read": each.read,
        "error": error_json(each.error) if each.error else None,
    }


def _amounts(each: Estimate) -> dict[str, Any]:
    return {
        "rows": _amount(each.rows),
        "bytes": _amount(each.bytes),
        "wire_bytes": _amount(each.wire_bytes),
        "seconds": _amount(each.seconds, digits=3),
    }


def _amount(amount: Amount, digits: int | None = None) -> dict[str, float | None]:
    values = {"low": amount.low, "estimate": amount.middle, "high": amount.high}
    return {name: None if math.isinf(value) else round(value, digits) for name, value in values.items()}


def _table(found: Sequence[Estimate]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("collection", overflow="fold")
    for heading in ("rows", "from", "to", "size"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in found:
        name = clean(each.plan.entity_set.name)
        if each.error:
            table.add_row(name, "not known", style="bold yellow")
            continue
        ends = ["", ""] if each.rows.is_exact else [_number(each.rows.low), _number(each.rows.high)]
        table.add_row(name, _number(each.rows.middle), *ends, size_text(each.bytes.middle))
    return table


def _line(found: Estimate, collections: int, workers: int) -> str:
    rows = _span(found.rows, _number)
    size = _span(found.bytes, size_text)
    time = _span(found.seconds, duration_text)
    return (
        f"dry run: about {rows} rows of {collections} collection{'s' * (collections != 1)}, {size}, {time} with "
        f"{workers} worker{'s' * (workers != 1)}; {found.read:,} rows were read for this"
    )


def _span(amount: Amount, text: Callable[[float], str]) -> str:
    """Return an amount with its error bar: `1,000 (900 to 1,100)`."""
    middle, low, high = text(amount.middle), text(amount.low), _high(amount, text)
    return middle if low == middle == high else f"{middle} ({low} to {high})"


def _high(amount: Amount, text: Callable[[float], str]) -> str:
    return "more" if math.isinf(amount.high) else text(amount.high)


def _number(value: float) -> str:
    return "more" if math.isinf(value) else f"{round(value):,}"
