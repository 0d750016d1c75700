"""When to try again, as numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cio_middleware.delivery.retry import RetryPolicy
from cio_middleware.wire.outcome import Outcome, Verdict

BUSY = Outcome(Verdict.BUSY)


@pytest.mark.parametrize(
    ("attempt", "dice", "seconds"),
    [(0, 1.0, 1.0), (1, 1.0, 2.0), (2, 1.0, 4.0), (3, 1.0, 8.0), (4, 1.0, 10.0), (400_000, 1.0, 10.0), (2, 0.25, 1.0)],
)
def test_backoff_doubles_up_to_the_cap(attempt, dice, seconds):
    """The bound doubles from the base to the cap, and the dice choose below it."""
    assert RetryPolicy(base=1.0, cap=10.0).delay(attempt, None, dice) == seconds


@given(attempt=st.integers(0, 100), dice=st.floats(0, 1, exclude_max=True), asked=st.none() | st.floats(1, 600))
def test_jitter_stays_within_the_cap_and_never_undercuts_the_server(attempt, dice, asked):
    """Full jitter lies in [0, cap]; with Retry-After it is never earlier than asked, nor a tenth later."""
    delay = RetryPolicy(base=1.0, cap=10.0).delay(attempt, asked, dice)
    assert delay >= (asked or 0.0)
    assert delay <= max(10.0, (asked or 0.0) * 1.1)


def test_half_of_the_waits_are_shorter_than_half_the_bound():
    """The jitter is full: it starts at nothing, not at half."""
    policy = RetryPolicy(base=8.0, cap=8.0)
    assert policy.delay(0, None, 0.0) == 0.0
    assert policy.delay(0, None, 0.5) == 4.0


@pytest.mark.parametrize(
    ("failures", "elapsed", "gives_up"),
    [(1, 0.0, False), (3, 0.0, False), (4, 0.0, True), (1, 9.6, True), (1, 9.4, False)],
    ids=["first", "last retry", "one more", "no time", "just enough time"],
)
def test_a_bounded_delivery_gives_up(failures, elapsed, gives_up):
    """Attempts and seconds both bound a delivery that somebody waits for."""
    policy = RetryPolicy(base=1.0, cap=1.0, attempts=3, budget=10.0)
    assert (policy.wait(BUSY, failures, elapsed, 0.5) is None) is gives_up


def test_an_unbounded_delivery_never_gives_up():
    """The queue goes on, however often and however long."""
    assert RetryPolicy().wait(BUSY, 10_000, 1e9, 0.5) is not None
