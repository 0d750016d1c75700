"""
Take an event in microseconds, deliver it soon: a bounded queue and one worker thread.

The worker is started by the first event, in a context of its own, so that it is no child of the request that woke it.
Nobody waits for it but `flush` and `close`, and those no longer than they were told.
"""

from __future__ import annotations

import contextvars
import math
import sys
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from .._events import Envelope, Receipt
from .._fork import WATCH
from .._ids import Clock
from .._notices import Notices
from .._settings import is_loopback
from .._stats import DropReason
from .._telemetry import Telemetry
from ..delivery.drive import Sender
from ..delivery.flow import Settlement
from ..typing import DeadLetter, Lease, Queue
from ..wire.outcome import Outcome, Verdict
from ._exit import at_child_exit, at_exit, is_exiting

_RESTART_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Pace:
    """When to send: at so many events or so many seconds; and how much in one request."""

    flush_at: int
    flush_interval: float
    max_batch_events: int
    max_batch_bytes: int
    max_age: float | None
    shutdown_timeout: float


class QueuedBackend:
    """Settles every event that it took: delivered, dead-lettered, or dropped with a reason."""

    settles = True

    def __init__(
        self, queue: Queue, sender: Sender, *, pace: Pace, clock: Clock, notices: Notices, telemetry: Telemetry
    ) -> None:
        self.queue = queue
        self._sender = sender
        self._pace = pace
        self._clock = clock
        self._notices = notices
        self._telemetry = telemetry
        self._closing_at: float | None = None
        self._hopeless = False
        self.sweep: Callable[[], float] = lambda: pace.flush_interval
        """Settles what has been parked for too long; returns the seconds until it must be called again."""
        self.empty: Callable[[], None] = lambda: None
        """Settles all that is parked, for closing."""
        self.after_fork()
        WATCH.add(self)
        self._unregister = at_exit(self, pace.shutdown_timeout)

    def after_fork(self) -> None:
        """The worker stayed with the parent: the next event starts one here."""
        self._closed = threading.Event()
        # Held by this lock's own `with`: a Condition's is written in Python, and an exception of a signal handler can
        # leave it locked for ever.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._worker: threading.Thread | None = None
        self._flush_to = 0
        self._rounds = 0

    @property
    def dead_letters(self) -> Collection[DeadLetter]:
        """What Customer.io refused."""
        return self.queue.dead_letters

    def emit(self, envelope: Envelope, item: bytes) -> Receipt:
        """Put the event; wake the worker only when a batch is full, or the queue nearly is."""
        receipt = None
        try:
            receipt = self.queue.put(envelope, item, may_block=self.queue.blocks and self._may_wait())
            if receipt.depth == self._pace.flush_at or receipt.urgent or receipt.reason is DropReason.QUEUE_FULL:
                with self._lock:
                    self._changed.notify_all()
                self._revive()
            if self._worker is None and receipt.reason is None:
                self.wake()
        except BaseException:
            # An exception from a signal handler; the event may be in the queue all the same.
            taken = self.queue.holds(item) if receipt is None else receipt.reason is None
            if not taken:
                self._sender.ledger.drop(DropReason.CANCELLED)
            raise
        return receipt

    def oldest_age(self) -> float | None:
        """Seconds that the head of the queue has been waiting; None when nothing waits."""
        oldest = self.queue.oldest
        return None if oldest is None else self._clock.monotonic() - oldest

    def wake(self) -> None:
        """Have the worker run, for what is queued or parked."""
        if is_exiting():
            self._drain(self._pace.shutdown_timeout)
        else:
            self._start()

    def flush(self, timeout: float) -> bool:
        """Wait until everything emitted before the call is settled."""
        target = self.queue.tail
        deadline = self._clock.monotonic() + _bounded(timeout)
        self._revive()
        if self._worker is None and self.queue.head < target:
            self._start()
            if self._worker is None:
                self._drain(timeout)
        with self._lock:
            self._flush_to = max(self._flush_to, target)
            self._changed.notify_all()
        while True:
            # Read before looking: a round that ends in between must not be slept through.
            rounds = self._rounds
            if self.queue.head >= target:
                return True
            left = deadline - self._clock.monotonic()
            if left <= 0 or self._worker in {None, threading.current_thread()}:
                return False
            with self._lock:
                if self._rounds == rounds:
                    self._clock.wait(self._changed, left)

    def close(self, timeout: float) -> None:
        """
        Deliver what waits, for at most `timeout` seconds; what is left is dropped{shutdown_timeout}.

        Who closes while another does waits for it, within its own timeout.
        """
        timeout = _bounded(timeout)
        self.empty()
        with self._lock:
            first = self._closing_at is None
            if first:
                self._closing_at = self._clock.monotonic() + timeout
            self._changed.notify_all()
            worker = self._worker
        if not first:
            self._closed.wait(timeout)
            return
        try:
            if worker is not None and worker.is_alive() and worker is not threading.current_thread():
                worker.join(timeout)
            elif self.queue.head < self.queue.tail:
                # No thread can be started any more while the interpreter shuts down; this one will do.
                self._run()
        finally:
            self._abandon(timeout)
            self._unregister()
            self._closed.set()
        if worker is None or not worker.is_alive():
            self._sender.transport.close()

    def _revive(self) -> None:
        """Forget a worker that is dead: an exception of a signal handler kept it from starting."""
        if self._worker is not None and not self._worker.is_alive():
            self._worker = None

    def _abandon(self, timeout: float) -> None:
        if left := self.queue.abandon(DropReason.SHUTDOWN_TIMEOUT):
            message = "%d event(s) were not delivered within %.1f s of closing and are dropped"
            self._notices.trouble("shutdown", "late", message, left, timeout)

    def _drain(self, timeout: float) -> None:
        """Deliver in this thread what waits, where there can be no other."""
        self._closing_at = self._clock.monotonic() + _bounded(timeout)
        try:
            self._run()
        finally:
            self._closing_at, self._hopeless = None, False

    def _start(self) -> None:
        with self._lock:
            if self._worker is not None or self._closing_at is not None:
                return
            # A fresh context: otherwise instrumented threads make every batch a child of the request that woke us.
            run = contextvars.Context().run
            self._worker = threading.Thread(target=run, args=(self._run,), name="cio_middleware", daemon=True)
            try:
                self._worker.start()
            except RuntimeError:
                self._worker = None
                _PINNED.add(self)
                message = "no thread can be started here: events wait for flush(), close() or the end of the process"
                self._notices.trouble("worker", "none", message)
        at_child_exit(self, self._pace.shutdown_timeout)

    def _run(self) -> None:
        while True:
            lease = None
            try:
                lease = self._next()
                if lease is None:
                    return
                self._settle(lease, self._deliver(lease))
            except BaseException as error:  # noqa: BLE001 - a dead worker would lose every later event
                if lease is not None:
                    self.queue.nack(lease)
                self._notices.trouble("worker", "failed", "delivery failed with %s; trying again", type(error).__name__)
                self._pause(_RESTART_SECONDS, None)
            finally:
                with self._lock:
                    self._rounds += 1
                    self._changed.notify_all()

    def _next(self) -> Lease | None:
        """Wait until a batch is due and lease it; None when closing and nothing is left, or no time is."""
        while True:
            sweep_in = self._sweep()
            with self._lock:
                now = self._clock.monotonic()
                if self._closing_at is not None and (self._hopeless or now >= self._closing_at):
                    return None
                wait = self._due_in(now)
                if wait > 0:
                    self._clock.wait(self._changed, min(wait, sweep_in))
                    continue
            # Outside of `_changed`: a signal handler may hold the queue's lock while it waits for this one.
            lease = self.queue.lease(self._pace.max_batch_events, self._pace.max_batch_bytes)
            if lease is not None or self._closing_at is not None:
                return lease

    def _sweep(self) -> float:
        try:
            return self.sweep()
        except BaseException as error:  # noqa: BLE001 - a dead worker would lose every later event
            self._notices.trouble("worker", "sweep", "parked events could not be settled: %s", type(error).__name__)
            return self._pace.flush_interval

    def _may_wait(self) -> bool:
        """Whether a full queue may hold the caller up: no event loop, and not the worker, which makes the room."""
        return not on_a_loop() and threading.current_thread() is not self._worker

    def _due_in(self, now: float) -> float:
        """Seconds until something must be sent; 0 or less: now."""
        oldest = self.queue.oldest
        if self._closing_at is not None or self.queue.depth >= self._pace.flush_at or self.queue.urgent:
            return 0.0
        if oldest is None:
            return self._pace.flush_interval
        if self.queue.next < self._flush_to:
            return 0.0
        return oldest + self._pace.flush_interval - now

    def _deliver(self, lease: Lease) -> Settlement:
        with self._telemetry.send_queued(lease.entries) as sending:
            settlement = self._sender.deliver(
                lease.entries, sending, self._pause, timeout=self._attempt_timeout, lives=self._lives(lease)
            )
            if settlement.failed:
                reason = "rejected" if settlement.refused else DropReason.EXPIRED.value
                sending.failed(reason, settlement.failed)
        return settlement

    def _settle(self, lease: Lease, settlement: Settlement) -> None:
        delivered = self.queue.ack(lease, settlement.delivered)
        for index, why in settlement.refused.items():
            if self.queue.dead_letter(lease, index, why):
                # The reason is the server's text and stays with the dead letter: a log must not repeat what it may
                # quote.
                event_id = lease.entries[index][0].event_id
                self._notices.trouble(
                    "refused", "refused", "Customer.io refused event %s: see the dead letters", event_id
                )
        if self.queue.drop(lease, settlement.expired, DropReason.EXPIRED):
            self._notices.trouble("expired", "expired", "events waited longer than max_age and are dropped")
        if settlement.exhausted:
            self.queue.drop(lease, settlement.exhausted, settlement.given_up_for)
        self.queue.nack(lease)
        if delivered:
            self._notices.fine("delivery", "%s takes events again", self._sender.base_url)

    def _attempt_timeout(self) -> float:
        if self._closing_at is None:
            return self._sender.timeout
        return min(self._sender.timeout, max(0.05, self._closing_at - self._clock.monotonic()))

    def _lives(self, lease: Lease) -> list[float] | None:
        if self._pace.max_age is None:
            return None
        now = self._clock.time()
        return [envelope.captured_at + self._pace.max_age - now for envelope, _ in lease.entries]

    def _pause(self, seconds: float, because: Outcome | None) -> bool:
        if because is not None:
            self._say(because, seconds)
        with self._lock:
            until = self._clock.monotonic() + seconds
            while (left := until - self._clock.monotonic()) > 0:
                if self._closing_at is not None and until > self._closing_at:
                    # No attempt is due before the end, so there is nothing left to wait for.
                    self._hopeless = True
                    return False
                self._clock.wait(self._changed, left)
        return True

    def _say(self, outcome: Outcome, seconds: float) -> None:
        if outcome.verdict is Verdict.DENIED:
            self._notices.trouble("delivery", outcome.error, "%s", denied(outcome, self._sender.base_url, kept=True))
        else:
            waiting = self.queue.tail - self.queue.head
            base_url = self._sender.base_url
            nobody = outcome.status is None and is_loopback(urlsplit(base_url).hostname or "")
            self._notices.trouble(
                "delivery", outcome.error,
                "%s is not taking events (%s): %d event(s) wait, next attempt in %.1f s.%s",
                base_url, outcome.error, waiting, seconds, " Is the sandbox running?" if nobody else "",
            )  # fmt: skip


_PINNED: set[QueuedBackend] = set()
"""Those that hold events and have no thread that would keep them alive."""


def _bounded(timeout: float) -> float:
    """What a lock takes: not infinite, not negative, and a number."""
    return 0.0 if math.isnan(timeout) else min(max(timeout, 0.0), threading.TIMEOUT_MAX)


def denied(outcome: Outcome, base_url: str, *, kept: bool) -> str:
    """What to tell whoever can change a setting."""
    then = "Events are kept, and one request a minute probes." if kept else "The event is dropped."
    if outcome.status in {401, 403}:
        return (
            f"Customer.io refused the credentials ({outcome.error}). {then} "
            "Check CUSTOMERIO_SITE_ID and CUSTOMERIO_API_KEY, a pair from Settings > API credentials > Track API,"
            " and CUSTOMERIO_REGION."
        )
    if outcome.status is not None and 300 <= outcome.status < 400:
        return (
            f"{base_url} redirects elsewhere ({outcome.error}), which is not followed: it would carry your key away. "
            f"{then} Check CUSTOMERIO_REGION and CUSTOMERIO_BASE_URL."
        )
    return f"{base_url} does not speak the Track API ({outcome.error}). {then} Check CUSTOMERIO_BASE_URL."


def on_a_loop() -> bool:
    """Whether the caller is an event loop's thread, which must not wait."""
    # Whoever never imported asyncio runs no loop; importing it here would cost every script.
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None  # noqa: SLF001 - get_running_loop() raises
