"""`intune-dw backup`: everything into an archive; run again, it continues or adds what is new."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from intune_dw_cli.cli.complete import chart_items, collection_names
from intune_dw_cli.cli.fetch_options import WORKERS_HINT, Compression, LastDay, Probe, Workers
from intune_dw_cli.cli.options import (
    CONNECTION,
    OUTPUT,
    SELECTION,
    Connection,
    Privacy,
    Talk,
    option,
    require_fit_path,
    require_positive,
    with_groups,
)
from intune_dw_cli.errors import UsageError

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from intune_dw_cli.archive.backup import BackupResult
    from intune_dw_cli.archive.manifest import Manifest
    from intune_dw_cli.archive.request import BackupRequest
    from intune_dw_cli.archive.room import Room
    from intune_dw_cli.cli.connect import Service
    from intune_dw_cli.cli.console import Terminal
    from intune_dw_cli.cli.progress import Reporter

CHARTS = "Trend charts"


@with_groups
def command(
    archive: Annotated[
        Path, typer.Argument(help="The archive's folder; made when it does not exist.", metavar="ARCHIVE")
    ],
    format: Annotated[
        str | None,
        option(
            "--format",
            "-f",
            help="csv or parquet. Default: csv.",
            panel=OUTPUT,
            metavar="FORMAT",
            words=("csv", "parquet"),
        ),
    ] = None,
    compression: Compression = None,
    only: Annotated[
        list[str] | None,
        option(
            "--only",
            help="Only collections that match (repeatable).",
            panel=SELECTION,
            metavar="GLOB",
            complete=collection_names,
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        option(
            "--exclude",
            help="Not collections that match (repeatable).",
            panel=SELECTION,
            metavar="GLOB",
            complete=collection_names,
        ),
    ] = None,
    first: Annotated[
        str | None,
        option("--from", help="First day, where there are days. Default: all.", panel=SELECTION, metavar="DAY"),
    ] = None,
    last: LastDay = None,
    workers: Workers = 4,
    no_charts: Annotated[
        bool, option("--no-charts", help="Leave the trend charts of the admin center out.", panel=CHARTS)
    ] = False,
    attach: Annotated[
        Path | None,
        option(
            "--attach",
            help="Put a chart exported in the portal into the archive, and stop.",
            panel=CHARTS,
            metavar="FILE",
            typed=True,
        ),
    ] = None,
    item: Annotated[
        str | None,
        option(
            "--as",
            help="Which chart --attach brings: its item.",
            panel=CHARTS,
            metavar="ITEM",
            complete=chart_items,
            typed=True,
        ),
    ] = None,
    keep_dimensions: Annotated[
        bool,
        option("--keep-dimensions", help="Also keep a dated copy of devices, users and so on.", panel=OUTPUT),
    ] = False,
    moved: Annotated[
        bool,
        option(
            "--moved",
            help="Go on with another feed URL: the tenant was moved. What is held stays.",
            panel=CONNECTION,
            typed=True,
        ),
    ] = False,
    dry_run: Annotated[
        bool, option("--dry-run", "-n", help="Print what would be fetched, and stop.", panel=OUTPUT)
    ] = False,
    probe: Probe = False,
    privacy: Privacy = Privacy(),
    connection: Connection = Connection(),
    talk: Talk = Talk(),
) -> None:
    """Back up every collection, and the trend charts, into an archive with hashes and a manifest.

    [bold]Examples[/bold]
      intune-dw backup ./contoso-backup
      intune-dw backup ./contoso-backup --sandbox
      intune-dw backup /srv/intune -f parquet --exclude "mam*"
      intune-dw backup ./contoso-backup --dry-run --probe
      intune-dw backup ./shared --redact hash --redact-key-file redact.key
      intune-dw backup ./contoso-backup --attach export.csv --as assignment-status

    Whatever stops it, the same command continues.
    Run again on a finished archive, it adds the new days.
    """

    from intune_dw_cli.archive.backup import backup
    from intune_dw_cli.archive.request import BackupRequest
    from intune_dw_cli.cli.connect import open_service
    from intune_dw_cli.cli.console import Terminal
    from intune_dw_cli.cli.destination import file_format
    from intune_dw_cli.cli.estimate import require_dry_run
    from intune_dw_cli.cli.period import day_range
    from intune_dw_cli.cli.privacy import redaction_of
    from intune_dw_cli.cli.progress import Reporter
    from intune_dw_cli.cli.stopping import stoppable
    from intune_dw_cli.cli.summary import reported
    from intune_dw_cli.data.datekey import today_in_utc

    terminal = Terminal(talk)
    reporter = Reporter(terminal)
    with reported(terminal, "backup"):
        if (attach is None) != (item is None):
            raise UsageError(
                "--attach FILE and --as ITEM go together",
                hint=f"The items that are open, with their names: intune-dw status {archive}",
            )
        if attach is not None and item is not None:
            _attach(terminal, archive, attach, item)
            return
        require_positive("--workers", workers, WORKERS_HINT)
        require_fit_path("ARCHIVE", archive)
        today = today_in_utc()
        bounds = day_range(first, last, None, today)
        redaction = redaction_of(privacy)
        require_dry_run(probe, dry_run)
        fmt = file_format(format, compression, False, None)
        with (
            stoppable(terminal, "backup", again="The same command continues") as stop,
            open_service(connection, terminal, workers=workers, observer=reporter, stop=stop) as service,
        ):
            request = BackupRequest(
                root=archive,
                format=fmt,
                tenant=service.tenant,
                only=tuple(only or ()),
                exclude=tuple(exclude or ()),
                bounds=bounds,
                workers=workers,
                keep_dimensions=keep_dimensions,
                redaction=redaction,
                moved=moved,
                today=today,
            )
            if dry_run:
                _show_preview(terminal, request, service, reporter if probe else None, stop)
                return
            graph = None if no_charts or redaction else service.graph
            if redaction and not no_charts:
                terminal.warn(
                    "the trend charts are not saved: they hold names of people as served, and personal data is redacted"
                )
            elif graph is None and not no_charts:
                terminal.warn(
                    "the trend charts are not saved: the access token is for the warehouse only (--no-charts says so)"
                )
            with reporter.showing():
                result = backup(request, service.connect, graph=graph, observer=reporter, stop=stop)
        _conclude(terminal, reporter, archive, result)


def _show_preview(
    terminal: Terminal, request: BackupRequest, service: Service, prober: Reporter | None, stop: threading.Event
) -> None:
    """Show what a run would fetch; with a reporter for the probe, also what that would come to."""
    from intune_dw_cli.archive.backup import preview
    from intune_dw_cli.archive.layout import Layout
    from intune_dw_cli.archive.manifest import read_manifest
    from intune_dw_cli.archive.status import all_gaps
    from intune_dw_cli.cli.estimate import show_estimate
    from intune_dw_cli.cli.gaps import gap_lines
    from intune_dw_cli.cli.summary import show_plan
    from intune_dw_cli.export.estimate import estimate
    from intune_dw_cli.export.names import file_stems

    plans, room = preview(request, service.connect)
    manifest = read_manifest(Layout(request.root).manifest)
    if manifest is not None:
        manifest.as_of = request.today.isoformat()  # what is missing as of today, and lost if nothing is done
        for line in gap_lines(all_gaps(manifest)):
            terminal.warn(line)
    stems = file_stems(p.entity_set.name for p in plans)
    files = {name: str(request.root / "data" / stem) for name, stem in stems.items()}
    _say_room(terminal, room)
    if prober is None:
        show_plan(terminal, plans, files, {"bytes_needed": room.needed, "bytes_free": room.free})
        return
    with prober.showing():
        found = estimate(
            service.warehouse(),
            plans,
            request.format,
            today=request.today,
            file_a_day=True,
            workers=request.workers,
            observer=prober,
            stop=stop,
        )
    show_estimate(terminal, found, files, request.workers, room.free)


def _say_room(terminal: Terminal, room: Room) -> None:
    """Say how much room the archive will want, judged by what is held, and warn where the disk has less."""
    if room.needed_text:
        terminal.say(f"on the disk it would take {room.needed_text}, judged by what is held")
    if room.warning:
        terminal.warn(room.warning)


def _conclude(terminal: Terminal, reporter: Reporter, archive: Path, result: BackupResult) -> None:
    """Show the summary and leave with the code that fits."""
    from dataclasses import asdict

    from intune_dw_cli.archive.status import all_gaps, next_loss
    from intune_dw_cli.cli.gaps import gap_lines, loss_json, loss_line
    from intune_dw_cli.cli.summary import CollectionSummary, Summary

    manifest = result.manifest
    gaps = all_gaps(manifest)
    lines = [
        CollectionSummary(
            name=holding.name,
            state=holding.state,
            rows=holding.rows,
            files=len(holding.parts),
            bytes=sum(p.bytes for p in holding.parts),
            missing=[m.slice for m in holding.missing],
        )
        for holding in manifest.collections.values()
    ]
    more = {
        "archive": str(archive),
        "as_of": manifest.as_of,
        "redaction": manifest.identity.redaction,
        "resumed": result.resumed,
        "gaps": {name: asdict(found) for name, found in gaps.items() if not found.is_whole},
        "next_loss": loss_json(next_loss(gaps)),
        "drift": manifest.drift,
        "charts": [{"item": c.item, "state": c.state, "optional": c.optional} for c in manifest.charts],
    }
    Summary("backup", manifest.state, lines, reporter.figures, result.errors, more).show(terminal)
    for error in result.errors:
        terminal.error(error)
    drift = (f"since the last run: {text}" for text in manifest.drift.get("last_run", ()))
    for remark in (*gap_lines(gaps), *drift):
        terminal.warn(remark)
    if upcoming := loss_line(next_loss(gaps)):
        terminal.say(upcoming)
    _say_charts(terminal, archive, manifest)
    if manifest.state != "complete":
        for line in lines:
            if line.missing:
                terminal.say(f"missing: {line.name}: {_list(line.missing)}", style="bold yellow")
        terminal.say("Run the same command again: it fetches what is missing.")
        raise typer.Exit(3)
    terminal.say(f"Read {archive / 'report.html'}; prove it with: intune-dw verify {archive}")


def _attach(terminal: Terminal, archive: Path, file: Path, item: str) -> None:
    from intune_dw_cli.archive.attach import attach
    from intune_dw_cli.cli.summary import SUMMARY_VERSION

    manifest = attach(archive, file, item)
    if terminal.talk.json:
        document = {"version": SUMMARY_VERSION, "command": "backup", "attached": item, "state": manifest.state}
        terminal.print_json(document | {"open": [c.item for c in manifest.open_charts]})
    terminal.say(f"attached as {item}; the archive is {manifest.state}")
    _say_charts(terminal, archive, manifest)


def _say_charts(terminal: Terminal, archive: Path, manifest: Manifest) -> None:
    """Say which charts are still to be saved by hand, where they are, and how they come into the archive."""
    if manifest.charts_wanted:
        needed = [c for c in manifest.charts if not c.optional]
        closed = len(needed) - len(manifest.open_charts)
        terminal.say(f"trend charts: {closed} of {len(needed)} saved")
    for chart in manifest.open_charts:
        terminal.say(f"open: {chart.item}: {chart.reason}", style="bold yellow")
        terminal.say(f"  by hand: {chart.portal_path}, export, then")
        terminal.say(f"  intune-dw backup {archive} --attach FILE --as {chart.item}")


def _list(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:5])
    return shown if len(labels) <= 5 else f"{shown} and {len(labels) - 5} more slices"
