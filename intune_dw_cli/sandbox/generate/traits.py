"""What a device is and how it is doing, decided from its bytes of noise.

The device dimension and the property history read the same tables, so that they tell the same story.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from intune_dw_cli.sandbox.noise import weighted
from intune_dw_cli.sandbox.words import THINGS

if TYPE_CHECKING:
    from intune_dw_cli.sandbox.generate.lookups import Lookups

GIB = 2**30
MEMORY: tuple[tuple[int | None, ...], ...] = (
    (8 * GIB, 16 * GIB, 16 * GIB, 32 * GIB),
    (None, None, None, None),
    (4 * GIB, 6 * GIB, 8 * GIB, 12 * GIB),
    (8 * GIB, 16 * GIB, 24 * GIB, 64 * GIB),
)
"""Physical memory by family and size class; iOS does not report it."""
STORAGE = (
    (256 * GIB, 512 * GIB, 512 * GIB, 1024 * GIB),
    (64 * GIB, 128 * GIB, 256 * GIB, 512 * GIB),
    (64 * GIB, 128 * GIB, 128 * GIB, 256 * GIB),
    (256 * GIB, 512 * GIB, 1024 * GIB, 2048 * GIB),
)
_NAME_PREFIX = ("DESKTOP", "iPhone", "Galaxy", "MacBook")
_RELEASE_DAYS = 28
_PHASES = 4
"""Update rings: a device takes a new OS release 0 to 3 weeks after it came out."""


class Variant(NamedTuple):
    """A column's value for each of the 256 values of a byte."""

    values: tuple[int, ...]

    @classmethod
    def of(cls, *choices: tuple[int, int]) -> Variant:
        """Lay out pairs of weight in 256ths and value; the last value fills up."""
        return cls(tuple(choices[position][1] for position in weighted(*choices)))


class Tables:
    """The lookup keys that devices take, by byte of noise."""

    def __init__(self, lookups: Lookups, category_keys: list[int]) -> None:
        def key(collection: str, label: str) -> int:
            return lookups.key_of(collection, label)

        def states(*labels: tuple[int, str]) -> Variant:
            return Variant.of(*((weight, key("complianceStates", label)) for weight, label in labels))

        registration = [key("deviceRegistrationStates", label) for label in ("notRegistered", "revoked", "registered")]
        owners = [key("ownerTypes", label) for label in ("Personal", "Unknown", "Corporate")]
        self.registration = Variant.of((20, registration[0]), (6, registration[1]), (230, registration[2]))
        self.owner = Variant.of((70, owners[0]), (6, owners[1]), (180, owners[2]))
        self.category = Variant.of(*((256 // len(category_keys), one) for one in category_keys))
        self.management = Variant.of(
            (3, key("managementStates", "RetirePending")),
            (2, key("managementStates", "WipePending")),
            (4, key("managementStates", "Unhealthy")),
            (247, key("managementStates", "Managed")),
        )
        self.compliance = states(
            (18, "Noncompliant"),
            (10, "InGracePeriod"),
            (5, "Unknown"),
            (3, "Error"),
            (2, "Conflict"),
            (218, "Compliant"),
        )
        names = (("WindowsAzureADJoin", "WindowsAutoEnrollment"), ("UserEnrollment", "AppleBulkWithUser"))
        enrolment = [[key("deviceEnrollmentTypes", label) for label in pair] for pair in names]
        self.enrolment = (enrolment[0], enrolment[1], [enrolment[1][0]] * 2, enrolment[1])
        mdm, aosp = (key("managementAgentTypes", label) for label in ("MDM", "GoogleCloudDevicePolicyController"))
        co_managed = key("managementAgentTypes", "ConfigurationManagerClientMdm")
        self.agent = ([mdm, mdm, co_managed], [mdm], [mdm, aosp], [mdm])
        self.device_type = tuple(
            [key("deviceTypes", label) for label in pair]
            for pair in (
                ("Windows", "Desktop"),
                ("IPhone", "IPad"),
                ("Android", "AndroidEnterprise"),
                ("MacMDM", "Mac"),
            )
        )


def lane(family: int, phase: int) -> int:
    """Return the place of a device in `os_versions`."""
    return family * _PHASES + phase % _PHASES


def os_versions(day: int) -> list[str]:
    """Return the OS version of every lane on that day; versions only ever rise."""
    versions = []
    for family in range(len(_NAME_PREFIX)):
        for phase in range(_PHASES):
            release = (day - phase * 7) // _RELEASE_DAYS - 26_000
            versions.append(_version(family, max(release, 0)))
    return versions


def _version(family: int, release: int) -> str:
    major, minor = divmod(release, 13)
    if family == 0:
        return f"10.0.{19_041 + major * 400}.{1 + minor * 137 + major}"
    if family == 1:
        return f"{10 + major // 2}.{minor // 3}.{minor % 3}"
    if family == 2:
        return f"{8 + major // 3}"
    return f"{10 + major // 3}.{minor // 2}"


def device_name(family: int, thing: int, high: int, low: int) -> str:
    """Return the name of a device. Plain ASCII letters, digits and `-`: it goes into JSON as it is."""
    return f"{_NAME_PREFIX[family]}-{THINGS[thing % len(THINGS)].upper()}-{high << 8 | low:04X}"
