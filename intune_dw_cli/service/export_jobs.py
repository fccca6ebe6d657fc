"""Export jobs of Microsoft Graph: what is asked for, what comes, and how patient we are.

Facts are from Microsoft's Intune pages on exporting reports with Graph; that jobs hang is what admins report.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from intune_dw_cli.errors import InterruptedRunError

_WINDOW = 60.0


def pause(stop: threading.Event, seconds: float) -> None:
    """Wait; the end of the run ends the wait too.

    Raises:
        InterruptedRunError: `stop` is set.
    """
    if stop.wait(seconds):
        raise InterruptedRunError("stopped before the end")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportPolicy:
    """How patient we are with export jobs. Times in seconds.

    Attributes:
        first_poll: Wait before the first look at a job; each next one is `growth` times as long, up to `max_poll`.
        job_seconds: How long one job may take. Jobs sometimes hang, and a fresh one then works.
        submissions: Jobs asked for until the report is given up.
        per_minute: Requests about export jobs in any 60 seconds. Documented: 8 a user, 48 an app; whether looking at
            a job counts is not, so it is counted.
        clock: Monotonic time.
        pause: Waits so many seconds, or until the event is set.
    """

    first_poll: float = 5.0
    growth: float = 1.5
    max_poll: float = 30.0
    job_seconds: float = 300.0
    submissions: int = 3
    per_minute: int = 8
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[threading.Event, float], None] = pause

    @classmethod
    def hurried(cls) -> ExportPolicy:
        """Return a policy for the sandbox, which is quick and has no limits."""
        return cls(first_poll=0.02, max_poll=0.2, job_seconds=5.0, per_minute=100_000)


@dataclass(frozen=True, slots=True)
class ExportReport:
    """A report to export as CSV.

    Attributes:
        name: The documented reportName.
        select: Columns asked for by name, since the default ones may change; empty for the default ones.
    """

    name: str
    select: tuple[str, ...] = ()

    def encode(self, *, select: bool) -> bytes:
        """Return the JSON body that asks for it."""
        body: dict[str, object] = {
            "reportName": self.name,
            "format": "csv",
            "localizationType": "LocalizedValuesAsAdditionalColumn",
        }
        if select and self.select:
            body["select"] = list(self.select)
        return json.dumps(body, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class ExportJob:
    """An export job: `status` in lower case, and the address of its file once that is there.

    The address is a secret: it is left out of the representation.
    """

    id: str
    status: str
    url: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Export:
    """What an export job gave.

    Attributes:
        zip: The file, as served.
        selected: Whether the columns were asked for by name; False when the service refused that.
    """

    zip: bytes = field(repr=False)
    selected: bool


class Pace:
    """Keeps requests about export jobs to so many a minute."""

    def __init__(self, policy: ExportPolicy, stop: threading.Event) -> None:
        self._policy = policy
        self._stop = stop
        self._sent: deque[float] = deque(maxlen=policy.per_minute)

    def wait(self) -> None:
        """Wait until one more is allowed, and count it."""
        if len(self._sent) == self._policy.per_minute:
            left = self._sent[0] + _WINDOW - self._policy.clock()
            if left > 0:
                self._policy.pause(self._stop, left)
        self._sent.append(self._policy.clock())
