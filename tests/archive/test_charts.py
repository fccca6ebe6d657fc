from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from intune_dw_cli.archive.chart_items import APPS, ITEMS, PERMISSIONS, ExportRequest, ReportFunction, chart_item
from intune_dw_cli.archive.charts import ChartRecord, attach_chart, save_charts
from intune_dw_cli.errors import InterruptedRunError, OutputError, SignInError, UsageError
from intune_dw_cli.events import ChartOpen, ChartSaved, Event
from intune_dw_cli.identity.tokens import StaticToken
from intune_dw_cli.sandbox import Fault, GraphConfig, Sandbox, ServerConfig, TenantConfig
from intune_dw_cli.service.export_jobs import ExportPolicy
from intune_dw_cli.service.graph import EXPORT_JOBS, Graph
from intune_dw_cli.service.retry import RequestPolicy
from intune_dw_cli.service.transport import Transport

SECRET = "graph-secret-token"
TENANT = TenantConfig(today=date(2018, 2, 21), devices=40)
WITH_API = [item for item in ITEMS if item.attempts]
EXPORTS = [item for item in WITH_API if isinstance(item.attempts[0], ExportRequest)]
FUNCTIONS = [item for item in WITH_API if isinstance(item.attempts[0], ReportFunction)]


class Run:
    """A sandbox, and runs against it."""

    def __init__(self, config: GraphConfig, root: Path, tokens: object = None) -> None:
        self.sandbox = Sandbox(TENANT, ServerConfig(graph=config)).start()
        self.root = root
        self.events: list[Event] = []
        policy = RequestPolicy(tries=2, first_wait=0.001, max_wait=0.01, max_retry_after=0.01)
        self.transport = Transport(tokens or StaticToken(SECRET, origin="the test"), policy=policy)
        exports = replace(ExportPolicy.hurried(), job_seconds=0.1)
        self.graph = Graph(self.transport, self.sandbox.graph_url, exports=exports)

    def save(self, *, held: object = (), **options: object) -> dict[str, ChartRecord]:
        records = save_charts(self.graph, self.root, held=held, observer=self.events.append, **options)
        assert [r.item for r in records] == [i.id for i in options.get("items", ITEMS)]
        return {r.item: r for r in records}

    def read(self, path: str) -> bytes:
        return (self.root / path).read_bytes()

    @property
    def targets(self) -> list[str]:
        return [r.target.partition("?")[0] for r in self.sandbox.requests]

    def files(self) -> set[str]:
        return {p.relative_to(self.root).as_posix() for p in self.root.rglob("*") if p.is_file()}


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def begin(root: Path | None = None, tokens: object = None, **config: object) -> Run:
        run = Run(GraphConfig(**config), root or tmp_path / "archive", tokens)
        runs.append(run)
        return run

    yield begin
    for run in runs:
        run.sandbox.stop()


def csv_rows(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


# -- the table --------------------------------------------------------------------------------------------------


def test_the_table_has_the_documented_items():
    assert len({item.id for item in ITEMS}) == len(ITEMS)
    assert {item.group for item in ITEMS} == {
        "Terms and Conditions",
        "App protection",
        "Device configuration",
        "Device enrollment",
    }
    requests = [attempt.request for item in ITEMS for attempt in item.attempts]
    for path in (
        "GET /beta/reports/deviceConfigurationDeviceActivity/content",
        "GET /beta/reports/deviceConfigurationUserActivity/content",
        "GET /beta/deviceManagement/deviceConfigurations"
        "?$select=id,displayName,lastModifiedDateTime,deviceStatusOverview&$expand=deviceStatusOverview",
        "GET /beta/reports/managedDeviceEnrollmentFailureTrends()/content",
        "GET /beta/reports/managedDeviceEnrollmentTopFailures(period=null)/content",
    ):
        assert path in requests
    assert {item.permission for item in WITH_API} == set(PERMISSIONS)


def test_what_has_no_api_never_makes_a_run_partial():
    assert [i.id for i in ITEMS if not i.attempts] == ["app-protection-other-reports", "assignment-status"]
    assert all(i.optional for i in ITEMS if not i.attempts)


def test_near_misses_are_named():
    assert chart_item(" Terms-Acceptance").id == "terms-acceptance"
    with pytest.raises(UsageError, match="terms-acceptance"):
        chart_item("term-acceptance")


# -- everything works -------------------------------------------------------------------------------------------


def test_every_item_is_saved(start):
    run = start()
    records = run.save()
    for item in WITH_API:
        record = records[item.id]
        assert (record.state, record.status, record.reason) == ("saved", 200, None)
        assert record.request == item.attempts[0].request
    assert not any(r.is_open for r in records.values())
    assert {r.item for r in records.values() if r.state == "manual"} == {i.id for i in ITEMS if not i.attempts}
    assert sum(isinstance(e, ChartSaved) for e in run.events) == len(WITH_API)
    assert not any(isinstance(e, ChartOpen) for e in run.events)


def test_records_tell_the_truth_about_files(start):
    run = start()
    records = run.save()
    told = {f.path: f for r in records.values() for f in r.files}
    assert set(told) == run.files()
    for path, file in told.items():
        data = run.read(path)
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file.bytes, file.sha256)
        assert (run.root / path).stat().st_mode & 0o777 == 0o600


def test_charts_agree_with_the_tenant(start):
    run = start(page_size=2)
    run.save()
    tenant = run.sandbox.tenant
    raw = json.loads(run.read("charts/terms-acceptance/raw.json"))
    known = {row["termsAndCondidionsId"] for row in tenant.rows("termsAndConditions")}
    assert {row["id"] for row in raw["value"]} == set(raw["acceptanceStatuses"]) < known
    accepted = csv_rows(run.read("charts/terms-acceptance/report.csv"))
    assert len(accepted) == sum(len(rows) for rows in raw["acceptanceStatuses"].values()) > 5
    assert {a["userPrincipalName"] for a in accepted} <= {u["userPrincipalName"] for u in tenant.rows("users")}
    assert {a["termsAndConditionsName"] for a in accepted} <= {row["displayName"] for row in raw["value"]}
    assert len(csv_rows(run.read("charts/terms-acceptance/terms.csv"))) == len(raw["value"])
    apps = csv_rows(run.read("charts/app-protection-status/report.csv"))
    assert len(apps) == sum(not row["isDeleted"] for row in tenant.rows("mamApplicationInstances"))
    assert {"AppProtectionStatus", "Platform_loc"} <= set(apps[0])
    overviews = csv_rows(run.read("charts/device-configurations/report.csv"))
    assert {json.loads(o["deviceStatusOverview"] or "null") is None for o in overviews} == {True, False}


def test_two_runs_are_byte_for_byte_the_same(start, tmp_path):
    found = []
    for name in ("one", "two"):
        run = start(root=tmp_path / name)
        records = run.save()
        texts = [json.dumps(r.to_json()) for r in records.values()]
        found.append((texts, {path: run.read(path) for path in sorted(run.files())}))
    assert found[0] == found[1]


def test_records_survive_json(start):
    for record in start().save().values():
        assert ChartRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_no_secret_no_job_and_no_request_is_kept_or_logged(start, caplog):
    caplog.set_level(logging.DEBUG)
    run = start(report="redirect", permissions=PERMISSIONS[:3])
    records = run.save()
    jobs = {t.partition("('")[2].rstrip("')") for t in run.targets if "exportJobs('" in t}
    assert len(jobs) == 3
    kept = json.dumps([r.to_json() for r in records.values()]).encode()
    kept += b"".join(run.read(path) for path in run.files()) + repr(run.events).encode()
    for secret in (SECRET, "sig=", "_blob", "nextLink", "127.0.0.1", *jobs):
        assert secret.encode() not in kept
    assert SECRET not in caplog.text
    assert "sig=" not in caplog.text


# -- orders of attempts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("item", [i for i in FUNCTIONS if len(i.attempts) > 1], ids=lambda i: i.id)
def test_the_second_request_is_tried_when_the_first_is_unknown(start, item):
    first, second = item.attempts
    run = start(gone=(glob(first.path),))
    record = run.save(items=[item])[item.id]
    assert (record.state, record.request) == ("saved", second.request)
    assert run.targets == [first.path, second.path]


@pytest.mark.parametrize("item", [i for i in EXPORTS if len(i.attempts) > 1], ids=lambda i: i.id)
def test_the_twin_of_a_report_is_tried_when_the_first_is_unknown(start, item):
    first, second = item.attempts
    run = start(gone=(f"exportJobs/{first.report.name}",))
    record = run.save(items=[item])[item.id]
    assert (record.state, record.request) == ("saved", second.request)


@pytest.mark.parametrize("item", WITH_API, ids=lambda i: i.id)
def test_what_graph_does_not_know_at_all_is_manual(start, item):
    run = start(gone=("*",))
    record = run.save(items=[item])[item.id]
    assert (record.state, record.status, record.files) == ("manual", 404, ())
    assert record.portal_path
    assert len(run.targets) == len(item.attempts)
    assert run.files() == set()


@pytest.mark.parametrize("form", ["base64", "unpadded", "plain-text", "bytes", "redirect"])
def test_reports_come_in_any_form(start, form):
    run = start(report=form)
    for item in FUNCTIONS:
        record = run.save(items=[item])[item.id]
        assert record.state == "saved"
        names = [f.path.rpartition("/")[2] for f in record.files]
        assert names == (["raw.bin", "report.csv"] if form in ("bytes", "redirect") else ["raw.json", "report.csv"])
        assert csv_rows(run.read(record.files[1].path))


def test_an_empty_report_is_saved_and_said(start):
    record = start(report="null").save(items=FUNCTIONS[:1])[FUNCTIONS[0].id]
    assert (record.state, record.reason) == ("saved", "The report came empty.")


def test_a_web_page_is_no_report(start):
    run = start(report="html")
    record = run.save(items=FUNCTIONS[:1])[FUNCTIONS[0].id]
    assert record.state == "failed"
    assert "web page" in record.reason
    assert run.files() == set()


def test_refused_columns_are_said(start):
    record = start(refuse_select=True).save(items=EXPORTS[:1])[EXPORTS[0].id]
    assert record.state == "saved"
    assert "default" in record.reason


# -- what is missing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", PERMISSIONS)
def test_a_missing_permission_makes_its_items_manual_and_leaves_the_rest(start, missing):
    run = start(permissions=tuple(p for p in PERMISSIONS if p != missing))
    records = run.save()
    for item in WITH_API:
        record = records[item.id]
        if item.permission == missing:
            assert (record.state, record.status, record.permission) == ("manual", 403, missing)
            assert missing in record.reason
            assert missing.replace(".Read.", ".ReadWrite.") in record.reason
            assert record.files == ()
            assert record.is_open is not item.optional
        else:
            assert record.state == "saved"
    told = {e.collection for e in run.events if isinstance(e, ChartOpen)}
    assert told == {i.id for i in WITH_API if i.permission == missing}


def test_a_refused_permission_is_not_asked_for_twice(start):
    item = chart_item("device-configuration-device-activity")
    run = start(permissions=())
    run.save(items=[item])
    assert len(run.targets) == 1


class NoTokens:
    """A token source that has none."""

    def __init__(self) -> None:
        self.asked = 0

    def token(self) -> str:
        self.asked += 1
        raise SignInError("consent is missing 1ed071a1-1d10-2acc-ebc1-f7023e348065")

    def renew(self, refused: str, claims: str | None = None) -> str:
        raise AssertionError


def test_a_refused_sign_in_makes_all_manual_after_one_try(start):
    tokens = NoTokens()
    run = start(tokens=tokens)
    records = run.save()
    assert tokens.asked == 1
    for item in WITH_API:
        record = records[item.id]
        assert (record.state, record.status) == ("manual", None)
        assert record.reason == "Graph sign-in was refused: consent is missing ..."


def test_a_token_that_graph_refuses_makes_all_manual(start):
    run = start(token="another")
    assert {r.state for r in run.save().values()} == {"manual"}
    assert len(run.targets) == 1


def test_a_server_error_fails_one_item_and_names_it(start):
    run = start()
    run.sandbox.add_fault(Fault(kind="503", collection="graph/deviceManagement/termsAndConditions", times=0))
    records = run.save()
    assert {r.item for r in records.values() if r.is_open} == {"terms-acceptance"}
    assert records["terms-acceptance"].state == "failed"
    assert records["terms-acceptance"].status == 503


def test_a_collection_that_breaks_off_leaves_nothing(start):
    run = start(page_size=1)
    glob = "graph/deviceManagement/termsAndConditions/*"
    run.sandbox.add_fault(Fault(kind="404", collection=glob, page=2, times=0))
    records = run.save(items=[chart_item("terms-acceptance")])
    assert records["terms-acceptance"].state == "manual"
    assert run.files() == set()


def test_a_graph_that_is_silent_is_not_waited_for_again_and_again(start):
    run = start()
    run.sandbox.add_fault(Fault(kind="reset", collection="graph/*", times=0))
    records = run.save()
    assert {r.state for r in records.values() if r.item in {i.id for i in WITH_API}} == {"failed"}
    assert len(run.targets) == 4  # two items, two tries each
    assert "Not tried" in records["device-enrollment-failures"].reason


def test_throttling_is_sat_out(start):
    run = start()
    run.sandbox.add_fault(Fault(kind="429", collection="graph/*", times=5))
    assert not any(r.is_open for r in run.save().values())


# -- export jobs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", [{"hanging_jobs": 1}, {"failing_jobs": 2}, {"hanging_jobs": 1, "failing_jobs": 1}])
def test_jobs_are_asked_for_again(start, trouble):
    run = start(**trouble)
    record = run.save(items=EXPORTS[:1])[EXPORTS[0].id]
    assert record.state == "saved"
    assert run.targets.count(EXPORT_JOBS) == 1 + sum(trouble.values())


def test_a_report_that_never_comes_is_failed_and_its_twin_left_alone(start):
    run = start(hanging_jobs=99)
    record = run.save(items=EXPORTS[:1])[EXPORTS[0].id]
    assert record.state == "failed"
    assert "3 times" in record.reason
    assert run.targets.count(EXPORT_JOBS) == 3


@pytest.mark.parametrize(
    "form",
    ["traversal", "absolute", "drive", "link", "bomb", "liar", "duplicate", "encrypted", "crowd", "two", "none", "cut"],
)
def test_hostile_zips_are_refused_and_leave_nothing_anywhere(start, tmp_path, form):
    run = start(zip=form, bomb_size=1 << 24)
    before = {p for p in tmp_path.parent.rglob("*") if run.root not in p.parents}
    record = run.save(items=EXPORTS[:1], max_bytes=1 << 20)[EXPORTS[0].id]
    assert record.state == "failed"
    assert "zip is refused" in record.reason
    assert record.is_open
    assert run.files() == set()
    after = {p for p in tmp_path.parent.rglob("*") if run.root not in p.parents and p != run.root}
    assert after <= before | {run.root}


def test_a_json_report_is_kept_as_json(start):
    run = start(zip="json")
    record = run.save(items=EXPORTS[:1])[EXPORTS[0].id]
    assert [f.path for f in record.files] == [f"charts/{record.item}/report.json"]


# -- runs after runs --------------------------------------------------------------------------------------------


def test_what_this_run_has_saved_is_not_fetched_again(start):
    run = start(permissions=(APPS,))
    first: list[ChartRecord] = []
    run.save(committed=first.append)
    assert len(first) == len(ITEMS)
    seen = len(run.targets)
    second = run.save(done=first)
    again = [r.item for r in first if r.state != "saved" and chart_item(r.item).attempts]
    assert len(run.targets) - seen == len(again)
    assert [second[r.item] for r in first] == first


def test_a_stopped_run_keeps_what_was_committed_and_continues(start):
    run = start()
    committed: list[ChartRecord] = []

    def stop_after_four(record: ChartRecord) -> None:
        committed.append(record)
        if len(committed) == 4:
            run.transport.stop.set()

    with pytest.raises(InterruptedRunError):
        run.save(committed=stop_after_four)
    assert {f.path for r in committed for f in r.files} == run.files()
    run.transport.stop.clear()
    records = run.save(done=committed)
    whole = start(root=run.root.parent / "whole")
    assert records == whole.save()
    assert {p: run.read(p) for p in run.files()} == {p: whole.read(p) for p in whole.files()}


def test_a_stop_ends_the_wait_for_a_job(start):
    run = start(hanging_jobs=9)
    graph = Graph(run.transport, run.sandbox.graph_url, exports=ExportPolicy(first_poll=60))
    threading.Timer(0.2, run.transport.stop.set).start()
    with pytest.raises(InterruptedRunError):
        save_charts(graph, run.root, held=(), items=EXPORTS[:1])
    assert run.files() == set()


def test_a_later_run_replaces_files_and_announces_it(start):
    run = start()
    held = run.save().values()
    run.sandbox.set_today(date(2018, 2, 22))
    told: list[str] = []
    records = run.save(held=held, replacing=told.extend)
    assert set(told) == run.files()
    assert records["enrollment-failure-trends"].files != {r.item: r for r in held}["enrollment-failure-trends"].files


def test_what_an_earlier_run_saved_outlives_a_failure(start):
    run = start()
    held = run.save()
    other = start(permissions=())
    records = other.save(held=held.values())
    for item in WITH_API:
        assert records[item.id].state == "manual"
        assert records[item.id].files == held[item.id].files
        assert "kept" in records[item.id].reason
    assert other.files() == {f.path for r in held.values() for f in r.files}
    third = start(zip="traversal").save(held=records.values())
    assert third["enrollment-activity"].files == held["enrollment-activity"].files
    assert third["enrollment-activity"].reason.count("kept") == 1


def test_leftovers_of_a_killed_run_are_removed(start):
    run = start()
    folder = run.root / "charts" / "terms-acceptance"
    folder.mkdir(parents=True)
    for name in ("raw.json", "old.bin", "raw.json.partial"):
        (folder / name).write_bytes(b"x")
    records = run.save()
    assert {f.path for r in records.values() for f in r.files} == run.files()


def test_a_full_disk_ends_the_run_and_leaves_no_half_file(start, monkeypatch):
    run = start()

    def full(self: object, data: object) -> int:
        raise OutputError("no space left on the disk")

    monkeypatch.setattr("intune_dw_cli.export.files.AtomicFile.write", full)
    with pytest.raises(OutputError):
        run.save()
    assert run.files() == set()


# -- attaching --------------------------------------------------------------------------------------------------


def attach(run: Run, record: ChartRecord, name: str = "../Export 1.CSV", text: str = "a,b\n") -> ChartRecord:
    source = run.root.parent / Path(name).name
    source.write_text(text)
    return attach_chart(run.root, record.item, source, held=record)


def test_attaching_closes_a_manual_item_for_good(start):
    run = start(permissions=())
    records = run.save()
    record = attach(run, records["terms-acceptance"])
    assert (record.state, record.is_open) == ("attached", False)
    assert [f.path for f in record.files] == ["charts/terms-acceptance/attached.csv"]
    assert run.read(record.files[0].path) == b"a,b\n"
    later = run.save(held=[record])
    assert later["terms-acceptance"] == record
    assert ChartRecord.from_json(record.to_json()) == record


def test_an_attached_file_stays_when_the_item_is_saved_later(start):
    run = start(permissions=())
    record = attach(run, run.save()["terms-acceptance"])
    later = start().save(held=[record])["terms-acceptance"]
    assert later.state == "saved"
    assert record.files[0] in later.files


def test_attaching_again_replaces(start):
    run = start(permissions=())
    record = attach(run, run.save()["terms-acceptance"])
    told: list[str] = []
    source = run.root.parent / "x.zip"
    source.write_bytes(b"PK")
    again = attach_chart(run.root, "terms-acceptance", source, held=record, replacing=told.extend)
    assert [f.path for f in again.files] == ["charts/terms-acceptance/attached.zip"]
    assert told == ["charts/terms-acceptance/attached.csv"]
    assert run.files() == {"charts/terms-acceptance/attached.zip"}


def test_what_has_no_api_can_be_attached_too(tmp_path):
    source = tmp_path / "export"
    source.write_bytes(b"x")
    record = attach_chart(tmp_path / "archive", "assignment-status", source, held=None)
    assert (record.state, record.files[0].path) == ("attached", "charts/assignment-status/attached.bin")


def test_attaching_what_is_not_there_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        attach_chart(tmp_path, "assignment-status", tmp_path / "missing.csv", held=None)
    with pytest.raises(UsageError, match="no chart item"):
        attach_chart(tmp_path, "nonsense", tmp_path / "missing.csv", held=None)
    (tmp_path / "empty.csv").touch()
    with pytest.raises(UsageError, match="is empty"):
        attach_chart(tmp_path, "assignment-status", tmp_path / "empty.csv", held=None)
    assert not (tmp_path / "charts").exists()


def glob(path: str) -> str:
    """Return a path of Graph as a glob of the sandbox's `gone`."""
    return path.removeprefix("/").replace("[", "[[]")
