"""
How long the caller waits, how much gets through, and what an event weighs while it waits.

Each function is one scenario: it runs in an interpreter of its own, against a sink of its own, and returns its figures.
"""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc
from time import perf_counter_ns

from .players import Player, attributes, make

_PEOPLE = [f"user-{n}" for n in range(1000)]


def burst(player: str, url: str, events: int) -> dict[str, float]:
    """Calls back to back, while the sending thread works and competes for the interpreter."""
    subject = _warm(player, url)
    return _timed(subject, events, pause=0.0)


def paced(player: str, url: str, events: int) -> dict[str, float]:
    """Calls a millisecond apart: the caches are cold, and a library that wakes its thread for each event pays here."""
    subject = _warm(player, url)
    return _timed(subject, events, pause=0.001)


def rate(player: str, url: str, events: int) -> dict[str, float]:
    """From the first call until the last event is delivered, with the process's CPU time of all threads."""
    return _delivered(player, url, events, rate_limit=100_000)


def rate_default(player: str, url: str, events: int) -> dict[str, float]:
    """The same with our own rate limit as it comes."""
    return _delivered(player, url, events, rate_limit=None)


def memory(player: str, url: str, events: int) -> dict[str, float]:
    """
    Bytes that Python holds per event that waits, its attributes included where the library keeps them.

    The first thousand come before the count begins: buffers, connections and caches are not an event's.
    """
    subject = make(player, url, queue=events + 2000)
    _track_all(subject, 1000)
    time.sleep(1.0)
    gc.collect()
    tracemalloc.start()
    try:
        _track_all(subject, events)
        gc.collect()
        return {"bytes": tracemalloc.get_traced_memory()[0] / events}
    finally:
        tracemalloc.stop()


def _warm(player: str, url: str) -> Player:
    """A player whose thread runs and whose connection is open; its queue is empty again."""
    subject = make(player, url)
    _track_all(subject, 300)
    time.sleep(0.8)
    return subject


def _track_all(subject: Player, events: int) -> None:
    for n in range(events):
        subject.track(_PEOPLE[n % 1000], attributes(n))


def _timed(subject: Player, events: int, pause: float) -> dict[str, float]:
    calls = [(_PEOPLE[n % 1000], attributes(n)) for n in range(events)]
    took: list[int] = []
    track = subject.track
    gc.collect()
    for person, values in calls:
        if pause:
            time.sleep(pause)
        start = perf_counter_ns()
        track(person, values)
        took.append(perf_counter_ns() - start)
    return {"median": statistics.median(took) / 1000, "p99": statistics.quantiles(took, n=100)[98] / 1000}


def _delivered(player: str, url: str, events: int, rate_limit: float | None) -> dict[str, float]:
    subject = make(player, url, queue=events + 2000, rate_limit=rate_limit)
    calls = [(_PEOPLE[n % 1000], attributes(n)) for n in range(events)]
    track = subject.track
    gc.collect()
    start, cpu = time.perf_counter(), time.process_time()
    for person, values in calls:
        track(person, values)
    subject.flush()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {"per_second": events / seconds, "cpu_ms": cpu * 1e6 / events, "due": events}
