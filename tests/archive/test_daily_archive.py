"""Run day after day, an archive never forgets: each day once; restated days replace, shrunken ones do not."""

from __future__ import annotations

import csv
import datetime as dt
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from intune_dw_cli.archive.backup import BackupResult, Connect, backup
from intune_dw_cli.archive.journal import Journal, RunHeader
from intune_dw_cli.archive.layout import Layout
from intune_dw_cli.archive.manifest import read_manifest
from intune_dw_cli.archive.request import BackupRequest
from intune_dw_cli.archive.status import archive_status
from intune_dw_cli.archive.verify import verify
from intune_dw_cli.data.datekey import to_date_key
from intune_dw_cli.errors import ArchiveError
from intune_dw_cli.identity.tokens import StaticToken
from intune_dw_cli.sandbox import Sandbox, TenantConfig
from intune_dw_cli.service.feed import FeedUrl
from intune_dw_cli.service.transport import Transport
from intune_dw_cli.service.warehouse import Warehouse

START = dt.date(2024, 1, 1)
FACTS = ("devicePropertyHistories", "policyDeviceActivities")
CHOICE = (*FACTS, "devices")
OLD_FEED = "https://fef.msua01.manage.microsoft.com/ReportingService/DataWarehouseFEService"
NEW_FEED = "https://fef.msub07.manage.microsoft.com/ReportingService/DataWarehouseFEService"


@contextmanager
def tenant(today: dt.date, *, devices: int = 30, days: int = 7, seed: int = 1) -> Iterator[Sandbox]:
    with Sandbox(TenantConfig(today=today, devices=devices, days=days, seed=seed)) as sandbox:
        yield sandbox


def connect_to(sandbox: Sandbox, source: str = OLD_FEED) -> Connect:
    transport = Transport(StaticToken("any", origin="the test"))
    feed = FeedUrl.parse(sandbox.feed_url, allowed_hosts=())

    def connect(service: bytes | None, metadata: bytes | None) -> Warehouse:
        return Warehouse(feed, transport, source=source, service_document=service, metadata_document=metadata)

    return connect


def run(root: Path, sandbox: Sandbox, today: dt.date, source: str = OLD_FEED, **more: object) -> BackupResult:
    request = BackupRequest(root=root, only=CHOICE, today=today, tenant="contoso", **more)  # type: ignore[arg-type]
    return backup(request, connect_to(sandbox, source))


def held_days(root: Path, fact: str) -> dict[int, list[dict[str, str]]]:
    """Return the rows of each day as the csv module reads them."""
    days = {}
    for part in sorted((root / "data" / fact).glob("dateKey=*/part.csv")):
        with part.open(encoding="utf-8", newline="") as file:
            days[int(part.parent.name.removeprefix("dateKey="))] = list(csv.DictReader(file))
    return days


def as_csv(row: dict[str, object]) -> dict[str, str]:
    return {k: "" if v is None else str(v).lower() if isinstance(v, bool) else str(v) for k, v in row.items()}


def test_thirty_days_of_daily_runs_hold_every_day_once_as_it_was_served(tmp_path: Path) -> None:
    root, served = tmp_path / "A", {}
    with tenant(START) as sandbox:
        for offset in range(30):
            today = START + dt.timedelta(days=offset)
            sandbox.set_today(today)
            for fact in FACTS:
                for day in sandbox.tenant.date_keys(fact):
                    served[fact, day] = [as_csv(row) for row in sandbox.tenant.rows(fact, day=day)]
            before = len(sandbox.requests)
            assert run(root, sandbox, today).manifest.state == "complete"
            if offset > 1:
                asked = [r.target for r in sandbox.requests[before:] if "%20eq%20" in r.target]
                # The last two held days and the new one, however long the history.
                assert len(asked) == 3 * len(FACTS)
    for fact in FACTS:
        held = {day: rows for day, rows in held_days(root, fact).items() if rows}
        assert held == {day: rows for (name, day), rows in served.items() if name == fact and rows}
        assert len(held) >= 36
    result = verify(root)
    assert (result.state, result.findings) == ("complete", ())
    manifest = read_manifest(root / "manifest.json")
    assert manifest is not None
    gaps = manifest.collections["devicePropertyHistories"].gaps(START + dt.timedelta(days=29))
    assert gaps is not None
    assert gaps.is_whole


def test_a_restated_day_replaces_and_a_shrunken_one_does_not(tmp_path: Path) -> None:
    root, day = tmp_path / "A", to_date_key(START)
    with tenant(START, devices=30) as sandbox:
        run(root, sandbox, START)
    first = held_days(root, "devicePropertyHistories")[day]
    with tenant(START, devices=60) as sandbox:
        run(root, sandbox, START)
        restated = [as_csv(r) for r in sandbox.tenant.rows("devicePropertyHistories", day=day)]
    assert len(restated) > len(first)
    assert held_days(root, "devicePropertyHistories")[day] == restated
    with tenant(START, devices=10) as sandbox:
        result = run(root, sandbox, START)
    assert held_days(root, "devicePropertyHistories")[day] == restated
    warned = result.manifest.collections["devicePropertyHistories"].warnings
    assert any("fewer rows than held" in text for text in warned)
    path = f"data/devicePropertyHistories/dateKey={day}/part.csv"
    layout, documents = Layout(root), dict(result.manifest.documents)
    aside = root / ".intune-dw" / "smaller" / path
    assert aside.is_file()
    assert verify(root).findings == ()
    data = aside.read_bytes()
    aside.write_bytes(data[:-3] + b"x\n\n")
    assert [(f.stage, f.path) for f in verify(root).findings] == [("hashes", aside.relative_to(root).as_posix())]
    aside.write_bytes(data)
    with tenant(START, devices=12) as sandbox:  # still smaller, but another file: the record follows
        run(root, sandbox, START)
    assert aside.read_bytes() != data
    assert verify(root).findings == ()
    journal = Journal.begin(layout.journal, RunHeader(result.manifest.identity, START.isoformat(), documents, {}))
    journal.announce([path])  # a run that was stopped while it may have replaced the file
    journal.close()
    aside.write_bytes(data)
    assert verify(root).findings == ()
    layout.journal.unlink()
    shutil.rmtree(root / ".intune-dw" / "smaller")  # extra: who deletes it damages nothing
    assert verify(root).findings == ()


def test_days_between_two_runs_that_the_service_has_dropped_are_named_as_lost(tmp_path: Path) -> None:
    root, later = tmp_path / "A", START + dt.timedelta(days=100)
    with tenant(START) as sandbox:
        run(root, sandbox, START)
        sandbox.set_today(later)
        manifest = run(root, sandbox, later).manifest
    gaps = manifest.collections["policyDeviceActivities"].gaps(later)
    assert gaps is not None
    assert to_date_key(START + dt.timedelta(days=1)) in gaps.lost
    assert archive_status(root).gaps["policyDeviceActivities"].lost == gaps.lost


def test_after_a_move_the_archive_goes_on_and_keeps_the_two_feeds_apart(tmp_path: Path) -> None:
    root, moved = tmp_path / "A", START + dt.timedelta(days=3)
    with tenant(START) as sandbox:
        run(root, sandbox, START)
        before = {p: p.read_bytes() for p in root.glob("data/**/*.csv")}
    with tenant(moved, seed=2, days=2) as sandbox:  # reset: other keys, hardly any history
        manifest = run(root, sandbox, moved, NEW_FEED).manifest
        assert manifest.feeds == [OLD_FEED, NEW_FEED]
        new_rows = sandbox.tenant.count("devicePropertyHistories")
        again = run(root, sandbox, moved, NEW_FEED).manifest  # and goes on as one archive
    assert {p: p.read_bytes() for p in root.glob("data/**/*.csv")} == before
    assert (again.state, verify(root).findings) == ("complete", ())
    old_rows = sum(h.rows for h in again.former if h.name == "devicePropertyHistories")
    connection = duckdb.connect()
    connection.execute(f"SET file_search_path = '{root}'")
    connection.execute((root / "views.sql").read_text(encoding="utf-8"))
    found = connection.execute('SELECT feed, count(*) FROM "devicePropertyHistories" GROUP BY 1 ORDER BY 1').fetchall()
    assert found == [(1, old_rows), (2, new_rows)]


def test_a_killed_first_run_after_a_move_is_continued(tmp_path: Path) -> None:
    root, moved = tmp_path / "A", START + dt.timedelta(days=3)
    with tenant(START) as sandbox:
        run(root, sandbox, START)
    with tenant(moved, seed=2) as sandbox:
        done = run(root, sandbox, moved, NEW_FEED)
        files = {p: p.read_bytes() for p in root.rglob("*") if p.is_file() and ".intune-dw" not in p.parts}
        assert done.manifest.state == "complete"
        assert run(root, sandbox, moved, NEW_FEED).manifest.feeds == [OLD_FEED, NEW_FEED]
    assert files.keys() == {p for p in root.rglob("*") if p.is_file() and ".intune-dw" not in p.parts}


def test_dimensions_keep_a_dated_history_only_where_that_is_asked_for(tmp_path: Path) -> None:
    root = tmp_path / "A"
    with tenant(START) as sandbox:
        run(root, sandbox, START)
        assert not (root / "history").exists()
        for offset in (1, 2):
            sandbox.set_today(START + dt.timedelta(days=offset))
            run(root, sandbox, START + dt.timedelta(days=offset), keep_dimensions=True)
            kept = root / "history" / "devices" / f"asOf=2024010{1 + offset}" / "part.csv"
            assert kept.read_bytes() == (root / "data" / "devices" / "devices.csv").read_bytes()
        run(root, sandbox, START + dt.timedelta(days=2))
    result = verify(root)
    assert result.findings == ()
    kept.write_bytes(b"damaged")
    assert [f.path for f in verify(root).findings] == ["history/devices/asOf=20240103/part.csv"]


def test_a_run_that_does_not_know_the_tenant_opens_the_archive_to_no_other(tmp_path: Path) -> None:
    root = tmp_path / "A"
    with tenant(START, days=2) as sandbox:
        for known in ("contoso", None):
            request = BackupRequest(root=root, only=("ownerTypes",), today=START, tenant=known)
            assert backup(request, connect_to(sandbox)).manifest.identity.tenant == "contoso"
        with pytest.raises(ArchiveError, match="contoso"):
            backup(BackupRequest(root=root, only=("ownerTypes",), today=START, tenant="fabrikam"), connect_to(sandbox))
