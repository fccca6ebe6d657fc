"""The clouds, their overrides, scopes and authority hosts."""

from __future__ import annotations

import pytest

from intune_dw_cli.errors import UsageError
from intune_dw_cli.identity.clouds import CLOUDS, cloud_named, customised, read_authority_host, scope_of


def test_scopes_of_the_public_cloud():
    cloud = CLOUDS["public"]
    assert cloud.warehouse_scope == "https://api.manage.microsoft.com//.default"
    assert cloud.graph_scope == "https://graph.microsoft.com/.default"
    assert cloud.authority("contoso.example") == "https://login.microsoftonline.com/contoso.example"


@pytest.mark.parametrize("cloud", CLOUDS.values(), ids=lambda cloud: cloud.name)
def test_presets_are_of_one_kind(cloud):
    assert cloud.resource.endswith("/")
    assert cloud.resource.startswith("https://api.manage.microsoft.")
    assert cloud.warehouse_scope.endswith("//.default")
    assert not cloud.graph_url.endswith("/")
    assert cloud.authority_host == read_authority_host(cloud.authority_host)
    suffix = cloud.resource.rstrip("/").rpartition(".")[2]
    assert all(host.endswith(f".manage.microsoft.{suffix}") for host in cloud.feed_hosts)


def test_every_value_can_be_overridden():
    cloud = customised(
        CLOUDS["usgov"],
        authority_host="https://login.example:8443/",
        graph_url="https://graph.example/",
        resource="https://api.example/",
        feed_hosts=["*.example"],
    )
    assert (cloud.name, cloud.authority_host) == ("usgov", "login.example:8443")
    assert (cloud.graph_url, cloud.resource, cloud.feed_hosts) == (
        "https://graph.example",
        "https://api.example/",
        ("*.example",),
    )
    assert customised(CLOUDS["usgov"], authority_host="", feed_hosts=()) == CLOUDS["usgov"]


def test_resource_is_taken_to_the_letter():
    assert scope_of(customised(CLOUDS["public"], resource=" https://x ").resource) == "https://x/.default"


def test_clouds_by_name():
    assert cloud_named(" USGov ").name == "usgov"
    with pytest.raises(UsageError, match="no cloud 'mars'") as caught:
        cloud_named("mars")
    assert "usgovdod" in caught.value.hint


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("login.microsoftonline.us", "login.microsoftonline.us"),
        ("https://login.microsoftonline.us/", "login.microsoftonline.us"),
        (" HTTPS://Login.Example:8443 ", "login.example:8443"),
        ("127.0.0.1:1", "127.0.0.1:1"),
        ("https://[::1]:8443", "[::1]:8443"),
    ],
)
def test_authority_hosts(given, host):
    assert read_authority_host(given) == host


@pytest.mark.parametrize(
    "given",
    [
        "http://login.example",
        "https://login.example/tenant",
        "a@b",
        "a b",
        "x:0",
        "x:99999",
        "https://",
        "a/b",
        "x?y",
        "-",
    ],
)
def test_hosts_that_are_none(given):
    with pytest.raises(UsageError):
        read_authority_host(given)


@pytest.mark.parametrize(
    "given", ["http://graph.example", "graph.example", "https://u@graph.example", "https://g/?x=1"]
)
def test_graph_addresses_that_are_none(given):
    with pytest.raises(UsageError, match="https address"):
        customised(CLOUDS["public"], graph_url=given)
