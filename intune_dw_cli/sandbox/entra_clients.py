"""How an app proves to the sandbox's Entra who it is: secret, certificate, federated token."""

from __future__ import annotations

import base64
import hmac
import time
from typing import TYPE_CHECKING, Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from intune_dw_cli.sandbox.entra_problems import RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from intune_dw_cli.sandbox.entra_registry import App, Federation

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ALGORITHMS = ["PS256", "RS256"]
_LONGEST_ASSERTION = 24 * 3600


def authenticate(app: App, form: Mapping[str, str], token_endpoint: str) -> str:
    """Return how the app proved itself: `secret`, `certificate`, `federation`, or `none` when nothing was sent.

    Raises:
        RefusedError: what was sent proves nothing.
    """
    if "client_secret" in form:
        _check_secret(app, form["client_secret"])
        return "secret"
    if "client_assertion" not in form:
        return "none"
    if form.get("client_assertion_type") != _ASSERTION_TYPE:
        raise RefusedError("900144", parameter="client_assertion_type")
    assertion = form["client_assertion"]
    try:
        header = jwt.get_unverified_header(assertion)
        claims: dict[str, Any] = jwt.decode(assertion, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        raise RefusedError("50027") from None
    if "x5t#S256" in header or "x5t" in header:
        _check_certificate(app, assertion, header, claims, token_endpoint)
        return "certificate"
    _check_federation(app, assertion, claims)
    return "federation"


def _check_secret(app: App, given: str) -> None:
    for secret, ends in app.secrets.items():
        if hmac.compare_digest(secret.encode(), given.encode()):
            if ends is not None and ends < time.time():
                raise RefusedError("7000222", client_id=app.client_id)
            return
    raise RefusedError("7000215", client_id=app.client_id)


def _check_certificate(
    app: App, assertion: str, header: Mapping[str, Any], claims: Mapping[str, Any], token_endpoint: str
) -> None:
    certificate = next((c for c in map(_load, app.certificates) if _matches(c, header)), None)
    if certificate is None:
        raise RefusedError("700027")
    if claims.get("iss") != app.client_id or claims.get("sub") != app.client_id:
        raise RefusedError("700021")
    _verify(assertion, certificate.public_key(), token_endpoint, bad_audience="700023", bad_signature="700027")


def _check_federation(app: App, assertion: str, claims: Mapping[str, Any]) -> None:
    candidates = [f for f in app.federations if f.issuer == claims.get("iss")]
    if not candidates:
        raise RefusedError("700211" if app.federations else "70021")
    federation: Federation | None = next((f for f in candidates if f.subject == claims.get("sub")), None)
    if federation is None:
        raise RefusedError("700213")
    _verify(assertion, federation.public_key, federation.audience, bad_audience="700212", bad_signature="50027")


def _verify(assertion: str, key: Any, audience: str, *, bad_audience: str, bad_signature: str) -> None:
    try:
        claims = jwt.decode(
            assertion, key, algorithms=_ALGORITHMS, audience=audience, options={"require": ["exp", "aud"]}
        )
    except jwt.ExpiredSignatureError:
        raise RefusedError("700024") from None
    except jwt.InvalidAudienceError:
        raise RefusedError(bad_audience) from None
    except jwt.InvalidTokenError:
        raise RefusedError(bad_signature) from None
    if float(claims["exp"]) > time.time() + _LONGEST_ASSERTION:
        raise RefusedError("700024")


def _load(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def _matches(certificate: x509.Certificate, header: Mapping[str, Any]) -> bool:
    wanted, algorithm = header.get("x5t#S256"), hashes.SHA256()
    if wanted is None:
        return _encoded(certificate.fingerprint(hashes.SHA1())) == str(header.get("x5t")).rstrip("=")  # noqa: S303
    return _encoded(certificate.fingerprint(algorithm)) == str(wanted).rstrip("=")


def _encoded(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
