"""The journal: an append-only log of the slices committed in the run under way, one JSON object a line.

Each line carries a checksum of itself. A line that is torn or garbled ends the journal: what stands before it counts,
what it said is fetched again.
"""

from __future__ import annotations

import io
import json
import os
import threading
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from intune_dw_cli import jsontext
from intune_dw_cli.archive.charts import ChartRecord
from intune_dw_cli.archive.records import DOCUMENTS, IDENTITY, VERSION, Identity, Json, SliceRecord
from intune_dw_cli.archive.shape import Every, Shape, require_day
from intune_dw_cli.errors import ArchiveError
from intune_dw_cli.export.files import disk_errors, open_append, open_private, sync_folder

_HEADER = Shape({"identity": IDENTITY, "today": str, "documents": DOCUMENTS, "drift": Every([str])})
_REPLACING = Shape({"paths": [str]})


@dataclass(frozen=True, slots=True)
class RunHeader:
    """What the run was begun with, so that resuming it gives what an unbroken run would have given.

    Attributes:
        identity: What the archive is of.
        today: The day (ISO) that the plan counts from.
        documents: SHA-256 of metadata.xml and service.json, which the run works by.
        drift: What is new in the service's model, as found at the start: later the archive's manifest may be this run's
            own, and tells nothing of the run before.
    """

    identity: Identity
    today: str
    documents: Mapping[str, str]
    drift: Mapping[str, Sequence[str]]


@dataclass(slots=True)
class JournalContent:
    """What a journal says.

    Attributes:
        charts: What became of trend charts, by item; the last word counts.
        announced: Paths of held files that may have been replaced since, by what was not committed.
    """

    header: RunHeader
    slices: list[SliceRecord] = field(default_factory=list)
    announced: set[str] = field(default_factory=set)
    charts: dict[str, ChartRecord] = field(default_factory=dict)


class Journal:
    """The journal of the run under way, open for appending. Safe for threads."""

    def __init__(self, path: Path, whole: int = 0) -> None:
        """Open a journal behind its whole part, of so many bytes; what follows is cut off."""
        self._path = path
        self._lock = threading.Lock()
        self._file: io.BufferedWriter | None
        with disk_errors(path):
            self._file = open_append(path)
            self._file.truncate(whole)

    @classmethod
    def begin(cls, path: Path, header: RunHeader) -> Journal:
        """Start a journal with its header, replacing any old one."""
        with disk_errors(path):
            open_private(path).close()
        journal = cls(path)
        journal._append({"type": "run", "version": VERSION, **asdict(header)})
        with disk_errors(path):
            sync_folder(path.parent)
        return journal

    @classmethod
    def resume(cls, path: Path) -> tuple[Journal, JournalContent] | None:
        """Open a journal to go on with it; None where there is none, or not even its header is whole.

        Raises:
            ArchiveError: it is of a version that this program does not know.
        """
        read = read_journal(path)
        if read is None:
            return None
        content, whole = read
        return cls(path, whole), content

    def commit(self, record: SliceRecord) -> None:
        """Append a slice; it is on the disk when this returns."""
        self._append({"type": "slice", **record.to_json()})

    def commit_chart(self, record: ChartRecord) -> None:
        """Append what became of a trend chart."""
        self._append({"type": "chart", **record.to_json()})

    def announce(self, paths: Sequence[str]) -> None:
        """Append that held parts are about to be replaced: killed before its commit, a slice has perhaps done so."""
        self._append({"type": "replacing", "paths": list(paths)})

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def remove(self) -> None:
        """Close the journal and delete it: the manifest holds everything now."""
        self.close()
        with disk_errors(self._path):
            self._path.unlink(missing_ok=True)
            sync_folder(self._path.parent)

    def _append(self, entry: Json) -> None:
        line = encode_line(entry)
        with self._lock, disk_errors(self._path):
            assert self._file is not None
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())


def read_journal(path: Path) -> tuple[JournalContent, int] | None:
    """Return what a journal says and the length of its whole part in bytes; None without a whole header."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    content: JournalContent | None = None
    whole = 0
    for entry, end in whole_lines(text):
        try:
            if content is None:
                content = JournalContent(_header(entry))
            elif entry["type"] == "slice":
                content.slices.append(slice := SliceRecord.from_json(entry))
                content.announced.difference_update(p.path for p in slice.parts)
            elif entry["type"] == "chart":
                content.charts[entry["item"]] = chart = ChartRecord.from_json(entry)
                content.announced.difference_update(f.path for f in chart.files)
            elif entry["type"] == "replacing":
                _REPLACING.require(entry)
                content.announced.update(entry["paths"])
        except (KeyError, TypeError, ValueError):
            break
        whole = end
    return None if content is None else (content, whole)


def encode_line(entry: Json) -> bytes:
    """Return an entry as a line with its checksum (CRC-32 of the entry's text)."""
    text = json.dumps(entry, ensure_ascii=True, separators=(",", ":"))
    return b'{"crc":"%08x","entry":%s}\n' % (zlib.crc32(text.encode()), text.encode())


def whole_lines(text: bytes) -> Iterable[tuple[Json, int]]:
    """Yield the entries up to the first line that is torn or garbled, each with the position after it."""
    position = 0
    while (end := text.find(b"\n", position)) >= 0:
        line = text[position:end]
        crc, _, rest = line.removeprefix(b'{"crc":"').partition(b'","entry":')
        body = rest[:-1]
        try:
            if int(crc, 16) != zlib.crc32(body) or not rest.endswith(b"}"):
                return
            entry = jsontext.loads(body)
        except (ValueError, RecursionError):
            return
        if not isinstance(entry, dict):
            return
        position = end + 1
        yield entry, position


def _header(entry: Json) -> RunHeader:
    if entry["type"] != "run":
        raise KeyError("run")
    if entry["version"] != VERSION:
        raise ArchiveError(
            f"the unfinished run in this archive is of format version {entry['version']}, this program knows {VERSION}",
            hint="Finish it with the version of intune-dw that began it.",
        )
    _HEADER.require(entry)
    require_day(entry["today"])
    drift = {name: list(found) for name, found in entry["drift"].items()}
    return RunHeader(Identity(**entry["identity"]), entry["today"], dict(entry["documents"]), drift)
