"""Which collections and properties: names, globs, and selections of each."""

from __future__ import annotations

import pytest
from engine_bench import Bench

from intune_dw_cli.errors import UnknownCollectionError, UsageError
from intune_dw_cli.export.choice import Selections, choose


def names(bench: Bench, *wanted: str, without_days: bool = True) -> list[str]:
    skip = [] if without_days else [e for e in bench.warehouse.entity_sets if e.date_key is None]
    return [e.name for e in choose(bench.warehouse, wanted, skip=skip)]


def test_a_glob_brings_what_matches_in_the_services_order_each_once(bench: Bench) -> None:
    matching = [e.name for e in bench.warehouse.entity_sets if e.name.startswith("device")]
    assert names(bench, "DEVICE*") == matching
    assert len(matching) > 5
    assert names(bench, "users", "device*", "devices", "USERS") == ["users", *matching]
    assert names(bench, "polic?es") == ["policies"]


def test_a_glob_leaves_out_what_is_to_be_skipped_but_a_name_does_not(bench: Bench) -> None:
    assert names(bench, "device*", without_days=False) == [
        "deviceConfigurationProfileDeviceActivities",
        "deviceConfigurationProfileUserActivities",
        "devicePropertyHistories",
    ]
    assert names(bench, "devices", without_days=False) == ["devices"]


def test_a_glob_that_matches_nothing_is_said(bench: Bench) -> None:
    with pytest.raises(UnknownCollectionError, match="nothing\\* matches no collection"):
        names(bench, "nothing*")


def test_each_collection_gets_its_own_selection_and_the_others_the_common_one(bench: Bench) -> None:
    found = Selections.parse(
        ["userKey,userId", "devices=DEVICEKEY, devicename", "mam*=mamapplicationkey", "devices=userId"]
    )
    of = {name: found.of(bench.warehouse.entity_set(name)) for name in ("devices", "users", "mamApplications")}
    assert of == {
        "devices": ("deviceKey", "deviceName", "userId"),
        "users": ("userKey", "userId"),
        "mamApplications": ("mamApplicationKey",),
    }
    assert Selections.parse([]).of(bench.warehouse.entity_set("users")) is None
    assert Selections.parse(["devices=deviceKey"]).of(bench.warehouse.entity_set("users")) is None


@pytest.mark.parametrize("text", ["", ",", "devices=", "devices=,", "=deviceName", "devices=deviceName,"])
def test_a_selection_of_nothing_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="--select") as caught:
        Selections.parse([text])
    assert caught.value.hint


def test_a_selection_for_a_collection_that_is_not_chosen_is_a_usage_error(bench: Bench) -> None:
    chosen = choose(bench.warehouse, ["users"])
    Selections.parse(["USER*=userKey"]).require_used(chosen)
    with pytest.raises(UsageError, match=r"devices=\.\.\. is for no collection of this run"):
        Selections.parse(["devices=deviceKey"]).require_used(chosen)
