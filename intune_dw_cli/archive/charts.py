"""Trend charts: the reports of the admin center that reset with the move, saved over Microsoft Graph.

Each item is independent. What Graph refuses (403) or does not know (404) is `manual`: a person exports it in the portal
and attaches the file; anything else that goes wrong is `failed`, and a later run may get it. Records hold no clock, no
request id, no job id and no address of a file: the same data gives the same records.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from intune_dw_cli.archive.chart_files import (
    ATTACHED,
    CHARTS,
    ChartFile,
    RawRows,
    Section,
    Stage,
    is_json,
    report_content,
    sniffed_suffix,
    sweep,
)
from intune_dw_cli.archive.chart_items import (
    ITEMS,
    Attempt,
    ChartItem,
    Children,
    Collection,
    ExportRequest,
    ReportFunction,
    chart_item,
)
from intune_dw_cli.archive.shape import Shape
from intune_dw_cli.archive.unzip import MAX_BYTES, open_report
from intune_dw_cli.errors import (
    ForbiddenError,
    IntuneDwError,
    NotFoundError,
    ProtocolError,
    ServiceError,
    SignInError,
    TransportError,
    UsageError,
)
from intune_dw_cli.events import ChartOpen, ChartSaved, ChartStarted, Observer, ignore
from intune_dw_cli.service.graph import Graph

ChartState = Literal["saved", "attached", "manual", "failed"]
Json = dict[str, Any]

_GUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_CODE = re.compile(r"[A-Za-z][A-Za-z.]{0,59}")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")
_UNREACHABLE = 2
"""Items in a row that got no answer at all, after which the others are not tried: each would wait for minutes."""


_CHART = Shape(
    {
        **dict.fromkeys(("item", "group", "title", "state", "portal_path"), str),
        "optional": bool,
        **dict.fromkeys(("request", "permission", "reason"), (str, None)),
        "status": (int, None),
        "files": [{"path": str, "bytes": int, "sha256": str}],
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartRecord:
    """What became of an item.

    Attributes:
        state: saved over Graph; attached by a person; manual: a person must; failed: a later run may.
        optional: Never makes a run partial.
        request: The request that gave it or, if none did, the one that decided the state; None where there is none.
        status: The HTTP status of that request, None where there was no answer.
        permission: The Graph permission that saves it automatically.
        reason: Why it is manual or failed, or what else there is to know.
        files: What the archive holds of it. A manual or failed item may hold files of an earlier run.
    """

    item: str
    group: str
    title: str
    state: ChartState
    optional: bool
    request: str | None
    status: int | None
    permission: str | None
    portal_path: str
    reason: str | None
    files: tuple[ChartFile, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether it makes the archive partial."""
        return self.state in ("manual", "failed") and not self.optional

    def to_json(self) -> Json:
        """Return the record as JSON values."""
        return {**asdict(self), "files": [asdict(f) for f in self.files]}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> ChartRecord:
        """Read a record. Raises KeyError, TypeError where it is none."""
        _CHART.require(raw)
        values = {name: raw[name] for name in cls.__slots__ if name != "files"}
        return cls(**values, files=tuple(ChartFile(f["path"], f["bytes"], f["sha256"]) for f in raw["files"]))


def save_charts(
    graph: Graph,
    root: Path,
    *,
    held: Iterable[ChartRecord],
    done: Iterable[ChartRecord] = (),
    items: Sequence[ChartItem] = ITEMS,
    max_bytes: int = MAX_BYTES,
    observer: Observer = ignore,
    committed: Callable[[ChartRecord], None] = lambda _record: None,
    replacing: Callable[[Sequence[str]], None] = lambda _paths: None,
) -> list[ChartRecord]:
    """Save every item that can be had, and say of the others what to do. One thread; the stop event is Graph's.

    Files below `charts/` that neither `held` nor `done` names are removed: a killed run left them.

    Args:
        graph: Microsoft Graph.
        root: The archive's folder.
        held: Records of earlier runs, from the manifest. Their files stay until new ones are complete.
        done: Records of this run, from its journal: what is saved is not fetched again.
        items: What to save.
        max_bytes: Largest report that a zip may hold.
        observer: Hears of each item.
        committed: Given each record as soon as its files are safe.
        replacing: Told of paths below the root whose files are about to be replaced or removed.

    Returns:
        A record for each item, in their order.

    Raises:
        OutputError: the disk does not take it.
        InterruptedRunError: the run was stopped. What was committed stays; the same call continues.
    """
    before = {record.item: record for record in held}
    ready = {record.item: record for record in done}
    sweep(root, {f.path for r in (*before.values(), *ready.values()) for f in r.files})
    run = _Run(graph, root, max_bytes, observer, replacing)
    records = []
    for item in items:
        record = ready.get(item.id)
        if record is None or record.state != "saved":
            record = _with_held(run.save(item), before.get(item.id))
            committed(record)
            _tell(record, item, observer)
        records.append(record)
    return records


def attach_chart(
    root: Path,
    item: str,
    source: Path,
    *,
    held: ChartRecord | None,
    replacing: Callable[[Sequence[str]], None] = lambda _paths: None,
) -> ChartRecord:
    """Copy a file that a person exported in the portal into the archive, and close its item.

    Args:
        root: The archive's folder.
        item: The item's id.
        source: The file. Only its suffix goes into the archive, never its name.
        held: The item's record in the manifest.
        replacing: As in `save_charts`.

    Raises:
        UsageError: no such item, no such file, or nothing in it.
        OutputError: the disk does not take it.
    """
    known = chart_item(item)
    suffix = source.suffix.lower() if _SUFFIX.fullmatch(source.suffix) else ".bin"
    stage = Stage(root, known.id)
    try:
        with source.open("rb") as incoming:
            if not incoming.peek(1):
                raise UsageError(f"{source} is empty", hint="Export the chart once more.")
            shutil.copyfileobj(incoming, stage.open(ATTACHED + suffix), 1024 * 1024)
        files = stage.commit(replacing, attached=True)
    except OSError as error:
        stage.discard()
        raise UsageError(
            f"{source} cannot be read: {error.strerror or error}", hint="Give the exported file."
        ) from None
    except BaseException:
        stage.discard()
        raise
    others = tuple(f for f in held.files if not _is_attached(f)) if held else ()
    record = held or _record(known, "attached")
    return replace(record, state="attached", reason=None, files=(*others, *files))


class _Run:
    """One pass over the items."""

    def __init__(
        self,
        graph: Graph,
        root: Path,
        max_bytes: int,
        observer: Observer,
        replacing: Callable[[Sequence[str]], None],
    ) -> None:
        self._graph = graph
        self._root = root
        self._max_bytes = max_bytes
        self._observer = observer
        self._replacing = replacing
        self._refused: SignInError | None = None
        self._silent: list[IntuneDwError] = []

    def save(self, item: ChartItem) -> ChartRecord:
        """Try the attempts of an item in their order."""
        if not item.attempts:
            return _record(item, "manual", reason="There is no API for it: it can only be exported in the portal.")
        if self._refused is not None:
            return self._signed_out(item)
        if len(self._silent) >= _UNREACHABLE:
            reason = f"Not tried, since Graph gave no answer before: {_scrubbed(self._silent[-1].message)}"
            return _record(item, "failed", request=item.attempts[0].request, reason=reason)
        self._observer(ChartStarted(item.id, item.title))
        failures: list[tuple[Attempt, IntuneDwError]] = []
        for attempt in item.attempts:
            try:
                record = self._attempt(item, attempt)
            except SignInError as error:
                self._refused = error
                return self._signed_out(item)
            except (ForbiddenError, TransportError) as error:  # the next one needs the same permission and host
                failures.append((attempt, error))
                break
            except (ServiceError, ProtocolError) as error:
                failures.append((attempt, error))
                if isinstance(attempt, ExportRequest) and isinstance(error, ProtocolError):
                    break  # the service knows the report; its twin would take as long again
            else:
                self._silent.clear()
                return record
        last = failures[-1][1]
        self._silent = [*self._silent, last] if isinstance(last, TransportError) else []
        return _failure(item, failures)

    def _attempt(self, item: ChartItem, attempt: Attempt) -> ChartRecord:
        stage = Stage(self._root, item.id)
        try:
            note = self._fetch(item, attempt, stage)
            files = stage.commit(self._replacing)
        except BaseException:
            stage.discard()
            raise
        return _record(item, "saved", request=attempt.request, status=200, reason=note, files=files)

    def _fetch(self, item: ChartItem, attempt: Attempt, stage: Stage) -> str | None:
        """Put the answers to an attempt into the stage. Returns what there is to know about them."""
        match attempt:
            case ReportFunction():
                return self._report(item, attempt, stage)
            case Collection():
                return self._collection(item, attempt, stage)
            case Children():
                return self._children(item, attempt, stage)
            case ExportRequest():
                return self._export(item, attempt, stage)

    def _report(self, item: ChartItem, attempt: ReportFunction, stage: Stage) -> str | None:
        body = self._graph.get_raw(attempt.path, item=item.id).body
        stage.write("raw.json" if is_json(body) else "raw.bin", body)
        content = report_content(body)
        stage.write(f"report.{sniffed_suffix(content)}", content)
        return None if content.strip() else "The report came empty."

    def _collection(self, item: ChartItem, attempt: Collection, stage: Stage) -> str | None:
        section = Section(dict.fromkeys(attempt.columns))
        raw = RawRows(stage.open("raw.json"))
        raw.literal('{"value":[\n')
        for page in self._graph.get_pages(attempt.path, item=item.id):
            raw.page(page, section)
        raw.literal("\n]}\n")
        stage.finish("raw.json")
        raw.to_csv(section, stage.open("report.csv"))
        return None

    def _children(self, item: ChartItem, attempt: Children, stage: Stage) -> str | None:
        """Save a collection and what lies below each of its members, as one document and a CSV of each kind."""
        parents = Section(dict.fromkeys(attempt.columns))
        parent_id, parent_name = "termsAndConditionsId", "termsAndConditionsName"
        children = Section(dict.fromkeys((parent_id, parent_name, *attempt.child_columns)))
        raw = RawRows(stage.open("raw.json"))
        raw.literal('{"value":[\n')
        members: list[tuple[str, Any]] = []
        for page in self._graph.get_pages(attempt.path, item=item.id):
            raw.page(page, parents)
            members += [(_id_of(row), row.get("displayName")) for row in page.rows]
        raw.literal(f'\n],"{attempt.child}":{{')
        for place, (key, name) in enumerate(members):
            raw.literal(f"{',' if place else ''}\n{json.dumps(key)}:[\n")
            path = f"{attempt.path}/{quote(key, safe='')}/{attempt.child}"
            for page in self._graph.get_pages(path, item=item.id):
                raw.page(page, children, {parent_id: key, parent_name: name})
            raw.literal("\n]")
        raw.literal("}}\n")
        stage.finish("raw.json")
        raw.to_csv(parents, stage.open("terms.csv"))
        raw.to_csv(children, stage.open("report.csv"))
        return None

    def _export(self, item: ChartItem, attempt: ExportRequest, stage: Stage) -> str | None:
        export = self._graph.export(attempt.report, item=item.id)
        report = open_report(export.zip, max_bytes=self._max_bytes)
        file = stage.open(f"report.{report.suffix}")
        for chunk in report.chunks():
            file.write(chunk)
        if attempt.report.select and not export.selected:
            return "The service refused the documented columns; the report has its default ones."
        return None

    def _signed_out(self, item: ChartItem) -> ChartRecord:
        assert self._refused is not None
        reason = f"Graph sign-in was refused: {_scrubbed(self._refused.message)}"
        return _record(item, "manual", request=item.attempts[0].request, reason=reason)


def _failure(item: ChartItem, failures: Sequence[tuple[Attempt, IntuneDwError]]) -> ChartRecord:
    """Return the record of an item that no attempt gave.

    A missing permission decides; then what may work later; then that Graph does not know it.
    """
    for kind, state in ((ForbiddenError, "manual"), (IntuneDwError, "failed")):
        for attempt, error in failures:
            if isinstance(error, kind) and not _is_unknown(error):
                status = error.status if isinstance(error, ServiceError) else None
                return _record(item, state, request=attempt.request, status=status, reason=_reason(item, error))
    attempt, error = failures[-1]
    assert isinstance(error, ServiceError)
    return _record(item, "manual", request=attempt.request, status=error.status, reason=_reason(item, error))


def _is_unknown(error: IntuneDwError) -> bool:
    """Whether it says that there is no such thing; some back ends say it with 400."""
    return isinstance(error, NotFoundError) or (isinstance(error, ServiceError) and error.code == "ResourceNotFound")


def _reason(item: ChartItem, error: IntuneDwError) -> str:
    if isinstance(error, ForbiddenError):
        named = f"; the service names {' or '.join(error.scopes)}" if error.scopes else ""
        return (
            f"Microsoft Graph refuses it (403): the permission {item.permission} is missing, or lacks admin consent, "
            f"or the user's Intune role does not allow it{named}."
        )
    if _is_unknown(error):
        return "Microsoft Graph does not offer it to this tenant (404)."
    if isinstance(error, ServiceError):
        code = f" ({error.code})" if error.code and _CODE.fullmatch(error.code) else ""
        return f"Microsoft Graph answered {error.status}{code}."
    return _scrubbed(error.message)


def _scrubbed(message: str) -> str:
    """Return a message without ids, which differ from run to run."""
    return _GUID.sub("...", message)


def _record(
    item: ChartItem,
    state: str,
    *,
    request: str | None = None,
    status: int | None = None,
    reason: str | None = None,
    files: tuple[ChartFile, ...] = (),
) -> ChartRecord:
    return ChartRecord(
        item=item.id,
        group=item.group,
        title=item.title,
        state=state,  # type: ignore[arg-type]
        optional=item.optional,
        request=request,
        status=status,
        permission=item.permission,
        portal_path=item.portal_path,
        reason=reason,
        files=files,
    )


def _with_held(record: ChartRecord, held: ChartRecord | None) -> ChartRecord:
    """Return a new record with what earlier runs hold of the item: nothing that is held is forgotten."""
    if held is None or not held.files:
        return record
    attached = tuple(f for f in held.files if _is_attached(f))
    if record.state == "saved":
        return replace(record, files=(*record.files, *attached))
    if attached:
        return replace(record, state="attached", reason=None, files=held.files)
    return replace(record, files=held.files, reason=f"{record.reason} What an earlier run saved is kept.")


def _is_attached(file: ChartFile) -> bool:
    return file.path.startswith(f"{CHARTS}/") and file.path.rpartition("/")[2].partition(".")[0] == ATTACHED


def _tell(record: ChartRecord, item: ChartItem, observer: Observer) -> None:
    if record.state == "saved":
        observer(ChartSaved(record.item, len(record.files), sum(f.bytes for f in record.files)))
    elif record.state != "attached" and item.attempts:
        observer(ChartOpen(record.item, record.state, record.reason or ""))


def _id_of(row: Mapping[str, Any]) -> str:
    key = row.get("id")
    if not isinstance(key, str) or not key or key in (".", ".."):
        raise ProtocolError("a member of the collection has no id")
    return key
