"""Microsoft Graph, as far as the trend charts ask for it, and the blob store behind it."""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

from intune_dw_cli.sandbox.graph_data import GraphData
from intune_dw_cli.sandbox.graph_zip import make_zip
from intune_dw_cli.sandbox.messages import Response
from intune_dw_cli.sandbox.noise import Noise
from intune_dw_cli.sandbox.problems import gateway_page, problem
from intune_dw_cli.sandbox.warehouse import answer_instead

if TYPE_CHECKING:
    from collections.abc import Callable

    from intune_dw_cli.sandbox.config import GraphConfig
    from intune_dw_cli.sandbox.faults import Fault, FaultBox
    from intune_dw_cli.sandbox.messages import Mount, Request
    from intune_dw_cli.sandbox.tenant import Tenant

_BLOBS = "/_blob"
_CONTEXT = "https://graph.microsoft.com/{version}/$metadata#{path}"
_JOBS = "deviceManagement/reports/exportJobs"
_NEVER = "0001-01-01T00:00:00Z"
_PERMISSIONS = (
    ("deviceManagement/termsAndConditions*", "DeviceManagementServiceConfig"),
    ("deviceAppManagement/*", "DeviceManagementApps"),
    ("exportJobs/MAM*", "DeviceManagementApps"),
    ("deviceManagement/deviceConfigurations*", "DeviceManagementConfiguration"),
    ("reports/deviceConfiguration*", "DeviceManagementConfiguration"),
    ("exportJobs/Configuration*", "DeviceManagementConfiguration"),
    ("reports/managedDevice*", "DeviceManagementManagedDevices"),
    ("exportJobs/*", "DeviceManagementManagedDevices"),
)
_NOT_AUTHORIZED = (
    "Application is not authorized to perform this operation. Application must have one of the following scopes: {}"
)


@dataclass(slots=True)
class _Job:
    id: str
    report: str
    content: bytes
    fate: str
    polls: int = 0


class Graph:
    """Answers Graph's two versions and the blob store.

    Args:
        tenant: Returns the tenant at its present clock.
        faults: The faults in force; paths are called `graph/` and what follows the version.
    """

    def __init__(self, config: GraphConfig, tenant: Callable[[], Tenant], faults: FaultBox) -> None:
        self.config = config
        self.faults = faults
        self._tenant = tenant
        self._jobs: dict[str, _Job] = {}
        self._lock = threading.Lock()

    def mounts(self) -> list[tuple[str, Mount]]:
        """Return who answers which path."""
        return [("/v1.0", _Version(self, "v1.0")), ("/beta", _Version(self, "beta")), (_BLOBS, _Blobs(self))]

    @property
    def data(self) -> GraphData:
        """The reports at the tenant's present clock."""
        return GraphData(self._tenant())

    def signature(self, name: str) -> str:
        """Return the secret part of a blob's address."""
        return Noise(self._tenant().config.seed).stream(f"sas/{name}", 24).hex()

    def blob_url(self, request: Request, name: str, *, host: str | None = None) -> str:
        """Return the address of a blob, with its signature."""
        origin = request.origin if host is None else request.origin.replace("127.0.0.1", host)
        return f"{origin}{_BLOBS}/{name}?sv=2020-10-02&se=2018-02-21T12%3A00%3A00Z&sr=b&sp=r&sig={self.signature(name)}"

    def add_job(self, report: str, content: bytes) -> _Job:
        """Begin an export job; the first ones of a report may be fated to hang or fail."""
        with self._lock:
            number = sum(job.report == report for job in self._jobs.values())
            config = self.config
            fate = "hang" if number < config.hanging_jobs else "end"
            if config.hanging_jobs <= number < config.hanging_jobs + config.failing_jobs:
                fate = "fail"
            guid = Noise(self._tenant().config.seed).guid(f"job/{report}", number)
            job = _Job(f"{report}_{guid}", report, content, fate)
            self._jobs[job.id] = job
            return job

    def job(self, job_id: str) -> _Job | None:
        """Return a job."""
        with self._lock:
            return self._jobs.get(job_id)

    def zip_of(self, job_id: str) -> bytes | None:
        """Return the file of a job."""
        job = self.job(job_id)
        return make_zip(self.config.zip, job.id, job.content, self.config.bomb_size) if job else None


class _Version:
    """Answers everything below `/v1.0` or `/beta`."""

    def __init__(self, graph: Graph, version: str) -> None:
        self._graph = graph
        self._version = version

    def answer(self, request: Request, rest: str) -> Response:
        """Answer one request."""
        path, config = unquote(rest), self._graph.config
        token = request.bearer()
        accepted = token is not None and config.token in (None, token)
        if not accepted or (config.accept_token is not None and not config.accept_token(token or "")):
            response = problem(request, 401, shape="e", code="InvalidAuthenticationToken", message="Access token.")
            response.headers["WWW-Authenticate"] = "Bearer"
            return response
        skipped = _option(request, "$skiptoken")
        fault = self._graph.faults.take(f"graph/{path}", int(skipped or 0) // config.page_size + 1, request.target)
        if fault is not None and (instead := answer_instead(request, fault)):
            return instead
        if path.startswith(_JOBS):
            response = self._export_jobs(request, path)
        else:
            response = self._refusal(request, path) or self._read(request, path, fault)
        response.wire = fault
        return response

    def _refusal(self, request: Request, what: str) -> Response | None:
        """Return 403 or 404 where something is not permitted, or is not there; `what` is a path or exportJobs/NAME."""
        config = self._graph.config
        needed = next((scope for glob, scope in _PERMISSIONS if fnmatchcase(what, glob)), None)
        named = what if what.startswith("exportJobs/") else f"{self._version}/{what}"
        if needed is None or any(fnmatchcase(named, glob) for glob in config.gone):
            return problem(request, 404, shape="d", code="ResourceNotFound", message="Resource not found")
        scopes = [f"{needed}.{kind}.All" for kind in ("Read", "ReadWrite")]
        if not set(scopes) & set(config.permissions):
            text = _NOT_AUTHORIZED.format(", ".join(scopes))
            return problem(request, 403, shape="d", code="Forbidden", message=text)
        return None

    def _read(self, request: Request, path: str, fault: Fault | None) -> Response:
        if request.method != "GET":
            return problem(request, 405, shape="d")
        if path.startswith("reports/"):
            return self._function(request, path.removeprefix("reports/"))
        rows = self._rows(path)
        if rows is None:
            return problem(request, 404, shape="d", code="ResourceNotFound", message="Resource not found")
        return self._collection(request, path, rows, fault)

    # -- collections ------------------------------------------------------------------------------------------

    def _rows(self, path: str) -> list[dict[str, Any]] | None:
        data, segments = self._graph.data, path.split("/")
        match segments:
            case ["deviceManagement", "termsAndConditions"]:
                return data.terms
            case ["deviceManagement", "termsAndConditions", key, "acceptanceStatuses"]:
                return data.acceptances(key) if any(t["id"] == key for t in data.terms) else None
            case ["deviceManagement", "deviceConfigurations"]:
                return data.configurations
            case ["deviceAppManagement", "managedAppRegistrations"]:
                return data.registrations
        return None

    def _collection(self, request: Request, path: str, rows: list[dict[str, Any]], fault: Fault | None) -> Response:
        size = self._graph.config.page_size
        first = int(_option(request, "$skiptoken") or 0)
        page = rows[first : first + min(size, int(_option(request, "$top") or size))]
        if select := _option(request, "$select"):
            names = select.split(",")
            page = [{name: row[name] for name in row if name in names or "@" in name} for row in page]
        body: dict[str, Any] = {"@odata.context": _CONTEXT.format(version=self._version, path=path), "value": page}
        if first + size < len(rows) and not _option(request, "$top"):
            others = [option for option in request.query.split("&") if option and "skiptoken" not in option]
            query = "&".join([*others, f"$skiptoken={first + size}"])
            body["@odata.nextLink"] = f"{request.origin}{request.path}?{query}"
        if fault is not None and fault.kind == "next-loop":
            body["@odata.nextLink"] = f"{request.origin}{request.target}"
        if fault is not None and fault.kind == "next-foreign":
            body["@odata.nextLink"] = fault.url
        return Response.of_json(body)

    # -- report functions -------------------------------------------------------------------------------------

    def _function(self, request: Request, name: str) -> Response:
        bare = name.partition("(")[0].partition("/")[0]
        content = self._graph.data.function(bare)
        if content is None:
            return problem(request, 404, shape="d", code="ResourceNotFound", message="Resource not found")
        form: str = self._graph.config.report
        if form == "usual":
            form = "bytes" if name.endswith("/content") else "base64"
        if form == "bytes":
            return Response(200, content, "application/octet-stream")
        if form == "html":
            return Response(200, gateway_page(200).encode(), "text/html")
        if form in ("redirect", "redirect-http"):
            url = self._graph.blob_url(request, f"content/{bare}.csv", host="localhost")
            if form == "redirect-http":
                url = f"http://reports.contoso.example/{bare}.csv?sig={self._graph.signature(bare)}"
            return Response(302, headers={"Location": url})
        encoded = base64.b64encode(content).decode()
        text = {"unpadded": encoded.rstrip("="), "plain-text": content.decode("utf-8-sig"), "null": None}
        report = {"@odata.type": "microsoft.graph.report", "content": text.get(form, encoded)}
        return Response.of_json({"value": report})

    # -- export jobs ------------------------------------------------------------------------------------------

    def _export_jobs(self, request: Request, path: str) -> Response:
        if path == _JOBS:
            if request.method != "POST":
                return problem(request, 400, shape="d", message="No method match route template")
            return self._submit(request)
        job_id = path.removeprefix(_JOBS).strip("/").removeprefix("('").removesuffix("')")
        job = self._graph.job(job_id)
        if job is None or request.method != "GET":
            return problem(request, 404, shape="d", code="ResourceNotFound", message="Resource not found")
        job.polls += 1
        return Response.of_json(self._state(request, job))

    def _submit(self, request: Request) -> Response:
        try:
            wanted = json.loads(request.body)
            report, select = wanted["reportName"], wanted.get("select")
        except (ValueError, KeyError, TypeError, AttributeError):
            return problem(request, 400, shape="d")
        if refusal := self._refusal(request, f"exportJobs/{report}"):
            return refusal
        content = self._graph.data.export(report, select)
        if content is None or (select and self._graph.config.refuse_select):
            return problem(request, 400, shape="d")
        job = self._graph.add_job(report, content)
        return Response.of_json(self._state(request, job), 201)

    def _state(self, request: Request, job: _Job) -> dict[str, Any]:
        status, url = "notStarted", None
        if job.polls:
            status = "inProgress"
        if job.polls > self._graph.config.job_polls and job.fate != "hang":
            status = "failed" if job.fate == "fail" else "completed"
        if status == "completed":
            url = self._graph.blob_url(request, f"exports/{job.id}.zip", host="localhost")
        return {
            "@odata.context": _CONTEXT.format(version=self._version, path=f"{_JOBS}/$entity"),
            "id": job.id,
            "reportName": job.report,
            "format": "csv",
            "status": status,
            "url": url,
            "expirationDateTime": "2018-02-21T12:00:00Z" if url else _NEVER,
        }


class _Blobs:
    """A blob store that opens to whoever has the address, and, as Azure does, refuses a bearer with it."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def answer(self, request: Request, rest: str) -> Response:
        """Answer one request."""
        if "authorization" in request.headers:
            return Response(400, b"<Error><Code>InvalidAuthenticationInfo</Code></Error>", "application/xml")
        name = unquote(rest)
        if _option(request, "sig") != self._graph.signature(name):
            return Response(403, b"<Error><Code>AuthenticationFailed</Code></Error>", "application/xml")
        fault = self._graph.faults.take(f"blob/{name}", 1, request.target)
        if fault is not None and (instead := answer_instead(request, fault)):
            return instead
        kind, _, file = name.partition("/")
        stem = file.rpartition(".")[0]
        body = self._graph.zip_of(stem) if kind == "exports" else self._graph.data.function(stem)
        if body is None:
            return Response(404, b"<Error><Code>BlobNotFound</Code></Error>", "application/xml")
        return Response(200, body, "application/octet-stream", wire=fault)


def _option(request: Request, name: str) -> str:
    """Return a query option, empty if it is not there."""
    return parse_qs(request.query).get(name, [""])[0]
