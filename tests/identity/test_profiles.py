"""Profiles on disk: what is kept, what is refused, and what a broken file says."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from intune_dw_cli import windows
from intune_dw_cli.errors import OutputError, UsageError
from intune_dw_cli.identity.locations import Locations, write_private
from intune_dw_cli.identity.profiles import Profile, ProfileStore

FULL = Profile(
    feed_url=" https://fef.msua06.manage.microsoft.com/ReportingService/DataWarehouseFEService?api-version=v1.0",
    tenant="contoso.example",
    client_id="3d2a8f10-6c4b-4f7e-8a55-1b2c3d4e5f60",
    cloud="usgov",
    method="certificate",
    credential_path="/etc/intune-dw/app.pem",
    username="ä@contoso.example",
    plaintext_cache=True,
    authority_host="login.example:8443",
    graph_url="https://graph.example",
    resource="https://api.example/",
    feed_hosts=("*.example",),
)


@pytest.fixture
def store(tmp_path) -> ProfileStore:
    return ProfileStore(Locations.from_environ({"INTUNE_DW_HOME": str(tmp_path / "home")}))


def test_profile_comes_back_as_it_was(store):
    store.save("contoso", FULL)
    assert store.load("contoso") == FULL
    assert store.load() == FULL
    assert FULL.customised_cloud().authority_host == "login.example:8443"
    assert FULL.customised_cloud().feed_hosts == ("*.example",)


def test_first_profile_is_the_default_until_another_is_made_so(store):
    store.save("one", Profile(tenant="a.example"))
    store.save("two", Profile(tenant="b.example"))
    assert store.default() == "one"
    store.save("two", Profile(tenant="c.example"), make_default=True)
    assert store.load().tenant == "c.example"
    assert list(store.list()) == ["one", "two"]


def test_delete(store):
    for name in ("one", "two", "three"):
        store.save(name, Profile())
    assert store.delete("one")
    assert not store.delete("one")
    assert store.default() is None
    with pytest.raises(UsageError, match="no profile yet"):
        store.load()
    store.save("two", Profile(), make_default=True)
    assert store.delete("two")
    assert store.default() == "three"


def test_nothing_there(store):
    assert store.list() == {}
    assert store.default() is None
    with pytest.raises(UsageError, match="no profile yet") as caught:
        store.load()
    assert "intune-dw login" in caught.value.hint
    with pytest.raises(UsageError, match="no profile 'x'") as caught:
        store.load("x")
    assert "--profile x" in caught.value.hint


def test_no_home_directory():
    store = ProfileStore(None)
    assert store.list() == {}
    with pytest.raises(OutputError, match="no home directory"):
        store.save("x", Profile())


def test_type_has_no_place_for_a_secret():
    names = {field.name for field in dataclasses.fields(Profile)}
    assert not {name for name in names if any(word in name for word in ("secret", "password", "token"))}


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_file_and_folder_are_the_owners_alone(store):
    store.save("x", Profile())
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert store.path.parent.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in store.path.parent.iterdir()} <= {"profiles.json", "profiles.json.lock"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"version": 1}',
        b'{"version": 2, "profiles": {}}',
        b'{"version": 1, "profiles": []}',
        b"[" * 100_000,
    ],
)
def test_broken_file_is_said_and_stays(store, content):
    store.path.parent.mkdir(parents=True)
    store.path.write_bytes(content)
    for act in (store.list, store.load, store.default, lambda: store.save("x", Profile()), lambda: store.delete("x")):
        with pytest.raises(UsageError, match="cannot be used") as caught:
            act()
        assert str(store.path) in str(caught.value)
        assert caught.value.hint
    assert store.path.read_bytes() == content


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"client_secret": "MARKED-a8f3"}, "never holds a secret"),
        ({"token": "MARKED-a8f3"}, "never holds a secret"),
        ({"tennant": "x"}, "not known"),
        ({"tenant": 5}, "wrong kind"),
        ({"plaintext_cache": "yes"}, "wrong kind"),
        ({"feed_hosts": "x"}, "wrong kind"),
        ({"cloud": "mars"}, "no cloud"),
        ({"cloud": None}, "wrong kind"),
        ({"method": "password"}, "no way of signing in"),
        ([], "not an object"),
    ],
)
def test_profile_that_is_wrong(store, entry, words):
    store.path.parent.mkdir(parents=True)
    store.path.write_text(json.dumps({"version": 1, "default": "x", "profiles": {"x": entry, "good": {}}}))
    with pytest.raises(UsageError, match=words) as caught:
        store.load()
    assert "MARKED" not in f"{caught.value}{caught.value.hint}"
    assert store.load("good") == Profile()


@pytest.mark.parametrize("name", ["", ".x", "a/b", "a b", "x" * 65, "..", "ä"])
def test_names_that_are_not_fit(store, name):
    with pytest.raises(UsageError, match="no name for a profile"):
        store.save(name, Profile())


def test_processes_that_save_at_once_lose_nothing(store, tmp_path):
    program = """
import sys
from intune_dw_cli.identity.locations import Locations
from intune_dw_cli.identity.profiles import Profile, ProfileStore
store = ProfileStore(Locations.from_environ({"INTUNE_DW_HOME": sys.argv[1]}))
for number in range(10):
    store.save(f"{sys.argv[2]}{number}", Profile(tenant="a.example"))
"""
    running = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "home"), letter]) for letter in "abc"]
    assert [process.wait(30) for process in running] == [0, 0, 0]
    assert len(store.list()) == 30


def test_home_moves_all_three(tmp_path):
    found = Locations.from_environ({"INTUNE_DW_HOME": str(tmp_path)})
    assert (found.config, found.cache, found.state) == (tmp_path / "config", tmp_path / "cache", tmp_path / "state")
    assert Locations.from_environ({"INTUNE_DW_HOME": "relative"}).config.is_absolute()


def test_no_home_gives_no_locations(monkeypatch):
    monkeypatch.setattr("platformdirs.user_config_dir", lambda *a, **k: "~/.config/intune-dw")
    assert Locations.from_environ({}) is None
    assert Locations.from_environ({"INTUNE_DW_HOME": "  "}) is None


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_private(path, "old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_private(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in Path(tmp_path).iterdir()] == ["file"]


def test_file_that_windows_holds_for_a_moment_is_replaced_after_it(tmp_path, monkeypatch):
    """As a virus scanner does with what was just read or written; simulated by the error code."""
    path = tmp_path / "file"
    write_private(path, "old")
    held = PermissionError(13, "The process cannot access the file")
    held.winerror = 32
    real, refusals = os.replace, [held, held]

    def replace(source, target):
        if refusals:
            raise refusals.pop()
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(windows.time, "sleep", lambda _: None)
    write_private(path, "new")
    assert path.read_text() == "new"
