"""What a backup is asked for, and what that comes to: of what the archive is, and which slices a run fetches."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace
from pathlib import Path

from intune_dw_cli.archive.manifest import Holding, Manifest
from intune_dw_cli.archive.records import Identity
from intune_dw_cli.data.datekey import DateKeyRange, from_date_key, today_in_utc
from intune_dw_cli.data.formats import FileFormat
from intune_dw_cli.data.redact import Redaction
from intune_dw_cli.export.choice import narrow
from intune_dw_cli.export.plan import CollectionPlan, plan_slices
from intune_dw_cli.service.warehouse import EntitySet, Warehouse

_REREAD_DAYS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupRequest:
    """What to back up and where.

    Attributes:
        root: The archive's folder.
        format: CSV or Parquet.
        tenant: The tenant, None where it is not known.
        only: Globs of collection names; empty for all.
        exclude: Globs of collection names to leave out.
        bounds: DateKey range for collections that have one.
        keep_dimensions: Whether a dated copy of each collection without days is kept, so that its history is too.
        redaction: What becomes of personal columns, None to keep them. With it the trend charts are left out: they hold
            names of people as served.
        moved: Whether the archive may go on with another feed URL, because the tenant was moved to another data center.
            Where both tenants are known to be the same, it may in any case.
        today: The day, in UTC, from which a new run's plan counts.
    """

    root: Path
    format: FileFormat = field(default_factory=FileFormat)
    tenant: str | None = None
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    bounds: DateKeyRange = DateKeyRange()
    workers: int = 4
    keep_dimensions: bool = False
    redaction: Redaction | None = None
    moved: bool = False
    today: dt.date = field(default_factory=today_in_utc)


def identity_of(request: BackupRequest, warehouse: Warehouse) -> Identity:
    """Return what the archive would be of."""
    fmt = request.format
    redaction = request.redaction.label if request.redaction else None
    return Identity(
        warehouse.source, request.tenant, warehouse.feed.api_version, fmt.format, fmt.compression, redaction
    )


def plans_of(
    request: BackupRequest, warehouse: Warehouse, base: Manifest | None, today: dt.date
) -> list[CollectionPlan]:
    """Return what a run would fetch, a plan for each collection that is chosen and that redaction leaves anything of.

    Args:
        base: What earlier runs hold.
        today: The day, in UTC, from which the plan counts.

    Raises:
        UsageError: `only` matches no collection.
    """
    chosen = narrow(warehouse.entity_sets, request.only, request.exclude)
    plans = [_plan(e, request.bounds, base.collections.get(e.name) if base else None, today) for e in chosen]
    redacted = [replace(plan, redaction=request.redaction) for plan in plans]
    return [plan for plan in redacted if not plan.is_redacted_away]


def _plan(entity_set: EntitySet, bounds: DateKeyRange, held: Holding | None, today: dt.date) -> CollectionPlan:
    """Plan a collection: all of it the first time; later what is new, and the last two held days once more."""
    if entity_set.date_key is None:
        return CollectionPlan(entity_set=entity_set, slices=plan_slices(entity_set, DateKeyRange(), today))
    # A day that came without rows is no day held: its snapshot may yet be made.
    days = [day for day, rows in held.rows_by_day(today).items() if rows] if held else []
    if held and days and held.state == "complete" and bounds.is_open:
        # Everything before was read when it was the service's to give; only the newest days may still change.
        bounds = DateKeyRange(from_date_key(days[-_REREAD_DAYS:][0]), None)
    settled = {str(from_date_key(d)) for d in days[:-_REREAD_DAYS]}
    slices = [s for s in plan_slices(entity_set, bounds, today) if s.label not in settled]
    return CollectionPlan(entity_set=entity_set, slices=tuple(slices), bounds=bounds)
