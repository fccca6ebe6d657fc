from __future__ import annotations

import base64
import csv
import io
import json

import pytest

from intune_dw_cli.archive.chart_files import RawRows, Section, Stage, report_content, sniffed_suffix, sweep
from intune_dw_cli.service.graph import GraphPage

SAMPLE = "content Intune Doc Sample 1561970665"


def wrapped(content, *, outer=True):
    report = {"@odata.type": "microsoft.graph.report", "content": content}
    return json.dumps({"value": report} if outer else report).encode()


@pytest.mark.parametrize("outer", [True, False])
def test_the_documented_example_decodes(outer):
    encoded = base64.b64encode(SAMPLE.encode()).decode()
    assert report_content(wrapped(encoded, outer=outer)) == SAMPLE.encode()
    assert report_content(wrapped(encoded.rstrip("="), outer=outer)) == SAMPLE.encode()


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "not base64!", "\u00e4"])
def test_content_that_is_no_base64_stays_text(text):
    assert report_content(wrapped(text)) == text.encode()


def test_null_content_is_an_empty_report():
    assert report_content(wrapped(None)) == b""


@pytest.mark.parametrize(
    "body", [b"a,b\n1,2\n", b'{"value":[{"content":"YQ=="}]}', b'{"content":5}', b"[1]", b"\xff\x00"]
)
def test_whatever_is_no_report_object_is_the_report_itself(body):
    assert report_content(body) == body


@pytest.mark.parametrize(
    ("content", "suffix"),
    [
        (b"a,b\n", "csv"),
        (b"", "csv"),
        (b' \n{"a":1}', "json"),
        (b"\xef\xbb\xbf[1]", "json"),
        ("\ufeff[1]".encode("utf-16-le"), "json"),
        ("\ufeffa,b".encode("utf-16-be"), "csv"),
        (b"\xff\xfe\x00\xd8", "csv"),
    ],
)
def test_suffixes_are_sniffed(content, suffix):
    assert sniffed_suffix(content) == suffix


def rows_of(stage, pages, columns=()):
    section = Section(dict.fromkeys(columns))
    raw = RawRows(stage.open("raw.json"))
    raw.literal('{"value":[')
    for page in pages:
        text = ",".join(json.dumps(row) for row in page).encode()
        raw.page(GraphPage(text, page, None), section)
    raw.literal("]}")
    stage.finish("raw.json")
    raw.to_csv(section, stage.open("report.csv"))
    stage.commit(lambda _paths: None)


def test_rows_of_all_pages_make_one_document_and_one_csv(tmp_path):
    pages = [
        [{"id": "1", "@odata.type": "#x", "b": True}, {"id": "2", "n": None, "t": ""}],
        [],
        [{"id": "3,\n", "late": 1.5, "nested": {"a": ["ä", '"']}}],
    ]
    rows_of(Stage(tmp_path, "item"), pages, ("id", "t"))
    folder = tmp_path / "charts" / "item"
    assert json.loads((folder / "raw.json").read_bytes())["value"] == [row for page in pages for row in page]
    text = (folder / "report.csv").read_bytes().decode()
    assert text.splitlines()[0] == "id,t,b,n,late,nested"
    read = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [r["id"] for r in read] == ["1", "2", "3,\n"]
    assert read[0]["b"] == "true"
    assert read[2]["late"] == "1.5"
    assert json.loads(read[2]["nested"]) == {"a": ["ä", '"']}
    assert '\n2,"",,,,\n' in text  # empty text is told from null


def test_no_rows_give_the_documented_header(tmp_path):
    rows_of(Stage(tmp_path, "item"), [], ("id", "name"))
    assert (tmp_path / "charts/item/report.csv").read_text() == "id,name\n"


def test_files_are_private_and_nothing_is_real_before_commit(tmp_path):
    stage = Stage(tmp_path, "item")
    stage.write("raw.bin", b"x")
    assert [p.name for p in stage.folder.iterdir()] == ["raw.bin.partial"]
    stage.commit(lambda _paths: None)
    path = stage.folder / "raw.bin"
    assert path.stat().st_mode & 0o777 == 0o600
    assert stage.folder.stat().st_mode & 0o777 == 0o700


def test_discard_leaves_what_was_there(tmp_path):
    first = Stage(tmp_path, "item")
    first.write("report.csv", b"old")
    first.commit(lambda _paths: None)
    second = Stage(tmp_path, "item")
    second.write("report.csv", b"new")
    second.discard()
    assert [(p.name, p.read_bytes()) for p in second.folder.iterdir()] == [("report.csv", b"old")]


def test_commit_announces_and_removes_what_it_replaces_but_not_what_was_attached(tmp_path):
    first = Stage(tmp_path, "item")
    first.write("raw.json", b"{}")
    first.write("report.json", b"{}")
    first.commit(lambda _paths: None)
    person = Stage(tmp_path, "item")
    person.write("attached.csv", b"x")
    person.commit(lambda _paths: None, attached=True)
    told: list[str] = []
    second = Stage(tmp_path, "item")
    second.write("report.json", b"[]")
    second.commit(told.extend)
    assert told == ["charts/item/raw.json", "charts/item/report.json"]
    assert sorted(p.name for p in second.folder.iterdir()) == ["attached.csv", "report.json"]


def test_sweep_removes_what_no_record_names(tmp_path):
    for name in ("charts/a/report.csv", "charts/a/raw.json.partial", "charts/b/report.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    sweep(tmp_path, {"charts/a/report.csv"})
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()] == ["charts/a/report.csv"]
    assert not (tmp_path / "charts/b").exists()
