"""
A bounded queue in this process's memory. What it holds dies with the process.

An event is either waiting or leased, and stays within the bounds until it is settled; `window` says which of them may
be leased. `abandon` ends all leases at once, so a delivery that is still under way when the process stops waiting for
it cannot be counted twice.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Collection, Iterator, Sequence

from .._events import Entry, Envelope, Receipt
from .._fork import WATCH
from .._ids import Clock
from .._locks import owned
from .._stats import DropReason, Ledger
from ..typing import DeadLetter, Front, Lease, Refusal
from .purges import Purge, Purges
from .window import Waiting, Window

DEAD_LETTERS = 1000
DEAD_LETTER_BYTES = 8 * 1024 * 1024
_BLOCK_SECONDS = 1.0


class DeadLetters:
    """The newest events that were refused, at most so many and so many bytes; what falls out is counted as dropped."""

    def __init__(
        self, ledger: Ledger, clock: Clock, keep: int = DEAD_LETTERS, keep_bytes: int = DEAD_LETTER_BYTES
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._keep = keep
        self._keep_bytes = keep_bytes
        self.after_fork()
        WATCH.add(self)

    def after_fork(self) -> None:
        """The parent keeps its own."""
        self._kept: deque[DeadLetter] = deque()
        self._bytes = 0
        self._lock = threading.RLock()

    def add(self, entry: Entry, why: Refusal) -> None:
        """Keep a pending event aside."""
        fallen = 0
        with self._lock:
            self._kept.append(DeadLetter(*entry, why, self._clock.time()))
            self._bytes += len(entry[1])
            while len(self._kept) > self._keep or (self._bytes > self._keep_bytes and len(self._kept) > 1):
                self._bytes -= len(self._kept.popleft().item)
                fallen += 1
        self._ledger.dead_letter()
        if fallen:
            self._ledger.evict(DropReason.DEAD_LETTERS_FULL, fallen)

    def remove(self, event_ids: Collection[str] | None = None, *, until: float = math.inf) -> int:
        """Forget letters, all by default, that were refused until then. Returns how many."""
        with self._lock:
            kept = [each for each in self._kept if not is_meant(each, event_ids, until)]
            gone = len(self._kept) - len(kept)
            self._kept = deque(kept)
            self._bytes = sum(len(each.item) for each in kept)
        return gone

    def __iter__(self) -> Iterator[DeadLetter]:
        return iter(tuple(self._kept))

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, letter: object) -> bool:
        return letter in self._kept


def is_meant(letter: DeadLetter, event_ids: Collection[str] | None, until: float) -> bool:
    """Whether a letter is among those that are to be removed."""
    return letter.refused_at <= until and (event_ids is None or letter.envelope.event_id in event_ids)


class MemoryQueue:
    """
    Takes events from any thread and hands them out, as `Window` says, on at most `max_in_flight` leases.

    No other lock is ever taken inside this one, the ledger's included: a signal handler that captures an event may run
    in the middle of any of these methods, with whatever locks its thread holds. Where those are such that a put may not
    wait, the event is taken by whoever comes next.
    """

    is_shared = False
    kept = 0

    def __init__(
        self,
        *,
        max_events: int,
        max_bytes: int,
        overflow: str,
        ledger: Ledger,
        clock: Clock,
        dead_letters: DeadLetters | None = None,
        max_in_flight: int = 1,
    ) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._half = max_bytes // 2
        self._overflow = overflow
        self._max_in_flight = max_in_flight
        self._ledger = ledger
        self._now = clock.monotonic
        self._time = clock.time
        self._purges = Purges()
        self.blocks = overflow == "block"
        self.dead_letters = DeadLetters(ledger, clock) if dead_letters is None else dead_letters
        self.after_fork()
        WATCH.add(self)

    def after_fork(self) -> None:
        """What was queued before a fork belongs to the parent, which delivers it."""
        self._lock = threading.RLock()
        self._is_mine = owned(self._lock)
        self._space = threading.Condition(self._lock)
        self._late: deque[Entry] = deque()
        """Events whose threads could not wait for the lock."""
        self._was_nested = False
        self._window = Window(self._max_in_flight)
        self._events = self._bytes = 0
        self._closed = False

    @property
    def tail(self) -> int:
        """The place that the next event will have."""
        with self._lock:
            return self._window.tail

    @property
    def depth(self) -> int:
        """Events that wait and are not leased."""
        return self._window.depth

    @property
    def oldest(self) -> float | None:
        """When the oldest of them was put, on the monotonic clock."""
        with self._lock:
            return self._window.oldest

    @property
    def front(self) -> Front | None:
        """What could be leased now; None when nothing could."""
        with self._lock:
            front = self._window.front
        if not self._late:
            return front
        self._take_late()
        return self.front

    @property
    def head(self) -> int:
        """The place of the first event that is not settled; `tail` when all are."""
        with self._lock:
            return self._window.head

    @property
    def urgent(self) -> bool:
        """Whether the queue is half full of bytes, so that waiting for more events is no use."""
        return self._bytes >= self._half

    def holds(self, item: bytes) -> bool:
        """Whether an event with this very item is waiting or leased; for a `put` that was interrupted."""
        with self._lock:
            if any(event.item is item for event in self._window):
                return True
        return any(each is item for _, each in tuple(self._late))

    def put(self, envelope: Envelope, item: bytes, *, may_block: bool = False, may_wait: bool = True) -> Receipt:
        """Take an event, or say why not."""
        if not may_wait:
            return self._defer(envelope, item)
        is_behind = bool(self._late)
        if is_behind:
            self._take_late()
        return self._take(envelope, item, may_block=may_block, is_behind=is_behind)

    def _take(self, envelope: Envelope, item: bytes, *, may_block: bool, is_behind: bool) -> Receipt:
        size, late = len(item), self._is_mine()
        evicted, reason, window = 0, None, self._window
        with self._lock:
            if self._events >= self._max_events or self._bytes + size > self._max_bytes:
                evicted = self._make_room(size, may_block=may_block)
                reason = None if self._has_room(size) else DropReason.QUEUE_FULL
            if self._closed:
                reason = DropReason.CLOSED
            if reason is None:
                event = Waiting(self._now(), envelope, item)
                # Nothing is called in between, so no exception of a signal handler can fall between these.
                self._events += 1
                self._bytes += size
                window.add(event)
            depth = len(window.waiting) + window.ready
            # With what came late the depth may have gone past the one that wakes the worker.
            urgent = self._bytes >= self._half or is_behind or (self._was_nested and not late)
            self._was_nested = late
        if evicted:
            self._ledger.drop(DropReason.EVICTED, evicted)
        return Receipt(depth, reason, False, urgent and reason is None, late=late)

    def _defer(self, envelope: Envelope, item: bytes) -> Receipt:
        self._late.append((envelope, item))
        if self._closed:
            self._take_late()
        return Receipt(late=True)

    def _take_late(self) -> None:
        """Take what could not wait, before whatever comes later."""
        while self._late:
            try:
                envelope, item = self._late.popleft()
            except IndexError:
                return  # another thread takes it
            reason: DropReason | None = DropReason.CANCELLED  # as an exception of a signal handler leaves it
            try:
                if self._closed:
                    reason = DropReason.CLOSED
                else:
                    reason = self._take(envelope, item, may_block=False, is_behind=False).reason
            finally:
                if reason is not None:
                    self._ledger.drop(reason)

    def lease(self, max_events: int, max_bytes: int) -> Lease | None:
        """Hand out the oldest events that may leave and fit one request."""
        purged = 0
        # Short work under the lock: whoever captures an event meanwhile waits for it.
        with self._lock:
            lease = self._window.lease(max_events, max_bytes)
            while lease is not None and (gone := self._purges.among(lease.entries)):
                purged += self._settle(lease, gone)
                self._window.nack(lease)
                lease = self._window.lease(max_events, max_bytes)
        if purged:
            self._ledger.drop(DropReason.PURGED, purged)
        return lease

    def purge(self, who: bytes) -> None:
        """What waits for them is dropped when its turn comes."""
        self._purges.add(Purge.of(who, self._time()))

    def is_purged(self, entry: Entry) -> bool:
        """Whether this one must not be sent any more."""
        return self._purges.covers(entry)

    def ack(self, lease: Lease, indexes: Sequence[int]) -> int:
        """These were delivered."""
        with self._lock:
            held = self._settle(lease, indexes)
        self._ledger.deliver(held)
        return held

    def drop(self, lease: Lease, indexes: Sequence[int], reason: DropReason) -> int:
        """Give these up."""
        with self._lock:
            held = self._settle(lease, indexes)
        if held:
            self._ledger.drop(reason, held)
        return held

    def dead_letter(self, lease: Lease, index: int, why: Refusal) -> bool:
        """Keep this one aside."""
        with self._lock:
            held = self._settle(lease, [index])
        if held:
            self.dead_letters.add(lease.entries[index], why)
        return held > 0

    def tend(self, *, closing: bool) -> float:
        """Nothing to look after: what is in memory is in nobody else's."""
        del closing
        return math.inf

    def nack(self, lease: Lease) -> None:
        """Take what is not settled back, in its old place."""
        with self._lock:
            self._window.nack(lease)

    def abandon(self, reason: DropReason, *, within: float = 0.0) -> int:
        """Give up everything, leased or waiting, and take no more. Returns how many events that were."""
        del within
        self._take_late()
        with self._lock:
            self._closed = True
            count = self._events
            self._window.clear()
            self._events = self._bytes = 0
        self._take_late()  # nobody comes later
        if count:
            self._ledger.drop(reason, count)
        return count

    def _settle(self, lease: Lease, indexes: Sequence[int]) -> int:
        held = self._window.settle(lease, indexes)
        count, size = len(held), sum([len(event.item) for event in held])
        # Counted before: in the middle of a call, this very thread may put an event that counts itself.
        self._events -= count
        self._bytes -= size
        if self.blocks:
            self._space.notify_all()
        return len(held)

    def _has_room(self, size: int) -> bool:
        return self._events < self._max_events and self._bytes + size <= self._max_bytes

    def _make_room(self, size: int, *, may_block: bool) -> int:
        """Do what the overflow policy says. Returns how many events it evicted."""
        evicted = 0
        if self._window.at_work:
            return evicted
        if size <= self._max_bytes and self._overflow == "drop_oldest":
            while not self._has_room(size) and (event := self._window.evict()) is not None:
                gone = len(event.item)
                self._events -= 1
                self._bytes -= gone
                evicted += 1
        elif size <= self._max_bytes and may_block:
            self._space.wait_for(lambda: self._has_room(size), _BLOCK_SECONDS)
        return evicted
