"""The engine gets every row or says which slices it did not get, whatever the service refuses."""

from __future__ import annotations

import datetime as dt
import json
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from engine_bench import FACT, TODAY, Bench, MemoryOutput

from intune_dw_cli.data.datekey import DateKeyRange
from intune_dw_cli.errors import (
    ArchiveError,
    BadRequestError,
    InterruptedRunError,
    IntuneDwError,
    OutputError,
    SignInError,
    TransportError,
    UnavailableError,
)
from intune_dw_cli.events import (
    CollectionFailed,
    CollectionFinished,
    PageFetched,
    SliceFinished,
    SliceRestarted,
    Warned,
)
from intune_dw_cli.export.plan import Slice
from intune_dw_cli.sandbox import Fault, Sandbox
from intune_dw_cli.service.page import Page, read_page

THREE_DAYS = DateKeyRange(TODAY - dt.timedelta(days=2), TODAY)
KEYS = (20240129, 20240130, 20240131)


def refusing(pattern: str, error: Callable[[], Exception] | None = None) -> Callable[[str], str]:
    """Refuse addresses that hold a pattern, with 400 unless told otherwise."""

    def meddle(url: str) -> str:
        if re.search(pattern, url):
            raise error() if error else BadRequestError("refused", status=400, request_id="r-1")
        return url

    return meddle


def deaf(url: str) -> str:
    """Answer as a service does that ignores filters."""
    return re.sub(r"\$filter=[^&]*&?", "", url)


def served(sandbox: Sandbox, name: str = FACT, days: tuple[int, ...] = KEYS) -> list[dict[str, Any]]:
    return [row for day in days for row in sandbox.tenant.rows(name, day=day)]


def ids(rows: list[dict[str, Any]]) -> list[Any]:
    return [(row["dateKey"], row["deviceKey"]) for row in rows]


def warnings(bench: Bench) -> list[str]:
    return [event.message for event in bench.of(Warned)]


def test_every_row_of_every_collection_comes_once(bench: Bench) -> None:
    plans = [bench.plan(name) for name in bench.sandbox.tenant.collections()]
    outcomes = bench.engine.run(plans, bench.open)
    for outcome in outcomes:
        name = outcome.plan.entity_set.name
        assert (outcome.failures, outcome.warnings) == ([], [])
        assert outcome.rows == bench.sandbox.tenant.count(name) == len(bench.rows(name))
    assert [e.collection for e in bench.of(CollectionFinished)] != []
    assert sum(e.rows for e in bench.of(PageFetched)) == sum(o.rows for o in outcomes)


def test_a_failing_collection_does_not_stop_the_others(bench: Bench) -> None:
    bench.sandbox.add_fault(Fault.parse("kind=403,collection=devices,times=0"))
    devices, users = bench.engine.run([bench.plan("devices"), bench.plan("users")], bench.open)
    assert [f.slice.label for f in devices.failures] == ["all"]
    assert (devices.results, users.failures) == ([], [])
    assert users.rows == bench.sandbox.tenant.count("users")
    assert [e.collection for e in bench.of(CollectionFailed)] == ["devices"]
    assert [o.state for o in bench.outputs if o.item.collection == "devices"] == ["aborted"]


@pytest.mark.parametrize("allowed", [1, 3])
def test_a_collection_that_fails_again_and_again_is_left(
    benches: Callable[..., Bench], sandbox: Sandbox, allowed: int
) -> None:
    bench = benches(sandbox, workers=1)
    sandbox.add_fault(Fault.parse(f"kind=403,collection={FACT},times=0"))
    (outcome,) = bench.engine.run([bench.plan()], bench.open, failures=allowed)
    assert len(outcome.failures) == len(bench.outputs) == allowed


def test_a_failed_slice_leaves_the_others_of_its_collection(bench: Bench) -> None:
    bench.warehouse.meddle = refusing("eq%2020240130", lambda: TransportError("reset"))
    (outcome,) = bench.engine.run([bench.plan(bounds=THREE_DAYS)], bench.open)
    assert [f.slice.label for f in outcome.failures] == ["2024-01-30"]
    assert ids(bench.rows()) == ids(served(bench.sandbox, days=(20240129, 20240131)))


# -- refused and ignored filters -----------------------------------------------------------------------------------


def test_the_other_spelling_of_datekey_is_tried_and_remembered(benches: Callable[..., Bench], sandbox: Sandbox) -> None:
    bench = benches(sandbox, workers=1)
    bench.warehouse.meddle = refusing(r"filter=DateKey")
    (outcome,) = bench.engine.run([bench.plan(bounds=THREE_DAYS)], bench.open)
    assert (outcome.failures, outcome.warnings) == ([], [])
    assert ids(bench.rows()) == ids(served(sandbox))
    assert not bench.engine.documented_spelling
    assert sum("filter=DateKey" in url for url in bench.warehouse.asked) == 1
    bench.warehouse.asked.clear()
    bench.engine.run([bench.plan("policyDeviceActivities", THREE_DAYS)], bench.open)
    assert not [url for url in bench.warehouse.asked if "filter=DateKey" in url]


@pytest.mark.parametrize("one_file", [False, True])
@pytest.mark.parametrize("meddle", [refusing("filter"), deaf], ids=["refused", "ignored"])
def test_where_no_filter_works_the_whole_collection_is_read_and_the_range_applied_here(
    bench: Bench, meddle: Callable[[str], str], one_file: bool
) -> None:
    bench.warehouse.meddle = meddle
    bounds = DateKeyRange(TODAY - dt.timedelta(days=2), TODAY - dt.timedelta(days=1))
    (outcome,) = bench.engine.run([bench.plan(bounds=bounds)], bench.open, one_file=one_file)
    (result,) = outcome.results
    assert (result.slice, outcome.failures) == (Slice(FACT, bounds, by_day=True, filtered=False), [])
    (output,) = [o for o in bench.outputs if o.state == "finished" and not o.item.filtered]
    assert ids(output.rows) == ids(served(bench.sandbox, days=KEYS[:2]))
    assert result.rows == len(output.rows)
    (warning,) = outcome.warnings
    assert "the whole collection is read instead" in warning
    assert len(bench.of(SliceRestarted)) == len(bench.of(Warned)) == 1


def test_an_unlimited_plan_that_begins_again_unfiltered_has_all_rows(bench: Bench) -> None:
    bench.warehouse.meddle = refusing("filter")
    (outcome,) = bench.engine.run([bench.plan()], bench.open)
    assert outcome.rows == bench.sandbox.tenant.count(FACT)


def test_a_refusal_that_has_nothing_to_do_with_the_filter_is_a_failure(bench: Bench) -> None:
    bench.sandbox.add_fault(Fault.parse("kind=400,collection=device*,times=0"))
    fact, devices = bench.engine.run([bench.plan(bounds=THREE_DAYS), bench.plan("devices")], bench.open)
    assert [type(f.error) for f in (*fact.failures, *devices.failures)] == [BadRequestError] * 2
    assert (fact.results, devices.results) == ([], [])


# -- $select -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [None, lambda: UnavailableError("internal", status=500)], ids=["with-400", "with-500"]
)
def test_a_refused_select_is_done_here_and_not_asked_again(
    benches: Callable[..., Bench], sandbox: Sandbox, error: Callable[[], Exception] | None
) -> None:
    bench = benches(sandbox, workers=1)
    bench.warehouse.meddle = refusing(r"\$select", error)
    select = ("deviceKey", "dateKey", "deviceName")
    (outcome,) = bench.engine.run([bench.plan(bounds=THREE_DAYS, select=select)], bench.open)
    assert outcome.failures == []
    assert bench.rows() == [{name: row[name] for name in select} for row in served(sandbox)]
    assert sum("$select" in url for url in bench.warehouse.asked) == 1


def test_a_503_to_a_select_is_no_refusal_of_the_select(bench: Bench) -> None:
    bench.warehouse.meddle = refusing(r"\$select", lambda: UnavailableError("busy", status=503))
    (outcome,) = bench.engine.run([bench.plan("users", select=("userKey",))], bench.open)
    assert len(outcome.failures) == 1


@pytest.mark.parametrize("one_file", [False, True])
@pytest.mark.parametrize("meddle", [refusing("filter"), deaf], ids=["refused", "ignored"])
def test_the_range_holds_also_where_datekey_is_not_among_the_selected(
    bench: Bench, meddle: Callable[[str], str], one_file: bool
) -> None:
    bench.warehouse.meddle = meddle
    bounds = DateKeyRange(TODAY - dt.timedelta(days=2), TODAY - dt.timedelta(days=1))
    plan = bench.plan(bounds=bounds, select=("deviceKey",))
    (outcome,) = bench.engine.run([plan], bench.open, one_file=one_file)
    assert (outcome.rows, outcome.failures) == (len(served(bench.sandbox, days=KEYS[:2])), [])
    assert [row["deviceKey"] for row in bench.rows()] == [
        row["deviceKey"] for row in served(bench.sandbox, days=KEYS[:2])
    ]


# -- halves --------------------------------------------------------------------------------------------------------


def several_days(bench: Bench, **more: Any):
    return bench.plan(bounds=THREE_DAYS, slices=(Slice(FACT, THREE_DAYS, by_day=True),), **more)


def test_a_range_that_outlives_the_retries_is_asked_for_in_halves(bench: Bench) -> None:
    bench.warehouse.meddle = refusing(r"filter=\w+%20ge", lambda: UnavailableError("time-out", status=504))
    (outcome,) = bench.engine.run([several_days(bench)], bench.open)
    assert outcome.failures == []
    assert sorted(r.slice.label for r in outcome.results) == ["2024-01-29", "2024-01-30", "2024-01-31"]
    assert ids(bench.rows()) == ids(served(bench.sandbox))
    assert [e.rows for e in bench.of(CollectionFinished)] == [len(served(bench.sandbox))]


def test_what_of_the_halves_fails_is_named(bench: Bench) -> None:
    bench.warehouse.meddle = refusing(r"ge|eq%2020240131", lambda: TransportError("reset"))
    (outcome,) = bench.engine.run([several_days(bench)], bench.open)
    assert [f.slice.label for f in outcome.failures] == ["2024-01-31"]
    assert ids(bench.rows()) == ids(served(bench.sandbox, days=KEYS[:2]))


def test_slices_of_one_file_and_open_ends_are_not_divided(bench: Bench) -> None:
    bench.warehouse.meddle = refusing("filter", lambda: TransportError("reset"))
    (outcome,) = bench.engine.run([several_days(bench)], bench.open, one_file=True)
    assert [f.slice.range for f in outcome.failures] == [THREE_DAYS]
    open_end = bench.plan(slices=(Slice(FACT, DateKeyRange(None, TODAY), by_day=True),))
    (outcome,) = bench.engine.run([open_end], bench.open)
    assert len(outcome.failures) == 1


# -- undeclared and absent properties ------------------------------------------------------------------------------


def test_undeclared_properties_begin_only_their_slice_again(benches: Callable[..., Bench], sandbox: Sandbox) -> None:
    def meddle(url: str) -> str:
        if "skiptoken" not in url:
            bench.sandbox.clear_faults()
            if "20240130" in url:
                bench.sandbox.add_fault(
                    Fault.parse(f"kind=extra-column,collection={FACT},page=2,times=0,name=novel,value=7")
                )
        return url

    bench = benches(sandbox, workers=1)
    bench.warehouse.meddle = meddle
    (outcome,) = bench.engine.run([bench.plan(bounds=THREE_DAYS)], bench.open)
    assert [(o.item.label, o.additional, o.state) for o in bench.outputs] == [
        ("2024-01-29", False, "finished"),
        ("2024-01-30", False, "aborted"),
        ("2024-01-30", True, "finished"),
        ("2024-01-31", False, "finished"),
    ]
    assert ids(bench.rows()) == ids(served(bench.sandbox))
    again = bench.outputs[2]
    assert {row["_additional"] for row in again.rows} == {None, '{"novel":7}'}
    assert outcome.rows == len(bench.rows())
    assert outcome.warnings == ["undeclared properties are kept as JSON in the column _additional"]
    assert len(bench.of(Warned)) == len(bench.of(SliceRestarted)) == 1


def test_with_one_file_all_slices_begin_again_with_the_additional_column(bench: Bench) -> None:
    bench.sandbox.add_fault(Fault.parse(f"kind=extra-column,collection={FACT},times=0,probability=0.5"))
    (outcome,) = bench.engine.run([bench.plan(bounds=THREE_DAYS)], bench.open, one_file=True)
    assert (len(outcome.results), outcome.failures) == (3, [])
    last = [o for o in bench.outputs if o.additional]
    assert [o.state for o in last] == ["finished"] * 3
    rows = [row for o in sorted(last, key=lambda o: o.item.label) for row in o.rows]
    assert ids(rows) == ids(served(bench.sandbox))
    assert outcome.rows == len(rows)
    assert len(bench.of(SliceRestarted)) == 1


def test_a_declared_property_that_no_row_had_is_warned_of_once(bench: Bench) -> None:
    bench.sandbox.add_fault(Fault.parse(f"kind=missing-column,collection={FACT},name=deviceName,times=0"))
    (outcome,) = bench.engine.run([bench.plan(bounds=THREE_DAYS)], bench.open)
    assert all(result.absent == ("deviceName",) for result in outcome.results)
    assert outcome.warnings == ["declared but not sent, so left empty: deviceName"]
    assert warnings(bench) == outcome.warnings
    assert {row["deviceName"] for row in bench.rows()} == {None}


def test_rows_with_the_same_key_are_kept_and_warned_of_once(benches: Callable[..., Bench], sandbox: Sandbox) -> None:
    bench = benches(sandbox, workers=1)
    doubled: list[Page] = []

    def double_the_first(page: Page) -> Page:
        if doubled:
            return page
        doubled.append(page)
        document = json.loads(page.body)
        document["value"] *= 2
        return read_page(json.dumps(document).encode(), url=page.url, request_id=page.request_id)

    bench.warehouse.bend = double_the_first
    (outcome,) = bench.engine.run([bench.plan(bounds=THREE_DAYS)], bench.open)
    assert [r.duplicates for r in outcome.results] == [7, 0, 0]
    assert outcome.rows == len(served(sandbox)) + 7
    assert warnings(bench) == ["several rows have the same key (dateKey, deviceKey); all are kept"]


# -- top and modified-since ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("top", [1, 7, 8, 1000])
@pytest.mark.parametrize("meddle", [lambda url: url, refusing("filter"), deaf], ids=["plain", "refused", "ignored"])
def test_no_more_rows_than_wanted_are_taken(bench: Bench, top: int, meddle: Callable[[str], str]) -> None:
    bench.warehouse.meddle = meddle
    plan = bench.plan(bounds=THREE_DAYS, slices=(Slice(FACT, THREE_DAYS, by_day=True),), top=top)
    (outcome,) = bench.engine.run([plan], bench.open, one_file=True)
    assert (ids(bench.rows()), outcome.failures) == (ids(served(bench.sandbox)[:top]), [])


def test_modified_since_is_asked_of_the_service_and_never_read_whole(bench: Bench) -> None:
    plan = bench.plan("devices", modified_since="2020-01-01T00:00:00Z")
    bench.engine.run([plan], bench.open)
    assert "RowLastModifiedDateTimeUTC ge 2020-01-01T00:00:00Z" in bench.warehouse.asked[0]
    bench.warehouse.meddle = refusing("filter")
    (outcome,) = bench.engine.run([plan], bench.open)
    assert [type(f.error) for f in outcome.failures] == [BadRequestError]


def test_a_range_beside_modified_since_is_applied_here_without_a_second_reading(bench: Bench) -> None:
    days = DateKeyRange.day(TODAY)
    entire = Slice(FACT, days, by_day=True)
    plan = bench.plan(bounds=days, slices=(entire,), modified_since="2020-01-01T00:00:00Z", top=5)
    bench.warehouse.meddle = lambda url: re.sub(r"\$filter=[^&]*", "$filter=DateKey%20ge%2020240129", url)
    (outcome,) = bench.engine.run([plan], bench.open)
    assert (outcome.failures, outcome.warnings) == ([], [])
    assert ids(bench.rows()) == ids(served(bench.sandbox, days=KEYS[-1:])[:5])
    assert len([url for url in bench.warehouse.asked if "$skiptoken" not in url]) == 1
    assert not [url for url in bench.warehouse.asked if "$top" in url]


def test_failures_from_before_a_new_beginning_are_forgotten(bench: Bench) -> None:
    # The first day fails for good, the second is answered without regard to its filter: all is read again, in one.
    def meddle(url: str) -> str:
        if re.search("filter=.*20240129", url):
            raise UnavailableError("gone", status=503)
        return deaf(url) if re.search("filter=.*20240130", url) else url

    bench.warehouse.meddle = meddle
    (outcome,) = bench.engine.run([bench.plan(bounds=THREE_DAYS)], bench.open, failures=1)
    assert outcome.failures == []
    assert sorted(ids(bench.outputs[-1].rows)) == sorted(ids(served(bench.sandbox)))


# -- what ends the run ---------------------------------------------------------------------------------------------


class FailingOutput(MemoryOutput):
    """Fails on the second batch or, where there is none, at the end."""

    def write(self, batch: Any) -> None:
        super().write(batch)
        if len(self.batches) == 2:
            raise OutputError("no space left")

    def finish(self) -> Any:
        raise OutputError("no space left")


def test_a_disk_that_takes_nothing_ends_the_run_and_aborts_what_is_open(bench: Bench) -> None:
    def failing(item: Slice, additional: bool) -> MemoryOutput:
        bench.outputs.append(FailingOutput(item, additional))
        return bench.outputs[-1]

    with pytest.raises(OutputError, match="no space"):
        bench.engine.run([bench.plan(), bench.plan("users")], failing)
    assert {o.state for o in bench.outputs} == {"aborted"}
    assert bench.stop.is_set()


@pytest.mark.parametrize("kind", [OutputError, ArchiveError])
def test_a_commit_that_cannot_be_noted_ends_the_run(bench: Bench, kind: type[IntuneDwError]) -> None:
    def committed(_result: object) -> None:
        raise kind("the journal is full")

    with pytest.raises(kind, match="journal"):
        bench.engine.run([bench.plan("users")], bench.open, committed=committed)
    assert bench.of(SliceFinished) == []


def test_a_refused_token_ends_the_run(bench: Bench) -> None:
    bench.sandbox.add_fault(Fault.parse("kind=401,collection=users,times=0"))
    with pytest.raises(SignInError):
        bench.engine.run([bench.plan("users"), bench.plan()], bench.open)
    assert {o.state for o in bench.outputs} <= {"aborted", "finished"}


def test_a_stop_ends_the_run_and_aborts_what_is_open(benches: Callable[..., Bench], sandbox: Sandbox) -> None:
    bench = benches(sandbox, workers=2)
    pages = threading.Semaphore(0)

    def meddle(url: str) -> str:
        pages.release()
        time.sleep(0.02)
        return url

    bench.warehouse.meddle = meddle

    def stop_after_five_pages() -> None:
        for _ in range(5):
            pages.acquire()
        bench.stop.set()

    thread = threading.Thread(target=stop_after_five_pages)
    thread.start()
    began = time.monotonic()
    with pytest.raises(InterruptedRunError) as caught:
        bench.engine.run([bench.plan(name) for name in sandbox.tenant.collections()], bench.open)
    thread.join()
    assert time.monotonic() - began < 3
    assert "again to continue" in (caught.value.hint or "")
    assert {o.state for o in bench.outputs} <= {"aborted", "finished"}


def test_a_run_that_is_stopped_before_it_begins_fetches_nothing(bench: Bench) -> None:
    plan = bench.plan("users")
    bench.stop.set()
    with pytest.raises(InterruptedRunError):
        bench.engine.run([plan], bench.open)
    assert [o.state for o in bench.outputs] in ([], ["aborted"])


def test_no_more_slices_than_workers_are_under_way(benches: Callable[..., Bench], sandbox: Sandbox) -> None:
    bench = benches(sandbox, workers=3)
    under_way: set[int] = set()
    most = 0
    lock = threading.Lock()

    class Counted(MemoryOutput):
        def __init__(self, item: Slice, additional: bool) -> None:
            nonlocal most
            super().__init__(item, additional)
            with lock:
                under_way.add(id(self))
                most = max(most, len(under_way))

        def finish(self) -> Any:
            time.sleep(0.01)
            with lock:
                under_way.discard(id(self))
            return super().finish()

    bench.engine.run([bench.plan()], Counted)
    assert most == 3


def test_a_plan_without_slices_is_done_at_once(bench: Bench) -> None:
    plan = bench.plan("users")
    empty = type(plan)(entity_set=plan.entity_set, slices=())
    (outcome,) = bench.engine.run([empty], bench.open)
    assert (outcome.rows, outcome.failures, bench.warehouse.asked) == (0, [], [])
    assert [e.collection for e in bench.of(CollectionFinished)] == ["users"]
