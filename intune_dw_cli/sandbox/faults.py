"""Faults on demand: what goes wrong, where, and how often."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from hashlib import blake2b
from typing import Any
from zlib import crc32

from intune_dw_cli.errors import UsageError
from intune_dw_cli.sandbox.problems import SHAPES

KINDS: Mapping[str, str] = {
    "429": "throttled: retry-after=SECONDS, style=seconds|date|body|none, body=SHAPE",
    "500": "error status: body=SHAPE, retry-after=SECONDS (none without it)",
    "502": "as 500",
    "503": "as 500",
    "504": "as 500",
    "408": "as 500",
    "403": "as 500",
    "400": "as 500",
    "404": "as 500",
    "401": "token expired",
    "redirect": "status=302, location=URL",
    "html": "200 with an HTML page",
    "error-body": "200 whose JSON is an error object: body=SHAPE",
    "empty-body": "200 with no body",
    "bom": "a byte order mark before the body",
    "json-cut": "JSON cut short, framing right: after=SHARE",
    "gzip-cut": "gzip cut short, framing right: after=SHARE (to clients that accept gzip)",
    "bomb": "a page padded with blanks to size=BYTES once decompressed",
    "reset": "TCP reset: at=headers|body",
    "close": "Content-Length larger than what is sent: after=SHARE",
    "stall": "silence for seconds=N: at=headers|body",
    "drip": "one byte each seconds=N",
    "next-loop": "nextLink points to its own page",
    "next-cycle": "nextLink points back to the first page of the chain; with page=2 a cycle of two",
    "next-foreign": "nextLink to another host: url=URL",
    "next-http": "nextLink with http (an https feed is one behind X-Forwarded-Proto)",
    "next-port": "nextLink to another port of this host",
    "empty-page": "an empty page with a nextLink; the rows follow",
    "extra-column": "an undeclared property: name=NAME, value=JSON or text",
    "missing-column": "a declared property left out: name=NAME",
    "int64-string": "Edm.Int64 as JSON text",
}
"""Every kind of fault and its own settings."""

STYLES = ("seconds", "date", "body", "none")
POINTS = ("headers", "body")
_NUMBERS: Mapping[str, Callable[[str], Any]] = {
    "page": int,
    "times": int,
    "probability": float,
    "retry_after": int,
    "seconds": float,
    "after": float,
    "status": int,
    "size": int,
}
_CHOICES: Mapping[str, tuple[str, ...]] = {"style": STYLES, "at": POINTS, "body": SHAPES}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault; settings that its kind does not know are ignored.

    Attributes:
        kind: One of KINDS.
        collection: A glob over collection names; `$metadata` and `service` are the two documents.
        page: The page in its chain, from 1; None for any.
        times: How often it happens; 0 always. Default once, or always where there is a probability.
        probability: Chance for each request, decided by the tenant's seed.
        retry_after: Seconds that the answer asks the client to wait; None for 1 with a 429 and nothing with the others.
        body: Shape of the error body, a to f as in `problems`; None for the kind's usual one.
        after: Share of the body that is sent before it is cut.
    """

    kind: str
    collection: str = "*"
    page: int | None = None
    times: int | None = None
    probability: float | None = None
    retry_after: int | None = None
    style: str = "seconds"
    body: str | None = None
    at: str = "headers"
    seconds: float = 1.0
    after: float = 0.5
    status: int = 302
    location: str = "https://evil.example/elsewhere"
    url: str = "https://evil.example/ReportingService/DataWarehouseFEService/devices?api-version=v1.0"
    name: str | None = None
    value: Any = "drift"
    size: int = 1 << 30

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"unknown fault kind {self.kind!r}", hint=f"Kinds: {', '.join(KINDS)}.")
        for key, allowed in _CHOICES.items():
            if getattr(self, key) not in (*allowed, None):
                raise UsageError(
                    f"fault {key}={getattr(self, key)} is not known", hint=f"Allowed: {', '.join(allowed)}."
                )

    @property
    def limit(self) -> int:
        """How often the fault happens at most; 0 for no limit."""
        if self.times is None:
            return 0 if self.probability is not None else 1
        return self.times

    def matches(self, collection: str, page: int) -> bool:
        """Tell whether the fault is meant for a page of a collection (or for a document)."""
        return fnmatchcase(collection.casefold(), self.collection.casefold()) and self.page in (None, page)

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read a fault as written on the command line: `kind=429,retry-after=2,collection=devices`.

        Raises:
            UsageError: naming what is allowed.
        """
        settings: dict[str, Any] = {}
        for part in text.split(","):
            key, sign, value = part.partition("=")
            if not sign:
                raise UsageError(f"fault {part!r} is not NAME=VALUE", hint=_settings_hint())
            settings[key.strip()] = value.strip()
        return cls.of(settings)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Fault:
        """Read a fault from names and values; values may be text, names may use `-` or `_`.

        Raises:
            UsageError: naming what is allowed.
        """
        known = {field.name for field in fields(cls)}
        values: dict[str, Any] = {}
        for key, value in settings.items():
            name = key.replace("-", "_")
            if name not in known:
                raise UsageError(f"unknown fault setting {key!r}", hint=_settings_hint())
            try:
                values[name] = _NUMBERS[name](value) if name in _NUMBERS and value is not None else value
            except (TypeError, ValueError):
                raise UsageError(f"fault {key}={value} is not a number", hint=_settings_hint()) from None
        if "kind" not in values:
            raise UsageError("a fault needs kind=", hint=f"Kinds: {', '.join(KINDS)}.")
        values["kind"] = str(values["kind"])
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return asdict(self)


def _settings_hint() -> str:
    names = ", ".join(field.name.replace("_", "-") for field in fields(Fault))
    return f"Settings: {names}. Kinds: {', '.join(KINDS)}."


class FaultBox:
    """The faults in force; hands out at most one for a request, the first that is due."""

    def __init__(self, seed: int, faults: tuple[Fault, ...] = ()) -> None:
        self._seed = seed
        self._lock = threading.Lock()
        self._entries: list[_Entry] = [_Entry(fault) for fault in faults]

    def add(self, fault: Fault) -> None:
        """Put a fault in force, behind those already there."""
        with self._lock:
            self._entries.append(_Entry(fault))

    def clear(self) -> None:
        """Take all faults out of force."""
        with self._lock:
            self._entries.clear()

    def pending(self) -> list[Fault]:
        """Return the faults that may still happen."""
        with self._lock:
            return [entry.fault for entry in self._entries if not entry.spent]

    def take(self, collection: str, page: int, target: str) -> Fault | None:
        """Return the fault for this request and count it, None if all goes well.

        Args:
            collection: The collection, `$metadata` or `service`.
            page: The page in its chain.
            target: The request's address; a random fault is decided by it and by how often it was asked for,
                so that the outcome does not depend on how threads take turns.
        """
        with self._lock:
            for place, entry in enumerate(self._entries):
                if not entry.spent and entry.fault.matches(collection, page) and self._due(place, entry, target):
                    entry.happened += 1
                    return entry.fault
        return None

    def _due(self, place: int, entry: _Entry, target: str) -> bool:
        if entry.fault.probability is None:
            return True
        address = crc32(target.encode())
        attempt = entry.attempts[address] = entry.attempts.get(address, 0) + 1
        draw = blake2b(f"{self._seed}/{place}/{address}/{attempt}".encode(), digest_size=4).digest()
        return int.from_bytes(draw, "big") < entry.fault.probability * 2**32


class _Entry:
    """A fault with its history."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.happened = 0
        self.attempts: dict[int, int] = {}

    @property
    def spent(self) -> bool:
        return self.fault.limit != 0 and self.happened >= self.fault.limit
