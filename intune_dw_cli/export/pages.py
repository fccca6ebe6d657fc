"""The pages of one slice, in order: the next one is requested while the current one decodes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from intune_dw_cli.data.decode import DecodedPage, PageDecoder
from intune_dw_cli.errors import MalformedPageError, ProtocolError
from intune_dw_cli.service.page import Page
from intune_dw_cli.service.warehouse import Warehouse

_DECODE_TRIES = 3


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
            ProtocolError: a nextLink came twice.
            HostGuardError: a nextLink leads to a foreign host.
            IntuneDwError: what Transport.get and PageDecoder.decode raise.
        """
        seen = {_digest(url)}
        page, size = self._fetch(url)
        while True:
            ahead = self._ahead(page, seen)
            try:
                decoded = self._decode(page)
                yield Reading(decoded, size)
                if decoded.next_link is None:
                    return
                if ahead is None or decoded.next_link != page.next_link:
                    ahead = self._request(page, decoded.next_link, seen)
                page, size = ahead.result()
            except BaseException:
                if ahead is not None:
                    ahead.cancel()
                raise

    def _ahead(self, page: Page, seen: set[bytes]) -> Future[tuple[Page, int]] | None:
        """Request the next page on the strength of the envelope alone; decoding has the last word."""
        return None if page.next_link is None else self._request(page, page.next_link, seen)

    def _request(self, page: Page, next_link: str, seen: set[bytes]) -> Future[tuple[Page, int]]:
        try:
            url = self._warehouse.follow(page, next_link)
        except ProtocolError as error:
            error.collection, error.request_id = self._collection, page.request_id
            raise
        if _digest(url) in seen:
            raise ProtocolError(
                "the service's nextLinks go in a circle, so the collection has no end",
                hint="Try again later; report it to Microsoft with the client-request-id if it goes on.",
                collection=self._collection,
                request_id=page.request_id,
            )
        seen.add(_digest(url))
        return self._executor.submit(self._fetch, url)

    def _fetch(self, url: str) -> tuple[Page, int]:
        sizes: list[int] = []
        page = self._warehouse.page(url, collection=self._collection, on_bytes=sizes.append)
        return page, sizes[-1]

    def _decode(self, page: Page) -> DecodedPage:
        """Decode; a text that turns out to be no JSON is asked for again."""
        for attempt in range(1, _DECODE_TRIES + 1):
            try:
                with self._decoding:
                    return self._decoder.decode(page)
            except ProtocolError as error:
                error.collection = error.collection or self._collection
                error.request_id = error.request_id or page.request_id
                if not isinstance(error, MalformedPageError) or attempt == _DECODE_TRIES:
                    raise
            page, _ = self._fetch(page.url)
        raise AssertionError("unreachable")


def _digest(url: str) -> bytes:
    """Links are long and pages many; 16 bytes each are enough to know one again."""
    return hashlib.blake2b(url.encode("utf-8", "surrogatepass"), digest_size=16).digest()
