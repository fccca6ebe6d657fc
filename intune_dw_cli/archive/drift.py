"""How the service's model differs from the documented one, and from that by which the last run wrote."""

from __future__ import annotations

from intune_dw_cli.archive.manifest import Manifest
from intune_dw_cli.data.redact import Redaction
from intune_dw_cli.export.plan import CollectionPlan
from intune_dw_cli.reference import reference
from intune_dw_cli.service.drift import documented_model, find_drift, model_of
from intune_dw_cli.service.warehouse import Warehouse


def drift_of(warehouse: Warehouse, base: Manifest | None, redaction: Redaction | None) -> dict[str, list[str]]:
    """Return the differences in words: under `reference` and, where there was a run before, under `last_run`.

    Args:
        base: What earlier runs hold.
        redaction: How this run writes personal columns.
    """
    drift = {"reference": find_drift(documented_model(reference().values()), model_of(warehouse.entity_sets))}
    if base is not None and base.collections:
        before = _held_model(base)  # what was not chosen then says nothing now
        written = _written_model(warehouse, redaction)
        drift["last_run"] = find_drift(before, {name: written[name] for name in written if name in before})
    return {name: [str(d) for d in found] for name, found in drift.items()}


def _held_model(base: Manifest) -> dict[str, dict[str, str]]:
    """Return the model by which the last run wrote, as far as it wrote anything."""
    return {h.name: dict(list(h.slices.values())[-1].schema.columns) for h in base.collections.values() if h.slices}


def _written_model(warehouse: Warehouse, redaction: Redaction | None) -> dict[str, dict[str, str]]:
    """Return the model by which this run writes."""
    plans = [CollectionPlan(entity_set=e, slices=(), redaction=redaction) for e in warehouse.entity_sets]
    return {p.entity_set.name: {c.name: c.edm_type for c in p.schema.columns} for p in plans}
