"""The public API: collections, record batches and a reader; complete, or an exception."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

import intune_dw_cli
from intune_dw_cli import (
    InterruptedRunError,
    IntuneDwError,
    OutputError,
    Redaction,
    Secret,
    SignInError,
    UnknownCollectionError,
    UsageError,
    Warehouse,
)
from intune_dw_cli.sandbox import Fault, Sandbox, ServerConfig, TenantConfig

README = Path(__file__).parent.parent / "README.md"
TODAY = dt.datetime.now(dt.UTC).date()
FACT = "devicePropertyHistories"


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with Sandbox(TenantConfig(today=TODAY, devices=60, days=6, seed=5), ServerConfig(page_size=16)) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared: Sandbox) -> Iterator[Sandbox]:
    yield shared
    shared.clear_faults()


@pytest.fixture
def environ(sandbox: Sandbox, tmp_path: Path) -> dict[str, str]:
    return {
        "INTUNE_DW_URL": sandbox.feed_url,
        "INTUNE_DW_ACCESS_TOKEN": "any",
        "INTUNE_DW_HOME": str(tmp_path / "home"),
    }


def connect(environ: dict[str, str], **more: Any) -> AbstractContextManager[Warehouse]:
    return Warehouse.connect(environ=environ, **more)


def plain(batches: Iterator[pa.RecordBatch] | pa.RecordBatchReader, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for batch in batches for row in batch.to_pylist()]


def served(sandbox: Sandbox, name: str, *names: str, **more: Any) -> list[tuple[Any, ...]]:
    return [tuple(row[n] for n in names) for row in sandbox.tenant.rows(name, **more)]


def test_collections_tell_names_kinds_keys_and_types(sandbox: Sandbox, environ: dict[str, str]) -> None:
    with connect(environ) as warehouse:
        assert [c.name for c in warehouse.collections] == list(sandbox.tenant.collections())
        found = warehouse.collection("DEVICES")
        assert (found.name, found.kind, found.entity_type.key) == ("devices", "dimension", ("deviceKey",))
        assert {p.name: p.type for p in found.entity_type.properties}["userId"] == "Edm.Guid"
        with pytest.raises(UnknownCollectionError, match="did you mean devices"):
            warehouse.collection("devcies")


def test_batches_hold_every_row_once_in_datekey_order_with_types(sandbox: Sandbox, environ: dict[str, str]) -> None:
    with connect(environ, workers=3) as warehouse:
        batches = list(warehouse.batches(FACT))
    assert plain(iter(batches), "dateKey", "deviceKey") == served(sandbox, FACT, "dateKey", "deviceKey")
    assert all(batch.num_rows for batch in batches)
    assert len({batch.schema for batch in batches}) == 1
    assert batches[0].schema.field("dateKey").type == pa.int32()


def test_a_reader_goes_straight_into_duckdb_and_pandas_like_tables(sandbox: Sandbox, environ: dict[str, str]) -> None:
    with connect(environ) as warehouse:
        reader = warehouse.reader("devices")
        assert isinstance(reader, pa.RecordBatchReader)
        assert reader.schema.field("enrolledDateTime").type == pa.timestamp("us", "UTC")
        counted = duckdb.execute("select count(*), count(distinct deviceKey) from reader").fetchall()
        table = warehouse.reader("devices").read_all()
    assert counted == [(60, 60)]
    assert table.num_rows == 60
    assert table["deviceKey"].to_pylist() == [key for (key,) in served(sandbox, "devices", "deviceKey")]


def test_an_empty_collection_still_has_its_columns(environ: dict[str, str]) -> None:
    with connect(environ) as warehouse:
        reader = warehouse.reader(FACT, from_="2001-01-01", to="2001-01-02")
        assert "deviceName" in reader.schema.names
        assert reader.read_all().num_rows == 0


def test_days_properties_rows_and_redaction_narrow_what_comes(sandbox: Sandbox, environ: dict[str, str]) -> None:
    yesterday = TODAY - dt.timedelta(days=1)
    day = int(yesterday.strftime("%Y%m%d"))
    redaction = Redaction("hash", Secret("k" * 32))
    with connect(environ) as warehouse:
        by_text = warehouse.reader(FACT, from_="-1d", to="yesterday", select=["DEVICENAME", "deviceKey"]).read_all()
        by_date = warehouse.reader(FACT, from_=yesterday, to=yesterday, select=["deviceName", "deviceKey"]).read_all()
        top = warehouse.reader(FACT, top=5).read_all()
        hashed = warehouse.reader("users", select=["userId"], redaction=redaction).read_all()
    assert by_text == by_date
    assert plain(iter(by_text.to_batches()), "deviceName", "deviceKey") == served(
        sandbox, FACT, "deviceName", "deviceKey", day=day
    )
    assert by_text.column_names == ["deviceName", "deviceKey"]
    assert top.num_rows == 5
    assert hashed["userId"].to_pylist() == [redaction.pseudonym(i) for (i,) in served(sandbox, "users", "userId")]


@pytest.mark.parametrize("kind", ["500", "404", "json-cut", "next-loop", "next-foreign"])
def test_a_short_read_is_an_exception_whatever_the_reason(
    sandbox: Sandbox, environ: dict[str, str], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    sandbox.add_fault(Fault(kind=kind, collection="devices", page=3, times=0))
    with connect(environ) as warehouse:
        got: list[int] = []
        with pytest.raises(IntuneDwError) as caught:
            got.extend(batch.num_rows for batch in warehouse.batches("devices"))
        assert "devices" in str(caught.value)
        with pytest.raises(IntuneDwError):
            warehouse.reader("devices").read_all()
    assert sum(got) < 60


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have failing requests fail soon."""
    from intune_dw_cli import library
    from intune_dw_cli.service.retry import RequestPolicy

    monkeypatch.setattr(
        library, "RequestPolicy", lambda **more: RequestPolicy(tries=2, first_wait=0.01, max_wait=0.02, **more)
    )


def test_undeclared_properties_of_the_first_page_are_a_column(sandbox: Sandbox, environ: dict[str, str]) -> None:
    sandbox.add_fault(Fault(kind="extra-column", collection="devices", times=0, name="nick", value="Schnuffi"))
    with connect(environ) as warehouse:
        table = warehouse.reader("devices").read_all()
    assert {json.loads(text)["nick"] for text in table["_additional"].to_pylist()} == {"Schnuffi"}


def test_undeclared_properties_that_come_after_rows_were_handed_over_are_an_exception(
    environ: dict[str, str],
) -> None:
    with Sandbox(TenantConfig(today=TODAY, devices=60, days=2), ServerConfig(page_size=4)) as sandbox:
        # Further ahead than is fetched before somebody reads.
        sandbox.add_fault(Fault(kind="extra-column", collection="devices", page=12, times=0, name="nick", value="S"))
        with connect(environ, url=sandbox.feed_url) as warehouse:
            batches = warehouse.batches("devices")
            assert "_additional" not in next(batches).schema.names
            with pytest.raises(OutputError, match="changed their form"):
                list(batches)


def test_who_reads_slowly_does_not_have_everything_fetched_into_memory(
    sandbox: Sandbox, environ: dict[str, str]
) -> None:
    with connect(environ, workers=1) as warehouse:
        assert warehouse.collections
        before = len(sandbox.requests)
        batches = warehouse.batches(FACT, from_="-5d")
        rows = next(batches).num_rows
        time.sleep(1)
        asked = len(sandbox.requests) - before
        rows += sum(batch.num_rows for batch in batches)
    assert rows == len(served(sandbox, FACT, "dateKey"))
    assert asked < (len(sandbox.requests) - before) / 2


def test_leaving_the_block_ends_what_is_still_read(environ: dict[str, str]) -> None:
    with connect(environ) as warehouse:
        batches = warehouse.batches(FACT)
        next(batches)
        left = warehouse.batches(FACT)
    with pytest.raises(InterruptedRunError):
        list(batches)
    with pytest.raises(InterruptedRunError):
        list(left)
    wait_for_no_thread("stream")


def test_breaking_out_of_a_loop_stops_the_fetching(environ: dict[str, str]) -> None:
    with connect(environ) as warehouse:
        batches = warehouse.batches(FACT)
        for _ in batches:
            break
        batches.close()  # type: ignore[attr-defined]
        wait_for_no_thread("stream")
        assert warehouse.reader("users", top=3).read_all().num_rows == 3


def wait_for_no_thread(prefix: str) -> None:
    end = time.monotonic() + 10
    while any(t.name.startswith(prefix) and t.is_alive() for t in threading.enumerate()):
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"from_": "-1d", "to": "-2d"}, "is after"),
        ({"from_": "soon"}, "not a date"),
        ({"select": ["nothing"]}, "no property"),
        ({"top": 0}, "at least 1"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_fetched(
    environ: dict[str, str], arguments: dict[str, Any], said: str
) -> None:
    with connect(environ) as warehouse, pytest.raises(UsageError, match=said):
        warehouse.batches(FACT, **arguments)


def test_a_token_of_the_program_needs_no_sign_in_and_arguments_win_over_the_environment(
    sandbox: Sandbox, environ: dict[str, str]
) -> None:
    elsewhere = {**environ, "INTUNE_DW_URL": "http://127.0.0.1:9/nowhere"}
    del elsewhere["INTUNE_DW_ACCESS_TOKEN"]
    with pytest.raises(SignInError, match="nobody is signed in"), connect(elsewhere):
        pass
    with connect(elsewhere, url=sandbox.feed_url, token="any") as warehouse:
        assert warehouse.reader("users", top=1).read_all().num_rows == 1
    with pytest.raises(UsageError, match="no feed URL"), connect({"INTUNE_DW_HOME": environ["INTUNE_DW_HOME"]}):
        pass


def test_importing_the_package_loads_neither_arrow_nor_msal_nor_requests() -> None:
    code = (
        "import sys, intune_dw_cli; dir(intune_dw_cli); intune_dw_cli.__version__\n"
        "print([m for m in ('pyarrow', 'msal', 'requests', 'typer', 'rich') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_every_public_name_is_there_and_documented() -> None:
    assert dir(intune_dw_cli) == sorted(intune_dw_cli.__all__)
    for name in intune_dw_cli.__all__:
        assert name == "__version__" or getattr(intune_dw_cli, name).__doc__
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        intune_dw_cli.nothing_of_the_kind  # type: ignore[attr-defined]  # noqa: B018


def test_the_readmes_example_runs_as_printed(sandbox: Sandbox, environ: dict[str, str], tmp_path: Path) -> None:
    section = README.read_text(encoding="utf-8").split("## As a library", 1)[1].split("\n## ", 1)[0]
    (example,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len([line for line in example.splitlines() if line.strip()]) <= 8
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    run = subprocess.run(
        [sys.executable, "-c", example],
        env={**kept, **environ, "PYTHONUTF8": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    days = len(served(sandbox, FACT, "dateKey", day=int(TODAY.strftime("%Y%m%d"))))
    assert f"{len(sandbox.tenant.collections())} collections" in run.stdout
    assert str(days) in run.stdout
