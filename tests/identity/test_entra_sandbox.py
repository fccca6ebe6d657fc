"""The sandbox's Entra by itself, asked as by clients that do wrong."""

from __future__ import annotations

import time

import jwt
import pytest
import requests

from intune_dw_cli.sandbox.entra import Entra, EntraConfig
from intune_dw_cli.sandbox.entra_registry import CLIENT_ID, GRAPH, TENANT_ID, WAREHOUSE, App
from intune_dw_cli.sandbox.entra_server import EntraServer

SECRET = "MARKED-a8f3-secret"


@pytest.fixture
def server():
    with EntraServer(Entra(EntraConfig(token_life=30), [App(secrets={SECRET: None})])) as server:
        yield server


@pytest.fixture
def ask(server):
    session = requests.Session()
    session.trust_env = False

    def post(tenant=TENANT_ID, endpoint="token", **form):
        data = {"client_id": CLIENT_ID, **form}
        return session.post(f"{server.origin}/{tenant}/oauth2/v2.0/{endpoint}", data=data)

    yield post
    session.close()


APP = {"grant_type": "client_credentials", "client_secret": SECRET, "scope": f"{WAREHOUSE}/.default"}


def code_of(response) -> int:
    body = response.json()
    assert body["error_description"].startswith(f"AADSTS{body['error_codes'][0]}: ")
    assert f"Trace ID: {body['trace_id']}" in body["error_description"]
    return body["error_codes"][0]


def test_plain_http_on_loopback_serves_tokens(server, ask):
    token = ask(**APP).json()["access_token"]
    assert server.entra.validate(token, WAREHOUSE)
    assert not server.entra.validate(token, GRAPH)
    assert not server.entra.validate(token + "x", WAREHOUSE)
    assert not server.entra.validate("opaque", WAREHOUSE)
    forged = jwt.encode({"aud": WAREHOUSE, "exp": time.time() + 60}, "k" * 32, algorithm="HS256")
    assert not server.entra.validate(forged, WAREHOUSE)
    server.entra.revoke(token)
    assert not server.entra.validate(token, WAREHOUSE)


def test_audience_is_the_scope_up_to_its_last_slash(server, ask):
    single = ask(**{**APP, "scope": f"{WAREHOUSE}.default"}).json()["access_token"]
    assert jwt.decode(single, options={"verify_signature": False})["aud"] == WAREHOUSE.rstrip("/")
    assert not server.entra.validate(single, WAREHOUSE)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"client_secret": "x"}, 7000215),
        ({"client_id": "x"}, 700016),
        ({"tenant": "nowhere"}, 90002),
        ({"scope": WAREHOUSE}, 1002012),
        ({"scope": "https://unknown.example/.default"}, 500011),
        ({"scope": f"{WAREHOUSE}/.default {GRAPH}/.default"}, 70011),
        ({"grant_type": "password"}, 70003),
        ({"grant_type": "authorization_code", "code": "x"}, 70000),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, 70000),
        ({"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": "x"}, 70018),
        ({"client_secret": "", "client_assertion": "x"}, 900144),
    ],
)
def test_requests_that_are_wrong(ask, change, code):
    assert code_of(ask(**{**APP, **change})) == code


def test_assertions_that_are_wrong(ask, app_certificate, server):
    key = app_certificate.pem.read_bytes()
    kind = {"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}
    base = {"grant_type": "client_credentials", "scope": APP["scope"], **kind}
    assert code_of(ask(**base, client_assertion="x")) == 50027
    claims = {"iss": CLIENT_ID, "sub": CLIENT_ID, "aud": "x", "exp": time.time() + 60}
    unknown = jwt.encode(claims, key, algorithm="RS256", headers={"x5t": "AAAA"})
    assert code_of(ask(**base, client_assertion=unknown)) == 700027
    no_federation = jwt.encode(claims, key, algorithm="RS256")
    assert code_of(ask(**base, client_assertion=no_federation)) == 70021


def test_refusals_can_be_counted_and_taken_back(server, ask):
    server.entra.refuse("53003", grant="client_credentials", times=2)
    server.entra.refuse("700082", grant="refresh_token")
    assert [ask(**APP).status_code for _ in range(3)] == [400, 400, 200]
    server.entra.refuse("65001")
    assert code_of(ask(**APP)) == 65001
    server.entra.relent()
    assert ask(**APP).status_code == 200


def test_redirects_only_to_registered_addresses(server):
    form = {
        "client_id": CLIENT_ID,
        "response_type": "code",
        "scope": f"{WAREHOUSE}/.default",
        "code_challenge": "x",
        "code_challenge_method": "S256",
        "state": "s<",
    }
    address = f"{server.origin}/{TENANT_ID}/oauth2/v2.0/authorize"

    def visit(**change):
        return requests.get(address, params={**form, **change}, allow_redirects=False, timeout=5)

    good = visit(redirect_uri="http://localhost:4711")
    assert good.status_code == 302
    assert good.headers["Location"].startswith("http://localhost:4711?code=")
    assert visit(redirect_uri="http://localhost:1", code_challenge_method="plain").headers["Location"].count("9002313")
    assert visit(redirect_uri="https://evil.example").status_code == 400
    assert visit(redirect_uri="http://localhost.evil.example:1").status_code == 400
    page = visit(redirect_uri="http://localhost:1", response_mode="form_post")
    assert 'value="s&lt;"' in page.text


def test_records_hold_no_secrets(server, ask):
    ask(**APP, claims="{}")
    (record,) = server.entra.requests
    assert (record.grant, record.proof, record.claims, record.status) == ("client_credentials", "secret", "{}", 200)
    assert "client_secret" in record.fields
    assert "MARKED" not in repr(server.entra.requests) + repr(server.entra.apps)


def test_other_pages(server):
    def get(path, **kwargs):
        return requests.get(f"{server.origin}/{path}", timeout=5, **kwargs)

    assert get(f"{TENANT_ID}/oauth2/v2.0/logout").status_code == 200
    assert get(f"{TENANT_ID}/discovery/v2.0/keys").json()["keys"][0]["kty"] == "RSA"
    assert get(f"{TENANT_ID}/elsewhere").status_code == 404
    assert get("x/v2.0/.well-known/openid-configuration").json()["error"] == "invalid_tenant"
    assert get("metadata/identity/oauth2/token", params={"resource": WAREHOUSE}).status_code == 400
