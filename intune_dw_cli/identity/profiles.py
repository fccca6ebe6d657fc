"""Profiles: named connections in a file of the user's config directory. Never a secret: the type has no field for one.

The file is profiles.json:
    {"version": 1, "default": "contoso", "profiles": {"contoso": {"feed_url": "https://...", "tenant": "...", ...}}}
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from intune_dw_cli import jsontext
from intune_dw_cli.errors import OutputError, UsageError
from intune_dw_cli.identity.clouds import CLOUDS, Cloud, cloud_named, customised
from intune_dw_cli.identity.locations import HOME_VARIABLE, PRIVATE, Locations, private_directory, write_private

BROWSER = "browser"
DEVICE_CODE = "device-code"
SECRET_FILE = "secret-file"  # noqa: S105 - the name of a way to sign in
CERTIFICATE = "certificate"
MANAGED_IDENTITY = "managed-identity"
FEDERATED_TOKEN_FILE = "federated-token-file"  # noqa: S105
METHODS = (BROWSER, DEVICE_CODE, SECRET_FILE, CERTIFICATE, MANAGED_IDENTITY, FEDERATED_TOKEN_FILE)
"""The ways of signing in that a profile can name."""

_VERSION = 1
_FILE = "profiles.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_SECRETIVE = re.compile(r"secret|password|passphrase|token|assertion|private", re.IGNORECASE)
_LOCK_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One connection.

    Attributes:
        feed_url: The feed URL as the admin copied it.
        tenant: Tenant id or verified domain.
        client_id: Application id.
        cloud: Name of the cloud.
        method: The way of signing in, one of `METHODS`; None for what the situation offers.
        credential_path: The file of the method: client secret, certificate or federated token.
        username: The account that signed in, to find it again in the token cache.
        plaintext_cache: Whether the user allowed tokens to be kept unencrypted.
        authority_host: In place of the cloud's.
        graph_url: In place of the cloud's.
        resource: In place of the cloud's.
        feed_hosts: In place of the cloud's.
    """

    feed_url: str | None = None
    tenant: str | None = None
    client_id: str | None = None
    cloud: str = "public"
    method: str | None = None
    credential_path: str | None = None
    username: str | None = None
    plaintext_cache: bool = False
    authority_host: str | None = None
    graph_url: str | None = None
    resource: str | None = None
    feed_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.cloud not in CLOUDS:
            raise UsageError(f"there is no cloud {self.cloud!r}", hint=f"Choose one of: {', '.join(CLOUDS)}.")
        if self.method is not None and self.method not in METHODS:
            raise UsageError(f"there is no way of signing in {self.method!r}", hint=f"One of: {', '.join(METHODS)}.")

    def customised_cloud(self) -> Cloud:
        """Return the cloud with the profile's overrides. Raises UsageError as `customised` does."""
        return customised(
            cloud_named(self.cloud),
            authority_host=self.authority_host,
            graph_url=self.graph_url,
            resource=self.resource,
            feed_hosts=self.feed_hosts,
        )


class ProfileStore:
    """The profiles of one user; every call reads the file anew.

    Args:
        locations: Where they are; None where there is no home directory: then there are no profiles.
    """

    def __init__(self, locations: Locations | None) -> None:
        self.path: Path | None = locations.config / _FILE if locations else None

    def list(self) -> dict[str, Profile]:
        """Return all profiles by name, sorted.

        Raises:
            UsageError: the file is not what it should be.
        """
        entries = self._read()["profiles"]
        return {name: self._profile(name, entries[name]) for name in sorted(entries)}

    def load(self, name: str | None = None) -> Profile:
        """Return one profile; without a name the default one.

        Raises:
            UsageError: there is no such profile, or the file is not what it should be.
        """
        document = self._read()
        wanted = name or document.get("default")
        if wanted is None:
            raise UsageError("there is no profile yet", hint="Sign in first: intune-dw login")
        if wanted not in document["profiles"]:
            known = ", ".join(sorted(document["profiles"])) or "none"
            raise UsageError(
                f"there is no profile {wanted!r}",
                hint=f"Profiles are: {known}. A new one is made with: intune-dw login --profile {wanted}",
            )
        return self._profile(wanted, document["profiles"][wanted])

    def default(self) -> str | None:
        """Return the name of the default profile, None if there is none. Raises UsageError as `load` does."""
        default = self._read().get("default")
        return default if isinstance(default, str) else None

    def save(self, name: str, profile: Profile, *, make_default: bool = False) -> None:
        """Write one profile and leave the others. The first one becomes the default.

        Raises:
            UsageError: the name is not fit, or the present file is not what it should be.
            OutputError: it cannot be written.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} is no name for a profile", hint="Use letters, digits, dot, dash, underscore and @."
            )
        with self._changing() as document:
            document["profiles"][name] = _entry(profile)
            if make_default or not document.get("default"):
                document["default"] = name

    def delete(self, name: str) -> bool:
        """Remove one profile; return whether it was there.

        Where it was the default and exactly one is left, that one is the default from now on.

        Raises:
            UsageError, OutputError: as for `save`.
        """
        with self._changing() as document:
            found = document["profiles"].pop(name, None) is not None
            if found and document.get("default") == name:
                left = list(document["profiles"])
                document["default"] = left[0] if len(left) == 1 else None
        return found

    # -- the file ---------------------------------------------------------------------------------------------

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        if self.path is None:
            raise OutputError("there is no home directory to keep a profile in", hint=f"Set {HOME_VARIABLE}.")
        private_directory(self.path.parent)
        try:
            with FileLock(f"{self.path}.lock", timeout=_LOCK_SECONDS, mode=PRIVATE):
                document = self._read()
                yield document
                write_private(self.path, json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
        except Timeout:
            raise OutputError(f"another program is changing {self.path}", hint="Try again.") from None
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror}") from None

    def _read(self) -> dict[str, Any]:
        empty: dict[str, Any] = {"version": _VERSION, "default": None, "profiles": {}}
        if self.path is None:
            return empty
        try:
            text = self.path.read_text("utf-8-sig")
        except (FileNotFoundError, NotADirectoryError):
            return empty
        except UnicodeDecodeError:
            raise self._broken("it is not UTF-8 text") from None
        except OSError as error:
            if isinstance(error, PermissionError) and not os.access(self.path.parent, os.X_OK):
                return empty  # somebody else's home, as under some schedulers: nothing there is ours
            raise self._broken(error.strerror or "it cannot be read") from None
        try:
            document = jsontext.loads(text)
        except ValueError as error:
            where = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "it is not JSON"
            raise self._broken(f"it is not JSON ({where})") from None
        except RecursionError:
            raise self._broken("it is not JSON") from None
        if not isinstance(document, dict) or not isinstance(document.get("profiles"), dict):
            raise self._broken('it has no "profiles"')
        if document.get("version") != _VERSION:
            raise self._broken("another version of intune-dw has written it")
        return document

    def _profile(self, name: str, entry: object) -> Profile:
        if not isinstance(entry, Mapping):
            raise self._broken(f"profile {name!r} is not an object")
        known = {field.name for field in fields(Profile)}
        for key in entry:
            if key in known:
                continue
            if _SECRETIVE.search(key):
                raise self._broken(
                    f"profile {name!r} has {key!r}, and a profile never holds a secret",
                    hint="Delete that line, and give the secret by AZURE_CLIENT_SECRET or --client-secret-file.",
                )
            raise self._broken(f"profile {name!r} has {key!r}, which is not known")
        values = dict(entry)
        for key, value in values.items():
            if key == "plaintext_cache":
                fit = isinstance(value, bool)
            elif key == "feed_hosts":
                fit = isinstance(value, list) and all(isinstance(host, str) for host in value)
                values[key] = tuple(value) if fit else ()
            elif key == "cloud":
                fit = isinstance(value, str)
            else:
                fit = value is None or isinstance(value, str)
            if not fit:
                raise self._broken(f"profile {name!r} has a {key!r} of the wrong kind")
        try:
            return Profile(**values)
        except UsageError as error:
            raise self._broken(f"profile {name!r}: {error.message}", hint=error.hint) from None

    def _broken(self, reason: str, hint: str | None = None) -> UsageError:
        return UsageError(
            f"{self.path} cannot be used: {reason}",
            hint=hint or "Put it right, or delete it and run `intune-dw login` again; it holds no secrets.",
        )


def _entry(profile: Profile) -> dict[str, Any]:
    """Return the profile as JSON values, without what is not set."""
    entry = {field.name: getattr(profile, field.name) for field in fields(Profile)}
    entry["feed_hosts"] = list(profile.feed_hosts)
    return {key: value for key, value in entry.items() if value not in (None, False, [])}
