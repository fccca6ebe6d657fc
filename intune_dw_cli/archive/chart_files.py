"""The files of one chart item: written aside, given their names together once everything has come.

`raw.json` or `raw.bin` is the answer as served (for a collection: the rows as served, all pages in one document,
without nextLinks), `report.csv` or `report.json` what it says. An export job has only the latter: the CSV byte for
byte as it lies in the zip. The zip around it is not kept: its entry carries the job's id and the time it was made, so
that no two runs would give the same archive.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from intune_dw_cli import jsontext
from intune_dw_cli.export.files import PARTIAL, AtomicFile, disk_errors
from intune_dw_cli.service.graph import GraphPage

CHARTS = "charts"
ATTACHED = "attached"
"""Name, without suffix, of what a person put in; never removed by a run."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LOOK = 4096


@dataclass(frozen=True, slots=True)
class ChartFile:
    """A file of an item; `path` is below the archive's root, with `/`."""

    path: str
    bytes: int
    sha256: str


class Stage:
    """Files under construction for one item. Nothing is under a final name before `commit`.

    Args:
        root: The archive's root.
        item: The item's id.
    """

    def __init__(self, root: Path, item: str) -> None:
        self._prefix = f"{CHARTS}/{item}"
        self._root = root
        self.folder = root / CHARTS / item
        self._files: dict[str, AtomicFile] = {}
        self._finished: set[str] = set()

    def open(self, name: str) -> AtomicFile:
        """Begin a file. Raises OutputError."""
        file = self._files[name] = AtomicFile(self.folder / name, self._root)
        return file

    def write(self, name: str, data: bytes) -> None:
        """Begin a file and write all of it. Raises OutputError."""
        self.open(name).write(data)

    def finish(self, name: str) -> None:
        """End a file so that it can be read, still without its final name. May be called twice; raises OutputError."""
        if name not in self._finished:
            self._files[name].prepare()
            self._finished.add(name)

    def commit(self, replacing: Callable[[Sequence[str]], None], *, attached: bool = False) -> tuple[ChartFile, ...]:
        """Give all files their names and remove what lay there before.

        Args:
            replacing: Told of the paths that are replaced or removed, before any is.
            attached: Whether these are files that a person attached: those and the service's own never replace
                each other.

        Raises:
            OutputError: the disk does not take it.
        """
        for name in self._files:
            self.finish(name)
        before = sorted(
            p.name
            for p in self.folder.iterdir()
            if (p.stem == ATTACHED) == attached and p.name.removesuffix(PARTIAL) == p.name and not p.is_dir()
        )
        if before:
            replacing([f"{self._prefix}/{name}" for name in before])
        for file in self._files.values():
            file.commit()
        with disk_errors(self.folder):
            for name in before:
                if name not in self._files:
                    (self.folder / name).unlink()
        return tuple(ChartFile(f"{self._prefix}/{name}", f.size, f.sha256) for name, f in sorted(self._files.items()))

    def discard(self) -> None:
        """Remove what was written, and the folder when nothing else is in it. Does nothing after `commit`."""
        for file in self._files.values():
            file.discard()
        with contextlib.suppress(OSError):
            self.folder.rmdir()


def sweep(root: Path, known: set[str]) -> None:
    """Remove files below `charts/` that belong to no record: what a killed run left behind.

    Raises:
        OutputError: the disk does not take it.
    """
    top = root / CHARTS
    with disk_errors(top):
        for path in [*top.rglob("*")]:
            if path.is_dir() and not path.is_symlink():
                continue
            if path.relative_to(root).as_posix() not in known:
                path.unlink()
        for folder in top.glob("*/"):
            with contextlib.suppress(OSError):
                folder.rmdir()


# -- rows -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Section:
    """Rows of one kind inside a raw file: where their pages stand, and the columns seen in them.

    Attributes:
        columns: Names in the order in which they were first seen.
        pages: Offset and length of each page's rows, and the values of columns that all of them share.
    """

    columns: dict[str, None] = field(default_factory=dict)
    pages: list[tuple[int, int, dict[str, Any]]] = field(default_factory=list)


class RawRows:
    """A JSON document made of the rows of pages as they come; memory holds one page."""

    def __init__(self, file: AtomicFile) -> None:
        self._file = file
        self._first = True

    def literal(self, text: str) -> None:
        """Write what stands around the rows; the next row is the first of its array."""
        self._file.write(text.encode())
        self._first = True

    def page(self, page: GraphPage, section: Section, shared: Mapping[str, Any] | None = None) -> None:
        """Write the rows of a page and note them in a section.

        Args:
            shared: Columns that every row of the CSV has in addition, in front.
        """
        if not page.rows:
            return
        if not self._first:
            self._file.write(b",\n")
        self._first = False
        section.columns.update(dict.fromkeys(shared or ()))
        section.columns.update((name, None) for row in page.rows for name in row if "@" not in name)
        section.pages.append((self._file.size, len(page.text), dict(shared or {})))
        self._file.write(page.text)

    def to_csv(self, section: Section, out: AtomicFile) -> None:
        """Write the rows of a section as CSV: null is empty, empty text is `""`, nested values are JSON.

        The raw file must be finished. Raises OutputError.
        """
        out.write(_line(section.columns))
        with disk_errors(self._file.path), self._file.partial.open("rb") as raw:
            for offset, length, shared in section.pages:
                raw.seek(offset)
                for row in jsontext.loads_exact(b"[" + raw.read(length) + b"]"):
                    out.write(_line({**row, **shared}.get(name) for name in section.columns))


def _line(values: Any) -> bytes:
    return (",".join(_cell(value) for value in values) + "\n").encode("utf-8", "surrogatepass")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        value = jsontext.dumps_exact(value)
        return value if "," not in value and '"' not in value else _quoted(value)
    plain = value and not any(c in value for c in ',"\r\n')
    return value if plain else _quoted(value)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


# -- reports ----------------------------------------------------------------------------------------------------


def is_json(body: bytes) -> bool:
    """Whether a body is a JSON object or array."""
    if sniffed_suffix(body) != "json":
        return False
    try:
        jsontext.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def report_content(body: bytes) -> bytes:
    """Return the report inside an answer: of the report object (`value.content` or `content`), else the body itself.

    Base64 is of the standard alphabet, padding may lack; content that is none is kept as text. Null is an empty report.
    """
    try:
        document = jsontext.loads(body)
    except (ValueError, RecursionError):
        return body
    for holder in (document.get("value"), document) if isinstance(document, dict) else ():
        if isinstance(holder, dict) and "content" in holder:
            content = holder["content"]
            return b"" if content is None else _decoded(content) if isinstance(content, str) else body
    return body


def _decoded(text: str) -> bytes:
    bare = "".join(text.split()).rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        return text.encode("utf-8", "surrogatepass")


def sniffed_suffix(content: bytes) -> str:
    """Return json for what begins with a brace or bracket, else csv; UTF-8 and, with its BOM, UTF-16."""
    encoding, head = "utf-8", content[:_LOOK]
    for bom, name in _BOMS:
        if head.startswith(bom):
            encoding, head = name, head[len(bom) :]
    return "json" if head.decode(encoding, "replace").lstrip()[:1] in ("{", "[") else "csv"
