from __future__ import annotations

from intune_dw_cli.service.drift import Drift, find_drift

OLD = {"devices": {"deviceKey": "Edm.Int64", "oSVersion": "Edm.String"}, "gone": {"a": "Edm.Int32"}}


def test_equal_models_do_not_differ_even_where_the_case_of_names_does() -> None:
    new = {"Devices": {"deviceKey": "Edm.Int64", "osVersion": "Edm.String"}, "gone": {"A": "Edm.Int32"}}
    assert find_drift(OLD, new) == ()


def test_added_removed_and_retyped_are_told_apart() -> None:
    new = {"devices": {"deviceKey": "Edm.String", "imei": "Edm.String"}, "fresh": {}}
    assert find_drift(OLD, new) == (
        Drift("devices", "deviceKey", "retyped", "Edm.Int64", "Edm.String"),
        Drift("devices", "imei", "added", after="Edm.String"),
        Drift("devices", "oSVersion", "removed", before="Edm.String"),
        Drift("fresh", "", "added"),
        Drift("gone", "", "removed"),
    )


def test_a_difference_reads_as_a_sentence() -> None:
    assert str(Drift("devices", "deviceKey", "retyped", "Edm.Int64", "Edm.String")) == (
        "devices.deviceKey retyped from Edm.Int64 to Edm.String"
    )
    assert str(Drift("fresh", "", "added")) == "collection fresh added"
