"""One file from many slices: in their order, whoever is first, and with no more memory than allowed."""

from __future__ import annotations

import datetime as dt
import errno
import io
import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intune_dw_cli.data.formats import FileFormat
from intune_dw_cli.data.schema import CollectionSchema, Column
from intune_dw_cli.errors import InterruptedRunError, OutputError, ProtocolError
from intune_dw_cli.export import aside
from intune_dw_cli.export.ordered import AbandonedError, OrderedOutput

Batches = Callable[..., pa.RecordBatch]
DAY = 20240101


class ListSink:
    """Keeps the ids it was given."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.state = "open"

    def typed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch

    def write(self, batch: pa.RecordBatch) -> None:
        self.ids += batch.column("id").to_pylist()

    def close(self) -> None:
        self.state = "closed"

    def abandon(self) -> None:
        self.state = "abandoned"


@pytest.fixture
def sink() -> ListSink:
    return ListSink()


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


@pytest.fixture
def output(sink: ListSink, schema: CollectionSchema, tmp_path: Path, stop: threading.Event) -> OrderedOutput:
    return OrderedOutput(sink, schema, tmp_path / "aside", look_ahead=3, stop=stop)


def soon(condition: Callable[[], bool]) -> bool:
    """Wait up to two seconds for something to become true."""
    end = time.monotonic() + 2
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


@pytest.mark.parametrize("in_memory", [0, 400, 1 << 20], ids=lambda n: f"{n}-bytes")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(counts=st.lists(st.integers(0, 4), min_size=1, max_size=8), turns=st.randoms(use_true_random=False))
def test_any_interleaving_of_the_slices_gives_their_order(
    tmp_path_factory: pytest.TempPathFactory,
    schema: CollectionSchema,
    in_memory: int,
    counts: list[int],
    turns: random.Random,
) -> None:
    before, aside._IN_MEMORY = aside._IN_MEMORY, in_memory
    try:
        folder = tmp_path_factory.mktemp("ordered") / "aside"
        sink = ListSink()
        output = OrderedOutput(sink, schema, folder, look_ahead=len(counts), stop=threading.Event())
        steps = [number for number, count in enumerate(counts) for _ in range(count + 1)]
        turns.shuffle(steps)
        slots = {number: output.slot(number, by_day=None) for number in range(len(counts))}
        written = dict.fromkeys(slots, 0)
        for number in steps:
            if written[number] == counts[number]:
                slots[number].finish()
                continue
            ids = [100 * number + 10 * written[number] + i for i in range(3)]
            rows = [{"id": i, "dateKey": DAY, "text": "x" * 50} for i in ids]
            slots[number].write(pa.RecordBatch.from_pylist(rows, schema=schema.wire))
            written[number] += 1
        assert sink.ids == sorted(
            100 * n + 10 * b + i for n, c in enumerate(counts) for b in range(c) for i in range(3)
        )
        assert (output.turn, output.rows) == (len(counts), len(sink.ids))
        assert not list(folder.rglob("*.arrow"))
        output.close()
        assert not folder.exists()
    finally:
        aside._IN_MEMORY = before


@pytest.mark.parametrize("seed", range(4))
def test_threads_that_write_at_once_give_the_order_of_the_slices(
    sink: ListSink, output: OrderedOutput, batch_of: Batches, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(aside, "_IN_MEMORY", 300)
    chance = random.Random(seed)
    waits = [[chance.random() / 500 for _ in range(4)] for _ in range(40)]

    def fetch(number: int) -> None:
        slot = output.slot(number, by_day=None)
        for batch, wait in enumerate(waits[number]):
            time.sleep(wait)
            slot.write(batch_of(*((number * 100 + batch * 10 + i, DAY) for i in range(5))))
        slot.finish()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fetch, range(40)))
    assert sink.ids == [n * 100 + b * 10 + i for n in range(40) for b in range(4) for i in range(5)]


def test_rows_of_the_first_unfinished_slice_go_straight_to_the_file(
    sink: ListSink, output: OrderedOutput, batch_of: Batches
) -> None:
    first, second = output.slot(0, by_day=None), output.slot(1, by_day=None)
    second.write(batch_of((2, DAY)))
    assert sink.ids == []
    first.write(batch_of((1, DAY)))
    assert sink.ids == [1]
    first.finish()
    second.write(batch_of((3, DAY)))  # its turn has come: first what was kept, then the new rows
    assert sink.ids == [1, 2, 3]


def test_a_slice_of_several_days_is_put_into_their_order_with_rows_without_day_first(
    sink: ListSink, output: OrderedOutput, batch_of: Batches
) -> None:
    slot = output.slot(0, by_day="dateKey")
    slot.write(batch_of((5, DAY + 2), (1, DAY), (6, DAY + 2)))
    slot.write(batch_of((2, DAY), (0, None), (4, DAY + 1)))
    assert sink.ids == []
    slot.finish()
    assert sink.ids == [0, 1, 2, 4, 5, 6]


def test_a_slice_too_far_ahead_waits_until_an_earlier_one_is_written(output: OrderedOutput) -> None:
    first = output.slot(0, by_day=None)
    for number in (1, 2, 3):
        output.slot(number, by_day=None)
    opened = threading.Event()

    def open_the_fourth() -> None:
        output.slot(4, by_day=None)
        opened.set()

    thread = threading.Thread(target=open_the_fourth)
    thread.start()
    assert not opened.wait(0.1)
    first.finish()
    assert opened.wait(2)
    thread.join()


def test_rows_beyond_the_memory_limit_go_to_a_private_file_that_is_removed_at_the_end(
    output: OrderedOutput, batch_of: Batches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "_IN_MEMORY", batch_of((1, DAY)).nbytes * 2)
    slot = output.slot(1, by_day=None)
    slot.write(batch_of((1, DAY)))
    slot.write(batch_of((2, DAY)))
    assert not (tmp_path / "aside").exists()
    slot.write(batch_of((3, DAY)))
    (file,) = (tmp_path / "aside").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert slot.aside.held_bytes == 0
    output.close()
    assert not (tmp_path / "aside").exists()


def test_the_memory_limit_is_for_the_slice_however_many_days_it_has(
    output: OrderedOutput, batch_of: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = batch_of((1, DAY)).nbytes * 3
    monkeypatch.setattr(aside, "_IN_MEMORY", limit)
    slot = output.slot(0, by_day="dateKey")
    for day in range(20):
        slot.write(batch_of((day, DAY + day)))
        assert slot.aside.held_bytes <= limit


def test_a_failed_slice_sends_away_whoever_waits_for_it(output: OrderedOutput, tmp_path: Path) -> None:
    first = output.slot(0, by_day=None)
    fates: list[str] = []

    def wait_for_a_place() -> None:
        try:
            output.slot(9, by_day=None)
        except AbandonedError:
            fates.append("sent away")

    threads = [threading.Thread(target=wait_for_a_place) for _ in range(3)]
    for thread in threads:
        thread.start()
    first.abort()
    assert soon(lambda: len(fates) == 3)
    for thread in threads:
        thread.join()
    with pytest.raises(AbandonedError):
        output.slot(5, by_day=None)


def test_after_rows_that_could_not_be_written_no_other_slice_writes(
    sink: ListSink, output: OrderedOutput, batch_of: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[pa.RecordBatch] = []

    def refuse(batch: pa.RecordBatch) -> None:
        tried.append(batch)
        raise BrokenPipeError

    monkeypatch.setattr(sink, "write", refuse)
    first, second, third = (output.slot(number, by_day=None) for number in range(3))
    second.write(batch_of((1, DAY)))
    third.write(batch_of((2, DAY)))
    second.finish()
    with pytest.raises(BrokenPipeError):
        first.finish()
    with pytest.raises(AbandonedError):
        third.finish()
    assert len(tried) == 1


def test_an_aborted_slice_forgets_its_rows(
    output: OrderedOutput, batch_of: Batches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "_IN_MEMORY", 0)
    slot = output.slot(1, by_day=None)
    slot.write(batch_of((1, DAY)))
    slot.abort()
    assert list((tmp_path / "aside").iterdir()) == []


def test_a_stop_ends_the_waiting(output: OrderedOutput, stop: threading.Event) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(output.slot, 9, by_day=None)
        time.sleep(0.05)
        assert not waiting.done()
        stop.set()
        with pytest.raises(InterruptedRunError):
            waiting.result(timeout=2)


def test_a_full_disk_while_rows_are_kept_aside_says_what_to_do(
    output: OrderedOutput, batch_of: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        closed = False

        def write(self, _data: bytes) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def flush(self) -> None:
            """Nothing to flush."""

        def close(self) -> None:
            self.closed = True

    monkeypatch.setattr(aside, "_IN_MEMORY", 0)
    monkeypatch.setattr(aside, "open_private", lambda _path: Full())
    slot = output.slot(1, by_day=None)
    with pytest.raises(OutputError, match="no space left") as caught:
        slot.write(batch_of((1, DAY)))
    assert "Free space" in (caught.value.hint or "")
    slot.abort()
    output.close()


def test_the_file_ends_only_when_it_is_told_to(sink: ListSink, output: OrderedOutput) -> None:
    output.slot(0, by_day=None).finish()
    assert sink.state == "open"
    output.end()
    assert sink.state == "closed"
    output.close()
    assert sink.state == "abandoned"


def test_a_text_that_parquet_cannot_hold_is_complained_of_in_its_own_slice(
    tmp_path: Path, stop: threading.Event
) -> None:
    """Not in the slice before it, whose end is what brings the rows that waited into the file."""
    schema = CollectionSchema("things", (Column("day", "Edm.Date", pa.string(), pa.date32()),), (), None)
    file = io.BytesIO()
    sink = FileFormat("parquet").open(file, schema, additional=False, provenance={})
    output = OrderedOutput(sink, schema, tmp_path / "aside", look_ahead=3, stop=stop)
    first, second, third = (output.slot(number, by_day=None) for number in range(3))
    third.write(pa.RecordBatch.from_pydict({"day": ["2024-01-17", None]}, schema=schema.wire))
    with pytest.raises(ProtocolError, match="property day"):
        second.write(pa.RecordBatch.from_pydict({"day": ["2024-13-01"]}, schema=schema.wire))
    second.write(pa.RecordBatch.from_pydict({"day": ["2024-01-16"]}, schema=schema.wire))
    first.write(pa.RecordBatch.from_pydict({"day": ["2024-01-15"]}, schema=schema.wire))
    for slot in (third, second, first):
        slot.finish()
    output.end()
    days = pq.read_table(io.BytesIO(file.getvalue())).column("day").to_pylist()
    assert days == [dt.date(2024, 1, 15), dt.date(2024, 1, 16), dt.date(2024, 1, 17), None]


def test_rows_kept_aside_that_cannot_be_read_back_are_an_error_of_the_disk(
    output: OrderedOutput, batch_of: Batches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "_IN_MEMORY", 0)
    first, second = output.slot(0, by_day=None), output.slot(1, by_day=None)
    second.write(batch_of((1, DAY)))
    second.finish()
    for path in (tmp_path / "aside").iterdir():
        path.unlink()
    with pytest.raises(OutputError, match="aside"):
        first.finish()
