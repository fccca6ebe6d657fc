from __future__ import annotations

import contextlib
import io
import warnings
import zipfile
import zlib
from typing import get_args

import pytest

from intune_dw_cli.archive.unzip import MAX_BYTES, open_report
from intune_dw_cli.errors import ProtocolError
from intune_dw_cli.sandbox.config import ZipForm
from intune_dw_cli.sandbox.graph_zip import make_zip

CONTENT = "\ufeffa,b\r\n1,ä\r\n".encode()
JOB = "MAMAppProtectionStatus_1ed071a1-1d10-2acc-ebc1-f7023e348065"

REFUSALS = {
    "traversal": "leads out of the folder",
    "absolute": "absolute name",
    "drive": "absolute name",
    "link": "is a link",
    "bomb": "inflates to more than",
    "liar": "damaged",
    "duplicate": "two entries of one name",
    "encrypted": "encrypted",
    "crowd": "more than 100 entries",
    "two": "2 entries where one",
    "none": "0 entries where one",
    "cut": "no zip",
    "no-zip": "no zip",
}


def read(data: bytes, **limits: int) -> bytes:
    return b"".join(open_report(data, **limits).chunks())


def zipped(entries: list[tuple[zipfile.ZipInfo | str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", method) as file:
        warnings.simplefilter("ignore")
        for name, content in entries:
            file.writestr(name, content)
    return out.getvalue()


def test_a_csv_comes_out_byte_for_byte():
    data = make_zip("normal", JOB, CONTENT, 0)
    assert read(data) == CONTENT
    assert open_report(data).suffix == "csv"


def test_a_json_report_is_taken_too():
    assert open_report(make_zip("json", JOB, CONTENT, 0)).suffix == "json"


def test_every_hostile_form_of_the_sandbox_is_tested():
    assert set(REFUSALS) | {"normal", "json"} == set(get_args(ZipForm))


@pytest.mark.parametrize("form", REFUSALS)
def test_hostile_zips_are_refused_with_a_reason(form):
    data = make_zip(form, JOB, CONTENT, 1 << 22)
    with pytest.raises(ProtocolError, match=REFUSALS[form]) as caught:
        read(data, max_bytes=1 << 20)
    assert "1ed071a1" not in str(caught.value)


def test_a_bomb_of_a_gibibyte_is_refused_by_what_it_inflates_to():
    data = make_zip("bomb", JOB, CONTENT, 1 << 30)
    assert len(data) < 2 << 20
    taken: list[int] = []
    with pytest.raises(ProtocolError):
        taken.extend(len(chunk) for chunk in open_report(data).chunks())
    assert max(taken) <= 1 << 20
    assert sum(taken) <= MAX_BYTES


def test_what_fits_the_limit_exactly_passes():
    data = make_zip("bomb", JOB, b"", 1 << 20)
    assert len(read(data, max_bytes=1 << 20)) == 1 << 20


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("..\\..\\evil.csv", "leads out"),
        ("a/../../evil.csv", "leads out"),
        ("\\\\server\\share\\evil.csv", "absolute"),
        ("c:evil.csv", "absolute"),
        ("nul\0.csv", "no file has"),
        ("esc\x1b[31m.csv", "no file has"),
        ("evil.exe", "neither CSV nor JSON"),
        ("folder.csv/", "neither CSV nor JSON"),
        ("noname", "neither CSV nor JSON"),
    ],
)
def test_names_that_are_no_report_are_refused(name, reason):
    placeholder = "x" * len(name)
    data = zipped([(placeholder, CONTENT)]).replace(placeholder.encode(), name.encode())
    with pytest.raises(ProtocolError, match=reason) as caught:
        read(data)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("mode", [0o120777, 0o010644, 0o060644])
def test_links_and_devices_are_refused(mode):
    info = zipfile.ZipInfo("report.csv")
    info.external_attr = mode << 16
    with pytest.raises(ProtocolError, match=r"link|neither file"):
        read(zipped([(info, b"/etc/passwd")]))


def test_names_that_differ_in_case_only_are_one_name():
    with pytest.raises(ProtocolError, match="two entries of one name"):
        read(zipped([("Report.csv", CONTENT), ("report.CSV", CONTENT)]))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(method):
    with pytest.raises(ProtocolError, match="not promised"):
        read(zipped([("report.csv", CONTENT)], method))


def test_a_changed_byte_is_found():
    data = bytearray(zipped([("report.csv", CONTENT * 99)], zipfile.ZIP_STORED))
    data[100] ^= 1
    with pytest.raises(ProtocolError, match="damaged"):
        read(bytes(data))


@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_no_damage_gives_another_error(cut):
    data = make_zip("normal", JOB, CONTENT * 3, 0)
    damaged = bytearray(data)
    damaged[cut % len(data)] ^= zlib.crc32(bytes([cut % 256])) % 255 + 1
    for attempt in (bytes(damaged), data[: cut % len(data)]):
        with contextlib.suppress(ProtocolError):
            read(attempt)
