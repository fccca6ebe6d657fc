"""The shape that JSON must have before it is believed: the types of its values, wherever something relies on them.

A shape is a type (`int` is no bool), None for null, a tuple of shapes for any of them, a list of one shape for an array
of it, a dict for an object with at least these members (`Maybe` for one that may be absent), or `Every` for an object
whose members all have one shape.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_YEARS = range(2000, 9000)
_SURROGATE = re.compile("[\ud800-\udfff]")

_Check = Callable[[Any], None]


@dataclass(frozen=True, slots=True)
class Every:
    """An object whose members have any names and one shape."""

    shape: Any


@dataclass(frozen=True, slots=True)
class Maybe:
    """A member that may be absent."""

    shape: Any


class Shape:
    """A shape, made ready to be asked for often: an archive of years has tens of thousands of parts.

    Args:
        shape: As the module describes it.
    """

    def __init__(self, shape: Any) -> None:
        self._check = _check(shape)

    def require(self, raw: object) -> None:
        """Check a JSON value.

        Raises:
            KeyError: a member is missing.
            TypeError: a value is of another type, or a text that UTF-8 cannot hold.
        """
        self._check(raw)


def require_day(text: str) -> None:
    """Check an ISO day from which days are counted, some of them backwards. Raises ValueError."""
    if dt.date.fromisoformat(text).year not in _YEARS:
        raise ValueError(text)


def _check(shape: Any) -> _Check:
    match shape:
        case tuple():
            return _any(shape)
        case list():
            return _array(_check(shape[0]))
        case dict():
            return _object(shape)
        case Every():
            return _members(_check(shape.shape))
        case None:
            return _value(type(None))
        case _:
            return _text if shape is str else _value(shape)


def _value(kind: type) -> _Check:
    def check(raw: object) -> None:
        if type(raw) is not kind:
            raise _wrong(raw)

    return check


def _text(raw: object) -> None:
    if type(raw) is not str:
        raise _wrong(raw)
    if not raw.isascii() and _SURROGATE.search(raw):
        raise TypeError("a text that no file can hold")


def _any(shapes: tuple[Any, ...]) -> _Check:
    plain = {type(None) if s is None else s for s in shapes if s is None or (isinstance(s, type) and s is not str)}
    others = [_check(s) for s in shapes if s is str or not (s is None or isinstance(s, type))]

    def check(raw: object) -> None:
        if type(raw) in plain:
            return
        for other in others:
            try:
                other(raw)
            except (KeyError, TypeError):
                continue
            return
        raise _wrong(raw)

    return check


def _array(check_item: _Check) -> _Check:
    def check(raw: object) -> None:
        if type(raw) is not list:
            raise _wrong(raw)
        for item in raw:
            check_item(item)

    return check


def _members(check_value: _Check) -> _Check:
    def check(raw: object) -> None:
        if type(raw) is not dict:
            raise _wrong(raw)
        for value in raw.values():
            check_value(value)

    return check


def _object(shape: dict[str, Any]) -> _Check:
    needed = [(name, _check(inner)) for name, inner in shape.items() if not isinstance(inner, Maybe)]
    optional = [(name, _check(inner.shape)) for name, inner in shape.items() if isinstance(inner, Maybe)]

    def check(raw: object) -> None:
        if type(raw) is not dict:
            raise _wrong(raw)
        for name, check_value in needed:
            check_value(raw[name])
        for name, check_value in optional:
            if name in raw:
                check_value(raw[name])

    return check


def _wrong(raw: object) -> TypeError:
    return TypeError(f"{type(raw).__name__} is not of the shape that is wanted")
