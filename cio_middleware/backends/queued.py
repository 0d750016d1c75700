"""
Take an event in microseconds, deliver it soon: a bounded queue and a worker thread, or several.

The first worker is started by the first event, in a context of its own, so that it is no child of the request that woke
it; each further one, up to `max_in_flight`, by an event that comes while all others are under way with a batch. Nobody
waits for them but `flush` and `close`, and those no longer than they were told.
"""

from __future__ import annotations

import contextvars
import math
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

from .._events import Envelope, Receipt
from .._fork import WATCH
from .._ids import Clock
from .._notices import Notices
from .._stats import DropReason
from .._telemetry import Telemetry
from ..delivery.drive import Sender
from ..typing import Front, KeptLetters, Lease, Queue
from ._courier import Bell, Courier
from ._exit import Shutdown, at_child_exit, at_exit, is_exiting

_RESTART_SECONDS = 1.0
_GRACE_SECONDS = 0.25
"""What a queue may take to close its files when the time is up."""
_LATE = "%d event(s) were not delivered within %.1f s of closing and %s"


@dataclass(frozen=True, slots=True)
class Pace:
    """When to send: at so many events or so many seconds; and how much in one request."""

    flush_at: int
    flush_interval: float
    max_batch_events: int
    max_batch_bytes: int
    max_age: float | None
    max_in_flight: int = 1

    def due_in(self, front: Front | None, now: float, *, at_once: bool, flush_to: int) -> float:
        """Seconds until something must be sent; 0 or less: now. What has its place before `flush_to` is sent now."""
        if front is None:
            return self.flush_interval
        if at_once or front.events >= self.flush_at or front.place < flush_to:
            return 0.0
        return front.at + self.flush_interval - now


class QueuedBackend:
    """Settles every event that it took: delivered, dead-lettered, or dropped with a reason."""

    settles = True

    def __init__(
        self,
        queue: Queue,
        sender: Sender,
        *,
        pace: Pace,
        shutdown: Shutdown,
        clock: Clock,
        notices: Notices,
        telemetry: Telemetry,
    ) -> None:
        self.queue = queue
        self._sender = sender
        self._pace = pace
        self._shutdown = shutdown
        self._clock = clock
        self._notices = notices
        self._bell = Bell(clock)
        self._courier = Courier(
            queue, sender, self._bell, max_age=pace.max_age, clock=clock, notices=notices, telemetry=telemetry
        )
        self.sweep: Callable[[], float] = lambda: pace.flush_interval
        """Settles what has been parked for too long; returns the seconds until it must be called again."""
        self.empty: Callable[[], None] = lambda: None
        """Settles all that is parked, for closing."""
        self.after_fork()
        WATCH.add(self)
        self._unregister = at_exit(self, lambda backend: backend.end())

    def after_fork(self) -> None:
        """The workers stayed with the parent: the next event starts one here."""
        self._closed = threading.Event()
        self._bell.after_fork()
        self._courier.after_fork()
        self._workers: list[threading.Thread] = []
        self._staffed = False
        """Whether somebody looks after an event that is put now. If not, that event has a worker started."""
        self._delivering: set[int] = set()
        """The threads that are under way with a batch."""
        self._at_work: set[int] = set()
        """The workers that have begun and not ended."""
        self._flush_to = 0

    @property
    def dead_letters(self) -> KeptLetters:
        """What Customer.io refused."""
        return self.queue.dead_letters

    def emit(self, envelope: Envelope, item: bytes) -> Receipt:
        """Put the event; wake the worker only when a batch is full, or the queue nearly is."""
        receipt = None
        try:
            if self._delivering and threading.get_ident() in self._delivering:
                within = self._courier.within(envelope)
                if within is None:
                    return Receipt(reason=DropReason.NESTED)
                envelope = within
            bell, blocks = self._bell, self.queue.blocks and _may_wait(self._workers)
            # A handler or a finalizer may capture while its thread has the bell, which a handler in a put may wait for.
            receipt = self.queue.put(envelope, item, may_block=blocks, may_wait=not bell.is_mine())
            if receipt.late and (self._workers or bell.is_mine()):
                # And whoever has the bell may wait for what this thread is in the middle of.
                bell.rounds += 1
                return receipt
            if receipt.depth == self._pace.flush_at or receipt.urgent or receipt.reason is DropReason.QUEUE_FULL:
                self._bell.ring()
                self._revive()
            if not self._staffed and receipt.reason is None:
                self.wake()
        except BaseException:
            # An exception from a signal handler; the event may be in the queue all the same.
            taken = self.queue.holds(item) if receipt is None else receipt.reason is None
            if not taken:
                self._sender.ledger.drop(DropReason.CANCELLED)
            raise
        return receipt

    def is_delivering(self) -> bool:
        """Whether the caller runs inside of a delivery, as a hook of the HTTP client does."""
        return threading.get_ident() in self._delivering

    def oldest_age(self) -> float | None:
        """Seconds that the head of the queue has been waiting; None when nothing waits."""
        oldest = self.queue.oldest
        return None if oldest is None else self._clock.monotonic() - oldest

    def purge(self, who: bytes) -> None:
        """Send nothing more of whom these identifiers name; raises `OSError` as the queue does."""
        self.queue.purge(who)

    def wake(self) -> None:
        """Have a worker run, for what is queued or parked."""
        if is_exiting():
            self._revive()
            if not self._workers:
                with self._shutdown.step() as left:
                    self._drain(left)
        else:
            self._start()

    def begin(self) -> None:
        """Take over what other processes left, before there is an event of this one's."""
        if self.queue.is_shared and not self._staffed:
            self._start()

    def flush(self, timeout: float) -> bool:
        """Wait until everything emitted before the call is settled."""
        target = self.queue.tail
        deadline = self._clock.monotonic() + _bounded(timeout)
        self._revive()
        self.begin()
        if not self._staffed and self.queue.head < target:
            self._start()
            if not self._workers:
                self._drain(timeout)
        with self._bell.lock:
            self._flush_to = max(self._flush_to, target)
            self._bell.ring()
        while True:
            # Read before looking: a round that ends in between must not be slept through.
            rounds = self._bell.rounds
            if self.queue.head >= target:
                return True
            left = deadline - self._clock.monotonic()
            if left <= 0 or not self._workers or threading.current_thread() in self._workers:
                return False
            with self._bell.lock:
                if self._bell.rounds == rounds:
                    self._bell.wait(left)

    def close(self, timeout: float) -> None:
        """
        Deliver what waits, for at most `timeout` seconds; what is left and would be lost is dropped{shutdown_timeout}.

        Who closes while another does waits for it, within its own timeout.
        """
        timeout = _bounded(timeout)
        self.empty()
        with self._bell.lock:
            first = not self._bell.closing
            if first:
                self._bell.end = self._clock.monotonic() + timeout
            self._bell.ring()
        if not first:
            self._closed.wait(timeout)
            return
        try:
            if others := self._others():
                while others:
                    others[0].join(max(0.0, self._bell.end - self._clock.monotonic()))
                    # Anew each time: a worker that closes may still start another.
                    others = [] if others[0].is_alive() else self._others()
            elif self.queue.head < self.queue.tail:
                # No thread can be started any more while the interpreter shuts down; this one will do.
                self._run()
        finally:
            left = max(0.0, self._bell.end - self._clock.monotonic())
            _abandon(self.queue, timeout, left + _GRACE_SECONDS, self._notices)
            self._unregister()
            with self._bell.lock:
                self._closed.set()
                over = not self._at_work
        if over:
            self._sender.transport.close()

    def end(self) -> None:
        """Close, for the time that the process's shutdown has left."""
        with self._shutdown.step() as left:
            self.close(left)

    def _others(self) -> list[threading.Thread]:
        return [worker for worker in self._workers if worker.is_alive() and worker is not threading.current_thread()]

    def _revive(self) -> None:
        """Forget workers that are dead: an exception of a signal handler kept them from starting."""
        with self._bell.lock:
            alive = [worker for worker in self._workers if worker.is_alive()]
            if len(alive) < len(self._workers):
                self._workers, self._staffed = alive, bool(alive)

    def _drain(self, timeout: float) -> None:
        """Deliver in this thread what waits, where there can be no other."""
        end = self._clock.monotonic() + _bounded(timeout)
        # Nothing is called in between, so neither a signal nor another thread comes between these.
        if self._bell.end != math.inf:
            return  # who does so already, perhaps this very thread before a signal came, delivers this as well
        self._bell.end = end
        try:
            self._run()
        finally:
            self._bell.end = math.inf

    def _start(self) -> None:
        """Start a worker, if there may be one more and all others are under way with a batch."""
        if not self._workers:
            self._bell.renew()
        with self._bell.lock:
            is_first = not self._workers
            idle = [worker for worker in self._workers if worker.ident not in self._delivering]
            is_enough = len(self._workers) >= self._pace.max_in_flight or (not is_first and self._bell.is_outdated)
            if idle or is_enough or (is_first and self._bell.closing):
                self._staffed = not is_first
                return
            # A fresh context: otherwise instrumented threads make every batch a child of the request that woke us.
            run = contextvars.Context().run
            worker = threading.Thread(target=run, args=(self._work,), name="cio_middleware", daemon=True)
            self._workers.append(worker)
            self._staffed = True
            try:
                worker.start()
            except RuntimeError:
                self._workers.remove(worker)
                self._staffed = not is_first
                if is_first:
                    _PINNED.add(self)
                    message = (
                        "no thread can be started here: events wait for flush(), close() or the end of the process"
                    )
                    self._notices.trouble("worker", "none", message)
        if is_first:
            at_child_exit(self.end)

    def _work(self) -> None:
        """What the worker does: `_run`, and again if even its care for what fails has failed."""
        me = threading.get_ident()
        self._at_work.add(me)
        while True:
            try:
                self._run()
                break
            except BaseException:  # noqa: BLE001 - without a worker every later event would be lost
                # On no clock of anybody's, which may be what fails.
                if self._closed.wait(_RESTART_SECONDS):
                    break
        with self._bell.lock:
            self._at_work.discard(me)
            over = self._closed.is_set() and not self._at_work
        if over:
            # Who closed could not wait for this: connections are never closed under a thread that uses them.
            self._sender.transport.close()

    def _run(self) -> None:
        me = threading.get_ident()
        while True:
            lease = None
            try:
                lease = self._next(me)
                if lease is None:
                    return
                self._hand_over()
                if not self._courier.deliver(lease):
                    return
            except BaseException as error:  # noqa: BLE001 - a dead worker would lose every later event
                if lease is not None:
                    self.queue.nack(lease)
                self._notices.trouble("worker", "failed", "delivery failed with %s; trying again", type(error).__name__)
                self._courier.pause(_RESTART_SECONDS, None)
            finally:
                with self._bell.lock:
                    self._delivering.discard(me)
                    self._courier.leave()
                    self._staffed = bool(self._workers)
                    self._bell.ring()

    def _next(self, me: int) -> Lease | None:
        """Wait until a batch is due and lease it; None when closing and nothing is left to do, or no time is."""
        while True:
            sweep_in = _swept(self.sweep, self.queue, self._bell, self._notices, self._pace.flush_interval)
            # Read before looking: what changes in between must not be slept through.
            rounds = self._bell.rounds
            # Outside of the bell: a signal handler may hold the queue's lock while it waits for this one.
            front = self.queue.front
            with self._bell.lock:
                now = self._clock.monotonic()
                pause = self._courier.wait_of_all(now)
                if self._bell.closing:
                    others = self._delivering - {me}
                    idle = front is None and self._bell.rounds == rounds and not (others and self.queue.depth)
                    if idle or self._courier.is_too_late(now, pause):
                        return None
                at_once = self._bell.closing or self.queue.urgent
                due = self._pace.due_in(front, now, at_once=at_once, flush_to=self._flush_to)
                wait = min(max(due, pause), self._bell.end - now)
                if wait > 0:
                    if self._bell.rounds == rounds:
                        self._bell.wait(min(wait, sweep_in))
                    continue
                self._delivering.add(me)
            lease = self.queue.lease(self._pace.max_batch_events, self._pace.max_batch_bytes)
            if lease is not None:
                return lease
            with self._bell.lock:
                self._delivering.discard(me)

    def _hand_over(self) -> None:
        """Before this thread is busy: somebody else must look after what comes, if there may be one more."""
        if self._pace.max_in_flight == 1:
            return
        with self._bell.lock:
            idle = [worker for worker in self._workers if worker.ident not in self._delivering]
            if idle or not 0 < len(self._workers) < self._pace.max_in_flight:
                return
            self._staffed = False
        # After that: an event that is put now is either seen here, or has its worker started itself.
        if self.queue.front is not None:
            self._start()


_PINNED: set[QueuedBackend] = set()
"""Those that hold events and have no thread that would keep them alive."""


def _swept(sweep: Callable[[], float], queue: Queue, bell: Bell, notices: Notices, otherwise: float) -> float:
    """Settle what is parked for too long, and have the queue tended. Returns the seconds until the next time."""
    try:
        return min(sweep(), queue.tend(closing=bell.closing))
    except BaseException as error:  # noqa: BLE001 - a dead worker would lose every later event
        notices.trouble("worker", "sweep", "parked events could not be settled: %s", type(error).__name__)
        return otherwise


def _abandon(queue: Queue, timeout: float, within: float, notices: Notices) -> None:
    """Deliver no more, and say what was not."""
    lost = queue.abandon(DropReason.SHUTDOWN_TIMEOUT, within=within)
    for count, what in ((lost, "are dropped"), (queue.kept, "stay for another process")):
        if count:
            notices.trouble("shutdown", what, _LATE, count, timeout, what)


def _may_wait(workers: list[threading.Thread]) -> bool:
    """Whether a full queue may hold the caller up: no event loop, and not a worker, which makes the room."""
    return not on_a_loop() and threading.current_thread() not in workers


def _bounded(timeout: float) -> float:
    """What a lock takes: not infinite, not negative, and a number."""
    return 0.0 if math.isnan(timeout) else min(max(timeout, 0.0), threading.TIMEOUT_MAX)


def on_a_loop() -> bool:
    """Whether the caller is an event loop's thread, which must not wait."""
    # Whoever never imported asyncio runs no loop; importing it here would cost every script.
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None  # noqa: SLF001 - get_running_loop() raises
