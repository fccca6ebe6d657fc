"""Runs one process and measures it: wall time, processor time and peak memory, children included (POSIX only)."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class ContenderFailedError(Exception):
    """A contender left with an exit code that is not 0."""


@dataclass(frozen=True)
class Measured:
    """One run. Seconds and MiB; `printed` is the JSON object that it printed, if any."""

    wall: float
    cpu: float
    peak: float
    printed: dict[str, Any] = field(default_factory=dict)


def run(command: Sequence[str], environment: Mapping[str, str]) -> Measured:
    """Run a command to its end.

    The peak is that of the largest process. The system counts the memory of the parent at the time of the start as the
    child's, so whoever calls this must be small itself: no Arrow, no DuckDB.

    Raises:
        ContenderFailedError: with the last lines that it wrote to stderr.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=dict(environment))
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        wall = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            said = err.read().decode(errors="replace")[-2000:]
            raise ContenderFailedError(f"{' '.join(command)} left with {process.returncode}:\n{said}")
        text = out.read().decode(errors="replace").strip()
    printed = json.loads(text) if text.startswith("{") else {}
    return Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * _RSS_UNIT / 1024**2, printed)


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)
