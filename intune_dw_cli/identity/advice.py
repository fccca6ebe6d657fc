"""Turns refusals of the sign-in service into errors with a next step, and tokens into advice.

No message ever holds what was sent: own words for the codes we know, and a scrubbed first line for the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from intune_dw_cli.errors import SignInError, UnavailableError
from intune_dw_cli.identity.aadsts import ADVICE, OAUTH_ADVICE, Advice
from intune_dw_cli.identity.claims import read_claims
from intune_dw_cli.identity.secret import Secret

WAREHOUSE_PERMISSION = "get_data_warehouse"

_CODE = re.compile(r"AADSTS([0-9]{4,9})")
_GUID = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_FOOTER = re.compile(r"\s*(?:Trace ID|Correlation ID|Timestamp):.*", re.IGNORECASE | re.DOTALL)
_TOKENLIKE = re.compile(r"[A-Za-z0-9_~+/.=-]{40,}")
_LONGEST_LINE = 300
_TELLING = frozenset({"authorization_declined", "expired_token", "code_expired"})
"""Errors that say all there is to say, whatever the code."""
_TEMPORARY = frozenset({"temporarily_unavailable", "server_error", "service_unavailable"})


def refusal(
    result: Mapping[str, Any], *, secrets: Iterable[Secret] = (), lost: str = "the sign-in was refused"
) -> SignInError | UnavailableError:
    """Return the error for an answer that holds `error` in place of a token.

    Args:
        result: The answer as MSAL gives it (RFC 6749 5.2, with Entra's error_codes, correlation_id and trace_id).
        secrets: Values that must not appear, should the service repeat them.
        lost: What to say when the answer says nothing.
    """
    error = _text(result.get("error"))
    description = _text(result.get("error_description"))
    codes = _codes(result, description)
    support = _support(result, description)
    if error in _TEMPORARY and not any(code in ADVICE for code in codes):
        tail = f" ({support})" if support else ""
        return UnavailableError(f"the sign-in service is not available at present{tail}", status=503, code=error)
    advice = _advice(codes, error)
    code = f"AADSTS{codes[0]}" if codes else ""
    if advice is not None:
        known = next((f"AADSTS{c}" for c in codes if c in ADVICE), code)
        return SignInError(_sentence(advice.what, known, support), hint=advice.next_step)
    said = scrub(_first_line(description), secrets) or scrub(error, secrets)
    steps = [OAUTH_ADVICE[error].next_step] if error in OAUTH_ADVICE else []
    steps += [f"The code is explained at https://login.microsoftonline.com/error?code={codes[0]}"] if codes else []
    return SignInError(
        _sentence(f"the sign-in was refused: {said}" if said else lost, "" if code in said else code, support),
        hint=". ".join(steps) or None,
    )


def refusal_in(text: str, *, secrets: Iterable[Secret] = (), lost: str) -> SignInError | UnavailableError:
    """Return the error for a refusal that only came as text, for instance in an exception of MSAL."""
    start = text.find("AADSTS")
    return refusal({"error_description": text[start:]} if start >= 0 else {}, secrets=secrets, lost=lost)


def token_advice(token: str, resource: str, *permissions: str) -> str | None:
    """Say what seems wrong with a token before it is used, None when nothing does or the token is opaque.

    Args:
        token: The access token.
        resource: What it is going to be used for.
        permissions: One of these must be in its roles or scopes.
    """
    claims = read_claims(token)
    if claims is None:
        return None
    if claims.audience is not None and not claims.is_for(resource):
        return f"The token is for {scrub(claims.audience, ())}, not for {resource}."
    if permissions and not claims.permits(*permissions):
        who = "delegated" if claims.scopes else "application"
        return (
            f"The token lacks the {who} permission {' or '.join(permissions)}. Add it under Entra admin center > App "
            "registrations > your app > API permissions, grant admin consent, and sign in again."
        )
    return None


def scrub(text: str, secrets: Iterable[Secret]) -> str:
    """Return one line of text without the secrets, and without anything that is long enough to be one."""
    for secret in secrets:
        if secret:
            text = text.replace(secret.reveal(), "...")
    line = "".join(char if char.isprintable() else " " for char in text)
    line = _TOKENLIKE.sub(lambda match: match[0] if re.fullmatch(_GUID, match[0]) else "...", line)
    line = " ".join(line.split())
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}..."


def _advice(codes: list[str], error: str) -> Advice | None:
    for code in codes:
        if code in ADVICE:
            return ADVICE[code]
    return OAUTH_ADVICE.get(error) if not codes or error in _TELLING else None


def _codes(result: Mapping[str, Any], description: str) -> list[str]:
    """Return the codes, the one in the text first."""
    found = _CODE.findall(description)
    listed = result.get("error_codes")
    if isinstance(listed, list):
        found += [str(code) for code in listed if isinstance(code, int) and not isinstance(code, bool)]
    return list(dict.fromkeys(found))


def _support(result: Mapping[str, Any], description: str) -> str:
    """Return the ids that Microsoft's support asks for."""
    parts = []
    for name, label in (("correlation_id", "correlation id"), ("trace_id", "trace id")):
        given = _text(result.get(name))
        if not re.fullmatch(_GUID, given):
            match = re.search(rf"{label}:\s*({_GUID})", description, re.IGNORECASE)
            given = match[1] if match else ""
        if given:
            parts.append(f"{label} {given}")
    return ", ".join(parts)


def _sentence(what: str, code: str, support: str) -> str:
    tail = ", ".join(part for part in (code, support) if part)
    return f"{what} ({tail})" if tail else what


def _first_line(description: str) -> str:
    lines = _FOOTER.sub("", description).strip().splitlines()
    return lines[0] if lines else ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
