"""Days: at midnight, on leap days, at the turn of the year, in every time zone, and keys that are no days at all."""

from __future__ import annotations

import datetime as dt
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from archives import FACT, back_up
from harness import STATE, Cli, SandboxProcess, as_csv, manifest, read_csv, tree
from named_service import serving

from intune_dw_cli.archive.verify import verify
from intune_dw_cli.data.datekey import to_date_key, today_in_utc
from intune_dw_cli.errors import InterruptedRunError
from intune_dw_cli.events import Event, SliceFinished
from intune_dw_cli.sandbox import Sandbox, ServerConfig, TenantConfig

DAY = dt.timedelta(days=1)
ZONES = {
    "UTC-12": "<-12>12",
    "UTC-3:30": "<-0330>3:30",
    "UTC": "UTC0",
    "UTC+5:45": "<+0545>-5:45",
    "UTC+14": "<+14>-14",
}
"""Time zones as POSIX spells them, with the sign the other way round: they need no database of zones."""
MIDNIGHTS = [dt.date(2023, 12, 31), dt.date(2024, 2, 28), dt.date(2024, 2, 29), dt.date(2023, 2, 28)]
NO_DAYS = [None, 0, -5, 19000101, 20240230, 20241301, 99991231, 99999999, 2**31 - 1]


def test_a_datekey_that_is_no_day_is_kept_and_no_gap(home: Path, tmp_path: Path) -> None:
    days = [20240113, 20240115]
    rows = [{"Id": number, "dateKey": key, "whose": "x"} for number, key in enumerate([*days, *NO_DAYS])]
    with serving({"things": rows}) as service:
        cli = Cli(home, tmp_path, service.url)
        for _ in range(2):
            cli("backup", "A", "-f", "csv", "--no-charts").ok()
            cli("verify", "A").ok()
    (held,) = manifest(tmp_path / "A")["collections"]
    assert held["rows"] == len(rows)
    assert held["days"] == {"first": 20240113, "last": 20240115, "count": 2}
    assert held["gaps"]["missing"] == [20240114]
    said = cli("status", "A").out
    assert "every fact is held up to 2024-01-15" in said
    report = (tmp_path / "A" / "report.html").read_text("utf-8")
    assert len(report) < 100_000
    assert not re.search(r"\b(?:1900|1899|9999)-", report)


# -- time zones -------------------------------------------------------------------------------------------------


def test_every_time_zone_gives_the_same_bytes(tenant: SandboxProcess, home: Path, tmp_path: Path) -> None:
    """At any moment, the day at one end of the world is not the day in UTC."""
    cli = Cli(home, tmp_path, tenant.url)
    choice = ("--only", FACT, "--only", "ownerTypes", "--only", "dates", "--from", "-3d", "--no-charts")

    def made(name: str, zone: str) -> dict[str, str]:
        day = today_in_utc()
        cli("backup", f"{name}/A", *choice, "--keep-dimensions", env={"TZ": zone}).ok()
        cli("pull", FACT, "--days", "2", "-f", "parquet", "-o", f"{name}/P.parquet", env={"TZ": zone}).ok()
        if today_in_utc() == day:
            return {p: digest for p, digest in tree(tmp_path / name).items() if STATE not in p}
        return made(f"{name}-again", zone)  # it was midnight

    trees = {name: made(name, ZONES[name]) for name in ("UTC-12", "UTC", "UTC+14")}
    assert len(trees["UTC"]) > 8
    assert {name: found for name, found in trees.items() if found != trees["UTC"]} == {}


@pytest.mark.parametrize("zone", ZONES)
def test_today_is_the_day_in_utc(home: Path, tmp_path: Path, zone: str) -> None:
    code = "import time; from intune_dw_cli.data.datekey import today_in_utc as t; "
    code += "print(time.strftime('%Y-%m-%d', time.gmtime()), t(), time.strftime('%Y-%m-%d', time.gmtime()))"
    environment = Cli(home, tmp_path).environment({"TZ": ZONES[zone]})
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    before, today, after = said.stdout.split()
    assert before <= today <= after


# -- midnight ---------------------------------------------------------------------------------------------------


@contextmanager
def small_tenant(today: dt.date) -> Iterator[Sandbox]:
    with Sandbox(TenantConfig(today=today, devices=12, days=4), ServerConfig(page_size=5)) as sandbox:
        yield sandbox


def after(slices: int, act: Callable[[], None]) -> Callable[[Event], None]:
    """Observe a run, and do something once so many slices are done."""
    done = []

    def observe(event: Event) -> None:
        if isinstance(event, SliceFinished):
            done.append(event)
            if len(done) == slices:
                act()

    return observe


def require_held(root: Path, sandbox: Sandbox, day: dt.date) -> None:
    """A day's rows are in the archive as the service has them."""
    part = root / "data" / FACT / f"dateKey={to_date_key(day)}" / "part.csv"
    header, *lines = read_csv(part.read_bytes())
    assert lines == as_csv(list(sandbox.tenant.rows(FACT, day=to_date_key(day))), header) != []


@pytest.mark.parametrize("last", MIDNIGHTS, ids=str)
@pytest.mark.parametrize("slices", [1, 20])
def test_a_run_over_midnight_is_of_the_day_it_began_and_the_next_has_the_rest(
    tmp_path: Path, last: dt.date, slices: int
) -> None:
    root = tmp_path / "A"
    with small_tenant(last) as sandbox:
        over = after(slices, lambda: sandbox.set_today(last + DAY))
        result = back_up(root, sandbox, today=last, observer=over, only=(FACT, "dates"))
        assert (result.manifest.state, result.manifest.as_of) == ("complete", str(last))
        assert verify(root).findings == ()
        result = back_up(root, sandbox, today=last + DAY, only=(FACT, "dates"))
        assert (result.manifest.state, result.manifest.as_of) == ("complete", str(last + DAY))
        assert verify(root).findings == ()
        for back in range(4):
            require_held(root, sandbox, last + DAY - back * DAY)
    gaps = result.manifest.collections[FACT].gaps(last + DAY)
    assert gaps is not None
    assert (gaps.missing, gaps.at_risk) == ((), ())
    assert gaps.last == to_date_key(last + DAY)


@pytest.mark.parametrize("last", MIDNIGHTS, ids=str)
def test_a_run_that_is_continued_after_midnight_is_what_it_would_have_been_before(
    tmp_path: Path, last: dt.date
) -> None:
    with small_tenant(last) as sandbox:
        back_up(tmp_path / "unbroken", sandbox, today=last)
        stop = threading.Event()
        with pytest.raises(InterruptedRunError):
            back_up(tmp_path / "A", sandbox, today=last, observer=after(5, stop.set), stop=stop, workers=1)
        result = back_up(tmp_path / "A", sandbox, today=last + DAY)
        assert result.resumed
    assert tree(tmp_path / "A") == tree(tmp_path / "unbroken")
