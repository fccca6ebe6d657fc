"""Options: one rule for their environment names, and the groups that every command shares.

The rule: `--workers` may be given as INTUNE_DW_WORKERS. A flag wins over the environment, and that over the default.
Options that are `typed` have no such name.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from intune_dw_cli.cli.complete import Completer, choices, profile_names
from intune_dw_cli.errors import UsageError

PREFIX = "INTUNE_DW_"

CONNECTION = "Connection"
OUTPUT = "Output"
SELECTION = "Selection"
TALK = "Messages"
SIGN_IN = "Sign-in"
PRIVACY = "Personal data"
REDACT_KEY = f"{PREFIX}REDACT_KEY"
"""The variable that holds the key of `--redact hash`. There is no flag for it: every process sees what is in argv."""


def option(
    flag: str,
    *more: str,
    help: str,
    panel: str,
    aliases: tuple[str, ...] = (),
    metavar: str | None = None,
    words: tuple[str, ...] = (),
    complete: Completer | None = None,
    typed: bool = False,
) -> Any:
    """Return a Typer option whose environment name follows the rule.

    Args:
        flag: The long flag, such as `--workers`.
        more: Further spellings, such as `-w`.
        aliases: Further environment names, for those that admins have set already.
        words: What the shell completes as the value.
        complete: Finds that where it is no fixed list.
        typed: Whether it must be typed and has no environment name: where a variable that was set for another command,
            or long ago, would do harm.
    """
    return typer.Option(
        flag,
        *more,
        help=f"{help} Has no variable." if typed else help,
        envvar=None if typed else [environment_name(flag), *aliases],
        rich_help_panel=panel,
        metavar=metavar,
        show_envvar=bool(aliases),
        autocompletion=choices(*words) if words else complete,
    )


def require_positive(flag: str, number: int | None, hint: str) -> None:
    """Raise UsageError, with the hint, where a number was given that is less than 1."""
    if number is not None and number < 1:
        raise UsageError(f"{flag} {number}: it must be at least 1", hint=hint)


ON_WINDOWS = os.name == "nt"


def require_fit_path(flag: str, path: str | Path | None) -> None:
    """Raise UsageError, on Windows, for a path that would go somewhere else than it says."""
    if not ON_WINDOWS or path is None or str(path) == "-":
        return
    from intune_dw_cli.export.names import trouble_on_windows

    trouble = trouble_on_windows(str(path))
    if trouble:
        raise UsageError(f"{flag} {path} {trouble}", hint="Give another path, such as D:\\intune.")


def environment_name(flag: str) -> str:
    """Return the environment name of a flag: `--ca-bundle` is INTUNE_DW_CA_BUNDLE."""
    return PREFIX + flag.split("/", maxsplit=1)[0].removeprefix("--").replace("-", "_").upper()


@dataclass(frozen=True)
class Connection:
    """Whom to talk to, and as whom."""

    profile: Annotated[
        str | None,
        option(
            "--profile",
            help="Profile made by `login`. Default: the default one.",
            panel=CONNECTION,
            metavar="NAME",
            complete=profile_names,
        ),
    ] = None
    url: Annotated[
        str | None,
        option(
            "--url",
            help="Feed URL, as copied from the Intune admin center: Reports > Data warehouse.",
            panel=CONNECTION,
            metavar="URL",
        ),
    ] = None
    api_version: Annotated[
        str | None,
        option(
            "--api-version",
            help="v1.0 or beta. Default: what the feed URL says, else v1.0.",
            panel=CONNECTION,
            words=("v1.0", "beta"),
        ),
    ] = None
    tenant: Annotated[
        str | None,
        option(
            "--tenant",
            help="Tenant id or domain.",
            panel=CONNECTION,
            aliases=("AZURE_TENANT_ID",),
            metavar="TENANT",
        ),
    ] = None
    client_id: Annotated[
        str | None,
        option(
            "--client-id",
            help="Application (client) id of the app registration.",
            panel=CONNECTION,
            aliases=("AZURE_CLIENT_ID",),
            metavar="ID",
        ),
    ] = None
    cloud: Annotated[
        str | None,
        option(
            "--cloud",
            help="public, usgov, usgovdod or china. Default: public.",
            panel=CONNECTION,
            metavar="CLOUD",
            words=("public", "usgov", "usgovdod", "china"),
        ),
    ] = None
    authority_host: Annotated[
        str | None,
        option(
            "--authority-host",
            help="Sign-in host in place of the cloud's.",
            panel=CONNECTION,
            aliases=("AZURE_AUTHORITY_HOST",),
            metavar="URL",
        ),
    ] = None
    graph_url: Annotated[
        str | None,
        option("--graph-url", help="Microsoft Graph in place of the cloud's.", panel=CONNECTION, metavar="URL"),
    ] = None
    resource: Annotated[
        str | None,
        option(
            "--resource",
            help="What a warehouse token is asked for, in place of the cloud's.",
            panel=CONNECTION,
            metavar="URI",
        ),
    ] = None
    feed_host: Annotated[
        list[str] | None,
        option(
            "--feed-host",
            help="Hosts that may serve the feed, in place of the cloud's (repeatable).",
            panel=CONNECTION,
            metavar="HOST",
        ),
    ] = None
    ca_bundle: Annotated[
        Path | None,
        option(
            "--ca-bundle",
            help="File with the certification authorities to trust (PEM).",
            panel=CONNECTION,
            metavar="FILE",
        ),
    ] = None
    timeout: Annotated[
        float,
        option("--timeout", help="Seconds of silence after which a request is tried again.", panel=CONNECTION),
    ] = 300.0
    sandbox: Annotated[
        bool,
        option("--sandbox", help="Use a built-in sandbox tenant: no account needed.", panel=CONNECTION),
    ] = False


@dataclass(frozen=True)
class Talk:
    """How much to say, and where."""

    quiet: Annotated[bool, option("--quiet", "-q", help="Say nothing but errors.", panel=TALK)] = False
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose",
            "-v",
            count=True,
            help="Say more: -v waits and files, -vv requests.",
            envvar=environment_name("--verbose"),
            show_envvar=False,
            rich_help_panel=TALK,
        ),
    ] = 0
    log_file: Annotated[
        Path | None, option("--log-file", help="Write a log here, requests included.", panel=TALK, metavar="FILE")
    ] = None
    json: Annotated[
        bool, option("--json", help="Print the run's summary as one JSON object on stdout.", panel=TALK)
    ] = False


@dataclass(frozen=True)
class Privacy:
    """What becomes of personal data."""

    redact: Annotated[
        str | None,
        option(
            "--redact",
            help="Personal data: drop leaves the columns out, hash puts pseudonyms in (joins still work).",
            panel=PRIVACY,
            metavar="MODE",
            words=("drop", "hash"),
        ),
    ] = None
    redact_key_file: Annotated[
        Path | None,
        option(
            "--redact-key-file",
            help="File with the key of --redact hash; or the key itself in INTUNE_DW_REDACT_KEY.",
            panel=PRIVACY,
            metavar="FILE",
        ),
    ] = None


def with_groups(function: Callable[..., None]) -> Callable[..., None]:
    """Expand parameters that are option groups (dataclasses) into the options they hold."""
    hints = get_type_hints(function, include_extras=True)
    parameters: list[inspect.Parameter] = []
    groups: dict[str, type[Any]] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        hint = hints[name]
        if inspect.isclass(hint) and is_dataclass(hint):
            groups[name] = hint
            field_hints = get_type_hints(hint, include_extras=True)
            parameters += [
                inspect.Parameter(
                    f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=field_hints[f.name]
                )
                for f in fields(hint)
            ]
        else:
            parameters.append(parameter.replace(annotation=hint, kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(function)
    def command(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{f.name: given.pop(f.name) for f in fields(group)})
        function(**given)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command
