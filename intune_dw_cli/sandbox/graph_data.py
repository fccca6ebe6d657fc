"""What Graph's reports and collections say about a tenant: the same users, apps, policies and enrolments.

The columns of export jobs and collections are the documented ones. What the report functions really contain is not
known to the public: here it is CSV made of the tenant's daily figures.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from intune_dw_cli.sandbox.tenant import Tenant

Row = dict[str, Any]

_SUCCESS = "Success"
_MAM_SHARED = (
    "AADDeviceID",
    "AndroidMamSdkVersion",
    "AndroidPatchVersion",
    "App",
    "AppInstanceId",
    "AppVersion",
    "DeviceHealth",
    "DeviceManufacturer",
    "DeviceModel",
    "DeviceName",
    "DeviceType",
    "Email",
    "LastSync",
    "MDMDeviceID",
    "Platform",
    "PlatformVersion",
    "Policy",
    "SdkVersion",
    "User",
)
_MAM_PROTECTION = ("AppProtectionStatus", "ComplianceState", "DeviceManagmentType", "ManagementType")


class GraphData:
    """Reports and collections of one tenant at one day."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant

    # -- collections ------------------------------------------------------------------------------------------

    @cached_property
    def terms(self) -> list[Row]:
        """The rows of `termsAndConditions`: the newest version of each that was not deleted."""
        newest: dict[str, Row] = {}
        first: dict[str, str] = {}
        for row in self._tenant.rows("termsAndConditions"):
            key = row["termsAndCondidionsId"]
            first.setdefault(key, row["startDateInclusiveUTC"])
            if key not in newest or row["termsAndConditionsVersion"] > newest[key]["termsAndConditionsVersion"]:
                newest[key] = row
        return [
            {
                "id": key,
                "createdDateTime": first[key],
                "lastModifiedDateTime": row["startDateInclusiveUTC"],
                "displayName": row["name"],
                "description": row["description"],
                "title": row["title"],
                "bodyText": row["termsAndConditionsBodyText"],
                "acceptanceStatement": row["summaryOfTerms"],
                "version": row["termsAndConditionsVersion"],
            }
            for key, row in newest.items()
            if not row["isDeleted"]
        ]

    def acceptances(self, terms_id: str) -> list[Row]:
        """Return the rows of `acceptanceStatuses`: the newest acceptance of each user."""
        versions = {
            row["termsAndConditionsKey"]: row["termsAndConditionsVersion"]
            for row in self._tenant.rows("termsAndConditions")
            if row["termsAndCondidionsId"] == terms_id
        }
        users = {row["userKey"]: row for row in self._tenant.rows("users")}
        newest: dict[str, Row] = {}
        for row in self._tenant.rows("userTermsAndConditionsAcceptances"):
            if row["termsAndConditionsKey"] in versions:
                user = users[row["userKey"]]
                newest[user["userId"]] = {
                    "id": f"{terms_id}_{user['userId']}",
                    "userDisplayName": user["displayName"],
                    "acceptedVersion": versions[row["termsAndConditionsKey"]],
                    "acceptedDateTime": row["acceptedDateTimeUTC"],
                    "userPrincipalName": user["userPrincipalName"],
                }
        return list(newest.values())

    @property
    def registrations(self) -> list[Row]:
        """The rows of `managedAppRegistrations`."""
        platforms = {"iPhone": "ios", "Android": "android"}
        return [
            {
                "@odata.type": f"#microsoft.graph.{platforms[row['mamDeviceType']]}ManagedAppRegistration",
                "id": row["applicationInstanceId"],
                "createdDateTime": row["createdDate"],
                "lastSyncDateTime": row["rowLastModifiedDateTimeUtc"],
                "applicationVersion": row["applicationVersion"],
                "managementSdkVersion": row["sdkVersion"],
                "platformVersion": row["platformVersion"],
                "deviceType": row["mamDeviceType"],
                "deviceTag": row["mamDeviceId"],
                "deviceName": row["mamDeviceName"],
                "flaggedReasons": [],
                "userId": row["userId"],
                "appIdentifier": {"bundleId": row["mamApplicationId"]},
            }
            for row in self._instances
        ]

    @property
    def configurations(self) -> list[Row]:
        """The rows of `deviceConfigurations`; an odd one has no overview."""
        counts = self._policy_counts
        return [
            {
                "id": row["policyId"],
                "displayName": row["policyName"],
                "lastModifiedDateTime": row["rowLastModifiedDateTimeUTC"],
                "deviceStatusOverview": None
                if place % 5 == 4
                else {
                    "id": row["policyId"],
                    "pendingCount": counts[row["policyKey"]]["pending"],
                    "successCount": counts[row["policyKey"]]["succeeded"],
                    "errorCount": counts[row["policyKey"]]["error"],
                    "failedCount": counts[row["policyKey"]]["failed"],
                },
            }
            for place, row in enumerate(self._policies)
        ]

    # -- report functions -------------------------------------------------------------------------------------

    def function(self, name: str) -> bytes | None:
        """Return the CSV behind a report function, None if there is no such function."""
        makers: dict[str, Callable[[], list[Row]]] = {
            "deviceConfigurationDeviceActivity": lambda: self._daily("deviceConfigurationProfileDeviceActivities"),
            "deviceConfigurationUserActivity": lambda: self._daily("deviceConfigurationProfileUserActivities"),
            "managedDeviceEnrollmentFailureTrends": self._failure_trends,
            "managedDeviceEnrollmentTopFailures": self._top_failures,
        }
        return _csv(makers[name]()) if name in makers else None

    def _daily(self, name: str) -> list[Row]:
        return list(self._tenant.rows(name))

    def _failure_trends(self) -> list[Row]:
        days: Counter[int] = Counter(dict.fromkeys(self._tenant.date_keys("enrollmentActivities"), 0))
        for row in self._failures:
            days[row["dateKey"]] += row["count"]
        return [{"dateKey": day, "failures": count} for day, count in sorted(days.items())]

    def _top_failures(self) -> list[Row]:
        week = set(self._tenant.date_keys("enrollmentActivities")[-7:])
        reasons: Counter[str] = Counter()
        for row in self._failures:
            if row["dateKey"] in week:
                reasons[self._names("enrollmentFailureReason")[row["enrollmentFailureReasonKey"]]] += row["count"]
        ordered = sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))
        return [{"failureReason": reason, "count": count} for reason, count in ordered]

    # -- exports ----------------------------------------------------------------------------------------------

    def export_rows(self, report: str) -> list[Row] | None:
        """Return all rows of an export report with all its columns, None if there is no such report."""
        makers: dict[str, Callable[[], list[Row]]] = {
            "MAMAppProtectionStatus": lambda: self._mam((*_MAM_SHARED, *_MAM_PROTECTION)),
            "MAMAppProtectionStatusV2": lambda: self._mam((*_MAM_SHARED, *_MAM_PROTECTION)),
            "MAMAppConfigurationStatus": lambda: self._mam(_MAM_SHARED),
            "MAMAppConfigurationStatusV2": lambda: self._mam(_MAM_SHARED),
            "ConfigurationPolicyAggregate": self._policy_aggregate,
            "ConfigurationPolicyAggregateV3": self._policy_aggregate,
            "EnrollmentActivity": lambda: self._enrollments(failed_only=False),
            "DeviceEnrollmentFailures": lambda: self._enrollments(failed_only=True),
        }
        return makers[report]() if report in makers else None

    def export(self, report: str, select: Sequence[str] | None) -> bytes | None:
        """Return the CSV of an export report; None if there is no such report or no such column."""
        rows = self.export_rows(report)
        columns = _columns(report)
        if rows is None or not set(select or ()) <= set(columns):
            return None
        wanted = list(select or columns)
        chosen = [{name: row[name] for name in wanted} for row in rows]
        if "Platform" in wanted:  # LocalizedValuesAsAdditionalColumn
            chosen = [{**row, "Platform_loc": row["Platform"]} for row in chosen]
            wanted.append("Platform_loc")
        return _csv(chosen, wanted)

    def _mam(self, columns: Sequence[str]) -> list[Row]:
        users = {row["userId"]: row for row in self._tenant.rows("users")}
        apps = {row["mamApplicationId"]: row["mamApplicationName"] for row in self._tenant.rows("mamApplications")}
        rows = []
        for row in self._instances:
            user, ios = users[row["userId"]], row["mamDeviceType"] == "iPhone"
            values = {
                "AADDeviceID": row["applicationInstanceId"],
                "AndroidMamSdkVersion": None if ios else row["sdkVersion"],
                "AndroidPatchVersion": None if ios else "2018-01-05",
                "App": apps[row["mamApplicationId"]],
                "AppInstanceId": row["applicationInstanceId"],
                "AppVersion": row["applicationVersion"],
                "DeviceHealth": "Healthy",
                "DeviceManufacturer": "Apple" if ios else "Contoso Mobile",
                "DeviceModel": row["mamDeviceType"],
                "DeviceName": row["mamDeviceName"],
                "DeviceType": row["mamDeviceType"],
                "Email": user["userEmail"],
                "LastSync": row["rowLastModifiedDateTimeUtc"],
                "MDMDeviceID": row["mamDeviceId"],
                "Platform": "iOS" if ios else "Android",
                "PlatformVersion": row["platformVersion"],
                "Policy": "Contoso app protection",
                "SdkVersion": row["sdkVersion"] if ios else None,
                "User": user["displayName"],
                "AppProtectionStatus": "Protected",
                "ComplianceState": "Compliant",
                "DeviceManagmentType": "Unmanaged",
                "ManagementType": "MAM",
            }
            rows.append({name: values[name] for name in columns})
        return rows

    def _policy_aggregate(self) -> list[Row]:
        counts = self._policy_counts
        rows = []
        for row in self._policies:
            count = counts[row["policyKey"]]
            bad = count["error"] + count["failed"]
            values = (row["policyId"], row["policyName"], 1, "DeviceConfiguration", "Policy", "Windows10")
            numbers = (count["pending"], count["succeeded"], count["failed"], count["error"], 0, bad)
            rows.append(dict(zip(_POLICY_COLUMNS, (*values, *numbers, "Windows10", None), strict=True)))
        return rows

    def _enrollments(self, *, failed_only: bool) -> list[Row]:
        """Return a row for each counted enrolment: the tenant knows how many there were, not of whom."""
        users = [row for row in self._tenant.rows("users") if not row["isDeleted"]]
        rows: list[Row] = []
        for row in self._tenant.rows("enrollmentActivities"):
            failed = self._names("enrollmentEventStatus")[row["enrollmentEventStatusKey"]] != _SUCCESS
            if failed_only and not failed:
                continue
            for _ in range(row["count"]):
                rows.append(self._enrollment(row, failed, users[len(rows) % len(users)], len(rows), failed_only))
        return rows

    def _enrollment(self, row: Row, failed: bool, user: Row, place: int, failed_only: bool) -> Row:
        day = str(row["dateKey"])
        when = f"{day[:4]}-{day[4:6]}-{day[6:]}T{place % 24:02}:00:00Z"
        shared = {
            "EnrollmentMethod": self._names("deviceEnrollmentType")[row["deviceEnrollmentTypeKey"]],
            "FailureReason": self._names("enrollmentFailureReason")[row["enrollmentFailureReasonKey"]],
            "OS": self._names("deviceType")[row["deviceTypeKey"]],
            "OSVersion": row["osVersion"],
            "UPN": user["userPrincipalName"],
            "UserId": user["userId"],
        }
        if failed_only:
            return {"EnrollmentFailureDateTime": when, "FailureGuid": f"failure-{place}", **shared}
        own = dict.fromkeys(_columns("EnrollmentActivity"))
        return {
            **own,
            **shared,
            "EnrollmentActivityId": f"activity-{place}",
            "EnrollmentDateTime": when,
            "Failure": failed,
        }

    # -- shared -----------------------------------------------------------------------------------------------

    @property
    def _instances(self) -> list[Row]:
        return [row for row in self._tenant.rows("mamApplicationInstances") if not row["isDeleted"]]

    @property
    def _policies(self) -> list[Row]:
        return [row for row in self._tenant.rows("policies") if not row["isDeleted"]]

    @property
    def _policy_counts(self) -> dict[int, Row]:
        today = self._tenant.date_keys("policyDeviceActivities")[-1]
        return {row["policyKey"]: row for row in self._tenant.rows("policyDeviceActivities", day=today)}

    @property
    def _failures(self) -> list[Row]:
        statuses = self._names("enrollmentEventStatus")
        rows = self._tenant.rows("enrollmentActivities")
        return [row for row in rows if statuses[row["enrollmentEventStatusKey"]] != _SUCCESS]

    def _names(self, stem: str) -> dict[int, str]:
        """Return the names in a lookup by key: `deviceType` stands for deviceTypes, deviceTypeKey, deviceTypeName."""
        plural = f"{stem}es" if stem.endswith("s") else f"{stem}s"
        return {row[f"{stem}Key"]: row[f"{stem}Name"] for row in self._tenant.rows(plural)}


_POLICY_COLUMNS = (
    "PolicyId",
    "PolicyName",
    "PolicyType",
    "UnifiedPolicyType",
    "PolicyBaseTypeName",
    "PolicyPlatformType",
    "NumberOfNotApplicableDevices",
    "NumberOfCompliantDevices",
    "NumberOfNonCompliantDevices",
    "NumberOfErrorDevices",
    "NumberOfConflictDevices",
    "NumberOfNonCompliantOrErrorDevices",
    "UnifiedPolicyPlatformType",
    "TemplateVersion",
)
_ACTIVITY_COLUMNS = (
    "AadDeviceId",
    "Context",
    "DeviceId",
    "DeviceName",
    "EnrollmentActivityId",
    "EnrollmentDateTime",
    "EnrollmentMethod",
    "Failure",
    "FailureDetails",
    "FailureReason",
    "OS",
    "OSVersion",
    "OwnerType",
    "Remediation",
    "SerialNumber",
    "UPN",
    "UserId",
)
_FAILURE_COLUMNS = (
    "EnrollmentFailureDateTime",
    "EnrollmentMethod",
    "FailureGuid",
    "FailureReason",
    "OS",
    "OSVersion",
    "UPN",
    "UserId",
)


def _columns(report: str) -> tuple[str, ...]:
    if report.startswith("MAMAppProtection"):
        return (*_MAM_SHARED, *_MAM_PROTECTION)
    if report.startswith("MAMAppConfiguration"):
        return _MAM_SHARED
    if report.startswith("ConfigurationPolicy"):
        return _POLICY_COLUMNS
    return _ACTIVITY_COLUMNS if report == "EnrollmentActivity" else _FAILURE_COLUMNS


def _csv(rows: Iterable[Row], columns: Sequence[str] | None = None) -> bytes:
    """Return rows as CSV with a byte order mark and CRLF, as a service on Windows writes it."""
    rows = list(rows)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    names = list(columns if columns is not None else rows[0] if rows else [])
    writer.writerow(names)
    writer.writerows([row[name] for name in names] for row in rows)
    return ("\ufeff" + out.getvalue()).encode("utf-8", "surrogatepass")
