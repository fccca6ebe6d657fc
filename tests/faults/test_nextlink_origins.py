"""The bearer goes to the feed's origin alone, wherever a link or a redirect points.

The feed is an https host with a certificate of its own; every other name, address and port leads to one foreign server
that takes TLS and plain HTTP, has a certificate for each name, and writes down what it gets.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from harness import Cli, Serve
from meddler import Heard, Meddle, Meddler
from rig import FACT, SMALL, TOKEN, Rig, as_rows, rows_of

from intune_dw_cli.errors import BadRequestError, HostGuardError, IntuneDwError, NotFoundError, ProtocolError
from intune_dw_cli.export.pull import PullResult
from intune_dw_cli.sandbox import Sandbox, ServerConfig
from intune_dw_cli.sandbox.messages import Response
from intune_dw_cli.sandbox.server import ROOT

FEED = "fef.msua06.manage.microsoft.com"
SIBLING = "fef.msub02.manage.microsoft.com"
USERS = f"{ROOT}/users?api-version=v1.0&$skiptoken=x"


def short(link: str) -> str:
    """A link as the name of a test."""
    return ascii(link.replace(USERS, "/..."))[1:-1]


@dataclass
class Internet:
    """The feed, all the rest, and the authority that everybody trusts."""

    feed: Meddler
    foreign: Meddler
    bundle: Path

    def pull(self, folder: Path, *names: str, allowed_hosts: tuple[str, ...] = (FEED,)) -> PullResult:
        """Pull collections from the feed."""
        url = f"https://{FEED}{ROOT}?api-version=v1.0"
        return Rig(url, allowed_hosts=allowed_hosts, ca_bundle=str(self.bundle), tries=2).pull(folder, *names)

    def assert_bearer_stayed(self) -> None:
        """Nobody but the feed was ever called, and the feed over TLS alone."""
        assert self.foreign.connections == 0
        assert self.foreign.heard == []
        assert {heard.headers["authorization"] for heard in self.feed.heard} == {f"Bearer {TOKEN}"}
        assert all(heard.tls for heard in self.feed.heard)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def internet(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Internet]:
    bundle = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    sandbox = Sandbox(SMALL, ServerConfig(page_size=4))
    with Meddler(sandbox, authority=authority) as feed, Meddler(authority=authority) as foreign:

        def resolve(host: str | bytes, port: int, *_: Any, **__: Any) -> list[Any]:
            name = host.decode() if isinstance(host, bytes) else host
            server = feed if (name.lower(), port) == (FEED, 443) else foreign
            return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", server.port))]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        yield Internet(feed, foreign, bundle)


@pytest.mark.parametrize(
    "url", ["https://evil.example/", "http://evil.example:81/", f"http://{FEED}/", "https://[::1]/"]
)
def test_the_foreign_server_is_where_every_other_address_leads(internet: Internet, url: str) -> None:
    requests.get(url, headers={"Authorization": "Bearer caught"}, verify=str(internet.bundle), timeout=10)
    assert internet.foreign.bearers() == ["Bearer caught"]
    assert internet.feed.connections == 0


def relinking(link: str, *, later: bool = False) -> Meddle:
    """Give the first page of a collection, or the later ones, another nextLink."""

    def meddle(heard: Heard, true: Response) -> Response | None:
        if heard.collection not in ("users", FACT) or heard.later != later:
            return None
        document = json.loads(true.body) | {"@odata.nextLink": link}
        return Response(200, json.dumps(document).encode())

    return meddle


LOOK_ALIKE = f"fef.m{chr(0x455)}ua06.manage.microsoft.com"
TRICKS = [
    f"https://evil.example{USERS}",
    f"//evil.example{USERS}",
    f"https://{FEED}:8443{USERS}",
    f"https://{FEED}:444{USERS}",
    f"http://{FEED}:8080{USERS}",
    f"https://{FEED}@evil.example{USERS}",
    f"https://user:pw@{FEED}{USERS}",
    f"https://evil.example:443@{FEED}:81{USERS}",
    f"https://evil.example#@{FEED}{USERS}",
    f"https://evil.example?@{FEED}{USERS}",
    f"https://evil.example\\@{FEED}{USERS}",
    f"https:\\\\evil.example{USERS}",
    f"/\\evil.example{USERS}",
    f"\\\\evil.example{USERS}",
    f"/\t/evil.example{USERS}",
    f"https:/\n/evil.example{USERS}",
    f"https:evil.example{USERS}",
    f"https:///evil.example{USERS}",
    f"////evil.example{USERS}",
    f"https://{FEED}.evil.example{USERS}",
    f"https://evil{FEED}{USERS}",
    f"https://{FEED}.{USERS}",
    f"https://{FEED}%2eevil.example{USERS}",
    f"https://{FEED}%00.evil.example{USERS}",
    f"https://{FEED}\x00.evil.example{USERS}",
    f"https://evil.example%2f@{FEED}{USERS}",
    f"https://evil.example%23.{FEED}{USERS}",
    f"https://{SIBLING}{USERS}",
    f"https://{LOOK_ALIKE}{USERS}",
    f"https://{LOOK_ALIKE.encode('idna').decode()}{USERS}",
    f"https://{FEED.replace('.', chr(0x3002))}{USERS}",
    f"https://evil.example{chr(0xFF0F)}.manage.microsoft.com{USERS}",
    f"https://{FEED}{chr(0xFF20)}evil.example{USERS}",
    f"https://2130706433{USERS}",
    f"https://0x7f.1{USERS}",
    f"https://[::ffff:127.0.0.1]{USERS}",
    f"https://127.0.0.1{USERS}",
    f"https://169.254.169.254{USERS}",
    "file:///etc/passwd",
    f"ftp://{FEED}{USERS}",
    f"gopher://{FEED}:443/1",
    "javascript:alert(1)",
    "data:application/json,{}",
    f"https://{FEED}:443:80{USERS}",
    f"https://{FEED}:0443@evil.example{USERS}",
    f"https://{FEED}:65979{USERS}",
    f"https://[{FEED}]{USERS}",
    f"https://{FEED} .evil.example{USERS}",
    f"https://{FEED}\r\nHost: evil.example\r\n\r\n{USERS}",
    f"https://{FEED}{USERS}#https://evil.example",
]
ON_THE_FEED = [
    f"@evil.example{USERS}",
    f".evil.example{USERS}",
    f"/..//evil.example{USERS}",
    f"x/..//..//evil.example{USERS}",
    f"?next=https://evil.example{USERS}",
    f"evil.example:443{USERS}".replace(":443", "%3A443"),
]
"""What only looks like another host: it is a path of the feed, where there is nothing."""


@pytest.mark.parametrize("later", [False, True], ids=["first page", "later page"])
@pytest.mark.parametrize("link", TRICKS, ids=short)
def test_a_nextlink_to_another_origin_is_refused(internet: Internet, tmp_path: Path, link: str, later: bool) -> None:
    internet.feed.meddle = relinking(link, later=later)
    result = internet.pull(tmp_path, "users", FACT)
    internet.assert_bearer_stayed()
    assert {error.collection for error in result.errors} == {"users", FACT}
    for error in result.errors:
        assert isinstance(error, HostGuardError)
        assert FEED in error.message
        assert "skiptoken" not in error.message
        assert error.message.isprintable()
        assert error.hint
    assert result.files == []


@pytest.mark.parametrize("link", ON_THE_FEED, ids=short)
def test_a_link_that_only_looks_like_another_host_stays_on_the_feed(
    internet: Internet, tmp_path: Path, link: str
) -> None:
    internet.feed.meddle = relinking(link)
    result = internet.pull(tmp_path, "users")
    internet.assert_bearer_stayed()
    assert isinstance(result.errors[0], NotFoundError | BadRequestError)
    assert result.files == []


@pytest.mark.parametrize("port", ["", ":80", ":443", ":"])
def test_http_for_https_is_followed_over_tls(internet: Internet, tmp_path: Path, port: str) -> None:
    def meddle(heard: Heard, true: Response) -> Response | None:
        body = true.body.replace(f'"@odata.nextLink":"https://{FEED}'.encode(), b'"@odata.nextLink":"http://' + host)
        return Response(200, body, true.content_type) if heard.collection in ("users", FACT) else None

    host = f"{FEED}{port}".encode()
    internet.feed.meddle = meddle
    result = internet.pull(tmp_path, "users", FACT)
    internet.assert_bearer_stayed()
    for name in ("users", FACT):
        assert rows_of(result, name) == as_rows(Sandbox(SMALL).tenant.rows(name))


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_another_host_is_called_where_the_settings_allow_it_and_over_https_alone(
    internet: Internet, tmp_path: Path, scheme: str, allowed: bool
) -> None:
    internet.feed.meddle = relinking(f"{scheme}://{SIBLING}{USERS}")
    hosts = ("*.manage.microsoft.com",) if allowed else (FEED,)
    result = internet.pull(tmp_path, "users", allowed_hosts=hosts)
    if allowed and scheme == "https":
        assert [(heard.headers["host"], heard.tls) for heard in internet.foreign.heard] == [(SIBLING, True)]
        assert result.errors == []
    else:
        internet.assert_bearer_stayed()
        assert isinstance(result.errors[0], HostGuardError)


LOCATIONS = [f"https://evil.example{USERS}", f"http://{FEED}{USERS}", f"https://{FEED}{USERS}", "//evil.example/x", ""]
REDIRECTS = [(status, LOCATIONS[0]) for status in (301, 302, 303, 307, 308)] + [(307, each) for each in LOCATIONS[1:]]


@pytest.mark.parametrize("where", ["service document", "first page", "later page"])
@pytest.mark.parametrize(("status", "location"), REDIRECTS, ids=lambda value: short(str(value)))
def test_no_redirect_is_followed(internet: Internet, tmp_path: Path, status: int, where: str, location: str) -> None:
    def meddle(heard: Heard, _true: Response) -> Response | None:
        place = "first page" if heard.collection == "users" else "service document"
        place = "later page" if heard.later else place
        meant = place == where and heard.collection != "$metadata"
        return Response(status, headers={"Location": location} if location else {}) if meant else None

    internet.feed.meddle = meddle
    if where == "service document":
        with pytest.raises(ProtocolError) as caught:
            internet.pull(tmp_path, "users")
        error: IntuneDwError = caught.value
    else:
        (error,) = internet.pull(tmp_path, "users").errors
    internet.assert_bearer_stayed()
    assert "redirects to" in error.message
    assert error.hint
    assert [heard.nth for heard in internet.feed.heard] == [1] * len(internet.feed.heard)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "url", [f"https://evil.example{ROOT}/users", f"http://{FEED}:81/users", "//evil.example/users"]
)
def test_a_service_document_does_not_lead_elsewhere(internet: Internet, tmp_path: Path, url: str) -> None:
    def meddle(heard: Heard, true: Response) -> Response | None:
        if heard.collection != ROOT.rpartition("/")[2]:
            return None
        return Response(200, true.body.replace(b'"url":"users"', b'"url":' + json.dumps(url).encode()))

    internet.feed.meddle = meddle
    (error,) = internet.pull(tmp_path, "users").errors
    assert isinstance(error, HostGuardError)
    internet.assert_bearer_stayed()


@pytest.mark.parametrize("fault", ["kind=next-foreign,url={}", "kind=redirect,status=307,location={}"])
def test_the_command_calls_nobody_else_either(cli: Cli, serve: Serve, fault: str) -> None:
    sandbox = serve("--page-size", 5, devices=20, days=2)
    with Meddler() as foreign:
        sandbox.fault(fault.format(f"{foreign.origin}{USERS}") + ",collection=users,times=0")
        said = cli("backup", "A", "--only", "users", "--url", sandbox.url).ok(3)
        assert foreign.connections == 0
    assert f"127.0.0.1:{foreign.port}" in said.err
