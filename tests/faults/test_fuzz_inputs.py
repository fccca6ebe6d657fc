"""Dates as people type them and links as servers send them: what they mean beyond doubt, or a typed error."""

from __future__ import annotations

import datetime as dt
import random
import re
from urllib.parse import urljoin, urlsplit

import requests
from mutation import CASES, LONG_CASES, mutated
from urllib3.util import parse_url

from intune_dw_cli.cli.period import day_range, instant
from intune_dw_cli.data.datekey import DateKeyRange, from_date_key
from intune_dw_cli.errors import HostGuardError, UsageError
from intune_dw_cli.service.hosts import Origin, guard, host_matches

TODAY = dt.date(2024, 2, 29)
DATES = ["2024-01-15", "20240115", "today", "yesterday", "-7d", "2024-02-29", "0001-01-01", "9999-12-31", "-99999d", ""]
MOMENTS = ["2024-01-15T08:30:00Z", "2024-01-15", "2024-02-30", "2024-01-15T08:30", "2024-01-15T24:00:00Z"]
SIGNS = [b"-", b"d", b"T", b"Z", b":", b" ", b"0", b"9", b"\xd9\xa1", b"\x00", b"+", b".", b"2024", b"today", b"W01"]

FEED_HOST = "fef.msua06.manage.microsoft.com"
ROOT = f"https://{FEED_HOST}/ReportingService/DataWarehouseFEService"
FEED = Origin("https", FEED_HOST, 443)
ALLOWED = ("*.manage.microsoft.com",)
LINKS = [
    f"{ROOT}/devices?api-version=v1.0&$skiptoken=a%27b",
    "devices?$skiptoken=3",
    "/ReportingService/x?y",
    f"//{FEED_HOST}/x",
    f"http://{FEED_HOST}:80/x",
    f"https://{FEED_HOST}:443/x",
    "https://fef.amsub0102.manage.microsoft.com/x?y",
    f"https://evil.example/{FEED_HOST}",
    f"https://{FEED_HOST}@evil.example/",
    f"https://evil.example?{FEED_HOST}",
    f"https://{FEED_HOST}.evil.example/",
    f"https://evil.example\\@{FEED_HOST}/",
    "https://2130706433/",
    "https://[::1]/",
    "http://fef.amsub0102.manage.microsoft.com:443/x",
]
ANGLES = [b"/", b"//", b"\\", b"@", b":", b"?", b"#", b"%2f", b"%40", b"%00", b".", b"..", b"evil.example", b"http:"]
ANGLES += [
    b"https:",
    b"[",
    b"]",
    b"\t",
    b"\n",
    b" ",
    b"\xe3\x80\x82",
    b"\xef\xbc\x8f",
    b"\xe2\x84\xaa",
    b"xn--",
    b"443",
]
ANGLES += [b":0", b":65536", b"0x7f.1", b"javascript:", b"file:///", b"\xed\xa0\x80", b"\xe2\x80\xae", b"localhost"]
ANGLES += [FEED_HOST.encode(), b".manage.microsoft.com", b"https://evil.example", b"@evil.example/", b"%2eevil.example"]


def text_of(piece: bytes) -> str:
    return piece.decode("utf-8", "surrogateescape")


def plain_day(text: str) -> dt.date | None:
    """The day that a text surely is, None where it is none of the plain ways to write one."""
    word = text.strip().lower()
    if word in ("today", "yesterday"):
        return TODAY - dt.timedelta(days=word == "yesterday")
    try:
        if re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", word):
            return dt.datetime.strptime(word, "%Y-%m-%d").date()
        if re.fullmatch("[0-9]{8}", word):
            return from_date_key(int(word))
        if re.fullmatch("-[0-9]{1,5}d", word):
            return TODAY - dt.timedelta(days=int(word[1:-1]))
    except (ValueError, OverflowError):
        return None
    return None


def test_mutated_dates_are_the_days_that_they_say_or_refused(rng: random.Random, is_long: bool) -> None:
    read = 0
    for _ in range(LONG_CASES if is_long else CASES):
        first, last = rng.choice(DATES), text_of(mutated(rng.choice(DATES).encode(), rng, SIGNS))
        if rng.random() < 0.5:
            first, last = last, first
        wanted = [plain_day(text) if text else None for text in (first, last)]
        is_plain = all(day is not None for text, day in zip((first, last), wanted, strict=True) if text)
        is_ordered = None in wanted or wanted[0] <= wanted[1]  # type: ignore[operator] # neither is None
        days = rng.choice([None, None, None, 1, 30, 0, -1, 10**9])
        try:
            found = day_range(first, last, days, TODAY)
        except UsageError:
            assert days is not None or not (is_plain and is_ordered), (first, last)
            continue
        read += 1
        if days is None:
            assert (is_plain, is_ordered) == (True, True), (first, last)
            assert (found.first, found.last) == tuple(wanted)
        else:
            assert found == DateKeyRange(TODAY - dt.timedelta(days=days - 1), TODAY)
        assert re.fullmatch(r"(DateKey (eq|ge|le) \d+( and DateKey le \d+)?)?", found.filter() or "")
    assert read > CASES / 50


def test_mutated_instants_are_points_in_time_or_refused(rng: random.Random, is_long: bool) -> None:
    read = 0
    for _ in range(LONG_CASES if is_long else CASES):
        text = text_of(mutated(rng.choice(MOMENTS).encode(), rng, SIGNS))
        try:
            found = instant(text)
        except UsageError:
            continue
        read += 1
        assert found is not None
        assert re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,7})?Z", found)
        assert dt.datetime.fromisoformat(found[:19]).isoformat().startswith(text.strip()[:10])
    assert read > CASES / 50


def origins(address: str) -> set[Origin]:
    """Where an address leads, as `urllib`, `urllib3` and `requests` read it."""
    adapter, prepared = requests.adapters.HTTPAdapter(), requests.Request("GET", address).prepare()
    connection, _ = adapter.build_connection_pool_key_attributes(prepared, True)
    found: set[tuple[str | None, str | None, int | None]] = {
        (connection["scheme"], connection["host"], connection["port"])
    }
    for parts in (urlsplit(address), parse_url(address), urlsplit(str(prepared.url)), parse_url(str(prepared.url))):
        found.add((parts.scheme, parts.hostname, parts.port))
    ports = {"http": 80, "https": 443}
    return {Origin(str(s), str(h).strip("[]").lower(), port or ports[str(s)]) for s, h, port in found}


def plain_host(link: str, request_url: str) -> str:
    """The host where a link plainly has one: `https://evil.exampleskiptoken/` lost so much that this is its host."""
    netloc = urlsplit(urljoin(request_url, link.strip())).netloc.rpartition("@")[2]
    return netloc if re.fullmatch(r"[\w.\-]+(:[0-9]*)?", netloc) else ""


def test_mutated_links_lead_to_the_feed_or_are_refused(rng: random.Random, is_long: bool) -> None:
    """Whoever reads the address that the guard lets pass: one origin, the feed's or an allowed one."""
    passed, request_url = 0, f"{ROOT}/devices?api-version=v1.0"
    for _ in range(LONG_CASES if is_long else CASES):
        link = text_of(mutated(rng.choice(LINKS).encode(), rng, ANGLES))
        try:
            address = guard(link, request_url=request_url, origin=FEED, allowed_hosts=ALLOWED)
        except HostGuardError as error:
            said = str(error)
            assert FEED_HOST in said
            assert "skiptoken" not in said or "skiptoken" in plain_host(link, request_url)
            continue
        passed += 1
        (target,) = origins(address)
        is_allowed = target.scheme == "https" and target.port == 443 and host_matches(target.host, ALLOWED)
        assert target == FEED or is_allowed, (link, address)
    assert CASES / 20 < passed < (LONG_CASES if is_long else CASES) * 19 / 20


def test_the_good_links_pass_and_the_bad_do_not() -> None:
    for link in LINKS[:7]:
        guard(link, request_url=f"{ROOT}/devices", origin=FEED, allowed_hosts=ALLOWED)
    refused = 0
    for link in LINKS[7:]:
        try:
            guard(link, request_url=f"{ROOT}/devices", origin=FEED, allowed_hosts=ALLOWED)
        except HostGuardError:
            refused += 1
    assert refused == len(LINKS[7:])
