"""Backup: every collection into an archive; run again, it continues or adds what is new."""

from __future__ import annotations

import datetime as dt
import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from intune_dw_cli.archive.basis import basis_of, is_over
from intune_dw_cli.archive.chart_feeds import chart_folder, chart_records_by_feed, moved_below
from intune_dw_cli.archive.charts import ChartRecord, save_charts
from intune_dw_cli.archive.drift import drift_of
from intune_dw_cli.archive.held import HeldParts
from intune_dw_cli.archive.inventory import log_run, write_inventory
from intune_dw_cli.archive.journal import Journal, RunHeader
from intune_dw_cli.archive.layout import DATA, HISTORY, METADATA, SERVICE, Layout
from intune_dw_cli.archive.lock import archive_lock
from intune_dw_cli.archive.manifest import Holding, Manifest, Missing, read_manifest, smaller_text
from intune_dw_cli.archive.records import SliceRecord
from intune_dw_cli.archive.request import BackupRequest, identity_of, plans_of
from intune_dw_cli.archive.room import Room, find_room
from intune_dw_cli.archive.sweep import remove_partials
from intune_dw_cli.data.datekey import to_date_key
from intune_dw_cli.errors import IntuneDwError, OutputError, UsageError
from intune_dw_cli.events import CollectionPlanned, Observer, PartCommitted, Warned, ignore
from intune_dw_cli.export.choice import narrow
from intune_dw_cli.export.engine import Engine, SliceOutput
from intune_dw_cli.export.files import FREE_SPACE, copy_atomic, write_atomic
from intune_dw_cli.export.names import file_stems
from intune_dw_cli.export.outcome import CollectionOutcome, SliceFailure, SliceResult
from intune_dw_cli.export.parts import PartNaming
from intune_dw_cli.export.plan import CollectionPlan, Slice
from intune_dw_cli.export.pull import slice_parts
from intune_dw_cli.service.graph import Graph
from intune_dw_cli.service.warehouse import Warehouse

Connect = Callable[[bytes | None, bytes | None], Warehouse]
"""Makes the warehouse, given the service document and `$metadata` of the run that is continued, or None and None."""


@dataclass(slots=True)
class BackupResult:
    """How a run ended.

    Attributes:
        manifest: What the archive holds now.
        outcomes: What this run fetched, a collection each.
        resumed: Whether an unfinished run was continued.
        errors: Why collections are incomplete.
    """

    manifest: Manifest
    outcomes: list[CollectionOutcome]
    resumed: bool

    @property
    def errors(self) -> list[IntuneDwError]:
        """What failed."""
        return [failure.error for outcome in self.outcomes for failure in outcome.failures]


def backup(
    request: BackupRequest,
    connect: Connect,
    *,
    graph: Graph | None = None,
    observer: Observer = ignore,
    stop: threading.Event | None = None,
) -> BackupResult:
    """Back up into the archive; continue an unfinished run if there is one.

    A collection or a chart that fails does not stop the others: the manifest then says `partial` and what is missing.

    Args:
        graph: Microsoft Graph, for the trend charts; None: they are not asked for.

    Raises:
        ArchiveLockedError: another run is at work in the archive.
        ArchiveError: the folder is no archive, or one of another feed, tenant or format.
        UsageError: `only` matches no collection.
        SignInError, OutputError, InterruptedRunError: what is committed stays; the same call continues.
    """
    layout = Layout(request.root)
    layout.require_usable()
    warehouse = None
    if not layout.exists:
        # Nothing is made on the disk before the service has answered and the choice of collections makes sense.
        warehouse = connect(None, None)
        narrow(warehouse.entity_sets, request.only, request.exclude)
    with archive_lock(layout):
        run = _Run(request, layout, connect, warehouse, graph, observer, stop or threading.Event())
        try:
            return run.go()
        finally:
            run.close()


def preview(request: BackupRequest, connect: Connect) -> tuple[list[CollectionPlan], Room]:
    """Return what a new run of `backup` would fetch, and the room that takes, without writing anything.

    Raises:
        What `backup` raises.
    """
    layout = Layout(request.root)
    layout.require_usable()
    warehouse = connect(None, None)
    base = basis_of(read_manifest(layout.manifest), identity_of(request, warehouse), moved=request.moved)
    plans = plans_of(request, warehouse, base, request.today)
    held = {h.name: h.parts for h in base.collections.values()} if base else {}
    return plans, find_room(plans, held, request.root)


class _Run:
    """One run in a locked archive.

    Args:
        warehouse: One that has its documents already, for a new run; None: it is made when it is clear what goes on.
    """

    def __init__(
        self,
        request: BackupRequest,
        layout: Layout,
        connect: Connect,
        warehouse: Warehouse | None,
        graph: Graph | None,
        observer: Observer,
        stop: threading.Event,
    ) -> None:
        self._request = request
        self._layout = layout
        self._observer = observer
        self._stop = stop
        base = read_manifest(layout.manifest)
        resumed = Journal.resume(layout.journal)
        self._after_a_stop = resumed is not None
        self.resumed = False
        self._records: list[SliceRecord] = []
        self._charts: dict[str, ChartRecord] = {}
        self._graph = graph if request.redaction is None else None
        if resumed is not None and not is_over(resumed[1], base, request.today):
            self._journal, content = resumed
            self._records = [r for r in content.slices if not self._lost([r])]
            self._charts = content.charts
            self._header = content.header
            self._base = basis_of(base, self._header.identity, moved=True)
            self._warehouse = self._reconnect(connect)
            self.resumed = True
        else:
            if resumed is not None:
                resumed[0].close()
            self._warehouse = warehouse or connect(None, None)
            identity = identity_of(request, self._warehouse)
            self._base = basis_of(base, identity, moved=request.moved)
            identity = identity.joined(self._base.identity) if self._base else identity
            drift = drift_of(self._warehouse, self._base, request.redaction)
            self._header = RunHeader(identity, request.today.isoformat(), self._document_hashes(), drift)
            narrow(self._warehouse.entity_sets, request.only, request.exclude)
            self._journal = Journal.begin(layout.journal, self._header)
            self._write_documents()

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def go(self) -> BackupResult:
        """Fetch what is planned and not yet held, then write the inventory."""
        today = dt.date.fromisoformat(self._header.today)
        full = plans_of(self._request, self._warehouse, self._base, today)
        stems = _stems(self._warehouse, self._base)
        done = {(r.collection, r.slice): r.rows for r in self._records}
        plans = [self._remaining(plan, done) for plan in full]
        self._tell_left_out(full)
        by_name = {plan.entity_set.name: plan for plan in plans}
        guard = HeldParts(self._layout, self._base)
        feed = len(self._base.feeds) if self._base else 1

        def open_output(item: Slice, additional: bool) -> SliceOutput:
            stem = stems[item.collection]
            naming = PartNaming(_folder(stem, feed), stem, self._request.format.suffix)
            plan = by_name[item.collection]
            if paths := guard.replaced_by(item):
                self._journal.announce(paths)
            root, source = self._layout.root, self._warehouse.source
            form = self._request.format
            return slice_parts(root, naming, plan, item, form, additional, source, guard, within=self._layout.state)

        def committed(result: SliceResult) -> None:
            record = SliceRecord.of(result, by_name[result.slice.collection].schema, guard.smaller(result.parts))
            self._journal.commit(record)
            self._records.append(record)
            if record.smaller:
                self._observer(Warned(record.collection, smaller_text(record)))
            for part in result.parts:
                self._observer(PartCommitted(record.collection, part.path, part.rows, part.bytes))

        engine = Engine(self._warehouse, workers=self._request.workers, observer=self._observer, stop=self._stop)
        if little := self._room(plans).warning:
            self._observer(Warned(None, little))
        try:
            outcomes = engine.run(plans, open_output, committed=committed, typed=self._request.format.is_typed)
        except OutputError as error:
            if error.no_space and (needed := self._room([self._left(plan) for plan in plans]).needed_text):
                error.hint = f"{FREE_SPACE}. It needs {needed} more."
            raise
        self._require_whole()
        manifest = self._inventory(full, outcomes, stems)
        if self._request.keep_dimensions:
            self._keep_dimensions(manifest)
        if self._graph is not None:
            manifest.charts_wanted = True
            manifest.charts = self._save_charts(self._graph, feed)
        self._sweep()
        self._finish(manifest)
        return BackupResult(manifest, outcomes, self.resumed)

    # -- beginning --------------------------------------------------------------------------------------------

    def _reconnect(self, connect: Connect) -> Warehouse:
        """Work by the documents that the unfinished run was begun with."""
        documents = []
        for name in (SERVICE, METADATA):
            try:
                document = (self._layout.root / name).read_bytes()
            except OSError:
                document = None
            intact = document is not None and _sha256(document) == self._header.documents[name]
            documents.append(document if intact else None)
        self._warehouse = connect(*documents)
        identity_of(self._request, self._warehouse).require_same(self._header.identity)
        if None in documents:
            if self._document_hashes() != self._header.documents:
                raise UsageError(
                    "the service's documents have changed since the unfinished run was begun, and its copies are gone",
                    hint=f"Delete {self._layout.journal} and run again: held days are kept.",
                )
            self._write_documents()
        return self._warehouse

    def _document_hashes(self) -> dict[str, str]:
        return {
            METADATA: _sha256(self._warehouse.metadata_document),
            SERVICE: _sha256(self._warehouse.service_document),
        }

    def _write_documents(self) -> None:
        write_atomic(self._layout.metadata, self._warehouse.metadata_document)
        write_atomic(self._layout.service, self._warehouse.service_document)

    def _tell_left_out(self, full: Sequence[CollectionPlan]) -> None:
        """Warn of collections of which redaction leaves nothing."""
        planned = {plan.entity_set.name for plan in full}
        for entity_set in narrow(self._warehouse.entity_sets, self._request.only, self._request.exclude):
            if entity_set.name not in planned:
                text = "left out: the documentation does not know it, and every column may be personal (--redact drop)"
                self._observer(Warned(entity_set.name, text))

    def _remaining(self, plan: CollectionPlan, done: Mapping[tuple[str, str], int]) -> CollectionPlan:
        """Return the plan without the slices that are committed, and tell the observer."""
        name = plan.entity_set.name
        mine = {label: rows for (collection, label), rows in done.items() if collection == name}
        whole = any(label.startswith("unfiltered") for label in mine)
        left = () if whole else tuple(piece for s in plan.slices for piece in s.uncovered(mine))
        self._observer(CollectionPlanned(name, len(left), held=len(mine), rows_held=sum(mine.values())))
        return replace(plan, slices=left)

    def _left(self, plan: CollectionPlan) -> CollectionPlan:
        """Return a plan without what has been committed by now."""
        done = {r.slice for r in self._records if r.collection == plan.entity_set.name}
        return replace(plan, slices=tuple(piece for s in plan.slices for piece in s.uncovered(done)))

    def _room(self, plans: Sequence[CollectionPlan]) -> Room:
        """Estimate by what is held, and by what this run has committed."""
        held = {h.name: list(h.parts) for h in self._base.collections.values()} if self._base else {}
        for record in list(self._records):
            held.setdefault(record.collection, []).extend(record.parts)
        return find_room(plans, held, self._layout.root)

    def _lost(self, records: Sequence[SliceRecord]) -> list[str]:
        """Return the parts of committed slices that are not there any more, or not of their size."""
        return [p.path for r in records for p in r.parts if not _has_size(self._layout.root / p.path, p.bytes)]

    # -- ending -----------------------------------------------------------------------------------------------

    def _require_whole(self) -> None:
        """Raise OutputError when a file that this run committed is gone: no manifest may speak of it."""
        if lost := self._lost(self._records):
            more = f" and {len(lost) - 1} more files" if len(lost) > 1 else ""
            raise OutputError(
                f"{self._layout.root / lost[0]}{more} vanished while the run was at work",
                hint="Something else removed or changed it. Run the same command again: it fetches what is missing.",
            )

    def _inventory(
        self, full: Sequence[CollectionPlan], outcomes: Sequence[CollectionOutcome], stems: Mapping[str, str]
    ) -> Manifest:
        """Build the manifest from what earlier runs held and what the journal says."""
        base = self._base.copied() if self._base else Manifest(self._header.identity, "", {}, {})
        feeds = base.feeds or [self._header.identity.source]
        held = base.collections
        collections = {
            e.name: held.pop(e.name)
            if e.name in held
            else Holding(e.name, _folder(stems[e.name], len(feeds)), e.kind, feed=len(feeds))
            for e in self._warehouse.entity_sets
        }
        for entity_set in self._warehouse.entity_sets:
            collections[entity_set.name].retention_days = entity_set.retention_days
        collections |= held  # collections that the service no longer lists stay
        failures = {o.plan.entity_set.name: o.failures for o in outcomes}
        for plan in full:
            holding = collections[plan.entity_set.name]
            labels = [s.label for s in plan.slices]
            records = [r for r in self._records if r.collection == holding.name]
            for record in sorted(records, key=lambda r: _plan_order(r.slice, labels)):
                holding.absorb(record)
            holding.prune([*labels, *(r.slice for r in records)])
            holding.missing = _missing(plan.slices, records, failures.get(holding.name, []))
        chosen = {plan.entity_set.name for plan in full}
        kept = {n: h for n, h in collections.items() if n in chosen or h.slices or h.missing}
        return Manifest(
            self._header.identity,
            self._header.today,
            dict(self._header.documents),
            kept,
            feeds,
            base.former,
            {name: list(found) for name, found in self._header.drift.items()},
            base.charts,
        )

    def _keep_dimensions(self, manifest: Manifest) -> None:
        """Copy what this run read of collections without days to a place with the date of the run."""
        day = to_date_key(dt.date.fromisoformat(manifest.as_of))
        fresh = {r.collection for r in self._records if r.slice == "all"}
        for name in sorted(fresh):
            holding = manifest.collections[name]
            folder = holding.folder.replace(DATA, HISTORY, 1)
            for part in holding.slices["all"].parts:
                path = f"{folder}/asOf={day}/part{self._request.format.suffix}"
                root = self._layout.root
                copy_atomic(root / PurePosixPath(part.path), root / PurePosixPath(path), root)
                holding.snapshots = [p for p in holding.snapshots if p.path != path]
                holding.snapshots.append(replace(part, path=path))

    def _save_charts(self, graph: Graph, feed: int) -> list[ChartRecord]:
        """Save the trend charts. Those of a former feed stay: the charts begin anew with the move, like the rest."""
        former, mine = chart_records_by_feed(self._base.charts if self._base else (), feed)
        folder = chart_folder(feed)
        records = save_charts(
            graph,
            self._layout.root / folder,
            held=[moved_below(r, folder, inwards=True) for r in mine],
            done=[moved_below(r, folder, inwards=True) for r in self._charts.values()],
            observer=self._observer,
            committed=lambda record: self._journal.commit_chart(moved_below(record, folder)),
            replacing=lambda paths: self._journal.announce([f"{folder}{path}" for path in paths]),
        )
        return [*former, *(moved_below(r, folder) for r in records)]

    def _sweep(self) -> None:
        """Remove what killed runs left half written, where no slice of this run has replaced it.

        Among parts there is none unless a run was stopped, and such a run leaves its journal: so a daily run need not
        look into the folder of each day that is held.
        """
        parts = self._base.parts if self._base and not self._after_a_stop else ()
        remove_partials(self._layout.root, sound={path.partition("/")[0] for path in parts})

    def _finish(self, manifest: Manifest) -> None:
        """Write the inventory; a complete run needs its journal no longer."""
        write_inventory(self._layout, manifest)
        log_run(self._layout, manifest, resumed=self.resumed)
        if manifest.state == "complete":
            self._journal.remove()


def _missing(
    slices: Sequence[Slice], records: Sequence[SliceRecord], failures: Sequence[SliceFailure]
) -> list[Missing]:
    have = {r.slice for r in records}
    if any(label.startswith("unfiltered") for label in have):
        return []
    reasons = {f.slice.label: f.error.message for f in failures}
    other = next(iter(reasons.values()), "not fetched yet")
    left = [piece for s in slices for piece in s.uncovered(have)]
    return [Missing(piece.label, reasons.get(piece.label, other)) for piece in left]


def _plan_order(label: str, labels: Sequence[str]) -> tuple[int, str]:
    return (labels.index(label) if label in labels else len(labels), label)


def _stems(warehouse: Warehouse, base: Manifest | None) -> dict[str, str]:
    """Return the name of each collection's folder; what is held stays where it is, whoever comes to the service."""
    held = {h.name: h.folder.rpartition("/")[2] for h in base.collections.values()} if base else {}
    return file_stems((e.name for e in warehouse.entity_sets), held)


def _folder(stem: str, feed: int) -> str:
    """Each feed has a data folder of its own: its surrogate keys are its own."""
    return f"{DATA}/{stem}" if feed == 1 else f"{DATA}-{feed}/{stem}"


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
