"""A body is whole or an error, and never larger than allowed."""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Iterator, Mapping
from io import BytesIO

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from isal import isal_zlib
from urllib3 import HTTPResponse

from intune_dw_cli.errors import ProtocolError, TransportError
from intune_dw_cli.service import body as body_module
from intune_dw_cli.service.body import read_body
from intune_dw_cli.service.large import LargeAnswers

MIB = 1024 * 1024


@pytest.fixture(scope="module", params=[isal_zlib, zlib], ids=["isal", "zlib"], autouse=True)
def _inflater(request: pytest.FixtureRequest) -> Iterator[None]:
    """ISA-L where it is installed, else the standard library: both must do."""
    usual, body_module.inflation = body_module.inflation, request.param
    yield
    body_module.inflation = usual


def response(body: bytes, headers: Mapping[str, str]) -> requests.Response:
    answer = requests.Response()
    answer.headers.update(headers)
    answer.raw = HTTPResponse(body=BytesIO(body), headers=dict(headers), preload_content=False, request_method="GET")
    return answer


def read(body: bytes, encoding: str = "", max_bytes: int = MIB, **headers: str) -> tuple[bytes, int]:
    fields = {"Content-Encoding": encoding, **headers} if encoding else headers
    large = LargeAnswers(threading.Event())
    return read_body(response(body, fields), max_bytes=max_bytes, max_seconds=60, max_silence=60, large=large)


@pytest.mark.parametrize("encoding", ["", "identity"])
def test_plain_body_comes_as_it_is(encoding: str) -> None:
    assert read(b"abc", encoding) == (b"abc", 3)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", " GZIP "])
def test_gzip_is_inflated_and_counted_as_received(encoding: str) -> None:
    packed = gzip.compress(b"a" * 10_000)
    assert read(packed, encoding) == (b"a" * 10_000, len(packed))


def test_empty_body_is_no_broken_gzip() -> None:
    assert read(b"", "gzip") == (b"", 0)


def test_several_gzip_members_are_one_body() -> None:
    assert read(gzip.compress(b"ab") + gzip.compress(b"cd"), "gzip")[0] == b"abcd"


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_gzip_cut_anywhere_is_an_error(data: st.DataObject) -> None:
    packed = gzip.compress(b'{"value":[{"a":1}]}' * 20)
    cut = data.draw(st.integers(1, len(packed) - 1))
    with pytest.raises(TransportError, match=r"cut short|damaged"):
        read(packed[:cut], "gzip")


def test_damaged_gzip_is_an_error() -> None:
    packed = bytearray(gzip.compress(bytes(range(256)) * 20))
    packed[-6] ^= 0xFF  # its checksum
    with pytest.raises(TransportError, match="damaged"):
        read(bytes(packed), "gzip")


def test_fewer_bytes_than_announced_are_an_error() -> None:
    with pytest.raises(TransportError, match="fewer bytes came than announced"):
        read(b"abc", **{"Content-Length": "5"})


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd"])
def test_encoding_that_was_not_asked_for_is_refused(encoding: str) -> None:
    with pytest.raises(ProtocolError, match="not asked for"):
        read(b"abc", encoding)


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_body_of_exactly_the_bound_passes_and_one_byte_more_does_not(encoding: str) -> None:
    pack = gzip.compress if encoding else bytes
    assert len(read(pack(b"a" * MIB), encoding)[0]) == MIB
    with pytest.raises(ProtocolError, match="larger than 1 MiB"):
        read(pack(b"a" * (MIB + 1)), encoding)


def test_bomb_is_not_inflated_further_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    inflated = 0
    make = body_module.inflation.decompressobj

    class Counting:
        def __init__(self, window: int) -> None:
            self._real = make(window)

        def __getattr__(self, name: str) -> object:
            return getattr(self._real, name)

        def decompress(self, data: bytes, most: int) -> bytes:
            nonlocal inflated
            piece = self._real.decompress(data, most)
            inflated += len(piece)
            return piece

    monkeypatch.setattr("intune_dw_cli.service.body.inflation.decompressobj", Counting)
    with pytest.raises(ProtocolError, match="larger than"):
        read(gzip.compress(b"\x00" * (64 * MIB)), "gzip", max_bytes=MIB)
    assert inflated <= MIB + 1


@pytest.mark.parametrize("piece", [1, 7, 64, 1000, 4096])
@pytest.mark.parametrize("body", [b"", b"a", b"a" * 1000, b"a" * 4096 * 3, bytes(range(256)) * 40], ids=len)
def test_inflating_piece_by_piece_loses_nothing(monkeypatch: pytest.MonkeyPatch, body: bytes, piece: int) -> None:
    monkeypatch.setattr("intune_dw_cli.service.body._PIECE", piece)
    assert read(gzip.compress(body) + gzip.compress(body[:5]), "gzip")[0] == body + body[:5]
    for implementation in (zlib, body_module.inflation):
        monkeypatch.setattr(body_module, "inflation", implementation)
        assert read(gzip.compress(body), "gzip")[0] == body
