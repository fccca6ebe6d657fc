"""Lookup tables: the documented rows, surrogate keys, and the sentinel row -1 "Not Available"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from intune_dw_cli.reference import reference
from intune_dw_cli.sandbox.timestamps import midnight
from intune_dw_cli.sandbox.words import EXTENSION_VERSIONS, INSTALL_STATES, POLICY_TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from intune_dw_cli.reference import ReferenceCollection, ReferenceProperty
    from intune_dw_cli.sandbox.generate.source import Record

NOT_AVAILABLE = "Not Available"
SENTINEL_KEY = -1
_LOADED = midnight(736_000)
"""When the service filled its lookup tables; any day before every tenant's history does."""

_UNDOCUMENTED: Mapping[str, list[dict[str, Any]]] = {
    "mobileAppInstallStates": [{"appInstallState": code, "appInstallStateName": name} for code, name in INSTALL_STATES],
    "policyTypes": [{"policyTypeId": number, "policyTypeName": name} for number, name in enumerate(POLICY_TYPES)],
    "intuneManagementExtensionVersions": [{"extensionVersion": text} for text in EXTENSION_VERSIONS],
}
"""Lookups whose rows the documentation does not list."""


class Lookups:
    """All lookup tables by collection name, and the keys that facts may point to."""

    def __init__(self) -> None:
        self.records: dict[str, list[Record]] = {
            collection.name: _records(collection)
            for collection in reference().values()
            if collection.kind == "lookup" and collection.v1_listed
        }

    def keys(self, name: str) -> list[int]:
        """Return the surrogate keys of a lookup in row order, the sentinel left out."""
        key = _collection(name).key[0]
        return [row[key] for row in self.records[name] if row[key] != SENTINEL_KEY]

    def key_of(self, name: str, label: str) -> int:
        """Return the surrogate key of the row that holds the text `label`."""
        key = _collection(name).key[0]
        return next(int(row[key]) for row in self.records[name] if label in row.values())


def _collection(name: str) -> ReferenceCollection:
    return reference()[name.casefold()]


def _records(collection: ReferenceCollection) -> list[Record]:
    """Complete the known rows of a lookup; a documented "Not Available" row is the sentinel itself."""
    known = [dict(row) for row in collection.lookup_rows or _UNDOCUMENTED[collection.name]]
    key = collection.key[0]
    records: list[Record] = []
    for row in known:
        sentinel = NOT_AVAILABLE in row.values()
        surrogate = row.get(key, SENTINEL_KEY if sentinel else len(records) + 1)
        records.append(_complete(collection, row, surrogate))
    if all(row[key] != SENTINEL_KEY for row in records):
        records.insert(0, _complete(collection, {}, SENTINEL_KEY))
    return records


def _complete(collection: ReferenceCollection, row: Mapping[str, Any], surrogate: int) -> Record:
    """Fill what the documentation leaves open in a row, in property order."""
    key = collection.key[0]
    return {
        prop.name: row.get(prop.name, surrogate if prop.name == key else _default(prop, surrogate))
        for prop in collection.properties
    }


def _default(prop: ReferenceProperty, surrogate: int) -> Any:
    if prop.type == "Edm.Int32":
        return surrogate if surrogate == SENTINEL_KEY else surrogate - 1
    if prop.type == "Edm.DateTimeOffset":
        return _LOADED
    if prop.type == "Edm.Guid":
        return None
    if prop.name.casefold().endswith("id"):
        return str(surrogate if surrogate == SENTINEL_KEY else surrogate - 1)
    return NOT_AVAILABLE
