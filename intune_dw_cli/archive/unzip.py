"""The one report inside a zip from the network, read without trusting anything that the zip says.

An export job's file is a ZIP with one CSV or JSON. Nothing is ever written under a name from the zip, and still a zip
with a name that would be dangerous is refused: whoever made it is not the service. What it inflates to is counted while
it inflates; sizes in its headers are not believed.
"""

from __future__ import annotations

import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from intune_dw_cli.errors import ProtocolError

MAX_BYTES = (1 << 30) - 1
"""A report of 1 GiB or more is refused."""
MAX_ENTRIES = 100

_CHUNK = 256 * 1024
_CENTRAL = b"PK\x01\x02"
_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_SUFFIXES = ("csv", "json")
# All that zipfile was seen to raise over damaged or crafted files.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    LookupError,
    OSError,
    OverflowError,
    RuntimeError,  # with NotImplementedError
    ValueError,
)
_HINT = "Nothing of it was kept. Export the report in the portal instead, and tell Microsoft support."


@dataclass(frozen=True, slots=True)
class ZippedReport:
    """The report in a zip that has passed every check of its directory.

    Attributes:
        suffix: csv or json, without a dot.
        size: Bytes it claims to hold; not to be believed.
    """

    suffix: str
    size: int
    _file: zipfile.ZipFile
    _entry: zipfile.ZipInfo
    _max_bytes: int

    def chunks(self) -> Iterator[bytes]:
        """Yield the report's bytes. Whoever takes them must throw them away when this raises.

        Raises:
            ProtocolError: more than the limit, or damaged data.
        """
        size = 0
        try:
            with self._file.open(self._entry) as member:
                while chunk := member.read(_CHUNK):
                    size += len(chunk)
                    if size > self._max_bytes:
                        raise _refused(f"the report inflates to more than {self._max_bytes} bytes")
                    yield chunk
        except _DAMAGE as error:
            raise _refused(f"its data is damaged ({type(error).__name__})") from None


def open_report(data: bytes, *, max_bytes: int = MAX_BYTES, max_entries: int = MAX_ENTRIES) -> ZippedReport:
    """Check a zip and return the report that it holds.

    Args:
        data: The zip.
        max_bytes: Most bytes that the report may inflate to.
        max_entries: Most entries that are looked at; a zip with more is refused before any is.

    Raises:
        ProtocolError: no zip, or a hostile one: a name that leads out of the folder, an absolute name, a link, an
            encrypted entry, two entries of one name, too many entries, anything but exactly one CSV or JSON.
    """
    # Each entry of the directory begins with this signature: their number is bounded before memory goes to them.
    if data.count(_CENTRAL) > max_entries:
        raise _refused(f"it holds more than {max_entries} entries")
    try:
        file = zipfile.ZipFile(io.BytesIO(data))
        entries = file.infolist()
    except _DAMAGE:
        raise _refused("it is no zip, or a damaged one") from None
    names: set[str] = set()
    for entry in entries:
        _require_harmless(entry)
        name = entry.orig_filename.casefold()
        if name in names:
            raise _refused(f"it holds two entries of one name: {_shown(entry)}")
        names.add(name)
    if len(entries) != 1:
        raise _refused(f"it holds {len(entries)} entries where one report was promised")
    return _report(file, entries[0], max_bytes)


def _require_harmless(entry: zipfile.ZipInfo) -> None:
    name = entry.orig_filename
    if not name.strip() or any(not c.isprintable() for c in name):
        raise _refused(f"an entry has a name that no file has: {_shown(entry)}")
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
        raise _refused(f"an entry has an absolute name: {_shown(entry)}")
    if ".." in re.split(r"[/\\]", name):
        raise _refused(f"an entry's name leads out of the folder: {_shown(entry)}")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind == stat.S_IFLNK:
        raise _refused(f"an entry is a link: {_shown(entry)}")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _refused(f"an entry is neither file nor folder: {_shown(entry)}")
    if entry.flag_bits & _ENCRYPTED:
        raise _refused(f"an entry is encrypted: {_shown(entry)}")


def _report(file: zipfile.ZipFile, entry: zipfile.ZipInfo, max_bytes: int) -> ZippedReport:
    suffix = entry.orig_filename.rpartition(".")[2].lower()
    if entry.is_dir() or suffix not in _SUFFIXES:
        raise _refused(f"what it holds is neither CSV nor JSON: {_shown(entry)}")
    if entry.compress_type not in _METHODS:
        raise _refused("it is compressed in a way that was not promised")
    return ZippedReport(suffix, entry.file_size, file, entry, max_bytes)


def _shown(entry: zipfile.ZipInfo) -> str:
    """Return a name fit for a message: ASCII, short; digits of ids masked, since they differ from job to job."""
    name = re.sub(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", "...", entry.orig_filename)
    return ascii(name[:80])


def _refused(why: str) -> ProtocolError:
    return ProtocolError(f"the export's zip is refused: {why}", hint=_HINT)
