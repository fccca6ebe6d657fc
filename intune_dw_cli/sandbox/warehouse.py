"""The warehouse itself: service document, `$metadata` and entity sets."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

from intune_dw_cli.sandbox import csdl, pages
from intune_dw_cli.sandbox.messages import Response
from intune_dw_cli.sandbox.problems import gateway_page, problem
from intune_dw_cli.sandbox.query import BadQueryError, UnsupportedVersionError, check_version, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from intune_dw_cli.sandbox.config import ServerConfig
    from intune_dw_cli.sandbox.faults import Fault, FaultBox
    from intune_dw_cli.sandbox.messages import Request
    from intune_dw_cli.sandbox.tenant import Tenant

SERVICE, METADATA = "service", "$metadata"
"""What the two documents are called in faults."""

_USUAL_SHAPES = {"502": "f", "503": "b", "504": "f"}
_GENERIC_STATUSES = ("400", "403", "404", "408", "500", "502", "503", "504")
_NOT_AUTHORIZED = (
    "Application is not authorized to perform this operation. Application must have one of the following scopes: "
    "get_data_warehouse"
)


class Warehouse:
    """Answers everything below the warehouse's root.

    Args:
        tenant: Returns the tenant at its present clock.
        faults: The faults in force.
    """

    def __init__(self, config: ServerConfig, tenant: Callable[[], Tenant], faults: FaultBox) -> None:
        self._config = config
        self._tenant = tenant
        self._faults = faults

    def answer(self, request: Request, rest: str) -> Response:
        """Answer one request."""
        if not self._accepts(request.bearer()):
            return _unauthorized(request)
        if request.method != "GET":
            return problem(request, 405)
        try:
            check_version(request.query)
            if rest in ("", METADATA):
                return self._document(request, rest)
            return self._entity_set(request, rest)
        except UnsupportedVersionError:
            return problem(request, 400, shape="c", code="UnsupportedApiVersion")
        except BadQueryError:
            return problem(request, 400)

    def _accepts(self, token: str | None) -> bool:
        if token is None or self._config.token not in (None, token):
            return False
        return self._config.accept_token is None or self._config.accept_token(token)

    def _document(self, request: Request, rest: str) -> Response:
        fault = self._faults.take(rest or SERVICE, 1, request.target)
        if fault is not None and (instead := answer_instead(request, fault)):
            return instead
        tenant = self._tenant()
        models = [tenant.model(name) for name in tenant.collections()]
        if rest == METADATA:
            if self._config.metadata == "missing":
                return problem(request, 404)
            text = csdl.document(models, self._config.metadata)
            return Response(200, text.encode(), "application/xml", wire=fault)
        context = f"{request.origin}{request.path.rstrip('/')}/$metadata"
        sets = [{"name": m.name, "kind": "EntitySet", "url": m.name} for m in models]
        body = json.dumps({"@odata.context": context, "value": sets}, separators=(",", ":"))
        return Response(200, body.encode(), wire=fault)

    def _entity_set(self, request: Request, name: str) -> Response:
        tenant = self._tenant()
        if name not in tenant.collections():
            return problem(request, 404)
        model = tenant.model(name)
        query = parse(request.query, model, self._config)
        fault = self._faults.take(name, pages.page_number(query), request.target)
        if self._config.think_time:
            time.sleep(self._config.think_time)
        if fault is not None and (instead := answer_instead(request, fault)):
            return instead
        if fault is not None and fault.kind == "empty-page":
            page = pages.empty_page(query)
        else:
            page = pages.read_page(tenant, name, query, self._config.page_size)
        page = pages.RowWriter(model, query, self._config, fault, csdl.NAMESPACE).rewrite(page)
        selected = f"({','.join(query.select)})" if query.select is not None else ""
        context = f"{request.origin}{request.path.rpartition('/')[0]}/$metadata#{name}{selected}"
        link = pages.next_link(request, query, page, self._config, fault)
        return Response(200, pages.write_page(page, context, link), wire=fault)


def answer_instead(request: Request, fault: Fault) -> Response | None:
    """Return the answer that a fault puts in the place of the real one, None if it lets the real one be made."""
    if fault.kind in _GENERIC_STATUSES:
        return _status(request, fault)
    makers: dict[str, Callable[[], Response]] = {
        "429": lambda: _throttled(request, fault),
        "401": lambda: _unauthorized(request),
        "redirect": lambda: Response(fault.status, headers={"Location": fault.location}),
        "html": lambda: Response(200, gateway_page(200).encode(), "text/html"),
        "error-body": lambda: _error_under_200(request, fault),
        "empty-body": lambda: Response(200),
    }
    return makers[fault.kind]() if fault.kind in makers else None


def _unauthorized(request: Request) -> Response:
    response = problem(request, 401)
    response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _status(request: Request, fault: Fault) -> Response:
    shape = fault.body or _USUAL_SHAPES.get(fault.kind, "b")
    message = {"message": _NOT_AUTHORIZED} if fault.kind == "403" else {}
    response = problem(request, int(fault.kind), shape=shape, **message)
    if fault.retry_after is not None:
        response.headers["Retry-After"] = str(fault.retry_after)
    return response


def _throttled(request: Request, fault: Fault) -> Response:
    """Return a 429 that gives its waiting time in the wanted style."""
    wait = 1 if fault.retry_after is None else fault.retry_after
    seconds = str(wait)
    in_body = seconds if fault.style == "body" else None
    response = problem(request, 429, shape=fault.body or "b", retry_after=in_body)
    if fault.style == "seconds":
        response.headers["Retry-After"] = seconds
    elif fault.style == "date":
        when = datetime.now(UTC) + timedelta(seconds=wait)
        response.headers["Retry-After"] = format_datetime(when, usegmt=True)
    return response


def _error_under_200(request: Request, fault: Fault) -> Response:
    response = problem(request, 500, shape=fault.body or "e")
    response.status = 200
    return response
