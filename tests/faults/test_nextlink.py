"""nextLinks: they may be written in many ways and lead over many pages, but only to an end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from meddler import Heard, Meddler
from rig import FACT, SMALL, Rig, as_rows, rows_of

from intune_dw_cli.errors import ProtocolError
from intune_dw_cli.export import pages
from intune_dw_cli.sandbox import Sandbox, ServerConfig
from intune_dw_cli.sandbox.messages import Response

PAGE_SIZE = 2


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(SMALL, ServerConfig(page_size=PAGE_SIZE))


def users(sandbox: Sandbox) -> list[dict[str, str | None]]:
    return as_rows(sandbox.tenant.rows("users"))


def link_of(true: Response) -> str | None:
    link = json.loads(true.body).get("@odata.nextLink")
    assert link is None or isinstance(link, str)
    return link


def relinked(true: Response, link: str | None) -> Response:
    """The same page with another nextLink."""
    document = json.loads(true.body)
    document.pop("@odata.nextLink", None)
    more = {} if link is None else {"@odata.nextLink": link}
    return Response(200, json.dumps({**document, **more}).encode())


def page(rows: list[object], link: str | None) -> Response:
    return Response(200, json.dumps({"value": rows, **({"@odata.nextLink": link} if link else {})}).encode())


def option(heard: Heard, name: str) -> int:
    """A number in the query, 0 where it is not there."""
    return int(parse_qs(urlsplit(heard.target).query).get(name, ["0"])[0])


FORMS: dict[str, Callable[[str], str]] = {
    "absolute": lambda link: link,
    "relative to the folder": lambda link: link.rpartition("/")[2],
    "a query alone": lambda link: "?" + link.partition("?")[2],
    "relative to the root": lambda link: urlsplit(link)._replace(scheme="", netloc="").geturl(),
    "relative to the scheme": lambda link: link.partition(":")[2],
    "with dots": lambda link: f"./x/../{link.rpartition('/')[2]}",
    "host in capitals": lambda link: link.replace("http://", "HTTP://"),
    "blanks around it": lambda link: f"  {link}\t",
    "lower-case escapes": lambda link: link + "&x=%c3%a9%2c%2B",
    "letters unescaped": lambda link: link + "&x=é",
    "very long": lambda link: link + "&x=" + "a" * 20_000,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_nextlink_may_be_written_in_many_ways(sandbox: Sandbox, tmp_path: Path, form: str) -> None:
    def meddle(_heard: Heard, true: Response) -> Response | None:
        link = link_of(true) if b"nextLink" in true.body else None
        return relinked(true, FORMS[form](link)) if link else None

    with Meddler(sandbox, meddle, understood=lambda target: target.partition("&x=")[0]) as server:
        result = Rig(server.feed_url).pull(tmp_path, "users", FACT)
    assert rows_of(result, "users") == users(sandbox)
    assert rows_of(result, FACT) == as_rows(sandbox.tenant.rows(FACT))
    assert {heard.headers["host"] for heard in server.heard} == {f"127.0.0.1:{server.port}"}


@pytest.mark.parametrize("at", [1, 2, 4], ids="page {}".format)
@pytest.mark.parametrize("back", [0, 1, 2, 3], ids="{} back".format)
def test_a_circle_ends_in_an_error(sandbox: Sandbox, tmp_path: Path, at: int, back: int) -> None:
    """To itself, to the page before, and further."""
    chain: list[str] = []

    def meddle(heard: Heard, true: Response) -> Response | None:
        if heard.collection != "users":
            return None
        if heard.nth > 3:
            return relinked(true, None)  # a reader that goes round and round is let go
        if heard.target not in chain:
            chain.append(heard.target)
        return relinked(true, chain[max(0, at - 1 - back)]) if len(chain) == at else None

    with Meddler(sandbox, meddle) as server:
        result = Rig(server.feed_url).pull(tmp_path, "users", FACT)
        asked = [heard.target for heard in server.heard if heard.collection == "users"]
    (error,) = result.errors
    assert isinstance(error, ProtocolError)
    assert "circle" in error.message
    assert (error.collection, bool(error.request_id), bool(error.hint)) == ("users", True, True)
    assert asked == chain
    assert {file.collection for file in result.files} == {FACT}


@pytest.mark.parametrize("length", [1, 40, 400])
@pytest.mark.parametrize("at", ["first", "middle", "end"])
def test_empty_pages_are_followed_to_the_rows_and_to_the_end(
    sandbox: Sandbox, tmp_path: Path, at: str, length: int
) -> None:
    onward: list[str | None] = []

    def detour(heard: Heard, number: int, then: str | None) -> str:
        """Where the empty pages begin or go on; they lead back to `then`."""
        onward[:] = [then]
        return f"{heard.target.partition('&')[0]}&$skiptoken=empty&empty={number}"

    def meddle(heard: Heard, true: Response) -> Response | None:
        if heard.collection != "users":
            return None
        if walked := option(heard, "empty"):
            return page([], onward[0] if walked == length else detour(heard, walked + 1, onward[0]))
        link = link_of(true)
        if at == "first" and not heard.later and "again" not in heard.target:
            return page([], detour(heard, 1, f"{heard.target}&again=1"))
        if at == "middle" and not heard.later:
            return relinked(true, detour(heard, 1, link))
        return relinked(true, detour(heard, 1, None)) if at == "end" and link is None else None

    with Meddler(sandbox, meddle, understood=lambda target: target.removesuffix("&again=1")) as server:
        result = Rig(server.feed_url).pull(tmp_path, "users")
        empty = {option(heard, "empty") for heard in server.heard}
    assert result.errors == []
    assert rows_of(result, "users") == users(sandbox)
    assert empty == set(range(length + 1))


def test_empty_pages_without_end_are_an_error(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_MOST_EMPTY", 50)

    def meddle(heard: Heard, true: Response) -> Response | None:
        if heard.collection != "users":
            return None
        here, onward = heard.target.partition("&$skiptoken")[0], option(heard, "empty") + 1
        return page([], f"{here}&$skiptoken=t&empty={onward}" if onward < 500 else None)

    with Meddler(sandbox, meddle) as server:
        result = Rig(server.feed_url).pull(tmp_path, "users", FACT)
        asked = sum(heard.collection == "users" for heard in server.heard)
    (error,) = result.errors
    assert "50 pages in a row hold no row" in error.message
    assert asked <= 52
    assert {file.collection for file in result.files} == {FACT}


@pytest.mark.parametrize("link", [7, True, [], {}, "", " \t", {"href": "?x"}])
def test_a_nextlink_that_is_no_text_is_never_the_end(sandbox: Sandbox, tmp_path: Path, link: object) -> None:
    def meddle(heard: Heard, true: Response) -> Response | None:
        document = json.loads(true.body) if heard.collection == "users" else None
        return document and Response(200, json.dumps({**document, "@odata.nextLink": link}).encode())

    with Meddler(sandbox, meddle) as server:
        result = Rig(server.feed_url, tries=2).pull(tmp_path, "users")
    assert "nextLink" in result.errors[0].message
    assert result.files == []


@pytest.mark.parametrize("name", ["@odata.nextLink", "@nextLink"])
@pytest.mark.parametrize("first", [True, False], ids=["before the rows", "after the rows"])
def test_a_nextlink_may_stand_before_the_rows_and_be_named_as_in_4_01(
    sandbox: Sandbox, tmp_path: Path, name: str, first: bool
) -> None:
    def meddle(heard: Heard, true: Response) -> Response | None:
        if heard.collection != "users":
            return None
        document = json.loads(true.body)
        value, link = {"value": document["value"]}, {name: document.get("@odata.nextLink")}
        return Response(200, json.dumps({**link, **value} if first else {**value, **link}).encode())

    with Meddler(sandbox, meddle) as server:
        result = Rig(server.feed_url).pull(tmp_path, "users")
    assert rows_of(result, "users") == users(sandbox)
