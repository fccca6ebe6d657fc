"""What Typer finds wrong with a command line, in the words and the form of all our errors."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

import typer

from intune_dw_cli.errors import UsageError

# The class itself is in `click`, and in newer releases of Typer within Typer; this subclass of it is in both.
CommandLineError: type[Exception] = typer.BadParameter.__mro__[1]
"""click's UsageError: unknown command or option, missing argument, value of the wrong kind."""


def usage_error(error: Any) -> UsageError:
    """Return our error for click's: what is wrong, the near miss, and where the help is.

    Args:
        error: A `CommandLineError`, with the context it was raised in where there was one.
    """
    context, parameter = error.ctx, getattr(error, "param", None)
    command = context.command_path if context is not None else "intune-dw COMMAND"
    steps = [f"{'All commands' if command == 'intune-dw' else 'All options'}: {command} --help"]
    match type(error).__name__:
        case "NoSuchOption":
            near = get_close_matches(error.option_name, error.possibilities or (), n=3)
            message = f"there is no option {error.option_name}{_did_you_mean(near)}"
        case "MissingParameter" if parameter is not None:
            message = f"{parameter.metavar or parameter.name} is missing"
            steps.insert(0, f"For example: {_example(context)}." if _example(context) else "")
        case "BadParameter" if parameter is not None:
            message = f"{_named(parameter, context)} must be {_kind(error.message)}"
        case "BadOptionUsage":
            takes = "takes no value" if "not take" in error.message else "needs a value"
            message = f"{error.option_name} {takes}"
        case "UsageError" if "No such command" in error.message:
            typed = error.message.split("'")[1]
            near = get_close_matches(typed, context.command.list_commands(context), n=3)
            message = f"there is no command {typed}{_did_you_mean(near)}"
        case _:
            message = error.format_message()
            message = message[:1].lower() + message[1:].rstrip(".")
    return UsageError(message, hint=" ".join(filter(None, steps)))


def _example(context: Any) -> str:
    """Return the first example in the help of the command."""
    lines = (line.strip() for line in (context.command.help or "").splitlines())
    return next((line for line in lines if line.startswith("intune-dw ")), "")


def _did_you_mean(near: Iterable[str]) -> str:
    words = " or ".join(near)
    return f"; did you mean {words}?" if words else ""


def _named(parameter: Any, context: Any) -> str:
    """Return how the user named a parameter: by its flag, or by a variable that is set."""
    source = context.get_parameter_source(parameter.name) if context is not None else None
    if source is not None and source.name == "ENVIRONMENT":
        names = [parameter.envvar] if isinstance(parameter.envvar, str) else parameter.envvar
        return f"the environment's {' or '.join(names)}"
    return str(parameter.opts[0])


def _kind(complaint: str) -> str:
    """Return what a value must be; Typer's own words speak of parsing and of input."""
    if "integer" in complaint:
        return "a whole number"
    if "number" in complaint or "float" in complaint:
        return "a number"
    if "boolean" in complaint:
        return "1 (yes) or 0 (no)"
    return f"another value: {complaint}"
