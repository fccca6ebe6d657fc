"""The tenant: which collections it has, which days they hold, and their rows."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any

from intune_dw_cli.reference import ReferenceCollection, reference
from intune_dw_cli.sandbox.config import TenantConfig
from intune_dw_cli.sandbox.generate.apps import Apps
from intune_dw_cli.sandbox.generate.calendar import calendar_days, calendar_row, categories
from intune_dw_cli.sandbox.generate.devices import Devices
from intune_dw_cli.sandbox.generate.enrolment import Enrolments
from intune_dw_cli.sandbox.generate.fleet import Fleet
from intune_dw_cli.sandbox.generate.history import DeviceHistory, ExtensionHistory
from intune_dw_cli.sandbox.generate.lookups import Lookups
from intune_dw_cli.sandbox.generate.mam import Checkins, Mam
from intune_dw_cli.sandbox.generate.people import People
from intune_dw_cli.sandbox.generate.policies import Policies
from intune_dw_cli.sandbox.generate.source import NO_DAY, DailySummary, Dimension, Fixed, Place, Source
from intune_dw_cli.sandbox.generate.traits import Tables
from intune_dw_cli.sandbox.hostile import disturb
from intune_dw_cli.sandbox.noise import Noise
from intune_dw_cli.sandbox.timestamps import date_key, day_of_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from intune_dw_cli.sandbox.generate.source import Record

_USUAL_RETENTION = 30


class Tenant:
    """The data of one tenant at one day; a function of its configuration that holds no rows.

    The same (seed, devices, days) gives the same fact row for a day whatever `today` is.
    """

    def __init__(self, config: TenantConfig | None = None) -> None:
        self.config = config or TenantConfig()
        self._listed = {c.name: c for c in reference().values() if c.v1_listed}
        self._sources = _Builder(self.config, self.held_days).sources()

    def collections(self) -> tuple[str, ...]:
        """Return the collections' names in the order of the service document."""
        return tuple(self._listed)

    def model(self, name: str) -> ReferenceCollection:
        """Return the documented model of a collection."""
        return self._listed[name]

    def source(self, name: str) -> Source:
        """Return the layout and JSON text of a collection's rows."""
        return self._sources[name]

    def held_days(self, name: str) -> range:
        """Return the ordinal days a fact holds at the tenant's clock."""
        days = self.config.days or self._listed[name].retention_days or _USUAL_RETENTION
        today = self.config.today.toordinal()
        return range(today - days + 1, today + 1)

    def date_keys(self, name: str) -> list[int]:
        """Return the dateKeys held, ascending; none for a collection without dateKey in its key."""
        return [date_key(day) for day in self._sources[name].days if day != NO_DAY]

    def count(self, name: str, *, day: int | None = None) -> int:
        """Return the number of rows of a collection, or of one dateKey."""
        source = self._sources[name]
        return sum(source.count(held) for held in self._days(name, day))

    def rows(
        self, name: str, *, day: int | None = None, first: int = 0, limit: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows as JSON values in served order.

        Args:
            name: The collection.
            day: Only the rows of this dateKey.
            first: Rows to pass over.
            limit: Rows to yield at most.
        """
        stop = None if limit is None else first + limit
        for text in islice(self._texts(name, day), first, stop):
            yield json.loads(text)

    def _texts(self, name: str, day: int | None) -> Iterator[str]:
        for _, block in self._sources[name].walk(self._days(name, day), Place(NO_DAY, 0)):
            yield from block.rows

    def _days(self, name: str, key: int | None) -> list[int]:
        days = self._sources[name].days
        if key is None:
            return list(days)
        wanted = day_of_key(key)
        return [day for day in days if day == wanted and day != NO_DAY]


class _Builder:
    """Puts the sources of one tenant together."""

    def __init__(self, config: TenantConfig, held: Callable[[str], range]) -> None:
        self._config = config
        self._held = held
        self._today = config.today.toordinal()
        self._noise = Noise(config.seed)
        self._longest = max(len(held(c.name)) for c in reference().values() if c.v1_listed and c.kind == "fact")
        self._lookups = Lookups()

    def sources(self) -> dict[str, Source]:
        """Return the source of every collection by name."""
        sources: dict[str, Source] = {name: Fixed(records) for name, records in self._lookups.records.items()}
        people = People(self._noise, self._config.devices, self._today)
        sources["dates"] = DailySummary(calendar_days(self._today - self._longest + 1, self._today), calendar_row)
        sources["users"] = Dimension(range(people.users), self._plain("users", people.user))
        self._add_fixed(sources, "termsAndConditions", people.terms())
        self._add_daily(sources, "userTermsAndConditionsAcceptances", people.acceptances)
        self._add_devices(sources, people)
        self._add_apps(sources)
        self._add_policies(sources, people)
        self._add_mam(sources, people)
        return sources

    def _plain(self, name: str, record: Callable[[int], Record]) -> Callable[[int], Record]:
        """Return the maker of a dimension's rows, with hostile values laid over if the tenant wants them."""
        if not self._config.hostile:
            return record
        return lambda number: disturb(name, number, record(number))

    def _add_fixed(self, sources: dict[str, Source], name: str, records: list[Record]) -> None:
        make = self._plain(name, records.__getitem__)
        sources[name] = Fixed([make(place) for place in range(len(records))])

    def _add_daily(self, sources: dict[str, Source], name: str, records: Callable[[int], list[Record]]) -> None:
        sources[name] = DailySummary(self._held(name), records)

    def _add_devices(self, sources: dict[str, Source], people: People) -> None:
        category_rows = categories(self._noise)
        self._add_fixed(sources, "deviceCategories", category_rows)
        tables = Tables(self._lookups, [row["deviceCategoryKey"] for row in category_rows])
        fleet = Fleet(self._noise, self._config.devices, self._longest)
        devices = Devices(fleet, tables, people, self._today)
        ids = devices.ids
        sources["devices"] = Dimension(ids, self._plain("devices", devices.device))
        sources["userDeviceAssociations"] = Dimension(
            range(ids.start * 2, ids.stop * 2), devices.association, devices.is_associated
        )
        sources["devicePropertyHistories"] = DeviceHistory(
            self._held("devicePropertyHistories"), fleet, tables, hostile=self._config.hostile
        )
        sources["intuneManagementExtensions"] = ExtensionHistory(
            self._held("intuneManagementExtensions"),
            fleet,
            self._lookups.keys("intuneManagementExtensionVersions"),
            self._lookups.keys("intuneManagementExtensionHealthStates"),
        )
        enrolments = Enrolments(self._noise, self._lookups, self._config.devices)
        self._add_daily(sources, "enrollmentActivities", enrolments.activities)

    def _add_apps(self, sources: dict[str, Source]) -> None:
        apps = Apps(self._noise, self._lookups, self._config.devices)
        self._add_fixed(sources, "appRevisions", apps.revisions())
        self._add_daily(sources, "mobileAppInstallStatusCounts", apps.install_counts)

    def _add_policies(self, sources: dict[str, Source], people: People) -> None:
        policies = Policies(self._noise, self._lookups, self._config.devices, people.users)
        self._add_fixed(sources, "policies", policies.policies())
        self._add_daily(sources, "policyDeviceActivities", policies.device_activities)
        self._add_daily(sources, "policyUserActivities", policies.user_activities)
        self._add_daily(sources, "policyTypeActivities", policies.type_activities)
        self._add_daily(sources, "deviceConfigurationProfileDeviceActivities", policies.profile_devices)
        self._add_daily(sources, "deviceConfigurationProfileUserActivities", policies.profile_users)
        self._add_daily(sources, "compliancePolicyStatusDeviceActivities", policies.compliance)
        self._add_daily(sources, "compliancePolicyStatusDevicePerPolicyActivities", policies.compliance_by_policy)

    def _add_mam(self, sources: dict[str, Source], people: People) -> None:
        mam = Mam(self._noise, self._lookups, people, self._config.devices, self._today)
        applications = mam.applications()
        self._add_fixed(sources, "mamApplications", applications)
        sources["mamApplicationInstances"] = Dimension(
            range(mam.instances), self._plain("mamApplicationInstances", mam.instance)
        )
        sources["mamCheckins"] = Checkins(self._held("mamCheckins"), self._noise, mam, mam.current_keys(applications))
