"""
The writing side of the spool: this process's own segments, one after the other.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable

from ..._locks import owned
from .files import Files
from .house import House, Owner
from .segment import NotKept, Segment, held

SEGMENT_BYTES = 4 * 1024 * 1024
SEGMENT_SECONDS = 60.0
_WAKES = 4
"""How often the keeper is woken within one segment, where many events come at once."""
_PATIENCE_SECONDS = 1.0
"""
How long an append waits for another thread, at the beginning of a segment.

That thread may be waiting for the append: in the middle of its work, what the garbage collector ends may capture.
"""


class Log:
    """
    Appends records to the last of `segments`, which are all that are not settled, oldest first, other logs' included.

    Who appends holds the queue's lock. Whatever takes longer than one write is done in another thread, by
    `sync` and `prepare`.
    """

    def __init__(
        self,
        files: Files,
        house: House,
        owner: Owner,
        destination: bytes,
        *,
        segments: deque[Segment],
        fsync: str,
        segment_bytes: int,
        wake: Callable[[], None],
    ) -> None:
        self._files = files
        self._house = house
        self._destination = destination
        self._fsync = fsync
        self._segment_bytes = self._mark = segment_bytes
        self._wake = wake
        self._number = 0
        self._spare: Segment | None = None
        self._since = 0.0
        self._active: Segment | None = None
        self._segments = segments
        self._owner = owner
        self._names_to_sync = False
        # A segment is begun here or by the keeper, and their numbers must tell their order.
        self._making = threading.RLock()
        self._syncing = threading.RLock()
        self.syncs_here = owned(self._syncing)
        """Whether this very thread waits for a sync: a signal handler or a finalizer asks."""

    def append(self, record: bytes, now: float, wall: float) -> None:
        """
        Append a record; the next segment is begun when this one is full, or a minute old.

        Raises:
            OSError: it was not appended, and nothing of it is left.
        """
        active = self._active
        # In full here: each event pays for it.
        if (
            active is None
            or active.size + len(record) > self._mark
            or active.broken
            or (now - self._since > SEGMENT_SECONDS and active.count)
        ):
            active = self._next(len(record), now, wall)
        active.append(record)

    def commit(self) -> None:
        """
        Wait until all that this thread has appended would survive a loss of power.

        Whoever waits while another syncs is served by the next sync, together with all others that wait.

        Raises:
            OSError: the disk may not have kept it.
        """
        active = self._active
        written = 0 if active is None else active.size
        with self._syncing:
            self._sync_names()
            if active is not None and active.synced < written:
                active.sync()

    def sync(self) -> None:
        """
        Have all that was appended so far survive a loss of power, unless that is left to the system.

        Raises:
            OSError: the disk may not have kept it.
        """
        if self._fsync != "off":
            for segment in self._mine:
                segment.sync()
            self._sync_names()

    def prepare(self, wall: float) -> None:
        """
        Make the next segment ready.

        Raises:
            OSError: the disk is full, or fails.
        """
        with self._making:
            if self._spare is None and self._active is not None:
                self._spare = self._create(wall)

    @property
    def is_there(self) -> bool:
        """Whether nobody has removed what is appended to, or where that is."""
        active = self._active
        return self.is_at_home and (active is None or active.is_there)

    @property
    def is_at_home(self) -> bool:
        """Whether others would find its segments, and would know whose they are."""
        return self._house.is_there and self._owner.is_known

    def holds(self, segment: Segment) -> bool:
        """Whether it is one of its segments."""
        return segment.name.startswith(self._owner.name)

    def another(self, wall: float) -> Segment:
        """
        A segment beside those that are appended to.

        Raises:
            OSError: it cannot be made.
        """
        with self._making:
            return self._create(wall)

    def end_if_settled(self) -> int:
        """End the active segment if nothing waits in it, so that it is removed. Returns the bytes that this frees."""
        active = self._active
        if active is None or not active.count or active.acked < active.size:
            return 0
        self.give_up()
        return active.size

    @property
    def is_settled(self) -> bool:
        """Whether nothing waits in its segments."""
        return not self._mine

    def give_up(self) -> None:
        """Append nothing more to the active segment, which the disk or somebody else has spoilt."""
        active, self._active = self._active, None
        if active is not None:
            active.sealed = True

    def close(self) -> None:
        """Sync and close everything; remove what is settled. Others may drain the rest."""
        self.give_up()
        spare, self._spare = self._spare, None
        # What cannot be removed is found settled by whoever adopts it.
        if spare is not None:
            with contextlib.suppress(OSError):
                spare.remove()
        for segment in self._mine:
            with contextlib.suppress(OSError):
                if segment.is_done:
                    self._segments.remove(segment)
                    segment.remove()
                elif self._fsync != "off":
                    segment.sync()
        for segment in self._mine:
            segment.close()
        if self._mine:
            with contextlib.suppress(OSError):
                if self._fsync != "off":
                    self._sync_names()
            self._owner.release()
        else:
            self._owner.retire()

    def after_fork(self) -> None:
        """Close the child's copies of all files."""
        for segment in [*self._mine, *([self._spare] if self._spare else [])]:
            segment.after_fork()
        self._owner.after_fork()

    @property
    def _mine(self) -> list[Segment]:
        return [segment for segment in list(self._segments) if self.holds(segment)]

    def _next(self, size: int, now: float, wall: float) -> Segment:
        """What to append to: another segment, or the same one, and the keeper is woken to sync what is in it so far."""
        active = self._active
        is_old = now - self._since > SEGMENT_SECONDS and active is not None and active.count
        if active is None or active.broken or is_old or active.size + size > self._segment_bytes:
            return self._roll(now, wall)
        self._mark = self._mark_after(active.size + size)
        self._wake()
        return active

    def _mark_after(self, size: int) -> int:
        """Where to wake the keeper, so that little is left to be synced before the next segment is begun."""
        return min(self._segment_bytes, size + self._segment_bytes // _WAKES)

    def _roll(self, now: float, wall: float) -> Segment:
        active = self._active
        if active is not None and self._fsync != "off":
            # A loss of power must leave no event that is newer than a lost one. Most times the keeper has just done it.
            active.sync(_PATIENCE_SECONDS)
        try:
            with held(self._making, _PATIENCE_SECONDS):
                fresh, self._spare = self._spare or self._create(wall), None
        except OSError:
            if active is not None and active.broken:
                self.give_up()
            self.end_if_settled()
            raise
        if active is not None:
            active.sealed = True
        self._segments.append(fresh)
        self._active, self._since = fresh, now
        self._mark = self._mark_after(fresh.size)
        return fresh

    def _create(self, wall: float) -> Segment:
        number, self._number = self._number, self._number + 1
        name = self._owner.segment(number)
        made = Segment.create(self._files, self._house.live, name, created=wall, destination=self._destination)
        # Not before: the keeper, which may sync right now, would not find the name yet and think that it had.
        self._names_to_sync = True
        return made

    def _sync_names(self) -> None:
        if self._names_to_sync:
            self._names_to_sync = False
            try:
                self._house.sync_names(self._house.live)
            except OSError as error:
                self._names_to_sync = True
                raise NotKept(error.errno, "not synced") from None
