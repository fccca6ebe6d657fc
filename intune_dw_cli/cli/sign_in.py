"""One sign-in at the command line: what is asked, what is said meanwhile, and the profile that comes of it."""

from __future__ import annotations

import os
import shlex
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from intune_dw_cli.cli.connect import ca_bundle_of, can_ask, given_by, tell_origins
from intune_dw_cli.cli.console import Terminal
from intune_dw_cli.cli.options import Connection
from intune_dw_cli.cli.questions import CANCELLED, QUESTIONS, asked, interruptible, problem_with, require_value
from intune_dw_cli.cli.speaker import Speaker
from intune_dw_cli.errors import InterruptedRunError, IntuneDwError, SignInError, UsageError
from intune_dw_cli.identity.browser import has_desktop, open_desktop_browser
from intune_dw_cli.identity.cache import Account, TokenCache, open_cache
from intune_dw_cli.identity.credentials import AccessToken, ClientSecret, Credential, ManagedIdentity
from intune_dw_cli.identity.environment import proof_in
from intune_dw_cli.identity.identity import Identity
from intune_dw_cli.identity.locations import Locations
from intune_dw_cli.identity.profiles import BROWSER, DEVICE_CODE, MANAGED_IDENTITY, SECRET_FILE, Profile, ProfileStore
from intune_dw_cli.identity.secret import Secret
from intune_dw_cli.settings import Settings, credential_of, described, merge

_FIRST_PROFILE = "default"
_STDIN = "-"


def first_use(connection: Connection, terminal: Terminal, stop: threading.Event) -> Settings:
    """Sign in because another command needs it, nothing is set up yet, and a person is there; return the settings.

    Raises:
        UsageError, SignInError, InterruptedRunError: as `login` does.
    """
    terminal.say("Nothing is set up yet, so this begins with a sign-in, as in: intune-dw login")
    with SignIn(connection, terminal, stop, None, None, False) as done:
        return done.settings


class SignIn:
    """One sign-in, from the options to the stored profile; a context manager that closes the identity.

    Asks for what is missing where a person is at the terminal, and never where there is none.

    Args:
        connection: The options.
        terminal: To talk on.
        stop: Set to cancel.
        method: The chosen way (identity.profiles.METHODS), None for what the situation offers.
        path: The file of the way, `-` for stdin.
        allow_plaintext: Whether tokens may be kept unencrypted.

    Raises:
        UsageError: something is missing and nobody can be asked, or is not fit.
        SignInError: refused, declined or not done in time; no keyring and no plaintext allowed.
    """

    settings: Settings
    identity: Identity

    def __init__(
        self,
        connection: Connection,
        terminal: Terminal,
        stop: threading.Event,
        method: str | None,
        path: str | None,
        allow_plaintext: bool,
    ) -> None:
        self._connection, self._terminal, self._stop = connection, terminal, stop
        self._method, self._path = method, path
        self._locations: Locations | None = Locations.from_environ(os.environ)
        self._store: ProfileStore = ProfileStore(self._locations)
        self._name = connection.profile or self._store.default() or _FIRST_PROFILE
        self._before: Profile | None = self._store.list().get(self._name)
        self._plaintext = allow_plaintext or (self._before is not None and self._before.plaintext_cache)
        self._asked = self._answered = False

    def __enter__(self) -> SignIn:
        try:
            known = self._merged()  # what is typed comes first: a cloud that is none
            way = self._way()
            _require_fit(known, way)
            cache = self._cache() if way.is_user else None  # before any question: without a keyring all is in vain
            self._ask_for_missing(way)
            settings = self._merged()
            settings.feed()  # what is stored must be a feed URL
            self.settings = replace(
                settings,
                credential=way.credential(settings.client_id),
                origins={**settings.origins, "sign-in": way.origin},
            )
            tell_origins(self._terminal, self._connection, self.settings)
            account = self._signed_in(way, cache)
        except IntuneDwError as error:
            if self._answered and not isinstance(error, UsageError):
                self._terminal.say(f"Without the questions: {self._command()}")
            raise
        self._save(way, account)
        return self

    def __exit__(self, *_: object) -> None:
        self.identity.close()

    # -- how to sign in ---------------------------------------------------------------------------------------

    def _way(self) -> _Way:
        """Return the way: the chosen one, else what the environment offers, else the profile's, else a person's."""
        proof = proof_in(os.environ)
        if self._method is not None:
            secret = self._secret_of_stdin() if self._path == _STDIN else None
            path = None if secret or self._path is None else str(Path(self._path).expanduser().absolute())
            if proof is not None and not _is_its_own(self._method, proof[0]):
                self._terminal.warn(f"{proof[0]} is set, and goes before the profile in other commands")
            return _Way(self._method, path, secret, origin="command line")
        before = self._before
        if proof is not None:
            return _Way(
                before.method if before else None,
                before.credential_path if before else None,
                proof[1],
                origin=f"environment ({proof[0]})",
            )
        if before is not None and before.method is not None:
            return _Way(before.method, before.credential_path, origin=f"profile {self._name}")
        return _Way(BROWSER if has_desktop(os.environ) else DEVICE_CODE)

    def _secret_of_stdin(self) -> Credential:
        if sys.stdin.isatty():
            text = asked("Client secret (it is not shown)", hide_input=True)
        else:
            text = sys.stdin.readline(64 * 1024).strip()
        if not text or not text.isprintable():
            raise UsageError("no client secret came on stdin", hint="Write it there, alone on one line.")
        return ClientSecret(Secret(text))

    def _cache(self) -> TokenCache:
        return open_cache(self._locations, allow_plaintext=self._plaintext)

    def _signed_in(self, way: _Way, cache: TokenCache | None) -> Account | None:
        with Speaker(self._terminal) as speaker:
            self.identity = Identity(
                self.settings.configuration(),
                cache=cache,
                ca_bundle=ca_bundle_of(self._connection),
                talk=speaker,
                open_browser=lambda url: open_desktop_browser(url, os.environ),
                stop=self._stop,
            )
            try:
                if way.is_user and self._only_the_feed_changes() and self._is_signed_in():
                    return None
                if way.is_user and self._method is None and not can_ask(self._terminal):
                    raise SignInError(
                        "signing in takes a person, and nobody is at a terminal here",
                        hint=f"Run at a terminal: {self._command()}. With a code that is entered elsewhere: "
                        f"{self._command()} --device-code. For unattended runs sign in as an app: "
                        f"{self._command()} --certificate FILE",
                    )
                return self.identity.sign_in()
            except BaseException:
                self.identity.close()
                raise

    def _only_the_feed_changes(self) -> bool:
        """Whether this is `login --url NEW` for a profile that is signed in already."""
        before, now = self._before, self.settings
        if before is None or before.username is None or self._method is not None or not self._connection.url:
            return False
        same = (before.tenant, before.client_id) == (now.tenant, now.client_id)
        return same and before.customised_cloud() == now.cloud

    def _is_signed_in(self) -> bool:
        try:
            self.identity.warehouse.token()
        except SignInError:
            return False
        return True

    # -- what is known, and what is asked for -----------------------------------------------------------------

    def _merged(self) -> Settings:
        return merge(given_by(self._connection), os.environ, self._name, self._before, prove=False)

    def _ask_for_missing(self, way: _Way) -> None:
        """Ask for feed URL, tenant and client id where they are not known.

        Raises:
            UsageError: nobody is there to answer.
            InterruptedRunError: Ctrl-C or the end of input in place of an answer.
        """
        settings = self._merged()
        missing = [] if settings.feed_url else ["url"]
        if way.needs_app:
            missing += [name for name in ("tenant", "client_id") if not getattr(settings, name)]
        if not missing:
            return
        if not can_ask(self._terminal):
            what = {"url": "feed URL", "tenant": "tenant", "client_id": "client id"}
            raise UsageError(
                f"not known yet: {', '.join(what[name] for name in missing)}",
                hint=f"Run: {self._command()}",
            )
        self._asked = True
        count = "One thing is" if len(missing) == 1 else f"{len(missing)} things are"
        self._terminal.say(f"{count} not known yet. Ctrl-C leaves.")
        with interruptible():
            if self._stop.is_set():
                raise InterruptedRunError(CANCELLED)
            for name in missing:
                self._ask(name)
        self._answered = True

    def _ask(self, name: str) -> None:
        """Ask until the answer can be one."""
        label, text = QUESTIONS[name]
        for line in ("", *f"{label}: {text}".split("\n")):
            self._terminal.say(line)
        while True:
            answer = asked(label)
            problem = problem_with(name, answer, self._merged())
            if problem is None:
                self._connection = replace(self._connection, **cast("dict[str, Any]", {name: answer}))
                return
            self._terminal.say(problem, style="yellow")

    def _command(self) -> str:
        """Return the command that needs no answers, with what is known filled in."""
        settings = self._merged()
        words = ["intune-dw", "login"]
        if self._name != _FIRST_PROFILE:
            words += ["--profile", self._name]
        if self._before is None or self._asked or not settings.feed_url:
            known = {"--url": settings.feed_url, "--tenant": settings.tenant, "--client-id": settings.client_id}
            for flag, value in known.items():
                words += [flag, shlex.quote(value) if value else flag.strip("-").upper()]
            if settings.cloud.name != "public":
                words += ["--cloud", settings.cloud.name]
            if self._plaintext:
                words.append("--allow-plaintext-cache")
        return " ".join(words)

    # -- what is kept -----------------------------------------------------------------------------------------

    def _save(self, way: _Way, account: Account | None) -> None:
        """Store the profile and say so; where there is no home directory there is nothing to store it in."""
        terminal, settings = self._terminal, self.settings
        before = self._before or Profile()
        cloud, origins = settings.cloud, settings.origins
        profile = Profile(
            feed_url=settings.feed_url,
            tenant=settings.tenant,
            client_id=settings.client_id,
            cloud=cloud.name,
            method=way.method,
            credential_path=way.path,
            username=account.username if account else before.username if way.is_user else None,
            plaintext_cache=self._plaintext if way.is_user else before.plaintext_cache,
            authority_host=cloud.authority_host if "authority_host" in origins else None,
            graph_url=cloud.graph_url if "graph_url" in origins else None,
            resource=cloud.resource if "resource" in origins else None,
            feed_hosts=cloud.feed_hosts if "feed_host" in origins else (),
        )
        if way.is_user:
            who = f"signed in as {account.username}" if account else f"still signed in as {profile.username}"
        else:
            assert settings.credential is not None
            who = f"signed in with {described(settings.credential)}"
        if self._store.path is None:
            terminal.say(f"{who}; there is no home directory, so no profile is stored")
            return
        self._store.save(self._name, profile)
        self.settings = replace(settings, profile=profile, profile_name=self._name)
        terminal.say(f"{who}; profile {self._name} stored in {self._store.path}")


@dataclass(frozen=True, slots=True)
class _Way:
    """A way of signing in.

    Attributes:
        method: Its name in the profile; None for what the environment offers at the time.
        path: Its file.
        proof: What to sign in with, where that is at hand already.
        origin: Where it came from, in words.
    """

    method: str | None
    path: str | None = None
    proof: Credential | None = None
    origin: str = "default"

    @property
    def is_user(self) -> bool:
        return self.proof is None and self.method in (BROWSER, DEVICE_CODE)

    @property
    def needs_app(self) -> bool:
        """Whether tenant and client id are needed."""
        if self.proof is not None:
            return not isinstance(self.proof, AccessToken | ManagedIdentity)
        return self.method != MANAGED_IDENTITY

    def credential(self, client_id: str | None) -> Credential:
        if self.proof is not None:
            return self.proof
        assert self.method is not None
        return credential_of(self.method, self.path, os.environ, client_id=client_id)


def _require_fit(settings: Settings, way: _Way) -> None:
    """Raise UsageError where a value that is known cannot be one."""
    known = {"url": settings.feed_url}
    if way.needs_app:
        known |= {"tenant": settings.tenant, "client_id": settings.client_id}
    for name, value in known.items():
        if value:
            require_value(name, value, settings)


def _is_its_own(method: str, variable: str) -> bool:
    """Whether a variable is the one that chose the way, by the rule for the names of options."""
    flag = "client-secret-file" if method == SECRET_FILE else method
    return variable == "INTUNE_DW_" + flag.replace("-", "_").upper()
