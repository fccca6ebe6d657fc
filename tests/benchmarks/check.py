"""Whether an output holds what was served, read back by somebody else's code (DuckDB), in a process of its own.

The process reads one order a line (JSON) and answers with one line: it keeps DuckDB's memory out of the measuring
process, whose size would count as every child's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.benchmarks.tables import Table

# Said, not guessed: DuckDB's sniffer may take text with quotes and line breaks for something else.
_CSV = """header=true, auto_detect=false, delim=',', quote='"', escape='"', hive_partitioning=false"""


class WrongOutputError(Exception):
    """A contender's output is not what was served: its figures are worth nothing."""


class Checker:
    """Checks outputs; a context manager, safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> Checker:
        command = [sys.executable, "-m", "tests.benchmarks.check"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def check(self, who: str, folder: Path, pattern: str, table: Table, expected: dict[str, Any]) -> None:
        """Compare rows, sum of the keys, number of days, and the bytes of each text column.

        Args:
            who: For the message.
            folder: Where the output is.
            pattern: Glob of its files there.
            table: What was served.
            expected: As the dataset's index says.

        Raises:
            WrongOutputError: they differ, or there is nothing that can be read.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {
            "pattern": str(folder / pattern),
            "columns": [c.name for c in table.columns],
            "texts": list(expected["text_bytes"]),
            "days": expected["days"],
        }
        with self._lock:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            found = json.loads(self._process.stdout.readline())
        if found != expected:
            raise WrongOutputError(f"{who}: the output holds {found}, served was {expected}")


def _look(order: dict[str, Any]) -> dict[str, Any]:
    import duckdb

    pattern = order["pattern"]
    if pattern.endswith(".parquet"):
        source = f"read_parquet('{pattern}', hive_partitioning=false)"
    else:
        source = f"read_csv('{pattern}', {_CSV}, columns={dict.fromkeys(order['columns'], 'VARCHAR')})"
    day = "count(distinct dateKey)" if order["days"] is not None else "null"
    texts = ", ".join(f'coalesce(sum(strlen("{name}")), 0)' for name in order["texts"])
    query = f"select count(*), sum(deviceKey::bigint), {day}, {texts} from {source}"
    row = duckdb.sql(query).fetchall()[0]
    values = [None if v is None else int(v) for v in row]
    lengths = dict(zip(order["texts"], values[3:], strict=True))
    return {"rows": values[0], "key_sum": values[1], "days": values[2], "text_bytes": lengths}


if __name__ == "__main__":
    for line in sys.stdin:
        try:
            answer = _look(json.loads(line))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
