"""Asked to stop, a run has stopped in 5 seconds wherever it is, and names the command to go on with."""

from __future__ import annotations

import contextlib
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import Cli, SandboxProcess, Serve, finish, journal_lines, running, tree, wait_until

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals to another process are POSIX")

LIMIT = 5.0
AT_ONCE = 2.5
"""Less than a first Ctrl-C takes anywhere below, where something hangs: 3 seconds."""

BACKUP = ("backup", "my archive", "--only", "device*", "--only", "policyDev*", "--no-charts")
PULL = ("pull", "devices", "-o", "devices.csv")


@dataclass(frozen=True)
class Place:
    """Where a run is when it is asked to stop.

    Attributes:
        args: What runs.
        fault: What makes it stay there.
        seen: Part of a request's target by which the sandbox knows that it is there.
    """

    args: tuple[str, ...]
    fault: str
    seen: str


PLACES = {
    "service document": Place(BACKUP, "kind=stall,seconds=60,collection=service,times=0", "DataWarehouseFEService?"),
    "metadata": Place(PULL, "kind=stall,seconds=60,collection=$metadata,times=0", "/$metadata"),
    "page": Place(BACKUP, "kind=stall,seconds=60,collection=devices,times=0", "/devices?"),
    "body": Place(PULL, "kind=stall,at=body,seconds=60,collection=devices,times=0", "/devices?"),
    "Retry-After": Place(BACKUP, "kind=429,retry-after=60,collection=devices,times=0", "/devices?"),
    "Retry-After of a document": Place(PULL, "kind=503,retry-after=60,collection=service,times=0", "FEService?"),
}


@contextlib.contextmanager
def run_at(place: Place, cli: Cli, serve: Serve) -> Iterator[subprocess.Popen[bytes]]:
    """Have a run come to a place and stay there."""
    sandbox = serve("--fault", place.fault)
    with running(cli.start(*place.args, env={"INTUNE_DW_URL": sandbox.url})) as process:
        wait_until(lambda: any(place.seen in t for t in sandbox.requests()) or process.poll() is not None, every=0.05)
        time.sleep(0.1)
        yield process


def check_stopped(process: subprocess.Popen[bytes], begun: float, args: tuple[str, ...], cwd: Path) -> str:
    said = finish(process, 20).ok(130)
    assert time.monotonic() - begun < LIMIT
    assert said.err.count("error:") == 1
    word = "continues" if args[0] == "backup" else "begins again"
    assert f"The same command {word}: intune-dw {shlex.join(args)}\n" in said.err
    assert not list(cwd.rglob("devices.csv"))
    return said.err


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_asked_to_stop_it_stops_in_five_seconds_and_names_the_command_to_go_on_with(
    place: Place, cli: Cli, serve: Serve, record_property: Callable[[str, object], None]
) -> None:
    with run_at(place, cli, serve) as process:
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        check_stopped(process, begun, place.args, cli.cwd)
        record_property("seconds", time.monotonic() - begun)


@pytest.mark.parametrize("name", ["service document", "page", "Retry-After"])
def test_asked_twice_it_leaves_at_once(name: str, cli: Cli, serve: Serve) -> None:
    place = PLACES[name]
    with run_at(place, cli, serve) as process:
        process.send_signal(signal.SIGINT)
        assert process.stderr
        while b"Ctrl-C again" not in process.stderr.readline():
            assert process.poll() is None
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert time.monotonic() - begun < AT_ONCE


@pytest.fixture
def silent() -> Iterator[str]:
    """A sign-in service that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("times", [1, 2])
def test_asked_to_stop_during_the_sign_in_it_stops_too(
    times: int, silent: str, cli: Cli, tenant: SandboxProcess
) -> None:
    env = signing_in(silent, tenant)
    port = int(silent.rpartition(":")[2])
    with running(cli.start(*PULL, env=env)) as process:
        wait_until(lambda: connected_to(port) or process.poll() is not None, every=0.05)
        begun = time.monotonic()
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
        if times == 2:
            assert process.wait(20) == 130
            assert time.monotonic() - begun < AT_ONCE
        else:
            assert "MARKED" not in check_stopped(process, begun, PULL, cli.cwd)


def test_ended_where_it_hangs_it_prints_the_json_object_of_a_failure_too(
    silent: str, cli: Cli, tenant: SandboxProcess
) -> None:
    port = int(silent.rpartition(":")[2])
    with running(cli.start(*PULL, "--json", env=signing_in(silent, tenant))) as process:
        wait_until(lambda: connected_to(port) or process.poll() is not None, every=0.05)
        process.send_signal(signal.SIGINT)
        said = finish(process, 20).ok(130)
    assert (said.json["version"], said.json["command"], said.json["state"]) == (1, "pull", "failed")
    [error] = said.json["errors"]
    assert (error["type"], error["exit_code"]) == ("InterruptedRunError", 130)
    assert error["hint"] == f"The same command begins again: intune-dw {shlex.join((*PULL, '--json'))}"
    assert error["hint"] in said.err


def signing_in(silent: str, tenant: SandboxProcess) -> Mapping[str, str | None]:
    """The environment of a run that signs in at such a service."""
    return {
        "INTUNE_DW_ACCESS_TOKEN": None,
        "INTUNE_DW_URL": tenant.url,
        "AZURE_TENANT_ID": "6a1f5b1e-0000-4000-8000-000000000001",
        "AZURE_CLIENT_ID": "6a1f5b1e-0000-4000-8000-000000000002",
        "AZURE_CLIENT_SECRET": "MARKED-secret",
        "AZURE_AUTHORITY_HOST": silent,
    }


def connected_to(port: int) -> bool:
    """Whether someone is connected to a port of this machine."""
    table = Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]
    return any(line.split()[2].endswith(f":{port:04X}") and line.split()[3] == "01" for line in table)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopped_in_the_middle_it_continues_to_the_same_bytes(number: signal.Signals, home: Path, cli: Cli) -> None:
    sandbox = SandboxProcess("--think-time", 0.02, "--page-size", 50, home=home, devices=30, days=3)
    try:
        there = {"INTUNE_DW_URL": sandbox.url}
        with running(cli.start(*BACKUP, env=there)) as process:
            wait_until(lambda: journal_lines(cli.cwd / "my archive") >= 8)
            begun = time.monotonic()
            process.send_signal(number)
            check_stopped(process, begun, BACKUP, cli.cwd)
        assert not list((cli.cwd / "my archive").rglob("*.partial"))
        cli(*BACKUP, env=there).ok()
        cli("backup", "unbroken", *BACKUP[2:], env=there).ok()
        assert tree(cli.cwd / "my archive") == tree(cli.cwd / "unbroken")
    finally:
        sandbox.stop()


def test_ctrl_break_stops_it_like_ctrl_c(cli: Cli, serve: Serve) -> None:
    """Windows alone has SIGBREAK; here another signal takes its name."""
    place = PLACES["page"]
    sandbox = serve("--fault", place.fault)
    program = f"import signal, sys; signal.SIGBREAK = signal.SIGUSR1; sys.argv[1:] = {place.args!r}\n"
    program += "from intune_dw_cli.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=cli.cwd,
        env=cli.environment({"INTUNE_DW_URL": sandbox.url}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with running(process):
        wait_until(lambda: any(place.seen in t for t in sandbox.requests()) or process.poll() is not None, every=0.05)
        begun = time.monotonic()
        process.send_signal(signal.SIGUSR1)
        check_stopped(process, begun, place.args, cli.cwd)


def test_a_command_that_only_reads_stops_too(cli: Cli, serve: Serve) -> None:
    place = Place(("collections",), PLACES["service document"].fault, "DataWarehouseFEService?")
    with run_at(place, cli, serve) as process:
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        finish(process, 20).ok(130)
        assert time.monotonic() - begun < LIMIT
