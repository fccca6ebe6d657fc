"""One MSAL application for each way of signing in, and how it gives a token without asking anybody.

The applications are made at the first token, because making one already asks the sign-in service for its addresses.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

import msal
from msal.authority import WELL_KNOWN_AUTHORITY_HOSTS

from intune_dw_cli.errors import SignInError
from intune_dw_cli.identity.answers import quieten, token_of, translated
from intune_dw_cli.identity.cache import Account, TokenCache
from intune_dw_cli.identity.clouds import scope_of
from intune_dw_cli.identity.credentials import (
    Certificate,
    ClientSecret,
    Configuration,
    FederatedToken,
    ManagedIdentity,
)
from intune_dw_cli.identity.federation import read_assertion
from intune_dw_cli.identity.secret import Secret
from intune_dw_cli.identity.session import SignInSession

_METADATA_HOST = "the managed identity endpoint of this machine"


class Grant(Protocol):
    """Gives access tokens without asking anybody. Used by several threads at once."""

    def acquire(self, resource: str, *, refused: str | None = None, claims: str | None = None) -> tuple[str, float]:
        """Return an access token for a resource, and the seconds it lives.

        Args:
            resource: What it is for.
            refused: A token that the service did not accept; it is not given again from a cache.
            claims: The claims challenge that came with the refusal, as JSON.

        Raises:
            SignInError: nobody is signed in, or the sign-in service refuses.
            TransportError, UnavailableError: the sign-in service did not answer.
        """


class AppGrant:
    """Client credentials (RFC 6749 4.4) with a secret, a certificate or a federated token; nothing goes to disk."""

    def __init__(self, configuration: Configuration, session: SignInSession) -> None:
        self._configuration = configuration
        self._session = session
        self._lock = threading.RLock()
        self._cache = _MemoryCache()
        self._secrets, self._credential = _client_credential(configuration)
        self._application: Any = None

    def acquire(self, resource: str, *, refused: str | None = None, claims: str | None = None) -> tuple[str, float]:
        """See `Grant`."""
        with self._lock, translated(self._configuration.cloud.authority_host, secrets=self._secrets):
            if self._application is None:
                self._application = msal.ConfidentialClientApplication(
                    client_credential=self._credential,
                    azure_region=False,  # None would take it from the environment
                    token_cache=self._cache,
                    **application_settings(self._configuration, self._session),
                )
            if refused is not None:
                self._cache.forget(refused)
            result = self._application.acquire_token_for_client([scope_of(resource)], claims_challenge=claims)
            return token_of(result, secrets=self._secrets, lost="the sign-in service gave no token")


class ManagedIdentityGrant:
    """The identity of an Azure resource, from the endpoint that the platform puts next to it.

    MSAL finds the endpoint by itself, and reads the platform's variables for that (IDENTITY_ENDPOINT and others).
    """

    def __init__(self, credential: ManagedIdentity, session: SignInSession) -> None:
        identity: Any = msal.SystemAssignedManagedIdentity()
        if credential.client_id:
            identity = msal.UserAssignedManagedIdentity(client_id=credential.client_id)
        quieten()
        self._lock = threading.RLock()
        self._cache = _MemoryCache()
        self._client = msal.ManagedIdentityClient(identity, http_client=session, token_cache=self._cache)

    def acquire(self, resource: str, *, refused: str | None = None, claims: str | None = None) -> tuple[str, float]:
        """See `Grant`. With a claims challenge MSAL itself passes the refused token over."""
        with self._lock, translated(_METADATA_HOST):
            if refused is not None and claims is None:
                self._cache.forget(refused)
            result = self._client.acquire_token_for_client(resource=resource, claims_challenge=claims)
            if not isinstance(result, Mapping) or "access_token" not in result:
                raise SignInError(
                    "this machine's managed identity gave no token",
                    hint="Check that the Azure resource has an identity (for a user-assigned one give its client id), "
                    "and that get_data_warehouse was assigned to it by Graph's appRoleAssignments.",
                )
            return token_of(result, secrets=(), lost="")


class UserGrant:
    """A user who signed in before; the refresh token in the cache gives tokens for every resource."""

    def __init__(self, configuration: Configuration, session: SignInSession, cache: TokenCache) -> None:
        self._configuration = configuration
        self._session = session
        self._cache = cache
        self._lock = threading.RLock()
        self._application: Any = None
        self.account: Account | None = None

    @property
    def application(self) -> Any:
        """The MSAL application. Raises what MSAL raises when the tenant is not found: use within `translated`."""
        with self._lock:
            if self._application is None:
                self._application = msal.PublicClientApplication(
                    token_cache=self._cache, **application_settings(self._configuration, self._session)
                )
            return self._application

    def acquire(self, resource: str, *, refused: str | None = None, claims: str | None = None) -> tuple[str, float]:
        """See `Grant`."""
        chosen = self._account()
        with self._lock, translated(self._configuration.cloud.authority_host):
            known = [
                account
                for account in self.application.get_accounts()
                if account.get("home_account_id") == chosen.home_account_id
            ]
            result = known and self.application.acquire_token_silent_with_error(
                [scope_of(resource)], known[0], force_refresh=refused is not None, claims_challenge=claims
            )
            if not result:
                raise _signed_out(f"{chosen.username} is not signed in to this app and cloud")
            return token_of(cast("Mapping[str, Any]", result), secrets=(), lost="the sign-in could not be renewed")

    def accounts(self) -> list[Account]:
        """Return who is signed in at this authority; MSAL knows some by several names, so else who is at all."""
        host = urlsplit(f"https://{self._configuration.cloud.authority_host}").hostname
        return self._cache.accounts(host) or self._cache.accounts()

    def _account(self) -> Account:
        if self.account is not None:
            return self.account
        accounts = self.accounts()
        wanted = self._configuration.username
        if wanted:
            accounts = [account for account in accounts if account.username.casefold() == wanted.casefold()]
        if not accounts:
            raise _signed_out(f"{wanted} is not signed in" if wanted else "nobody is signed in")
        if len(accounts) > 1:
            names = ", ".join(account.username or "(no name)" for account in accounts)
            raise SignInError(
                f"several accounts are signed in: {names}",
                hint="Sign in with a profile of its own for each: intune-dw login --profile NAME",
            )
        return accounts[0]


def application_settings(configuration: Configuration, session: SignInSession) -> dict[str, Any]:
    """Return what all MSAL applications have in common.

    Instance discovery, which asks login.microsoftonline.com about an authority, is off for hosts that MSAL does not
    know: they are the user's own choice. The port of the host is kept.
    """
    quieten()
    host = configuration.cloud.authority_host
    return {
        "client_id": configuration.client_id,
        "authority": configuration.cloud.authority(configuration.tenant or ""),
        "http_client": session,
        "instance_discovery": None if host in WELL_KNOWN_AUTHORITY_HOSTS else False,
    }


def _client_credential(configuration: Configuration) -> tuple[Sequence[Secret], Any]:
    """Return what must not be shown, and the credential in MSAL's form. Raises UsageError for a bad certificate."""
    match configuration.credential:
        case ClientSecret(secret):
            return (secret,), secret.reveal()
        case Certificate() as credential:
            from intune_dw_cli.identity.certificate import load_certificate  # only now: see Identity.warnings

            loaded = load_certificate(credential)
            secrets = (loaded.private_key, *([credential.password] if credential.password else []))
            return secrets, {"private_key": loaded.private_key.reveal(), "public_certificate": loaded.certificate}
        case FederatedToken(path):
            return (), {"client_assertion": lambda: read_assertion(path)}
        case other:
            raise TypeError(f"{type(other).__name__} is no credential of an app")


def _signed_out(message: str) -> SignInError:
    return SignInError(message, hint="Sign in with: intune-dw login")


class _MemoryCache(msal.TokenCache):  # type: ignore[misc]
    """MSAL's cache in memory, from which one token can be removed."""

    def forget(self, access_token: str) -> None:
        for entry in list(self.search(self.CredentialType.ACCESS_TOKEN)):
            if entry["secret"] == access_token:
                self.remove_at(entry)
