"""The documented v1.0 model of the Intune Data Warehouse (collections.json), as typed records.

It describes and explains; the service's `$metadata` decides. Names are compared case-insensitively because the
documentation and the service spell them differently (`oSVersion`, `osVersion`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from intune_dw_cli import jsontext

Kind = Literal["fact", "dimension", "lookup"]


@dataclass(frozen=True, slots=True)
class ReferenceProperty:
    """One documented property: its Edm type, what it means and what it joins to (`collection.property`).

    Attributes:
        spellings: How the service spells it elsewhere (`ICCD` is `iccid` in some schemas).
        personal: Whether its values say something of a person.
    """

    name: str
    type: str
    nullable: bool
    description: str
    references: str | None
    personal: bool
    spellings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReferenceCollection:
    """One documented collection.

    Attributes:
        kind: fact, dimension or lookup.
        date_key: whether `dateKey` is part of the key, so that a DateKey filter takes effect.
        retention_days: documented days of history, None where the documentation gives no figure.
        row_last_modified: the property that `--modified-since` filters on, if the collection has one.
        lookup_rows: documented rows of a lookup, without surrogate keys.
        v1_listed: whether the v1.0 page lists it.
        undocumented: names of properties that the documentation lacks but public schemas show; none is personal.
    """

    name: str
    entity_type: str
    category: str
    kind: Kind
    description: str
    date_key: bool
    retention_days: int | None
    row_last_modified: str | None
    key: tuple[str, ...]
    properties: tuple[ReferenceProperty, ...]
    lookup_rows: tuple[Mapping[str, Any], ...]
    v1_listed: bool
    undocumented: tuple[str, ...] = ()

    def property(self, name: str) -> ReferenceProperty | None:
        """Return the documented property of that name, or of that other spelling, case aside; None for no such."""
        folded = name.casefold()
        named = (p for p in self.properties if p.name.casefold() == folded)
        spelled = (p for p in self.properties if folded in map(str.casefold, p.spellings))
        return next(named, None) or next(spelled, None)


@cache
def reference() -> Mapping[str, ReferenceCollection]:
    """Return the documented collections by case-folded name, in documented order."""
    document = jsontext.loads(files(__name__).joinpath("collections.json").read_text(encoding="utf-8"))
    return {c["name"].casefold(): _collection(c) for c in document["collections"] if "same_as" not in c}


def _collection(raw: Mapping[str, Any]) -> ReferenceCollection:
    personal = set(raw["personal_data"])
    return ReferenceCollection(
        name=raw["name"],
        entity_type=raw["entity_type"],
        category=raw["category"],
        kind=raw["kind"],
        description=raw["description"],
        date_key=raw["date_key"],
        retention_days=raw["retention_days"],
        row_last_modified=raw["row_last_modified"],
        key=tuple(raw["key"]),
        properties=tuple(
            ReferenceProperty(
                name=p["name"],
                type=p["type"],
                nullable=p["nullable"],
                description=p["description"],
                references=p["references"],
                personal=p["name"] in personal,
                spellings=tuple(s["name"] for s in p.get("other_spellings", ())),
            )
            for p in raw["properties"]
        ),
        lookup_rows=tuple(raw["lookup_rows"]),
        v1_listed=raw["v1_listed"],
        undocumented=tuple(raw.get("public_only_properties", ())),
    )
