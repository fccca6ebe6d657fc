"""How the service's model differs from another one: the documentation, or what it was at the last backup."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from intune_dw_cli.reference import ReferenceCollection
from intune_dw_cli.service.warehouse import EntitySet

Model = Mapping[str, Mapping[str, str]]
"""Edm types by property name, by collection name."""


@dataclass(frozen=True, slots=True, order=True)
class Drift:
    """One difference.

    Attributes:
        collection: The entity set.
        property: The property, empty where the collection itself was added or removed.
        change: What became of it, seen from the older model.
        before, after: Edm types; empty where there is none.
    """

    collection: str
    property: str
    change: Literal["added", "removed", "retyped"]
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        what = f"{self.collection}.{self.property}" if self.property else f"collection {self.collection}"
        return f"{what} {self.change}" + (f" from {self.before} to {self.after}" if self.change == "retyped" else "")


def find_drift(before: Model, after: Model) -> tuple[Drift, ...]:
    """Return the differences, in order of names. Names are compared case aside, as the service's spelling varies."""
    old = {name.casefold(): (name, properties) for name, properties in before.items()}
    new = {name.casefold(): (name, properties) for name, properties in after.items()}
    found = [Drift(old[key][0], "", "removed") for key in old.keys() - new.keys()]
    found += [Drift(new[key][0], "", "added") for key in new.keys() - old.keys()]
    for key in old.keys() & new.keys():
        found += _property_drift(new[key][0], old[key][1], new[key][1])
    return tuple(sorted(found))


def _property_drift(collection: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterable[Drift]:
    old = {name.casefold(): (name, kind) for name, kind in before.items()}
    new = {name.casefold(): (name, kind) for name, kind in after.items()}
    for key in old.keys() | new.keys():
        if key not in new:
            yield Drift(collection, old[key][0], "removed", before=old[key][1])
        elif key not in old:
            yield Drift(collection, new[key][0], "added", after=new[key][1])
        elif old[key][1] != new[key][1]:
            yield Drift(collection, new[key][0], "retyped", before=old[key][1], after=new[key][1])


def model_of(entity_sets: Iterable[EntitySet]) -> Model:
    """Return the model that the service declares."""
    return {e.name: {p.name: p.type for p in e.entity_type.properties} for e in entity_sets}


def documented_model(documented: Iterable[ReferenceCollection]) -> Model:
    """Return the model of the documented v1.0 collections."""
    return {c.name: {p.name: p.type for p in c.properties} for c in documented if c.v1_listed}
