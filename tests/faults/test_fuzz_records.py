"""Damaged journals and manifests: what stands before the damage, or a typed error; never what was not written."""

from __future__ import annotations

import copy
import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archives import FACT, TODAY, back_up
from mutation import CASES, LONG_CASES, mutated

from intune_dw_cli.archive.journal import encode_line, read_journal, whole_lines
from intune_dw_cli.archive.manifest import encode_sums, read_manifest
from intune_dw_cli.archive.sealed import content_sha256
from intune_dw_cli.archive.status import archive_status
from intune_dw_cli.archive.verify import verify
from intune_dw_cli.data.datekey import DateKeyRange, from_date_key
from intune_dw_cli.errors import ArchiveError
from intune_dw_cli.export.files import PARTIAL
from intune_dw_cli.sandbox import Fault, Sandbox, ServerConfig, TenantConfig

ODD: list[Any] = [None, True, False, 0, -1, 1.5, 2**70, "", "x", "\ud800", "../x", "2024-13-01", "9999-12-31", [], {}]
ODD += [[None], {"a": 1}, [[]], "0001-01-01", 20240230, 99991231, float("nan"), float("-inf")]


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A partial archive: it has a manifest and a journal, with slices, charts and what was about to be replaced."""
    root = tmp_path_factory.mktemp("unfinished") / "A"
    tenant = TenantConfig(today=TODAY, devices=3, days=2)
    with Sandbox(tenant, ServerConfig()) as sandbox:
        options: dict[str, Any] = {"bounds": DateKeyRange(from_date_key(20240130)), "keep_dimensions": True}
        options["only"] = ("ownerTypes", FACT)
        back_up(root, sandbox, charts=True, **options)
        sandbox.add_fault(Fault(kind="403", collection=FACT, page=1, times=1))
        back_up(root, sandbox, charts=True, **options)
    assert (root / ".intune-dw" / "journal.jsonl").is_file()
    return root


@pytest.fixture(scope="module")
def journal(unfinished: Path) -> bytes:
    """Its journal, with but two charts: most of it would be alike."""
    lines = (unfinished / ".intune-dw" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    charts = [line for line in lines if b'"type":"chart"' in line]
    return b"".join(line for line in lines if line not in charts[2:])


@pytest.fixture(scope="module")
def content(unfinished: Path) -> dict[str, Any]:
    """The content of its manifest, cut short where most of it would be alike."""
    found: dict[str, Any] = json.loads((unfinished / "manifest.json").read_bytes())["content"]
    found["charts"] = found["charts"][:2]
    found["drift"] = {name: texts[:2] for name, texts in found["drift"].items()}
    for collection in found["collections"]:
        for schema in collection["schemas"]:
            kept = {*schema["key"], schema["date_key"]}
            schema["columns"] = [c for n, c in enumerate(schema["columns"]) if n < 2 or c["name"] in kept]
    return found


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


def distorted(value: Any, rng: random.Random) -> Any:
    """The value with one or two of its parts replaced, removed, doubled or exchanged."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice([1, 1, 2])):
        container, key = rng.choice([*places(value)])
        stroke = rng.randrange(6)
        if stroke == 0:
            del container[key]
        elif stroke == 1 and isinstance(container, list):
            container.insert(key, copy.deepcopy(container[key]))
        elif stroke == 2:
            other, place = rng.choice([*places(value)])
            container[key] = copy.deepcopy(other[place])
        else:
            container[key] = copy.deepcopy(rng.choice(ODD))
        if not isinstance(value, dict) or not [*places(value)]:
            break
    return value


def test_a_damaged_journal_counts_up_to_the_damage(
    journal: bytes, tmp_path: Path, rng: random.Random, is_long: bool
) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(journal)
    sound = read_journal(path)
    assert sound is not None
    assert sound[0].slices
    assert sound[0].charts
    lines = journal.splitlines(keepends=True)
    for _ in range(LONG_CASES if is_long else CASES):
        text = mutated(journal, rng)
        path.write_bytes(text)
        read = read_journal(path)
        intact = 0
        while intact < len(lines) and text.startswith(b"".join(lines[: intact + 1])):
            intact += 1
        entries = [entry for entry, _ in whole_lines(text)]
        assert [encode_line(entry) for entry in entries[:intact]] == lines[:intact]
        if read is None:
            assert intact == 0
            continue
        assert read[0].header == sound[0].header
        assert all(record in sound[0].slices for record in read[0].slices)
        assert read[1] >= len(b"".join(lines[:intact]))


def test_a_journal_of_anything_with_right_checksums_is_read_or_refused(
    journal: bytes, tmp_path: Path, rng: random.Random, is_long: bool
) -> None:
    """And what was read can be worked with: `verify` and `status` go by it."""
    state = tmp_path / "A" / ".intune-dw"
    state.mkdir(parents=True)
    entries = [entry for entry, _ in whole_lines(journal)]
    some = [entries[0], *rng.sample([e for e in entries if e["type"] == "slice"], 2), *entries[-1:]]
    for _ in range((LONG_CASES if is_long else CASES) // 4):
        lines = [distorted(entry, rng) if rng.random() < 0.4 else entry for entry in some]
        (state / "journal.jsonl").write_bytes(b"".join(map(encode_line, lines)))
        try:
            verify(tmp_path / "A", quick=True)
            archive_status(tmp_path / "A")
        except ArchiveError:
            continue


def test_damaged_manifests_are_read_as_they_were_or_refused(
    content: dict[str, Any], tmp_path: Path, rng: random.Random, is_long: bool
) -> None:
    path = tmp_path / "manifest.json"
    text = json.dumps({"content_sha256": content_sha256(content), "content": content}).encode()
    path.write_bytes(text)
    sound = read_manifest(path)
    assert sound is not None
    read = 0
    for _ in range(LONG_CASES if is_long else CASES):
        path.write_bytes(mutated(text, rng))
        try:
            manifest = read_manifest(path)
        except ArchiveError:
            continue
        read += 1
        assert manifest == sound
    assert read < CASES / 2


def test_a_manifest_of_anything_with_right_hashes_is_read_or_refused(
    content: dict[str, Any], tmp_path: Path, rng: random.Random, is_long: bool
) -> None:
    """And what was read can be worked with: `verify` finds fault with it, `status` shows it."""
    root, refused = tmp_path / "A", 0
    root.mkdir()
    cases = (LONG_CASES if is_long else CASES) // 4
    for _ in range(cases):
        lying = distorted(content, rng)
        text = json.dumps({"content_sha256": content_sha256(lying), "content": lying}).encode()
        (root / "manifest.json").write_bytes(text)
        (root / "SHA256SUMS").write_bytes(encode_sums({"manifest.json": hashlib.sha256(text).hexdigest()}))
        try:
            assert verify(root, quick=True).findings
            archive_status(root)
        except ArchiveError:
            refused += 1
    assert cases / 20 < refused < cases
    assert not list(root.rglob("*" + PARTIAL))
