"""When to stop asking a server that does not answer."""

from __future__ import annotations

from cio_middleware.delivery.breaker import Breaker


def fail(breaker: Breaker, times: int, now: float = 0.0) -> None:
    """So many failures in a row."""
    for _ in range(times):
        breaker.note(now, failed=True)


def test_it_opens_after_failures_in_a_row():
    """Four failures change nothing, the fifth opens it; a success in between starts the count again."""
    breaker = Breaker(threshold=5, cooldown=30.0)
    fail(breaker, 4)
    assert breaker.admits(0.0)
    breaker.note(0.0, failed=False)
    fail(breaker, 4)
    assert breaker.admits(0.0)
    fail(breaker, 1)
    assert not breaker.admits(0.0)


def test_one_delivery_per_cooldown_asks_again():
    """After the cooldown one delivery is let through and the next ones are not, until that one has ended."""
    breaker = Breaker(threshold=1, cooldown=30.0)
    fail(breaker, 1)
    assert [breaker.admits(now) for now in (29.9, 30.0, 30.1, 59.9)] == [False, True, False, False]


def test_success_closes_it():
    """When the probe succeeds, everything is let through again; when it fails, the cooldown starts anew."""
    breaker = Breaker(threshold=1, cooldown=30.0)
    fail(breaker, 1)
    assert breaker.admits(30.0)
    fail(breaker, 1, now=40.0)
    assert not breaker.admits(69.9)
    assert breaker.admits(70.0)
    breaker.note(71.0, failed=False)
    assert [breaker.admits(71.0), breaker.admits(71.0)] == [True, True]
