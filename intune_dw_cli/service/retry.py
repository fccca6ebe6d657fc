"""How patient one request is: what is tried again, how often, and how long is waited in between."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

RETRIED = frozenset({408, 429, 500, 502, 503, 504})
"""HTTP statuses after which the same request may do better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPolicy:
    """How patient one request is. Times in seconds.

    Attributes:
        connect_timeout: For a connection to come about.
        read_timeout: Of silence, before and within an answer; a few bytes now and then are silence too.
        answer_timeout: For the headers of an answer, and again for its body, however steadily they drip.
        tries: Attempts at one request before it fails; throttling answers are not counted.
        throttles: 429 answers in a row that one request sits out.
        first_wait: Upper end of the first random wait; doubles with each attempt.
        max_wait: Longest random wait.
        max_retry_after: Longest wait that the service may ask for; more than that is cut to it.
        lost_after: Time without any connection to the service after which a request that fails for want of one ends the
            whole run: the others would each be as patient, for nothing.
        max_bytes: Largest decompressed answer.
        ca_bundle: File with the certification authorities to trust, in place of the built-in ones.
    """

    connect_timeout: float = 30.0
    read_timeout: float = 300.0
    answer_timeout: float = 1800.0
    tries: int = 6
    throttles: int = 30
    first_wait: float = 1.0
    max_wait: float = 60.0
    max_retry_after: float = 300.0
    lost_after: float = 300.0
    max_bytes: int = 256 * 1024 * 1024
    ca_bundle: str | None = None


class Attempts:
    """What became of one request so far, and how long to wait before the next attempt."""

    def __init__(self, tries: int, policy: RequestPolicy) -> None:
        self._tries = tries
        self._policy = policy
        self.asked: float | None = None
        self.failures = 0
        self.throttles = 0
        self.throttled = False
        self.renewed = False
        self.token: str | None = None

    def note(self, *, throttled: bool, retry_after: float | None) -> None:
        """Keep what an error answer asked for, until `next_wait`."""
        self.throttled, self.asked = throttled, retry_after

    def next_wait(self) -> float | None:
        """Count the failure and return the seconds to wait, None when it was the last attempt.

        Exponential back-off with full jitter; a `Retry-After` is honoured up to the policy's longest wait.
        """
        asked, self.asked = self.asked, None
        if self.throttled:
            self.throttles += 1
            count, most = self.throttles, self._policy.throttles
        else:
            self.failures += 1
            count, most = self.failures, self._tries
        if count >= most:
            return None
        ceiling = min(self._policy.max_wait, self._policy.first_wait * 2 ** (count - 1))
        jitter = random.uniform(0, ceiling)  # noqa: S311 - jitter is no secret
        if asked is None:
            return jitter
        return min(asked, self._policy.max_retry_after) + min(jitter, self._policy.first_wait)


def retry_after_seconds(text: str | None, *, now: datetime | None = None) -> float | None:
    """Return the seconds that a Retry-After (RFC 9110 10.2.3: seconds or a date) asks for, None if it says nothing."""
    if not text or not text.strip():
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(text.strip())
    except (ValueError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())
