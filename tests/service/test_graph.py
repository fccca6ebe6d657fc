from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date

import pytest
import responses

from intune_dw_cli.archive.unzip import open_report
from intune_dw_cli.errors import (
    BadRequestError,
    ForbiddenError,
    HostGuardError,
    InterruptedRunError,
    IntuneDwError,
    MalformedPageError,
    NotFoundError,
    ProtocolError,
    ServiceError,
    SignInError,
    UnavailableError,
    UsageError,
)
from intune_dw_cli.identity.tokens import StaticToken
from intune_dw_cli.sandbox import Fault, GraphConfig, Sandbox, ServerConfig, TenantConfig
from intune_dw_cli.service.call import Call
from intune_dw_cli.service.export_jobs import ExportJob, ExportPolicy, ExportReport
from intune_dw_cli.service.graph import EXPORT_JOBS, Graph, read_rows
from intune_dw_cli.service.page import read_page
from intune_dw_cli.service.retry import RequestPolicy
from intune_dw_cli.service.transport import Transport

SECRET = "graph-secret-token"
TERMS = "/v1.0/deviceManagement/termsAndConditions"
FUNCTION = "/v1.0/reports/deviceConfigurationDeviceActivity"
POLICIES = ExportReport("ConfigurationPolicyAggregateV3", ("PolicyId", "PolicyName"))
BASE = "https://graph.microsoft.com"


def transport(**policy: object) -> Transport:
    settings = {"tries": 3, "first_wait": 0.001, "max_wait": 0.01, "max_retry_after": 0.01, **policy}
    return Transport(StaticToken(SECRET, origin="the test"), policy=RequestPolicy(**settings))


class Served:
    """A sandbox and a Graph on it."""

    def __init__(self, sandbox: Sandbox, exports: ExportPolicy) -> None:
        self.sandbox = sandbox
        self.transport = transport()
        self.graph = Graph(self.transport, sandbox.graph_url, exports=exports)

    @property
    def targets(self) -> list[str]:
        return [f"{r.method} {r.target.partition('?')[0]}" for r in self.sandbox.requests]


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    started: list[Sandbox] = []

    def start(exports: ExportPolicy | None = None, **config: object) -> Served:
        sandbox = Sandbox(
            TenantConfig(today=date(2018, 2, 21), devices=40), ServerConfig(graph=GraphConfig(**config))
        ).start()
        started.append(sandbox)
        return Served(sandbox, exports or ExportPolicy.hurried())

    yield start
    for sandbox in started:
        sandbox.stop()


# -- addresses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["http://graph.microsoft.com", "graph.microsoft.com", "ftp://x", "https://a@b"])
def test_only_https_addresses_are_taken(url):
    with pytest.raises(UsageError):
        Graph(transport(), url)


# -- collections ------------------------------------------------------------------------------------------------


def test_pages_are_followed_to_the_end_and_give_the_rows_as_served(serve):
    served = serve(page_size=2)
    pages = list(served.graph.get_pages("/v1.0/deviceAppManagement/managedAppRegistrations"))
    assert len(pages) > 2
    assert [len(p.rows) for p in pages[:-1]] == [2] * (len(pages) - 1)
    assert all(json.loads(b"[" + p.text + b"]") == p.rows for p in pages)
    assert pages[-1].next_link is None


@pytest.mark.parametrize("head", ["", '"more":[{}],'])
@pytest.mark.parametrize("value", ["1.10", "-0", "1e999", "9" * 5000, '"\\ud800"', '[1.50,"é"]'])
def test_values_are_kept_to_the_letter_however_the_page_is_read(head, value):
    """With an array before its rows, a page takes a full parse."""
    body = f'{{{head}"value":[{{"a":{value}}}]}}'.encode()
    page = read_rows(read_page(body, url="https://h/x", request_id="r"))
    assert page.text == f'{{"a":{value}}}'.encode()


@pytest.mark.parametrize("head", ["", '"more":[{}],'])
def test_a_row_with_a_bare_word_for_a_number_is_malformed(head):
    with pytest.raises(MalformedPageError, match="not valid JSON"):
        read_rows(read_page(f'{{{head}"value":[{{"a":NaN}}]}}'.encode(), url="https://h/x", request_id="r"))


def test_a_circle_of_next_links_ends_with_an_error(serve):
    served = serve(page_size=1)
    served.sandbox.add_fault(Fault(kind="next-loop", collection="graph/*", times=0))
    with pytest.raises(ProtocolError, match="circle"):
        list(served.graph.get_pages(TERMS))


def test_a_next_link_to_another_host_is_not_followed(serve):
    served = serve()
    served.sandbox.add_fault(Fault(kind="next-foreign", collection="graph/*"))
    with pytest.raises(HostGuardError, match=r"evil\.example"):
        list(served.graph.get_pages(TERMS))


def test_throttling_and_server_errors_are_sat_out(serve):
    served = serve()
    for kind in ("429", "503", "gzip-cut"):
        served.sandbox.add_fault(Fault(kind=kind, collection="graph/*"))
    assert sum(len(p.rows) for p in served.graph.get_pages(TERMS)) == 3


@pytest.mark.parametrize("kind", ["html", "error-body", "empty-body"])
def test_what_is_no_page_is_asked_for_again(serve, kind):
    served = serve()
    served.sandbox.add_fault(Fault(kind=kind, collection="graph/*"))
    assert [len(p.rows) for p in served.graph.get_pages(TERMS)] == [3]
    assert len(served.targets) == 2


def test_403_names_the_scopes_and_is_not_repeated(serve):
    served = serve(permissions=())
    with pytest.raises(ForbiddenError) as caught:
        list(served.graph.get_pages(TERMS))
    name = "DeviceManagementServiceConfig"
    assert caught.value.scopes == (f"{name}.Read.All", f"{name}.ReadWrite.All")
    assert "get_data_warehouse" not in (caught.value.hint or "")
    assert len(served.targets) == 1


def test_a_token_that_is_not_accepted_is_a_sign_in_error(serve):
    served = serve(token="another")
    with pytest.raises(SignInError) as caught:
        list(served.graph.get_pages(TERMS))
    assert SECRET not in f"{caught.value!r} {caught.value.hint}"


# -- report functions -------------------------------------------------------------------------------------------


def test_an_answer_comes_as_served(serve):
    served = serve()
    answer = served.graph.get_raw(FUNCTION)
    assert answer.content_type.startswith("application/json")
    assert json.loads(answer.body)["value"]["@odata.type"] == "microsoft.graph.report"


def test_a_redirect_is_followed_without_the_bearer(serve):
    served = serve(report="redirect")
    answer = served.graph.get_raw(FUNCTION)
    assert answer.body.startswith("\ufeffdateKey".encode())
    first, second = served.sandbox.requests
    assert (first.status, first.authorized) == (302, True)
    assert (second.status, second.authorized) == (200, False)
    assert second.headers["host"].startswith("localhost:")


def test_a_redirect_that_is_not_https_is_refused(serve):
    served = serve(report="redirect-http")
    with pytest.raises(HostGuardError, match=r"reports\.contoso\.example") as caught:
        served.graph.get_raw(FUNCTION)
    assert "sig=" not in str(caught.value)


@responses.activate
def test_a_redirect_from_the_real_host_leaves_the_bearer_behind():
    target = "https://store.blob.core.windows.net/x.csv?sig=abc"
    responses.get(BASE + FUNCTION, status=302, headers={"Location": target})
    responses.get(target, body=b"a,b\n")
    assert Graph(transport(), BASE).get_raw(FUNCTION).body == b"a,b\n"
    assert [c.request.headers.get("Authorization") for c in responses.calls] == [f"Bearer {SECRET}", None]


@responses.activate
def test_a_netrc_does_not_put_a_password_on_a_request_without_bearer(tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine store.blob.core.windows.net login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    responses.get("https://store.blob.core.windows.net/x.zip", body=b"PK")
    assert Graph(transport(), BASE).download("https://store.blob.core.windows.net/x.zip") == b"PK"
    assert "Authorization" not in responses.calls[0].request.headers


@responses.activate
def test_a_redirect_within_graph_keeps_the_bearer():
    responses.get(BASE + FUNCTION, status=302, headers={"Location": "/v1.0/elsewhere"})
    responses.get(f"{BASE}/v1.0/elsewhere", body=b"a,b\n")
    Graph(transport(), BASE).get_raw(FUNCTION)
    assert responses.calls[1].request.headers["Authorization"] == f"Bearer {SECRET}"


@responses.activate
@pytest.mark.parametrize(
    "location",
    [
        "http://graph.microsoft.com/x",
        "https://127.0.0.1/x",
        "https://localhost/x",
        "https://user:pw@evil.example/x",
        "//[::1]/x",
        "file:///etc/passwd",
        "",
        BASE + FUNCTION,
    ],
)
def test_redirects_to_odd_places_are_refused(location):
    responses.get(BASE + FUNCTION, status=301, headers={"Location": location})
    with pytest.raises(ProtocolError):
        Graph(transport(), BASE).get_raw(FUNCTION)
    assert len(responses.calls) == 1


@responses.activate
def test_a_second_redirect_is_not_followed():
    responses.get(BASE + FUNCTION, status=302, headers={"Location": "https://a.example/x?sig=abc"})
    responses.get("https://a.example/x?sig=abc", status=302, headers={"Location": "https://b.example/y"})
    with pytest.raises(ServiceError, match=r"a\.example answered 302"):
        Graph(transport(), BASE).get_raw(FUNCTION)


@pytest.mark.parametrize("kind", ["html", "error-body", "empty-body"])
def test_what_is_no_report_is_asked_for_again_and_then_an_error(serve, kind):
    served = serve()
    served.sandbox.add_fault(Fault(kind=kind, collection="graph/*", times=2))
    assert served.graph.get_raw(FUNCTION).body
    served.sandbox.add_fault(Fault(kind=kind, collection="graph/*", times=0))
    with pytest.raises(MalformedPageError):
        served.graph.get_raw(FUNCTION)


# -- export jobs ------------------------------------------------------------------------------------------------


def test_a_report_is_asked_for_waited_for_and_fetched_without_the_bearer(serve):
    served = serve(job_polls=2)
    export = served.graph.export(POLICIES)
    assert export.selected
    assert b"".join(open_report(export.zip).chunks()).startswith("\ufeffPolicyId,PolicyName\r\n".encode())
    assert [r.authorized for r in served.sandbox.requests] == [True] * 4 + [False]
    assert [t.partition(" ")[0] for t in served.targets] == ["POST"] + ["GET"] * 4


@responses.activate
def test_the_body_of_a_post_is_the_documented_one():
    responses.post(BASE + EXPORT_JOBS, status=201, json={"id": "x_1", "status": "notStarted", "url": None})
    job = Graph(transport(), BASE).submit_export_job(POLICIES)
    assert job == ExportJob("x_1", "notstarted")
    request = responses.calls[0].request
    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(request.body) == {
        "reportName": "ConfigurationPolicyAggregateV3",
        "format": "csv",
        "localizationType": "LocalizedValuesAsAdditionalColumn",
        "select": ["PolicyId", "PolicyName"],
    }


def test_a_refused_select_is_left_out(serve):
    served = serve(refuse_select=True)
    export = served.graph.export(POLICIES)
    assert not export.selected
    assert b"TemplateVersion" in b"".join(open_report(export.zip).chunks())


def test_an_unknown_report_is_a_bad_request_or_unknown(serve):
    served = serve()
    with pytest.raises(BadRequestError):
        served.graph.export(ExportReport("EnrollmentNonsense"))
    assert len(served.targets) == 1


def quick(**changes: object) -> ExportPolicy:
    return replace(ExportPolicy.hurried(), job_seconds=0.1, **changes)


@pytest.mark.parametrize("trouble", [{"hanging_jobs": 2}, {"failing_jobs": 2}, {"hanging_jobs": 1, "failing_jobs": 1}])
def test_jobs_that_hang_or_fail_are_followed_by_a_fresh_one(serve, trouble):
    served = serve(quick(), **trouble)
    assert served.graph.export(POLICIES).zip.startswith(b"PK")
    assert served.targets.count(f"POST {EXPORT_JOBS}") == 3


@pytest.mark.parametrize("trouble", ["hanging_jobs", "failing_jobs"])
def test_after_three_jobs_it_gives_up(serve, trouble):
    served = serve(quick(), **{trouble: 9})
    with pytest.raises(ProtocolError, match="3 times") as caught:
        served.graph.export(POLICIES)
    assert served.targets.count(f"POST {EXPORT_JOBS}") == 3
    assert "_" not in str(caught.value)  # no job id


def test_a_file_that_is_refused_is_had_from_a_fresh_job(serve):
    served = serve()
    served.sandbox.add_fault(Fault(kind="403", collection="blob/*"))
    assert served.graph.export(POLICIES).zip.startswith(b"PK")
    assert served.targets.count(f"POST {EXPORT_JOBS}") == 2


def test_a_post_is_repeated_when_no_answer_came(serve):
    served = serve()
    served.sandbox.add_fault(Fault(kind="reset", collection="graph/deviceManagement/reports/exportJobs"))
    assert served.graph.export(POLICIES).zip
    assert served.targets.count(f"POST {EXPORT_JOBS}") == 2


class Clock:
    """Time that passes only when somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def pause(self, stop: threading.Event, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


def test_waits_grow_to_thirty_seconds_and_end_after_five_minutes(serve):
    clock = Clock()
    policy = ExportPolicy(clock=clock, pause=clock.pause, submissions=1, per_minute=1000)
    served = serve(policy, hanging_jobs=1)
    with pytest.raises(ProtocolError, match="300 seconds"):
        served.graph.export(POLICIES)
    assert clock.waits[:5] == [5.0, 7.5, 11.25, 16.875, 25.3125]
    assert max(clock.waits) == 30.0
    assert sum(clock.waits) == 300.0


def test_requests_about_jobs_keep_to_eight_a_minute(serve):
    clock = Clock()
    sent: list[float] = []
    served = serve(ExportPolicy(clock=clock, pause=clock.pause), job_polls=0)
    original = served.transport.call

    def call(outgoing: Call, *args: object, **options: object) -> object:
        if EXPORT_JOBS in outgoing.url:
            sent.append(clock.now)
        return original(outgoing, *args, **options)

    served.transport.call = call
    for _ in range(12):
        served.graph.export(POLICIES)
    assert len(sent) == 24
    assert all(later - earlier >= 60 for earlier, later in zip(sent, sent[8:], strict=False))


def test_a_stop_ends_the_wait_at_once(serve):
    served = serve(ExportPolicy(first_poll=60))
    threading.Timer(0.1, served.transport.stop.set).start()
    began = time.monotonic()
    with pytest.raises(InterruptedRunError):
        served.graph.export(POLICIES)
    assert time.monotonic() - began < 5


def test_a_job_that_is_unknown_is_an_error(serve):
    with pytest.raises(NotFoundError):
        serve().graph.poll("it's/../gone")


@pytest.mark.parametrize("answer", [{}, {"id": 5, "status": "completed"}, {"id": "", "status": "x"}, [], "text"])
@responses.activate
def test_what_is_no_job_is_refused(answer):
    responses.post(BASE + EXPORT_JOBS, status=201, json=answer)
    with pytest.raises(MalformedPageError, match="no export job"):
        Graph(transport(), BASE).submit_export_job(POLICIES)


@pytest.mark.parametrize(
    "url", ["http://store.blob.core.windows.net/x", "https://127.0.0.1/x", "nonsense", "file:///x"]
)
def test_files_are_fetched_from_public_https_hosts_only(url):
    with pytest.raises(HostGuardError):
        Graph(transport(), BASE).download(url)


# -- secrets ----------------------------------------------------------------------------------------------------


def test_no_address_of_a_file_and_no_token_is_logged_or_told(serve, caplog):
    caplog.set_level(logging.DEBUG)
    served = serve(report="redirect")
    served.graph.export(POLICIES)
    served.graph.get_raw(FUNCTION)
    assert "exportJobs" in caplog.text
    assert "sig=" not in caplog.text
    assert SECRET not in caplog.text
    job = ExportJob("x", "completed", "https://store/x?sig=abc")
    assert "sig" not in repr(job)


@pytest.mark.parametrize("kind", ["403", "404", "400", "503", "redirect", "reset", "401"])
def test_errors_of_the_blob_store_do_not_hold_its_address(serve, kind):
    served = serve()
    served.sandbox.add_fault(Fault(kind=kind, collection="blob/*", times=0))
    url = ""
    original = served.graph.download

    def download(address: str, **options: object) -> bytes:
        nonlocal url
        url = address
        return original(address, **options)

    served.graph.download = download
    with pytest.raises(IntuneDwError) as caught:
        served.graph.export(POLICIES)
    assert "sig=" in url
    error: BaseException | None = caught.value
    while error is not None:
        assert "sig=" not in f"{error} {error!r} {getattr(error, 'hint', '')}"
        error = error.__cause__ or error.__context__
    with pytest.raises(IntuneDwError) as again:
        original(url)
    assert not isinstance(again.value, SignInError)
    assert "sig=" not in f"{again.value} {getattr(again.value, 'hint', '')}"


@responses.activate
def test_a_refused_call_without_bearer_does_not_renew_the_token():
    responses.get("https://store.example/x", status=401)
    with pytest.raises(ServiceError, match=r"store\.example answered 401"):
        Graph(transport(), BASE).download("https://store.example/x")
    responses.get("https://store.example/y", status=503)
    with pytest.raises(UnavailableError):
        Graph(transport(), BASE).download("https://store.example/y")
