"""The file of an export job: an honest zip, or one that is out for the reader."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from intune_dw_cli.sandbox.config import ZipForm

_MADE = (2018, 2, 21, 6, 0, 0)
_CHUNK = 1 << 20
_ZEROS = bytes(_CHUNK)
_CROWD = 3000


def make_zip(form: ZipForm, name: str, content: bytes, bomb_size: int) -> bytes:
    """Return the file.

    Args:
        form: What is wrong with it, or normal.
        name: The job's id, which names the entry.
        content: The report.
        bomb_size: Bytes that a bomb inflates to.
    """
    csv = f"{name}.csv"
    entries: dict[str, list[str]] = {
        "traversal": [f"../../{csv}"],
        "absolute": [f"/tmp/{csv}"],  # noqa: S108 - a hostile name, never written
        "drive": [f"C:\\Windows\\{csv}"],
        "duplicate": [csv, csv],
        "two": [csv, f"more-{csv}"],
        "none": [],
        "crowd": [f"{place}.csv" for place in range(_CROWD)],
        "json": [f"{name}.json"],
    }
    whole = _zip(entries.get(form, [csv]), content if form != "json" else b'{"rows":[]}')
    makers: dict[str, Callable[[], bytes]] = {
        "link": lambda: _link(csv),
        "bomb": lambda: _bomb(csv, bomb_size, claimed=bomb_size),
        "liar": lambda: _bomb(csv, bomb_size, claimed=10),
        "encrypted": lambda: _flagged(whole),
        "cut": lambda: whole[: len(whole) // 2],
        "no-zip": lambda: content,
    }
    return makers[form]() if form in makers else whole


def _zip(names: list[str], content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for place, name in enumerate(names):
            info = zipfile.ZipInfo(f"{place:08}" if len(names) > len(set(names)) else name, _MADE)
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(info, content)
    made = out.getvalue()
    if len(names) > len(set(names)):
        # zipfile warns of duplicates, so they are written under other names of the same length first.
        wanted = names[0].encode()[:8]
        for place in range(len(names)):
            made = made.replace(f"{place:08}".encode(), wanted)
    return made


def _link(name: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        info = zipfile.ZipInfo(name, _MADE)
        info.create_system = 3
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(info, "/etc/passwd")
    return out.getvalue()


def _bomb(name: str, size: int, *, claimed: int) -> bytes:
    """Return a zip that inflates to `size` zeros, whatever its headers claim."""
    packer, crc = zlib.compressobj(9, zlib.DEFLATED, -15), 0
    # After a full flush the same bytes stand for the same zeros wherever they come: packed once, repeated.
    block = packer.compress(_ZEROS) + packer.flush(zlib.Z_FULL_FLUSH)
    times, rest = divmod(size, _CHUNK)
    for _ in range(times):
        crc = zlib.crc32(_ZEROS, crc)
    crc = zlib.crc32(bytes(rest), crc)
    data = block * times + packer.compress(bytes(rest)) + packer.flush()
    encoded = name.encode()
    shared = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0x4C55, crc, len(data), claimed, len(encoded), 0)
    local = b"PK\x03\x04" + shared + encoded + data
    central = b"PK\x01\x02" + struct.pack("<H", 20) + shared + struct.pack("<HHHII", 0, 0, 0, 0, 0) + encoded
    end = struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    return local + central + b"PK\x05\x06" + end


def _flagged(whole: bytes) -> bytes:
    """Set the flag of encryption in both headers of a zip with one entry."""
    made = bytearray(whole)
    made[6] |= 1
    made[whole.index(b"PK\x01\x02") + 8] |= 1
    return bytes(made)
