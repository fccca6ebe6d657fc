"""Valid texts made invalid, or differently valid, by a few seeded strokes."""

from __future__ import annotations

import random
from collections.abc import Sequence

CASES, LONG_CASES = 10_000, 200_000
MARKS = [
    b"",
    b"\x00",
    b"\xff",
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\n",
    b" ",
    b"0",
    b"-",
    b"1e5",
    b"null",
]
MARKS += [b"true", b'"x"', b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\\ud800", b"9" * 25, b"<", b">", b"&", b"'", b"[" * 200]


def mutated(text: bytes, rng: random.Random, marks: Sequence[bytes] = MARKS) -> bytes:
    """Return the text after one to four strokes: a bit, a mark, a piece cut, copied, moved, or the end cut off."""
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        place = rng.randrange(len(text) + 1)
        length = rng.choice([1, 1, 2, 8, 64])
        stroke = rng.randrange(7)
        if stroke == 0 and place < len(text):
            text = text[:place] + bytes([text[place] ^ (1 << rng.randrange(8))]) + text[place + 1 :]
        elif stroke == 1:
            text = text[:place] + rng.choice(marks) + text[place:]
        elif stroke == 2:
            text = text[:place] + rng.choice(marks) + text[place + length :]
        elif stroke == 3:
            text = text[:place] + text[place + length :]
        elif stroke == 4:
            other = rng.randrange(len(text) + 1)
            text = text[:place] + text[other : other + length] + text[place:]
        elif stroke == 5 and rng.random() < 0.3:
            text = text[:place]
        elif place < len(text):
            text = text[:place] + bytes([rng.randrange(256)]) + text[place + 1 :]
    return text
