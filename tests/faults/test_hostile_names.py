"""Names that the service chooses: nothing outside the target, no collision, and a manifest that says which is which."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import pyarrow.parquet as pq
import pytest
from harness import Cli, manifest, read_csv
from named_service import NamedService, serving

NAMES = [
    "..\\..\\x",
    "../../x",
    "/etc/x",
    "C:\\x",
    "\\\\host\\share\\x",
    "..",
    ".",
    "a:b",
    "a\x00b",
    "nul\x00.csv",
    "x" * 300,
    "x" * 300 + "y",
    "\u00e9" * 120,
    "CON",
    "con",
    "nul.txt",
    "COM1",
    "COM\u00b9",
    "dot.",
    "dot",
    "blank ",
    " blank",
    "devices",
    "Devices",
    "DEVICES",
    "stra\u00dfe",
    "STRASSE",
    "\u202egnp.exe",
    "\u0645\u0631\u062d\u0628\u0627",
    "caf\u00e9",
    "cafe\u0301",
    "\U0001f4bb\U0001f469\u200d\U0001f4bb",
    "\ud800",
    "manifest.json",
    "SHA256SUMS",
    ".intune-dw",
    "dateKey=20240115",
    "part.csv.partial",
    "-rf",
    "~root",
    "%2e%2e",
    "line\r\nbreak; DROP TABLE x; --",
    "\"quoted\", 'too'",
    "\x1b]0;title\x07\x1b[2J",
    "*?<>|",
    ".a",
    "[0]",
    "c\rr",
]
RESERVED = {"con", "prn", "aux", "nul", *(f"{p}{n}" for p in ("com", "lpt") for n in range(10))}
SPELLED = [name.replace("\ud800", "\\ud800") for name in NAMES]
"""The names as we write them: a lone surrogate, which no UTF-8 file can hold, is spelled out."""


def rows_of(number: int, name: str) -> list[dict[str, Any]]:
    """Two rows that say whose they are; every third collection has days; each has a few names of the corpus."""
    hostile = [NAMES[(number + step) % len(NAMES)] for step in (0, 1, 2, 22, 23)]
    day = {"dateKey": 20240115} if number % 3 == 0 else {}
    return [{"Id": i, **day, "whose": str(number), **{p: f"{p[:9]!a}-{i}" for p in hostile}} for i in (1, 2)]


@pytest.fixture(scope="module")
def service() -> Iterator[NamedService]:
    with serving({name: rows_of(number, name) for number, name in enumerate(NAMES)}) as running:
        yield running


@pytest.fixture(scope="module")
def kept(service: NamedService, home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An archive of each format, alone in a folder."""
    found = {}
    for form in ("csv", "parquet"):
        found[form] = tmp_path_factory.mktemp("names") / "a" / "b" / "A"
        Cli(home, found[form].parents[2], service.url)("backup", found[form], "-f", form).ok()
    return found


def require_safe(top: Path, target: Path) -> list[str]:
    """Nothing is beside the target, and every name in it is one that any file system takes and tells apart."""
    outside = [p for p in top.rglob("*") if target not in p.parents and p != target and p not in target.parents]
    assert outside == []
    inside = [p.relative_to(target).as_posix() for p in target.rglob("*")]
    for path in inside:
        for name in path.split("/"):
            assert re.fullmatch(r"[A-Za-z0-9_%~.=-]{1,160}", name), name
            assert name.partition(".")[0].lower() not in RESERVED
            assert not name.endswith((".", " "))
    assert len({unicodedata.normalize("NFC", path).casefold() for path in inside}) == len(inside)
    return inside


def whose(path: Path) -> tuple[set[str], int]:
    """Whose rows are in a file, and how many."""
    if path.suffix == ".parquet":
        column = pq.read_table(path, columns=["whose"], partitioning=None)["whose"].to_pylist()
    else:
        header, *lines = read_csv(path.read_bytes())
        column = [line[header.index("whose")] for line in lines]
    return set(column), len(column)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_an_archive_keeps_every_collection_apart_and_its_manifest_says_where(
    kept: dict[str, Path], cli: Cli, form: str
) -> None:
    root = kept[form]
    require_safe(root.parents[2], root)
    collections = manifest(root)["collections"]
    assert [c["name"] for c in collections] == SPELLED
    for number, collection in enumerate(collections):
        parts = [root / p["path"] for s in collection["slices"] for p in s["parts"]]
        assert [whose(path) for path in parts] == [({str(number)}, 2)], collection["name"]
        stem = collection["folder"].removeprefix("data/")
        assert "~" in stem or unquote(stem, errors="surrogatepass") == collection["name"]
        names = [c["name"] for c in collection["schemas"][0]["columns"]]
        assert names == [p for p in rows_of(number, NAMES[number])[0] if p != "\ud800"]
    said = cli("verify", root).ok()
    assert "sound and complete" in said.err


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_every_collection_of_an_archive_is_read_by_its_views(
    kept: dict[str, Path], monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    root = kept[form]
    script = (root / "views.sql").read_text("utf-8")
    monkeypatch.chdir(root)
    with duckdb.connect() as database:
        database.execute(script)
        views = database.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
        quoted = ['"' + name.replace('"', '""') + '"' for (name,) in views]
        found = [database.execute(f"SELECT min(whose), max(whose), count(*) FROM {v}").fetchall()[0] for v in quoted]
    assert sorted(found) == sorted((str(n), str(n), 2) for n in range(len(NAMES)))


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("layout", [(), ("--partition",)], ids=["files", "days"])
def test_a_pull_to_a_folder_keeps_every_collection_apart(
    service: NamedService, home: Path, tmp_path: Path, layout: tuple[str, ...], form: str
) -> None:
    target = tmp_path / "a" / "b" / "out"
    target.mkdir(parents=True)
    said = (
        Cli(home, tmp_path, service.url)("pull", "--all", "-o", f"{target}/", *layout, "-f", form, "--json").ok().json
    )
    require_safe(tmp_path, target)
    files = [p for p in target.rglob("*") if p.is_file()]
    assert sorted(whose(path)[0].pop() for path in files) == sorted(str(n) for n in range(len(NAMES)))
    assert all(whose(path) == ({*whose(path)[0]}, 2) for path in files)
    assert {c["name"]: c["rows"] for c in said["collections"]} == dict.fromkeys(SPELLED, 2)


def test_a_twin_in_case_that_comes_later_takes_no_folder_that_is_held(home: Path, tmp_path: Path) -> None:
    """The service may list the newcomer first; where case counts for nothing, both names are one folder."""
    devices, newcomer = rows_of(1, "devices"), rows_of(2, "Devices")
    root = tmp_path / "A"
    with serving({"devices": devices}) as service:
        Cli(home, tmp_path, service.url)("backup", root, "-f", "csv").ok()
        service.data = {"Devices": newcomer, "devices": devices}
        Cli(home, tmp_path, service.url)("backup", root, "-f", "csv").ok()
    require_safe(tmp_path, root)
    held = {c["name"]: c for c in manifest(root)["collections"]}
    assert held["devices"]["folder"] == "data/devices"
    for name, number in (("devices", "1"), ("Devices", "2")):
        (part,) = (p for s in held[name]["slices"] for p in s["parts"])
        assert part["path"].startswith(held[name]["folder"] + "/")
        assert whose(root / part["path"]) == ({number}, 2)
    Cli(home, tmp_path)("verify", root).ok()


@pytest.mark.parametrize("name", ["devices", "Devices", "DEVICES"])
def test_a_name_that_is_spelled_exactly_means_that_collection(
    service: NamedService, home: Path, tmp_path: Path, name: str
) -> None:
    Cli(home, tmp_path, service.url)("pull", name).ok()
    (path,) = tmp_path.glob("*.csv")
    assert whose(path) == ({str(NAMES.index(name))}, 2)


def test_a_collection_that_nothing_is_known_of_hides_no_other_and_loses_no_row(home: Path, tmp_path: Path) -> None:
    """It is in no $metadata, and the page that would tell its properties is refused once."""
    data = {"a\x00b": rows_of(1, "a\x00b"), "devices": [{"Id": 1, "whose": "2"}]}
    with serving(data, b'{"error": {"code": "BadRequest", "message": "not now"}}') as service:
        service.refusals = 1
        said = Cli(home, tmp_path, service.url)("backup", "A", "-f", "csv").ok()
    assert "its first page cannot be read" in said.err, said.err
    held = {c["name"]: c for c in manifest(tmp_path / "A")["collections"]}
    assert (held["a\x00b"]["rows"], held["devices"]["rows"]) == (2, 1)
    (part,) = (p for s in held["a\x00b"]["slices"] for p in s["parts"])
    header, *lines = read_csv((tmp_path / "A" / part["path"]).read_bytes())
    assert header == ["_additional"]
    assert [json.loads(line[0]) for line in lines] == rows_of(1, "a\x00b")
    Cli(home, tmp_path)("verify", "A").ok()
