"""What a sign-in may do: one harmless GET for each thing that a backup needs, and what to add where one is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from intune_dw_cli.errors import ForbiddenError, IntuneDwError
from intune_dw_cli.service.csdl import parse_service_document
from intune_dw_cli.service.transport import Transport
from intune_dw_cli.service.warehouse import Warehouse

_TRIES = 2


@dataclass(frozen=True, slots=True)
class Access:
    """One thing that was tried.

    Attributes:
        what: What it is, in plain words.
        permission: The API permission that it takes, with its API.
        state: works; missing where it is refused for lack of a permission; failed for any other reason.
        detail: What came, or what went wrong.
        remedy: What to do, None where it works.
    """

    what: str
    permission: str
    state: Literal["works", "missing", "failed"]
    detail: str
    remedy: str | None = None


GRAPH_PROBES = (
    (
        "trend charts: terms and conditions",
        "DeviceManagementServiceConfig.Read.All",
        "/v1.0/deviceManagement/termsAndConditions?$top=1&$select=id",
    ),
    (
        "trend charts: app protection",
        "DeviceManagementApps.Read.All",
        "/v1.0/deviceAppManagement/managedAppRegistrations?$top=1&$select=id",
    ),
    (
        "trend charts: device configuration",
        "DeviceManagementConfiguration.Read.All",
        "/v1.0/deviceManagement/deviceConfigurations?$top=1&$select=id",
    ),
    (
        "trend charts: device enrollment",
        "DeviceManagementManagedDevices.Read.All",
        "/v1.0/reports/managedDeviceEnrollmentTopFailures()",
    ),
)
"""What the charts of the move procedure need of Microsoft Graph: (what, least permission, a harmless request)."""


def check_warehouse(warehouse: Warehouse) -> Access:
    """Try the warehouse: read its service document."""

    def read() -> str:
        return f"{len(parse_service_document(warehouse.service_document))} collections"

    return _try(
        "data warehouse",
        "Intune API: get_data_warehouse",
        read,
        "An app needs the application permission get_data_warehouse of the Intune API, with admin consent; a user the "
        "delegated one, and an Intune role that may read the data warehouse.",
    )


def check_graph(transport: Transport, base_url: str) -> Iterator[Access]:
    """Try each Graph permission that the trend charts need.

    Args:
        transport: Sends with Graph's token.
        base_url: For instance `https://graph.microsoft.com`.
    """
    for what, permission, path in GRAPH_PROBES:

        def read(path: str = path) -> str:
            transport.get(base_url + path, lambda _body, _request_id: None, tries=_TRIES)
            return "readable"

        yield _try(
            what,
            f"Microsoft Graph: {permission}",
            read,
            f"Entra admin center > App registrations > your app > API permissions: add {permission} of Microsoft "
            "Graph, then grant admin consent.",
        )


def _try(what: str, permission: str, read: Callable[[], str], remedy: str) -> Access:
    try:
        return Access(what, permission, "works", read())
    except ForbiddenError as error:
        return Access(what, permission, "missing", error.message, remedy)
    except IntuneDwError as error:
        return Access(what, permission, "failed", str(error), error.hint)
