"""The main job: everything into an archive that others can read and prove."""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
import stat
import subprocess
from pathlib import Path

import duckdb
import pytest
from harness import TOKEN, Cli, SandboxProcess, Serve, as_csv, by_name, day_key, manifest, read_csv, tree

from intune_dw_cli.sandbox import Tenant


def prove_sums(root: Path) -> int:
    """Check SHA256SUMS with sha256sum where there is one, else by hand; returns how many files it lists."""
    lines = (root / "SHA256SUMS").read_text("utf-8").splitlines()
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "-c", "--quiet", "--strict", "SHA256SUMS"], cwd=root, check=True)
    for line in lines:
        digest, path = line.split("  ", 1)
        assert hashlib.sha256((root / path).read_bytes()).hexdigest() == digest, path
    return len(lines)


def scan(root: Path, collection: str, *, glob: str | None = None) -> str:
    """The DuckDB expression that reads a collection of an archive as one table."""
    folder = root / "data" / collection
    if glob is None:
        glob = "**/*." + ("parquet" if next(folder.rglob("*.parquet"), None) else "csv*")
    if "parquet" in glob:
        return f"read_parquet('{folder}/{glob}', hive_partitioning=false, union_by_name=true)"
    return (
        f"read_csv('{folder}/{glob}', header=true, all_varchar=true, hive_partitioning=false, allow_quoted_nulls=false)"
    )


def count(expression: str) -> int:
    rows = duckdb.sql(f"select count(*) from {expression}").fetchall()
    return int(rows[0][0])


def test_backup_of_the_builtin_sandbox_is_whole_and_can_be_proved_without_this_tool(lone_cli: Cli) -> None:
    root = lone_cli.cwd / "A"
    said = lone_cli("backup", "A", "--sandbox").ok()
    lone_cli("verify", "A").ok()
    assert "verify" in said.err
    assert prove_sums(root) == len(tree(root)) - 1  # all files but SHA256SUMS itself
    held = by_name(root)
    tenant = Tenant()
    expected = {name: tenant.count(name) for name in tenant.collections()}
    assert {name: c["rows"] for name, c in held.items()} == expected
    assert {name: count(scan(root, name)) for name in held} == expected


def test_service_document_and_metadata_are_asked_for_once_a_run(lone_cli: Cli, serve: Serve) -> None:
    sandbox = serve(devices=5, days=1)
    cli = Cli(lone_cli.home, lone_cli.cwd, sandbox.url)
    for _ in ("the first run", "the second"):
        mark = sandbox.mark()
        cli("backup", "A", "--only", "devices").ok()
        asked = [target.partition("?")[0].rpartition("/")[2] for target in sandbox.requests(mark)]
        assert sorted(asked) == ["$metadata", "DataWarehouseFEService", "devices"]


def test_every_collection_reads_in_duckdb_with_the_row_counts_of_manifest_and_service(
    archive: Path, sandbox: SandboxProcess
) -> None:
    held = by_name(archive)
    expected = sandbox.expected()
    assert manifest(archive)["state"] == "complete"
    assert {name: c["rows"] for name, c in held.items()} == expected
    assert {name: count(scan(archive, name)) for name in held} == expected
    prove_sums(archive)


def test_facts_read_as_one_table_with_hive_partitions_and_with_plain_globs(
    archive: Path, sandbox: SandboxProcess
) -> None:
    folder = archive / "data" / "devicePropertyHistories"
    suffix = next(folder.rglob("part.*")).name.removeprefix("part")
    reader = "read_parquet" if suffix == ".parquet" else "read_csv"
    by_day = {
        day: sum(1 for _ in sandbox.tenant.rows("devicePropertyHistories", day=day))
        for day in sandbox.tenant.date_keys("devicePropertyHistories")
    }
    hive = duckdb.sql(
        f"select \"dateKey\"::int as d, count(*) from {reader}('{folder}/dateKey=*/part{suffix}', "
        "hive_partitioning=true, union_by_name=true) group by 1 order by 1"
    ).fetchall()
    assert dict(hive) == by_day
    day = max(by_day)
    assert count(f"{reader}('{folder}/dateKey={day}/*{suffix}', hive_partitioning=false)") == by_day[day]
    assert count(f"{reader}('{folder}/*/*{suffix}', hive_partitioning=false, union_by_name=true)") == sum(
        by_day.values()
    )


@pytest.mark.parametrize(
    "name",
    ["devices", "users", "devicePropertyHistories", "ownerTypes", "mamCheckins", "enrollmentActivities", "dates"],
)
def test_csv_parts_hold_the_very_values_that_the_service_served(
    csv_archive: Path, sandbox: SandboxProcess, name: str
) -> None:
    folder = csv_archive / "data" / name
    for day in sandbox.tenant.date_keys(name) if name != "dates" else [None]:
        path = folder / f"{name}.csv" if day is None else folder / f"dateKey={day}" / "part.csv"
        rows = sandbox.rows(name, *([day] if day else []))
        header, *held = read_csv(path.read_bytes())
        assert held == as_csv(rows, header)
        assert not rows or set(rows[0]) <= set(header)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_hostile_values_arrive_unchanged_and_null_stays_apart_from_empty_text(
    hostile: SandboxProcess, lone_cli: Cli, form: str
) -> None:
    names = ("devices", "users", "mamApplicationInstances", "devicePropertyHistories")
    only = [word for name in names for word in ("--only", name)]
    lone_cli("backup", "A", "-f", form, *only, env={"INTUNE_DW_URL": hostile.url}).ok()
    lone_cli("verify", "A").ok()
    for name in names:
        rows = hostile.rows(name)
        types = {p.name: p.type for p in hostile.tenant.model(name).properties}
        for column in rows[0]:
            cast = f'"{column}"' if form == "csv" else as_text(column, types[column])
            held = [r[0] for r in ordered(lone_cli.cwd / "A", name, cast)]
            wanted = [value_text(row[column], types[column], form) for row in rows]
            assert sorted(held, key=repr) == sorted(wanted, key=repr), (name, column)


def ordered(root: Path, name: str, expression: str) -> list[tuple[str | None]]:
    return duckdb.sql(f"select {expression} from {scan(root, name)}").fetchall()


def as_text(column: str, edm_type: str) -> str:
    if edm_type == "Edm.DateTimeOffset":
        return f'epoch_us("{column}")::varchar'
    return f'"{column}"::varchar'


def value_text(value: object, edm_type: str, form: str) -> str | None:
    """The text DuckDB should give for a served value: in Parquet an instant is microseconds, the seventh digit cut."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if edm_type == "Edm.DateTimeOffset" and form == "parquet":
        return str(microseconds(str(value)))
    return str(value)


def microseconds(text: str) -> int:
    """An ISO 8601 instant as microseconds since 1970, by integers alone: an offset may lead out of years 1 to 9999."""
    clock, offset = (text[:-1], "+00:00") if text.endswith("Z") else (text[:-6], text[-6:])
    whole, _, fraction = clock.partition(".")
    moment = dt.datetime.fromisoformat(whole)
    seconds = (moment.toordinal() - dt.date(1970, 1, 1).toordinal()) * 86400
    seconds += moment.hour * 3600 + moment.minute * 60 + moment.second
    east = (int(offset[1:3]) * 3600 + int(offset[4:]) * 60) * (-1 if offset[0] == "-" else 1)
    return (seconds - east) * 1_000_000 + int((fraction + "000000")[:6])


def test_files_are_private_and_hold_no_secret(lone_cli: Cli, sandbox: SandboxProcess) -> None:
    log = lone_cli.cwd / "run.log"
    said = lone_cli("backup", "A", "--only", "device*", "--log-file", log, "-vv", env={"INTUNE_DW_URL": sandbox.url})
    said.ok()
    assert "client-request-id" in said.err + log.read_text("utf-8")
    for path in [log, *(lone_cli.cwd / "A").rglob("*"), lone_cli.cwd / "A"]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes(), path


def test_a_failing_run_shows_no_secret_either(lone_cli: Cli, serve: Serve) -> None:
    strict = serve("--token", "another")
    said = lone_cli("backup", "A", "-vv", "--log-file", "run.log", "--json", env={"INTUNE_DW_URL": strict.url}).ok(4)
    assert TOKEN not in said.err + said.out + (lone_cli.cwd / "run.log").read_text("utf-8")
    assert said.json["errors"][0]["exit_code"] == 4
    assert not (lone_cli.cwd / "A").exists()


def test_only_exclude_and_days_bound_what_is_backed_up(cli: Cli, sandbox: SandboxProcess) -> None:
    first, last = day_key(3), day_key(1)
    cli(
        "backup", "A", "--only", "device*", "--only", "Users", "--exclude", "*Types", "--from", first, "--to", last
    ).ok()
    cli("verify", "A").ok()
    held = by_name(cli.cwd / "A")
    names = [n for n in sandbox.tenant.collections() if n.startswith("device") and not n.endswith("Types")]
    assert set(held) == {*names, "users"}
    assert [p["date_key"] for s in held["devicePropertyHistories"]["slices"] for p in s["parts"]] == [
        day_key(3),
        day_key(2),
        day_key(1),
    ]
    assert held["devices"]["rows"] == sandbox.expected()["devices"]


def test_dry_run_shows_the_plan_fetches_no_rows_and_writes_nothing(cli: Cli, sandbox: SandboxProcess) -> None:
    mark = sandbox.mark()
    plan = cli("backup", "A", "--dry-run", "--json").ok().json
    assert plan["dry_run"] is True
    assert {c["collection"] for c in plan["collections"]} == set(sandbox.tenant.collections())
    assert all("$metadata" in t or "DataWarehouseFEService?" in t for t in sandbox.requests(mark))
    assert not (cli.cwd / "A").exists()
    shown = cli("backup", "A", "--dry-run").ok()
    assert "devicePropertyHistories" in shown.out
    assert "dry run" in shown.err


def test_json_summary_is_one_object_with_the_documented_names(cli: Cli) -> None:
    summary = cli("backup", "A", "--only", "device*", "--json").ok().json
    assert {
        "version", "command", "state", "rows", "files", "bytes", "seconds", "wire_bytes", "retries", "throttled",
        "collections", "warnings", "errors", "archive", "as_of", "resumed",
    } <= set(summary)  # fmt: skip
    assert (summary["version"], summary["command"], summary["state"]) == (1, "backup", "complete")
    held = by_name(cli.cwd / "A")
    assert {c["name"]: c["rows"] for c in summary["collections"]} == {n: c["rows"] for n, c in held.items()}
    checked = cli("verify", "A", "--json").ok().json
    assert (checked["state"], checked["findings"], checked["rows"]) == ("complete", [], summary["rows"])


def test_two_backups_of_one_tenant_are_the_same_bytes_whatever_the_workers(cli: Cli, csv_archive: Path) -> None:
    cli("backup", "A", "--workers", 1).ok()
    assert tree(cli.cwd / "A") == tree(csv_archive)
