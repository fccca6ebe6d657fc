"""Flags > environment > profile > default: the settings of a run, and where each came from.

Nothing is read from the environment here: the command line hands in what was given (flags, already merged with the
variables that name them), the environment for the credentials, and the profiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from intune_dw_cli.errors import SignInError, UsageError
from intune_dw_cli.identity.clouds import Cloud, cloud_named, customised
from intune_dw_cli.identity.credentials import (
    Browser,
    Certificate,
    ClientSecret,
    Configuration,
    Credential,
    DeviceCode,
    FederatedToken,
    ManagedIdentity,
)
from intune_dw_cli.identity.environment import CERTIFICATE_PASSWORD, proof_in
from intune_dw_cli.identity.profiles import (
    BROWSER,
    CERTIFICATE,
    DEVICE_CODE,
    FEDERATED_TOKEN_FILE,
    MANAGED_IDENTITY,
    SECRET_FILE,
    Profile,
    ProfileStore,
)
from intune_dw_cli.identity.secret import Secret, read_secret
from intune_dw_cli.service.feed import FeedUrl

_SIGN_IN = (
    "Sign in with: intune-dw login. For unattended runs set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET "
    "(or AZURE_CLIENT_CERTIFICATE_PATH), or a ready token in INTUNE_DW_ACCESS_TOKEN."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the user gave by flag or by the variable that names the flag; None where nothing was given."""

    profile: str | None = None
    url: str | None = None
    api_version: str | None = None
    tenant: str | None = None
    client_id: str | None = None
    cloud: str | None = None
    authority_host: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a run goes by.

    Attributes:
        feed_url: The feed URL as given or stored, None where none is known.
        api_version: As given, None for what the feed URL says.
        tenant, client_id: Of the sign-in.
        cloud: With all overrides.
        credential: How to prove who we are, None where nothing offers itself.
        profile_name: The profile that was used.
        profile: Its content; an empty one where there is none.
        origins: Where each value came from, by name.
    """

    feed_url: str | None
    api_version: str | None
    tenant: str | None
    client_id: str | None
    cloud: Cloud
    credential: Credential | None
    profile_name: str | None
    profile: Profile
    origins: Mapping[str, str] = field(default_factory=dict)

    def feed(self) -> FeedUrl:
        """Return the feed. Raises UsageError where there is no feed URL, or it is none of this cloud."""
        if not self.feed_url:
            raise UsageError(
                "no feed URL is known",
                hint="Give --url URL or set INTUNE_DW_URL to the OData feed of the Intune admin center (Reports > Data "
                "warehouse), store it with `intune-dw login`, or try the tool with --sandbox.",
            )
        return FeedUrl.parse(self.feed_url, api_version=self.api_version, allowed_hosts=self.cloud.feed_hosts)

    def configuration(self) -> Configuration:
        """Return what the sign-in needs.

        Raises:
            SignInError: nothing to sign in with.
            UsageError: tenant or client id is missing or malformed.
        """
        if self.credential is None:
            raise SignInError("nobody is signed in", hint=_SIGN_IN)
        return Configuration(
            credential=self.credential,
            tenant=self.tenant,
            client_id=self.client_id,
            cloud=self.cloud,
            username=self.profile.username,
        )


def resolve(given: Given, environ: Mapping[str, str], store: ProfileStore) -> Settings:
    """Merge what was given, the environment's credentials and a profile.

    A profile that is named must exist; without a name the default one is used, if there is one.

    Raises:
        UsageError: the named profile does not exist, the profile file is broken, or a value is not fit.
    """
    name = given.profile or store.default()
    profile = store.load(name) if name else Profile()
    picker = _Picker(environ, name)
    cloud = customised(
        cloud_named(picker.pick("cloud", given.cloud, profile.cloud if name else None) or "public"),
        authority_host=picker.pick("authority_host", given.authority_host, profile.authority_host),
        graph_url=picker.pick("graph_url", None, profile.graph_url),
        resource=picker.pick("resource", None, profile.resource),
        feed_hosts=profile.feed_hosts,
    )
    return Settings(
        feed_url=picker.pick("url", given.url, profile.feed_url),
        api_version=picker.pick("api_version", given.api_version, None),
        tenant=picker.pick("tenant", given.tenant, profile.tenant),
        client_id=picker.pick("client_id", given.client_id, profile.client_id),
        cloud=cloud,
        credential=picker.credential(profile),
        profile_name=name,
        profile=profile,
        origins=picker.origins,
    )


class _Picker:
    """Picks values and notes where they came from."""

    def __init__(self, environ: Mapping[str, str], profile_name: str | None) -> None:
        self._environ = environ
        self._profile_name = profile_name
        self.origins: dict[str, str] = {}

    def pick(self, name: str, given: str | None, stored: str | None) -> str | None:
        if given:
            variable = next((v for v in _variables(name) if self._environ.get(v) == given), None)
            self.origins[name] = f"environment ({variable})" if variable else "command line"
            return given
        if stored:
            self.origins[name] = f"profile {self._profile_name}"
        return stored

    def credential(self, profile: Profile) -> Credential | None:
        proof = proof_in(self._environ)
        if proof is not None:
            self.origins["credential"] = f"environment ({proof[0]})"
            return proof[1]
        if profile.method is not None:
            self.origins["credential"] = f"profile {self._profile_name} ({profile.method})"
            return credential_of(profile.method, profile.credential_path, self._environ)
        return None


def _variables(name: str) -> tuple[str, ...]:
    azure = {"tenant": "AZURE_TENANT_ID", "client_id": "AZURE_CLIENT_ID", "authority_host": "AZURE_AUTHORITY_HOST"}
    own = f"INTUNE_DW_{name.upper()}"
    return (own, azure[name]) if name in azure else (own,)


def credential_of(method: str, path: str | None, environ: Mapping[str, str]) -> Credential:
    """Return the credential of a way of signing in (a name of identity.profiles.METHODS).

    Args:
        path: The file with the client secret, certificate or federated token, where the way has one.
        environ: For the certificate's password and a managed identity's client id.

    Raises:
        UsageError: the file is not named or cannot be read.
    """
    if method == BROWSER:
        return Browser()
    if method == DEVICE_CODE:
        return DeviceCode()
    if method == MANAGED_IDENTITY:
        return ManagedIdentity(environ.get("AZURE_CLIENT_ID", "").strip() or None)
    if not path:
        raise UsageError(f"signing in by {method} needs a file, and none is named", hint="Run: intune-dw login")
    if method == SECRET_FILE:
        return ClientSecret(read_secret(Path(path), "client secret"))
    if method == CERTIFICATE:
        password = environ.get(CERTIFICATE_PASSWORD, "")
        return Certificate(Path(path), Secret(password) if password else None)
    assert method == FEDERATED_TOKEN_FILE
    return FederatedToken(Path(path))
