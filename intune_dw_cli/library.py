"""The warehouse for Python programs: its collections, and their rows as Arrow record batches.

It is the same engine as that of the command line: the same checks, retries and promises. Rows end only when every row
that the service gave for what was asked has been handed over; anything else is an exception (IntuneDwError).
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pyarrow as pa

from intune_dw_cli.data.datekey import DateKeyRange, parse_day, today_in_utc
from intune_dw_cli.data.redact import Redaction
from intune_dw_cli.errors import UsageError
from intune_dw_cli.events import Event, Observer, Warned
from intune_dw_cli.export.plan import CollectionPlan, plan_collection
from intune_dw_cli.export.stream import BatchStream
from intune_dw_cli.identity.cache import open_cache
from intune_dw_cli.identity.identity import Identity
from intune_dw_cli.identity.locations import Locations
from intune_dw_cli.identity.profiles import ProfileStore
from intune_dw_cli.identity.tokens import StaticToken, TokenSource
from intune_dw_cli.service import warehouse as service
from intune_dw_cli.service.retry import RequestPolicy
from intune_dw_cli.service.transport import Transport
from intune_dw_cli.service.warehouse import EntitySet
from intune_dw_cli.settings import Settings, given_in, resolve

log = logging.getLogger("intune_dw_cli")


def log_warnings(event: Event) -> None:
    """Write warnings to the log `intune_dw_cli`: the observer where none is given."""
    if isinstance(event, Warned):
        log.warning("%s%s", f"{event.collection}: " if event.collection else "", event.message)


class Warehouse:
    """One tenant's warehouse. `connect` makes it; may be used by several threads.

    Args:
        warehouse: The service.
        workers: Slices of a collection that are fetched at the same time.
        observer: Hears what happens (intune_dw_cli.events), from worker threads.
    """

    def __init__(self, warehouse: service.Warehouse, *, workers: int = 4, observer: Observer = log_warnings) -> None:
        self._service = warehouse
        self._workers = workers
        self._observer = observer
        self._streams: list[BatchStream] = []

    @classmethod
    @contextmanager
    def connect(
        cls,
        url: str | None = None,
        *,
        token: str | TokenSource | None = None,
        profile: str | None = None,
        ca_bundle: str | None = None,
        workers: int = 4,
        observer: Observer = log_warnings,
        environ: Mapping[str, str] | None = None,
    ) -> Iterator[Warehouse]:
        """Connect as the command line does: with what `intune-dw login` keeps, or what the environment says.

        Nobody is asked anything and nothing is sent before the first question. Leaving the `with` block ends what is
        still being read.

        Args:
            url: The feed URL; by default `INTUNE_DW_URL`, then that of the profile.
            token: A bearer token for the warehouse, or something that gives and renews them; by default a sign-in.
            profile: A profile's name; by default `INTUNE_DW_PROFILE`, then the default profile.
            ca_bundle: A PEM file with the certification authorities to trust; by default `INTUNE_DW_CA_BUNDLE`, then
                those that are built in.
            workers: Slices of a collection that are fetched at the same time, 1 or more.
            observer: Hears what happens, from worker threads; by default warnings are logged.
            environ: Takes the place of the process's environment.

        Raises:
            UsageError: no feed URL, or one that is none; a profile that does not exist.
            SignInError: nothing to sign in with.
        """
        environ = os.environ if environ is None else environ
        if workers < 1:
            raise UsageError("workers must be at least 1", hint="4 is usual.")
        ca_bundle = ca_bundle or environ.get("INTUNE_DW_CA_BUNDLE") or None
        given = given_in(environ)
        given = replace(given, url=url or given.url, profile=profile or given.profile)
        locations = Locations.from_environ(environ)
        settings = resolve(given, environ, ProfileStore(locations), prove=token is None)
        feed = settings.feed()
        stop = threading.Event()
        with ExitStack() as stack:
            tokens = StaticToken(token, origin="the program") if isinstance(token, str) else token
            if tokens is None:
                identity = _identity(settings, locations, ca_bundle, stop)
                stack.callback(identity.close)
                tokens = identity.warehouse
            policy = RequestPolicy(ca_bundle=ca_bundle)
            transport = Transport(tokens, workers=workers, policy=policy, observer=observer, stop=stop)
            stack.callback(transport.close)
            hosts = settings.cloud.feed_hosts
            found = service.Warehouse(feed, transport, allowed_hosts=hosts, observer=observer)
            warehouse = cls(found, workers=workers, observer=observer)
            stack.callback(warehouse.close)
            stack.callback(stop.set)
            yield warehouse

    @property
    def collections(self) -> tuple[EntitySet, ...]:
        """Every collection that the service lists, in its order: name, kind, key, properties with Edm types.

        Raises:
            IntuneDwError: the service does not answer, or not as an OData service does.
        """
        return self._service.entity_sets

    def collection(self, name: str) -> EntitySet:
        """Return one collection, by its name, case aside. Raises UnknownCollectionError, which names near misses."""
        return self._service.entity_set(name)

    def batches(
        self,
        collection: str,
        *,
        from_: dt.date | str | None = None,
        to: dt.date | str | None = None,
        select: Sequence[str] | None = None,
        top: int | None = None,
        redaction: Redaction | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a collection, in DateKey order.

        A batch holds the rows of one page or a part of them, never none. Types are those of Parquet: integers, decimal,
        timestamp[us, UTC] and so on by `$metadata`, not by the values. All batches have the same schema.

        Args:
            collection: Its name, case aside.
            from_: First day (UTC), for collections that have days: a date, or `2024-01-15`, `today`, `-7d`.
            to: Last day, included.
            select: Names of properties to keep, case aside; None for all.
            top: At most so many rows, any: a preview.
            redaction: What becomes of personal columns, None to keep them.

        Raises:
            UsageError: no such collection, property or day.
            IntuneDwError: not every row could be had, whatever the reason; what was yielded before is then a part only.
        """
        plan = self._plan(collection, from_, to, select, top, redaction)
        return iter(self._stream(plan))

    def reader(
        self,
        collection: str,
        *,
        from_: dt.date | str | None = None,
        to: dt.date | str | None = None,
        select: Sequence[str] | None = None,
        top: int | None = None,
        redaction: Redaction | None = None,
    ) -> pa.RecordBatchReader:
        """Return a reader of the same rows as `batches`: for DuckDB, Polars, pandas, `pyarrow.dataset.write_dataset`.

        Raises:
            What `batches` raises. What goes wrong while a consumer reads reaches it as an exception, too; some, such as
            DuckDB, put it into one of their own.
        """
        stream = self._stream(self._plan(collection, from_, to, select, top, redaction))
        return pa.RecordBatchReader.from_batches(stream.schema, iter(stream))

    def close(self) -> None:
        """End what is still being read; its readers get an InterruptedRunError."""
        while self._streams:
            self._streams.pop().close()

    def _plan(
        self,
        collection: str,
        first: dt.date | str | None,
        last: dt.date | str | None,
        select: Sequence[str] | None,
        top: int | None,
        redaction: Redaction | None,
    ) -> CollectionPlan:
        today = today_in_utc()
        begin, end = (parse_day(day, today=today) if isinstance(day, str) else day for day in (first, last))
        if begin and end and begin > end:
            raise UsageError(f"from_ {begin} is after to {end}", hint="Exchange them.")
        if top is not None and top < 1:
            raise UsageError("top must be at least 1", hint="Leave it out for all rows.")
        found = self._service.entity_set(collection)
        names = found.property_names(select) if select else None
        return plan_collection(
            found, today, bounds=DateKeyRange(begin, end), select=names, top=top, redaction=redaction
        )

    def _stream(self, plan: CollectionPlan) -> BatchStream:
        self._streams = [stream for stream in self._streams if not stream.is_over]
        self._streams.append(BatchStream(self._service, plan, workers=self._workers, observer=self._observer))
        return self._streams[-1]


def _identity(
    settings: Settings, locations: Locations | None, ca_bundle: str | None, stop: threading.Event
) -> Identity:
    configuration = settings.configuration()
    cache = None
    if configuration.is_user:
        cache = open_cache(locations, allow_plaintext=settings.profile.plaintext_cache)
    return Identity(configuration, cache=cache, ca_bundle=ca_bundle, stop=stop)
