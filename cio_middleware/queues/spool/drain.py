"""
The reading side of the spool: records out of segments, in order, and marks of what is settled.

One thread at a time reads and settles. Only so many records are in memory as the batches under way need, and only so
many files are open as are being read, however much waits.
"""

from __future__ import annotations

import contextlib
import errno
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import msgspec

from ..._events import Envelope
from ..._ids import Clock
from ..._telemetry import carrier_of, carrier_text
from ...typing import Front, Lease
from ..window import Waiting, Window
from . import format as layout
from .segment import Segment

_CHUNK = 512 * 1024
_GONE = frozenset({errno.ENOENT, errno.ESTALE, errno.ELOOP})
"""What reading fails with when trying again is no use."""
_decode = msgspec.json.Decoder(Envelope).decode
_dump = msgspec.json.encode


def read_envelope(data: bytes) -> Envelope | None:
    """An envelope from its JSON; None when it is none, or a later version's."""
    try:
        envelope = _decode(data)
    except (msgspec.DecodeError, ValueError):
        return None
    if envelope.carrier is None:
        return envelope
    return msgspec.structs.replace(envelope, carrier=carrier_of(envelope.carrier))


def portable(envelope: Envelope) -> Envelope:
    """An envelope that JSON can hold."""
    if envelope.carrier is None:
        return envelope
    return msgspec.structs.replace(envelope, carrier=carrier_text(envelope.carrier))


class Stored(Waiting, gc=False):
    """
    An event of the spool: its place in the order of puts, and where its record is, from `start` to before `end`.

    It has no segment while it is only in memory, because the disk would not take it.
    """

    place: int
    segment: Segment | None = None
    start: int = 0
    end: int = 0

    def __repr__(self) -> str:
        return f"Stored({self.envelope.event_id})"


class Drain:
    """
    Leases the records of one owner.

    Args:
        segments: Oldest first; more may be added at its end. Settled ones are removed from it, and from the disk.
        window: Orders what is in memory.
        room: Bytes of records to have in memory.
        taken: Called with how many records were read.
        missing: Called with how many records of this process are gone.
        damaged: Called with the name, the place and the bytes of what could not be read.
        freed: Called when a segment is removed.
    """

    def __init__(
        self,
        segments: deque[Segment],
        window: Window,
        *,
        room: int,
        clock: Clock,
        taken: Callable[[int], None],
        missing: Callable[[int], None],
        damaged: Callable[[str, int, bytes], None],
        freed: Callable[[], None],
    ) -> None:
        self._segments = segments
        self._window = window
        self._room = room
        self._clock = clock
        self._taken = taken
        self._missing = missing
        self._damaged = damaged
        self._freed = freed
        self._settled: dict[Segment, dict[int, int]] = {}
        self._waiting_bytes = 0
        self.held: deque[Stored] = deque()
        """Events that wait in memory because the disk would not take them, oldest first."""
        self.done = 0
        """Events that are settled, or were found missing."""
        self.out = 0
        """Events that are leased."""

    @property
    def head(self) -> int:
        """The place of the first event that is not settled."""
        first = self._window.first
        # Nothing in memory: all that was put before what is not read is settled.
        return first.place if isinstance(first, Stored) else self.done

    @property
    def oldest(self) -> float | None:
        """When the oldest event was put that is in memory and waits, on the monotonic clock."""
        return self._window.oldest

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left, in memory or on disk."""
        return not self.held and self._window.first is None and all(segment.is_read for segment in self._segments)

    def front(self) -> Front | None:
        """What could be leased now, of what is in memory."""
        self._fill()
        front = self._window.front
        return None if front is None else front._replace(place=self.head)

    @property
    def in_memory(self) -> int:
        """Events in memory that wait, whether they could be leased or not."""
        return self._window.depth

    def lease(self, max_events: int, max_bytes: int) -> Lease | None:
        """Hand out the oldest events that may leave and fit one request."""
        self._fill()
        lease = self._window.lease(max_events, max_bytes)
        if lease is not None:
            self.out += len(lease.entries)
            self._waiting_bytes -= sum([len(item) for _, item in lease.entries])
        return lease

    def settle(self, lease: Lease, indexes: Sequence[int]) -> list[Stored]:
        """These need no more delivery. Returns those that were still held."""
        settled = [event for event in self._window.settle(lease, indexes) if isinstance(event, Stored)]
        self.out -= len(settled)
        self.done += len(settled)
        self._mark((event.segment, event.start, event.end) for event in settled if event.segment is not None)
        return settled

    def nack(self, lease: Lease) -> None:
        """Take back what is not settled."""
        back = self._window.nack(lease)
        self.out -= len(back)
        self._waiting_bytes += sum([len(event.item) for event in back])

    def tidy(self) -> None:
        """Remove segments that are settled, and close those whose turn is not yet."""
        reading = True
        for segment in list(self._segments):
            count = segment.count  # before the look at its size: whoever appends changes that first
            if segment.is_read and count > segment.seen:
                self._missed(segment, count)
            if segment.is_done and segment.is_read:
                self._segments.remove(segment)
                self._settled.pop(segment, None)
                with contextlib.suppress(OSError):  # its ack says that all is settled, to whoever finds it
                    segment.remove()
                    self._freed()
                continue
            if segment.is_read or not reading:
                self._rest(segment)
            reading = segment.is_read

    def _rest(self, segment: Segment) -> None:
        """Close the file of a segment, unless it is the first or is appended to: a backlog may be many small ones."""
        if segment.sealed and segment is not self._segments[0]:
            segment.close()

    def holds(self, lease: Lease, index: int) -> bool:
        """Whether this one is leased and not settled."""
        return self._window.holds(lease, index)

    def replace(self, old: Segment, new: Segment) -> None:
        """
        Copy what is not settled of one segment to another, which takes its place; leases go on.

        Raises:
            OSError: it cannot be copied, and all is as before.
        """
        here = [event for event in self._window if isinstance(event, Stored) and event.segment is old]
        here.sort(key=lambda event: event.start)
        # These out of memory, where they are whole for sure.
        places = [
            self._copy(new, layout.record(event.place, _dump(portable(event.envelope)), event.item)) for event in here
        ]
        new.cursor, new.seen = new.size, new.count
        start = old.cursor
        data = self._all_of(old, start)
        for found in layout.scan(data, start, whole=True):
            if isinstance(found, layout.Record):
                self._copy(new, data[found.start - start : found.end - start])
        new.sync()
        lost = (old.count - old.seen) - (new.count - new.seen)
        for event, (begin, end) in zip(here, places, strict=True):
            event.segment, event.start, event.end = new, begin, end
        self._segments[self._segments.index(old)] = new
        self._settled.pop(old, None)
        new.sealed = True
        if lost > 0:
            self.done += lost
            self._missing(lost)

    def _copy(self, segment: Segment, record: bytes) -> tuple[int, int]:
        start = segment.size
        segment.append(record)
        return start, segment.size

    def _all_of(self, segment: Segment, start: int) -> bytes:
        try:
            return segment.read(start, segment.size - start)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            return b""

    def close(self) -> int:
        """Close the segments; what is not settled stays in them. Returns how many events were in memory, or leased."""
        count = self.out + self._window.depth
        for segment in self._segments:
            segment.close()
        self._window.clear()
        self._forget()
        return count

    def after_fork(self) -> None:
        """Close the child's copies of the files."""
        for segment in self._segments:
            segment.after_fork()

    def _forget(self) -> None:
        self.held.clear()
        self._segments.clear()
        self._settled.clear()
        self.out = self._waiting_bytes = 0

    def _fill(self) -> None:
        """Read until enough is in memory."""
        taken, is_over = 0, False
        now = self._clock.monotonic()
        for segment in list(self._segments):
            while not is_over and not segment.is_read and self._has_room:
                try:
                    taken += self._read(segment, now)
                except OSError:
                    is_over = True  # such as too many open files: it is still there the next time
            if segment.is_read:
                self._rest(segment)
        # What was put after the last record that there is.
        while self.held and self._has_room and all(segment.is_read for segment in list(self._segments)):
            self._let_in(self.held.popleft())
        if taken:
            self._taken(taken)
        self.tidy()

    @property
    def _has_room(self) -> bool:
        return self._waiting_bytes < self._room

    def _read(self, segment: Segment, now: float) -> int:
        """
        Read on, for one chunk. Returns how many records came of it.

        Raises:
            OSError: it cannot be read now.
        """
        start, end = segment.cursor, segment.size
        try:
            data = segment.read(start, _CHUNK)
            taken = self._scan(segment, data, start, now, whole=start + len(data) >= end)
            if segment.cursor == start:
                # Damage, or a record that the chunk cuts: look at all that is left.
                data = segment.read(start, end - start)
                taken = self._scan(segment, data, start, now, whole=True)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            taken = 0
        if segment.cursor == start:
            # The file has become shorter than what was written to it, or is gone.
            self._skip(segment, layout.Damage(start, end, torn=False), b"")
        return taken

    def _scan(self, segment: Segment, data: bytes, start: int, now: float, *, whole: bool) -> int:
        taken = 0
        # A clock that was set back must not put an event into the future, where nobody would come for it.
        since = now - self._clock.time()
        for found in layout.scan(data, start, whole=whole):
            envelope = None if isinstance(found, layout.Damage) else read_envelope(found.envelope)
            if isinstance(found, layout.Damage) or envelope is None:
                self._skip(segment, found, data[found.start - start : found.end - start])
                continue
            while self.held and self.held[0].place < found.seq:
                self._let_in(self.held.popleft())
            at = min(now, envelope.captured_at + since)
            self._let_in(Stored(at, envelope, found.item, found.seq, segment, found.start, found.end))
            segment.cursor = found.end
            segment.seen += 1
            taken += 1
            if not self._has_room:
                break
        return taken

    def _let_in(self, event: Stored) -> None:
        self._window.add(event)
        self._waiting_bytes += len(event.item)

    def _skip(self, segment: Segment, damage: layout.Damage | layout.Record, data: bytes) -> None:
        segment.cursor = damage.end
        if not (isinstance(damage, layout.Damage) and damage.torn):
            self._damaged(segment.name, damage.start, data)
        # After that: nobody looks at them again.
        self._mark([(segment, damage.start, damage.end)])

    def _missed(self, segment: Segment, count: int) -> None:
        """Records that were written and not found when all of a segment was read are lost, and are counted."""
        missing = count - segment.seen
        segment.seen += missing
        self.done += missing
        self._missing(missing)

    def _mark(self, settled: Iterable[tuple[Segment | None, int, int]]) -> None:
        """Move the ack of each segment to the end of what is settled without a gap."""
        touched = set()
        for segment, start, end in settled:
            if segment is not None:
                self._settled.setdefault(segment, {})[start] = end
                touched.add(segment)
        for segment in touched:
            done, acked = self._settled[segment], segment.acked
            while acked in done:
                acked = done.pop(acked)
            if acked > segment.acked:
                with contextlib.suppress(OSError):  # after a crash these are sent again, with the same ids
                    segment.ack(acked)
                self._rest(segment)
