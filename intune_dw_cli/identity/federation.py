"""The token of another issuer, with which an app proves who it is (workload identity federation, RFC 7523)."""

from __future__ import annotations

from pathlib import Path

from intune_dw_cli.errors import SignInError, UsageError
from intune_dw_cli.identity.secret import read_secret

_PLATFORM = "The platform writes this file (AZURE_FEDERATED_TOKEN_FILE): check its configuration."


def read_assertion(path: Path) -> str:
    """Return the token that the file holds now. Called for each request, because the file is replaced in time.

    Raises:
        SignInError: the file is not there or holds no token; a later attempt may find one.
    """
    try:
        token = read_secret(path, "federated token").reveal()
    except UsageError as error:
        raise SignInError(error.message, hint=_PLATFORM) from None
    if any(char.isspace() for char in token):
        raise SignInError(f"the federated token file {path} does not hold a token", hint=_PLATFORM)
    return token
