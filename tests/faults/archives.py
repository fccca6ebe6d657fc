"""Archives made through the library, of a sandbox in this process."""

from __future__ import annotations

import datetime as dt
import threading
from pathlib import Path
from typing import Any

from intune_dw_cli.archive.backup import BackupResult, backup
from intune_dw_cli.archive.request import BackupRequest
from intune_dw_cli.events import Observer, ignore
from intune_dw_cli.identity.tokens import StaticToken
from intune_dw_cli.sandbox import Sandbox
from intune_dw_cli.service.export_jobs import ExportPolicy
from intune_dw_cli.service.feed import FeedUrl
from intune_dw_cli.service.graph import Graph
from intune_dw_cli.service.retry import RequestPolicy
from intune_dw_cli.service.transport import Transport
from intune_dw_cli.service.warehouse import Warehouse

TODAY = dt.date(2024, 1, 31)
FACT = "devicePropertyHistories"
SOURCE = "https://fef.msua01.manage.microsoft.com/ReportingService/DataWarehouseFEService"
SMALL = (FACT, "devices", "ownerTypes")


def back_up(
    root: Path,
    sandbox: Sandbox,
    *,
    charts: bool = False,
    source: str = SOURCE,
    observer: Observer = ignore,
    stop: threading.Event | None = None,
    **request: Any,
) -> BackupResult:
    """Back up a sandbox tenant, by default three collections of it as on TODAY; keywords as in BackupRequest."""
    policy = RequestPolicy(first_wait=0.01, tries=2)
    transport = Transport(StaticToken("any", origin="the test"), policy=policy)
    feed = FeedUrl.parse(sandbox.feed_url, allowed_hosts=())
    graph = Graph(transport, sandbox.graph_url, exports=ExportPolicy.hurried()) if charts else None

    def connect(service: bytes | None, metadata: bytes | None) -> Warehouse:
        return Warehouse(feed, transport, source=source, service_document=service, metadata_document=metadata)

    settings: dict[str, Any] = {"only": SMALL, "today": TODAY, "tenant": "contoso"}
    try:
        return backup(
            BackupRequest(root=root, **settings | request), connect, graph=graph, observer=observer, stop=stop
        )
    finally:
        transport.close()
