"""
The writing side of the queue: one event after the other to the disk, or to memory while that fails.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from ..._events import Envelope, Receipt
from ..._ids import Clock
from ..._locks import owned
from ..._stats import DropReason, Ledger
from . import format as layout
from .disk import Disk, SpoolSettings
from .drain import Drain, Stored, portable

_PATIENCE_SECONDS = 0.05
_REMEMBERED = 8
_dump = msgspec.json.encode


class _Mine(threading.local):
    """The last few items that a thread put."""

    def __init__(self) -> None:
        self.items: deque[bytes] = deque(maxlen=_REMEMBERED)


class Inlet:
    """
    Takes events, in one thread at a time. Nobody waits here for anything but the disk.

    A signal handler or a finalizer may capture in the middle of a write, on the same thread: what it captures is
    written when that write is done.
    """

    def __init__(self, settings: SpoolSettings, disk: Disk, own: Drain, *, ledger: Ledger, clock: Clock) -> None:
        self._settings = settings
        self._disk = disk
        self._own = own
        self._ledger = ledger
        self._clock = clock
        self._lock = threading.RLock()
        self._writes_here = owned(self._lock)
        self._is_writing = False
        self._late: deque[tuple[Envelope, bytes]] = deque()
        self._mine = _Mine()
        self._closed = False
        # Two of each, since one is counted where events are taken and the other where they are settled.
        self._held_events = self._held_bytes = self._freed_events = self._freed_bytes = 0
        self.tail = 0
        """The place that the next event will have."""

    def put(self, envelope: Envelope, item: bytes) -> Receipt:
        """Take an event, or say why not."""
        with self._lock:
            if self._is_writing:
                return self.defer(envelope, item)
            late = False
            try:
                self._is_writing = True
                reason = self._take(envelope, item)
            finally:
                if self._late:
                    late = True
                    self._take_late()
                self._is_writing = False
            own = self._own
            # With what was late the depth may have gone past the one that wakes the worker.
            urgent = reason is None and (late or (self._held_bytes != self._freed_bytes and self.urgent))
            return Receipt(self.tail - own.done - own.out, reason, False, urgent)

    def defer(self, envelope: Envelope, item: bytes) -> Receipt:
        """Take an event that whoever writes next writes: its thread may not wait for that now."""
        if self._closed:
            return Receipt(reason=DropReason.CLOSED)
        self._late.append((envelope, item))
        return Receipt(late=True)

    @property
    def has_late(self) -> bool:
        """Whether there are such events."""
        return bool(self._late)

    @property
    def is_here(self) -> bool:
        """Whether this very thread is writing: a signal handler or a finalizer asks."""
        return self._writes_here()

    @property
    def is_writing(self) -> bool:
        """Whether an event is being written, by whatever thread."""
        return self._is_writing

    @property
    def depth(self) -> int:
        """Events that wait and are not leased."""
        return self.tail - self._own.done - self._own.out

    @property
    def urgent(self) -> bool:
        """Whether what is held in memory fills half of its bounds."""
        return (self._held_bytes - self._freed_bytes) * 2 > self._settings.held_bytes

    def holds(self, item: bytes) -> bool:
        """Whether this event is one of the last few that this thread put: a handler may have put others since."""
        return any(each is item for each in self._mine.items) or any(each is item for _, each in tuple(self._late))

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """
        Nothing is written meanwhile but by this thread. False when another one writes for longer than it may take.

        It is not waited for: a signal handler in the middle of its write may be waiting for this thread.
        """
        is_alone = self._lock.acquire(timeout=_PATIENCE_SECONDS)
        if is_alone and self._is_writing:
            self._lock.release()
            is_alone = False
        try:
            if is_alone:
                self._is_writing = True
            yield is_alone
        finally:
            if is_alone:
                try:
                    self._take_late()
                finally:
                    self._lock.release()

    def free(self, events: Sequence[Stored]) -> None:
        """These are settled: what was held of them is held no more."""
        held = [len(event.item) for event in events if event.segment is None]
        self._freed_events += len(held)
        self._freed_bytes += sum(held)

    def close(self, patience: float) -> int:
        """Take no more. Returns how many events are lost that were only in memory."""
        with self.alone():
            pass  # what is late is written
        self._closed = True
        # With or without: at the worst, an event that is written right now is one that others deliver.
        locked = self._lock.acquire(timeout=patience)
        late, self._late = self._late, deque()
        if locked:
            self._lock.release()
        return self._held_events - self._freed_events + len(late)

    def _take(self, envelope: Envelope, item: bytes) -> DropReason | None:
        if self._closed:
            return DropReason.CLOSED
        packed = _dump(envelope if envelope.carrier is None else portable(envelope))
        place, mine = self.tail, self._mine.items
        reason = self._disk.write(layout.record(place, packed, item), envelope.captured_at)
        if self._closed:
            # By a signal handler in the middle of the write, or by somebody who waited for it in vain: its file may be
            # closed, or even removed. If it is written after all, others deliver it.
            return DropReason.CLOSED
        if reason is DropReason.SPOOL_FAILED:
            reason = self._hold(Stored(self._clock.monotonic(), envelope, item, place))
        if reason is None:
            # With no call in between, an exception of a signal handler finds both done or none.
            self.tail = place + 1
            mine.append(item)
        return reason

    def _take_late(self) -> None:
        """Write what came in the middle of a write, also when that ends in an exception."""
        try:
            while self._late:
                place = self.tail
                try:
                    reason = self._take(*self._late.popleft())
                except BaseException:
                    if self.tail == place:
                        self._ledger.drop(DropReason.CANCELLED)
                    raise
                if reason is not None:
                    self._ledger.drop(reason)
        finally:
            self._is_writing = False

    def _hold(self, event: Stored) -> DropReason | None:
        settings, size = self._settings, len(event.item)
        events, total = self._held_events - self._freed_events, self._held_bytes - self._freed_bytes
        if events >= settings.held_events or total + size > settings.held_bytes:
            return DropReason.SPOOL_FAILED
        self._held_events += 1
        self._held_bytes += size
        self._own.held.append(event)
        return None
