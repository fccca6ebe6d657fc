"""`intune-dw login` and `logout`: sign in, keep the connection as a profile, show what it may do."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from intune_dw_cli.cli.complete import profile_names
from intune_dw_cli.cli.options import CONNECTION, SIGN_IN, Connection, Talk, option, with_groups
from intune_dw_cli.errors import UsageError

if TYPE_CHECKING:
    from intune_dw_cli.cli.console import Terminal
    from intune_dw_cli.identity.identity import Identity
    from intune_dw_cli.identity.locations import Locations
    from intune_dw_cli.identity.profiles import Profile
    from intune_dw_cli.service.access import Access
    from intune_dw_cli.settings import Settings


@with_groups
def command(
    device_code: Annotated[
        bool, option("--device-code", help="Sign in with a code, in a browser anywhere.", panel=SIGN_IN)
    ] = False,
    browser: Annotated[
        bool, option("--browser", help="Sign in in a browser here (the default on a desktop).", panel=SIGN_IN)
    ] = False,
    client_secret_file: Annotated[
        str | None,
        option(
            "--client-secret-file",
            help="Sign in as an app; the file holds the client secret (- for stdin).",
            panel=SIGN_IN,
            metavar="FILE",
        ),
    ] = None,
    certificate: Annotated[
        Path | None,
        option(
            "--certificate",
            help="Sign in as an app; PEM with key, or PFX (password in AZURE_CLIENT_CERTIFICATE_PASSWORD).",
            panel=SIGN_IN,
            metavar="FILE",
        ),
    ] = None,
    managed_identity: Annotated[
        bool, option("--managed-identity", help="Sign in as the Azure resource this runs on.", panel=SIGN_IN)
    ] = False,
    federated_token_file: Annotated[
        Path | None,
        option(
            "--federated-token-file",
            help="Sign in as an app with a token of another issuer (workload identity).",
            panel=SIGN_IN,
            metavar="FILE",
        ),
    ] = None,
    allow_plaintext_cache: Annotated[
        bool,
        option(
            "--allow-plaintext-cache",
            help="Where there is no keyring: keep the sign-in in a file only you can read.",
            panel=SIGN_IN,
        ),
    ] = False,
    check: Annotated[
        bool, option("--check", help="Do not sign in: show what the present sign-in may do.", panel=SIGN_IN)
    ] = False,
    connection: Connection = Connection(),
    talk: Talk = Talk(),
) -> None:
    """Sign in, store the connection as a profile, and show what it may do.

    [bold]Examples[/bold]
      intune-dw login
      intune-dw login --device-code --tenant contoso.com --client-id ID --url URL
      intune-dw login --profile cron --certificate app.pem
      intune-dw login --check
      intune-dw login --url NEW-URL       after a data-center move

    A profile holds no secret.
    """
    from intune_dw_cli.cli.connect import open_identity, settings_of, tell_origins
    from intune_dw_cli.cli.console import Terminal
    from intune_dw_cli.cli.sign_in import SignIn
    from intune_dw_cli.cli.stopping import stoppable
    from intune_dw_cli.cli.summary import reported
    from intune_dw_cli.identity.profiles import (
        BROWSER,
        CERTIFICATE,
        DEVICE_CODE,
        FEDERATED_TOKEN_FILE,
        MANAGED_IDENTITY,
        SECRET_FILE,
    )

    terminal = Terminal(talk)
    ways = {
        DEVICE_CODE: device_code,
        BROWSER: browser,
        SECRET_FILE: client_secret_file,
        CERTIFICATE: certificate,
        MANAGED_IDENTITY: managed_identity,
        FEDERATED_TOKEN_FILE: federated_token_file,
    }
    chosen = [(way, str(value) if not isinstance(value, bool) else None) for way, value in ways.items() if value]
    with reported(terminal, "login"), stoppable(terminal, "login", words="cancelling", again=None) as stop:
        if len(chosen) > 1:
            raise UsageError(
                f"these ways of signing in exclude each other: {', '.join(way for way, _ in chosen)}",
                hint="Give one of them.",
            )
        if connection.sandbox:
            raise UsageError("the sandbox tenant needs no sign-in", hint="Try: intune-dw collections --sandbox")
        if check:
            settings = settings_of(connection)
            tell_origins(terminal, connection, settings)
            with open_identity(connection, settings, stop) as identity:
                _show_access(connection, terminal, settings, identity, stop)
            return
        method, path = chosen[0] if chosen else (None, None)
        with SignIn(connection, terminal, stop, method, path, allow_plaintext_cache) as done:
            _show_access(connection, terminal, done.settings, done.identity, stop)


def _show_access(
    connection: Connection, terminal: Terminal, settings: Settings, identity: Identity, stop: threading.Event
) -> None:
    """Try what a backup needs, print the table, and leave with the code of the warehouse's refusal if there is one."""
    from intune_dw_cli.cli.connect import request_policy
    from intune_dw_cli.cli.progress import Reporter
    from intune_dw_cli.service.access import check_graph, check_warehouse
    from intune_dw_cli.service.transport import Transport
    from intune_dw_cli.service.warehouse import Warehouse

    policy, reporter, feed = replace(request_policy(connection), tries=2), Reporter(terminal), settings.feed()
    warnings = identity.warnings()
    for warning in warnings:
        terminal.warn(warning)
    cloud = settings.cloud
    transport = Transport(identity.warehouse, workers=1, policy=policy, observer=reporter, stop=stop)
    graph = Transport(identity.graph, workers=1, policy=policy, observer=reporter, stop=stop)
    try:
        warehouse = Warehouse(feed, transport, allowed_hosts=cloud.feed_hosts)
        found = check_warehouse(warehouse, identity.warehouse, cloud.resource)
        found += check_graph(graph, identity.graph, cloud.graph_url)
    finally:
        transport.close()
        graph.close()
    _print_access(terminal, settings, found, warnings)
    refused = next((access.exit_code for access in found if access.exit_code and "warehouse" in access.what), 0)
    if refused:
        raise typer.Exit(refused)


def _print_access(terminal: Terminal, settings: Settings, found: list[Access], warnings: list[str]) -> None:
    from rich.table import Table

    from intune_dw_cli.cli.console import clean
    from intune_dw_cli.cli.summary import SUMMARY_VERSION

    works = all(access.state == "works" for access in found if "warehouse" in access.what)
    if terminal.talk.json:
        rows = [
            {"what": a.what, "permission": a.permission, "state": a.state, "detail": a.detail, "remedy": a.remedy}
            for a in found
        ]
        terminal.print_json(
            {
                "version": SUMMARY_VERSION,
                "command": "login",
                "state": "complete" if works else "failed",
                "profile": settings.profile_name,
                "username": settings.profile.username,
                "url": settings.feed_url,
                "access": rows,
                "warnings": [{"collection": None, "message": text} for text in warnings],
            }
        )
    else:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("what", "state", "permission"):
            table.add_column(heading, overflow="fold")
        for access in found:
            style = None if access.state == "works" else "yellow"
            table.add_row(access.what, access.state, access.permission.rpartition(": ")[2], style=style)
        terminal.table(table)
    _advise(terminal, found, clean)
    if works:
        terminal.say("Next: intune-dw collections")


def _advise(terminal: Terminal, found: list[Access], clean: Callable[[str], str]) -> None:
    """Say what is wrong, and once for each remedy what to do."""
    said = set()
    for access in found:
        if access.state in ("works", "not tried"):
            continue
        terminal.say(f"{access.what}: {clean(access.detail)}", style="yellow")
        if access.remedy and access.remedy not in said:
            said.add(access.remedy)
            terminal.say(f"  hint: {access.remedy}")


@with_groups
def logout(
    all: Annotated[
        bool,
        option("--all", help="Forget the profile too: feed URL, tenant, client id.", panel=SIGN_IN, typed=True),
    ] = False,
    profile: Annotated[
        str | None,
        option(
            "--profile",
            help="Which one. Default: the default one.",
            panel=CONNECTION,
            metavar="NAME",
            complete=profile_names,
        ),
    ] = None,
    talk: Talk = Talk(),
) -> None:
    """Sign out: clear the account from the token cache, and with --all the profile.

    [bold]Examples[/bold]
      intune-dw logout
      intune-dw logout --profile cron --all

    What was pulled or backed up stays.
    """
    from intune_dw_cli.cli.console import Terminal
    from intune_dw_cli.cli.summary import SUMMARY_VERSION, reported
    from intune_dw_cli.identity.locations import Locations
    from intune_dw_cli.identity.profiles import ProfileStore

    terminal = Terminal(talk)
    with reported(terminal, "logout"):
        locations = Locations.from_environ(os.environ)
        store = ProfileStore(locations)
        name = profile or store.default()
        gone: list[str] = []
        deleted = False
        if name is None:
            terminal.say("nobody is signed in")
        else:
            stored = store.load(name)
            gone = _forgotten(stored, locations)
            terminal.say(f"signed out: {', '.join(gone)}" if gone else f"profile {name}: no sign-in was kept")
            if all:
                deleted = store.delete(name)
                terminal.say(f"profile {name} deleted")
        if talk.json:
            terminal.print_json(
                {
                    "version": SUMMARY_VERSION,
                    "command": "logout",
                    "state": "complete",
                    "profile": name,
                    "signed_out": gone,
                    "profile_deleted": deleted,
                }
            )


def _forgotten(profile: Profile, locations: Locations | None) -> list[str]:
    """Take the account of a profile out of the token cache; return who that was."""
    from intune_dw_cli.identity.cache import KeyringError, open_cache

    if not profile.username:
        return []
    try:
        cache = open_cache(locations, allow_plaintext=profile.plaintext_cache)
    except KeyringError:
        return []  # no keyring: nothing is kept
    mine = [a for a in cache.accounts() if a.username.casefold() == profile.username.casefold()]
    return [account.username for mine_ in mine for account in cache.sign_out(mine_)]
