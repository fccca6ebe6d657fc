"""What the files hold, as other programs read them: DuckDB, Python's csv module, LibreOffice."""

from __future__ import annotations

import base64
import csv
import datetime as dt
import io
import random
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import duckdb
import hypothesis
import pyarrow as pa
import pytest
from declared_columns import INTEGERS, schema_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intune_dw_cli.archive.contents import check_contents
from intune_dw_cli.archive.records import SchemaRecord, SliceRecord
from intune_dw_cli.archive.views.tables import CSV
from intune_dw_cli.data.datekey import DateKeyRange
from intune_dw_cli.data.formats import FileFormat
from intune_dw_cli.data.schema import CollectionSchema
from intune_dw_cli.export.parts import Part, PartNaming, PartsOutput
from intune_dw_cli.export.tally import SliceTally
from intune_dw_cli.sandbox.hostile import TEXTS
from intune_dw_cli.service.csdl import Property

TABLES, LONG_TABLES = 1_000, 10_000
SCALE = 4
EPOCH = dt.datetime(1970, 1, 1)
NASTY = [
    '"',
    '""',
    ",",
    "\n",
    "\r\n",
    "\r",
    "",
    " ",
    "\t",
    "null",
    "NULL",
    "\\N",
    "\x00",
    "\x1a",
    "\ufeff",
    "'",
    "=1+1",
]
NASTY += ["\u2028", "\U0001f600", "a,b", 'a"b', "a\nb", "#", "//", "nan", "-0", "1e5", "00042", "{}", "\\", "\x85"]


def instants() -> st.SearchStrategy[str]:
    moments = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30), timezones=st.none())
    fractions = st.sampled_from(["", ".1", ".12", ".123", ".123456", ".1234567", ".9999999", ".0000001"])
    zones = st.sampled_from(["Z", "Z", "+00:00", "+14:00", "-12:00", "+05:30"])
    return st.tuples(moments, fractions, zones).map(lambda m: m[0].isoformat(timespec="seconds") + m[1] + m[2])


def microseconds(text: str) -> int:
    """Microseconds since 1970, by arithmetic of its own; what is finer is cut."""
    match = re.fullmatch(r"(.{19})(?:\.(\d+))?(?:Z|([+-])(\d\d):(\d\d))", text)
    assert match
    seconds = (dt.datetime.fromisoformat(match[1]) - EPOCH) // dt.timedelta(seconds=1)
    offset = (int(match[4]) * 3600 + int(match[5]) * 60) * (-1 if match[3] == "-" else 1) if match[3] else 0
    return (seconds - offset) * 1_000_000 + int((match[2] or "").ljust(6, "0")[:6])


def same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Kind:
    """A type of column: its values as decoded, how DuckDB is asked for them, and what it must answer.

    Attributes:
        values: Decoded values, other than null.
        cell: What a CSV cell must be, made of the text that is there.
        sql: What to ask DuckDB of the Parquet column.
        typed: The answer, made of the decoded value.
    """

    property: Callable[[str], Property]
    values: st.SearchStrategy[Any]
    cell: Callable[[str], Any] = same
    sql: str = "{}"
    typed: Callable[[Any], Any] = same


def plain(edm_type: str) -> Callable[[str], Property]:
    return lambda name: Property(name, edm_type)


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


texts = st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
KINDS = [
    *(Kind(plain(t), st.integers(low, high), int) for t, (low, high) in INTEGERS.items()),
    Kind(plain("Edm.Boolean"), st.booleans(), {"true": True, "false": False}.__getitem__),
    Kind(plain("Edm.Double"), st.floats(allow_nan=False), lambda t: bits(float(t)), typed=bits),
    Kind(
        lambda name: Property(name, "Edm.Decimal", precision=30, scale=SCALE),
        st.decimals(-(10**25), 10**25, places=SCALE),
        Decimal,
    ),
    *(Kind(plain(t), texts) for t in ("Edm.String", "Edm.String", "Edm.Guid", "Edm.Duration", "Edm.Decimal")),
    Kind(plain("Edm.DateTimeOffset"), instants(), sql="epoch_us({})", typed=microseconds),
    Kind(plain("Edm.Date"), st.dates().map(str), sql="CAST({} AS VARCHAR)"),
    Kind(
        plain("Edm.TimeOfDay"),
        st.times().map(lambda t: t.isoformat()),
        sql="epoch_us({})",
        typed=lambda t: microseconds(f"1970-01-01T{t}Z"),
    ),
    Kind(
        plain("Edm.Binary"),
        st.binary(max_size=8).map(lambda b: base64.urlsafe_b64encode(b).decode()),
        typed=base64.urlsafe_b64decode,
    ),
]
names = st.sampled_from(
    [".a", "[0]", "cr\r", 'a"b', "a,b", "a b", "select", "Größe", "x\ny", "#1", "'"]
) | st.from_regex(r"[A-Za-z_]\w{0,8}")


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Kind], list[str], list[list[Any]]]:
    """Kinds and names of the columns, and the rows."""
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=6))
    unique: Any = draw(st.lists(names, min_size=len(kinds), max_size=len(kinds), unique_by=lambda n: n.casefold()))
    row = st.tuples(*(st.none() | kind.values for kind in kinds)).map(list)
    return kinds, unique, draw(st.lists(row, max_size=6))


def written(root: Path, form: FileFormat, schema: CollectionSchema, batches: list[pa.RecordBatch]) -> Part:
    """Write batches the way that an archive does."""
    output = PartsOutput(
        root, PartNaming("t", "t", form.suffix), form, schema, additional=False, provenance={}, day=None, by_day=None
    )
    for batch in batches:
        output.write(batch)
    (part,) = output.finish()
    return part


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def test_csv_and_parquet_hold_what_was_decoded_as_other_programs_read_it(
    tmp_path: Path, is_long: bool, faults_seed: int
) -> None:
    database = duckdb.connect(config={"threads": 1})
    root = tmp_path

    @hypothesis.seed(faults_seed)
    @settings(
        max_examples=LONG_TABLES if is_long else TABLES,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(tables(), st.integers(0, 6))
    def hold(table: tuple[list[Kind], list[str], list[list[Any]]], cut: int) -> None:
        kinds, columns, rows = table
        declared = [kind.property(name) for kind, name in zip(kinds, columns, strict=True)]
        schema = schema_of(*declared, key=(columns[0],))
        whole = pa.RecordBatch.from_pylist([dict(zip(columns, row, strict=True)) for row in rows], schema=schema.wire)
        batches = [whole.slice(0, cut), whole.slice(cut)] if cut < whole.num_rows else [whole]
        for form in (FileFormat("csv"), FileFormat("parquet")):
            part = written(root, form, schema, batches)
            require_no_alarm(root, part, schema, batches, kinds[0], [row[0] for row in rows])
            if form.format == "csv":
                require_csv(database, root / part.path, kinds, columns, rows)
            else:
                require_parquet(database, root / part.path, kinds, columns, rows)

    hold()
    database.close()


def require_no_alarm(
    root: Path, part: Part, schema: CollectionSchema, batches: list[pa.RecordBatch], kind: Kind, keys: list[Any]
) -> None:
    """The export counts repeated keys as they are in the file, and so does the recount."""
    typed = part.path.endswith(".parquet")
    tally = SliceTally(schema, DateKeyRange(), typed=typed)
    for batch in batches:
        tally.observe(batch, frozenset())
    kept = {None if key is None else kind.typed(key) if typed else exact(kind, key) for key in keys}
    assert tally.duplicates() == len(keys) - len(kept)
    record = SliceRecord("t", "all", part.rows, 1, tally.duplicates(), (), SchemaRecord.of(schema), (part,))
    assert [*check_contents(root, record)] == []


def require_csv(
    database: duckdb.DuckDBPyConnection, path: Path, kinds: list[Kind], columns: list[str], rows: list[list[Any]]
) -> None:
    header, *lines = csv.reader(io.StringIO(path.read_bytes().decode("utf-8"), newline=""))
    assert header == columns
    # A row of one null is an empty line, and that is no cell to the csv module.
    cells = [line or [""] for line in lines]
    wanted = [["" if v is None else exact(k, v) for k, v in zip(kinds, row, strict=True)] for row in rows]
    assert [[c if c == "" else k.cell(c) for k, c in zip(kinds, line, strict=True)] for line in cells] == wanted
    if "\x00" in path.read_text("utf-8") or len(columns) == 1:
        return  # DuckDB ends a text at NUL, and passes over an empty line
    types = ", ".join(f"'{name.replace(chr(39), chr(39) * 2)}': 'VARCHAR'" for name in columns)
    query = f"FROM read_csv('{path}', auto_detect = false, {CSV}, columns = {{{types}}})"
    found = database.execute(query).fetchall()
    wanted = [[None if v is None else exact(k, v) for k, v in zip(kinds, row, strict=True)] for row in rows]
    got = [[c if c is None else k.cell(c) for k, c in zip(kinds, line, strict=True)] for line in found]
    assert got == wanted


def exact(kind: Kind, value: Any) -> Any:
    return bits(value) if isinstance(value, float) else value


def require_parquet(
    database: duckdb.DuckDBPyConnection, path: Path, kinds: list[Kind], columns: list[str], rows: list[list[Any]]
) -> None:
    asked = ", ".join(kind.sql.format(quoted(name)) for kind, name in zip(kinds, columns, strict=True))
    found = database.execute(f"SELECT {asked} FROM read_parquet('{path}')").fetchall()
    wanted = [[None if v is None else k.typed(v) for k, v in zip(kinds, row, strict=True)] for row in rows]
    assert [[exact(k, v) for k, v in zip(kinds, row, strict=True)] for row in found] == wanted


# -- spreadsheets -----------------------------------------------------------------------------------------------

OFFICE = shutil.which("soffice") or shutil.which("libreoffice")
MINDFUL = "CSV:44,34,76,1,,0,false,true,false,false,false,-1,true"
"""LibreOffice's way of reading CSV in which most can happen: it looks for numbers and dates, and runs formulas."""
_NAMES = {
    "table": "urn:oasis:names:tc:opendocument:xmlns:table:1.0",
    "office": "urn:oasis:names:tc:opendocument:xmlns:office:1.0",
    "text": "urn:oasis:names:tc:opendocument:xmlns:text:1.0",
}
TEMPTING = [
    "TRUE",
    "(5)",
    "$5",
    "5%",
    "Jan 5",
    "Dec-2024",
    "12:30 PM",
    "1 1/2",
    "#N/A",
    "1E+400",
    "{=1+1}",
    "\u00a0=1+1",
]
PIECES = [
    *"=+-@0123456789.,:/%$()'eE \t",
    "\u20ac",
    "\u00a0",
    "\u202f",
    "Jan",
    "May",
    "true",
    "SUM(A1)",
    "cmd|' /C calc'!A0",
    "\n",
    "x",
    "AM",
]


def spelled(tag: str) -> str:
    prefix, _, name = tag.partition(":")
    return f"{{{_NAMES[prefix]}}}{name}"


def cell_text(cell: ET.Element) -> str:
    """The text of a cell: a paragraph a line."""
    return "\n".join(map(paragraph, cell.findall(spelled("text:p"))))


def paragraph(element: ET.Element) -> str:
    """The text of a paragraph or a piece of one: blanks and tabs are elements."""
    if element.tag == spelled("text:s"):
        text = " " * int(element.get(spelled("text:c"), "1"))
    else:
        text = "\t" if element.tag == spelled("text:tab") else element.text or ""
    return text + "".join(paragraph(child) + (child.tail or "") for child in element)


def opened(path: Path, profile: Path) -> list[list[ET.Element]]:
    """The cells of a CSV file as LibreOffice has them."""
    assert OFFICE
    where = [f"-env:UserInstallation={profile.as_uri()}", "--headless", "--convert-to", "fods", f"--infilter={MINDFUL}"]
    subprocess.run(
        [OFFICE, *where, "--outdir", str(path.parent), str(path)], check=True, capture_output=True, timeout=300
    )
    rows = ET.parse(path.with_suffix(".fods")).getroot().iter(spelled("table:table-row"))
    return [list(row.iter(spelled("table:table-cell"))) for row in rows]


@pytest.mark.skipif(OFFICE is None, reason="LibreOffice is not installed")
def test_a_spreadsheet_runs_no_formula_and_keeps_text_as_text(
    tmp_path: Path, rng: random.Random, is_long: bool
) -> None:
    made = {"".join(rng.choices(PIECES, k=rng.randrange(1, 7))) for _ in range(20_000 if is_long else 1_500)}
    texts = [t for t in (*TEXTS, *TEMPTING, *sorted(made)) if t and not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\r]", t)]
    schema = schema_of(("text", "Edm.String"), ("big", "Edm.Int64"))
    rows = [{"text": text, "big": 2**53 + 1} for text in texts]
    for name, excel in (("safe", True), ("plain", False)):
        with (tmp_path / f"{name}.csv").open("wb") as file:
            sink = FileFormat("csv", excel=excel).open(file, schema, additional=False, provenance={})
            sink.write(pa.RecordBatch.from_pylist(rows, schema=schema.wire))
            sink.close()
    cells = {name: opened(tmp_path / f"{name}.csv", tmp_path / "profile") for name in ("safe", "plain")}
    formula, kind = spelled("table:formula"), spelled("office:value-type")
    assert sum(cell.get(formula) is not None for row in cells["plain"] for cell in row) > 20  # they would have been run
    assert not [cell for row in cells["safe"] for cell in row if cell.get(formula) is not None]
    assert len(cells["safe"]) == len(texts) + 1
    for text, (cell, big) in zip(texts, cells["safe"][1:], strict=True):
        assert cell.get(kind) == "string", text
        shown = "".join(cell_text(cell).split())  # blanks at the ends of lines are LibreOffice's own
        bare = "".join(text.split())
        assert shown in (bare, f"'{bare}"), text
        assert cell_text(big).lstrip("'") == str(2**53 + 1)
