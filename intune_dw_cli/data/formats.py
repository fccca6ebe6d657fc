"""Record batches to the bytes of one file: CSV or Parquet, onto a binary stream that the caller owns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import pyarrow as pa

from intune_dw_cli.data.csv_sink import CsvSink
from intune_dw_cli.data.outlet import ByteStream
from intune_dw_cli.data.parquet_sink import ParquetSink
from intune_dw_cli.data.schema import CollectionSchema
from intune_dw_cli.errors import UsageError

Format = Literal["csv", "parquet"]
_PARQUET_CODECS = ("zstd", "gzip", "snappy", "none")


class Sink(Protocol):
    """Takes decoded batches and encodes them onto a stream.

    The bytes depend on the rows and their order only, not on how the rows were divided into batches. Nothing that a
    sink has written is a file before `close` returned; a sink that will not be closed is abandoned.
    """

    def typed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return decoded rows with the values that will be written, for rows that wait before they are.

        What is wrong with them is then said of their own slice. Raises what `write` raises; safe for threads.
        """

    def write(self, batch: pa.RecordBatch) -> None:
        """Append decoded or typed rows. Raises ProtocolError for a text that is no value of its declared type."""

    def close(self) -> None:
        """Write what is left (Parquet: the footer). The stream stays open."""

    def abandon(self) -> None:
        """Write nothing more, not even when the sink is dropped. Does no harm after `close`."""


class Encoding(Protocol):
    """Opens sinks: `FileFormat`, or what takes decoded batches in another way."""

    @property
    def is_typed(self) -> bool:
        """Whether values are kept in Arrow's types, and not as the texts that came."""

    def open(
        self, stream: ByteStream, schema: CollectionSchema, *, additional: bool, provenance: Mapping[str, str]
    ) -> Sink:
        """Return a sink, as `FileFormat.open` does."""


@dataclass(frozen=True, slots=True)
class FileFormat:
    """What kind of file to write.

    Attributes:
        format: csv or parquet.
        compression: CSV: gzip, zstd or None; the whole file is compressed. Parquet: its codec, `none` for none at all,
            zstd where None.
        excel: CSV for spreadsheets: BOM, CRLF, and no cell that would run as a formula or be mangled.
    """

    format: Format = "csv"
    compression: str | None = None
    excel: bool = False

    def __post_init__(self) -> None:
        if self.format == "csv" and self.compression not in (None, "gzip", "zstd"):
            raise UsageError(f"CSV cannot be compressed as {self.compression}", hint="Use gzip, zstd or none.")
        if self.format == "parquet" and self.compression not in (None, *_PARQUET_CODECS):
            known = ", ".join(_PARQUET_CODECS)
            raise UsageError(f"Parquet cannot be compressed as {self.compression}", hint=f"Use one of {known}.")
        if self.format == "parquet" and self.excel:
            raise UsageError("--excel goes with CSV only", hint="Leave out --excel, or use -f csv.")

    @property
    def is_typed(self) -> bool:
        """Whether values are kept in Arrow's types: Parquet. CSV has the texts as served."""
        return self.format == "parquet"

    @property
    def is_compressed(self) -> bool:
        """Whether what repeats takes little room: everything but plain CSV (Parquet has dictionaries)."""
        return self.format == "parquet" or self.compression is not None

    @property
    def suffix(self) -> str:
        """The file name suffix, for instance `.csv.gz`."""
        if self.format == "parquet":
            return ".parquet"
        return ".csv" + {None: "", "gzip": ".gz", "zstd": ".zst"}[self.compression]

    def open(
        self, stream: ByteStream, schema: CollectionSchema, *, additional: bool, provenance: Mapping[str, str]
    ) -> Sink:
        """Return a sink that writes rows of the schema onto the stream.

        Args:
            stream: A binary stream; it needs no seek.
            schema: The columns.
            additional: Whether the rows carry the column `_additional`.
            provenance: Text pairs for Parquet's schema metadata.
        """
        if self.format == "parquet":
            return ParquetSink(stream, schema, additional, self.compression or "zstd", provenance)
        return CsvSink(stream, schema, additional, compression=self.compression, excel=self.excel)
