"""Whatever goes wrong that may go right again: each row is in the file exactly once."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from engine_bench import FACT, TODAY, Bench
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intune_dw_cli.data.formats import FileFormat
from intune_dw_cli.export.pull import pull_to_files, pull_to_partitions
from intune_dw_cli.sandbox import Fault, Sandbox, ServerConfig, Tenant, TenantConfig

TENANT = TenantConfig(today=TODAY, devices=15, days=4)
COLLECTIONS = (FACT, "users")
INSTANTS = ("utc", "date", "datetime", "time")
RETRIABLE = (
    *("429", "500", "502", "503", "504", "408", "html", "error-body", "empty-body", "bom"),
    *("json-cut", "gzip-cut", "reset", "close", "empty-page", "extra-column", "int64-string"),
)
TRIES = 12  # more than all faults of an example together

faults = st.builds(
    Fault,
    kind=st.sampled_from(RETRIABLE),
    collection=st.sampled_from(("[du]*", "device*", "users")),  # not the documents: they are tried less often
    page=st.none() | st.integers(1, 4),
    times=st.integers(1, 2),
    style=st.sampled_from(("seconds", "date", "body", "none")),
    at=st.sampled_from(("headers", "body")),
    after=st.floats(0, 1),
    body=st.sampled_from(("a", "b", "c", "d", "e", "f", None)),
)


@pytest.fixture(scope="module")
def expected() -> dict[str, Counter[str]]:
    tenant = Tenant(TENANT)
    return {name: Counter(map(as_text, tenant.rows(name))) for name in COLLECTIONS}


def as_text(row: dict[str, Any]) -> str:
    """Return a row as comparable text; instants, which Parquet holds typed, are left to other tests."""
    kept = {k: v for k, v in row.items() if not k.startswith("_") and not k.lower().endswith(INSTANTS)}
    return json.dumps(kept, sort_keys=True, default=str)


def pull(
    sandbox: Sandbox, folder: Path, planned: list[Fault], workers: int, *, by_day: bool
) -> dict[str, Counter[str]]:
    """Pull both collections as Parquet and return their rows by collection."""
    bench = Bench(sandbox, workers=workers, tries=TRIES, throttles=TRIES)
    fmt = FileFormat("parquet")
    try:
        plans = [bench.plan(name) for name in COLLECTIONS]
        for fault in planned:  # the two documents are read by now; they have less patience than pages
            sandbox.add_fault(fault)
        if by_day:
            result = pull_to_partitions(bench.engine, plans, folder, fmt, source="", observer=bench.events.append)
        else:
            paths = {name: folder / f"{name}.parquet" for name in COLLECTIONS}
            more: dict[str, Any] = {"look_ahead": 2 * workers, "stop": bench.stop, "observer": bench.events.append}
            result = pull_to_files(bench.engine, plans, paths, fmt, source="", **more)
    finally:
        bench.transport.close()
    assert result.errors == []
    assert not list(folder.rglob("*.partial*"))
    found: dict[str, Counter[str]] = {name: Counter() for name in COLLECTIONS}
    for file in result.files:
        rows = pq.read_table(file.path, partitioning=None).to_pylist()
        assert len(rows) == file.rows
        found[file.collection].update(map(as_text, rows))
    for outcome in result.outcomes:
        assert outcome.rows == found[outcome.plan.entity_set.name].total()
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    page_size=st.integers(1, 40),
    planned=st.lists(faults, max_size=5),
    workers=st.integers(1, 4),
    by_day=st.booleans(),
    link=st.sampled_from(("absolute", "relative", "lower-hex")),
)
def test_each_row_comes_exactly_once_whatever_faults_pass(
    tmp_path_factory: pytest.TempPathFactory,
    expected: dict[str, Counter[str]],
    page_size: int,
    planned: list[Fault],
    workers: int,
    by_day: bool,
    link: Any,
) -> None:
    with Sandbox(TENANT, ServerConfig(page_size=page_size, next_link=link)) as sandbox:
        found = pull(sandbox, tmp_path_factory.mktemp("pull"), planned, workers, by_day=by_day)
    assert found == expected
