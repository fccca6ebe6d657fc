"""Words for gaps and losses, as the summary, `--dry-run` and `status` say them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from intune_dw_cli.archive.gaps import Gaps, Loss
from intune_dw_cli.data.datekey import from_date_key

_SHOWN = 5


def gap_lines(gaps: Mapping[str, Gaps]) -> Iterator[str]:
    """Yield one line for each thing that is wrong with the days of a collection."""
    for name, found in gaps.items():
        if found.lost:
            yield f"{name}: lost for good: {_days(found.lost)}"
        for loss in found.at_risk[:_SHOWN]:
            yield f"{name}: {from_date_key(loss.date_key)} is not held; the service drops it on {loss.lost_on}"
        if len(found.at_risk) > _SHOWN:
            yield f"{name}: {len(found.at_risk) - _SHOWN} more days are not held yet"
        if found.empty:
            yield f"{name}: no rows on {_days(found.empty)}"
        for thin in found.thin[:_SHOWN]:
            day = from_date_key(thin.date_key)
            yield f"{name}: {day} has {thin.rows:,} rows, the days around it {thin.median:,.0f}"
        if len(found.thin) > _SHOWN:
            yield f"{name}: {len(found.thin) - _SHOWN} more days with few rows"


def loss_line(loss: tuple[str, Loss] | None) -> str | None:
    """Say which day will be lost first unless a backup runs before."""
    if loss is None:
        return None
    name, what = loss
    return f"run again before {what.lost_on}: then the service drops {from_date_key(what.date_key)} of {name}"


def loss_json(loss: tuple[str, Loss] | None) -> dict[str, Any] | None:
    """Return a loss as JSON values."""
    return loss and {"collection": loss[0], "date_key": loss[1].date_key, "lost_on": loss[1].lost_on}


def _days(date_keys: Sequence[int]) -> str:
    shown = ", ".join(str(from_date_key(day)) for day in date_keys[:_SHOWN])
    return shown if len(date_keys) <= _SHOWN else f"{shown} and {len(date_keys) - _SHOWN} more days"
