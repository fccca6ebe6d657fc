"""`$metadata`: the CSDL document, from the documented model."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from intune_dw_cli.reference import ReferenceCollection, ReferenceProperty
    from intune_dw_cli.sandbox.config import MetadataForm

NAMESPACE = "Microsoft.Management.Services.DataWarehouse.Model"
_CONTAINER = "DataWarehouseContainer"
_EDMX = "http://docs.oasis-open.org/odata/ns/edmx"
_EDM = "http://docs.oasis-open.org/odata/ns/edm"


def document(collections: Sequence[ReferenceCollection], form: MetadataForm) -> str:
    """Return the CSDL document.

    Args:
        collections: The entity sets, in order.
        form: "odd-namespace" writes the same model in the least usual legal way: another prefix, two schemas, an
            alias, and keys in base types. "broken" is cut off in the middle. "missing" is for the caller.
    """
    if form == "odd-namespace":
        return _odd(collections)
    text = _plain(collections)
    return text[: len(text) // 2] if form == "broken" else text


def _plain(collections: Sequence[ReferenceCollection]) -> str:
    types = "".join(_entity_type(c.entity_type, c.key, c.properties) for c in collections)
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        f'<edmx:Edmx Version="4.0" xmlns:edmx="{_EDMX}"><edmx:DataServices>'
        f'<Schema Namespace="{NAMESPACE}" xmlns="{_EDM}">{types}{_container(collections, NAMESPACE)}</Schema>'
        "</edmx:DataServices></edmx:Edmx>"
    )


def _odd(collections: Sequence[ReferenceCollection]) -> str:
    types = "".join(_with_base_type(c) for c in collections)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<x:Edmx xmlns:x="{_EDMX}" xmlns:e="{_EDM}" Version="4.01">\n <x:DataServices>\n'
        f'  <Schema xmlns="{_EDM}" Namespace="Odd.Warehouse.V1.Types" Alias="odd">{types}</Schema>\n'
        f'  <Schema xmlns="{_EDM}" Namespace="Odd.Container">{_container(collections, "odd")}</Schema>\n'
        " </x:DataServices>\n</x:Edmx>"
    )


def _with_base_type(collection: ReferenceCollection) -> str:
    """Split an entity type in two: a base type with the key, and the rest.

    The base type's properties come first in the inherited order, so only leading key columns may move.
    """
    leading = 0
    while leading < len(collection.properties) and collection.properties[leading].name in collection.key:
        leading += 1
    if leading < len(collection.key):
        return _entity_type(collection.entity_type, collection.key, collection.properties)
    base = f"{collection.entity_type}Base"
    return _entity_type(base, collection.key, collection.properties[:leading], ' Abstract="true"') + _entity_type(
        collection.entity_type, (), collection.properties[leading:], f' BaseType="odd.{base}"'
    )


def _entity_type(name: str, key: Sequence[str], properties: Sequence[ReferenceProperty], attributes: str = "") -> str:
    refs = "".join(f"<PropertyRef Name={quoteattr(part)} />" for part in key)
    listed = "".join(
        f'<Property Name={quoteattr(prop.name)} Type="{prop.type}"{"" if prop.nullable else _REQUIRED} />'
        for prop in properties
    )
    keys = f"<Key>{refs}</Key>" if key else ""
    return f"<EntityType Name={quoteattr(name)}{attributes}>{keys}{listed}</EntityType>"


_REQUIRED = ' Nullable="false"'


def _container(collections: Sequence[ReferenceCollection], qualifier: str) -> str:
    sets = "".join(
        f"<EntitySet Name={quoteattr(c.name)} EntityType={quoteattr(f'{qualifier}.{c.entity_type}')} />"
        for c in collections
    )
    return f'<EntityContainer Name="{_CONTAINER}">{sets}</EntityContainer>'
