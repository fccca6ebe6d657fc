"""Numbers as they are read: with commas, with their noun, as a size."""

from __future__ import annotations


def figure(value: float) -> str:
    """Return a number with commas and at most one decimal."""
    return f"{value:,.1f}".removesuffix(".0")


def counted(number: int, what: str) -> str:
    """Return a number with its noun, in the plural where it is not one."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def counted_copies(number: int) -> str:
    """Return a number of dated copies with its noun."""
    return f"{number:,} dated {'copy' if number == 1 else 'copies'}"


def byte_size(number: int) -> str:
    """Return a number of bytes in the unit that fits it."""
    size, unit = float(number), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def and_more(number: int) -> str:
    """Return what stands behind a list that was cut; nothing where nothing was."""
    return f" and {number:,} more" if number > 0 else ""
