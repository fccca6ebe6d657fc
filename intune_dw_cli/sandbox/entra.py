"""An OpenID Connect provider in the manner of Microsoft Entra, for tests and for the sandbox tenant.

Below its root:

    /{tenant}/v2.0/.well-known/openid-configuration
    /{tenant}/oauth2/v2.0/{authorize,token,devicecode,logout}
    /{tenant}/discovery/v2.0/keys
    /metadata/identity/oauth2/token          the metadata service of an Azure machine

It checks secrets, assertions, PKCE, redirect addresses, scopes and audiences; it asks nobody for a password. MSAL wants
https: see `entra_server`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from intune_dw_cli.sandbox.entra_clients import authenticate
from intune_dw_cli.sandbox.entra_pages import discovery, form_post, page, parameters, redirect_matches, wanted_contexts
from intune_dw_cli.sandbox.entra_problems import RefusedError, describe, refused
from intune_dw_cli.sandbox.entra_registry import TENANT_DOMAIN, TENANT_ID, App, User, is_known
from intune_dw_cli.sandbox.entra_tokens import TokenMaker, client_info
from intune_dw_cli.sandbox.entra_users import UserSessions
from intune_dw_cli.sandbox.messages import Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from intune_dw_cli.sandbox.messages import Request

_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_PROTOCOL_SCOPES = frozenset({"openid", "profile", "offline_access", "email"})
_KEPT_REQUESTS = 10_000


@dataclass(frozen=True, kw_only=True)
class EntraConfig:
    """The provider's manners.

    Attributes:
        tenants: Ids and domains that lead to the tenant.
        token_life: Seconds of an access token.
        interval: Seconds between two questions about a device code.
        device_life: Seconds of a device code.
        device_polls: Questions answered with "pending" before a device code approves itself; None for never.
    """

    tenants: tuple[str, ...] = (TENANT_ID, TENANT_DOMAIN, "organizations", "common")
    token_life: float = 3600.0
    interval: int = 5
    device_life: float = 900.0
    device_polls: int | None = None


@dataclass(frozen=True)
class SignInRequest:
    """A request that the provider got; never a secret, token, code or assertion.

    Attributes:
        path: Without query.
        status: Of the answer.
        grant: The `grant_type`, or the endpoint's name.
        proof: How the app proved itself: secret, certificate, federation, none.
        scope: As asked for.
        claims: The claims parameter.
        error: The AADSTS code of the refusal.
        fields: Names of all parameters.
    """

    method: str
    path: str
    status: int
    grant: str
    client_id: str | None = None
    proof: str | None = None
    scope: str | None = None
    claims: str | None = None
    error: str | None = None
    fields: tuple[str, ...] = ()


@dataclass
class _Refusal:
    code: str
    grant: str | None
    left: int | None


@dataclass
class _Note:
    """What becomes known of a request on the way."""

    grant: str
    proof: str | None = None
    error: str | None = None


class Entra:
    """The provider. Answers requests below the path where it is mounted.

    Args:
        config: Its manners.
        apps: The registered apps; one without credentials if none is given.
        user: Who signs in in the browser and with device codes.
    """

    def __init__(
        self, config: EntraConfig | None = None, apps: list[App] | None = None, user: User | None = None
    ) -> None:
        self.config = config or EntraConfig()
        self.apps = {app.client_id: app for app in apps or [App()]}
        self.user = user or User()
        self.sessions = UserSessions()
        self.requests: deque[SignInRequest] = deque(maxlen=_KEPT_REQUESTS)
        self._tokens = TokenMaker()
        self._refusals: list[_Refusal] = []
        self._lock = threading.Lock()

    # -- what a test may do -----------------------------------------------------------------------------------

    def validate(self, token: str, resource: str) -> bool:
        """Whether a token is one of ours, in time, not revoked, and for exactly this resource."""
        return self._tokens.validate(token, resource)

    def revoke(self, access_token: str) -> None:
        """Make an access token invalid before its time."""
        self._tokens.revoke(access_token)

    def revoke_sign_ins(self, code: str = "700082") -> None:
        """Refuse all present refresh tokens."""
        self.sessions.revoke_all(code)

    def approve(self, user_code: str | None = None) -> int:
        """Enter a device code (all that wait without one); return how many were waiting."""
        return self.sessions.settle_device(user_code, "approved")

    def decline(self, user_code: str | None = None) -> int:
        """Decline a device code."""
        return self.sessions.settle_device(user_code, "declined")

    def refuse(self, code: str, *, grant: str | None = None, times: int | None = None) -> None:
        """Refuse requests with an AADSTS code.

        Args:
            code: The number.
            grant: Only this `grant_type`, or `authorize`, `devicecode`; None for token requests of every kind.
            times: How often; None for always.
        """
        self._refusals.append(_Refusal(code, grant, times))

    def relent(self) -> None:
        """Take back all refusals."""
        self._refusals.clear()

    # -- requests ---------------------------------------------------------------------------------------------

    def answer(self, request: Request, rest: str) -> Response:
        """Answer one request; `rest` is the path below the root."""
        root = request.origin + request.path.removesuffix(rest).rstrip("/")
        form = parameters(request)
        tenant, _, endpoint = rest.partition("/")
        note = _Note(endpoint.rpartition("/")[2])
        try:
            response = self._route(request, root, tenant, endpoint, form, note)
        except RefusedError as error:
            note.error = error.code
            values = {"tenant": tenant, "client_id": form.get("client_id", ""), **error.values}
            given = request.headers.get("client-request-id")
            response = refused(RefusedError(error.code, **values, **({"correlation_id": given} if given else {})))
        self._record(request, form, note, response)
        return response

    def _route(
        self, request: Request, root: str, tenant: str, endpoint: str, form: dict[str, str], note: _Note
    ) -> Response:
        if (tenant, endpoint) == ("metadata", "identity/oauth2/token"):
            return self._managed_identity(request, root, form)
        if tenant.lower() not in {name.lower() for name in self.config.tenants}:
            raise RefusedError("90002")
        base = f"{root}/{tenant}"
        handlers: dict[tuple[str, str], Callable[[], Response]] = {
            ("GET", "v2.0/.well-known/openid-configuration"): lambda: Response.of_json(
                discovery(base, f"{root}/{TENANT_ID}")
            ),
            ("GET", "discovery/v2.0/keys"): lambda: Response.of_json(self._tokens.key_set()),
            ("GET", "oauth2/v2.0/authorize"): lambda: self._authorize(form),
            ("POST", "oauth2/v2.0/devicecode"): lambda: self._devicecode(root, form),
            ("POST", "oauth2/v2.0/token"): lambda: self._token(root, base, form, note),
            ("GET", "oauth2/v2.0/logout"): lambda: page(200, "You signed out."),
        }
        handler = handlers.get((request.method, endpoint))
        return handler() if handler else page(404, "There is no such page.")

    def _authorize(self, form: dict[str, str]) -> Response:
        app, redirect_uri = self._app(form), form.get("redirect_uri", "")
        if not redirect_matches(redirect_uri, app.redirect_uris):
            return page(400, str(describe("50011")["error_description"]))
        state = {"state": form["state"]} if "state" in form else {}
        try:
            self._refuse_if_asked("authorize")
            if form.get("response_type") != "code" or form.get("code_challenge_method") != "S256":
                raise RefusedError("9002313")
            self._resource(form.get("scope", ""))
        except RefusedError as error:
            body = describe(error.code, client_id=app.client_id)
            answer = {"error": str(body["error"]), "error_description": str(body["error_description"]), **state}
        else:
            code = self.sessions.new_code(
                client_id=app.client_id,
                redirect_uri=redirect_uri,
                challenge=form.get("code_challenge", ""),
                nonce=form.get("nonce"),
                scope=form.get("scope", ""),
                user=self.user,
            )
            answer = {"code": code, **state}
        if form.get("response_mode") == "form_post":
            return form_post(redirect_uri, answer)
        return Response(302, headers={"Location": f"{redirect_uri}?{urlencode(answer)}"})

    def _devicecode(self, root: str, form: dict[str, str]) -> Response:
        app = self._app(form)
        self._refuse_if_asked("devicecode")
        if not app.public_client:
            raise RefusedError("7000218")
        self._resource(form.get("scope", ""))
        code, request = self.sessions.new_device(
            client_id=app.client_id,
            scope=form.get("scope", ""),
            life=self.config.device_life,
            polls=self.config.device_polls,
        )
        address = f"{root}/device"
        return Response.of_json(
            {
                "device_code": code,
                "user_code": request.user_code,
                "verification_uri": address,
                "expires_in": int(self.config.device_life),
                "interval": self.config.interval,
                "message": f"To sign in, use a web browser to open the page {address} and enter the code "
                f"{request.user_code} to authenticate.",
            }
        )

    def _token(self, root: str, base: str, form: dict[str, str], note: _Note) -> Response:
        note.grant = form.get("grant_type", "")
        app = self._app(form)
        self._refuse_if_asked(note.grant)
        note.proof = proof = authenticate(app, form, f"{base}/oauth2/v2.0/token")
        user, scope, nonce = None, form.get("scope", ""), None
        if note.grant == "client_credentials":
            if proof == "none":
                raise RefusedError("7000216")
            if not scope.endswith("/.default"):
                raise RefusedError("1002012")
        else:
            if proof == "none" and not app.public_client:
                raise RefusedError("7000218")
            user, scope, nonce = self._user(note.grant, app, form)
        resource = self._resource(scope)
        issuer = f"{root}/{TENANT_ID}/v2.0"
        token = self._tokens.access_token(issuer, app, resource, self.config.token_life, user, wanted_contexts(form))
        body: dict[str, Any] = {
            "token_type": "Bearer",
            "expires_in": int(self.config.token_life),
            "ext_expires_in": int(self.config.token_life),
            "access_token": token,
        }
        if user is not None:
            body |= {
                "scope": " ".join(
                    [*(f"{resource}/{name}" for name in app.permissions.get(resource, ())), f"{resource}/.default"]
                ),
                "refresh_token": self.sessions.new_refresh_token(app.client_id, user),
                "id_token": self._tokens.id_token(issuer, app, user, nonce),
                "client_info": client_info(user),
            }
        return Response.of_json(body)

    def _user(self, grant: str, app: App, form: dict[str, str]) -> tuple[User, str, str | None]:
        """Return who a grant stands for, the scope it was made for, and the nonce."""
        if grant == "authorization_code":
            code = self.sessions.redeem_code(
                form.get("code", ""),
                client_id=app.client_id,
                redirect_uri=form.get("redirect_uri", ""),
                verifier=form.get("code_verifier", ""),
            )
            return code.user, form.get("scope") or code.scope, code.nonce
        if grant in (_DEVICE_GRANT, "device_code"):
            request = self.sessions.poll_device(form.get("device_code", ""), app.client_id)
            return self.user, request.scope, None
        if grant == "refresh_token":
            return (
                self.sessions.redeem_refresh_token(form.get("refresh_token", ""), app.client_id),
                form.get("scope", ""),
                None,
            )
        raise RefusedError("70003")

    def _managed_identity(self, request: Request, root: str, form: dict[str, str]) -> Response:
        """Answer as the metadata service does (IMDS), for the first app as its identity."""
        if request.headers.get("metadata", "").lower() != "true":
            return Response.of_json({"error": "invalid_request", "error_description": "Required metadata header"}, 400)
        wanted = form.get("client_id")
        app = self.apps.get(wanted) if wanted else next(iter(self.apps.values()))
        if app is None:
            return Response.of_json({"error": "invalid_request", "error_description": "Identity not found"}, 400)
        resource = form.get("resource", "")
        if not is_known(resource):
            raise RefusedError("500011")
        life = self.config.token_life
        token = self._tokens.access_token(f"{root}/{TENANT_ID}/v2.0", app, resource, life, None, [])
        return Response.of_json(
            {
                "access_token": token,
                "expires_in": str(int(life)),
                "expires_on": str(int(time.time() + life)),
                "resource": resource,
                "token_type": "Bearer",
            }
        )

    # -- parts ------------------------------------------------------------------------------------------------

    def _app(self, form: dict[str, str]) -> App:
        app = self.apps.get(form.get("client_id", "").lower())
        if app is None:
            raise RefusedError("700016")
        return app

    def _resource(self, scope: str) -> str:
        """Return the resource of a scope: all before its last slash. Raises RefusedError when there is not one."""
        wanted = {name.rpartition("/")[0] for name in scope.split() if name.lower() not in _PROTOCOL_SCOPES}
        if len(wanted) != 1:
            raise RefusedError("70011")
        resource = wanted.pop()
        if not is_known(resource):
            raise RefusedError("500011")
        return resource

    def _refuse_if_asked(self, grant: str) -> None:
        with self._lock:
            for refusal in self._refusals:
                token_request = grant not in ("authorize", "devicecode")
                if refusal.grant != grant and not (refusal.grant is None and token_request):
                    continue
                if refusal.left == 0:
                    continue
                if refusal.left is not None:
                    refusal.left -= 1
                raise RefusedError(refusal.code)

    def _record(self, request: Request, form: dict[str, str], note: _Note, response: Response) -> None:
        self.requests.append(
            SignInRequest(
                request.method,
                request.path,
                response.status,
                note.grant,
                form.get("client_id"),
                note.proof,
                form.get("scope") or form.get("resource"),
                form.get("claims"),
                note.error,
                tuple(sorted(form)),
            )
        )
