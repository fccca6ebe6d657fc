"""Where a file's rows came from, as text pairs for Parquet's schema metadata. No clock and no machine names."""

from __future__ import annotations

from intune_dw_cli import __version__
from intune_dw_cli.data.schema import CollectionSchema


def provenance(schema: CollectionSchema, source: str) -> dict[str, str]:
    """Return collection, key, DateKey property, source URL without query, tool version, and how rows are redacted."""
    redaction = {"intune_dw.redaction": schema.redaction} if schema.redaction else {}
    return {
        "intune_dw.collection": schema.collection,
        "intune_dw.key": ",".join(schema.key),
        "intune_dw.date_key": schema.date_key or "",
        "intune_dw.source": source,
        "intune_dw.version": __version__,
        **redaction,
    }
