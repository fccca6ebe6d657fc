"""`intune-dw` in processes that fail where they are told to: killed at a call to the disk, or refused by it.

Run as a program, it reads one order a line (JSON, see `Order`) and answers with one line each (the wait status). Every
order gets a process of its own, forked from this one, in which everything is imported already: a run costs its work
alone. In it the calls to the disk are wrapped; what they change is not.

A *step* is one such call, before it happens: open, write, fsync, replace, unlink, mkdir, truncate; and `page`, which is
no call: a page's rows have been handed to the sink. Steps below `root` are counted from 0, in all threads together.
"""

from __future__ import annotations

import builtins
import io
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Order:
    """What one process is to do.

    Attributes:
        args: Of intune-dw.
        env: All of its environment.
        out: Where stdout and stderr go: OUT.stdout, OUT.stderr.
        root: Steps on files below it count.
        trace: File that gets a line `STEP PATH` for each.
        at: The step at which it happens, None: nothing happens.
        how: `kill` before the step; `torn`: half of a write reaches the file, then it is killed; `remove`: the root is
            removed, and all goes on; or the name of an error that this and all later steps of `kinds` end in.
        kinds: Steps that end in the error; empty: all but unlink.
        short: Whether half of the first refused write still reaches the file, as on a disk that is full.
        after: Seconds after which it is killed, whatever it does; None: not by the clock.
    """

    args: list[str]
    env: dict[str, str]
    cwd: str
    out: str
    root: str
    trace: str | None = None
    at: int | None = None
    how: str = "kill"
    kinds: list[str] = field(default_factory=list)
    short: bool = False
    after: float | None = None

    def line(self) -> str:
        return json.dumps(asdict(self)) + "\n"


class Steps:
    """Counts the calls to the disk, and makes one of them the last."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._root = os.path.realpath(order.root) + os.sep
        self._lock = threading.Lock()
        self._count = 0
        self._short = order.short
        self._trace = None if order.trace is None else real_open(order.trace, "w", encoding="utf-8")

    def wants(self, path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and f"{absolute(path)}{os.sep}".startswith(self._root)

    def take(self, step: str, path: Any, half: Callable[[], None] = lambda: None) -> None:
        """Count a step and do to it what was ordered."""
        if not self.wants(path):
            return
        with self._lock:
            number = self._count
            self._count += 1
            if self._trace is not None:
                relative = absolute(path).removeprefix(self._root).replace(os.sep, "/")
                self._trace.write(f"{step} {relative}\n")
                self._trace.flush()
            at, how = self._order.at, self._order.how
            if at is None or number < at:
                return
            if how in ("kill", "torn"):
                if how == "torn":
                    half()
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)
            if how == "remove":
                if number == at:
                    Path(self._order.root).rename(self._order.root + ".gone")
                return
            if step in (self._order.kinds or ("open", "write", "fsync", "replace", "mkdir", "truncate")):
                if self._short:
                    half()
                    self._short = False
                code = getattr(__import__("errno"), how)
                raise OSError(code, os.strerror(code), os.fspath(path))

    def arm(self) -> None:
        """Wrap the calls."""
        self._wrap(os, "replace", "replace", 1)
        self._wrap(os, "unlink", "unlink", 0)
        self._wrap(os, "mkdir", "mkdir", 0)
        names: dict[int, str] = {}
        fsync, os_open, os_close = os.fsync, os.open, os.close

        def tell_open(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            if flags & (os.O_WRONLY | os.O_RDWR):
                self.take("open", path)
            descriptor = os_open(path, flags, *args, **kwargs)
            names[descriptor] = os.fspath(path)
            return descriptor

        def tell_fsync(descriptor: int) -> None:
            self.take("fsync", names.get(descriptor, ""))
            fsync(descriptor)

        def tell_close(descriptor: int) -> None:
            names.pop(descriptor, None)
            os_close(descriptor)

        def tell_fdopen(descriptor: int, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if mode in ("wb", "ab"):
                return io.BufferedWriter(_Raw(descriptor, mode, self, names[descriptor]))
            return os_fdopen(descriptor, mode, *args, **kwargs)

        def tell_io_open(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if not self.wants(file) or not set(mode) & set("wa+"):
                return real_open(file, mode, *args, **kwargs)
            self.take("open", file)
            raw = _Raw(file, mode.replace("t", "").replace("b", ""), self, os.fspath(file))
            names[raw.fileno()] = os.fspath(file)
            if "+" in mode:
                return io.BufferedRandom(raw)
            if "b" in mode:
                return io.BufferedWriter(raw)
            return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8")

        os_fdopen = os.fdopen
        from intune_dw_cli.export.parts import PartsOutput

        write_rows = PartsOutput.write

        def tell_page(output: PartsOutput, batch: Any) -> None:
            write_rows(output, batch)
            self.take("page", self._root + "page")

        replacements = [
            (os, "open", tell_open),
            (os, "fsync", tell_fsync),
            (os, "close", tell_close),
            (os, "fdopen", tell_fdopen),
            (io, "open", tell_io_open),
            (PartsOutput, "write", tell_page),
        ]
        for owner, name, replacement in replacements:
            setattr(owner, name, replacement)

    def _wrap(self, module: Any, name: str, step: str, told: int) -> None:
        call = getattr(module, name)

        def tell(*args: Any, **kwargs: Any) -> Any:
            self.take(step, args[told])
            return call(*args, **kwargs)

        setattr(module, name, tell)


class _Raw(io.FileIO):
    """A file below Python's buffers: what is written here is in the system's hands."""

    def __init__(self, file: Any, mode: str, steps: Steps, path: str) -> None:
        super().__init__(file, mode)
        self._steps, self._path = steps, path

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        self._steps.take("write", self._path, lambda: void(super(_Raw, self).write(view[: len(view) // 2])))
        return super().write(view)

    def truncate(self, size: int | None = None, /) -> int:
        self._steps.take("truncate", self._path)
        return super().truncate(size)


def void(_: object) -> None:
    """For a lambda that must give nothing."""


def absolute(path: str | os.PathLike[str]) -> str:
    """The path without asking the disk, which would be no way to treat a link."""
    return os.path.normpath(Path.cwd() / path)


real_open = builtins.open


def perform(order: Order) -> None:
    """Be the process that was ordered. Never returns."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        descriptor = os.open(f"{order.out}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin, sys.stdout = real_open(0, encoding="utf-8"), real_open(1, "w", encoding="utf-8")
    sys.stderr = real_open(2, "w", encoding="utf-8", buffering=1)
    os.environ.clear()
    os.environ.update(order.env)
    os.chdir(order.cwd)
    sys.argv = ["intune-dw", *order.args]
    Steps(order).arm()
    if order.after is not None:
        clock = threading.Timer(order.after, os.kill, (os.getpid(), signal.SIGKILL))
        clock.daemon = True
        clock.start()
    from intune_dw_cli.cli.app import main

    main()


def serve() -> None:
    """Carry out orders until stdin ends, one after the other."""
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    import intune_dw_cli.archive.backup
    import intune_dw_cli.archive.verify
    import intune_dw_cli.cli.app
    import intune_dw_cli.cli.backup
    import intune_dw_cli.cli.connect
    import intune_dw_cli.cli.progress
    import intune_dw_cli.cli.pull
    import intune_dw_cli.cli.stopping
    import intune_dw_cli.cli.summary  # noqa: F401 - imported so that no process has to

    for line in sys.stdin:
        order = Order(**json.loads(line))
        child = os.fork()
        if child == 0:
            perform(order)
        _, status = os.waitpid(child, 0)
        print(status, flush=True)


if __name__ == "__main__":
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != Path(__file__).resolve().parent]
    serve()
