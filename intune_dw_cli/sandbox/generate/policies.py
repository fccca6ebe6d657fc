"""policies and the daily counts of how they fare."""

from __future__ import annotations

from typing import TYPE_CHECKING

from intune_dw_cli.sandbox.noise import Noise, number
from intune_dw_cli.sandbox.timestamps import OPEN_END, midnight, moment
from intune_dw_cli.sandbox.words import POLICIES

if TYPE_CHECKING:
    from intune_dw_cli.sandbox.generate.lookups import Lookups
    from intune_dw_cli.sandbox.generate.source import Record

_FIRST_POLICY = 735_300
_OUTCOMES = ("pending", "succeeded", "error", "failed")
_COMPLIANCE = ("unknown", "notApplicable", "compliant", "inGracePeriod", "nonCompliant", "error")


class Policies:
    """Makes policies and every fact that counts devices or users by policy outcome."""

    def __init__(self, noise: Noise, lookups: Lookups, devices: int, users: int) -> None:
        self._noise = noise
        self._types = lookups.keys("policyTypes")
        self._platforms = [-1, *lookups.keys("policyPlatformTypes")]
        self._devices = devices
        self._users = users

    def policies(self) -> list[Record]:
        """Return the rows of policies: every second one was edited once, which closed its first row."""
        rows: list[Record] = []
        for policy, name in enumerate(POLICIES):
            start = _FIRST_POLICY + policy * 17
            versions = (1, 2) if policy % 2 == 0 else (1,)
            for version in versions:
                replaced = version < versions[-1]
                begin = start + (version - 1) * 150
                rows.append(
                    {
                        "policyKey": len(rows) + 1,
                        "policyId": self._noise.guid("policy", policy),
                        "policyName": name if version == 1 else f"{name} v{version}",
                        "policyVersion": version,
                        "isDeleted": replaced,
                        "startDateInclusiveUTC": midnight(begin),
                        "deletedDateUTC": midnight(start + 150) if replaced else OPEN_END,
                        "rowLastModifiedDateTimeUTC": moment(start + 150 if replaced else begin, 7384 + policy),
                    }
                )
        return rows

    def _current(self) -> list[int]:
        return [row["policyKey"] for row in self.policies() if not row["isDeleted"]]

    def _counts(self, label: str, day: int, total: int, names: tuple[str, ...], common: str) -> Record:
        """Share out `total` over the outcomes, most of it to `common`."""
        data = self._noise.stream(f"{label}/{day}", 2 * len(names))
        counts = {
            name: total * number(data, place * 2) // (65_536 * 4 * len(names)) for place, name in enumerate(names)
        }
        counts[common] += total - sum(counts.values())
        return counts

    def device_activities(self, day: int) -> list[Record]:
        """Return one day of policyDeviceActivities."""
        return [
            _arranged(self._counts(f"pd/{key}", day, self._devices, _OUTCOMES, "succeeded"), key)
            for key in self._current()
        ]

    def user_activities(self, day: int) -> list[Record]:
        """Return one day of policyUserActivities, which has no `failed`."""
        return [
            _arranged(self._counts(f"pu/{key}", day, self._users, _OUTCOMES[:3], "succeeded"), key)
            for key in self._current()
        ]

    def type_activities(self, day: int) -> list[Record]:
        """Return one day of policyTypeActivities."""
        return [
            {
                "policyKey": key,
                "policyTypeKey": self._types[key % len(self._types)],
                **self._counts(f"pt/{key}", day, self._devices, _OUTCOMES, "succeeded"),
            }
            for key in self._current()
        ]

    def profile_devices(self, day: int) -> list[Record]:
        """Return the one row a day of deviceConfigurationProfileDeviceActivities."""
        return [self._counts("cd", day, self._devices, _OUTCOMES, "succeeded")]

    def profile_users(self, day: int) -> list[Record]:
        """Return the one row a day of deviceConfigurationProfileUserActivities."""
        return [self._counts("cu", day, self._users, _OUTCOMES, "succeeded")]

    def compliance(self, day: int) -> list[Record]:
        """Return the one row a day of compliancePolicyStatusDeviceActivities."""
        return [self._counts("co", day, self._devices, _COMPLIANCE, "compliant")]

    def compliance_by_policy(self, day: int) -> list[Record]:
        """Return one day of compliancePolicyStatusDevicePerPolicyActivities: three policies by platform."""
        return [
            {
                "policyKey": key,
                "policyPlatformKey": platform,
                **self._counts(f"cp/{key}/{platform}", day, self._devices // 2, _COMPLIANCE, "compliant"),
            }
            for key in self._current()[:3]
            for platform in self._platforms
        ]


def _arranged(counts: Record, policy_key: int) -> Record:
    """Put the policy's key where the documented order has it: after `succeeded`."""
    first = {name: counts[name] for name in ("pending", "succeeded")}
    return {**first, "policyKey": policy_key, **{name: count for name, count in counts.items() if name not in first}}
