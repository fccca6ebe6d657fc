"""Flags > environment > profile > default: the settings of a run, and where each came from.

Nothing is read from the environment here: the command line hands in what was given (flags, already merged with the
variables that name them), the environment for the credentials, and the profiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from intune_dw_cli.errors import SignInError, UsageError
from intune_dw_cli.identity.clouds import Cloud, cloud_named, customised
from intune_dw_cli.identity.credentials import (
    AccessToken,
    Browser,
    Certificate,
    ClientSecret,
    Configuration,
    Credential,
    DeviceCode,
    FederatedToken,
    ManagedIdentity,
)
from intune_dw_cli.identity.environment import CERTIFICATE_PASSWORD, CLIENT_ID, proof_in
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

UNATTENDED = (
    "For unattended runs set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET (or "
    "AZURE_CLIENT_CERTIFICATE_PATH), or a ready token in INTUNE_DW_ACCESS_TOKEN."
)
_SIGN_IN = f"Sign in with: intune-dw login. {UNATTENDED}"
_DEFAULT_CLOUD = "public"
_WORDS: Mapping[type[Credential], str] = {
    Browser: "browser",
    DeviceCode: "device code",
    ClientSecret: "client secret",
    Certificate: "certificate",
    ManagedIdentity: "managed identity",
    FederatedToken: "federated token",
    AccessToken: "ready access token",
}


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
    graph_url: str | None = None
    resource: str | None = None
    feed_hosts: tuple[str, ...] = ()


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
        origins: Where each value came from, by name; what is not in it is a default.
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
                hint="Run: intune-dw login. Or give --url URL or set INTUNE_DW_URL, the OData feed of the Intune admin "
                "center (Reports > Data warehouse). To try the tool without an account: --sandbox.",
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

    def told(self) -> list[tuple[str, str, str]]:
        """Return (name, value, where it came from) of each setting that has a value; never a secret."""
        values = {
            "profile": self.profile_name,
            "url": self.feed_url,
            "api_version": self.api_version,
            "tenant": self.tenant,
            "client_id": self.client_id,
            "cloud": self.cloud.name,
            "authority_host": self.cloud.authority_host,
            "graph_url": self.cloud.graph_url,
            "resource": self.cloud.resource,
            "feed_host": " ".join(self.cloud.feed_hosts),
            "sign-in": described(self.credential) if self.credential else None,
        }
        return [
            (name.replace("_", "-"), value, self.origins.get(name, "default"))
            for name, value in values.items()
            if value is not None
        ]


def given_in(environ: Mapping[str, str]) -> Given:
    """Return what the variables that name the flags say; the command line reads them by itself."""

    def value(name: str) -> str | None:
        return next((environ[v] for v in _variables(name) if environ.get(v)), None)

    names = [f.name for f in fields(Given) if f.name != "feed_hosts"]
    return Given(**{name: value(name) for name in names}, feed_hosts=tuple((value("feed_host") or "").split()))


def resolve(given: Given, environ: Mapping[str, str], store: ProfileStore, *, prove: bool = True) -> Settings:
    """Merge what was given, the environment's credentials and a profile.

    A profile that is named must exist; without a name the default one is used, if there is one.

    Args:
        prove: Whether to look for a credential, too.

    Raises:
        UsageError: the named profile does not exist, the profile file is broken, or a value is not fit.
    """
    name = given.profile or store.default()
    return merge(given, environ, name, store.load(name) if name else None, prove=prove)


def merge(
    given: Given, environ: Mapping[str, str], name: str | None, stored: Profile | None, *, prove: bool = True
) -> Settings:
    """Merge as `resolve` does, with a profile at hand; `stored` is None where there is none yet.

    Args:
        prove: Whether to look for a credential, too.

    Raises:
        UsageError: a value is not fit.
    """
    profile = stored or Profile()
    picker = _Picker(environ, name)
    picker.name_origin(given, stored)
    cloud_name = picker.pick("cloud", given.cloud, profile.cloud if stored else None) or _DEFAULT_CLOUD
    # What a profile overrides belongs to its own cloud.
    overrides = profile if cloud_name.strip().lower() == profile.cloud else Profile()
    feed_hosts = overrides.feed_hosts
    if given.feed_hosts:
        feed_hosts = given.feed_hosts
        picker.pick("feed_host", " ".join(feed_hosts), None)
    elif feed_hosts:
        picker.pick("feed_host", None, " ".join(feed_hosts))
    cloud = customised(
        cloud_named(cloud_name),
        authority_host=picker.pick("authority_host", given.authority_host, overrides.authority_host),
        graph_url=picker.pick("graph_url", given.graph_url, overrides.graph_url),
        resource=picker.pick("resource", given.resource, overrides.resource),
        feed_hosts=feed_hosts,
    )
    client_id = picker.pick("client_id", given.client_id, profile.client_id)
    return Settings(
        feed_url=picker.pick("url", given.url, profile.feed_url),
        api_version=picker.pick("api_version", given.api_version, None),
        tenant=picker.pick("tenant", given.tenant, profile.tenant),
        client_id=client_id,
        cloud=cloud,
        credential=picker.credential(profile, client_id) if prove else None,
        profile_name=name if stored else None,
        profile=profile,
        origins=picker.origins,
    )


class _Picker:
    """Picks values and notes where they came from."""

    def __init__(self, environ: Mapping[str, str], profile_name: str | None) -> None:
        self._environ = environ
        self._profile_name = profile_name
        self.origins: dict[str, str] = {}

    def name_origin(self, given: Given, stored: Profile | None) -> None:
        if stored is not None:
            self.pick("profile", given.profile, None)
            self.origins.setdefault("profile", "the default profile")

    def pick(self, name: str, given: str | None, stored: str | None) -> str | None:
        if given:
            variable = next((v for v in _variables(name) if self._environ.get(v) == given), None)
            self.origins[name] = f"environment ({variable})" if variable else "command line"
            return given
        if stored:
            self.origins[name] = f"profile {self._profile_name}"
        return stored

    def credential(self, profile: Profile, client_id: str | None) -> Credential | None:
        proof = proof_in(self._environ)
        if proof is not None:
            self.origins["sign-in"] = f"environment ({proof[0]})"
            return proof[1]
        if profile.method is not None:
            self.origins["sign-in"] = f"profile {self._profile_name}"
            return credential_of(profile.method, profile.credential_path, self._environ, client_id=client_id)
        return None


def _variables(name: str) -> tuple[str, ...]:
    azure = {"tenant": "AZURE_TENANT_ID", "client_id": CLIENT_ID, "authority_host": "AZURE_AUTHORITY_HOST"}
    own = f"INTUNE_DW_{name.upper()}"
    return (own, azure[name]) if name in azure else (own,)


def described(credential: Credential) -> str:
    """Return a credential in words, never the secret in it."""
    if isinstance(credential, Certificate | FederatedToken):
        return f"{_WORDS[type(credential)]} {credential.path}"
    return _WORDS[type(credential)]


def credential_of(
    method: str, path: str | None, environ: Mapping[str, str], *, client_id: str | None = None
) -> Credential:
    """Return the credential of a way of signing in (a name of identity.profiles.METHODS).

    Args:
        method: The way.
        path: The file with the client secret, certificate or federated token, where the way has one.
        environ: For the certificate's password.
        client_id: Of a user-assigned managed identity.

    Raises:
        UsageError: the file cannot be read.
        SignInError: the profile has a secret that was given on stdin, and so is not kept.
    """
    if method == BROWSER:
        return Browser()
    if method == DEVICE_CODE:
        return DeviceCode()
    if method == MANAGED_IDENTITY:
        return ManagedIdentity(client_id)
    if not path:
        raise SignInError(
            "this profile signs in with a client secret that was typed in, and a secret is never kept",
            hint="Set AZURE_CLIENT_SECRET, or let the profile know a file: intune-dw login --client-secret-file FILE",
        )
    if method == SECRET_FILE:
        return ClientSecret(read_secret(Path(path), "client secret"))
    if method == CERTIFICATE:
        password = environ.get(CERTIFICATE_PASSWORD, "")
        return Certificate(Path(path), Secret(password) if password else None)
    assert method == FEDERATED_TOKEN_FILE
    return FederatedToken(Path(path))
