"""The host guard lets the token go to the feed and nowhere else."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from intune_dw_cli.errors import HostGuardError
from intune_dw_cli.service.hosts import Origin, guard, host_matches, is_loopback, origin_of, shown_host

FEED_HOST = "fef.msua06.manage.microsoft.com"
ROOT = f"https://{FEED_HOST}/ReportingService/DataWarehouseFEService"
REQUEST = f"{ROOT}/devices?api-version=v1.0"
FEED = Origin("https", FEED_HOST, 443)
ALLOWED = ("*.manage.microsoft.com",)
LOOPBACK = Origin("http", "127.0.0.1", 8443)


def judge(link: str, origin: Origin = FEED, request_url: str = REQUEST, allowed=ALLOWED) -> str:
    return guard(link, request_url=request_url, origin=origin, allowed_hosts=allowed)


def raw(url: str) -> requests.PreparedRequest:
    """A request whose address was put back as served, as the transport does."""
    prepared = requests.Request("GET", url).prepare()
    prepared.url = url
    return prepared


def connected_origin(url: str) -> Origin:
    """Where `requests` would connect to, by its own preparation and its adapter's way of reading it."""
    prepared = requests.Request("GET", url).prepare().url
    assert prepared is not None
    adapter = requests.adapters.HTTPAdapter()
    host, _ = adapter.build_connection_pool_key_attributes(requests.Request("GET", url).prepare(), True)
    parts = urlsplit(prepared)
    assert parts.hostname == host["host"].strip("[]")
    return Origin(host["scheme"], str(parts.hostname), host["port"] or {"http": 80, "https": 443}[parts.scheme])


@pytest.mark.parametrize(
    "link",
    [
        f"{ROOT}/devices?api-version=v1.0&$skiptoken=LastDeviceName%3d%27a%27%2cLastDeviceId%3d%27b%27",
        f"{ROOT}/devices?$skiptoken=%E2%82%AC+a%2Bb&x=%20/../..//@:",
        f"https://{FEED_HOST}:443/other?x=1",
        f"HTTPS://{FEED_HOST.upper()}/x",
        f"https://{FEED_HOST}?$skiptoken=https://evil.example/",
        "https://fef.amsub0102.manage.microsoft.com/x?y",
        f"{ROOT}/Geräte?$skiptoken=ü",
    ],
)
def test_absolute_link_is_kept_byte_for_byte(link: str) -> None:
    assert judge(link) == link
    assert judge(f" \r\n{link}\t") == link


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("devices?$skiptoken=a%2cb", f"{ROOT}/devices?$skiptoken=a%2cb"),
        ("?$skiptoken=5", f"{ROOT}/devices?$skiptoken=5"),
        ("/x/y?z=1", f"https://{FEED_HOST}/x/y?z=1"),
        (f"//{FEED_HOST}/x", f"https://{FEED_HOST}/x"),
        ("devices('a:b')?x=http://q", f"{ROOT}/devices('a:b')?x=http://q"),
        ("@evil.example/x", f"{ROOT}/@evil.example/x"),
        (".evil.example", f"{ROOT}/.evil.example"),
    ],
)
def test_relative_link_is_resolved_against_the_request(link: str, expected: str) -> None:
    assert judge(link) == expected
    assert connected_origin(judge(link)) == FEED


@pytest.mark.parametrize("link", ["/..//evil.example/x", ".//evil.example/x", "x/..//..//evil.example"])
def test_dot_segments_do_not_reach_another_host(link: str) -> None:
    assert connected_origin(judge(link)) == FEED


@pytest.mark.parametrize("port", ["", ":80", ":", ":0080"])
def test_http_becomes_https_on_the_feeds_host(port: str) -> None:
    assert judge(f"http://{FEED_HOST}{port}/a?b=%2c") == f"https://{FEED_HOST}/a?b=%2c"


def test_http_with_the_tls_port_becomes_https() -> None:
    assert judge(f"http://{FEED_HOST}:443/a") == f"https://{FEED_HOST}:443/a"


def test_http_feed_on_loopback_keeps_http() -> None:
    request = "http://127.0.0.1:8443/p/DataWarehouseFEService/devices"
    assert judge("http://127.0.0.1:8443/x", LOOPBACK, request) == "http://127.0.0.1:8443/x"
    assert judge("devices?x", LOOPBACK, request) == "http://127.0.0.1:8443/p/DataWarehouseFEService/devices?x"
    for link in (
        "http://127.0.0.1:8444/x",
        "https://127.0.0.1:8443/x",
        "http://127.0.0.2:8443/x",
        "//[::1]:8443/",
    ):
        with pytest.raises(HostGuardError):
            judge(link, LOOPBACK, request)


def test_ipv6_feed_matches_in_every_spelling() -> None:
    feed = origin_of("http://[::1]:9000/root")
    assert feed == Origin("http", "::1", 9000)
    assert str(feed) == "http://[::1]:9000"
    link = "http://[0:0:0:0:0:0:0:1]:9000/x"
    assert judge(link, feed, "http://[::1]:9000/root/devices") == link


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "127.1",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "127.0.0.0x1",
        "1.2.3.4.5",
        "256.1.1.1",
    ],
)
def test_number_in_disguise_has_no_origin(host: str) -> None:
    with pytest.raises(ValueError, match="usual form"):
        origin_of(f"http://{host}/x")


TRICKS = [
    "https://evil.example/x",
    "//evil.example/x",
    "///evil.example/x",
    "////evil.example/x",
    "https:evil.example",
    "https:/evil.example",
    "https:///evil.example/x",
    "https://",
    "https://?x",
    "",
    "   ",
    f"https://{FEED_HOST}@evil.example/x",
    f"https://user:secret@{FEED_HOST}/x",
    f"https://@{FEED_HOST}/x",
    f"https://{FEED_HOST}:443@evil.example/",
    f"https://evil.example\\@{FEED_HOST}/x",
    f"https://{FEED_HOST}\\.evil.example/x",
    "\\\\evil.example\\x",
    "/\\evil.example/x",
    f"https://{FEED_HOST}.evil.example/x",
    f"https://evil{FEED_HOST}.example/",
    "https://evilmanage.microsoft.com/x",
    "https://manage.microsoft.com/x",
    "https://fef.manage.microsoft.com.evil.example/x",
    f"https://{FEED_HOST}./x",
    f"https://.{FEED_HOST}/x",
    "https://fef..manage.microsoft.com/x",
    "https://fef%2emsua06.manage.microsoft.com/x",
    "https://evil.example%2f.manage.microsoft.com/x",
    "https://evil.example%23.manage.microsoft.com/x",
    f"https://{FEED_HOST}:8443/x",
    f"https://{FEED_HOST}:0/x",
    f"https://{FEED_HOST}:65536/x",
    f"https://{FEED_HOST}:65979/x",
    f"https://{FEED_HOST}:4 43/x",
    f"https://{FEED_HOST}:abc/x",
    f"https://{FEED_HOST}:+443/x",
    f"https://{FEED_HOST}:\u0664\u0664\u0663/x",
    "https://fef.m\u0455ua06.manage.microsoft.com/x",
    "https://fef\u3002msua06.manage.microsoft.com/x",
    "https://evil.example\uff0f.manage.microsoft.com/x",
    "https://xn--mcrosoft-7pf.com/x",
    f"https://{FEED_HOST}\t.evil.example/x",
    f"https://{FEED_HOST}/x\ny",
    f"https://{FEED_HOST}/x\x00y",
    f"https://{FEED_HOST}/a b",
    f"https://{FEED_HOST}/x\u2028y",
    f"https://{FEED_HOST}/x#fragment",
    f"https://{FEED_HOST}#@evil.example/",
    "http://evil.example/x",
    "http://fef.other.manage.microsoft.com/x",
    "https://127.0.0.1/x",
    "http://127.0.0.1:8080/x",
    "https://[::1]/x",
    "https://[::ffff:127.0.0.1]/x",
    "https://[::1%25lo]/x",
    "https://[::1]evil.example/x",
    "https://[fef.msua06.manage.microsoft.com]/x",
    "https://2130706433/x",
    "https://0x7f000001/x",
    "https://127.1/x",
    "ftp://fef.msua06.manage.microsoft.com/x",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "data:text/plain,x",
    "HtTpS:\\\\evil.example",
    f"ht\ttps://{FEED_HOST}/",
    "https://fef.*.manage.microsoft.com/x",
    f"https://{FEED_HOST},evil.example/x",
    f"https://{FEED_HOST};evil.example/x",
    f"https://{FEED_HOST}&evil.example/x",
]


@pytest.mark.parametrize("link", TRICKS)
def test_trick_is_refused(link: str) -> None:
    with pytest.raises(HostGuardError) as caught:
        judge(link)
    assert FEED_HOST in caught.value.message
    assert caught.value.hint
    assert "secret" not in caught.value.message
    assert caught.value.message.isascii()
    assert caught.value.message.isprintable()


def test_refusal_names_both_hosts_and_no_query() -> None:
    with pytest.raises(HostGuardError) as caught:
        judge("https://evil.example/path?$skiptoken=jane.doe")
    assert "evil.example" in caught.value.message
    assert FEED_HOST in caught.value.message
    assert "jane.doe" not in str(caught.value)
    assert "/path" not in str(caught.value)


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ("https://evil.example/path", "evil.example"),
        ("https://evil.example:8443/path", "evil.example:8443"),
        ("https://[::2]:443/path", "[::2]:443"),
        ("https://user:secret@evil.example/path", "evil.example"),
        ("https://www.evil.ex\u00e4mple/path", "www.evil.ex\\xe4mple"),
        ("https://www.evil.example$skiptoken=jane", "www.evil.example"),
        ("https://www.evil.exampleskiptoken=jane", "www.evil"),
        ("https://www.evil.examplejane%27", "www.evil"),
        ("https://www.evil.example%24skiptoken", "www.evil"),
        ("https://www.evil.example:443skiptoken=jane", "www.evil.example"),
        ("https://skiptoken=jane", "an unreadable host"),
        ("https://\u3002jane", "an unreadable host"),
        ("https://[::1", "an unreadable host"),
    ],
)
def test_a_message_shows_of_a_link_what_is_its_host_beyond_doubt(link: str, shown: str) -> None:
    """And not what may be the beginning of a query that lost its question mark."""
    assert shown_host(link, f"{ROOT}/devices") == shown


def test_no_allowed_hosts_means_own_origin_only() -> None:
    assert judge(f"{ROOT}/x", allowed=()) == f"{ROOT}/x"
    with pytest.raises(HostGuardError):
        judge("https://fef.amsub0102.manage.microsoft.com/x", allowed=())


def test_feed_on_another_port_keeps_to_it() -> None:
    feed = Origin("https", FEED_HOST, 8443)
    assert judge(f"http://{FEED_HOST}:8443/x", feed, f"https://{FEED_HOST}:8443/r", ()) == (
        f"https://{FEED_HOST}:8443/x"
    )
    with pytest.raises(HostGuardError):
        judge(f"http://{FEED_HOST}/x", feed, f"https://{FEED_HOST}:8443/r", ())


@pytest.mark.parametrize(
    ("host", "patterns", "expected"),
    [
        ("a.b.example.com", ["*.example.com"], True),
        ("example.com", ["*.example.com"], False),
        ("badexample.com", ["*.example.com"], False),
        (".example.com", ["*.example.com"], False),
        ("example.com", [" Example.COM "], True),
        ("example.com", ["*"], False),
        ("example.com", ["*."], False),
        ("example.com", [""], False),
        ("example.com", [], False),
    ],
)
def test_host_matches(host: str, patterns: list[str], expected: bool) -> None:
    assert host_matches(host, patterns) is expected


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.255.1.2", "::1"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["128.0.0.1", "::", "::2", "::ffff:127.0.0.1", "127.0.0.1.nip.io", "a.localhost", ""])
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


SEPARATORS = [
    "//",
    "/",
    "\\",
    "@",
    ":",
    "#",
    "?",
    "%",
    "%2f",
    "%40",
    "%00",
    ".",
    "..",
    ";",
    ",",
    "&",
    "=",
    "*",
]
HOSTS = [
    FEED_HOST,
    FEED_HOST.upper(),
    "evil.example",
    ".manage.microsoft.com",
    "127.0.0.1",
    "[::1]",
    "[",
    "]",
]
WORDS = [
    "https:",
    "http:",
    "HTTP:",
    "ftp:",
    "443",
    "80",
    "0",
    "65536",
    "devices",
    "$skiptoken=",
    "xn--",
    "_-",
]
ODDITIES = [" ", "\t", "\n", "\r", "\x00", "\u3002", "\uff0f", "\u212a", "\u0130", "\ud800", "\u200b", "é"]
PIECES = st.sampled_from(SEPARATORS + HOSTS + WORDS + ODDITIES)
LINKS = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=12).map("".join))


@given(LINKS, st.sampled_from([(FEED, REQUEST), (LOOPBACK, "http://127.0.0.1:8443/r/devices")]))
def test_whatever_passes_is_connected_to_an_allowed_host(link: str, feed: tuple[Origin, str]) -> None:
    origin, request_url = feed
    try:
        address = judge(link, origin, request_url)
    except HostGuardError:
        return
    target = connected_origin(address)
    foreign = target.scheme == "https" and target.port == 443 and host_matches(target.host, ALLOWED)
    assert target == origin or foreign


@given(st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#\\"), max_size=80))
def test_own_links_pass_unchanged(tail: str) -> None:
    link = f"{ROOT}/devices?$skiptoken={tail}"
    assert judge(link) == link
    assert judge(f"devices?$skiptoken={tail}") == link
    assert connected_origin(link) == FEED
