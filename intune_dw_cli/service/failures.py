"""What went wrong with a request, as a typed error that says what to do."""

from __future__ import annotations

import requests
from urllib3.exceptions import NewConnectionError

from intune_dw_cli.errors import (
    BadRequestError,
    ForbiddenError,
    NotFoundError,
    ProtocolError,
    ServiceError,
    SignInError,
    TransportError,
    UnavailableError,
)
from intune_dw_cli.identity.session import is_unknown_host
from intune_dw_cli.service.call import Call, loggable
from intune_dw_cli.service.hosts import shown_host
from intune_dw_cli.service.problem import Problem
from intune_dw_cli.service.retry import RETRIED

_CONTINUES = "Run the same command again later; it continues where it stopped."


def _host(url: str) -> str:
    return url.split("/")[2] if url.count("/") >= 2 else url


def tls_error(error: Exception, url: str, request_id: str) -> TransportError:
    """Return what a failed TLS connection is: permanent where the certificate is not trusted."""
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


def no_answer(error: Exception, url: str, request_id: str) -> TransportError:
    """Return what a request without any answer is: `unreachable` where not even a connection came about."""
    text = str(error)
    if "NameResolution" in text or "getaddrinfo" in text or "resolve" in text:
        unknown = is_unknown_host(error)
        by_proxy = isinstance(error, requests.exceptions.ProxyError)
        host = f"of the proxy for {_host(url)}" if by_proxy else _host(url)
        place = "HTTPS_PROXY" if by_proxy else "the feed URL (after a data-center move it changes)"
        failure = TransportError(
            f"the host {host} " + ("is not known" if unknown else "cannot be looked up at present"),
            hint=f"Check {place} and the network. {_CONTINUES}",
            request_id=request_id,
        )
        failure.unreachable = True
        failure.unknown_host = unknown
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


def status_error(
    call: Call, problem: Problem, response: requests.Response, collection: str | None, request_id: str
) -> ServiceError | SignInError | ProtocolError:
    """Return what an answer is whose status was not asked for."""
    status = response.status_code
    if not call.bearer:
        # What a blob store says may quote the address, which is a secret: the status must do.
        refused = UnavailableError if status in RETRIED else ServiceError
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
    elif status in RETRIED:
        kind, hint = UnavailableError, _CONTINUES
    failure = kind(message, status=status, code=problem.code, hint=hint, collection=collection, request_id=request_id)
    if isinstance(failure, ForbiddenError):
        failure.scopes = problem.scopes
    return failure
