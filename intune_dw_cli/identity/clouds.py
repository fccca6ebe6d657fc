"""The Microsoft clouds: which hosts of the warehouse belong to each.

Tokens are not valid across clouds, and the bearer must not leave the hosts of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Cloud:
    """One cloud.

    Attributes:
        name: The name for `--cloud`.
        feed_hosts: Patterns of the hosts that serve the warehouse, `*.` standing for any labels.
    """

    name: str
    feed_hosts: tuple[str, ...]


CLOUDS: Mapping[str, Cloud] = MappingProxyType(
    {
        cloud.name: cloud
        for cloud in (
            Cloud("public", ("*.manage.microsoft.com",)),
            Cloud("usgov", ("*.manage.microsoft.us",)),
            Cloud("usgovdod", ("*.manage.microsoft.us",)),
            Cloud("china", ("*.manage.microsoft.cn",)),
        )
    }
)
