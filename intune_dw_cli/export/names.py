"""File names for collections: the service's names, made safe for every file system and kept apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import PureWindowsPath
from urllib.parse import quote

_RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{p}{n}" for p in ("COM", "LPT") for n in range(1, 10))}
_LONGEST = 100
_NOT_ON_WINDOWS = frozenset('<>:"|?*')


def file_stems(names: Iterable[str], held: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a file name stem for each collection name.

    Letters, digits, `_` and `-` stay; all else is percent-encoded, so that the name can be read back. Names that
    Windows reserves, that are too long, or that differ in case only, are told apart by a hash of the name at the end.

    Args:
        names: The names, all that there are: of two that differ in case only, the first keeps its own.
        held: Stems that were given earlier. They stay, and no other name gets one of them.
    """
    stems: dict[str, str] = {}
    held = held or {}
    taken = {stem.casefold() for stem in held.values()}
    for name in names:
        if name in held:
            stems[name] = held[name]
            continue
        stem = quote(name, safe="", errors="surrogatepass").replace(".", "%2E").replace("~", "%7E")
        odd = not stem or stem.upper() in _RESERVED or len(stem) > _LONGEST or stem.casefold() in taken
        if odd:
            digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
            stem = f"{stem[:_LONGEST]}~{digest}"
        taken.add(stem.casefold())
        stems[name] = stem
    return stems


def trouble_on_windows(text: str) -> str | None:
    """Return what is wrong with a path for Windows, None where nothing is.

    What Windows would take and do something else with is wrong as well: a device's name (the rows would be gone), a
    colon in a name (they would go into a stream that no Explorer shows), `C:x` (relative to the present folder of C).
    """
    path = PureWindowsPath(text)
    if path.drive and not path.root:
        rest = text[len(path.drive) :]
        return f"is relative to the present folder of drive {path.drive} (write {path.drive}\\{rest}, or {rest or '.'})"
    for part in path.parts[1:] if path.anchor else path.parts:
        stem = part.partition(".")[0].rstrip(" ").upper()
        if stem in _RESERVED or stem in ("CONIN$", "CONOUT$"):
            return f"names the device {stem}"
        if odd := _NOT_ON_WINDOWS.intersection(part) or {c for c in part if c < " "}:
            return f"holds {min(odd)!r}, which no file name may hold"
        if part not in (".", "..") and part[-1] in " .":
            return "ends with a blank or a dot, which Windows drops"
    return None
