"""Verify an archive offline, in four stages: manifest, file set, sizes and hashes, contents."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from intune_dw_cli.archive.basis import is_in_manifest
from intune_dw_cli.archive.contents import check_contents, check_copy
from intune_dw_cli.archive.journal import JournalContent, read_journal
from intune_dw_cli.archive.layout import MANIFEST, REPORT, SMALLER, STATE, SUMS, VIEWS, Layout
from intune_dw_cli.archive.manifest import Holding, Manifest, decode_sums, encode_sums, misstatements, read_manifest
from intune_dw_cli.errors import ArchiveDamagedError
from intune_dw_cli.export.files import PARTIAL
from intune_dw_cli.export.parts import Part

STAGES = ("manifest", "files", "hashes", "contents")
_CHUNK = 1024 * 1024
_WORKERS = 4


@dataclass(frozen=True, slots=True)
class Finding:
    """Damage: the stage that found it, the file it is in (relative, `/`), and what is wrong."""

    stage: str
    path: str
    message: str


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What `verify` found.

    Attributes:
        state: complete, partial, or unfinished while a run is to be continued.
        files: Files looked at.
        rows: Rows held.
        findings: Damage, in the order of the stages; empty when the archive is sound.
    """

    state: str
    files: int
    rows: int
    bytes: int
    findings: tuple[Finding, ...]


def verify(
    root: Path, *, quick: bool = False, progress: Callable[[str, int, int], None] = lambda *_: None
) -> VerifyResult:
    """Check an archive against its manifest, and against the journal of a run that is to be continued.

    Args:
        root: The archive's folder.
        quick: Compare sizes only: read no file of data.
        progress: Told the stage, how many files are done and how many there are.

    Raises:
        ArchiveError: there is no archive, or one of a version that is not known.
    """
    layout = Layout(root)
    if layout.lost_manifest:
        return _unreadable(Finding("files", MANIFEST, "missing"))
    layout.require()
    findings: list[Finding] = []
    try:
        manifest = read_manifest(layout.manifest)
    except ArchiveDamagedError as error:
        return _unreadable(Finding("manifest", MANIFEST, error.message))
    journal = read_journal(layout.journal)
    if journal is not None and manifest is not None and _is_ended(layout, journal[0], manifest):
        journal = None
    progress("manifest", 0, 1)
    if manifest is not None:
        findings += _check_manifest(manifest)
        findings += [Finding("manifest", MANIFEST, text) for text in misstatements(layout.manifest, manifest)]
        if journal is None:
            findings += _check_sums(layout, manifest)
    documents = [manifest.documents] if manifest is not None else []
    unsure: set[str] = set()
    if journal is not None:
        content, _ = journal
        if manifest is None:
            manifest = Manifest(content.header.identity, content.header.today, {}, {})
        documents.append(dict(content.header.documents))
        unsure = content.announced
        for record in content.slices:
            holding = manifest.collections.setdefault(record.collection, Holding(record.collection, "", ""))
            holding.absorb(record)
    derived = {} if journal is not None else _derived(layout)
    if manifest is None:
        # A journal without a whole header: the run was stopped before it had anything.
        return VerifyResult("unfinished", 0, 0, 0, ())
    expected = manifest.parts
    charts = [f for c in manifest.charts for f in c.files] if journal is None else []  # asked for again otherwise
    wanted = {*expected, *documents[0], REPORT, VIEWS} if journal is None else set(expected)
    wanted |= {f.path for f in charts}
    findings += _check_file_set(layout, wanted, journal is not None)
    lost = {f.path for f in findings if f.stage == "files"}
    checks = [*_document_checks(layout, [*documents, derived])]
    checks += [_Check(f.path, f.bytes, frozenset({f.sha256})) for f in charts]
    checks += _part_checks(p for p in expected.values() if p.path not in unsure)
    checks += _part_checks(_put_aside(layout, manifest, unsure))
    findings += _check_hashes(layout, [c for c in checks if c.path not in lost], quick, progress)
    if not quick:
        bad = {f.path for f in findings} | unsure
        findings += _check_contents(layout, manifest, bad, progress)
    state = "unfinished" if journal is not None else manifest.state
    return VerifyResult(
        state,
        len(expected),
        sum(h.rows for h in manifest.holdings),
        sum(p.bytes for p in expected.values()),
        tuple(findings),
    )


def _check_manifest(manifest: Manifest) -> Iterator[Finding]:
    """The manifest's own sums must agree, and no part may lie outside the archive or be named twice."""
    seen: set[str] = set()
    for holding in manifest.holdings:
        for record in holding.slices.values():
            total = sum(p.rows for p in record.parts)
            if total != record.rows:
                message = f"{holding.name} {record.slice}: {record.rows} rows are stated, its parts have {total}"
                yield Finding("manifest", MANIFEST, message)
        for part in (*holding.parts, *holding.snapshots, *(p for s in holding.slices.values() for p in s.smaller)):
            if not _is_inside(part.path):
                yield Finding("manifest", part.path, "this path leads out of the archive")
            if part.path in seen:
                yield Finding("manifest", part.path, "listed twice")
            seen.add(part.path)


def _is_inside(path: str) -> bool:
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts and "\\" not in path and ":" not in path


def _is_ended(layout: Layout, content: JournalContent, manifest: Manifest) -> bool:
    """Whether the journal's run has come to its end, though partial. SHA256SUMS, which it writes last, says so.

    Beside a complete manifest a journal is that of a new run: a complete one leaves none.
    """
    begun, ended = content.header, (manifest.as_of, manifest.documents)
    if manifest.state == "complete" or (begun.today, begun.documents) != ended or not is_in_manifest(content, manifest):
        return False
    try:
        told = decode_sums(layout.sums.read_bytes())
    except OSError:
        return False
    return told.get(MANIFEST) == hashlib.sha256(layout.manifest.read_bytes()).hexdigest()


def _check_sums(layout: Layout, manifest: Manifest) -> Iterator[Finding]:
    try:
        sums = layout.sums.read_bytes()
    except OSError:
        return  # its absence is found among the files
    told = decode_sums(sums)
    if told.get(MANIFEST) != hashlib.sha256(layout.manifest.read_bytes()).hexdigest():
        yield Finding("manifest", SUMS, "has another hash than that of manifest.json")
    derived = {path: told.get(path, "") for path in (MANIFEST, REPORT, VIEWS)}
    if sums != encode_sums(manifest.hashes() | derived):
        yield Finding("manifest", SUMS, "does not say what the manifest says")


def _derived(layout: Layout) -> dict[str, str]:
    """Return the hashes of the files that are made of the manifest: SHA256SUMS alone has them."""
    try:
        told = decode_sums(layout.sums.read_bytes())
    except OSError:
        return {}
    return {path: told[path] for path in (REPORT, VIEWS) if path in told}


def _unreadable(finding: Finding) -> VerifyResult:
    return VerifyResult("unknown", 0, 0, 0, (finding,))


def _check_file_set(layout: Layout, wanted: set[str], unfinished: bool) -> Iterator[Finding]:
    if not unfinished:
        wanted = wanted | {MANIFEST, SUMS}
    present = set(_files(layout.root))
    for path in sorted(wanted - present):
        yield Finding("files", path, "missing")
    if unfinished:
        return  # what is not in the journal yet is fetched again and replaced
    for path in sorted(present - wanted):
        what = "left over from a run that was stopped" if path.endswith(PARTIAL) else "not in the manifest"
        yield Finding("files", path, what)


def _files(root: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        here = Path(folder).relative_to(root)
        if here == Path():
            folders[:] = [f for f in folders if f != STATE]
        for name in names + [f for f in folders if Path(folder, f).is_symlink()]:
            yield (here / name).as_posix()


@dataclass(frozen=True, slots=True)
class _Check:
    """What a file must be: its size where it is recorded, and one of these hashes."""

    path: str
    size: int | None
    digests: frozenset[str]


def _part_checks(parts: Iterable[Part]) -> Iterator[_Check]:
    return (_Check(p.path, p.bytes, frozenset({p.sha256})) for p in sorted(parts, key=lambda p: p.path))


def _put_aside(layout: Layout, manifest: Manifest, unsure: set[str]) -> Iterator[Part]:
    """Yield the smaller files that are there; they are extra, and who deletes them or copies without them may."""
    for part in (p for h in manifest.holdings for s in h.slices.values() for p in s.smaller):
        if part.path.removeprefix(f"{SMALLER}/") not in unsure and (layout.root / PurePosixPath(part.path)).exists():
            yield part


def _document_checks(layout: Layout, documents: Sequence[Mapping[str, str]]) -> Iterator[_Check]:
    """A run writes its documents just after its journal is begun: until then those of the run before are there."""
    for path in sorted({path for each in documents for path in each}):
        if (layout.root / path).exists():
            yield _Check(path, None, frozenset(each[path] for each in documents if path in each))


def _check_hashes(
    layout: Layout, checks: Sequence[_Check], quick: bool, progress: Callable[[str, int, int], None]
) -> list[Finding]:
    findings = []
    with ThreadPoolExecutor(_WORKERS) as pool:
        results = pool.map(lambda check: _check_file(layout.root, check, quick), checks)
        for number, (check, message) in enumerate(zip(checks, results, strict=True), 1):
            if message:
                findings.append(Finding("hashes", check.path, message))
            progress("hashes", number, len(checks))
    return findings


def _check_file(root: Path, check: _Check, quick: bool) -> str | None:
    file = root / PurePosixPath(check.path)
    try:
        if file.is_symlink():
            return "is a symbolic link, not a file of its own"
        actual = file.stat().st_size
        if check.size is not None and actual != check.size:
            return f"has {actual} bytes, {check.size} are recorded"
        if not quick and sha256_of(file) not in check.digests:
            if check.path in (REPORT, VIEWS):
                return f"its SHA-256 is not the one in {SUMS}: one of the two was changed or is damaged"
            return "its SHA-256 is not the recorded one: the file was changed or is damaged"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return None


def sha256_of(path: Path) -> str:
    """Return the hex SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _check_contents(
    layout: Layout, manifest: Manifest, bad: set[str], progress: Callable[[str, int, int], None]
) -> list[Finding]:
    findings = []
    slices = [s for h in manifest.holdings for s in h.slices.values() if s.parts]
    copies = [p for h in manifest.holdings for p in h.snapshots]
    for number, record in enumerate(slices, 1):
        if not bad.intersection(p.path for p in record.parts):
            findings += [Finding("contents", path, text) for path, text in check_contents(layout.root, record)]
        progress("contents", number, len(slices) + len(copies))
    for number, part in enumerate(copies, len(slices) + 1):
        if part.path not in bad:
            findings += [Finding("contents", part.path, text) for text in check_copy(layout.root, part)]
        progress("contents", number, len(slices) + len(copies))
    return findings
