"""How an archive stands: for a person's glance and for monitoring. Reads the manifest and the log of runs only."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from intune_dw_cli import jsontext
from intune_dw_cli.archive.charts import ChartRecord
from intune_dw_cli.archive.gaps import Gaps, Loss
from intune_dw_cli.archive.journal import read_journal
from intune_dw_cli.archive.layout import Layout
from intune_dw_cli.archive.manifest import Manifest, read_manifest


@dataclass(frozen=True, slots=True)
class ArchiveStatus:
    """How an archive stands.

    Attributes:
        state: complete, partial, or unfinished while a run is to be continued.
        as_of: The day (ISO) from which the last ended run's plan counted, None before any has ended.
        last_day: The last day (yyyymmdd) that every fact with rows holds, None where there is none.
        ended: When the last complete run ended (UTC); where the log does not say, the begin of the day `as_of`.
        missing: Slices that are missing, by collection.
        gaps: What days are missing or look wrong, by collection; whole collections are left out.
        open_charts: Trend charts that a person must still save by hand, or a later run.
        next_loss: The day that the service drops first of those that are not held, with its collection.
        redaction: How personal data is redacted, as in the manifest; None where it is not.
    """

    state: str
    as_of: str | None
    last_day: int | None
    ended: dt.datetime | None
    missing: Mapping[str, tuple[str, ...]]
    gaps: Mapping[str, Gaps]
    next_loss: tuple[str, Loss] | None
    open_charts: tuple[ChartRecord, ...] = ()
    redaction: str | None = None

    def age(self, now: dt.datetime) -> dt.timedelta | None:
        """Return how long ago the last complete run ended; None when none ever did."""
        return now - self.ended if self.ended else None


def archive_status(root: Path) -> ArchiveStatus:
    """Return how an archive stands.

    Raises:
        ArchiveError: there is no archive, or one of a version that is not known.
        ArchiveDamagedError: its manifest cannot be read.
    """
    layout = Layout(root)
    layout.require()
    manifest = read_manifest(layout.manifest)
    unfinished = read_journal(layout.journal) is not None
    if manifest is None:
        return ArchiveStatus("unfinished", None, None, None, {}, {}, None)
    gaps = all_gaps(manifest)
    # A partial archive keeps its journal too: it says more to name what is missing.
    state = "partial" if manifest.state == "partial" else "unfinished" if unfinished else "complete"
    return ArchiveStatus(
        state=state,
        as_of=manifest.as_of,
        last_day=min((g.last for g in gaps.values() if g.last), default=None),
        ended=_last_complete_end(layout.runs) or (_midnight(manifest.as_of) if manifest.state == "complete" else None),
        missing={h.name: tuple(m.slice for m in h.missing) for h in manifest.collections.values() if h.missing},
        gaps={name: g for name, g in gaps.items() if not g.is_whole},
        next_loss=next_loss(gaps),
        open_charts=tuple(manifest.open_charts),
        redaction=manifest.identity.redaction,
    )


def all_gaps(manifest: Manifest) -> dict[str, Gaps]:
    """Return the gaps of each collection with days, of the present feed."""
    as_of = dt.date.fromisoformat(manifest.as_of)
    found = {name: holding.gaps(as_of) for name, holding in manifest.collections.items()}
    return {name: gaps for name, gaps in found.items() if gaps is not None}


def next_loss(gaps: Mapping[str, Gaps]) -> tuple[str, Loss] | None:
    """Return the loss that comes first, with its collection."""
    losses = [
        (name, loss) for name, g in gaps.items() for loss in (*g.at_risk, *([g.next_loss] if g.next_loss else []))
    ]
    return min(losses, key=lambda each: (each[1].lost_on, each[1].date_key, each[0]), default=None)


def _last_complete_end(runs: Path) -> dt.datetime | None:
    return max(_complete_ends(runs), default=None)


def _complete_ends(runs: Path) -> Iterator[dt.datetime]:
    try:
        lines = runs.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        try:
            entry = jsontext.loads(line)
            ended = dt.datetime.fromisoformat(entry["ended"])
        except (ValueError, KeyError, TypeError):
            continue  # a torn line of a log that nothing else depends on
        if entry.get("state") == "complete" and ended.tzinfo is not None:
            yield ended


def _midnight(day: str) -> dt.datetime:
    return dt.datetime.combine(dt.date.fromisoformat(day), dt.time(), dt.UTC)
