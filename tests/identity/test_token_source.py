"""The token source by itself: when it renews, and what several threads see."""

from __future__ import annotations

import threading
import time

import pytest

from intune_dw_cli.errors import SignInError, TransportError
from intune_dw_cli.identity.sources import MsalTokenSource


class Mint:
    """A grant that gives numbered tokens, counts, and fails when told to."""

    def __init__(self, life: float = 3600.0) -> None:
        self.life = life
        self.count = 0
        self.asked: list[tuple[str | None, str | None]] = []
        self.error: Exception | None = None
        self.delay = 0.0
        self.entered = threading.Event()

    def acquire(self, resource, *, refused=None, claims=None):
        self.entered.set()
        time.sleep(self.delay)
        self.asked.append((refused, claims))
        if self.error:
            raise self.error
        self.count += 1
        return f"token-{self.count}", self.life


@pytest.fixture
def clock():
    class Clock:
        now = 1000.0

        def __call__(self) -> float:
            return self.now

    return Clock()


@pytest.mark.parametrize(
    ("life", "still", "due"), [(3600, 3299, 3301), (86400, 86099, 86101), (5, 3.9, 4.1), (600, 479, 481)]
)
def test_margin_is_five_minutes_or_a_fifth_of_a_short_life(clock, life, still, due):
    source = MsalTokenSource(Mint(life), "r", clock=clock)
    assert source.token() == "token-1"
    clock.now = 1000 + still
    assert source.token() == "token-1"
    clock.now = 1000 + due
    assert source.token() == "token-2"


def test_renewal_that_gets_no_answer_leaves_the_valid_token(clock):
    mint = Mint()
    source = MsalTokenSource(mint, "r", clock=clock)
    source.token()
    mint.error = TransportError("no answer")
    clock.now += 3400
    assert [source.token() for _ in range(10)] == ["token-1"] * 10
    assert len(mint.asked) == 2
    clock.now += 60
    assert source.token() == "token-1"
    assert len(mint.asked) == 3
    clock.now += 200
    with pytest.raises(TransportError):
        source.token()
    mint.error = None
    assert source.token() == "token-2"


def test_renewal_that_is_refused_is_an_error(clock):
    mint = Mint()
    source = MsalTokenSource(mint, "r", clock=clock)
    source.token()
    mint.error = SignInError("refused")
    clock.now += 3400
    with pytest.raises(SignInError):
        source.token()


def test_threads_share_one_renewal(clock):
    mint = Mint()
    mint.delay = 0.05
    source = MsalTokenSource(mint, "r", clock=clock)
    got: list[str] = []
    threads = [threading.Thread(target=lambda: got.append(source.token())) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == ["token-1"] * 16
    assert mint.count == 1


def test_other_threads_go_on_with_the_valid_token_during_a_renewal(clock):
    mint = Mint()
    source = MsalTokenSource(mint, "r", clock=clock)
    source.token()
    clock.now += 3400
    mint.delay, mint.entered = 0.5, threading.Event()
    renewing = threading.Thread(target=source.token)
    renewing.start()
    mint.entered.wait()
    begun = time.monotonic()
    assert source.token() == "token-1"
    assert time.monotonic() - begun < 0.3
    renewing.join()
    assert source.token() == "token-2"


def test_threads_that_were_refused_together_renew_once(clock):
    mint = Mint()
    source = MsalTokenSource(mint, "r", clock=clock)
    old = source.token()
    mint.delay = 0.05
    got: list[str] = []
    threads = [threading.Thread(target=lambda: got.append(source.renew(old))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(got) == {"token-2"}
    assert mint.asked == [(None, None), (old, None)]


def test_same_token_again_is_no_renewal(clock):
    class Stubborn(Mint):
        def acquire(self, resource, *, refused=None, claims=None):
            return "MARKED-a8f3-token", 3600.0

    source = MsalTokenSource(Stubborn(), "r", clock=clock)
    with pytest.raises(SignInError, match="no other one") as caught:
        source.renew(source.token())
    assert "MARKED" not in str(caught.value)


def test_token_is_not_in_the_representation(clock):
    source = MsalTokenSource(Mint(), "r", clock=clock)
    source.token()
    assert "token-1" not in repr(source) + repr(source._held) + str(vars(source))
