"""Flags, then the environment, then the profile, then the default; and each value knows where it came from."""

from __future__ import annotations

from pathlib import Path

import pytest

from intune_dw_cli.errors import SignInError, UsageError
from intune_dw_cli.identity.credentials import Certificate, ClientSecret, DeviceCode, ManagedIdentity
from intune_dw_cli.identity.locations import Locations
from intune_dw_cli.identity.profiles import Profile, ProfileStore
from intune_dw_cli.identity.secret import Secret
from intune_dw_cli.settings import Given, credential_of, merge, resolve

MARK = "MARKED-a8f3"
CLIENT = "3d2a8f10-6c4b-4f7e-8a55-1b2c3d4e5f60"
FEED = "https://fef.msua01.manage.microsoft.com/ReportingService/DataWarehouseFEService?api-version=v1.0"
STORED = Profile(feed_url=FEED, tenant="stored.example", client_id=CLIENT, method="device-code", username="a@b.example")


@pytest.fixture
def store(tmp_path: Path) -> ProfileStore:
    """A store with one profile, the default one."""
    store = ProfileStore(Locations(tmp_path, tmp_path, tmp_path))
    store.save("work", STORED)
    return store


def origin(settings, name: str) -> tuple[str, str]:
    return next((value, where) for label, value, where in settings.told() if label == name)


def test_each_value_has_the_origin_that_goes_first(store: ProfileStore) -> None:
    environ = {"AZURE_TENANT_ID": "env.example", "AZURE_CLIENT_SECRET": f"{MARK}-secret"}
    settings = resolve(Given(tenant="env.example", cloud="usgov"), environ, store)
    assert origin(settings, "tenant") == ("env.example", "environment (AZURE_TENANT_ID)")
    assert origin(settings, "cloud") == ("usgov", "command line")
    assert origin(settings, "client-id") == (CLIENT, "profile work")
    assert origin(settings, "authority-host") == ("login.microsoftonline.us", "default")
    assert origin(settings, "profile") == ("work", "the default profile")
    assert origin(settings, "sign-in") == ("client secret", "environment (AZURE_CLIENT_SECRET)")
    assert settings.credential == ClientSecret(Secret(f"{MARK}-secret"))
    assert MARK not in repr(settings) + str(settings.told())


def test_without_anything_the_profile_says_how(store: ProfileStore) -> None:
    settings = resolve(Given(), {}, store)
    assert isinstance(settings.credential, DeviceCode)
    assert settings.configuration().username == "a@b.example"
    assert settings.feed().root.startswith("https://fef.msua01.manage.microsoft.com")


def test_a_named_profile_must_be_there(store: ProfileStore) -> None:
    with pytest.raises(UsageError, match="no profile 'other'"):
        resolve(Given(profile="other"), {}, store)


def test_without_a_home_there_are_no_profiles_and_the_environment_does() -> None:
    environ = {"AZURE_CLIENT_SECRET": f"{MARK}-secret"}
    settings = resolve(Given(url=FEED, tenant="t.example", client_id=CLIENT), environ, ProfileStore(None))
    assert settings.configuration().tenant == "t.example"
    assert settings.profile_name is None
    with pytest.raises(SignInError, match="nobody is signed in") as caught:
        resolve(Given(url=FEED), {}, ProfileStore(None)).configuration()
    assert "intune-dw login" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="no feed URL") as missing:
        resolve(Given(), {}, ProfileStore(None)).feed()
    assert "intune-dw login" in (missing.value.hint or "")


def test_every_value_of_a_cloud_can_be_replaced() -> None:
    given = Given(
        cloud="china",
        authority_host="https://login.example:8443/",
        graph_url="https://graph.example",
        resource="https://dw.example/",
        feed_hosts=("*.dw.example",),
    )
    cloud = merge(given, {}, None, None).cloud
    assert (cloud.authority_host, cloud.graph_url) == ("login.example:8443", "https://graph.example")
    assert (cloud.resource, cloud.feed_hosts) == ("https://dw.example/", ("*.dw.example",))


def test_what_a_profile_replaces_stays_with_its_cloud() -> None:
    stored = Profile(cloud="usgov", authority_host="login.example", feed_hosts=("*.dw.example",))
    assert merge(Given(), {}, "p", stored).cloud.authority_host == "login.example"
    other = merge(Given(cloud="public"), {}, "p", stored).cloud
    assert other.authority_host == "login.microsoftonline.com"
    assert other.feed_hosts == ("*.manage.microsoft.com",)


def test_ways_of_a_profile(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{MARK}\n")
    assert credential_of("secret-file", str(tmp_path / "secret"), {}) == ClientSecret(Secret(MARK))
    password = {"AZURE_CLIENT_CERTIFICATE_PASSWORD": f"{MARK}-password"}
    certificate = credential_of("certificate", "/etc/app.pfx", password)
    assert certificate == Certificate(Path("/etc/app.pfx"), Secret(f"{MARK}-password"))
    assert credential_of("managed-identity", None, {}, client_id=CLIENT) == ManagedIdentity(CLIENT)
    with pytest.raises(SignInError, match="never kept") as caught:
        credential_of("secret-file", None, {})
    assert "AZURE_CLIENT_SECRET" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("environ", "way"),
    [
        ({"INTUNE_DW_MANAGED_IDENTITY": "1", "AZURE_CLIENT_ID": CLIENT}, "managed identity"),
        ({"INTUNE_DW_CERTIFICATE": "/etc/app.pem"}, "certificate /etc/app.pem"),
        ({"INTUNE_DW_FEDERATED_TOKEN_FILE": "/var/token"}, "federated token /var/token"),
        ({"INTUNE_DW_MANAGED_IDENTITY": "0", "INTUNE_DW_CLIENT_SECRET_FILE": "-"}, "device code"),
    ],
)
def test_the_options_of_login_in_the_environment(store: ProfileStore, environ: dict[str, str], way: str) -> None:
    assert origin(resolve(Given(), environ, store), "sign-in")[0] == way
