"""Serves the sandbox's Entra on loopback, over TLS or plain."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any, Self

from intune_dw_cli.sandbox.connections import ConnectionHandler, ConnectionServer
from intune_dw_cli.sandbox.entra import Entra
from intune_dw_cli.sandbox.messages import Request

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_LONGEST_BODY = 1024 * 1024


class EntraServer:
    """Serves one Entra at the root of a loopback port; a context manager.

    Args:
        entra: The provider.
        certificate: PEM file with certificate and chain; without it the server speaks plain HTTP.
        key: PEM file with the private key, if it is not in the certificate's file.
        port: TCP port; 0 lets the system choose.
    """

    def __init__(
        self, entra: Entra | None = None, *, certificate: Path | None = None, key: Path | None = None, port: int = 0
    ) -> None:
        self.entra = entra or Entra()
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate, key)
        self._server = _Server(("127.0.0.1", port), self.entra, self._context)

    @property
    def host(self) -> str:
        """Host and port, as for `--authority-host`."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"{'https' if self._context else 'http'}://{self.host}"

    def start(self) -> Self:
        """Serve in a background thread."""
        threading.Thread(target=self._server.serve_forever, args=(0.01,), name="entra", daemon=True).start()
        return self

    def stop(self) -> None:
        """Stop serving and cut every open connection."""
        self._server.shutdown()
        self._server.server_close()
        self._server.disconnect_all()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Server(ConnectionServer):
    def __init__(self, address: tuple[str, int], entra: Entra, context: ssl.SSLContext | None) -> None:
        self.entra = entra
        self.context = context
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self.context is not None:
            # The handshake happens at the first read, in the connection's own thread.
            connection = self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about clients that went away or do not trust the certificate."""


class _Handler(ConnectionHandler):
    timeout = 30.0
    server: _Server

    def _serve(self) -> None:
        length = min(int(self.headers.get("content-length") or 0), _LONGEST_BODY)
        headers = {name.lower(): value for name, value in self.headers.items()}
        if self.server.context is not None:
            headers["x-forwarded-proto"] = "https"
        request = Request(self.command, self.path, headers, self.rfile.read(length))
        response = self.server.entra.answer(request, request.path.lstrip("/"))
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        self.send_header("Cache-Control", "no-store")
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(response.body)

    do_GET = do_POST = _serve  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing: addresses may hold codes."""
