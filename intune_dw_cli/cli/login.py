"""`intune-dw login` and `logout`: sign in, keep the connection as a profile, show what it may do."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from intune_dw_cli.cli.options import CONNECTION, SIGN_IN, Connection, Talk, option, with_groups
from intune_dw_cli.errors import UsageError

if TYPE_CHECKING:
    from intune_dw_cli.cli.console import Terminal
    from intune_dw_cli.identity.credentials import Configuration
    from intune_dw_cli.identity.profiles import Profile, ProfileStore
    from intune_dw_cli.identity.prompts import Prompt
    from intune_dw_cli.service.access import Access
    from intune_dw_cli.settings import Settings

_FIRST_PROFILE = "default"
_STDIN = "-"


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

      intune-dw login --profile cron --certificate app.pem --tenant contoso.com --client-id ID --url URL

      intune-dw login --check

    A profile holds no secret. After a data-center move: intune-dw login --url NEW-URL

    Next: intune-dw collections
    """
    from intune_dw_cli.cli.connect import settings_of
    from intune_dw_cli.cli.console import Terminal
    from intune_dw_cli.cli.running import reported, stoppable
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
    with reported(terminal, "login"), stoppable(terminal) as stop:
        if len(chosen) > 1:
            raise UsageError(
                f"these ways of signing in exclude each other: {', '.join(way for way, _ in chosen)}",
                hint="Give one of them.",
            )
        if check:
            settings = settings_of(connection)
        else:
            method, path = chosen[0] if chosen else (None, None)
            settings = sign_in(connection, terminal, stop, method, path, allow_plaintext_cache)
        _show_access(connection, terminal, settings, stop)


def sign_in(
    connection: Connection,
    terminal: Terminal,
    stop: threading.Event,
    method: str | None,
    path: str | None,
    allow_plaintext: bool,
) -> Settings:
    """Sign in and store the profile. Asks for what is missing where a person is at the terminal.

    Raises:
        UsageError: something is missing and nobody can be asked, or is not fit.
        SignInError: refused, declined or not done in time; no keyring and no plaintext allowed.
    """
    from dataclasses import replace

    from intune_dw_cli.cli.connect import ca_bundle_of, settings_of
    from intune_dw_cli.identity.browser import open_desktop_browser
    from intune_dw_cli.identity.cache import open_cache
    from intune_dw_cli.identity.identity import Identity
    from intune_dw_cli.identity.locations import Locations
    from intune_dw_cli.identity.profiles import ProfileStore

    locations = Locations.from_environ(os.environ)
    store = ProfileStore(locations)
    name = connection.profile or store.default() or _FIRST_PROFILE
    connection = ask_for_missing(_with_profile(connection, store, name), terminal)
    settings = settings_of(connection)
    profile = _profile(store, name, settings, method, path, allow_plaintext)
    configuration = _configuration(settings, profile, path)
    cache = open_cache(locations, allow_plaintext=profile.plaintext_cache) if configuration.is_user else None
    identity = Identity(
        configuration,
        cache=cache,
        ca_bundle=ca_bundle_of(connection),
        talk=_Speaker(terminal),
        open_browser=lambda url: open_desktop_browser(url, os.environ),
        stop=stop,
    )
    try:
        account = identity.sign_in()
    finally:
        identity.close()
    if account is not None:
        profile = replace(profile, username=account.username)
    store.save(name, profile)
    who = f"as {account.username}" if account else "as an app"
    terminal.say(f"signed in {who}; profile {name} stored in {store.path}")
    return settings_of(replace(connection, profile=name))


def ask_for_missing(connection: Connection, terminal: Terminal) -> Connection:
    """Ask for feed URL, tenant and client id where they are not known and a person is there to answer."""
    from dataclasses import replace

    from intune_dw_cli.cli.connect import settings_of

    settings = settings_of(connection)
    questions = {
        "url": (settings.feed_url, "Feed URL (Intune admin center > Reports > Data warehouse: OData feed)"),
        "tenant": (settings.tenant, "Tenant (Entra admin center > Overview: Tenant ID, or your domain)"),
        "client_id": (settings.client_id, "Client ID (Entra admin center > App registrations > your app)"),
    }
    missing = {name: text for name, (value, text) in questions.items() if not value}
    if not missing or not sys.stdin.isatty() or not sys.stderr.isatty():
        return connection
    terminal.say("Some things are not known yet; the README says how to register an app.")
    answers = {name: typer.prompt(text, err=True).strip() for name, text in missing.items()}
    return replace(connection, **answers)


def _with_profile(connection: Connection, store: ProfileStore, name: str) -> Connection:
    """Let a profile that is about to be made not be missed."""
    from dataclasses import replace

    return replace(connection, profile=name if name in store.list() else None)


def _profile(
    store: ProfileStore,
    name: str,
    settings: Settings,
    method: str | None,
    path: str | None,
    allow_plaintext: bool,
) -> Profile:
    """Return what is to be stored: the settings as they are now, and the way of signing in."""
    from dataclasses import replace

    from intune_dw_cli.identity.browser import has_desktop
    from intune_dw_cli.identity.environment import proof_in
    from intune_dw_cli.identity.profiles import BROWSER, DEVICE_CODE, Profile

    settings.feed()  # what is stored must be a feed URL
    before = store.list().get(name, Profile())
    if method is None:
        method = before.method
        path = before.credential_path
        if method is None and proof_in(os.environ) is None:
            method = BROWSER if has_desktop(os.environ) else DEVICE_CODE
    cloud = settings.cloud
    return replace(
        before,
        feed_url=settings.feed_url,
        tenant=settings.tenant,
        client_id=settings.client_id,
        cloud=cloud.name,
        authority_host=cloud.authority_host if "authority_host" in settings.origins else before.authority_host,
        method=method,
        credential_path=str(Path(path).expanduser().absolute()) if path and path != _STDIN else None,
        plaintext_cache=allow_plaintext or before.plaintext_cache,
    )


def _configuration(settings: Settings, profile: Profile, path: str | None) -> Configuration:
    """Return what this sign-in goes by: the chosen way, else what the environment offers."""
    from dataclasses import replace

    from intune_dw_cli.identity.credentials import ClientSecret
    from intune_dw_cli.identity.secret import Secret
    from intune_dw_cli.settings import credential_of

    if path == _STDIN:
        secret = ClientSecret(Secret(sys.stdin.readline().strip()))
        return replace(settings, credential=secret).configuration()
    if profile.method is not None:
        credential = credential_of(profile.method, profile.credential_path, os.environ)
        return replace(settings, credential=credential).configuration()
    return settings.configuration()


class _Speaker:
    """Puts into words what a sign-in tells; on stderr, so that stdout stays clean."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._said = 0.0

    def __call__(self, prompt: Prompt) -> None:
        from intune_dw_cli.cli.console import clean, duration_text
        from intune_dw_cli.identity.prompts import BrowserMissing, BrowserOpened, CodeAwaited, CodeIssued

        err = self._terminal.err
        match prompt:
            case BrowserOpened():
                err.print("A browser window is open: sign in there. If it shows nothing, use --device-code.")
            case BrowserMissing():
                err.print("No browser can be opened here, so a code is used.")
            case CodeIssued():
                err.print(f"Open {clean(prompt.url)} in any browser and enter the code {clean(prompt.user_code)}")
                err.print(
                    f"Waiting for you to do so; the code is good for {duration_text(prompt.seconds)}. Ctrl-C cancels."
                )
            case CodeAwaited() if self._terminal.live:
                err.print(f"\r{prompt.seconds:4.0f} s left ", end="")
            case _:
                pass


def _show_access(connection: Connection, terminal: Terminal, settings: Settings, stop: threading.Event) -> None:
    """Try what a backup needs, print the table, and leave with code 4 when the warehouse itself is not readable."""
    from intune_dw_cli.cli.connect import open_identity, request_policy, tell_origins
    from intune_dw_cli.cli.progress import Reporter
    from intune_dw_cli.service.access import check_graph, check_warehouse
    from intune_dw_cli.service.transport import Transport
    from intune_dw_cli.service.warehouse import Warehouse

    tell_origins(terminal, settings)
    policy, reporter, feed = request_policy(connection), Reporter(terminal), settings.feed()
    with open_identity(connection, settings, stop) as identity:
        for warning in identity.warnings():
            terminal.warn(warning)
        transport = Transport(identity.warehouse, workers=1, policy=policy, observer=reporter, stop=stop)
        graph = Transport(identity.graph, workers=1, policy=policy, observer=reporter, stop=stop)
        found = [check_warehouse(Warehouse(feed, transport, allowed_hosts=settings.cloud.feed_hosts))]
        found += check_graph(graph, settings.cloud.graph_url)
    _print_access(terminal, settings, found)
    if found[0].state != "works":
        raise typer.Exit(4)


def _print_access(terminal: Terminal, settings: Settings, found: list[Access]) -> None:
    from rich.table import Table

    from intune_dw_cli.cli.console import clean
    from intune_dw_cli.cli.running import SUMMARY_VERSION

    if terminal.talk.json:
        rows = [
            {"what": a.what, "permission": a.permission, "state": a.state, "detail": a.detail, "remedy": a.remedy}
            for a in found
        ]
        document = {"version": SUMMARY_VERSION, "command": "login", "profile": settings.profile_name, "access": rows}
        terminal.print_json(document)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("what", "state", "permission"):
        table.add_column(heading, overflow="fold")
    for access in found:
        style = None if access.state == "works" else "yellow"
        table.add_row(access.what, access.state, access.permission, style=style)
    terminal.table(table)
    for access in found:
        if access.state != "works":
            terminal.say(f"{access.what}: {clean(access.detail)}")
            if access.remedy:
                terminal.say(f"  hint: {access.remedy}")
    if found[0].state == "works":
        terminal.say("Next: intune-dw collections")


@with_groups
def logout(
    all: Annotated[
        bool, option("--all", help="Forget the profile too: feed URL, tenant, client id.", panel=SIGN_IN)
    ] = False,
    profile: Annotated[
        str | None, option("--profile", help="Which one. Default: the default one.", panel=CONNECTION, metavar="NAME")
    ] = None,
    talk: Talk = Talk(),
) -> None:
    """Sign out: clear the account from the token cache, and with --all the profile.

    [bold]Examples[/bold]

      intune-dw logout

      intune-dw logout --profile cron --all
    """
    from intune_dw_cli.cli.console import Terminal
    from intune_dw_cli.cli.running import reported
    from intune_dw_cli.identity.cache import KeyringError, open_cache
    from intune_dw_cli.identity.locations import Locations
    from intune_dw_cli.identity.profiles import BROWSER, DEVICE_CODE, ProfileStore

    terminal = Terminal(talk)
    with reported(terminal, "logout"):
        locations = Locations.from_environ(os.environ)
        store = ProfileStore(locations)
        name = profile or store.default()
        if name is None:
            terminal.say("nobody is signed in")
            return
        stored = store.load(name)
        gone: list[str] = []
        if stored.method in (BROWSER, DEVICE_CODE):
            try:
                cache = open_cache(locations, allow_plaintext=stored.plaintext_cache)
                mine = [a for a in cache.accounts() if a.username == stored.username]
                gone = [a.username for account in mine for a in cache.sign_out(account)]
            except KeyringError:
                gone = []  # no keyring: nothing is kept
        terminal.say(f"signed out: {', '.join(gone)}" if gone else f"profile {name}: no sign-in was kept")
        if all:
            store.delete(name)
            terminal.say(f"profile {name} deleted")
