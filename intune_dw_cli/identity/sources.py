"""The token source of one resource: gives the token it holds, and renews it in time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, NoReturn

from intune_dw_cli.errors import SignInError, TransportError, UnavailableError
from intune_dw_cli.identity.claims import read_challenge
from intune_dw_cli.identity.grants import Grant

log = logging.getLogger(__name__)

MARGIN: Final = 300.0
"""Seconds before its end at which a token is renewed."""

SHARE: Final = 0.2
"""Share of a short-lived token's life that is kept as margin instead."""

_RETRY_SHARE: Final = 0.25
"""Share of the time left after which a renewal that got no answer is tried again."""


_CONTINUES: Final = "Then run the same command again: it continues where it stopped."


@dataclass(frozen=True, slots=True)
class _Held:
    """A token, with the moments when it is due and when it is over."""

    token: str
    due: float
    over: float

    def __repr__(self) -> str:
        return f"_Held(due={self.due}, over={self.over})"


class MsalTokenSource:
    """Implements `TokenSource` by MSAL: silent, ahead of expiry, for several threads.

    Args:
        grant: Gives tokens; shared by the sources of one identity.
        resource: What the tokens are for.
        clock: Seconds since the epoch.
    """

    def __init__(self, grant: Grant, resource: str, *, clock: Callable[[], float] = time.time) -> None:
        self._grant = grant
        self.resource = resource
        self._clock = clock
        self._lock = threading.Lock()
        self._held: _Held | None = None

    def token(self) -> str:
        """Return a token that is valid now. One thread renews; the others go on with the old one while it is valid.

        Raises:
            SignInError: nobody is signed in, or renewal was refused.
            TransportError, UnavailableError: the sign-in service did not answer, and no valid token is held.
        """
        held, now = self._held, self._clock()
        if held is not None and now < held.due:
            return held.token
        if held is not None and now < held.over:
            return self._renewed_ahead(held)
        with self._lock:
            held = self._held
            if held is not None and self._clock() < held.due:
                return held.token
            return self._acquire().token

    def renew(self, refused: str, claims: str | None = None) -> str:
        """Return another token after the service answered 401 to `refused`.

        Args:
            refused: The token that was not accepted.
            claims: The claims challenge as the service sent it; it is passed on to the sign-in service.

        Raises:
            SignInError: no other token is to be had.
            TransportError, UnavailableError: the sign-in service did not answer.
        """
        with self._lock:
            held = self._held
            if held is not None and held.token != refused and self._clock() < held.over:
                return held.token
            challenge = read_challenge(claims)
            if claims and challenge is None:
                log.warning("the claims challenge of the service cannot be read and is passed over")
            fresh = self._acquire(refused=refused, claims=challenge)
            if fresh.token == refused:
                raise SignInError(
                    "the service refused the access token (401), and the sign-in service has no other one",
                    hint=f"Sign in again. {_CONTINUES}",
                )
            return fresh.token

    def _renewed_ahead(self, held: _Held) -> str:
        if not self._lock.acquire(blocking=False):
            return held.token
        try:
            if self._held is not held and self._held is not None:
                return self._held.token
            try:
                return self._acquire().token
            except (TransportError, UnavailableError) as error:
                now = self._clock()
                self._held = replace(held, due=now + max(0.0, held.over - now) * _RETRY_SHARE)
                log.info("the token could not be renewed yet (%s); the present one is still valid", error.message)
                return held.token
        finally:
            self._lock.release()

    def _acquire(self, *, refused: str | None = None, claims: str | None = None) -> _Held:
        asked = self._clock()
        try:
            token, life = self._grant.acquire(self.resource, refused=refused, claims=claims)
        except SignInError as error:
            if self._held is not None:  # it worked until now, so there is a run to go on with
                step = f"{error.hint.rstrip('.')}. " if error.hint else ""
                error.hint = f"{step}{_CONTINUES}"
            raise
        self._held = held = _Held(token, asked + life - min(MARGIN, life * SHARE), asked + life)
        return held


class NoTokenSource:
    """Stands for a resource that this identity has no token for.

    Args:
        error: What to raise.
    """

    def __init__(self, error: SignInError) -> None:
        self._error = error

    def token(self) -> NoReturn:
        """Raise the error."""
        raise SignInError(self._error.message, hint=self._error.hint)

    def renew(self, refused: str, claims: str | None = None) -> NoReturn:
        """Raise the error."""
        self.token()
