"""Runs `intune-dw` on a pseudo-terminal (POSIX)."""

from __future__ import annotations

import os
import struct
import subprocess
import time

from harness import INTUNE_DW, Cli


def on_terminal(cli: Cli, *args: str, columns: int = 80, env: dict[str, str | None] | None = None) -> tuple[int, str]:
    """Run with a terminal of its own on stdin, stdout and stderr; return the code and all that was written to it."""
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [INTUNE_DW, *args],
        cwd=cli.cwd,
        env=cli.environment({"TERM": "xterm-256color", **(env or {})}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen = b""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux: the other end is closed
            break
        if not piece:
            break
        seen += piece
    os.close(ours)
    return process.wait(20), seen.decode()
