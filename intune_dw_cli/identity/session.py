"""The HTTP client that MSAL talks through: whom it trusts, which proxy it takes, and how long it tries.

MSAL's own default session would follow redirects with the secret in the body, take the CA bundle of the environment in
place of ours, read a .netrc, and send loopback through a proxy.
"""

from __future__ import annotations

import ipaddress
import logging
import random
import socket
import threading
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from intune_dw_cli import __version__
from intune_dw_cli.errors import InterruptedRunError

log = logging.getLogger(__name__)

_RETRIED = frozenset({408, 429, 500, 502, 503, 504})
_LONGEST_WAIT = 30.0
_UNKNOWN_HOST = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
TRIES_AT_AN_UNKNOWN_HOST = 2
"""Before the first answer: then it is most likely a typing error. Later it is a network that is gone for a while, of
which Windows and macOS say the same."""


class SignInSession(requests.Session):
    """A session for the sign-in service and for the token endpoint of a managed identity.

    Args:
        ca_bundle: File with the certification authorities to trust; goes before that of the environment.
        stop: When set, waits end and the next request raises InterruptedRunError.
        tries: Attempts at a request that gets no answer, 408, 429 or 5xx.
        first_wait: Upper end of the first random wait in seconds; doubles with each attempt.
        connect_timeout: Seconds for a connection to come about.
        read_timeout: Seconds of silence.
    """

    def __init__(
        self,
        *,
        ca_bundle: str | None = None,
        stop: threading.Event | None = None,
        tries: int = 6,
        first_wait: float = 1.0,
        connect_timeout: float = 30.0,
        read_timeout: float = 60.0,
    ) -> None:
        super().__init__()
        self._ca_bundle = ca_bundle
        self._stop = stop or threading.Event()
        self._tries = tries
        self._first_wait = first_wait
        self._timeout = (connect_timeout, read_timeout)
        self._reached = False
        self.auth = _AsItIs()
        self.headers["User-Agent"] = f"intune-dw/{__version__}"
        for scheme in ("https://", "http://"):
            self.mount(scheme, HTTPAdapter(max_retries=0))

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request, several times if need be; never follow a redirect.

        Raises:
            requests.RequestException: no answer, in spite of the attempts.
            InterruptedRunError: the run is to stop.
        """
        kwargs.update(timeout=self._timeout, allow_redirects=False, verify=self._ca_bundle)
        attempt = 1
        while True:
            tries = self._tries
            if self._stop.is_set():
                raise InterruptedRunError("stopped during the sign-in")
            try:
                response = super().request(method, url, *args, **kwargs)
            except (requests.ConnectionError, requests.Timeout) as error:
                if is_unknown_host(error) and not self._reached:
                    tries = TRIES_AT_AN_UNKNOWN_HOST
                if attempt >= tries or is_untrusted(error):
                    raise
                wait = self._wait(attempt, None)
            else:
                self._reached = True
                if response.status_code not in _RETRIED or attempt >= self._tries:
                    return response
                wait = self._wait(attempt, response.headers.get("Retry-After"))
                response.close()
            log.info("no answer from the sign-in service, attempt %d; next in %.1f s", attempt, wait)
            self._stop.wait(wait)
            attempt += 1

    def merge_environment_settings(
        self,
        url: str | bytes | None,
        proxies: MutableMapping[str, str] | None,
        stream: bool | None,
        verify: bool | str | None,
        cert: Any,
    ) -> Any:
        """Take proxies from the environment, except for this machine and the metadata address next to it."""
        settings = super().merge_environment_settings(url, proxies or {}, stream, verify, cert)
        text = url.decode() if isinstance(url, bytes) else url or ""
        if is_near(urlsplit(text).hostname or ""):
            settings["proxies"] = {}
        return settings

    def _wait(self, attempt: int, asked: str | None) -> float:
        ceiling = min(_LONGEST_WAIT, self._first_wait * 2 ** (attempt - 1))
        jitter = random.uniform(0, ceiling)  # noqa: S311 - jitter is no secret
        if asked is not None and asked.strip().isdecimal():
            return min(float(asked), _LONGEST_WAIT) + min(jitter, 1.0)
        return jitter


class _AsItIs(AuthBase):
    """Adds nothing; as an explicit auth it keeps requests from reading a .netrc."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


def is_untrusted(error: Exception) -> bool:
    """Whether a failure is a certificate that is not trusted, which trying again does not change."""
    return isinstance(error, requests.exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error)


def is_unknown_host(error: BaseException | None) -> bool:
    """Whether a failure is that a name server knows no such host; not that it cannot tell now (EAI_AGAIN)."""
    while error is not None and not isinstance(error, socket.gaierror):
        error = error.__cause__ or error.__context__
    return error is not None and error.errno in _UNKNOWN_HOST


def is_near(host: str) -> bool:
    """Whether a host is this machine or link-local, as the metadata service of Azure is. No name is resolved."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_link_local
