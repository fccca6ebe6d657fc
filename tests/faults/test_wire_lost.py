"""The service goes away in mid-run: a short absence costs slices, a long one ends the run once, and both continue."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import tree
from meddler import Heard, Meddler
from rig import FACT, LAST_DAYS, SMALL, TODAY, Rig

from intune_dw_cli.archive.backup import BackupResult, backup
from intune_dw_cli.archive.request import BackupRequest
from intune_dw_cli.archive.verify import verify
from intune_dw_cli.errors import TransportError
from intune_dw_cli.sandbox import Sandbox, ServerConfig
from intune_dw_cli.sandbox.messages import Response
from intune_dw_cli.service.warehouse import Warehouse

NAMES = (FACT, "policyDeviceActivities", "policies", "users", "policyTypes", "deviceTypes", "ownerTypes")
TRIES = 3


class Line:
    """The way to the service, which may be cut: connections are then refused, and those that there are end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refused = 0
        self.cut_after: int | None = None
        self._heard = 0
        connect = socket.socket.connect

        def connecting(self_: socket.socket, address: object) -> None:
            if self.is_cut:
                self.refused += 1
                raise ConnectionRefusedError(111, "Connection refused")
            connect(self_, address)  # type: ignore[arg-type]

        monkeypatch.setattr(socket.socket, "connect", connecting)

    @property
    def is_cut(self) -> bool:
        return self.cut_after is not None and self._heard >= self.cut_after

    def meddle(self, _heard: Heard, true: Response) -> Response | None:
        self._heard += 1
        if self.is_cut:
            true.headers["Connection"] = "close"
        return None


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    return Line(monkeypatch)


@contextmanager
def serving(line: Line) -> Iterator[Meddler]:
    with Meddler(Sandbox(SMALL, ServerConfig(page_size=5)), line.meddle) as server:
        yield server


def run(server: Meddler, root: Path, *, lost_after: float, workers: int = 2) -> BackupResult:
    rig = Rig(server.feed_url, workers=workers, tries=TRIES, lost_after=lost_after)

    def connect(service: bytes | None, metadata: bytes | None) -> Warehouse:
        documents = {"service_document": service, "metadata_document": metadata}
        return Warehouse(rig.warehouse.feed, rig.transport, source="feed", **documents)  # type: ignore[arg-type]

    request = BackupRequest(root=root, only=NAMES, bounds=LAST_DAYS, today=TODAY, tenant="t", workers=workers)
    try:
        return backup(request, connect, stop=rig.stop)
    finally:
        rig.transport.close()


@pytest.mark.parametrize("cut_after", [6, 12, 20])
def test_a_service_that_is_away_for_long_ends_the_run_once_and_the_next_one_continues(
    line: Line, tmp_path: Path, cut_after: int
) -> None:
    with serving(line) as server:
        run(server, tmp_path / "unbroken", lost_after=60)
        line._heard, line.cut_after = 0, cut_after
        with pytest.raises(TransportError, match="refused the connection") as caught:
            run(server, tmp_path / "A", lost_after=0)
        assert caught.value.exit_code == 1
        assert "continues" in (caught.value.hint or "")
        assert line.refused <= 2 * 2 * TRIES  # two workers, each with a page that it asks for ahead
        assert not (tmp_path / "A" / "manifest.json").exists()
        assert verify(tmp_path / "A").state == "unfinished"
        line.cut_after = None
        run(server, tmp_path / "A", lost_after=60)
        assert tree(tmp_path / "A") == tree(tmp_path / "unbroken")


def test_a_service_that_is_away_for_a_while_costs_slices_and_the_next_run_fetches_them(
    line: Line, tmp_path: Path
) -> None:
    with serving(line) as server:
        run(server, tmp_path / "unbroken", lost_after=60)
        line._heard, line.cut_after = 0, 12
        result = run(server, tmp_path / "A", lost_after=60)
        assert {error.collection for error in result.errors} > {"policies"}
        assert result.manifest.state == "partial"
        line.cut_after = None
        run(server, tmp_path / "A", lost_after=60)
        assert tree(tmp_path / "A") == tree(tmp_path / "unbroken")
