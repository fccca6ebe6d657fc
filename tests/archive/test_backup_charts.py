"""A backup and its trend charts: each independent, the missing ones named with their remedy, closed by hand."""

from __future__ import annotations

import datetime as dt
import threading
from pathlib import Path

import pytest

from intune_dw_cli.archive.attach import attach
from intune_dw_cli.archive.backup import BackupResult, backup
from intune_dw_cli.archive.request import BackupRequest
from intune_dw_cli.archive.status import archive_status
from intune_dw_cli.archive.verify import verify
from intune_dw_cli.errors import InterruptedRunError, UsageError
from intune_dw_cli.events import ChartSaved, Event
from intune_dw_cli.identity.tokens import StaticToken
from intune_dw_cli.sandbox import Sandbox, ServerConfig, TenantConfig
from intune_dw_cli.sandbox.config import GRAPH_PERMISSIONS, GraphConfig
from intune_dw_cli.service.export_jobs import ExportPolicy
from intune_dw_cli.service.feed import FeedUrl
from intune_dw_cli.service.graph import Graph
from intune_dw_cli.service.retry import RequestPolicy
from intune_dw_cli.service.transport import Transport
from intune_dw_cli.service.warehouse import Warehouse

TODAY = dt.date(2024, 1, 31)
LACKING = "DeviceManagementServiceConfig.Read.All"
REFUSED = GraphConfig(permissions=tuple(p for p in GRAPH_PERMISSIONS if p != LACKING))


def tenant(graph: GraphConfig | None = None) -> Sandbox:
    return Sandbox(TenantConfig(today=TODAY, devices=10, days=2), ServerConfig(graph=graph or GraphConfig()))


def run(
    root: Path,
    sandbox: Sandbox,
    *,
    charts: bool = True,
    source: str = "the feed",
    observer=lambda _event: None,
    stop=None,
) -> BackupResult:
    policy = RequestPolicy(first_wait=0.01, tries=2)
    transport = Transport(StaticToken("any", origin="the test"), policy=policy, stop=stop)
    feed = FeedUrl.parse(sandbox.feed_url, allowed_hosts=())
    graph = Graph(transport, sandbox.graph_url, exports=ExportPolicy.hurried()) if charts else None
    return backup(
        BackupRequest(root=root, only=("ownerTypes",), today=TODAY, tenant="contoso"),
        lambda service, metadata: Warehouse(
            feed, transport, source=source, service_document=service, metadata_document=metadata
        ),
        graph=graph,
        observer=observer,
        stop=stop,
    )


def tree(root: Path) -> dict[str, bytes]:
    files = (p for p in root.rglob("*") if p.is_file() and ".intune-dw" not in p.parts)
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in files}


def test_all_charts_are_saved_hashed_and_verified(tmp_path: Path) -> None:
    with tenant() as sandbox:
        manifest = run(tmp_path, sandbox).manifest
    assert manifest.state == "complete"
    assert {c.state for c in manifest.charts if not c.optional} == {"saved"}
    assert verify(tmp_path).findings == ()
    sums = (tmp_path / "SHA256SUMS").read_text(encoding="utf-8")
    chart = next(p for p in sorted(tree(tmp_path)) if p.startswith("charts/"))
    assert f"  {chart}\n" in sums
    (tmp_path / chart).write_bytes(b"damaged")
    assert [f.path for f in verify(tmp_path).findings] == [chart]


def test_a_missing_permission_leaves_one_item_to_be_closed_by_hand(tmp_path: Path) -> None:
    root, export = tmp_path / "A", tmp_path / "export.csv"
    export.write_text("user,accepted\n", encoding="utf-8")
    with tenant(REFUSED) as sandbox:
        manifest = run(root, sandbox).manifest
        assert manifest.state == "partial"
        assert [(c.item, c.permission) for c in manifest.open_charts] == [("terms-acceptance", LACKING)]
        assert verify(root).findings == ()
        assert [c.item for c in archive_status(root).open_charts] == ["terms-acceptance"]
        assert "terms-acceptance" in (root / "report.html").read_text(encoding="utf-8")
        assert attach(root, export, "terms-acceptance").state == "complete"
        assert (verify(root).state, verify(root).findings) == ("complete", ())
        assert (root / "charts" / "terms-acceptance" / "attached.csv").read_bytes() == export.read_bytes()
        assert run(root, sandbox).manifest.state == "complete"  # what was attached stays closed on later runs
    assert verify(root).findings == ()


def test_an_item_that_there_is_not_is_a_usage_error_and_changes_nothing(tmp_path: Path) -> None:
    root, export = tmp_path / "A", tmp_path / "export.csv"
    export.write_text("x\n", encoding="utf-8")
    with tenant() as sandbox:
        run(root, sandbox)
    before = tree(root)
    with pytest.raises(UsageError):
        attach(root, export, "no-such-item")
    with pytest.raises(UsageError):
        attach(root, tmp_path / "no-such-file.csv", "terms-acceptance")
    assert tree(root) == before


def test_without_charts_none_is_asked_for_and_none_makes_the_archive_partial(tmp_path: Path) -> None:
    with tenant(REFUSED) as sandbox:
        assert run(tmp_path, sandbox, charts=False).manifest.state == "complete"
        assert not [r for r in sandbox.requests if "deviceManagement" in r.target]
        assert run(tmp_path, sandbox).manifest.state == "partial"
        assert run(tmp_path, sandbox, charts=False).manifest.state == "complete"
    assert verify(tmp_path).findings == ()


def test_a_run_stopped_among_the_charts_continues_to_the_same_bytes(tmp_path: Path) -> None:
    stop, saved = threading.Event(), []

    def stop_after_three(event: Event) -> None:
        if isinstance(event, ChartSaved):
            saved.append(event.collection)
            if len(saved) == 3:
                stop.set()

    with tenant() as sandbox:
        run(tmp_path / "unbroken", sandbox)
        with pytest.raises(InterruptedRunError):
            run(tmp_path / "A", sandbox, observer=stop_after_three, stop=stop)
        mark = len(sandbox.requests)
        assert run(tmp_path / "A", sandbox).resumed
        again = [r.target for r in sandbox.requests[mark:]]
    assert len(saved) == 3
    assert not [target for target in again if "termsAndConditions" in target]  # the first item was safe
    assert tree(tmp_path / "A") == tree(tmp_path / "unbroken")


def test_charts_from_before_a_move_stay_beside_those_of_the_new_data_center(tmp_path: Path) -> None:
    with tenant() as sandbox:
        run(tmp_path, sandbox, source="https://old")
    before = {path: data for path, data in tree(tmp_path).items() if path.startswith("charts/")}
    with tenant() as sandbox:
        manifest = run(tmp_path, sandbox, source="https://new").manifest
    after = tree(tmp_path)
    assert before
    assert {path: after[path] for path in before} == before
    assert any(path.startswith("feed-2/charts/") for path in after)
    assert manifest.state == "complete"
    assert verify(tmp_path).findings == ()
