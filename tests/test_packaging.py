"""What wheel and sdist hold, and that the wheel alone runs."""

from __future__ import annotations

import datetime as dt
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from intune_dw_cli import __version__

ROOT = Path(__file__).resolve().parent.parent
COMPLETIONS = {
    "share/bash-completion/completions/intune-dw": "intune-dw.bash",
    "share/zsh/site-functions/_intune-dw": "_intune-dw",
    "share/fish/vendor_completions.d/intune-dw.fish": "intune-dw.fish",
    "share/intune-dw/intune-dw.ps1": "intune-dw.ps1",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel and an sdist, built as `pip` and `python -m build` do."""
    folder = tmp_path_factory.mktemp("dist")
    for kind in ("wheel", "sdist"):
        code = f"import hatchling.build as build; build.build_{kind}({str(folder)!r})"
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    return folder


def only(folder: Path, glob: str) -> Path:
    (found,) = folder.glob(glob)
    return found


def test_the_wheel_holds_the_package_its_data_and_the_completions(built: Path) -> None:
    with zipfile.ZipFile(only(built, "*.whl")) as wheel:
        names = set(wheel.namelist())
        data = f"intune_dw_cli-{__version__}.data/data/"
        for place, file in COMPLETIONS.items():
            assert wheel.read(data + place) == (ROOT / "completions" / file).read_bytes()
    info = f"intune_dw_cli-{__version__}.dist-info"
    wanted = {"intune_dw_cli/py.typed", "intune_dw_cli/reference/collections.json", f"{info}/licenses/LICENSE"}
    assert wanted <= names
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "intune_dw_cli").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules
    assert {name.split("/")[0] for name in names} == {"intune_dw_cli", info, data.split("/", maxsplit=1)[0]}


def test_the_sdist_holds_what_the_tests_need(built: Path) -> None:
    with tarfile.open(only(built, "*.tar.gz")) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    wanted = {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "tests/test_packaging.py"}
    wanted |= {f"completions/{file}" for file in COMPLETIONS.values()}
    assert wanted <= names
    assert [name for name in names if "__pycache__" in name or name.startswith(".venv")] == []


def test_the_wheel_alone_runs_as_a_module_and_finds_its_data(built: Path, tmp_path: Path) -> None:
    place = tmp_path / "site"
    with zipfile.ZipFile(only(built, "*.whl")) as wheel:
        wheel.extractall(place)
    environ = {**os.environ, "PYTHONPATH": str(place), "INTUNE_DW_HOME": str(tmp_path)}
    module = [sys.executable, "-m", "intune_dw_cli"]
    # Outside of the clone, so that nothing of it is found by chance.
    said = subprocess.run([*module, "--version"], env=environ, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[0] == f"intune-dw {__version__}"
    where = "import intune_dw_cli, sys; sys.stdout.write(intune_dw_cli.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where], env=environ, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert Path(found.stdout).is_relative_to(place)
    listed = subprocess.run([*module, "collections", "--sandbox", "-f", "csv"], env=environ, cwd=tmp_path,
                            capture_output=True, text=True, check=True)  # fmt: skip
    assert "devicePropertyHistories" in listed.stdout


def test_the_changelog_has_this_version_on_top_and_its_lines_are_bullets() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d{2}-\d{2}))?$", text, re.MULTILINE)
    assert releases[0] == ("Unreleased", "")
    version, day = releases[1]
    assert version == __version__
    assert dt.date.fromisoformat(day)
    kinds = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    body = text[text.index("### ") :]
    assert [line for line in body.splitlines() if line and not line.startswith(("- ", "  ", "#", "The first"))] == []
