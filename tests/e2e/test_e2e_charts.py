"""The trend charts through the real command: one permission missing, the items named, closed by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from harness import Cli, by_name, manifest, tree
from signin import SECRET, Worlds

from intune_dw_cli.sandbox import ServerConfig
from intune_dw_cli.sandbox.config import GRAPH_PERMISSIONS, GraphConfig
from intune_dw_cli.sandbox.entra_registry import CLIENT_ID, TENANT_ID

LACKING = "DeviceManagementApps.Read.All"
ITEMS = ["app-protection-status", "app-configuration-status", "managed-app-registrations"]


def test_one_missing_permission_leaves_the_rest_saved_and_attaching_completes_the_archive(make: Worlds) -> None:
    graph = GraphConfig(permissions=tuple(p for p in GRAPH_PERMISSIONS if p != LACKING), job_polls=0)
    world = make(server=ServerConfig(graph=graph))
    env = {"AZURE_TENANT_ID": TENANT_ID, "AZURE_CLIENT_ID": CLIENT_ID, "AZURE_CLIENT_SECRET": SECRET}
    env["INTUNE_DW_URL"] = world.warehouse.feed_url
    root = world.cwd / "A"
    ended = world("backup", "A", "--json", env=env, timeout=240).ok(3)

    open_items = [c["item"] for c in ended.json["charts"] if c["state"] == "manual" and not c["optional"]]
    assert open_items == [item for item in ITEMS if item in open_items]
    assert open_items
    assert {c["state"] for c in ended.json["charts"] if not c["optional"] and c["item"] not in open_items} == {"saved"}
    assert len(by_name(root)) == 42
    assert {c["state"] for c in by_name(root).values()} == {"complete"}
    assert manifest(root)["state"] == ended.json["state"] == "partial"
    report = (root / "report.html").read_text(encoding="utf-8")
    for item in open_items:
        record = next(c for c in manifest(root)["charts"] if c["item"] == item)
        for text in (record["portal_path"], f"intune-dw backup A --attach FILE --as {item}", LACKING):
            assert text in ended.err
        assert item in report
    assert LACKING in report
    assert world("status", "A").ok(3).out.startswith("partial")
    assert "sound but partial" in world("verify", "A").ok(3).err
    chart = next(p for c in manifest(root)["charts"] for p in (f["path"] for f in c["files"]))
    whole = (root / chart).read_bytes()
    (root / chart).write_bytes(whole[:-1])
    assert chart in world("verify", "A").ok(5).out  # in a partial archive, too, every file is looked at
    (root / chart).write_bytes(whole)

    export = world.cwd / "export.csv"
    export.write_text("user,status\nanna@contoso.com,Applied\n", encoding="utf-8")
    for item in open_items:
        last = world("backup", "A", "--attach", "export.csv", "--as", item).ok()
    assert "the archive is complete" in last.err
    assert (root / "charts" / open_items[0] / "attached.csv").read_bytes() == export.read_bytes()
    assert world("status", "A").ok().out.startswith("complete")
    assert "sound and complete" in world("verify", "A").ok().err
    assert manifest(root)["state"] == "complete"
    assert json.dumps(ended.json).isascii()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--attach", "export.csv"], "--as ITEM go together"),
        (["--as", "terms-acceptance"], "--as ITEM go together"),
        (["--attach", "export.csv", "--as", "terms"], "enrollment-top-failures"),  # the hint names all items
        (["--attach", "missing.csv", "--as", "terms-acceptance"], "missing.csv cannot be read"),
        (["--attach", ".", "--as", "terms-acceptance"], "cannot be read"),
        (["--attach", "empty.csv", "--as", "terms-acceptance"], "empty.csv is empty"),
    ],
)
def test_what_cannot_be_attached_changes_nothing(cli: Cli, csv_archive: Path, args: list[str], said: str) -> None:
    (cli.cwd / "export.csv").write_text("a\n", encoding="utf-8")
    (cli.cwd / "empty.csv").touch()
    before = tree(csv_archive)
    assert said in cli("backup", csv_archive, *args).ok(2).err
    assert tree(csv_archive) == before


def test_there_must_be_an_archive_to_attach_to(cli: Cli) -> None:
    (cli.cwd / "export.csv").write_text("a\n", encoding="utf-8")
    assert "does not exist" in cli("backup", "A", "--attach", "export.csv", "--as", "terms-acceptance").ok(1).err
    assert not (cli.cwd / "A").exists()
