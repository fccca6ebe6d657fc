"""Rows go to the file of their day; all files of a slice appear together or none does."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intune_dw_cli.data import parquet_sink
from intune_dw_cli.data.formats import FileFormat
from intune_dw_cli.data.schema import CollectionSchema
from intune_dw_cli.errors import OutputError
from intune_dw_cli.export import aside
from intune_dw_cli.export.files import AtomicFile
from intune_dw_cli.export.parts import Part, PartNaming, PartsOutput, split_by_day

MONDAY, TUESDAY, WEDNESDAY = 20240101, 20240102, 20240103
CSV = FileFormat()
NO_DAY = "__HIVE_DEFAULT_PARTITION__"
Batches = Callable[..., pa.RecordBatch]


@pytest.fixture
def output_in(tmp_path: Path, schema: CollectionSchema) -> Callable[..., PartsOutput]:
    """Open an output below a folder, divided by day unless a day is given."""

    def make(name: str = "out", fmt: FileFormat = CSV, **more: object) -> PartsOutput:
        options = {
            "additional": False,
            "provenance": {},
            "day": None,
            "by_day": None if "day" in more else "dateKey",
            **more,
        }
        naming = PartNaming("data/things", "things", fmt.suffix)
        return PartsOutput(tmp_path / name, naming, fmt, schema, **options)  # type: ignore[arg-type]

    return make


def found(root: Path) -> dict[str, list[list[str]]]:
    """Return the rows of every file below a folder, without the header."""
    return {
        path.relative_to(root).as_posix(): list(csv.reader(path.read_text().splitlines()))[1:]
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_rows_go_to_the_file_of_their_day_in_their_order(
    tmp_path: Path, output_in: Callable[..., PartsOutput], batch_of: Batches
) -> None:
    output = output_in()
    output.write(batch_of((3, TUESDAY), (1, MONDAY), (2, TUESDAY)))
    output.write(batch_of())
    output.write(batch_of((0, MONDAY), (9, None)))
    parts = output.finish()
    assert found(tmp_path / "out") == {
        f"data/things/dateKey={MONDAY}/part.csv": [["1", str(MONDAY), "row 1"], ["0", str(MONDAY), "row 0"]],
        f"data/things/dateKey={TUESDAY}/part.csv": [["3", str(TUESDAY), "row 3"], ["2", str(TUESDAY), "row 2"]],
        f"data/things/dateKey={NO_DAY}/part.csv": [["9", "", "row 9"]],
    }
    assert [(p.date_key, p.rows, p.first_key, p.last_key) for p in parts] == [
        (None, 1, (None, 9), (None, 9)),
        (MONDAY, 2, (MONDAY, 1), (MONDAY, 0)),
        (TUESDAY, 2, (TUESDAY, 3), (TUESDAY, 2)),
    ]
    for part in parts:
        assert (tmp_path / "out" / part.path).stat().st_size == part.bytes


def test_a_slice_without_rows_leaves_an_empty_file_unless_it_is_divided_by_day(
    tmp_path: Path, output_in: Callable[..., PartsOutput]
) -> None:
    (part,) = output_in(day=MONDAY).finish()
    assert (part.path, part.rows, part.first_key, part.last_key) == (
        f"data/things/dateKey={MONDAY}/part.csv",
        0,
        None,
        None,
    )
    assert (tmp_path / "out" / part.path).read_text() == "id,dateKey,text\n"
    assert output_in("open").finish() == ()
    assert not (tmp_path / "open").exists()
    (kept,) = output_in("kept", keep_empty=True).finish()
    assert kept.path == "data/things/things.csv"
    (whole,) = output_in("whole", day=None).finish()
    assert (whole.path, whole.date_key) == ("data/things/things.csv", None)


def test_no_file_has_its_name_before_all_are_on_the_disk(
    tmp_path: Path,
    output_in: Callable[..., PartsOutput],
    batch_of: Batches,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = output_in()
    output.write(batch_of((1, MONDAY), (2, TUESDAY), (3, WEDNESDAY)))
    prepare = AtomicFile.prepare

    def fail_on_the_last(self: AtomicFile) -> None:
        if str(WEDNESDAY) in str(self.path):
            raise OutputError("no space left")
        prepare(self)

    monkeypatch.setattr(AtomicFile, "prepare", fail_on_the_last)
    with pytest.raises(OutputError):
        output.finish()
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".partial"]
    output.abort()
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


@pytest.mark.parametrize("fmt", [FileFormat(), FileFormat("csv", "gzip"), FileFormat("parquet")], ids=str)
def test_an_aborted_slice_leaves_no_file(
    tmp_path: Path, output_in: Callable[..., PartsOutput], batch_of: Batches, fmt: FileFormat
) -> None:
    for output in (output_in(fmt=fmt), output_in(fmt=fmt, day=MONDAY)):
        output.write(batch_of((1, MONDAY)))
        output.abort()
        del output
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_an_output_that_cannot_be_opened_leaves_no_file(
    tmp_path: Path, output_in: Callable[..., PartsOutput], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("no such codec")

    monkeypatch.setattr(FileFormat, "open", refuse)
    with pytest.raises(ValueError, match="codec"):
        output_in(day=MONDAY)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


class Holding:
    """Holds parts, and puts what is smaller into a folder beside."""

    def __init__(self, root: Path, *parts: Part) -> None:
        self._root, self._parts = root, {p.path: p for p in parts}
        self.smaller: list[Part] = []

    def held(self, path: str) -> Part | None:
        return self._parts.get(path)

    def aside(self, path: str) -> Path:
        return self._root / "smaller" / path

    def put_aside(self, part: Part) -> None:
        self.smaller.append(part)


def test_a_held_part_with_more_rows_stays_and_the_smaller_one_is_put_aside(
    tmp_path: Path, output_in: Callable[..., PartsOutput], batch_of: Batches
) -> None:
    first = output_in()
    first.write(batch_of((1, MONDAY), (2, MONDAY), (3, TUESDAY), (4, WEDNESDAY)))
    held = first.finish()
    root = tmp_path / "out"
    before = found(root)
    guard = Holding(root, *held)
    again = output_in(guard=guard)
    again.write(batch_of((7, MONDAY), (8, TUESDAY), (9, WEDNESDAY), (10, WEDNESDAY)))
    parts = again.finish()
    monday, tuesday, wednesday = (f"data/things/dateKey={d}/part.csv" for d in (MONDAY, TUESDAY, WEDNESDAY))
    after = found(root)
    assert parts[0] == held[0]
    assert after[monday] == before[monday]
    assert after[f"smaller/{monday}"] == [["7", str(MONDAY), "row 7"]]
    [smaller] = guard.smaller
    assert (smaller.path, smaller.rows) == (monday, 1)
    assert smaller.sha256 == hashlib.sha256((root / "smaller" / monday).read_bytes()).hexdigest()
    assert after[tuesday] == [["8", str(TUESDAY), "row 8"]]  # as many rows: replaced
    assert len(after[wednesday]) == 2
    assert [p.rows for p in parts] == [2, 1, 2]
    assert len(after) == 4


FORMATS = [
    FileFormat(),
    FileFormat("csv", "gzip"),
    FileFormat("csv", "zstd"),
    FileFormat(excel=True),
    FileFormat("parquet"),
    FileFormat("parquet", "gzip"),
]


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 18_000), min_size=1, max_size=12), seed=st.integers(0, 3))
def test_the_bytes_do_not_depend_on_how_the_rows_came(
    output_in: Callable[..., PartsOutput],
    monkeypatch: pytest.MonkeyPatch,
    fmt: FileFormat,
    cuts: list[int],
    seed: int,
) -> None:
    monkeypatch.setattr(parquet_sink, "row_group_rows", lambda _columns: 16_384)
    count = 18_000  # more than one batch of the CSV writer, more than one row group
    rows = pa.RecordBatch.from_arrays(
        [
            pa.array(range(count), pa.int64()),
            pa.array([MONDAY] * count, pa.int32()),
            pa.array([None if (i * 7919 + seed) % 11 == 0 else f"text {i * 7919 % 1013}" for i in range(count)]),
        ],
        schema=pa.schema({"id": pa.int64(), "dateKey": pa.int32(), "text": pa.string()}),
    )
    made = []
    for places in ([], sorted(cuts)):
        output = output_in(fmt=fmt, day=MONDAY)
        for begin, end in zip([0, *places], [*places, count], strict=True):
            output.write(rows.slice(begin, end - begin))
        (part,) = output.finish()
        made.append(part)
    assert made[0] == made[1]
    assert made[0].rows == count


def test_parquet_parts_carry_their_provenance_and_an_additional_column(
    tmp_path: Path, output_in: Callable[..., PartsOutput], batch_of: Batches
) -> None:
    output = output_in(fmt=FileFormat("parquet"), additional=True, provenance={"intune_dw.collection": "things"})
    batch = batch_of((1, MONDAY))
    output.write(batch.append_column("_additional", pa.array(['{"a":1}'])))
    (part,) = output.finish()
    table = pq.read_table(tmp_path / "out" / part.path, partitioning=None)
    assert part.additional
    assert table.column("_additional").to_pylist() == ['{"a":1}']
    assert table.schema.metadata[b"intune_dw.collection"] == b"things"


@given(st.lists(st.one_of(st.none(), st.integers(MONDAY, WEDNESDAY)), min_size=1))
def test_dividing_by_day_loses_nothing_and_keeps_the_order_within_a_day(days: list[int | None]) -> None:
    batch = pa.RecordBatch.from_pydict({"id": list(range(len(days))), "day": pa.array(days, pa.int32())})
    pieces = split_by_day(batch, "day")
    assert [d for d, _ in pieces] == sorted(set(days), key=lambda d: (d is not None, d or 0))
    for day, rows in pieces:
        assert rows.column("id").to_pylist() == [i for i, d in enumerate(days) if d == day]


def test_however_many_days_a_slice_has_few_files_are_open_and_each_day_has_its_rows_in_order(
    tmp_path: Path, output_in: Callable[..., PartsOutput], batch_of: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "_IN_MEMORY", 1000)
    days = [MONDAY + n for n in (3, 0, 25, 7, 1, 2, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14)] + [None]
    output = output_in()
    for number in range(40):
        output.write(batch_of(*((100 * number + place, day) for place, day in enumerate(days))))
        assert len([p for p in (tmp_path / "out").rglob("*.partial") if p.is_file()]) <= 9
    parts = output.finish()
    assert [p.date_key for p in parts] == sorted(days, key=lambda d: (d is not None, d or 0))
    rows = found(tmp_path / "out")
    for part in parts:
        place = days.index(part.date_key)
        assert [int(row[0]) for row in rows[part.path]] == [100 * number + place for number in range(40)]
    assert not list((tmp_path / "out").rglob("*.partial"))


def test_rows_of_many_days_that_are_given_up_leave_nothing(
    tmp_path: Path, output_in: Callable[..., PartsOutput], batch_of: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "_IN_MEMORY", 0)
    output = output_in()
    output.write(batch_of(*((day, MONDAY + day) for day in range(20))))
    output.abort()
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
