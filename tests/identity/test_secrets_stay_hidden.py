"""Nothing secret in logs, messages, representations or tracebacks: every flow, well and badly ended, at level DEBUG."""

from __future__ import annotations

import logging
import time
import traceback
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from signin import MARK, Eavesdropper

from intune_dw_cli.errors import IntuneDwError
from intune_dw_cli.identity.credentials import (
    AccessToken,
    Browser,
    Certificate,
    ClientSecret,
    DeviceCode,
    FederatedToken,
    ManagedIdentity,
)
from intune_dw_cli.identity.secret import Secret
from intune_dw_cli.sandbox.entra import Entra, EntraConfig
from intune_dw_cli.sandbox.entra_registry import App, Federation
from intune_dw_cli.sandbox.messages import Response


@pytest.fixture
def federated(tmp_path):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    federation = Federation(issuer="i", subject="s", public_key=public.decode())
    path = tmp_path / "assertion"
    claims = {"iss": "i", "sub": "s", "aud": federation.audience, "exp": time.time() + 600, "mark": MARK}
    path.write_text(jwt.encode(claims, key, algorithm="RS256"))
    return federation, path


@pytest.fixture
def everything(serve, identify, app_certificate, federated, new_cache, browser, monkeypatch):
    """A server, its eavesdropper, and one identity for each way of signing in."""

    def make():
        app = App(
            secrets={f"{MARK}-secret": None},
            certificates=[app_certificate.certificate],
            federations=[federated[0]],
        )
        config = EntraConfig(interval=0, device_polls=1, token_life=60)
        server, plain = serve(Entra(config, [app])), serve(Entra(config, [app]), plain=True)
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", plain.origin)
        ears = [Eavesdropper(server.entra), Eavesdropper(plain.entra)]
        password = Secret(app_certificate.password)
        credentials = [
            ClientSecret(Secret(f"{MARK}-secret")),
            Certificate(app_certificate.pfx, password),
            Certificate(app_certificate.encrypted_pem, password),
            FederatedToken(federated[1]),
            ManagedIdentity(),
            Browser(),
            DeviceCode(),
            AccessToken(Secret(f"{MARK}.ready.token"), "INTUNE_DW_ACCESS_TOKEN"),
        ]
        identities = [
            identify(server, credential, cache=new_cache(), open_browser=browser) for credential in credentials
        ]
        return (server, plain), ears, identities

    return make


def shown(error: BaseException) -> str:
    """All that a report of an exception could hold, with what it hides behind itself."""
    texts: list[str] = []
    seen: BaseException | None = error
    while seen is not None:
        texts += [str(seen), repr(seen), str(getattr(seen, "hint", "")), str(vars(seen))]
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return "\n".join([*texts, *traceback.format_exception(error)])


def check(text: str, ears) -> None:
    assert MARK not in text
    for secret in set().union(*(ear.secrets for ear in ears)):
        assert secret not in text


def test_flows_that_end_well(everything, caplog, capsys):
    with caplog.at_level(logging.DEBUG):
        _, ears, identities = everything()
        texts = []
        for identity in identities:
            identity.sign_in()
            token = identity.warehouse.token()
            if not isinstance(identity.configuration.credential, AccessToken):
                identity.graph.token()
                identity.warehouse.renew(token, '{"access_token":{"acrs":{"value":"c1"}}}')
            texts += [repr(identity), repr(vars(identity)), repr(identity.configuration), repr(identity.warehouse)]
    assert sum(len(ear.secrets) for ear in ears) > 27
    output = capsys.readouterr()
    check("\n".join([caplog.text, output.out, output.err, *texts]), ears)


@pytest.mark.parametrize("ending", ["refused", "echo", "garbage", "html"])
def test_flows_that_end_badly(everything, caplog, capsys, ending):
    """The service refuses, repeats everything in its refusal, or answers with everything and no sense."""
    with caplog.at_level(logging.DEBUG):
        servers, ears, identities = everything()
        for server in servers:
            _spoil(server.entra, ending)
        texts = []
        for identity in identities[:-1]:
            with pytest.raises(IntuneDwError) as caught:
                identity.sign_in()
            texts.append(shown(caught.value))
        with pytest.raises(IntuneDwError) as caught:
            identities[-1].warehouse.renew("x")
        texts.append(shown(caught.value))
    output = capsys.readouterr()
    check("\n".join([caplog.text, output.out, output.err, *texts]), ears)


def _spoil(entra: Entra, ending: str) -> None:
    real = entra.answer

    def answer(request, rest):
        response = real(request, rest)
        if not rest.endswith("/token"):
            return response
        sent = request.body.decode()
        if ending == "refused":
            return Response.of_json({"error": "invalid_client", "error_description": "AADSTS7000215: no"}, 401)
        if ending == "echo":
            text = f"AADSTS999999: {' '.join(v for vs in parse_qs(sent).values() for v in vs)} {sent}"
            return Response.of_json({"error": "invalid_request", "error_description": text}, 400)
        if ending == "garbage":
            return Response(200, sent.encode() + b"&" + response.body, "application/json")
        return Response(200, b"<html>" + response.body, "text/html")

    entra.answer = answer
