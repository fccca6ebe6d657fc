"""Verify finds each kind of damage and names the file; it raises no false alarm."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import SEED, STATE, Cli, SandboxProcess, by_name, tree

from intune_dw_cli.archive.sealed import content_sha256

Ruin = Callable[[Path], object]


CHOICE = ("--only", "device*", "--only", "ownerTypes", "--from", "-8d")


@pytest.fixture(scope="module")
def sound_archives(home: Path, sandbox: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished archive of each kind of file; not to be changed."""
    folder = tmp_path_factory.mktemp("sound")
    forms = {"csv": ("csv",), "gzip": ("csv", "--compression", "gzip"), "parquet": ("parquet",)}
    for name, form in forms.items():
        Cli(home, folder, sandbox.url)("backup", name, *CHOICE, "-f", *form).ok()
    return {name: folder / name for name in forms}


@pytest.fixture
def copy(sound_archives: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a finished archive in CSV, to be damaged."""
    return shutil.copytree(sound_archives["csv"], tmp_path / "A")


@pytest.fixture(params=["csv", "gzip", "parquet"])
def any_copy(request: pytest.FixtureRequest, sound_archives: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a finished archive of each kind of file, to be damaged."""
    return shutil.copytree(sound_archives[request.param], tmp_path / "A")


def parts(root: Path) -> list[Path]:
    """The parts of a fact that hold rows."""
    records = by_name(root)["devicePropertyHistories"]["slices"]
    return [root / p["path"] for s in records for p in s["parts"] if p["rows"]]


def targets(root: Path) -> dict[str, Path]:
    """A file of each kind."""
    dimension = next((root / "data" / "devices").iterdir())
    names = ("manifest.json", "SHA256SUMS", "metadata.xml", "service.json")
    return {name: root / name for name in names} | {"part": parts(root)[2], "dimension": dimension}


def flip(path: Path, place: int | None = None) -> None:
    data = bytearray(path.read_bytes())
    place = len(data) // 2 if place is None else place
    data[place] ^= 0x10
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def link(path: Path) -> None:
    elsewhere = path.parent.parent.parent.parent / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


RUINS: dict[str, Ruin] = {
    "flip": flip,
    "truncate": truncate,
    "grow": grow,
    "empty": empty,
    "delete": Path.unlink,
    "rename": lambda path: path.rename(path.with_name("renamed" + path.suffix)),
}


@pytest.mark.parametrize("ruin", RUINS)
def test_damage_of_each_kind_to_a_file_of_each_kind_is_found_and_named(
    sound_archives: dict[str, Path], tmp_path: Path, lone_cli: Cli, ruin: str
) -> None:
    # A ruined manifest or list of hashes hides what else is ruined: each of them alone, the rest together.
    for kinds in (["manifest.json"], ["SHA256SUMS"], ["metadata.xml", "service.json", "part", "dimension"]):
        root = shutil.copytree(sound_archives["csv"], tmp_path / kinds[0])
        paths = [targets(root)[kind] for kind in kinds]
        for path in paths:
            RUINS[ruin](path)
        said = lone_cli("verify", root).ok(5)
        assert all(path.relative_to(root).as_posix() in said.out for path in paths), said.out
        assert "damaged" in said.err


@pytest.mark.parametrize("number", range(5))
def test_any_flipped_bit_is_found_and_named(any_copy: Path, lone_cli: Cli, number: int) -> None:
    chance = random.Random(SEED + number)
    files = sorted(set(tree(any_copy)) - {"manifest.json", "SHA256SUMS"})
    chosen = [any_copy / path for path in chance.sample(files, 3)]
    for path in chosen:
        flip(path, chance.randrange(path.stat().st_size))
    said = lone_cli("verify", any_copy).ok(5)
    assert all(f"{path.relative_to(any_copy).as_posix()}: " in said.out for path in chosen), said.out
    assert len(said.out.splitlines()) == 3


@pytest.mark.parametrize("name", ["manifest.json", "SHA256SUMS"])
def test_any_flipped_bit_of_the_inventory_is_found_and_named(copy: Path, lone_cli: Cli, name: str) -> None:
    chance = random.Random(SEED)
    whole = (copy / name).read_bytes()
    for _ in range(4):
        flip(copy / name, chance.randrange(len(whole)))
        assert name in lone_cli("verify", copy).ok(5).out
        (copy / name).write_bytes(whole)


def test_two_exchanged_parts_are_both_named(any_copy: Path, lone_cli: Cli) -> None:
    one, two = parts(any_copy)[1:3]
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    said = lone_cli("verify", any_copy).ok(5)
    assert one.relative_to(any_copy).as_posix() in said.out
    assert two.relative_to(any_copy).as_posix() in said.out


def test_files_too_many_are_named(copy: Path, lone_cli: Cli) -> None:
    extra = ["notes.txt", "data/devices/more.csv", "data/new/dateKey=20240115/part.csv"]
    for path in extra:
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        (copy / path).write_text("x")
    said = lone_cli("verify", copy).ok(5)
    assert all(path in said.out for path in extra)


def test_a_file_that_is_a_link_now_is_named(copy: Path, lone_cli: Cli) -> None:
    path = targets(copy)["part"]
    link(path)
    assert path.relative_to(copy).as_posix() in lone_cli("verify", copy).ok(5).out


def test_several_findings_each_have_a_line_and_json_tells_the_same(copy: Path, lone_cli: Cli) -> None:
    kinds = targets(copy)
    flip(kinds["part"])
    kinds["dimension"].unlink()
    (copy / "extra").write_text("x")
    lines = lone_cli("verify", copy).ok(5).out.splitlines()
    document = lone_cli("verify", copy, "--json").ok(5).json
    paths = [kinds["part"].relative_to(copy).as_posix(), kinds["dimension"].relative_to(copy).as_posix(), "extra"]
    assert len(lines) == 3
    assert all(sum(line.startswith(path + ":") for line in lines) == 1 for path in paths)
    assert document["state"] == "damaged"
    assert sorted(f["path"] for f in document["findings"]) == sorted(paths)


@pytest.mark.parametrize(
    "lie",
    ["part rows", "slice rows", "collection rows", "first key", "day", "days", "duplicates", "column", "state"],
)
def test_a_manifest_that_lies_with_true_hashes_is_caught(copy: Path, lone_cli: Cli, lie: str) -> None:
    content = json.loads((copy / "manifest.json").read_text("utf-8"))["content"]
    collection = next(c for c in content["collections"] if c["name"] == "devicePropertyHistories")
    record = next(s for s in collection["slices"] if s["rows"])
    part = record["parts"][0]
    tell(lie, content, collection, record, part)
    rewrite(copy, content)
    said = lone_cli("verify", copy).ok(5)
    assert "manifest.json" in said.out or part["path"] in said.out


def tell(lie: str, content: Any, collection: Any, record: Any, part: Any) -> None:
    """Put a lie into a manifest, as consistently as one can."""
    match lie:
        case "part rows":
            part["rows"] += 1
            record["rows"] += 1
            collection["rows"] += 1
        case "slice rows":
            record["rows"] += 1
        case "collection rows":
            collection["rows"] += 1
        case "first key":
            part["first_key"][1] += 1
        case "day":
            part["date_key"] += 1
        case "days":
            collection["days"]["last"] += 1
        case "duplicates":
            record["duplicates"] = 1
        case "column":
            collection["schemas"][record["schema"]]["columns"][2]["name"] = "invented"
        case "state":
            content["state"] = "partial"


def rewrite(root: Path, content: dict[str, Any]) -> None:
    """Write a manifest with true hashes, and SHA256SUMS to match."""
    document = {"content_sha256": content_sha256(content), "content": content}
    text = (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()
    (root / "manifest.json").write_bytes(text)
    lines = (root / "SHA256SUMS").read_text("utf-8").splitlines(keepends=True)
    mine = f"{hashlib.sha256(text).hexdigest()}  manifest.json\n"
    (root / "SHA256SUMS").write_text("".join(mine if line.endswith("  manifest.json\n") else line for line in lines))


def test_a_manifest_may_not_point_out_of_the_archive(copy: Path, lone_cli: Cli) -> None:
    content = json.loads((copy / "manifest.json").read_text("utf-8"))["content"]
    collection = next(c for c in content["collections"] if c["name"] == "devices")
    collection["slices"][0]["parts"][0]["path"] = "../outside.csv"
    rewrite(copy, content)
    assert "out of the archive" in lone_cli("verify", copy).ok(5).out


def test_rewriting_a_true_manifest_raises_no_alarm(copy: Path, lone_cli: Cli) -> None:
    """The tests of lies above change one thing alone."""
    rewrite(copy, json.loads((copy / "manifest.json").read_text("utf-8"))["content"])
    lone_cli("verify", copy).ok()


def test_a_sound_archive_is_called_sound_and_is_not_changed(archive: Path, lone_cli: Cli) -> None:
    before = tree(archive, state=True)
    assert "sound and complete" in lone_cli("verify", archive).ok().err
    lone_cli("verify", archive, "--quick").ok()
    assert lone_cli("verify", archive, "-q").ok().err == ""
    assert tree(archive, state=True) == before


def test_a_copy_without_the_working_folder_is_sound_too(copy: Path, lone_cli: Cli) -> None:
    shutil.rmtree(copy / STATE)
    lone_cli("verify", copy).ok()


@pytest.mark.parametrize("form", [("csv",), ("csv", "--compression", "zstd"), ("parquet",)])
def test_hostile_data_raise_no_false_alarm(hostile: SandboxProcess, lone_cli: Cli, form: tuple[str, ...]) -> None:
    lone_cli("backup", "A", "-f", *form, env={"INTUNE_DW_URL": hostile.url}).ok()
    lone_cli("verify", "A").ok()


def test_quick_sees_what_is_missing_or_of_another_size_but_reads_nothing(copy: Path, lone_cli: Cli) -> None:
    kinds = targets(copy)
    flip(kinds["dimension"])
    lone_cli("verify", copy, "--quick").ok()
    truncate(kinds["part"])
    assert kinds["part"].relative_to(copy).as_posix() in lone_cli("verify", copy, "--quick").ok(5).out
