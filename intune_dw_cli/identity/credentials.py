"""How a user or an app proves who it is, as typed values: what to sign in with, not yet signed in.

Nothing here does I/O. `Identity` makes tokens of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from intune_dw_cli.errors import UsageError
from intune_dw_cli.identity.clouds import CLOUDS, Cloud
from intune_dw_cli.identity.secret import Secret

_TENANT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_CLIENT_ID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_SHARED_TENANTS = frozenset({"common", "organizations", "consumers"})

_WHERE = {
    "tenant": "Give it with --tenant or AZURE_TENANT_ID: Entra admin center > Overview > Tenant ID.",
    "client id": "Give it with --client-id or AZURE_CLIENT_ID: Entra admin center > App registrations > your app > "
    "Application (client) ID.",
}


@dataclass(frozen=True, slots=True)
class Browser:
    """A user signs in in a browser on this computer (authorization code with PKCE, RFC 7636, on loopback)."""


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """A user signs in in a browser elsewhere and enters a code there (RFC 8628)."""


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """An app signs in with a client secret.

    Attributes:
        secret: Its value.
    """

    secret: Secret


@dataclass(frozen=True, slots=True)
class Certificate:
    """An app signs in with a certificate.

    Attributes:
        path: PEM file with certificate and private key, or PFX file.
        password: Of the private key, if it has one.
    """

    path: Path
    password: Secret | None = None


@dataclass(frozen=True, slots=True)
class ManagedIdentity:
    """An Azure resource signs in with the identity it has there.

    Attributes:
        client_id: Of a user-assigned identity; None for the system-assigned one.
    """

    client_id: str | None = None


@dataclass(frozen=True, slots=True)
class FederatedToken:
    """An app signs in with a token of another issuer, as in Kubernetes (workload identity federation).

    Attributes:
        path: The file that holds the token; read anew each time, because its owner replaces it.
    """

    path: Path


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A ready access token for the warehouse, which cannot be renewed.

    Attributes:
        token: The token.
        origin: Where it came from, for messages.
    """

    token: Secret
    origin: str


Credential = Browser | DeviceCode | ClientSecret | Certificate | ManagedIdentity | FederatedToken | AccessToken


def _is_tenant(text: str) -> bool:
    """Whether a text may be a tenant: an id, a domain name, or one of the words for all of them."""
    named = "." in text or _CLIENT_ID.fullmatch(text) is not None or text.lower() in _SHARED_TENANTS
    return named and _TENANT.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """All that a sign-in needs to know. Checked when made.

    Attributes:
        credential: How to prove it.
        tenant: Tenant id or verified domain; not needed for a managed identity and a ready token.
        client_id: Application id; not needed likewise.
        cloud: Where to sign in, and for what.
        username: The account to use where several are signed in, and the hint for a new sign-in.

    Raises:
        UsageError: tenant or client id is missing or cannot be one.
    """

    credential: Credential
    tenant: str | None = None
    client_id: str | None = None
    cloud: Cloud = field(default_factory=lambda: CLOUDS["public"])
    username: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.credential, ManagedIdentity | AccessToken):
            return
        for what, value in (("tenant", self.tenant), ("client id", self.client_id)):
            if not value:
                raise UsageError(f"no {what} is set", hint=_WHERE[what])
        if not _is_tenant(self.tenant or ""):
            raise UsageError("the tenant is neither an id nor a domain name", hint=_WHERE["tenant"])
        if not _CLIENT_ID.fullmatch(self.client_id or ""):
            form = "00000000-0000-0000-0000-000000000000"
            raise UsageError(f"the client id is not of the form {form}", hint=_WHERE["client id"])
        if not self.is_user and (self.tenant or "").lower() in _SHARED_TENANTS:
            raise UsageError(f"an app cannot sign in to {self.tenant!r}", hint=_WHERE["tenant"])

    @property
    def is_user(self) -> bool:
        """Whether a person signs in, once, and the token cache keeps it."""
        return isinstance(self.credential, Browser | DeviceCode)
