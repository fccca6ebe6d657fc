"""The token cache of users who signed in: kept by the system's keyring where there is one.

Encryption is that of msal-extensions: DPAPI on Windows, Keychain on macOS, libsecret on Linux. The lock between
processes is ours: that of msal-extensions 1.3 without portalocker is a file that a killed process leaves behind, after
which no other process can write until somebody deletes it. Ours is released by the system.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout
from msal import SerializableTokenCache
from msal_extensions import build_encrypted_persistence  # type: ignore[import-untyped]
from msal_extensions.persistence import (  # type: ignore[import-untyped]
    PersistenceDecryptionError,
    PersistenceNotFound,
)

from intune_dw_cli import jsontext
from intune_dw_cli.errors import IntuneDwError, OutputError, SignInError
from intune_dw_cli.identity.locations import HOME_VARIABLE, PRIVATE, Locations, private_directory, write_private

log = logging.getLogger(__name__)

_LOCK_SECONDS = 10.0
_READS = 3
_READ_PAUSE = 0.1
_NEEDED = {
    "AccessToken": ("secret", "expires_on"),
    "RefreshToken": ("secret", "home_account_id", "environment"),
    "IdToken": ("secret",),
    "Account": ("home_account_id", "environment", "username", "authority_type"),
    "AppMetadata": ("client_id",),
}
_OWNED = ("AccessToken", "RefreshToken", "IdToken", "Account")


class KeyringError(SignInError):
    """This system has no keyring that would keep the tokens, and keeping them unencrypted was not allowed."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user who signed in.

    Attributes:
        username: As a rule the user principal name.
        home_account_id: Identifies the user over all tenants.
    """

    username: str
    home_account_id: str


class Vault(Protocol):
    """Keeps one text."""

    is_encrypted: bool

    def load(self) -> str:
        """Return it. Raises PersistenceNotFound when nothing was saved."""

    def save(self, content: str) -> None:
        """Replace it."""


class PlainVault:
    """A file that only its owner may read; written wholly or not at all."""

    is_encrypted = False

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> str:
        """Return the file's text. Raises PersistenceNotFound when it is not there."""
        try:
            return self._path.read_text("utf-8")
        except FileNotFoundError:
            raise PersistenceNotFound(location=str(self._path)) from None

    def save(self, content: str) -> None:
        """Replace the file. Raises OutputError."""
        write_private(self._path, content)


class TokenCache(SerializableTokenCache):  # type: ignore[misc]
    """MSAL's token cache, kept in a vault and shared by several processes.

    What cannot be read counts as not there: one has to sign in again, and nothing crashes. What cannot be written stays
    in memory for this run, and `problem` says why.

    Args:
        vault: Keeps the tokens.
        lock: Path of the lock file; its directory is there.
    """

    def __init__(self, vault: Vault, lock: Path) -> None:
        super().__init__()
        self._cache: dict[str, dict[str, Any]] = {}
        self._vault = vault
        self._file_lock = FileLock(lock, timeout=_LOCK_SECONDS, mode=PRIVATE)
        self._reported = False
        self._unsaved = False
        self.problem: IntuneDwError | None = None

    @property
    def is_encrypted(self) -> bool:
        """Whether the vault encrypts."""
        return self._vault.is_encrypted

    def search(self, credential_type: str, **kwargs: Any) -> Iterator[Any]:
        """Yield the matching entries of what is kept now (MSAL's TokenCache.search)."""
        with self._lock:
            self._refresh()
            return iter(list(super().search(credential_type, **kwargs)))

    def modify(
        self, credential_type: str, old_entry: dict[str, Any], new_key_value_pairs: dict[str, Any] | None = None
    ) -> None:
        """Change an entry in what is kept now (MSAL's TokenCache.modify)."""
        with self._changing():
            super().modify(credential_type, old_entry, new_key_value_pairs=new_key_value_pairs)

    def accounts(self, environment: str | None = None) -> list[Account]:
        """Return who is signed in, sorted by name; with an environment (host name of an authority) only there."""
        with self._lock:
            self._refresh()
            entries = [
                entry
                for entry in self._cache.get("Account", {}).values()
                if environment in (None, entry["environment"])
            ]
        return sorted(
            {Account(entry["username"], entry["home_account_id"]) for entry in entries},
            key=lambda account: account.username.casefold(),
        )

    def sign_out(self, account: Account | None = None) -> list[Account]:
        """Forget an account and its tokens, all accounts without one; no network is needed.

        Returns:
            Who was forgotten.

        Raises:
            OutputError: the cache could not be written, so the tokens are still in it.
        """
        gone = [known for known in self.accounts() if account is None or known == account]
        with self._changing():
            if account is None:
                self._cache = {}
            else:
                for kind in _OWNED:
                    entries = self._cache.get(kind, {})
                    for key in [k for k, e in entries.items() if e.get("home_account_id") == account.home_account_id]:
                        del entries[key]
        if self.problem is not None:
            raise OutputError(self.problem.message, hint=self.problem.hint)
        return gone

    def forget(self, access_token: str) -> None:
        """Remove one access token, so that it is not given again."""
        for entry in self.search("AccessToken"):
            if entry["secret"] == access_token:
                self.remove_at(entry)

    # -- the vault --------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold both locks, and write what the body made of the newest content."""
        with self._lock, contextlib.ExitStack() as stack:
            self.problem = None
            try:
                stack.enter_context(self._file_lock)
            except Timeout:
                self.problem = OutputError("another program holds the token cache", hint="Try again.")
            except OSError as error:
                self.problem = OutputError(f"the token cache cannot be locked: {error.strerror}")
            self._refresh()
            yield
            if self.problem is None:
                self._save()
            self._unsaved = self.problem is not None
            if self.problem is not None:
                log.warning("%s; the sign-in lasts for this run only", self.problem.message)

    def _save(self) -> None:
        try:
            self._vault.save(self.serialize())
        except OutputError as error:
            self.problem = error
        except Exception as error:
            self.problem = OutputError(f"the keyring of this system refused the tokens ({type(error).__name__})")

    def _refresh(self) -> None:
        """Take over what is in the vault; keep what is in memory where there is nothing, or nothing newer."""
        if self._unsaved:
            return
        reads = 1 if self._reported else _READS
        for attempt in range(1, reads + 1):
            try:
                text = self._vault.load()
                self._cache = _checked(jsontext.loads(text)) if text else {}
            except PersistenceNotFound:
                return
            except Exception as error:
                if attempt == reads:
                    self._report(error)
                    return
                time.sleep(_READ_PAUSE)  # somebody may be writing just now
            else:
                return

    def _report(self, error: Exception) -> None:
        if not self._reported:
            self._reported = True
            log.warning("the token cache cannot be read (%s): nobody is signed in", type(error).__name__)


def open_cache(locations: Locations | None, *, allow_plaintext: bool = False) -> TokenCache:
    """Return the user's token cache: in the keyring, or, where that is allowed and there is none, in a 0600 file.

    Args:
        locations: Where the file or the keyring's marker lies.
        allow_plaintext: Whether tokens may be kept unencrypted.

    Raises:
        KeyringError: there is no keyring, and plaintext was not allowed.
        OutputError: there is no home directory, or the cache directory cannot be made.
    """
    if locations is None:
        raise OutputError("there is no home directory to keep the sign-in in", hint=f"Set {HOME_VARIABLE}.")
    private_directory(locations.cache)
    vault = _keyring(locations.cache / "tokens.bin")
    if vault is not None:
        return TokenCache(vault, locations.cache / "tokens.bin.lock")
    if not allow_plaintext:
        raise KeyringError(
            "this system has no keyring that could keep the sign-in encrypted",
            hint="To keep it in a file that only you can read (0600): intune-dw login --allow-plaintext-cache. Or sign "
            "in as an app, with a certificate or a secret: that keeps nothing. On Linux desktops: install "
            "gnome-keyring, gir1.2-secret-1 and PyGObject.",
        )
    return TokenCache(PlainVault(locations.cache / "tokens.json"), locations.cache / "tokens.json.lock")


def _keyring(marker: Path) -> Vault | None:
    """Return the keyring of this system, None where there is none or it does not answer."""
    try:
        vault: Vault = build_encrypted_persistence(str(marker))
        with contextlib.suppress(PersistenceNotFound, PersistenceDecryptionError):  # broken content gets replaced
            vault.load()
    except Exception as error:
        log.debug("no keyring: %s", type(error).__name__)
        return None
    return vault


def _checked(content: object) -> dict[str, dict[str, Any]]:
    """Return the entries that are as MSAL writes them; a cache of another program or half a cache loses the rest.

    Raises:
        ValueError: it is no cache at all.
    """
    if not isinstance(content, dict):
        raise ValueError("not an object")
    checked: dict[str, dict[str, Any]] = {}
    for kind, entries in content.items():
        if isinstance(entries, dict):
            needed = _NEEDED.get(kind, ())
            checked[kind] = {key: entry for key, entry in entries.items() if _is_entry(entry, needed)}
    return checked


def _is_entry(entry: object, needed: tuple[str, ...]) -> bool:
    if not isinstance(entry, dict) or not all(isinstance(entry.get(name), str) for name in needed):
        return False
    numbers = [entry[name] for name in ("expires_on", "refresh_on", "last_modification_time") if name in entry]
    return all(isinstance(number, str) and number.isdecimal() for number in numbers)
