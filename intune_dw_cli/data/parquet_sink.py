"""Parquet: zstd, dictionaries where they pay, row groups of a fixed number of rows, provenance in the metadata."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from intune_dw_cli.data.outlet import ByteStream, Outlet
from intune_dw_cli.data.schema import ADDITIONAL, CollectionSchema

_GROUP_CELLS = 1024 * 1024
_GROUP_ROWS = 64 * 1024
_GROUP_TEXT = 32 * 1024 * 1024
_CHUNK_ROWS = 16 * 1024
_MOST_DISTINCT = 0.5  # of a column with a dictionary, to its rows
_MOST_TEXT = _CHUNK_ROWS * 1024


def row_group_rows(columns: int) -> int:
    """Return how many rows a row group has: 65,536, fewer where the table is wide, so that memory stays bounded."""
    return max(_CHUNK_ROWS, min(_GROUP_ROWS, _GROUP_CELLS // max(columns, 1) // _CHUNK_ROWS * _CHUNK_ROWS))


class ParquetSink:
    """Collects rows into row groups and writes them.

    Rows are packed into chunks of a fixed number of rows. A row group ends with the chunk that fills its number of rows
    or its 32 MiB of text: the bytes do not depend on how the service divided the rows into pages.
    """

    def __init__(
        self,
        stream: ByteStream,
        schema: CollectionSchema,
        additional: bool,
        compression: str,
        provenance: Mapping[str, str],
    ) -> None:
        self._schema = schema
        arrow = schema.arrow.append(pa.field(ADDITIONAL, pa.string())) if additional else schema.arrow
        self._arrow = arrow.with_metadata({k: v.encode() for k, v in provenance.items()})
        self._outlet = Outlet(stream)
        self._compression = compression
        self._writer: pq.ParquetWriter | None = None  # once the first rows say how to write
        self._rows = row_group_rows(len(arrow))
        self._loose: list[pa.RecordBatch] = []  # less than a chunk
        self._loose_rows = 0
        self._chunks: list[pa.RecordBatch] = []
        self._text_bytes = 0

    def typed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return decoded rows in Parquet's types. Raises ProtocolError for a text that is no value of its type."""
        return self._schema.to_arrow(batch)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append decoded or typed rows. Raises what `typed` raises."""
        typed = self.typed(batch)
        while self._loose_rows + typed.num_rows >= _CHUNK_ROWS:
            head = _CHUNK_ROWS - self._loose_rows
            self._keep(typed.slice(0, head))
            self._pack()
            typed = typed.slice(head)
        if typed.num_rows:
            self._keep(typed)

    def close(self) -> None:
        """Write the last row group and the footer."""
        if self._loose:
            self._pack()
        if self._chunks or self._writer is None:
            self._flush().close()
        else:
            self._writer.close()

    def abandon(self) -> None:
        """Write nothing more: the file will not be finished."""
        self._outlet.shut()

    def _keep(self, batch: pa.RecordBatch) -> None:
        self._loose.append(batch)
        self._loose_rows += batch.num_rows

    def _pack(self) -> None:
        """Copy loose rows into a chunk, so that the pages they came from can go."""
        table = pa.Table.from_batches(self._loose).combine_chunks()
        self._text_bytes += sum(map(_text_bytes, table.columns))
        self._chunks += table.replace_schema_metadata(self._arrow.metadata).to_batches()
        self._loose.clear()
        self._loose_rows = 0
        if len(self._chunks) * _CHUNK_ROWS >= self._rows or self._text_bytes >= _GROUP_TEXT:
            self._flush()

    def _flush(self) -> pq.ParquetWriter:
        writer = self._writer or self._begin()
        if self._chunks:
            writer.write_table(pa.Table.from_batches(self._chunks, self._arrow), row_group_size=self._rows)
        self._chunks.clear()
        self._text_bytes = 0
        return writer

    def _begin(self) -> pq.ParquetWriter:
        self._writer = pq.ParquetWriter(
            self._outlet,
            self._arrow,
            compression=self._compression,
            use_dictionary=_repetitive(self._chunks[0]) if self._chunks else True,
            store_schema=True,
        )
        return self._writer


def _repetitive(rows: pa.RecordBatch) -> list[str]:
    """Return the columns that a dictionary makes smaller, as their first rows tell.

    One of values that hardly repeat costs as much as all else in the encoding, and makes the file larger. Long texts
    are not even counted: that would hold them twice, and few of them fill a dictionary.
    """
    return [
        name
        for name, values in zip(rows.schema.names, rows.columns, strict=True)
        if _text_bytes(values) <= _MOST_TEXT and pc.count_distinct(values).as_py() <= _MOST_DISTINCT * len(values)
    ]


def _text_bytes(values: pa.Array | pa.ChunkedArray) -> int:
    """Return the bytes of all texts: of what they say, not of the buffers, which depend on the pages."""
    if not pa.types.is_string(values.type) and not pa.types.is_binary(values.type):
        return 0
    return pc.sum(pc.binary_length(values)).as_py() or 0
