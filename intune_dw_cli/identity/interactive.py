"""How a person signs in: in a browser here, or with a code in a browser elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

import requests

from intune_dw_cli.errors import InterruptedRunError, SignInError
from intune_dw_cli.identity.advice import refusal
from intune_dw_cli.identity.answers import token_of, translated
from intune_dw_cli.identity.browser import RedirectReceiver
from intune_dw_cli.identity.cache import Account
from intune_dw_cli.identity.claims import read_home_account_id
from intune_dw_cli.identity.clouds import scope_of
from intune_dw_cli.identity.credentials import Configuration
from intune_dw_cli.identity.grants import UserGrant
from intune_dw_cli.identity.prompts import BrowserMissing, BrowserOpened, CodeAwaited, CodeIssued, Talk

BROWSER_SECONDS: Final = 300.0
"""How long the browser is waited for."""

_TELL_EVERY = 1.0
_SHORTEST_PAUSE = 0.2
_PENDING = frozenset({"authorization_pending", "slow_down"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """How to reach the user.

    Attributes:
        talk: Is told what the user should know.
        open_browser: Opens an address and says whether that worked; None where there is no browser.
        stop: Set to cancel the sign-in.
        browser_seconds: How long the browser is waited for.
    """

    talk: Talk
    open_browser: Callable[[str], bool] | None
    stop: threading.Event
    browser_seconds: float = BROWSER_SECONDS


class UserSignIn:
    """Signs a user in with MSAL; the cache of the grant keeps it.

    Args:
        configuration: Who signs in to what.
        grant: Whose application and cache are used.
        dialogue: How to reach the user.
    """

    def __init__(self, configuration: Configuration, grant: UserGrant, dialogue: Dialogue) -> None:
        self._configuration = configuration
        self._grant = grant
        self._dialogue = dialogue
        self._scopes = [scope_of(configuration.cloud.resource)]

    def by_browser(self, *, claims: str | None = None) -> Account:
        """Sign in in a browser on this computer; with a device code where none can be opened.

        Args:
            claims: A claims challenge as JSON.

        Raises:
            SignInError: refused, declined, or not done in time.
            TransportError, UnavailableError: the sign-in service did not answer.
            InterruptedRunError: cancelled.
        """
        opener = self._dialogue.open_browser
        if opener is None:
            self._dialogue.talk(BrowserMissing())
            return self.by_device_code(claims=claims)
        with self._translated(), RedirectReceiver() as receiver:
            flow = self._grant.application.initiate_auth_code_flow(
                self._scopes,
                redirect_uri=receiver.redirect_uri,
                response_mode="form_post",
                login_hint=self._configuration.username,
                prompt=None if self._configuration.username else "select_account",
                claims_challenge=claims,
            )
            if opener(flow["auth_uri"]):
                self._dialogue.talk(BrowserOpened(flow["auth_uri"]))
                answer = receiver.wait(flow["state"], timeout=self._dialogue.browser_seconds, stop=self._dialogue.stop)
                return self._finish(self._grant.application.acquire_token_by_auth_code_flow(flow, answer))
        self._dialogue.talk(BrowserMissing())
        return self.by_device_code(claims=claims)

    def by_device_code(self, *, claims: str | None = None) -> Account:
        """Sign in with a code that the user enters in a browser elsewhere.

        Args:
            claims: A claims challenge as JSON.

        Raises:
            SignInError: refused, declined, or not done in time.
            TransportError, UnavailableError: the sign-in service did not answer.
            InterruptedRunError: cancelled.
        """
        with self._translated():
            flow = self._grant.application.initiate_device_flow(self._scopes, claims_challenge=claims)
            if "user_code" not in flow:
                raise refusal(flow, lost="the sign-in service gave no code")
            ends = time.monotonic() + float(flow["expires_in"])
            self._dialogue.talk(
                CodeIssued(
                    str(flow.get("verification_uri", "")),
                    str(flow["user_code"]),
                    str(flow.get("message", "")),
                    float(flow["expires_in"]),
                )
            )
            while True:
                self._pause(max(float(flow["interval"]), _SHORTEST_PAUSE), ends)
                result = self._poll(flow, claims)
                if result.get("error") not in _PENDING:
                    return self._finish(result)

    def _poll(self, flow: dict[str, Any], claims: str | None) -> Mapping[str, Any]:
        """Ask once whether the code was entered; a lost answer counts as not yet (RFC 8628 3.5)."""
        try:
            result: Mapping[str, Any] = self._grant.application.acquire_token_by_device_flow(
                flow, exit_condition=lambda _: True, claims_challenge=claims
            )
        except (requests.ConnectionError, requests.Timeout):
            return {"error": "authorization_pending"}
        return result

    def _pause(self, seconds: float, ends: float) -> None:
        """Wait, telling the time left, until the next question may be asked.

        Raises:
            InterruptedRunError: cancelled.
            SignInError: the code has run out.
        """
        again = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            if self._dialogue.stop.is_set():
                raise InterruptedRunError("the sign-in was cancelled")
            if now >= ends:
                raise SignInError("the code was not entered in time", hint="Run the same command again for a new code.")
            if now >= again:
                return
            self._dialogue.talk(CodeAwaited(ends - now))
            self._dialogue.stop.wait(min(_TELL_EVERY, again - now))

    def _finish(self, result: Mapping[str, Any]) -> Account:
        token_of(result, secrets=(), lost="the sign-in did not succeed")
        home = read_home_account_id(result.get("client_info"))
        about = result.get("id_token_claims") or {}
        account = Account(str(about.get("preferred_username") or about.get("upn") or ""), home or "")
        self._grant.account = next((a for a in self._grant.accounts() if a.home_account_id == home), account)
        return self._grant.account

    def _translated(self) -> AbstractContextManager[None]:
        return translated(self._configuration.cloud.authority_host)
