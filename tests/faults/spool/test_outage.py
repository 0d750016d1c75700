"""Fault 22 and 26 on disk: Customer.io is away for two days, and what was captured meanwhile must not fall upon it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from cio_middleware._notices import Notices
from cio_middleware._stats import Ledger
from cio_middleware.delivery.limiter import Limiter
from cio_middleware.delivery.retry import RetryPolicy
from cio_middleware.queues.spool.format import HEADER_BYTES
from cio_middleware.testing.clock import ManualClock
from cio_middleware.typing import Answer, Failure, Request, Response
from tests.faults.spool import parts

OUTAGE = 48 * 3600.0
RATE, BURST = 10.0, 5
BEFORE = 400


class PassingClock(ManualClock):
    """Time passes by what the worker waits for; for all others it stands still, as on a `ManualClock`."""

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        """Let the time pass that the worker wants to wait."""
        if threading.current_thread().name != "cio_middleware":
            super().wait(condition, seconds)
        else:
            self.advance(min(seconds or 0.0, 60.0))
            condition.wait(0)


class Away:
    """
    Customer.io, which takes nothing until its time has come, each time for another reason.

    Meanwhile, `meanwhile` is called at each request: the application goes on.
    """

    def __init__(self, clock: ManualClock, meanwhile: Callable[[], object]) -> None:
        self._clock = clock
        self._meanwhile = meanwhile
        self._back = clock.monotonic() + OUTAGE
        self._excuses: Iterator[Answer] = itertools.cycle(
            [
                Failure("ConnectError"),
                Response(503, {}, b""),
                Response(429, {"retry-after": "30"}, b""),
                Failure("ReadTimeout"),
                Response(500, {"retry-after": "600"}, b"{}"),
            ]
        )
        self.refused: list[float] = []
        self.taken: list[tuple[float, list[int]]] = []

    def send(self, base_url: str, request: Request, timeout: float) -> Answer:
        """Take a batch, or not."""
        del base_url, timeout
        now = self._clock.monotonic()
        if now < self._back:
            self.refused.append(now)
            self._meanwhile()
            return next(self._excuses)
        self.taken.append((now, [item["n"] for item in msgspec.json.decode(request.body)["batch"]]))
        return Response(200, {}, b"{}")

    def close(self) -> None:
        """Nothing is open."""


def most_in(times: list[float], seconds: float) -> int:
    """The most requests that lie within so many seconds."""
    most, first = 0, 0
    for last, time in enumerate(times):
        while time - times[first] > seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize("max_age", [None, 100 * 3600.0], ids=["for ever", "old enough"])
def test_26_two_days_away_lose_nothing_and_end_in_no_flood(spool_dir, eventually, max_age):
    """After an outage of 48 h every event arrives once and in order, and never more than rate and burst in any time."""
    clock, ledger = PassingClock(), Ledger()
    numbers, one_at_a_time = itertools.count(), threading.Lock()
    queue = parts.spool_queue(
        parts.settings(spool_dir, segment_bytes=HEADER_BYTES + 16_000, room=4000), clock=clock, ledger=ledger
    )
    backend: Any = None

    def capture() -> None:
        with one_at_a_time:
            ledger.capture()
            assert backend.emit(*event_at(next(numbers), clock.time())).reason is None

    sink = Away(clock, capture)
    backend = parts.backend_of(
        queue, sink, ledger=ledger, clock=clock, notices=Notices(clock), limiter=Limiter(RATE, BURST),
        policy=RetryPolicy(1.0, 10.0), max_age=max_age, flush_interval=5.0,
    )  # fmt: skip
    for _ in range(BEFORE):
        capture()
    eventually(lambda: sink.taken, 60)
    eventually(lambda: ledger.read().pending == 0, 60)
    stats = ledger.read()
    backend.close(5)

    arrived = [number for _, batch in sink.taken for number in batch]
    assert arrived == list(range(stats.captured))
    assert stats.captured > BEFORE
    assert (stats.delivered, dict(stats.dropped), stats.balanced) == (stats.captured, {}, True)
    assert sink.refused[-1] - sink.refused[0] > OUTAGE - 700
    times = [time for time, _ in sink.taken]
    for seconds in (0.0, 0.1, 0.5, 1.0, 5.0, 20.0, 60.0):
        assert most_in(times, seconds) <= BURST + RATE * seconds
    assert most_in(times, 20.0) > RATE * 20 * 0.9  # it is the limiter that sets the pace


def event_at(number: int, wall: float) -> tuple[Any, bytes]:
    """An event of that moment."""
    envelope, item = parts.event(number)
    return msgspec.structs.replace(envelope, captured_at=wall), item
