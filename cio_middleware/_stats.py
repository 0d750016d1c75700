"""
The ledger: where every captured event is, at any instant.

    captured + adopted + replayed = delivered + dead_lettered + dropped + forwarded + parked + pending

Every change but a capture moves events between columns under one lock. What is pending is what came in and is nowhere
else yet, so no reader ever sees the law broken; a move of more events than there are would show as a negative count.
"""

from __future__ import annotations

import enum
import itertools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


class DropReason(enum.StrEnum):
    """Why an event was dropped: the same words in stats, spans, logs and metrics."""

    INVALID_EVENT = "invalid_event"
    EVENT_TOO_LARGE = "event_too_large"
    NO_IDENTITY = "no_identity"
    CALLABLE_FAILED = "callable_failed"
    PROCESSOR = "processor"
    PROCESSOR_FAILED = "processor_failed"
    SAMPLED = "sampled"
    NO_CONSENT = "no_consent"
    DISABLED = "disabled"
    BACKEND_FAILED = "backend_failed"
    NESTED = "nested"
    CANCELLED = "cancelled"
    QUEUE_FULL = "queue_full"
    EVICTED = "evicted"
    EXPIRED = "expired"
    RETRIES_EXHAUSTED = "retries_exhausted"
    BREAKER_OPEN = "breaker_open"
    UNAUTHORIZED = "unauthorized"
    DEAD_LETTERS_FULL = "dead_letters_full"
    SHUTDOWN_TIMEOUT = "shutdown_timeout"
    SPOOL_FAILED = "spool_failed"
    QUARANTINED = "quarantined"
    PURGED = "purged"
    CLOSED = "closed"

    def __repr__(self) -> str:
        """The word alone, since a reading of the ledger is read by people."""
        return repr(self.value)


@dataclass(frozen=True, slots=True)
class Stats:
    """One consistent reading of the ledger. Counts are of events, unless they say otherwise."""

    captured: int = 0
    adopted: int = 0
    replayed: int = 0
    delivered: int = 0
    dead_lettered: int = 0
    forwarded: int = 0
    parked: int = 0
    pending: int = 0
    dropped: Mapping[DropReason, int] = field(default_factory=dict)
    requests: int = 0
    retries: int = 0
    values_replaced: int = 0
    values_not_finite: int = 0

    @property
    def balanced(self) -> bool:
        """Whether the conservation law holds in this reading."""
        taken_in = self.captured + self.adopted + self.replayed
        settled = self.delivered + self.dead_lettered + self.forwarded + sum(self.dropped.values())
        counts = (self.delivered, self.dead_lettered, self.forwarded, self.parked, self.pending)
        return taken_in == settled + self.parked + self.pending and min(counts) >= 0


class Ledger:
    """
    Counts moves of events. Each method is one atomic move.

    No move calls anything while it holds the lock, not even a dict's method. Python runs signal handlers between calls,
    so a handler that captures an event can neither see half a move nor wait for a lock below it.
    """

    def __init__(self) -> None:
        self.after_fork()

    def after_fork(self) -> None:
        """A forked child starts its own count: what its parent holds is the parent's."""
        self._lock = threading.RLock()
        captures = itertools.count()
        self.capture: Callable[[], int] = captures.__next__
        """An event enters and is pending. One step of the interpreter: every event pays for it, a lock costs more."""
        self._captures = captures
        self._adopted = self._replayed = self._delivered = self._dead = self._forwarded = self._parked = 0
        # By plain string: the hash of an enum's member is a call.
        self._dropped = {reason.value: 0 for reason in DropReason}
        self._requests = self._retries = self._replaced = self._not_finite = 0

    def adopt(self, count: int = 1) -> None:
        """Events that a dead process left are pending here."""
        with self._lock:
            self._adopted += count

    def disown(self, count: int) -> None:
        """So many of them go back to where they were, for others."""
        with self._lock:
            self._adopted -= count

    def replay(self, count: int = 1) -> None:
        """Dead letters are pending once more."""
        with self._lock:
            self._replayed += count

    def park(self) -> None:
        """A pending event waits in its request for a person."""
        with self._lock:
            self._parked += 1

    def unpark(self) -> None:
        """A parked event goes on."""
        with self._lock:
            self._parked -= 1

    def forward(self) -> None:
        """A pending event was handed to a backend that answers for it from here on."""
        with self._lock:
            self._forwarded += 1

    def deliver(self, count: int = 1) -> None:
        """Customer.io took pending events."""
        with self._lock:
            self._delivered += count

    def drop(self, reason: DropReason, count: int = 1) -> None:
        """Pending events are given up."""
        why = reason.value
        with self._lock:
            self._dropped[why] += count

    def dead_letter(self, count: int = 1) -> None:
        """Pending events are kept aside, with Customer.io's reason."""
        with self._lock:
            self._dead += count

    def evict(self, reason: DropReason, count: int = 1) -> None:
        """Dead letters are given up to make room."""
        why = reason.value
        with self._lock:
            self._dead -= count
            self._dropped[why] += count

    def note_request(self, *, retry: bool) -> None:
        """One HTTP request was made."""
        with self._lock:
            self._requests += 1
            self._retries += retry

    def note_values(self, replaced: int, not_finite: int) -> None:
        """Values of an event could not be sent as they were."""
        if not replaced and not not_finite:
            return
        with self._lock:
            self._replaced += replaced
            self._not_finite += not_finite

    def read(self) -> Stats:
        """A consistent reading."""
        with self._lock:
            adopted, replayed = self._adopted, self._replayed
            delivered, dead, forwarded, parked = self._delivered, self._dead, self._forwarded, self._parked
            requests, retries, replaced, not_finite = self._requests, self._retries, self._replaced, self._not_finite
            dropped = {**self._dropped}
            # Last: an event is captured before it can be anywhere else. The number is all that a count shows of itself.
            captured = int(repr(self._captures)[6:-1])
        return Stats(
            captured=captured,
            adopted=adopted,
            replayed=replayed,
            delivered=delivered,
            dead_lettered=dead,
            forwarded=forwarded,
            parked=parked,
            pending=captured + adopted + replayed - delivered - dead - forwarded - parked - sum(dropped.values()),
            # A plain dict of its own, so that a reading can be pickled and `dataclasses.asdict` takes it.
            dropped={reason: dropped[reason.value] for reason in DropReason if dropped[reason.value]},
            requests=requests,
            retries=retries,
            values_replaced=replaced,
            values_not_finite=not_finite,
        )
