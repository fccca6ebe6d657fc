"""The star schema's lookups: which collection names what a row has only the key of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lookup:
    """Columns that another collection adds to a row.

    Attributes:
        collection: Where they come from.
        foreign: Spellings of the row's own property.
        key: Spellings of the property that it equals.
        values: Names of the new columns, each with the spellings of the property that it shows.
        needed: Whether the view is left out where the archive has no such collection.
    """

    collection: str
    foreign: tuple[str, ...]
    key: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]]
    needed: bool = True


def _state(column: str, collection: str, stem: str, name: str, *, needed: bool = True) -> Lookup:
    """Return a lookup whose foreign key is documented as `stem` or `stemKey` (other_spellings in the reference)."""
    keys = (f"{stem}Key", stem)
    return Lookup(collection, keys, keys, {column: (name, f"{stem}Name", stem)}, needed)


_OWNER = _state("owner_type", "ownerTypes", "ownerType", "ownerTypeName")
COMPLIANCE = _state("compliance_state", "complianceStates", "complianceState", "complianceStatus")
_CATEGORY = _state("device_category", "deviceCategories", "deviceCategory", "deviceCategoryName")
_REGISTRATION = _state(
    "registration_state", "deviceRegistrationStates", "deviceRegistrationState", "deviceRegistrationStateName"
)
_MANAGEMENT = _state("management_state", "managementStates", "managementState", "managementStateName")
DEVICE_TYPE = _state("device_type", "deviceTypes", "deviceType", "deviceTypeName")
ENROLLMENT = _state(
    "enrollment_type", "deviceEnrollmentTypes", "deviceEnrollmentType", "deviceEnrollmentTypeName", needed=False
)
AGENT = Lookup(
    "managementAgentTypes",
    ("managementAgentKey", "managementAgentTypeKey"),
    ("managementAgentTypeKey", "managementAgentKey"),
    {"management_agent": ("managementAgentTypeName", "managementAgentName")},
    needed=False,
)
STATES = (_OWNER, COMPLIANCE, _CATEGORY, _REGISTRATION, _MANAGEMENT)
_USER = {"name": ("displayName",), "principal_name": ("userPrincipalName",), "email": ("userEmail",)}
PRIMARY_USER = Lookup(
    "users", ("userId", "primaryUser"), ("userId",), {f"primary_user_{k}": v for k, v in _USER.items()}
)
USER_OF_KEY = Lookup("users", ("userKey",), ("userKey",), {f"current_user_{k}": v for k, v in _USER.items()})
CURRENT = "current_device_users"
CURRENT_USER = Lookup(
    CURRENT,
    ("deviceKey",),
    ("deviceKey",),
    {"current_user_key": ("userKey",), "current_user_since": ("createdDateTimeUTC",)}
    | {column: (column,) for column in USER_OF_KEY.values},
    needed=False,
)
APP = Lookup(
    "appRevisions",
    ("appKey",),
    ("appKey",),
    {
        "app_title": ("title",),
        "app_publisher": ("publisher",),
        "app_revision": ("revision",),
        "application_id": ("applicationId",),
    },
)
INSTALL = Lookup(
    "mobileAppInstallStates",
    ("appInstallStateKey",),
    ("appInstallStateKey",),
    {"install_state": ("appInstallStateName",)},
)
POLICY = Lookup("policies", ("policyKey",), ("policyKey",), {"policy_name": ("policyName",)})
PLATFORM = Lookup(
    "policyPlatformTypes",
    ("policyPlatformKey", "policyPlatformTypeKey"),
    ("policyPlatformTypeKey", "policyPlatformKey"),
    {"policy_platform": ("policyPlatformTypeName",)},
    needed=False,
)
