"""JSON as RFC 8259 has it, and numbers with the digits that they came with.

Python's `json.loads` takes the bare words NaN, Infinity and -Infinity for numbers. They are no JSON (RFC 8259 6): OData
writes them as strings (OData 4.0 JSON Format 7.1), and no other reader of an archive would take them. So whoever reads
JSON in this package does it here.
"""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

_INT_DIGITS = 640  # Python converts so many, whatever its limit is set to


class Served(Decimal):
    """A JSON number that keeps its digits as served: `1e5` and `-0` are not what `str` would make of them.

    Attributes:
        text: The number as it stood in the text.
    """

    __slots__ = ("text",)
    text: str


def loads(text: str | bytes) -> Any:
    """Parse a JSON text. Raises ValueError where it is none, RecursionError where it is nested too deeply."""
    return json.loads(text, parse_constant=_refuse)


def loads_exact(text: str | bytes) -> Any:
    """Parse a JSON text; numbers stay exact: int or Served. Raises as `loads` does."""
    return json.loads(text, parse_constant=_refuse, parse_float=_served, parse_int=_whole)


def first_value(text: str) -> Any:
    """Parse the value with which a text begins, whatever follows. Raises as `loads` does."""
    return _DECODER.raw_decode(text)[0]


def dumps_exact(value: Any) -> str:
    """Serialise compactly what `loads_exact` gave, digit for digit. Raises RecursionError."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{dumps_exact(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dumps_exact, value)) + "]"
    if isinstance(value, Served):
        return value.text
    return json.dumps(value, ensure_ascii=False)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"a bare {constant} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def _whole(digits: str) -> int | Served:
    return int(digits) if len(digits) <= _INT_DIGITS and digits != "-0" else _served(digits)


def _served(digits: str) -> Served:
    try:
        number = Served(digits)
    except InvalidOperation:
        raise ValueError("an exponent that no number has") from None
    number.text = digits
    return number
