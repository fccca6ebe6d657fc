"""What the environment says about who we are. The variables are those of Azure's own tools, and one of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from intune_dw_cli.identity.clouds import CLOUDS, Cloud, customised
from intune_dw_cli.identity.credentials import (
    AccessToken,
    Certificate,
    ClientSecret,
    Configuration,
    Credential,
    FederatedToken,
    ManagedIdentity,
)
from intune_dw_cli.identity.secret import Secret, read_secret

ACCESS_TOKEN = "INTUNE_DW_ACCESS_TOKEN"  # noqa: S105 - names of variables
TENANT_ID = "AZURE_TENANT_ID"
CLIENT_ID = "AZURE_CLIENT_ID"
CLIENT_SECRET = "AZURE_CLIENT_SECRET"  # noqa: S105
CERTIFICATE_PATH = "AZURE_CLIENT_CERTIFICATE_PATH"
CERTIFICATE_PASSWORD = "AZURE_CLIENT_CERTIFICATE_PASSWORD"  # noqa: S105
FEDERATED_TOKEN_FILE = "AZURE_FEDERATED_TOKEN_FILE"  # noqa: S105
AUTHORITY_HOST = "AZURE_AUTHORITY_HOST"
OWN_SECRET_FILE = "INTUNE_DW_CLIENT_SECRET_FILE"  # noqa: S105 - these are the options of `login`, by the rule for names
OWN_CERTIFICATE = "INTUNE_DW_CERTIFICATE"
OWN_FEDERATED_TOKEN_FILE = "INTUNE_DW_FEDERATED_TOKEN_FILE"  # noqa: S105
OWN_MANAGED_IDENTITY = "INTUNE_DW_MANAGED_IDENTITY"

PRECEDENCE = (
    ACCESS_TOKEN,
    CLIENT_SECRET,
    OWN_SECRET_FILE,
    CERTIFICATE_PATH,
    OWN_CERTIFICATE,
    FEDERATED_TOKEN_FILE,
    OWN_FEDERATED_TOKEN_FILE,
    OWN_MANAGED_IDENTITY,
)
"""The variables that hold a proof, first wins. The order is that of azure-identity, after the ready token."""

_YES = frozenset({"1", "true", "t", "yes", "y", "on"})
_STDIN = "-"


def credential_from_environment(
    environ: Mapping[str, str],
    *,
    tenant: str | None = None,
    client_id: str | None = None,
    cloud: Cloud | None = None,
    authority_host: str | None = None,
) -> Configuration | None:
    """Return what the environment signs in with, None when no variable of `PRECEDENCE` is set.

    Order of precedence: a ready token in INTUNE_DW_ACCESS_TOKEN, then AZURE_CLIENT_SECRET, then
    AZURE_CLIENT_CERTIFICATE_PATH (with AZURE_CLIENT_CERTIFICATE_PASSWORD), then AZURE_FEDERATED_TOKEN_FILE, each
    followed by our own name for the same. An empty variable counts as not set. A managed identity is never guessed: it
    must be asked for.

    Args:
        environ: The environment.
        tenant: Goes before AZURE_TENANT_ID.
        client_id: Goes before AZURE_CLIENT_ID.
        cloud: The cloud, public without it.
        authority_host: Goes before AZURE_AUTHORITY_HOST, and that before the cloud's.

    Raises:
        UsageError: there is a proof but no tenant or client id, or a value cannot be one.
    """
    found = proof_in(environ)
    if found is None:
        return None
    return Configuration(
        credential=found[1],
        tenant=tenant or _value(environ, TENANT_ID),
        client_id=client_id or _value(environ, CLIENT_ID),
        cloud=customised(cloud or CLOUDS["public"], authority_host=authority_host or _value(environ, AUTHORITY_HOST)),
    )


def proof_in(environ: Mapping[str, str]) -> tuple[str, Credential] | None:
    """Return the variable that wins and the credential it gives, None when none is set."""
    for name in PRECEDENCE:
        value = _value(environ, name)
        if value is not None and _says_something(name, value):
            return name, _credential(name, value, environ)
    return None


def _says_something(name: str, value: str) -> bool:
    if name == OWN_MANAGED_IDENTITY:
        return value.lower() in _YES
    return not (name == OWN_SECRET_FILE and value == _STDIN)  # stdin belongs to `login`


def _credential(name: str, value: str, environ: Mapping[str, str]) -> Credential:
    if name == ACCESS_TOKEN:
        return AccessToken(Secret(value), origin=ACCESS_TOKEN)
    if name == CLIENT_SECRET:
        return ClientSecret(Secret(value))
    if name == OWN_SECRET_FILE:
        return ClientSecret(read_secret(Path(value).expanduser(), "client secret"))
    if name == OWN_MANAGED_IDENTITY:
        return ManagedIdentity(_value(environ, CLIENT_ID))
    if name in (CERTIFICATE_PATH, OWN_CERTIFICATE):
        password = environ.get(CERTIFICATE_PASSWORD, "")  # to the letter: blanks may belong to it
        return Certificate(Path(value).expanduser(), Secret(password) if password else None)
    return FederatedToken(Path(value).expanduser())


def _value(environ: Mapping[str, str], name: str) -> str | None:
    return environ.get(name, "").strip() or None
