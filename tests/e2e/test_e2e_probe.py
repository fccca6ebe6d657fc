"""`--dry-run --probe`: what to expect, with its error bar, and nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from foreign import Manners, serving
from harness import Cli, SandboxProcess, day_key, manifest

from intune_dw_cli.cli.console import Terminal
from intune_dw_cli.cli.estimate import show_estimate
from intune_dw_cli.cli.options import Talk
from intune_dw_cli.export.estimate import Amount, Estimate
from intune_dw_cli.export.plan import CollectionPlan
from intune_dw_cli.service.csdl import EntityType
from intune_dw_cli.service.warehouse import EntitySet

DEVICES = EntitySet("devices", "devices", EntityType("device", (), ()), True, None, None, None)


def test_the_probe_of_a_backup_foretells_the_backup(cli: Cli, sandbox: SandboxProcess, tmp_path: Path) -> None:
    before = sandbox.mark()
    document = cli("backup", "archive", "--dry-run", "--probe", "--json").ok().json
    asked = len(sandbox.requests(before))
    assert not (tmp_path / "archive").exists()
    assert document["dry_run"] is True
    before = sandbox.mark()
    cli("backup", "archive", "--no-charts").ok()
    held = {c["name"]: c["rows"] for c in manifest(tmp_path / "archive")["collections"]}
    for each in document["collections"]:
        rows = each["rows"]
        assert each["error"] is None
        assert 0.5 * rows["low"] <= held[each["collection"]] <= 1.5 * rows["high"], each["collection"]
    rows = document["estimate"]["rows"]
    assert rows["low"] <= rows["estimate"] <= rows["high"]
    assert rows["estimate"] == pytest.approx(sum(held.values()), rel=0.1)
    assert document["estimate"]["seconds"]["low"] < document["estimate"]["seconds"]["high"]
    assert asked < len(sandbox.requests(before))


def test_people_read_rows_bytes_time_and_that_it_is_an_estimate(cli: Cli, tmp_path: Path) -> None:
    said = cli("pull", "devicePropertyHistories", "users", "--dry-run", "--probe", "-o", "out/").ok()
    assert not (tmp_path / "out").exists()
    assert [line.split()[0] for line in said.out.splitlines()] == ["collection", "devicePropertyHistories", "users"]
    talk = " ".join(said.err.split())
    assert "dry run: about" in talk
    assert "with 4 workers" in talk
    assert "An estimate" in talk
    assert "half or twice" in talk
    assert "devicePropertyHistories: " not in said.err  # nothing was pulled, so nothing is reported as pulled


def test_a_disk_that_may_be_too_small_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    terminal = Terminal(Talk())
    plan = CollectionPlan(entity_set=DEVICES, slices=())
    found = [Estimate(plan, bytes=Amount(100, 2000, 5000))]
    show_estimate(terminal, found, {"devices": "x"}, 4, free=4000)
    assert "the disk has 3.9 KiB free, and the files may take 2.0 KiB (100 B to 4.9 KiB)" in capsys.readouterr().err
    show_estimate(terminal, found, {"devices": "x"}, 4, free=5000)
    assert "the disk has" not in capsys.readouterr().err


def test_probe_without_dry_run_is_a_usage_error(cli: Cli, sandbox: SandboxProcess, tmp_path: Path) -> None:
    before = sandbox.mark()
    for command in (("pull", "users"), ("backup", "archive")):
        assert "--probe goes with --dry-run" in cli(*command, "--probe").ok(2).err
    assert not sandbox.requests(before)
    assert list(tmp_path.iterdir()) == []


def test_a_collection_that_cannot_be_estimated_is_named_and_fails(lone_cli: Cli) -> None:
    rows = [{"Id": n, "Name": "x", "dateKey": day_key(n % 3)} for n in range(60)]
    with serving(Manners(filters="ignored"), {"readings": rows, "Places": [{"Id": 1, "Name": "p"}]}) as server:
        lone_cli.url = server.url
        shown = lone_cli("backup", "archive", "--dry-run", "--probe")
        told = lone_cli("backup", "archive", "--dry-run", "--probe", "--json")
    assert shown.code == told.code == 1
    assert "not known" in shown.out
    assert "no single day" in shown.err
    found = {c["collection"]: c for c in json.loads(told.stdout)["collections"]}
    assert found["readings"]["error"]["message"]
    assert found["Places"]["rows"]["estimate"] == 1
