"""Whatever happens on the wire: after it has passed each row is there once, and while it lasts nothing is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from damage import FAULTS, HARMLESS, SLOW, Damage
from harness import Cli, Serve, running
from meddler import Heard, Meddle, Meddler, Piece, framed
from rig import FACT, SMALL, TODAY, Rig, Row, as_rows, read_rows, rows_of

from intune_dw_cli.errors import IntuneDwError
from intune_dw_cli.events import Retrying, Throttled
from intune_dw_cli.sandbox import Sandbox, ServerConfig, TenantConfig
from intune_dw_cli.sandbox.messages import Response

NAMES = (FACT, "users")


def patience(fault: str) -> dict[str, Any]:
    """Short time-outs where nothing else ends a fault."""
    return {"read_timeout": 1.0, "answer_timeout": 2.0} if fault in SLOW else {}


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    """A tenant with names in all scripts."""
    tenant = TenantConfig(today=TODAY, devices=SMALL.devices, days=SMALL.days, hostile=True)
    return Sandbox(tenant, ServerConfig(page_size=4))


@pytest.fixture(scope="module")
def wanted(sandbox: Sandbox) -> dict[str, list[Row]]:
    return {name: as_rows(sandbox.tenant.rows(name)) for name in NAMES}


def hurt(damage: Damage, *, later: bool, times: int) -> Meddle:
    """Damage the first or all later pages of both collections, each so many times."""

    def meddle(heard: Heard, true: Response) -> Response | Iterable[Piece] | None:
        meant = heard.collection in NAMES and heard.later == later and heard.nth <= times
        return damage(true) if meant else None

    return meddle


@pytest.mark.parametrize("later", [False, True], ids=["first pages", "later pages"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_passes_loses_no_row_and_doubles_none(
    sandbox: Sandbox, wanted: dict[str, list[Row]], tmp_path: Path, fault: str, later: bool
) -> None:
    with Meddler(sandbox, hurt(FAULTS[fault][0], later=later, times=1)) as server:
        rig = Rig(server.feed_url, workers=4, **patience(fault))
        result = rig.pull(tmp_path, *NAMES)
    assert result.errors == []
    assert {name: rows_of(result, name) for name in NAMES} == wanted
    assert all(FAULTS[fault][1] in event.reason for event in rig.of(Retrying))
    hurt_pages = Counter(heard.target for heard in server.heard if heard.collection in NAMES and heard.later == later)
    assert len(hurt_pages) >= 2
    assert set(hurt_pages.values()) == {2} or (fault in SLOW and min(hurt_pages.values()) == 2)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_lasts_is_named_and_leaves_no_file(sandbox: Sandbox, tmp_path: Path, fault: str) -> None:
    damage, says = FAULTS[fault]
    with Meddler(sandbox, hurt(damage, later=True, times=100)) as server:
        result = Rig(server.feed_url, workers=4, tries=2, **patience(fault)).pull(tmp_path, *NAMES)
    assert result.files == []
    assert {error.collection for error in result.errors} == set(NAMES)
    for error in result.errors:
        assert says in error.message
        assert error.request_id
        assert error.hint


@pytest.mark.parametrize("form", HARMLESS)
def test_an_odd_answer_that_holds_what_it_should_is_taken_at_once(
    sandbox: Sandbox, wanted: dict[str, list[Row]], tmp_path: Path, form: str
) -> None:
    def meddle(heard: Heard, true: Response) -> Response | Iterable[Piece] | None:
        return HARMLESS[form](true) if heard.collection in NAMES else None

    with Meddler(sandbox, meddle) as server:
        rig = Rig(server.feed_url)
        result = rig.pull(tmp_path, *NAMES)
    assert {name: rows_of(result, name) for name in NAMES} == wanted
    assert not rig.of(Retrying)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("says", ["utf-8", "utf-16"])
def test_utf_16_is_read_rightly_or_refused_whatever_it_says(
    sandbox: Sandbox, wanted: dict[str, list[Row]], tmp_path: Path, encoding: str, says: str
) -> None:
    """JSON between systems is UTF-8 (RFC 8259 8.1)."""

    def meddle(heard: Heard, true: Response) -> Iterable[Piece] | None:
        body = Response(200, true.body.decode().encode(encoding))
        return [framed(body, kind=f"application/json;charset={says}")] if heard.collection == "users" else None

    with Meddler(sandbox, meddle) as server:
        result = Rig(server.feed_url, tries=2).pull(tmp_path, *NAMES)
    assert rows_of(result, FACT) == wanted[FACT]
    if result.errors:
        assert isinstance(result.errors[0], IntuneDwError)
        assert rows_of(result, "users") == []
    else:
        assert rows_of(result, "users") == wanted["users"]


@pytest.mark.parametrize("count", [1, 5, 20])
@pytest.mark.parametrize("form", ["seconds", "date", "a day", "0", "absent"])
def test_429s_in_a_row_are_sat_out(
    sandbox: Sandbox, wanted: dict[str, list[Row]], tmp_path: Path, form: str, count: int
) -> None:
    cap, jitter = 0.03, 0.01
    headers = {
        "seconds": "7",
        "date": "Fri, 31 Dec 2099 23:59:59 GMT",
        "a day": "86400",
        "0": "0",
    }

    def meddle(heard: Heard, _true: Response) -> Response | None:
        if heard.collection not in NAMES or heard.nth > count:
            return None
        return Response(429, headers={"Retry-After": headers[form]} if form in headers else {})

    with Meddler(sandbox, meddle) as server:
        rig = Rig(server.feed_url, workers=4, first_wait=jitter, max_wait=jitter, max_retry_after=cap, tries=1)
        result = rig.pull(tmp_path, "users")
    assert rows_of(result, "users") == wanted["users"]
    throttled = rig.of(Throttled)
    assert not rig.of(Retrying)
    pages = {heard.target for heard in server.heard if heard.collection == "users"}
    assert len(throttled) == count * len(pages)
    if form in ("0", "absent"):
        assert all(event.wait <= jitter for event in throttled)
    else:
        assert all(cap <= event.wait <= cap + jitter for event in throttled)
    asked = {"0": 0.0, "seconds": 7.0, "a day": 86400.0}
    assert form in ("date", "absent") or {event.asked for event in throttled} == {asked[form]}
    assert {event.limit for event in throttled} <= {1, 2}


def test_a_service_that_asks_for_a_day_is_asked_again_in_minutes_and_both_are_said(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    sandbox = serve("--fault", "kind=429,retry-after=86400,collection=users,times=0", devices=5, days=2)
    with running(cli.start("backup", "A", "--only", "users", "--url", sandbox.url)) as process:
        assert process.stderr
        said = next(line for line in process.stderr if b"429" in line).decode()
        process.terminate()
        assert process.wait(20) == 130
    assert "86,400 s of patience" in said
    assert re.search(r"next attempt in 30[01] s", said)
    sandbox.heal()
    cli("backup", "A", "--only", "users", "--url", sandbox.url).ok()


def test_the_timeout_of_the_command_ends_silence_and_drips(cli: Cli, serve: Serve) -> None:
    sandbox = serve("--page-size", 5, devices=10, days=2)
    for page, fault in enumerate(
        ("kind=stall,seconds=30", "kind=stall,seconds=30,at=body", "kind=drip,seconds=0.2"), 1
    ):
        sandbox.fault(f"{fault},collection=users,page={page}")
    sandbox.fault("kind=drip,seconds=0.3,collection=$metadata")
    said = cli("pull", "users", "-o", "users.csv", "--timeout", 1, "--url", sandbox.url).ok()
    assert read_rows(cli.cwd / "users.csv") == as_rows(sandbox.rows("users"))
    for reason in ("did not answer in time", "nothing came for too long", "hardly anything came for too long"):
        assert reason in said.err
