"""One request, done right: token, request id, time-outs, retries, throttling, no redirects, a bounded body.

The only place that sends a request to the warehouse or to Graph. A result is either a parsed, whole answer or a typed
error.
"""

from __future__ import annotations

import logging
import re
import threading
import time
import uuid
from collections.abc import Callable
from typing import NoReturn, TypeVar

import requests
from urllib3.exceptions import HTTPError

from intune_dw_cli.errors import MalformedPageError, ProtocolError, TransportError, UnavailableError
from intune_dw_cli.events import Observer, Retrying, Throttled, ignore
from intune_dw_cli.identity.session import TRIES_AT_AN_UNKNOWN_HOST
from intune_dw_cli.identity.tokens import TokenSource
from intune_dw_cli.service.body import read_body
from intune_dw_cli.service.call import JSON, Answer, Call
from intune_dw_cli.service.failures import no_answer, status_error, tls_error
from intune_dw_cli.service.gate import RequestGate
from intune_dw_cli.service.heads import HeadLimit
from intune_dw_cli.service.large import LargeAnswers
from intune_dw_cli.service.problem import parse_problem
from intune_dw_cli.service.retry import RETRIED, Attempts, RequestPolicy, retry_after_seconds
from intune_dw_cli.service.session import Session, unlogged

T = TypeVar("T")
log = logging.getLogger(__name__)

_CLAIMS = re.compile(r'claims="([^"]*)"')


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
        self._large = LargeAnswers(self.stop)
        self._heads = HeadLimit(self._policy.answer_timeout)
        self._local = threading.local()
        self._sessions: list[Session] = []
        self._reached = False
        self._unreachable_since: float | None = None

    def close(self) -> None:
        """Close the connections of all threads."""
        self._heads.close()
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
        attempt = Attempts(tries or self._policy.tries, self._policy)
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

    def _send(self, call: Call, collection: str | None, attempt: Attempts) -> Answer:
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
                large=self._large,
            )
        except (TransportError, ProtocolError) as error:
            if not call.wants(response.status_code):
                body, size = b"", 0  # the status says enough
            else:
                error.request_id, error.collection = request_id, collection
                raise
        finally:
            response.close()
        log.debug("%d %s client-request-id %s", response.status_code, call.shown, request_id)
        if call.wants(response.status_code):
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
        headers = {"Accept": call.accept, "Accept-Encoding": "gzip", "client-request-id": request_id}
        if call.json is not None:
            headers["Content-Type"] = "application/json"
        request = session.prepared(url, headers=headers, body=call.json, token=token)
        way = session.way_to(url, self._policy.ca_bundle)
        try:
            with unlogged(not call.bearer):
                response = session.send(
                    request,
                    stream=True,
                    timeout=(self._policy.connect_timeout, self._policy.read_timeout),
                    allow_redirects=False,
                    proxies=way.proxies,
                    verify=way.verify,
                    cert=None,
                )
        except requests.exceptions.SSLError as error:
            raise tls_error(error, url, request_id) from None
        except (requests.RequestException, HTTPError, OSError) as error:
            failure = no_answer(error, url, request_id)
            if not failure.unreachable:
                self._unreachable_since = None
            elif self._unreachable_since is None:
                self._unreachable_since = time.monotonic()
            raise failure from None
        self._unreachable_since = None
        self._reached = True
        return response

    def _session(self) -> Session:
        session: Session | None = getattr(self._local, "session", None)
        if session is None:
            session = Session(self._heads)
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
        attempt: Attempts,
    ) -> NoReturn:
        problem = parse_problem(body, response.headers.get("Content-Type"))
        status = response.status_code
        if status in RETRIED:
            asked = response.headers.get("Retry-After") or problem.retry_after
            attempt.note(throttled=status == 429, retry_after=retry_after_seconds(asked))
        raise status_error(call, problem, response, collection, request_id)

    # -- waiting ----------------------------------------------------------------------------------------------

    def _wait(
        self,
        attempt: Attempts,
        error: TransportError | MalformedPageError | UnavailableError,
        collection: str | None,
    ) -> None:
        asked, wait = attempt.asked, attempt.next_wait()
        mistyped = isinstance(error, TransportError) and error.unknown_host and not self._reached
        if (
            wait is None
            or getattr(error, "permanent", False)
            or (mistyped and attempt.failures >= TRIES_AT_AN_UNKNOWN_HOST)
        ):
            if isinstance(error, TransportError) and error.unreachable:
                error.ends_run = mistyped or self._is_lost()
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
