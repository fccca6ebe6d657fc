"""The opaque part of a nextLink: everything needed to go on, so that the server keeps no state."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from zlib import crc32

from intune_dw_cli.sandbox.generate.source import Place

_PLAIN = re.compile(rb"(\d+)\.(\d+)\.(\d+)\.(\d*)")
_LOWER_HEX = re.compile(r"LastKey='([\w-]+)',Version='1'")


@dataclass(frozen=True)
class SkipToken:
    """Where a chain of pages continues.

    Attributes:
        place: The first row of the page is the first one on or after it.
        page: The page's number in its chain, from 1.
        left: Rows that `$top` still allows; None without `$top`.
    """

    place: Place
    page: int
    left: int | None = None

    def text(self) -> str:
        """Return the token as it stands in a link."""
        left = "" if self.left is None else self.left
        plain = f"{self.place.day}.{self.place.id}.{self.page}.{left}".encode()
        return urlsafe_b64encode(crc32(plain).to_bytes(4, "big") + plain).decode().rstrip("=")

    def lower_hex(self) -> str:
        """Return the token dressed as a sibling service does it: quotes and commas in lower-case hex."""
        return f"LastKey%3d%27{self.text()}%27%2cVersion%3d%271%27"

    @classmethod
    def parse(cls, text: str) -> SkipToken | None:
        """Return the token of a percent-decoded text, None if it was altered."""
        dressed = _LOWER_HEX.fullmatch(text)
        text = dressed[1] if dressed else text
        try:
            data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except ValueError:
            return None
        match = _PLAIN.fullmatch(data[4:])
        if match is None or crc32(data[4:]).to_bytes(4, "big") != data[:4]:
            return None
        day, id_, page, left = match.groups()
        return cls(Place(int(day), int(id_)), int(page), int(left) if left else None)
