"""How a user signs in to the sandbox's Entra: authorization codes, device codes and refresh tokens, kept in memory."""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from intune_dw_cli.sandbox.entra_problems import RefusedError

if TYPE_CHECKING:
    from intune_dw_cli.sandbox.entra_registry import User

DeviceState = Literal["pending", "approved", "declined"]
_LETTERS = "BCDFGHJKLMNPQRSTVWXYZ23456789"
_CODE_LIFE = 600.0


@dataclass(kw_only=True)
class AuthorizationCode:
    """What the user agreed to in the browser."""

    client_id: str
    redirect_uri: str
    challenge: str
    nonce: str | None
    scope: str
    user: User
    ends: float
    used: bool = False


@dataclass(kw_only=True)
class DeviceRequest:
    """A code that waits for its user.

    Attributes:
        left: Questions that are answered with "pending" before it approves itself; None for never.
    """

    client_id: str
    user_code: str
    scope: str
    ends: float
    left: int | None
    state: DeviceState = "pending"


@dataclass(kw_only=True)
class Session:
    """A signed-in user of one app, which a refresh token stands for."""

    client_id: str
    user: User
    revoked: str | None = None


@dataclass
class UserSessions:
    """All codes and refresh tokens."""

    _codes: dict[str, AuthorizationCode] = field(default_factory=dict, repr=False)
    _devices: dict[str, DeviceRequest] = field(default_factory=dict, repr=False)
    _sessions: dict[str, Session] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def new_code(
        self, *, client_id: str, redirect_uri: str, challenge: str, nonce: str | None, scope: str, user: User
    ) -> str:
        """Return an authorization code."""
        code = f"1.code.{secrets.token_urlsafe(48)}"
        self._codes[code] = AuthorizationCode(
            client_id=client_id,
            redirect_uri=redirect_uri,
            challenge=challenge,
            nonce=nonce,
            scope=scope,
            user=user,
            ends=time.time() + _CODE_LIFE,
        )
        return code

    def redeem_code(self, code: str, *, client_id: str, redirect_uri: str, verifier: str) -> AuthorizationCode:
        """Return what a code stands for, once.

        Raises:
            RefusedError: not a code of this app and address, used, too old, or PKCE (RFC 7636) fails.
        """
        with self._lock:
            found = self._codes.get(code)
            if found is None or found.client_id != client_id:
                raise RefusedError("70000")
            if found.used:
                raise RefusedError("54005")
            if found.ends < time.time():
                raise RefusedError("70008")
            if found.redirect_uri != redirect_uri:
                raise RefusedError("50011")
            digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
            if not secrets.compare_digest(digest, found.challenge):
                raise RefusedError("501481")
            found.used = True
            return found

    def new_device(self, *, client_id: str, scope: str, life: float, polls: int | None) -> tuple[str, DeviceRequest]:
        """Return a device code and its request."""
        code = f"dev.{secrets.token_urlsafe(32)}"
        user_code = "".join(secrets.choice(_LETTERS) for _ in range(9))
        request = DeviceRequest(
            client_id=client_id, user_code=user_code, scope=scope, ends=time.time() + life, left=polls
        )
        self._devices[code] = request
        return code, request

    def settle_device(self, user_code: str | None, state: DeviceState) -> int:
        """Approve or decline the code, every waiting one without a code; return how many that were."""
        with self._lock:
            waiting = [d for d in self._devices.values() if d.state == "pending" and user_code in (None, d.user_code)]
            for request in waiting:
                request.state = state
            return len(waiting)

    def poll_device(self, code: str, client_id: str) -> DeviceRequest:
        """Return an approved request, once.

        Raises:
            RefusedError: pending, declined, expired or unknown.
        """
        with self._lock:
            request = self._devices.get(code)
            if request is None or request.client_id != client_id:
                raise RefusedError("70018")
            if request.ends < time.time():
                raise RefusedError("70019")
            if request.state == "declined":
                raise RefusedError("70020")
            if request.state == "pending" and request.left is not None:
                request.left -= 1
                if request.left < 0:
                    request.state = "approved"
            if request.state == "pending":
                raise RefusedError("70016")
            return self._devices.pop(code)

    def new_refresh_token(self, client_id: str, user: User) -> str:
        """Return a refresh token; older ones stay good, as with Entra."""
        token = f"1.rt.{secrets.token_urlsafe(64)}"
        self._sessions[token] = Session(client_id=client_id, user=user)
        return token

    def redeem_refresh_token(self, token: str, client_id: str) -> User:
        """Return whose it is. Raises RefusedError when it is unknown, another app's or revoked."""
        session = self._sessions.get(token)
        if session is None or session.client_id != client_id:
            raise RefusedError("70000")
        if session.revoked:
            raise RefusedError(session.revoked)
        return session.user

    def revoke_all(self, code: str) -> None:
        """Refuse every present refresh token with this code from now on."""
        for session in self._sessions.values():
            session.revoked = code
