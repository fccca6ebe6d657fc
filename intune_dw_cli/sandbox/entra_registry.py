"""What the sandbox's Entra knows: apps with their credentials, users, and the resources that tokens can be for."""

from __future__ import annotations

from dataclasses import dataclass, field

TENANT_ID = "7f6a2c1e-0b3d-4e55-9a6b-5d1c0e9f8a01"
TENANT_DOMAIN = "sandbox.onmicrosoft.com"
CLIENT_ID = "3d2a8f10-6c4b-4f7e-8a55-1b2c3d4e5f60"

WAREHOUSE = "https://api.manage.microsoft.com/"
GRAPH = "https://graph.microsoft.com"

RESOURCES: dict[str, str] = {
    WAREHOUSE: "c161e42e-d4df-4a3d-9b42-e7a3c31f59d4",
    GRAPH: "00000003-0000-0000-c000-000000000000",
}
"""Application ids by identifier URI, to the letter: a slash at the end belongs to it."""


def is_known(resource: str) -> bool:
    """Whether there is such a resource, with or without a slash at its end."""
    return resource.rstrip("/") in {uri.rstrip("/") for uri in RESOURCES}


_GRAPH_PERMISSIONS = (
    "DeviceManagementApps.Read.All",
    "DeviceManagementConfiguration.Read.All",
    "DeviceManagementManagedDevices.Read.All",
    "DeviceManagementServiceConfig.Read.All",
)


def usual_permissions() -> dict[str, tuple[str, ...]]:
    """Return what a well-registered app has: the warehouse, and the reports of Graph."""
    return {WAREHOUSE: ("get_data_warehouse",), GRAPH: _GRAPH_PERMISSIONS}


@dataclass(frozen=True, kw_only=True)
class Federation:
    """A federated credential of an app.

    Attributes:
        issuer: Compared to the letter, as all of these.
        subject: Of the token.
        public_key: PEM; checks the signature.
        audience: Of the token.
    """

    issuer: str
    subject: str
    public_key: str
    audience: str = "api://AzureADTokenExchange"


@dataclass(kw_only=True)
class App:
    """An app registration.

    Attributes:
        client_id: Its application id.
        secrets: Values of client secrets, with the time when each ends; None for never.
        certificates: PEM.
        federations: Federated credentials.
        redirect_uris: A loopback address matches with any port.
        public_client: Whether it may sign users in without a credential.
        permissions: Roles, and scopes likewise, by resource.
    """

    client_id: str = CLIENT_ID
    secrets: dict[str, float | None] = field(default_factory=dict, repr=False)
    certificates: list[str] = field(default_factory=list, repr=False)
    federations: list[Federation] = field(default_factory=list, repr=False)
    redirect_uris: tuple[str, ...] = ("http://localhost",)
    public_client: bool = True
    permissions: dict[str, tuple[str, ...]] = field(default_factory=usual_permissions)


@dataclass(frozen=True, kw_only=True)
class User:
    """A user of the tenant."""

    username: str = "admin@sandbox.onmicrosoft.com"
    object_id: str = "0c7d4b8e-9d2f-4c3a-8e1b-2a3b4c5d6e7f"
