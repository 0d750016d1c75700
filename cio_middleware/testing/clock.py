"""
Clocks for tests: one that stands still until a test moves it, and one that a test may stop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Self

from cio_middleware._ids import SystemClock


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


class FreezableClock:
    """The machine's clock, whose time of day can be stopped; waits and deadlines go on as ever."""

    monotonic = staticmethod(SystemClock.monotonic)
    sleep = staticmethod(SystemClock.sleep)
    wait = staticmethod(SystemClock.wait)

    def __init__(self) -> None:
        self._at: float | None = None
        self._thaw: Callable[[], object] = lambda: None

    def time(self) -> float:
        """Seconds since the epoch."""
        at = self._at
        return SystemClock.time() if at is None else at

    def freeze(self, at: float, thaw: Callable[[], object]) -> Self:
        """Stop at a time, in Unix seconds; `thaw` is called when it goes on."""
        self._at, self._thaw = at, thaw
        return self

    def thaw(self) -> None:
        """Go on; do nothing while it goes."""
        if self._at is None:
            return
        self._at, thaw = None, self._thaw
        thaw()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.thaw()


def seconds_of(at: float | datetime) -> float:
    """
    A time in Unix seconds.

    Raises:
        ValueError: for a datetime that does not say in which zone it is.
    """
    if not isinstance(at, datetime):
        return float(at)
    if at.tzinfo is None:
        raise ValueError(f"{at} has no time zone. Type datetime(..., tzinfo=UTC)")
    return at.timestamp()
