from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pytest

from intune_dw_cli.archive.views import render_views
from intune_dw_cli.sandbox import Sandbox, ServerConfig, TenantConfig

JOINS = {
    "device_history": "devicePropertyHistories",
    "device_users": "devices",
    "policy_compliance_by_day": "compliancePolicyStatusDevicePerPolicyActivities",
    "app_install_states_by_day": "mobileAppInstallStatusCounts",
}
KINDS = {
    "csv": ["-f", "csv"],
    "gzip": ["-f", "csv", "--compression", "gzip"],
    "zstd": ["-f", "csv", "--compression", "zstd"],
    "parquet": ["-f", "parquet"],
}
ALWAYS = ["--keep-dimensions", "--no-charts"]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(TenantConfig(devices=60, days=4, hostile=True), ServerConfig(page_size=200)) as started:
        yield started


@pytest.fixture(scope="module")
def archives(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """An archive of each kind, made when it is first asked for. Tests read it; what they change is a copy."""
    return cache(lambda kind: make_archive(sandbox, tmp_path_factory.mktemp(kind), *KINDS[kind]))


@pytest.fixture(params=list(KINDS))
def archive(request: pytest.FixtureRequest, archives: Callable[[str], Path]) -> Path:
    return archives(request.param)


@pytest.fixture
def csv_archive(archives: Callable[[str], Path]) -> Path:
    return archives("csv")


def make_archive(sandbox: Sandbox, folder: Path, *options: str) -> Path:
    environment = {
        **{name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR") if name in os.environ},
        "HOME": str(folder),
        "USERPROFILE": str(folder),
        "INTUNE_DW_HOME": str(folder / "home"),
        "INTUNE_DW_URL": sandbox.feed_url,
        "INTUNE_DW_ACCESS_TOKEN": "any",
        "INTUNE_DW_QUIET": "1",
        "PYTHONUTF8": "1",
    }
    command = [sys.executable, "-m", "intune_dw_cli", "backup", str(folder / "archive"), *ALWAYS, *options]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (folder / "archive" / "manifest.json").is_file(), ended.stderr
    return folder / "archive"


def content_of(root: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / "manifest.json").read_text(encoding="utf-8"))["content"]
    return content


class Opened:
    """The views of an archive, made by running the statements in its folder as `duckdb -init` does."""

    def __init__(self, root: Path, content: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(root)
        self.sql = render_views(content)
        self._connection = duckdb.connect()
        for statement in self._connection.extract_statements(self.sql):
            self._connection.execute(statement)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql).fetchall()

    def one(self, sql: str) -> Any:
        return self.rows(sql)[0][0]

    def texts(self, view: str) -> list[tuple[Any, ...]]:
        """Every value as text. By way of a table: DuckDB 2 reads a CSV field that is cast to text as text at once."""
        name = '"' + view.replace('"', '""') + '"'
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE read_once AS SELECT * FROM {name}")
        return self.rows("SELECT COLUMNS(*)::VARCHAR FROM read_once ORDER BY ALL")

    def count(self, view: str) -> int:
        """The rows, with every value read as its type."""
        return len(self.texts(view))

    @property
    def views(self) -> list[str]:
        return [name for (name,) in self.rows("SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY ALL")]

    def types(self, view: str) -> dict[str, str]:
        return {row[0]: row[1] for row in self.rows(f'DESCRIBE "{view}"')}


def test_every_view_answers_with_the_rows_of_the_manifest(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = content_of(archive)
    opened = Opened(archive, content, monkeypatch)
    rows = {c["name"]: c["rows"] for c in content["collections"]}
    assert len(rows) == 42
    assert {view: opened.count(view) for view in opened.views if view in rows} == rows
    assert {view: opened.count(view) for view in JOINS} == {view: rows[base] for view, base in JOINS.items()}
    copied = {f"{c['name']}_history" for c in content["collections"] if c["snapshots"]}
    assert set(opened.views) == {*rows, *JOINS, *copied, "compliance_by_day", "current_device_users"}


def test_a_dated_copy_has_the_rows_and_types_of_its_day(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = content_of(archive)
    opened = Opened(archive, content, monkeypatch)
    copied = [c["name"] for c in content["collections"] if c["snapshots"]]
    assert len(copied) > 20
    for name in copied:
        types = opened.types(f"{name}_history")
        assert types.pop("asOf") == "DATE"
        assert types == opened.types(name)
        assert [row[1:] for row in opened.texts(f"{name}_history")] == opened.texts(name)
    assert opened.rows('SELECT DISTINCT "asOf"::VARCHAR FROM devices_history') == [(content["as_of"],)]


def test_types_are_those_of_the_metadata(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Opened(archive, content_of(archive), monkeypatch)
    types = opened.types("devices")
    assert types["deviceKey"] == "BIGINT"
    assert types["ownerTypeKey"] == "INTEGER"
    assert types["enrolledDateTime"] == "TIMESTAMP WITH TIME ZONE"
    assert types["isDeleted"] == "BOOLEAN"
    assert types["deviceName"] == "VARCHAR"
    assert opened.types("devicePropertyHistories")["dateKey"] == "INTEGER"
    assert opened.types("device_history")["day"] == "DATE"
    assert opened.types("compliance_by_day")["devices"] == "BIGINT"


def test_hostile_texts_come_back_as_served_and_null_is_not_empty_text(
    archive: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Opened(archive, content_of(archive), monkeypatch)
    served = {row["deviceKey"]: row["deviceName"] for row in sandbox.tenant.rows("devices")}
    assert dict(opened.rows("SELECT deviceKey, deviceName FROM devices")) == served
    columns = ("manufacturer", "model", "serialNumber")
    texts = [row[c] for row in sandbox.tenant.rows("devices") for c in columns]
    assert "" in texts
    assert None in texts
    found = [
        text for row in opened.rows(f"SELECT {', '.join(columns)} FROM devices ORDER BY deviceKey") for text in row
    ]
    assert found == [
        row[c] for row in sorted(sandbox.tenant.rows("devices"), key=lambda r: r["deviceKey"]) for c in columns
    ]


def test_csv_and_parquet_give_the_same_values(
    archives: Callable[[str], Path], csv_archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = archives("parquet")
    for view in ("devices", "devicePropertyHistories", "mamApplicationInstances", "users", "device_users"):
        text = Opened(csv_archive, content_of(csv_archive), monkeypatch).texts(view)
        assert Opened(other, content_of(other), monkeypatch).texts(view) == text


def test_names_of_states_are_those_of_the_lookups(
    csv_archive: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Opened(csv_archive, content_of(csv_archive), monkeypatch)
    names = {r["complianceStateKey"]: r["complianceStatus"] for r in sandbox.tenant.rows("complianceStates")}
    found = opened.rows("SELECT DISTINCT complianceStateKey, compliance_state FROM device_history")
    assert found
    assert all(names[key] == name for key, name in found)
    for column in ("owner_type", "device_category", "registration_state", "management_state"):
        assert opened.one(f"SELECT count(*) FROM device_history WHERE {column} IS NULL") == 0
    assert opened.one("SELECT count(*) FROM device_users WHERE registration_state IS NULL") == 0


def test_the_devices_of_a_day_add_up_and_so_do_the_shares(csv_archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Opened(csv_archive, content_of(csv_archive), monkeypatch)
    by_day = opened.rows("SELECT dateKey, sum(devices), sum(percent) FROM compliance_by_day GROUP BY ALL ORDER BY ALL")
    assert [row[:2] for row in by_day] == opened.rows(
        "SELECT dateKey, count(*) FROM devicePropertyHistories GROUP BY ALL ORDER BY ALL"
    )
    assert all(abs(percent - 100) < 0.1 for _, _, percent in by_day)


def test_the_current_user_is_the_newest_association_in_force(
    csv_archive: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Opened(csv_archive, content_of(csv_archive), monkeypatch)
    deleted = {(r["deviceKey"], r["userKey"]) for r in sandbox.tenant.rows("userDeviceAssociations") if r["isDeleted"]}
    current = opened.rows("SELECT deviceKey, userKey FROM current_device_users")
    assert current
    assert len({device for device, _ in current}) == len(current)
    in_force = {
        (r["deviceKey"], r["userKey"]) for r in sandbox.tenant.rows("userDeviceAssociations") if not r["isDeleted"]
    }
    assert set(current) <= in_force
    assert deleted


def test_a_filter_on_the_day_opens_the_file_of_that_day_only(
    csv_archive: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = copied(csv_archive, tmp_path)
    content = content_of(root)
    opened = Opened(root, content, monkeypatch)
    *others, newest = sorted((root / "data" / "devicePropertyHistories").glob("dateKey=*"))
    for folder in others:
        (folder / "part.csv").write_text("broken\n")
    key = int(newest.name.partition("=")[2])
    assert opened.one(f"SELECT count(*) FROM device_history WHERE dateKey = {key}") > 0


# -- archives made by hand ------------------------------------------------------------------------------------


def copied(root: Path, to: Path) -> Path:
    shutil.copytree(root, to / "copy")
    return to / "copy"


def entry(
    name: str,
    columns: dict[str, str],
    *files: tuple[str, str],
    root: Path | None = None,
    feed: int = 1,
    date_key: str | None = None,
    additional: bool = False,
) -> dict[str, Any]:
    """A collection's entry with one schema, its files written below the root."""
    parts = []
    for path, text in files:
        assert root
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8", newline="")
        day = re.search(r"dateKey=(\d+)", path)
        rows = text.count("\n") - 1
        parts.append({"path": path, "date_key": int(day[1]) if day else None, "rows": rows, "additional": additional})
    schema = {"columns": [{"name": n, "type": f"Edm.{t}"} for n, t in columns.items()], "key": [], "date_key": date_key}
    return {
        "name": name,
        "kind": "fact" if date_key else "dimension",
        "feed": feed,
        "rows": sum(p["rows"] for p in parts),
        "days": None,
        "schemas": [schema],
        "slices": [{"schema": 0, "parts": parts}],
    }


def merge(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """One entry with the schemas and slices of two."""
    moved = [{**s, "schema": len(first["schemas"])} for s in second["slices"]]
    return {
        **first,
        "rows": first["rows"] + second["rows"],
        "schemas": [*first["schemas"], *second["schemas"]],
        "slices": [*first["slices"], *moved],
    }


def opened_by_hand(root: Path, monkeypatch: pytest.MonkeyPatch, *entries: dict[str, Any], **more: Any) -> Opened:
    content = {"state": "complete", "as_of": "2024-03-10", "format": "csv", "collections": list(entries), **more}
    return Opened(root, content, monkeypatch)


HISTORY = {"dateKey": "Int32", "deviceKey": "Int64", "complianceStateKey": "Int32"}
STATES = {"complianceStateKey": "Int32", "complianceStatus": "String"}


def test_rows_of_two_feeds_are_told_apart_and_never_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        entry("complianceStates", STATES, ("data/s.csv", "a,b\n1,Compliant\n2,Error\n"), root=tmp_path),
        entry("complianceStates", STATES, ("data-2/s.csv", "a,b\n1,Error\n2,Compliant\n"), root=tmp_path, feed=2),
    ]
    for feed, folder, day in ((1, "data", 20240301), (2, "data-2", 20240302)):
        text = f"a,b,c\n{day},7,1\n{day},8,2\n{day},9,9\n"
        path = f"{folder}/h/dateKey={day}/part.csv"
        entries.append(
            entry("devicePropertyHistories", HISTORY, (path, text), root=tmp_path, feed=feed, date_key="dateKey")
        )
    opened = opened_by_hand(tmp_path, monkeypatch, *entries, feeds=["https://old.example/x", "https://new.example/y"])
    assert opened.rows("SELECT feed, dateKey, compliance_state, devices FROM compliance_by_day ORDER BY ALL") == [
        (1, 20240301, "Compliant", 1),
        (1, 20240301, "Error", 1),
        (1, 20240301, None, 1),
        (2, 20240302, "Compliant", 1),
        (2, 20240302, "Error", 1),
        (2, 20240302, None, 1),
    ]
    assert opened.count("devicePropertyHistories") == 6
    assert opened.rows("SELECT feed, url FROM feeds ORDER BY ALL") == [
        (1, "https://old.example/x"),
        (2, "https://new.example/y"),
    ]


def test_a_moved_real_archive_has_each_row_once_and_joins_that_do_not_multiply(
    csv_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = copied(csv_archive, tmp_path)
    shutil.copytree(root / "data", root / "data-2")
    content = content_of(root)
    moved = json.loads(json.dumps(content["collections"]).replace('"data/', '"data-2/'))
    content["collections"] += [{**c, "feed": 2} for c in moved]
    content["feeds"] = ["https://old.example", "https://new.example"]
    opened = Opened(root, content, monkeypatch)
    rows = {c["name"]: 2 * c["rows"] for c in moved}
    assert {view: opened.count(view) for view in rows} == rows
    assert {view: opened.count(view) for view in JOINS} == {view: rows[base] for view, base in JOINS.items()}
    assert opened.rows("SELECT feed, count(*) FROM device_history GROUP BY ALL ORDER BY ALL") == [
        (1, rows["devicePropertyHistories"] // 2),
        (2, rows["devicePropertyHistories"] // 2),
    ]


def test_a_join_takes_one_row_a_key_the_one_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = {**STATES, "isDeleted": "Boolean"}
    text = "a,b,c\n1,Gone,true\n1,Compliant,false\n1,Zero,false\n"
    opened = opened_by_hand(
        tmp_path,
        monkeypatch,
        entry("complianceStates", states, ("data/s.csv", text), root=tmp_path),
        entry("devicePropertyHistories", HISTORY, ("data/h.csv", "a,b,c\n20240301,7,1\n"), root=tmp_path),
    )
    assert opened.rows("SELECT compliance_state, devices, percent FROM compliance_by_day") == [("Compliant", 1, 100.0)]


def test_schema_variants_are_united_by_name_with_their_common_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = entry("devices", {"deviceKey": "Int32", "oSVersion": "String"}, ("d/1.csv", "a,b\n1,x\n"), root=tmp_path)
    new = entry(
        "devices",
        {"osVersion": "String", "deviceKey": "Int64", "added": "DateTimeOffset"},
        ("d/2.csv", 'a,b,c,_additional\ny,9007199254740993,2024-01-01T00:00:00+02:00,"{""n"":1}"\n'),
        root=tmp_path,
        additional=True,
    )
    opened = opened_by_hand(tmp_path, monkeypatch, merge(old, new))
    assert opened.types("devices")["deviceKey"] == "BIGINT"
    query = 'SELECT deviceKey, osVersion, epoch(added), "_additional" FROM devices ORDER BY ALL'
    assert opened.rows(query) == [
        (1, "x", None, None),
        (9007199254740993, "y", 1704060000.0, '{"n":1}'),
    ]


def test_null_and_empty_text_stay_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = 'k,t\n1,\n2,""\n3,NULL\n4,"a\n""b"", c"\n'
    held = entry("things", {"k": "Int32", "t": "String"}, ("d/t.csv", text), root=tmp_path)
    opened = opened_by_hand(tmp_path, monkeypatch, held)
    assert opened.rows("SELECT k, t FROM things ORDER BY k") == [(1, None), (2, ""), (3, "NULL"), (4, 'a\n"b", c')]


def test_a_time_without_zone_is_utc_and_the_seventh_decimal_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "t\n2024-01-01T00:00:00\n9999-12-31T23:59:59.9999999Z\n"
    held = entry("things", {"t": "DateTimeOffset"}, ("d/t.csv", text), root=tmp_path)
    opened = opened_by_hand(tmp_path, monkeypatch, held)
    assert opened.texts("things") == [
        ("2024-01-01 00:00:00+00",),
        ("9999-12-31 23:59:59.999999+00",),
    ]


def test_a_collection_without_rows_has_its_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header_only = entry("empty", {"k": "Int64", "at": "Date"}, ("d/e.csv", "k,at\n"), root=tmp_path)
    no_parts = entry("none", {"k": "Boolean"})
    unread = {**entry("unread", {}), "schemas": [], "slices": []}
    opened = opened_by_hand(tmp_path, monkeypatch, header_only, no_parts, unread)
    assert opened.types("empty") == {"k": "BIGINT", "at": "DATE"}
    assert opened.types("none") == {"k": "BOOLEAN"}
    assert opened.views == ["empty", "none"]
    assert "unread" in opened.sql


def test_rows_without_a_day_are_there_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [
        ("d/dateKey=20240301/part.csv", "a,b,c\n20240301,7,1\n"),
        ("d/dateKey=__HIVE_DEFAULT_PARTITION__/part.csv", "a,b,c\n,8,1\n"),
    ]
    held = entry("devicePropertyHistories", HISTORY, *files, root=tmp_path, date_key="dateKey")
    opened = opened_by_hand(tmp_path, monkeypatch, held)
    assert opened.rows("SELECT dateKey FROM devicePropertyHistories ORDER BY ALL") == [(20240301,), (None,)]


@pytest.mark.parametrize(
    ("column", "lookup_key"),
    [
        ("deviceRegistrationState", "deviceRegistrationStateKey"),
        ("deviceRegistrationStateKey", "deviceRegistrationStateKey"),
        ("DeviceRegistrationStateKey", "deviceregistrationstatekey"),
    ],
)
def test_other_spellings_of_a_foreign_key_join_too(
    column: str, lookup_key: str, csv_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = content_of(csv_archive)
    for held in content["collections"]:
        for schema in held["schemas"] if held["name"] in ("devices", "deviceRegistrationStates") else ():
            for declared in schema["columns"]:
                if declared["name"] in ("deviceRegistrationState", "deviceRegistrationStateKey"):
                    declared["name"] = column if held["name"] == "devices" else lookup_key
    opened = Opened(csv_archive, content, monkeypatch)
    assert opened.one("SELECT count(*) FROM device_users WHERE registration_state IS NULL") == 0


def test_a_view_is_left_out_where_a_collection_is_missing_and_the_file_says_so(
    csv_archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = content_of(csv_archive)
    content["collections"] = [c for c in content["collections"] if c["name"] not in ("ownerTypes", "appRevisions")]
    opened = Opened(csv_archive, content, monkeypatch)
    assert "device_history is left out: this archive lacks ownerTypes." in opened.sql
    assert not {"device_history", "device_users", "app_install_states_by_day"} & set(opened.views)
    assert {"compliance_by_day", "policy_compliance_by_day", "current_device_users"} <= set(opened.views)


def test_a_renamed_property_costs_its_column_only(csv_archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = content_of(csv_archive)
    for held in content["collections"]:
        for declared in held["schemas"][0]["columns"]:
            if held["name"] == "managementStates" and declared["name"] == "managementStateKey":
                declared["name"] = "somethingElse"
    opened = Opened(csv_archive, content, monkeypatch)
    assert "management_state" not in opened.types("device_history")
    assert "owner_type" in opened.types("device_history")
    assert "Without management_state: managementStates does not give it here." in opened.sql


EVIL = [
    'a"; DROP TABLE x; --',
    "it's",
    "line\nSELECT 1;\n.shell ls",
    "\u202egnp",
    "a\x00b",
    "\ud800",
    "Devices",
    "devices",
    "feed",
    "feeds",
    "device_history",
    "*/ /*",
]


def test_hostile_names_are_names_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = dict.fromkeys([*EVIL, "Feed", "dateKey", "DATEKEY", "day"], "String")
    text = ",".join("h" for _ in columns) + "\n" + ",".join("v" for _ in columns) + "\n"
    entries = [entry(name, columns, (f"d/{number}-it's.csv", text), root=tmp_path) for number, name in enumerate(EVIL)]
    for feed in (1, 2):
        held = [{**e, "feed": feed} for e in entries]
        opened = opened_by_hand(tmp_path, monkeypatch, *entries, *(held if feed == 2 else ()), tool=EVIL[2])
        counts = {opened.count(view) for view in opened.views if not view.startswith("feeds")}
        assert len(opened.views) >= len(EVIL)
        assert counts == {feed}
        opened.sql.encode()
        assert all(
            line.startswith(("--", "CREATE", "SELECT", "SET", "UNION", " ", ")"))
            for line in opened.sql.split("\n")
            if line
        )


def test_the_same_manifest_gives_the_same_text_whatever_the_order_of_its_keys(csv_archive: Path) -> None:
    content = content_of(csv_archive)
    assert render_views(content) == render_views(json.loads(json.dumps(content, sort_keys=True)))


def test_each_view_is_described(csv_archive: Path) -> None:
    sql = render_views(content_of(csv_archive))
    for match in re.finditer(r"^CREATE OR REPLACE VIEW", sql, re.M):
        assert sql[: match.start()].splitlines()[-1].startswith("-- ")
    assert "Personal data: deviceId, deviceName" in sql


def test_a_partial_archive_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = {**entry("things", {"k": "Int32"}, ("d/t.csv", "k\n1\n"), root=tmp_path), "state": "partial"}
    assert "INCOMPLETE" in opened_by_hand(tmp_path, monkeypatch, held).sql


def test_an_archive_without_collections_has_no_views(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Opened(tmp_path, {}, monkeypatch).views == []


# -- dated copies ---------------------------------------------------------------------------------------------


def with_copies(root: Path, held: dict[str, Any], *days: tuple[int, str], folder: str = "history") -> dict[str, Any]:
    """The entry with dated copies that have these texts."""
    copies = []
    for day, text in days:
        path = f"{folder}/{held['name']}/asOf={day}/part.csv"
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8", newline="")
        copies.append({"path": path, "date_key": None, "rows": text.count("\n") - 1, "bytes": len(text)})
    return {**held, "snapshots": copies}


def test_dated_copies_are_read_by_their_columns_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {"k": "Int64", "t": "String", "added": "Boolean"}
    held = entry("things", columns, ("data/t.csv", "k,t,added\n1,x,true\n"), root=tmp_path)
    held = with_copies(
        tmp_path,
        held,
        (20240301, 't,k,gone\n"#a, ""b""\nc",1,7\n,2,\n"",3,8\n'),
        (20240302, "k,t,added\n"),
        (20240303, "k,t,added\n#1,x,true\n".replace("#1", "9007199254740993")),
    )
    opened = opened_by_hand(tmp_path, monkeypatch, held)
    assert opened.types("things_history") == {
        "asOf": "DATE",
        "k": "BIGINT",
        "t": "VARCHAR",
        "added": "BOOLEAN",
        "gone": "VARCHAR",
    }
    assert opened.rows("SELECT * FROM things_history ORDER BY ALL") == [
        (dt.date(2024, 3, 1), 1, '#a, "b"\nc', None, "7"),
        (dt.date(2024, 3, 1), 2, None, None, None),
        (dt.date(2024, 3, 1), 3, "", None, "8"),
        (dt.date(2024, 3, 3), 9007199254740993, "x", True, None),
    ]


def test_a_filter_on_the_day_of_the_copy_opens_that_copy_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = entry("things", {"k": "Int32"}, ("data/t.csv", "k\n1\n"), root=tmp_path)
    opened = opened_by_hand(
        tmp_path, monkeypatch, with_copies(tmp_path, held, (20240301, "k\nbroken\n"), (20240302, "k\n2\n"))
    )
    assert opened.rows("SELECT k FROM things_history WHERE \"asOf\" = '2024-03-02'") == [(2,)]


def test_dated_copies_of_two_feeds_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = []
    for feed, folder in ((1, ""), (2, "-2")):
        path = f"data{folder}/t.csv"
        held = entry("things", {"k": "Int32"}, (path, "k\n1\n"), root=tmp_path, feed=feed)
        entries.append(with_copies(tmp_path, held, (20240300 + feed, f"k\n{feed}\n"), folder=f"history{folder}"))
    opened = opened_by_hand(tmp_path, monkeypatch, *entries, feeds=["https://old.example", "https://new.example"])
    query = 'SELECT feed, "asOf"::VARCHAR, k FROM things_history ORDER BY ALL'
    assert opened.rows(query) == [(1, "2024-03-01", 1), (2, "2024-03-02", 2)]


def test_a_collection_with_an_as_of_of_its_own_has_no_view_of_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = entry("things", {"asof": "String"}, ("data/t.csv", "asof\nx\n"), root=tmp_path)
    opened = opened_by_hand(tmp_path, monkeypatch, with_copies(tmp_path, held, (20240301, "asof\nx\n")))
    assert opened.views == ["things"]
    assert "things_history is left out: things has a property asOf of its own." in opened.sql


def duckdb_command() -> str:
    """The command that the package duckdb-cli puts beside the interpreter, or one on PATH."""
    folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which("duckdb", path=folders)
    assert found, "the duckdb command is missing: install the extra `test`"
    return found


def test_the_command_of_the_header_works(csv_archive: Path) -> None:
    assert (csv_archive / "views.sql").read_text(encoding="utf-8") == render_views(content_of(csv_archive))
    command = [duckdb_command(), "-init", "views.sql", "-csv", "-c", "SELECT count(*) > 0 FROM compliance_by_day"]
    ended = subprocess.run(command, cwd=csv_archive, capture_output=True, text=True, check=True)
    assert ended.stdout.split()[-1] == "true"
