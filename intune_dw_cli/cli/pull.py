"""`intune-dw pull`: one or several collections into files, a partitioned folder, or stdout."""

from __future__ import annotations

import datetime as dt
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from intune_dw_cli.cli.complete import collection_names
from intune_dw_cli.cli.options import (
    CONNECTION,
    OUTPUT,
    SELECTION,
    WORKERS_HINT,
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
    from collections.abc import Mapping

    from intune_dw_cli.cli.console import Terminal
    from intune_dw_cli.cli.progress import Reporter
    from intune_dw_cli.data.datekey import DateKeyRange
    from intune_dw_cli.data.formats import FileFormat
    from intune_dw_cli.data.outlet import ByteStream
    from intune_dw_cli.export.engine import Engine
    from intune_dw_cli.export.plan import CollectionPlan
    from intune_dw_cli.export.pull import PullResult
    from intune_dw_cli.service.warehouse import EntitySet, Warehouse

_SUFFIXES = {
    ".parquet": ("parquet", None),
    ".csv": ("csv", None),
    ".csv.gz": ("csv", "gzip"),
    ".csv.zst": ("csv", "zstd"),
}
_MOST_DAYS = 36_525
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d{1,7})?)?Z?)?", re.ASCII)


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
    last: Annotated[str | None, option("--to", help="Last day, included.", panel=SELECTION, metavar="DAY")] = None,
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
    compression: Annotated[
        str | None,
        option(
            "--compression",
            help="CSV: gzip, zstd or none. Parquet: zstd, gzip, snappy or none.",
            panel=OUTPUT,
            metavar="CODEC",
            words=("gzip", "zstd", "snappy", "none"),
        ),
    ] = None,
    workers: Annotated[int, option("--workers", help="Slices fetched at the same time.", panel=CONNECTION)] = 4,
    dry_run: Annotated[
        bool, option("--dry-run", "-n", help="Print what would be fetched and written, and stop.", panel=OUTPUT)
    ] = False,
    probe: Annotated[
        bool,
        option(
            "--probe",
            help="With --dry-run: read one day of each fact and say what rows, bytes and minutes to expect.",
            panel=OUTPUT,
        ),
    ] = False,
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
    from intune_dw_cli.cli.estimate import require_dry_run, show_estimate
    from intune_dw_cli.cli.privacy import redaction_of
    from intune_dw_cli.cli.progress import Reporter
    from intune_dw_cli.cli.running import reported, show_plan, stoppable
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


def day_range(first: str | None, last: str | None, days: int | None, today: dt.date) -> DateKeyRange:
    """Return the DateKey range that --from, --to and --days name.

    Raises:
        UsageError: no dates, the first after the last, or --days together with --from.
    """
    from intune_dw_cli.data.datekey import DateKeyRange, parse_day

    if days is not None:
        if first or last:
            raise UsageError("--days cannot be combined with --from or --to", hint="Use one way to give the days.")
        require_positive("--days", days, "--days 1 is today (UTC), --days 2 today and yesterday.")
        if days > _MOST_DAYS:
            raise UsageError(f"--days {days} is more than a century", hint="Leave it out to take all days there are.")
        return DateKeyRange(today - dt.timedelta(days=days - 1), today)
    begin = parse_day(first, today=today) if first else None
    end = parse_day(last, today=today) if last else None
    if begin and end and begin > end:
        raise UsageError(f"--from {begin} is after --to {end}", hint="Exchange them.")
    return DateKeyRange(begin, end)


def instant(text: str | None) -> str | None:
    """Return a point in time as the service takes it: ISO 8601 with Z.

    Raises:
        UsageError: not a point in time.
    """
    if text is None:
        return None
    value = text.strip()
    hint = "Write 2024-01-15 or 2024-01-15T08:30:00Z (UTC)."
    if not _INSTANT.fullmatch(value):
        raise UsageError(f"--modified-since {text!r} is not a point in time", hint=hint)
    day, _, clock = value.rstrip("Z").partition("T")
    clock = clock or "00:00:00"
    if clock.count(":") == 1:
        clock += ":00"
    try:
        dt.datetime.fromisoformat(f"{day}T{clock[:8]}")
    except ValueError:
        raise UsageError(f"--modified-since {text!r} is not a point in time", hint=hint) from None
    return f"{day}T{clock}Z"


def file_format(format: str | None, compression: str | None, excel: bool, output: str | None) -> FileFormat:
    """Return the file format that -f, --compression, --excel and the suffix of -o name together.

    Raises:
        UsageError: they contradict each other, or are not known.
    """
    from intune_dw_cli.data.formats import FileFormat

    by_suffix = next((v for s, v in _SUFFIXES.items() if output and output.lower().endswith(s)), None)
    if format is not None and format.lower() not in ("csv", "parquet"):
        raise UsageError(f"--format {format} is not known", hint="Give csv or parquet.")
    if format and by_suffix and format.lower() != by_suffix[0]:
        raise UsageError(
            f"-f {format} and the suffix of -o {output} contradict each other", hint="Leave one of them out."
        )
    kind = format.lower() if format else (by_suffix[0] if by_suffix else "csv")
    packed = by_suffix[1] if by_suffix else None
    if compression is not None:
        packed = None if compression.lower() == "none" and kind == "csv" else compression.lower()
        if by_suffix and by_suffix[0] == "csv" and packed != by_suffix[1]:
            raise UsageError(
                f"--compression {compression} and the suffix of -o {output} contradict each other",
                hint="Leave one of them out.",
            )
    return FileFormat("parquet" if kind == "parquet" else "csv", packed, excel)


class Target:
    """Where a pull goes: stdout, one file, a folder with a file a collection, or a partitioned folder."""

    def __init__(self, path: Path | None, fmt: FileFormat, *, is_file: bool, partition: bool) -> None:
        self.path = path
        self.format = fmt
        self.is_file = is_file
        self.partition = partition

    @classmethod
    def of(cls, output: str | None, fmt: FileFormat, partition: bool, json: bool) -> Target:
        """Return the target that -o and --partition name. Raises UsageError when they do not fit."""
        if output == "-":
            if partition or fmt.format != "csv":
                raise UsageError("stdout takes CSV only", hint="Use -f csv without --partition, or -o FILE.")
            if json:
                raise UsageError("-o - and --json both want stdout", hint="Use -o FILE with --json.")
            return cls(None, fmt, is_file=False, partition=False)
        path = Path(output or ".")
        named = output is not None and any(output.lower().endswith(s) for s in _SUFFIXES)
        is_file = named and not path.is_dir()
        if is_file and partition:
            raise UsageError("--partition makes a folder, but -o names a file", hint="Give -o FOLDER.")
        if output and not named and not path.is_dir() and path.suffix and not output.endswith(("/", "\\")):
            raise UsageError(
                f"-o {output}: the suffix {path.suffix} is not known",
                hint=f"Use {', '.join(_SUFFIXES)}, or end a folder's name with /.",
            )
        if path.exists() and not path.is_dir() and not is_file:
            raise UsageError(f"-o {output} is a file, not a folder", hint="Give a folder, or a file with a suffix.")
        return cls(path, fmt, is_file=is_file, partition=partition)

    def require_fits(self, chosen: list[EntitySet]) -> None:
        """Raise UsageError when several collections would go to one place."""
        if len(chosen) > 1 and (self.path is None or self.is_file):
            where = "stdout" if self.path is None else str(self.path)
            raise UsageError(
                f"{len(chosen)} collections do not go into {where} together",
                hint="Give -o FOLDER/ for one file a collection.",
            )

    def paths(self, names: list[str], stems: Mapping[str, str]) -> dict[str, Path]:
        """Return the file of each collection (with --partition its folder), named by the stem of its name."""
        assert self.path is not None
        if self.is_file:
            return {names[0]: self.path}
        suffix = "" if self.partition else self.format.suffix
        return {name: self.path / (stems[name] + suffix) for name in names}


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
    from intune_dw_cli.cli.running import CollectionSummary, Summary

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
