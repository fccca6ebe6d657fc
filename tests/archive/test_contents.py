"""Reading a part back: no alarm over what the export itself wrote, whatever the type of its key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from declared_columns import schema_of

from intune_dw_cli.archive.contents import check_contents
from intune_dw_cli.archive.records import SchemaRecord, SliceRecord
from intune_dw_cli.data.datekey import DateKeyRange
from intune_dw_cli.data.formats import FileFormat
from intune_dw_cli.export.parts import PartNaming, PartsOutput
from intune_dw_cli.export.tally import SliceTally
from intune_dw_cli.service.csdl import Property

NAN = float("nan")
# Type, keys, how many repeat another as text, and how many as values of the type.
KEYS: list[tuple[str, list[Any], int, int]] = [
    ("Edm.DateTimeOffset", ["2024-01-15T08:30:00Z", "2024-01-15T08:30:00+00:00", "2024-01-15T09:30:00+01:00"], 0, 2),
    ("Edm.DateTimeOffset", ["2024-01-15T08:30:00.1234567Z", "2024-01-15T08:30:00.1234568Z"], 0, 1),
    ("Edm.TimeOfDay", ["08:30:00", "08:30:00.0000000", "07:00:00"], 0, 1),
    ("Edm.Binary", ["YQ==", "YQ", "Yg"], 0, 1),
    ("Edm.Date", ["2024-01-15", "2024-01-15", "0001-01-01"], 1, 1),
    ("Edm.Guid", ["0000000A-0000-0000-0000-000000000000", "0000000a-0000-0000-0000-000000000000"], 0, 0),
    ("Edm.Decimal", ["1.0", "1.00", "1.0"], 1, 1),
    ("Edm.Double", [0.0, -0.0, NAN, NAN, float("inf"), 1e22, 1e-7, 0.1, 0.1], 2, 2),
    ("Edm.Double", [-0.0, 0.0], 0, 0),
    ("Edm.Single", [0.1, 0.1, NAN, 1e-7], 1, 1),
    ("Edm.Boolean", [True, False, True], 1, 1),
    ("Edm.Int64", [10, 9, 10], 1, 1),
    ("Edm.String", ["", None, "", None], 2, 2),
]
both = pytest.mark.parametrize("form", ["csv", "parquet"])


def written(root: Path, form: Any, declared: Property, keys: list[Any]) -> SliceRecord:
    """Write rows and count them, the way that a backup does."""
    schema = schema_of(declared, ("other", "Edm.Int32"), key=(declared.name,))
    fmt = FileFormat(form)
    naming = PartNaming("t", "t", fmt.suffix)
    output = PartsOutput(root, naming, fmt, schema, additional=False, provenance={}, day=None, by_day=None)
    tally = SliceTally(schema, DateKeyRange(), typed=fmt.is_typed)
    for key in keys:
        batch = pa.RecordBatch.from_pylist([{declared.name: key, "other": 1}], schema=schema.wire)
        tally.observe(batch, frozenset())
        output.write(batch)
    return SliceRecord("t", "all", tally.rows, 1, tally.duplicates(), (), SchemaRecord.of(schema), output.finish())


@both
@pytest.mark.parametrize(("kind", "keys", "as_text", "as_values"), KEYS)
def test_keys_are_told_apart_by_what_the_file_holds(
    tmp_path: Path, form: str, kind: str, keys: list[Any], as_text: int, as_values: int
) -> None:
    for ordered in (keys, keys[::-1]):
        record = written(tmp_path, form, Property("k", kind), ordered)
        assert record.duplicates == (as_values if form == "parquet" else as_text)
        assert [*check_contents(tmp_path, record)] == []


@both
def test_decimals_with_a_scale_are_told_apart_alike(tmp_path: Path, form: str) -> None:
    keys = [pa.scalar(text).cast(pa.decimal128(9, 2)).as_py() for text in ("1.0", "1.00", "-0.00", "0")]
    record = written(tmp_path, form, Property("k", "Edm.Decimal", precision=9, scale=2), keys)
    assert record.duplicates == 2
    assert [*check_contents(tmp_path, record)] == []


@both
@pytest.mark.parametrize("kind", ["Edm.DateTimeOffset", "Edm.Double", "Edm.Int64"])
@pytest.mark.parametrize("lie", ["x", [], None, 2**70, True, 0.5], ids=str)
def test_a_first_key_that_no_row_can_have_is_a_finding(tmp_path: Path, form: str, kind: str, lie: object) -> None:
    keys = {"Edm.DateTimeOffset": "2024-01-15T08:30:00Z"}.get(kind, 7)
    record = written(tmp_path, form, Property("k", kind), [keys])
    lying = replace(record, parts=(replace(record.parts[0], first_key=(lie,)),))
    assert [text for _, text in check_contents(tmp_path, lying)] == ["its first or last row is not the recorded one"]


@both
def test_a_count_of_repeated_keys_that_lies_is_a_finding(tmp_path: Path, form: str) -> None:
    record = written(tmp_path, form, Property("k", "Edm.Int64"), [1, 1])
    assert [text for _, text in check_contents(tmp_path, replace(record, duplicates=0))] == [
        "1 rows repeat a key, 0 are recorded for slice all"
    ]
