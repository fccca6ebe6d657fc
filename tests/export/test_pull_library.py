"""Pull: one file a collection, replaced whole or left alone; a folder by day; a stream. Rows in DateKey order."""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from engine_bench import FACT, TODAY, Bench

from intune_dw_cli.data.datekey import DateKeyRange
from intune_dw_cli.data.formats import FileFormat
from intune_dw_cli.errors import BadRequestError, InterruptedRunError, OutputError, SignInError
from intune_dw_cli.events import PartCommitted
from intune_dw_cli.export import aside
from intune_dw_cli.export.plan import CollectionPlan
from intune_dw_cli.export.pull import PullResult, pull_to_files, pull_to_partitions, pull_to_stream
from intune_dw_cli.sandbox import Fault, Sandbox, ServerConfig, TenantConfig

CSV = FileFormat()
KEYS = (20240128, 20240129, 20240130, 20240131)


def to_files(bench: Bench, plans: list[CollectionPlan], folder: Path, fmt: FileFormat = CSV) -> PullResult:
    paths = {p.entity_set.name: folder / f"{p.entity_set.name}{fmt.suffix}" for p in plans}
    more: dict[str, Any] = {"source": "the feed", "look_ahead": 4, "stop": bench.stop, "observer": bench.events.append}
    return pull_to_files(bench.engine, plans, paths, fmt, **more)


def to_stream(bench: Bench, plan: CollectionPlan, stream: Any, spill: Path) -> PullResult:
    more: dict[str, Any] = {"source": "the feed", "look_ahead": 4, "stop": bench.stop, "observer": bench.events.append}
    return pull_to_stream(bench.engine, plan, stream, CSV, spill=spill, **more)


def to_folder(bench: Bench, plans: list[CollectionPlan], root: Path, fmt: FileFormat = CSV) -> PullResult:
    return pull_to_partitions(bench.engine, plans, root, fmt, source="the feed", observer=bench.events.append)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def served(sandbox: Sandbox, name: str = FACT, **more: Any) -> list[dict[str, str]]:
    return [
        {k: "" if v is None else str(v).lower() if isinstance(v, bool) else str(v) for k, v in row.items()}
        for row in sandbox.tenant.rows(name, **more)
    ]


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def refused(url: str) -> str:
    if "filter" in url:
        raise BadRequestError("refused", status=400)
    return url


def deaf(url: str) -> str:
    return re.sub(r"\$filter=[^&]*&?", "", url)


ONE_DAY = DateKeyRange.day(TODAY - dt.timedelta(days=1))


# -- files ---------------------------------------------------------------------------------------------------------


def test_each_collection_becomes_one_file_with_its_rows_in_datekey_order(bench: Bench, tmp_path: Path) -> None:
    result = to_files(bench, [bench.plan(), bench.plan("devices")], tmp_path)
    assert names(tmp_path) == ["devicePropertyHistories.csv", "devices.csv"]
    for file in result.files:
        assert rows_of(Path(file.path).read_text(encoding="utf-8")) == served(bench.sandbox, file.collection)
        assert (file.rows, file.bytes) == (bench.sandbox.tenant.count(file.collection), Path(file.path).stat().st_size)
    assert result.errors == []
    assert {(e.collection, e.rows) for e in bench.of(PartCommitted)} == {(f.collection, f.rows) for f in result.files}


@pytest.mark.parametrize("fmt", [CSV, FileFormat("csv", "gzip"), FileFormat("parquet")], ids=str)
@pytest.mark.parametrize("in_memory", [0, 8 << 20], ids=["on-disk", "in-memory"])
def test_any_number_of_workers_gives_the_same_bytes(
    benches: Callable[..., Bench],
    sandbox: Sandbox,
    tmp_path: Path,
    fmt: FileFormat,
    in_memory: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aside, "_IN_MEMORY", in_memory)
    made = []
    for workers in (1, 4):
        bench = benches(sandbox, workers=workers)
        folder = tmp_path / str(workers)
        to_files(bench, [bench.plan()], folder, fmt)
        made.append((folder / f"{FACT}{fmt.suffix}").read_bytes())
        assert names(folder) == [f"{FACT}{fmt.suffix}"]
        assert len(list(folder.iterdir())) == 1
    assert made[0] == made[1]


def test_the_size_of_the_pages_does_not_show_in_the_bytes(benches: Callable[..., Bench], tmp_path: Path) -> None:
    made = []
    for size in (3, 1000):
        with Sandbox(TenantConfig(today=TODAY, devices=10, days=3), ServerConfig(page_size=size)) as sandbox:
            bench = benches(sandbox)
            to_files(bench, [bench.plan()], tmp_path / str(size), FileFormat("parquet"))
        made.append((tmp_path / str(size) / f"{FACT}.parquet").read_bytes())
    assert made[0] == made[1]


def test_a_failed_collection_leaves_its_old_file_and_the_others_are_replaced(bench: Bench, tmp_path: Path) -> None:
    for name in (FACT, "users"):
        (tmp_path / f"{name}.csv").write_text("yesterday")
    bench.sandbox.add_fault(Fault.parse(f"kind=403,collection={FACT},page=2,times=0"))
    result = to_files(bench, [bench.plan(), bench.plan("users")], tmp_path)
    assert {e.collection for e in result.errors} == {FACT}
    assert [f.collection for f in result.files] == ["users"]
    assert (tmp_path / f"{FACT}.csv").read_text() == "yesterday"
    assert rows_of((tmp_path / "users.csv").read_text()) == served(bench.sandbox, "users")
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{FACT}.csv", "users.csv"]


@pytest.mark.parametrize("end", ["sign-in", "stop", "full disk"])
def test_a_run_that_ends_early_leaves_the_old_file_and_nothing_else(
    bench: Bench, tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "_IN_MEMORY", 0)
    (tmp_path / f"{FACT}.csv").write_text("yesterday")
    plan = bench.plan()
    pages = iter(range(1000))

    def meddle(url: str) -> str:
        if next(pages) == 9:
            if end == "sign-in":
                raise SignInError("refused")
            if end == "stop":
                bench.stop.set()
            else:
                monkeypatch.setattr("intune_dw_cli.export.files.AtomicFile.write", full)
                monkeypatch.setattr(aside.RowsAside, "add", full)
        return url

    def full(*_: object, **__: object) -> None:
        raise OutputError("no space left")

    bench.warehouse.meddle = meddle
    with pytest.raises((SignInError, InterruptedRunError, OutputError)):
        to_files(bench, [plan], tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{FACT}.csv"]
    assert (tmp_path / f"{FACT}.csv").read_text() == "yesterday"


@pytest.mark.parametrize("meddle", [refused, deaf], ids=["refused", "ignored"])
@pytest.mark.parametrize("select", [None, ("deviceName", "deviceKey")], ids=["all-columns", "without-datekey"])
def test_a_range_holds_in_the_file_whatever_the_service_makes_of_the_filter(
    bench: Bench, tmp_path: Path, meddle: Callable[[str], str], select: tuple[str, ...] | None
) -> None:
    bench.warehouse.meddle = meddle
    bounds = DateKeyRange(TODAY - dt.timedelta(days=2), ONE_DAY.last)
    result = to_files(bench, [bench.plan(bounds=bounds, select=select)], tmp_path)
    wanted = served(bench.sandbox, day=KEYS[1]) + served(bench.sandbox, day=KEYS[2])
    expected = [{k: row[k] for k in select or row} for row in wanted]
    assert rows_of((tmp_path / f"{FACT}.csv").read_text()) == expected
    assert (result.errors, result.files[0].rows) == ([], len(wanted))


def test_undeclared_properties_are_in_the_file_of_all_slices(bench: Bench, tmp_path: Path) -> None:
    bench.sandbox.add_fault(Fault.parse(f"kind=extra-column,collection={FACT},page=2,times=0,name=novel,value=1"))
    result = to_files(bench, [bench.plan()], tmp_path)
    rows = rows_of((tmp_path / f"{FACT}.csv").read_text())
    assert {row.pop("_additional") for row in rows} == {"", '{"novel":1}'}
    assert rows == served(bench.sandbox)
    assert result.outcomes[0].rows == len(rows) == result.files[0].rows
    assert names(tmp_path) == [f"{FACT}.csv"]


@pytest.mark.parametrize("fmt", [CSV, FileFormat("parquet")], ids=str)
def test_a_selection_is_written_in_its_order_and_without_datekey_unless_it_is_named(
    bench: Bench, tmp_path: Path, fmt: FileFormat
) -> None:
    to_files(bench, [bench.plan(select=("deviceName", "deviceKey"))], tmp_path, fmt)
    path = tmp_path / f"{FACT}{fmt.suffix}"
    wanted = [{k: row[k] for k in ("deviceName", "deviceKey")} for row in bench.sandbox.tenant.rows(FACT)]
    if fmt.format == "csv":
        assert rows_of(path.read_text()) == [{k: str(v) for k, v in row.items()} for row in wanted]
    else:
        assert pq.read_table(path).to_pylist() == wanted


# -- a folder by day -----------------------------------------------------------------------------------------------


def test_a_folder_by_day_has_one_file_a_day_and_one_for_a_collection_without_days(bench: Bench, tmp_path: Path) -> None:
    today = DateKeyRange(TODAY - dt.timedelta(days=3), TODAY)
    result = to_folder(bench, [bench.plan(bounds=today), bench.plan("users")], tmp_path)
    assert names(tmp_path) == [*(f"{FACT}/dateKey={key}/part.csv" for key in KEYS), "users/users.csv"]
    for key in KEYS:
        text = (tmp_path / f"{FACT}/dateKey={key}/part.csv").read_text()
        assert rows_of(text) == served(bench.sandbox, day=key)
    assert sum(f.rows for f in result.files) == sum(o.rows for o in result.outcomes)


def test_files_that_are_written_again_by_a_new_beginning_are_told_once(
    benches: Callable[..., Bench], sandbox: Sandbox, tmp_path: Path
) -> None:
    bench = benches(sandbox, workers=1)
    bench.warehouse.meddle = lambda url: deaf(url) if "20240130" in url else url
    result = to_folder(bench, [bench.plan(bounds=DateKeyRange(TODAY - dt.timedelta(days=3), TODAY))], tmp_path)
    assert [f.path for f in result.files] == [str(tmp_path / name) for name in names(tmp_path)]
    assert sum(f.rows for f in result.files) == sum(o.rows for o in result.outcomes)


@pytest.mark.parametrize("select", [("deviceKey",), ("deviceKey", "dateKey"), None], ids=str)
@pytest.mark.parametrize("meddle", [lambda url: url, refused, deaf], ids=["plain", "refused", "ignored"])
def test_days_before_and_after_the_window_are_files_of_their_own_whatever_is_selected(
    benches: Callable[..., Bench],
    tmp_path: Path,
    select: tuple[str, ...] | None,
    meddle: Callable[[str], str],
) -> None:
    days = [20231130, 20231201, 20240131, 20240210]  # two before the window of 30 days, one within, one after
    with Sandbox(TenantConfig(today=dt.date(2024, 2, 10), devices=10, days=73)) as sandbox:
        bench = benches(sandbox)
        bench.warehouse.meddle = meddle
        to_folder(bench, [bench.plan(select=select)], tmp_path)
        found = {p.parent.name: len(rows_of(p.read_text())) for p in tmp_path.rglob("part.csv")}
        held = sandbox.tenant.date_keys(FACT)
        counts = {f"dateKey={key}": sandbox.tenant.count(FACT, day=key) for key in held}
        assert {n: c for n, c in found.items() if c} == {n: c for n, c in counts.items() if c}
        assert set(days) <= set(held)
    assert names(tmp_path) == sorted(f"{FACT}/{name}/part.csv" for name in found)


def test_a_failed_day_leaves_no_file_and_the_other_days_are_there(bench: Bench, tmp_path: Path) -> None:
    def meddle(url: str) -> str:
        if "20240130" in url and "skiptoken" in url:
            raise BadRequestError("refused", status=400)
        return url

    bench.warehouse.meddle = meddle
    plan = bench.plan(bounds=DateKeyRange(TODAY - dt.timedelta(days=3), TODAY))
    result = to_folder(bench, [plan], tmp_path)
    assert len(result.errors) == 1
    assert names(tmp_path) == [f"{FACT}/dateKey={key}/part.csv" for key in KEYS if key != 20240130]


# -- a stream ------------------------------------------------------------------------------------------------------


def test_a_stream_gets_the_bytes_of_the_file(bench: Bench, tmp_path: Path) -> None:
    stream = io.BytesIO()
    result = to_stream(bench, bench.plan(), stream, tmp_path / "rows")
    to_files(bench, [bench.plan()], tmp_path)
    assert stream.getvalue() == (tmp_path / f"{FACT}.csv").read_bytes()
    assert [(f.path, f.bytes) for f in result.files] == [("-", len(stream.getvalue()))]
    assert not (tmp_path / "rows").exists()


class ClosedPipe:
    """A reader that goes away after the first rows."""

    def __init__(self) -> None:
        self.writes = 0

    def write(self, data: bytes) -> int:
        self.writes += 1
        if self.writes > 2:
            raise BrokenPipeError
        return memoryview(data).nbytes


def test_a_reader_that_goes_away_ends_the_run(bench: Bench, tmp_path: Path) -> None:
    pipe = ClosedPipe()
    with pytest.raises(BrokenPipeError):
        to_stream(bench, bench.plan(), pipe, tmp_path / "rows")
    assert pipe.writes == 3
    assert list(tmp_path.iterdir()) == []


def test_a_stream_that_has_rows_cannot_begin_again_and_says_what_to_do(bench: Bench, tmp_path: Path) -> None:
    stream = io.BytesIO()
    bench.sandbox.add_fault(Fault.parse(f"kind=extra-column,collection={FACT},page=2,times=0"))
    with pytest.raises(OutputError, match="changed their form") as caught:
        to_stream(bench, bench.plan(), stream, tmp_path / "rows")
    assert "-o FILE" in (caught.value.hint or "")


def test_a_stream_without_rows_yet_may_begin_again(bench: Bench, tmp_path: Path) -> None:
    stream = io.BytesIO()
    bench.warehouse.meddle = refused
    to_stream(bench, bench.plan(bounds=ONE_DAY), stream, tmp_path / "rows")
    assert rows_of(stream.getvalue().decode()) == served(bench.sandbox, day=KEYS[2])
