"""A tenant to sign in to: Entra and Graph over TLS with a CA of our own, a warehouse that checks tokens, and a person.

MSAL is not replaced by anything: the processes talk to these servers as they would to Microsoft's.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
from harness import INTUNE_DW, Cli, Ended, finish

from intune_dw_cli.sandbox import Sandbox, ServerConfig, TenantConfig
from intune_dw_cli.sandbox.entra import Entra, EntraConfig
from intune_dw_cli.sandbox.entra_registry import CLIENT_ID, GRAPH, RESOURCES, TENANT_ID, WAREHOUSE, App
from intune_dw_cli.sandbox.entra_server import EntraServer
from intune_dw_cli.sandbox.messages import Request, Response

MARK = "MARKED-a8f3"
"""Is part of every secret that a test makes up."""

SECRET = f"{MARK}-client-secret"
_HIDDEN = (
    "access_token",
    "refresh_token",
    "id_token",
    "client_secret",
    "client_assertion",
    "code",
    "code_verifier",
    "device_code",
    "assertion",
    "client_info",
)
_PERMISSIONS = {
    "/v1.0/deviceManagement/termsAndConditions": "DeviceManagementServiceConfig.Read.All",
    "/v1.0/deviceAppManagement/managedAppRegistrations": "DeviceManagementApps.Read.All",
    "/v1.0/deviceManagement/deviceConfigurations": "DeviceManagementConfiguration.Read.All",
    "/v1.0/reports/managedDeviceEnrollmentTopFailures()": "DeviceManagementManagedDevices.Read.All",
}


class Eavesdropper:
    """Notes every secret that goes to the sign-in service or comes from it."""

    def __init__(self, entra: Entra) -> None:
        self.secrets: set[str] = {MARK}
        self._answer = entra.answer
        entra.answer = self  # type: ignore[method-assign, assignment]

    def __call__(self, request: Any, rest: str) -> Any:
        form = parse_qs(request.body.decode() or request.query)
        response = self._answer(request, rest)
        self._note({name: values[0] for name, values in form.items()})
        with contextlib.suppress(ValueError):
            body = json.loads(response.body)
            self._note(body if isinstance(body, dict) else {})
        return response

    def _note(self, fields: Mapping[str, Any]) -> None:
        for name in _HIDDEN:
            value = fields.get(name)
            if isinstance(value, str) and len(value) > 12:
                self.secrets.add(value)


class GraphServer:
    """The sandbox's Microsoft Graph behind TLS; four of its paths are refused by the permissions in the token."""

    def __init__(self, entra: Entra, sandbox: Sandbox, certificate: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        graph = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()} | {"x-forwarded-proto": "https"}
                body = self.rfile.read(int(headers.get("content-length", 0)))
                request = Request(self.command, self.path, headers, body)
                response = graph.refusal(request) or graph.answer(request)
                self.send_response(response.status)
                self.send_header("Content-Type", response.content_type)
                self.send_header("Content-Length", str(len(response.body)))
                for name, value in response.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(response.body)

            do_GET = do_POST = answer  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._entra, self._sandbox = entra, sandbox
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def refusal(self, request: Request) -> Response | None:
        """Refuse by what the token says."""
        if not request.path.startswith(("/v1.0", "/beta")):
            return None  # a blob, fetched without a token
        token = request.bearer() or ""
        if not self._entra.validate(token, self.url):
            return Response.of_json({"error": {"code": "InvalidAuthenticationToken", "message": "no"}}, 401)
        claims = jwt.decode(token, options={"verify_signature": False})
        held = [*claims.get("roles", []), *str(claims.get("scp", "")).split()]
        if _PERMISSIONS.get(request.path, held[0]) not in held:
            return Response.of_json({"error": {"code": "Forbidden", "message": "not allowed"}}, 403)
        return None

    def answer(self, request: Request) -> Response:
        found = self._sandbox.router.find(request.path)
        return found[0].answer(request, found[1]) if found else Response(404)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Person(Cli):
    """The command line without any token in its environment, and with something on its stdin if need be."""

    def environment(self, more: Mapping[str, str | None] | None = None) -> dict[str, str]:
        return super().environment({"INTUNE_DW_ACCESS_TOKEN": None, **(more or {})})

    def fed(self, text: str, *args: object, env: Mapping[str, str | None] | None = None) -> Ended:
        """Run with a text on stdin."""
        done = subprocess.run(
            [INTUNE_DW, *map(str, args)],
            cwd=self.cwd,
            env=self.environment(env),
            input=text.encode(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        return Ended(done.args, done.returncode, done.stdout, done.stderr.decode())

    def typed(
        self, turns: Sequence[tuple[str, str]], *args: object, env: Mapping[str, str | None] | None = None
    ) -> tuple[int, str]:
        """Run on a terminal: wait for a text, type another; return exit code and all that was on the screen."""
        process_id, screen = pty.fork()
        if process_id == 0:
            os.chdir(self.cwd)
            environ = {**self.environment(env), "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
            os.execve(INTUNE_DW, [INTUNE_DW, *map(str, args)], environ)
        seen, left, end = b"", list(turns), time.monotonic() + 30
        try:
            while time.monotonic() < end:
                if left and left[0][0].encode() in seen:
                    os.write(screen, left.pop(0)[1].encode())
                ready, _, _ = select.select([screen], [], [], 0.05)
                if ready:
                    try:
                        seen += os.read(screen, 65536)
                    except OSError:  # Linux reports the end like this
                        break
            else:
                raise AssertionError(f"it did not end; still to be asked: {left}\n{seen.decode()}")
        finally:
            with contextlib.suppress(ProcessLookupError):
                if sys.exc_info()[0] is not None:
                    os.kill(process_id, signal.SIGKILL)
            _, status = os.waitpid(process_id, 0)
            os.close(screen)
        assert not left, f"never asked: {left}\n{seen.decode()}"
        return os.waitstatus_to_exitcode(status), seen.decode()


@dataclass
class World:
    """Everything that is needed to sign in, and everything that was said meanwhile."""

    entra: Entra
    server: EntraServer
    graph: GraphServer
    warehouse: Sandbox
    bundle: Path
    home: Path
    cwd: Path
    heard: Eavesdropper
    said: list[str] = field(default_factory=list)

    @property
    def app(self) -> App:
        return self.entra.apps[CLIENT_ID]

    @property
    def person(self) -> Person:
        """Somebody at a computer that has heard of the tenant's addresses only."""
        return Person(self.home, self.cwd, environ=self.addresses)

    @property
    def addresses(self) -> dict[str, str]:
        return {
            "INTUNE_DW_AUTHORITY_HOST": self.server.origin,
            "INTUNE_DW_GRAPH_URL": self.graph.url,
            "INTUNE_DW_CA_BUNDLE": str(self.bundle),
        }

    @property
    def flags(self) -> list[str]:
        """What a first `login` needs to know."""
        return ["--url", self.warehouse.feed_url, "--tenant", TENANT_ID, "--client-id", CLIENT_ID]

    def __call__(self, *args: object, env: Mapping[str, str | None] | None = None, timeout: float = 60) -> Ended:
        return self.keep(self.person(*args, env=env, timeout=timeout))

    def keep(self, ended: Ended) -> Ended:
        self.said += [ended.out, ended.err]
        return ended

    def sign_in(self, *args: object, env: Mapping[str, str | None] | None = None) -> Ended:
        """`login --device-code`, the code entered as soon as it is there."""
        process = self.person.start("login", "--device-code", "--allow-plaintext-cache", *self.flags, *args, env=env)
        self.approve()
        return self.keep(finish(process))

    def approve(self) -> None:
        wait_for(lambda: self.entra.approve() > 0)

    def grants(self, since: int = 0) -> list[str]:
        """The grants of the token requests so far."""
        return [r.grant for r in list(self.entra.requests)[since:] if r.path.endswith("/token")]

    def unauthorized(self) -> int:
        """How many requests the warehouse answered with 401."""
        return sum(r.status == 401 for r in self.warehouse.requests)

    def profile(self, name: str = "default") -> dict[str, Any]:
        document = json.loads((self.home / "intune-dw" / "config" / "profiles.json").read_text())
        found = document["profiles"][name]
        assert isinstance(found, dict)
        return found

    def assert_hidden(self) -> None:
        """No secret in anything that was said or written, the token cache apart."""
        texts = {f"output {number}": text for number, text in enumerate(self.said)}
        for root in (self.home, self.cwd):
            for path in root.rglob("*"):
                if path.is_file() and path.name not in ("tokens.json", "secret.txt", "federated.jwt"):
                    texts[str(path)] = path.read_bytes().decode("utf-8", "replace")
        for where, text in texts.items():
            for secret in self.heard.secrets:
                assert secret not in text, f"{secret[:12]}... is in {where}"


Worlds = Callable[..., World]


@contextlib.contextmanager
def worlds(folder: Path, tls: tuple[Path, Path]) -> Iterator[Worlds]:
    """Make worlds for one test; at its end nothing secret may have been shown by any."""
    made: list[World] = []

    def make(
        *, server: ServerConfig | None = None, tenant: TenantConfig | None = None, app: App | None = None, **entra: Any
    ) -> World:
        bundle, certificate = tls
        config = {"interval": 1, **entra}
        provider = Entra(EntraConfig(**config), apps=[app or App(secrets={SECRET: None})])
        heard = Eavesdropper(provider)
        options = (
            {name: getattr(server, name) for name in ("page_size", "think_time", "faults", "graph")} if server else {}
        )
        warehouse = Sandbox(
            tenant or TenantConfig(devices=15, days=2),
            ServerConfig(accept_token=lambda token: provider.validate(token, WAREHOUSE), **options),
        )
        graph = GraphServer(provider, warehouse, certificate)
        RESOURCES[graph.url] = RESOURCES[GRAPH]
        for each in provider.apps.values():
            each.permissions[graph.url] = each.permissions[GRAPH]
        home, cwd = folder / f"home{len(made)}", folder / f"work{len(made)}"
        home.mkdir()
        cwd.mkdir()
        entra_server = EntraServer(provider, certificate=certificate).start()
        made.append(World(provider, entra_server, graph, warehouse.start(), bundle, home, cwd, heard))
        return made[-1]

    yield make
    for world in made:
        world.server.stop()
        world.graph.stop()
        world.warehouse.stop()
        del RESOURCES[world.graph.url]
        world.assert_hidden()


def wait_for(what: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


def browser_script(folder: Path) -> str:
    """A browser for the BROWSER variable: follows the address and posts the form that it finds, as scripts there do."""
    script = folder / "browser.py"
    script.write_text(
        """
import re, sys, requests
from html import unescape
with requests.Session() as session:
    session.trust_env = False
    page = session.get(sys.argv[2], verify=sys.argv[1]).text
    target = re.search(r'action="([^"]+)"', page)
    fields = {unescape(n): unescape(v) for n, v in re.findall(r'name="([^"]+)" value="([^"]*)"', page)}
    session.post(unescape(target[1]).replace("localhost", "127.0.0.1"), data=fields)
"""
    )
    return f"{sys.executable} {script}"
