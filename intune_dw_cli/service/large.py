"""Large answers come one at a time, so that several at once take no more memory than one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from intune_dw_cli.errors import InterruptedRunError

LARGE = 16 * 1024 * 1024
"""Bytes that an answer may have before it must wait for its turn: far more than a page of the warehouse has."""
_POLL = 0.2


class LargeAnswers:
    """Gives the turn to one answer at a time. Who has it waits for nothing else but the service.

    Args:
        stop: When set, nobody waits any more.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._turn = threading.Lock()
        self._stop = stop

    @contextmanager
    def reading(self) -> Iterator[Callable[[int], None]]:
        """Read one answer: tell what this gives how many bytes are held, before there are more.

        From LARGE bytes on the first call waits for the turn, which lasts until the answer is read. Raises
        InterruptedRunError when `stop` is set meanwhile.
        """
        mine = False

        def holding(size: int) -> None:
            nonlocal mine
            while not mine and size >= LARGE:
                mine = self._turn.acquire(timeout=_POLL)
                if not mine and self._stop.is_set():
                    raise InterruptedRunError("stopped before the end")

        try:
            yield holding
        finally:
            if mine:
                self._turn.release()
