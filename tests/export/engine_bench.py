"""An engine on the bench: a warehouse that a test can meddle with, and outputs that remember."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from intune_dw_cli.data.datekey import DateKeyRange
from intune_dw_cli.events import Event
from intune_dw_cli.export.engine import Engine
from intune_dw_cli.export.parts import Part
from intune_dw_cli.export.plan import CollectionPlan, Slice, plan_slices
from intune_dw_cli.identity.tokens import StaticToken
from intune_dw_cli.sandbox import Sandbox
from intune_dw_cli.service.feed import FeedUrl
from intune_dw_cli.service.page import Page
from intune_dw_cli.service.retry import RequestPolicy
from intune_dw_cli.service.transport import Transport
from intune_dw_cli.service.warehouse import Warehouse

TODAY = dt.date(2024, 1, 31)
FACT = "devicePropertyHistories"


class MeddledWarehouse(Warehouse):
    """Writes down the requests for pages; they and the pages may be changed or refused on their way."""

    def __init__(self, feed: FeedUrl, transport: Transport, **more: Any) -> None:
        super().__init__(feed, transport, **more)
        self.asked: list[str] = []
        self.meddle: Callable[[str], str] = lambda url: url
        self.bend: Callable[[Page], Page] = lambda page: page

    def page(
        self,
        url: str,
        *,
        collection: str | None = None,
        on_bytes: Callable[[int], None] | None = None,
        prove: Callable[[Page], object] = lambda _: None,
    ) -> Page:
        self.asked.append(unquote(url))
        bent: list[Page] = []

        def bend(page: Page) -> None:
            bent.append(self.bend(page))
            prove(bent[-1])

        super().page(self.meddle(url), collection=collection, on_bytes=on_bytes, prove=bend)
        return bent[-1]


class MemoryOutput:
    """Keeps the rows of a slice, and whether it was finished or aborted."""

    def __init__(self, item: Slice, additional: bool) -> None:
        self.item, self.additional, self.state = item, additional, "open"
        self.batches: list[pa.RecordBatch] = []

    def write(self, batch: pa.RecordBatch) -> None:
        self.batches.append(batch)

    def finish(self) -> tuple[Part, ...]:
        self.state = "finished"
        return ()

    def abort(self) -> None:
        self.state = "aborted"

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for batch in self.batches for row in batch.to_pylist()]


class Bench:
    """An engine over a sandbox, and all that it did."""

    def __init__(self, sandbox: Sandbox, *, workers: int = 2, tries: int = 2, **policy: Any) -> None:
        self.sandbox = sandbox
        self.stop = threading.Event()
        self.events: list[Event] = []
        settings = {"first_wait": 0.002, "max_wait": 0.01, "max_retry_after": 0.01, "read_timeout": 5.0, **policy}
        self.transport = Transport(
            StaticToken("any", origin="the test"),
            workers=workers,
            policy=RequestPolicy(tries=tries, **settings),
            observer=self.events.append,
            stop=self.stop,
        )
        feed = FeedUrl.parse(sandbox.feed_url, allowed_hosts=())
        self.warehouse = MeddledWarehouse(feed, self.transport)
        self.engine = Engine(self.warehouse, workers=workers, observer=self.events.append, stop=self.stop)
        self.outputs: list[MemoryOutput] = []

    def plan(self, name: str = FACT, bounds: DateKeyRange = DateKeyRange(), **more: Any) -> CollectionPlan:
        entity_set = self.warehouse.entity_set(name)
        slices = more.pop("slices", None) or plan_slices(entity_set, bounds, TODAY)
        return CollectionPlan(entity_set=entity_set, slices=slices, bounds=bounds, **more)

    def open(self, item: Slice, additional: bool) -> MemoryOutput:
        self.outputs.append(MemoryOutput(item, additional))
        return self.outputs[-1]

    def rows(self, name: str = FACT) -> list[dict[str, Any]]:
        """Return the rows of the finished slices of the last beginning, in DateKey order of the slices."""
        done = [o for o in self.outputs if o.item.collection == name and o.state == "finished"]
        done.sort(key=lambda o: o.item.range.first or dt.date.min)
        return [row for output in done for row in output.rows]

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]
