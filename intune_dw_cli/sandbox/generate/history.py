"""The two big facts, devices x days: property histories and management extensions.

Both are made as JSON text from fragments: what a device keeps is written once a block, what changes is picked
from a table by one byte of the day's noise. This is what lets one core serve several hundred thousand rows a
second.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import compress
from typing import TYPE_CHECKING, NamedTuple

from intune_dw_cli.sandbox.generate.fleet import FAMILY, TRAIT_BYTES, Fleet
from intune_dw_cli.sandbox.generate.source import STRIDE, Block, Source, block_numbers, to_json
from intune_dw_cli.sandbox.generate.traits import MEMORY, STORAGE, Tables, device_name, lane, os_versions
from intune_dw_cli.sandbox.hostile import disturb
from intune_dw_cli.sandbox.noise import weighted
from intune_dw_cli.sandbox.timestamps import date_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_CACHED_FRAGMENTS = 64
"""Blocks whose fragments are kept (about 0.4 MB each): all of a small tenant, a bounded part of a large one."""


class Fragments(NamedTuple):
    """What stays the same about the devices of a block, as JSON text, one entry a device."""

    before_management: Sequence[str]
    registered: Sequence[str]
    lanes: bytes
    after_version: Sequence[str]


class DeviceHistory(Source):
    """devicePropertyHistories: one row for each managed device and day."""

    def __init__(self, days: Sequence[int], fleet: Fleet, tables: Tables, *, hostile: bool) -> None:
        super().__init__(days)
        self._fleet = fleet
        self._tables = tables
        self._hostile = hostile
        self._management = [f',"managementStateKey":{key}' for key in tables.management.values]
        self._compliance = [f',"complianceStateKey":{key}' for key in tables.compliance.values]
        self._fragments = lru_cache(maxsize=_CACHED_FRAGMENTS)(self._make_fragments)
        self._versions = lru_cache(maxsize=64)(lambda day: [f',"oSVersion":"{text}"' for text in os_versions(day)])

    def span(self, day: int) -> range:
        """Return the ids of the devices that had ever enrolled on that day."""
        return self._fleet.ever_enrolled(day)

    def count(self, day: int) -> int:
        """Return the number of devices managed on that day."""
        return _count_alive(self, self._fleet, day)

    def _block(self, day: int, number: int) -> Block:
        ids = self.cut(day, number)
        part = slice(ids.start - number * STRIDE, ids.stop - number * STRIDE)
        ends = self._fleet.deleted_days(number)[part]
        noise = self._fleet.state_noise(day, number)[part]
        fixed = self._fragments(number)
        management, compliance, version = self._management, self._compliance, self._versions(day)
        head = f'{{"dateKey":{date_key(day)}'
        rows = [
            f"{head}{before}{management[byte]}{registered}{compliance[byte]}{version[place]}{after}"
            for before, registered, place, after, byte, end in zip(
                fixed.before_management[part],
                fixed.registered[part],
                fixed.lanes[part],
                fixed.after_version[part],
                noise,
                ends,
                strict=True,
            )
            if end > day
        ]
        return Block(list(compress(ids, [end > day for end in ends])), rows)

    def _make_fragments(self, number: int) -> Fragments:
        traits = self._fleet.traits(number)
        columns = [traits[place::TRAIT_BYTES] for place in range(13)]
        families = [FAMILY[byte] for byte in columns[0]]
        names = [
            device_name(family, thing, high, low)
            for family, thing, high, low in zip(families, *columns[2:5], strict=True)
        ]
        memory = [MEMORY[family][size & 3] for family, size in zip(families, columns[9], strict=True)]
        storage = [STORAGE[family][size & 3] for family, size in zip(families, columns[9], strict=True)]
        texts = [f'"{name}"' for name in names]
        if self._hostile:
            texts, memory, storage = _disturbed(number * STRIDE, names, memory, storage)
        owner, registration = self._tables.owner.values, self._tables.registration.values
        category = self._tables.category.values
        return Fragments(
            [
                f',"deviceKey":{key},"deviceName":{text},"deviceRegistrationStateKey":{registration[state]}'
                f',"ownerTypeKey":{owner[own]}'
                for key, (text, own, state) in enumerate(
                    zip(texts, columns[5], columns[6], strict=True), number * STRIDE
                )
            ],
            [f',"azureADRegistered":{"true" if byte < 230 else "false"}' for byte in columns[7]],
            bytes(lane(family, phase) for family, phase in zip(families, columns[12], strict=True)),
            [
                f',"jailBroken":{0 if kind < 250 else 1},"deviceCategoryKey":{category[kind]}'
                f',"physicalMemoryInBytes":{"null" if ram is None else ram},"totalStorageSpaceInBytes":{disk}}}'
                for kind, ram, disk in zip(columns[8], memory, storage, strict=True)
            ],
        )


def _disturbed(
    first: int, names: list[str], memory: list[int | None], storage: list[int]
) -> tuple[list[str], list[int | None], list[int]]:
    records = [
        disturb(
            "devicePropertyHistories",
            first + place,
            {"deviceName": name, "physicalMemoryInBytes": ram, "totalStorageSpaceInBytes": disk},
        )
        for place, (name, ram, disk) in enumerate(zip(names, memory, storage, strict=True))
    ]
    return (
        [to_json(record["deviceName"]) for record in records],
        [record["physicalMemoryInBytes"] for record in records],
        [record["totalStorageSpaceInBytes"] for record in records],
    )


class ExtensionHistory(Source):
    """intuneManagementExtensions: one row for each managed Windows device and day."""

    def __init__(self, days: Sequence[int], fleet: Fleet, version_keys: list[int], state_keys: list[int]) -> None:
        super().__init__(days)
        self._fleet = fleet
        newest_first = list(reversed(version_keys))
        versions = weighted(*((256 >> place, key) for place, key in enumerate(newest_first, 1)))
        states = [*state_keys, -1]
        health = weighted((250, "healthy"), (6, "not available"))
        self._tails = [
            f',"extensionVersionKey":{newest_first[versions[byte]]},"extensionStateKey":{states[health[byte]]}}}'
            for byte in range(256)
        ]

    def span(self, day: int) -> range:
        """Return the ids of the devices that had ever enrolled on that day."""
        return self._fleet.ever_enrolled(day)

    def count(self, day: int) -> int:
        """Return the number of Windows devices managed on that day."""
        return _count_alive(self, self._fleet, day, self._fleet.windows)

    def _block(self, day: int, number: int) -> Block:
        ids = self.cut(day, number)
        part = slice(ids.start - number * STRIDE, ids.stop - number * STRIDE)
        ends = self._fleet.deleted_days(number)[part]
        noise = self._fleet.state_noise(day, number)[part]
        head, tails = f'{{"dateKey":{date_key(day)},"tenantKey":1,"deviceKey":', self._tails
        there = [
            (key, f"{head}{key}{tails[byte]}")
            for key, end, byte, windows in zip(ids, ends, noise, self._fleet.windows(number)[part], strict=True)
            if windows and end > day
        ]
        return Block([key for key, _ in there], [row for _, row in there])


def _count_alive(source: Source, fleet: Fleet, day: int, chosen: Callable[[int], bytes] | None = None) -> int:
    """Count the managed devices of a day without making their rows."""
    span, total = source.span(day), 0
    for number in block_numbers(span.start, span.stop):
        ids = source.cut(day, number)
        part = slice(ids.start - number * STRIDE, ids.stop - number * STRIDE)
        ends = fleet.deleted_days(number)[part]
        if chosen is None:
            total += sum(end > day for end in ends)
        else:
            total += sum(bool(yes) and end > day for yes, end in zip(chosen(number)[part], ends, strict=True))
    return total
