"""requests as the transport wants it: addresses sent as they are, no .netrc, no secret address in a log."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from intune_dw_cli import __version__


def new_session() -> requests.Session:
    """Return a session for one thread."""
    session = requests.Session()
    session.mount("https://", _OpaqueAdapter(max_retries=0, pool_maxsize=1))
    session.mount("http://", _OpaqueAdapter(max_retries=0, pool_maxsize=1))
    session.headers.update(
        {"User-Agent": f"intune-dw/{__version__}", "OData-MaxVersion": "4.0", "OData-Version": "4.0"}
    )
    return session


class Bearer(AuthBase):
    """Sets the token, if there is one; as an explicit auth it also keeps requests from reading a .netrc."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Set the header."""
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class _OpaqueAdapter(HTTPAdapter):
    """Sends the address as it is: a nextLink is opaque, and urllib3 would write `%3d` as `%3D`. For one thread."""

    def get_connection_with_tls_context(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        """Return the connection pool for a request, which keeps to the request's own spelling of its address."""
        pool: Any = super().get_connection_with_tls_context(request, *args, **kwargs)
        served, send = request.path_url, type(pool)._make_request

        def make_request(connection: Any, method: str, target: str, **options: Any) -> Any:
            same = target.lower() == served.lower()
            return send(pool, connection, method, served if same else target, **options)

        pool._make_request = make_request
        return pool


class _SecretAddresses(logging.Filter):
    """Keeps the addresses that a thread calls without bearer out of urllib3's own log."""

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop what is logged while a secret address is called."""
        return not getattr(self.thread, "secret", False)


_secret_addresses = _SecretAddresses()
logging.getLogger("urllib3.connectionpool").addFilter(_secret_addresses)


@contextmanager
def unlogged(secret: bool) -> Iterator[None]:
    """Keep what this thread sends meanwhile out of urllib3's log, where its address is a secret."""
    _secret_addresses.thread.secret = secret
    try:
        yield
    finally:
        _secret_addresses.thread.secret = False
