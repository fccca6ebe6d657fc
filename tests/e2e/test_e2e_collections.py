"""What the warehouse holds, as table, JSON and CSV."""

from __future__ import annotations

from pathlib import Path

import duckdb
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


DICTIONARY = [
    "collection",
    "kind",
    "property",
    "type",
    "nullable",
    "key",
    "retention_days",
    "personal",
    "joins",
    "description",
]


def test_csv_is_the_data_dictionary_with_every_property_of_every_collection(
    cli: Cli, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    (tmp_path / "dictionary.csv").write_bytes(cli("collections", "-f", "csv").ok().stdout)
    header, *rows = read_csv((tmp_path / "dictionary.csv").read_bytes())
    assert header == DICTIONARY
    models = [sandbox.tenant.model(name) for name in sandbox.tenant.collections()]
    assert [(r[0], r[2]) for r in rows] == [(m.name, p.name) for m in models for p in m.properties]
    # As somebody else reads it.
    told = duckdb.execute(
        f"select collection, kind, type, personal, joins from read_csv('{tmp_path / 'dictionary.csv'}', header = true) "
        "where property = 'userId'"
    )
    assert sorted(told.fetchall()) == [
        ("devices", "dimension", "Edm.Guid", True, "users.userId"),
        ("mamApplicationInstances", "dimension", "Edm.Guid", True, "users.userId"),
        ("users", "dimension", "Edm.Guid", True, None),
    ]
    history = next(r for r in rows if r[0] == "devicePropertyHistories" and r[2] == "deviceKey")
    assert history[:9] == [
        *("devicePropertyHistories", "fact", "deviceKey", "Edm.Int64"),
        *("false", "true", "60", "false", "devices.deviceKey"),
    ]
    assert history[9]


def test_the_dictionary_of_one_collection_is_that_part_of_the_whole(cli: Cli) -> None:
    header, *rows = read_csv(cli("collections", "DEVICES", "-f", "csv").ok().out)
    whole = read_csv(cli("collections", "-f", "csv").ok().out)
    assert header == whole[0]
    assert rows == [row for row in whole if row[0] == "devices"]


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
    assert [r[header.index("property")] for r in rows] == list(properties)


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


@pytest.mark.parametrize(
    ("given", "message"), [(["devicez"], "there is no collection"), (["--workers", "0"], "--workers 0")]
)
def test_json_has_an_object_for_a_failure_too(cli: Cli, given: list[str], message: str) -> None:
    ended = cli("collections", "--json", *given).ok(2)
    assert (ended.json["command"], ended.json["state"]) == ("collections", "failed")
    assert message in ended.json["errors"][0]["message"]
