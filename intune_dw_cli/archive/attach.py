"""Putting a file that a person exported in the portal into an archive, where it closes a manual item."""

from __future__ import annotations

from pathlib import Path

from intune_dw_cli.archive.basis import is_in_manifest
from intune_dw_cli.archive.chart_feeds import chart_folder, chart_records_by_feed, moved_below
from intune_dw_cli.archive.charts import attach_chart
from intune_dw_cli.archive.inventory import log_run, write_inventory
from intune_dw_cli.archive.journal import read_journal
from intune_dw_cli.archive.layout import Layout
from intune_dw_cli.archive.lock import archive_lock
from intune_dw_cli.archive.manifest import Manifest, read_manifest
from intune_dw_cli.errors import ArchiveError
from intune_dw_cli.export.files import disk_errors


def attach(root: Path, file: Path, item: str) -> Manifest:
    """Copy a file into an archive as a trend chart, and write the inventory anew.

    Args:
        file: The exported file.
        item: The chart's item, as the report and the summary name it.

    Returns:
        The manifest as it is now; complete when this was the last thing missing.

    Raises:
        ArchiveError: there is no archive, its first backup has not ended, or personal data is redacted in it.
        ArchiveLockedError: another run is at work in the archive.
        UsageError: no such item, or no such file.
        OutputError: the disk does not take it.
    """
    layout = Layout(root)
    layout.require()
    with archive_lock(layout):
        manifest = read_manifest(layout.manifest)
        if manifest is None:
            raise ArchiveError("the first backup has not ended yet", hint=f"Finish it: intune-dw backup {root}")
        journal = read_journal(layout.journal)
        if manifest.identity.redaction:
            raise ArchiveError(
                "personal data is redacted in this archive, and an exported chart holds names of people",
                hint="Keep the file in another place.",
            )
        ended = journal is None or is_in_manifest(journal[0], manifest)
        feed = len(manifest.feeds)
        folder = chart_folder(feed)
        former, mine = chart_records_by_feed(manifest.charts, feed)
        held = {r.item: moved_below(r, folder, inwards=True) for r in mine}
        record = attach_chart(root / folder, item, file, held=held.get(item))
        held[record.item] = record
        manifest.charts = [*former, *(moved_below(r, folder) for r in held.values())]
        write_inventory(layout, manifest)
        log_run(layout, manifest, resumed=False)
        if ended and manifest.state == "complete":
            with disk_errors(layout.journal):
                layout.journal.unlink(missing_ok=True)
        return manifest
