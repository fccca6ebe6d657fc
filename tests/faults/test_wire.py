"""Whatever happens on the wire: after it has passed each row is there once, and while it lasts nothing is."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from harness import Cli, Serve, running
from meddler import CLOSE, RESET, Heard, Meddle, Meddler, Piece, framed
from rig import FACT, SMALL, TODAY, Rig, Row, as_rows, rows_of

from intune_dw_cli.errors import IntuneDwError
from intune_dw_cli.events import Retrying, Throttled
from intune_dw_cli.sandbox import Sandbox, ServerConfig, TenantConfig
from intune_dw_cli.sandbox.messages import Response

Damage = Callable[[Response], "Response | Iterable[Piece]"]
NAMES = (FACT, "users")
PATIENCE = {"read_timeout": 0.5, "answer_timeout": 1.0}
DRIP, SILENCE = 0.15, 3.0
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def packed(true: Response, body: bytes) -> bytes:
    """A framed answer that claims to be gzip."""
    return framed(Response(200, body, true.content_type), headers={"Content-Encoding": "gzip"})


def of_body(change: Callable[[bytes], bytes]) -> Damage:
    """The answer with another body, rightly framed."""
    return lambda true: [framed(Response(200, change(true.body), true.content_type))]


def cut(share: float) -> Damage:
    return of_body(lambda body: body[: int(len(body) * share)])


def dripping(true: Response) -> Iterator[Piece]:
    whole = framed(true)
    yield whole[:-40]
    for place in range(len(whole) - 40, len(whole)):
        yield whole[place : place + 1]
        yield DRIP


FAULTS: dict[str, tuple[Damage, str]] = {
    **{str(status): (lambda _, status=status: Response(status), str(status)) for status in (408, 500, 502, 503, 504)},
    "a gateway's page under 502": (lambda _: Response(502, b"<html>bad gateway</html>", "text/html"), "502"),
    "reset before the headers": (lambda _: [RESET], "closed the connection"),
    "closed before the headers": (lambda _: [CLOSE], "closed the connection"),
    "reset in the headers": (lambda true: [framed(true)[:40], 0.05, RESET], "closed the connection"),
    "closed in the headers": (lambda true: [framed(true)[:40], CLOSE], ""),
    "reset in the body": (lambda true: [framed(true)[:-30], 0.05, RESET], "reset"),
    "short body": (lambda true: [framed(true)[:-30], CLOSE], "fewer bytes"),
    "no body at all": (lambda true: [framed(true)[: -len(true.body)], CLOSE], "fewer bytes"),
    "no HTTP": (lambda _: [b"SSH-2.0-OpenSSH_9.6\r\n", CLOSE], "closed the connection"),
    "chunks cut short": (lambda true: [CHUNKED + b"%x\r\n" % len(true.body), true.body, CLOSE], "broke off"),
    "chunks of no size": (lambda true: [CHUNKED + true.body, CLOSE], "broke off"),
    "length too small": (lambda true: [framed(true, length=len(true.body) // 2)], "cut short"),
    "gzip cut": (lambda true: [packed(true, gzip.compress(true.body)[:-20])], "gzip data is cut short"),
    "gzip's checksum cut": (lambda true: [packed(true, gzip.compress(true.body)[:-4])], "gzip data is cut short"),
    "gzip damaged": (lambda true: [packed(true, _flipped(gzip.compress(true.body)))], "gzip data is damaged"),
    "gzip that is none": (lambda true: [packed(true, true.body)], "gzip data is damaged"),
    "JSON cut early": (cut(0.1), "cut short"),
    "JSON cut late": (cut(0.97), "cut short"),
    "JSON's last brace cut": (of_body(lambda body: body[:-1]), "cut short"),
    "JSON and more": (of_body(lambda body: body + b"}"), "not valid JSON"),
    "JSON twice": (of_body(lambda body: body * 2), "not valid JSON"),
    "zeros for the last bytes": (of_body(lambda body: body[:-40] + bytes(40)), "JSON"),
    "1 byte now and then": (dripping, "had not ended after"),
    "silence": (lambda true: [SILENCE, framed(true)], "did not answer in time"),
    "silence in the body": (lambda true: [framed(true)[:-30], SILENCE, framed(true)[-30:]], "nothing came"),
    "a web page": (lambda _: Response(200, b"<html>sign in</html>", "text/html"), "web page"),
    "an error object": (lambda _: Response(200, b'{"error":{"code":"X","message":"later"}}'), "error under status 200"),
    "an error after the rows": (
        of_body(lambda body: body[: body.rindex(b"]") + 1] + b',"error":{"code":"X","message":"later"}}'),
        "error under status 200",
    ),
    "the wrapped error of the service": (lambda _: Response(200, b'{"_version":3,"Message":"later"}'), "200"),
    "an empty body": (lambda _: Response(200), "empty"),
    "blanks": (lambda _: Response(200, b" \r\n"), "empty"),
    "null": (lambda _: Response(200, b"null"), "not a page of rows"),
    "latin-1 that says utf-8": (
        lambda true: [framed(Response(200, _as_latin_1(true.body)), kind="application/json;charset=utf-8")],
        "not valid UTF-8",
    ),
}
"""What can happen to an answer, and what the error says while it goes on."""

HARMLESS: dict[str, Damage] = {
    "a byte order mark": of_body(lambda body: b"\xef\xbb\xbf" + body),
    "utf-8 that says latin-1": lambda true: [framed(true, kind="application/json;charset=iso-8859-1")],
    "utf-8 that says utf-16": lambda true: [framed(true, kind="application/json;charset=utf-16")],
    "utf-8 that says nonsense": lambda true: [framed(true, kind="application/json;charset=klingon")],
    "utf-8 that says text": lambda true: [framed(true, kind="text/html")],
    "no type": lambda true: [framed(true, kind="")],
    "escaped": of_body(lambda body: json.dumps(json.loads(body)).encode()),
    "spaced out": of_body(lambda body: json.dumps(json.loads(body), indent=3, ensure_ascii=False).encode()),
    "members of gzip": lambda true: [packed(true, b"".join(map(gzip.compress, (true.body[:9], true.body[9:]))))],
    "in chunks": lambda true: [CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (len(true.body), true.body)],
    "ended by the end": lambda true: [b"HTTP/1.0 200 OK\r\n\r\n", true.body, CLOSE],
    "in pieces": lambda true: [framed(true)[:50], 0.02, framed(true)[50:200], 0.02, framed(true)[200:]],
}
"""Odd answers that hold what they should."""


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0x55]) + data[middle + 1 :]


def _as_latin_1(body: bytes) -> bytes:
    text = body.decode().replace('"displayName":"', '"displayName":"Zo\xeb ', 1).replace('"value":[', '"value":[ ', 1)
    data = text.encode("latin-1", "replace")
    return data if not data.isascii() else data.replace(b'":"', b'":"\xeb', 1)


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    """A tenant with names in all scripts."""
    tenant = TenantConfig(today=TODAY, devices=SMALL.devices, days=SMALL.days, hostile=True)
    return Sandbox(tenant, ServerConfig(page_size=4))


@pytest.fixture(scope="module")
def wanted(sandbox: Sandbox) -> dict[str, list[Row]]:
    return {name: as_rows(sandbox.tenant.rows(name)) for name in NAMES}


def hurt(damage: Damage, *, later: bool, times: int) -> Meddle:
    """Damage the first or all later pages of both collections, each so many times."""

    def meddle(heard: Heard, true: Response) -> Response | Iterable[Piece] | None:
        meant = heard.collection in NAMES and heard.later == later and heard.nth <= times
        return damage(true) if meant else None

    return meddle


@pytest.mark.parametrize("later", [False, True], ids=["first pages", "later pages"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_passes_loses_no_row_and_doubles_none(
    sandbox: Sandbox, wanted: dict[str, list[Row]], tmp_path: Path, fault: str, later: bool
) -> None:
    with Meddler(sandbox, hurt(FAULTS[fault][0], later=later, times=1)) as server:
        rig = Rig(server.feed_url, workers=4, **PATIENCE)
        result = rig.pull(tmp_path, *NAMES)
    assert result.errors == []
    assert {name: rows_of(result, name) for name in NAMES} == wanted
    assert all(FAULTS[fault][1] in event.reason for event in rig.of(Retrying))
    hurt_pages = Counter(heard.target for heard in server.heard if heard.collection in NAMES and heard.later == later)
    assert len(hurt_pages) >= 2
    assert set(hurt_pages.values()) == {2}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_lasts_is_named_and_leaves_no_file(sandbox: Sandbox, tmp_path: Path, fault: str) -> None:
    damage, says = FAULTS[fault]
    with Meddler(sandbox, hurt(damage, later=True, times=100)) as server:
        result = Rig(server.feed_url, workers=4, tries=2, **PATIENCE).pull(tmp_path, *NAMES)
    assert result.files == []
    assert {error.collection for error in result.errors} == set(NAMES)
    for error in result.errors:
        assert says in error.message
        assert error.request_id
        assert error.hint


@pytest.mark.parametrize("form", HARMLESS)
def test_an_odd_answer_that_holds_what_it_should_is_taken_at_once(
    sandbox: Sandbox, wanted: dict[str, list[Row]], tmp_path: Path, form: str
) -> None:
    def meddle(heard: Heard, true: Response) -> Response | Iterable[Piece] | None:
        return HARMLESS[form](true) if heard.collection in NAMES else None

    with Meddler(sandbox, meddle) as server:
        rig = Rig(server.feed_url)
        result = rig.pull(tmp_path, *NAMES)
    assert {name: rows_of(result, name) for name in NAMES} == wanted
    assert not rig.of(Retrying)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("says", ["utf-8", "utf-16"])
def test_utf_16_is_read_rightly_or_refused_whatever_it_says(
    sandbox: Sandbox, wanted: dict[str, list[Row]], tmp_path: Path, encoding: str, says: str
) -> None:
    """JSON between systems is UTF-8 (RFC 8259 8.1)."""

    def meddle(heard: Heard, true: Response) -> Iterable[Piece] | None:
        body = Response(200, true.body.decode().encode(encoding))
        return [framed(body, kind=f"application/json;charset={says}")] if heard.collection == "users" else None

    with Meddler(sandbox, meddle) as server:
        result = Rig(server.feed_url, tries=2).pull(tmp_path, *NAMES)
    assert rows_of(result, FACT) == wanted[FACT]
    if result.errors:
        assert isinstance(result.errors[0], IntuneDwError)
        assert rows_of(result, "users") == []
    else:
        assert rows_of(result, "users") == wanted["users"]


@pytest.mark.parametrize("count", [1, 5, 20])
@pytest.mark.parametrize("form", ["seconds", "date", "a day", "0", "absent"])
def test_429s_in_a_row_are_sat_out(
    sandbox: Sandbox, wanted: dict[str, list[Row]], tmp_path: Path, form: str, count: int
) -> None:
    cap, jitter = 0.03, 0.01
    headers = {
        "seconds": "7",
        "date": "Fri, 31 Dec 2099 23:59:59 GMT",
        "a day": "86400",
        "0": "0",
    }

    def meddle(heard: Heard, _true: Response) -> Response | None:
        if heard.collection not in NAMES or heard.nth > count:
            return None
        return Response(429, headers={"Retry-After": headers[form]} if form in headers else {})

    with Meddler(sandbox, meddle) as server:
        rig = Rig(server.feed_url, workers=4, first_wait=jitter, max_wait=jitter, max_retry_after=cap, tries=1)
        result = rig.pull(tmp_path, "users")
    assert rows_of(result, "users") == wanted["users"]
    throttled = rig.of(Throttled)
    assert not rig.of(Retrying)
    pages = {heard.target for heard in server.heard if heard.collection == "users"}
    assert len(throttled) == count * len(pages)
    if form in ("0", "absent"):
        assert all(event.wait <= jitter for event in throttled)
    else:
        assert all(cap <= event.wait <= cap + jitter for event in throttled)
    asked = {"0": 0.0, "seconds": 7.0, "a day": 86400.0}
    assert form in ("date", "absent") or {event.asked for event in throttled} == {asked[form]}
    assert {event.limit for event in throttled} <= {1, 2}


def test_a_service_that_asks_for_a_day_is_asked_again_in_minutes_and_both_are_said(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    sandbox = serve("--fault", "kind=429,retry-after=86400,collection=users,times=0", devices=5, days=2)
    with running(cli.start("backup", "A", "--only", "users", "--url", sandbox.url)) as process:
        assert process.stderr
        said = next(line for line in process.stderr if b"429" in line).decode()
        process.terminate()
        assert process.wait(20) == 130
    assert "86,400 s of patience" in said
    assert re.search(r"next attempt in 30[01] s", said)
    sandbox.heal()
    cli("backup", "A", "--only", "users", "--url", sandbox.url).ok()
