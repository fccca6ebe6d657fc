from __future__ import annotations

import gzip
import json
import socket
import time
import zlib
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import pytest
import requests

from intune_dw_cli.errors import UsageError
from intune_dw_cli.sandbox import Fault, Sandbox, ServerConfig, TenantConfig
from intune_dw_cli.sandbox.faults import KINDS, FaultBox

NAME = "devicePropertyHistories"


@pytest.fixture(scope="module")
def client_of(client_class):
    """Serve one sandbox for the whole module; each test puts its own faults in force."""
    tenant = TenantConfig(today=date(2018, 2, 21), devices=40, days=3)
    with Sandbox(tenant, ServerConfig(page_size=30)) as sandbox:
        yield client_class(sandbox)


@pytest.fixture
def client(client_of):
    client_of.sandbox.clear_faults()
    return client_of


def raw(client, collection=NAME, headers=""):
    """Fetch without a client library: all bytes until the peer closes, and whether it reset."""
    url = urlsplit(client.url(collection))
    request = f"GET {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nAuthorization: Bearer t\r\n{headers}"
    received = b""
    with socket.create_connection((url.hostname, url.port), timeout=5) as connection:
        connection.sendall(f"{request}Connection: close\r\n\r\n".encode())
        try:
            while piece := connection.recv(65536):
                received += piece
        except ConnectionResetError:
            return received, True
    return received, False


def split(received):
    head, _, body = received.partition(b"\r\n\r\n")
    fields = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head.decode().split("\r\n")[1:])}
    return fields, body


def test_429_styles(client):
    for style in ("seconds", "date", "body", "none"):
        client.sandbox.add_fault(Fault.parse(f"kind=429,retry-after=7,style={style}"))
    seconds, date, body, none = (client.get("devices") for _ in range(4))
    assert [r.status_code for r in (seconds, date, body, none)] == [429] * 4
    assert seconds.headers["Retry-After"] == "7"
    wait = parsedate_to_datetime(date.headers["Retry-After"]) - datetime.now(UTC)
    assert 4 <= wait.total_seconds() <= 8
    assert json.loads(body.json()["Message"])["RetryAfter"] == "7"
    assert all("Retry-After" not in r.headers for r in (body, none))
    assert json.loads(none.json()["Message"])["RetryAfter"] is None
    assert client.get("devices").status_code == 200


@pytest.mark.parametrize("status", ["400", "403", "404", "408", "500", "502", "503", "504"])
def test_error_statuses(client, status):
    client.sandbox.add_fault(Fault(kind=status, collection=NAME))
    assert client.get("devices").status_code == 200
    assert client.get(NAME).status_code == int(status)
    assert client.get(NAME).status_code == 200


def test_an_error_status_asks_for_a_wait_when_told_to_and_only_then(client):
    for text in ("kind=503,retry-after=9", "kind=503"):
        client.sandbox.add_fault(Fault.parse(text))
    told, silent = client.get(NAME), client.get(NAME)
    assert (told.status_code, told.headers["Retry-After"]) == (503, "9")
    assert (silent.status_code, silent.headers.get("Retry-After")) == (503, None)


def test_error_shapes(client):
    def body(shape):
        client.sandbox.add_fault(Fault(kind="403", body=shape))
        return client.get("devices", headers={"client-request-id": "cid"})

    text = "Application is not authorized to perform this operation."
    assert body("a").json()["Message"].startswith(text)
    assert body("a").json()["Message"].endswith(" - CustomApiErrorPhrase: ")
    assert json.loads(body("b").json()["Message"])["Message"].startswith(text)
    assert "\r\n" in body("b").json()["Message"]
    assert body("b-bare").json()["_version"] == 3
    assert body("c").json()["ErrorCode"] == "Forbidden"
    assert body("c-xml").text.startswith("<ODataError><ErrorCode>Forbidden</ErrorCode>")
    assert body("c-xml").headers["Content-Type"].startswith("application/xml")
    error = body("d").json()["error"]
    assert error["innerError"]["client-request-id"] == "cid"
    assert json.loads(error["message"])["Message"].startswith(text)
    assert body("e").json()["error"]["message"].startswith(text)
    assert body("f").headers["Content-Type"] == "text/html"
    assert body("empty").content == b""


def test_token_expires_at_a_page(client):
    client.sandbox.add_fault(Fault.parse(f"kind=401,collection={NAME},page=2"))
    first = client.get(NAME).json()
    second = client.session.get(first["@odata.nextLink"], timeout=5)
    assert (second.status_code, second.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert client.session.get(first["@odata.nextLink"], timeout=5).status_code == 200


def test_reset_before_headers_and_mid_body(client):
    client.sandbox.add_fault(Fault(kind="reset"))
    assert raw(client) == (b"", True)
    client.sandbox.add_fault(Fault(kind="reset", at="body"))
    received, reset = raw(client)
    fields, body = split(received)
    assert reset
    assert 0 < len(body) < int(fields["content-length"])
    client.sandbox.add_fault(Fault(kind="reset"))
    with pytest.raises(requests.ConnectionError):
        client.get(NAME)
    assert client.get(NAME).status_code == 200


def test_close_mid_body(client):
    client.sandbox.add_fault(Fault(kind="close", after=0.25))
    received, reset = raw(client)
    fields, body = split(received)
    assert not reset
    assert len(body) == int(fields["content-length"]) // 4


@pytest.mark.parametrize("at", ["headers", "body"])
def test_stall(client, at):
    client.sandbox.add_fault(Fault(kind="stall", at=at, seconds=5))
    with pytest.raises(requests.RequestException):
        client.session.get(client.url(NAME), timeout=0.2)
    client.sandbox.add_fault(Fault(kind="stall", at=at, seconds=0.2))
    response = client.get(NAME)
    assert response.status_code == 200
    assert len(response.json()["value"]) == 30


def test_drip(client):
    client.sandbox.add_fault(Fault(kind="drip", seconds=0.0001, collection="$metadata"))
    start = time.perf_counter()
    response = client.get("$metadata")
    assert response.content.endswith(b"</edmx:Edmx>")
    assert time.perf_counter() - start > 0.3


def test_gzip_cut(client):
    client.sandbox.add_fault(Fault(kind="gzip-cut"))
    fields, body = split(raw(client, headers="Accept-Encoding: gzip\r\n")[0])
    assert len(body) == int(fields["content-length"])
    with pytest.raises(EOFError):
        gzip.decompress(body)
    assert zlib.decompressobj(31).decompress(body)


def test_json_cut(client):
    client.sandbox.add_fault(Fault(kind="json-cut", after=0.9))
    response = client.get(NAME)
    assert response.status_code == 200
    with pytest.raises(ValueError, match=r"."):
        response.json()


def test_answers_under_200_that_are_no_pages(client):
    for kind in ("error-body", "html", "empty-body"):
        client.sandbox.add_fault(Fault(kind=kind))
    error, html, empty = (client.get(NAME) for _ in range(3))
    assert [r.status_code for r in (error, html, empty)] == [200] * 3
    assert "value" not in error.json()
    assert error.json()["error"]["code"]
    assert html.headers["Content-Type"] == "text/html"
    assert html.text.startswith("<html>")
    assert empty.content == b""


def test_bom(client):
    client.sandbox.add_fault(Fault(kind="bom"))
    assert client.get(NAME).content.startswith(b'\xef\xbb\xbf{"@odata')


def test_bomb(client):
    client.sandbox.add_fault(Fault(kind="bomb", size=5_000_000, times=2))
    packed = client.get(NAME, headers={"Accept-Encoding": "gzip"})
    assert int(packed.headers["Content-Length"]) < 100_000
    assert len(packed.content) == 5_000_000
    assert len(packed.json()["value"]) == 30
    plain = client.get(NAME, headers={"Accept-Encoding": "identity"})
    assert len(plain.content) == 5_000_000


def test_redirect(client):
    client.sandbox.add_fault(Fault(kind="redirect", status=307, location="https://evil.example/x"))
    response = client.get(NAME)
    assert (response.status_code, response.headers["Location"]) == (307, "https://evil.example/x")


def link_of(client, kind, page, **settings):
    client.sandbox.clear_faults()
    headers = settings.pop("headers", {})
    url = client.url(NAME)
    for _ in range(page - 1):
        url = client.session.get(url, timeout=5).json()["@odata.nextLink"]
    client.sandbox.add_fault(Fault(kind=kind, page=page, collection=NAME, **settings))
    answer = client.session.get(url, timeout=5, headers=headers).json()
    assert len(answer["value"]) == 30
    return url, answer["@odata.nextLink"]


def test_bent_next_links(client):
    url, link = link_of(client, "next-loop", 2)
    assert link == url
    _, link = link_of(client, "next-cycle", 2)
    assert link == client.url(NAME)
    _, link = link_of(client, "next-foreign", 1)
    assert link.startswith("https://evil.example/")
    _, link = link_of(client, "next-foreign", 1, url="https://fef.manage.microsoft.com.evil.example/")
    assert link == "https://fef.manage.microsoft.com.evil.example/"
    _, link = link_of(client, "next-http", 1, headers={"X-Forwarded-Proto": "https"})
    assert link.startswith(f"http://{urlsplit(client.root).netloc}/")
    _, link = link_of(client, "next-port", 1)
    assert urlsplit(link).hostname == "127.0.0.1"
    assert urlsplit(link).port != urlsplit(client.root).port


def test_empty_page_then_the_rows_go_on(client):
    expected = list(client.sandbox.tenant.rows(NAME))
    client.sandbox.add_fault(Fault(kind="empty-page", page=1, collection=NAME))
    client.sandbox.add_fault(Fault(kind="empty-page", page=3, collection=NAME))
    pages = list(client.pages(NAME))
    assert [len(page["value"]) for page in pages[:4]] == [0, 30, 0, 30]
    assert [row for page in pages for row in page["value"]] == expected


def test_empty_page_keeps_top(client):
    client.sandbox.add_fault(Fault(kind="empty-page", page=1))
    assert len(client.rows(NAME, "$top=40")) == 40


def test_drift_on_one_page(client):
    client.sandbox.add_fault(Fault.parse(f"kind=extra-column,name=newThing,value=7,page=2,collection={NAME}"))
    client.sandbox.add_fault(Fault(kind="missing-column", name="oSVersion", page=3, collection=NAME))
    client.sandbox.add_fault(Fault(kind="int64-string", page=4, collection=NAME))
    first, second, third, fourth = list(client.pages(NAME))[:4]
    assert [{row.get("newThing") for row in page["value"]} for page in (first, second)] == [{None}, {7}]
    assert all("oSVersion" in row for row in second["value"])
    assert not any("oSVersion" in row for row in third["value"])
    assert all(isinstance(row["deviceKey"], str) and isinstance(row["dateKey"], int) for row in fourth["value"])


def test_where_and_how_often(client):
    client.sandbox.add_fault(Fault(kind="503", collection="policy*", times=2))
    assert [client.get("policies").status_code for _ in range(2)] == [200, 200]
    assert [client.get("policyTypes").status_code for _ in range(3)] == [503, 503, 200]
    client.sandbox.add_fault(Fault(kind="504", collection="service", times=0))
    client.sandbox.add_fault(Fault(kind="500", collection="$metadata", times=0))
    assert [client.session.get(client.sandbox.feed_url, timeout=5).status_code for _ in range(3)] == [504] * 3
    assert client.get("$metadata").status_code == 500
    assert client.get("devices").status_code == 200


def test_a_retry_after_a_fault_gets_the_very_same_page(client):
    clean = client.get(NAME).content
    client.sandbox.add_fault(Fault(kind="503"))
    assert client.get(NAME).status_code == 503
    assert client.get(NAME).content == clean


def test_random_faults_depend_on_seed_and_address_only():
    def draw(seed, targets):
        box = FaultBox(seed, (Fault(kind="503", probability=0.1),))
        return {target for target in targets if box.take("devices", 1, target)}

    targets = [f"/devices?{number}" for number in range(2000)]
    hit = draw(1, targets)
    assert 140 < len(hit) < 260
    assert draw(1, targets[::-1]) == hit
    assert draw(2, targets) != hit


def test_every_kind_is_served(client):
    for kind in KINDS:
        client.sandbox.clear_faults()
        client.sandbox.add_fault(Fault(kind=kind, seconds=0.0, size=10_000))
        try:
            client.get("ownerTypes")
        except requests.RequestException:
            assert kind in ("reset", "close", "gzip-cut")
        assert client.sandbox.faults.pending() == []
        assert client.sandbox.requests[-1].target.endswith("/ownerTypes?api-version=v1.0")


@pytest.mark.parametrize(
    ("text", "needle"),
    [
        ("kind=418", "429"),
        ("collection=devices", "kind"),
        ("kind=429,colection=devices", "collection"),
        ("kind=429,page=two", "page"),
        ("kind=429,style=loud", "seconds, date, body, none"),
        ("kind=500,body=z", "b-bare"),
        ("429", "NAME=VALUE"),
    ],
)
def test_wrong_faults_say_what_is_allowed(text, needle):
    with pytest.raises(UsageError) as caught:
        Fault.parse(text)
    assert needle in f"{caught.value.message} {caught.value.hint}"


def test_parse():
    fault = Fault.parse("kind=429, retry-after=2, collection=devices, page=2, times=1")
    assert fault == Fault(kind="429", retry_after=2, collection="devices", page=2, times=1)
    assert (Fault(kind="429").limit, Fault(kind="429", probability=0.1).limit, Fault(kind="429", times=0).limit) == (
        1,
        0,
        0,
    )
