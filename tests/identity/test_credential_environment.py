"""What the environment signs in with, in which order; and what a configuration refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from intune_dw_cli.errors import UsageError
from intune_dw_cli.identity.clouds import CLOUDS
from intune_dw_cli.identity.credentials import (
    AccessToken,
    Browser,
    Certificate,
    ClientSecret,
    Configuration,
    FederatedToken,
    ManagedIdentity,
)
from intune_dw_cli.identity.environment import credential_from_environment, proof_in
from intune_dw_cli.identity.secret import Secret, read_secret

CLIENT = "3d2a8f10-6c4b-4f7e-8a55-1b2c3d4e5f60"
APP = {"AZURE_TENANT_ID": "contoso.example", "AZURE_CLIENT_ID": CLIENT}
ALL = {
    **APP,
    "INTUNE_DW_ACCESS_TOKEN": "MARKED-a8f3-token",
    "AZURE_CLIENT_SECRET": " MARKED-a8f3-secret\n",
    "AZURE_CLIENT_CERTIFICATE_PATH": "/etc/app.pem",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD": " MARKED-a8f3 ",
    "AZURE_FEDERATED_TOKEN_FILE": "/var/token",
}


def test_order_of_precedence():
    environ = dict(ALL)
    expected = [
        ("INTUNE_DW_ACCESS_TOKEN", AccessToken(Secret("MARKED-a8f3-token"), "INTUNE_DW_ACCESS_TOKEN")),
        ("AZURE_CLIENT_SECRET", ClientSecret(Secret("MARKED-a8f3-secret"))),
        ("AZURE_CLIENT_CERTIFICATE_PATH", Certificate(Path("/etc/app.pem"), Secret(" MARKED-a8f3 "))),
        ("AZURE_FEDERATED_TOKEN_FILE", FederatedToken(Path("/var/token"))),
    ]
    for name, credential in expected:
        assert proof_in(environ) == (name, credential)
        assert credential_from_environment(environ).credential == credential
        environ[name] = "  "
    assert credential_from_environment(environ) is None
    assert credential_from_environment({}) is None


def test_what_is_given_goes_before_the_environment():
    environ = {**APP, "AZURE_CLIENT_SECRET": "x", "AZURE_AUTHORITY_HOST": "https://login.microsoftonline.us/"}
    found = credential_from_environment(environ)
    assert (found.tenant, found.client_id) == ("contoso.example", CLIENT)
    assert found.cloud.authority_host == "login.microsoftonline.us"
    other = CLIENT.replace("3d", "4d")
    found = credential_from_environment(
        environ, tenant="t.example", client_id=other, cloud=CLOUDS["china"], authority_host="127.0.0.1:8443"
    )
    assert (found.tenant, found.client_id, found.cloud.name) == ("t.example", other, "china")
    assert found.cloud.authority_host == "127.0.0.1:8443"


def test_proof_without_tenant_or_client_id_says_which():
    with pytest.raises(UsageError, match="no tenant is set") as caught:
        credential_from_environment({"AZURE_CLIENT_SECRET": "x"})
    assert "AZURE_TENANT_ID" in caught.value.hint
    with pytest.raises(UsageError, match="no client id is set"):
        credential_from_environment({"AZURE_CLIENT_SECRET": "x", "AZURE_TENANT_ID": "contoso.example"})
    assert credential_from_environment({"INTUNE_DW_ACCESS_TOKEN": "x"}).tenant is None


@pytest.mark.parametrize("tenant", ["a b", "https://x", "x/y", "a@b", "-x", "?"])
def test_tenants_that_are_none(tenant):
    with pytest.raises(UsageError, match="neither an id nor a domain"):
        Configuration(credential=Browser(), tenant=tenant, client_id=CLIENT)


def test_other_configurations_that_are_none():
    with pytest.raises(UsageError, match="form"):
        Configuration(credential=Browser(), tenant="t.example", client_id="my-app")
    with pytest.raises(UsageError, match="'common'"):
        Configuration(credential=ClientSecret(Secret("x")), tenant="common", client_id=CLIENT)
    with pytest.raises(UsageError, match="neither an id nor a domain name"):
        Configuration(credential=Browser(), tenant="contoso", client_id=CLIENT)
    assert Configuration(credential=Browser(), tenant="organizations", client_id=CLIENT).is_user
    assert not Configuration(credential=ManagedIdentity()).is_user


def test_nothing_shows_a_secret():
    environ = dict(ALL)
    for _ in range(4):
        found = credential_from_environment(environ)
        assert "MARKED" not in repr(found) + str(found) + f"{found!r:>5}"
        environ[proof_in(environ)[0]] = ""
    with pytest.raises(TypeError):
        __import__("pickle").dumps(Secret("x"))


def test_secret_file(tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(b"\xef\xbb\xbfMARKED-a8f3~x \r\n")
    assert read_secret(path, "client secret").reveal() == "MARKED-a8f3~x"


@pytest.mark.parametrize("content", [b"", b" \n", b"MARKED-a8f3\nsecond", b"\xff\xfe", b"x" * 70_000])
def test_secret_files_that_are_none(tmp_path, content):
    path = tmp_path / "secret"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="one line of text") as caught:
        read_secret(path, "client secret")
    assert "MARKED" not in str(caught.value)
    with pytest.raises(UsageError, match="cannot be read"):
        read_secret(tmp_path / "none", "client secret")
