"""What became of a call into MSAL: its results, its exceptions and its log, in terms of this package."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import requests
from msal.exceptions import MsalServiceError

from intune_dw_cli.errors import IntuneDwError, SignInError, TransportError, UnavailableError
from intune_dw_cli.identity.advice import refusal, refusal_in
from intune_dw_cli.identity.secret import Secret
from intune_dw_cli.identity.session import is_untrusted

log = logging.getLogger(__name__)

_STATUS = re.compile(r"HTTP Error: ([0-9]{3})")
_LATER = "Try again later; a run continues where it stopped."
_TALKATIVE = (
    "msal.application",
    "msal.cloudshell",
    "msal.managed_identity",
    "msal.mex",
    "msal.oauth2cli.assertion",
    "msal.oauth2cli.authcode",
    "msal.oauth2cli.oauth2",
    "msal.oauth2cli.oidc",
    "msal.token_cache",
    "msal.wstrust_request",
)
_SILENT = logging.CRITICAL + 1


class NoSignInAnswerError(TransportError):
    """The sign-in service gave no answer, however often its session asked: nobody above needs to ask again now."""

    permanent = True
    ends_run = True


class SignInBusyError(UnavailableError):
    """The sign-in service answered 5xx or 429, however often its session asked: the same."""

    permanent = True
    ends_run = True


def quieten() -> None:
    """Silence those loggers of MSAL that write requests, answers, codes and claims, whatever the root's level is."""
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(_SILENT)


@contextmanager
def translated(host: str, *, secrets: Sequence[Secret] = ()) -> Iterator[None]:
    """Turn what MSAL and requests raise into our errors; nothing of the original text is passed on.

    Args:
        host: The sign-in service, for messages.
        secrets: Values that must not appear.

    Raises:
        TransportError: no trusted connection, or no answer.
        UnavailableError: 5xx or 429 in spite of retries.
        SignInError: an answer that is none, or a tenant that is not there.
    """
    try:
        yield
    except IntuneDwError:
        raise
    except requests.RequestException as error:
        if is_untrusted(error):
            raise NoSignInAnswerError(
                f"no trusted TLS connection to the sign-in service {host}",
                hint="If a proxy of your company inspects TLS, give its certificate with --ca-bundle FILE.",
            ) from None
        raise _no_answer(host, error) from None
    except MsalServiceError as error:
        match = _STATUS.search(str(error))
        status = int(match[1]) if match else 500
        raise SignInBusyError(f"the sign-in service {host} answered {status}", status=status, hint=_LATER) from None
    except (ValueError, RuntimeError, LookupError, TypeError, AttributeError, AssertionError) as error:
        # MSAL reports a tenant that is not there as ValueError, and keeps the answer in the exception before it. At
        # answers that are no JSON objects it trips in its own ways.
        log.debug("MSAL raised %s", type(error).__name__)
        raise refusal_in(
            f"{error} {error.__context__ or ''}",
            secrets=secrets,
            lost=f"{host} did not answer as a sign-in service does, or does not know the tenant",
        ) from None
    except OSError as error:
        if error.filename is not None:  # for instance a CA bundle that is not there: requests raises plain OSError
            raise SignInError(
                f"cannot read {error.filename}: {error.strerror}", hint="Check --ca-bundle and REQUESTS_CA_BUNDLE."
            ) from None
        raise _no_answer(host, error) from None


def token_of(result: Mapping[str, Any] | None, *, secrets: Sequence[Secret], lost: str) -> tuple[str, float]:
    """Return the access token of a result and the seconds it lives.

    Raises:
        SignInError, UnavailableError: it holds an error instead, or nothing.
    """
    if result is None or not isinstance(result.get("access_token"), str):
        raise refusal(result or {}, secrets=secrets, lost=lost)
    try:
        life = float(result.get("expires_in") or 0)
    except (TypeError, ValueError):
        life = 0.0
    return result["access_token"], life


def _no_answer(host: str, error: Exception) -> TransportError:
    text = str(error)
    if "NameResolution" in text or "getaddrinfo" in text or "resolve" in text:
        return NoSignInAnswerError(
            f"the sign-in service {host} is not known", hint="Check the network, --cloud and --authority-host."
        )
    if "CA certificate bundle" in text:
        return NoSignInAnswerError("the CA bundle cannot be read", hint="Check --ca-bundle and REQUESTS_CA_BUNDLE.")
    if "ProxyError" in type(error).__name__:
        return NoSignInAnswerError(
            "the proxy does not let us through to sign in", hint="Check HTTPS_PROXY and NO_PROXY."
        )
    what = "refused the connection" if "refused" in text else "did not answer"
    return NoSignInAnswerError(f"the sign-in service {host} {what}", hint=f"Check the network. {_LATER}")
