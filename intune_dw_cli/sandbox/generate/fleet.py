"""Which devices exist on which day, and what stays the same about each of them.

Devices enrol at a steady pace for ever, so that the newest N ids at any clock are "the devices ever enrolled"
and the same device has the same life whatever the clock says.
"""

from __future__ import annotations

from array import array
from functools import lru_cache
from typing import TYPE_CHECKING

from intune_dw_cli.sandbox.generate.source import STRIDE
from intune_dw_cli.sandbox.noise import weighted

if TYPE_CHECKING:
    from intune_dw_cli.sandbox.noise import Noise

LONGEST_LIFE = 1460
"""Days until the last device of an enrolment day is retired."""

TRAIT_BYTES = 80
"""Bytes of noise for each device; see DeviceTraits for what they mean."""

WINDOWS, IOS, ANDROID, MACOS = range(4)
FAMILY = weighted((144, "Windows"), (60, "iOS"), (36, "Android"), (16, "macOS"))
_EARLY_END = 12
"""Of 256 devices, how many are deleted before they are old."""


class Fleet:
    """The devices of a tenant.

    Args:
        noise: The tenant's noise.
        devices: Devices in the dimension at any clock.
        longest_history: Days the longest fact holds; a deleted device outlives them in the dimension, so that
            its history always resolves.
    """

    def __init__(self, noise: Noise, devices: int, longest_history: int) -> None:
        self._noise = noise
        self._devices = devices
        self._cycle = LONGEST_LIFE + longest_history + 1
        self.deleted_days = lru_cache(maxsize=2048)(self._deleted_days)
        self.traits = lru_cache(maxsize=64)(self._traits)
        self.windows = lru_cache(maxsize=2048)(self._windows)
        self.state_noise = lru_cache(maxsize=256)(self._state_noise)

    def ever_enrolled(self, day: int) -> range:
        """Return the ids that the device dimension holds when `day` is today."""
        enrolled = (day + 1) * self._devices // self._cycle
        return range(enrolled - self._devices, enrolled)

    def enrolled_day(self, device: int) -> int:
        """Return the day on which a device enrolled: the first day whose `ever_enrolled` holds it."""
        return -(-(device + 1) * self._cycle // self._devices) - 1

    def deleted_day(self, device: int) -> int:
        """Return the first day on which a device is no longer managed."""
        return self.deleted_days(device // STRIDE)[device % STRIDE]

    def _deleted_days(self, block: int) -> array[int]:
        """Return the days of deletion of a whole block of ids."""
        data = self._noise.stream(f"life/{block}", 3 * STRIDE)
        first, cycle, devices = block * STRIDE + 1, self._cycle, self._devices
        return array(
            "l",
            [
                -(-(first + place) * cycle // devices)
                - 1
                + (
                    20 + (high << 8 | low) % (LONGEST_LIFE - 40)
                    if fate < _EARLY_END
                    else LONGEST_LIFE - (high << 8 | low) % 200
                )
                for place, (fate, high, low) in enumerate(zip(data[0::3], data[1::3], data[2::3], strict=True))
            ],
        )

    def _traits(self, block: int) -> bytes:
        """Return the noise of a whole block of ids, TRAIT_BYTES for each device."""
        return self._noise.stream(f"device/{block}", TRAIT_BYTES * STRIDE)

    def _windows(self, block: int) -> bytes:
        """Return 1 for each device of a block that runs Windows, 0 for the others."""
        return bytes(FAMILY[byte] == WINDOWS for byte in self.traits(block)[0::TRAIT_BYTES])

    def _state_noise(self, day: int, block: int) -> bytes:
        """Return one byte for each device of a block: how it is doing on that day."""
        return self._noise.stream(f"state/{day}/{block}", STRIDE)
