"""A small tenant over real HTTP, benches with an engine over it, and rows of three columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from engine_bench import TODAY, Bench

from intune_dw_cli.data.schema import CollectionSchema, Column
from intune_dw_cli.sandbox import Sandbox, ServerConfig, TenantConfig


@pytest.fixture(scope="session")
def shared_sandbox() -> Iterator[Sandbox]:
    tenant = TenantConfig(today=TODAY, devices=20, days=4)
    with Sandbox(tenant, ServerConfig(page_size=7)) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared_sandbox: Sandbox) -> Iterator[Sandbox]:
    """Four days of history, seven rows a page, no faults yet."""
    shared_sandbox.clear_faults()
    yield shared_sandbox
    shared_sandbox.clear_faults()


@pytest.fixture
def benches() -> Iterator[Callable[..., Bench]]:
    """Make benches that are closed at the end."""
    made: list[Bench] = []

    def make(sandbox: Sandbox, **settings: Any) -> Bench:
        made.append(Bench(sandbox, **settings))
        return made[-1]

    yield make
    for bench in made:
        bench.stop.set()
        bench.transport.close()


@pytest.fixture
def bench(sandbox: Sandbox, benches: Callable[..., Bench]) -> Bench:
    return benches(sandbox)


@pytest.fixture
def schema() -> CollectionSchema:
    """Three columns: the key, the day and a text."""
    columns = (
        Column("id", "Edm.Int64", pa.int64(), pa.int64()),
        Column("dateKey", "Edm.Int32", pa.int32(), pa.int32()),
        Column("text", "Edm.String", pa.string(), pa.string()),
    )
    return CollectionSchema("things", columns, ("dateKey", "id"), "dateKey")


@pytest.fixture
def batch_of(schema: CollectionSchema) -> Callable[..., pa.RecordBatch]:
    """Make a batch of (id, DateKey) pairs; the text is the id in words."""

    def make(*rows: tuple[int | None, int | None]) -> pa.RecordBatch:
        return pa.RecordBatch.from_pylist(
            [{"id": number, "dateKey": day, "text": f"row {number}"} for number, day in rows], schema=schema.wire
        )

    return make
