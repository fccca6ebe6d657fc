"""The token cache: broken content, several processes, no keyring, and disks that refuse."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from intune_dw_cli.errors import OutputError
from intune_dw_cli.identity import cache as cache_module
from intune_dw_cli.identity.cache import Account, KeyringError, PlainVault, TokenCache, open_cache
from intune_dw_cli.identity.locations import Locations

ACCOUNT = {
    "home_account_id": "u.t",
    "environment": "login.microsoftonline.com",
    "username": "admin@contoso.example",
    "authority_type": "MSSTS",
    "realm": "t",
}


def refresh_token(number: int) -> dict[str, str]:
    return {
        "credential_type": "RefreshToken",
        "secret": f"rt-{number}",
        "home_account_id": f"u{number}.t",
        "environment": "login.microsoftonline.com",
        "client_id": "c",
    }


def remember(cache: TokenCache, number: int = 0) -> None:
    entry = refresh_token(number)
    cache.modify("RefreshToken", entry, entry)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe\x00garbage",
        b"[]",
        b"null",
        b'"text"',
        b"7",
        b'{"AccessToken": 3, "Account": [], "RefreshToken": null}',
        b'{"AccessToken": {"k": {"secret": 1, "expires_on": "x"}}, "Account": {"a": {"username": null}}}',
        b"[" * 100_000,
    ],
)
def test_broken_content_is_signed_out_and_is_replaced(new_cache, tmp_path, content):
    (tmp_path / "tokens.json").write_bytes(content)
    cache = new_cache()
    assert cache.accounts() == []
    assert list(cache.search("AccessToken", query={})) == []
    cache.modify("Account", ACCOUNT, ACCOUNT)
    assert new_cache().accounts() == [Account("admin@contoso.example", "u.t")]


def test_broken_content_is_said_once(new_cache, tmp_path, caplog):
    (tmp_path / "tokens.json").write_text("{")
    cache = new_cache()
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            cache.accounts()
    assert [record.message for record in caplog.records] == [
        "the token cache cannot be read (JSONDecodeError): nobody is signed in"
    ]


def test_half_written_file_of_another_program_keeps_what_is_whole(new_cache, tmp_path):
    good = refresh_token(1)
    content = {"RefreshToken": {"a": good, "b": {"secret": 5}}, "Account": {"x": ACCOUNT, "y": {}}, "New": {"k": {}}}
    (tmp_path / "tokens.json").write_text(json.dumps(content))
    cache = new_cache()
    assert list(cache.search("RefreshToken", query={})) == [good]
    assert len(cache.accounts()) == 1
    remember(cache, 2)
    assert "New" in json.loads((tmp_path / "tokens.json").read_text())


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_file_is_the_owners_alone(new_cache, tmp_path):
    remember(new_cache())
    assert (tmp_path / "tokens.json").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".partial")] == []


def test_change_of_another_instance_is_seen_at_once(new_cache):
    one, two = new_cache(), new_cache()
    for number in range(20):
        remember(one if number % 2 else two, number)
    assert len(list(one.search("RefreshToken", query={}))) == 20
    assert len(list(two.search("RefreshToken", query={}))) == 20


def test_processes_that_write_at_once_lose_nothing(tmp_path):
    program = """
import sys
from pathlib import Path
from intune_dw_cli.identity.cache import PlainVault, TokenCache
folder, first = Path(sys.argv[1]), int(sys.argv[2])
cache = TokenCache(PlainVault(folder / "tokens.json"), folder / "tokens.lock")
for number in range(first, first + 25):
    entry = {"credential_type": "RefreshToken", "secret": "s", "home_account_id": f"u{number}",
             "environment": "e", "client_id": "c"}
    cache.modify("RefreshToken", entry, entry)
    assert any(e["home_account_id"] == f"u{number}" for e in cache.search("RefreshToken", query={}))
assert cache.problem is None
"""
    running = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", program, str(tmp_path), str(first)])
        for first in (0, 100, 200)
    ]
    assert [process.wait(30) for process in running] == [0, 0, 0]
    content = json.loads((tmp_path / "tokens.json").read_text())
    assert len(content["RefreshToken"]) == 75


def test_lock_of_a_killed_process_is_no_obstacle(new_cache, tmp_path):
    (tmp_path / "tokens.lock").write_text("4711 intune-dw")
    cache = new_cache()
    remember(cache)
    assert cache.problem is None


def test_held_lock_keeps_the_sign_in_for_this_run(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "_LOCK_SECONDS", 0.1)
    cache = TokenCache(PlainVault(tmp_path / "tokens.json"), tmp_path / "tokens.lock")
    with FileLock(tmp_path / "tokens.lock"):
        remember(cache)
    assert "another program holds" in cache.problem.message
    assert len(list(cache.search("RefreshToken", query={}))) == 1
    remember(cache, 2)
    assert cache.problem is None
    assert len(json.loads((tmp_path / "tokens.json").read_text())["RefreshToken"]) == 2


def test_keyring_that_refuses_keeps_the_sign_in_for_this_run(tmp_path, caplog):
    class Refusing:
        is_encrypted = True

        def load(self):
            raise RuntimeError("MARKED-a8f3 locked")

        def save(self, content):
            raise RuntimeError(f"MARKED-a8f3 {content}")

    cache = TokenCache(Refusing(), tmp_path / "lock")
    remember(cache)
    assert "keyring" in cache.problem.message
    assert len(list(cache.search("RefreshToken", query={}))) == 1
    with pytest.raises(OutputError, match="keyring"):
        cache.sign_out()
    assert "MARKED" not in caplog.text + str(cache.problem)


def test_no_keyring_is_said_with_the_choice(tmp_path, monkeypatch):
    def none(location):
        raise ImportError("Unable to import module 'gi'")

    monkeypatch.setattr(cache_module, "build_encrypted_persistence", none)
    locations = Locations(tmp_path / "config", tmp_path / "cache", tmp_path / "state")
    with pytest.raises(KeyringError, match="no keyring") as caught:
        open_cache(locations)
    assert "--allow-plaintext-cache" in caught.value.hint
    assert caught.value.exit_code == 4
    cache = open_cache(locations, allow_plaintext=True)
    assert not cache.is_encrypted
    remember(cache)
    assert (tmp_path / "cache" / "tokens.json").exists()


def test_keyring_goes_before_plaintext(tmp_path, monkeypatch):
    class Keyring(PlainVault):
        is_encrypted = True

    monkeypatch.setattr(cache_module, "build_encrypted_persistence", lambda path: Keyring(Path(path)))
    locations = Locations(tmp_path / "config", tmp_path / "cache", tmp_path / "state")
    assert open_cache(locations, allow_plaintext=True).is_encrypted


def test_no_home_directory():
    with pytest.raises(OutputError, match="no home directory"):
        open_cache(None)


def test_sign_out_of_one_leaves_the_other(new_cache):
    cache = new_cache()
    other = {**ACCOUNT, "home_account_id": "u2.t", "username": "other@contoso.example"}
    for account in (ACCOUNT, other):
        cache.modify("Account", account, account)
    for number in (1, 2):
        remember(cache, number)
    assert new_cache().sign_out(Account("other@contoso.example", "u2.t")) == [Account("other@contoso.example", "u2.t")]
    assert cache.accounts() == [Account("admin@contoso.example", "u.t")]
    assert [e["secret"] for e in cache.search("RefreshToken", query={})] == ["rt-1"]
    assert len(cache.sign_out()) == 1
    assert list(new_cache().search("RefreshToken", query={})) == []


def test_one_access_token_can_be_forgotten(new_cache):
    cache = new_cache()
    for name in ("a", "b"):
        entry = {
            "credential_type": "AccessToken",
            "secret": name,
            "expires_on": "99999999999",
            "target": name,
            "client_id": "c",
        }
        cache.modify("AccessToken", entry, entry)
    cache.forget("a")
    assert [e["secret"] for e in new_cache().search("AccessToken", query={})] == ["b"]
