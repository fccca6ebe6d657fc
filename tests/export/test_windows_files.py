"""Files that another program has open, and paths that are too long: Windows, simulated by its error codes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from intune_dw_cli import windows
from intune_dw_cli.errors import OutputError
from intune_dw_cli.export.files import output_error, write_atomic


def held(code: int) -> PermissionError:
    """The error of Windows for a file that another program has open."""
    error = PermissionError(errno.EACCES, "The process cannot access the file")
    error.winerror = code
    return error


@pytest.fixture
def replacing(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replace `os.replace` by one that meets a file in use as often as told to; returns the waits in between."""
    waits: list[float] = []
    monkeypatch.setattr(windows.time, "sleep", waits.append)
    return waits


@pytest.mark.parametrize("code", [5, 32, 33])
def test_a_file_that_windows_holds_for_a_moment_is_replaced_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replacing: list[float], code: int
) -> None:
    real, refusals = os.replace, [held(code), held(code)]

    def replace(source: Path, target: Path) -> None:
        if refusals:
            raise refusals.pop()
        real(source, target)

    monkeypatch.setattr(windows.os, "replace", replace)
    write_atomic(tmp_path / "devices.csv", b"rows")
    assert (tmp_path / "devices.csv").read_bytes() == b"rows"
    assert len(replacing) == 2


def test_a_file_open_in_excel_is_named_and_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replacing: list[float]
) -> None:
    target = tmp_path / "devices.csv"
    target.write_bytes(b"before")

    def replace(source: Path, target: Path) -> None:
        raise held(32)

    monkeypatch.setattr(windows.os, "replace", replace)
    with pytest.raises(OutputError) as caught:
        write_atomic(target, b"after")
    assert f"{target} cannot be written: it is open in another program" in str(caught.value)
    assert "Excel" in str(caught.value.hint)
    assert 1 <= sum(replacing) <= 3
    assert [p.name for p in tmp_path.iterdir()] == ["devices.csv"]
    assert target.read_bytes() == b"before"


def test_a_refusal_elsewhere_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replacing: list[float]
) -> None:
    def replace(source: Path, target: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(windows.os, "replace", replace)
    with pytest.raises(OutputError, match="Permission denied"):
        write_atomic(tmp_path / "devices.csv", b"rows")
    assert replacing == []


@pytest.mark.parametrize("code", [2, 3, 206])
def test_a_path_too_long_for_windows_is_called_so(tmp_path: Path, code: int) -> None:
    error = FileNotFoundError(errno.ENOENT, "The system cannot find the path specified")
    error.winerror = code
    long = tmp_path / ("x" * 120) / ("y" * 130) / "part.csv"
    said = output_error(error, long)
    assert f"{len(str(long))} characters" in said.message
    assert "LongPathsEnabled" in str(said.hint)
    short = output_error(error, Path("part.csv"))
    assert "characters" not in short.message
