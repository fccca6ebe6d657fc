"""File names for collections: the service's names, made safe for every file system and kept apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from urllib.parse import quote

_RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{p}{n}" for p in ("COM", "LPT") for n in range(1, 10))}
_LONGEST = 100


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
