"""The star schema's joins, ready made."""

# ruff: noqa: S608 - SQL is what this is for: names and texts go through identifier, literal or commented.

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from intune_dw_cli.archive.views.lookups import (
    AGENT,
    APP,
    COMPLIANCE,
    CURRENT,
    CURRENT_USER,
    DEVICE_TYPE,
    ENROLLMENT,
    INSTALL,
    PLATFORM,
    POLICY,
    PRIMARY_USER,
    STATES,
    USER_OF_KEY,
    Lookup,
)
from intune_dw_cli.archive.views.statements import Names, commented, create_view, identifier
from intune_dw_cli.archive.views.tables import INTEGERS, TEXT, Table


class Star:
    """Writes the join views that the tables allow."""

    def __init__(self, tables: Mapping[str, Table], names: Names, as_of: str) -> None:
        self._tables = dict(tables)
        self._names = names
        self._as_of = as_of

    def views(self) -> list[str]:
        """Return the text of each view, or a comment that says why it is left out."""
        return [
            self._plain(
                "device_history",
                "devicePropertyHistories",
                STATES,
                "Every device on every day, with the names of its states. A row a row of devicePropertyHistories.",
            ),
            self._current_device_users(),
            self._plain(
                "device_users",
                "devices",
                (*STATES, DEVICE_TYPE, ENROLLMENT, AGENT, PRIMARY_USER, CURRENT_USER),
                "Devices with the names of their states, their primary user (userId) and their current user "
                "(the association in force). A row a row of devices.",
            ),
            self._compliance_by_day(),
            self._plain(
                "policy_compliance_by_day",
                "compliancePolicyStatusDevicePerPolicyActivities",
                (POLICY, PLATFORM),
                "Devices by compliance policy and day, with the policy's name.",
            ),
            self._plain(
                "app_install_states_by_day",
                "mobileAppInstallStatusCounts",
                (APP, DEVICE_TYPE, INSTALL),
                "Installations by app, device type, state and day, with the app's title.",
            ),
        ]

    def _plain(self, view: str, base: str, lookups: Sequence[Lookup], about: str) -> str:
        lacking = self._lacking(base, lookups)
        if lacking:
            return _left_out(view, lacking)
        select, gone = self._select(self._tables[base.casefold()], lookups)
        return self._create(view, [about, *gone], select)

    def _create(self, view: str, about: Sequence[str], select: str) -> str:
        return create_view(self._names.take(view), [f"{view}:", *about], select)

    def _lacking(self, base: str, lookups: Sequence[Lookup]) -> list[str]:
        wanted = [base, *(lookup.collection for lookup in lookups if lookup.needed)]
        return [name for name in wanted if name.casefold() not in self._tables]

    def _select(self, base: Table, lookups: Sequence[Lookup]) -> tuple[str, list[str]]:
        """Return the SELECT of all rows of a table with what lookups add, and a line for each thing that is lacking."""
        names = Names([*base.columns, *([base.feed.strip('"')] if base.feed else [])])
        shown, joins, gone = ["t.*"], [], []
        if day := base.column(["dateKey"]):
            text = f"CAST(t.{identifier(day[0])} AS VARCHAR)"
            shown.append(f"CAST(try_strptime({text}, '%Y%m%d') AS DATE) AS {identifier(names.take('day'))}")
        for number, lookup in enumerate(lookups, 1):
            joined = self._join(base, lookup, f"n{number}")
            if joined is None:
                gone.append(f"Without {', '.join(lookup.values)}: {lookup.collection} does not give it here.")
                continue
            join, columns = joined
            joins.append(join)
            shown += [f"n{number}.{inner} AS {identifier(names.take(column))}" for column, inner in columns.items()]
        text = "SELECT " + ",\n    ".join(shown) + f"\nFROM {base.view} AS t"
        return "\n".join([text, *joins]), gone

    def _join(self, base: Table, lookup: Lookup, alias: str) -> tuple[str, dict[str, str]] | None:
        """Return the LEFT JOIN of a lookup and the columns it gives by their new names, None where it cannot be."""
        table = self._tables.get(lookup.collection.casefold())
        foreign = base.column(lookup.foreign)
        key = table.column(lookup.key) if table else None
        if not table or not foreign or not key:
            return None
        values = {column: found[0] for column, names in lookup.values.items() if (found := table.column(names))}
        if not values:
            return None
        mine, theirs = _comparable(f"t.{identifier(foreign[0])}", foreign[1], identifier(key[0]), key[1])
        inner = {column: f"v{n}" for n, column in enumerate(values, 1)}
        shown = [f"{theirs} AS k", *(f"{identifier(values[column])} AS {inner[column]}" for column in values)]
        feed, same_feed = _feed_columns(base, table, alias)
        order = _preference(table, [identifier(value) for value in values.values()])
        text = (
            f"LEFT JOIN (\n    SELECT {', '.join([*feed, *shown])}\n    FROM {table.view}\n"
            f"    QUALIFY row_number() OVER (\n"
            f"        PARTITION BY {', '.join([*_feed_of(table), theirs])}\n        ORDER BY {order}) = 1\n"
            f") AS {alias} ON {' AND '.join([*same_feed, f'{alias}.k = {mine}'])}"
        )
        return text, inner

    def _current_device_users(self) -> str:
        """Return the view of the association in force of each device; later views join to it."""
        base = "userDeviceAssociations"
        lacking = self._lacking(base, [USER_OF_KEY])
        table = self._tables.get(base.casefold())
        device, user = (table.column(["deviceKey"]), table.column(["userKey"])) if table else (None, None)
        if lacking or not table or not device or not user:
            return _left_out(CURRENT, lacking or [f"{base}.deviceKey or userKey"])
        select, gone = self._select(table, [USER_OF_KEY])
        order = [identifier(user[0])]
        if created := table.column(["createdDateTimeUTC"]):
            order.insert(0, f"{identifier(created[0])} DESC NULLS LAST")
        part = ", ".join([*_feed_of(table), identifier(device[0])])
        text = (
            f"SELECT * FROM (\n{select}\n){self._in_force(table)}\n"
            f"QUALIFY row_number() OVER (PARTITION BY {part} ORDER BY {', '.join(order)}) = 1"
        )
        about = f"One row a device: its newest user association that is in force at the start of {self._as_of} (UTC)."
        created_view = self._create(CURRENT, [about, *gone], text)
        columns = {**table.columns, **{c.casefold(): (c, TEXT) for c in USER_OF_KEY.values if f'"{c}"' in select}}
        self._tables[CURRENT] = Table(identifier(self._names.last), columns, table.feed)
        return created_view

    def _in_force(self, table: Table) -> str:
        tests = []
        if deleted := table.column(["isDeleted"]):
            tests.append(f"{identifier(deleted[0])} IS NOT TRUE")
        ended = table.column(["endedDateTimeUTC"])
        if ended and ended[1] == "TIMESTAMPTZ" and re.fullmatch(r"\d{4}-\d\d-\d\d", self._as_of):
            end = identifier(ended[0])
            tests.append(f"({end} IS NULL OR {end} > TIMESTAMPTZ '{self._as_of} 00:00:00+00')")
        return "\nWHERE " + " AND ".join(tests) if tests else ""

    def _compliance_by_day(self) -> str:
        view, base = "compliance_by_day", "devicePropertyHistories"
        lacking = self._lacking(base, [COMPLIANCE])
        table = self._tables.get(base.casefold())
        day, device = (table.column(["dateKey"]), table.column(["deviceKey"])) if table else (None, None)
        joined = self._join(table, COMPLIANCE, "n1") if table else None
        if lacking or not table or not day or not device or not joined:
            return _left_out(view, lacking or [f"the properties of {base} or complianceStates that it needs"])
        select, _ = self._select(table, [COMPLIANCE])
        which = ", ".join([*_feed_of(table), identifier(day[0])])
        text = (
            f'SELECT {which}, "day", "compliance_state",\n'
            f"    count(DISTINCT {identifier(device[0])}) AS devices,\n"
            f"    round(100.0 * count(DISTINCT {identifier(device[0])})\n"
            f"        / sum(count(DISTINCT {identifier(device[0])})) OVER (PARTITION BY {which}), 2) AS percent\n"
            f'FROM (\n{select}\n)\nGROUP BY {which}, "day", "compliance_state"'
        )
        return self._create(view, ["Devices by compliance state and day, and their share of that day in %."], text)


def _comparable(mine: str, my_type: str, theirs: str, their_type: str) -> tuple[str, str]:
    """Return two expressions that can be compared: integers as they are, all else as text, case aside (GUIDs)."""
    if my_type in INTEGERS and their_type in INTEGERS:
        return mine, theirs
    return f"lower(CAST({mine} AS VARCHAR))", f"lower(CAST({theirs} AS VARCHAR))"


def _feed_of(table: Table) -> list[str]:
    return [table.feed] if table.feed else []


def _feed_columns(base: Table, table: Table, alias: str) -> tuple[list[str], list[str]]:
    if not table.feed or not base.feed:
        return [], []
    return [f"{table.feed} AS f"], [f"{alias}.f = t.{base.feed}"]


def _preference(table: Table, values: Iterable[str]) -> str:
    """Return the order in which the first of several rows of one key is taken: in force, newest, then by values."""
    order = []
    for names, direction in (
        (["isCurrent"], "DESC NULLS LAST"),
        (["isDeleted"], "ASC NULLS FIRST"),
        (["rowLastModifiedDateTimeUTC"], "DESC NULLS LAST"),
    ):
        if column := table.column(names):
            order.append(f"{identifier(column[0])} {direction}")
    return ", ".join([*order, *values])


def _left_out(view: str, lacking: Iterable[str]) -> str:
    return commented([f"{view} is left out: this archive lacks {', '.join(lacking)}."])
