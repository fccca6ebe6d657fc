"""A request to send and the answer to it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from intune_dw_cli.service.hosts import origin_of

JSON = "application/json;odata.metadata=minimal"
XML = "application/xml"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OPAQUE = re.compile(r"((?:\$|%24)skiptoken=)[^&\s]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request that is more than a plain GET.

    Attributes:
        url: The address, sent as it is.
        accept: The media type asked for.
        json: The body of a POST; None for a GET. It is sent again like a GET when no whole answer came, so it must be
            one that may be done twice.
        redirect: Whether an answer that points elsewhere (3xx) is handed to the reader instead of being an error.
        bearer: Whether the token goes along. An address that is called without it is a secret in itself (a SAS URL):
            no message and no log shows more of it than its host.
    """

    url: str
    accept: str = JSON
    json: bytes | None = None
    redirect: bool = False
    bearer: bool = True

    def wants(self, status: int) -> bool:
        """Whether an answer of that HTTP status is what was asked for."""
        return status == 200 or (status == 201 and self.json is not None) or (status in _REDIRECTS and self.redirect)

    @property
    def shown(self) -> str:
        """The address, fit for messages and logs."""
        return loggable(self.url) if self.bearer else f"{origin_of(self.url)}/..."


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer with a status that the call allows.

    Attributes:
        body: Decompressed.
        size: Bytes on the wire.
        location: Where a redirect points; a secret as soon as it leads to another host.
    """

    status: int
    body: bytes = field(repr=False)
    size: int
    content_type: str
    location: str | None = field(repr=False)
    request_id: str


def loggable(url: str) -> str:
    """Return a URL, or a text that holds one, fit for logs: a skiptoken may hold names of devices or people."""
    return _OPAQUE.sub(r"\1...", url)
