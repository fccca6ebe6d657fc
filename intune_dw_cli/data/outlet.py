"""Where a sink's bytes go: the caller's stream, behind a valve.

Encoders write what is still missing (a Parquet footer, the end of a gzip frame) also when they are merely dropped.
That would bless what was never finished, so the owner of an unfinished file shuts the valve first.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer


class ByteStream(Protocol):
    """What a sink writes to: a binary file, or anything with its `write`."""

    def write(self, data: Buffer, /) -> int:
        """Append bytes, all of them."""


class Outlet(io.RawIOBase):
    """Passes writes on until it is shut, and keeps its own closing to itself: the stream belongs to the caller."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream: ByteStream | None = stream

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Buffer, /) -> int:
        """Append bytes to the stream; once shut, to nowhere."""
        if self._stream is None:
            return memoryview(data).nbytes
        return self._stream.write(data)

    def shut(self) -> None:
        """Let nothing more through."""
        self._stream = None
