"""Sandbox tenants and the command line for the end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from harness import Cli, SandboxProcess
from signin import World, Worlds, worlds


@pytest.fixture(scope="session")
def sandbox(home: Path) -> Iterator[SandboxProcess]:
    """One tenant for tests that change nothing in it: 40 devices, 9 days, pages of 50 rows."""
    process = SandboxProcess("--page-size", 50, home=home, days=9)
    yield process
    process.stop()


@pytest.fixture(scope="session")
def hostile(home: Path) -> Iterator[SandboxProcess]:
    """A tenant whose values break careless readers."""
    process = SandboxProcess("--page-size", 64, home=home, hostile=True, devices=120, days=3)
    yield process
    process.stop()


@pytest.fixture
def cli(home: Path, tmp_path: Path, sandbox: SandboxProcess) -> Cli:
    """The command line, pointed at the shared tenant, in an empty folder."""
    return Cli(home, tmp_path, sandbox.url)


@pytest.fixture
def lone_cli(home: Path, tmp_path: Path) -> Cli:
    """The command line, pointed nowhere, in an empty folder."""
    return Cli(home, tmp_path)


@pytest.fixture(scope="session", params=["csv", "csv-gzip", "parquet"])
def archive(
    request: pytest.FixtureRequest, home: Path, sandbox: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished archive of the shared tenant, of each kind of file; not to be changed."""
    return _make(home, sandbox, tmp_path_factory, request.param)


@pytest.fixture(scope="session")
def csv_archive(home: Path, sandbox: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished archive of the shared tenant in CSV; not to be changed."""
    return _make(home, sandbox, tmp_path_factory, "csv")


def _make(home: Path, sandbox: SandboxProcess, factory: pytest.TempPathFactory, kind: str) -> Path:
    folder = factory.mktemp(kind)
    form, _, compression = kind.partition("-")
    more = ["--compression", compression] if compression else []
    Cli(home, folder, sandbox.url)("backup", folder / "archive", "-f", form, *more).ok()
    return folder / "archive"


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The bundle of a private CA, and a server certificate that it signed."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    bundle, server = folder / "ca.pem", folder / "server.pem"
    authority.cert_pem.write_to_path(str(bundle))
    authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(str(server))
    return bundle, server


@pytest.fixture
def make(tmp_path: Path, tls: tuple[Path, Path]) -> Iterator[Worlds]:
    """Make worlds to sign in to; after the test nothing secret may have been shown."""
    with worlds(tmp_path, tls) as maker:
        yield maker


@pytest.fixture
def world(make: Worlds) -> World:
    """The usual world."""
    return make()
