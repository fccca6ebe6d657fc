"""Tokens that end on the way: real MSAL, an Entra of our own over TLS, and a warehouse that checks each token."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme
from harness import tree
from rig import FACT, LAST_DAYS, SMALL, TODAY, Rig, as_rows, rows_of

from intune_dw_cli.archive.backup import BackupResult, backup
from intune_dw_cli.archive.request import BackupRequest
from intune_dw_cli.archive.verify import verify
from intune_dw_cli.errors import SignInError, TransportError
from intune_dw_cli.identity.clouds import CLOUDS, customised
from intune_dw_cli.identity.credentials import ClientSecret, Configuration
from intune_dw_cli.identity.identity import Identity
from intune_dw_cli.identity.secret import Secret
from intune_dw_cli.sandbox import Fault, Sandbox, ServerConfig
from intune_dw_cli.sandbox.entra import Entra, EntraConfig
from intune_dw_cli.sandbox.entra_registry import CLIENT_ID, TENANT_ID, WAREHOUSE, App
from intune_dw_cli.sandbox.entra_server import EntraServer
from intune_dw_cli.service.warehouse import Warehouse

SECRET = "tokens-client-secret"
CHOICE = (FACT, "policyDeviceActivities", "users", "policies")
PAGE_SIZE = 3
PAGES = -(-len(list(Sandbox(SMALL).tenant.rows("users"))) // PAGE_SIZE)
PLACES = {"first": 1, "second": 2, "middle": PAGES // 2 + 1, "last": PAGES}


@dataclass
class World:
    """A tenant to sign in to.

    Attributes:
        accepts: Says of each request, by its number from 1, whether the token it brought still counts afterwards.
    """

    entra: Entra
    server: EntraServer
    bundle: Path
    certificate: Path
    sandbox: Sandbox = field(init=False)
    spoils: Callable[[int], bool] = lambda _number: False
    number: int = 0
    rigs: list[Rig] = field(default_factory=list)

    def __post_init__(self) -> None:
        lock = threading.Lock()

        def accept(token: str) -> bool:
            with lock:
                self.number += 1
                if self.spoils(self.number):
                    self.entra.revoke(token)
            return self.entra.validate(token, WAREHOUSE)

        self.sandbox = Sandbox(SMALL, ServerConfig(page_size=PAGE_SIZE, accept_token=accept)).start()

    @contextmanager
    def rig(self, workers: int = 1, **policy: Any) -> Iterator[Rig]:
        """An engine that signs in with a client secret."""
        cloud = customised(CLOUDS["public"], authority_host=self.server.host)
        configuration = Configuration(
            credential=ClientSecret(Secret(SECRET)), tenant=TENANT_ID, client_id=CLIENT_ID, cloud=cloud
        )
        stop = threading.Event()
        with closing(Identity(configuration, ca_bundle=str(self.bundle), stop=stop)) as identity:
            identity._session._first_wait = 0.01
            yield Rig(self.sandbox.feed_url, workers=workers, tokens=identity.warehouse, stop=stop, **policy)

    def backup(self, root: Path, workers: int = 1) -> BackupResult:
        """Back up some collections, as a new process would."""
        with self.rig(workers) as rig:
            feed, transport = rig.warehouse.feed, rig.transport

            def connect(service: bytes | None, metadata: bytes | None) -> Warehouse:
                return Warehouse(feed, transport, service_document=service, metadata_document=metadata)

            request = BackupRequest(
                root=root, only=CHOICE, bounds=LAST_DAYS, today=TODAY, tenant=TENANT_ID, workers=workers
            )
            return backup(request, connect, stop=rig.stop)

    def refused(self) -> int:
        """Requests that the warehouse answered with 401."""
        return sum(request.status == 401 for request in self.sandbox.requests)

    def tokens(self) -> int:
        """Tokens that were given."""
        return sum(r.path.endswith("/token") and r.status == 200 for r in self.entra.requests)

    def stop(self) -> None:
        self.server.stop()
        self.sandbox.stop()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The bundle of a private CA, and a server certificate that it signed."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    bundle, server = folder / "ca.pem", folder / "server.pem"
    authority.cert_pem.write_to_path(str(bundle))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(server))
    return bundle, server


@pytest.fixture
def world(tls: tuple[Path, Path]) -> Iterator[World]:
    """Tokens that live for an hour."""
    yield from living(tls, 3600.0)


@pytest.fixture
def hasty_world(tls: tuple[Path, Path]) -> Iterator[World]:
    """Tokens that live for a second."""
    yield from living(tls, 1.0)


def living(tls: tuple[Path, Path], life: float) -> Iterator[World]:
    entra = Entra(EntraConfig(token_life=life), apps=[App(secrets={SECRET: None})])
    world = World(entra, EntraServer(entra, certificate=tls[1]).start(), *tls)
    yield world
    world.stop()


@pytest.fixture(scope="module")
def unbroken(tls: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What an archive of the tenant is when nothing happens, its feed URL apart."""
    root = tmp_path_factory.mktemp("unbroken") / "A"
    for world in living(tls, 3600.0):
        world.backup(root)
    return contents(root)


def contents(root: Path) -> dict[str, str]:
    """The files that do not name the feed, whose port is another for each test."""
    return {name: digest for name, digest in tree(root).items() if name.startswith("data/")}


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("place", PLACES)
def test_a_token_that_ends_at_a_page_is_renewed_once_and_no_row_is_lost(
    world: World, tmp_path: Path, place: str, workers: int
) -> None:
    world.spoils = lambda number: number == 2 + PLACES[place]  # after the two documents
    with world.rig(workers) as rig:
        result = rig.pull(tmp_path, "users", FACT)
    assert result.errors == []
    for name in ("users", FACT):
        assert rows_of(result, name) == as_rows(world.sandbox.tenant.rows(name))
    assert world.tokens() == 2
    assert 1 <= world.refused() <= workers


def test_a_token_for_each_page(world: World, tmp_path: Path) -> None:
    world.spoils = lambda number: number % 2 == 0
    with world.rig() as rig:
        result = rig.pull(tmp_path, "users")
    assert rows_of(result, "users") == as_rows(world.sandbox.tenant.rows("users"))
    assert world.refused() == world.tokens() - 1 == PAGES + 1  # all but the service document, which came first


def test_a_token_that_ends_while_the_service_wants_patience_is_renewed_before_the_next_request(
    hasty_world: World, tmp_path: Path
) -> None:
    hasty_world.sandbox.add_fault(Fault(kind="429", collection="users", page=2, retry_after=60))
    with hasty_world.rig(max_retry_after=1.2) as rig:
        rig.warehouse.entity_set("users")
        before = hasty_world.tokens()
        result = rig.pull(tmp_path, "users")
    assert rows_of(result, "users") == as_rows(hasty_world.sandbox.tenant.rows("users"))
    assert hasty_world.refused() == 0
    assert hasty_world.tokens() > before


@pytest.mark.parametrize("place", PLACES)
def test_a_second_401_at_one_page_ends_the_run_and_the_next_one_continues(
    world: World, tmp_path: Path, unbroken: dict[str, str], place: str
) -> None:
    world.sandbox.add_fault(Fault(kind="401", collection="users", page=PLACES[place], times=2))
    with pytest.raises(SignInError) as caught:
        world.backup(tmp_path / "A")
    assert caught.value.exit_code == 4
    assert_unfinished(tmp_path / "A")
    world.backup(tmp_path / "A")
    assert contents(tmp_path / "A") == unbroken
    assert verify(tmp_path / "A").state == "complete"


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("request_number", [5, 6, 14, 22])  # four requests for documents come before
def test_a_renewal_that_is_refused_ends_the_run_and_the_next_one_continues(
    world: World, tmp_path: Path, unbroken: dict[str, str], request_number: int, workers: int
) -> None:
    def spoils(number: int) -> bool:
        if number == request_number:
            world.entra.refuse("7000222")
        return number == request_number

    world.spoils = spoils
    with pytest.raises(SignInError, match="AADSTS7000222") as caught:
        world.backup(tmp_path / "A", workers)
    assert caught.value.exit_code == 4
    assert "continues" in (caught.value.hint or "")
    assert_unfinished(tmp_path / "A")
    world.entra.relent()
    world.backup(tmp_path / "A", workers)
    assert contents(tmp_path / "A") == unbroken
    assert verify(tmp_path / "A").state == "complete"


@pytest.mark.parametrize("workers", [1, 4])
def test_a_dead_sign_in_service_ends_the_run_once_and_the_next_one_continues(
    world: World, tmp_path: Path, unbroken: dict[str, str], workers: int
) -> None:
    port = int(world.server.host.rpartition(":")[2])
    walls: list[Wall] = []

    def spoils(number: int) -> bool:
        if number == 12:
            world.server.stop()
            walls.append(Wall(port))
        return number >= 12 and not walls[0].gone

    world.spoils = spoils
    with pytest.raises(TransportError, match="sign-in service") as caught:
        world.backup(tmp_path / "A", workers)
    assert caught.value.exit_code == 1
    assert "continues" in (caught.value.hint or "")
    walls[0].tear_down()
    assert 6 <= walls[0].knocks <= 6 * workers  # as many at most as had begun to ask
    assert_unfinished(tmp_path / "A")
    world.server = EntraServer(world.entra, certificate=world.certificate, port=port).start()
    world.backup(tmp_path / "A", workers)
    assert contents(tmp_path / "A") == unbroken


class Wall:
    """Hangs up on whoever connects, and counts."""

    def __init__(self, port: int) -> None:
        self.knocks = 0
        self.gone = False
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.settimeout(0.02)
        self._thread = threading.Thread(target=self._hang_up, daemon=True)
        self._thread.start()

    def tear_down(self) -> None:
        self.gone = True
        self._thread.join()
        self._listener.close()

    def _hang_up(self) -> None:
        while not self.gone:
            with suppress(TimeoutError):
                connection, _ = self._listener.accept()
                self.knocks += 1
                connection.close()


def assert_unfinished(root: Path) -> None:
    """The archive is none yet, and nothing half has a final name."""
    assert not (root / "manifest.json").exists()
    assert not list(root.rglob("*.partial*"))
    found = verify(root)
    assert (found.state, found.findings) == ("unfinished", ())
