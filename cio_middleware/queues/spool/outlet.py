"""
The reading side of the queue: leases of this process's events and an orphan's, by turns, and what became of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from ..._ids import Clock
from ..._stats import DropReason, Ledger
from ...typing import Front, Lease, Refusal
from .adoption import Adopter
from .disk import Disk
from .drain import Drain
from .inlet import Inlet
from .letters import Letters
from .purged import SharedPurges


class Outlet:
    """
    What a spool hands out. Its parts are the queue's, which makes them anew in a forked child.

    `_reading` is the lock of whoever reads and settles, `_own` drains this process's segments, and nothing unread was
    put before `_dry_at`.
    """

    _ledger: Ledger
    _clock: Clock
    _reading: threading.RLock
    _reads_here: Callable[[], bool]
    _own: Drain
    _inlet: Inlet
    _disk: Disk
    _letters: Letters
    _purges: SharedPurges
    _adopter: Adopter | None
    _leases: dict[Lease, Drain]
    _orphans_turn: bool
    _closing: bool
    _closed: bool
    _dry_at: float
    head: int
    """
    The place of the first event that is not settled; `tail` when all are. As of the latest reading or settlement.

    No property that looks: a signal handler asks in the middle of whatever, and the reader may wait for just that.
    """

    @property
    def front(self) -> Front | None:
        """What could be leased now; None when nothing could. An orphan's events only until the queue is closed."""
        with self._reading:
            if self._closed:
                return None  # what is on disk is others' by now
            front = self._own.front()
            if front is not None:
                front = front._replace(events=front.events + self._inlet.depth - self._own.in_memory)
            elif self._inlet.depth == 0:
                self._dry_at = self._clock.monotonic()
            self.head = self._own.head
            orphan = self._orphan
            theirs = None if orphan is None else orphan.front()
        self._catch_up()
        if theirs is None or front is None:
            return front or theirs
        return Front(front.events + theirs.events, front.place, min(front.at, theirs.at))

    def lease(self, max_events: int, max_bytes: int) -> Lease | None:
        """Hand out the oldest events that may leave: this process's and an orphan's by turns."""
        lease = self._next_lease(max_events, max_bytes)
        self._catch_up()
        return lease

    def _next_lease(self, max_events: int, max_bytes: int) -> Lease | None:
        with self._reading:
            if self._closed:
                return None
            orphan = self._orphan
            drains = [self._own] if orphan is None else [self._own, orphan]
            if self._orphans_turn:
                drains.reverse()
            self._orphans_turn = not self._orphans_turn
            for drain in drains:
                while (lease := drain.lease(max_events, max_bytes)) is not None:
                    self._leases[lease] = drain
                    if not (purged := self._purges.among(lease.entries)):
                        return lease
                    self.drop(lease, purged, DropReason.PURGED)
                    self.nack(lease)
            return None

    def ack(self, lease: Lease, indexes: Sequence[int]) -> int:
        """These were delivered."""
        count = self._settle(lease, indexes)
        if count:
            self._ledger.deliver(count)
        return count

    def drop(self, lease: Lease, indexes: Sequence[int], reason: DropReason) -> int:
        """Give these up."""
        count = self._settle(lease, indexes)
        if count:
            self._ledger.drop(reason, count)
        return count

    def dead_letter(self, lease: Lease, index: int, why: Refusal) -> bool:
        """Keep this one aside, and only then let go of it."""
        with self._reading:
            drain = self._leases.get(lease)
            if drain is None or not drain.holds(lease, index):
                return False
            self._letters.add(lease.entries[index], why)
            self._settle(lease, [index])
            return True

    def nack(self, lease: Lease) -> None:
        """Take what is not settled back, in its old place."""
        with self._reading:
            if (drain := self._leases.pop(lease, None)) is not None:
                drain.nack(lease)

    def _settle(self, lease: Lease, indexes: Sequence[int]) -> int:
        with self._reading:
            if (drain := self._leases.get(lease)) is None:
                return 0
            settled = drain.settle(lease, indexes)
            self._inlet.free(settled)
            self.head = self._own.head
        self._catch_up()
        return len(settled)

    def _catch_up(self) -> None:
        """Write what was captured in the middle of other work, which is over, and say what was not said then."""
        if self._reads_here():
            return
        if self._inlet.has_late:
            with self._inlet.alone():
                pass  # it is written at the end
        if self._disk.has_news:
            self._disk.speak()

    @property
    def _orphan(self) -> Drain | None:
        if self._closing:
            return None
        return None if self._adopter is None or self._adopter.current is None else self._adopter.current.drain

    @property
    def oldest(self) -> float | None:
        """When the oldest of them was put, on the monotonic clock; earlier rather than later for what is not read."""
        if self._inlet.depth <= 0:
            return None
        with self._reading:
            oldest = self._own.oldest
        return self._dry_at if oldest is None else oldest
