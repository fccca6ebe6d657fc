"""Refusals in the form of Microsoft Entra: an OAuth 2.0 error with an AADSTS code and the ids for support."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from intune_dw_cli.sandbox.messages import Response


@dataclass(frozen=True)
class Problem:
    """One kind of refusal.

    Attributes:
        error: The OAuth 2.0 code.
        text: What follows the AADSTS code.
        status: HTTP status.
    """

    error: str
    text: str
    status: int = 400


PROBLEMS: dict[str, Problem] = {
    "7000215": Problem(
        "invalid_client",
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not "
        "the client secret ID, for a secret added to app '{client_id}'.",
        401,
    ),
    "7000222": Problem("invalid_client", "The provided client secret keys for app '{client_id}' are expired.", 401),
    "7000216": Problem(
        "invalid_client", "'client_assertion', 'client_secret' or 'request' is required for this grant type.", 401
    ),
    "7000218": Problem(
        "invalid_client",
        "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        401,
    ),
    "700025": Problem(
        "invalid_client", "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.", 401
    ),
    "700027": Problem(
        "invalid_client",
        "The certificate with identifier used to sign the client assertion is not registered on application.",
        401,
    ),
    "700030": Problem("invalid_client", "Invalid certificate - subject name in certificate is not authorized.", 401),
    "700024": Problem("invalid_client", "Client assertion is not within its valid time range.", 401),
    "50027": Problem("invalid_client", "JWT token is invalid or malformed.", 401),
    "700021": Problem(
        "invalid_client", "Client assertion application identifier doesn't match 'client_id' parameter.", 401
    ),
    "700023": Problem("invalid_client", "Client assertion audience claim does not match the token endpoint.", 401),
    "70021": Problem("invalid_client", "No matching federated identity record found for presented assertion.", 401),
    "700211": Problem(
        "invalid_client", "No matching federated identity record found for presented assertion issuer.", 401
    ),
    "700212": Problem(
        "invalid_client", "No matching federated identity record found for presented assertion audience.", 401
    ),
    "700213": Problem(
        "invalid_client", "No matching federated identity record found for presented assertion subject.", 401
    ),
    "700016": Problem(
        "unauthorized_client",
        "Application with identifier '{client_id}' was not found in the directory '{tenant}'. This can happen if the "
        "application has not been installed by the administrator of the tenant.",
    ),
    "90002": Problem(
        "invalid_tenant",
        "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the "
        "correct cloud.",
    ),
    "900144": Problem("invalid_request", "The request body must contain the following parameter: '{parameter}'."),
    "70003": Problem("unsupported_grant_type", "The app requested an unsupported grant type."),
    "1002012": Problem(
        "invalid_scope",
        "The provided value for scope is not valid. Client credential flows must have a scope value with /.default "
        "suffixed to the resource identifier (application ID URI).",
    ),
    "70011": Problem("invalid_scope", "The provided value for the input parameter 'scope' is not valid."),
    "500011": Problem("invalid_resource", "The resource principal was not found in the tenant named '{tenant}'."),
    "9002313": Problem("invalid_request", "Invalid request. Request is malformed or invalid."),
    "50011": Problem(
        "invalid_request", "The redirect URI specified in the request does not match the redirect URIs configured."
    ),
    "501481": Problem("invalid_grant", "The Code_Verifier does not match the code_challenge supplied."),
    "54005": Problem("invalid_grant", "OAuth2 Authorization code was already redeemed, please retry."),
    "70000": Problem("invalid_grant", "Provided grant is invalid or malformed."),
    "70008": Problem("invalid_grant", "The provided authorization code or refresh token has expired."),
    "700082": Problem("invalid_grant", "The refresh token has expired due to inactivity."),
    "50173": Problem("invalid_grant", "The provided grant has expired due to it being revoked."),
    "65001": Problem(
        "invalid_grant", "The user or administrator has not consented to use the application with ID '{client_id}'."
    ),
    "65004": Problem("access_denied", "User declined to consent to access the app."),
    "50076": Problem(
        "interaction_required",
        "Due to a configuration change made by your administrator, you must use multi-factor authentication.",
    ),
    "50079": Problem("interaction_required", "You must enroll in multi-factor authentication."),
    "53000": Problem("interaction_required", "Device is not in required device state."),
    "53003": Problem("access_denied", "Access has been blocked by Conditional Access policies."),
    "50105": Problem("invalid_grant", "The signed in user is not assigned to a role for the application."),
    "70016": Problem("authorization_pending", "OAuth 2.0 device flow error. Authorization is pending."),
    "70018": Problem("bad_verification_code", "Invalid verification code."),
    "70019": Problem("expired_token", "Verification code expired."),
    "70020": Problem("authorization_declined", "The end user denied the request."),
}


class RefusedError(Exception):
    """The request is refused.

    Args:
        code: The AADSTS number.
        values: What the text names: tenant, client_id, parameter.
    """

    def __init__(self, code: str, **values: str) -> None:
        super().__init__(code)
        self.code = code
        self.values = values


def describe(code: str, **values: str) -> dict[str, object]:
    """Return the body of a refusal; a code that is not in `PROBLEMS` gets a text of its own."""
    problem = PROBLEMS.get(code, Problem("invalid_request", "The sandbox was asked to refuse with this code."))
    known = {"tenant": "unknown", "client_id": "unknown", "parameter": "unknown", **values}
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}"
    trace, correlation = str(uuid4()), values.get("correlation_id") or str(uuid4())
    return {
        "error": problem.error,
        "error_description": f"AADSTS{code}: {problem.text.format(**known)} Trace ID: {trace} Correlation ID: "
        f"{correlation} Timestamp: {now}",
        "error_codes": [int(code)],
        "timestamp": now,
        "trace_id": trace,
        "correlation_id": correlation,
        "error_uri": f"https://login.microsoftonline.com/error?code={code}",
    }


def refused(error: RefusedError) -> Response:
    """Return the answer for a refusal."""
    status = PROBLEMS[error.code].status if error.code in PROBLEMS else 400
    return Response.of_json(describe(error.code, **error.values), status)
