"""Whom the sign-in trusts and how it gets there: CA bundles, .netrc, proxies, redirects."""

from __future__ import annotations

import socket

import pytest
import requests
import trustme

from intune_dw_cli.errors import InterruptedRunError, SignInError, TransportError
from intune_dw_cli.identity.credentials import ClientSecret
from intune_dw_cli.identity.secret import Secret
from intune_dw_cli.identity.session import SignInSession, is_near
from intune_dw_cli.sandbox.entra import Entra
from intune_dw_cli.sandbox.entra_registry import App
from intune_dw_cli.sandbox.messages import Response

SECRET = "MARKED-a8f3-secret"
GOOD = ClientSecret(Secret(SECRET))


@pytest.fixture
def server(serve):
    return serve(Entra(apps=[App(secrets={SECRET: None})]))


@pytest.fixture
def other_bundle(tmp_path):
    path = tmp_path / "other-ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return path


def test_given_bundle_goes_before_that_of_the_environment(server, identify, other_bundle, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other_bundle))
    monkeypatch.setenv("CURL_CA_BUNDLE", str(other_bundle))
    assert identify(server, GOOD).warehouse.token()


def test_bundle_of_the_environment_serves_where_none_is_given(server, identify, tls, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls[0]))
    assert identify(server, GOOD, ca_bundle=None).warehouse.token()


def test_certificate_that_is_not_trusted_is_refused_for_good(server, identify, other_bundle):
    with pytest.raises(TransportError, match="no trusted TLS connection") as caught:
        identify(server, GOOD, ca_bundle=str(other_bundle)).warehouse.token()
    assert caught.value.permanent
    assert "--ca-bundle" in caught.value.hint


def test_bundle_that_is_not_there(server, identify):
    with pytest.raises((TransportError, SignInError)) as caught:
        identify(server, GOOD, ca_bundle="/nowhere/ca.pem").warehouse.token()
    assert "CA bundle" in str(caught.value)


def test_netrc_and_proxies_change_nothing_on_loopback(server, identify, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login MARKED-a8f3-user password MARKED-a8f3-password\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    seen: list[str] = []
    real = server.entra.answer

    def watched(request, rest):
        seen.append(request.headers.get("authorization", ""))
        return real(request, rest)

    server.entra.answer = watched
    assert identify(server, GOOD).warehouse.token()
    assert set(seen) == {""}


def test_proxy_of_the_environment_is_taken_for_other_hosts(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    session = SignInSession()
    far = session.merge_environment_settings("https://login.microsoftonline.com/x", {}, False, None, None)
    near = session.merge_environment_settings("https://127.0.0.1:8443/x", {}, False, None, None)
    assert far["proxies"]["https"] == "http://proxy.example:3128"
    assert near["proxies"] == {}


@pytest.mark.parametrize(
    ("host", "near"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("169.254.169.254", True),
        ("login.microsoftonline.com", False),
        ("localhost.evil.example", False),
        ("10.0.0.1", False),
        ("", False),
    ],
)
def test_near_hosts(host, near):
    assert is_near(host) is near


def test_redirect_is_not_followed_with_the_secret(server, identify, serve):
    trap = serve()
    real = server.entra.answer

    def redirecting(request, rest):
        if rest.endswith("/token"):
            return Response(307, headers={"Location": f"{trap.origin}/{rest}"})
        return real(request, rest)

    server.entra.answer = redirecting
    with pytest.raises(SignInError, match="did not answer as a sign-in service"):
        identify(server, GOOD).warehouse.token()
    assert not trap.entra.requests


@pytest.mark.parametrize("body", [b"<html>Please sign in to the hotel</html>", b"", b"[1]", b'{"a": 1}', b"null"])
@pytest.mark.parametrize("where", ["/token", "openid-configuration"])
def test_answer_that_is_none(server, identify, body, where):
    real = server.entra.answer
    server.entra.answer = lambda request, rest: (
        Response(200, body, "text/html") if rest.endswith(where) else real(request, rest)
    )
    with pytest.raises(SignInError) as caught:
        identify(server, GOOD).warehouse.token()
    assert SECRET not in str(caught.value)


def test_stop_ends_the_attempts(server):
    session = SignInSession()
    session._stop.set()
    with pytest.raises(InterruptedRunError):
        session.get(server.origin)


def test_attempts_end(serve, tls):
    server = serve()
    count = []

    def busy(request, rest):
        count.append(rest)
        return Response(503, b"", headers={"Retry-After": "0"})

    server.entra.answer = busy
    session = SignInSession(ca_bundle=str(tls[0]), tries=3, first_wait=0.01)
    assert session.get(f"{server.origin}/x").status_code == 503
    assert len(count) == 3
    server.stop()
    with pytest.raises(requests.ConnectionError):
        session.get(f"{server.origin}/x")


@pytest.mark.parametrize(("number", "times"), [(socket.EAI_NONAME, 2), (socket.EAI_AGAIN, 5)])
def test_a_host_that_is_not_known_is_asked_for_once_more_only(number, times, monkeypatch):
    asked = []

    def failing(host, *_args, **_options):
        asked.append(host)
        raise socket.gaierror(number, "as the test wants it")

    monkeypatch.setattr(socket, "getaddrinfo", failing)
    with SignInSession(tries=5, first_wait=0.001) as session, pytest.raises(requests.ConnectionError):
        session.get("https://login.example.invalid/")
    assert len(asked) == times
