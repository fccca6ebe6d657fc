"""The two documents: what is asked for again, what is taken for an answer, and what a run without `$metadata` gives."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from meddler import CLOSE, RESET, Heard, Meddler, Piece, framed
from rig import FACT, SMALL, Rig, as_rows, rows_of

from intune_dw_cli.errors import ForbiddenError, IntuneDwError, MalformedPageError, NotFoundError, ProtocolError
from intune_dw_cli.events import Retrying, Warned
from intune_dw_cli.sandbox import Sandbox, ServerConfig
from intune_dw_cli.sandbox.messages import Response

SERVICE, METADATA = "DataWarehouseFEService", "$metadata"
PORTAL = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>%d</body></html>"
GATEWAY = Response(200, PORTAL % 0, "text/html")


def sandbox() -> Sandbox:
    return Sandbox(SMALL, ServerConfig(page_size=20))


def instead(document: str, answer: Response | Iterable[Piece], times: int = 1_000) -> Meddler:
    """A server that gives something in place of a document."""

    def meddle(heard: Heard, _true: Response) -> Response | Iterable[Piece] | None:
        return answer if heard.collection == document and heard.nth <= times else None

    return Meddler(sandbox(), meddle)


def asked(server: Meddler, document: str) -> int:
    return sum(heard.collection == document for heard in server.heard)


@pytest.mark.parametrize(
    ("answer", "times", "error"),
    [
        (Response(200, b'{"hello":"world"}'), 1, ProtocolError),
        (Response(200, b"[]"), 1, ProtocolError),
        (Response(200, b'{"value":[{"deviceKey":1}]}'), 1, ProtocolError),
        (Response(404, PORTAL % 0, "text/html"), 1, NotFoundError),
        (Response(403), 1, ForbiddenError),
        (GATEWAY, 2, ProtocolError),
        (Response(200, b""), 2, ProtocolError),
        (Response(200, b'{"value":[{"name":"devi'), 2, ProtocolError),
        (Response(200, b'{"error":{"code":"busy","message":"later"}}'), 2, ProtocolError),
        (Response(503), 4, IntuneDwError),
        ([RESET], 4, IntuneDwError),
    ],
    ids=["other JSON", "a list", "rows", "404", "403", "web page", "empty", "cut", "error object", "503", "reset"],
)
def test_a_wrong_address_is_refused_after_as_many_requests_as_can_help(
    tmp_path: Path, answer: Response | Iterable[Piece], times: int, error: type[IntuneDwError]
) -> None:
    with instead(SERVICE, answer) as server, pytest.raises(error):
        Rig(server.feed_url).pull(tmp_path, "users")
    assert [heard.collection for heard in server.heard] == [SERVICE] * times


def test_a_web_page_that_differs_each_time_is_asked_for_four_times(tmp_path: Path) -> None:
    with Meddler(sandbox(), lambda heard, _: Response(200, PORTAL % heard.nth, "text/html")) as server:
        with pytest.raises(MalformedPageError):
            Rig(server.feed_url).pull(tmp_path, "users")
        assert asked(server, SERVICE) == 4


@pytest.mark.parametrize("document", [SERVICE, METADATA])
@pytest.mark.parametrize(
    "answer",
    [
        GATEWAY,
        Response(200, b""),
        Response(200, b'{"error":{"code":"busy","message":"later"}}'),
        Response(500),
        Response(503),
        Response(429),
        [RESET],
        [b"HTTP/1.1 200 OK\r\nContent-", CLOSE],
        [framed(Response(200, b'{"value":[{'), length=900), CLOSE],
        [framed(Response(200, b"<edmx:Edmx"))],
    ],
    ids=["web page", "empty", "error object", "500", "503", "429", "reset", "cut headers", "short", "cut"],
)
def test_a_document_that_fails_once_is_asked_for_again(
    tmp_path: Path, document: str, answer: Response | Iterable[Piece]
) -> None:
    with instead(document, answer, times=1) as server:
        rig = Rig(server.feed_url)
        result = rig.pull(tmp_path, "users")
    assert rows_of(result, "users") == as_rows(sandbox().tenant.rows("users"))
    assert asked(server, document) == 2
    assert not rig.of(Warned)


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))


def with_type(declaration: str, text: str = "") -> Callable[[bytes], Response]:
    """The true `$metadata` with a document type declaration, and a text in its midst."""

    def make(true: bytes) -> Response:
        head, schema, rest = true.decode().partition("<Schema")
        start = head.index("<edmx")
        return Response(200, f"{head[:start]}<!DOCTYPE a {declaration}>{head[start:]}{text}{schema}{rest}".encode())

    return make


UNUSABLE: dict[str, tuple[Callable[[bytes], Response], int]] = {
    "missing": (lambda _: Response(404), 1),
    "another document": (lambda _: Response(200, b'<?xml version="1.0"?><rss version="2.0"><channel/></rss>'), 1),
    "document type": (with_type('SYSTEM "http://127.0.0.1:9/x.dtd"'), 1),
    "entities": (with_type(f'[<!ENTITY l0 "ha">{LAUGHS}]', "&l9;"), 1),
    "outer entity": (with_type('[<!ENTITY x SYSTEM "file:///etc/passwd">]', "&x;"), 1),
    "nested 10,000 deep": (
        lambda true: Response(200, true.replace(b"<Schema", b"<a>" * 10_000 + b"</a>" * 10_000 + b"<Schema", 1)),
        1,
    ),
    "broken": (lambda true: Response(200, true[: len(true) // 2]), 4),
    "web page": (lambda _: GATEWAY, 4),
    "empty": (lambda _: Response(200), 4),
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_without_a_usable_metadata_the_documented_types_serve_and_the_run_says_so(tmp_path: Path, what: str) -> None:
    make, times = UNUSABLE[what]

    def meddle(heard: Heard, true: Response) -> Response | None:
        return make(true.body) if heard.collection == METADATA else None

    with Meddler(sandbox(), meddle) as server:
        rig = Rig(server.feed_url)
        result = rig.pull(tmp_path, FACT, "users")
    for name in (FACT, "users"):
        assert rows_of(result, name) == as_rows(sandbox().tenant.rows(name))
    assert asked(server, METADATA) == times
    assert len(rig.of(Retrying)) == times - 1
    assert [warned.message for warned in rig.of(Warned) if "no usable $metadata" in warned.message]


def test_types_that_nobody_knows_are_kept_as_text(tmp_path: Path) -> None:
    def meddle(heard: Heard, true: Response) -> Response | None:
        if heard.collection != METADATA:
            return None
        text = true.body.decode()
        for known in ("Edm.Boolean", "Edm.DateTimeOffset"):
            text = text.replace(f'Type="{known}"', 'Type="Vendor.Odd.Thing"')
        return Response(200, text.replace("Edm.String", "Edm.GeographyPoint").encode(), true.content_type)

    with Meddler(sandbox(), meddle) as server:
        result = Rig(server.feed_url).pull(tmp_path, FACT, "users")
    for name in (FACT, "users"):
        assert rows_of(result, name) == as_rows(sandbox().tenant.rows(name))


def test_a_service_document_of_collections_that_nothing_declares(tmp_path: Path) -> None:
    """Neither `$metadata` nor the documentation knows it: its first page does."""
    rows = [{"id": n, "text": f"{n}é", "deep": {"n": [n]}, "flag": n % 2 == 0} for n in range(30)]

    def meddle(heard: Heard, true: Response) -> Response | None:
        if heard.collection == SERVICE:
            listed = json.loads(true.body)
            listed["value"].append({"name": "oddities", "url": "oddities"})
            return Response(200, json.dumps(listed).encode())
        if heard.collection == "oddities":
            return Response(200, json.dumps({"value": rows}, ensure_ascii=False).encode())
        return None

    with Meddler(sandbox(), meddle) as server:
        result = Rig(server.feed_url).pull(tmp_path, "oddities")
    wanted = [{**row, "deep": json.dumps(row["deep"], separators=(",", ":"))} for row in rows]
    assert rows_of(result, "oddities") == as_rows(wanted)
