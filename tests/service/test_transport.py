"""One request, done right: what is sent, what is tried again, and what each answer becomes."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import requests
import responses
from hypothesis import example, given
from hypothesis import strategies as st
from responses.registries import OrderedRegistry

from intune_dw_cli import __version__
from intune_dw_cli.errors import (
    BadRequestError,
    ForbiddenError,
    InterruptedRunError,
    IntuneDwError,
    MalformedPageError,
    NotFoundError,
    ProtocolError,
    ServiceError,
    SignInError,
    TransportError,
    UnavailableError,
)
from intune_dw_cli.events import Retrying, Throttled
from intune_dw_cli.service.call import JSON, XML, loggable
from intune_dw_cli.service.retry import RequestPolicy, retry_after_seconds
from intune_dw_cli.service.transport import Transport

URL = "https://fef.msua06.manage.microsoft.com/ReportingService/DataWarehouseFEService/devices?api-version=v1.0"
SECRET = "eyJ0-top-secret-token"
Make = Callable[..., Transport]


def keep(body: bytes, _request_id: str) -> bytes:
    return body


@pytest.fixture
def service():
    """Answers in the order they are given; each must be asked for."""
    with responses.RequestsMock(registry=OrderedRegistry, assert_all_requests_are_fired=True) as mock:
        yield mock


def answer(service: Any, status: int = 200, body: Any = "{}", **headers: str) -> None:
    service.get(URL, body=body, status=status, headers={k.replace("_", "-"): v for k, v in headers.items()})


# -- what is sent ------------------------------------------------------------------------------------------------


def test_request_carries_the_documented_headers_and_no_others(service: Any, transport_with: Make) -> None:
    answer(service)
    transport_with().get(URL, keep)
    sent = service.calls[0].request
    assert sent.method == "GET"
    assert sent.url == URL
    headers = dict(sent.headers)
    assert uuid.UUID(headers.pop("client-request-id"))
    assert headers == {
        "Accept": JSON,
        "Accept-Encoding": "gzip",
        "Authorization": f"Bearer {SECRET}-0",
        "Connection": "keep-alive",
        "OData-MaxVersion": "4.0",
        "OData-Version": "4.0",
        "User-Agent": f"intune-dw/{__version__}",
    }


def test_another_media_type_can_be_asked_for(service: Any, transport_with: Make) -> None:
    answer(service)
    transport_with().get(URL, keep, accept=XML)
    assert service.calls[0].request.headers["Accept"] == "application/xml"


def test_each_attempt_has_a_request_id_of_its_own_and_the_reader_gets_the_last(
    service: Any, transport_with: Make
) -> None:
    answer(service, 503)
    answer(service, 503)
    answer(service)
    seen = transport_with().get(URL, lambda _body, request_id: request_id)
    ids = [call.request.headers["client-request-id"] for call in service.calls]
    assert len(set(ids)) == 3
    assert seen == ids[-1]


@pytest.mark.parametrize(
    "query",
    [
        "$filter=DateKey%20eq%2020240115",
        "$select=deviceKey,deviceName&$top=5",
        "$skiptoken=LastDeviceName%3d%27a%2Cb%27%2c'c'",
        "$skiptoken=a+b~c!*()",
    ],
)
def test_address_is_not_quoted_again_and_nothing_is_added(service: Any, transport_with: Make, query: str) -> None:
    url = f"{URL}&{query}"
    service.get(url, body="{}")
    transport_with().get(url, keep)
    assert service.calls[0].request.url == url


def test_netrc_does_not_replace_the_token(
    service: Any, transport_with: Make, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine fef.msua06.manage.microsoft.com login eve password pass\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert requests.utils.get_netrc_auth(URL) is not None
    answer(service)
    transport_with().get(URL, keep)
    assert service.calls[0].request.headers["Authorization"] == f"Bearer {SECRET}-0"


def test_redirects_are_off_and_the_answer_is_streamed_with_time_outs(
    service: Any, transport_with: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(service)
    given: dict[str, Any] = {}
    send = requests.Session.send
    monkeypatch.setattr(requests.Session, "send", lambda s, r, **kw: given.update(kw) or send(s, r, **kw))
    transport_with(connect_timeout=3.0, read_timeout=4.0).get(URL, keep)
    assert given["allow_redirects"] is False
    assert given["stream"] is True
    assert given["timeout"] == (3.0, 4.0)


@pytest.mark.parametrize("ours", ["/ours/ca.pem", None])
def test_ca_bundle_of_the_settings_wins_over_the_environment(
    service: Any, transport_with: Make, monkeypatch: pytest.MonkeyPatch, ours: str | None
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/environment/ca.pem")
    given: dict[str, Any] = {}
    send = requests.Session.send
    monkeypatch.setattr(requests.Session, "send", lambda s, r, **kw: given.update(kw) or send(s, r, **kw))
    answer(service)
    transport_with(ca_bundle=ours).get(URL, keep)
    assert given["verify"] == (ours or "/environment/ca.pem")


def test_proxy_of_the_environment_is_used_for_the_service(
    service: Any, transport_with: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    given: dict[str, Any] = {}
    send = requests.Session.send
    monkeypatch.setattr(requests.Session, "send", lambda s, r, **kw: given.update(kw) or send(s, r, **kw))
    answer(service)
    transport_with().get(URL, keep)
    assert given["proxies"]["https"] == "http://proxy.example:3128"


def test_environment_is_asked_once_for_each_origin(
    service: Any, transport_with: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    proxies: list[Any] = []
    look, send = requests.Session.merge_environment_settings, requests.Session.send

    def asking(session: requests.Session, url: str, *rest: Any) -> Any:
        asked.append(url)
        return look(session, url, *rest)

    def sending(session: requests.Session, request: requests.PreparedRequest, **how: Any) -> requests.Response:
        proxies.append(how["proxies"].get("https"))
        return send(session, request, **how)

    monkeypatch.setattr(requests.Session, "merge_environment_settings", asking)
    monkeypatch.setattr(requests.Session, "send", sending)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "fef.amsua01.manage.microsoft.com")
    other = URL.replace("msua06", "amsua01")
    transport = transport_with()
    for url in (URL, other, f"{URL}&$skip=1", f"{other}&$skip=1"):
        service.get(url, body="{}")
        transport.get(url, keep)
    assert asked == [URL, other]
    assert proxies == ["http://proxy.example:3128", None] * 2


def test_cookies_of_the_service_go_back_to_it_and_nowhere_else(service: Any, transport_with: Make) -> None:
    answer(service, Set_Cookie="x-ms-gateway-slice=estsfd; path=/; secure; HttpOnly")
    answer(service)
    other = URL.replace("msua06", "amsua01")
    service.get(other, body="{}")
    transport = transport_with()
    for url in (URL, URL, other):
        transport.get(url, keep)
    assert [c.request.headers.get("Cookie") for c in service.calls] == [None, "x-ms-gateway-slice=estsfd", None]


# -- what each answer becomes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (405, ServiceError),
        (410, ServiceError),
        (501, ServiceError),
        (204, ServiceError),
        (301, ProtocolError),
        (302, ProtocolError),
        (307, ProtocolError),
    ],
)
def test_answer_that_no_repeat_will_change_is_an_error_at_once(
    service: Any, transport_with: Make, status: int, kind: type[IntuneDwError]
) -> None:
    answer(service, status, Location="https://elsewhere.example/x")
    with pytest.raises(IntuneDwError) as caught:
        transport_with().get(URL, keep, collection="devices")
    assert type(caught.value) is kind
    assert caught.value.collection == "devices"
    assert caught.value.request_id == service.calls[0].request.headers["client-request-id"]
    assert len(service.calls) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_answer_that_a_repeat_may_change_is_asked_for_again(service: Any, transport_with: Make, status: int) -> None:
    answer(service, status)
    answer(service, body="fine")
    assert transport_with().get(URL, keep) == b"fine"


@pytest.mark.parametrize(("status", "attempts"), [(408, 4), (500, 4), (502, 4), (503, 4), (504, 4), (429, 5)])
def test_patience_ends_with_a_typed_error(service: Any, transport_with: Make, status: int, attempts: int) -> None:
    for _ in range(attempts):
        answer(service, status, '{"Message":"busy"}')
    with pytest.raises(UnavailableError, match="busy") as caught:
        transport_with().get(URL, keep, collection="devices")
    assert caught.value.status == status
    assert "continues" in (caught.value.hint or "")


def test_number_of_attempts_can_be_given_for_one_request(service: Any, transport_with: Make) -> None:
    answer(service, 503)
    with pytest.raises(UnavailableError):
        transport_with().get(URL, keep, tries=1)


@pytest.mark.parametrize(
    "error",
    [
        requests.exceptions.ConnectionError("reset"),
        requests.exceptions.ConnectTimeout("timed out"),
        requests.exceptions.ReadTimeout("timed out"),
        requests.exceptions.ChunkedEncodingError("broken"),
        requests.exceptions.SSLError("EOF"),
        ConnectionResetError(104, "reset"),
    ],
)
def test_broken_connection_is_tried_again_and_then_typed(service: Any, transport_with: Make, error: Exception) -> None:
    answer(service, body=error)
    answer(service, body="fine")
    transport = transport_with()
    assert transport.get(URL, keep) == b"fine"
    answer(service, body=error)
    with pytest.raises(TransportError, match=r"fef\.msua06\.manage\.microsoft\.com"):
        transport.get(URL, keep, tries=1)


def test_certificate_that_is_not_trusted_is_not_tried_again(service: Any, transport_with: Make) -> None:
    answer(service, body=requests.exceptions.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"))
    with pytest.raises(TransportError, match="no trusted TLS") as caught:
        transport_with().get(URL, keep)
    assert "--ca-bundle" in (caught.value.hint or "")


def test_tls_that_does_not_come_about_is_tried_again_and_not_blamed_on_the_certificate(
    service: Any, transport_with: Make
) -> None:
    for _ in range(2):
        answer(service, body=requests.exceptions.SSLError("[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred"))
    with pytest.raises(TransportError, match="no TLS connection") as caught:
        transport_with(tries=2).get(URL, keep)
    assert len(service.calls) == 2
    assert "--ca-bundle" not in (caught.value.hint or "")


def test_page_that_does_not_read_is_asked_for_again(service: Any, transport_with: Make, events: list[Any]) -> None:
    answer(service, body="half")
    answer(service, body="whole")

    def read(body: bytes, _request_id: str) -> bytes:
        if body == b"half":
            raise MalformedPageError("the page is cut short")
        return body

    assert transport_with().get(URL, read, collection="devices") == b"whole"
    assert [(e.collection, e.reason, e.attempt) for e in events] == [("devices", "the page is cut short", 1)]


def test_status_counts_even_when_its_body_cannot_be_read(service: Any, transport_with: Make) -> None:
    answer(service, 403, b"\x1f\x8b broken", Content_Encoding="gzip")
    with pytest.raises(ForbiddenError):
        transport_with().get(URL, keep)


def test_forbidden_names_the_permissions_that_the_service_wants(service: Any, transport_with: Make) -> None:
    answer(service, 403, '{"Message":"Application must have one of the following scopes: get_data_warehouse"}')
    with pytest.raises(ForbiddenError) as caught:
        transport_with().get(URL, keep)
    assert "One of these is needed: get_data_warehouse" in (caught.value.hint or "")


def test_bad_request_shows_the_request_without_its_skiptoken(service: Any, transport_with: Make) -> None:
    url = f"{URL}&$skiptoken=LAPTOP-OF-EVE"
    service.get(url, status=400, json={"Message": f"An error has occurred - Url: {url} - Activity ID: none"})
    with pytest.raises(BadRequestError) as caught:
        transport_with().get(url, keep)
    assert "devices?api-version=v1.0&$skiptoken=..." in (caught.value.hint or "")
    assert "EVE" not in f"{caught.value} {caught.value.hint}"
    assert loggable(url).endswith("$skiptoken=...")


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("https://evil.example/secret/path?q=1", "evil.example"),
        ("//evil.example/x", "evil.example"),
        ("/a/b/c", "fef.msua06.manage.microsoft.com"),
        ("https://user:pw@evil.example/", "evil.example"),
    ],
)
def test_redirect_is_refused_and_names_the_host_alone(
    service: Any, transport_with: Make, location: str, host: str
) -> None:
    answer(service, 302, Location=location)
    with pytest.raises(ProtocolError) as caught:
        transport_with().get(URL, keep)
    assert f"redirects to {host}," in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "pw" not in str(caught.value)


# -- signing in again --------------------------------------------------------------------------------------------


def test_401_renews_the_token_once_and_repeats_the_request(service: Any, transport_with: Make, tokens: Any) -> None:
    answer(service, 401)
    answer(service, body="fine")
    assert transport_with().get(URL, keep) == b"fine"
    assert tokens.renewals == [(f"{SECRET}-0", None)]
    assert [c.request.headers["Authorization"] for c in service.calls] == [
        f"Bearer {SECRET}-0",
        f"Bearer {SECRET}-1",
    ]


def test_second_401_is_a_sign_in_error(service: Any, transport_with: Make, tokens: Any) -> None:
    answer(service, 401)
    answer(service, 401, '{"Message":"wrong audience"}')
    with pytest.raises(SignInError, match="wrong audience"):
        transport_with().get(URL, keep)
    assert len(tokens.renewals) == 1


def test_renewed_token_is_kept_over_a_retry(service: Any, transport_with: Make) -> None:
    answer(service, 401)
    answer(service, 503)
    answer(service, body="fine")
    assert transport_with().get(URL, keep) == b"fine"
    assert service.calls[2].request.headers["Authorization"] == f"Bearer {SECRET}-1"


def test_claims_challenge_is_passed_to_the_renewal(service: Any, transport_with: Make, tokens: Any) -> None:
    answer(service, 401, WWW_Authenticate='Bearer error="insufficient_claims", claims="eyJhY2Nlc3MifQ=="')
    answer(service)
    transport_with().get(URL, keep)
    assert tokens.renewals == [(f"{SECRET}-0", "eyJhY2Nlc3MifQ==")]


def test_renewal_that_fails_ends_the_request(service: Any, transport_with: Make, tokens: Any) -> None:
    tokens._left = 0
    answer(service, 401)
    with pytest.raises(SignInError, match="no other token"):
        transport_with().get(URL, keep)


# -- waiting -----------------------------------------------------------------------------------------------------


def http_date(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "body", "least", "most"),
    [
        ({"Retry_After": "2"}, "", 2.0, 2.002),
        ({"Retry_After": http_date(3600)}, "", 9.0, 9.002),
        ({"Retry_After": "86400"}, "", 9.0, 9.002),
        ({"Retry_After": "0"}, "", 0.0, 0.002),
        ({"Retry_After": http_date(-60)}, "", 0.0, 0.002),
        ({"Retry_After": "soon"}, "", 0.0, 0.002),
        ({}, "", 0.0, 0.002),
        ({}, '{"Message":"{\\"RetryAfter\\":\\"3\\"}"}', 3.0, 3.002),
        ({"Retry_After": "1"}, '{"RetryAfter":"3"}', 1.0, 1.002),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_wait_is_what_the_service_asks_for_up_to_a_bound(
    service: Any,
    transport_with: Make,
    events: list[Any],
    stop: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    headers: dict[str, str],
    body: str,
    least: float,
    most: float,
    status: int,
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(stop, "wait", waited.append)
    answer(service, status, body, **headers)
    answer(service)
    transport_with(max_retry_after=9.0).get(URL, keep)
    assert len(waited) == 1
    assert least <= waited[0] <= most
    assert [e.wait for e in events] == waited
    assert isinstance(events[0], Throttled if status == 429 else Retrying)


def test_random_waits_grow_up_to_the_longest(
    service: Any, transport_with: Make, stop: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    ceilings: list[float] = []
    monkeypatch.setattr(stop, "wait", lambda _: None)
    monkeypatch.setattr("intune_dw_cli.service.retry.random.uniform", lambda _, high: ceilings.append(high) or 0)
    for _ in range(6):
        answer(service, 503)
    with pytest.raises(UnavailableError):
        transport_with(tries=6, first_wait=1.0, max_wait=5.0).get(URL, keep)
    assert ceilings == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_throttling_halves_the_gate_and_is_not_counted_as_failure(
    service: Any, transport_with: Make, events: list[Any]
) -> None:
    answer(service, 429)
    answer(service, 503)
    answer(service, 429)
    answer(service, 503)
    answer(service)
    transport_with(workers=8, tries=3).get(URL, keep)
    assert [e.limit for e in events if isinstance(e, Throttled)] == [4, 2]
    assert [e.attempt for e in events if isinstance(e, Retrying)] == [1, 2]


def test_gate_recovers_after_twenty_good_answers(service: Any, transport_with: Make, events: list[Any]) -> None:
    transport = transport_with(workers=4)
    answer(service, 429)
    for _ in range(20):
        answer(service)
    answer(service, 429)
    answer(service)
    for _ in range(21):
        transport.get(URL, keep)
    assert [e.limit for e in events] == [2, 1]  # 4 -> 2 -> (20 good answers) 3 -> 1


def test_stop_ends_a_wait_at_once(service: Any, transport_with: Make, stop: threading.Event) -> None:
    answer(service, 429, Retry_After="600")
    threading.Timer(0.1, stop.set).start()
    begun = time.monotonic()
    with pytest.raises(InterruptedRunError):
        transport_with(max_retry_after=600.0).get(URL, keep)
    assert time.monotonic() - begun < 2


def test_nothing_is_sent_once_the_run_is_stopped(transport_with: Make, stop: threading.Event) -> None:
    stop.set()
    with responses.RequestsMock(), pytest.raises(InterruptedRunError):
        transport_with().get(URL, keep)


def test_bytes_on_the_wire_are_told_once_for_a_good_answer(service: Any, transport_with: Make) -> None:
    sizes: list[int] = []
    answer(service, 503, "x" * 100)
    answer(service, body="12345")
    transport_with().get(URL, keep, on_bytes=sizes.append)
    assert sizes == [5]


# -- secrets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 418, 429, 500, 0])
def test_token_is_in_no_message_and_no_log(
    service: Any, transport_with: Make, caplog: pytest.LogCaptureFixture, events: list[Any], status: int
) -> None:
    caplog.set_level(logging.DEBUG)
    body = requests.exceptions.ConnectionError(f"Bearer {SECRET}-0") if status == 0 else "no"
    for _ in range(2):
        answer(service, status or 200, body, Location="https://elsewhere.example/")
        if status in (302, 400, 403, 404, 418):
            break
    with pytest.raises(IntuneDwError) as caught:
        transport_with(tries=2, throttles=2).get(URL, keep)
    said = [repr(caught.value), str(caught.value), caught.value.hint, caplog.text, repr(events)]
    assert not [text for text in said if text and SECRET in text]


# -- Retry-After -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        ("nan", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 60.0),
        ("Wed, 21 Oct 2015 07:28:00 -0000", 60.0),
        ("Wed, 21 Oct 2015 09:28:00 +0200", 60.0),
        ("Wednesday, 21-Oct-15 07:28:00 GMT", 60.0),
        ("Wed, 21 Oct 2015 07:20:00 GMT", 0.0),
        ("", None),
        (None, None),
        ("later", None),
        ("Mon, 01 Jan 99999999999999 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_date(text: str | None, seconds: float | None) -> None:
    now = datetime(2015, 10, 21, 7, 27, tzinfo=UTC)
    assert retry_after_seconds(text, now=now) == seconds


@given(st.text(max_size=40))
@example("Mon, 01 Jan 0000 00:00:00 +999999")
def test_any_retry_after_gives_seconds_or_nothing(text: str) -> None:
    seconds = retry_after_seconds(text)
    assert seconds is None or seconds >= 0


def test_default_policy_is_patient_but_not_for_ever() -> None:
    policy = RequestPolicy()
    assert policy.tries > 1
    assert policy.max_wait <= 300
    assert policy.max_retry_after <= 600
