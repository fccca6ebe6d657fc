from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import date

import pytest

from intune_dw_cli.errors import SignInError
from intune_dw_cli.events import Event
from intune_dw_cli.sandbox import Fault, Sandbox, ServerConfig, TenantConfig
from intune_dw_cli.service.retry import RequestPolicy
from intune_dw_cli.service.transport import Transport

SECRET = "eyJ0-top-secret-token"


class Tokens:
    """A token source that numbers its tokens and remembers what it was asked."""

    def __init__(self, renewals: int = 100) -> None:
        self.given = 0
        self.renewals: list[tuple[str, str | None]] = []
        self._left = renewals

    def token(self) -> str:
        return f"{SECRET}-{self.given}"

    def renew(self, refused: str, claims: str | None = None) -> str:
        self.renewals.append((refused, claims))
        if len(self.renewals) > self._left:
            raise SignInError("no other token is to be had")
        self.given += 1
        return self.token()


@pytest.fixture
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


@pytest.fixture
def transport_with(tokens: Tokens, events: list[Event], stop: threading.Event) -> Iterator[Callable[..., Transport]]:
    """Make a transport with hardly any waits; keywords change its policy."""
    made: list[Transport] = []

    def make(workers: int = 4, **policy: object) -> Transport:
        settings = {"first_wait": 0.002, "max_wait": 0.01, "max_retry_after": 0.05, "tries": 4, "throttles": 5}
        patience = RequestPolicy(**{"read_timeout": 5.0, **settings, **policy})  # type: ignore[arg-type]
        made.append(Transport(tokens, workers=workers, policy=patience, observer=events.append, stop=stop))
        return made[-1]

    yield make
    for transport in made:
        transport.close()


@pytest.fixture(scope="module")
def served() -> Iterator[Sandbox]:
    """A small sandbox for the whole module."""
    tenant = TenantConfig(today=date(2018, 2, 21), devices=20, days=2)
    with Sandbox(tenant, ServerConfig(page_size=10)) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(served: Sandbox) -> Iterator[Callable[..., str]]:
    """Put faults in force in the sandbox; gives the address of a collection."""
    served.clear_faults()

    def address(*faults: Fault, collection: str = "devices") -> str:
        for fault in faults:
            served.add_fault(fault)
        return served.feed_url.replace("?", f"/{collection}?")

    yield address
    served.clear_faults()
