"""requests as the transport wants it: addresses sent as they are, no .netrc, no secret address in a log."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from intune_dw_cli import __version__
from intune_dw_cli.service.heads import HeadLimit
from intune_dw_cli.service.hosts import Origin, is_loopback, origin_of


@dataclass(frozen=True, slots=True)
class Way:
    """How requests get to one origin, as the environment has it.

    Attributes:
        proxies: By scheme.
        verify: Whether the server's certificate is checked; a text: against the authorities in that file.
    """

    proxies: MutableMapping[str, str]
    verify: bool | str | None


class Session(requests.Session):
    """A session for one thread, and for one bundle of certification authorities.

    Args:
        heads: Ends answers whose headers take too long.
    """

    def __init__(self, heads: HeadLimit) -> None:
        super().__init__()
        self.mount("https://", _OpaqueAdapter(heads))
        self.mount("http://", _OpaqueAdapter(heads))
        self.headers.update(
            {"User-Agent": f"intune-dw/{__version__}", "OData-MaxVersion": "4.0", "OData-Version": "4.0"}
        )
        self._ways: dict[Origin, Way] = {}

    def prepared(
        self, url: str, *, headers: Mapping[str, str], body: bytes | None, token: str
    ) -> requests.PreparedRequest:
        """Return a GET, or a POST where there is a body, to an address as it is.

        `prepare_request` would take the address apart and quote it anew, and look for settings of the session that
        this one does not have: a quarter of what sending costs.
        """
        request = requests.PreparedRequest()
        request.prepare_method("GET" if body is None else "POST")
        request.url = url
        request.prepare_headers({**self.headers, **headers})
        request.prepare_cookies(self.cookies)
        request.prepare_body(body, None)
        request.prepare_auth(Bearer(token))
        return request

    def way_to(self, url: str, ca_bundle: str | None) -> Way:
        """Return how to get to an address. The environment is asked once for each origin: that takes its time.

        Args:
            url: The address.
            ca_bundle: File with the certification authorities to trust, the same for all requests; it wins over the
                environment's, as a session's own would not.
        """
        origin = origin_of(url)
        # Loopback is this machine: neither a proxy nor anything else of the environment is meant for it.
        self.trust_env = not is_loopback(origin.host)
        way = self._ways.get(origin)
        if way is None:
            settings = self.merge_environment_settings(url, {}, True, ca_bundle, None)
            way = self._ways[origin] = Way(settings["proxies"], ca_bundle or settings["verify"])
        return way


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

    def __init__(self, heads: HeadLimit) -> None:
        super().__init__(max_retries=0, pool_maxsize=1)
        self._heads = heads

    def get_connection_with_tls_context(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        """Return the connection pool for a request, which keeps to the request's own spelling of its address."""
        pool: Any = super().get_connection_with_tls_context(request, *args, **kwargs)
        served, send = request.path_url, type(pool)._make_request

        def make_request(connection: Any, method: str, target: str, **options: Any) -> Any:
            same = target.lower() == served.lower()
            with self._heads.on(connection, pool, target):
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
