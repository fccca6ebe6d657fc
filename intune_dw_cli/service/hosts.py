"""The host guard: which addresses may see the bearer token.

A link is judged by three readers: our own strict pattern, `urllib.parse` (which `requests` uses to choose
the connection) and `urllib3`. All three must name the same host and port, so the host that is checked is
the host that is connected to. Whatever they disagree on, and whatever is merely odd, is refused.

Nothing here does I/O or resolves names.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urljoin, urlsplit

from urllib3.util import parse_url

from intune_dw_cli.errors import HostGuardError

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_PORTS = {"http": 80, "https": 443}

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_ABSOLUTE = re.compile(r"(https?)://([^/?#]+)", re.IGNORECASE)
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._\-]+)(?::([0-9]{0,5}))?")
_SHOWN = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[\w.\-]{1,100})(:[0-9]{0,5})?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_\-]{0,61}[a-z0-9_])?")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOOPBACK_NET = ipaddress.IPv4Network("127.0.0.0/8")
_MAX_HOST = 253
_MAX_PORT = 65535


class Origin(NamedTuple):
    """Scheme, host and port of an address, in one normal form, so that `==` means "same origin" (RFC 6454).

    The scheme is `http` or `https`; the host is lower case, IPv6 compressed and without brackets; the port
    is always a number, also where the address leaves it out.
    """

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """`host`, or `host:port` where the port is not the scheme's own; IPv6 in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS.get(self.scheme) else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


@lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Whether a normalised host is this machine: 127.0.0.0/8, ::1 or `localhost`. No name is resolved."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return address in _LOOPBACK_NET
    return address == ipaddress.IPv6Address("::1")


def host_matches(host: str, patterns: Sequence[str]) -> bool:
    """Whether a normalised host matches one of the patterns.

    `*.example.com` matches every name below `example.com`, however deep, but not `example.com` itself. Any
    other pattern must be equal. A bare `*` matches nothing: there is no way to allow every host.
    """
    for pattern in patterns:
        wanted = pattern.strip().lower()
        if wanted.startswith("*."):
            if len(wanted) > 2 and host.endswith(wanted[1:]) and len(host) > len(wanted) - 1:
                return True
        elif wanted and host == wanted:
            return True
    return False


@lru_cache(maxsize=64)  # a nextLink is judged when it is followed, and again when it is requested
def origin_of(url: str) -> Origin:
    """Return the origin of an absolute http or https address.

    Raises:
        ValueError: the address is relative, has another scheme, user information, a backslash, blank or
            control character, a host that is not plain ASCII (or is percent-encoded, ends in a dot, or is a
            number in disguise), a port outside 1..65535, or two URL readers disagree about it. The text is
            a clause that says which, fit for "...: {reason}".
    """
    _refuse_characters(url)
    match = _ABSOLUTE.match(url)
    if match is None:
        raise ValueError("it is not an absolute http or https address")
    scheme = match[1].lower()
    host, port = _split_authority(match[2])
    ours = Origin(scheme, host, DEFAULT_PORTS[scheme] if port is None else port)
    try:
        agreed = ours == _stdlib_origin(url) == _urllib3_origin(url)
    except ValueError:  # its text may quote the whole address
        agreed = False
    if not agreed:
        raise ValueError("two URL readers do not agree about its host")
    return ours


def guard(link: str, *, request_url: str, origin: Origin, allowed_hosts: Sequence[str]) -> str:
    """Return the absolute address that a link of the service stands for, or refuse it.

    A nextLink is opaque (OData 4.0 Protocol 11.2.5.7): an absolute one comes back as it was, byte for byte,
    apart from surrounding blanks and apart from `http` turned into `https` where the feed is https and the
    host is the feed's. A relative one is resolved against the URL of the request (RFC 3986 section 5).

    Args:
        link: The nextLink (or redirect target) as the service wrote it.
        request_url: The absolute URL whose answer held the link.
        origin: The feed's own origin: always allowed.
        allowed_hosts: Patterns (see `host_matches`) of further hosts, allowed over https on port 443 only.

    Raises:
        HostGuardError: the link leads elsewhere, or cannot be read beyond doubt. It names both hosts, and
            never the link's path or query, which may hold row data.
    """
    try:
        address = _secured(_resolved(link.strip(), request_url), origin)
        target = origin_of(address)
    except ValueError as reason:
        raise _refusal(link, request_url, origin, str(reason)) from None
    if target == origin:
        return address
    if target.scheme == "https" and target.port == 443 and host_matches(target.host, allowed_hosts):
        return address
    raise _refusal(link, request_url, origin, f"{target} is neither the feed's origin nor an allowed host")


def _resolved(link: str, request_url: str) -> str:
    """Resolve a trimmed link; an absolute one is returned unchanged."""
    if not link:
        raise ValueError("it is empty")
    _refuse_characters(link)
    if "#" in link:
        raise ValueError("it holds a `#`, so a part of it would never be sent")
    if _SCHEME.match(link):
        # `https:host` and `https:/host` are relative for urljoin and absolute for browsers.
        if not _ABSOLUTE.match(link):
            raise ValueError("it has a scheme other than http and https, or no host")
        return link
    if link.startswith("//") and not re.match(r"//[^/?#]", link):
        raise ValueError("it has no host")
    try:
        return urljoin(request_url, link)
    except ValueError:  # its text may quote the whole link
        raise ValueError("it cannot be resolved against the request's address") from None


def _secured(url: str, origin: Origin) -> str:
    """Turn http into https where the feed is https and the host is the feed's; else return it unchanged."""
    match = _ABSOLUTE.match(url)
    if match is None or match[1].lower() != "http" or origin.scheme != "https":
        return url
    if origin_of(url).host != origin.host:
        return url
    authority = re.sub(r":0*(?:80)?$", "", match[2])
    return f"https://{authority}{url[match.end() :]}"


def _refuse_characters(url: str) -> None:
    if "\\" in url:
        raise ValueError("it holds a backslash")
    if " " in url or not url.isprintable():  # every other blank counts as unprintable
        raise ValueError("it holds a blank or a control character")


def _split_authority(authority: str) -> tuple[str, int | None]:
    if "@" in authority:
        raise ValueError("it carries user information before the host")
    if "%" in authority:
        raise ValueError("its host is percent-encoded")
    if not authority.isascii():
        raise ValueError("its host is not plain ASCII")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise ValueError("its host is not a host name or an IP address")
    port = int(match[2]) if match[2] else None
    if port is not None and not 1 <= port <= _MAX_PORT:
        raise ValueError("its port is out of range")
    return _normal_host(match[1]), port


@lru_cache(maxsize=64)  # asked by three readers, each time for the feed's own
def _normal_host(host: str) -> str:
    """Lower case, or compressed IPv6 without brackets; ValueError for anything but a plain host."""
    bare = host.removeprefix("[").removesuffix("]").lower()
    if ":" in bare:
        return str(_address(bare))
    labels = bare.split(".")
    if len(bare) > _MAX_HOST or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("its host is not a plain host name")
    if _NUMERIC_LABEL.fullmatch(labels[-1]):
        # 2130706433, 127.1 and 0177.0.0.1 are addresses for the resolver: only the usual form passes.
        return str(_address(bare))
    return bare


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise ValueError("its host is not an IP address in the usual form") from None


def _stdlib_origin(url: str) -> Origin:
    parts = urlsplit(url)
    return Origin(parts.scheme, _normal_host(parts.hostname or ""), parts.port or DEFAULT_PORTS[parts.scheme])


def _urllib3_origin(url: str) -> Origin:
    parts = parse_url(url)
    scheme = parts.scheme or ""
    return Origin(scheme, _normal_host(parts.host or ""), parts.port or DEFAULT_PORTS.get(scheme, 0))


def _refusal(link: str, request_url: str, origin: Origin, reason: str) -> HostGuardError:
    return HostGuardError(
        f"the service sent a link to {shown_host(link, request_url)} while the feed's host is "
        f"{origin.authority}; it was not followed, so the token was not sent there: {reason}",
        hint="If that host belongs to your feed, allow it: --feed-host HOST, once for each host of the feed. Otherwise "
        "check the feed URL, and whether a proxy rewrites the answers.",
    )


def shown_host(link: str, request_url: str) -> str:
    """Return the host of a link, fit for a message: ASCII, short, never path, query or user information."""
    try:
        netloc = urlsplit(urljoin(request_url, link.strip())).netloc
    except ValueError:
        netloc = ""
    netloc = netloc.rpartition("@")[2]
    match = _SHOWN.match(netloc)
    if match is None:
        return "an unreadable host"
    shown, rest = match[0], netloc[match.end() :]
    if rest and match[2]:
        shown = match[1]
    elif rest and not rest.startswith("$"):
        # No host goes on like that, but a query that lost its question mark may: who knows where in the last label it
        # begins. (A system query option begins with its `$`.)
        shown = shown.rpartition(".")[0]
    return ascii(shown)[1:-1] or "an unreadable host"
