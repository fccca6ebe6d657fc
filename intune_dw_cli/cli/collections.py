"""`intune-dw collections`: what the warehouse holds, merged with what the documentation says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from intune_dw_cli.cli.complete import collection_names
from intune_dw_cli.cli.options import CONNECTION, OUTPUT, Connection, Talk, option, require_positive, with_groups
from intune_dw_cli.errors import UsageError

if TYPE_CHECKING:
    import threading

    from intune_dw_cli.cli.console import Terminal
    from intune_dw_cli.service.warehouse import EntitySet, Warehouse

FORMATS = ("table", "json", "csv")
_VERSION = 1


@with_groups
def command(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Show one collection: its properties, key and joins.",
            metavar="NAME",
            autocompletion=collection_names,
        ),
    ] = None,
    format: Annotated[
        str,
        option(
            "--format",
            "-f",
            help="table, json or csv.",
            panel=OUTPUT,
            metavar="FORMAT",
            words=FORMATS,
            typed=True,
        ),
    ] = "table",
    drift: Annotated[
        bool, option("--drift", help="Show how the service's model differs from the documented one.", panel=OUTPUT)
    ] = False,
    dates: Annotated[
        bool,
        option(
            "--dates",
            help="Ask for the rows of each day and draw them. Costs one request a day and fact, and a few more where "
            "a day has several pages.",
            panel=OUTPUT,
        ),
    ] = False,
    days: Annotated[
        int | None,
        option(
            "--days",
            help="With --dates: the last N days. Default: the documented retention, or 30.",
            panel=OUTPUT,
            metavar="N",
        ),
    ] = None,
    workers: Annotated[
        int, option("--workers", help="With --dates: requests at the same time.", panel=CONNECTION, metavar="N")
    ] = 4,
    connection: Connection = Connection(),
    talk: Talk = Talk(),
) -> None:
    """List the collections of the warehouse, or the properties of one.

    [bold]Examples[/bold]
      intune-dw collections --sandbox
      intune-dw collections devices
      intune-dw collections -f csv > dictionary.csv
      intune-dw collections --drift
      intune-dw collections --dates
      intune-dw collections devicePropertyHistories --dates --days 14

    The CSV is the data dictionary: a row for each property, of all or of one.
    """
    from intune_dw_cli.cli.connect import open_service
    from intune_dw_cli.cli.console import ASKING, Terminal
    from intune_dw_cli.cli.progress import Reporter
    from intune_dw_cli.cli.stopping import stoppable
    from intune_dw_cli.cli.summary import reported
    from intune_dw_cli.cli.tables import collection_table, property_table

    terminal = Terminal(talk)
    with reported(terminal, "collections"):
        if format not in FORMATS:
            raise UsageError(f"--format {format} is not known", hint=f"Give one of {', '.join(FORMATS)}.")
        if talk.json:
            format = "json"
        if dates and drift:
            raise UsageError("--dates and --drift exclude each other", hint="Leave one of them out.")
        require_positive("--workers", workers, "Give --workers 1 to ask one thing after the other; 4 is usual.")
        with (
            stoppable(terminal, "collections") as stop,
            open_service(connection, terminal, workers=workers, observer=Reporter(terminal), stop=stop) as service,
        ):
            warehouse = service.warehouse()
            with terminal.busy(ASKING):
                _ = warehouse.entity_sets
            if dates:
                _show_dates(terminal, warehouse, name, days, format, workers, stop)
                return
            if drift:
                _show_drift(terminal, warehouse, format)
                return
            if name is None:
                rows = [_summary(e) for e in warehouse.entity_sets]
                document: dict[str, Any] = {"version": _VERSION, "source": warehouse.source, "collections": rows}
            else:
                entity_set = warehouse.entity_set(name)
                rows = _properties(entity_set)
                document = {"version": _VERSION, **_summary(entity_set), "properties": rows}
        if format == "json":
            terminal.print_json(document)
        elif format == "csv":
            _print_csv(_dictionary(warehouse.entity_sets if name is None else (warehouse.entity_set(name),)))
        elif name is None:
            terminal.table(collection_table(rows, terminal.out.width))
            terminal.say(f"{len(rows)} collections. Details: intune-dw collections NAME")
        else:
            terminal.table(property_table(rows))


def _show_drift(terminal: Terminal, warehouse: Warehouse, format: str) -> None:
    from dataclasses import asdict

    from intune_dw_cli.cli.tables import drift_table
    from intune_dw_cli.reference import reference
    from intune_dw_cli.service.drift import documented_model, find_drift, model_of

    found = find_drift(documented_model(reference().values()), model_of(warehouse.entity_sets))
    rows = [asdict(each) for each in found]
    if format == "json":
        terminal.print_json({"version": _VERSION, "source": warehouse.source, "drift": rows})
    elif format == "csv":
        _print_csv(rows)
    elif found:
        terminal.table(drift_table(rows))
    terminal.say(f"{len(found)} differences from the documented v1.0 model")


def _show_dates(
    terminal: Terminal,
    warehouse: Warehouse,
    name: str | None,
    days: int | None,
    format: str,
    workers: int,
    stop: threading.Event,
) -> None:
    from intune_dw_cli.cli.dates import ask_days, draw, to_json, to_rows

    found = ask_days(terminal, warehouse, [name] if name else [], days, workers=workers, stop=stop)
    if format == "json":
        terminal.print_json({"version": _VERSION, "source": warehouse.source, "facts": to_json(found)})
    elif format == "csv":
        _print_csv(to_rows(found))
    else:
        draw(terminal, found)
    asked = sum(counts.requests for counts in found)
    many = "s" * (len(found) != 1)
    terminal.say(f"{len(found)} collection{many}, {asked:,} requests; no days before these were asked for")
    failed = next((counts.error for counts in found if counts.error), None)
    if failed is not None:
        raise failed


def _summary(entity_set: EntitySet) -> dict[str, Any]:
    documented = entity_set.reference
    return {
        "name": entity_set.name,
        "category": documented.category if documented else None,
        "kind": entity_set.kind,
        "documented": documented is not None,
        "date_keyed": entity_set.date_key is not None,
        "retention_days": entity_set.retention_days,
        "key": list(entity_set.entity_type.key),
        "property_count": len(entity_set.entity_type.properties),
        "description": documented.description if documented else None,
    }


def _properties(entity_set: EntitySet) -> list[dict[str, Any]]:
    documented = entity_set.reference
    rows = []
    for declared in entity_set.entity_type.properties:
        known = documented.property(declared.name) if documented else None
        rows.append(
            {
                "name": declared.name,
                "type": declared.type,
                "nullable": declared.nullable,
                "key": declared.name in entity_set.entity_type.key,
                "joins": known.references if known else None,
                "personal": known.personal if known else None,
                "description": known.description if known else None,
            }
        )
    return rows


def _dictionary(entity_sets: tuple[EntitySet, ...]) -> list[dict[str, Any]]:
    """Return the data dictionary: every property of every collection."""
    rows = []
    for entity_set in entity_sets:
        for known in _properties(entity_set):
            personal = "unknown" if known["personal"] is None else known["personal"]
            rows.append(
                {
                    "collection": entity_set.name,
                    "kind": entity_set.kind,
                    "property": known["name"],
                    "type": known["type"],
                    "nullable": known["nullable"],
                    "key": known["key"],
                    "retention_days": entity_set.retention_days,
                    "personal": personal,
                    "joins": known["joins"],
                    "description": known["description"],
                }
            )
    return rows


def _print_csv(rows: list[dict[str, Any]]) -> None:
    import csv
    import sys

    from intune_dw_cli.cli.console import clean

    writer = csv.writer(sys.stdout, lineterminator="\n")
    if rows:
        writer.writerow(rows[0])
    shown = clean if sys.stdout.isatty() else str
    writer.writerows([shown(_plain(v)) for v in row.values()] for row in rows)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return " ".join(value)
    return "" if value is None else str(value)
