"""The chain of pages: the next one is under way early, it ends where the service ends it, and never elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from engine_bench import FACT, TODAY, Bench

from intune_dw_cli.data.decode import PageDecoder
from intune_dw_cli.errors import HostGuardError, MalformedPageError, ProtocolError
from intune_dw_cli.events import Retrying
from intune_dw_cli.export.pages import PageReader
from intune_dw_cli.sandbox import Fault, Sandbox, ServerConfig, TenantConfig
from intune_dw_cli.service.page import Page, read_page


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def reader(bench: Bench, executor: Executor, name: str = FACT) -> tuple[PageReader, str]:
    plan = bench.plan(name)
    decoder = PageDecoder(plan.declared_schema, None)
    return PageReader(bench.warehouse, decoder, executor, name), bench.warehouse.url(plan.entity_set)


def read(bench: Bench, executor: Executor, name: str = FACT) -> list[dict[str, Any]]:
    pages, url = reader(bench, executor, name)
    return [row for reading in pages.read(url) for row in reading.decoded.batch.to_pylist()]


class RecordingExecutor(Executor):
    """Runs at once, and writes down that it did."""

    def __init__(self, log: list[str]) -> None:
        self._log = log

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._log.append("requested")
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@pytest.mark.parametrize("form", ["absolute", "relative", "lower-hex"])
def test_all_rows_of_all_pages_come_once_in_their_order(
    benches: Callable[..., Bench], pool: ThreadPoolExecutor, form: Any
) -> None:
    tenant = TenantConfig(today=TODAY, devices=12, days=2)
    with Sandbox(tenant, ServerConfig(page_size=5, next_link=form)) as sandbox:
        assert read(benches(sandbox), pool) == list(sandbox.tenant.rows(FACT))


def test_the_next_page_is_requested_before_the_current_one_is_decoded_and_used(bench: Bench) -> None:
    log: list[str] = []
    pages, url = reader(bench, RecordingExecutor(log))
    decode = pages._decoder.decode

    def noted(page: Page) -> Any:
        log.append("decoded")
        return decode(page)

    pages._decoder.decode = noted  # type: ignore[method-assign]
    for _ in pages.read(url):
        log.append("used")
    count = log.count("used")
    assert count > 3
    assert log == ["requested", "decoded", "used"] * (count - 1) + ["decoded", "used"]


def test_the_time_of_the_server_and_that_of_the_reader_pass_together(
    benches: Callable[..., Bench], pool: ThreadPoolExecutor
) -> None:
    tenant = TenantConfig(today=TODAY, devices=20, days=4)
    with Sandbox(tenant, ServerConfig(page_size=9, think_time=0.05)) as sandbox:
        pages, url = reader(benches(sandbox), pool)
        began, count = time.monotonic(), 0
        for _ in pages.read(url):
            time.sleep(0.05)
            count += 1
        took = time.monotonic() - began
    assert count >= 5
    assert took < 0.05 * (2 * count - 1)  # one after the other would take 0.05 * 2 * count


@pytest.mark.parametrize("fault", ["kind=next-loop,page=1", "kind=next-cycle,page=2", "kind=next-loop,page=3"])
def test_nextlinks_that_go_in_a_circle_end_in_an_error(bench: Bench, pool: ThreadPoolExecutor, fault: str) -> None:
    bench.sandbox.add_fault(Fault.parse(f"{fault},collection={FACT},times=0"))
    with pytest.raises(ProtocolError, match="circle") as caught:
        read(bench, pool)
    assert (caught.value.collection, bool(caught.value.request_id)) == (FACT, True)
    assert len(bench.warehouse.asked) <= 4


@pytest.mark.parametrize("page", [1, 3])
def test_a_nextlink_to_another_origin_ends_in_an_error_and_nothing_is_sent_there(
    benches: Callable[..., Bench], sandbox: Sandbox, pool: ThreadPoolExecutor, page: int
) -> None:
    bench = benches(sandbox)
    with Sandbox(TenantConfig(today=TODAY, devices=20, days=4)) as foreign:
        link = foreign.feed_url.replace("?", f"/{FACT}?")
        bench.sandbox.add_fault(Fault(kind="next-foreign", collection=FACT, page=page, url=link))
        with pytest.raises(HostGuardError) as caught:
            read(bench, pool)
        assert foreign.requests == []
    assert (caught.value.collection, bool(caught.value.request_id)) == (FACT, True)
    assert len(bench.warehouse.asked) == page


def test_an_empty_page_with_a_nextlink_does_not_end_the_collection(bench: Bench, pool: ThreadPoolExecutor) -> None:
    for page in (1, 2, 4):
        bench.sandbox.add_fault(Fault.parse(f"kind=empty-page,collection={FACT},page={page}"))
    pages, url = reader(bench, pool)
    batches = [reading.decoded.batch for reading in pages.read(url)]
    assert [row for batch in batches for row in batch.to_pylist()] == list(bench.sandbox.tenant.rows(FACT))
    assert [batch.num_rows for batch in batches[:4]] == [0, 0, 7, 0]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("page", [1, 2])
def test_a_page_that_is_no_json_once_is_asked_for_again(
    bench: Bench, pool: ThreadPoolExecutor, page: int, share: float
) -> None:
    bench.sandbox.add_fault(Fault.parse(f"kind=json-cut,collection={FACT},page={page},after={share}"))
    assert read(bench, pool) == list(bench.sandbox.tenant.rows(FACT))


def spoil_row(page: Page) -> Page:
    """Spoil a row and keep the envelope: only decoding can tell."""
    assert page.span is not None
    middle = page.body.index(b'":', page.span[0] + 1)
    return replace(page, body=page.body[:middle] + b'"?' + page.body[middle + 2 :])


def test_rows_that_are_no_json_though_the_envelope_is_are_asked_for_again(
    bench: Bench, pool: ThreadPoolExecutor
) -> None:
    seen: set[str] = set()

    def spoil_each_page_once(page: Page) -> Page:
        if page.url in seen:
            return page
        seen.add(page.url)
        return spoil_row(page)

    bench.warehouse.bend = spoil_each_page_once
    assert read(bench, pool) == list(bench.sandbox.tenant.rows(FACT))
    assert len(bench.warehouse.asked) == 2 * len(seen)


class MovingPages:
    """A first page that comes garbled once; asked again, the service cuts its pages elsewhere."""

    def __init__(self, garbled_link: str) -> None:
        self.garbled_link = garbled_link
        self.first = ""

    def __call__(self, page: Page) -> Page:
        if not self.first:
            self.first = page.url
            return replace(spoil_row(page), next_link=self.garbled_link)
        return page


def test_a_link_that_only_a_garbled_page_had_is_no_part_of_the_chain(bench: Bench, pool: ThreadPoolExecutor) -> None:
    _, url = reader(bench, pool)
    second = bench.warehouse.page(url).next_link
    assert second
    third = bench.warehouse.page(second).next_link
    assert third
    bench.warehouse.asked.clear()
    bench.warehouse.bend = MovingPages(third)  # comes again, rightly, as the nextLink of the second page
    assert read(bench, pool) == list(bench.sandbox.tenant.rows(FACT))


@pytest.mark.parametrize("link", ["https://evil.example/x", "FIRST", "http://["])
def test_a_link_that_only_a_garbled_page_had_is_not_complained_of(
    bench: Bench, pool: ThreadPoolExecutor, link: str
) -> None:
    _, url = reader(bench, pool)
    bench.warehouse.bend = MovingPages(url if link == "FIRST" else link)
    assert read(bench, pool) == list(bench.sandbox.tenant.rows(FACT))


def test_a_page_that_is_never_json_is_an_error_once_the_patience_of_the_transport_ends(
    benches: Callable[..., Bench], sandbox: Sandbox, pool: ThreadPoolExecutor
) -> None:
    bench = benches(sandbox, tries=4)
    bench.warehouse.bend = spoil_row
    pages, url = reader(bench, pool, "users")
    before = len(sandbox.requests)
    with pytest.raises(MalformedPageError) as caught:
        list(pages.read(url))
    assert (caught.value.collection, bool(caught.value.request_id)) == ("users", True)
    assert sum("skiptoken" not in r.target for r in sandbox.requests[before:]) == 1 + 4
    assert [event.attempt for event in bench.of(Retrying)] == [1, 2, 3]


def test_a_value_that_contradicts_its_type_is_an_error_at_once(bench: Bench, pool: ThreadPoolExecutor) -> None:
    def contradict(page: Page) -> Page:
        body = page.body.replace(b'"userKey":', b'"userKey":"no number","was":', 1)
        return read_page(body, url=page.url, request_id=page.request_id)

    bench.warehouse.bend = contradict
    with pytest.raises(ProtocolError) as caught:
        read(bench, pool, "users")
    assert not isinstance(caught.value, MalformedPageError)
    assert caught.value.collection == "users"
    assert sum("skiptoken" not in u for u in bench.warehouse.asked) == 1


def test_the_bytes_on_the_wire_are_told_for_each_page(bench: Bench, pool: ThreadPoolExecutor) -> None:
    pages, url = reader(bench, pool, "users")
    assert all(reading.wire_bytes > 0 for reading in pages.read(url))
