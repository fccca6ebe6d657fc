"""From options to a warehouse: feed URL, token, transport; or the built-in sandbox tenant."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from intune_dw_cli.archive.backup import Connect
from intune_dw_cli.cli.options import Connection
from intune_dw_cli.errors import SignInError, UsageError
from intune_dw_cli.events import Observer
from intune_dw_cli.identity.clouds import CLOUDS, Cloud
from intune_dw_cli.identity.tokens import StaticToken, TokenSource
from intune_dw_cli.sandbox import Sandbox
from intune_dw_cli.service.feed import FeedUrl
from intune_dw_cli.service.transport import RequestPolicy, Transport
from intune_dw_cli.service.warehouse import Warehouse

TOKEN_VARIABLE = "INTUNE_DW_ACCESS_TOKEN"  # noqa: S105 - a variable's name
SANDBOX_SOURCE = "sandbox:contoso"
SANDBOX_TENANT = "contoso"


@dataclass(frozen=True, slots=True)
class Service:
    """A way to the service.

    Attributes:
        connect: Makes the warehouse; see archive.backup.Connect.
        tenant: The tenant where it is known.
    """

    connect: Connect
    tenant: str | None

    def warehouse(self) -> Warehouse:
        """Return the warehouse, its documents still to be asked for."""
        return self.connect(None, None)


@contextmanager
def open_service(
    connection: Connection, *, workers: int, observer: Observer, stop: threading.Event
) -> Iterator[Service]:
    """Open the way to the service that the options name.

    Raises:
        UsageError: no feed URL, or one that is none.
        SignInError: nothing to sign in with.
    """
    if connection.sandbox:
        if connection.url:
            raise UsageError("--sandbox and --url exclude each other", hint="Leave one of them out.")
        with Sandbox() as sandbox:
            tokens: TokenSource = StaticToken("sandbox", origin="the sandbox")
            feed = FeedUrl.parse(sandbox.feed_url, api_version=connection.api_version, allowed_hosts=())
            with _open(feed, tokens, connection, (), workers, observer, stop, source=SANDBOX_SOURCE) as connect:
                yield Service(connect, connection.tenant or SANDBOX_TENANT)
        return
    cloud = _cloud(connection.cloud)
    if not connection.url:
        raise UsageError(
            "no feed URL is known",
            hint="Give --url URL or set INTUNE_DW_URL to the OData feed of the Intune admin center "
            "(Reports > Data warehouse), or try the tool with --sandbox.",
        )
    feed = FeedUrl.parse(connection.url, api_version=connection.api_version, allowed_hosts=cloud.feed_hosts)
    tokens = token_from(os.environ)
    with _open(feed, tokens, connection, cloud.feed_hosts, workers, observer, stop, source=None) as connect:
        yield Service(connect, connection.tenant)


@contextmanager
def _open(
    feed: FeedUrl,
    tokens: TokenSource,
    connection: Connection,
    allowed_hosts: tuple[str, ...],
    workers: int,
    observer: Observer,
    stop: threading.Event,
    *,
    source: str | None,
) -> Iterator[Connect]:
    bundle = connection.ca_bundle
    if bundle is not None and not bundle.is_file():
        raise UsageError(f"--ca-bundle {bundle} is no file", hint="Give a PEM file with the authorities to trust.")
    policy = RequestPolicy(read_timeout=connection.timeout, ca_bundle=str(bundle) if bundle else None)
    transport = Transport(tokens, workers=workers, policy=policy, observer=observer, stop=stop)

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

    try:
        yield connect
    finally:
        transport.close()


def token_from(environ: Mapping[str, str]) -> TokenSource:
    """Return the token source that the environment offers.

    Raises:
        SignInError: it offers none.
    """
    ready = environ.get(TOKEN_VARIABLE)
    if ready:
        return StaticToken(ready, origin=TOKEN_VARIABLE)
    raise SignInError(
        "nobody is signed in",
        hint=f"Set {TOKEN_VARIABLE} to a token for https://api.manage.microsoft.com/ "
        "(for instance from `az account get-access-token --resource https://api.manage.microsoft.com/`).",
    )


def _cloud(name: str) -> Cloud:
    cloud = CLOUDS.get(name.lower())
    if cloud is None:
        raise UsageError(f"there is no cloud {name!r}", hint=f"Give one of {', '.join(CLOUDS)}.")
    return cloud
