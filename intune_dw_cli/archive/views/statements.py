"""What SQL statements are put together from: names and texts in quotes, comments, lists on few lines."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterable, Sequence

_WIDTH = 116
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


class Names:
    """Keeps names apart that SQL takes for one: it does not look at case."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = {name.casefold() for name in taken}
        self.last = ""

    def take(self, name: str) -> str:
        """Return the name, with a number behind it where it is taken already."""
        clean, number = _clean(name) or "_", 1
        chosen = clean
        while chosen.casefold() in self._taken:
            chosen, number = f"{clean}_{number}", number + 1
        self._taken.add(chosen.casefold())
        self.last = chosen
        return chosen


def identifier(text: str) -> str:
    """Return a name as an SQL identifier, in quotes."""
    return '"' + _clean(text).replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return text as an SQL literal."""
    return "'" + _clean(text).replace("'", "''") + "'"


def commented(lines: Iterable[str]) -> str:
    """Return lines as SQL comments, long ones on several."""
    wrapped = [row for line in lines for row in (_fold(_clean(line)) if len(line) > _WIDTH else [_clean(line)])]
    return "".join(f"-- {line}".rstrip() + "\n" for line in wrapped)


def create_view(view: str, about: Iterable[str], select: str) -> str:
    """Return the statement that makes a view of a SELECT, described by comments."""
    return f"{commented(about)}CREATE OR REPLACE VIEW {identifier(view)} AS\n{select};\n"


def wrap(items: Sequence[str]) -> str:
    """Return the items, with commas, on as few lines as they fit."""
    lines: list[str] = []
    for position, item in enumerate(items):
        text = item + ("," if position < len(items) - 1 else "")
        if lines and len(lines[-1]) + len(text) < _WIDTH:
            lines[-1] += f" {text}"
        else:
            lines.append(f"        {text}")
    return "\n".join(lines)


def _clean(text: str) -> str:
    """Return text without what could end a line, hide or turn round what follows, or is no character at all."""
    if text.isascii() and text.isprintable():
        return text
    return "".join("\ufffd" if unicodedata.category(c) in _UNSEEN else c for c in text)


def _fold(line: str) -> list[str]:
    return textwrap.wrap(line, _WIDTH, break_long_words=False, break_on_hyphens=False)
