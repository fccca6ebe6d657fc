"""Which collections, and which of their properties: names, globs, and what is to be selected of each."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from intune_dw_cli.errors import UnknownCollectionError, UsageError
from intune_dw_cli.service.warehouse import EntitySet, Warehouse

_LIST = "List what there is with: intune-dw collections"


def matches(name: str, globs: Iterable[str]) -> bool:
    """Whether a collection's name matches one of the globs (`device*`), case aside."""
    return any(fnmatch.fnmatchcase(name.casefold(), glob.casefold()) for glob in globs)


def is_glob(text: str) -> bool:
    """Whether a text stands for several names. No name of an entity set holds `*`, `?` or `[` (CSDL 4.0, 17.2)."""
    return any(mark in text for mark in "*?[")


def choose(warehouse: Warehouse, wanted: Sequence[str], *, skip: Sequence[EntitySet] = ()) -> list[EntitySet]:
    """Return the collections that names and globs stand for, each once, in their order.

    Args:
        wanted: Names and globs.
        skip: Collections that a glob does not bring; by its name each of them still comes.

    Raises:
        UnknownCollectionError: there is no such collection, or none that a glob matches.
    """
    chosen: dict[str, EntitySet] = {}
    for text in wanted:
        if not is_glob(text):
            found = [warehouse.entity_set(text)]
        else:
            matching = [e for e in warehouse.entity_sets if matches(e.name, [text])]
            if not matching:
                raise UnknownCollectionError(f"{text} matches no collection", hint=_LIST)
            found = [e for e in matching if e not in skip]
        chosen |= {e.name: e for e in found}
    return list(chosen.values())


def narrow(entity_sets: Iterable[EntitySet], only: Sequence[str], exclude: Sequence[str]) -> list[EntitySet]:
    """Return the collections whose names match a glob of `only` (or all) and none of `exclude`, case aside.

    Raises:
        UsageError: a glob of `only` matches nothing, or nothing is left.
    """
    known = list(entity_sets)
    for glob in only:
        if not any(matches(e.name, [glob]) for e in known):
            raise UsageError(f"--only {glob} matches no collection", hint=_LIST)
    chosen = [e for e in known if (not only or matches(e.name, only)) and not matches(e.name, exclude)]
    if not chosen:
        raise UsageError("no collection is left to back up", hint="Leave out --exclude, or narrow it.")
    return chosen


@dataclass(frozen=True, slots=True)
class Selections:
    """Properties to keep.

    Attributes:
        everywhere: Of each collection that is not named; empty for all properties.
        named: By name or glob of collections.
    """

    everywhere: tuple[str, ...] = ()
    named: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Selections:
        """Read `--select` as given: `a,b` for every collection, `devices=a,b` for one, `mam*=a,b` for several.

        Raises:
            UsageError: one of them names no property or no collection.
        """
        everywhere: list[str] = []
        named: dict[str, tuple[str, ...]] = {}
        for text in texts:
            head, equals, tail = text.rpartition("=")
            names = [name.strip() for name in tail.split(",") if name.strip()]
            collection = head.strip()
            if not names or (equals and not collection):
                raise UsageError(
                    f"--select {text!r} names no property" if not names else f"--select {text!r} names no collection",
                    hint="Give names with commas: --select deviceName,osVersion or --select devices=deviceName,userId",
                )
            if equals and tail.rstrip().endswith(","):  # INTUNE_DW_SELECT is divided at blanks
                raise UsageError(f"--select {text!r} ends in a comma", hint="Write it without blanks: NAME=a,b,c")
            if equals:
                named[collection] = (*named.get(collection, ()), *names)
            else:
                everywhere += names
        return cls(tuple(everywhere), named)

    def of(self, entity_set: EntitySet) -> tuple[str, ...] | None:
        """Return the properties to keep of a collection as the service spells them, None for all.

        Raises:
            UnknownCollectionError: it has no such property.
        """
        own = [name for glob, names in self.named.items() if matches(entity_set.name, [glob]) for name in names]
        names = own or self.everywhere
        return entity_set.property_names(names) if names else None

    def require_used(self, chosen: Sequence[EntitySet]) -> None:
        """Raise UsageError when one of the named is no collection of the run."""
        for glob in self.named:
            if not any(matches(e.name, [glob]) for e in chosen):
                raise UsageError(
                    f"--select {glob}=... is for no collection of this run",
                    hint=f"These are: {', '.join(e.name for e in chosen[:10])}{', ...' * (len(chosen) > 10)}",
                )
