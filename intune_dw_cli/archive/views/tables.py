"""The collections as views: their files, with the types that $metadata declared, those of all feeds in one."""

# ruff: noqa: S608 - SQL is what this is for: names and texts go through identifier, literal or commented.

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from intune_dw_cli.archive.views.statements import Names, commented, create_view, identifier, literal, wrap
from intune_dw_cli.data.schema import ADDITIONAL
from intune_dw_cli.reference import reference

TEXT = "VARCHAR"
INTEGERS = {"UTINYINT", "TINYINT", "SMALLINT", "INTEGER", "BIGINT"}
_TYPES = {
    "Edm.Byte": "UTINYINT",
    "Edm.SByte": "TINYINT",
    "Edm.Int16": "SMALLINT",
    "Edm.Int32": "INTEGER",
    "Edm.Int64": "BIGINT",
    "Edm.Boolean": "BOOLEAN",
    "Edm.Double": "DOUBLE",
    "Edm.Single": "FLOAT",
    "Edm.DateTimeOffset": "TIMESTAMPTZ",
    "Edm.Date": "DATE",
    "Edm.TimeOfDay": "TIME",
}
CSV = r"""header = true, delim = ',', quote = '"', escape = '"', new_line = '\n',
    nullstr = '', allow_quoted_nulls = false"""
_HIVE = re.compile(r"/dateKey=\d+/[^/]+$")


@dataclass(frozen=True, slots=True)
class Table:
    """A collection's view.

    Attributes:
        view: The view's name as an SQL identifier.
        columns: Names and SQL types by case-folded name.
        feed: The column that tells feeds apart as an SQL identifier, None where there is one feed only.
    """

    view: str
    columns: Mapping[str, tuple[str, str]]
    feed: str | None

    def column(self, spellings: Iterable[str]) -> tuple[str, str] | None:
        """Return name and type of the first spelling that there is, case aside."""
        return next((self.columns[s.casefold()] for s in spellings if s.casefold() in self.columns), None)


@dataclass(slots=True)
class _Source:
    """Files that were written with the same columns."""

    feed: int
    columns: dict[str, str]
    date_key: str | None
    paths: list[str] = field(default_factory=list)

    def sql(self, feed: str | None, parquet: bool) -> str:
        """Return the SELECT that reads them."""
        leading = f"{self.feed} AS {feed}, " if feed else ""
        if not self.paths:
            nulls = ", ".join(f"NULL::{kind} AS {identifier(column)}" for column, kind in self.columns.items())
            return f"SELECT {leading}{nulls} WHERE false"
        hive = self.date_key == "dateKey" and all(_HIVE.search(path) for path in self.paths)
        # The folder's name says the day: a filter on dateKey opens only the files it needs.
        how = "hive_partitioning = true, hive_types = {'dateKey': INTEGER}" if hive else "hive_partitioning = false"
        files = wrap([literal(path) for path in sorted(set(self.paths))])
        if parquet:
            return f"SELECT {leading}* FROM read_parquet([\n{files}],\n    {how})"
        columns = wrap([f"{literal(column)}: {literal(kind)}" for column, kind in self.columns.items()])
        how = f"auto_detect = false, {CSV},\n    {how}"
        return f"SELECT {leading}* FROM read_csv([\n{files}],\n    columns = {{\n{columns}}},\n    {how})"


def collection_view(view: str, name: str, held: Sequence[Mapping[str, Any]], several: bool) -> tuple[str, Table | None]:
    """Return the text for a collection, and its table where its columns are known."""
    sources = [source for entry in held for source in _sources(entry)]
    if not sources:
        return commented(_about(name, held)) + "-- Nothing was read yet, so its columns are not known: no view.\n", None
    columns = _merged(sources)
    feed = identifier(Names(columns).take("feed")) if several else None
    parquet = any(path.endswith(".parquet") for source in sources for path in source.paths)
    selects = "\nUNION ALL BY NAME\n".join(source.sql(feed, parquet) for source in sources)
    return create_view(view, _about(name, held), selects), Table(identifier(view), columns, feed)


def _about(name: str, held: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = sum(int(entry.get("rows") or 0) for entry in held)
    days = [entry["days"] for entry in held if entry.get("days")]
    span = f", {min(d['first'] for d in days)} to {max(d['last'] for d in days)}" if days else ""
    lines = [f"{name} ({held[0].get('kind')}): {rows} rows{span}"]
    if any(entry.get("state") == "partial" for entry in held):
        lines.append("INCOMPLETE: report.html says what is missing.")
    documented = reference().get(name.casefold())
    if documented:
        lines.append(documented.description.partition(". ")[0].rstrip(".") + ".")
        schemas = [schema for entry in held for schema in entry.get("schemas") or ()]
        folded = {str(c["name"]).casefold() for schema in schemas for c in schema.get("columns") or ()}
        if personal := [p.name for p in documented.properties if p.personal and p.name.casefold() in folded]:
            lines.append(f"Personal data: {', '.join(personal)}.")
    return lines


def _sources(entry: Mapping[str, Any]) -> list[_Source]:
    """Return the files of a collection by the columns that they have. Files without rows say their columns only."""
    found: dict[tuple[int, bool], _Source] = {}
    schemas = entry.get("schemas") or ()
    for piece in entry.get("slices") or ():
        for part in piece.get("parts") or ():
            key = (int(piece["schema"]), bool(part.get("additional")))
            if key not in found:
                schema = schemas[key[0]]
                found[key] = _Source(int(entry.get("feed") or 1), _columns(schema, key[1]), schema.get("date_key"))
            if part.get("rows"):
                found[key].paths.append(str(part["path"]))
    if not found and schemas:
        return [_Source(int(entry.get("feed") or 1), _columns(schemas[0], False), None)]
    return [found[key] for key in sorted(found)]


def _columns(schema: Mapping[str, Any], additional: bool) -> dict[str, str]:
    names = Names()
    columns = {names.take(str(c["name"])): _TYPES.get(str(c["type"]), TEXT) for c in schema.get("columns") or ()}
    if additional:
        columns[names.take(ADDITIONAL)] = TEXT
    return columns


def _merged(sources: Iterable[_Source]) -> dict[str, tuple[str, str]]:
    """Return the columns of a union by name, by case-folded name."""
    merged: dict[str, tuple[str, str]] = {}
    for source in sources:
        for column, kind in source.columns.items():
            name, known = merged.get(column.casefold(), (column, kind))
            merged[column.casefold()] = (name, kind if known == kind else _common(known, kind))
    return merged


def _common(one: str, other: str) -> str:
    return "BIGINT" if {one, other} <= INTEGERS else TEXT
