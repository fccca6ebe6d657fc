"""The shape that JSON must have before it is believed: the types of its values, wherever something relies on them.

A shape is a type (`int` is no bool), None for null, a tuple of shapes for any of them, a list of one shape for an array
of it, a dict for an object with at least these members (`Maybe` for one that may be absent), or `Every` for an object
whose members all have one shape.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Any

_YEARS = range(2000, 9000)
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Every:
    """An object whose members have any names and one shape."""

    shape: Any


@dataclass(frozen=True, slots=True)
class Maybe:
    """A member that may be absent."""

    shape: Any


def require(raw: object, shape: Any) -> None:
    """Check a JSON value against a shape.

    Raises:
        KeyError: a member is missing.
        TypeError: a value is of another type, or a text that UTF-8 cannot hold.
    """
    if type(raw) is shape and (not isinstance(raw, str) or raw.isascii()):
        return  # nearly always
    match shape:
        case tuple():
            _require_any(raw, shape)
        case dict() if isinstance(raw, dict):
            _require_members(raw, shape)
        case list() if isinstance(raw, list):
            for item in raw:
                require(item, shape[0])
        case Every() if isinstance(raw, dict):
            for item in raw.values():
                require(item, shape.shape)
        case type() if isinstance(raw, shape) and (shape is bool or not isinstance(raw, bool)):
            if isinstance(raw, str) and _SURROGATE.search(raw):
                raise TypeError("a text that no file can hold")
        case None if raw is None:
            pass
        case _:
            raise TypeError(f"{type(raw).__name__} is not of the shape that is wanted")


def require_day(text: str) -> None:
    """Check an ISO day from which days are counted, some of them backwards. Raises ValueError."""
    if dt.date.fromisoformat(text).year not in _YEARS:
        raise ValueError(text)


def _require_members(raw: dict[str, object], shape: dict[str, Any]) -> None:
    for name, inner in shape.items():
        if not isinstance(inner, Maybe):
            require(raw[name], inner)
        elif name in raw:
            require(raw[name], inner.shape)


def _require_any(raw: object, shapes: tuple[Any, ...]) -> None:
    if not isinstance(raw, str) and (None if raw is None else type(raw)) in shapes:
        return  # nearly always
    for shape in shapes:
        try:
            require(raw, shape)
        except (KeyError, TypeError):
            continue
        return
    raise TypeError(f"{type(raw).__name__} is of none of the shapes that are wanted")
