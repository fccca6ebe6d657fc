"""Pull: the right rows, in order, in the form that was asked for, and no half file."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import shlex
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from harness import INTUNE_DW, TODAY, Cli, SandboxProcess, Serve, as_csv, day_key, read_csv, tree

FACT = "devicePropertyHistories"


def parquet_rows(path: Path, columns: str = "columns(*)::varchar") -> list[tuple[str | None, ...]]:
    return duckdb.sql(f"select {columns} from read_parquet('{path}', file_row_number=false)").fetchall()


def csv_rows(path: Path) -> list[tuple[str | None, ...]]:
    return duckdb.sql(
        f"select * from read_csv('{path}', header=true, all_varchar=true, allow_quoted_nulls=false)"
    ).fetchall()


def test_seven_days_are_the_same_values_in_csv_and_parquet_the_right_days_and_in_order(
    cli: Cli, sandbox: SandboxProcess
) -> None:
    for path in ("h.parquet", "h.csv"):
        cli("pull", FACT, "--days", 7, "-o", path).ok()
    header, *rows = read_csv((cli.cwd / "h.csv").read_bytes())
    days = [int(row[header.index("dateKey")]) for row in rows]
    assert sorted(set(days)) == [day_key(n) for n in range(6, -1, -1)]
    assert days == sorted(days)
    assert rows == as_csv(sandbox.rows(FACT, *sorted(set(days))), header)
    assert parquet_rows(cli.cwd / "h.parquet") == csv_rows(cli.cwd / "h.csv")


def test_the_bytes_do_not_depend_on_the_number_of_workers(cli: Cli) -> None:
    for suffix in ("parquet", "csv"):
        for workers in (1, 4):
            cli("pull", FACT, "--days", 7, "--workers", workers, "-o", f"{workers}.{suffix}").ok()
        assert (cli.cwd / f"1.{suffix}").read_bytes() == (cli.cwd / f"4.{suffix}").read_bytes()


@pytest.mark.parametrize("name", ["users", "devices", "mamApplicationInstances"])
def test_hostile_values_are_equal_in_csv_and_parquet(cli: Cli, hostile: SandboxProcess, name: str) -> None:
    times = {p.name for p in hostile.tenant.model(name).properties if p.type == "Edm.DateTimeOffset"}
    for path in ("h.parquet", "h.csv"):
        cli("pull", name, "-o", path, "--url", hostile.url).ok()
    header = read_csv((cli.cwd / "h.csv").read_bytes())[0]
    keep = [i for i, n in enumerate(header) if n not in times]
    text, typed = csv_rows(cli.cwd / "h.csv"), parquet_rows(cli.cwd / "h.parquet")
    assert [[row[i] for i in keep] for row in text] == [[row[i] for i in keep] for row in typed]


def test_several_collections_go_into_a_folder_and_all_is_every_one(cli: Cli, sandbox: SandboxProcess) -> None:
    cli("pull", "devices", "USERS", "policies", "-f", "parquet", "-o", "some/").ok()
    assert sorted(tree(cli.cwd / "some")) == ["devices.parquet", "policies.parquet", "users.parquet"]
    said = cli("pull", "--all", "-o", "all").ok()
    assert sorted(tree(cli.cwd / "all")) == sorted(f"{name}.csv" for name in sandbox.tenant.collections())
    expected = sandbox.expected()
    counts = {p.stem: len(read_csv(p.read_bytes())) - 1 for p in (cli.cwd / "all").iterdir()}
    assert counts == expected
    assert "42 collections" in said.err


def test_without_an_output_the_file_appears_in_the_current_folder(cli: Cli) -> None:
    cli("pull", "OwnerTypes").ok()
    assert [p.name for p in cli.cwd.iterdir()] == ["ownerTypes.csv"]


def test_partitions_are_one_file_a_day_that_reads_as_one_table(cli: Cli, sandbox: SandboxProcess) -> None:
    cli("pull", FACT, "devices", "--partition", "-f", "parquet", "-o", "parts").ok()
    held = duckdb.sql(
        f"select \"dateKey\"::int, count(*) from read_parquet('{cli.cwd}/parts/{FACT}/*/*.parquet', "
        "hive_partitioning=true, union_by_name=true) group by 1"
    ).fetchall()
    tenant = sandbox.tenant
    assert dict(held) == {day: tenant.count(FACT, day=day) for day in tenant.date_keys(FACT)}
    assert (cli.cwd / "parts" / "devices" / "devices.parquet").is_file()


@pytest.mark.parametrize("name", ["devices", FACT])
def test_stdout_is_the_file_and_nothing_else(cli: Cli, name: str) -> None:
    cli("pull", name, "-o", "file.csv").ok()
    piped = cli("pull", name, "-o", "-").ok()
    assert piped.stdout == (cli.cwd / "file.csv").read_bytes()
    assert "rows" in piped.err
    quiet = cli("pull", name, "-o", "-", "-q").ok()
    assert quiet.err == ""
    assert quiet.stdout == piped.stdout


@pytest.mark.parametrize(
    "command", ["pull devices -o -", f"pull {FACT} -o -", "pull --sandbox devices -o -", "collections -f csv"]
)
def test_head_ends_the_pipe_quietly(cli: Cli, command: str) -> None:
    env = cli.environment({"INTUNE_DW_URL": None} if "--sandbox" in command else None)
    ended = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {shlex.quote(INTUNE_DW)} {command} -q | head -1"],
        env=env, cwd=cli.cwd, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.stderr == b""
    assert ended.stdout.count(b"\n") == 1


def test_compressed_csv_unpacks_to_the_plain_file(cli: Cli) -> None:
    for path in ("d.csv", "d.csv.gz", "d.csv.zst"):
        cli("pull", FACT, "--days", 3, "-o", path).ok()
    cli("pull", FACT, "--days", 3, "-o", "by-option/", "--compression", "gzip").ok()
    plain = (cli.cwd / "d.csv").read_bytes()
    assert gzip.decompress((cli.cwd / "d.csv.gz").read_bytes()) == plain
    assert gzip.decompress((cli.cwd / "by-option" / f"{FACT}.csv.gz").read_bytes()) == plain
    assert pa.input_stream(str(cli.cwd / "d.csv.zst"), compression="zstd").read() == plain


def test_excel_files_open_without_running_or_mangling_a_cell(cli: Cli, hostile: SandboxProcess) -> None:
    cli("pull", "devices", "--excel", "-o", "x.csv", "--url", hostile.url).ok()
    cli("pull", "devices", "-o", "plain.csv", "--url", hostile.url).ok()
    data = (cli.cwd / "x.csv").read_bytes()
    assert data.startswith(b"\xef\xbb\xbf")
    excel = read_csv(data.removeprefix(b"\xef\xbb\xbf"))
    plain = read_csv((cli.cwd / "plain.csv").read_bytes())
    assert len(excel) == len(plain)
    texts = {p.name for p in hostile.tenant.model("devices").properties if p.type == "Edm.String"}
    for row, lossless in zip(excel[1:], plain[1:], strict=True):
        for name, cell, value in zip(plain[0], row, lossless, strict=True):
            assert cell in (value, "'" + value)
            if name in texts:
                assert not cell.lstrip().startswith(("=", "+", "-", "@")), cell
                assert not (cell.isdigit() and (cell.startswith("0") or len(cell) > 15) and cell != "0"), cell
    assert data.count(b"\r\n") >= len(plain)


def test_select_takes_names_in_any_case_and_keeps_the_order_given(cli: Cli, sandbox: SandboxProcess) -> None:
    cli("pull", "devices", "--select", "SERIALNUMBER,devicename, deviceKey", "-o", "s.csv").ok()
    header, *rows = read_csv((cli.cwd / "s.csv").read_bytes())
    assert header == ["serialNumber", "deviceName", "deviceKey"]
    assert rows == as_csv(sandbox.rows("devices"), header)
    said = cli("pull", "devices", "--select", "deviceNam", "-o", "t.csv").ok(2)
    assert "deviceName" in said.err


@pytest.mark.parametrize("top", [1, 51, 100_000])
def test_top_takes_so_many_rows_whatever_the_page(cli: Cli, sandbox: SandboxProcess, top: int) -> None:
    cli("pull", FACT, "--top", top, "-o", "t.csv").ok()
    header, *rows = read_csv((cli.cwd / "t.csv").read_bytes())
    assert rows == as_csv(sandbox.rows(FACT)[:top], header)


def test_modified_since_asks_the_service_for_what_changed(cli: Cli, sandbox: SandboxProcess) -> None:
    column = next(p.name for p in sandbox.tenant.model("devices").properties if "lastmodified" in p.name.lower())
    times = sorted(row[column] for row in sandbox.rows("devices") if row[column])
    since = times[len(times) // 2][:19] + "Z"
    cli("pull", "devices", "--modified-since", since, "-o", "m.csv").ok()
    header, *rows = read_csv((cli.cwd / "m.csv").read_bytes())
    wanted = [row for row in sandbox.rows("devices") if row[column] and row[column][:19] >= since[:19]]
    assert rows == as_csv(wanted, header)
    assert 0 < len(rows) < len(times)


@pytest.mark.parametrize(
    ("options", "days"),
    [
        (("--from", str(day_key(3))), range(3, -1, -1)),
        (("--to", (TODAY - dt.timedelta(days=6)).isoformat()), range(8, 5, -1)),
        (("--from", "-4d", "--to", "yesterday"), range(4, 0, -1)),
        (("--from", "today"), range(0, -1, -1)),
        (("--from", "2001-01-01", "--to", "2001-01-31"), range(0)),
    ],
)
def test_from_and_to_include_both_days(cli: Cli, options: tuple[str, ...], days: range) -> None:
    cli("pull", FACT, *options, "-o", "d.csv").ok()
    header, *rows = read_csv((cli.cwd / "d.csv").read_bytes())
    assert header[0] == "dateKey" or "dateKey" in header
    assert sorted({int(row[header.index("dateKey")]) for row in rows}) == [day_key(n) for n in days]


def test_json_is_one_object_with_the_documented_names(cli: Cli) -> None:
    summary = cli("pull", "devices", "users", "-o", "out/", "--json").ok().json
    assert {
        "version", "command", "state", "rows", "files", "bytes", "seconds", "wire_bytes", "retries", "throttled",
        "collections", "warnings", "errors",
    } <= set(summary)  # fmt: skip
    assert (summary["version"], summary["command"], summary["state"], summary["files"]) == (1, "pull", "complete", 2)
    assert {"name", "state", "rows", "files", "bytes", "missing"} <= set(summary["collections"][0])
    failed = cli("pull", "devcies", "--json").ok(2).json
    assert failed["state"] == "failed"
    assert {"type", "message", "hint", "exit_code"} <= set(failed["errors"][0])


def test_dry_run_fetches_no_rows_and_writes_nothing(cli: Cli, sandbox: SandboxProcess) -> None:
    mark = sandbox.mark()
    plan = cli("pull", FACT, "--days", 7, "--dry-run", "-o", "x/y.parquet", "--json").ok().json
    assert plan["dry_run"] is True
    assert len(plan["collections"][0]["slices"]) == 7
    assert plan["collections"][0]["output"] == str(Path("x/y.parquet"))
    assert not [t for t in sandbox.requests(mark) if FACT in t]
    assert list(cli.cwd.iterdir()) == []


@pytest.mark.parametrize("path", ["f.csv", "f.parquet"])
def test_a_failed_pull_leaves_no_file_and_does_not_touch_an_older_one(cli: Cli, serve: Serve, path: str) -> None:
    failing = serve("--page-size", 10, "--fault", "kind=403,page=3,times=0")
    said = cli("pull", "devices", "-o", path, "--url", failing.url).ok(4)
    assert said.err.count("error:") == 1
    assert list(cli.cwd.iterdir()) == []
    (cli.cwd / path).write_text("of yesterday")
    cli("pull", "devices", "-o", path, "--url", failing.url).ok(4)
    assert (cli.cwd / path).read_text() == "of yesterday"
    assert [p.name for p in cli.cwd.iterdir()] == [path]
    failing.heal()
    cli("pull", "devices", "-o", path, "--url", failing.url).ok()
    assert (cli.cwd / path).stat().st_size > 1000


def test_of_several_collections_the_good_ones_are_written_and_the_exit_code_is_partial(cli: Cli, serve: Serve) -> None:
    failing = serve("--fault", "kind=403,collection=users,times=0")
    said = cli("pull", "devices", "users", "-o", "out/", "--url", failing.url, "--json").ok(3)
    assert said.json["state"] == "partial"
    assert [p.name for p in (cli.cwd / "out").iterdir()] == ["devices.csv"]


ENVIRONMENT = {
    "INTUNE_DW_FORMAT": ("parquet", ("-f", "csv"), "devices.parquet", "devices.csv"),
    "INTUNE_DW_COMPRESSION": ("gzip", ("--compression", "none"), "devices.csv.gz", "devices.csv"),
    "INTUNE_DW_OUTPUT": ("a.csv", ("-o", "b.csv"), "a.csv", "b.csv"),
}


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_an_environment_name_works_and_a_flag_wins_over_it(cli: Cli, name: str) -> None:
    value, flag, by_environment, by_flag = ENVIRONMENT[name]
    cli("pull", "devices", env={name: value}).ok()
    assert [p.name for p in cli.cwd.iterdir()] == [by_environment]
    cli("pull", "devices", *flag, env={name: value}).ok()
    assert {p.name for p in cli.cwd.iterdir()} == {by_environment, by_flag}


def test_each_selecting_option_has_its_environment_name(cli: Cli) -> None:
    def rows(*args: object, **env: str) -> list[list[str]]:
        names = {f"INTUNE_DW_{key.upper()}": value for key, value in env.items()}
        return read_csv(cli("pull", *args, "-o", "-", env=names).ok().stdout)

    assert len(rows("devices", top="3")) == 4
    assert len(rows("devices", "--top", "2", top="3")) == 3
    assert rows("devices", select="devicename")[0] == ["deviceName"]
    assert rows("devices", "--select", "osVersion", select="devicename")[0] == ["oSVersion"]
    assert rows(FACT, days="2") == rows(FACT, "--days", 2)
    assert rows(FACT, "--days", 3, days="2") == rows(FACT, "--days", 3)
    assert rows(FACT, **{"from": "-1d", "to": "today"}) == rows(FACT, "--days", 2)
    assert rows(FACT, workers="1") == rows(FACT)


def test_connection_and_message_options_have_environment_names(cli: Cli, sandbox: SandboxProcess) -> None:
    bad = {"INTUNE_DW_URL": "http://127.0.0.1:9/DataWarehouseFEService"}
    cli("pull", "devices", "--url", sandbox.url, env=bad).ok()  # the flag wins
    assert cli("pull", "devices", env={"INTUNE_DW_QUIET": "1"}).ok().err == ""
    assert cli("pull", "devices", env={"INTUNE_DW_JSON": "1"}).ok().json["rows"] == 40
    cli("pull", "devices", env={"INTUNE_DW_FORMAT": "parquet"}).ok()
    assert (cli.cwd / "devices.parquet").is_file()
    assert cli("collections", env={"INTUNE_DW_FORMAT": "parquet"}).ok().out.startswith("collection")  # has another set
    cli("pull", "devices", env={"INTUNE_DW_LOG_FILE": "x.log"}).ok()
    assert (cli.cwd / "x.log").stat().st_size
    cli("pull", "devices", env={"INTUNE_DW_WORKERS": "0"}).ok(2)
    cli("pull", "devices", env={"INTUNE_DW_SANDBOX": "1", "INTUNE_DW_URL": None, "INTUNE_DW_ACCESS_TOKEN": None}).ok()
    asked = sandbox.mark()
    cli("pull", "devices", env={"INTUNE_DW_API_VERSION": "beta"}).ok()
    assert all("api-version=beta" in t for t in sandbox.requests(asked))
    cli("backup", "A", env={"INTUNE_DW_ONLY": "devices", "INTUNE_DW_TENANT": "contoso"}).ok()
    assert json.loads((cli.cwd / "A" / "manifest.json").read_bytes())["content"]["tenant"] == "contoso"


def test_the_module_runs_as_the_command_does(cli: Cli) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "intune_dw_cli", "--version"],
        capture_output=True,
        check=True,
        env=cli.environment(),
        timeout=30,
    )
    assert ended.stdout.startswith(b"intune-dw ")


def test_globs_and_a_selection_for_each_collection(cli: Cli, sandbox: SandboxProcess) -> None:
    chosen = (
        "--select",
        "devices=deviceKey,deviceName",
        "--select",
        "userKey",
        "--select",
        "*deviceAssoc*=deviceKey,userKey",
    )
    cli("pull", "device?", "user?", "userDevice*", *chosen, "-o", "out/").ok()
    assert sorted(p.name for p in (cli.cwd / "out").iterdir()) == [
        "devices.csv",
        "userDeviceAssociations.csv",
        "users.csv",
    ]
    for name, columns in (
        ("devices", ["deviceKey", "deviceName"]),
        ("users", ["userKey"]),
        ("userDeviceAssociations", ["deviceKey", "userKey"]),
    ):
        table = duckdb.sql(f"select * from read_csv('{cli.cwd}/out/{name}.csv', header=true, all_varchar=true)")
        assert table.columns == columns
        assert [list(row) for row in table.fetchall()] == as_csv(sandbox.rows(name), columns)
    said = cli("pull", "users", "--select", "devices=deviceKey", "-o", "x.csv").ok(2)
    assert "for no collection of this run" in said.err
    assert "matches no collection" in cli("pull", "nothing*").ok(2).err


def test_a_glob_with_days_takes_the_facts(cli: Cli) -> None:
    cli("pull", "policy*", "--days", "2", "-o", "out/").ok()
    assert sorted(p.stem for p in (cli.cwd / "out").iterdir()) == [
        "policyDeviceActivities",
        "policyTypeActivities",
        "policyUserActivities",
    ]
    assert "has a DateKey" in cli("pull", "user?", "--days", "2").ok(2).err
