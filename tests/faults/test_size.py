"""Answers of any size and depth, against the installed command: it keeps to a bound and says what was too much."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pytest
from harness import INTUNE_DW, Cli
from meddler import Heard, Meddle, Meddler, Piece, framed
from rig import SMALL, as_rows, read_rows

from intune_dw_cli.sandbox import Sandbox, ServerConfig
from intune_dw_cli.sandbox.messages import Response
from intune_dw_cli.service.retry import RequestPolicy

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the peak of a child's memory is told by POSIX systems")

MIB = 1 << 20
BOUND = RequestPolicy().max_bytes // MIB
REST = 256
"""MiB that the command may take besides one answer at the bound: Python, pyarrow, and room for the buffer to grow."""

SERVICE, METADATA = "DataWarehouseFEService", "$metadata"
MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


@dataclass(frozen=True)
class Measured:
    """How a command ended, and the most memory that it held, in MiB."""

    code: int
    err: str
    peak: int


def measured(cli: Cli, *args: str) -> Measured:
    """Run the command below a small process: what a process held before it became the command would count too."""
    run = [sys.executable, "-c", MEASURE, INTUNE_DW, *args]
    done = subprocess.run(
        run, cwd=cli.cwd, env=cli.environment(), capture_output=True, text=True, timeout=120, check=False
    )
    err, _, peak = done.stderr.rstrip().rpartition("\n")
    assert "Traceback" not in err
    return Measured(done.returncode, err, int(peak) // (MIB if sys.platform == "darwin" else 1024))


def bomb(head: bytes, filler: bytes, tail: bytes, mebibytes: int) -> bytes:
    """Pack a text with so many MiB of one character in its middle, without ever holding it."""
    packer, block = zlib.compressobj(9, zlib.DEFLATED, -15), filler * MIB

    def packed(data: bytes, how: int = zlib.Z_FULL_FLUSH) -> bytes:
        return packer.compress(data) + packer.flush(how)

    start, _, middle, end = packed(head), packed(block), packed(block), packed(tail, zlib.Z_FINISH)
    checksum = zlib.crc32(head)
    for _ in range(mebibytes):
        checksum = zlib.crc32(block, checksum)
    size = len(head) + mebibytes * MIB + len(tail)
    trailer = zlib.crc32(tail, checksum).to_bytes(4, "little") + (size % (1 << 32)).to_bytes(4, "little")
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + start + middle * mebibytes + end + trailer


@pytest.fixture(scope="module")
def page_bomb() -> bytes:
    """A page without rows, 1 MiB on the wire and 1 GiB unpacked."""
    packed = bomb(b"{", b" ", b'"value":[]}', 1024)
    assert len(packed) < 1.1 * MIB
    return packed


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(SMALL, ServerConfig(page_size=20))


def packed(body: bytes) -> Iterable[Piece]:
    return [framed(Response(200, body), headers={"Content-Encoding": "gzip"})]


def for_users(make: Callable[[Response], Response | Iterable[Piece]]) -> Meddle:
    return lambda heard, true: make(true) if heard.collection == "users" else None


def pull(cli: Cli, server: Meddler, *names: str, workers: int = 2) -> Measured:
    return measured(cli, "pull", *names, "-o", "out/", "--url", server.feed_url, "--workers", str(workers))


def endless(_true: Response) -> Iterable[Piece]:
    """A page without compression that would be twice the bound."""
    yield framed(Response(200, b"{"), length=2 * BOUND * MIB)
    for _ in range(2 * BOUND):
        yield b" " * MIB


def test_a_bomb_is_not_unpacked_beyond_the_bound(cli: Cli, sandbox: Sandbox, page_bomb: bytes) -> None:
    with Meddler(sandbox, for_users(lambda _: packed(page_bomb))) as server:
        ended = pull(cli, server, "users", "policyTypes")
        assert sum(heard.collection == "users" for heard in server.heard) == 1
    assert ended.code == 3
    assert f"users: one answer is larger than {BOUND} MiB and was not read further" in ended.err
    assert "hint:" in ended.err
    assert [path.name for path in (cli.cwd / "out").iterdir()] == ["policyTypes.csv"]
    assert ended.peak < BOUND + REST


MANY = ("users", "policies", "policyTypes", "ownerTypes", "deviceTypes", "complianceStates", "mamPlatforms")


@pytest.mark.parametrize("is_packed", [True, False], ids=["bomb", "endless"])
def test_too_large_answers_to_four_workers_at_once_take_the_memory_of_one(
    cli: Cli, sandbox: Sandbox, page_bomb: bytes, is_packed: bool
) -> None:
    def meddle(heard: Heard, true: Response) -> Iterable[Piece] | None:
        if heard.collection not in MANY:
            return None
        return packed(page_bomb) if is_packed else endless(true)

    with Meddler(sandbox, meddle) as server:
        ended = pull(cli, server, *MANY, workers=4)
    assert ended.code == 1
    assert ended.err.count(f"larger than {BOUND} MiB") >= len(MANY)
    assert ended.peak < BOUND + REST


def test_a_page_over_the_bound_is_not_read_to_its_end(cli: Cli, sandbox: Sandbox) -> None:
    with Meddler(sandbox, for_users(endless)) as server:
        ended = pull(cli, server, "users")
    assert ended.code == 1
    assert f"one answer is larger than {BOUND} MiB" in ended.err
    assert ended.peak < BOUND + REST


@pytest.mark.parametrize("document", [SERVICE, METADATA])
def test_documents_have_the_bound_too(cli: Cli, sandbox: Sandbox, page_bomb: bytes, document: str) -> None:
    with Meddler(sandbox, lambda heard, _: packed(page_bomb) if heard.collection == document else None) as server:
        ended = pull(cli, server, "users")
    assert f"one answer is larger than {BOUND} MiB" in ended.err
    assert ended.code == (1 if document == SERVICE else 0)
    assert ended.peak < BOUND + REST
    if document == METADATA:  # the documented types serve
        assert read_rows(cli.cwd / "out" / "users.csv") == as_rows(sandbox.tenant.rows("users"))


def test_a_field_of_64_mebibytes_is_kept_to_the_letter(cli: Cli, sandbox: Sandbox) -> None:
    long = "é" + "x" * (64 * MIB - 2)

    def make(true: Response) -> Response:
        document = json.loads(true.body)
        document["value"][1]["userEmail"] = long
        return Response(200, json.dumps(document, ensure_ascii=False).encode())

    with Meddler(sandbox, for_users(make)) as server:
        ended = pull(cli, server, "users")
    assert ended.code == 0
    rows, wanted = read_rows(cli.cwd / "out" / "users.csv"), as_rows(sandbox.tenant.rows("users"))
    assert rows[1]["userEmail"] == long
    wanted[1]["userEmail"] = long
    assert rows == wanted
    assert ended.peak < 6 * 64 + REST  # the page, its lines, its columns, the row as CSV


NESTED = b"[" * 10_000 + b"]" * 10_000
PLACES: dict[str, Callable[[bytes], bytes]] = {
    "undeclared": lambda body: body.replace(b'"userEmail":', b'"deep":' + NESTED + b',"userEmail":', 1),
    "declared": lambda body: body.replace(b'"userEmail":', b'"userEmail":' + NESTED + b',"deep":', 1),
    "envelope": lambda body: body.replace(b'"value":', b'"deep":' + NESTED + b',"value":', 1),
    "rows": lambda body: body.replace(b'"value":[', b'"value":[' + NESTED + b",", 1),
}


@pytest.mark.parametrize("place", PLACES)
def test_what_is_nested_10_000_deep_is_refused_at_once(cli: Cli, sandbox: Sandbox, place: str) -> None:
    with Meddler(sandbox, for_users(lambda true: Response(200, PLACES[place](true.body)))) as server:
        ended = pull(cli, server, "users", "policyTypes")
        assert sum(heard.collection == "users" for heard in server.heard) == 1
    assert ended.code == 3
    assert "users: the page is nested too deeply" in ended.err
    assert [path.name for path in (cli.cwd / "out").iterdir()] == ["policyTypes.csv"]
    assert ended.peak < REST


def test_metadata_of_five_mebibytes_is_read(cli: Cli, sandbox: Sandbox) -> None:
    declared = b'<Property Name="a" Type="Edm.String"/>' * 10
    more = b"".join(b'<EntityType Name="T%d">%s</EntityType>' % (number, declared) for number in range(13_000))
    assert len(more) > 5 * MIB

    def meddle(heard: Heard, true: Response) -> Response | None:
        body = true.body.replace(b"<EntityContainer", more + b"<EntityContainer", 1)
        return Response(200, body, true.content_type) if heard.collection == METADATA else None

    with Meddler(sandbox, meddle) as server:
        ended = pull(cli, server, "users")
    assert ended.code == 0
    assert "no usable $metadata" not in ended.err
    assert read_rows(cli.cwd / "out" / "users.csv") == as_rows(sandbox.tenant.rows("users"))
    assert ended.peak < REST
