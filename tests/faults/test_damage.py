"""Verify finds every damage to every kind of file, and calls no sound archive damaged."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from archives import FACT, SMALL, SOURCE, TODAY, back_up
from harness import STATE, Cli
from named_service import Instant, serving

from intune_dw_cli.archive.sealed import content_sha256
from intune_dw_cli.archive.verify import VerifyResult, verify
from intune_dw_cli.data.datekey import DateKeyRange, from_date_key
from intune_dw_cli.data.formats import FileFormat
from intune_dw_cli.sandbox import Sandbox, ServerConfig, TenantConfig

FLIPS = 200
CLEAN = 100
FORMATS = {
    "csv": FileFormat("csv"),
    "gzip": FileFormat("csv", "gzip"),
    "zstd": FileFormat("csv", "zstd"),
    "parquet": FileFormat("parquet"),
}
LAST_DAYS = DateKeyRange(from_date_key(20240129), None)
CODECS = [*(FileFormat("csv", c) for c in (None, "gzip", "zstd"))]
CODECS += [FileFormat("parquet", c) for c in (None, "gzip", "snappy", "none")]
KINDS: dict[str, str] = {
    "manifest": "manifest.json",
    "hashes": "SHA256SUMS",
    "fact": f"data/{FACT}/dateKey=*/part.*",
    "dimension": "data/devices/devices.*",
    "lookup": "data/ownerTypes/ownerTypes.*",
    "dated copy": "history/*/asOf=*/part.*",
    "chart": "charts/*/*.csv",
    "raw chart": "charts/*/raw.*",
    "report": "report.html",
    "views": "views.sql",
    "$metadata": "metadata.xml",
    "service document": "service.json",
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(TenantConfig(today=TODAY, devices=20, days=3), ServerConfig(page_size=50)) as running:
        yield running


@pytest.fixture(scope="module")
def archives(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An archive of each kind of file with all that an archive can hold, sound before and after each test."""
    folder = tmp_path_factory.mktemp("archives")
    for name, form in FORMATS.items():
        back_up(folder / name, sandbox, format=form, charts=True, keep_dimensions=True)
    return {name: folder / name for name in FORMATS}


def files_of(root: Path) -> dict[str, list[Path]]:
    """The files of each kind; together they are all files of the archive."""
    found = {kind: sorted(root.glob(pattern)) for kind, pattern in KINDS.items()}
    held = {p for p in root.rglob("*") if p.is_file() and STATE not in p.relative_to(root).parts}
    assert {p for paths in found.values() for p in paths} == held
    assert all(found.values())
    return found


def named(result: VerifyResult, root: Path, path: Path) -> bool:
    """Whether damage was found in a file. The hashes and what they are of blame each other."""
    name = path.relative_to(root).as_posix()
    blamed = {finding.path for finding in result.findings}
    return (
        name in blamed
        or (name == "SHA256SUMS" and bool(blamed & {"report.html", "views.sql"}))
        or (name == "manifest.json" and "SHA256SUMS" in blamed)
    )


@pytest.mark.parametrize("form", FORMATS)
def test_each_flipped_byte_in_each_kind_of_file_is_found(
    archives: dict[str, Path], rng: random.Random, is_long: bool, form: str
) -> None:
    root = archives[form]
    files = files_of(root)
    tried = FLIPS // len(FORMATS) * (10 if is_long else 1)
    for number in range(tried):
        path = rng.choice(files[list(KINDS)[number % len(KINDS)]])
        sound = path.read_bytes()
        place, other = rng.randrange(len(sound)), rng.randrange(1, 256)
        path.write_bytes(sound[:place] + bytes([sound[place] ^ other]) + sound[place + 1 :])
        result = verify(root)
        path.write_bytes(sound)
        assert named(result, root, path), (path, place, sound[place], other, result)
    assert verify(root).findings == ()


def delete(path: Path, _other: Path) -> None:
    path.unlink()


def add(path: Path, _other: Path) -> None:
    shutil.copy(path, path.with_name(f"new-{path.name}"))


def swap(path: Path, other: Path) -> None:
    mine, theirs = path.read_bytes(), other.read_bytes()
    assert mine != theirs
    path.write_bytes(theirs)
    other.write_bytes(mine)


def truncate(path: Path, _other: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def grow(path: Path, _other: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def rename(path: Path, _other: Path) -> None:
    path.rename(path.with_name(path.name.swapcase()))


RUINS: dict[str, Callable[[Path, Path], None]] = {
    "deletion": delete,
    "addition": add,
    "swap": swap,
    "truncation": truncate,
    "growth": grow,
    "rename": rename,
}


@pytest.mark.parametrize("ruin", RUINS)
@pytest.mark.parametrize("form", ["gzip", "parquet"])
def test_each_deletion_addition_swap_truncation_and_rename_is_found(
    archives: dict[str, Path], tmp_path: Path, form: str, ruin: str
) -> None:
    for kind in KINDS:
        root = shutil.copytree(archives[form], tmp_path / kind.replace(" ", "-"))
        files = files_of(root)
        path = files[kind][-1]
        other = files["fact" if kind != "fact" else "dimension"][0]
        RUINS[ruin](path, other)
        result = verify(root)
        blamed = {finding.path for finding in result.findings}
        if ruin == "addition":
            assert path.with_name(f"new-{path.name}").relative_to(root).as_posix() in blamed, kind
        else:
            assert named(result, root, path), (kind, result)
        if ruin == "swap" and kind != "manifest":
            assert other.relative_to(root).as_posix() in blamed


def rewrite(root: Path, content: dict[str, Any]) -> None:
    """Write a manifest with true hashes, and SHA256SUMS to match."""
    document = {"content_sha256": content_sha256(content), "content": content}
    text = (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()
    (root / "manifest.json").write_bytes(text)
    lines = (root / "SHA256SUMS").read_text("utf-8").splitlines(keepends=True)
    mine = f"{hashlib.sha256(text).hexdigest()}  manifest.json\n"
    (root / "SHA256SUMS").write_text("".join(mine if line.endswith("  manifest.json\n") else line for line in lines))


@pytest.mark.parametrize("lie", [1, -1, 1000])
@pytest.mark.parametrize("form", FORMATS)
def test_a_row_count_that_lies_while_the_hashes_are_right_is_caught_by_the_contents(
    archives: dict[str, Path], tmp_path: Path, form: str, lie: int
) -> None:
    root = shutil.copytree(archives[form], tmp_path / "A")
    sound = json.loads((root / "manifest.json").read_text("utf-8"))["content"]
    rewrite(root, sound)
    assert verify(root).findings == ()
    for number, collection in enumerate(sound["collections"]):
        content = json.loads(json.dumps(sound))
        lying = content["collections"][number]
        record = next(s for s in lying["slices"] if s["rows"])
        for counted in (record["parts"][0], record, lying):
            counted["rows"] += lie
        rewrite(root, content)
        (finding,) = verify(root).findings
        assert (finding.stage, finding.path) == ("contents", record["parts"][0]["path"]), collection["name"]
        if lying["snapshots"]:
            content = json.loads(json.dumps(sound))
            copy = content["collections"][number]["snapshots"][0]
            copy["rows"] += lie
            rewrite(root, content)
            (finding,) = verify(root).findings
            assert (finding.stage, finding.path) == ("contents", copy["path"]), collection["name"]


def test_no_sound_archive_is_called_damaged(rng: random.Random, is_long: bool, tmp_path: Path) -> None:
    count = 0
    while count < CLEAN * (10 if is_long else 1):
        tenant = TenantConfig(
            seed=rng.randrange(1000),
            today=TODAY,
            devices=rng.choice([1, 3, 20]),
            days=rng.choice([1, 2, 4]),
            hostile=rng.random() < 0.5,
        )
        server = ServerConfig(page_size=rng.choice([1, 7, 1000]), int64_as_string=rng.random() < 0.3)
        with Sandbox(tenant, server) as sandbox:
            for _ in range(5):
                count += 1
                root = tmp_path / f"A{count}"
                options: dict[str, Any] = {
                    "format": rng.choice(CODECS),
                    "only": rng.choice([SMALL, (FACT,), ("devices", "users"), ("dates", "ownerTypes"), ("*Types",)]),
                    "bounds": rng.choice([DateKeyRange(), *[LAST_DAYS] * 2, *[DateKeyRange.day(TODAY)] * 5]),
                    "keep_dimensions": rng.random() < 0.5,
                    "charts": rng.random() < 0.1,
                    "workers": rng.choice([1, 4]),
                }
                back_up(root, sandbox, **options)
                if rng.random() < 0.3:
                    back_up(root, sandbox, **options, source=rng.choice([SOURCE, SOURCE + "/moved"]), moved=True)
                result = verify(root)
                assert (result.state, result.findings) == ("complete", ()), (tenant, server, options)
                shutil.rmtree(root)


@pytest.mark.parametrize(("sound", "changed"), [(b"\n  ", b"\n\t "), (b"\n  ", b"\n \n"), (b'":', b'": ')])
def test_a_blank_of_the_manifest_that_is_another_blank_now_is_found(
    archives: dict[str, Path], tmp_path: Path, sound: bytes, changed: bytes
) -> None:
    """It says the same and its content has the same hash; the file is another."""
    root = shutil.copytree(archives["csv"], tmp_path / "A")
    text = (root / "manifest.json").read_bytes()
    (root / "manifest.json").write_bytes(text.replace(sound, changed, 1))
    assert json.loads(text) == json.loads((root / "manifest.json").read_bytes())
    assert named(verify(root), root, root / "manifest.json")


@pytest.mark.parametrize(("form", "repeated"), [("csv", 0), ("parquet", 1)])
def test_one_instant_in_two_spellings_is_no_damage(home: Path, tmp_path: Path, form: str, repeated: int) -> None:
    """Two keys as text, one as a timestamp: the backup counts as the recount does."""
    keys = [Instant("2024-01-15T08:30:00Z"), Instant("2024-01-15T08:30:00+00:00")]
    with serving({"devices": [{"Id": key} for key in keys]}) as service:
        Cli(home, tmp_path, service.url)("backup", "A", "-f", form).ok()
    (held,) = json.loads((tmp_path / "A" / "manifest.json").read_bytes())["content"]["collections"]
    assert [record["duplicates"] for record in held["slices"]] == [repeated]
    Cli(home, tmp_path)("verify", "A").ok()
