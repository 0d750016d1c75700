"""
When to stop asking: while Customer.io is down, a request must not pay a whole timeout for each event.
"""

from __future__ import annotations

import threading


class Breaker:
    """
    Opens after `threshold` deliveries in a row that failed for a passing reason, for `cooldown` seconds.

    Then one delivery is let through: if it succeeds the breaker closes, else it stays open for as long again. Only the
    direct backend has one. The queue keeps its events anyway, and waits by itself.
    """

    def __init__(self, threshold: int = 5, cooldown: float = 30.0) -> None:
        self._threshold = threshold
        self._cooldown = cooldown
        self.after_fork()

    def after_fork(self) -> None:
        """A child finds out for itself."""
        self._lock = threading.RLock()
        self._failures = 0
        self._until = float("-inf")

    def admits(self, now: float) -> bool:
        """Whether a delivery may be tried; `now` is on the monotonic clock. While open, True once per cooldown."""
        if self._failures < self._threshold:
            return True
        with self._lock:
            if now < self._until:
                return False
            self._until = now + self._cooldown
            return True

    def note(self, now: float, *, failed: bool) -> None:
        """A delivery ended. What Customer.io refuses is no failure: it answered."""
        with self._lock:
            self._failures = self._failures + 1 if failed else 0
            if failed:
                self._until = now + self._cooldown
