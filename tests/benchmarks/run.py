"""The benchmark: is the export near what the wire and one JSON parse allow, and flat in memory?

    python -m tests.benchmarks.run                        # every suite, 3 rounds, 2 million rows: about 20 minutes
    python -m tests.benchmarks.run throughput startup     # some suites
    python -m tests.benchmarks.run --json figures.json    # also everything that was measured, round by round
    python -m tests.benchmarks.run --quick                # does it all work? under 20 s; figures mean nothing

Needs a POSIX system and the project installed with its extra `test` (`intune-dw` beside the interpreter);
pandas, Polars and dlt take part where `--other-python` (default: this interpreter) has them; that should be another
environment, because pyarrow loads pandas wherever it is installed, and our memory would count it. A static OData
server of its own process serves pages that were made and compressed before. Every contender is a fresh process,
measured whole, start included. Contenders take turns, and what is compared are ratios within a round, so that a
busy machine does not decide: see `suites.py`. Every output is read back (rows, sum of keys, days, bytes of text); a
wrong one ends the run with exit code 1. Targets are printed as met or not met, and do not change the exit code.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import sys
import tempfile
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.benchmarks.check import Checker, WrongOutputError
from tests.benchmarks.measure import ContenderFailedError, median
from tests.benchmarks.suites import SUITES, Bench, Line, Report

_QUICK_ROWS = 1000


def main() -> int:
    """Run suites, print the tables; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.run", description=__doc__.split("\n")[0])
    parser.add_argument("suite", nargs="*", help=f"of: {', '.join(SUITES)}; default: all", metavar="SUITE")
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows of the throughput suite; others follow")
    parser.add_argument("--rounds", type=int, default=3, help="rounds measured, at least 3")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round: does it work")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    parser.add_argument("--markdown", action="store_true", help="also print the README's tables")
    parser.add_argument("--folder", type=Path, help="keep datasets here, and use them again on the same day")
    parser.add_argument("--other-python", default=sys.executable, help="interpreter that has pandas, Polars, dlt")
    options = parser.parse_args()
    unknown = sorted(set(options.suite) - set(SUITES))
    if unknown:
        parser.error(f"no suite {', '.join(unknown)}; there are {', '.join(SUITES)}")
    begun = time.monotonic()

    def say(text: str) -> None:
        if not options.quick:
            print(f"[{time.monotonic() - begun:6.0f} s] {text}", file=sys.stderr, flush=True)

    free = [] if options.quick else [_free_cores()]
    with tempfile.TemporaryDirectory(prefix="intune-dw-bench-") as temporary, Checker() as checker:
        folder = (options.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        bench = Bench(
            folder,
            checker,
            rows=_QUICK_ROWS if options.quick else options.rows,
            rounds=max(3, options.rounds),
            quick=options.quick,
            other_python=options.other_python,
            say=say,
        )
        try:
            for name in options.suite or SUITES:
                SUITES[name](bench)
        except (WrongOutputError, ContenderFailedError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    seconds = time.monotonic() - begun
    free += [] if options.quick else [_free_cores()]
    if options.json:
        options.json.write_text(json.dumps(_document(bench.report, seconds, free), indent=1) + "\n")
    if options.quick:
        runs = sum(len(line.runs) for line in bench.report.lines)
        print(f"the benchmark works: {runs} runs in {len(SUITES)} suites, outputs checked, {seconds:.0f} s")
        return 0
    print(_tables(bench.report))
    if options.markdown:
        print(f"\n{_markdown(bench.report)}")
    print(f"\n{_machine(free)}; {max(3, options.rounds)} rounds; {seconds:.0f} s")
    return 0


def _free_cores() -> float:
    """Return how many cores were to be had: the work that as many threads as cores do, in that of one.

    On an idle machine that is the number of cores. Where it is near 1, others are at work, and no export can be faster
    than one thread: ratios of whole processes to a single-threaded reference then say less than their CPU seconds.
    """
    packed = zlib.compress(os.urandom(1 << 18) * 8, 1)

    def work() -> None:
        for _ in range(150):
            zlib.decompress(packed)

    def seconds(threads: int) -> float:
        begun = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            for future in [pool.submit(work) for _ in range(threads)]:
                future.result()
        return time.perf_counter() - begun

    cores = os.cpu_count() or 1
    return median([cores * seconds(1) / seconds(cores) for _ in range(3)])


def _machine(free: list[float]) -> str:
    reference = (
        "orjson" if importlib.util.find_spec("orjson") else "json (orjson is not installed: targets do not hold)"
    )
    had = " and ".join(f"{x:.1f}" for x in free) or "not measured"
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores (to be had before and after: {had}), {system}; reference: requests + {reference}"


def _document(report: Report, seconds: float, free: list[float]) -> dict[str, object]:
    return {
        "version": 1,
        "machine": _machine(free),
        "free_cores": free,
        "seconds": round(seconds, 1),
        "lines": [line.to_json() for line in report.lines],
        "figures": [target.to_json() for target in report.targets],
    }


def _tables(report: Report) -> str:
    text = []
    if report.lines:
        head = ("suite", "case", "contender", "rows/s", "wall s", "CPU s", "peak MiB", "ratio", "by round")
        text.append(_aligned([head, *(_cells(line) for line in report.lines)], right=range(3, 8)))
    if report.targets:
        rows = [("suite", "figure", "value", "target", "")]
        for t in report.targets:
            bound = "" if t.met is None else f">= {t.least:g}" if t.least is not None else f"<= {t.most:g}"
            verdict = "" if t.met is None else "met" if t.met else "NOT MET"
            rows.append((t.suite, t.text, f"{t.value:,.2f}", bound, verdict))
        text.append(_aligned(rows, right=(2,)))
    return "\n\n".join(text)


def _markdown(report: Report) -> str:
    """Return the throughput as the README shows it, then every figure that has a target."""
    rates = [line for line in report.lines if line.suite == "throughput" and line.contender not in ("fetch", "inflate")]
    text = [
        "| contender | rows/s | ratio to parse-and-discard | CPU s | peak MiB |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for line in rates:
        ratio = f"{median(line.ratios):.2f}"
        text.append(f"| {line.contender} | {line.rate:,.0f} | {ratio} | {line.cpu:.1f} | {line.peak:.0f} |")
    text += ["", "| figure | measured | target |", "| --- | ---: | ---: |"]
    for target in report.targets:
        if target.met is None:
            continue
        bound = f"at least {target.least:g}" if target.least is not None else f"at most {target.most:g}"
        text.append(f"| {target.text} | {target.value:,.2f}{'' if target.met else ' (not met)'} | {bound} |")
    return "\n".join(text)


def _cells(line: Line) -> tuple[str, ...]:
    ratio = f"{median(line.ratios):.2f}" if line.ratios else ""
    rate = f"{line.rate:,.0f}" if line.rows > 1 else ""
    by_round = " ".join(f"{r:.2f}" for r in line.ratios)
    return (
        line.suite, line.case, line.contender, rate, f"{line.wall:.2f}", f"{line.cpu:.2f}", f"{line.peak:.0f}", ratio,
        by_round,
    )  # fmt: skip


def _aligned(rows: list[tuple[str, ...]], right: range | tuple[int, ...]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
