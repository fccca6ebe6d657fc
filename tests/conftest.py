"""What the end-to-end and the fault tests share: an empty home folder, and sandbox tenants of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import SandboxProcess, Serve


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with nothing in it."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def serve(home: Path) -> Iterator[Serve]:
    """Start sandboxes for one test: server options as arguments, tenant settings as keywords."""
    started: list[SandboxProcess] = []

    def start(*options: object, **settings: Any) -> SandboxProcess:
        started.append(SandboxProcess(*options, home=home, **settings))
        return started[-1]

    yield start
    for sandbox in started:
        sandbox.stop()
