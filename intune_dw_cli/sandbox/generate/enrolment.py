"""enrollmentActivities: enrolments of a day, grouped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from intune_dw_cli.sandbox.generate.traits import lane, os_versions

if TYPE_CHECKING:
    from intune_dw_cli.sandbox.generate.lookups import Lookups
    from intune_dw_cli.sandbox.generate.source import Record
    from intune_dw_cli.sandbox.noise import Noise

_GROUPS = (
    ("WindowsAzureADJoin", "Windows", 0),
    ("WindowsAutoEnrollment", "Desktop", 0),
    ("AppleBulkWithUser", "IPhone", 1),
    ("UserEnrollment", "IPad", 1),
    ("UserEnrollment", "Android", 2),
    ("UserEnrollment", "MacMDM", 3),
)
_FAILURES = (
    ("Authentication", "UserUnknown"),
    ("Authorization", "UserNotLicensed"),
    ("DeviceNotSupported", "UnsupportedDeviceType"),
    ("EnrollmentRestrictionsEnforced", "EnrollmentCriteriaNotMet"),
    ("UserAbandonment", "UserAbandonment"),
)
_NOT_FAILED = "Not Applicable"


class Enrolments:
    """Makes the enrolment fact."""

    def __init__(self, noise: Noise, lookups: Lookups, devices: int) -> None:
        self._noise = noise
        self._lookups = lookups
        self._devices = devices

    def activities(self, day: int) -> list[Record]:
        """Return the groups of one day: a success for each way of enrolling, a failure for some."""
        data = self._noise.stream(f"enrolments/{day}", 3 * len(_GROUPS))
        versions = os_versions(day)
        rows: list[Record] = []
        for place, (way, device_type, family) in enumerate(_GROUPS):
            amount, failed, which = data[place * 3 : place * 3 + 3]
            version = versions[lane(family, 0)]
            count = 1 + amount * self._devices // 200_000
            rows.append(self._row(way, device_type, (_NOT_FAILED, _NOT_FAILED), version, count))
            if failed < 80:
                rows.append(self._row(way, device_type, _FAILURES[which % len(_FAILURES)], version, 1 + count // 20))
        return rows

    def _row(self, way: str, device_type: str, failure: tuple[str, str], version: str, count: int) -> Record:
        key = self._lookups.key_of
        category, reason = failure
        return {
            "deviceEnrollmentTypeKey": key("deviceEnrollmentTypes", way),
            "deviceTypeKey": key("deviceTypes", device_type),
            "enrollmentEventStatusKey": key(
                "enrollmentEventStatuses", "Success" if category == _NOT_FAILED else "Failed"
            ),
            "enrollmentFailureCategoryKey": key("enrollmentFailureCategories", category),
            "enrollmentFailureReasonKey": key("enrollmentFailureReasons", reason),
            "osVersion": version,
            "count": count,
        }
