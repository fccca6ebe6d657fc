"""devices and userDeviceAssociations: the device dimension and who uses what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from intune_dw_cli.sandbox.generate.fleet import ANDROID, FAMILY, IOS, MACOS, TRAIT_BYTES, WINDOWS, Fleet
from intune_dw_cli.sandbox.generate.source import STRIDE
from intune_dw_cli.sandbox.generate.traits import STORAGE, Tables, device_name, lane, os_versions
from intune_dw_cli.sandbox.noise import guid_text, number
from intune_dw_cli.sandbox.timestamps import OPEN_END, iso_day, last_touch, moment
from intune_dw_cli.sandbox.words import CARRIERS

if TYPE_CHECKING:
    from intune_dw_cli.sandbox.generate.people import People
    from intune_dw_cli.sandbox.generate.source import Record

_MODELS = (
    (("Contoso", "Slate 5"), ("Fabrikam", "Notebook 14"), ("Litware", "Tower 3"), ("Contoso", "Slate Pro")),
    (("Apple", "iPhone 13"), ("Apple", "iPhone 14"), ("Apple", "iPhone 15"), ("Apple", "iPad (10th gen)")),
    (("Proseware", "Droid 7"), ("Wingtip", "Fold 2"), ("Proseware", "Rugged 3"), ("Wingtip", "Lite")),
    (("Apple", "MacBook Air"), ("Apple", "MacBook Pro"), ("Apple", "Mac mini"), ("Apple", "iMac")),
)
_SYSTEMS = ("Windows", "iOS", "Android", "macOS")
_EDITIONS = ("Enterprise", "Pro", "Education", "Business")
_SYNC_PERIODS = (1, 1, 1, 1, 1, 2, 3, 7)
"""Days between two check-ins, by device."""


class Devices:
    """Makes device rows as they stand on the tenant's day."""

    def __init__(self, fleet: Fleet, tables: Tables, people: People, today: int) -> None:
        self._fleet = fleet
        self._tables = tables
        self._people = people
        self._today = today
        self._versions = os_versions(today)

    @property
    def ids(self) -> range:
        """The devices ever enrolled."""
        return self._fleet.ever_enrolled(self._today)

    def _traits(self, device: int) -> bytes:
        place = device % STRIDE * TRAIT_BYTES
        return self._fleet.traits(device // STRIDE)[place : place + TRAIT_BYTES]

    def _last_sync(self, device: int, traits: bytes) -> int:
        newest = min(self._today, self._fleet.deleted_day(device) - 1)
        return max(last_touch(newest, device, _SYNC_PERIODS[traits[13] & 7]), self._fleet.enrolled_day(device))

    def device(self, device: int) -> Record:
        """Return the row of one device."""
        traits = self._traits(device)
        family, size = FAMILY[traits[0]], traits[9] & 3
        synced, deleted = self._last_sync(device, traits), self._fleet.deleted_day(device)
        is_deleted = deleted <= self._today
        state = self._fleet.state_noise(min(self._today, deleted - 1), device // STRIDE)[device % STRIDE]
        manufacturer, model = _MODELS[family][traits[1] & 3]
        types, agents = self._tables.device_type[family], self._tables.agent[family]
        phone = _phone(family, traits)
        version = self._versions if not is_deleted else os_versions(deleted - 1)
        return {
            "deviceKey": device,
            "deviceId": guid_text(traits[16:32].hex()),
            "deviceName": device_name(family, traits[2], traits[3], traits[4]),
            "deviceTypeKey": types[traits[1] >> 2 & 1],
            "deviceRegistrationState": self._tables.registration.values[traits[6]],
            "ownerTypeKey": self._tables.owner.values[traits[5]],
            "enrolledDateTime": moment(self._fleet.enrolled_day(device), number(traits, 68, 8)),
            "ethernetMacAddress": traits[48:54].hex().upper() if family in (WINDOWS, MACOS) else None,
            "lastSyncDateTime": moment(synced, number(traits, 60, 8) + synced * 7919),
            "managementAgentKey": agents[traits[11] % len(agents)],
            "managementStateKey": self._tables.management.values[state],
            "azureADDeviceId": guid_text(traits[32:48].hex()),
            "azureADRegistered": traits[7] < 230,
            "deviceCategoryKey": self._tables.category.values[traits[8]],
            "deviceEnrollmentType": self._tables.enrolment[family][traits[10] & 1],
            "complianceStateKey": self._tables.compliance.values[state],
            "office365Version": f"16.0.{14326 + traits[15] * 9}.{20400 + traits[14]}" if family == WINDOWS else None,
            "oSVersion": version[lane(family, traits[12])],
            "easDeviceId": traits[48:64].hex().upper() if traits[13] < 128 else "",
            "serialNumber": traits[60:66].hex().upper(),
            "userId": self._people.user_id(self.user_of(traits)),
            "rowLastModifiedDateTimeUTC": moment(deleted if is_deleted else synced, number(traits, 70, 8)),
            "manufacturer": manufacturer,
            "model": model,
            "operatingSystem": _SYSTEMS[family],
            "isDeleted": is_deleted,
            "androidSecurityPatchLevel": f"{iso_day(synced)[:8]}01" if family == ANDROID else None,
            "mEID": None,
            "isSupervised": int(family == IOS and traits[14] < 128),
            "freeStorageSpaceInBytes": STORAGE[family][size] // 256 * (traits[15] % 230 + 8),
            "encryptionState": int(traits[14] < 240),
            **phone,
            "wiFiMacAddress": traits[54:60].hex().upper(),
            "windowsOsEdition": _EDITIONS[traits[14] & 3] if family == WINDOWS else None,
            "totalStorageSpaceInBytes": STORAGE[family][size],
            "ICCD": f"89{number(traits, 62, 8) % 10**17:017}" if phone["iMEI"] else None,
            "SubnetAddressV4Wifi": f"10.{traits[48]}.{traits[49]}.0",
            "IpAddressV4Wifi": f"10.{traits[48]}.{traits[49]}.{traits[50] % 254 + 1}",
        }

    def user_of(self, traits: bytes, which: int = 0) -> int:
        """Return the user of a device: the present one, or the one before."""
        return (number(traits, 76, 4) + which * 7) % self._people.users

    def _handover(self, device: int, traits: bytes) -> int | None:
        """Return the day on which a device went to another user; None for most, which never did."""
        if traits[15] >= 32 or self.user_of(traits, 1) == self.user_of(traits):
            return None
        day = min(self._fleet.enrolled_day(device) + 14, self._fleet.deleted_day(device) - 1)
        return day if day <= self._today else None

    def is_associated(self, place: int) -> bool:
        """Tell whether there is a row at an even place (present user) or an odd one (former user)."""
        device, former = divmod(place, 2)
        return not former or self._handover(device, self._traits(device)) is not None

    def association(self, place: int) -> Record:
        """Return the row at a place that `is_associated`."""
        device, former = divmod(place, 2)
        traits = self._traits(device)
        handover = self._handover(device, traits)
        enrolled, deleted = self._fleet.enrolled_day(device), self._fleet.deleted_day(device)
        first = enrolled if former or handover is None else handover
        end = handover if former and handover is not None else deleted
        ended, bits = end <= self._today, number(traits, 66, 8)
        return {
            "userKey": self._people.user_key(self.user_of(traits, former)),
            "deviceKey": device,
            "createdDateTimeUTC": moment(first, bits),
            "isDeleted": ended,
            "endedDateTimeUTC": moment(end, bits >> 3) if ended else OPEN_END,
        }


def _phone(family: int, traits: bytes) -> Record:
    """Return the columns that only a device with a SIM card fills, in their order."""
    has_sim = family in (IOS, ANDROID) and traits[15] < 200
    return {
        "subscriberCarrier": CARRIERS[traits[15] % len(CARRIERS)] if has_sim else None,
        "phoneNumber": f"+1555{number(traits, 60, 4) % 10**7:07}" if has_sim else None,
        "iMEI": f"{number(traits, 60, 8) % 10**15:015}" if has_sim else None,
        "cellularTechnology": "LTE" if has_sim else None,
    }
