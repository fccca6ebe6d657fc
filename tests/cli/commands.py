"""The command line as data: its commands and their parameters, for tests about help and documents."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import typer

from intune_dw_cli.cli.app import app

GROUP: Any = typer.main.get_command(app)
CONTEXT: Any = GROUP.make_context("intune-dw", [], resilient_parsing=True)
COMMANDS: dict[str, Any] = {name: GROUP.get_command(CONTEXT, name) for name in GROUP.list_commands(CONTEXT)}


def options(command: str) -> dict[str, Any]:
    """The options of a command by each of their spellings, `--help` included."""
    context = COMMANDS[command].make_context(command, [], resilient_parsing=True)
    return {name: p for p in COMMANDS[command].get_params(context) for name in (*p.opts, *p.secondary_opts)}


def global_options() -> dict[str, Any]:
    """The options of `intune-dw` itself."""
    return {name: p for p in GROUP.get_params(CONTEXT) for name in p.opts}


def environment_names() -> set[str]:
    """Every variable that stands for an option."""
    found: set[str] = set()
    for name in COMMANDS:
        for parameter in options(name).values():
            names = parameter.envvar or ()
            found |= {names} if isinstance(names, str) else set(names)
    return found


def calls(line: str) -> Iterator[list[str]]:
    """The calls of intune-dw in one line of shell, each as its arguments; pipes, lists and redirections end one."""
    words = shlex.split(line.removesuffix("\\"), comments=True)
    call: list[str] | None = None
    for word in [*words, "|"]:
        if word in ("|", "&&", "||", ";", ">", "2>"):
            if call:
                yield call
            call = None
        elif call is not None:
            call.append(word)
        elif word.rpartition("/")[2].rpartition("\\")[2] in ("intune-dw", "intune-dw.exe"):
            call = []


def unknown_in(call: list[str]) -> list[str]:
    """What a call names that does not exist: its command, or its options."""
    if call[0].startswith("-"):
        return [word for word in call if word not in global_options()]
    if call[0] not in COMMANDS:
        return [call[0]]
    known = options(call[0])
    words = [word.partition("=")[0] for word in call[1:] if word.startswith("-") and word != "-" and word != "-7d"]
    return [word for word in words if word not in known and set(word) != {"-", "v"}]
