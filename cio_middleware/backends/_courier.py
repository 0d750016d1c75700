"""
Deliver what was leased, and wait in between: for a backoff, for a pause that is for all, never beyond the end.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from .._events import Envelope
from .._ids import Clock
from .._locks import owned
from .._notices import Notices
from .._settings import is_loopback
from .._stats import DropReason
from .._telemetry import Telemetry
from ..delivery.drive import Sender
from ..delivery.flow import Settlement
from ..delivery.pause import SharedPause
from ..typing import Entry, Lease, Queue, Refusal
from ..wire.outcome import Outcome, Verdict
from ._suspects import CRASHES, Suspects, wait_after

_LONGEST_WAIT = 60.0
_NESTED = 3
"""
How many deliveries may lead to one another by way of the events that are captured inside of them.

A hook of the HTTP client that captures every call would go on for ever. It cannot be told from a finalizer, which the
collector runs wherever it starts; but that this happens in so many deliveries in a row, of nothing else, is no chance.
"""


class Bell:
    """
    What the threads of one backend wait on. `end` is when nobody waits for them any more, on the monotonic clock.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.end = math.inf
        self.after_fork()

    def after_fork(self) -> None:
        """A child's lock must not be one that its parent held."""
        self._make_lock()
        self.rounds = 0
        """Counts what somebody who looks before he waits may have missed."""

    @property
    def is_outdated(self) -> bool:
        """
        Whether gevent has patched what threads and locks are since.

        Its threads are one to a lock from before: a worker, waiting, would let go of what its starter holds.
        """
        return type(self.lock) is not type(threading.RLock())

    def renew(self) -> None:
        """Have the lock that threads have now; nobody may be waiting."""
        if self.is_outdated:
            self._make_lock()

    def _make_lock(self) -> None:
        # Held by this lock's own `with`: a Condition's is written in Python, and an exception of a signal handler can
        # leave it locked for ever.
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self.is_mine = owned(self.lock)
        """Whether this very thread holds it: a signal handler or a finalizer asks."""

    @property
    def closing(self) -> bool:
        """Whether there is an end."""
        return self.end != math.inf

    def ring(self) -> None:
        """Wake everybody."""
        with self.lock:
            self.rounds += 1
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Wait until it rings, at most so long; the lock is held."""
        self._clock.wait(self._changed, min(seconds, _LONGEST_WAIT))


class _Lives(Sequence[float]):
    """Seconds that each event may still wait: none for one that is purged while its batch is tried again."""

    def __init__(self, entries: Sequence[Entry], queue: Queue, lives: list[float]) -> None:
        self._entries = entries
        self._queue = queue
        self._lives = lives

    def __getitem__(self, index: Any) -> Any:
        return -math.inf if self._queue.is_purged(self._entries[index]) else self._lives[index]

    def __len__(self) -> int:
        return len(self._lives)


class Courier:
    """
    Delivers leases, several at once if several threads ask, and settles what became of each event.

    A worker that is told to stop stops all; see `SharedPause`.
    """

    def __init__(
        self,
        queue: Queue,
        sender: Sender,
        bell: Bell,
        *,
        max_age: float | None,
        clock: Clock,
        notices: Notices,
        telemetry: Telemetry,
    ) -> None:
        self._queue = queue
        self._sender = sender
        self._bell = bell
        self._max_age = max_age
        self._clock = clock
        self._notices = notices
        self._telemetry = telemetry
        self.after_fork()

    def after_fork(self) -> None:
        """A child finds out for itself."""
        self._troubled: set[int] = set()
        """The threads whose latest attempt failed."""
        self._late: set[int] = set()
        """The threads that have no time for another attempt."""
        self._paused = SharedPause()
        self._leases: dict[int, Lease] = {}
        """What each thread delivers."""
        self._crashes = 0
        """The latest deliveries of all threads that ended in an exception, in a row."""

    def deliver(self, lease: Lease) -> bool:
        """Deliver and settle. False when the end came first, and some events went back to the queue."""
        self._leases[threading.get_ident()] = lease
        left = Suspects(len(lease.entries))
        while part := left.part:
            try:
                entries = [lease.entries[index] for index in part]
                settlement = self._deliver(entries)
            except BaseException as error:  # noqa: BLE001 - nobody foresaw it, and it must not stop the other events
                what = type(error).__name__
                self._notices.trouble("worker", "failed", "delivery failed with %s; trying again", what)
                if (culprit := left.failed()) is not None:
                    why = f"its delivery failed with {what}, {CRASHES} times"
                    self._queue.dead_letter(lease, culprit, Refusal(why))
                    event_id = lease.entries[culprit][0].event_id
                    self._notices.trouble("refused", "crashed", "event %s is kept aside: %s", event_id, why)
                if not self._recover(left):
                    break
            else:
                self._crashes = 0
                self._settle(lease, part, settlement)
                if settlement.released:
                    break
                left.settled()
        self._queue.nack(lease)
        return not (left.part and self._bell.closing)

    def within(self, envelope: Envelope) -> Envelope | None:
        """An event that was captured inside of this thread's delivery; None when that would go on for ever."""
        lease = self._leases.get(threading.get_ident())
        if lease is None:
            return envelope
        nested = 1 + min([carried.nested for carried, _ in lease.entries])
        return msgspec.structs.replace(envelope, nested=nested) if nested <= _NESTED else None

    def leave(self) -> None:
        """This thread's delivery is over, or failed. The bell's lock is held."""
        me = threading.get_ident()
        self._leases.pop(me, None)
        self._troubled.discard(me)
        self._late.discard(me)
        self._paused.leave(me)

    def wait_of_all(self, now: float) -> float:
        """Seconds that nobody may ask, infinite while somebody does for all. The bell's lock is held."""
        return self._paused.wait(now)

    def is_too_late(self, now: float, wait: float) -> bool:
        """Whether the end comes before that wait is over; an infinite one may be over at any time."""
        return now >= self._bell.end or (wait != math.inf and now + wait > self._bell.end)

    def _deliver(self, entries: Sequence[Entry]) -> Settlement:
        with self._telemetry.send_queued(entries) as sending:
            settlement = self._sender.deliver(
                entries,
                sending,
                self.pause,
                turn=lambda repeat: self._turn(repeat=repeat),
                timeout=self._attempt_timeout,
                lives=self._lives(entries),
            )
            with self._bell.lock:
                if settlement.last is not None and settlement.last.is_about_events:
                    self._paused.answered(threading.get_ident())
            if settlement.failed:
                reason = "rejected" if settlement.refused else DropReason.EXPIRED.value
                sending.failed(reason, settlement.failed)
        return settlement

    def _recover(self, left: Suspects) -> bool:
        """Wait after an exception, but for no end that comes. False when there is no time or no hope for the others."""
        with self._bell.lock:
            self._paused.leave(threading.get_ident())
            self._bell.ring()
            self._crashes += 1
            until = self._clock.monotonic() + wait_after(self._crashes)
            while not self._bell.closing and (wait := until - self._clock.monotonic()) > 0:
                self._bell.wait(wait)
            return not self._bell.closing or (not left.is_hopeless and self._clock.monotonic() < self._bell.end)

    def _settle(self, lease: Lease, part: Sequence[int], settlement: Settlement) -> None:
        """What became of the events at these places of the lease."""
        delivered = self._queue.ack(lease, [part[index] for index in settlement.delivered])
        expired = [part[index] for index in settlement.expired]
        # Before the rest: of whoever was purged meanwhile no dead letter is made.
        given_up = [*expired, *(part[index] for index in settlement.refused)]
        purged = [index for index in given_up if self._queue.is_purged(lease.entries[index])]
        self._queue.drop(lease, purged, DropReason.PURGED)
        for index, why in settlement.refused.items():
            if self._queue.dead_letter(lease, part[index], why):
                # The reason is the server's text and stays with the dead letter: a log must not repeat what it may
                # quote.
                event_id = lease.entries[part[index]][0].event_id
                self._notices.trouble(
                    "refused", "refused", "Customer.io refused event %s: client.dead_letters says why", event_id
                )
        if self._queue.drop(lease, expired, DropReason.EXPIRED):
            self._notices.trouble("expired", "expired", "events waited longer than max_age and are dropped")
        if settlement.exhausted:
            self._queue.drop(lease, [part[index] for index in settlement.exhausted], settlement.given_up_for)
        self._troubled.discard(threading.get_ident())
        if delivered and not self._troubled:
            self._notices.fine("delivery", "%s takes events again", self._sender.base_url)

    def _attempt_timeout(self) -> float:
        return min(self._sender.timeout, max(0.05, self._bell.end - self._clock.monotonic()))

    def _lives(self, entries: Sequence[Entry]) -> Sequence[float]:
        age, now = math.inf if self._max_age is None else self._max_age, self._clock.time()
        return _Lives(entries, self._queue, [envelope.captured_at + age - now for envelope, _ in entries])

    def pause(self, seconds: float, because: Outcome | None) -> bool:
        """Wait; False when the end comes before, and from then on."""
        me = threading.get_ident()
        if me in self._late:
            return False
        if because is not None:
            self._say(because, seconds)
            if because.is_for_all:
                with self._bell.lock:
                    until, told = self._clock.monotonic() + seconds, because.retry_after is not None
                    self._paused.begin(until, me, told=told)
                return self._turn(repeat=True)
        with self._bell.lock:
            until = self._clock.monotonic() + seconds
            while (left := until - self._clock.monotonic()) > 0:
                if self.is_too_late(until - left, left):
                    self._late.add(me)
                    return False
                self._bell.wait(left)
        # While this one kept the rate, another may have been told to stop.
        return because is not None or self._turn(repeat=True)

    def _turn(self, *, repeat: bool) -> bool:
        """Wait for as long as nobody may ask; False when the process ends before. No repeat: the last was answered."""
        me = threading.get_ident()
        with self._bell.lock:
            if not repeat and self._paused.answered(me):
                self._bell.ring()
            while (left := self._paused.wait(now := self._clock.monotonic(), me)) > 0:
                if self.is_too_late(now, left):
                    self._late.add(me)
                    return False
                self._bell.wait(min(left, self._bell.end - now))
        return True

    def _say(self, outcome: Outcome, seconds: float) -> None:
        self._troubled.add(threading.get_ident())
        if outcome.verdict is Verdict.DENIED:
            self._notices.trouble("delivery", outcome.error, "%s", denied(outcome, self._sender.base_url, kept=True))
        else:
            waiting = self._queue.tail - self._queue.head
            base_url = self._sender.base_url
            nobody = outcome.status is None and is_loopback(urlsplit(base_url).hostname or "")
            self._notices.trouble(
                "delivery", outcome.error,
                "%s is not taking events (%s): %d event(s) wait, next attempt in %.1f s.%s",
                base_url, outcome.error, waiting, seconds, " Is the sandbox running?" if nobody else "",
            )  # fmt: skip


def denied(outcome: Outcome, base_url: str, *, kept: bool) -> str:
    """What to tell whoever can change a setting."""
    then = "Events are kept, and one request a minute probes." if kept else "The event is dropped."
    if outcome.status in {401, 403}:
        return (
            f"Customer.io refused the credentials ({outcome.error}). {then} "
            "Check CUSTOMERIO_SITE_ID and CUSTOMERIO_API_KEY, a pair from Settings > API credentials > Track API,"
            " and CUSTOMERIO_REGION."
        )
    if outcome.status is None:
        return (
            f"The certificate of {base_url} could not be verified ({outcome.error}), so nothing is sent. {then} Check "
            "CUSTOMERIO_BASE_URL and the clock of this machine; for a proxy that shows a certificate of its own, set "
            "SSL_CERT_FILE."
        )
    if outcome.status == 407:
        return f"The proxy before {base_url} wants credentials (407). {then} Check user and password in HTTPS_PROXY."
    if 300 <= outcome.status < 400:
        return (
            f"{base_url} redirects elsewhere ({outcome.error}), which is not followed: it would carry your key away. "
            f"{then} Check CUSTOMERIO_REGION and CUSTOMERIO_BASE_URL."
        )
    return f"{base_url} does not speak the Track API ({outcome.error}). {then} Check CUSTOMERIO_BASE_URL."
