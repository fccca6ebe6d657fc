"""`/_sandbox`: steer a sandbox that runs in another process."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING, Any

from intune_dw_cli.errors import UsageError
from intune_dw_cli.sandbox.faults import Fault
from intune_dw_cli.sandbox.messages import Response

if TYPE_CHECKING:
    from intune_dw_cli.sandbox.messages import Request
    from intune_dw_cli.sandbox.server import Sandbox

PREFIX = "/_sandbox"


class Control:
    """Answers `/_sandbox/faults`, `/requests`, `/expected` and `/clock`. No token is asked for."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def answer(self, request: Request, rest: str) -> Response:
        """Answer one request."""
        handlers = {
            ("GET", "faults"): self._pending,
            ("POST", "faults"): self._add,
            ("DELETE", "faults"): self._clear,
            ("GET", "requests"): self._requests,
            ("GET", "expected"): self._expected,
            ("POST", "clock"): self._clock,
        }
        handler = handlers.get((request.method, rest))
        if handler is None:
            return Response.of_json({"error": f"no {request.method} {request.path}"}, 404)
        try:
            return Response.of_json(handler(request.body))
        except UsageError as error:
            return Response.of_json({"error": error.message, "hint": error.hint}, 400)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            return Response.of_json({"error": f"not understood: {error}"}, 400)

    def _pending(self, body: bytes) -> Any:
        return [fault.as_dict() for fault in self._sandbox.faults.pending()]

    def _add(self, body: bytes) -> Any:
        """Take a fault as JSON object, as a list of them, or as the text of the command line."""
        text = body.decode()
        if text.lstrip()[:1] not in ("{", "["):
            faults = [Fault.parse(text.strip())]
        else:
            value = json.loads(text)
            faults = [Fault.of(item) for item in (value if isinstance(value, list) else [value])]
        for fault in faults:
            self._sandbox.add_fault(fault)
        return {"added": len(faults)}

    def _clear(self, body: bytes) -> Any:
        self._sandbox.clear_faults()
        return {"cleared": True}

    def _requests(self, body: bytes) -> Any:
        return [request.as_dict() for request in self._sandbox.requests]

    def _expected(self, body: bytes) -> Any:
        """Return the rows of every collection, and of every day where there are days."""
        tenant = self._sandbox.tenant
        collections: dict[str, Any] = {}
        for name in tenant.collections():
            days = {str(key): tenant.count(name, day=key) for key in tenant.date_keys(name)}
            rows = sum(days.values()) if days else tenant.count(name)
            collections[name] = {"rows": rows, "days": days or None}
        return {"today": tenant.config.today.isoformat(), "collections": collections}

    def _clock(self, body: bytes) -> Any:
        """Move the clock: `{"today": "2024-01-15"}` or the bare date."""
        text = body.decode().strip()
        value = json.loads(text)["today"] if text.startswith("{") else text
        self._sandbox.set_today(date.fromisoformat(value))
        return {"today": value}
