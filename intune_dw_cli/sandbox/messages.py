"""A request as it came over the wire, an answer on its way out, and the table of who answers what."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from intune_dw_cli.sandbox.faults import Fault


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        target: Path and query exactly as received.
        headers: Header values by lower-case name.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        """The path as received, without the query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The query as received, without the question mark."""
        return self.target.partition("?")[2]

    @property
    def origin(self) -> str:
        """Scheme and host by which the client reached us; a TLS front end says so in X-Forwarded-Proto."""
        scheme = self.headers.get("x-forwarded-proto", "http")
        return f"{scheme}://{self.headers.get('host', '127.0.0.1')}"

    def bearer(self) -> str | None:
        """Return the bearer token, None if there is none."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() or None if scheme.casefold() == "bearer" else None


@dataclass
class Response:
    """One answer.

    Attributes:
        wire: The fault that happens while this answer is sent, if one does.
    """

    status: int
    body: bytes = b""
    content_type: str = "application/json;odata.metadata=minimal"
    headers: dict[str, str] = field(default_factory=dict)
    wire: Fault | None = None

    @classmethod
    def of_json(cls, value: Any, status: int = 200) -> Response:
        """Return a value as plain JSON."""
        return cls(status, json.dumps(value).encode(), "application/json")


class Mount(Protocol):
    """Something that answers all requests below a path."""

    def answer(self, request: Request, rest: str) -> Response:
        """Answer a request; `rest` is the path below the mount, without its leading slash."""


class Router:
    """Finds the mount of a path; the longest prefix wins."""

    def __init__(self, mounts: Sequence[tuple[str, Mount]]) -> None:
        self._mounts = sorted(mounts, key=lambda mount: len(mount[0]), reverse=True)

    def find(self, path: str) -> tuple[Mount, str] | None:
        """Return who answers a path, and the path below it."""
        for prefix, mount in self._mounts:
            if path == prefix or path.startswith(f"{prefix}/"):
                return mount, path[len(prefix) + 1 :]
        return None
