"""How many requests may be under way at once: as many as there are workers, fewer while the service throttles."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from intune_dw_cli.errors import InterruptedRunError

_RECOVERY = 20
_POLL = 0.2


class RequestGate:
    """A limit on concurrent requests that halves when throttled and recovers by one after 20 good answers."""

    def __init__(self, workers: int) -> None:
        self._most = max(1, workers)
        self._limit = self._most
        self._under_way = 0
        self._good = 0
        self._changed = threading.Condition()

    @property
    def limit(self) -> int:
        """How many requests may be under way now."""
        return self._limit

    @contextmanager
    def permit(self, stop: threading.Event) -> Iterator[None]:
        """Wait for a place, hold it while the request is under way.

        Raises:
            InterruptedRunError: `stop` is set.
        """
        with self._changed:
            while not stop.is_set() and self._under_way >= self._limit:
                self._changed.wait(_POLL)
            if stop.is_set():
                raise InterruptedRunError("stopped before the end")
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def throttled(self) -> int:
        """Note a 429: halve the limit. Returns the new limit."""
        with self._changed:
            self._good = 0
            self._limit = max(1, self._limit // 2)
            return self._limit

    def succeeded(self) -> None:
        """Note a good answer; after enough of them in a row one more request is allowed."""
        with self._changed:
            self._good += 1
            if self._good >= _RECOVERY and self._limit < self._most:
                self._limit += 1
                self._good = 0
                self._changed.notify_all()
