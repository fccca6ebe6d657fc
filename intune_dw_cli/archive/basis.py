"""What a run builds on: the manifest that is held, the journal that may go on, the feed that may have changed."""

from __future__ import annotations

import datetime as dt

from intune_dw_cli.archive.journal import JournalContent
from intune_dw_cli.archive.manifest import Manifest
from intune_dw_cli.archive.records import Identity
from intune_dw_cli.errors import ArchiveError


def basis_of(held: Manifest | None, identity: Identity, *, moved: bool) -> Manifest | None:
    """Return the manifest that a run builds on: what is held, as of a former feed where the tenant was moved.

    Args:
        held: The archive's manifest.
        identity: What the run is of.
        moved: Whether another feed URL is welcome.

    Raises:
        ArchiveError: the archive is of another tenant, feed, format or API version.
    """
    if held is None:
        return None
    identity.require_same(held.identity, moved=moved or identity.is_known_move(held.identity))
    if identity.source == held.identity.source:
        return held
    if identity.source in held.feeds:
        raise ArchiveError(
            f"the archive has gone on from {identity.source} to {held.identity.source}",
            hint="Give the feed URL that the tenant has now.",
        )
    return held.after_move(identity.source)


def is_in_manifest(content: JournalContent, manifest: Manifest) -> bool:
    """Whether all that a journal says is in the manifest: its run went to its end, and left the archive partial."""
    held = manifest.collections
    charts = {file for chart in manifest.charts for file in chart.files}
    return (
        not content.announced
        and all(r.collection in held and held[r.collection].slices.get(r.slice) == r for r in content.slices)
        and all(file in charts for chart in content.charts.values() for file in chart.files)
    )


def is_over(content: JournalContent, held: Manifest | None, today: dt.date) -> bool:
    """Whether a journal is of an earlier day's run that went to its end and left the archive partial.

    To continue it would be to ask for that day's plan for as long as one collection fails: no new day would come in. A
    new run asks for what is missing as well.
    """
    return held is not None and content.header.today != today.isoformat() and is_in_manifest(content, held)
