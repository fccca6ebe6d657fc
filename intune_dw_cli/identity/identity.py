"""An identity: who we are in one cloud, with a token source for each resource."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from intune_dw_cli.errors import SignInError
from intune_dw_cli.identity.cache import Account, TokenCache
from intune_dw_cli.identity.claims import read_challenge
from intune_dw_cli.identity.credentials import AccessToken, Browser, Certificate, Configuration, ManagedIdentity
from intune_dw_cli.identity.grants import AppGrant, Grant, ManagedIdentityGrant, UserGrant
from intune_dw_cli.identity.interactive import BROWSER_SECONDS, Dialogue, UserSignIn
from intune_dw_cli.identity.prompts import Talk, say_nothing
from intune_dw_cli.identity.session import SignInSession
from intune_dw_cli.identity.sources import MsalTokenSource, NoTokenSource
from intune_dw_cli.identity.tokens import StaticToken, TokenSource

_METADATA_CONNECT_SECONDS = 5.0


class Identity:
    """Who we are. Signs in where that needs a person, and gives token sources that renew themselves.

    All sources of one identity share one MSAL application, so that one sign-in serves warehouse and Graph. Making it
    sends nothing; may be used by several threads; `close` when done.

    Args:
        configuration: Who, how and where.
        cache: Keeps the sign-in of users; apps need none.
        ca_bundle: File with the certification authorities to trust, in place of the built-in ones.
        talk: Is told what the user should know during a sign-in.
        open_browser: Opens an address and says whether that worked; None where there is no browser.
        stop: Set to cancel a sign-in and its retries.
        clock: Seconds since the epoch.
        browser_seconds: How long a browser sign-in is waited for.

    Raises:
        UsageError: the certificate cannot be used.
        SignInError: a user is to sign in, and there is no cache to keep it; or the ready token is none.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        cache: TokenCache | None = None,
        ca_bundle: str | None = None,
        talk: Talk = say_nothing,
        open_browser: Callable[[str], bool] | None = None,
        stop: threading.Event | None = None,
        clock: Callable[[], float] = time.time,
        browser_seconds: float = BROWSER_SECONDS,
    ) -> None:
        self.configuration = configuration
        self._clock = clock
        self._cache = cache
        self._stop = stop or threading.Event()
        self._dialogue = Dialogue(
            talk=talk, open_browser=open_browser, stop=self._stop, browser_seconds=browser_seconds
        )
        self._session = self._new_session(ca_bundle)
        self._grant = self._new_grant()
        self._sources: dict[str, TokenSource] = {}
        self._lock = threading.Lock()

    def source(self, resource: str) -> TokenSource:
        """Return the token source of a resource: `cloud.resource` for the warehouse, `cloud.graph_url` for Graph.

        The same resource gives the same source. Nothing is sent before the first token is asked for.
        """
        with self._lock:
            if resource not in self._sources:
                self._sources[resource] = self._new_source(resource)
            return self._sources[resource]

    @property
    def warehouse(self) -> TokenSource:
        """The token source of the warehouse."""
        return self.source(self.configuration.cloud.resource)

    @property
    def graph(self) -> TokenSource:
        """The token source of Microsoft Graph."""
        return self.source(self.configuration.cloud.graph_url)

    def sign_in(self, *, claims: str | None = None) -> Account | None:
        """Sign in now: a user in a browser or with a device code, an app by getting a token for the warehouse.

        Args:
            claims: A claims challenge that a service sent, to be met by this sign-in.

        Returns:
            The account of the user, None for an app.

        Raises:
            SignInError: refused, declined, or not done in time.
            TransportError, UnavailableError: the sign-in service did not answer.
            InterruptedRunError: cancelled.
            OutputError: the user is signed in, but the cache could not keep it.
        """
        if not isinstance(self._grant, UserGrant):
            self.warehouse.token()
            return None
        user = UserSignIn(self.configuration, self._grant, self._dialogue)
        challenge = read_challenge(claims)
        by_browser = isinstance(self.configuration.credential, Browser)
        account = user.by_browser(claims=challenge) if by_browser else user.by_device_code(claims=challenge)
        with self._lock:
            self._sources.clear()
        if self._cache is not None and self._cache.problem is not None:
            raise self._cache.problem
        return account

    def warnings(self) -> list[str]:
        """Return what the user should know before it fails: a certificate that ends soon or has ended."""
        if not isinstance(self.configuration.credential, Certificate):
            return []
        from intune_dw_cli.identity.certificate import load_certificate  # brings cryptography, which takes its time

        warning = load_certificate(self.configuration.credential).expiry_warning()
        return [warning] if warning else []

    def close(self) -> None:
        """Close the connections to the sign-in service."""
        self._session.close()

    # -- parts ------------------------------------------------------------------------------------------------

    def _new_session(self, ca_bundle: str | None) -> SignInSession:
        if isinstance(self.configuration.credential, ManagedIdentity):
            return SignInSession(
                ca_bundle=ca_bundle, stop=self._stop, tries=4, connect_timeout=_METADATA_CONNECT_SECONDS
            )
        return SignInSession(ca_bundle=ca_bundle, stop=self._stop)

    def _new_grant(self) -> Grant | None:
        credential = self.configuration.credential
        if isinstance(credential, AccessToken):
            return None
        if isinstance(credential, ManagedIdentity):
            return ManagedIdentityGrant(credential, self._session)
        if not self.configuration.is_user:
            return AppGrant(self.configuration, self._session)
        if self._cache is None:
            raise SignInError("there is no token cache for the sign-in of a user", hint="Sign in with: intune-dw login")
        return UserGrant(self.configuration, self._session, self._cache)

    def _new_source(self, resource: str) -> TokenSource:
        if self._grant is not None:
            return MsalTokenSource(self._grant, resource, clock=self._clock)
        credential = self.configuration.credential
        assert isinstance(credential, AccessToken)
        if resource == self.configuration.cloud.resource:
            return StaticToken(credential.token.reveal(), origin=credential.origin)
        return NoTokenSource(
            SignInError(
                f"the access token in {credential.origin} is for the warehouse only, not for {resource}",
                hint="Sign in with a user or an app to reach more than the warehouse.",
            )
        )
