"""The Microsoft clouds: where to sign in, what to ask a token for, and which hosts may see it.

Tokens are not valid across clouds, and the bearer must not leave the hosts of its own. Sources: Microsoft Graph
"national cloud deployments" for authorities and Graph, the Intune feed URLs of admins for the feed hosts. The
warehouse resource of `usgovdod` and `china` is nowhere documented: it follows the pattern of the others, and each
value can be overridden.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from urllib.parse import urlsplit

from intune_dw_cli.errors import UsageError

WAREHOUSE_APP_ID = "c161e42e-d4df-4a3d-9b42-e7a3c31f59d4"
"""The application id of the Microsoft Intune API, the same in every cloud; some tokens have it as audience."""

_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Cloud:
    """One cloud.

    Attributes:
        name: The name for `--cloud`.
        feed_hosts: Patterns of the hosts that serve the warehouse, `*.` standing for any labels.
        authority_host: Host, with its port if it has one, where tokens are asked for.
        graph_url: Base URL of Microsoft Graph; also the resource of its tokens.
        resource: What a token for the warehouse is asked for; ends in a slash.
    """

    name: str
    feed_hosts: tuple[str, ...]
    authority_host: str
    graph_url: str
    resource: str

    @property
    def warehouse_scope(self) -> str:
        """The scope of the warehouse."""
        return scope_of(self.resource)

    @property
    def graph_scope(self) -> str:
        """The scope of Microsoft Graph."""
        return scope_of(self.graph_url)

    def authority(self, tenant: str) -> str:
        """Return the URL of a tenant's authority."""
        return f"https://{self.authority_host}/{tenant}"


CLOUDS: Mapping[str, Cloud] = MappingProxyType(
    {
        cloud.name: cloud
        for cloud in (
            Cloud(
                "public",
                ("*.manage.microsoft.com",),
                "login.microsoftonline.com",
                "https://graph.microsoft.com",
                "https://api.manage.microsoft.com/",
            ),
            Cloud(
                "usgov",
                ("*.manage.microsoft.us",),
                "login.microsoftonline.us",
                "https://graph.microsoft.us",
                "https://api.manage.microsoft.us/",
            ),
            Cloud(
                "usgovdod",
                ("*.manage.microsoft.us",),
                "login.microsoftonline.us",
                "https://dod-graph.microsoft.us",
                "https://api.manage.microsoft.us/",
            ),
            Cloud(
                "china",
                ("*.manage.microsoft.cn",),
                "login.partner.microsoftonline.cn",
                "https://microsoftgraph.chinacloudapi.cn",
                "https://api.manage.microsoft.cn/",
            ),
        )
    }
)


def cloud_named(name: str) -> Cloud:
    """Return the cloud of that name, in any case.

    Raises:
        UsageError: there is none.
    """
    try:
        return CLOUDS[name.strip().lower()]
    except KeyError:
        raise UsageError(f"there is no cloud {name!r}", hint=f"Choose one of: {', '.join(CLOUDS)}.") from None


def customised(
    cloud: Cloud,
    *,
    authority_host: str | None = None,
    graph_url: str | None = None,
    resource: str | None = None,
    feed_hosts: Sequence[str] | None = None,
) -> Cloud:
    """Return a cloud with some of its values replaced; None and empty leave the value of the cloud.

    Args:
        cloud: What to start from.
        authority_host: Host or https address; its port is kept.
        graph_url: https address.
        resource: Identifier of the warehouse API, taken to the letter: a slash at its end matters.
        feed_hosts: Patterns that replace those of the cloud.

    Raises:
        UsageError: a value is no host, or no https address.
    """
    return replace(
        cloud,
        authority_host=read_authority_host(authority_host) if authority_host else cloud.authority_host,
        graph_url=_https(graph_url, "the Graph address") if graph_url else cloud.graph_url,
        resource=resource.strip() if resource else cloud.resource,
        feed_hosts=tuple(feed_hosts) if feed_hosts else cloud.feed_hosts,
    )


def scope_of(resource: str) -> str:
    """Return the v2.0 scope that stands for all permissions granted on a resource.

    Entra cuts the audience at the last slash of the scope. A resource that ends in a slash therefore gives a double
    slash, as in `https://api.manage.microsoft.com//.default`; with one, the token would be for another audience.
    """
    return f"{resource}/.default"


def read_authority_host(text: str) -> str:
    """Return `host` or `host:port` of what a user gave as authority host: a bare host or an https address.

    Raises:
        UsageError: it is neither, or carries a user name, a query or a path (the tenant has an option of its own).
    """
    wanted = text.strip()
    host = wanted
    if "://" in wanted:
        if not wanted.lower().startswith("https://"):
            raise UsageError(
                "the authority host must be reached over https",
                hint="Give it as login.microsoftonline.us or https://login.microsoftonline.us",
            )
        host = wanted[len("https://") :]
    host = host.removesuffix("/")
    match = _HOST.fullmatch(host)
    if match is None or (match["port"] is not None and not 1 <= int(match["port"]) <= 65535):
        raise UsageError(
            "the authority host is not a host name",
            hint="Give the host alone, as in login.microsoftonline.us; the tenant has an option of its own.",
        )
    return host.lower()


def _https(text: str, what: str) -> str:
    url = text.strip().rstrip("/")
    parts = urlsplit(url)
    if parts.scheme.lower() != "https" or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise UsageError(
            f"{what} must be an https address without user name and query",
            hint="Leave it out to take the cloud's own, or write it as in https://graph.microsoft.com",
        )
    return url
