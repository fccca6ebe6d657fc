"""Documents and pages of the sandbox's Entra, and what it reads from requests."""

from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from intune_dw_cli.sandbox.messages import Response

if TYPE_CHECKING:
    from intune_dw_cli.sandbox.messages import Request


def discovery(base: str, tenant_base: str) -> dict[str, Any]:
    """Return the OpenID Connect discovery document."""
    return {
        "issuer": f"{tenant_base}/v2.0",
        "authorization_endpoint": f"{tenant_base}/oauth2/v2.0/authorize",
        "token_endpoint": f"{tenant_base}/oauth2/v2.0/token",
        "device_authorization_endpoint": f"{tenant_base}/oauth2/v2.0/devicecode",
        "end_session_endpoint": f"{tenant_base}/oauth2/v2.0/logout",
        "jwks_uri": f"{base}/discovery/v2.0/keys",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
        "scopes_supported": ["openid", "profile", "offline_access"],
    }


def parameters(request: Request) -> dict[str, str]:
    """Return the parameters of a POST's form or of a query."""
    text = request.body.decode("utf-8", "replace") if request.method == "POST" else request.query
    return {name: values[0] for name, values in parse_qs(text).items()}


def wanted_contexts(form: dict[str, str]) -> list[str]:
    """Return the authentication contexts that a claims challenge asks for, which the token then holds."""
    try:
        wanted = json.loads(form.get("claims", "{}"))["access_token"]["acrs"]
        values = wanted.get("values") or [wanted["value"]]
        return [str(value) for value in values]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def redirect_matches(given: str, registered: tuple[str, ...]) -> bool:
    """Whether an address is registered; loopback matches with any port (RFC 8252 7.3)."""
    parts = urlsplit(given)
    if parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1"):
        return f"http://{parts.hostname}{parts.path.rstrip('/')}" in {uri.rstrip("/") for uri in registered}
    return given in registered


def page(status: int, text: str) -> Response:
    """Return a page with one sentence."""
    return Response(status, f"<html><body>{html.escape(text)}</body></html>".encode(), "text/html; charset=utf-8")


def form_post(redirect_uri: str, fields: dict[str, str]) -> Response:
    """Return the page that posts itself (OAuth 2.0 Form Post Response Mode)."""
    inputs = "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}"/>'
        for name, value in fields.items()
    )
    body = (
        f'<html><body onload="document.forms[0].submit()"><form method="POST" action="{html.escape(redirect_uri)}">'
        f"{inputs}<noscript><input type='submit'/></noscript></form></body></html>"
    )
    return Response(200, body.encode(), "text/html; charset=utf-8")
