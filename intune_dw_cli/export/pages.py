"""The pages of one slice, in order: the next one is requested while the current one decodes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from intune_dw_cli.data.decode import DecodedPage, PageDecoder
from intune_dw_cli.errors import MalformedPageError, ProtocolError
from intune_dw_cli.service.page import Page
from intune_dw_cli.service.warehouse import Warehouse

_MOST_EMPTY = 10_000
"""Pages without rows in a row. Links that are new each time would otherwise lead on for ever."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A decoded page and how many bytes it had on the wire."""

    decoded: DecodedPage
    wire_bytes: int


class PageReader:
    """Follows the nextLinks of one collection.

    Args:
        warehouse: Fetches pages.
        decoder: Decodes them.
        executor: Runs the request for the next page.
        collection: For messages.
        decoding: Held while a page is decoded. More decodes at a time than there are cores would only take memory.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        decoder: PageDecoder,
        executor: Executor,
        collection: str,
        decoding: AbstractContextManager[object] | None = None,
    ) -> None:
        self._warehouse = warehouse
        self._decoder = decoder
        self._executor = executor
        self._collection = collection
        self._decoding = decoding or nullcontext()

    def read(self, url: str) -> Iterator[Reading]:
        """Yield the pages that begin at a URL until one has no nextLink.

        Only a missing nextLink ends a collection (OData 4.0 Protocol 11.2.5.7): a page without rows does not.

        Raises:
            ProtocolError: a nextLink came twice, or page after page brings no row.
            HostGuardError: a nextLink leads to a foreign host.
            IntuneDwError: what Transport.get and PageDecoder.decode raise.
        """
        seen: set[bytes] = set()
        empty = 0
        page, size = self._fetch(url)
        while True:
            seen.add(_digest(page.url))  # pages of the chain, not those that a garbled page only seemed to lead to
            ahead = self._ahead(page, seen)
            try:
                decoded = self._decode(page)
                next_link, rows = decoded.next_link, decoded.batch.num_rows
                reading = Reading(decoded, size)
                page = replace(page, body=b"", span=None)  # neither text nor rows are held longer than they are used
                del decoded
                yield reading
                del reading
                if next_link is None:
                    return
                empty = 0 if rows else empty + 1
                if empty >= _MOST_EMPTY:
                    raise self._endless(page, f"{empty:,} pages in a row hold no row and lead on")
                if ahead is None or next_link != page.next_link:
                    ahead = self._request(page, next_link, seen)
                page, size = ahead.result()
            except BaseException:
                if ahead is not None:
                    ahead.cancel()
                raise

    def _ahead(self, page: Page, seen: set[bytes]) -> Future[tuple[Page, int]] | None:
        """Request the next page on the strength of the envelope alone.

        Decoding has the last word: a link that is not fit to follow is complained of only once it is certain.
        """
        if page.next_link is None:
            return None
        try:
            return self._request(page, page.next_link, seen)
        except ProtocolError:
            return None

    def _request(self, page: Page, next_link: str, seen: set[bytes]) -> Future[tuple[Page, int]]:
        try:
            url = self._warehouse.follow(page, next_link)
        except ProtocolError as error:
            error.collection, error.request_id = self._collection, page.request_id
            raise
        if _digest(url) in seen:
            raise self._endless(page, "the service's nextLinks go in a circle")
        return self._executor.submit(self._fetch, url)

    def _endless(self, page: Page, seen: str) -> ProtocolError:
        return ProtocolError(
            f"{seen}, so the collection has no end",
            hint="Try again later; report it to Microsoft with the client-request-id if it goes on.",
            collection=self._collection,
            request_id=page.request_id,
        )

    def _fetch(self, url: str) -> tuple[Page, int]:
        sizes: list[int] = []
        page = self._warehouse.page(url, collection=self._collection, on_bytes=sizes.append)
        return page, sizes[-1]

    def _decode(self, page: Page) -> DecodedPage:
        """Decode; a page whose rows turn out to be no JSON is asked for again, with the transport's patience."""
        try:
            return self._decoded(page)
        except MalformedPageError:
            again: list[DecodedPage] = []
            self._warehouse.page(
                page.url, collection=self._collection, prove=lambda other: again.append(self._decoded(other))
            )
            return again[-1]

    def _decoded(self, page: Page) -> DecodedPage:
        try:
            with self._decoding:
                return self._decoder.decode(page)
        except ProtocolError as error:
            error.collection = error.collection or self._collection
            error.request_id = error.request_id or page.request_id
            raise


def _digest(url: str) -> bytes:
    """Links are long and pages many; 16 bytes each are enough to know one again."""
    return hashlib.blake2b(url.encode("utf-8", "surrogatepass"), digest_size=16).digest()
