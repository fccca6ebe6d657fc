"""One request, done right: token, request id, time-outs, retries, throttling, no redirects, a bounded body.

The only place that sends a request to the warehouse or to Graph. A result is either a parsed, whole answer or a typed
error.
"""

from __future__ import annotations

import logging
import random
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn, TypeVar

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.exceptions import HTTPError, NewConnectionError

from intune_dw_cli import __version__
from intune_dw_cli.errors import (
    BadRequestError,
    ForbiddenError,
    MalformedPageError,
    NotFoundError,
    ProtocolError,
    ServiceError,
    SignInError,
    TransportError,
    UnavailableError,
)
from intune_dw_cli.events import Observer, Retrying, Throttled, ignore
from intune_dw_cli.identity.tokens import TokenSource
from intune_dw_cli.service.body import read_body
from intune_dw_cli.service.gate import RequestGate
from intune_dw_cli.service.hosts import is_loopback, origin_of, shown_host
from intune_dw_cli.service.problem import Problem, parse_problem

T = TypeVar("T")
log = logging.getLogger(__name__)

JSON = "application/json;odata.metadata=minimal"
XML = "application/xml"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_RETRIED = frozenset({408, 429, 500, 502, 503, 504})
_OPAQUE = re.compile(r"((?:\$|%24)skiptoken=)[^&\s]*", re.IGNORECASE)
_CLAIMS = re.compile(r'claims="([^"]*)"')
_CONTINUES = "Run the same command again later; it continues where it stopped."


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPolicy:
    """How patient one request is. Times in seconds.

    Attributes:
        connect_timeout: For a connection to come about.
        read_timeout: Of silence, before and within an answer; a few bytes now and then are silence too.
        answer_timeout: For one whole answer, however steadily it drips.
        tries: Attempts at one request before it fails; throttling answers are not counted.
        throttles: 429 answers in a row that one request sits out.
        first_wait: Upper end of the first random wait; doubles with each attempt.
        max_wait: Longest random wait.
        max_retry_after: Longest wait that the service may ask for; more than that is cut to it.
        lost_after: Time without any connection to the service after which a request that fails for want of one ends the
            whole run: the others would each be as patient, for nothing.
        max_bytes: Largest decompressed answer.
        ca_bundle: File with the certification authorities to trust, in place of the built-in ones.
    """

    connect_timeout: float = 30.0
    read_timeout: float = 300.0
    answer_timeout: float = 1800.0
    tries: int = 6
    throttles: int = 30
    first_wait: float = 1.0
    max_wait: float = 60.0
    max_retry_after: float = 300.0
    lost_after: float = 300.0
    max_bytes: int = 256 * 1024 * 1024
    ca_bundle: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request that is more than a plain GET.

    Attributes:
        url: The address, sent as it is.
        accept: The media type asked for.
        json: The body of a POST; None for a GET. It is sent again like a GET when no whole answer came, so it must be
            one that may be done twice.
        redirect: Whether an answer that points elsewhere (3xx) is handed to the reader instead of being an error.
        bearer: Whether the token goes along. An address that is called without it is a secret in itself (a SAS URL):
            no message and no log shows more of it than its host.
    """

    url: str
    accept: str = JSON
    json: bytes | None = None
    redirect: bool = False
    bearer: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer with a status that the call allows.

    Attributes:
        body: Decompressed.
        size: Bytes on the wire.
        location: Where a redirect points; a secret as soon as it leads to another host.
    """

    status: int
    body: bytes = field(repr=False)
    size: int
    content_type: str
    location: str | None = field(repr=False)
    request_id: str


class Transport:
    """Sends requests to one service. Used by several threads; each has a session of its own.

    Args:
        tokens: Gives the bearer token.
        workers: Most requests under way at once.
        policy: Time-outs and retries.
        observer: Hears of waits.
        stop: When set, waits end and the next request raises InterruptedRunError.
    """

    def __init__(
        self,
        tokens: TokenSource,
        *,
        workers: int = 4,
        policy: RequestPolicy | None = None,
        observer: Observer = ignore,
        stop: threading.Event | None = None,
    ) -> None:
        self._tokens = tokens
        self._policy = policy or RequestPolicy()
        self._observer = observer
        self.stop = stop or threading.Event()
        self._gate = RequestGate(workers)
        self._local = threading.local()
        self._sessions: list[requests.Session] = []
        self._unreachable_since: float | None = None

    def close(self) -> None:
        """Close the connections of all threads."""
        for session in self._sessions:
            session.close()

    def get(
        self,
        url: str,
        read: Callable[[bytes, str], T],
        *,
        accept: str = JSON,
        collection: str | None = None,
        tries: int | None = None,
        on_bytes: Callable[[int], None] | None = None,
    ) -> T:
        """Send a GET and return what `read` makes of the answer.

        Args:
            url: The address, sent as it is. It must have passed the host guard: the bearer goes there.
            read: Takes the body and the client-request-id. May raise MalformedPageError: that is retried.
            accept: The media type asked for.
            collection: For messages and events.
            tries: Attempts, in place of the policy's.
            on_bytes: Told how many bytes the answer had on the wire.

        Raises:
            SignInError: 401 even with a renewed token.
            ForbiddenError, BadRequestError, NotFoundError, ServiceError: by status, not retried.
            UnavailableError: 408, 429 or 5xx that outlived the retries.
            TransportError: no connection, or no whole answer, in spite of retries.
            MalformedPageError: an answer that is no page, in spite of retries.
            InterruptedRunError: `stop` was set.
        """
        call = Call(url=url, accept=accept)
        return self.call(
            call, lambda a: read(a.body, a.request_id), collection=collection, tries=tries, on_bytes=on_bytes
        )

    def call(
        self,
        call: Call,
        read: Callable[[Answer], T],
        *,
        collection: str | None = None,
        tries: int | None = None,
        on_bytes: Callable[[int], None] | None = None,
    ) -> T:
        """Send a request of any kind and return what `read` makes of the answer; everything else as in `get`.

        Raises:
            The same as `get`, except that a call without bearer is refused with a ServiceError, never a SignInError.
        """
        attempt = _Attempts(tries or self._policy.tries, self._policy)
        while True:
            try:
                with self._gate.permit(self.stop):
                    answer = self._send(call, collection, attempt)
                result = read(answer)
            except (TransportError, MalformedPageError, UnavailableError) as error:
                error.collection = error.collection or collection
                self._wait(attempt, error, collection)
                continue
            except ProtocolError as error:
                error.collection = error.collection or collection
                raise
            self._gate.succeeded()
            if on_bytes:
                on_bytes(answer.size)
            return result

    # -- one attempt ------------------------------------------------------------------------------------------

    def _send(self, call: Call, collection: str | None, attempt: _Attempts) -> Answer:
        request_id = str(uuid.uuid4())
        attempt.throttled = False
        token = (attempt.token or self._tokens.token()) if call.bearer else ""
        response = self._request(call, token, request_id)
        try:
            body, size = read_body(
                response,
                max_bytes=self._policy.max_bytes,
                max_seconds=self._policy.answer_timeout,
                max_silence=self._policy.read_timeout,
            )
        except (TransportError, ProtocolError) as error:
            if not _is_wanted(response.status_code, call):
                body, size = b"", 0  # the status says enough
            else:
                error.request_id, error.collection = request_id, collection
                raise
        finally:
            response.close()
        log.debug("%d %s client-request-id %s", response.status_code, _shown(call), request_id)
        if _is_wanted(response.status_code, call):
            attempt.token = None
            headers = response.headers
            kind, location = headers.get("Content-Type", ""), headers.get("Location")
            return Answer(response.status_code, body, size, kind, location, request_id)
        if response.status_code == 401 and call.bearer and not attempt.renewed:
            attempt.renewed = True
            challenge = _CLAIMS.search(response.headers.get("WWW-Authenticate", ""))
            attempt.token = self._tokens.renew(token, challenge and challenge[1])
            return self._send(call, collection, attempt)
        self._fail(call, response, body, request_id, collection, attempt)

    def _request(self, call: Call, token: str, request_id: str) -> requests.Response:
        url, session = call.url, self._session()
        # Loopback is this machine: neither a proxy nor anything else of the environment is meant for it.
        session.trust_env = not is_loopback(origin_of(url).host)
        headers = {"Accept": call.accept, "Accept-Encoding": "gzip", "client-request-id": request_id}
        if call.json is not None:
            headers["Content-Type"] = "application/json"
        method = "GET" if call.json is None else "POST"
        request = session.prepare_request(
            requests.Request(method, url, headers=headers, data=call.json, auth=_Bearer(token))
        )
        request.url = url  # opaque: as served, not as requests would quote it
        ca_bundle = self._policy.ca_bundle  # given for each request: a session's own would lose to the environment's
        settings = session.merge_environment_settings(url, {}, True, ca_bundle, None)
        try:
            with _unlogged(not call.bearer):
                response = session.send(
                    request,
                    stream=True,
                    timeout=(self._policy.connect_timeout, self._policy.read_timeout),
                    allow_redirects=False,
                    proxies=settings["proxies"],
                    verify=ca_bundle or settings["verify"],
                    cert=None,
                )
        except requests.exceptions.SSLError as error:
            raise _tls_error(error, url, request_id) from None
        except (requests.RequestException, HTTPError, OSError) as error:
            failure = _no_answer(error, url, request_id)
            if not failure.unreachable:
                self._unreachable_since = None
            elif self._unreachable_since is None:
                self._unreachable_since = time.monotonic()
            raise failure from None
        self._unreachable_since = None
        return response

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.mount("https://", _OpaqueAdapter(max_retries=0, pool_maxsize=1))
            session.mount("http://", _OpaqueAdapter(max_retries=0, pool_maxsize=1))
            session.headers.update(
                {"User-Agent": f"intune-dw/{__version__}", "OData-MaxVersion": "4.0", "OData-Version": "4.0"}
            )
            self._local.session = session
            self._sessions.append(session)
        return session

    def _fail(
        self,
        call: Call,
        response: requests.Response,
        body: bytes,
        request_id: str,
        collection: str | None,
        attempt: _Attempts,
    ) -> NoReturn:
        problem = parse_problem(body, response.headers.get("Content-Type"))
        status = response.status_code
        if status in _RETRIED:
            asked = response.headers.get("Retry-After") or problem.retry_after
            attempt.note(throttled=status == 429, retry_after=retry_after_seconds(asked))
        raise _status_error(call, problem, response, collection, request_id)

    # -- waiting ----------------------------------------------------------------------------------------------

    def _wait(
        self,
        attempt: _Attempts,
        error: TransportError | MalformedPageError | UnavailableError,
        collection: str | None,
    ) -> None:
        asked, wait = attempt.asked, attempt.next_wait()
        if wait is None or getattr(error, "permanent", False):
            if isinstance(error, TransportError) and error.unreachable:
                error.ends_run = self._is_lost()
            raise error
        if attempt.throttled:
            limit = self._gate.throttled()
            self._observer(Throttled(collection, wait, attempt.throttles, limit, asked))
        else:
            self._observer(Retrying(collection, error.message, wait, attempt.failures))
        log.info("%s: %s; next attempt in %.1f s", collection or "service", error, wait)
        self.stop.wait(wait)

    def _is_lost(self) -> bool:
        """Whether no thread has had a connection for long."""
        since = self._unreachable_since
        return since is not None and time.monotonic() - since >= self._policy.lost_after


class _Attempts:
    """What became of one request so far, and how long to wait before the next attempt."""

    def __init__(self, tries: int, policy: RequestPolicy) -> None:
        self._tries = tries
        self._policy = policy
        self.asked: float | None = None
        self.failures = 0
        self.throttles = 0
        self.throttled = False
        self.renewed = False
        self.token: str | None = None

    def note(self, *, throttled: bool, retry_after: float | None) -> None:
        """Keep what an error answer asked for, until `next_wait`."""
        self.throttled, self.asked = throttled, retry_after

    def next_wait(self) -> float | None:
        """Count the failure and return the seconds to wait, None when it was the last attempt.

        Exponential back-off with full jitter; a `Retry-After` is honoured up to the policy's longest wait.
        """
        asked, self.asked = self.asked, None
        if self.throttled:
            self.throttles += 1
            count, most = self.throttles, self._policy.throttles
        else:
            self.failures += 1
            count, most = self.failures, self._tries
        if count >= most:
            return None
        ceiling = min(self._policy.max_wait, self._policy.first_wait * 2 ** (count - 1))
        jitter = random.uniform(0, ceiling)  # noqa: S311 - jitter is no secret
        if asked is None:
            return jitter
        return min(asked, self._policy.max_retry_after) + min(jitter, self._policy.first_wait)


class _Bearer(AuthBase):
    """Sets the token, if there is one; as an explicit auth it also keeps requests from reading a .netrc."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
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
def _unlogged(secret: bool) -> Iterator[None]:
    _secret_addresses.thread.secret = secret
    try:
        yield
    finally:
        _secret_addresses.thread.secret = False


def _is_wanted(status: int, call: Call) -> bool:
    return status == 200 or (status == 201 and call.json is not None) or (status in _REDIRECTS and call.redirect)


def _shown(call: Call) -> str:
    """Return the address of a call fit for messages and logs."""
    return loggable(call.url) if call.bearer else f"{origin_of(call.url)}/..."


def loggable(url: str) -> str:
    """Return a URL, or a text that holds one, fit for logs: a skiptoken may hold names of devices or people."""
    return _OPAQUE.sub(r"\1...", url)


def retry_after_seconds(text: str | None, *, now: datetime | None = None) -> float | None:
    """Return the seconds that a Retry-After (RFC 9110 10.2.3: seconds or a date) asks for, None if it says nothing."""
    if not text or not text.strip():
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(text.strip())
    except (ValueError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())


def _host(url: str) -> str:
    return url.split("/")[2] if url.count("/") >= 2 else url


def _tls_error(error: Exception, url: str, request_id: str) -> TransportError:
    if "CERTIFICATE_VERIFY_FAILED" not in str(error):
        return TransportError(
            f"no TLS connection to {_host(url)} came about",
            hint=f"Check the feed URL and the network. {_CONTINUES}",
            request_id=request_id,
        )
    failure = TransportError(
        f"no trusted TLS connection to {_host(url)}",
        hint="If a proxy of your company inspects TLS, give its certificate with --ca-bundle FILE.",
        request_id=request_id,
    )
    failure.permanent = True
    return failure


def _no_answer(error: Exception, url: str, request_id: str) -> TransportError:
    text = str(error)
    if "NameResolution" in text or "getaddrinfo" in text or "resolve" in text:
        failure = TransportError(
            f"the host {_host(url)} is not known",
            hint=f"Check the feed URL (after a data-center move it changes) and the network. {_CONTINUES}",
            request_id=request_id,
        )
        failure.unreachable = True
        return failure
    what = "refused the connection" if "refused" in text else "did not answer in time"
    if "timed out" not in text and "refused" not in text:
        what = "closed the connection"
    failure = TransportError(
        f"{_host(url)} {what}",
        hint=f"Check the feed URL and the network. {_CONTINUES}",
        request_id=request_id,
    )
    cause = getattr(error.args[0], "reason", None) if error.args else None
    no_way = isinstance(error, requests.exceptions.ConnectTimeout | requests.exceptions.ProxyError)
    failure.unreachable = no_way or isinstance(cause, NewConnectionError)
    return failure


def _status_error(
    call: Call, problem: Problem, response: requests.Response, collection: str | None, request_id: str
) -> ServiceError | SignInError | ProtocolError:
    status = response.status_code
    if not call.bearer:
        # What a blob store says may quote the address, which is a secret: the status must do.
        refused = UnavailableError if status in _RETRIED else ServiceError
        message = f"{_host(call.url)} answered {status}"
        return refused(message, status=status, hint=_CONTINUES, collection=collection, request_id=request_id)
    # The service may repeat the address that it was asked for.
    said = loggable(problem.message or problem.code or response.reason or "no further explanation")
    support = f" (activity id {problem.activity_id})" if problem.activity_id else ""
    message = f"the service answered {status}: {said}{support}"
    if 300 <= status < 400:
        target = shown_host(response.headers.get("Location", ""), response.request.url or "")
        return ProtocolError(
            f"the service redirects to {target}, which is not followed: the token would go there",
            hint="Copy the feed URL from the Intune admin center: Reports > Data warehouse.",
            collection=collection,
            request_id=request_id,
        )
    if status == 401:
        return SignInError(
            f"the service does not accept the sign-in (401): {said}{support}",
            hint="Sign in again. If that does not help: the token must be for https://api.manage.microsoft.com/, and "
            "the account needs an Intune role that may read the data warehouse (and perhaps an Intune licence).",
            collection=collection,
            request_id=request_id,
        )
    kind, hint = ServiceError, None
    if status == 403:
        kind = ForbiddenError
        needed = f" One of these is needed: {', '.join(problem.scopes)}." if problem.scopes else ""
        hint = (
            "The sign-in works but may not read this. An app needs the application permission get_data_warehouse "
            f"with admin consent; a user needs an Intune role on the data warehouse.{needed}"
        )
    elif status == 404:
        kind = NotFoundError
        hint = "Check the feed URL: Intune admin center > Reports > Data warehouse. It changes when a tenant moves."
    elif status == 400:
        kind, hint = BadRequestError, f"The request was {loggable(response.request.url or '')}"
    elif status in _RETRIED:
        kind, hint = UnavailableError, _CONTINUES
    failure = kind(message, status=status, code=problem.code, hint=hint, collection=collection, request_id=request_id)
    if isinstance(failure, ForbiddenError):
        failure.scopes = problem.scopes
    return failure
