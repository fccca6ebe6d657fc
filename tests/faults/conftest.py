"""The switches of the fault tests, and sandbox tenants and the command line for them.

    pytest tests/faults                             the quick set, always with the same seed
    pytest tests/faults --long -n auto              the long set
    pytest tests/faults/test_x.py --faults-seed 7   another seed; a failure prints the one to repeat it with

A test that draws takes `rng` (its own stream of the seed), or `faults_seed`. A test that is for the long set alone is
marked `long`. A test whose number of cases is a matter of time is marked `cases(quick=, long=)` and takes `case`, a
number from 0; one that counts by itself (hypothesis) asks `is_long`.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from forks import Forks
from harness import SEED, Cli, SandboxProcess


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--long", action="store_true", default=False, help="Run the long set of fault tests.")
    group.addoption("--soak-rows", type=int, default=20_000_000, metavar="N", help="Rows of the soak (20 million).")
    group.addoption("--faults-seed", type=int, default=SEED, metavar="N", help=f"Seed of what they draw ({SEED}).")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: is run with --long only")
    config.addinivalue_line("markers", "cases(quick=, long=): so many cases in the quick set and in the long one")


def long_set(config: pytest.Config) -> bool:
    """Whether this is the long set. The options are unknown where pytest was started from above this folder."""
    return bool(config.getoption("--long", False))


def seed_of(config: pytest.Config) -> int:
    """The seed of this run."""
    return int(config.getoption("--faults-seed", SEED))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("cases")
    if marker is not None:
        quick, long = marker.kwargs["quick"], marker.kwargs["long"]
        metafunc.parametrize("case", range(long if long_set(metafunc.config) else quick))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("long") and not long_set(config):
            item.add_marker(pytest.mark.skip(reason="of the long set: pytest tests/faults --long"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        long = " --long" if long_set(item.config) else ""
        report.sections.append(("repeat", f"pytest '{item.nodeid}'{long} --faults-seed {seed_of(item.config)}"))
    return report


@pytest.fixture(scope="session")
def is_long(pytestconfig: pytest.Config) -> bool:
    """Whether this is the long set."""
    return long_set(pytestconfig)


@pytest.fixture(scope="session")
def faults_seed(pytestconfig: pytest.Config) -> int:
    """The seed of this run."""
    return seed_of(pytestconfig)


@pytest.fixture
def rng(request: pytest.FixtureRequest, faults_seed: int) -> random.Random:
    """Random numbers for one test (or one case of it), the same whatever else is run with it."""
    return random.Random(f"{faults_seed}/{request.node.nodeid.rpartition('/')[2]}")


@pytest.fixture(scope="session")
def tenant(home: Path) -> Iterator[SandboxProcess]:
    """One small tenant for tests that change nothing in it: 30 devices, 3 days, pages of 50 rows."""
    process = SandboxProcess("--page-size", 50, home=home, devices=30, days=3)
    yield process
    process.stop()


@pytest.fixture
def cli(home: Path, tmp_path: Path) -> Cli:
    """The command line, pointed nowhere, in an empty folder."""
    return Cli(home, tmp_path)


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Runs of `intune-dw` that fail at a chosen call to the disk."""
    server = Forks()
    yield server
    server.stop()
