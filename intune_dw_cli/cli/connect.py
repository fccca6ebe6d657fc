"""From options to a warehouse: settings, token source, transport; or the built-in sandbox tenant."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from intune_dw_cli.cli.console import Terminal
from intune_dw_cli.cli.options import Connection
from intune_dw_cli.errors import UsageError
from intune_dw_cli.events import Observer
from intune_dw_cli.identity.cache import open_cache
from intune_dw_cli.identity.claims import read_claims
from intune_dw_cli.identity.credentials import AccessToken
from intune_dw_cli.identity.identity import Identity
from intune_dw_cli.identity.locations import Locations
from intune_dw_cli.identity.profiles import ProfileStore
from intune_dw_cli.identity.tokens import StaticToken, TokenSource
from intune_dw_cli.service.feed import FeedUrl
from intune_dw_cli.service.retry import RequestPolicy
from intune_dw_cli.service.transport import Transport
from intune_dw_cli.service.warehouse import Warehouse
from intune_dw_cli.settings import Given, Settings, resolve

if TYPE_CHECKING:
    from intune_dw_cli.archive.backup import Connect
    from intune_dw_cli.service.graph import Graph

_USER_EXPORTS, _APP_EXPORTS = 8, 48
"""Requests about Graph export jobs a minute, as documented for a user and for an app."""

SANDBOX_SOURCE = "sandbox:contoso"
SANDBOX_TENANT = "contoso"


@dataclass(frozen=True, slots=True)
class Service:
    """A way to the service.

    Attributes:
        connect: Makes the warehouse; see archive.backup.Connect.
        tenant: The tenant where it is known.
        graph: Microsoft Graph; None where the sign-in is good for the warehouse only.
    """

    connect: Connect
    tenant: str | None
    graph: Graph | None = None

    def warehouse(self) -> Warehouse:
        """Return the warehouse, its documents still to be asked for."""
        return self.connect(None, None)


@contextmanager
def open_service(
    connection: Connection, terminal: Terminal, *, workers: int, observer: Observer, stop: threading.Event
) -> Iterator[Service]:
    """Open the way to the service that the options, the environment and the profile name.

    Raises:
        UsageError: no feed URL, or one that is none; a profile that does not exist.
        SignInError: nothing to sign in with.
    """
    policy = request_policy(connection)
    if connection.sandbox:
        if connection.url:
            raise UsageError("--sandbox and --url exclude each other", hint="Leave one of them out.")
        from intune_dw_cli.sandbox import Sandbox
        from intune_dw_cli.service.export_jobs import ExportPolicy
        from intune_dw_cli.service.graph import Graph

        with Sandbox() as sandbox:
            tokens: TokenSource = StaticToken("sandbox", origin="the sandbox")
            feed = FeedUrl.parse(sandbox.feed_url, api_version=connection.api_version, allowed_hosts=())
            transport = Transport(tokens, workers=workers, policy=policy, observer=observer, stop=stop)
            graph = Graph(
                Transport(tokens, workers=1, policy=policy, observer=observer, stop=stop),
                sandbox.graph_url,
                exports=ExportPolicy.hurried(),
            )
            yield Service(_connector(feed, transport, (), observer, SANDBOX_SOURCE), SANDBOX_TENANT, graph)
            transport.close()
        return
    settings = settings_of(connection)
    if (settings.feed_url is None or settings.credential is None) and can_ask(terminal):
        from intune_dw_cli.cli.sign_in import first_use  # only now: a run that is set up does not need it

        settings = first_use(connection, terminal, stop)
    tell_origins(terminal, connection, settings)
    feed = settings.feed()
    with open_identity(connection, settings, stop) as identity:
        for warning in identity.warnings():
            terminal.warn(warning)
        transport = Transport(identity.warehouse, workers=workers, policy=policy, observer=observer, stop=stop)
        try:
            connect = _connector(feed, transport, settings.cloud.feed_hosts, observer, None)
            yield Service(connect, tenant_of(settings), _graph(settings, identity, policy, observer, stop))
        finally:
            transport.close()


def settings_of(connection: Connection) -> Settings:
    """Return the settings that the options, the environment and the profile give together. Raises UsageError."""
    return resolve(given_by(connection), os.environ, ProfileStore(Locations.from_environ(os.environ)))


def given_by(connection: Connection) -> Given:
    """Return what the options say, for the settings."""
    return Given(
        profile=connection.profile,
        url=connection.url,
        api_version=connection.api_version,
        tenant=connection.tenant,
        client_id=connection.client_id,
        cloud=connection.cloud,
        authority_host=connection.authority_host,
        graph_url=connection.graph_url,
        resource=connection.resource,
        feed_hosts=tuple(connection.feed_host or ()),
    )


@contextmanager
def open_identity(connection: Connection, settings: Settings, stop: threading.Event) -> Iterator[Identity]:
    """Open the identity that the settings name, for token sources; nobody is asked anything.

    Raises:
        SignInError: nothing to sign in with, or no cache that holds the sign-in.
        UsageError: tenant, client id, secret file or certificate are not fit.
    """
    configuration = settings.configuration()
    cache = None
    if configuration.is_user:
        locations = Locations.from_environ(os.environ)
        cache = open_cache(locations, allow_plaintext=settings.profile.plaintext_cache)
    identity = Identity(configuration, cache=cache, ca_bundle=ca_bundle_of(connection), stop=stop)
    try:
        yield identity
    finally:
        identity.close()


def request_policy(connection: Connection) -> RequestPolicy:
    """Return the policy of all requests. Raises UsageError for a bundle that is no file or a time-out of nothing."""
    if connection.timeout <= 0:
        raise UsageError(
            f"--timeout {connection.timeout:g}: it must be more than 0 seconds", hint="Leave it out for 300 seconds."
        )
    return RequestPolicy(read_timeout=connection.timeout, ca_bundle=ca_bundle_of(connection))


def ca_bundle_of(connection: Connection) -> str | None:
    """Return the file of --ca-bundle. Raises UsageError when it is none."""
    bundle = connection.ca_bundle
    if bundle is not None and not bundle.is_file():
        raise UsageError(f"--ca-bundle {bundle} is no file", hint="Give a PEM file with the authorities to trust.")
    return str(bundle) if bundle else None


def can_ask(terminal: Terminal) -> bool:
    """Whether a person is there to be asked: a terminal on both ends, and not told to be quiet."""
    return sys.stdin.isatty() and sys.stderr.isatty() and not terminal.quiet


def tell_origins(terminal: Terminal, connection: Connection, settings: Settings) -> None:
    """Say, with -vv, what each setting is and where it came from; never a secret."""
    if terminal.talk.verbose < 2:
        return
    for name, value, origin in settings.told():
        terminal.say(f"{name}: {value} ({origin})")
    if connection.ca_bundle is not None:
        terminal.say(f"ca-bundle: {connection.ca_bundle}")


def tenant_of(settings: Settings) -> str | None:
    """Return the tenant: as a ready token says, which is its id and true; else as set."""
    if isinstance(settings.credential, AccessToken):
        claims = read_claims(settings.credential.token.reveal())
        if claims is not None and claims.tenant is not None:
            return claims.tenant
    return settings.tenant


def _graph(
    settings: Settings, identity: Identity, policy: RequestPolicy, observer: Observer, stop: threading.Event
) -> Graph | None:
    """Return Graph, None where there is but a ready token, which is for the warehouse only."""
    if isinstance(settings.credential, AccessToken):
        return None
    from intune_dw_cli.service.export_jobs import ExportPolicy
    from intune_dw_cli.service.graph import Graph

    transport = Transport(identity.graph, workers=1, policy=policy, observer=observer, stop=stop)
    per_minute = _USER_EXPORTS if identity.configuration.is_user else _APP_EXPORTS
    return Graph(transport, settings.cloud.graph_url, exports=ExportPolicy(per_minute=per_minute))


def _connector(
    feed: FeedUrl, transport: Transport, allowed_hosts: tuple[str, ...], observer: Observer, source: str | None
) -> Connect:
    def connect(service_document: bytes | None, metadata_document: bytes | None) -> Warehouse:
        return Warehouse(
            feed,
            transport,
            allowed_hosts=allowed_hosts,
            source=source,
            observer=observer,
            service_document=service_document,
            metadata_document=metadata_document,
        )

    return connect
