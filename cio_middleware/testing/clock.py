"""
A clock that stands still until a test moves it.
"""

from __future__ import annotations

import threading


class ManualClock:
    """Implements the package's clock. Whoever waits on it looks again every few real milliseconds."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._lock = threading.Lock()
        self._time = start
        self._monotonic = 1000.0
        self.slept: list[float] = []
        self.looks = 0
        """How often somebody who waits has looked; two more looks mean that they saw all that came before."""

    def time(self) -> float:
        """Seconds since the epoch."""
        return self._time

    def monotonic(self) -> float:
        """Seconds from an arbitrary start."""
        return self._monotonic

    def sleep(self, seconds: float, /) -> None:
        """Let the time pass at once, and note how much was asked for."""
        self.slept.append(seconds)
        self.advance(seconds)

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        """Look again soon: only `advance` makes time pass."""
        del seconds
        self.looks += 1
        condition.wait(0.005)

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass."""
        with self._lock:
            self._time += seconds
            self._monotonic += seconds

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back, as NTP does; the monotonic clock does not notice."""
        with self._lock:
            self._time += seconds
