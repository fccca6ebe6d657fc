"""The app: its commands, and the one place where an error becomes a message and an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from intune_dw_cli.cli.commands import LazyGroup
from intune_dw_cli.cli.help import START, epilog
from intune_dw_cli.cli.usage import CommandLineError, usage_error
from intune_dw_cli.errors import InterruptedRunError, IntuneDwError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h of glibc
_LARGE = 2 * 1024 * 1024

app = typer.Typer(
    name="intune-dw",
    cls=LazyGroup,
    invoke_without_command=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=epilog("intune-dw"),
)


def _version(wanted: bool) -> None:
    if wanted:
        from intune_dw_cli.cli.version import version_text

        typer.echo(version_text())
        raise typer.Exit


@app.callback()
def intune_dw(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the versions that a bug report needs, and exit."
        ),
    ] = False,
) -> None:
    """Take your data out of the Microsoft Intune Data Warehouse: complete, resumable, verified.

    [bold]Examples[/bold]
      intune-dw backup ./try --sandbox    try it: a built-in tenant, no account
      intune-dw login                     sign in
      intune-dw pull devices              take one collection: devices.csv
      intune-dw backup ./archive          take everything, as a verifiable archive

    Each command has its own help: intune-dw pull --help
    """
    if context.invoked_subcommand is None:
        typer.echo(START, err=True)
        raise typer.Exit(2)  # a script whose command got lost has done nothing


def main() -> None:
    """Run the command line and exit with its code. Never returns."""
    _share_memory()
    try:
        sys.exit(app(prog_name="intune-dw", standalone_mode=False))  # a code where a command left with one
    except CommandLineError as error:
        _report(usage_error(error))
        _leave(2)
    except typer.Abort:
        _report(InterruptedRunError("cancelled: nobody answered"))
        _leave(InterruptedRunError.exit_code)
    except IntuneDwError as error:
        _report(error)
        _leave(error.exit_code)
    except BrokenPipeError:
        _leave(1)  # the reader of our output has gone; there is nobody to tell
    except Exception as error:
        _report(_unforeseen(error))
        _leave(1)


def _share_memory() -> None:
    """Have the buffers of pages and row groups come from one pool, and the large ones go back to the system.

    Arrow's own allocator keeps what it once had, and glibc's has an arena for each thread: memory would be twice as
    much. The line between large and small is a matter of measurement: with 128 KiB (glibc's own) the system clears and
    maps so many pages anew that it takes a fifth of the processor time; with 8 MiB it is a tenth less, but a fifth more
    memory.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    if sys.platform != "linux":
        return
    import ctypes

    with contextlib.suppress(OSError, AttributeError):  # another C library: nothing to set
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_TRIM_THRESHOLD, 2 * _LARGE)


def _report(error: IntuneDwError) -> None:
    from intune_dw_cli.cli.console import report_error, stderr_console

    report_error(stderr_console(), error)


def _unforeseen(error: Exception) -> IntuneDwError:
    import traceback

    frame = traceback.extract_tb(error.__traceback__)[-1]
    return IntuneDwError(
        f"an error in intune-dw itself: {type(error).__name__} in "
        f"{Path(frame.filename).name}, {frame.name}, line {frame.lineno}",
        hint="Please report it with the command and the output of `intune-dw --version`.",
    )


def _leave(code: int) -> None:
    """Exit without waiting for requests that are still under way, and without a word about a closed pipe."""
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    os._exit(code)
