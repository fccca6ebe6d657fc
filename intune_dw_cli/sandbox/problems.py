"""Error bodies in every shape that was seen from the service and its gateways."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal, get_args
from uuid import uuid4
from xml.sax.saxutils import escape

from intune_dw_cli.sandbox.messages import Response

if TYPE_CHECKING:
    from intune_dw_cli.sandbox.messages import Request

Shape = Literal["a", "b", "b-bare", "c", "c-xml", "d", "e", "f", "empty"]
SHAPES: tuple[str, ...] = get_args(Shape)

_NO_OPERATION = "00000000-0000-0000-0000-000000000000"
_JSON = "application/json; charset=utf-8"
GENERIC = "An error has occurred"
"""What the service mostly says, whatever is wrong."""


def problem(
    request: Request,
    status: int,
    *,
    shape: str = "b-bare",
    code: str | None = None,
    message: str = GENERIC,
    retry_after: str | None = None,
) -> Response:
    """Return an error answer.

    Args:
        request: The request that failed; its URL is part of the message.
        status: The HTTP status.
        shape: One of SHAPES.
        code: The error code, where the shape has one.
        message: What the service says before the operation and activity ids.
        retry_after: The value of RetryAfter inside the body, where the shape has one.
    """
    code = code or HTTPStatus(status).phrase.replace(" ", "")
    full = (
        f"{message} - Operation ID (for customer support): {_NO_OPERATION} - Activity ID: {uuid4()} - "
        f"Url: {request.origin}{request.target}"
    )
    flat = _flat(code, full, retry_after, request.headers.get("client-request-id"))
    if shape in flat:
        return Response(status, json.dumps(flat[shape]).encode(), _JSON)
    if shape == "c-xml":
        nested = escape(_nested(full, retry_after))
        text = f"<ODataError><ErrorCode>{escape(code)}</ErrorCode><Message>{nested}</Message></ODataError>"
        return Response(status, text.encode(), "application/xml; charset=utf-8")
    if shape == "f":
        return Response(status, gateway_page(status).encode(), "text/html")
    return Response(status, b"", "text/plain")


def _flat(code: str, message: str, retry_after: str | None, request_id: str | None) -> dict[str, Any]:
    """Return the body in every shape that is plain JSON."""
    nested = _nested(message, retry_after)
    inner_error = {
        "date": "2025-01-15T08:00:00",
        "request-id": str(uuid4()),
        "client-request-id": request_id or str(uuid4()),
    }
    return {
        "a": {"Message": f"{message} - CustomApiErrorPhrase: "},
        "b": {"Message": nested},
        "b-bare": {"_version": 3, "Message": message, **({"RetryAfter": retry_after} if retry_after else {})},
        "c": {"ErrorCode": code, "Message": nested, "Target": None, "Details": None, "InnerError": None},
        "d": {"error": {"code": code, "message": nested, "innerError": inner_error}},
        "e": {"error": {"code": code, "message": message}},
    }


def _nested(message: str, retry_after: str | None) -> str:
    """Return JSON inside a string, the way the service wraps its own errors."""
    inner = {
        "_version": 3,
        "Message": message,
        "CustomApiErrorPhrase": "",
        "RetryAfter": retry_after,
        "ErrorSourceService": "",
        "HttpHeaders": "{}",
    }
    return json.dumps(inner, indent=2).replace("\n", "\r\n")


def gateway_page(status: int) -> str:
    """Return the HTML page of a gateway."""
    title = f"{status} {HTTPStatus(status).phrase}"
    return (
        f"<html><head><title>{title}</title></head><body><center><h1>{title}</h1></center>"
        "<hr><center>Microsoft-Azure-Application-Gateway/v2</center></body></html>"
    )
