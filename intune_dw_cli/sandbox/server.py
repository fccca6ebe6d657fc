"""The sandbox: an HTTP server on loopback that plays the warehouse and Microsoft Graph."""

from __future__ import annotations

import sys
import threading
from collections import deque
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from intune_dw_cli.sandbox.config import ServerConfig, TenantConfig
from intune_dw_cli.sandbox.connections import ConnectionHandler, ConnectionServer
from intune_dw_cli.sandbox.control import PREFIX, Control
from intune_dw_cli.sandbox.faults import Fault, FaultBox
from intune_dw_cli.sandbox.graph import Graph
from intune_dw_cli.sandbox.messages import Request, Response, Router
from intune_dw_cli.sandbox.problems import problem
from intune_dw_cli.sandbox.tenant import Tenant
from intune_dw_cli.sandbox.warehouse import Warehouse
from intune_dw_cli.sandbox.wire import DisconnectedError, Wire

if TYPE_CHECKING:
    from datetime import date
    from types import TracebackType

ROOT = "/TrafficGateway/TrafficRoutingService/ReportingService/DataWarehouseFEService"
SHORT_ROOT = "/ReportingService/DataWarehouseFEService"

_RECORDED_HEADERS = (
    "accept",
    "accept-encoding",
    "host",
    "client-request-id",
    "odata-maxversion",
    "prefer",
    "user-agent",
)
_KEPT_REQUESTS = 100_000


@dataclass(frozen=True)
class RecordedRequest:
    """A request that the sandbox got.

    Attributes:
        target: Path and query exactly as received.
        headers: Some of its headers by lower-case name; never Authorization.
        authorized: Whether it carried a bearer token, right or wrong.
        status: The status of the answer.
        fault: The kind of fault that happened to the answer while it was sent.
    """

    method: str
    target: str
    headers: dict[str, str]
    authorized: bool
    status: int
    fault: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


class Sandbox:
    """A local sandbox tenant; a context manager that serves while it is open.

    Args:
        tenant: The data.
        server: The manners.
    """

    def __init__(self, tenant: TenantConfig | None = None, server: ServerConfig | None = None) -> None:
        self.config = server or ServerConfig()
        self._tenant = Tenant(tenant)
        self.faults = FaultBox(self._tenant.config.seed, self.config.faults)
        self._requests: deque[RecordedRequest] = deque(maxlen=_KEPT_REQUESTS)
        warehouse = Warehouse(self.config, lambda: self._tenant, self.faults)
        graph = Graph(self.config.graph, lambda: self._tenant, self.faults)
        self.router = Router(
            [(ROOT, warehouse), (SHORT_ROOT, warehouse), *graph.mounts(), (PREFIX, Control(self))],
        )
        self._server: _Server | None = None

    @property
    def tenant(self) -> Tenant:
        """The tenant at its present clock."""
        return self._tenant

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        if self._server is None:
            raise RuntimeError("the sandbox is not started")
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def feed_url(self) -> str:
        """The feed URL as an admin would copy it."""
        return f"{self.origin}{ROOT}?api-version=v1.0"

    @property
    def graph_url(self) -> str:
        """The base URL of Microsoft Graph."""
        return self.origin

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests to the warehouse and to Graph so far, oldest first; only the newest 100,000 are kept."""
        return list(self._requests)

    def add_fault(self, fault: Fault) -> None:
        """Put a fault in force."""
        self.faults.add(fault)

    def clear_faults(self) -> None:
        """Take all faults out of force."""
        self.faults.clear()

    def set_today(self, today: date) -> None:
        """Move the tenant's clock: a new day appears, old days drop out as their retention ends."""
        self._tenant = Tenant(replace(self._tenant.config, today=today))

    def start(self) -> Self:
        """Serve in a background thread."""
        server = self._bind()
        server.serving = True
        threading.Thread(target=server.serve_forever, args=(0.05,), name="sandbox", daemon=True).start()
        return self

    def serve_forever(self) -> None:
        """Serve in this thread until Ctrl-C or until `stop` is called in another; on its own or after `bind`."""
        server = self._server or self._bind()
        server.serving = True
        try:
            server.serve_forever(0.05)
        finally:
            self._close()

    def bind(self) -> Self:
        """Take the port without serving yet, so that `feed_url` can be shown before `serve_forever`."""
        self._bind()
        return self

    def stop(self) -> None:
        """Stop serving and cut every open connection; does nothing on a sandbox that is not started."""
        server = self._server
        if server is not None and server.serving:
            # On a server that never began to serve, shutdown() would wait for ever.
            server.shutdown()
        self._close()

    def record(self, request: Request, response: Response) -> None:
        """Keep a request for `requests`."""
        headers = {name: request.headers[name] for name in _RECORDED_HEADERS if name in request.headers}
        self._requests.append(
            RecordedRequest(
                request.method,
                request.target,
                headers,
                "authorization" in request.headers,
                response.status,
                response.wire.kind if response.wire else None,
            )
        )

    def _bind(self) -> _Server:
        if self._server is not None:
            raise RuntimeError("the sandbox is started already")
        self._server = _Server(("127.0.0.1", self.config.port), self)
        return self._server

    def _close(self) -> None:
        # Taken in one step: `stop` in one thread and the end of `serve_forever` in another both come here.
        server, self._server = self._server, None
        if server is not None:
            server.disconnect_all()
            server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Server(ConnectionServer):
    """The socket side."""

    request_queue_size = 128

    def __init__(self, address: tuple[str, int], sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.serving = False
        self.stopping = threading.Event()
        super().__init__(address, _Handler)

    def disconnect_all(self) -> None:
        """End what stalls on purpose, too."""
        self.stopping.set()
        super().disconnect_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about clients that went away; anything else is a bug of ours and is shown."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(ConnectionHandler):
    """One connection."""

    server: _Server

    def setup(self) -> None:
        super().setup()
        self._wire = Wire(self.connection, self.server.stopping)

    def _serve(self) -> None:
        sandbox = self.server.sandbox
        length = int(self.headers.get("content-length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, self.rfile.read(length))
        found = sandbox.router.find(request.path)
        response = found[0].answer(request, found[1]) if found else problem(request, 404)
        if not request.path.startswith(PREFIX):
            sandbox.record(request, response)
        try:
            self._wire.send(request, response, keep_alive=not self.close_connection)
        except DisconnectedError:
            self.close_connection = True

    do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = _serve  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing: the recorded requests are the log."""
