"""
Which parts a client is made of, by its settings. The only place that knows all of them.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from . import _plugins
from ._capture import Capture
from ._dispatch import Dispatch
from ._fork import WATCH
from ._ids import Clock, SystemClock, Ulids, dice, owner_name
from ._metrics import Metrics, report
from ._notices import Notices
from ._parking import Parking
from ._person import People
from ._settings import Settings
from ._stats import Ledger
from ._telemetry import Telemetry
from .backends._exit import Shutdown
from .backends.direct import DirectBackend
from .backends.null import NullBackend
from .backends.queued import Pace, QueuedBackend
from .catalog import Catalog, Typed
from .delivery.drive import Sender
from .delivery.limiter import Limiter
from .delivery.retry import RetryPolicy
from .queues.memory import DeadLetters, MemoryQueue
from .transports.http import AsyncHttpTransport, HttpTransport, check_client
from .typing import Backend, Processor, Queue
from .wire.regions import base_url

if TYPE_CHECKING:
    from .transports.sandbox_report import SandboxReport


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """The parts that a client's verbs use."""

    clock: Clock
    ledger: Ledger
    notices: Notices
    telemetry: Telemetry
    people: People
    capture: Capture
    backend: Backend
    dispatch: Dispatch
    parking: Parking
    shutdown: Shutdown
    report: SandboxReport | None


def assemble(
    settings: Settings,
    *,
    processors: Sequence[Processor] = (),
    catalog: Catalog | None = None,
    http_client: Any = None,
    async_http_client: Any = None,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    clock: Clock | None = None,
) -> Parts:
    """
    Make the parts of a client.

    Raises:
        ConfigurationError: a setting is missing or wrong.
    """
    settings.check()
    check_client(http_client, asynchronous=False)
    check_client(async_http_client, asynchronous=True)
    time: Clock = SystemClock() if clock is None else clock
    observed, notices, ulids = _observing(settings, time), Notices(time), Ulids(time.time)
    ledger = observed.ledger
    metrics = Metrics(_backend_name(settings), ledger.read)
    telemetry = _telemetry(settings, metrics, time, tracer_provider)
    shutdown = Shutdown(time, settings.shutdown_timeout)
    makers = _Makers(settings, time, shutdown, ledger, notices, telemetry, http_client, async_http_client, observed)
    backend: Backend = _plugins.load(
        settings.backend if settings.enabled else "null",
        group="backend",
        built_in={"queued": makers.queued, "direct": makers.direct, "null": NullBackend},
        methods=("emit", "flush", "close"),
    )
    _measure(metrics, backend, meter_provider)
    people = People(time, notices)
    dispatch = observed.dispatch(
        backend,
        processors,
        ledger,
        notices,
        anonymous_via=settings.anonymous_via,
        max_event_bytes=settings.max_event_bytes,
        raises=settings.on_error == "raise",
        debug=settings.debug,
    )
    parking = Parking(people, dispatch, ledger, time, wake=getattr(backend, "wake", None))
    if isinstance(backend, QueuedBackend):
        backend.sweep, backend.empty = parking.sweep, parking.empty
    capture = observed.capture(
        ulids=ulids,
        clock=time,
        ledger=ledger,
        telemetry=telemetry,
        people=people,
        dispatch=dispatch,
        parking=parking,
        stamps=settings.stamps,
        stamp_queued=isinstance(backend, QueuedBackend),
        typed=Typed(catalog, notices),
    )
    for part in (ledger, notices, ulids, parking, shutdown):
        WATCH.add(part)
    _warn(settings, notices)
    told = observed.report
    return Parts(time, ledger, notices, telemetry, people, capture, backend, dispatch, parking, shutdown, told)


class _Plain:
    """The parts of a client that nobody observes."""

    report: SandboxReport | None = None
    capture: Callable[..., Capture] = Capture
    dispatch: Callable[..., Dispatch] = Dispatch

    def __init__(self) -> None:
        self.ledger = Ledger()

    def sender(self, **parts: Any) -> Sender:
        """A sender."""
        return Sender(**parts)

    def queue(self, queue: Queue) -> Queue:
        """The queue itself."""
        return queue


class _Observed(_Plain):
    """The same parts, which tell a sandbox on this machine each stage of an event."""

    def __init__(self, report: SandboxReport, settings: Settings, clock: Clock) -> None:
        from . import _observed as parts

        super().__init__()
        self.report = self._observer = report
        self.ledger = ledger = parts.ObservedLedger()
        stage = "spooled" if settings.queue == "spool" and settings.backend == "queued" else "queued"
        self.capture = functools.partial(parts.ObservedCapture, report, ledger.why)
        self.dispatch = functools.partial(parts.ObservedDispatch, report, ledger.why, stage=stage, now=clock.time)
        self._queue: Any = functools.partial(parts.ObservedQueue, observer=report, now=clock.time)
        self._sender = parts.ObservedSender

    def sender(self, **parts: Any) -> Sender:
        """A sender that tells each attempt."""
        sender = self._sender(**parts)
        sender.observer = self._observer
        return sender

    def queue(self, queue: Queue) -> Queue:
        """The queue, telling how each event is settled."""
        return self._queue(queue)  # type: ignore[no-any-return]  # it passes on what it does not tell


def _observing(settings: Settings, clock: Clock) -> _Plain:
    """Which parts a client is made of: only a loopback `base_url` may be a sandbox's, and then only if it is wanted."""
    if not (settings.sandbox_reporting and settings.enabled and settings.is_loopback):
        return _Plain()
    from .transports.sandbox_report import report_for

    report = report_for(str(settings.base_url), str(settings.site_id))
    return _Plain() if report is None else _Observed(report, settings, clock)


def _measure(metrics: Metrics, backend: Backend, meter_provider: MeterProvider | None) -> None:
    if isinstance(backend, QueuedBackend):
        metrics.oldest_age = backend.oldest_age
        metrics.is_degraded = lambda: getattr(backend.queue, "is_degraded", None)
    report(metrics, meter_provider)


def _warn(settings: Settings, notices: Notices) -> None:
    if settings.env == "production" and settings.is_loopback:
        notices.trouble(
            "loopback", "production",
            "env is production, but base_url is this machine: events stay here. Remove CUSTOMERIO_BASE_URL.",
            level=logging.WARNING,
        )  # fmt: skip


def _backend_name(settings: Settings) -> str:
    named = settings.backend if settings.enabled else "null"
    return named if isinstance(named, str) else type(named).__name__


def _telemetry(settings: Settings, metrics: Metrics, clock: Clock, tracer_provider: TracerProvider | None) -> Telemetry:
    return Telemetry(
        base_url=base_url(settings.region, settings.base_url),
        region=settings.region,
        backend=_backend_name(settings),
        create_spans=settings.create_spans and settings.backend != "direct",
        metrics=metrics,
        monotonic=clock.monotonic,
        tracer_provider=tracer_provider,
    )


def _destination(settings: Settings) -> bytes:
    """
    Which workspace events are for, so that a spool's are never sent to another one.

    No key goes into it, which may change, and no region, which Customer.io corrects.
    """
    named = f"{settings.site_id}\n{(settings.base_url or 'customer.io').rstrip('/')}"
    return hashlib.sha256(named.encode("utf-8", "surrogatepass")).digest()[:16]


@dataclasses.dataclass(frozen=True, slots=True)
class _Makers:
    """Makes the built-in backends; only the one that is named is made."""

    settings: Settings
    clock: Clock
    shutdown: Shutdown
    ledger: Ledger
    notices: Notices
    telemetry: Telemetry
    http_client: Any
    async_http_client: Any
    observed: _Plain

    def queued(self) -> QueuedBackend:
        settings = self.settings
        sender = self._sender(RetryPolicy(settings.retry_base, settings.retry_cap))
        in_flight = settings.max_in_flight
        letters = DeadLetters(self.ledger, self.clock)
        queue = self._spool() if settings.queue == "spool" else self._memory(letters, in_flight)
        return self._queue(sender, queue, settings.flush_at, settings.flush_interval, in_flight)

    def direct(self) -> DirectBackend:
        settings = self.settings
        sender = self._sender(RetryPolicy(settings.retry_base, settings.retry_cap, settings.retries, settings.timeout))
        dead_letters = DeadLetters(self.ledger, self.clock)
        return DirectBackend(
            sender,
            aside=lambda: self._queue(sender, self._memory(dead_letters, 1), 1, 0.001, 1),
            ledger=self.ledger,
            clock=self.clock,
            notices=self.notices,
            telemetry=self.telemetry,
            dead_letters=dead_letters,
        )

    def _queue(
        self, sender: Sender, queue: Queue, flush_at: int, flush_interval: float, max_in_flight: int
    ) -> QueuedBackend:
        settings = self.settings
        pace = Pace(
            flush_at=min(flush_at, settings.max_queue_events),
            flush_interval=flush_interval,
            max_batch_events=settings.max_batch_events,
            max_batch_bytes=settings.max_batch_bytes,
            max_age=settings.longest_age,
            max_in_flight=max_in_flight,
        )
        return QueuedBackend(
            self.observed.queue(queue),
            sender,
            pace=pace,
            shutdown=self.shutdown,
            clock=self.clock,
            notices=self.notices,
            telemetry=self.telemetry,
        )

    def _memory(self, dead_letters: DeadLetters, max_in_flight: int) -> MemoryQueue:
        return MemoryQueue(
            max_events=self.settings.max_queue_events,
            max_bytes=self.settings.max_queue_bytes,
            overflow=self.settings.overflow,
            ledger=self.ledger,
            clock=self.clock,
            dead_letters=dead_letters,
            max_in_flight=max_in_flight,
        )

    def _spool(self) -> Queue:
        from .queues.spool.disk import SpoolSettings
        from .queues.spool.files import PosixFiles
        from .queues.spool.house import check_path
        from .queues.spool.queue import SpoolQueue

        settings, files = self.settings, PosixFiles()
        path = os.fspath(settings.spool_dir or "")
        check_path(files, path)
        held = settings.on_spool_error == "memory"
        spool = SpoolSettings(
            path=path,
            destination=_destination(settings),
            fsync=settings.fsync,
            max_bytes=settings.spool_max_bytes,
            min_free_bytes=settings.spool_min_free_bytes,
            held_events=settings.max_queue_events if held else 0,
            held_bytes=settings.max_queue_bytes if held else 0,
            max_in_flight=settings.max_in_flight,
            room=2 * settings.max_batch_bytes,
        )
        return SpoolQueue(
            spool,
            files=files,
            ledger=self.ledger,
            clock=self.clock,
            notices=self.notices,
            dice=dice,
            new_name=owner_name,
        )

    def _sender(self, policy: RetryPolicy) -> Sender:
        settings = self.settings
        transport = HttpTransport(self._credentials, self.http_client)
        async_transport = AsyncHttpTransport(self._credentials, self.async_http_client)
        limiter = Limiter(settings.rate_limit)
        for part in (transport, async_transport, limiter):
            WATCH.add(part)
        return self.observed.sender(
            base_url=base_url(settings.region, settings.base_url),
            transport=transport,
            async_transport=async_transport,
            policy=policy,
            limiter=limiter,
            clock=self.clock,
            ledger=self.ledger,
            timeout=settings.timeout,
        )

    def _credentials(self) -> tuple[str, str]:
        return str(self.settings.site_id), self.settings.secret.reveal()
