"""`intune-dw status`: how an archive stands; one line for monitoring."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from intune_dw_cli.cli.options import OUTPUT, Talk, option, with_groups
from intune_dw_cli.errors import UsageError

if TYPE_CHECKING:
    import datetime as dt

_AGE = re.compile(r"(\d{1,6})\s*([mhd])", re.ASCII)


@with_groups
def command(
    archive: Annotated[Path, typer.Argument(help="The archive's folder.", metavar="ARCHIVE")],
    max_age: Annotated[
        str | None,
        option(
            "--max-age",
            help="Exit code 3 when the last complete run is older: 26h, 90m, 2d.",
            panel=OUTPUT,
            metavar="AGE",
        ),
    ] = None,
    talk: Talk = Talk(),
) -> None:
    """Say how an archive stands: state, last day, age, gaps, and what will be lost next.

    [bold]Examples[/bold]
      intune-dw status ./contoso-backup
      intune-dw status ./contoso-backup --max-age 26h -q || alert

    Reads the archive alone: no account is needed.
    """
    import datetime as dt
    from dataclasses import asdict

    from intune_dw_cli.archive.status import archive_status
    from intune_dw_cli.cli.console import Terminal
    from intune_dw_cli.cli.gaps import gap_lines, loss_json, loss_line
    from intune_dw_cli.cli.summary import SUMMARY_VERSION, reported
    from intune_dw_cli.data.datekey import from_date_key
    from intune_dw_cli.data.redact import in_words

    terminal = Terminal(talk)
    with reported(terminal, "status"):
        limit = parse_age(max_age)
        status = archive_status(archive)
    age = status.age(dt.datetime.now(dt.UTC))
    stale = limit is not None and (age is None or age > limit)
    if talk.json:
        terminal.print_json(
            {
                "version": SUMMARY_VERSION,
                "command": "status",
                "archive": str(archive),
                "state": status.state,
                "as_of": status.as_of,
                "last_day": status.last_day,
                "redaction": status.redaction,
                "ended": status.ended.isoformat() if status.ended else None,
                "age_seconds": round(age.total_seconds()) if age is not None else None,
                "stale": stale,
                "missing": {name: list(slices) for name, slices in status.missing.items()},
                "gaps": {name: asdict(gaps) for name, gaps in status.gaps.items()},
                "open_charts": [c.item for c in status.open_charts],
                "next_loss": loss_json(status.next_loss),
            }
        )
    elif not talk.quiet:
        shown = age_text(age)
        terminal.line(f"{status.state}{', stale' if stale else ''}; last complete run {shown}")
        if status.redaction:
            terminal.line(f"personal data: {in_words(status.redaction)}")
        if status.last_day:
            terminal.line(f"every fact is held up to {from_date_key(status.last_day)}")
        for name, slices in status.missing.items():
            terminal.line(f"{name}: missing {', '.join(slices[:5])}{' ...' * (len(slices) > 5)}")
        for chart in status.open_charts:
            terminal.line(f"trend chart {chart.item}: {chart.state}; {chart.portal_path}")
        for line in (*gap_lines(status.gaps), *filter(None, [loss_line(status.next_loss)])):
            terminal.line(line)
    if stale or status.state != "complete":
        raise typer.Exit(3)


def parse_age(text: str | None) -> dt.timedelta | None:
    """Return an age such as `26h`. Raises UsageError when it is none."""
    import datetime as dt

    if text is None:
        return None
    match = _AGE.fullmatch(text.strip().lower())
    if match is None:
        raise UsageError(f"--max-age {text!r} is not an age", hint="Write 26h, 90m or 2d.")
    unit = {"m": "minutes", "h": "hours", "d": "days"}[match[2]]
    return dt.timedelta(**{unit: int(match[1])})


def age_text(age: dt.timedelta | None) -> str:
    """Return how long ago something was, as people read it."""
    if age is None:
        return "never"
    minutes = max(0, int(age.total_seconds() // 60))
    if minutes < 120:
        return f"{minutes} min ago"
    return f"{minutes // 60} h ago" if minutes < 2880 else f"{minutes // 1440} days ago"
