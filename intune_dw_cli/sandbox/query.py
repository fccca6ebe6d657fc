"""The query options the service knows, parsed from the query as it came over the wire."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, unquote_plus

from intune_dw_cli.sandbox.generate.source import NO_DAY
from intune_dw_cli.sandbox.skiptoken import SkipToken
from intune_dw_cli.sandbox.timestamps import date_key, ticks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from intune_dw_cli.reference import ReferenceCollection
    from intune_dw_cli.sandbox.config import FilterCase, ServerConfig

API_VERSIONS = ("v1.0", "beta")
_SYSTEM_OPTIONS = ("$filter", "$select", "$skip", "$top", "$skiptoken")
_COMPARISONS: Mapping[str, Callable[[int, int], bool]] = {
    "lt": operator.lt,
    "le": operator.le,
    "eq": operator.eq,
    "ge": operator.ge,
    "gt": operator.gt,
}
_CLAUSE = re.compile(r"\s*(\w+)\s+(lt|le|eq|ge|gt)\s+(\S+)\s*")
_DOCUMENTED_TIME = "RowLastModifiedDateTimeUTC"


class BadQueryError(Exception):
    """The service would answer 400; the text is for the sandbox's log, the service itself does not say."""


class UnsupportedVersionError(BadQueryError):
    """`api-version` is missing or unknown."""


@dataclass(frozen=True)
class Condition:
    """One comparison with a number: a dateKey, or an instant in ticks."""

    compare: Callable[[int, int], bool]
    bound: int

    def holds(self, value: int) -> bool:
        """Tell whether a value satisfies the comparison."""
        return self.compare(value, self.bound)


@dataclass(frozen=True)
class Query:
    """What a client asks of a collection.

    Attributes:
        kept: The options that a nextLink repeats, as received.
        days: Conditions on dateKey.
        modified: Conditions on the time a row changed.
        token: Where to continue, for a nextLink.
    """

    kept: tuple[str, ...] = ()
    days: tuple[Condition, ...] = ()
    modified: tuple[Condition, ...] = ()
    select: tuple[str, ...] | None = None
    skip: int = 0
    top: int | None = None
    max_history_days: int | None = None
    token: SkipToken | None = None

    def wants_day(self, day: int, today: int) -> bool:
        """Tell whether an ordinal day is asked for. A DateKey filter outranks maxhistorydays."""
        if day == NO_DAY:
            return True
        if self.days:
            return all(condition.holds(date_key(day)) for condition in self.days)
        return self.max_history_days is None or day >= today - self.max_history_days

    def wants_row(self, row: Mapping[str, Any], column: str | None) -> bool:
        """Tell whether a row's time of change is asked for; a row without one never is."""
        if not self.modified:
            return True
        instant = ticks(row[column] or "") if column else None
        return instant is not None and all(condition.holds(instant) for condition in self.modified)


def split_options(raw: str, *, strict: bool) -> list[tuple[str, str, str]]:
    """Return name, value and raw text of every option.

    Args:
        raw: The query as received.
        strict: Refuse the encodings that a client of 2025 was refused for.
    """
    options = []
    for part in filter(None, raw.split("&")):
        raw_name, _, raw_value = part.partition("=")
        if strict and (
            raw_name.startswith("%24") or "+" in part or (raw_name == "$select" and "%2c" in raw_value.lower())
        ):
            raise BadQueryError(f"encoding of {part}")
        options.append((unquote(raw_name), unquote_plus(raw_value), part))
    return options


def check_version(raw: str) -> None:
    """Check that the query names a known api-version."""
    versions = [value for name, value, _ in split_options(raw, strict=False) if name == "api-version"]
    if len(versions) != 1 or versions[0] not in API_VERSIONS:
        raise UnsupportedVersionError("api-version")


def parse(raw: str, collection: ReferenceCollection, config: ServerConfig) -> Query:
    """Parse the query options of a collection.

    Raises:
        BadQueryError: for anything the service does not support.
    """
    values: dict[str, str] = {}
    kept: list[str] = []
    for name, value, part in split_options(raw, strict=config.strict_encoding):
        known = name.casefold() if name.casefold() == "maxhistorydays" else name
        if known in values or (known.startswith("$") and known not in _SYSTEM_OPTIONS):
            raise BadQueryError(f"option {name}")
        values[known] = value
        if known not in ("$skip", "$top", "$skiptoken"):
            kept.append(part)
    days, modified = _filter(values.get("$filter"), collection, config.strict_filter_case)
    return Query(
        kept=tuple(kept),
        days=days,
        modified=modified,
        select=_select(values.get("$select"), collection),
        skip=_number("$skip", values.get("$skip")) or 0,
        top=_number("$top", values.get("$top")),
        max_history_days=_number("maxhistorydays", values.get("maxhistorydays")),
        token=_token(values.get("$skiptoken")),
    )


def _number(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        raise BadQueryError(f"{name}={text}")
    return int(text)


def _token(text: str | None) -> SkipToken | None:
    if text is None:
        return None
    token = SkipToken.parse(text)
    if token is None:
        raise BadQueryError("$skiptoken")
    return token


def _select(text: str | None, collection: ReferenceCollection) -> tuple[str, ...] | None:
    if text is None:
        return None
    asked = [name.strip() for name in text.split(",")]
    if asked == ["*"]:
        return None
    known = [prop.name for prop in collection.properties]
    if not set(asked) <= set(known):
        raise BadQueryError(f"$select={text}")
    return tuple(name for name in known if name in asked)


def _filter(
    text: str | None, collection: ReferenceCollection, case: FilterCase | None
) -> tuple[tuple[Condition, ...], tuple[Condition, ...]]:
    """Parse `$filter` into conditions on the day and conditions on the time of change."""
    if text is None:
        return (), ()
    days: list[Condition] = []
    modified: list[Condition] = []
    for clause in re.split(r"\s+and\s+", text.strip()):
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            raise BadQueryError(f"$filter={text}")
        name, comparison, literal = match.groups()
        if collection.date_key and name in _spellings("DateKey", "dateKey", case):
            days.append(Condition(_COMPARISONS[comparison], _day_literal(literal)))
        elif (column := collection.row_last_modified) and name in _spellings(_DOCUMENTED_TIME, column, case):
            modified.append(Condition(_COMPARISONS[comparison], _time_literal(literal)))
        else:
            raise BadQueryError(f"$filter on {name}")
    if days and modified:
        raise BadQueryError("$filter on two columns")
    return tuple(days), tuple(modified)


def _spellings(documented: str, served: str, case: FilterCase | None) -> Sequence[str]:
    if case is None:
        return (documented, served)
    return (documented,) if case == "documented" else (served,)


def _day_literal(text: str) -> int:
    if not re.fullmatch(r"-?\d{1,10}", text, re.ASCII):
        raise BadQueryError(f"dateKey {text}")
    return int(text)


def _time_literal(text: str) -> int:
    instant = ticks(text)
    if instant is None:
        raise BadQueryError(f"instant {text}")
    return instant
