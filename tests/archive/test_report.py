from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intune_dw_cli.archive.gaps import find_gaps
from intune_dw_cli.archive.report import render_report
from intune_dw_cli.data.datekey import to_date_key

AS_OF = dt.date(2024, 3, 10)
SHA = "0123456789abcdef" * 4
VOID = {"meta", "wbr"}
KNOWN = set(
    re.findall(
        r"\w+",
        """
    html head meta title style body main header section div p h1 h2 h3 dl dt dd ol ul li table caption thead tbody
    tr th td b small code bdi span time svg desc path wbr
""",
    )
)


class Page(HTMLParser):
    """An independent reader that takes nothing amiss silently: what it cannot balance or does not know fails."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.pieces: list[tuple[tuple[str, ...], str]] = []
        self.rows: list[list[str]] = []
        self.feed(markup)
        self.close()
        assert not self.stack, self.stack
        assert len(self.ids) == len(set(self.ids))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in KNOWN, tag
        if tag not in VOID:
            self.stack.append(tag)
        for name, value in attrs:
            assert value is not None, name
            assert not name.startswith("on")
            assert name not in ("src", "href", "style", "srcset")
            self.attributes.append((tag, name, value))
            if name == "id":
                self.ids.append(value)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        raise AssertionError(f"<{tag}/> is XML")

    def handle_data(self, data: str) -> None:
        self.pieces.append((tuple(self.stack), data))
        if "tr" in self.stack:
            self.rows[-1][-1] += data.strip("\n")

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(data)

    @property
    def text(self) -> str:
        return "".join(data for stack, data in self.pieces if "style" not in stack)

    def row(self, start: str) -> list[str]:
        """The first row whose first cell begins so."""
        return next(row for row in self.rows if row and row[0].startswith(start))

    def of(self, tag: str) -> list[str]:
        return [data for stack, data in self.pieces if stack and stack[-1] == tag]

    def shapes(self, kind: str) -> list[str]:
        found, kinds = [], [v for t, n, v in self.attributes if t == "path" and n == "class"]
        for which, shape in zip(kinds, (v for t, n, v in self.attributes if t == "path" and n == "d"), strict=True):
            if which == kind:
                found.append(shape)
        return found


def page_of(content: dict[str, Any]) -> Page:
    return Page(render_report(content, SHA))


def history(name: str, days: int, rows: int = 100, *, last: dt.date = AS_OF, **changed: int | None) -> dict[str, Any]:
    """A daily collection; `d3=7` gives the day three days before the last 7 rows, None leaves it out."""
    held: dict[int, int] = {}
    for back in reversed(range(days)):
        count = changed.get(f"d{back}", rows)
        if count is not None:
            held[to_date_key(last - dt.timedelta(days=back))] = count
    parts = [
        {"path": f"data/{name}/dateKey={key}/part.csv", "date_key": key, "rows": count, "bytes": 2048, "sha256": SHA}
        for key, count in held.items()
    ]
    gaps = find_gaps(held, as_of=AS_OF, retention_days=30)
    return {
        "name": name,
        "folder": f"data/{name}",
        "kind": "fact",
        "state": "complete",
        "rows": sum(held.values()),
        "feed": 1,
        "retention_days": 30,
        "gaps": json.loads(json.dumps(dataclasses.asdict(gaps))),
        "slices": [{"schema": 0, "parts": parts}],
        "missing": [],
        "warnings": [],
    }


def dimension(name: str = "devices", rows: int = 12) -> dict[str, Any]:
    part = {"path": f"data/{name}/{name}.csv", "date_key": None, "rows": rows, "bytes": 1536, "sha256": SHA}
    return {
        "name": name,
        "kind": "dimension",
        "state": "complete",
        "rows": rows,
        "slices": [{"schema": 0, "parts": [part]}],
        "missing": [],
        "warnings": [],
    }


def chart(item: str, state: str, **more: Any) -> dict[str, Any]:
    return {
        "item": item,
        "title": f"The {item} chart",
        "group": "App protection",
        "state": state,
        "optional": False,
        "request": "GET /x",
        "status": 200,
        "files": [],
        "permission": "DeviceManagementApps.Read.All",
        "portal_path": "Apps > Monitor > App protection status",
        "reason": None,
        **more,
    }


def content_of(*collections: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "tool": "intune-dw 0.1.0",
        "state": "complete",
        "source": "https://fef.msua01.manage.microsoft.com/ReportingService/DataWarehouseFEService",
        "tenant": "contoso.example",
        "api_version": "v1.0",
        "format": "csv",
        "compression": None,
        "as_of": AS_OF.isoformat(),
        "timestamps": "text as served",
        "documents": {"metadata.xml": "ab" * 32},
        "collections": list(collections),
        **more,
    }


def test_the_page_says_what_was_saved_from_where_when_and_by_what() -> None:
    page = page_of(content_of(history("devicePropertyHistories", 10), dimension()))
    for told in (
        "2 collections, 1,012 rows, 11 files, 21.5 KiB",
        "https://fef.msua01.manage.microsoft.com/ReportingService/DataWarehouseFEService",
        "contoso.example",
        "v1.0",
        "2024-03-10",
        "intune-dw 0.1.0",
        "✓ complete",
        SHA,
        "sha256sum manifest.json",
        "sha256sum -c SHA256SUMS",
        "Signature",
        "Move approved by",
    ):
        assert told in page.text, told


def test_an_archive_without_trouble_says_so() -> None:
    page = page_of(content_of(history("devicePropertyHistories", 10), dimension()))
    assert "No gaps, no missing slices, no warnings, no open manual steps." in page.text


def test_a_collection_has_rows_days_files_and_size() -> None:
    page = page_of(content_of(history("devicePropertyHistories", 10), dimension()))
    row = page.row("devicePropertyHistories")
    assert row[1:6] == ["✓ complete", "1,000", "2024-03-01 to 2024-03-10 10 days", "10", "20.0 KiB"]
    assert page.row("devices") == ["devices", "dimension", "✓ complete", "12", "1", "1.5 KiB"]


def test_dated_copies_count_as_files_and_size_and_never_as_rows() -> None:
    copies = [
        {"path": f"history/devices/asOf=2024030{n}/part.csv", "rows": 12, "bytes": 1024, "sha256": SHA} for n in (1, 2)
    ]
    one = {**dimension("users"), "snapshots": copies[:1]}
    page = page_of(content_of(history("devicePropertyHistories", 10), {**dimension(), "snapshots": copies}, one))
    assert "3 collections, 1,024 rows, 15 files (3 dated copies among them), 26.0 KiB" in page.text
    assert page.row("devices")[3:] == ["12", "3 2 dated copies", "3.5 KiB"]
    assert page.row("users")[3:] == ["12", "2 1 dated copy", "2.5 KiB"]


def test_what_needs_a_person_comes_before_all_else() -> None:
    held = history("devicePropertyHistories", 40, d35=None, d5=None, d8=0, d15=30)
    held |= {
        "state": "partial",
        "missing": [{"slice": "2024-03-05", "reason": "503 from the service"}],
        "warnings": ["2 rows repeat the key"],
    }
    content = content_of(
        held, dimension(), state="partial", charts=[chart("app-protection", "manual", reason="no right")]
    )
    page = page_of(content)
    assert "! partial" in page.text
    order = [
        "What needs attention",
        "Missing slices",
        "Open manual steps",
        "Missing days",
        "Days that look wrong",
        "Warnings",
        "Upcoming losses",
        "Collections",
        "Daily",
        "Without days",
        "Trend charts",
        "Changes of the service's model",
        "Proof",
        "Sign-off",
    ]
    assert [data for stack, data in page.pieces if stack and stack[-1] in ("h2", "h3")] == order
    assert page.row("devicePropertyHistories") == ["devicePropertyHistories", "1", "2024-03-05", "503 from the service"]
    assert ["devicePropertyHistories", "2 rows repeat the key"] in page.rows


def test_gaps_are_named_with_their_days_figures_and_the_day_of_loss() -> None:
    page = page_of(content_of(history("devicePropertyHistories", 40, d35=None, d6=None, d5=None, d8=0, d15=30)))
    assert page.row("2024-02-04")[1:] == [
        "devicePropertyHistories",
        "Lost for good",
        "Nothing: no feed has them any more.",
    ]
    at_risk = page.row("2024-03-04 to 2024-03-05 2 days")
    assert at_risk[2] == "Can still be fetched"
    assert "The first is lost on 2024-04-04." in at_risk[3]
    assert "intune-dw backup ARCHIVE --from 2024-03-04 --to 2024-03-05" in at_risk[3]
    assert ["devicePropertyHistories", "No rows", "2024-03-02 1 day"] in page.rows
    assert ["devicePropertyHistories", "Few rows", "2024-02-24: 30, usual 100 1 day"] in page.rows


def test_upcoming_losses_are_sorted_by_the_day_of_loss() -> None:
    early, late = history("mamCheckins", 5), history("devicePropertyHistories", 5)
    late["gaps"]["next_loss"] = {"date_key": 20240311, "lost_on": "2024-05-11"}
    page = page_of(content_of(late, early))
    assert page.rows.index(["2024-04-11", "2024-03-11", "mamCheckins"]) < page.rows.index(
        ["2024-05-11", "2024-03-11", "devicePropertyHistories"]
    )


def test_a_run_that_did_not_happen_is_one_line() -> None:
    page = page_of(content_of(*(history(f"fact{n}", 20, d4=None) for n in range(13))))
    row = page.row("2024-03-06")
    assert row[1] == "all 13 daily collections"
    assert sum(r[0].startswith("2024-03-06") for r in page.rows if r) == 1


def test_an_open_step_has_the_portal_path_the_permission_and_the_command() -> None:
    charts = [
        chart("saved-one", "saved", files=[{"path": "charts/a.csv", "bytes": 2048, "sha256": "cd" * 32}]),
        chart("optional-one", "manual", optional=True, permission=None),
        chart("app status", "failed", reason="the job hung three times", status=403),
        chart("attached-one", "attached"),
    ]
    page = page_of(content_of(charts=charts))
    assert "2 of 4 saved" in page.text
    for told in (
        "the job hung three times (HTTP 403)",
        "Apps > Monitor > App protection status",
        "DeviceManagementApps.Read.All",
        "intune-dw backup ARCHIVE --attach FILE --as 'app status'",
        "intune-dw backup ARCHIVE --attach FILE --as optional-one",
        "charts/a.csv",
        "2.0 KiB, cdcdcdcdcdcd",
    ):
        assert told in page.text, told
    assert "--as saved-one" not in page.text
    assert "--as attached-one" not in page.text
    assert page.text.index("The app status chart") < page.text.index("The optional-one chart")
    assert page.text.count("Automatic with") == 1


def test_drift_is_listed() -> None:
    drift = {"reference": ["devices.primaryUser added"], "last_run": []}
    page = page_of(content_of(dimension(), drift=drift))
    assert "devices.primaryUser added" in page.text
    assert "Against the documentation: 1 difference" in page.text
    assert "Against the last run: no differences." in page.text
    assert "Not compared." in page_of(content_of()).text


def test_after_a_move_each_feed_has_its_own_section_and_old_days_cannot_be_fetched() -> None:
    old = history("devicePropertyHistories", 20, d4=None)
    new = {**history("devicePropertyHistories", 3), "feed": 2}
    page = page_of(content_of(old, new, feeds=["https://old.example/x", "https://new.example/y"]))
    assert page.text.index("https://old.example/x") < page.text.index("https://new.example/y")
    assert [t for t in page.of("h2") if t.startswith("Collections")] == [
        "Collections of feed 1",
        "Collections of feed 2",
    ]
    assert page.row("2024-03-06")[1:3] == ["devicePropertyHistories feed 1", "Lost for good"]
    losses = [row for row in page.rows if row and row[0] == "2024-04-11"]
    assert losses == [["2024-04-11", "2024-03-11", "devicePropertyHistories"]]


# -- the chart ------------------------------------------------------------------------------------------------


def test_a_bar_chart_has_a_bar_a_day_and_is_named_and_described() -> None:
    page = page_of(content_of(history("devicePropertyHistories", 10)))
    assert [shape.count("M") for shape in page.shapes("bar")] == [10]
    assert "Rows of devicePropertyHistories by day" in page.of("title")
    assert page.of("desc") == ["2024-03-01 to 2024-03-10: 100 to 100 rows a day, median 100."]
    label = next(value for tag, name, value in page.attributes if tag == "svg" and name == "aria-labelledby")
    assert set(label.split()) <= set(page.ids)
    assert ("svg", "role", "img") in page.attributes


def test_missing_empty_and_thin_days_have_marks_of_their_own_and_are_read_aloud() -> None:
    page = page_of(content_of(history("devicePropertyHistories", 30, d20=None, d19=None, d10=0, d5=20)))
    legend_free = {kind: page.shapes(kind) for kind in ("bar", "bar thin", "gap")}
    assert legend_free["bar"][0].count("M") == 26
    assert legend_free["bar thin"][0].count("M") == 1
    assert legend_free["gap"][0].count("M") == 1
    assert page.of("desc")[0].endswith("Missing: 2024-02-19 to 2024-02-20. No rows: 2024-02-29. Few rows: 2024-03-05.")


def test_days_that_failed_at_the_end_are_in_the_chart_too() -> None:
    held = history("devicePropertyHistories", 10, last=AS_OF - dt.timedelta(days=2))
    held["gaps"]["at_risk"] = [{"date_key": 20240310, "lost_on": "2024-04-10"}]
    assert "2024-02-28 to 2024-03-10" in page_of(content_of(held)).of("desc")[0]


def test_a_manifest_of_today_without_the_newer_fields_is_enough() -> None:
    held = history("devicePropertyHistories", 10, d3=None)
    for name in ("gaps", "feed", "retention_days"):
        del held[name]
    page = page_of(content_of(held))
    assert "Missing: 2024-03-07." in page.of("desc")[0]


@given(st.dictionaries(st.integers(-(10**9), 10**9), st.integers(0, 10**12), max_size=30))
def test_any_date_keys_and_rows_make_a_page_of_bounded_size(days: dict[int, int]) -> None:
    held = dimension("odd")
    held["slices"][0]["parts"] = [
        {"path": "x", "date_key": key, "rows": rows, "bytes": 1} for key, rows in days.items()
    ]
    assert len(render_report(content_of(held), SHA)) < 250_000
    page_of(content_of(held))


# -- the page -------------------------------------------------------------------------------------------------


EVIL = [
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "\u202egnp.exe\u2066",
    "a\x00b\x01\r\n\t\x7f\x85",
    "&amp;&lt;&#x3C;",
    "--><!--",
    "]]><![CDATA[",
    "</style><style>*{display:none}",
    "\ud800",
    "\u2028\u2029",
    "\ufeff\u200b",
    "\u0645\u0631\u062d\u0628\u0627",
    "x" * 5000,
]


def poisoned(value: Any, text: str, keep: tuple[str, ...] = ("state", "kind", "lost_on")) -> Any:
    """The same document with one text in place of every text."""
    if isinstance(value, dict):
        return {k: v if k in keep else poisoned(v, text) for k, v in value.items()}
    if isinstance(value, list):
        return [poisoned(v, text) for v in value]
    return text if isinstance(value, str) else value


def full() -> dict[str, Any]:
    held = history("devicePropertyHistories", 40, d35=None, d5=None, d8=0, d15=30)
    held |= {"state": "partial", "missing": [{"slice": "s", "reason": "r"}], "warnings": ["w"]}
    charts = [chart(state, state, files=[{"path": "p", "bytes": 1, "sha256": "s"}]) for state in ("saved", "manual")]
    drift = {"reference": ["a"], "last_run": ["b"]}
    return content_of(held, dimension(), {**dimension(), "feed": 2}, charts=charts, drift=drift, feeds=["u", "v"])


@pytest.mark.parametrize("text", EVIL)
@pytest.mark.parametrize("keep", [("state", "kind", "lost_on"), ()])
def test_nothing_that_the_service_says_becomes_markup(text: str, keep: tuple[str, ...]) -> None:
    plain, markup = page_of(full()), render_report(poisoned(full(), text, keep), text)
    page = Page(markup)
    assert {tag for tag, _, _ in page.attributes} == {tag for tag, _, _ in plain.attributes}
    markup.encode("utf-8")
    assert not re.search(
        "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]", markup
    )
    assert len(markup) < 150_000


def test_control_and_direction_characters_are_shown_by_their_number() -> None:
    page = page_of(content_of(dimension("a\x00b\u202ec")))
    assert "a[U+0000]b[U+202E]c" in page.text


def test_names_keep_their_direction_to_themselves() -> None:
    markup = render_report(content_of(dimension("\u0645\u0631")), SHA)
    assert "<bdi>\u0645\u0631</bdi>" in markup


def test_the_page_needs_no_network_and_no_script() -> None:
    markup = render_report(full(), SHA)
    assert "default-src &#x27;none&#x27;" in markup
    for word in ("<script", "<link", "<img", "@import", "url(", "@font-face", "javascript:"):
        assert word not in markup
    assert markup.startswith('<!DOCTYPE html>\n<html lang="en">')


def test_the_page_is_made_for_paper_and_small_screens() -> None:
    style = "".join(page_of(content_of()).of("style"))
    assert "size:A4" in style
    assert "table-header-group" in style
    assert "break-inside:avoid" in style
    assert "@media screen and (max-width" in style


def test_a_large_archive_stays_small() -> None:
    facts = [history(f"aCollectionWithQuiteALongName{n}", 400, 9000, d100=None, d200=0, d300=10) for n in range(13)]
    content = content_of(*facts, *(dimension(f"dimension{n}") for n in range(29)))
    page_of(content)
    assert len(render_report(content, SHA).encode()) < 500_000


def test_long_lists_are_cut_and_say_so() -> None:
    held = dimension()
    held["missing"] = [{"slice": f"slice {n}", "reason": "the same"} for n in range(500)]
    held["warnings"] = [f"warning {n}" for n in range(1000)]
    page = page_of(content_of(held, drift={"reference": [f"change {n}" for n in range(700)], "last_run": []}))
    assert "slice 11 and 488 more" in page.text
    assert "and 800 more: see manifest.json." in page.text
    assert "and 500 more" in page.text


def test_the_same_content_gives_the_same_page() -> None:
    content = full()
    before = copy.deepcopy(content)
    assert render_report(content, SHA) == render_report(json.loads(json.dumps(content, sort_keys=True)), SHA)
    assert content == before


def test_an_empty_content_is_a_page() -> None:
    page = page_of({})
    assert "0 collections, 0 rows, 0 files, 0 B" in page.text
    assert "! partial" in page.text
