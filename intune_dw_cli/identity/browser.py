"""The browser's part of a sign-in: opening it, and receiving its answer on loopback (RFC 8252).

MSAL's own receiver listens on every interface inside containers, opens text browsers over the terminal, and cannot be
cancelled; so this one is ours, and PKCE, state and nonce stay MSAL's.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import webbrowser
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs

from intune_dw_cli.errors import InterruptedRunError, SignInError

_TURN = 0.2
_OPENING = 3.0
_MAX_BODY = 64 * 1024
_DONE = "You are signed in to intune-dw. You can close this window."
_FAILED = "The sign-in did not succeed. You can close this window; intune-dw says why."
_NOTHING = "There is nothing to see here. Please go back to the sign-in page."


def open_desktop_browser(url: str, environ: Mapping[str, str]) -> bool:
    """Open a browser with a window; return False where there is none, as over SSH or in a container.

    Args:
        url: The address; https only.
        environ: Tells whether there is a desktop.
    """
    if not url.startswith("https://") or not has_desktop(environ):
        return False
    opened: list[bool] = []

    def open_() -> None:
        try:
            opened.append(webbrowser.open(url))
        except (webbrowser.Error, OSError):
            opened.append(False)

    # Some browsers, and what BROWSER names, come back only when their window is closed; the answer comes before that.
    opener = threading.Thread(target=open_, name="browser", daemon=True)
    opener.start()
    opener.join(_OPENING)
    return opened[0] if opened else True


def has_desktop(environ: Mapping[str, str], platform: str = sys.platform) -> bool:
    """Whether a browser window can be expected to open in front of the user."""
    if environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"):
        return False
    if platform in ("win32", "darwin"):
        return True
    return bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY") or environ.get("WSL_DISTRO_NAME"))


class RedirectReceiver:
    """Waits on loopback for the one POST by which the browser hands over the authorization code.

    A context manager; the port is taken when it is made. Only 127.0.0.1 is listened on.

    Raises:
        SignInError: no port is to be had.
    """

    def __init__(self) -> None:
        try:
            self._server = _Server(("127.0.0.1", 0), _Handler)
        except OSError as error:
            raise SignInError(
                f"cannot listen for the browser's answer: {error.strerror}", hint="Sign in with --device-code."
            ) from None

    @property
    def redirect_uri(self) -> str:
        """The address that the sign-in service sends the browser to; any port matches the registered one."""
        return f"http://localhost:{self._server.server_address[1]}"

    def wait(self, state: str, *, timeout: float, stop: threading.Event) -> dict[str, str]:
        """Return the fields of the answer that carries `state`; others are answered and passed over.

        Raises:
            SignInError: nothing came in time.
            InterruptedRunError: `stop` was set.
        """
        self._server.state = state
        deadline = time.monotonic() + timeout
        while self._server.answer is None:
            if stop.is_set():
                raise InterruptedRunError("the sign-in was cancelled")
            if time.monotonic() >= deadline:
                raise SignInError(
                    "nobody signed in in the browser in time",
                    hint="Run it again, or sign in with --device-code when the browser is on another computer.",
                )
            self._server.handle_request()
        return self._server.answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.server_close()


class _Server(HTTPServer):
    timeout = _TURN
    allow_reuse_address = False
    state: str | None = None
    answer: dict[str, str] | None = None

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: browsers open connections that they do not use."""


class _Handler(BaseHTTPRequestHandler):
    timeout = 5.0
    server: _Server

    def do_GET(self) -> None:
        """Answer whoever looks in; an authorization code is not taken from an address, which is logged and kept."""
        self._say(404, _NOTHING)

    def do_POST(self) -> None:
        """Take the answer (response_mode=form_post)."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _MAX_BODY:
            self._say(400, _NOTHING)
            return
        form = parse_qs(self.rfile.read(int(length)).decode("utf-8", "replace"))
        fields = {name: values[0] for name, values in form.items() if len(values) == 1}
        if fields.get("state") != self.server.state or not ("code" in fields or "error" in fields):
            self._say(400, _NOTHING)
            return
        self._say(200, _DONE if "code" in fields else _FAILED)
        self.server.answer = fields

    def _say(self, status: int, text: str) -> None:
        body = text.encode()
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing."""
