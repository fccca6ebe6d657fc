"""Where the bearer token of a request comes from."""

from __future__ import annotations

from typing import Protocol

from intune_dw_cli.errors import SignInError


class TokenSource(Protocol):
    """Gives bearer tokens for one resource. Used by several threads at once."""

    def token(self) -> str:
        """Return a token that is valid now, renewed beforehand when it is about to expire.

        Raises:
            SignInError: nobody is signed in, or renewal was refused.
            TransportError, UnavailableError: the sign-in service did not answer; trying again may help.
        """

    def renew(self, refused: str, claims: str | None = None) -> str:
        """Return another token after the service answered 401 to `refused`.

        Args:
            refused: The token that was not accepted; when it is no longer the current one, the current one is given.
            claims: The claims challenge of the answer, if it had one.

        Raises:
            SignInError: no other token is to be had.
            TransportError, UnavailableError: the sign-in service did not answer; trying again may help.
        """


class StaticToken:
    """A ready token that cannot be renewed, for instance from `az account get-access-token`.

    Args:
        token: The bearer token.
        origin: Where it came from, for the message when it is refused.
    """

    def __init__(self, token: str, *, origin: str) -> None:
        self._token = token.strip()
        self._origin = origin
        if not self._token or not self._token.isascii() or any(c.isspace() for c in self._token):
            raise SignInError(
                f"{origin} does not hold a bearer token",
                hint="Give the token alone, without the word Bearer.",
            )

    def token(self) -> str:
        """Return the token."""
        return self._token

    def renew(self, refused: str, claims: str | None = None) -> str:
        """Raise SignInError: this token is all there is."""
        raise SignInError(
            f"the service refused the access token from {self._origin} (401): it has expired, or it is for another "
            "resource or cloud",
            hint="Get a new token for https://api.manage.microsoft.com/ and run the same command again; "
            "it continues where it stopped.",
        )
