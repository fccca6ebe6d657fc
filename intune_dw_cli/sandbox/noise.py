"""Reproducible randomness: every value is a pure function of the seed and of what it belongs to.

Nothing is drawn from a running generator, so any row can be made without making the rows before it.
"""

from __future__ import annotations

from hashlib import blake2b, shake_128


class Noise:
    """Bytes that look random and depend only on the seed and a label."""

    def __init__(self, seed: int) -> None:
        self._prefix = f"{seed}/"

    def stream(self, label: str, size: int) -> bytes:
        """Return `size` bytes; meant for whole blocks of rows, because one call costs little per byte."""
        return shake_128((self._prefix + label).encode()).digest(size)

    def at(self, label: str, number: int) -> bytes:
        """Return the 48 bytes of one thing, for instance of one user."""
        return blake2b(f"{self._prefix}{label}/{number}".encode(), digest_size=48).digest()

    def guid(self, label: str, number: int) -> str:
        """Return the GUID of one thing: the first 16 of its bytes."""
        return guid_text(self.at(label, number)[:16].hex())


def guid_text(digits: str) -> str:
    """Write 32 hexadecimal digits as a GUID."""
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:32]}"


def number(data: bytes, start: int, size: int = 2) -> int:
    """Read `size` bytes from `start` as an unsigned number."""
    return int.from_bytes(data[start : start + size], "big")


def weighted(*choices: tuple[int, object]) -> list[int]:
    """Lay out the positions of weighted choices over the 256 values of a byte, the last one filling up.

    Args:
        choices: Pairs of weight (in 256ths) and anything that names the choice for the reader.
    """
    table = [position for position, (weight, _) in enumerate(choices) for _ in range(weight)]
    return (table + [len(choices) - 1] * 256)[:256]
