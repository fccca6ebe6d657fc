"""Options that the commands that fetch have alike."""

from __future__ import annotations

from typing import Annotated

from intune_dw_cli.cli.options import CONNECTION, OUTPUT, SELECTION, option

Workers = Annotated[int, option("--workers", help="Slices fetched at the same time.", panel=CONNECTION)]
WORKERS_HINT = "Give --workers 1 to fetch one slice after the other; without it, 4 are fetched at a time."

LastDay = Annotated[str | None, option("--to", help="Last day, included.", panel=SELECTION, metavar="DAY")]

Compression = Annotated[
    str | None,
    option(
        "--compression",
        help="CSV: gzip, zstd or none. Parquet: zstd, gzip, snappy or none.",
        panel=OUTPUT,
        metavar="CODEC",
        words=("gzip", "zstd", "snappy", "none"),
    ),
]

Probe = Annotated[
    bool,
    option(
        "--probe",
        help="With --dry-run: read one day of each fact and say what rows, bytes and minutes to expect.",
        panel=OUTPUT,
    ),
]
