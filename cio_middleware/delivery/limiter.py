"""
How fast requests may leave: GCRA, a token bucket that needs one number of state.
"""

from __future__ import annotations

import threading


class Limiter:
    """
    At most `rate` requests per second, after a burst of at most `burst`.

    A reservation is never given back, so concurrent callers queue up behind each other instead of waking together.
    """

    def __init__(self, rate: float, burst: int | None = None) -> None:
        self._interval = 1.0 / rate
        self._slack = self._interval * ((burst or max(1, int(rate / 10))) - 1)
        self._next = float("-inf")
        self._lock = threading.RLock()

    def after_fork(self) -> None:
        """A child's lock must not be one that its parent held."""
        self._lock = threading.RLock()

    def reserve(self, now: float) -> float:
        """Take the next place. Returns the seconds to wait before using it; `now` is on the monotonic clock."""
        with self._lock:
            place = max(self._next, now)
            self._next = place + self._interval
        return max(0.0, place - self._slack - now)
