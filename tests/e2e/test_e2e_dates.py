"""`collections --dates`: the rows of each day, drawn, with gaps in colour and in words, from few requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from foreign import ForeignServer, Manners, serving
from harness import TODAY, Cli, SandboxProcess, day_key, read_csv

from intune_dw_cli.cli.sparkline import BLOCKS, LETTERS

EMPTY, THIN = 7, 12
"""Days ago without rows, and with few."""
SIZES = {back: 0 if back == EMPTY else 40 if back == THIN else 400 - back for back in range(20)}
PAGE = 50


def rows() -> list[dict[str, Any]]:
    days = ((back, n) for back, size in SIZES.items() for n in range(size))
    return [{"Id": back * 1000 + n, "Name": "x", "dateKey": day_key(back)} for back, n in days]


@pytest.fixture(scope="module")
def foreign() -> Iterator[ForeignServer]:
    with serving(Manners(page_size=PAGE, skips=True), {"readings": rows(), "Places": []}) as server:
        yield server


@pytest.fixture
def there(lone_cli: Cli, foreign: ForeignServer) -> Cli:
    lone_cli.url = foreign.url
    return lone_cli


def drawn(text: str) -> str:
    """The line of bars."""
    return next(line for line in text.splitlines() if line.startswith("  ") and "gap" not in line)


def test_every_fact_of_a_tenant_is_counted_exactly_with_one_request_a_day(cli: Cli, sandbox: SandboxProcess) -> None:
    before = sandbox.mark()
    document = cli("collections", "--dates", "--days", 12, "-f", "json").ok().json
    asked = [target for target in sandbox.requests(before) if "filter=" in target]
    facts = {f["collection"]: f for f in document["facts"]}
    assert set(facts) == {c.name for c in map(sandbox.tenant.model, sandbox.tenant.collections()) if c.kind == "fact"}
    for name in ("policyDeviceActivities", "userTermsAndConditionsAcceptances"):
        for day in facts[name]["days"]:
            assert day["rows_at_least"] == day["rows_at_most"] == len(sandbox.rows(name, day["date_key"]))
        assert len(facts[name]["days"]) == facts[name]["requests"] == 12
    assert all("$select=dateKey" in target for target in asked)
    assert len(asked) == 12 * len(facts)


def test_days_of_several_pages_are_known_to_a_tenth_from_few_requests(there: Cli, foreign: ForeignServer) -> None:
    before = len(foreign.seen)
    (fact,) = there("collections", "--dates", "--days", 20, "--workers", 1, "-f", "json").ok().json["facts"]
    asked = len(foreign.seen) - before
    for back, size in SIZES.items():
        day = next(d for d in fact["days"] if d["date_key"] == day_key(back))
        least, most = day["rows_at_least"], day["rows_at_most"]
        assert least <= size <= most <= least * 1.1
    assert fact["empty"] == [day_key(EMPTY)]
    assert fact["thin"] == [day_key(THIN)]
    assert fact["requests"] < asked <= fact["requests"] + 4  # the service document and $metadata besides
    # Reading them all would be 8 requests a day; a guess that is right costs 3.
    assert fact["requests"] < 100


def test_the_picture_has_a_bar_a_day_and_names_the_gaps(there: Cli) -> None:
    said = there("collections", "readings", "--dates", "--days", 20).ok()
    bars = drawn(said.out).removeprefix("  ")
    assert len(bars) == 20
    assert bars[19 - EMPTY] == "x"
    assert bars[19 - THIN] == BLOCKS[0]
    assert set(bars) - {"x"} <= set(BLOCKS)
    assert bars[-1] == BLOCKS[-1]
    (empty,) = [line for line in said.out.splitlines() if "no rows" in line]
    assert str(day_key(EMPTY)) in empty.replace("-", "")
    assert "the days around it" in said.out
    assert "\x1b" not in said.out
    assert "requests" in said.err


@pytest.mark.parametrize("env", [{"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "ascii"}])
def test_a_console_without_blocks_gets_letters(there: Cli, env: dict[str, str]) -> None:
    said = there("collections", "--dates", "--days", 20, env=env).ok()
    assert said.stdout.isascii()
    bars = drawn(said.out).removeprefix("  ")
    assert len(bars) == 20
    assert set(bars) <= {*LETTERS, "x"}


def test_csv_has_a_row_a_day(there: Cli) -> None:
    header, *lines = read_csv(there("collections", "--dates", "--days", 20, "-f", "csv").ok().out)
    assert header == ["collection", "date_key", "rows_at_least", "rows_at_most", "gap"]
    assert [line[1] for line in lines] == [str(day_key(back)) for back in reversed(range(20))]
    assert {line[1]: line[4] for line in lines if line[4]} == {
        str(day_key(EMPTY)): "empty",
        str(day_key(THIN)): "thin",
    }


def test_a_service_that_ignores_skip_gives_the_least_there_is(lone_cli: Cli) -> None:
    with serving(Manners(page_size=PAGE, skips=False), {"readings": rows()}) as server:
        lone_cli.url = server.url
        (fact,) = lone_cli("collections", "--dates", "--days", 3, "-f", "json").ok().json["facts"]
        said = lone_cli("collections", "--dates", "--days", 3).ok()
    assert [(d["rows_at_least"], d["rows_at_most"]) for d in fact["days"]] == [(PAGE, None)] * 3
    assert fact["requests"] == 4
    assert "or more rows" in said.out


@pytest.mark.parametrize("filters", ["refused", "ignored"])
def test_a_service_that_takes_no_filter_is_said_and_fails(lone_cli: Cli, filters: str) -> None:
    with serving(Manners(page_size=PAGE, filters=filters), {"readings": rows()}) as server:
        lone_cli.url = server.url
        said = lone_cli("collections", "--dates", "--days", 3, "-f", "json")
    assert said.code == 1
    assert json.loads(said.stdout)["facts"][0]["error"]
    assert "readings" in said.err


def test_what_has_no_days_is_a_usage_error(cli: Cli) -> None:
    assert "has no DateKey" in cli("collections", "devices", "--dates").ok(2).err
    assert "exclude each other" in cli("collections", "--dates", "--drift").ok(2).err
    assert "at least 1" in cli("collections", "--dates", "--days", 0).ok(2).err


def test_today_counts_as_the_last_day(there: Cli) -> None:
    (fact,) = there("collections", "--dates", "-f", "json").ok().json["facts"]
    assert fact["days"][-1]["date_key"] == int(TODAY.strftime("%Y%m%d"))
    assert len(fact["days"]) == 31
