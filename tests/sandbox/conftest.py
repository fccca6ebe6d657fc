from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
import requests

from intune_dw_cli.sandbox import Sandbox, ServerConfig, TenantConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TODAY = date(2018, 2, 21)


class Client:
    """A plain reader of a sandbox: requests, a bearer token, nothing clever."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.root, _, self.version = sandbox.feed_url.partition("?")
        self.session = requests.Session()
        self.session.headers["Authorization"] = "Bearer test-token"

    def url(self, collection: str, options: str = "") -> str:
        return f"{self.root}/{collection}?{self.version}{'&' + options if options else ''}"

    def get(self, collection: str, options: str = "", **kwargs: Any) -> requests.Response:
        return self.session.get(self.url(collection, options), timeout=10, allow_redirects=False, **kwargs)

    def pages(self, collection: str, options: str = "") -> Iterator[dict[str, Any]]:
        url: str | None = self.url(collection, options)
        while url:
            response = self.session.get(url, timeout=10)
            assert response.status_code == 200, response.text
            page = response.json()
            yield page
            link = page.get("@odata.nextLink")
            url = requests.compat.urljoin(url, link) if link else None

    def rows(self, collection: str, options: str = "") -> list[dict[str, Any]]:
        return [row for page in self.pages(collection, options) for row in page["value"]]


@pytest.fixture(scope="session")
def client_class() -> type[Client]:
    """The reader, for fixtures that open their own sandbox."""
    return Client


@pytest.fixture
def serve() -> Iterator[Callable[..., Client]]:
    """Start sandboxes: tenant settings as keywords, server settings in `server`."""
    started: list[Sandbox] = []

    def start(server: ServerConfig | None = None, **tenant: Any) -> Client:
        sandbox = Sandbox(TenantConfig(**{"today": TODAY, "devices": 40, **tenant}), server)
        started.append(sandbox.start())
        return Client(sandbox)

    yield start
    for sandbox in started:
        sandbox.stop()


@pytest.fixture(scope="session")
def shared() -> Iterator[Client]:
    """One sandbox with small pages for tests that change nothing."""
    with Sandbox(TenantConfig(today=TODAY, devices=40), ServerConfig(page_size=500)) as sandbox:
        yield Client(sandbox)
