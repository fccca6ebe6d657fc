"""Makes and checks the tokens of the sandbox's Entra: JWT, RS256, with the claims that matter."""

from __future__ import annotations

import base64
import functools
import json
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from intune_dw_cli.sandbox.entra_registry import RESOURCES, TENANT_ID

if TYPE_CHECKING:
    from intune_dw_cli.sandbox.entra_registry import App, User

_KEY_ID = "sandbox-signing-key"


@functools.cache
def _signing_key() -> rsa.RSAPrivateKey:
    """Return the key of this process; making one takes a while."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class TokenMaker:
    """Makes and checks tokens of one tenant."""

    def __init__(self) -> None:
        self._revoked: set[str] = set()

    def access_token(
        self, issuer: str, app: App, resource: str, life: float, user: User | None, acrs: list[str]
    ) -> str:
        """Return a token for a resource, as the scope named it: the audience of the token is that text."""
        held = next((names for uri, names in app.permissions.items() if uri.rstrip("/") == resource.rstrip("/")), ())
        claims: dict[str, Any] = {"aud": resource, "appid": app.client_id, "ver": "1.0"}
        if user is None:
            claims |= {"roles": list(held), "oid": app.client_id, "sub": app.client_id, "idtyp": "app"}
        else:
            claims |= {"scp": " ".join(held), "upn": user.username, "oid": user.object_id, "sub": user.object_id}
        if acrs:
            claims["acrs"] = acrs
        return self._sign(issuer, claims, life)

    def id_token(self, issuer: str, app: App, user: User, nonce: str | None) -> str:
        """Return an id token for a user."""
        claims: dict[str, Any] = {
            "aud": app.client_id,
            "sub": user.object_id,
            "oid": user.object_id,
            "preferred_username": user.username,
        }
        if nonce:
            claims["nonce"] = nonce
        return self._sign(issuer, claims, 3600)

    def validate(self, token: str, resource: str) -> bool:
        """Whether the token is ours, in time, not revoked, and for exactly this resource."""
        audiences = [resource, RESOURCES[resource]] if resource in RESOURCES else [resource]
        options: Any = {"verify_exp": False}  # PyJWT counts in whole seconds, too coarse for short-lived tokens
        try:
            claims = jwt.decode(
                token, _signing_key().public_key(), algorithms=["RS256"], audience=audiences, options=options
            )
        except jwt.InvalidTokenError:
            return False
        return float(claims["exp"]) > time.time() and token not in self._revoked

    def revoke(self, token: str) -> None:
        """Make a token invalid before its time."""
        self._revoked.add(token)

    def key_set(self) -> dict[str, Any]:
        """Return the public keys (RFC 7517)."""
        key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(_signing_key().public_key()))
        return {"keys": [{**key, "use": "sig", "kid": _KEY_ID}]}

    def _sign(self, issuer: str, claims: dict[str, Any], life: float) -> str:
        now = time.time()
        common = {"iss": issuer, "tid": TENANT_ID, "iat": int(now), "nbf": int(now), "exp": now + life}
        return jwt.encode(
            {**claims, **common, "uti": uuid4().hex}, _signing_key(), algorithm="RS256", headers={"kid": _KEY_ID}
        )


def client_info(user: User) -> str:
    """Return the `client_info` by which MSAL knows the account."""
    text = json.dumps({"uid": user.object_id, "utid": TENANT_ID})
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
