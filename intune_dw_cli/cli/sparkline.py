"""Bars of one character each: Unicode blocks, or plain letters where the terminal has none."""

from __future__ import annotations

from collections.abc import Container, Sequence

from rich.text import Text

BLOCKS = "▁▂▃▄▅▆▇█"
LETTERS = "_.:-=+*#"
GAP = "x"
NOTHING = " "


def has_blocks(encoding: str | None, *, dumb: bool) -> bool:
    """Whether a terminal of this encoding shows Unicode blocks; one that says it is dumb is not asked to."""
    try:
        BLOCKS.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return not dumb


def sparkline(values: Sequence[int], *, gaps: Container[int], thin: Container[int], blocks: bool) -> Text:
    """Draw numbers as bars against the largest of them.

    Args:
        values: The numbers; 0 leaves the place empty.
        gaps: Places that should have a bar and have none: a red x.
        thin: Places whose bar is suspiciously low: yellow.
        blocks: Whether Unicode blocks may be used.
    """
    levels = BLOCKS if blocks else LETTERS
    most = max(values, default=0) or 1
    line = Text()
    for place, value in enumerate(values):
        if place in gaps:
            line.append(GAP, "bold red")
        elif not value:
            line.append(NOTHING)
        else:
            line.append(levels[max(0, -(-value * len(levels) // most) - 1)], "yellow" if place in thin else None)
    return line
