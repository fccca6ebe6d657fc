"""App protection: apps, their instances on devices, and daily check-ins."""

from __future__ import annotations

from functools import lru_cache
from itertools import compress
from typing import TYPE_CHECKING

from intune_dw_cli.sandbox.generate.source import STRIDE, Block, Source, block_numbers
from intune_dw_cli.sandbox.noise import Noise, number
from intune_dw_cli.sandbox.timestamps import OPEN_END, date_key, last_touch, midnight, moment
from intune_dw_cli.sandbox.words import APPS, THINGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from intune_dw_cli.sandbox.generate.lookups import Lookups
    from intune_dw_cli.sandbox.generate.people import People
    from intune_dw_cli.sandbox.generate.source import Record

_MAM_SINCE = 735_500
_CHECKS_IN = 154
"""Of 256 app instances, how many check in on a day."""
_EFFECTIVE_POLICIES = 5


class Mam:
    """Makes app protection rows."""

    def __init__(self, noise: Noise, lookups: Lookups, people: People, devices: int, today: int) -> None:
        self._noise = noise
        self._people = people
        self._today = today
        self.instances = max(1, devices // 2)
        self._platforms = [row for row in lookups.records["mamPlatforms"] if row["platformName"] in ("IOS", "Android")]
        self._healths = [lookups.key_of("mamDeviceHealths", label) for label in ("Healthy", "Unhealthy")]

    def applications(self) -> list[Record]:
        """Return the rows of mamApplications: every third app was replaced once."""
        rows: list[Record] = []
        for app, name in enumerate(APPS):
            replaced_on = _MAM_SINCE + app * 13 + 120
            versions = (True, False) if app % 3 == 0 else (False,)
            for replaced in versions:
                start = _MAM_SINCE + app * 13 if replaced or len(versions) == 1 else replaced_on
                rows.append(
                    {
                        "mamApplicationKey": len(rows) + 1,
                        "mamApplicationName": name,
                        "mamApplicationId": _application_id(app),
                        "isDeleted": replaced,
                        "startDateInclusiveUTC": midnight(start),
                        "deletedDateUTC": midnight(replaced_on) if replaced else OPEN_END,
                        "rowLastModifiedDateTimeUTC": moment(replaced_on if replaced else start, 3723),
                    }
                )
        return rows

    def _user(self, instance: int) -> int:
        return instance * 3 % self._people.users

    def _is_deleted(self, data: bytes) -> bool:
        return data[20] < 12

    def instance(self, instance: int) -> Record:
        """Return the row of one app instance."""
        data = self._noise.at("instance", instance)
        platform = self._platforms[data[21] & 1]
        is_deleted = self._is_deleted(data)
        changed = last_touch(self._today, number(data, 22), 90)
        ios = platform["platformName"] == "IOS"
        return {
            "applicationInstanceKey": instance + 1,
            "userId": self._people.user_id(self._user(instance)),
            "applicationInstanceId": self._noise.guid("instance", instance),
            "mamApplicationId": _application_id(data[24] % len(APPS)),
            "applicationVersion": f"{data[25] % 9 + 1}.{data[26] % 40}.{data[27]}",
            "createdDate": moment(_MAM_SINCE + number(data, 28) % 200, number(data, 30, 8)) if data[24] < 224 else None,
            "platform": platform["platform"],
            "platformVersion": f"{data[38] % 4 + 14}.{data[39] % 7}" if ios else f"{data[38] % 5 + 9}",
            "sdkVersion": f"{data[40] % 5 + 12}.{data[41] % 10}.0",
            "mamDeviceId": data[:16].hex(),
            "mamDeviceType": "iPhone" if ios else "Android",
            "mamDeviceName": f"{THINGS[data[42] % len(THINGS)]}'s phone",
            "isDeleted": is_deleted,
            "startDateInclusiveUtc": midnight(_MAM_SINCE + number(data, 28) % 200),
            "deletedDateUtc": midnight(changed) if is_deleted else OPEN_END,
            "rowLastModifiedDateTimeUtc": moment(changed, number(data, 4, 8)),
        }

    def is_active(self, instance: int) -> bool:
        """Tell whether an instance still checks in."""
        return not self._is_deleted(self._noise.at("instance", instance))

    def checkin_parts(self, instance: int, application_keys: Sequence[int]) -> tuple[str, str]:
        """Return the lasting parts of an instance's check-ins as JSON text."""
        data = self._noise.at("instance", instance)
        before = (
            f',"applicationInstanceKey":{instance + 1}'
            f',"userKey":{self._people.user_key(self._user(instance))}'
            f',"mamApplicationKey":{application_keys[data[24] % len(APPS)]}'
            f',"deviceHealthKey":{self._healths[data[43] < 8]}'
            f',"platformKey":{self._platforms[data[21] & 1]["platformKey"]}'
        )
        after = f',"effectiveAppliedPolicyKey":{data[44] % _EFFECTIVE_POLICIES + 1}}}'
        return before, after

    def current_keys(self, applications: Sequence[Record]) -> list[int]:
        """Return the key of the current row of every app, in the order of the apps."""
        current = {row["mamApplicationId"]: row["mamApplicationKey"] for row in applications if not row["isDeleted"]}
        return [current[_application_id(app)] for app in range(len(APPS))]


def _application_id(app: int) -> str:
    return f"com.contoso.{APPS[app].split()[-1].lower()}"


class Checkins(Source):
    """mamCheckins: one row for each app instance that checked in on a day."""

    def __init__(self, days: Sequence[int], noise: Noise, mam: Mam, application_keys: Sequence[int]) -> None:
        super().__init__(days)
        self._noise = noise
        self._mam = mam
        self._keys = application_keys
        self._parts = lru_cache(maxsize=64)(self._make_parts)
        self._active = lru_cache(maxsize=2048)(self._make_active)

    def span(self, day: int) -> range:
        """Return the ids of all app instances."""
        return range(self._mam.instances)

    def count(self, day: int) -> int:
        """Return the number of check-ins of a day without making their rows."""
        numbers = block_numbers(0, self._mam.instances)
        return sum(sum(self._checks_in(day, number)) for number in numbers)

    def _checks_in(self, day: int, number: int) -> list[bool]:
        """Tell for each instance of a block whether it checked in on that day."""
        chance = self._noise.stream(f"checkin/{day}/{number}", STRIDE)
        active = self._active(number)
        return [bool(yes) and byte < _CHECKS_IN for yes, byte in zip(active, chance[: len(active)], strict=True)]

    def _ids(self, number: int) -> range:
        return range(number * STRIDE, min((number + 1) * STRIDE, self._mam.instances))

    def _make_active(self, number: int) -> bytes:
        return bytes(self._mam.is_active(instance) for instance in self._ids(number))

    def _make_parts(self, number: int) -> list[tuple[str, str]]:
        return [self._mam.checkin_parts(instance, self._keys) for instance in self._ids(number)]

    def _block(self, day: int, number: int) -> Block:
        head = f'{{"dateKey":{date_key(day)}'
        present = self._checks_in(day, number)
        ids = list(compress(self._ids(number), present))
        rows = []
        for instance, (before, after) in zip(ids, compress(self._parts(number), present), strict=True):
            bits = (instance + 1) * 2_654_435_761 + day * 40_503
            when = f'"{moment(day, bits)}"' if (instance + day) % 29 else "null"
            rows.append(f'{head}{before},"lastCheckInDate":{when}{after}')
        return Block(ids, rows)
