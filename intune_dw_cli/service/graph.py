"""Microsoft Graph, as far as the trend charts need it: collections, report functions and export jobs.

Facts are from Microsoft's Graph reference (the requests) and its Intune pages on exporting reports (export jobs and
their limits). Requests go out through the one `Transport`, with a token source for Graph. The bearer goes to Graph's
own origin only. What lies elsewhere, the target of a redirect and the blob of an export job, is fetched without it, and
its address counts as a secret: a SAS URL opens to whoever has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urljoin

from intune_dw_cli import jsontext
from intune_dw_cli.errors import (
    BadRequestError,
    ForbiddenError,
    HostGuardError,
    MalformedPageError,
    NotFoundError,
    ProtocolError,
    ServiceError,
    SignInError,
    UsageError,
)
from intune_dw_cli.service.call import JSON, Answer, Call
from intune_dw_cli.service.export_jobs import Export, ExportJob, ExportPolicy, ExportReport, Pace
from intune_dw_cli.service.hosts import guard, is_loopback, origin_of, shown_host
from intune_dw_cli.service.page import Page, read_page
from intune_dw_cli.service.problem import is_error_object, parse_problem
from intune_dw_cli.service.transport import Transport

EXPORT_JOBS = "/v1.0/deviceManagement/reports/exportJobs"

_ANYTHING = "*/*"
_MAX_JOB_ID = 512


@dataclass(frozen=True, slots=True)
class GraphPage:
    """One page of a collection.

    Attributes:
        text: The rows as served, without the brackets around them; empty on an empty page.
        rows: The same, parsed.
    """

    text: bytes = field(repr=False)
    rows: list[dict[str, Any]] = field(repr=False)
    next_link: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """An answer of whatever kind, as served."""

    body: bytes = field(repr=False)
    content_type: str


_ADDRESS = "Leave --graph-url out to take the cloud's own, or write it as in https://graph.microsoft.com"


class Graph:
    """Microsoft Graph. Used by one thread at a time.

    Args:
        transport: Sends with a token for Graph.
        base_url: For instance `https://graph.microsoft.com`; http for loopback only.
        exports: Patience with export jobs.

    Raises:
        UsageError: `base_url` is no https address.
    """

    def __init__(self, transport: Transport, base_url: str, *, exports: ExportPolicy | None = None) -> None:
        self._transport = transport
        self._base = base_url.rstrip("/")
        try:
            self._origin = origin_of(self._base)
        except ValueError as reason:
            raise UsageError(f"the address of Microsoft Graph cannot be used: {reason}", hint=_ADDRESS) from None
        if self._origin.scheme != "https" and not is_loopback(self._origin.host):
            raise UsageError("the address of Microsoft Graph must begin with https://", hint=_ADDRESS)
        self._exports = exports or ExportPolicy()
        self._pace = Pace(self._exports, transport.stop)

    def get_pages(self, path: str, *, item: str | None = None) -> Iterator[GraphPage]:
        """Yield the pages of a collection, following each nextLink as the opaque address that it is.

        Args:
            path: From the version on: `/v1.0/deviceManagement/termsAndConditions`. Sent as it is.
            item: What it is for, for messages and events.

        Raises:
            HostGuardError: a nextLink leads to another host.
            ProtocolError: a nextLink comes twice: the chain would never end.
            IntuneDwError: what `Transport.call` raises.
        """
        url = self._base + path
        seen = {url}
        while True:
            page = self._page(url, item)
            yield page
            if page.next_link is None:
                return
            url = guard(page.next_link, request_url=url, origin=self._origin, allowed_hosts=())
            if url in seen:
                raise ProtocolError("Graph's nextLinks go round in a circle", collection=item)
            seen.add(url)

    def get_raw(self, path: str, *, item: str | None = None) -> RawAnswer:
        """Return an answer as served. A redirect is followed once, without the bearer when it leaves Graph.

        Raises:
            MalformedPageError: nothing, a web page or an error under status 200, in spite of retries.
            ProtocolError: a redirect to nowhere, or to an address that is not https.
            IntuneDwError: what `Transport.call` raises.
        """
        with self._advised(item):
            call = Call(url=self._base + path, accept=_ANYTHING, redirect=True)
            answer = self._transport.call(call, _document, collection=item)
            if answer.status != 200:
                target = self._redirected(answer, call.url)
                same = origin_of(target) == self._origin
                call = Call(url=target, accept=_ANYTHING, bearer=same)
                answer = self._transport.call(call, _document, collection=item)
            return RawAnswer(answer.body, answer.content_type)

    # -- export jobs ------------------------------------------------------------------------------------------

    def submit_export_job(self, report: ExportReport, *, select: bool = True, item: str | None = None) -> ExportJob:
        """Ask for a report. Repeated by the transport where no answer came: a second job does no harm.

        Raises:
            BadRequestError: no such report, or, with `select`, no such column.
            IntuneDwError: what `Transport.call` raises.
        """
        self._pace.wait()
        call = Call(url=self._base + EXPORT_JOBS, json=report.encode(select=select))
        with self._advised(item):
            return self._transport.call(call, _read_job, collection=item)

    def poll(self, job_id: str, *, item: str | None = None) -> ExportJob:
        """Look at a job. Raises what `Transport.call` raises."""
        self._pace.wait()
        key = quote(job_id.replace("'", "''"), safe="'")
        with self._advised(item):
            return self._transport.call(
                Call(url=f"{self._base}{EXPORT_JOBS}('{key}')", accept=JSON), _read_job, collection=item
            )

    def download(self, url: str, *, item: str | None = None) -> bytes:
        """Return the file at a job's address, fetched without the bearer.

        Raises:
            ProtocolError: the address is not https.
            ServiceError: the store refuses, for instance because the address has expired. Nothing quotes the address.
            IntuneDwError: what `Transport.call` raises.
        """
        self._require_safe(url, "the export's file lies at an address that cannot be used")
        call = Call(url=url, accept=_ANYTHING, bearer=False)
        return self._transport.call(call, lambda answer: answer.body, collection=item)

    def export(self, report: ExportReport, *, item: str | None = None) -> Export:
        """Export a report: ask, wait, fetch. A job that fails or hangs is followed by a fresh one.

        Raises:
            ProtocolError: no job came to its end.
            InterruptedRunError: the run was stopped, also while waiting.
            IntuneDwError: what `Transport.call` raises.
        """
        select = bool(report.select)
        reason = ""
        for _ in range(self._exports.submissions):
            try:
                job = self.submit_export_job(report, select=select, item=item)
            except BadRequestError:
                if not select:
                    raise
                select = False
                job = self.submit_export_job(report, select=False, item=item)
            try:
                url = self._finished(job, item)
                if url is not None:
                    return Export(self.download(url, item=item), select)
                reason = f"a job had not ended after {self._exports.job_seconds:.0f} seconds"
            except _JobFailedError as error:
                reason = str(error)
            except ForbiddenError:
                raise
            except ServiceError as error:
                reason = f"a job or its file was refused with status {error.status}"
        times = self._exports.submissions
        raise ProtocolError(
            f"the export job {report.name} did not succeed, though asked for {times} times: {reason}",
            hint="Export jobs hang at times: run the same command again later, or export the report in the portal.",
            collection=item,
        )

    def _finished(self, job: ExportJob, item: str | None) -> str | None:
        """Wait for a job and return the address of its file, None when it takes too long."""
        deadline = self._exports.clock() + self._exports.job_seconds
        wait = self._exports.first_poll
        while True:
            if job.status == "completed" and job.url:
                return job.url
            if job.status == "failed":
                raise _JobFailedError("a job failed")
            left = deadline - self._exports.clock()
            if left <= 0:
                return None
            self._exports.pause(self._transport.stop, min(wait, left))
            wait = min(wait * self._exports.growth, self._exports.max_poll)
            job = self.poll(job.id, item=item)

    # -- inner workings ---------------------------------------------------------------------------------------

    def _page(self, url: str, item: str | None) -> GraphPage:
        def read(answer: Answer) -> GraphPage:
            return read_rows(read_page(answer.body, url=url, request_id=answer.request_id))

        with self._advised(item):
            return self._transport.call(Call(url=url), read, collection=item)

    def _redirected(self, answer: Answer, url: str) -> str:
        try:
            target = urljoin(url, (answer.location or "").strip())
        except ValueError:
            target = ""
        if not answer.location or target == url:
            raise ProtocolError("Graph redirects to nowhere", request_id=answer.request_id)
        self._require_safe(target, "Graph redirects to an address that is not followed")
        return target

    def _require_safe(self, url: str, complaint: str) -> None:
        """Raise HostGuardError unless an address is https, or on this machine as Graph (the sandbox's) itself is."""
        try:
            origin = origin_of(url)
        except ValueError as reason:
            raise HostGuardError(f"{complaint}: {reason}") from None
        local = is_loopback(origin.host)
        if local != is_loopback(self._origin.host) or (origin.scheme != "https" and not local):
            raise HostGuardError(f"{complaint}: {shown_host(url, url)} is not a public https host")

    @contextmanager
    def _advised(self, item: str | None) -> Iterator[None]:
        """Give errors hints that fit Graph, in place of the warehouse's."""
        try:
            yield
        except SignInError as error:
            error.hint = f"Sign in again; the token must be for {self._base}."
            raise
        except ForbiddenError as error:
            needed = f" ({' or '.join(error.scopes)})" if error.scopes else ""
            error.hint = (
                f"Add the Microsoft Graph permission{needed} to the app in the Entra admin center and grant admin "
                "consent; a user also needs an Intune role that may read this."
            )
            raise
        except (NotFoundError, ProtocolError) as error:
            error.hint = f"Microsoft Graph ({self._origin.host}) may not offer this to the tenant or its cloud."
            raise


class _JobFailedError(Exception):
    """The service gave up on an export job."""


def read_rows(page: Page) -> GraphPage:
    """Parse the rows of a page, so that a page that is none is asked for again.

    Raises:
        MalformedPageError: it is none.
        ProtocolError: nested too deeply.
    """
    text, rows = b"", None
    if page.span is not None:
        text = page.body[slice(*page.span)].strip()
        try:
            rows = jsontext.loads_exact(b"[" + text + b"]")
        except (ValueError, RecursionError):
            rows = None
    if rows is None:
        rows, _ = page.document()
        text = ",".join(map(jsontext.dumps_exact, rows)).encode("utf-8", "backslashreplace")  # a lone surrogate
    if not all(isinstance(row, dict) for row in rows):
        raise MalformedPageError("the page holds something else than rows", request_id=page.request_id)
    return GraphPage(text, rows, page.next_link)


def _document(answer: Answer) -> Answer:
    """Return an answer that holds something; a redirect is as good."""
    if answer.status != 200:
        return answer
    text = answer.body[:4096].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    complaint = None
    if not answer.body:
        complaint = "the answer is empty"
    elif text.startswith((b"<!doctype html", b"<html")):
        complaint = "the answer is a web page, not a report"
    elif text.startswith(b"{") and (said := _error_in(answer.body)):
        complaint = f"an error under status 200: {said}"
    if complaint:
        raise MalformedPageError(complaint, request_id=answer.request_id)
    return answer


def _error_in(body: bytes) -> str | None:
    try:
        document = jsontext.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not is_error_object(document):
        return None
    problem = parse_problem(body, "application/json")
    return problem.message or problem.code or "no further explanation"


def _read_job(answer: Answer) -> ExportJob:
    try:
        document = jsontext.loads(answer.body)
        job_id, status, url = document["id"], document["status"], document.get("url")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        document = job_id = status = url = None
    if not isinstance(job_id, str) or not 0 < len(job_id) <= _MAX_JOB_ID or not isinstance(status, str):
        raise MalformedPageError("the answer is no export job", request_id=answer.request_id)
    return ExportJob(job_id, status.lower(), url if isinstance(url, str) and url else None)
