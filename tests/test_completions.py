"""The committed completion files are what the app generates, and real shells complete with them, without a service.

Renew them with: python tests/test_completions.py
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

from intune_dw_cli.identity.locations import Locations
from intune_dw_cli.identity.profiles import Profile, ProfileStore

FOLDER = Path(__file__).resolve().parent.parent / "completions"
FILES = {
    "bash": "intune-dw.bash",
    "zsh": "_intune-dw",
    "fish": "intune-dw.fish",
    "powershell": "intune-dw.ps1",
}


AUTOLOADED = """
# Found in $fpath, this file is the function that zsh calls first: then it has to complete as well.
[ "$funcstack[1]" = _intune-dw ] && _intune_dw_completion "$@"
"""


def generated(shell: str) -> str:
    """Return the completion script that the app itself prints for a shell."""
    environ = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-m", "intune_dw_cli", "--show-completion", shell]
    script = subprocess.run(command, env=environ, capture_output=True, check=True, encoding="utf-8").stdout
    return script + AUTOLOADED if shell == "zsh" else script


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


def test_profiles_and_chart_items_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTUNE_DW_HOME", str(tmp_path))
    assert completed("intune-dw pull --profile ") == []
    store = ProfileStore(Locations.from_environ(os.environ))
    for name in ("contoso", "contoso-test", "fabrikam"):
        store.save(name, Profile())
    assert completed("intune-dw pull --profile cont") == ["contoso", "contoso-test"]
    assert completed("intune-dw logout --profile f") == ["fabrikam"]
    assert completed("intune-dw backup a --as terms") == ["terms-acceptance"]
    assert completed("intune-dw backup a --only ownerT") == ["ownerTypes"]


def typed(command: list[str], setup: str, line: str, wanted: str, tmp_path: Path) -> str:
    """Start a real shell on a terminal of its own, type the start of a line and Tab, and return what it shows.

    Args:
        command: The shell.
        setup: What it must read first.
        line: What is typed.
        wanted: What is waited for; at the end of patience what is there is returned.
    """
    import pty

    scripts = sysconfig.get_path("scripts")
    environ = {
        "PATH": scripts + os.pathsep + os.environ["PATH"],
        "HOME": str(tmp_path),
        "TERM": "xterm",
        "LANG": "C.UTF-8",
    }
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe(command[0], command, environ)
    seen = b""

    def read_until(words: bytes, seconds: float) -> None:
        nonlocal seen
        end = time.monotonic() + seconds
        while words not in seen and time.monotonic() < end:
            if select.select([terminal], [], [], 0.2)[0]:
                try:
                    seen += os.read(terminal, 65536)
                except OSError:
                    return

    try:
        os.write(terminal, f"{setup}; echo REA''DY\n".encode())
        read_until(b"READY\r", 30)
        seen = b""
        os.write(terminal, f"{line}\t".encode())
        read_until(wanted.encode(), 30)
        return seen.decode(errors="replace")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)


SHELLS = {
    "bash": (["bash", "--norc", "-i"], f". {FOLDER}/intune-dw.bash"),
    "zsh": (["zsh", "-f", "-i"], f"fpath=({FOLDER} $fpath); autoload -Uz compinit; compinit -u"),
    "fish": (["fish", "--no-config", "-i"], f"source {FOLDER}/intune-dw.fish"),
}


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("intune-dw pull devicePr", "devicePropertyHistories"),
        ("intune-dw veri", "verify"),
        ("intune-dw pull devices --format par", "parquet"),
        ("intune-dw pull devices --compr", "--compression"),
    ],
)
@pytest.mark.parametrize("shell", SHELLS)
def test_tab_completes_in_a_real_shell(shell: str, line: str, wanted: str, tmp_path: Path) -> None:
    command, setup = SHELLS[shell]
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed here")
    assert wanted in typed(command, setup, line, wanted, tmp_path)


if __name__ == "__main__":
    for each, file in FILES.items():
        (FOLDER / file).write_text(generated(each), encoding="utf-8", newline="\n")
