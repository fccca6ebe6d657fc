"""The suites: what is run against what, and what the figures must reach (the targets of the project's issue 7).

A suite prepares its datasets, then runs its contenders in turns (A B A B), so that what else the machine does meets
all of them; only ratios within a round are compared. Every output is checked before its figures count.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.check import Checker
from tests.benchmarks.contenders import CONTENDERS, Contender
from tests.benchmarks.dataset import Spec, make, read_index
from tests.benchmarks.measure import Measured, median, run
from tests.benchmarks.server import serving
from tests.benchmarks.tables import HOSTILE, TABLES

OURS = ("pull-parquet", "pull-csv", "backup-parquet", "backup-csv")


_DATED = 14  # date-keyed collections of the documented warehouse


@dataclass
class Line:
    """What one contender did in one case: a value for each round. Rows a second count the whole process."""

    suite: str
    case: str
    contender: str
    rows: int
    runs: list[Measured]
    ratios: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Rows a second, median."""
        return median([self.rows / r.wall for r in self.runs])

    @property
    def cpu(self) -> float:
        """Processor seconds, median."""
        return median([r.cpu for r in self.runs])

    @property
    def wall(self) -> float:
        """Seconds, median."""
        return median([r.wall for r in self.runs])

    @property
    def peak(self) -> float:
        """MiB, the largest of all rounds."""
        return max(r.peak for r in self.runs)

    def to_json(self) -> dict[str, Any]:
        """Return everything that was measured."""
        return {
            "suite": self.suite,
            "case": self.case,
            "contender": self.contender,
            "rows": self.rows,
            "rows_a_second": self.rate,
            "ratios_to_reference": self.ratios,
            "runs": [asdict(r) for r in self.runs],
        }


@dataclass(frozen=True)
class Target:
    """A figure that a target is set for. A figure without bounds is shown only."""

    suite: str
    text: str
    value: float
    least: float | None = None
    most: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the figure is within its bounds; None where there are none."""
        if self.least is None and self.most is None:
            return None
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)

    def to_json(self) -> dict[str, Any]:
        """Return the figure, its bounds and the verdict."""
        return {**asdict(self), "met": self.met}


@dataclass
class Report:
    """What a run of the benchmark found."""

    lines: list[Line] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)


class Bench:
    """What all suites share: sizes, rounds, datasets, the checker.

    Args:
        folder: Datasets and outputs go here.
        checker: Reads outputs back.
        rows: Rows of the throughput suite; the other suites' sizes follow from it.
        rounds: Measured rounds.
        quick: Whether everything is tiny, to see that all of it works; figures then mean nothing.
        other_python: The interpreter for contenders that need more than we do (pandas, Polars, dlt).
        say: Hears what is being done.
    """

    def __init__(
        self,
        folder: Path,
        checker: Checker,
        *,
        rows: int,
        rounds: int,
        quick: bool,
        other_python: str,
        say: Callable[[str], None],
    ) -> None:
        self.rows, self.rounds, self.quick = rows, rounds, quick
        self.report = Report()
        self._folder = folder
        self._checker = checker
        self._other_python = other_python
        self._say = say
        home = folder / "home"
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("INTUNE_DW_", "AZURE_"))}
        # Nothing of the user's own profile or cache takes part; loopback needs no proxy.
        self._environment = {
            **kept,
            "INTUNE_DW_HOME": str(home),
            "INTUNE_DW_ACCESS_TOKEN": "benchmark",
            "NO_PROXY": "127.0.0.1",
        }

    # -- datasets and runs ------------------------------------------------------------------------------------

    def dataset(self, spec: Spec) -> Path:
        """Return the folder of a dataset, made in a process of its own when it is not there yet."""
        name = f"{spec.case}-{spec.rows}-{spec.page_rows}-{spec.days}-{len(spec.collections)}"
        folder = self._folder / "datasets" / name
        if not (folder / "index.json").exists():
            self._say(f"making {name}")
            shutil.rmtree(folder, ignore_errors=True)
            if self.quick:
                make(folder, spec)
            else:  # in a process of its own: see measure.run
                command = [sys.executable, "-m", "tests.benchmarks.dataset", str(folder), json.dumps(asdict(spec))]
                subprocess.run(command, check=True)
        return folder

    def sized(self, case: str, rows: int, *, page_rows: int = 10_000, days: int = 25) -> Spec:
        """Return a spec of about that many rows; tiny when quick."""
        rows = min(rows, 1000 if page_rows >= 10_000 else 400) if self.quick else rows
        days = days if TABLES[case].has_days else 1
        days = min(days, 5) if self.quick else days
        page_rows = max(1, page_rows // 100) if self.quick else page_rows
        return Spec(case=case, rows=max(rows // days, 1) * days, page_rows=page_rows, days=days)

    @contextmanager
    def served(self, spec: Spec, think: float = 0.0) -> Iterator[_Served]:
        """Serve a dataset while the block runs."""
        folder = self.dataset(spec)
        _, expected, _ = read_index(folder)
        with serving(folder, 0.01 if think and self.quick else think) as url:
            yield _Served(url, spec, expected)

    def once(self, served: _Served, contender: Contender, *options: str) -> Measured:
        """Run a contender and check its output."""
        out = Path(tempfile.mkdtemp(prefix="out-", dir=self._folder))
        try:
            environment = {**self._environment, "INTUNE_DW_URL": served.url}
            collection = served.spec.collections[0]
            python = self._other_python if contender.needs else sys.executable
            measured = run(contender.command(served.url, collection, out, *options, python=python), environment)
            rows = measured.printed.get("rows", served.spec.rows)
            if rows != served.spec.rows:
                raise RuntimeError(f"{contender.name} says {rows} rows, served were {served.spec.rows}")
            if contender.output:
                pattern = contender.output.format(collection=collection)
                self._checker.check(contender.name, out, pattern, TABLES[served.spec.case], served.expected)
            return measured
        finally:
            shutil.rmtree(out, ignore_errors=True)

    def warm(self, contenders: Sequence[str], case: str = "fact") -> None:
        """Run each contender once on few rows: imports come from the page cache afterwards."""
        if self.quick:
            return
        with self.served(Spec(case=case, rows=1000, days=5 if TABLES[case].has_days else 1)) as served:
            for _, turn in self.turns(served, contenders):
                turn()

    def rounds_of(
        self,
        suite: str,
        case: str,
        turns: Sequence[tuple[str, Callable[[], Measured]]],
        rows: int,
        *,
        reference: str | None = None,
        rounds: int | None = None,
    ) -> dict[str, Line]:
        """Run the turns in rounds; give each its ratios (rows a second) to the reference of the same round."""
        lines = {name: Line(suite, case, name, rows, []) for name, _ in turns}
        if self.quick:
            with ThreadPoolExecutor(2) as pool:
                for (name, _), measured in zip(turns, pool.map(lambda turn: turn[1](), turns), strict=True):
                    lines[name].runs.append(measured)
        else:
            for number in range(rounds or self.rounds):
                self._say(f"{suite} {case}: round {number + 1}")
                for name, turn in turns:
                    lines[name].runs.append(turn())
        if reference:
            base = [r.wall for r in lines[reference].runs]
            for line in lines.values():
                line.ratios = [b / r.wall for b, r in zip(base, line.runs, strict=True)]
        self.report.lines += lines.values()
        return lines

    def turns(self, served: _Served, names: Sequence[str], *options: str) -> list[tuple[str, Callable[[], Measured]]]:
        """Return the turns of contenders that need nothing special."""
        return [
            (name, lambda c=CONTENDERS[name]: self.once(served, c, *(options if c.options else ())))
            for name in names
            if CONTENDERS[name].available(self._other_python)
        ]

    def command(self, command: Sequence[str], url: str = "") -> Measured:
        """Run any command in the benchmark's environment."""
        return run(command, {**self._environment, **({"INTUNE_DW_URL": url} if url else {})})

    def judge(
        self, suite: str, text: str, value: float, *, least: float | None = None, most: float | None = None
    ) -> None:
        """Note a figure."""
        self.report.targets.append(Target(suite, text, value, least, most))

    def scratch(self, name: str) -> Path:
        """Return a new folder for what is made once and used in several runs."""
        return Path(tempfile.mkdtemp(prefix=name, dir=self._folder))

    def verify_archive(self, served: _Served, archive: Path, collection: str) -> None:
        """Check one collection of an archive."""
        pattern = f"data/{collection}/**/*.csv"
        self._checker.check("backup", archive, pattern, TABLES[served.spec.case], served.expected)


@dataclass(frozen=True)
class _Served:
    """A dataset that is being served."""

    url: str
    spec: Spec
    expected: dict[str, Any]


def _ratio(above: Line, below: Line) -> float:
    """Return the median of the ratios of two lines' rates, round by round."""
    pairs = zip(above.runs, below.runs, strict=True)
    return median([(above.rows / a.wall) / (below.rows / b.wall) for a, b in pairs])


def throughput(bench: Bench) -> None:
    """Rows a second of everything, on the plain fact table."""
    names = ["fetch", "inflate", "parse", "dictwriter", *OURS]
    names += [] if bench.quick else ["pandas", "polars", "dlt"]
    bench.warm(names)
    with bench.served(bench.sized("fact", bench.rows)) as served:
        lines = bench.rounds_of("throughput", "fact", bench.turns(served, names), served.spec.rows, reference="parse")
    ours = {name: median(lines[name].ratios) for name in OURS}
    bench.judge("throughput", "server alone (bare socket) / parse", median(lines["fetch"].ratios), least=5)
    wire = lines["fetch"].runs[0].printed
    seconds = lines["fetch"].wall
    bench.judge("throughput", "server alone, MB/s on the wire", wire["wire_bytes"] / seconds / 1e6)
    bench.judge("throughput", "pull to Parquet / parse", ours["pull-parquet"], least=1.3)
    bench.judge("throughput", "pull to CSV / parse", ours["pull-csv"], least=1.2)
    for name in ("pull-parquet", "pull-csv"):
        bench.judge("throughput", f"{name} / csv.DictWriter script", _ratio(lines[name], lines["dictwriter"]), least=4)
    for kind in ("parquet", "csv"):
        value = _ratio(lines[f"backup-{kind}"], lines[f"pull-{kind}"])
        bench.judge("throughput", f"backup to {kind} / pull to {kind}", value, least=0.9)


def memory(bench: Bench) -> None:
    """Peak memory at one and at ten times the rows: 10,000-row pages, 4 workers."""
    names = ["pull-parquet", "pull-csv", "backup-parquet", "backup-csv"]
    peaks: dict[int, dict[str, float]] = {}
    sizes = (1000, 3000) if bench.quick else (1_000_000, 10_000_000)
    # As many rows a day in both, those of a very large tenant: only the number of rows differs.
    a_day = 500 if bench.quick else 200_000
    for rows in sizes:
        spec = Spec(case="fact", rows=rows, days=rows // a_day)
        with bench.served(spec) as served:
            turns = bench.turns(served, names[:1] if bench.quick else names, "--workers", "4")
            # The large ones take long, and memory varies little: one round.
            rounds = 1 if rows > 1_000_000 else None
            lines = bench.rounds_of("memory", f"{rows:,} rows", turns, spec.rows, rounds=rounds)
        peaks[rows] = {name: median([r.peak for r in line.runs]) for name, line in lines.items()}
    small, large = (peaks[s] for s in sizes)
    for name in small:
        bench.judge("memory", f"{name}: peak MiB at {sizes[0]:,} rows", small[name], most=250)
        bench.judge("memory", f"{name}: peak MiB at {sizes[1]:,} rows", large[name], most=250)
        bench.judge(
            "memory", f"{name}: peak at {sizes[1]:,} / at {sizes[0]:,} rows", large[name] / small[name], most=1.05
        )


def page_size(bench: Bench) -> None:
    """Processor time a row with pages of 1,000 rows against pages of 10,000."""
    rows = bench.rows // 2
    names = ("pull-csv",) if bench.quick else ("pull-parquet", "pull-csv")
    with (
        bench.served(bench.sized("fact", rows, page_rows=1000)) as small,
        bench.served(bench.sized("fact", rows, page_rows=10_000)) as large,
    ):
        turns = [
            (f"{name} {served.spec.page_rows:,}", lambda c=CONTENDERS[name], s=served: bench.once(s, c))
            for name in names
            for served in (small, large)
        ]
        lines = bench.rounds_of("page-size", "fact", turns, large.spec.rows)
        for name in names:
            a = lines[f"{name} {small.spec.page_rows:,}"]
            b = lines[f"{name} {large.spec.page_rows:,}"]
            rows_a, rows_b = small.spec.rows, large.spec.rows
            value = median([(x.cpu / rows_a) / (y.cpu / rows_b) for x, y in zip(a.runs, b.runs, strict=True)])
            bench.judge("page-size", f"{name}: CPU a row, pages of 1,000 / of 10,000", value, most=1.5)


def latency(bench: Bench) -> None:
    """A service that thinks 200 ms about each request: workers on day slices, prefetch on one long chain."""
    # Several pages a day, as in a large tenant; each slice's pages can only be asked for one after the other.
    spec = bench.sized("fact", 60_000, page_rows=400, days=30)
    with bench.served(spec, think=0.2) as served:
        turns = [
            (f"{workers} workers", lambda w=workers: bench.once(served, CONTENDERS["pull-parquet"], "--workers", w))
            for workers in ("1", "4")
        ]
        lines = bench.rounds_of("latency", "days, 200 ms", turns, spec.rows)
    bench.judge(
        "latency", "4 workers / 1 worker on day slices", _ratio(lines["4 workers"], lines["1 workers"]), least=3.5
    )
    spec = bench.sized("chain", bench.rows // 4)
    for think in (0.04,) if bench.quick else (0.0, 0.04):
        with bench.served(spec, think=think) as served:
            case = f"chain, {think * 1000:.0f} ms"
            names = ("serial-parquet", "pull-parquet")
            lines = bench.rounds_of("latency", case, bench.turns(served, names), spec.rows)
        serial, pulled = lines["serial-parquet"], lines["pull-parquet"]
        gains, ideals = [], []
        for one, two in zip(serial.runs, pulled.runs, strict=True):
            requests, work = one.printed["request_seconds"], one.printed["work_seconds"]
            ideals.append((requests + work) / max(requests, work))
            gains.append((requests + work) / two.printed["seconds"])
        bench.judge("latency", f"{case}: requests + work, one after the other / pull", median(gains), least=1.0)
        bench.judge("latency", f"{case}: the same for a perfect overlap", median(ideals))


def hostile(bench: Bench) -> None:
    """Tables that are hard to read, against parsing the same table and throwing it away."""
    for number, case in enumerate(HOSTILE):
        # The same amount of text for each, roughly.
        share = {"45-columns": 6, "wide-text": 5, "full-metadata": 4}.get(case, 2)
        names = ["parse", "pull-parquet", "pull-csv"]
        with bench.served(
            bench.sized(case, bench.rows // share, page_rows=2_000 if case == "wide-text" else 10_000)
        ) as s:
            turns = bench.turns(s, [names[1 + number % 2]] if bench.quick else names)
            lines = bench.rounds_of("hostile", case, turns, s.spec.rows, reference=None if bench.quick else "parse")
        for name in names[1:]:
            if name in lines and lines[name].ratios:
                bench.judge("hostile", f"{case}: {name} / parse", median(lines[name].ratios), least=0.5)


def startup(bench: Bench) -> None:
    """How long the whole process takes to say little."""
    ours = str(Path(sys.executable).with_name("intune-dw"))
    commands = {
        "import typer": [sys.executable, "-c", "import typer"],
        "--version": [ours, "--version"],
        "--help": [ours, "--help"],
    }
    turns = [(name, lambda c=command: bench.command(c)) for name, command in commands.items()]
    for _, turn in [] if bench.quick else turns:
        turn()
    lines = bench.rounds_of("startup", "process", turns, 1, reference="import typer", rounds=max(bench.rounds, 9))
    for name in ("--version", "--help"):
        value = median([1 / r for r in lines[name].ratios])
        bench.judge("startup", f"intune-dw {name} / python -c 'import typer'", value, most=1.5)


def daily(bench: Bench) -> None:
    """The backup of the next day on an archive that holds 400 days, against one that holds 5."""
    # Small ones: what the run costs, not the rows.
    names = tuple(f"fact{n:02d}" for n in range(3 if bench.quick else _DATED))
    ours = str(Path(sys.executable).with_name("intune-dw"))
    a_day = 20
    folder = bench.scratch("daily-")
    specs = [
        Spec(case="fact", rows=days * a_day, page_rows=1000, days=days, collections=names)
        for days in (5, 12 if bench.quick else 400)
    ]
    with bench.served(specs[0]) as few, bench.served(specs[1]) as many:
        turns = []
        for served in (few, many):
            archive = folder / f"held-{served.spec.days}"
            command = [ours, "backup", str(archive), "--no-charts", "--json"]
            bench.command(command, served.url)
            turns.append((f"{served.spec.days} held days", lambda c=command, s=served: bench.command(c, s.url)))
        lines = list(bench.rounds_of("daily", "backup again", turns, a_day * 2 * len(names)).values())
        for served in (few, many):
            for name in names:
                bench.verify_archive(served, folder / f"held-{served.spec.days}", name)
    shutil.rmtree(folder, ignore_errors=True)
    value = median([b.cpu / a.cpu for a, b in zip(lines[0].runs, lines[1].runs, strict=True)])
    bench.judge("daily", f"CPU on {specs[1].days} held days / on {specs[0].days}", value, most=1.2)


SUITES: dict[str, Callable[[Bench], None]] = {
    "throughput": throughput,
    "memory": memory,
    "page-size": page_size,
    "latency": latency,
    "hostile": hostile,
    "startup": startup,
    "daily": daily,
}
