"""The feed URL in every form in which an admin pastes it, and the URLs built from it."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from intune_dw_cli.errors import HostGuardError, UsageError
from intune_dw_cli.service.feed import FeedUrl
from intune_dw_cli.service.hosts import Origin

ALLOWED = ("*.manage.microsoft.com", "*.manage.microsoft.us")
HOST = "fef.msua06.manage.microsoft.com"
ROOT = f"https://{HOST}/ReportingService/DataWarehouseFEService"
GATEWAY = (
    "https://fef.amsua0602.manage.microsoft.com/TrafficGateway/TrafficRoutingService/ReportingService"
    "/DataWarehouseFEService"
)


def parse(text: str, api_version: str | None = None) -> FeedUrl:
    return FeedUrl.parse(text, api_version=api_version, allowed_hosts=ALLOWED)


@pytest.mark.parametrize(
    "text",
    [
        ROOT,
        f"{ROOT}/",
        f"{ROOT}//",
        f"{ROOT}?api-version=v1.0",
        f"{ROOT}/?api-version=v1.0",
        f"{ROOT}?api-version=v1.0/devices",
        f"{ROOT}?API-Version=v1.0&",
        f"  {ROOT}?api-version=v1.0 \n",
        f'"{ROOT}?api-version=v1.0"',
        f"'{ROOT}'",
        f"<{ROOT}>",
        f"\u201c{ROOT}\u201d",
        f"\ufeff{ROOT}\u200b",
        f"{ROOT}/devices?api-version=v1.0&$filter=DateKey%20eq%2020240101",
        f"{ROOT}/devices",
        f"{ROOT}/$metadata?api-version=v1.0",
        f"https://{HOST}/ReportingService/\r\n  DataWarehouseFEService?api-version=v1.0",
        "https://fef.msua06.\nmanage.microsoft.com/ReportingService/DataWarehouseFEService?api-\nversion=v1.0",
        f"HTTPS://{HOST.upper()}/ReportingService/DataWarehouseFEService",
        f"https://{HOST}:443/ReportingService/DataWarehouseFEService",
    ],
)
def test_pasted_forms_give_one_feed(text: str) -> None:
    assert parse(text) == FeedUrl(ROOT, "v1.0")


def test_gateway_prefix_is_kept() -> None:
    assert parse(f"{GATEWAY}/devices?api-version=v1.0").root == GATEWAY


def test_prefix_may_hold_the_name_too() -> None:
    text = "http://127.0.0.1:1/DataWarehouseFEService/DataWarehouseFEService"
    assert parse(f"{text}/devices").root == text


def test_path_keeps_its_case() -> None:
    assert parse(f"https://{HOST}/reportingservice/datawarehousefeservice/x").root == (
        f"https://{HOST}/reportingservice/datawarehousefeservice"
    )


@pytest.mark.parametrize(
    ("text", "explicit", "expected"),
    [
        (ROOT, None, "v1.0"),
        (f"{ROOT}?api-version=beta", None, "beta"),
        (f"{ROOT}?api-version=v1%2E0", None, "v1.0"),
        (f"{ROOT}?api-version=", None, "v1.0"),
        (f"{ROOT}?api-version=beta", "v1.0", "v1.0"),
        (f"{ROOT}?api-version=beta", " ", "beta"),
        (f"{ROOT}?api-version=a&api-version=b", "v2", "v2"),
        (f"{ROOT}?api-version=beta&api-version=beta", None, "beta"),
    ],
)
def test_api_version(text: str, explicit: str | None, expected: str) -> None:
    assert parse(text, explicit).api_version == expected


@pytest.mark.parametrize(
    ("text", "root"),
    [
        ("http://127.0.0.1:8080/any/prefix/DataWarehouseFEService", "http://127.0.0.1:8080/any/prefix/DataWarehouseFEService"),
        ("http://127.0.0.1:8080/any/prefix/", "http://127.0.0.1:8080/any/prefix"),
        ("http://127.9.8.7:8080/V4/$metadata", "http://127.9.8.7:8080/V4"),
        ("http://localhost:5000", "http://localhost:5000"),
        ("http://localhost:80/", "http://localhost"),
        ("https://localhost/x", "https://localhost/x"),
        ("http://[0::1]:5000/odata/", "http://[::1]:5000/odata"),
    ],
)  # fmt: skip
def test_loopback_takes_any_path(text: str, root: str) -> None:
    assert FeedUrl.parse(text, allowed_hosts=()).root == root


def test_unusual_allowed_host_takes_any_path_over_https_only() -> None:
    allowed = ["odata.example"]
    assert FeedUrl.parse("https://odata.example/V4/x/", allowed_hosts=allowed).root == "https://odata.example/V4/x"
    with pytest.raises(UsageError, match="https"):
        FeedUrl.parse("http://odata.example/V4/x/", allowed_hosts=allowed)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  \n",
        "''",
        HOST,
        f"//{HOST}/ReportingService/DataWarehouseFEService",
        ROOT.replace("https", "http"),
        ROOT.replace("https", "ftp"),
        "https:" + ROOT.removeprefix("https://"),
        f"https://user:hunter2@{HOST}/ReportingService/DataWarehouseFEService",
        f"https://{HOST}@evil.example/ReportingService/DataWarehouseFEService",
        f"https://{HOST}.evil.example/ReportingService/DataWarehouseFEService",
        f"https://{HOST}\n.evil.example/ReportingService/DataWarehouseFEService",
        "https://evilmanage.microsoft.com/ReportingService/DataWarehouseFEService",
        "https://manage.microsoft.com/ReportingService/DataWarehouseFEService",
        f"https://{HOST}./ReportingService/DataWarehouseFEService",
        "https://fef.{location}.manage.microsoft.com/ReportingService/DataWarehouseFEService",
        "https://fef.m\u0455ua06.manage.microsoft.com/ReportingService/DataWarehouseFEService",
        f"https:\\\\{HOST}\\ReportingService\\DataWarehouseFEService",
        f"https://{HOST}/ReportingService/ DataWarehouseFEService",
        f"https://{HOST}/ReportingService/\x00DataWarehouseFEService",
        f"https://{HOST}/ReportingService/\x1b[0mDataWarehouseFEService",
        f"{ROOT}#x",
        f"https://{HOST}/ReportingService/../DataWarehouseFEService",
        f"https://{HOST}/%2e%2E/DataWarehouseFEService",
        f"https://{HOST}/",
        "https://warehouse.manage.microsoft.com/v1.0/",
        f"{ROOT}?api-version=v1.0&api-version=beta",
        f"{ROOT}?api-version=a%26b",
        "http://128.0.0.1/DataWarehouseFEService",
        "http://127.0.0.1.evil.example/DataWarehouseFEService",
        "http://127.0.0.1:99999/DataWarehouseFEService",
        "http://127.1/DataWarehouseFEService",
        "http://[::ffff:127.0.0.1]/DataWarehouseFEService",
    ],
)
def test_unusable_feed_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert caught.value.hint
    assert caught.value.message.isprintable()
    assert "hunter2" not in caught.value.message


def test_explicit_api_version_must_be_a_word() -> None:
    with pytest.raises(UsageError, match="API version"):
        parse(ROOT, "v1.0&x=y")


def test_addresses() -> None:
    feed = FeedUrl(ROOT, "beta")
    assert feed.service_document() == f"{ROOT}?api-version=beta"
    assert feed.metadata() == f"{ROOT}/$metadata?api-version=beta"
    assert feed.entity_set("devices") == f"{ROOT}/devices?api-version=beta"
    assert feed.origin == Origin("https", HOST, 443)
    assert feed.source == ROOT
    assert parse("http://127.0.0.1:81/r").origin == ("http", "127.0.0.1", 81)


def test_options_are_written_by_hand() -> None:
    url = FeedUrl(ROOT).entity_set(
        "devices",
        filter="RowLastModifiedDateTimeUTC ge 2018-02-21T23:18:51.3277273Z and DateKey lt 20240101",
        select=["deviceKey", "isDeleted", "größe"],
        top=5,
        skip=0,
    )
    assert url == (
        f"{ROOT}/devices?api-version=v1.0"
        "&$filter=RowLastModifiedDateTimeUTC%20ge%202018-02-21T23:18:51.3277273Z%20and%20DateKey%20lt%2020240101"
        "&$select=deviceKey,isDeleted,gr%C3%B6%C3%9Fe&$top=5&$skip=0"
    )
    assert requests.Request("GET", url).prepare().url == url


def test_plus_and_separators_in_a_filter_are_encoded() -> None:
    url = FeedUrl(ROOT).entity_set("devices", filter="a ge '+00:00' & # ? b")
    assert url.endswith("&$filter=a%20ge%20'%2B00:00'%20%26%20%23%20%3F%20b")


def test_empty_select_is_left_out() -> None:
    assert FeedUrl(ROOT).entity_set("devices", select=[]) == f"{ROOT}/devices?api-version=v1.0"


@pytest.mark.parametrize("name", ["top", "skip"])
def test_negative_counts_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        FeedUrl(ROOT).entity_set("devices", **{name: -1})


@pytest.mark.parametrize(
    ("segment", "expected"),
    [
        ("./devices", f"{ROOT}/devices"),
        (" devices ", f"{ROOT}/devices"),
        ("/ReportingService/DataWarehouseFEService/devices", f"{ROOT}/devices"),
        (f"{ROOT}/devices", f"{ROOT}/devices"),
        (f"http://{HOST}/x/devices", f"https://{HOST}/x/devices"),
        (f"{ROOT}/devices?api-version=v0", f"{ROOT}/devices"),
        ("Geräte x", f"{ROOT}/Ger%C3%A4te%20x"),
        ("a/b", f"{ROOT}/a/b"),
    ],
)
def test_url_of_a_set_may_be_relative_or_absolute(segment: str, expected: str) -> None:
    assert FeedUrl(ROOT).entity_set(segment) == f"{expected}?api-version=v1.0"


def test_query_in_the_url_of_a_set_is_kept() -> None:
    assert FeedUrl(ROOT).entity_set("devices?kind=a&Api-Version=v0", top=1) == (
        f"{ROOT}/devices?api-version=v1.0&kind=a&$top=1"
    )


@pytest.mark.parametrize(
    "segment",
    [
        "https://fef.other.manage.microsoft.com/devices",
        "//evil.example/devices",
        f"{ROOT}@evil.example",
        f"https://{HOST}:8443/devices",
        "",
        "a\\b",
        "a#b",
        "a\x00b",
        "https://évil.example/",
        "mailto:x",
    ],
)
def test_url_of_a_set_must_stay_on_the_origin(segment: str) -> None:
    if segment == f"{ROOT}@evil.example":  # a path, not a host
        assert urlsplit(FeedUrl(ROOT).entity_set(segment)).hostname == HOST
        return
    with pytest.raises(HostGuardError):
        FeedUrl(ROOT).entity_set(segment)


@given(st.text(max_size=80))
def test_any_text_is_a_feed_or_a_usage_error(text: str) -> None:
    for candidate in (text, f"https://{HOST}{text}", f"{ROOT}{text}", f"http://localhost/{text}"):
        try:
            feed = parse(candidate)
        except UsageError:
            continue
        assert feed.origin.host in {HOST, "localhost"}
        assert parse(feed.service_document()) == feed


@given(
    st.text(max_size=40),
    st.text(max_size=40),
    st.lists(st.text(min_size=1, max_size=10), min_size=1, max_size=4),
)
def test_filter_and_select_round_trip(segment: str, condition: str, names: list[str]) -> None:
    try:
        url = FeedUrl(ROOT).entity_set(segment)
    except HostGuardError:
        url = ""
    assert not url or urlsplit(url).hostname == HOST
    condition = condition.encode(errors="replace").decode()
    names = [name.encode(errors="replace").decode() for name in names]
    query = urlsplit(FeedUrl(ROOT).entity_set("devices", filter=condition, select=names)).query
    assert query.isascii()
    assert "+" not in query
    _, sent, select = query.split("&")
    assert unquote(sent.removeprefix("$filter=")) == condition
    assert [unquote(name) for name in select.removeprefix("$select=").split(",")] == names
