"""Orders to the fork server: runs of `intune-dw` that are killed or refused at a chosen call to the disk."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fork_server import Order
from harness import TOKEN, Cli, Ended

SERVER = Path(__file__).with_name("fork_server.py")
PATIENCE = 120.0


@dataclass(frozen=True)
class Step:
    """A call to the disk: what, and on which path below the archive."""

    number: int
    call: str
    path: str


class Forks:
    """A fork server of this test session."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def stop(self) -> None:
        self._server.kill()
        self._server.communicate()

    def run(self, cli: Cli, root: Path, *args: object, **how: Any) -> Ended:
        """Run `intune-dw` as `cli` would, with what is to go wrong below `root` as keywords of `Order`."""
        out = cli.cwd / "said"
        order = Order([*map(str, args)], cli.environment(), str(cli.cwd), str(out), str(root), **how)
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(order.line().encode())
        self._server.stdin.flush()
        ready, _, _ = select.select([self._server.stdout], [], [], PATIENCE)
        assert ready, f"intune-dw {' '.join(order.args)} did not end in {PATIENCE:.0f} s"
        status = int(self._server.stdout.readline())
        stdout, err = Path(f"{out}.stdout").read_bytes(), Path(f"{out}.stderr").read_text("utf-8")
        assert "Traceback" not in err, err
        assert "an error in intune-dw itself" not in err, err
        assert TOKEN not in err
        return Ended(order.args, os.waitstatus_to_exitcode(status), stdout, err)

    def steps(self, cli: Cli, root: Path, *args: object) -> list[Step]:
        """Run, and return the steps that were taken."""
        trace = cli.cwd / "trace"
        self.run(cli, root, *args, trace=str(trace)).ok()
        found = [line.partition(" ") for line in trace.read_text("utf-8").splitlines()]
        return [Step(number, call, path) for number, (call, _, path) in enumerate(found)]
