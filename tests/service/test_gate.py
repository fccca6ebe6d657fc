"""The limit on concurrent requests: halved by throttling, recovered slowly, ended by a stop."""

from __future__ import annotations

import threading
import time

import pytest

from intune_dw_cli.errors import InterruptedRunError
from intune_dw_cli.service.gate import RequestGate


def test_throttling_halves_the_limit_down_to_one() -> None:
    gate = RequestGate(8)
    assert [gate.throttled() for _ in range(5)] == [4, 2, 1, 1, 1]


def test_twenty_good_answers_in_a_row_allow_one_more_request() -> None:
    gate = RequestGate(4)
    gate.throttled()
    for _ in range(19):
        gate.succeeded()
    assert gate.limit == 2
    gate.succeeded()
    assert gate.limit == 3


def test_a_throttling_answer_starts_the_count_of_good_ones_anew() -> None:
    gate = RequestGate(2)
    gate.throttled()
    for _ in range(19):
        gate.succeeded()
    gate.throttled()
    gate.succeeded()
    assert gate.limit == 1


def test_limit_never_passes_the_number_of_workers() -> None:
    gate = RequestGate(2)
    for _ in range(100):
        gate.succeeded()
    assert gate.limit == 2


@pytest.mark.parametrize("workers", [-1, 0, 1])
def test_there_is_always_room_for_one(workers: int) -> None:
    with RequestGate(workers).permit(threading.Event()):
        pass


def test_no_more_requests_are_under_way_than_allowed() -> None:
    gate, stop, lock = RequestGate(3), threading.Event(), threading.Lock()
    under_way, most = 0, 0

    def request() -> None:
        nonlocal under_way, most
        with gate.permit(stop):
            with lock:
                under_way += 1
                most = max(most, under_way)
            time.sleep(0.01)
            with lock:
                under_way -= 1

    threads = [threading.Thread(target=request) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 3


def test_place_is_given_back_when_the_request_fails() -> None:
    gate, stop = RequestGate(1), threading.Event()
    with pytest.raises(OSError, match="reset"), gate.permit(stop):
        raise OSError("reset")
    with gate.permit(stop):
        pass


def test_stop_ends_the_wait_for_a_place() -> None:
    gate, stop = RequestGate(1), threading.Event()
    threading.Timer(0.1, stop.set).start()
    begun = time.monotonic()
    with gate.permit(stop), pytest.raises(InterruptedRunError), gate.permit(stop):
        pass
    assert time.monotonic() - begun < 2
