"""Names that the service chooses never choose where we write."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intune_dw_cli.export.names import file_stems, trouble_on_windows

RESERVED = {"con", "prn", "aux", "nul", "conin$", "conout$", *(f"{p}{n}" for p in ("com", "lpt") for n in range(10))}
HOSTILE = [
    "..",
    ".",
    "",
    "../../etc/passwd",
    "..\\..\\windows",
    "C:\\x",
    "/abs",
    "a/b",
    "CON",
    "con",
    "Con.txt",
    "nul",
    "COM1",
    "lpt9.csv",
    "name.",
    "name ",
    " name",
    "~root",
    "-rf",
    "a\0b",
    "a\nb",
    "x" * 300,
    "é" * 80,
    "\u202egnp.exe",
    "a:stream",
    "*?<>|",
    "%2e%2e",
    "\ud800",
    "devices",
    "Devices",
    "DEVICES",
    "straße",
    "STRASSE",
]
names = st.text(st.characters(exclude_categories=()), max_size=150) | st.sampled_from(HOSTILE)


@given(st.lists(names, unique=True, max_size=12))
def test_no_name_leaves_its_folder_meets_another_or_breaks_a_file_system(given_names: list[str]) -> None:
    stems = file_stems(given_names)
    assert list(stems) == given_names
    for stem in stems.values():
        assert re.fullmatch(r"[A-Za-z0-9_%~-]{1,113}", stem)
        assert stem.partition("~")[0].lower() not in RESERVED or "~" in stem
        assert stem.lower() not in RESERVED
    folded = {unicodedata.normalize("NFKD", stem).casefold() for stem in stems.values()}
    assert len(folded) == len(given_names)


@given(names)
def test_a_name_that_needs_no_hash_can_be_read_back(name: str) -> None:
    (stem,) = file_stems([name]).values()
    if "~" not in stem:
        assert unquote(stem, errors="surrogatepass") == name
    if re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name) and name.lower() not in RESERVED:
        assert stem == name


@given(st.lists(names, unique=True, max_size=6))
def test_the_same_names_give_the_same_stems(given_names: list[str]) -> None:
    assert file_stems(given_names) == file_stems(given_names)


@pytest.mark.parametrize("name", ["CON", "nul", "Com7", "", "x" * 101])
def test_a_name_that_no_disk_takes_is_told_by_a_hash(name: str) -> None:
    (stem,) = file_stems([name]).values()
    assert re.fullmatch(r".{0,100}~[0-9a-f]{12}", stem)


def test_names_that_differ_in_case_only_stay_apart_and_the_first_keeps_its_own() -> None:
    stems = file_stems(["devices", "Devices", "DEVICES"])
    assert stems["devices"] == "devices"
    assert stems["Devices"].startswith("Devices~")
    assert len({s.casefold() for s in stems.values()}) == 3


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nul.csv", "device NUL"),
        ("export\\CON", "device CON"),
        ("D:\\x\\com1.tar.gz", "device COM1"),
        ("C:devices.csv", "present folder of drive C:"),
        ("C:", "present folder of drive C:"),
        ("out:devices.csv", "':'"),
        ("D:\\x\\what?.csv", "'?'"),
        ("D:\\x\\a\nb.csv", "'\\n'"),
        ("D:\\archive.", "blank or a dot"),
        ("D:\\archive \\devices.csv", "blank or a dot"),
    ],
)
def test_paths_that_go_elsewhere_on_windows_are_told(path: str, words: str) -> None:
    assert words in str(trouble_on_windows(path))


@pytest.mark.parametrize(
    "path",
    ["devices.csv", ".", "..\\x", "export/", "D:\\intune", "D:/intune/x.parquet",
     "\\\\server\\share\\x", "\\\\?\\D:\\x",
     "console.csv", "D:\\.intune-dw\\x", "com10.csv"],
)  # fmt: skip
def test_ordinary_paths_are_fit_for_windows(path: str) -> None:
    assert trouble_on_windows(path) is None
