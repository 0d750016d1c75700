"""
The ledger as metrics, on opentelemetry-api alone.

Counts are observed when a reader collects them and cost a capture nothing. An SDK ignores a second observable of the
same name without a word, so the instruments of one meter provider are made once and observe every live client.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Histogram, MeterProvider, Observation

from . import _semconv as names
from ._stats import Stats

COMPONENT_NAME, COMPONENT_TYPE = "customerio.component.name", "customerio.component.type"

Reading = Callable[[Stats], Mapping[str | None, int]]
"""Counts by `error.type`; None where there is no error."""

_COUNTERS: tuple[tuple[str, str, Reading], ...] = (
    ("event.captured", "Calls of a verb that named an event", lambda stats: {None: stats.captured}),
    (
        "event.sent",
        "Events that Customer.io took, or refused for good (error.type=rejected)",
        lambda stats: {None: stats.delivered, "rejected": stats.dead_lettered},
    ),
    ("event.forwarded", "Events that a backend of somebody else's took over", lambda stats: {None: stats.forwarded}),
    (
        "event.dropped",
        "Events that were given up, by reason",
        lambda stats: {reason.value: count for reason, count in stats.dropped.items()},
    ),
    ("event.replayed", "Dead letters that were sent once more", lambda stats: {None: stats.replayed}),
    ("send.requests", "HTTP requests, repeats included", lambda stats: {None: stats.requests}),
    ("send.retries", "HTTP requests that were repeats", lambda stats: {None: stats.retries}),
)
_LEVELS: tuple[tuple[str, str, Reading], ...] = (
    ("event.pending", "Events on their way", lambda stats: {None: stats.pending}),
    # No counter: what cannot be delivered before the end is handed on.
    ("event.adopted", "Events taken over from dead processes", lambda stats: {None: stats.adopted}),
    ("event.parked", "Events that wait in a request for a person", lambda stats: {None: stats.parked}),
)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_SIZES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
_numbers = itertools.count()


@dataclass(eq=False)
class Metrics:
    """
    The metrics of one client.

    `read` gives its ledger, `oldest_age` the seconds that the head of its queue waits, and `is_degraded` whether its
    disk fails (None: it has no spool).
    """

    component: str
    read: Callable[[], Stats]
    oldest_age: Callable[[], float | None] = lambda: None
    is_degraded: Callable[[], bool | None] = lambda: None
    duration: Histogram | None = None
    batch_size: Histogram | None = None

    def __post_init__(self) -> None:
        self.attributes = {COMPONENT_NAME: f"{self.component}/{next(_numbers)}", COMPONENT_TYPE: self.component}

    def sent(self, count: int | None, seconds: float, error_type: str | None) -> None:
        """One logical send ended; `count` is None when it was no batch."""
        if self.duration is None or self.batch_size is None:
            return
        attributes = self.attributes if error_type is None else {**self.attributes, names.ERROR_TYPE: error_type}
        self.duration.record(seconds, attributes)
        if count is not None:
            self.batch_size.record(count, self.attributes)


class _Instruments:
    """What one meter provider observes: every live client that reports to it."""

    def __init__(self, provider: MeterProvider) -> None:
        self.live: weakref.WeakSet[Metrics] = weakref.WeakSet()
        meter = provider.get_meter(names.SCOPE, names.VERSION, names.SCHEMA_URL)
        for name, description, reading in _COUNTERS:
            meter.create_observable_counter(_full(name), [self._observer(reading)], _unit(name), description)
        for name, description, reading in _LEVELS:
            meter.create_observable_up_down_counter(_full(name), [self._observer(reading)], _unit(name), description)
        meter.create_observable_gauge(
            _full("queue.oldest_event.age"), [self._ages], "s", "How long the head of the queue has been waiting"
        )
        meter.create_observable_gauge(_full("spool.degraded"), [self._degraded], "1", "1 while the disk fails")
        self.duration = meter.create_histogram(
            _full("send.duration"), "s", "One logical send, repeats and waits included",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )  # fmt: skip
        self.batch_size = meter.create_histogram(
            _full("send.batch.size"), "{event}", "Events in one batch", explicit_bucket_boundaries_advisory=_SIZES
        )

    def _observer(self, reading: Reading) -> Callable[[CallbackOptions], Iterator[Observation]]:
        def observe(_: CallbackOptions) -> Iterator[Observation]:
            for client in list(self.live):
                for error_type, count in reading(client.read()).items():
                    extra = {} if error_type is None else {names.ERROR_TYPE: error_type}
                    yield Observation(count, {**client.attributes, **extra})

        return observe

    def _ages(self, _: CallbackOptions) -> Iterator[Observation]:
        for client in list(self.live):
            if (age := client.oldest_age()) is not None:
                yield Observation(age, client.attributes)

    def _degraded(self, _: CallbackOptions) -> Iterator[Observation]:
        for client in list(self.live):
            if (degraded := client.is_degraded()) is not None:
                yield Observation(int(degraded), client.attributes)


_INSTRUMENTS: weakref.WeakKeyDictionary[Any, _Instruments] = weakref.WeakKeyDictionary()


def report(client: Metrics, provider: MeterProvider | None = None) -> None:
    """Have a client observed for as long as it lives, by this provider or the global one."""
    found = provider or metrics.get_meter_provider()
    if (instruments := _INSTRUMENTS.get(found)) is None:
        instruments = _INSTRUMENTS[found] = _Instruments(found)
    client.duration, client.batch_size = instruments.duration, instruments.batch_size
    instruments.live.add(client)


def _full(name: str) -> str:
    return f"customerio.client.{name}"


def _unit(name: str) -> str:
    return {"send.requests": "{request}", "send.retries": "{retry}"}.get(name, "{event}")
