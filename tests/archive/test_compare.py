"""Proof before the move: the archive is what the service gives now, and where it is not, it is said how."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from intune_dw_cli.archive.backup import Connect, backup
from intune_dw_cli.archive.compare import Comparison, compare_with_service
from intune_dw_cli.archive.request import BackupRequest
from intune_dw_cli.data.formats import FileFormat
from intune_dw_cli.errors import ArchiveError
from intune_dw_cli.identity.tokens import StaticToken
from intune_dw_cli.sandbox import Fault, Sandbox, TenantConfig
from intune_dw_cli.service.feed import FeedUrl
from intune_dw_cli.service.retry import RequestPolicy
from intune_dw_cli.service.transport import Transport
from intune_dw_cli.service.warehouse import Warehouse

TODAY = dt.date(2024, 1, 31)
FACT = "devicePropertyHistories"


def connect_to(sandbox: Sandbox, source: str = "the feed") -> Connect:
    transport = Transport(StaticToken("any", origin="the test"), policy=RequestPolicy(first_wait=0.01, tries=2))
    feed = FeedUrl.parse(sandbox.feed_url, allowed_hosts=())
    return lambda service, metadata: Warehouse(
        feed, transport, source=source, service_document=service, metadata_document=metadata
    )


def tenant(devices: int = 30, *, hostile: bool = False) -> Sandbox:
    return Sandbox(TenantConfig(today=TODAY, devices=devices, days=5, hostile=hostile))


def compared(root: Path, sandbox: Sandbox, sample: int | None = None) -> list[Comparison]:
    return compare_with_service(root, connect_to(sandbox)(None, None), sample=sample, today=TODAY)


@pytest.mark.parametrize("fmt", [FileFormat(), FileFormat("csv", "gzip"), FileFormat("parquet")], ids=str)
def test_an_archive_equals_the_service_that_it_was_made_of(tmp_path: Path, fmt: FileFormat) -> None:
    with tenant(hostile=True) as sandbox:
        backup(BackupRequest(root=tmp_path / "A", format=fmt, today=TODAY), connect_to(sandbox))
        found = compared(tmp_path / "A", sandbox)
        assert {c.collection for c in found} == set(sandbox.tenant.collections())
        assert [c for c in found if not c.is_equal] == []
        assert sum(c.rows for c in found if c.collection == FACT) == sandbox.tenant.count(FACT)
    assert not list((tmp_path / "A" / ".intune-dw").glob("compare-*"))


@pytest.mark.parametrize("fmt", [FileFormat(), FileFormat("parquet")], ids=["csv", "parquet"])
def test_late_rows_and_changed_dimensions_are_counted_and_told_apart(tmp_path: Path, fmt: FileFormat) -> None:
    root = tmp_path / "A"
    with tenant(30) as sandbox:
        backup(BackupRequest(root=root, format=fmt, only=(FACT, "devices"), today=TODAY), connect_to(sandbox))
        before = {row["deviceKey"]: row for row in sandbox.tenant.rows("devices")}
    with tenant(40) as sandbox:
        found = {(c.collection, c.slice): c for c in compared(root, sandbox)}
        after = {row["deviceKey"]: row for row in sandbox.tenant.rows("devices")}
    devices = found["devices", "all"]
    assert devices.added == len(after.keys() - before.keys())
    assert devices.removed == len(before.keys() - after.keys())
    assert devices.changed == sum(before[key] != after[key] for key in before.keys() & after.keys())
    assert "dimension has changed" in str(devices)
    assert any(c.added for (name, _), c in found.items() if name == FACT)


def test_a_sample_is_the_same_for_the_same_seed_and_no_larger_than_asked(tmp_path: Path) -> None:
    with tenant() as sandbox:
        backup(BackupRequest(root=tmp_path / "A", today=TODAY), connect_to(sandbox))
        one, two = compared(tmp_path / "A", sandbox, 7), compared(tmp_path / "A", sandbox, 7)
    assert len(one) == 7
    assert one == two


def test_a_slice_that_cannot_be_read_again_says_why_and_the_others_are_compared(tmp_path: Path) -> None:
    root = tmp_path / "A"
    with tenant() as sandbox:
        backup(BackupRequest(root=root, only=("devices", "users"), today=TODAY), connect_to(sandbox))
        sandbox.add_fault(Fault.parse("kind=403,collection=devices,times=0"))
        devices, users = compared(root, sandbox)
    assert devices.error is not None
    assert "403" in str(devices)
    assert users.is_equal


def test_another_feed_is_refused(tmp_path: Path) -> None:
    with tenant() as sandbox:
        backup(BackupRequest(root=tmp_path / "A", only=("users",), today=TODAY), connect_to(sandbox))
        with pytest.raises(ArchiveError, match="the feed"):
            compare_with_service(tmp_path / "A", connect_to(sandbox, "another feed")(None, None))
