"""What a sandbox is asked to be: the tenant's data and the server's manners."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from intune_dw_cli.sandbox.faults import Fault

NextLinkForm = Literal["absolute", "relative", "lower-hex"]
MetadataForm = Literal["normal", "missing", "broken", "odd-namespace"]
FilterCase = Literal["documented", "metadata"]


def today_in_utc() -> date:
    """Return the current day in UTC, which is the day the warehouse goes by."""
    return datetime.now(UTC).date()


@dataclass(frozen=True, kw_only=True)
class TenantConfig:
    """The data of a tenant; the same values always make the same rows.

    Attributes:
        seed: Chooses names, ids and numbers.
        today: The clock the tenant believes in; the newest dateKey. Apps, policies and terms were made before 2017,
            so an earlier clock finds them in its future.
        devices: Devices ever enrolled; users and app instances derive from it. About one in eight has been deleted,
            so a handful of devices may leave a day without history.
        days: Daily snapshots in every fact; None for the documented retention, 30 where there is none.
        hostile: Put values into the rows that break careless readers.
    """

    seed: int = 1
    today: date = field(default_factory=today_in_utc)
    devices: int = 200
    days: int | None = None
    hostile: bool = False

    def __post_init__(self) -> None:
        if self.devices < 1:
            raise ValueError("devices must be at least 1")
        if self.days is not None and self.days < 1:
            raise ValueError("days must be at least 1")


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """How the server answers.

    Attributes:
        page_size: Rows in a full page.
        port: TCP port on 127.0.0.1; 0 lets the system choose.
        token: The only bearer token that is accepted; None accepts any, but one must be there.
        next_link: Form of `@odata.nextLink`.
        int64_as_string: Write Edm.Int64 as JSON text, as under IEEE754Compatible=true.
        metadata: What `$metadata` answers.
        full_annotations: Annotate rows as under odata.metadata=full.
        strict_filter_case: Accept only `DateKey` (documented) or only `dateKey` (metadata) in `$filter`.
        strict_encoding: Refuse `%24select`, `%2C` in `$select` and `+` for a blank, as seen in 2025.
        think_time: Seconds before each page.
        faults: Faults from the start.
    """

    page_size: int = 1000
    port: int = 0
    token: str | None = None
    next_link: NextLinkForm = "absolute"
    int64_as_string: bool = False
    metadata: MetadataForm = "normal"
    full_annotations: bool = False
    strict_filter_case: FilterCase | None = None
    strict_encoding: bool = False
    think_time: float = 0.0
    faults: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        if self.page_size < 1:
            raise ValueError("page_size must be at least 1")
