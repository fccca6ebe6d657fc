"""Large answers take turns; others never wait, and nobody waits for ever."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from intune_dw_cli.errors import InterruptedRunError
from intune_dw_cli.service.large import LARGE, LargeAnswers


def test_one_large_answer_at_a_time() -> None:
    large, lock = LargeAnswers(threading.Event()), threading.Lock()
    under_way = most = 0

    def read(_: int) -> None:
        nonlocal under_way, most
        with large.reading() as holding:
            for size in (0, LARGE - 1, LARGE):
                holding(size)
            with lock:
                under_way += 1
                most = max(most, under_way)
            time.sleep(0.01)
            holding(3 * LARGE)
            with lock:
                under_way -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(24)))
    assert most == 1


def test_other_answers_do_not_wait() -> None:
    large = LargeAnswers(threading.Event())
    with large.reading() as first, large.reading() as second:
        first(LARGE)
        second(LARGE - 1)


def broken_off(large: LargeAnswers) -> None:
    with large.reading() as holding:
        holding(LARGE)
        raise ConnectionError


def test_the_turn_passes_on_when_an_answer_breaks_off() -> None:
    large = LargeAnswers(threading.Event())
    for _ in range(3):
        with pytest.raises(ConnectionError):
            broken_off(large)


def test_who_waits_notices_a_stop() -> None:
    stop = threading.Event()
    large = LargeAnswers(stop)

    def wait() -> None:
        with large.reading() as holding:
            holding(LARGE)

    with ThreadPoolExecutor(1) as pool, large.reading() as first:
        first(LARGE)
        waiting = pool.submit(wait)
        stop.set()
        with pytest.raises(InterruptedRunError):
            waiting.result(timeout=30)
