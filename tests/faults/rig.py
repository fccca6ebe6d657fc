"""The library as the command uses it, over real sockets and in a hurry; and rows as they should come out."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv

from intune_dw_cli.data.datekey import DateKeyRange
from intune_dw_cli.data.formats import FileFormat
from intune_dw_cli.events import Event
from intune_dw_cli.export.engine import Engine
from intune_dw_cli.export.plan import CollectionPlan, plan_slices
from intune_dw_cli.export.pull import PullResult, pull_to_files, pull_to_partitions
from intune_dw_cli.identity.tokens import StaticToken, TokenSource
from intune_dw_cli.sandbox import TenantConfig
from intune_dw_cli.service.feed import FeedUrl
from intune_dw_cli.service.retry import RequestPolicy
from intune_dw_cli.service.transport import Transport
from intune_dw_cli.service.warehouse import Warehouse

TODAY = dt.date(2024, 1, 31)
FACT = "devicePropertyHistories"
TOKEN = "rig-bearer-51f0c2-never-elsewhere"
SMALL = TenantConfig(today=TODAY, devices=10, days=3)
LAST_DAYS = DateKeyRange(TODAY - dt.timedelta(days=2), TODAY)
"""All days of that tenant."""

HURRIED: Mapping[str, Any] = {"first_wait": 0.0, "max_retry_after": 0.0, "read_timeout": 10.0}

Row = dict[str, str | None]


class Rig:
    """An engine on a feed.

    Args:
        feed_url: The feed.
        tokens: Gives the bearer; by default always TOKEN.
        policy: Settings of the request policy beside those of HURRIED.
    """

    def __init__(
        self,
        feed_url: str,
        *,
        workers: int = 2,
        tokens: TokenSource | None = None,
        allowed_hosts: Sequence[str] = (),
        stop: threading.Event | None = None,
        **policy: Any,
    ) -> None:
        self.stop = stop or threading.Event()
        self.events: list[Event] = []
        self.workers = workers
        self.transport = Transport(
            tokens or StaticToken(TOKEN, origin="the test"),
            workers=workers,
            policy=RequestPolicy(**{**HURRIED, **policy}),
            observer=self.events.append,
            stop=self.stop,
        )
        self.warehouse = Warehouse(
            FeedUrl.parse(feed_url, allowed_hosts=allowed_hosts),
            self.transport,
            allowed_hosts=allowed_hosts,
            observer=self.events.append,
        )
        self.engine = Engine(self.warehouse, workers=workers, observer=self.events.append, stop=self.stop)

    def plans(self, *names: str, bounds: DateKeyRange = LAST_DAYS) -> list[CollectionPlan]:
        """Plan collections; those without days are not bound."""
        plans = []
        for entity_set in map(self.warehouse.entity_set, names):
            wanted = bounds if entity_set.date_key else DateKeyRange()
            slices = plan_slices(entity_set, wanted, TODAY)
            plans.append(CollectionPlan(entity_set=entity_set, slices=slices, bounds=wanted))
        return plans

    def pull(self, folder: Path, *names: str, by_day: bool = False) -> PullResult:
        """Pull collections into CSV files below a folder: one each, or one a day."""
        return self.run(self.plans(*names), folder, by_day=by_day)

    def run(self, plans: Sequence[CollectionPlan], folder: Path, *, by_day: bool = False) -> PullResult:
        """Pull what is planned, and insist that nothing half is left behind."""
        fmt = FileFormat("csv")
        try:
            if by_day:
                result = pull_to_partitions(self.engine, plans, folder, fmt, source="", observer=self.events.append)
            else:
                paths = {plan.entity_set.name: folder / f"{plan.entity_set.name}.csv" for plan in plans}
                result = pull_to_files(
                    self.engine,
                    plans,
                    paths,
                    fmt,
                    source="",
                    look_ahead=2 * self.workers,
                    stop=self.stop,
                    observer=self.events.append,
                )
        finally:
            self.transport.close()
        assert {path for path in folder.rglob("*") if path.is_file()} == {Path(file.path) for file in result.files}
        return result

    def of(self, kind: type[Event]) -> list[Any]:
        """The events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]


def read_rows(path: Path) -> list[Row]:
    """Read a CSV file, telling null from empty text."""
    with path.open("rb") as file:
        names = file.readline().decode().rstrip("\n").split(",")
    table = pacsv.read_csv(
        path,
        read_options=pacsv.ReadOptions(block_size=1 << 28),
        parse_options=pacsv.ParseOptions(newlines_in_values=True),
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    rows: list[Row] = table.to_pylist()
    return rows


def rows_of(result: PullResult, name: str) -> list[Row]:
    """The rows of a collection in its files, in their order; the files say themselves how many they hold."""
    found: list[Row] = []
    for file in result.files:
        if file.collection == name:
            rows = read_rows(Path(file.path))
            assert len(rows) == file.rows
            found += rows
    return found


def as_rows(generated: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Rows of JSON values as CSV should hold them."""
    return [{name: _text(value) for name, value in row.items()} for row in generated]


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)
