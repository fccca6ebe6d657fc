"""What the warehouse holds, as table, JSON and CSV."""

from __future__ import annotations

import pytest
from harness import Cli, SandboxProcess, read_csv


def test_the_table_lists_every_collection_with_kind_days_key_and_number_of_properties(
    cli: Cli, sandbox: SandboxProcess
) -> None:
    said = cli("collections", env={"COLUMNS": "200"}).ok()
    for name in sandbox.tenant.collections():
        assert name in said.out
    row = next(line for line in said.out.splitlines() if line.startswith("devicePropertyHistories"))
    assert "60 d" in row
    assert "fact" in row
    assert "13" in row
    assert "42 collections" in said.err


def test_json_tells_the_same_as_one_versioned_object(cli: Cli, sandbox: SandboxProcess) -> None:
    document = cli("collections", "-f", "json").ok().json
    assert document["version"] == 1
    listed = {c["name"]: c for c in document["collections"]}
    assert list(listed) == list(sandbox.tenant.collections())
    devices = sandbox.tenant.model("devices")
    assert listed["devices"]["key"] == list(devices.key)
    assert listed["devices"]["property_count"] == len(devices.properties)
    assert listed["devicePropertyHistories"]["date_keyed"] is True
    assert listed["dates"]["date_keyed"] is False
    assert cli("collections", "--json").ok().json == document


def test_csv_is_the_data_dictionary_with_every_property_of_every_collection(cli: Cli, sandbox: SandboxProcess) -> None:
    header, *rows = read_csv(cli("collections", "-f", "csv").ok().out)
    assert header[0] == "collection"
    models = [sandbox.tenant.model(name) for name in sandbox.tenant.collections()]
    assert [(r[0], r[header.index("name")]) for r in rows] == [(m.name, p.name) for m in models for p in m.properties]


@pytest.mark.parametrize("name", ["devices", "DEVICES", "Devices"])
def test_one_collection_shows_its_properties_with_types_key_joins_and_personal_data(cli: Cli, name: str) -> None:
    said = cli("collections", name).ok()
    assert "deviceName" in said.out
    assert "Edm.Int64" in said.out
    document = cli("collections", name, "-f", "json").ok().json
    properties = {p["name"]: p for p in document["properties"]}
    assert document["name"] == "devices"
    assert properties["deviceKey"]["key"] is True
    assert properties["deviceTypeKey"]["joins"] == "deviceTypes.deviceTypeKey"
    assert any(p["personal"] for p in properties.values())
    header, *rows = read_csv(cli("collections", name, "-f", "csv").ok().out)
    assert [r[header.index("name")] for r in rows] == list(properties)


@pytest.mark.parametrize(("wrong", "near"), [("devcies", "devices"), ("deviceHistories", "devicePropertyHistories")])
def test_an_unknown_name_suggests_near_misses(cli: Cli, wrong: str, near: str) -> None:
    for command in ("collections", "pull"):
        said = cli(command, wrong).ok(2)
        assert wrong in said.err
        assert near in said.err
        assert said.out == ""


def test_an_unknown_format_is_a_usage_error(cli: Cli) -> None:
    said = cli("collections", "-f", "yaml").ok(2)
    assert "table, json" in said.err
