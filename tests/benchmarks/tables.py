"""The tables that the benchmark serves: a fact table like `devicePropertyHistories`, and what makes a table hard.

A table renders a row as JSON text, by its number. Every value follows from that number, so that two runs serve the
same bytes. `DAY` stands for the DateKey until a page is made for a real day.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

DAY = 20000101
_MODELS = ("DESKTOP", "LAPTOP", "SURFACE", "iPad", "iPhone", "Galaxy", "Pixel", "MacBook")
_SYSTEMS = ("10.0.19045.4412", "10.0.22631.3593", "10.0.26100.1742", "17.5.1", "18.1", "14", "15", "14.6.1")
_CITIES = ("Zürich", "São Paulo", "Łódź", "東京", "Berlin", "Dallas", "Pune", "Kraków")

Render = Callable[[int], str]


@dataclass(frozen=True)
class Column:
    """A property: its name, its Edm type, and the JSON text of its value in a row."""

    name: str
    edm: str
    render: Render


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        columns: In the order they are served.
        annotate: Gives the text that stands before a row's properties (odata.metadata=full), by its number.
        annotated: Whether each property that is no text is preceded by its `@odata.type`.
    """

    columns: tuple[Column, ...]
    annotate: Render | None = None
    annotated: bool = False

    @property
    def texts(self) -> tuple[str, ...]:
        """The names of the text properties."""
        return tuple(c.name for c in self.columns if c.edm == "Edm.String")

    @property
    def has_days(self) -> bool:
        """Whether it has a DateKey."""
        return self.columns[0].name == "dateKey"

    def rows(self, first: int, end: int) -> str:
        """Return the rows of these numbers as JSON text, without the brackets of the array."""
        parts = [(self._lead(c), c.render) for c in self.columns]
        before = self.annotate
        lines = []
        for i in range(first, end):
            text = ",".join([lead + render(i) for lead, render in parts])
            lines.append(f"{{{before(i)},{text}}}" if before else f"{{{text}}}")
        return ",".join(lines)

    def _lead(self, column: Column) -> str:
        lead = f'"{column.name}":'
        if self.annotated and column.edm not in ("Edm.String", "Edm.Boolean"):
            lead = f'"{column.name}@odata.type":"#{column.edm.removeprefix("Edm.")}",{lead}'
        return lead

    def metadata(self, names: Sequence[str]) -> str:
        """Return `$metadata` for collections that are all of this table."""
        key = [c.name for c in self.columns if c.name in ("dateKey", "deviceKey")]
        refs = "".join(f'<PropertyRef Name="{k}" />' for k in key)
        properties = "".join(f'<Property Name="{c.name}" Type="{c.edm}" />' for c in self.columns)
        sets = "".join(f'<EntitySet Name="{n}" EntityType="Bench.row" />' for n in names)
        return (
            '<?xml version="1.0" encoding="utf-8"?>'
            '<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"><edmx:DataServices>'
            '<Schema Namespace="Bench" xmlns="http://docs.oasis-open.org/odata/ns/edm">'
            f'<EntityType Name="row"><Key>{refs}</Key>{properties}</EntityType>'
            f'<EntityContainer Name="Container">{sets}</EntityContainer></Schema></edmx:DataServices></edmx:Edmx>'
        )


def device_key(i: int) -> int:
    """Return the key of a row: unique within a day, not ascending by one."""
    return 100_000 + 3 * i


def _mixed(i: int, salt: int) -> int:
    """Return 32 bits that look random and follow from the number."""
    x = (i * 2654435761 + salt * 40503) & 0xFFFFFFFF
    x ^= x >> 15
    x = (x * 2246822519) & 0xFFFFFFFF
    return x ^ (x >> 13)


def _small(salt: int, most: int) -> Render:
    return lambda i: str(_mixed(i, salt) % most)


def _guid(salt: int) -> Render:
    def render(i: int) -> str:
        a, b, c = _mixed(i, salt), _mixed(i, salt + 1), _mixed(i, salt + 2)
        return f'"{a:08x}-{b >> 16:04x}-4{b & 0xFFF:03x}-a{c >> 20:03x}-{c & 0xFFFFF:05x}{a >> 4:07x}"'

    return render


def _time(salt: int) -> Render:
    def render(i: int) -> str:
        x, y = _mixed(i, salt), _mixed(i, salt + 1)
        clock = f"{x % 24:02d}:{y % 60:02d}:{(x >> 8) % 60:02d}"
        return f'"20{20 + x % 5}-{1 + y % 12:02d}-{1 + (y >> 8) % 28:02d}T{clock}.{y % 10_000_000:07d}Z"'

    return render


def _text(make: Callable[[int], str]) -> Render:
    return lambda i: json.dumps(make(i), ensure_ascii=False)


def _name(i: int) -> str:
    x = _mixed(i, 7)
    return f"{_MODELS[x % 8]}-{x >> 8:06X}"


def _sometimes(render: Render, salt: int, percent: int) -> Render:
    """Return null in that share of the rows."""
    return lambda i: "null" if _mixed(i, salt) % 100 < percent else render(i)


FACT = Table(
    (
        Column("dateKey", "Edm.Int32", lambda _: str(DAY)),
        Column("deviceKey", "Edm.Int64", lambda i: str(device_key(i))),
        Column("deviceId", "Edm.Guid", _guid(11)),
        Column("deviceName", "Edm.String", lambda i: f'"{_name(i)}"'),
        Column("ownerTypeKey", "Edm.Int32", _small(1, 3)),
        Column("managementStateKey", "Edm.Int32", _small(2, 9)),
        Column("azureADRegistered", "Edm.Boolean", lambda i: "true" if _mixed(i, 3) % 8 else "false"),
        Column("complianceStateKey", "Edm.Int32", _small(4, 6)),
        Column("oSVersion", "Edm.String", lambda i: f'"{_SYSTEMS[_mixed(i, 5) % 8]}"'),
        Column("jailBroken", "Edm.Int32", _sometimes(_small(6, 3), 16, 5)),
        Column("enrolledDateTime", "Edm.DateTimeOffset", _time(21)),
        Column("lastContact", "Edm.DateTimeOffset", _sometimes(_time(23), 17, 3)),
        Column("totalStorageSpaceInBytes", "Edm.Int64", lambda i: str((32 << (_mixed(i, 8) % 6)) * 1024**3)),
    )
)


def _with(table: Table, renders: dict[str, Render]) -> Table:
    columns = tuple(replace(c, render=renders.get(c.name, c.render)) for c in table.columns)
    return replace(table, columns=columns)


def _quoted(i: int) -> str:
    x = _mixed(i, 9)
    return (
        f'{_CITIES[x % 8]} "{x >> 12:x}" \\\\srv\\share',
        f'"}},{{"dateKey":{x % 97},"deviceKey":1',
        f"line one\nline two\t],{x}",
        f"{_CITIES[x % 8]} {x:x}",
    )[x % 4]


def _escaped(make: Callable[[int], str]) -> Render:
    """Write text with `\\uXXXX` for all that is not ASCII, as .NET's serializer does."""
    return lambda i: json.dumps(make(i))


def _long(salt: int) -> Callable[[int], str]:
    def make(i: int) -> str:
        x = _mixed(i, salt)
        return " ".join(f"{_CITIES[(x >> k) % 8]}-{_mixed(i, salt + k):x}" for k in range(20 + x % 60))

    return make


def _45_columns() -> Table:
    more = []
    for k in range(8):
        more += [
            Column(f"count{k}", "Edm.Int32", _small(40 + k, 1000)),
            Column(f"label{k}", "Edm.String", lambda i, k=k: f'"{_SYSTEMS[_mixed(i, 50 + k) % 8]}"'),
            Column(f"flag{k}", "Edm.Boolean", lambda i, k=k: "true" if _mixed(i, 60 + k) % 2 else "false"),
            Column(f"changed{k}", "Edm.DateTimeOffset", _time(70 + 2 * k)),
        ]
    return Table(FACT.columns + tuple(more))


def _many_nulls() -> Table:
    return _with(FACT, {c.name: _sometimes(c.render, 100 + n, 80) for n, c in enumerate(FACT.columns) if n > 1})


def _annotated(i: int) -> str:
    key = device_key(i)
    link = f"http://localhost/DataWarehouseFEService/devicePropertyHistories(dateKey={DAY},deviceKey={key})"
    return f'"@odata.type":"#Bench.row","@odata.id":"{link}","@odata.editLink":"{link}"'


TABLES: dict[str, Table] = {
    "fact": FACT,
    "chain": Table(FACT.columns[1:]),
    "quotes": _with(FACT, {"deviceName": _text(_quoted), "oSVersion": _escaped(_quoted)}),
    "45-columns": _45_columns(),
    "nulls": _many_nulls(),
    "wide-text": _with(FACT, {"deviceName": _text(_long(31)), "oSVersion": _text(_long(131))}),
    "int64-text": _with(
        FACT, {c.name: lambda i, r=c.render: f'"{r(i)}"' for c in FACT.columns if c.edm == "Edm.Int64"}
    ),
    "full-metadata": replace(FACT, annotate=_annotated, annotated=True),
}
"""By case: `fact` is the plain one, `chain` has no DateKey, the others are hostile."""

HOSTILE = tuple(name for name in TABLES if name not in ("fact", "chain"))
