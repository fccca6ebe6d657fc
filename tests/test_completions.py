"""The committed completion files are what the app generates, and they complete without a service.

Renew them with: python tests/test_completions.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "completions"
FILES = {
    "bash": "intune-dw.bash",
    "zsh": "_intune-dw",
    "fish": "intune-dw.fish",
    "powershell": "intune-dw.ps1",
}


def generated(shell: str) -> str:
    """Return the completion script that the app itself prints for a shell."""
    environ = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-m", "intune_dw_cli", "--show-completion", shell]
    return subprocess.run(command, env=environ, capture_output=True, check=True, encoding="utf-8").stdout


@pytest.mark.parametrize("shell", FILES)
def test_committed_completion_is_what_the_app_generates(shell: str) -> None:
    assert (FOLDER / FILES[shell]).read_text(encoding="utf-8") == generated(shell)


def completed(words: str) -> list[str]:
    """Return what bash would offer after these words."""
    parts = words.split(" ")
    environ = {
        **os.environ,
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(parts) - 1),
        "_INTUNE_DW_COMPLETE": "complete_bash",
        "INTUNE_DW_URL": "https://fef.nowhere.manage.microsoft.com/ReportingService/DataWarehouseFEService",
    }
    run = subprocess.run(
        [sys.executable, "-m", "intune_dw_cli"], env=environ, capture_output=True, check=False, encoding="utf-8"
    )
    assert run.stderr == ""
    return run.stdout.split()


def test_commands_complete() -> None:
    assert completed("intune-dw ver") == ["verify"]


def test_collection_names_complete_from_the_reference_without_a_service() -> None:
    assert completed("intune-dw pull deviceP") == ["devicePropertyHistories"]


def test_fixed_choices_complete() -> None:
    assert completed("intune-dw pull devices --format par") == ["parquet"]


if __name__ == "__main__":
    for each, file in FILES.items():
        (FOLDER / file).write_text(generated(each), encoding="utf-8", newline="\n")
