"""The data warehouse of one tenant: which collections it has, what they are made of, and their pages."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from intune_dw_cli.errors import MalformedPageError, NotFoundError, ProtocolError, ServiceError, UnknownCollectionError
from intune_dw_cli.events import Observer, Warned, ignore
from intune_dw_cli.reference import ReferenceCollection, reference
from intune_dw_cli.service.call import JSON, XML
from intune_dw_cli.service.csdl import EntityType, Metadata, Property, parse_metadata, parse_service_document
from intune_dw_cli.service.feed import FeedUrl
from intune_dw_cli.service.hosts import guard
from intune_dw_cli.service.page import Page, read_page
from intune_dw_cli.service.transport import Transport

_DOCUMENT_TRIES = 4
_CALENDAR = "dates"
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class EntitySet:
    """One collection as this service has it.

    Attributes:
        name: As the service document spells it.
        url: Its address as written there, often relative.
        entity_type: Key and properties: from `$metadata`, else from the reference, else read off a first page.
        declared: Whether `$metadata` declares it.
        reference: What the documentation says of it, None for a collection that it does not know.
        date_key: The name of the property that holds the DateKey, None where there is none or, as with the
            calendar `dates`, where days are no history.
        row_last_modified: The name of the property that `RowLastModifiedDateTimeUTC` filters on, or None.
    """

    name: str
    url: str
    entity_type: EntityType
    declared: bool
    reference: ReferenceCollection | None
    date_key: str | None
    row_last_modified: str | None

    @property
    def kind(self) -> str:
        """fact, dimension or lookup; for an undocumented collection, fact where it has a DateKey."""
        if self.reference:
            return self.reference.kind
        return "fact" if self.date_key else "dimension"

    @property
    def retention_days(self) -> int | None:
        """Documented days of history, None where the documentation gives no figure."""
        return self.reference.retention_days if self.reference else None

    def property_names(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """Return the service's spelling of property names, in the order given.

        Raises:
            UnknownCollectionError: one of them is no property of the collection.
        """
        exact = {p.name: p.name for p in self.entity_type.properties}
        known = {name.casefold(): name for name in exact} | exact
        for name in wanted:
            if name not in known and name.casefold() not in known:
                raise UnknownCollectionError(
                    f"{self.name} has no property {name!r}{_did_you_mean(name, exact)}",
                    hint=f"List its properties with: intune-dw collections {self.name}",
                )
        return tuple(dict.fromkeys(known.get(name) or known[name.casefold()] for name in wanted))


class Warehouse:
    """Reads one tenant's warehouse.

    Args:
        feed: The feed URL.
        transport: Sends the requests.
        allowed_hosts: Patterns of further https hosts that a nextLink may lead to.
        source: The feed's name in manifests and file metadata; the feed URL without query by default.
        observer: Hears of warnings.
        service_document: A service document read earlier, to be used in place of asking.
        metadata_document: A `$metadata` read earlier, likewise; empty where the service gave none.
    """

    def __init__(
        self,
        feed: FeedUrl,
        transport: Transport,
        *,
        allowed_hosts: Sequence[str] = (),
        source: str | None = None,
        observer: Observer = ignore,
        service_document: bytes | None = None,
        metadata_document: bytes | None = None,
    ) -> None:
        self.feed = feed
        self.source = source or feed.source
        self._transport = transport
        self._allowed_hosts = tuple(allowed_hosts)
        self._observer = observer
        self._service_document = service_document
        self._metadata_document = metadata_document

    @cached_property
    def service_document(self) -> bytes:
        """The service document as served. Raises ProtocolError when the address is no OData service."""
        if self._service_document is not None:
            return self._service_document
        url = self.feed.service_document()
        read = _checked(parse_service_document, hopeful=False)
        return self._transport.get(url, read, accept=JSON, tries=_DOCUMENT_TRIES)

    @cached_property
    def metadata_document(self) -> bytes:
        """`$metadata` as served; empty where the service has none that can be read (a warning is sent)."""
        if self._metadata_document is not None:
            return self._metadata_document
        try:
            read = _checked(parse_metadata)
            return self._transport.get(self.feed.metadata(), read, accept=XML, tries=_DOCUMENT_TRIES)
        except (NotFoundError, ProtocolError) as error:
            self._observer(
                Warned(None, f"no usable $metadata, so column types come from the documentation: {error.message}")
            )
            return b""

    @cached_property
    def entity_sets(self) -> tuple[EntitySet, ...]:
        """Every collection that the service lists, in its order."""
        infos = parse_service_document(self.service_document)
        metadata = parse_metadata(self.metadata_document) if self.metadata_document else Metadata({})
        names = {info.name for info in infos}
        return tuple(self._entity_set(info.name, info.url, metadata, names) for info in infos)

    def entity_set(self, name: str) -> EntitySet:
        """Return the collection of that name, else of one that differs in case only.

        Raises:
            UnknownCollectionError: the service does not list it; the message names near misses.
        """
        wanted = name.casefold()
        alike = [e for e in self.entity_sets if e.name.casefold() == wanted]
        if alike:
            return next((e for e in alike if e.name == name), alike[0])
        names = [e.name for e in self.entity_sets]
        raise UnknownCollectionError(
            f"there is no collection {name!r}{_did_you_mean(name, names)}",
            hint="List what there is with: intune-dw collections",
        )

    def url(
        self,
        entity_set: EntitySet,
        *,
        filter: str | None = None,
        select: Sequence[str] | None = None,
        top: int | None = None,
        skip: int | None = None,
    ) -> str:
        """Return the URL of a collection's first page."""
        return self.feed.entity_set(entity_set.url, filter=filter, select=select, top=top, skip=skip)

    def page(
        self,
        url: str,
        *,
        collection: str | None = None,
        on_bytes: Callable[[int], None] | None = None,
        prove: Callable[[Page], object] = lambda _: None,
    ) -> Page:
        """Fetch one page.

        Args:
            prove: Looks at the page; may raise MalformedPageError, which is retried as one of the envelope is.

        Raises:
            IntuneDwError: what `Transport.get` raises.
        """

        def read(body: bytes, request_id: str) -> Page:
            page = read_page(body, url=url, request_id=request_id)
            prove(page)
            return page

        return self._transport.get(url, read, collection=collection, on_bytes=on_bytes)

    def follow(self, page: Page, next_link: str) -> str:
        """Return the URL that a page's nextLink stands for. Raises HostGuardError when it leads elsewhere."""
        return guard(next_link, request_url=page.url, origin=self.feed.origin, allowed_hosts=self._allowed_hosts)

    def _entity_set(self, name: str, url: str, metadata: Metadata, others: Container[str]) -> EntitySet:
        documented = reference().get(name.casefold())
        declared = metadata.entity_type_of(name, others)
        entity_type = declared
        if entity_type is None and documented is not None:
            entity_type = _documented_type(documented)
        if entity_type is None:
            entity_type = self._observed_type(name, url)
        names = {p.name.casefold(): p.name for p in entity_type.properties}
        modified = documented.row_last_modified if documented else "rowLastModifiedDateTimeUTC"
        return EntitySet(
            name=name,
            url=url,
            entity_type=entity_type,
            declared=declared is not None,
            reference=documented,
            date_key=names.get("datekey") if name.casefold() != _CALENDAR else None,
            row_last_modified=names.get(modified.casefold()) if modified else None,
        )

    def _observed_type(self, name: str, url: str) -> EntityType:
        """Read property names and types off the first page: neither `$metadata` nor the reference knows them.

        Where the service refuses that page, nothing is known of the collection. That is no reason to do without the
        others; reading it will say what is wrong.
        """
        try:
            rows, _ = self.page(self.feed.entity_set(url), collection=name).document()
        except (ServiceError, ProtocolError) as error:
            self._observer(Warned(name, f"no $metadata, and its first page cannot be read: {error.message}"))
            rows = []
        kinds: dict[str, str | None] = {}
        for row in rows:
            if isinstance(row, dict):
                for key, value in row.items():
                    # A name with a lone surrogate is in no file's header: its values are kept like undeclared ones.
                    if "@" not in key and not _SURROGATE.search(key):
                        kinds[key] = _wider(kinds.get(key), value)
        properties = tuple(Property(key, kind or "Edm.String") for key, kind in kinds.items())
        return EntityType(name, (), properties)


def _checked(parse: Callable[[bytes], object], *, hopeful: bool = True) -> Callable[[bytes, str], bytes]:
    """Return a reader that gives a document back as it is, once it parses.

    One that comes garbled is worth another request. A wrong address mostly answers with a web page, again and again:
    without `hopeful` the same bytes for the second time are the last word.
    """
    before: list[bytes] = []

    def read(body: bytes, request_id: str) -> bytes:
        try:
            parse(body)
        except ProtocolError as error:
            error.request_id = request_id
            if isinstance(error, MalformedPageError) and not hopeful and body in before:
                raise ProtocolError(error.message, hint=error.hint, request_id=request_id) from None
            before[:] = [body]
            raise
        return body

    return read


def _documented_type(documented: ReferenceCollection) -> EntityType:
    # Integer widths are inferred in the reference: the widest loses nothing.
    properties = tuple(
        Property(p.name, "Edm.Int64" if p.type == "Edm.Int32" else p.type, p.nullable) for p in documented.properties
    )
    return EntityType(documented.entity_type, documented.key, properties)


def _wider(known: str | None, value: Any) -> str | None:
    """Return the Edm type that holds what was seen before and this value too."""
    if value is None:
        return known
    if isinstance(value, bool):
        seen = "Edm.Boolean"
    elif isinstance(value, int):
        seen = "Edm.Int64"
    else:
        seen = "Edm.String"  # fractions as well: as text they stay exact
    return seen if known in (None, seen) else "Edm.String"


def _did_you_mean(name: str, known: Any) -> str:
    folded = {k.casefold(): k for k in known}
    near = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(folded[n] for n in near)}?" if near else ""
