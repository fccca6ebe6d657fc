"""The feed URL: what the admin pastes, and the addresses that are built from it.

URLs are built by hand, never by a library's parameter encoder: `$` and commas stay literal, a blank is
`%20` and never `+` (OData 4.0 URL Conventions 5; a client that sent `%24select=a%2Cb` got 400). Only
`$filter`, `$select`, `$top`, `$skip` and `api-version` are ever sent: the service documents no others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from intune_dw_cli.errors import UsageError
from intune_dw_cli.service.hosts import Origin, guard, host_matches, is_loopback, origin_of

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_API_VERSION = "v1.0"

_SERVICE_SEGMENT = "datawarehousefeservice"
_SERVICE_HOSTS = ("*.manage.microsoft.com", "*.manage.microsoft.us", "*.manage.microsoft.cn")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,31}")
_ODD_CHARACTER = re.compile(r"[^A-Za-z0-9\-._~:/?@!$&'()*+,;=%\[\]]")
_LINE_WRAP = re.compile(r"[ \t]*[\r\n]+[ \t]*")
_WRAPPERS = " \t\r\n\u00a0\u200b\ufeff\"'`<>\u2018\u2019\u201c\u201d\u00ab\u00bb"
_HINT = (
    "Copy the 'OData feed for reporting service' from the Intune admin center: Reports > Data warehouse. "
    "It looks like https://fef.LOCATION.manage.microsoft.com/ReportingService/DataWarehouseFEService"
    "?api-version=v1.0."
)


@dataclass(frozen=True, slots=True)
class FeedUrl:
    """The root of one tenant's warehouse and the API version to ask for.

    Attributes:
        root: `scheme://host[:port]/path` without query or trailing slash; scheme and host in lower case, the
            path as pasted (a traffic-gateway prefix is kept).
        api_version: `v1.0`, `beta`, or what the service may offer next.
    """

    root: str
    api_version: str = DEFAULT_API_VERSION

    @classmethod
    def parse(cls, text: str, *, api_version: str | None = None, allowed_hosts: Sequence[str]) -> FeedUrl:
        """Read the feed URL as an admin pastes it.

        Accepted: with or without `?api-version=`, a trailing slash, blanks or quotes around it, a line break
        inside it, a collection or `$metadata` after the root. Other query options are ignored.

        Args:
            text: The pasted text.
            api_version: Wins over the URL's own; with neither, `v1.0`.
            allowed_hosts: Patterns such as `*.manage.microsoft.com`. Loopback is always allowed.

        Raises:
            UsageError: no https (http is for loopback only), a foreign or look-alike host, user information,
                a character that no feed URL holds, a path without `DataWarehouseFEService` on a Microsoft
                host, or an API version that is not a plain word. The text is never echoed whole.
        """
        url = _LINE_WRAP.sub("", text.strip(_WRAPPERS))
        if not url:
            raise UsageError("no feed URL was given", hint=_HINT)
        _refuse_odd_characters(url)
        origin = _allowed_origin(url, allowed_hosts)
        parts = urlsplit(url)
        root = f"{origin}{_root_path(parts.path, origin.host)}"
        return cls(root, _checked_version(api_version or "", _versions_in(parts.query)))

    @property
    def origin(self) -> Origin:
        """Scheme, host and port (always a number) of the feed."""
        return origin_of(self.root)

    @property
    def source(self) -> str:
        """The root without query: what goes into manifests and file metadata."""
        return self.root

    def service_document(self) -> str:
        """The URL that lists the collections (OData 4.0 Protocol 11.1.1)."""
        return f"{self.root}?api-version={self.api_version}"

    def metadata(self) -> str:
        """The URL of the CSDL document (OData 4.0 Protocol 11.1.2)."""
        return f"{self.root}/$metadata?api-version={self.api_version}"

    def entity_set(
        self,
        url_segment: str,
        *,
        filter: str | None = None,
        select: Sequence[str] | None = None,
        top: int | None = None,
        skip: int | None = None,
    ) -> str:
        """Build the URL of the first page of a collection.

        Args:
            url_segment: The set's `url` as the service document spells it: a name, a relative reference
                (resolved against the root) or an absolute URL of the feed's own origin.
            filter: The text of `$filter`, not encoded: `DateKey eq 20240115`.
            select: Property names as `$metadata` spells them; none or empty leaves `$select` out.
            top: Rows wanted at most, 0 or more.
            skip: Rows to leave out first, 0 or more.

        Raises:
            UsageError: `top` or `skip` is negative.
            HostGuardError: the set's `url` leads to another origin or cannot be read beyond doubt.
        """
        address = guard(_encoded(url_segment), request_url=f"{self.root}/", origin=self.origin, allowed_hosts=())
        path, _, query = address.partition("?")
        options = [f"api-version={self.api_version}"]
        options += [item for item in query.split("&") if item and _option_name(item) != "api-version"]
        if filter is not None:
            options.append("$filter=" + quote(filter, safe="',()$:"))
        if select:
            options.append("$select=" + ",".join(quote(name, safe="/") for name in select))
        options += _counts(top=top, skip=skip)
        return f"{path}?{'&'.join(options)}"


def _refuse_odd_characters(url: str) -> None:
    odd = _ODD_CHARACTER.search(url)
    if odd is None:
        return
    raise UsageError(f"the feed URL holds {odd[0]!a} (U+{ord(odd[0]):04X}), which no feed URL does", hint=_HINT)


def _allowed_origin(url: str, allowed_hosts: Sequence[str]) -> Origin:
    try:
        origin = origin_of(url)
    except ValueError as reason:
        raise UsageError(f"the feed URL cannot be used: {reason}", hint=_HINT) from None
    if is_loopback(origin.host):
        return origin
    if not host_matches(origin.host, allowed_hosts):
        raise UsageError(
            f"the feed URL's host {origin.host} is not an Intune host; the sign-in token is never sent there "
            f"(allowed: {', '.join(allowed_hosts) or 'loopback only'})",
            hint=_HINT,
        )
    if origin.scheme != "https":
        raise UsageError(f"the feed URL of {origin.host} must begin with https://", hint=_HINT)
    return origin


def _root_path(path: str, host: str) -> str:
    """The path up to and including DataWarehouseFEService; elsewhere the whole path, up to a `$` segment."""
    segments = path.split("/")
    if any(unquote(segment) in {".", ".."} for segment in segments):
        raise UsageError("the feed URL's path holds `.` or `..`", hint=_HINT)
    named = [place for place, segment in enumerate(segments) if segment.lower() == _SERVICE_SEGMENT]
    if named:
        return "/".join(segments[: named[-1] + 1])
    if host_matches(host, _SERVICE_HOSTS):
        raise UsageError(
            f"the feed URL of {host} is not the warehouse's: no DataWarehouseFEService in its path",
            hint=_HINT,
        )
    system = [place for place, segment in enumerate(segments) if segment.startswith("$")]
    return "/".join(segments[: system[0]] if system else segments).rstrip("/")


def _versions_in(query: str) -> list[str]:
    """Every api-version of a pasted query; what somebody appended after it (`v1.0/devices`) is cut off."""
    items = [item.partition("=") for item in query.split("&")]
    values = [unquote(value).split("/")[0].strip() for name, _, value in items if _option_name(name) == "api-version"]
    return [value for value in values if value]


def _checked_version(explicit: str, pasted: Sequence[str]) -> str:
    if not explicit.strip() and len(set(pasted)) > 1:
        raise UsageError("the feed URL names two different api-versions", hint="Leave only one of them.")
    version = explicit.strip() or (pasted[0] if pasted else DEFAULT_API_VERSION)
    if not _VERSION.fullmatch(version):
        raise UsageError(f"the API version {version[:40]!a} is not a plain word", hint="Use v1.0 (or beta).")
    return version


def _encoded(url_segment: str) -> str:
    """Percent-encode what a URL cannot hold literally: inner blanks and non-ASCII letters of a set's name."""
    return re.sub(r"[^\x00-\x7f]+| ", lambda match: quote(match[0], errors="replace"), url_segment.strip())


def _option_name(item: str) -> str:
    return unquote(item.partition("=")[0]).strip().lower()


def _counts(*, top: int | None, skip: int | None) -> list[str]:
    options = []
    for name, value in (("top", top), ("skip", skip)):
        if value is None:
            continue
        if value < 0:
            raise UsageError(f"{name} is {value}, less than nothing", hint=f"Give --{name} 0 or more.")
        options.append(f"${name}={value}")
    return options
