"""An archive with redacted personal data: never mixed, provable, comparable, and joins still work."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from intune_dw_cli.archive.attach import attach
from intune_dw_cli.archive.backup import BackupResult, backup
from intune_dw_cli.archive.compare import compare_with_service
from intune_dw_cli.archive.request import BackupRequest
from intune_dw_cli.archive.status import archive_status
from intune_dw_cli.archive.verify import verify
from intune_dw_cli.data.formats import FileFormat
from intune_dw_cli.data.redact import Redaction
from intune_dw_cli.errors import ArchiveError, InterruptedRunError, UsageError
from intune_dw_cli.events import Event, PartCommitted, Warned
from intune_dw_cli.identity.secret import Secret
from intune_dw_cli.identity.tokens import StaticToken
from intune_dw_cli.sandbox import Fault, Sandbox, TenantConfig
from intune_dw_cli.service.export_jobs import ExportPolicy
from intune_dw_cli.service.feed import FeedUrl
from intune_dw_cli.service.graph import Graph
from intune_dw_cli.service.transport import Transport
from intune_dw_cli.service.warehouse import Warehouse

TODAY = dt.date(2024, 1, 31)
KEY = Secret("correct horse battery staple, and more of it")
HASH = Redaction("hash", KEY)
OTHER = Redaction("hash", Secret("another key that is quite as long as the first"))
DROP = Redaction("drop")
ONLY = ("devices", "users", "mamApplicationInstances", "devicePropertyHistories")


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with Sandbox(TenantConfig(today=TODAY, devices=30, days=4, seed=3)) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared: Sandbox) -> Iterator[Sandbox]:
    yield shared
    shared.clear_faults()


def warehouse(sandbox: Sandbox, service: bytes | None = None, metadata: bytes | None = None) -> Warehouse:
    feed = FeedUrl.parse(sandbox.feed_url, allowed_hosts=())
    transport = Transport(StaticToken("any", origin="the test"))
    return Warehouse(feed, transport, source="the feed", service_document=service, metadata_document=metadata)


def run(root: Path, sandbox: Sandbox, redaction: Redaction | None, **more: Any) -> BackupResult:
    options: dict[str, Any] = {"format": FileFormat("parquet"), "only": ONLY, "today": TODAY}
    calls = {name: more.pop(name) for name in ("graph", "observer", "connect") if name in more}
    connect = calls.pop("connect", lambda service, metadata: warehouse(sandbox, service, metadata))
    return backup(BackupRequest(root=root, redaction=redaction, **options | more), connect, **calls)


def content(root: Path) -> dict[str, Any]:
    found = json.loads((root / "manifest.json").read_bytes())["content"]
    assert isinstance(found, dict)
    return found


def texts(root: Path) -> str:
    """Every cell of every Parquet file, and the whole of every other file, as one text."""
    found = []
    for path in root.rglob("*"):
        if path.suffix == ".parquet":
            found.append(str(pq.read_table(path, partitioning=None).to_pylist()))
        elif path.name == "manifest.json":  # ASCII, so that a name may be written in escapes
            found.append(json.dumps(json.loads(path.read_bytes()), ensure_ascii=False))
        elif path.is_file():
            found.append(path.read_text("utf-8", "replace"))
    return "\n".join(found).casefold()


def personal_values(sandbox: Sandbox) -> set[str]:
    names = {
        "users": ("userId", "userEmail", "userPrincipalName", "displayName"),
        "devices": ("deviceId", "deviceName", "serialNumber", "phoneNumber", "userId"),
        "devicePropertyHistories": ("deviceName",),
        "mamApplicationInstances": ("userId", "mamDeviceName"),
    }
    values = {row.get(n) for collection, ns in names.items() for row in sandbox.tenant.rows(collection) for n in ns}
    return {str(value).casefold() for value in values if value}


@pytest.mark.parametrize("redaction", [HASH, DROP], ids=["hash", "drop"])
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_nothing_personal_is_anywhere_in_the_archive_and_it_verifies(
    tmp_path: Path, sandbox: Sandbox, redaction: Redaction, form: Any
) -> None:
    values = personal_values(sandbox)
    assert len(values) > 100
    run(tmp_path / "plain", sandbox, None, format=FileFormat(form))
    assert not {v for v in values if v not in texts(tmp_path / "plain")}
    root = tmp_path / "A"
    run(root, sandbox, redaction, format=FileFormat(form), keep_dimensions=True)
    told = texts(root)
    assert not {v for v in values if v in told}
    assert KEY.reveal() not in told
    result = verify(root)
    assert (result.state, result.findings) == ("complete", ())
    assert archive_status(root).redaction == redaction.label == content(root)["redaction"]
    compared = compare_with_service(root, warehouse(sandbox), sample=None, today=TODAY, redaction_key=KEY)
    assert compared
    assert all(c.is_equal for c in compared)


def test_the_manifest_says_which_columns_are_text_now_or_gone(tmp_path: Path, sandbox: Sandbox) -> None:
    schemas = {}
    for redaction in (HASH, DROP):
        run(tmp_path / redaction.mode, sandbox, redaction)
        held = {c["name"]: c for c in content(tmp_path / redaction.mode)["collections"]}
        schemas[redaction.mode] = held["users"]["schemas"][0]
    assert schemas["hash"]["redacted"] == ["userId", "userEmail", "userPrincipalName", "displayName"]
    types = {c["name"]: c["type"] for c in schemas["hash"]["columns"]}
    assert types["userId"] == "Edm.String"  # a Guid on the service
    assert schemas["drop"]["redacted"] == schemas["hash"]["redacted"]
    assert "userId" not in {c["name"] for c in schemas["drop"]["columns"]}
    file = pq.ParquetFile(tmp_path / "hash/data/users/users.parquet")
    assert file.schema_arrow.metadata[b"intune_dw.redaction"].decode() == HASH.label


def test_joins_over_pseudonyms_give_what_joins_over_the_values_give(tmp_path: Path, sandbox: Sandbox) -> None:
    join = (
        "select count(*), count(distinct u.userId) from 'data/devices/devices.parquet' d "
        "join 'data/users/users.parquet' u on d.userId = u.userId"
    )
    apps = (
        "select count(*) from 'data/mamApplicationInstances/*.parquet' a join 'data/users/*.parquet' u using (userId)"
    )
    found = []
    for redaction in (None, HASH):
        root = tmp_path / str(redaction and redaction.mode)
        run(root, sandbox, redaction)
        reader = duckdb.connect()
        queries = [q.replace("'data/", f"'{root}/data/") for q in (join, apps)]
        found.append([reader.execute(query).fetchall() for query in queries])
    assert found[0] == found[1]
    assert found[0][0][0][0] > 10


def test_a_run_with_another_mode_or_key_is_refused_and_changes_nothing(tmp_path: Path, sandbox: Sandbox) -> None:
    root = tmp_path / "A"
    run(root, sandbox, HASH)
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    for redaction in (None, DROP, OTHER):
        with pytest.raises(ArchiveError, match="redaction hash:"):
            run(root, sandbox, redaction)
    run(tmp_path / "B", sandbox, None)
    with pytest.raises(ArchiveError, match="redaction none"):
        run(tmp_path / "B", sandbox, HASH)
    assert {p: p.read_bytes() for p in root.rglob("*") if p.is_file()} == before


def test_an_unfinished_run_goes_on_with_its_own_key_only(tmp_path: Path, sandbox: Sandbox) -> None:
    def stop_after(event: Event) -> None:
        if isinstance(event, PartCommitted):
            raise InterruptedRunError("stopped")

    root = tmp_path / "A"
    with pytest.raises(InterruptedRunError):
        run(root, sandbox, HASH, observer=stop_after)
    with pytest.raises(ArchiveError, match="redaction"):
        run(root, sandbox, OTHER)
    assert run(root, sandbox, HASH).resumed
    assert verify(root).findings == ()


def test_the_next_day_brings_no_drift_and_only_pseudonyms(tmp_path: Path, sandbox: Sandbox) -> None:
    root = tmp_path / "A"
    run(root, sandbox, HASH)
    later = run(root, sandbox, HASH)
    assert later.manifest.drift["last_run"] == []
    told = texts(root)
    assert not {v for v in personal_values(sandbox) if v in told}


def test_a_comparison_needs_the_key_and_that_key(tmp_path: Path, sandbox: Sandbox) -> None:
    root = tmp_path / "A"
    run(root, sandbox, HASH)
    with pytest.raises(UsageError, match="its key is needed") as caught:
        compare_with_service(root, warehouse(sandbox), today=TODAY)
    assert "--redact-key-file" in str(caught.value.hint)
    with pytest.raises(UsageError, match="another key"):
        compare_with_service(root, warehouse(sandbox), today=TODAY, redaction_key=OTHER.key)


def test_trend_charts_are_left_out_and_none_is_taken_in_by_hand(tmp_path: Path, sandbox: Sandbox) -> None:
    root = tmp_path / "A"
    transport = Transport(StaticToken("any", origin="the test"))
    graph = Graph(transport, sandbox.graph_url, exports=ExportPolicy.hurried())
    result = run(root, sandbox, HASH, graph=graph)
    assert result.manifest.state == "complete"
    assert result.manifest.charts == []
    assert not (root / "charts").exists()
    (tmp_path / "export.csv").write_text("UPN\nanna@contoso.com\n", encoding="utf-8")
    with pytest.raises(ArchiveError, match="redacted"):
        attach(root, tmp_path / "export.csv", "terms-acceptance")


@pytest.mark.parametrize("redaction", [HASH, DROP], ids=["hash", "drop"])
def test_undeclared_properties_do_not_come_through_and_are_warned_of(
    tmp_path: Path, sandbox: Sandbox, redaction: Redaction
) -> None:
    sandbox.add_fault(Fault(kind="extra-column", collection="users", times=0, name="nickName", value="Schnuffi"))
    events: list[Event] = []
    run(tmp_path / "A", sandbox, redaction, observer=events.append)
    assert "schnuffi" not in texts(tmp_path / "A")
    said = [e.message for e in events if isinstance(e, Warned) and e.collection == "users"]
    assert any("undeclared" in text and "left out" in text for text in said)
    assert verify(tmp_path / "A").findings == ()


@pytest.mark.parametrize("redaction", [HASH, DROP], ids=["hash", "drop"])
def test_declared_properties_that_the_documentation_does_not_know_are_redacted_and_warned_of(
    tmp_path: Path, sandbox: Sandbox, redaction: Redaction
) -> None:
    # primaryUser is what real devices had in October 2025 and the documentation lacks.
    real = warehouse(sandbox)
    declared = real.metadata_document.replace(b'Name="manufacturer"', b'Name="primaryUser"')
    assert declared != real.metadata_document
    sandbox.add_fault(Fault(kind="extra-column", collection="devices", times=0, name="primaryUser", value="Schnuffi"))
    events: list[Event] = []
    root = tmp_path / "A"
    run(
        root,
        sandbox,
        redaction,
        observer=events.append,
        connect=lambda service, metadata: warehouse(sandbox, service, metadata or declared),
    )
    assert "schnuffi" not in texts(root)
    said = [e.message for e in events if isinstance(e, Warned) and e.collection == "devices"]
    assert any("not in the documentation" in text and "primaryUser" in text for text in said)
    table = pq.read_table(root / "data/devices/devices.parquet", partitioning=None)
    if redaction is HASH:
        assert set(table["primaryUser"].to_pylist()) == {HASH.pseudonym("schnuffi")}
    else:
        assert "primaryUser" not in table.column_names
    assert verify(root).findings == ()


def test_a_collection_of_which_drop_leaves_nothing_is_left_out_with_a_warning(tmp_path: Path, sandbox: Sandbox) -> None:
    real = warehouse(sandbox)
    listed = real.service_document.replace(b'"users"', b'"widgets"')
    declared = real.metadata_document.replace(b'EntitySet Name="users"', b'EntitySet Name="widgets"')
    for name in (b"userKey", b"intuneLicensed"):
        declared = declared.replace(b'Name="%s"' % name, b'Name="%ss"' % name)
    events: list[Event] = []
    result = run(
        tmp_path / "A",
        sandbox,
        DROP,
        only=("widgets", "devices"),
        observer=events.append,
        connect=lambda service, metadata: warehouse(sandbox, service or listed, metadata or declared),
    )
    assert list(result.manifest.collections) == ["devices"]
    assert any(isinstance(e, Warned) and e.collection == "widgets" and "left out" in e.message for e in events)


def test_views_and_report_of_a_redacted_archive_work_and_say_so(tmp_path: Path, sandbox: Sandbox) -> None:
    for redaction, words in ((HASH, "pseudonymised with HMAC-SHA-256"), (DROP, "left out")):
        root = tmp_path / redaction.mode
        run(root, sandbox, redaction, only=())
        assert words in (root / "report.html").read_text(encoding="utf-8")
        script = (root / "views.sql").read_text(encoding="utf-8")
        assert words in script
        reader = duckdb.connect()
        reader.execute(script.replace("'data/", f"'{root}/data/"))
        views = [v for (v,) in reader.execute("select view_name from duckdb_views() where not internal").fetchall()]
        assert {"device_users", "device_history", "compliance_by_day"} <= set(views)
        rows = {view: len(reader.execute(f'select * from "{view}"').fetchall()) for view in views}
        assert rows["device_users"] == rows["devices"] > 0
        if redaction is HASH:
            names = reader.execute("select primary_user_name from device_users where primary_user_name is not null")
            assert (
                {HASH.pseudonym(str(r["displayName"])) for r in sandbox.tenant.rows("users")}
                >= {name for (name,) in names.fetchall()}
                != set()
            )
