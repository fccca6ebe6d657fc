"""Runs the installed `intune-dw`, and sandbox tenants, as processes of their own."""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sysconfig
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from intune_dw_cli.sandbox import Tenant, TenantConfig

INTUNE_DW = str(Path(sysconfig.get_path("scripts")) / ("intune-dw.exe" if os.name == "nt" else "intune-dw"))
TOKEN = "e2e-bearer-9c41d7-never-to-be-seen"
TODAY = dt.datetime.now(dt.UTC).date()
STATE = ".intune-dw"
SEED = 20240115

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def day_key(back: int = 0) -> int:
    """The DateKey of a day, counted back from today."""
    return int((TODAY - dt.timedelta(days=back)).strftime("%Y%m%d"))


def hive_day(path: str) -> str:
    """The day in a part's path: `data/x/dateKey=20240115/part.csv` gives `20240115`."""
    return path.partition("dateKey=")[2].partition("/")[0]


@dataclass
class Ended:
    """A process that has ended."""

    args: Sequence[str]
    code: int
    stdout: bytes
    err: str
    peak_kib: int = 0

    @property
    def out(self) -> str:
        return self.stdout.decode("utf-8")

    @property
    def json(self) -> dict[str, Any]:
        """Stdout as exactly one JSON object."""
        document = json.loads(self.stdout)
        assert isinstance(document, dict)
        return document

    def ok(self, code: int = 0) -> Ended:
        """Insist on an exit code; the failure shows what was said."""
        assert self.code == code, (
            f"{' '.join(self.args)}: exit {self.code}, wanted {code}\n{self.err}\n{self.out[:2000]}"
        )
        return self


@dataclass
class Cli:
    """The command line, run with an environment that holds only what the test says.

    Every run is checked for what may never happen: a traceback, or the token in the output.
    """

    home: Path
    cwd: Path
    url: str | None = None
    environ: Mapping[str, str] = field(default_factory=dict)

    def environment(self, more: Mapping[str, str | None] | None = None) -> dict[str, str]:
        kept = ("PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR")
        env = {name: os.environ[name] for name in kept if name in os.environ}
        env |= {
            "HOME": str(self.home),
            "USERPROFILE": str(self.home),
            "INTUNE_DW_HOME": str(self.home / "intune-dw"),
            "INTUNE_DW_ACCESS_TOKEN": TOKEN,
            "PYTHONUTF8": "1",
            **self.environ,
        }
        if self.url:
            env["INTUNE_DW_URL"] = self.url
        for name, value in (more or {}).items():
            if value is None:
                env.pop(name, None)
            else:
                env[name] = value
        return env

    def start(self, *args: object, env: Mapping[str, str | None] | None = None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [INTUNE_DW, *map(str, args)],
            cwd=self.cwd,
            env=self.environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __call__(self, *args: object, env: Mapping[str, str | None] | None = None, timeout: float = 60) -> Ended:
        return finish(self.start(*args, env=env), timeout)

    def measured(self, *args: object) -> Ended:
        """Run and report the peak of resident memory, for this child alone."""
        process = self.start(*args)
        assert process.stdout
        assert process.stderr
        out, err = process.stdout.read(), process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return Ended(process.args, process.returncode, out, err.decode(), usage.ru_maxrss)  # type: ignore[arg-type]

    def killed(self, *args: object, after: float) -> bool:
        """Run and SIGKILL after some seconds; False where it had ended before."""
        process = self.start(*args)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=after)
            return False
        process.kill()
        process.communicate()
        return True

    def killed_at(self, root: Path, lines: int, *args: object) -> bool:
        """Run and SIGKILL once the archive's journal has so many lines; False where the run had ended before."""
        with running(self.start(*args)) as process:
            wait_until(lambda: journal_lines(root) >= lines or process.poll() is not None)
            ended = process.poll() is not None
            process.kill()
            process.communicate()
        return not ended


def finish(process: subprocess.Popen[bytes], timeout: float = 60) -> Ended:
    """Wait for the end of a process."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"{process.args} did not end in {timeout} s\n{err.decode()}") from None
    text = err.decode("utf-8")
    assert "Traceback" not in text, text
    assert "an error in intune-dw itself" not in text, text
    assert TOKEN.encode() not in out + err
    return Ended(process.args, process.returncode, out, text)  # type: ignore[arg-type]


class SandboxProcess:
    """A sandbox tenant in a process of its own."""

    def __init__(self, *options: object, port: int = 0, home: Path, **settings: Any) -> None:
        self.config = TenantConfig(**{"today": TODAY, "devices": 40, "days": 5, **settings})
        days = [] if self.config.days is None else ["--days", self.config.days]
        args = ["--port", port, "--devices", self.config.devices, *days, "--seed", self.config.seed]
        args += ["--today", self.config.today, *["--hostile"] * self.config.hostile, *options]
        self._process = Cli(home, home, environ={"INTUNE_DW_QUIET": "1"}).start("sandbox", *args)
        assert self._process.stdout
        self.url = self._process.stdout.readline().decode().strip()
        assert self.url.startswith("http://127.0.0.1:"), self.url
        parts = urlsplit(self.url)
        self.origin, self.port = f"http://{parts.netloc}", int(parts.port or 0)

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def tenant(self) -> Tenant:
        """The same data, made in this process."""
        return Tenant(self.config)

    def rows(self, name: str, *days: int) -> list[dict[str, Any]]:
        """The rows of a collection, or of some of its days, as JSON values in served order."""
        tenant = self.tenant
        if not days:
            return list(tenant.rows(name))
        return [row for day in days for row in tenant.rows(name, day=day)]

    def control(self, method: str, what: str, body: str = "") -> Any:
        request = urllib.request.Request(f"{self.origin}/_sandbox/{what}", body.encode() or None, method=method)
        with _DIRECT.open(request, timeout=10) as answer:
            return json.load(answer)

    def expected(self) -> dict[str, int]:
        """Rows of every collection."""
        return {name: c["rows"] for name, c in self.control("GET", "expected")["collections"].items()}

    def fault(self, text: str) -> None:
        self.control("POST", "faults", text)

    def heal(self) -> None:
        self.control("DELETE", "faults")

    def clock(self, today: dt.date) -> None:
        self.control("POST", "clock", today.isoformat())

    def requests(self, since: int = 0) -> list[str]:
        """The targets asked for so far, oldest first."""
        return [r["target"] for r in self.control("GET", "requests")][since:]

    def mark(self) -> int:
        return len(self.requests())


Serve = Callable[..., SandboxProcess]


def first_pages(targets: Sequence[str]) -> Counter[tuple[str, str]]:
    """Count the requests that begin a slice, by (collection, filter)."""
    found: Counter[tuple[str, str]] = Counter()
    for target in targets:
        parts = urlsplit(target)
        name = parts.path.rpartition("/")[2]
        options = {key.lower(): value for key, value in parse_qsl(parts.query)}
        if name not in ("$metadata", "DataWarehouseFEService") and "$skiptoken" not in options:
            found[name, options.get("$filter", "")] += 1
    return found


def tree(root: Path, *, state: bool = False) -> dict[str, str]:
    """SHA-256 of each file by its path; of what is outside `.intune-dw` alone, or with its journal and log."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and (state or not name.startswith(STATE + "/")):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def manifest(root: Path) -> dict[str, Any]:
    """The content of an archive's manifest."""
    content = json.loads((root / "manifest.json").read_text("utf-8"))["content"]
    assert isinstance(content, dict)
    return content


def by_name(root: Path) -> dict[str, dict[str, Any]]:
    """The manifest's collections by name."""
    return {c["name"]: c for c in manifest(root)["collections"]}


def journal_lines(root: Path) -> int:
    try:
        return (root / STATE / "journal.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def wait_until(what: Any, *, seconds: float = 20, every: float = 0.002) -> None:
    """Poll until something is true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(every)


def read_csv(data: bytes | str) -> list[list[str]]:
    text = data.decode("utf-8") if isinstance(data, bytes) else data
    return list(csv.reader(io.StringIO(text, newline="")))


def as_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[list[str]]:
    """What rows of JSON values are in CSV: null and empty text alike are empty to the csv module."""
    return [[csv_text(row.get(name)) for name in columns] for row in rows]


def csv_text(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def running(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Make sure that a process does not outlive the test."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
            process.communicate()
