"""Unattended sign-in with the real MSAL against the sandbox's Entra over TLS."""

from __future__ import annotations

import time

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from intune_dw_cli.errors import SignInError, TransportError, UnavailableError, UsageError
from intune_dw_cli.identity.claims import read_claims
from intune_dw_cli.identity.credentials import (
    AccessToken,
    Certificate,
    ClientSecret,
    FederatedToken,
    ManagedIdentity,
)
from intune_dw_cli.identity.secret import Secret
from intune_dw_cli.sandbox.entra import Entra, EntraConfig
from intune_dw_cli.sandbox.entra_registry import GRAPH, TENANT_DOMAIN, WAREHOUSE, App, Federation

SECRET = "MARKED-a8f3-secret~value"
GOOD = ClientSecret(Secret(SECRET))


def app(**kwargs) -> App:
    return App(secrets={SECRET: None}, public_client=False, **kwargs)


def token_requests(server):
    return [r for r in server.entra.requests if r.path.endswith("/token")]


def test_client_secret_gives_a_token_for_the_warehouse_with_its_slash(serve, identify):
    server = serve(Entra(apps=[app()]))
    identity = identify(server, GOOD)

    token = identity.warehouse.token()

    assert server.entra.validate(token, WAREHOUSE)
    assert read_claims(token).roles == ("get_data_warehouse",)
    assert [(r.proof, r.scope) for r in token_requests(server)] == [("secret", f"{WAREHOUSE}/.default")]


def test_tenant_may_be_a_domain(serve, identify):
    server = serve(Entra(apps=[app()]))
    assert identify(server, GOOD, tenant=TENANT_DOMAIN).sign_in() is None


def test_warehouse_and_graph_share_one_application(serve, identify):
    server = serve(Entra(apps=[app()]))
    identity = identify(server, GOOD)

    assert server.entra.validate(identity.warehouse.token(), WAREHOUSE)
    assert server.entra.validate(identity.graph.token(), GRAPH)
    assert identity.source(WAREHOUSE) is identity.warehouse

    discoveries = [r for r in server.entra.requests if "openid-configuration" in r.path]
    assert len(discoveries) == 1
    assert len(token_requests(server)) == 2


def test_held_token_is_not_asked_for_again(serve, identify):
    server = serve(Entra(apps=[app()]))
    source = identify(server, GOOD).warehouse
    assert len({source.token() for _ in range(20)}) == 1
    assert len(token_requests(server)) == 1


def test_one_slash_gives_a_token_that_the_warehouse_refuses(serve, identify):
    server = serve(Entra(apps=[app()]))
    token = identify(server, GOOD, resource=WAREHOUSE.rstrip("/")).warehouse.token()
    assert not server.entra.validate(token, WAREHOUSE)


@pytest.mark.parametrize("form", ["pem", "encrypted_pem", "pfx"])
def test_certificate_signs_in_by_its_sha256_thumbprint(serve, identify, app_certificate, form):
    server = serve(Entra(apps=[App(certificates=[app_certificate.certificate])]))
    password = None if form == "pem" else Secret(app_certificate.password)
    identity = identify(server, Certificate(getattr(app_certificate, form), password))

    assert server.entra.validate(identity.warehouse.token(), WAREHOUSE)
    assert token_requests(server)[0].proof == "certificate"
    assert identity.warnings() == []


def test_certificate_of_another_app_is_refused_with_advice(serve, identify, app_certificate, make_certificate):
    server = serve(Entra(apps=[App(certificates=[make_certificate().certificate])]))
    with pytest.raises(SignInError, match="AADSTS700027") as caught:
        identify(server, Certificate(app_certificate.pem)).warehouse.token()
    assert "Upload the certificate" in caught.value.hint


def test_certificate_that_ends_soon_is_warned_about(serve, identify, make_certificate):
    soon, gone = make_certificate(days=10.5), make_certificate(days=-1)
    server = serve()
    assert "in 10 days" in identify(server, Certificate(soon.pem)).warnings()[0]
    assert "expired on" in identify(server, Certificate(gone.pfx, Secret(gone.password))).warnings()[0]


def test_wrong_password_is_said_before_anything_is_sent(serve, identify, app_certificate):
    server = serve()
    for path in (app_certificate.pfx, app_certificate.encrypted_pem):
        for password in (None, Secret("MARKED-a8f3-wrong")):
            with pytest.raises(UsageError, match="password") as caught:
                identify(server, Certificate(path, password))
            assert "MARKED" not in str(caught.value)
    assert not server.entra.requests


@pytest.fixture
def other_issuer(tmp_path):
    """Another issuer's key, and a function that writes a token of it to a file."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    federation = Federation(issuer="https://issuer.example", subject="system:cron", public_key=public.decode())
    path = tmp_path / "federated-token"

    def write(**claims) -> None:
        usual = {"iss": federation.issuer, "sub": federation.subject, "aud": federation.audience}
        path.write_text(jwt.encode({**usual, "exp": time.time() + 600, **claims}, key, algorithm="RS256") + "\n")

    return federation, path, write


def test_federated_token_is_read_anew_for_each_request(serve, identify, other_issuer):
    federation, path, write = other_issuer
    server = serve(Entra(apps=[App(federations=[federation])]))
    source = identify(server, FederatedToken(path)).warehouse

    with pytest.raises(SignInError, match="cannot be read"):
        source.token()
    write(exp=time.time() - 5)
    with pytest.raises(SignInError, match="AADSTS700024"):
        source.token()
    write()
    assert server.entra.validate(source.token(), WAREHOUSE)
    assert token_requests(server)[-1].proof == "federation"


@pytest.mark.parametrize(
    ("claims", "code"),
    [({"sub": "other"}, "700213"), ({"iss": "https://x.example"}, "700211"), ({"aud": "other"}, "700212")],
)
def test_federated_token_that_does_not_match_gets_advice(serve, identify, other_issuer, claims, code):
    federation, path, write = other_issuer
    write(**claims)
    server = serve(Entra(apps=[App(federations=[federation])]))
    with pytest.raises(SignInError, match=f"AADSTS{code}") as caught:
        identify(server, FederatedToken(path)).warehouse.token()
    assert "Federated credentials" in caught.value.hint
    assert path.read_text().strip() not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize("client_id", [None, App().client_id])
def test_managed_identity(serve, identify, monkeypatch, client_id):
    server = serve(plain=True)
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", server.origin)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    identity = identify(server, ManagedIdentity(client_id), tenant=None, client_id=None)

    token = identity.warehouse.token()
    assert server.entra.validate(token, WAREHOUSE)
    assert server.entra.requests[-1].scope == WAREHOUSE
    assert identity.warehouse.renew(token) != token
    assert server.entra.validate(identity.graph.token(), GRAPH)


def test_managed_identity_that_is_not_there(serve, identify, monkeypatch):
    server = serve(plain=True)
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", server.origin)
    identity = identify(server, ManagedIdentity("11111111-1111-1111-1111-111111111111"), tenant=None, client_id=None)
    with pytest.raises(SignInError, match="managed identity gave no token"):
        identity.warehouse.token()


def test_ready_token_serves_the_warehouse_only(serve, identify):
    server = serve()
    ready = AccessToken(Secret("abc.def"), "INTUNE_DW_ACCESS_TOKEN")
    identity = identify(server, ready, tenant=None, client_id=None)
    assert identity.warehouse.token() == "abc.def"
    with pytest.raises(SignInError, match="INTUNE_DW_ACCESS_TOKEN"):
        identity.warehouse.renew("abc.def")
    with pytest.raises(SignInError, match="for the warehouse only"):
        identity.graph.token()
    assert not server.entra.requests


@pytest.mark.parametrize(
    ("registered", "code", "step"),
    [({"other": None}, "7000215", "not its Secret ID"), ({SECRET: 1.0}, "7000222", "Make a new one")],
)
def test_secret_that_is_wrong_or_over(serve, identify, registered, code, step):
    server = serve(Entra(apps=[App(secrets=registered)]))
    with pytest.raises(SignInError, match=f"AADSTS{code}") as caught:
        identify(server, GOOD).warehouse.token()
    assert step in caught.value.hint
    assert "correlation id" in str(caught.value)
    assert caught.value.exit_code == 4


def test_unknown_app_and_unknown_tenant(serve, identify):
    server = serve(Entra(apps=[app()]))
    with pytest.raises(SignInError, match="no app with that client id"):
        identify(server, GOOD, client_id="11111111-1111-1111-1111-111111111111").warehouse.token()
    with pytest.raises(SignInError, match=r"there is no such tenant.*AADSTS90002"):
        identify(server, GOOD, tenant="nowhere.example").warehouse.token()


@pytest.mark.parametrize("code", ["65001", "50076", "53003", "500011", "50105"])
def test_refusals_of_the_tenant_get_a_sentence_and_a_step(serve, identify, code):
    server = serve(Entra(apps=[app()]))
    server.entra.refuse(code)
    with pytest.raises(SignInError, match=f"AADSTS{code}") as caught:
        identify(server, GOOD).warehouse.token()
    assert caught.value.hint


def test_unknown_code_keeps_its_first_line_and_ids(serve, identify):
    server = serve(Entra(apps=[app()]))
    server.entra.refuse("987654321")
    with pytest.raises(SignInError) as caught:
        identify(server, GOOD).warehouse.token()
    assert "AADSTS987654321: The sandbox was asked to refuse" in str(caught.value)
    assert "correlation id" in str(caught.value)
    assert "trace id" in str(caught.value)
    assert "Timestamp" not in str(caught.value)


def test_short_lived_tokens_are_renewed_before_they_end(serve, identify):
    server = serve(Entra(EntraConfig(token_life=1.0), [app()]))
    source = identify(server, GOOD).warehouse
    seen, end = set(), time.monotonic() + 2.5
    while time.monotonic() < end:
        token = source.token()
        assert server.entra.validate(token, WAREHOUSE)
        seen.add(token)
        time.sleep(0.02)
    assert 3 <= len(seen) <= 5


def test_renewal_starts_five_minutes_before_the_end(serve, identify):
    now = [time.time()]
    server = serve(Entra(apps=[app()]))
    source = identify(server, GOOD, clock=lambda: now[0]).warehouse
    first = source.token()
    now[0] += 3600 - 310
    assert source.token() == first


def test_refused_token_is_replaced_once_and_not_given_again(serve, identify):
    server = serve(Entra(apps=[app()]))
    identity = identify(server, GOOD)
    first, graph = identity.warehouse.token(), identity.graph.token()
    server.entra.revoke(first)

    second = identity.warehouse.renew(first)
    assert second != first
    assert server.entra.validate(second, WAREHOUSE)
    assert identity.warehouse.renew(first) == second
    assert identity.warehouse.token() == second
    assert identity.graph.token() == graph
    assert len(token_requests(server)) == 3


@pytest.mark.parametrize(
    "challenge",
    [
        '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}',
        "eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzEifX19",
    ],
)
def test_claims_challenge_reaches_the_sign_in_service(serve, identify, challenge):
    server = serve(Entra(apps=[app()]))
    source = identify(server, GOOD).warehouse
    token = source.renew(source.token(), challenge)
    assert jwt.decode(token, options={"verify_signature": False})["acrs"] == ["c1"]
    assert '"c1"' in token_requests(server)[-1].claims


def test_challenge_that_cannot_be_read_is_a_plain_renewal(serve, identify):
    server = serve(Entra(apps=[app()]))
    source = identify(server, GOOD).warehouse
    first = source.token()
    assert source.renew(first, "%%%") != first
    assert token_requests(server)[-1].claims is None


def test_renewal_refused_in_mid_run_ends_with_exit_code_4(serve, identify):
    server = serve(Entra(apps=[app()]))
    source = identify(server, GOOD).warehouse
    first = source.token()
    server.entra.refuse("7000222")
    with pytest.raises(SignInError, match="expired") as caught:
        source.renew(first)
    assert caught.value.exit_code == 4


def test_server_that_is_not_there(serve, identify):
    server = serve()
    identity = identify(server, GOOD)
    server.stop()
    with pytest.raises(TransportError, match="refused the connection"):
        identity.warehouse.token()


def test_server_that_is_unwell_is_asked_again(serve, identify):
    server = serve(Entra(apps=[app()]))
    real, failures = server.entra.answer, [503, 429, 500]

    def unwell(request, rest):
        response = real(request, rest)
        if failures and rest.endswith("/token"):
            response.status = failures.pop()
        return response

    server.entra.answer = unwell
    assert identify(server, GOOD).warehouse.token()

    failures[:] = [503] * 9
    with pytest.raises(UnavailableError, match="answered 503"):
        identify(server, GOOD).warehouse.token()
