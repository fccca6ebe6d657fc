"""What a sign-in may do: one harmless GET for each thing that a backup needs, and what to add where one is refused.

What a token says about itself (`roles`, `scp`) is read for the advice only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from intune_dw_cli.errors import (
    BadRequestError,
    ForbiddenError,
    InterruptedRunError,
    IntuneDwError,
    NotFoundError,
    SignInError,
)
from intune_dw_cli.identity.advice import WAREHOUSE_PERMISSION, token_advice
from intune_dw_cli.identity.claims import read_claims
from intune_dw_cli.identity.tokens import TokenSource
from intune_dw_cli.service.csdl import parse_service_document
from intune_dw_cli.service.transport import Transport
from intune_dw_cli.service.warehouse import Warehouse

_TRIES = 2
_API = "Entra admin center > App registrations > your app > API permissions"
_ADD_WAREHOUSE = (
    f"{_API}: add get_data_warehouse of the Microsoft Intune API (Application for an app, Delegated for a user) and "
    "grant admin consent."
)
_USER_ROLE = (
    "The app has the permission, so it is the account that may not: give it the Intune Administrator role, or a custom "
    "Intune role that may read the data warehouse (Intune admin center > Tenant administration > Roles). Some tenants "
    "want an Intune licence, too."
)
_ACCOUNT_MAY_NOT = (
    "The token has the permission. A user also needs an Intune role that may read this (Intune admin center > Tenant "
    "administration > Roles); the tenant needs an active Intune licence."
)
_NOT_OFFERED = "Graph does not offer this here: take that chart by hand from the Intune admin center."


@dataclass(frozen=True, slots=True)
class Access:
    """One thing that was tried.

    Attributes:
        what: What it is, in plain words.
        permission: The API permission that it takes, with its API; empty for a token.
        state: works; missing where it is refused for lack of a permission; failed for any other reason; not tried
            where there was no token to try it with.
        detail: What came, or what went wrong.
        remedy: What to do, None where it works.
        exit_code: What a run that needs it would end with.
    """

    what: str
    permission: str
    state: Literal["works", "missing", "failed", "not tried"]
    detail: str
    remedy: str | None = None
    exit_code: int = 0


GRAPH_PROBES = (
    (
        "charts: terms and conditions",
        "DeviceManagementServiceConfig.Read.All",
        "/v1.0/deviceManagement/termsAndConditions?$top=1&$select=id",
    ),
    (
        "charts: app protection",
        "DeviceManagementApps.Read.All",
        "/v1.0/deviceAppManagement/managedAppRegistrations?$top=1&$select=id",
    ),
    (
        "charts: device configuration",
        "DeviceManagementConfiguration.Read.All",
        "/v1.0/deviceManagement/deviceConfigurations?$top=1&$select=id",
    ),
    (
        "charts: device enrollment",
        "DeviceManagementManagedDevices.Read.All",
        "/v1.0/reports/managedDeviceEnrollmentTopFailures()",
    ),
)
"""What the charts of the move procedure need of Microsoft Graph: (what, least permission, a harmless request)."""


def check_warehouse(warehouse: Warehouse, tokens: TokenSource, resource: str) -> list[Access]:
    """Get a token for the warehouse, and read its service document with it.

    Args:
        warehouse: To be read.
        tokens: Where its tokens come from.
        resource: What they are for.
    """

    def read() -> str:
        return f"{len(parse_service_document(warehouse.service_document))} collections"

    def remedy(token: str, _error: IntuneDwError) -> str | None:
        advice = token_advice(token, resource, WAREHOUSE_PERMISSION)
        if advice is not None:
            return advice
        claims = read_claims(token)
        if claims is not None and claims.scopes:
            return _USER_ROLE
        return None if claims is not None else _ADD_WAREHOUSE

    what, permission = "data warehouse", f"Intune API: {WAREHOUSE_PERMISSION}"
    first = _token("token for the warehouse", tokens)
    if first.state != "works":
        return [first, Access(what, permission, "not tried", "there is no token", exit_code=first.exit_code)]
    return [first, _try(what, permission, read, tokens, remedy)]


def check_graph(transport: Transport, tokens: TokenSource, base_url: str) -> Iterator[Access]:
    """Get a token for Graph, and try each permission that the trend charts need.

    Args:
        transport: Sends with Graph's token.
        tokens: Where that comes from.
        base_url: For instance `https://graph.microsoft.com`; also what its tokens are for.
    """
    first = _token("token for Microsoft Graph", tokens)
    yield first
    for what, permission, path in GRAPH_PROBES:
        label = f"Microsoft Graph: {permission}"
        if first.state != "works":
            yield Access(what, label, "not tried", "there is no token", exit_code=first.exit_code)
            continue

        def read(path: str = path) -> str:
            transport.get(base_url + path, lambda _body, _request_id: None, tries=_TRIES)
            return "readable"

        def remedy(token: str, error: IntuneDwError, permission: str = permission) -> str | None:
            if isinstance(error, NotFoundError | BadRequestError):
                return _NOT_OFFERED
            if not isinstance(error, ForbiddenError | SignInError):
                return error.hint
            if (advice := token_advice(token, base_url, permission)) is not None:
                return advice
            if read_claims(token) is not None:
                return _ACCOUNT_MAY_NOT
            return f"{_API}: add {permission} of Microsoft Graph and grant admin consent."

        yield _try(what, label, read, tokens, remedy)


def _token(what: str, tokens: TokenSource) -> Access:
    try:
        tokens.token()
    except InterruptedRunError:
        raise
    except IntuneDwError as error:
        return Access(what, "", "failed", str(error), error.hint, error.exit_code)
    return Access(what, "", "works", "received")


def _try(
    what: str,
    permission: str,
    read: Callable[[], str],
    tokens: TokenSource,
    remedy: Callable[[str, IntuneDwError], str | None],
) -> Access:
    try:
        return Access(what, permission, "works", read())
    except InterruptedRunError:
        raise
    except IntuneDwError as error:
        refused = isinstance(error, ForbiddenError | SignInError)
        found = Access(what, permission, "missing" if refused else "failed", str(error), error.hint, error.exit_code)
        try:
            return replace(found, remedy=remedy(tokens.token(), error) or error.hint)
        except IntuneDwError:  # no token any more: what was said above stands
            return found
