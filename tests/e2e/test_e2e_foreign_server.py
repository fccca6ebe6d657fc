"""Any OData 4.0 server on loopback will do, whatever its manners."""

from __future__ import annotations

import datetime as dt
from typing import Any

import duckdb
import pytest
from foreign import Manners, serving
from harness import TODAY, Cli, by_name, day_key, read_csv

COLUMNS = ["Id", "Name", "dateKey", "Big", "Exact", "When", "On", "Mark", "Colour"]


def reading(number: int) -> dict[str, Any]:
    """A row; days go back from today, three rows a day, some beyond any retention."""
    return {
        "Id": 2**53 + 1 + number,
        "Name": None if number % 5 == 0 else ("" if number % 5 == 1 else f'n"{number}}},{{'),
        "dateKey": day_key(number // 3 if number < 60 else 400),
        "Big": None if number % 7 == 0 else -(2**63) + number,
        "Exact": None if number % 4 == 0 else number + 0.125,
        "When": (dt.datetime(2024, 1, 15, 8) + dt.timedelta(hours=number)).isoformat() + ".1234567Z",
        "On": number % 2 == 0,
        "Mark": f"00000000-0000-0000-0000-{number:012}",
        "Colour": "Red",
    }


READINGS = sorted((reading(n) for n in range(66)), key=lambda row: row["dateKey"])
PLACES = [{"Id": n, "Name": f"place {n}"} for n in range(20)]
DATA = {"readings": READINGS, "Places": PLACES}

MANNERS = {
    "plain": Manners(),
    "relative links": Manners(links="relative"),
    "links from the root": Manners(links="rooted", prefix="/x/DataWarehouseFEService"),
    "spaced json": Manners(spaced=True),
    "spaced json, relative links": Manners(spaced=True, links="relative", link_first=True),
    "int64 as text": Manners(int64_text=True),
    "annotations, text, spaces": Manners(annotated=True, int64_text=True, spaced=True, links="relative"),
    "one row a page": Manners(page_size=1),
    "filters ignored": Manners(filters="ignored"),
    "filters refused": Manners(filters="refused"),
    "gzip": Manners(packed=True),
    "no path": Manners(prefix=""),
    "another path": Manners(prefix="/odata/v4"),
}


def held(cli: Cli, expression: str) -> list[tuple[str | None, ...]]:
    columns = ", ".join(f'"{name}"' for name in COLUMNS)
    return sorted(
        duckdb.sql(
            f"select {columns} from read_csv('{cli.cwd}/{expression}', header=true, "
            "all_varchar=true, hive_partitioning=false, allow_quoted_nulls=false)"
        ).fetchall()
    )


def text(value: Any, column: str) -> str | None:
    if value is None:
        return None
    if column == "Exact":
        return f"{value:.6f}"
    return str(value).lower() if isinstance(value, bool) else str(value)


WANTED = sorted(tuple(text(row[c], c) for c in COLUMNS) for row in READINGS)


@pytest.mark.parametrize("manners", MANNERS)
def test_pull_and_backup_are_complete_and_right(lone_cli: Cli, manners: str) -> None:
    with serving(MANNERS[manners], DATA) as server:
        cli = Cli(lone_cli.home, lone_cli.cwd, server.url)
        cli("pull", "READINGS", "-o", "r.csv").ok()
        cli("pull", "readings", "--days", 4, "-o", "days.csv").ok()
        cli("backup", "A").ok()
    cli("verify", "A").ok()
    assert held(cli, "r.csv") == WANTED
    assert held(cli, "A/data/readings/**/*.csv") == WANTED
    days = [row[2] for row in read_csv((cli.cwd / "r.csv").read_bytes())[1:]]
    assert days == sorted(days)
    assert read_csv((cli.cwd / "A" / "data" / "Places" / "Places.csv").read_bytes())[1:] == [
        [str(r["Id"]), r["Name"]] for r in PLACES
    ]
    newest = read_csv((cli.cwd / "days.csv").read_bytes())[1:]
    assert sorted({r[2] for r in newest}) == [str(day_key(n)) for n in (3, 2, 1, 0)]
    assert len(newest) == 12
    kept = by_name(cli.cwd / "A")
    assert {n: c["rows"] for n, c in kept.items()} == {"readings": 66, "Places": 20}
    assert kept["readings"]["days"]["count"] >= 21


def test_a_server_without_metadata_is_read_by_what_its_rows_are(lone_cli: Cli) -> None:
    with serving(Manners(metadata=False), DATA) as server:
        cli = Cli(lone_cli.home, lone_cli.cwd, server.url)
        said = cli("pull", "readings", "-o", "r.csv").ok()
        cli("backup", "A").ok()
    assert "$metadata" in said.err
    cli("verify", "A").ok()
    for rows in (held(cli, "r.csv"), held(cli, "A/data/readings/**/*.csv")):
        assert [r[:4] + r[5:] for r in rows] == [w[:4] + w[5:] for w in WANTED]
        assert [r[4] and float(r[4]) for r in rows] == [w[4] and float(w[4]) for w in WANTED]


def test_parquet_has_the_declared_types(lone_cli: Cli) -> None:
    with serving(Manners(int64_text=True, annotated=True), DATA) as server:
        cli = Cli(lone_cli.home, lone_cli.cwd, server.url)
        cli("pull", "readings", "-o", "r.parquet").ok()
    table = duckdb.sql(f"select * from read_parquet('{cli.cwd}/r.parquet')")
    types = dict(zip(table.columns, map(str, table.types), strict=True))
    assert types == {
        "Id": "BIGINT",
        "Name": "VARCHAR",
        "dateKey": "INTEGER",
        "Big": "BIGINT",
        "Exact": "DECIMAL(20,6)",
        "When": "TIMESTAMP WITH TIME ZONE",
        "On": "BOOLEAN",
        "Mark": "VARCHAR",
        "Colour": "VARCHAR",
    }
    ids = duckdb.sql(f'select "Id", "Big" from read_parquet(\'{cli.cwd}/r.parquet\') order by 1').fetchall()
    assert ids == sorted((r["Id"], r["Big"]) for r in READINGS)


def test_only_the_documented_options_are_sent(lone_cli: Cli) -> None:
    with serving(Manners(), DATA) as server:
        cli = Cli(lone_cli.home, lone_cli.cwd, server.url)
        cli("pull", "readings", "--from", TODAY - dt.timedelta(days=2), "-o", "r.csv").ok()
        cli("collections").ok()
    options = {item.partition("=")[0] for target in server.seen for item in target.partition("?")[2].split("&")}
    assert options <= {"api-version", "$filter", "$skiptoken"}
    assert not any("+" in target or "%24" in target for target in server.seen)
