"""Schemas, pages and an independent conversion of JSON values, for the tests of this folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from intune_dw_cli.data.schema import CollectionSchema
from intune_dw_cli.service.csdl import EntityType, Property
from intune_dw_cli.service.page import Page, read_page

INTEGERS = {
    "Edm.Byte": (0, 2**8 - 1),
    "Edm.SByte": (-(2**7), 2**7 - 1),
    "Edm.Int16": (-(2**15), 2**15 - 1),
    "Edm.Int32": (-(2**31), 2**31 - 1),
    "Edm.Int64": (-(2**63), 2**63 - 1),
}


def schema_of(*properties: Property | tuple[str, str], key: tuple[str, ...] = ()) -> CollectionSchema:
    declared = tuple(p if isinstance(p, Property) else Property(*p) for p in properties)
    date_key = next((p.name for p in declared if p.name.lower() == "datekey"), None)
    return CollectionSchema.of("things", EntityType("ns.Thing", key, declared), date_key)


def page_of(rows: str | Sequence[Any], link: str | None = None, **spacing: Any) -> Page:
    """A page with these rows, given as values or as JSON text."""
    spacing = spacing or {"separators": (",", ":")}
    text = rows if isinstance(rows, str) else json.dumps(rows, **spacing)
    tail = "" if link is None else f',"@odata.nextLink":{json.dumps(link)}'
    return read_page(f'{{"value":{text}{tail}}}'.encode(), url="https://h/things", request_id="r-1")


def unframed(page: Page) -> Page:
    """The same page, for which only a full parse is left."""
    return Page(page.body, page.url, page.request_id, None, page.next_link)


def converted(value: Any, edm_type: str) -> Any:
    """What a value parsed with json.loads(parse_float=Decimal) is in Python; ValueError where it does not fit."""
    if value is None:
        return None
    if edm_type in INTEGERS:
        low, high = INTEGERS[edm_type]
        if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
            raise ValueError
        number = Decimal(value)
        if number != number.to_integral_value() or not low <= number <= high:
            raise ValueError
        return int(number)
    if edm_type == "Edm.Boolean":
        return {True: True, False: False, "true": True, "false": False, "0": False, "1": True}[value]
    if edm_type == "Edm.Double":
        return float(value)
    if edm_type == "Edm.Decimal":
        return Decimal(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
