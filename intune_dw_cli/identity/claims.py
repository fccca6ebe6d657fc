"""What an access token says about itself. Read for advice only: nothing is verified, and nothing is granted by it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from intune_dw_cli import jsontext
from intune_dw_cli.identity.clouds import WAREHOUSE_APP_ID

_MAX_PAYLOAD = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenClaims:
    """Some claims of a token (RFC 7519; names as in Microsoft Entra access tokens).

    Attributes:
        audience: `aud`: the resource the token is for, a URI or an application id.
        roles: `roles`: application permissions.
        scopes: `scp`: delegated permissions.
        tenant: `tid`.
        app_id: `appid`, or `azp` in v2.0 tokens.
        username: `upn` or `preferred_username`.
        expires_at: `exp`.
    """

    audience: str | None = None
    roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    tenant: str | None = None
    app_id: str | None = None
    username: str | None = None
    expires_at: datetime | None = None

    def permits(self, *permissions: str) -> bool:
        """Whether one of the permissions is among roles or scopes, in any case."""
        held = {name.lower() for name in (*self.roles, *self.scopes)}
        return any(name.lower() in held for name in permissions)

    def is_for(self, resource: str, *, app_id: str = WAREHOUSE_APP_ID) -> bool:
        """Whether the audience is exactly that resource, or its application id."""
        return self.audience is not None and self.audience.lower() in (resource.lower(), app_id)


def read_claims(token: str) -> TokenClaims | None:
    """Return the claims of a token, None for an opaque one or one that cannot be read."""
    payload = _payload(token)
    if payload is None:
        return None
    return TokenClaims(
        audience=_text(payload, "aud"),
        roles=_texts(payload.get("roles")),
        scopes=_texts(payload.get("scp")),
        tenant=_text(payload, "tid"),
        app_id=_text(payload, "appid", "azp"),
        username=_text(payload, "upn", "preferred_username"),
        expires_at=_moment(payload.get("exp")),
    )


def read_challenge(claims: str | None) -> str | None:
    """Return a claims challenge as the JSON text that MSAL wants, None if there is none or it cannot be read.

    Services send it as JSON or as base64 of it, with either alphabet and with or without padding.
    """
    if not claims:
        return None
    text = claims.strip()
    if not text.startswith("{"):
        text = _base64(text) or ""
    try:
        return text if isinstance(jsontext.loads(text), dict) else None
    except (ValueError, RecursionError):
        return None


def read_home_account_id(client_info: object) -> str | None:
    """Return what MSAL calls the home account id, from the `client_info` of Entra's answer; None if it has none."""
    try:
        fields = jsontext.loads(_base64(client_info) or "") if isinstance(client_info, str) else {}
        return f"{fields['uid']}.{fields['utid']}"
    except (ValueError, KeyError, TypeError):
        return None


def _payload(token: str) -> Mapping[str, Any] | None:
    parts = token.split(".")
    if len(parts) != 3 or len(parts[1]) > _MAX_PAYLOAD:
        return None
    text = _base64(parts[1])
    if text is None:
        return None
    try:
        payload = jsontext.loads(text)
    except (ValueError, RecursionError):
        return None
    return payload if isinstance(payload, dict) else None


def _base64(text: str) -> str | None:
    standard = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        return None


def _text(payload: Mapping[str, Any], *names: str) -> str | None:
    for name in names:
        value = payload.get(name)
        if isinstance(value, str):
            return value
    return None


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(value.split())
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _moment(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, OSError, ValueError):
        return None
