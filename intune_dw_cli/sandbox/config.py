"""What a sandbox is asked to be: the tenant's data and the server's manners."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Literal

from intune_dw_cli.data.datekey import today_in_utc

if TYPE_CHECKING:
    from collections.abc import Callable

    from intune_dw_cli.sandbox.faults import Fault

NextLinkForm = Literal["absolute", "relative", "lower-hex"]
MetadataForm = Literal["normal", "missing", "broken", "odd-namespace"]
FilterCase = Literal["documented", "metadata"]
ReportForm = Literal["usual", "base64", "unpadded", "plain-text", "null", "bytes", "redirect", "redirect-http", "html"]
ZipForm = Literal[
    "normal",
    "json",
    "traversal",
    "absolute",
    "drive",
    "link",
    "bomb",
    "liar",
    "duplicate",
    "encrypted",
    "crowd",
    "two",
    "none",
    "cut",
    "no-zip",
]

GRAPH_PERMISSIONS = (
    "DeviceManagementServiceConfig.Read.All",
    "DeviceManagementApps.Read.All",
    "DeviceManagementConfiguration.Read.All",
    "DeviceManagementManagedDevices.Read.All",
)
"""All Graph permissions that anything here asks for."""


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
class GraphConfig:
    """How Microsoft Graph answers.

    Attributes:
        permissions: What the app has been granted; anything else is refused with 403.
        token: The only bearer token that is accepted; None accepts any, but one must be there.
        accept_token: Says of each bearer token whether it is accepted.
        gone: Globs of paths (`v1.0/reports/*`) and of reports (`exportJobs/MAM*`) that there are not: 404.
        report: How report functions answer; usual is base64 in a report object, and bytes under `/content`.
        page_size: Rows in a full page of a collection.
        job_polls: How often an export job says inProgress before it is completed.
        hanging_jobs: Of each report, how many jobs never end before one does.
        failing_jobs: Of each report, how many jobs fail before one does not.
        refuse_select: Answer 400 to an export job that asks for columns.
        zip: What the file of an export job is.
        bomb_size: Bytes that the bomb inflates to.
    """

    permissions: tuple[str, ...] = GRAPH_PERMISSIONS
    token: str | None = None
    accept_token: Callable[[str], bool] | None = None
    gone: tuple[str, ...] = ()
    report: ReportForm = "usual"
    page_size: int = 100
    job_polls: int = 1
    hanging_jobs: int = 0
    failing_jobs: int = 0
    refuse_select: bool = False
    zip: ZipForm = "normal"
    bomb_size: int = 1 << 30


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """How the server answers.

    Attributes:
        page_size: Rows in a full page.
        port: TCP port on 127.0.0.1; 0 lets the system choose.
        token: The only bearer token that is accepted; None accepts any, but one must be there.
        accept_token: Says of each bearer token whether it is accepted, for instance by asking the sandbox's Entra.
        next_link: Form of `@odata.nextLink`.
        int64_as_string: Write Edm.Int64 as JSON text, as under IEEE754Compatible=true.
        metadata: What `$metadata` answers.
        full_annotations: Annotate rows as under odata.metadata=full.
        strict_filter_case: Accept only `DateKey` (documented) or only `dateKey` (metadata) in `$filter`.
        strict_encoding: Refuse `%24select`, `%2C` in `$select` and `+` for a blank, as seen in 2025.
        think_time: Seconds before each page.
        faults: Faults from the start.
        graph: How Microsoft Graph answers.
    """

    page_size: int = 1000
    port: int = 0
    token: str | None = None
    accept_token: Callable[[str], bool] | None = None
    next_link: NextLinkForm = "absolute"
    int64_as_string: bool = False
    metadata: MetadataForm = "normal"
    full_annotations: bool = False
    strict_filter_case: FilterCase | None = None
    strict_encoding: bool = False
    think_time: float = 0.0
    faults: tuple[Fault, ...] = ()
    graph: GraphConfig = field(default_factory=GraphConfig)

    def __post_init__(self) -> None:
        if self.page_size < 1:
            raise ValueError("page_size must be at least 1")
