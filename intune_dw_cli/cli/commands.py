"""The commands by name; the module of one is imported when it is called, so that `--help` and `--version` are quick."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperGroup

from intune_dw_cli.cli.help import epilog


@dataclass(frozen=True)
class Place:
    """Where a command is listed.

    Attributes:
        panel: Among what it is listed.
        help: What the list says: the first paragraph of the command's own help.
    """

    panel: str
    help: str


PLACES = {
    "login": Place("Connect", "Sign in, store the connection as a profile, and show what it may do."),
    "logout": Place("Connect", "Sign out: clear the account from the token cache, and with --all the profile."),
    "collections": Place("Take data", "List the collections of the warehouse, or the properties of one."),
    "pull": Place("Take data", "Pull collections into CSV or Parquet files."),
    "backup": Place(
        "Keep an archive",
        "Back up every collection, and the trend charts, into an archive with hashes and a manifest.",
    ),
    "verify": Place("Keep an archive", "Check an archive, offline: manifest, file set, sizes and hashes, contents."),
    "status": Place(
        "Keep an archive",
        "Say how an archive stands: state, last day, age, gaps, and what will be lost next.",
    ),
    "sandbox": Place("Try it out", "Serve a sandbox tenant on this machine until Ctrl-C."),
}


def load(name: str) -> Any:
    """Import a command and return it as Typer's (Click's) own command object. Raises KeyError where there is none."""
    place = PLACES[name]
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    app.command(name, epilog=epilog(name), rich_help_panel=place.panel)(_function(name))
    return typer.main.get_command(app)


def _function(name: str) -> Callable[..., None]:
    """Import by statements, not by name: PyInstaller finds what is to be in the program."""
    match name:
        case "login":
            from intune_dw_cli.cli.login import command
        case "logout":
            from intune_dw_cli.cli.login import logout as command
        case "collections":
            from intune_dw_cli.cli.collections import command
        case "pull":
            from intune_dw_cli.cli.pull import command
        case "backup":
            from intune_dw_cli.cli.backup import command
        case "verify":
            from intune_dw_cli.cli.verify import command
        case "status":
            from intune_dw_cli.cli.status import command
        case _:
            from intune_dw_cli.cli.sandbox import command
    return command


class _Commands(MutableMapping[str, Any]):
    """All commands, each loaded when it is first looked up."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = load(name)
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        raise TypeError("commands are named in PLACES")

    def __delitem__(self, name: str) -> None:
        raise TypeError("commands are named in PLACES")

    def __iter__(self) -> Iterator[str]:
        return iter(PLACES)

    def __len__(self) -> int:
        return len(PLACES)


class LazyGroup(TyperGroup):
    """The group of all commands. Its help is plain text: Rich's panels would take as long as all else together."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Commands()

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands."""
        return list(self.commands)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, options and commands included."""
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        self.format_options(ctx, formatter)
        self.format_epilog(ctx, formatter)

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Write what `intune-dw` is; lines that are indented stay as they are."""
        text = inspect.cleandoc(self.help or "").replace("[bold]", "").replace("[/bold]", "")
        with formatter.indentation():
            for paragraph in text.split("\n\n"):
                formatter.write("\n")
                if "\n  " in paragraph:
                    formatter.write("".join(f"  {line}\n" for line in paragraph.splitlines()))
                else:
                    formatter.write_text(paragraph)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands, without importing them."""
        for panel in dict.fromkeys(place.panel for place in PLACES.values()):
            with formatter.section(panel):
                formatter.write_dl([(f"{n:<11}", p.help) for n, p in PLACES.items() if p.panel == panel])
