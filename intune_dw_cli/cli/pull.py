"""`intune-dw pull`: one or several collections into files, a partitioned folder, or stdout."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from intune_dw_cli.cli.complete import collection_names
from intune_dw_cli.cli.fetch_options import WORKERS_HINT, Compression, LastDay, Probe, Workers
from intune_dw_cli.cli.options import (
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

    from intune_dw_cli.cli.console import Terminal
    from intune_dw_cli.cli.destination import Target
    from intune_dw_cli.cli.progress import Reporter
    from intune_dw_cli.data.outlet import ByteStream
    from intune_dw_cli.export.engine import Engine
    from intune_dw_cli.export.plan import CollectionPlan
    from intune_dw_cli.export.pull import PullResult
    from intune_dw_cli.service.warehouse import EntitySet, Warehouse


@with_groups
def command(
    collection: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names of collections, or globs: 'device*'.",
            metavar="COLLECTION",
            show_default=False,
            autocompletion=collection_names,
        ),
    ] = None,
    all: Annotated[bool, option("--all", help="Every collection.", panel=SELECTION)] = False,
    first: Annotated[
        str | None,
        option("--from", help="First day: 2024-01-15, 20240115, today, -7d.", panel=SELECTION, metavar="DAY"),
    ] = None,
    last: LastDay = None,
    days: Annotated[
        int | None, option("--days", help="The last N days, today (UTC) included.", panel=SELECTION, metavar="N")
    ] = None,
    modified_since: Annotated[
        str | None,
        option(
            "--modified-since",
            help="Only rows that the warehouse changed since then (UTC): 2024-01-15 or 2024-01-15T08:30:00Z.",
            panel=SELECTION,
            metavar="TIME",
        ),
    ] = None,
    select: Annotated[
        list[str] | None,
        option(
            "--select",
            help="Properties to keep: a,b,c, or for one collection: devices=a,b (repeatable).",
            panel=SELECTION,
            metavar="NAMES",
        ),
    ] = None,
    top: Annotated[
        int | None, option("--top", help="At most N rows, any N: a preview.", panel=SELECTION, metavar="N")
    ] = None,
    format: Annotated[
        str | None,
        option(
            "--format",
            "-f",
            help="csv or parquet. Default: by the suffix of -o, else csv.",
            panel=OUTPUT,
            metavar="FORMAT",
            words=("csv", "parquet"),
        ),
    ] = None,
    output: Annotated[
        str | None,
        option(
            "--output",
            "-o",
            help="File, folder, or - for stdout. Default: one file a collection in the current folder.",
            panel=OUTPUT,
            metavar="PATH",
        ),
    ] = None,
    partition: Annotated[
        bool, option("--partition", help="One file a day, hive style: NAME/dateKey=20240115/part.csv.", panel=OUTPUT)
    ] = False,
    excel: Annotated[
        bool,
        option("--excel", help="CSV that a spreadsheet opens without running or mangling cells.", panel=OUTPUT),
    ] = False,
    compression: Compression = None,
    workers: Workers = 4,
    dry_run: Annotated[
        bool, option("--dry-run", "-n", help="Print what would be fetched and written, and stop.", panel=OUTPUT)
    ] = False,
    probe: Probe = False,
    privacy: Privacy = Privacy(),
    connection: Connection = Connection(),
    talk: Talk = Talk(),
) -> None:
    """Pull collections into CSV or Parquet files.

    [bold]Examples[/bold]
      intune-dw pull devices
      intune-dw pull devicePropertyHistories --days 7 -o history.parquet
      intune-dw pull devices users policies -f parquet -o export/
      intune-dw pull devices --select deviceName,serialNumber -o - | head
      intune-dw pull --all --days 7 -o week/ --partition
      intune-dw pull "device*" --select devices=deviceName,osVersion -o export/
      intune-dw pull --all --dry-run --probe

    A file appears when it is whole; a pull that fails leaves none.
    Rows come in DateKey order. The names: intune-dw collections
    """
    from intune_dw_cli.cli.connect import open_service
    from intune_dw_cli.cli.console import ASKING, Terminal
    from intune_dw_cli.cli.destination import Target, file_format
    from intune_dw_cli.cli.estimate import require_dry_run, show_estimate
    from intune_dw_cli.cli.period import day_range, instant
    from intune_dw_cli.cli.privacy import redaction_of
    from intune_dw_cli.cli.progress import Reporter
    from intune_dw_cli.cli.stopping import stoppable
    from intune_dw_cli.cli.summary import reported, show_plan
    from intune_dw_cli.data.datekey import today_in_utc
    from intune_dw_cli.export.choice import Selections
    from intune_dw_cli.export.engine import Engine
    from intune_dw_cli.export.estimate import estimate
    from intune_dw_cli.export.plan import plan_collection

    terminal = Terminal(talk)
    reporter = Reporter(terminal)
    with reported(terminal, "pull"):
        today = today_in_utc()
        bounds = day_range(first, last, days, today)
        since = instant(modified_since)
        redaction = redaction_of(privacy)
        selections = Selections.parse(select or [])
        require_dry_run(probe, dry_run)
        if since and not bounds.is_open:
            raise UsageError("--modified-since cannot be combined with a date range", hint="Use one of them.")
        require_positive("--top", top, "Give --top 10 for a look at ten rows, or leave it out for all.")
        require_positive("--workers", workers, WORKERS_HINT)
        require_fit_path("-o", output)
        target = Target.of(output, file_format(format, compression, excel, output), partition, terminal.talk.json)
        with (
            stoppable(terminal, "pull") as stop,
            open_service(connection, terminal, workers=workers, observer=reporter, stop=stop) as service,
        ):
            warehouse = service.warehouse()
            with terminal.busy(ASKING):
                chosen = _chosen(warehouse, collection or [], all, skip_without_days=not bounds.is_open)
            target.require_fits(chosen)
            selections.require_used(chosen)
            plans = [
                plan_collection(
                    e,
                    today,
                    bounds=bounds,
                    select=selections.of(e),
                    top=top,
                    modified_since=since,
                    redaction=redaction,
                )
                for e in chosen
            ]
            if dry_run:
                files = _destinations(warehouse, plans, target)
                if probe:
                    with reporter.showing():
                        found = estimate(
                            warehouse,
                            plans,
                            target.format,
                            today=today,
                            file_a_day=partition,
                            workers=workers,
                            observer=reporter,
                            stop=stop,
                        )
                    show_estimate(terminal, found, files, workers)
                else:
                    show_plan(terminal, plans, files)
                return
            engine = Engine(warehouse, workers=workers, observer=reporter, stop=stop)
            with reporter.showing():
                result = _pull(engine, warehouse, plans, target, workers, stop, reporter, terminal.data)
        _conclude(terminal, reporter, result)


def _chosen(warehouse: Warehouse, names: list[str], all: bool, *, skip_without_days: bool) -> list[EntitySet]:
    from intune_dw_cli.export.choice import choose
    from intune_dw_cli.export.plan import refuse_ranges_without_datekey

    if all and names:
        raise UsageError("--all and names of collections exclude each other", hint="Leave one of them out.")
    if not all and not names:
        raise UsageError("no collection is named", hint="Name some, or use --all. List them: intune-dw collections")
    known = warehouse.entity_sets
    without_days = [e for e in known if e.date_key is None] if skip_without_days else []
    chosen = choose(warehouse, ["*"] if all else names, skip=without_days)
    if skip_without_days:
        refuse_ranges_without_datekey(chosen, known)
    if not chosen:
        raise UsageError(
            f"none of {', '.join(names)} has a DateKey, so a date range cannot be applied",
            hint="Leave the days out. Which collections have them: intune-dw collections",
        )
    return chosen


def _pull(
    engine: Engine,
    warehouse: Warehouse,
    plans: list[CollectionPlan],
    target: Target,
    workers: int,
    stop: threading.Event,
    reporter: Reporter,
    stdout: ByteStream,
) -> PullResult:
    from intune_dw_cli.export.pull import pull_to_files, pull_to_partitions, pull_to_stream

    source, ahead = warehouse.source, workers
    if target.path is None:
        with tempfile.TemporaryDirectory(prefix="intune-dw-") as spill:
            return pull_to_stream(
                engine,
                plans[0],
                stdout,
                target.format,
                spill=Path(spill) / "rows",
                source=source,
                look_ahead=ahead,
                stop=stop,
                observer=reporter,
            )
    stems = _stems(warehouse)
    if target.partition:
        return pull_to_partitions(
            engine, plans, target.path, target.format, source=source, observer=reporter, stems=stems
        )
    return pull_to_files(
        engine,
        plans,
        target.paths([p.entity_set.name for p in plans], stems),
        target.format,
        source=source,
        look_ahead=ahead,
        stop=stop,
        observer=reporter,
    )


def _stems(warehouse: Warehouse) -> dict[str, str]:
    """Return a file name stem for every collection that there is, so that each has the same in every pull."""
    from intune_dw_cli.export.names import file_stems

    return file_stems(e.name for e in warehouse.entity_sets)


def _destinations(warehouse: Warehouse, plans: list[CollectionPlan], target: Target) -> dict[str, str]:
    names = [p.entity_set.name for p in plans]
    paths = target.paths(names, _stems(warehouse)) if target.path is not None else dict.fromkeys(names, "-")
    return {name: str(path) for name, path in paths.items()}


def _conclude(terminal: Terminal, reporter: Reporter, result: PullResult) -> None:
    """Show the summary and leave with the code that fits."""
    from intune_dw_cli.cli.summary import CollectionSummary, Summary

    lines = []
    for outcome in result.outcomes:
        name = outcome.plan.entity_set.name
        files = [f for f in result.files if f.collection == name]
        lines.append(
            CollectionSummary(
                name=name,
                state="failed" if outcome.failures else "complete",
                rows=sum(f.rows for f in files),
                files=len(files),
                bytes=sum(f.bytes for f in files),
                missing=[f.slice.label for f in outcome.failures],
            )
        )
    failed = [line for line in lines if line.state != "complete"]
    state = "complete" if not failed else "partial" if len(failed) < len(lines) else "failed"
    Summary("pull", state, lines, reporter.figures, result.errors).show(terminal)
    for error in result.errors:
        terminal.error(error)
    if failed:
        raise typer.Exit(3 if state == "partial" else result.errors[0].exit_code)
