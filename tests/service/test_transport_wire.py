"""The transport against a real socket: what only a real server can do to it."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from intune_dw_cli.errors import BadRequestError, InterruptedRunError, MalformedPageError, ProtocolError, TransportError
from intune_dw_cli.sandbox import Fault, Sandbox
from intune_dw_cli.service.page import Page, read_page
from intune_dw_cli.service.transport import Transport

Make = Callable[..., Transport]
Address = Callable[..., str]
Resolver = Callable[[int], list[str]]


def keep(body: bytes, _request_id: str) -> bytes:
    return body


def fetch(transport: Transport, url: str) -> Page:
    return transport.get(url, lambda body, request_id: read_page(body, url=url, request_id=request_id))


@pytest.mark.parametrize(
    "query", ["$skiptoken=a%3db%2c%27c%27", "$skiptoken=A%3DB%2C", "$skiptoken=%c3%a9'(~)!*;:@,$", "x=a+b&y=%20"]
)
def test_address_goes_out_byte_for_byte(served: Sandbox, sandbox: Address, transport_with: Make, query: str) -> None:
    url = f"{sandbox()}&{query}"
    with contextlib.suppress(BadRequestError):  # the sandbox knows no such skiptoken
        transport_with().get(url, keep)
    target = "/" + url.split("/", 3)[3]
    assert served.requests[-1].target == target


def test_address_that_ascii_cannot_hold_is_encoded(served: Sandbox, sandbox: Address, transport_with: Make) -> None:
    with pytest.raises(BadRequestError):
        transport_with().get(f"{sandbox()}&$skiptoken=%c3é", keep)
    assert served.requests[-1].target.lower().endswith("$skiptoken=%c3%c3%a9")


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="reset"),
        Fault(kind="reset", at="body"),
        Fault(kind="close"),
        Fault(kind="stall", seconds=3),
        Fault(kind="stall", at="body", seconds=3),
        Fault(kind="drip", seconds=0.05),
        Fault(kind="gzip-cut"),
        Fault(kind="json-cut"),
        Fault(kind="html"),
        Fault(kind="error-body"),
        Fault(kind="empty-body"),
        Fault(kind="429", retry_after=0),
        Fault(kind="429", style="none"),
        Fault(kind="503"),
        Fault(kind="401"),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.at}-{fault.style}",
)
def test_page_comes_whole_after_a_fault(sandbox: Address, transport_with: Make, fault: Fault) -> None:
    url = sandbox()
    whole = transport_with().get(url, keep)
    sandbox(fault)
    page = fetch(transport_with(read_timeout=0.4, answer_timeout=0.6), url)
    assert page.body == whole
    assert page.next_link == json.loads(whole)["@odata.nextLink"]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault(kind="reset", times=0), "closed the connection"),
        (Fault(kind="reset", at="body", times=0), "broke off: the connection was reset"),
        (Fault(kind="close", times=0), "broke off: fewer bytes came than announced"),
        (Fault(kind="stall", seconds=3, times=0), "did not answer in time"),
        (Fault(kind="stall", at="body", seconds=3, times=0), "broke off: nothing came for too long"),
        (Fault(kind="drip", seconds=0.05, times=0), "hardly anything came"),
        (Fault(kind="gzip-cut", times=0), "gzip data is cut short"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_fault_that_goes_on_is_named(sandbox: Address, transport_with: Make, fault: Fault, says: str) -> None:
    with pytest.raises(TransportError, match=says) as caught:
        fetch(transport_with(tries=2, read_timeout=0.3, answer_timeout=0.5), sandbox(fault))
    assert caught.value.request_id


def test_json_that_is_always_cut_is_a_malformed_page(sandbox: Address, transport_with: Make) -> None:
    with pytest.raises(MalformedPageError, match="cut short"):
        fetch(transport_with(tries=2), sandbox(Fault(kind="json-cut", times=0)))


def test_server_that_is_not_there_is_named(transport_with: Make) -> None:
    with pytest.raises(TransportError, match=r"127\.0\.0\.1:9 refused the connection"):
        transport_with(tries=1).get("http://127.0.0.1:9/x", keep)


def test_bomb_is_refused_at_the_bound(sandbox: Address, transport_with: Make) -> None:
    url = sandbox(Fault(kind="bomb", size=64 << 20))
    with pytest.raises(ProtocolError, match="larger than 1 MiB"):
        transport_with(max_bytes=1 << 20).get(url, keep)


def test_redirect_is_not_followed(served: Sandbox, sandbox: Address, transport_with: Make) -> None:
    url = sandbox(Fault(kind="redirect", location=f"{served.origin}/elsewhere"))
    before = len(served.requests)
    with pytest.raises(ProtocolError, match=r"redirects to 127\.0\.0\.1"):
        transport_with().get(url, keep)
    assert len(served.requests) == before + 1


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_proxy_of_the_environment_is_not_used_for_loopback(
    sandbox: Address, transport_with: Make, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for other in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert transport_with(tries=1).get(sandbox(), keep)


def test_stop_ends_the_retries_of_a_server_that_never_answers(
    sandbox: Address, transport_with: Make, stop: threading.Event
) -> None:
    url = sandbox(Fault(kind="stall", seconds=3, times=0))
    threading.Timer(0.2, stop.set).start()
    begun = time.monotonic()
    with pytest.raises(InterruptedRunError):
        transport_with(tries=100, read_timeout=0.3).get(url, keep)
    assert time.monotonic() - begun < 1.5


def test_threads_have_sessions_of_their_own_and_close_ends_them(sandbox: Address, transport_with: Make) -> None:
    transport, url = transport_with(), sandbox()
    threads = [threading.Thread(target=transport.get, args=(url, keep)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(session) for session in transport._sessions}) == 3
    transport.close()


# -- names that are not resolved ---------------------------------------------------------------------------------


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    """Have every name fail to be resolved, with an error of getaddrinfo, from now on; gives the names asked for."""

    def fail(number: int) -> list[str]:
        asked: list[str] = []

        def failing(host: str, *_args: Any, **_options: Any) -> Any:
            asked.append(host)
            raise socket.gaierror(number, "as the test wants it")

        monkeypatch.setattr(socket, "getaddrinfo", failing)
        return asked

    return fail


def test_a_host_that_is_not_known_is_told_after_one_more_attempt(resolver: Resolver, transport_with: Make) -> None:
    asked = resolver(socket.EAI_NONAME)
    with pytest.raises(TransportError, match=r"the host 127\.0\.0\.1:9 is not known") as caught:
        transport_with(tries=4).get("http://127.0.0.1:9/x", keep)
    assert len(asked) == 2
    assert caught.value.ends_run


def test_a_resolver_that_cannot_tell_now_is_asked_as_often_as_any_server(
    resolver: Resolver, transport_with: Make
) -> None:
    asked = resolver(socket.EAI_AGAIN)
    with pytest.raises(TransportError, match="cannot be looked up at present") as caught:
        transport_with(tries=4).get("http://127.0.0.1:9/x", keep)
    assert len(asked) == 4
    assert not caught.value.ends_run


def test_a_host_that_was_there_before_is_asked_for_as_often_as_any_other(
    resolver: Resolver, sandbox: Address, transport_with: Make
) -> None:
    transport = transport_with(tries=4)
    transport.get(sandbox(), keep)
    transport.close()
    asked = resolver(socket.EAI_NONAME)
    with pytest.raises(TransportError, match="is not known") as caught:
        transport.get(sandbox(), keep)
    assert len(asked) == 4
    assert not caught.value.ends_run


def test_a_proxy_that_is_not_known_is_not_taken_for_the_service(
    resolver: Resolver, transport_with: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.invalid:8080")
    asked = resolver(socket.EAI_NONAME)
    with pytest.raises(TransportError, match=r"of the proxy for fef\.example\.invalid is not known") as caught:
        transport_with().get("https://fef.example.invalid/x", keep)
    assert asked == ["proxy.example.invalid"] * 2
    assert "HTTPS_PROXY" in (caught.value.hint or "")
