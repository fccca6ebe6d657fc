"""A run that can be stopped, wherever it hangs."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from types import FrameType

from intune_dw_cli.cli.console import Terminal, clean
from intune_dw_cli.cli.summary import failure_json
from intune_dw_cli.errors import InterruptedRunError

_STDOUT, _STDERR = 1, 2
_LEAVE_AFTER = 4.0  # seconds; the engine gives the slices under way 3


@contextmanager
def stoppable(
    terminal: Terminal,
    command: str | None = None,
    *,
    words: str = "stopping",
    again: str | None = "The same command begins again",
) -> Iterator[threading.Event]:
    """Give an event that Ctrl-C and termination signals set; a second signal ends the process at once.

    It ends after 4 seconds in any case: whatever waits for a server that does not answer hears of no event. Nothing is
    lost by that, as nothing is by a kill.

    Args:
        command: Its name in the JSON object of a failure; None where a failure has none.
        words: Said at the first signal.
        again: What the same command does when it is given again; None where there is nothing to say of that.

    Raises:
        InterruptedRunError: as raised inside, with the command to give again as its hint.
    """
    stop, ended = threading.Event(), threading.Event()
    # A signal interrupts the main thread anywhere, also where it holds the lock of an event: a simple queue has none.
    asked: SimpleQueue[bool] = SimpleQueue()
    last_word = threading.Lock()  # for good: either the run ends by itself, or it is ended
    hint = f"{again}: {command_line()}" if again else None
    signalled = False

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal signalled
        if signalled:
            os._exit(130)
        signalled = True
        asked.put(True)
        if not terminal.quiet:
            _write_past_locks(f"\n{words} (Ctrl-C again to leave at once)")

    def watch() -> None:
        if not asked.get():
            return
        stop.set()
        if not ended.wait(_LEAVE_AFTER) and last_word.acquire(blocking=False):
            error = InterruptedRunError("stopped before the end", hint=hint)
            _write_past_locks(f"error: {error}" + (f"\n  hint: {hint}" if hint else ""))
            if terminal.talk.json and command and not terminal.has_answered:
                _write_past_locks(json.dumps(failure_json(command, error), indent=2), _STDOUT)
            os._exit(error.exit_code)

    wanted = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, n)]
    threading.Thread(target=watch, name="stop", daemon=True).start()
    before = {number: signal.signal(number, on_signal) for number in wanted}
    try:
        yield stop
    except InterruptedRunError as error:
        error.hint = hint or error.hint
        raise
    finally:
        ended.set()
        last_word.acquire()
        asked.put(False)
        for number, handler in before.items():
            signal.signal(number, handler)


def command_line() -> str:
    """Return the command that is running, as it can be typed again."""
    words = ["intune-dw", *sys.argv[1:]]
    return clean(subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words))


def _write_past_locks(text: str, stream: int = _STDERR) -> None:
    """Say something although the display or the stream may be locked by what was interrupted."""
    with suppress(OSError):
        os.write(stream, f"{text}\n".encode())
