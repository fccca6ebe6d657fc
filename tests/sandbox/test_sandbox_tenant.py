from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from itertools import islice

import pytest

from intune_dw_cli.reference import reference
from intune_dw_cli.sandbox import Tenant, TenantConfig
from intune_dw_cli.sandbox.generate.source import Place
from intune_dw_cli.sandbox.hostile import INT64S, MOMENTS, TEXTS
from intune_dw_cli.sandbox.timestamps import date_key

CONFIG = TenantConfig(today=date(2018, 2, 21), devices=300)
HOSTILE = replace(CONFIG, hostile=True)
TYPES = {
    "Edm.Int32": int,
    "Edm.Int64": int,
    "Edm.String": str,
    "Edm.Guid": str,
    "Edm.DateTimeOffset": str,
    "Edm.Boolean": bool,
}
FACTS = [c.name for c in reference().values() if c.v1_listed and c.kind == "fact"]


@pytest.fixture(scope="module", params=[CONFIG, HOSTILE], ids=["plain", "hostile"])
def tenant(request):
    return Tenant(request.param)


def test_serves_the_listed_collections_in_order():
    assert Tenant(CONFIG).collections() == tuple(c.name for c in reference().values() if c.v1_listed)
    assert len(Tenant(CONFIG).collections()) == 42


def test_rows_follow_the_model(tenant):
    for name in tenant.collections():
        model = tenant.model(name)
        rows = list(tenant.rows(name))
        assert rows, name
        assert len(rows) == tenant.count(name), name
        assert all(list(row) == [prop.name for prop in model.properties] for row in rows), name
        for prop in model.properties:
            values = [row[prop.name] for row in rows if row[prop.name] is not None]
            assert all(type(value) is TYPES[prop.type] for value in values), (name, prop.name)
            assert prop.nullable or len(values) == len(rows), (name, prop.name)


def test_keys_are_unique(tenant):
    for name in tenant.collections():
        key = tenant.model(name).key
        keys = [tuple(row[part] for part in key) for row in tenant.rows(name)]
        assert len(set(keys)) == len(keys), name


@pytest.mark.parametrize("devices", [1, 7, 300])
def test_every_reference_resolves(devices):
    for hostile in (False, True):
        tenant = Tenant(replace(CONFIG, devices=devices, hostile=hostile))
        columns = {}
        for name in tenant.collections():
            rows = list(tenant.rows(name))
            columns |= {f"{name}.{p.name}": {row[p.name] for row in rows} for p in tenant.model(name).properties}
        for name in tenant.collections():
            for prop in tenant.model(name).properties:
                if prop.references in columns:
                    dangling = columns[f"{name}.{prop.name}"] - columns[prop.references] - {None}
                    assert not dangling, (name, prop.name)


def test_lookups_hold_the_documented_rows_and_one_sentinel():
    tenant = Tenant(CONFIG)
    for name in tenant.collections():
        model = tenant.model(name)
        if model.kind != "lookup":
            continue
        rows = list(tenant.rows(name))
        assert [row[model.key[0]] for row in rows].count(-1) == 1, name
        for documented in model.lookup_rows:
            assert any(documented.items() <= row.items() for row in rows), (name, documented)
        if model.lookup_rows:
            extra = 0 if any("Not Available" in row.values() for row in model.lookup_rows) else 1
            assert len(rows) == len(model.lookup_rows) + extra, name


def test_same_seed_same_rows_other_seed_other_rows():
    def read(config):
        tenant = Tenant(config)
        return {name: list(islice(tenant.rows(name), 200)) for name in tenant.collections()}

    assert read(CONFIG) == read(replace(CONFIG))
    assert read(CONFIG)["devices"] != read(replace(CONFIG, seed=2))["devices"]


@pytest.mark.parametrize("name", FACTS)
def test_a_day_is_the_same_whatever_today_is(name):
    today, later = Tenant(CONFIG), Tenant(replace(CONFIG, today=CONFIG.today + timedelta(days=9)))
    shared = sorted(set(today.date_keys(name)) & set(later.date_keys(name)))
    assert len(shared) == len(today.date_keys(name)) - 9
    for day in (shared[0], shared[-1]):
        assert list(today.rows(name, day=day)) == list(later.rows(name, day=day))


def test_retention_as_documented_or_as_asked():
    tenant, wide = Tenant(CONFIG), Tenant(replace(CONFIG, days=3))
    assert len(tenant.date_keys("devicePropertyHistories")) == 60
    assert len(tenant.date_keys("policyDeviceActivities")) == 30
    assert len(tenant.date_keys("enrollmentActivities")) == 30
    assert all(wide.date_keys(name) == [20180219, 20180220, 20180221] for name in FACTS)
    assert tenant.date_keys("devices") == []


def test_history_has_a_row_for_each_day_from_enrolment_to_deletion():
    tenant = Tenant(CONFIG)
    held = tenant.date_keys("devicePropertyHistories")
    days: dict[int, set[int]] = {}
    for row in tenant.rows("devicePropertyHistories"):
        days.setdefault(row["deviceKey"], set()).add(row["dateKey"])
    for device in tenant.rows("devices"):
        seen = days.get(device["deviceKey"], set())
        enrolled = int(device["enrolledDateTime"][:10].replace("-", ""))
        if not device["isDeleted"]:
            assert seen == {key for key in held if key >= enrolled}
        elif seen:
            assert seen == {key for key in held if enrolled <= key <= max(seen)}
    assert {device["isDeleted"] for device in tenant.rows("devices")} == {True, False}


def test_devices_and_history_tell_the_same_story():
    tenant = Tenant(CONFIG)
    devices = {row["deviceKey"]: row for row in tenant.rows("devices")}
    for row in tenant.rows("devicePropertyHistories", day=20180221):
        device = devices[row["deviceKey"]]
        for name in ("deviceName", "ownerTypeKey", "complianceStateKey", "oSVersion", "totalStorageSpaceInBytes"):
            assert row[name] == device[name]


def test_calendar_covers_every_held_day():
    tenant = Tenant(CONFIG)
    calendar = {row["dateKey"] for row in tenant.rows("dates")}
    assert all(set(tenant.date_keys(name)) <= calendar for name in FACTS)


def test_counts_by_day_agree_with_rows():
    tenant = Tenant(CONFIG)
    for name in FACTS:
        for day in (tenant.date_keys(name)[0], 20180221):
            assert tenant.count(name, day=day) == len(list(tenant.rows(name, day=day))), name
        assert tenant.count(name, day=20170101) == 0


def test_a_large_tenant_is_read_from_anywhere_at_once():
    tenant = Tenant(replace(CONFIG, devices=1_000_000))
    source = tenant.source("devicePropertyHistories")
    day = CONFIG.today.toordinal()
    middle = Place(day, source.span(day).stop - 5)
    rows = [row for _, block in source.walk([day], middle) for row in block.rows]
    assert 1 <= len(rows) <= 5
    assert f'"dateKey":{date_key(day)}' in rows[-1]


def test_first_and_limit():
    tenant = Tenant(CONFIG)
    rows = list(tenant.rows("devices"))
    assert list(tenant.rows("devices", first=3, limit=2)) == rows[3:5]


@pytest.mark.parametrize("settings", [{"devices": 0}, {"days": 0}])
def test_nonsense_is_refused(settings):
    with pytest.raises(ValueError, match="at least 1"):
        TenantConfig(**settings)


def test_hostile_values_are_all_there():
    tenant = Tenant(HOSTILE)
    values: dict[str, set[object]] = {"Edm.String": set(), "Edm.Int64": set(), "Edm.DateTimeOffset": set()}
    for name in ("devices", "users", "mamApplicationInstances", "appRevisions", "policies"):
        for prop in tenant.model(name).properties:
            if prop.type in values:
                values[prop.type] |= {row[prop.name] for row in tenant.rows(name)}
    assert set(TEXTS) <= values["Edm.String"]
    assert set(INT64S) <= values["Edm.Int64"]
    assert set(MOMENTS) <= values["Edm.DateTimeOffset"]
    names = {row["deviceName"] for row in tenant.rows("devicePropertyHistories", day=20180221)}
    assert len(set(TEXTS) & names) > 30


def test_times_have_0_to_7_decimals_without_trailing_zeros():
    fractions = {
        len(text.partition(".")[2].rstrip("Z"))
        for row in Tenant(CONFIG).rows("devices")
        for text in (row["enrolledDateTime"],)
    }
    assert fractions == set(range(8))
    assert not any(row["enrolledDateTime"].endswith("0Z") and "." in row["enrolledDateTime"]
                   for row in Tenant(CONFIG).rows("devices"))  # fmt: skip
