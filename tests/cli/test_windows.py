"""Paths that Windows takes elsewhere are refused before anything is asked for. Simulated: this is no Windows."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import COMMANDS

from intune_dw_cli.cli import options
from intune_dw_cli.cli.app import app
from intune_dw_cli.errors import UsageError


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder to be in, on what takes itself for Windows."""
    monkeypatch.setattr(options, "ON_WINDOWS", True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("pull devices --sandbox -o nul.csv", "-o nul.csv names the device NUL"),
        ("pull devices --sandbox -o C:devices.csv", "drive C:"),
        ("pull devices --sandbox -o out:devices.csv", "':'"),
        ("backup C:archive --sandbox", "ARCHIVE C:archive"),
        ("backup aux --sandbox", "device AUX"),
        ("pull devices --sandbox -o x.csv --log-file con", "--log-file con names the device CON"),
    ],
)
def test_paths_that_windows_takes_elsewhere_are_refused(windows: Path, command: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        app(command.split(), prog_name="intune-dw", standalone_mode=False)
    assert words in str(caught.value)
    assert caught.value.hint
    assert list(windows.iterdir()) == []


def test_elsewhere_they_are_names_like_others(
    windows: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(options, "ON_WINDOWS", False)
    app(["pull", "ownerTypes", "--sandbox", "-o", "aux.csv", "-q"], prog_name="intune-dw", standalone_mode=False)
    assert (windows / "aux.csv").exists()
    assert "pull" in COMMANDS
    assert capsys.readouterr().err == ""
