"""`intune-dw verify`: does an archive still hold what its manifest says?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from intune_dw_cli.cli.options import OUTPUT, Talk, option, with_groups


@with_groups
def command(
    archive: Annotated[Path, typer.Argument(help="The archive's folder.")],
    quick: Annotated[bool, option("--quick", help="Compare names and sizes only; read no data.", panel=OUTPUT)] = False,
    talk: Talk = Talk(),
) -> None:
    """Check an archive, offline: manifest, file set, sizes and hashes, contents.

    [bold]Examples[/bold]

      intune-dw verify ./contoso-backup

      intune-dw verify ./contoso-backup --quick

    Exit code 0: sound and complete. 3: sound, but the backup is partial or unfinished. 5: damage was found.
    """
    from intune_dw_cli.archive.verify import verify
    from intune_dw_cli.cli.console import Terminal, clean, size_text
    from intune_dw_cli.cli.running import SUMMARY_VERSION, reported

    terminal = Terminal(talk)
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
                terminal.out.print(clean(f"{finding.path}: {finding.message} [{finding.stage}]"), soft_wrap=True)
    held = f"{result.files:,} files, {result.rows:,} rows, {size_text(result.bytes)}"
    if result.findings:
        terminal.err.print(f"damaged: {len(result.findings)} findings in {held}", style="bold red")
        raise typer.Exit(5)
    what = "sizes agree" if quick else "hashes and contents agree"
    if result.state == "complete":
        terminal.say(f"sound and complete: {held}; {what}")
        return
    terminal.say(
        f"sound but {result.state}: {held}; {what}. Run `intune-dw backup {archive}` again to continue.", style="yellow"
    )
    raise typer.Exit(3)
