"""One collection fails, a token is refused: what is missing is said, and the same command completes it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import STATE, TODAY, Cli, SandboxProcess, Serve, by_name, day_key, first_pages, manifest, tree

from intune_dw_cli.archive.journal import encode_line

Tenant = tuple[SandboxProcess, Path]
CHOICE = ("--only", "polic*", "--only", "device*")


@pytest.fixture(scope="module")
def tenant(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenant]:
    """A tenant to be put out of order, and its archive by a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    sandbox = SandboxProcess("--page-size", 20, home=home)
    try:
        Cli(home, folder, sandbox.url)("backup", "unbroken", *CHOICE).ok()
        yield sandbox, folder / "unbroken"
    finally:
        sandbox.stop()


@pytest.fixture
def cli(home: Path, tmp_path: Path, tenant: Tenant) -> Iterator[Cli]:
    """The command line, pointed at that tenant, which is in order again afterwards."""
    yield Cli(home, tmp_path, tenant[0].url)
    tenant[0].heal()


@pytest.mark.parametrize(
    ("fault", "name", "why"),
    [
        ("kind=403,collection=devices,times=0", "devices", "403"),
        ("kind=403,collection=devicePropertyHistories,times=0", "devicePropertyHistories", "403"),
        ("kind=403,collection=devicePropertyHistories,page=2,times=0", "devicePropertyHistories", "403"),
        ("kind=404,collection=policies,times=0", "policies", "404"),
        ("kind=next-foreign,collection=devices,times=0", "devices", "evil.example"),
        ("kind=next-loop,collection=devices,times=0", "devices", "circle"),
    ],
)
def test_a_collection_that_fails_does_not_stop_the_others_and_is_fetched_next_time(
    cli: Cli, tenant: Tenant, fault: str, name: str, why: str
) -> None:
    sandbox, unbroken = tenant
    sandbox.fault(fault)
    said = cli("backup", "A", *CHOICE, "--json").ok(3)
    assert said.json["state"] == "partial"
    assert name in {e["collection"] for e in said.json["errors"]}
    assert "missing: " + name in said.err
    assert "same command" in said.err
    held = by_name(cli.cwd / "A")
    assert manifest(cli.cwd / "A")["state"] == "partial"
    assert {n for n, c in held.items() if c["state"] != "complete"} == {name}
    assert held[name]["missing"]
    assert all(m["slice"] and why in m["reason"] for m in held[name]["missing"])
    whole = by_name(unbroken)
    assert all(held[n] == whole[n] for n in held if n != name)
    cli("verify", "A").ok(3)
    sandbox.heal()
    mark = sandbox.mark()
    cli("backup", "A", *CHOICE).ok()
    assert {asked for asked, _ in first_pages(sandbox.requests(mark))} == {name}
    assert tree(cli.cwd / "A") == tree(unbroken)
    cli("verify", "A").ok()


def test_errors_that_pass_are_sat_out_and_leave_no_trace_in_the_archive(cli: Cli, tenant: Tenant) -> None:
    sandbox, unbroken = tenant
    for fault in (
        "kind=500,collection=devices",
        "kind=503,collection=policies",
        "kind=reset,at=body,collection=deviceTypes",
        "kind=gzip-cut,collection=devicePropertyHistories",
        "kind=json-cut,collection=policyTypes",
        "kind=html,collection=deviceCategories",
        "kind=429,retry-after=1,collection=policyUserActivities",
        "kind=empty-page,collection=devices,page=2",
    ):
        sandbox.fault(fault)
    summary = cli("backup", "A", *CHOICE, "--json").ok().json
    assert summary["retries"] >= 5
    assert summary["throttled"] == 1
    held, whole = tree(cli.cwd / "A"), tree(unbroken)
    # An empty page is one page more than there was without it: the manifest counts them.
    inventory = ("manifest.json", "SHA256SUMS", "report.html")
    assert {n: d for n, d in held.items() if n not in inventory} == {
        n: d for n, d in whole.items() if n not in inventory
    }


def test_a_token_refused_on_the_way_ends_the_run_with_the_sign_in_code_and_the_next_run_continues(
    cli: Cli, tenant: Tenant
) -> None:
    sandbox, unbroken = tenant
    sandbox.fault("kind=401,collection=policyDeviceActivities,times=0")
    said = cli("backup", "A", *CHOICE).ok(4)
    assert said.err.count("error:") == said.err.count("hint:") == 1
    assert not (cli.cwd / "A" / "manifest.json").exists()
    cli("verify", "A").ok(3)
    done = [json.loads(line)["entry"] for line in (cli.cwd / "A" / STATE / "journal.jsonl").read_text().splitlines()]
    committed = {(e["collection"], e["slice"]) for e in done if e["type"] == "slice"}
    assert committed
    sandbox.heal()
    mark = sandbox.mark()
    cli("backup", "A", *CHOICE).ok()
    again = first_pages(sandbox.requests(mark))
    everything = sum(len(c["slices"]) for c in by_name(cli.cwd / "A").values())
    assert sum(again.values()) == everything - len(committed)
    assert tree(cli.cwd / "A") == tree(unbroken)


def test_a_partial_archive_can_be_killed_and_continued_too(lone_cli: Cli, serve: Serve) -> None:
    sandbox = serve("--page-size", 20, "--think-time", 0.02)
    cli = Cli(lone_cli.home, lone_cli.cwd, sandbox.url)
    cli("backup", "unbroken", *CHOICE).ok()
    sandbox.fault("kind=403,collection=devicePropertyHistories,times=0")
    cli("backup", "A", *CHOICE).ok(3)
    sandbox.heal()
    assert cli.killed("backup", "A", *CHOICE, after=0.6)
    cli("verify", "A").ok(3)
    cli("backup", "A", *CHOICE).ok()
    assert tree(cli.cwd / "A") == tree(cli.cwd / "unbroken")


def test_an_archive_that_stays_partial_still_gets_the_new_days(lone_cli: Cli, serve: Serve) -> None:
    sandbox = serve()
    cli = Cli(lone_cli.home, lone_cli.cwd, sandbox.url)
    sandbox.fault("kind=403,collection=devices,times=0")
    cli("backup", "A", *CHOICE).ok(3)
    # The run was of an earlier day: its plan is not this day's.
    journal = cli.cwd / "A" / STATE / "journal.jsonl"
    header, *slices = journal.read_bytes().splitlines(keepends=True)
    entry = json.loads(header)["entry"] | {"today": (TODAY - dt.timedelta(days=9)).isoformat()}
    journal.write_bytes(encode_line(entry) + b"".join(slices))
    mark = sandbox.mark()
    cli("backup", "A", *CHOICE).ok(3)
    asked = first_pages(sandbox.requests(mark))
    assert ("devicePropertyHistories", f"DateKey eq {day_key()}") in asked
    assert ("devicePropertyHistories", f"DateKey eq {day_key(3)}") not in asked
    sandbox.heal()
    cli("backup", "A", *CHOICE).ok()
    cli("verify", "A").ok()
    assert by_name(cli.cwd / "A")["devices"]["rows"] == 40
