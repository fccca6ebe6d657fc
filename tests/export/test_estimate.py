"""Estimates against what a run really brings, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine_bench import FACT, TODAY, Bench

from intune_dw_cli.data.formats import FileFormat
from intune_dw_cli.errors import ProtocolError, SignInError
from intune_dw_cli.export.estimate import Amount, Estimate, estimate, total
from intune_dw_cli.export.plan import CollectionPlan, plan_collection
from intune_dw_cli.export.pull import pull_to_files, pull_to_partitions
from intune_dw_cli.sandbox import Fault, Sandbox, ServerConfig, TenantConfig

CSV = FileFormat()


def probe(bench: Bench, *plans: CollectionPlan, fmt: FileFormat = CSV, file_a_day: bool = False) -> list[Estimate]:
    more: dict[str, Any] = {"observer": bench.events.append, "stop": bench.stop}
    return estimate(bench.warehouse, plans, fmt, today=TODAY, file_a_day=file_a_day, workers=2, **more)


def pulled(bench: Bench, plan: CollectionPlan, folder: Path, fmt: FileFormat = CSV) -> tuple[int, int]:
    """Rows and bytes that the run really brings."""
    path = {plan.entity_set.name: folder / f"x{fmt.suffix}"}
    more: dict[str, Any] = {"source": "s", "look_ahead": 2, "stop": bench.stop, "observer": lambda _: None}
    (file,) = pull_to_files(bench.engine, [plan], path, fmt, **more).files
    return file.rows, file.bytes


@pytest.mark.parametrize(
    ("fmt", "most"),
    [(CSV, 1.1), (FileFormat("csv", "gzip"), 4), (FileFormat("parquet"), 10)],
    ids=["csv", "gz", "parquet"],
)
def test_rows_and_bytes_of_a_fact_are_close_to_what_a_run_brings(
    benches: Callable[..., Bench], tmp_path: Path, fmt: FileFormat, most: float
) -> None:
    with Sandbox(TenantConfig(today=TODAY, devices=300, days=20), ServerConfig(page_size=50)) as sandbox:
        bench = benches(sandbox)
        plan = bench.plan(FACT)
        (found,) = probe(bench, plan, fmt=fmt)
        assert found.error is None
        cost = len(bench.warehouse.asked)
        rows, size = pulled(bench, plan, tmp_path, fmt)
    assert found.rows.low <= rows <= found.rows.high
    assert found.rows.middle == pytest.approx(rows, rel=0.05)
    assert found.read < rows / 10
    # A day by itself compresses less well than many: too much rather than too little.
    assert found.bytes.low <= size <= 1.1 * found.bytes.middle
    assert found.bytes.middle < most * size
    assert found.seconds.low < found.seconds.middle < found.seconds.high
    assert found.wire_bytes.middle > 0
    assert cost < 70


def test_history_that_began_within_the_window_is_not_multiplied_by_the_window(bench: Bench, tmp_path: Path) -> None:
    # Four days of history in a window of sixty.
    plan = bench.plan(FACT)
    (found,) = probe(bench, plan)
    rows, _ = pulled(bench, plan, tmp_path)
    assert found.rows.middle == pytest.approx(rows, rel=0.1)
    assert found.rows.high <= 1.2 * rows


def test_small_collections_are_known_exactly(bench: Bench) -> None:
    for each in probe(bench, bench.plan("devices"), bench.plan("users")):
        rows = len(list(bench.sandbox.tenant.rows(each.plan.entity_set.name)))
        assert each.rows == Amount.exactly(rows)


def test_the_rows_of_a_large_collection_are_sought_not_read(benches: Callable[..., Bench]) -> None:
    with Sandbox(TenantConfig(today=TODAY, devices=3000, days=2), ServerConfig(page_size=200)) as sandbox:
        bench = benches(sandbox)
        (found,) = probe(bench, bench.plan("devices"))
        rows = sum(1 for _ in sandbox.tenant.rows("devices"))
    assert rows == 3000
    assert found.rows.low <= rows <= found.rows.high <= 1.1 * found.rows.low
    assert found.read == 1000


def test_a_service_that_ignores_skip_gives_the_least_there_is(benches: Callable[..., Bench]) -> None:
    with Sandbox(TenantConfig(today=TODAY, devices=1500, days=2), ServerConfig(page_size=200)) as sandbox:
        bench = benches(sandbox)
        bench.warehouse.meddle = without("$skip=")
        (found,) = probe(bench, bench.plan("devices"))
    assert found.rows.low >= 1000
    assert math.isinf(found.rows.high)


def without(option: str) -> Callable[[str], str]:
    return lambda url: "&".join(part for part in url.split("&") if not part.startswith(option))


def test_a_preview_and_what_changed_are_bounded_by_what_was_asked(bench: Bench) -> None:
    devices, users = bench.warehouse.entity_set("devices"), bench.warehouse.entity_set("users")
    top = plan_collection(devices, TODAY, top=5)
    changed = plan_collection(users, TODAY, modified_since="2001-01-01T00:00:00Z")
    found = probe(bench, top, changed)
    assert [each.rows.middle for each in found] == [5, len(list(bench.sandbox.tenant.rows("users")))]


def test_a_plan_of_nothing_costs_nothing(bench: Bench) -> None:
    plan = CollectionPlan(entity_set=bench.warehouse.entity_set("devices"), slices=())
    (found,) = probe(bench, plan)
    assert (found.rows, found.bytes, bench.warehouse.asked) == (Amount.exactly(0), Amount.exactly(0), [])


def test_a_service_without_filters_is_not_read_whole_for_an_estimate(bench: Bench) -> None:
    bench.warehouse.meddle = without("$filter=")
    fact, devices = probe(bench, bench.plan(FACT), bench.plan("devices"))
    assert isinstance(fact.error, ProtocolError)
    assert "no single day" in fact.error.message
    assert devices.error is None
    # The first pages and those asked for ahead, not the whole chain of a dozen.
    assert sum(FACT in url for url in bench.warehouse.asked) <= 4


def test_what_fails_is_told_of_its_collection_and_a_refused_sign_in_ends_all(bench: Bench) -> None:
    bench.sandbox.add_fault(Fault(kind="404", collection="users", times=0))
    users, devices = probe(bench, bench.plan("users"), bench.plan("devices"))
    assert users.error is not None
    assert devices.error is None
    assert total([users, devices]).rows == devices.rows
    bench.sandbox.add_fault(Fault(kind="401", collection="devices", times=0))
    with pytest.raises(SignInError):
        probe(bench, bench.plan("devices"))


def test_nothing_is_kept_of_what_is_read(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    probe(bench, bench.plan(FACT))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fmt", [CSV, FileFormat("csv", "gzip"), FileFormat("parquet")], ids=["csv", "gz", "parquet"])
def test_bytes_of_a_file_a_day_are_close(benches: Callable[..., Bench], tmp_path: Path, fmt: FileFormat) -> None:
    with Sandbox(TenantConfig(today=TODAY, devices=300, days=20), ServerConfig(page_size=50)) as sandbox:
        bench = benches(sandbox)
        plan = bench.plan(FACT)
        (found,) = probe(bench, plan, fmt=fmt, file_a_day=True)
        result = pull_to_partitions(bench.engine, [plan], tmp_path, fmt, source="s", observer=lambda _: None)
    assert found.bytes.middle == pytest.approx(sum(file.bytes for file in result.files), rel=0.1)
