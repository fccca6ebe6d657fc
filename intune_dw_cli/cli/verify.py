"""`intune-dw verify`: does an archive still hold what its manifest says?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from intune_dw_cli.cli.fetch_options import WORKERS_HINT, Workers
from intune_dw_cli.cli.options import (
    OUTPUT,
    SELECTION,
    Connection,
    Talk,
    option,
    require_positive,
    with_groups,
)

if TYPE_CHECKING:
    from intune_dw_cli.archive.compare import Comparison
    from intune_dw_cli.cli.console import Terminal


@with_groups
def command(
    archive: Annotated[Path, typer.Argument(help="The archive's folder.", metavar="ARCHIVE")],
    quick: Annotated[bool, option("--quick", help="Compare names and sizes only; read no data.", panel=OUTPUT)] = False,
    against_service: Annotated[
        bool,
        option("--against-service", help="Read a sample of it from the service again, and compare.", panel=SELECTION),
    ] = False,
    all: Annotated[
        bool, option("--all", help="With --against-service: all that the service still has.", panel=SELECTION)
    ] = False,
    sample: Annotated[
        int, option("--sample", help="With --against-service: how many slices.", panel=SELECTION, metavar="N")
    ] = 20,
    seed: Annotated[
        int, option("--seed", help="With --against-service: another seed is another sample.", panel=SELECTION)
    ] = 0,
    workers: Workers = 4,
    redact_key_file: Annotated[
        Path | None,
        option(
            "--redact-key-file",
            help="With --against-service: the key of an archive made with --redact hash; or INTUNE_DW_REDACT_KEY.",
            panel=SELECTION,
            metavar="FILE",
        ),
    ] = None,
    connection: Connection = Connection(),
    talk: Talk = Talk(),
) -> None:
    """Check an archive, offline: manifest, file set, sizes and hashes, contents.

    [bold]Examples[/bold]
      intune-dw verify ./contoso-backup
      intune-dw verify ./contoso-backup --quick
      intune-dw verify ./contoso-backup --against-service
      intune-dw verify ./contoso-backup --against-service --all

    Needs no account, except with --against-service.
    """
    from intune_dw_cli.archive.verify import verify
    from intune_dw_cli.cli.console import Terminal, size_text
    from intune_dw_cli.cli.summary import SUMMARY_VERSION, reported

    terminal = Terminal(talk)
    if against_service:
        _compare(archive, terminal, connection, None if all else sample, seed, workers, redact_key_file)
        return
    with reported(terminal, "verify"):
        with terminal.counting() as progress:
            result = verify(archive, quick=quick, progress=progress)
        if talk.json:
            terminal.print_json(
                {
                    "version": SUMMARY_VERSION,
                    "command": "verify",
                    "archive": str(archive),
                    "state": "damaged" if result.findings else result.state,
                    "files": result.files,
                    "rows": result.rows,
                    "bytes": result.bytes,
                    "findings": [{"stage": f.stage, "path": f.path, "message": f.message} for f in result.findings],
                }
            )
        else:
            for finding in result.findings:
                terminal.line(f"{finding.path}: {finding.message} [{finding.stage}]")
    held = f"{result.files:,} files, {result.rows:,} rows, {size_text(result.bytes)}"
    if result.findings:
        terminal.err.print(f"damaged: {len(result.findings)} findings in {held}", style="bold red")
        raise typer.Exit(5)
    what = "sizes agree" if quick else "hashes and contents agree"
    if result.state == "complete":
        terminal.say(f"sound and complete: {held}; {what}")
        return
    terminal.say(f"sound but {result.state}: {held}; {what}", style="yellow")
    terminal.say(f"What is open: intune-dw status {archive}. To continue: intune-dw backup {archive}")
    raise typer.Exit(3)


def _compare(
    archive: Path,
    terminal: Terminal,
    connection: Connection,
    sample: int | None,
    seed: int,
    workers: int,
    key_file: Path | None,
) -> None:
    """Read slices from the service again and say what differs."""
    from dataclasses import asdict

    from intune_dw_cli.archive.compare import compare_with_service
    from intune_dw_cli.cli.connect import open_service
    from intune_dw_cli.cli.privacy import redaction_key
    from intune_dw_cli.cli.progress import Reporter
    from intune_dw_cli.cli.stopping import stoppable
    from intune_dw_cli.cli.summary import SUMMARY_VERSION, reported

    reporter = Reporter(terminal)
    with reported(terminal, "verify"):
        require_positive("--workers", workers, WORKERS_HINT)
        require_positive("--sample", sample, "Give the number of slices to read again, or --all for everything.")
        with (
            stoppable(terminal, "verify") as stop,
            open_service(connection, terminal, workers=workers, observer=reporter, stop=stop) as service,
            reporter.showing(),
        ):
            found = compare_with_service(
                archive,
                service.warehouse(),
                sample=sample,
                seed=seed,
                workers=workers,
                redaction_key=redaction_key(key_file),
                observer=reporter,
                stop=stop,
            )
    differing = [c for c in found if not c.is_equal]
    if terminal.talk.json:
        rows = [{**asdict(c), "equal": c.is_equal} for c in found]
        state = "differs" if differing else "equal"
        document = {"version": SUMMARY_VERSION, "command": "verify", "archive": str(archive), "state": state}
        terminal.print_json(document | {"slices": rows})
    else:
        for each in differing:
            terminal.line(str(each))
    terminal.say(_verdict(found, differing))
    if differing:
        raise typer.Exit(3)


def _verdict(found: list[Comparison], differing: list[Comparison]) -> str:
    rows = sum(c.rows for c in found)
    if differing:
        return f"{len(differing)} of {len(found)} slices differ from what the service gives now"
    return f"equal: {len(found)} slices, {rows:,} rows, read from the service again"
