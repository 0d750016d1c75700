"""The pace of requests."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cio_middleware.delivery.limiter import Limiter


def test_a_burst_passes_at_once_and_the_rest_in_turn():
    """After the burst, places are one interval apart, even if all were asked for at the same moment."""
    limiter = Limiter(rate=10.0, burst=3)
    assert [limiter.reserve(100.0) for _ in range(5)] == [0, 0, 0, pytest.approx(0.1), pytest.approx(0.2)]


def test_time_gives_places_back():
    """A pause refills the burst, and no more than the burst."""
    limiter = Limiter(rate=10.0, burst=2)
    for _ in range(2):
        limiter.reserve(0.0)
    assert [limiter.reserve(1000.0) for _ in range(3)] == [0, 0, pytest.approx(0.1)]


@given(gaps=st.lists(st.floats(0, 0.5), min_size=1, max_size=60), rate=st.floats(0.5, 200), burst=st.integers(1, 20))
def test_no_window_holds_more_than_the_rate_and_the_burst(gaps, rate, burst):
    """Whoever waits as told never exceeds rate * window + burst requests in any window."""
    limiter, now, sent = Limiter(rate, burst), 0.0, []
    for gap in gaps:
        now += gap
        sent.append(now + limiter.reserve(now))
    for first, start in enumerate(sent):
        for last in range(first, len(sent)):
            assert last - first + 1 <= rate * (sent[last] - start) + burst + 1e-6


def test_threads_get_different_places():
    """Eight threads that ask at once queue up behind each other."""
    limiter, places = Limiter(rate=100.0, burst=1), []
    threads = [threading.Thread(target=lambda: places.append(limiter.reserve(5.0))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(places) == [pytest.approx(n / 100) for n in range(8)]
