"""Trend charts of several feeds in one archive: those before a data-center move stay, as the charts begin anew."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from intune_dw_cli.archive.charts import ChartRecord


def chart_folder(feed: int) -> str:
    """Return the folder, with `/`, below which the charts of a feed lie; none for the first."""
    return "" if feed == 1 else f"feed-{feed}/"


def chart_records_by_feed(records: Iterable[ChartRecord], feed: int) -> tuple[list[ChartRecord], list[ChartRecord]]:
    """Divide records into those of former feeds, which nothing can mend any more, and those of this feed."""
    former, mine = [], []
    for record in records:
        here = chart_folder(feed)
        if feed == 1 or (record.files and all(f.path.startswith(here) for f in record.files)):
            mine.append(record)
        elif record.files:
            former.append(replace(record, optional=True))
    return former, mine


def moved_below(record: ChartRecord, folder: str, *, inwards: bool = False) -> ChartRecord:
    """Return a record whose paths are given from the archive's root, or (`inwards`) from the folder of its feed."""
    paths = (f.path.removeprefix(folder) if inwards else f"{folder}{f.path}" for f in record.files)
    return replace(record, files=tuple(replace(f, path=p) for f, p in zip(record.files, paths, strict=True)))
