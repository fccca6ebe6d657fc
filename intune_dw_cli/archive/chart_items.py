"""The trend charts that the documented move procedure asks for, and how each is had.

Requests, their order, permissions and portal paths are from Microsoft's page on the move, the Graph reference and the
list of reports that can be exported. Permissions are the least privileged ones and have the same name for users and
apps.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from intune_dw_cli.errors import UsageError
from intune_dw_cli.service.export_jobs import ExportReport
from intune_dw_cli.service.graph import EXPORT_JOBS

SERVICE_CONFIG = "DeviceManagementServiceConfig.Read.All"
APPS = "DeviceManagementApps.Read.All"
CONFIGURATION = "DeviceManagementConfiguration.Read.All"
DEVICES = "DeviceManagementManagedDevices.Read.All"
PERMISSIONS = (SERVICE_CONFIG, APPS, CONFIGURATION, DEVICES)
"""What saves every chart: the whole least set for Graph."""


@dataclass(frozen=True, slots=True)
class ReportFunction:
    """A function that answers a report: JSON with base64 content, or the content itself, or a redirect to it."""

    path: str

    @property
    def request(self) -> str:
        """The request as text."""
        return f"GET {self.path}"


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection, read to its last page.

    Attributes:
        columns: The documented ones, first in the CSV; others follow as they come.
    """

    path: str
    columns: tuple[str, ...] = ()

    @property
    def request(self) -> str:
        """The request as text."""
        return f"GET {self.path}"


@dataclass(frozen=True, slots=True)
class Children:
    """A collection, and below each of its members another.

    Attributes:
        child: The navigation property: `{path}/{id}/{child}`.
        child_columns: The documented columns of the children.
    """

    path: str
    child: str
    columns: tuple[str, ...]
    child_columns: tuple[str, ...]

    @property
    def request(self) -> str:
        """The requests as text."""
        return f"GET {self.path} and {self.path}/{{id}}/{self.child}"


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """An export job."""

    report: ExportReport

    @property
    def request(self) -> str:
        """The request as text."""
        return f"POST {EXPORT_JOBS} reportName={self.report.name}"


Attempt = ReportFunction | Collection | Children | ExportRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartItem:
    """One thing to save.

    Attributes:
        id: The name in the archive, in the manifest and for `--as`.
        attempts: Requests in the order in which they are tried; none where there is only the portal.
        permission: The least Graph permission for it; None where there is no request.
        portal_path: Where a person finds it in the Intune admin center.
        optional: Goes beyond what the move procedure can have by an API: never makes a run partial.
    """

    id: str
    group: str
    title: str
    attempts: tuple[Attempt, ...] = ()
    permission: str | None = None
    portal_path: str
    optional: bool = False


_TERMS = "Terms and Conditions"
_PROTECTION = "App protection"
_CONFIG = "Device configuration"
_ENROLLMENT = "Device enrollment"

_MAM_BOTH = (
    "AADDeviceID AndroidMamSdkVersion AndroidPatchVersion App AppInstanceId AppVersion DeviceHealth DeviceManufacturer "
    "DeviceModel DeviceName DeviceType Email LastSync MDMDeviceID Platform PlatformVersion Policy SdkVersion User"
)
_MAM_PROTECTION = "AppProtectionStatus ComplianceState DeviceManagmentType ManagementType"  # spelled like that
_POLICIES = (
    "PolicyId PolicyName PolicyType UnifiedPolicyType PolicyBaseTypeName PolicyPlatformType "
    "NumberOfNotApplicableDevices NumberOfCompliantDevices NumberOfNonCompliantDevices NumberOfErrorDevices "
    "NumberOfConflictDevices NumberOfNonCompliantOrErrorDevices UnifiedPolicyPlatformType TemplateVersion"
)
_ACTIVITY = (
    "AadDeviceId Context DeviceId DeviceName EnrollmentActivityId EnrollmentDateTime EnrollmentMethod Failure "
    "FailureDetails FailureReason OS OSVersion OwnerType Remediation SerialNumber UPN UserId"
)
_FAILURES = "EnrollmentFailureDateTime EnrollmentMethod FailureGuid FailureReason OS OSVersion UPN UserId"
_CONFIGURATIONS = ("id", "displayName", "lastModifiedDateTime", "deviceStatusOverview")


def _export(name: str, columns: str = "") -> ExportRequest:
    return ExportRequest(ExportReport(name, tuple(columns.split())))


ITEMS: tuple[ChartItem, ...] = (
    ChartItem(
        id="terms-acceptance",
        group=_TERMS,
        title="Terms and Conditions acceptance",
        attempts=(
            Children(
                "/v1.0/deviceManagement/termsAndConditions",
                "acceptanceStatuses",
                (
                    "id",
                    "displayName",
                    "title",
                    "bodyText",
                    "acceptanceStatement",
                    "version",
                    "createdDateTime",
                    "lastModifiedDateTime",
                ),
                ("id", "userDisplayName", "userPrincipalName", "acceptedVersion", "acceptedDateTime"),
            ),
        ),
        permission=SERVICE_CONFIG,
        portal_path="Tenant administration > Terms & Conditions > (each item) > Acceptance Report > Export",
    ),
    ChartItem(
        id="app-protection-status",
        group=_PROTECTION,
        title="App protection report: iOS, Android",
        attempts=(
            _export("MAMAppProtectionStatus", f"{_MAM_BOTH} {_MAM_PROTECTION}"),
            _export("MAMAppProtectionStatusV2"),
        ),
        permission=APPS,
        portal_path="Apps > Monitor > App protection status > download icon > App protection report: iOS, Android",
    ),
    ChartItem(
        id="app-configuration-status",
        group=_PROTECTION,
        title="App configuration report",
        attempts=(_export("MAMAppConfigurationStatus", _MAM_BOTH), _export("MAMAppConfigurationStatusV2")),
        permission=APPS,
        portal_path="Apps > Monitor > App protection status > download icon > App configuration report",
    ),
    ChartItem(
        id="managed-app-registrations",
        group=_PROTECTION,
        title="Managed app registrations, as a raw copy",
        attempts=(Collection("/v1.0/deviceAppManagement/managedAppRegistrations"),),
        permission=APPS,
        portal_path="Apps > Monitor > App protection status",
        optional=True,
    ),
    ChartItem(
        id="app-protection-other-reports",
        group=_PROTECTION,
        title="Other app protection reports that the portal lists (Windows)",
        portal_path="Apps > Monitor > App protection status > download icon",
        optional=True,
    ),
    ChartItem(
        id="device-configuration-device-activity",
        group=_CONFIG,
        title="Device configuration by device",
        attempts=(
            ReportFunction("/v1.0/reports/deviceConfigurationDeviceActivity"),
            ReportFunction("/beta/reports/deviceConfigurationDeviceActivity/content"),
        ),
        permission=CONFIGURATION,
        portal_path="Devices > Manage devices > Configuration > Export",
    ),
    ChartItem(
        id="device-configuration-user-activity",
        group=_CONFIG,
        title="Device configuration by user",
        attempts=(
            ReportFunction("/v1.0/reports/deviceConfigurationUserActivity"),
            ReportFunction("/beta/reports/deviceConfigurationUserActivity/content"),
        ),
        permission=CONFIGURATION,
        portal_path="Devices > Manage devices > Configuration > Export",
    ),
    ChartItem(
        id="device-configurations",
        group=_CONFIG,
        title="Device configurations with their status overview",
        attempts=(
            Collection(
                "/beta/deviceManagement/deviceConfigurations"
                f"?$select={','.join(_CONFIGURATIONS)}&$expand=deviceStatusOverview",
                _CONFIGURATIONS,
            ),
        ),
        permission=CONFIGURATION,
        portal_path="Devices > Manage devices > Configuration > Export",
    ),
    ChartItem(
        id="configuration-policies",
        group=_CONFIG,
        title="Configuration policies with their device counts",
        attempts=(
            _export("ConfigurationPolicyAggregateV3", _POLICIES),
            _export("ConfigurationPolicyAggregate", _POLICIES),
        ),
        permission=CONFIGURATION,
        portal_path="Devices > Manage devices > Configuration > Export",
    ),
    ChartItem(
        id="enrollment-failure-trends",
        group=_ENROLLMENT,
        title="Enrollment failure trends",
        attempts=(ReportFunction("/beta/reports/managedDeviceEnrollmentFailureTrends()/content"),),
        permission=DEVICES,
        portal_path="Devices > Device onboarding > Enrollment > Monitor",
    ),
    ChartItem(
        id="enrollment-top-failures",
        group=_ENROLLMENT,
        title="Top enrollment failures this week",
        attempts=(
            ReportFunction("/beta/reports/managedDeviceEnrollmentTopFailures(period=null)/content"),
            ReportFunction("/v1.0/reports/managedDeviceEnrollmentTopFailures()"),
        ),
        permission=DEVICES,
        portal_path="Devices > Device onboarding > Enrollment > Monitor",
    ),
    ChartItem(
        id="enrollment-activity",
        group=_ENROLLMENT,
        title="Enrollment activity",
        attempts=(_export("EnrollmentActivity", _ACTIVITY),),
        permission=DEVICES,
        portal_path="Dashboard > Device enrollment",
    ),
    ChartItem(
        id="device-enrollment-failures",
        group=_ENROLLMENT,
        title="Device enrollment failures",
        attempts=(_export("DeviceEnrollmentFailures", _FAILURES),),
        permission=DEVICES,
        portal_path="Devices > Device onboarding > Enrollment > Monitor",
    ),
    ChartItem(
        id="assignment-status",
        group=_ENROLLMENT,
        title="Assignment status",
        portal_path="Devices > Monitor > Assignment status > Export",
        optional=True,
    ),
)
"""Every item. Those without an attempt have no API at all, so they are optional: they cannot be missing from a run."""


def chart_item(name: str) -> ChartItem:
    """Return the item of that id, case aside.

    Raises:
        UsageError: there is none; the message names the near misses.
    """
    known = {item.id: item for item in ITEMS}
    wanted = name.strip().casefold()
    if wanted in known:
        return known[wanted]
    near = difflib.get_close_matches(wanted, known, n=3)
    raise UsageError(
        f"there is no chart item {name!r}" + (f"; did you mean {' or '.join(near)}?" if near else ""),
        hint=f"Items: {', '.join(known)}.",
    )
