"""views.sql: an archive as tables for DuckDB, one view a collection, and the star schema's joins ready made.

A pure function of the manifest's content. Only files that the manifest lists are read. Two rules carry all of it:

- Rows of two feeds are never joined to each other: after a data-center move the service's keys begin anew.
- A join adds columns to rows and never rows: what is joined is first brought down to one row a key.
"""

# ruff: noqa: S608 - SQL is what this module is for: every name and text goes through _name, _literal or _comment.

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from intune_dw_cli.data.schema import ADDITIONAL
from intune_dw_cli.reference import reference

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
_TEXT = "VARCHAR"
_INTEGERS = {"UTINYINT", "TINYINT", "SMALLINT", "INTEGER", "BIGINT"}
_CSV = r"""auto_detect = false, header = true, delim = ',', quote = '"', escape = '"', new_line = '\n',
    nullstr = '', allow_quoted_nulls = false"""
_HIVE = re.compile(r"/dateKey=\d+/[^/]+$")
_WIDTH = 116


def render_views(content: Mapping[str, Any]) -> str:
    """Return views.sql for an archive: SQL for DuckDB 1.1 or newer, to be run with the archive's folder as cwd.

    Args:
        content: The `content` of manifest.json. Missing optional fields count as empty.
    """
    entries: dict[str, list[Mapping[str, Any]]] = {}
    for entry in content.get("collections") or ():
        entries.setdefault(str(entry["name"]), []).append(entry)
    feeds = _feeds(content)
    names = _Names()
    blocks = [_header(content, feeds)]
    tables: dict[str, _Table] = {}
    for name, held in entries.items():
        text, table = _collection(names.take(name), name, held, len(feeds) > 1)
        blocks.append(text)
        if table:
            tables.setdefault(name.casefold(), table)
    blocks.append("-- Ready joins. Each adds names to rows, within one feed, and never adds rows.\n")
    star = _Star(tables, names, str(content.get("as_of") or ""))
    blocks += star.views()
    if len(feeds) > 1:
        blocks.append(_feeds_view(names.take("feeds"), feeds))
    return "\n".join(blocks)


def _feeds(content: Mapping[str, Any]) -> list[str]:
    """Return the feed URLs, one a feed that any collection names."""
    feeds = [str(f) for f in content.get("feeds") or [content.get("source") or ""]]
    highest = max((int(c.get("feed") or 1) for c in content.get("collections") or ()), default=1)
    return feeds + ["?"] * (highest - len(feeds))


def _header(content: Mapping[str, Any], feeds: Sequence[str]) -> str:
    lines = [
        "The archive as DuckDB views (DuckDB 1.1 or newer). In the archive's folder, for instance:",
        "",
        '    duckdb -init views.sql -c "SELECT * FROM compliance_by_day ORDER BY ALL"',
        "",
        f"Made by {content.get('tool')}; state {content.get('state')}; as of {content.get('as_of')}.",
        "",
        f"Types are those of the service's $metadata. {_format_note(content)}",
        f"{ADDITIONAL} holds, as JSON, properties that $metadata did not declare.",
    ]
    if len(feeds) > 1:
        lines += [
            "",
            "This archive goes on over a data-center move. The column feed says which feed a row came from;",
            "keys begin anew with each feed, so join with it: ... ON a.feed = b.feed AND a.userKey = b.userKey",
            *(f"    feed {number}: {url}" for number, url in enumerate(feeds, 1)),
        ]
    return _comment(lines) + "\n-- Times are shown in UTC, as the warehouse counts its days.\nSET TimeZone = 'UTC';\n"


def _format_note(content: Mapping[str, Any]) -> str:
    if content.get("format") == "parquet":
        return "The Parquet files carry them."
    return 'In CSV an empty field is null and "" is empty text; Decimal and Binary stay text.'


# -- collections ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Table:
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
            nulls = ", ".join(f"NULL::{kind} AS {_name(column)}" for column, kind in self.columns.items())
            return f"SELECT {leading}{nulls} WHERE false"
        hive = self.date_key == "dateKey" and all(_HIVE.search(path) for path in self.paths)
        # The folder's name says the day: a filter on dateKey opens only the files it needs.
        how = "hive_partitioning = true, hive_types = {'dateKey': INTEGER}" if hive else "hive_partitioning = false"
        files = _wrap([_literal(path) for path in sorted(set(self.paths))])
        if parquet:
            return f"SELECT {leading}* FROM read_parquet([\n{files}],\n    {how})"
        columns = _wrap([f"{_literal(column)}: {_literal(kind)}" for column, kind in self.columns.items()])
        return f"SELECT {leading}* FROM read_csv([\n{files}],\n    columns = {{\n{columns}}},\n    {_CSV},\n    {how})"


def _collection(view: str, name: str, held: Sequence[Mapping[str, Any]], several: bool) -> tuple[str, _Table | None]:
    """Return the text for a collection, and its table where its columns are known."""
    sources = [source for entry in held for source in _sources(entry)]
    comment = _comment(_about(name, held))
    if not sources:
        return comment + "-- Nothing was read yet, so its columns are not known: no view.\n", None
    columns = _merged(sources)
    feed = _name(_Names(columns).take("feed")) if several else None
    parquet = any(path.endswith(".parquet") for source in sources for path in source.paths)
    selects = "\nUNION ALL BY NAME\n".join(source.sql(feed, parquet) for source in sources)
    text = f"{comment}CREATE OR REPLACE VIEW {_name(view)} AS\n{selects};\n"
    return text, _Table(_name(view), columns, feed)


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
        if personal := [p.name for p in documented.properties if p.personal]:
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
    names = _Names()
    columns = {names.take(str(c["name"])): _TYPES.get(str(c["type"]), _TEXT) for c in schema.get("columns") or ()}
    if additional:
        columns[names.take(ADDITIONAL)] = _TEXT
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
    return "BIGINT" if {one, other} <= _INTEGERS else _TEXT


# -- the star schema ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Lookup:
    """Columns that another collection adds to a row.

    Attributes:
        collection: Where they come from.
        foreign: Spellings of the row's own property.
        key: Spellings of the property that it equals.
        values: Names of the new columns, each with the spellings of the property that it shows.
        needed: Whether the view is left out where the archive has no such collection.
    """

    collection: str
    foreign: tuple[str, ...]
    key: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]]
    needed: bool = True


def _state(column: str, collection: str, stem: str, name: str, *, needed: bool = True) -> _Lookup:
    """Return a lookup whose foreign key is documented as `stem` or `stemKey` (other_spellings in the reference)."""
    keys = (f"{stem}Key", stem)
    return _Lookup(collection, keys, keys, {column: (name, f"{stem}Name", stem)}, needed)


_OWNER = _state("owner_type", "ownerTypes", "ownerType", "ownerTypeName")
_COMPLIANCE = _state("compliance_state", "complianceStates", "complianceState", "complianceStatus")
_CATEGORY = _state("device_category", "deviceCategories", "deviceCategory", "deviceCategoryName")
_REGISTRATION = _state(
    "registration_state", "deviceRegistrationStates", "deviceRegistrationState", "deviceRegistrationStateName"
)
_MANAGEMENT = _state("management_state", "managementStates", "managementState", "managementStateName")
_DEVICE_TYPE = _state("device_type", "deviceTypes", "deviceType", "deviceTypeName")
_ENROLLMENT = _state(
    "enrollment_type", "deviceEnrollmentTypes", "deviceEnrollmentType", "deviceEnrollmentTypeName", needed=False
)
_AGENT = _Lookup(
    "managementAgentTypes",
    ("managementAgentKey", "managementAgentTypeKey"),
    ("managementAgentTypeKey", "managementAgentKey"),
    {"management_agent": ("managementAgentTypeName", "managementAgentName")},
    needed=False,
)
_STATES = (_OWNER, _COMPLIANCE, _CATEGORY, _REGISTRATION, _MANAGEMENT)
_USER = {"name": ("displayName",), "principal_name": ("userPrincipalName",), "email": ("userEmail",)}
_PRIMARY_USER = _Lookup(
    "users", ("userId", "primaryUser"), ("userId",), {f"primary_user_{k}": v for k, v in _USER.items()}
)
_USER_OF_KEY = _Lookup("users", ("userKey",), ("userKey",), {f"current_user_{k}": v for k, v in _USER.items()})
_CURRENT = "current_device_users"
_CURRENT_USER = _Lookup(
    _CURRENT,
    ("deviceKey",),
    ("deviceKey",),
    {"current_user_key": ("userKey",), "current_user_since": ("createdDateTimeUTC",)}
    | {column: (column,) for column in _USER_OF_KEY.values},
    needed=False,
)
_APP = _Lookup(
    "appRevisions",
    ("appKey",),
    ("appKey",),
    {
        "app_title": ("title",),
        "app_publisher": ("publisher",),
        "app_revision": ("revision",),
        "application_id": ("applicationId",),
    },
)
_INSTALL = _Lookup(
    "mobileAppInstallStates",
    ("appInstallStateKey",),
    ("appInstallStateKey",),
    {"install_state": ("appInstallStateName",)},
)
_POLICY = _Lookup("policies", ("policyKey",), ("policyKey",), {"policy_name": ("policyName",)})
_PLATFORM = _Lookup(
    "policyPlatformTypes",
    ("policyPlatformKey", "policyPlatformTypeKey"),
    ("policyPlatformTypeKey", "policyPlatformKey"),
    {"policy_platform": ("policyPlatformTypeName",)},
    needed=False,
)


class _Star:
    """Writes the join views that the tables allow."""

    def __init__(self, tables: Mapping[str, _Table], names: _Names, as_of: str) -> None:
        self._tables = dict(tables)
        self._names = names
        self._as_of = as_of

    def views(self) -> list[str]:
        """Return the text of each view, or a comment that says why it is left out."""
        return [
            self._plain(
                "device_history",
                "devicePropertyHistories",
                _STATES,
                "Every device on every day, with the names of its states. A row a row of devicePropertyHistories.",
            ),
            self._current_device_users(),
            self._plain(
                "device_users",
                "devices",
                (*_STATES, _DEVICE_TYPE, _ENROLLMENT, _AGENT, _PRIMARY_USER, _CURRENT_USER),
                "Devices with the names of their states, their primary user (userId) and their current user "
                "(the association in force). A row a row of devices.",
            ),
            self._compliance_by_day(),
            self._plain(
                "policy_compliance_by_day",
                "compliancePolicyStatusDevicePerPolicyActivities",
                (_POLICY, _PLATFORM),
                "Devices by compliance policy and day, with the policy's name.",
            ),
            self._plain(
                "app_install_states_by_day",
                "mobileAppInstallStatusCounts",
                (_APP, _DEVICE_TYPE, _INSTALL),
                "Installations by app, device type, state and day, with the app's title.",
            ),
        ]

    def _plain(self, view: str, base: str, lookups: Sequence[_Lookup], about: str) -> str:
        lacking = self._lacking(base, lookups)
        if lacking:
            return _left_out(view, lacking)
        select, gone = self._select(self._tables[base.casefold()], lookups)
        return self._create(view, [about, *gone], select)

    def _create(self, view: str, about: Sequence[str], select: str) -> str:
        return f"{_comment([f'{view}:', *about])}CREATE OR REPLACE VIEW {_name(self._names.take(view))} AS\n{select};\n"

    def _lacking(self, base: str, lookups: Sequence[_Lookup]) -> list[str]:
        wanted = [base, *(lookup.collection for lookup in lookups if lookup.needed)]
        return [name for name in wanted if name.casefold() not in self._tables]

    def _select(self, base: _Table, lookups: Sequence[_Lookup]) -> tuple[str, list[str]]:
        """Return the SELECT of all rows of a table with what lookups add, and a line for each thing that is lacking."""
        names = _Names([*base.columns, *([base.feed.strip('"')] if base.feed else [])])
        shown, joins, gone = ["t.*"], [], []
        if day := base.column(["dateKey"]):
            text = f"CAST(t.{_name(day[0])} AS VARCHAR)"
            shown.append(f"CAST(try_strptime({text}, '%Y%m%d') AS DATE) AS {_name(names.take('day'))}")
        for number, lookup in enumerate(lookups, 1):
            joined = self._join(base, lookup, f"n{number}")
            if joined is None:
                gone.append(f"Without {', '.join(lookup.values)}: {lookup.collection} does not give it here.")
                continue
            join, columns = joined
            joins.append(join)
            shown += [f"n{number}.{inner} AS {_name(names.take(column))}" for column, inner in columns.items()]
        text = "SELECT " + ",\n    ".join(shown) + f"\nFROM {base.view} AS t"
        return "\n".join([text, *joins]), gone

    def _join(self, base: _Table, lookup: _Lookup, alias: str) -> tuple[str, dict[str, str]] | None:
        """Return the LEFT JOIN of a lookup and the columns it gives by their new names, None where it cannot be."""
        table = self._tables.get(lookup.collection.casefold())
        foreign = base.column(lookup.foreign)
        key = table.column(lookup.key) if table else None
        if not table or not foreign or not key:
            return None
        values = {column: found[0] for column, names in lookup.values.items() if (found := table.column(names))}
        if not values:
            return None
        mine, theirs = _comparable(f"t.{_name(foreign[0])}", foreign[1], _name(key[0]), key[1])
        inner = {column: f"v{n}" for n, column in enumerate(values, 1)}
        shown = [f"{theirs} AS k", *(f"{_name(values[column])} AS {inner[column]}" for column in values)]
        feed, same_feed = _feed_columns(base, table, alias)
        order = _preference(table, [_name(value) for value in values.values()])
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
        lacking = self._lacking(base, [_USER_OF_KEY])
        table = self._tables.get(base.casefold())
        device, user = (table.column(["deviceKey"]), table.column(["userKey"])) if table else (None, None)
        if lacking or not table or not device or not user:
            return _left_out(_CURRENT, lacking or [f"{base}.deviceKey or userKey"])
        select, gone = self._select(table, [_USER_OF_KEY])
        order = [_name(user[0])]
        if created := table.column(["createdDateTimeUTC"]):
            order.insert(0, f"{_name(created[0])} DESC NULLS LAST")
        part = ", ".join([*_feed_of(table), _name(device[0])])
        text = (
            f"SELECT * FROM (\n{select}\n){self._in_force(table)}\n"
            f"QUALIFY row_number() OVER (PARTITION BY {part} ORDER BY {', '.join(order)}) = 1"
        )
        about = f"One row a device: its newest user association that is in force at the start of {self._as_of} (UTC)."
        created_view = self._create(_CURRENT, [about, *gone], text)
        columns = {**table.columns, **{c.casefold(): (c, _TEXT) for c in _USER_OF_KEY.values if f'"{c}"' in select}}
        self._tables[_CURRENT] = _Table(_name(self._names.last), columns, table.feed)
        return created_view

    def _in_force(self, table: _Table) -> str:
        tests = []
        if deleted := table.column(["isDeleted"]):
            tests.append(f"{_name(deleted[0])} IS NOT TRUE")
        ended = table.column(["endedDateTimeUTC"])
        if ended and ended[1] == "TIMESTAMPTZ" and re.fullmatch(r"\d{4}-\d\d-\d\d", self._as_of):
            end = _name(ended[0])
            tests.append(f"({end} IS NULL OR {end} > TIMESTAMPTZ '{self._as_of} 00:00:00+00')")
        return "\nWHERE " + " AND ".join(tests) if tests else ""

    def _compliance_by_day(self) -> str:
        view, base = "compliance_by_day", "devicePropertyHistories"
        lacking = self._lacking(base, [_COMPLIANCE])
        table = self._tables.get(base.casefold())
        day, device = (table.column(["dateKey"]), table.column(["deviceKey"])) if table else (None, None)
        joined = self._join(table, _COMPLIANCE, "n1") if table else None
        if lacking or not table or not day or not device or not joined:
            return _left_out(view, lacking or [f"the properties of {base} or complianceStates that it needs"])
        select, _ = self._select(table, [_COMPLIANCE])
        which = ", ".join([*_feed_of(table), _name(day[0])])
        text = (
            f'SELECT {which}, "day", "compliance_state",\n'
            f"    count(DISTINCT {_name(device[0])}) AS devices,\n"
            f"    round(100.0 * count(DISTINCT {_name(device[0])})\n"
            f"        / sum(count(DISTINCT {_name(device[0])})) OVER (PARTITION BY {which}), 2) AS percent\n"
            f'FROM (\n{select}\n)\nGROUP BY {which}, "day", "compliance_state"'
        )
        return self._create(view, ["Devices by compliance state and day, and their share of that day in %."], text)


def _comparable(mine: str, my_type: str, theirs: str, their_type: str) -> tuple[str, str]:
    """Return two expressions that can be compared: integers as they are, all else as text, case aside (GUIDs)."""
    if my_type in _INTEGERS and their_type in _INTEGERS:
        return mine, theirs
    return f"lower(CAST({mine} AS VARCHAR))", f"lower(CAST({theirs} AS VARCHAR))"


def _feed_of(table: _Table) -> list[str]:
    return [table.feed] if table.feed else []


def _feed_columns(base: _Table, table: _Table, alias: str) -> tuple[list[str], list[str]]:
    if not table.feed or not base.feed:
        return [], []
    return [f"{table.feed} AS f"], [f"{alias}.f = t.{base.feed}"]


def _preference(table: _Table, values: Iterable[str]) -> str:
    """Return the order in which the first of several rows of one key is taken: in force, newest, then by values."""
    order = []
    for names, direction in (
        (["isCurrent"], "DESC NULLS LAST"),
        (["isDeleted"], "ASC NULLS FIRST"),
        (["rowLastModifiedDateTimeUTC"], "DESC NULLS LAST"),
    ):
        if column := table.column(names):
            order.append(f"{_name(column[0])} {direction}")
    return ", ".join([*order, *values])


def _left_out(view: str, lacking: Iterable[str]) -> str:
    return _comment([f"{view} is left out: this archive lacks {', '.join(lacking)}."])


def _feeds_view(view: str, feeds: Sequence[str]) -> str:
    rows = ",\n    ".join(f"({number}, {_literal(url)})" for number, url in enumerate(feeds, 1))
    comment = _comment(["The feeds that this archive was read from, in order."])
    return f"{comment}CREATE OR REPLACE VIEW {_name(view)} AS\nSELECT * FROM (VALUES\n    {rows}) AS f(feed, url);\n"


# -- text -----------------------------------------------------------------------------------------------------


class _Names:
    """Keeps names apart that SQL takes for one: it does not look at case."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = {name.casefold() for name in taken}
        self.last = ""

    def take(self, name: str) -> str:
        """Return the name, with a number behind it where it is taken already."""
        clean, number = _clean(name) or "_", 1
        chosen = clean
        while chosen.casefold() in self._taken:
            chosen, number = f"{clean}_{number}", number + 1
        self._taken.add(chosen.casefold())
        self.last = chosen
        return chosen


def _clean(text: str) -> str:
    """Return text without what could end a line, hide or turn round what follows, or is no character at all."""
    return "".join("\ufffd" if unicodedata.category(c) in _UNSEEN else c for c in text)


_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def _name(text: str) -> str:
    return '"' + _clean(text).replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + _clean(text).replace("'", "''") + "'"


def _comment(lines: Iterable[str]) -> str:
    wrapped = [row for line in lines for row in (_fold(_clean(line)) if len(line) > _WIDTH else [_clean(line)])]
    return "".join(f"-- {line}".rstrip() + "\n" for line in wrapped)


def _fold(line: str) -> list[str]:
    return textwrap.wrap(line, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _wrap(items: Sequence[str]) -> str:
    """Return the items, with commas, on as few lines as they fit."""
    lines: list[str] = []
    for position, item in enumerate(items):
        text = item + ("," if position < len(items) - 1 else "")
        if lines and len(lines[-1]) + len(text) < _WIDTH:
            lines[-1] += f" {text}"
        else:
            lines.append(f"        {text}")
    return "\n".join(lines)
