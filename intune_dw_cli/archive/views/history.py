"""The dated copies of collections without days (`--keep-dimensions`) as views: a collection as it was day by day."""

# ruff: noqa: S608 - SQL is what this is for: names and texts go through identifier, literal or commented.

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from intune_dw_cli.archive.views.statements import commented, create_view, identifier, literal, wrap
from intune_dw_cli.archive.views.tables import CSV, TEXT, Table

AS_OF = "asOf"
_DATED = re.compile(r"/asOf=\d{8}/[^/]+$")
_HIVE = f"union_by_name = true, hive_partitioning = true, hive_types = {{'{AS_OF}': INTEGER}}"
_DAY = f"""CAST(strptime(CAST("{AS_OF}" AS VARCHAR), '%Y%m%d') AS DATE) AS "{AS_OF}\""""


def has_copies(held: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the entries of a collection have dated copies."""
    return any(_paths(entry) for entry in held)


def history_view(view: str, name: str, held: Sequence[Mapping[str, Any]], table: Table) -> str:
    """Return the view of a collection's dated copies: its rows, each with the day of its copy in `asOf` (DATE).

    The manifest does not say which columns an older copy has. So columns are found by their names, and a CSV field is
    read as text first and then as its type of today.
    """
    if table.column([AS_OF]):
        return commented([f"{view} is left out: {name} has a property {AS_OF} of its own."])
    copies = [(int(entry.get("feed") or 1), path) for entry in held for path in _paths(entry)]
    days = sorted({path.rpartition(f"/{AS_OF}=")[2][:8] for _, path in copies})
    about = [f"{view}: {name} as it was, by the day of the copy (days: {len(days)}, {days[0]} to {days[-1]})."]
    parquet = any(path.endswith(".parquet") for _, path in copies)
    selects = [] if parquet else [_nothing(table)]
    for feed in sorted({feed for feed, _ in copies}):
        leading = f"{feed} AS {table.feed}, " if table.feed else ""
        files = wrap([literal(path) for path in sorted(path for number, path in copies if number == feed)])
        reader = "read_parquet" if parquet else "read_csv"
        how = _HIVE if parquet else f"all_varchar = true, comment = '',\n    {CSV},\n    {_HIVE}"
        selects.append(f"SELECT {leading}* FROM {reader}([\n{files}],\n    {how})")
    casts = "" if parquet else _casts(table)
    typed = f" REPLACE (\n{casts})" if casts else ""
    union = "\nUNION ALL BY NAME\n".join(selects)
    return create_view(view, about, f'SELECT {_DAY}, * EXCLUDE ("{AS_OF}"){typed}\nFROM (\n{union}\n)')


def _paths(entry: Mapping[str, Any]) -> list[str]:
    paths = {str(part["path"]) for part in entry.get("snapshots") or ()}
    return sorted(path for path in paths if _DATED.search(path))


def _nothing(table: Table) -> str:
    """Return a SELECT of no rows with all columns of today, so that there is one to cast where no copy has it."""
    feed = [f"NULL::INTEGER AS {table.feed}"] if table.feed else []
    columns = [f"NULL::{TEXT} AS {identifier(name)}" for name, _ in table.columns.values()]
    return f"SELECT\n{wrap([*feed, *columns])}\n    WHERE false"


def _casts(table: Table) -> str:
    """Return the casts of all columns that are not text."""
    columns = [(identifier(name), kind) for name, kind in table.columns.values() if kind != TEXT]
    return wrap([f"CAST({name} AS {kind}) AS {name}" for name, kind in columns])
