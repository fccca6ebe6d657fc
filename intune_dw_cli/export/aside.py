"""Rows that wait for their turn: in memory while they are few, then in one file, to be read back a day at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from intune_dw_cli.export.files import disk_errors, make_folder, open_private, refuse_links

_IN_MEMORY = 1024 * 1024


class RowsAside:
    """Keeps record batches of any number of days, with one open file at most (Arrow IPC: no encoding cost).

    Args:
        path: The file; made when it is needed, removed by `drop`.
        root: A folder above it that it may not leave by a symbolic link.
    """

    def __init__(self, path: Path, root: Path) -> None:
        self._path = path
        self._root = root
        self._memory: list[pa.RecordBatch] = []
        self._bytes = 0
        self._count = 0
        self._places: dict[int | None, list[int]] = {}
        self._file: pa.PythonFile | None = None
        self._writer: pa.RecordBatchFileWriter | None = None
        self._source: pa.OSFile | None = None

    @property
    def days(self) -> list[int | None]:
        """The days that rows were given for, ascending; None, for rows without a day, first."""
        return sorted(self._places, key=lambda d: (d is not None, d or 0))

    @property
    def held_bytes(self) -> int:
        """Bytes of rows that are in memory."""
        return self._bytes

    def add(self, day: int | None, batch: pa.RecordBatch) -> None:
        """Put rows aside. Raises OutputError when the disk does not take them."""
        self._places.setdefault(day, []).append(self._count)
        self._count += 1
        if self._writer is None and (size := self._bytes + batch.nbytes) <= _IN_MEMORY:
            self._memory.append(batch)
            self._bytes = size
            return
        with disk_errors(self._path):
            if self._writer is None:
                self._begin(batch.schema)
            assert self._writer is not None
            self._writer.write_batch(batch)

    def batches(self, day: int | None) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a day in the order they came; nothing can be added any more."""
        if self._writer is None or self._file is None:
            yield from (self._memory[place] for place in self._places[day])
            return
        with disk_errors(self._path):
            if self._source is None:
                self._writer.close()
                self._file.close()
                self._source = pa.OSFile(str(self._path))
            reader = pa.ipc.open_file(self._source)
        for place in self._places[day]:
            with disk_errors(self._path):
                batch = reader.get_batch(place)
            yield batch

    def drop(self) -> None:
        """Forget all rows and remove the file."""
        self._memory, self._bytes = [], 0
        self._places.clear()
        for file in (self._source, self._file):
            if file is not None:
                with contextlib.suppress(OSError):
                    file.close()
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()

    def _begin(self, schema: pa.Schema) -> None:
        refuse_links(self._root, self._path)
        make_folder(self._path.parent)
        self._file = pa.PythonFile(open_private(self._path), mode="w")
        self._writer = pa.ipc.new_file(self._file, schema)
        for earlier in self._memory:
            self._writer.write_batch(earlier)
        self._memory, self._bytes = [], 0
