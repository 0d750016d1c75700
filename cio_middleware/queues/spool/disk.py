"""
The spool's directory as this process has it: opened when the first event comes, and tried again after a failure.

A disk that is full is no failure: new events are refused, and what is there is still delivered.
"""

from __future__ import annotations

import contextlib
import errno
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ..._ids import Clock
from ..._notices import Unsaid
from ..._stats import DropReason
from .files import Files
from .house import House, Owner, Use
from .log import SEGMENT_BYTES, Log
from .segment import NotKept, Segment

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN = ", where this user may not write"
_WHY = {errno.EACCES: _FORBIDDEN, errno.EPERM: _FORBIDDEN, errno.EROFS: ", on a disk that may only be read"}
_AGAIN_SECONDS = 5.0
"""After how long a disk that failed is tried again."""
_MEASURE_SECONDS = 1.0
_LATE_SECONDS = 5.0
"""When no keeper runs that would measure, as where no thread can be started."""


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """
    How a spool behaves.

    `path` is its directory, `destination` the workspace that its events are for (16 bytes, no key). `max_bytes` bounds
    all of its files together, `min_free_bytes` is what it leaves to others on the disk, `held_events` and `held_bytes`
    bound what is held in memory while the disk fails (0: nothing is). `room` bytes of events are read ahead. A segment
    that would grow beyond `segment_bytes` is followed by another.
    """

    path: str
    destination: bytes
    fsync: str
    max_bytes: int
    min_free_bytes: int
    held_events: int
    held_bytes: int
    max_in_flight: int
    room: int
    segment_bytes: int = SEGMENT_BYTES


class Disk:
    """
    Writes events, or says why not. Who calls `write`, `fails` or `leave` holds the queue's lock.

    It never logs by itself, since a log's handler may wait for whoever waits for that lock: `speak` does, also what
    others left `unsaid`.
    """

    def __init__(
        self,
        settings: SpoolSettings,
        *,
        files: Files,
        segments: deque[Segment],
        clock: Clock,
        unsaid: Unsaid,
        new_name: Callable[[], str],
        opened: Callable[[House, Owner], None],
        wake: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._files = files
        self._segments = segments
        self._clock = clock
        self._new_name = new_name
        self._opened = opened
        self._wake = wake
        self._log: Log | None = None
        self._room = 0
        self._use, self._bound = Use(), 0
        self._troubled = self.is_well_again = self._is_left = False
        self._again_at = self._measured_at = float("-inf")
        self._unsaid = unsaid
        self._former: list[tuple[House, Log]] = []
        """Where the disk failed, as long as something waits there."""
        self.is_freed = False
        """Whether something was removed since the room was measured."""
        self.house: House | None = None
        self.fails_now = False
        """Whether the disk failed the last time that it was written to."""

    def write(self, record: bytes, wall: float) -> DropReason | None:
        """Write a record: None when it is written, else `QUEUE_FULL` or `SPOOL_FAILED`."""
        now, size = self._clock.monotonic(), len(record)
        if self._log is None and (now < self._again_at or not self.open()):
            return DropReason.SPOOL_FAILED
        log = self._log
        if log is None or self.fails_now:
            return DropReason.SPOOL_FAILED
        if size > self._room and (self.is_freed or now - self._measured_at >= _LATE_SECONDS):
            self._measure()
        if size > self._room:
            # It may hold nothing but what is settled: a bound below its size would be reached once and for all.
            self._room += log.end_if_settled()
        if size > self._room:
            return self._refuse()
        try:
            log.append(record, now, wall)
        except OSError as error:
            if _is_full(error):
                self._room = log.end_if_settled()
                return self._refuse()
            self.fails(error)
            return DropReason.SPOOL_FAILED
        # Nothing is called from here on: an exception of a signal handler would tell a caller that it is not written.
        self._room -= size
        if self._troubled:
            # Not before it is true: a disk that opens and does not take a byte would be well again every few seconds.
            self._troubled = False
            self.is_well_again = True
        return None

    def commit(self) -> None:
        """
        Wait until what this thread has written would survive a loss of power.

        Raises:
            OSError: the disk may not have kept it.
        """
        # While it fails there is nothing to be kept; another error would put the next try off, and each event so again.
        if (log := self._log) is not None and not self.fails_now:
            log.commit()

    @property
    def is_here(self) -> bool:
        """Whether this very thread commits: a signal handler or a finalizer asks."""
        return (log := self._log) is not None and log.syncs_here()

    def open(self) -> bool:
        """Become an owner of segments: before the first event, and anew after a failure."""
        if self._is_left:
            return False
        settings = self._settings
        try:
            house = House(self._files, settings.path)
            try:
                owner = house.claim(self._new_name)
            except BaseException:
                house.close()
                raise
        except OSError as error:
            self.fails(error)
            return False
        if self.house is not None and self._log is not None:
            self._former.append((self.house, self._log))
        self.house = house
        self._log = Log(
            self._files, house, owner, settings.destination, segments=self._segments, fsync=settings.fsync,
            segment_bytes=settings.segment_bytes, wake=self._wake,
        )  # fmt: skip
        self.fails_now = False
        self._measure()
        self._opened(house, owner)
        return True

    @property
    def has_news(self) -> bool:
        """Whether there is something to say."""
        return bool(self._unsaid) or self.is_well_again

    @property
    def is_open(self) -> bool:
        """Whether events are written to it."""
        return self._log is not None and not self.fails_now

    @property
    def may_open(self) -> bool:
        """Whether it is time to try to open it."""
        return not self.is_open and self._clock.monotonic() >= self._again_at

    def spare_for(self, old: Segment) -> Segment | None:
        """
        A segment to copy this one's events to, if it may not be kept: its name is gone, or its place, or a sync failed.

        Raises:
            OSError: none can be made.
        """
        log = self._log
        is_synced = self._settings.fsync == "off" or old.synced >= old.size
        if log is None or (is_synced and old.is_there and all(own.is_at_home for own in self._logs if own.holds(old))):
            return None
        return log.another(self._clock.time())

    def look_after(self) -> None:
        """
        Sync, make the next segment ready, and see how much room there is. Needs no lock.

        Raises:
            OSError: the disk may not have kept what was written to it.
        """
        log = self._log
        if log is None or self.fails_now:
            return
        try:
            log.sync()
            if self._clock.monotonic() - self._measured_at >= _MEASURE_SECONDS:
                self._measure()
                if not log.is_there:
                    raise FileNotFoundError(errno.ENOENT, "removed")
            log.prepare(self._clock.time())
        except OSError as error:
            if not _is_full(error):
                raise

    def fails(self, error: OSError) -> None:
        """Write nothing more for a while."""
        if self._is_left:
            return
        if self._log is not None:
            self._log.give_up()
        self.fails_now = self._troubled = True
        self._again_at = self._clock.monotonic() + _AGAIN_SECONDS
        name = errno.errorcode.get(error.errno or 0, type(error).__name__)
        then = "held in memory" if self._settings.held_events else "dropped"
        why = _WHY.get(error.errno or 0, "")
        message = "the spool cannot be written to (%s): events are %s until it can. spool_dir is %s%s"
        self._unsaid.trouble("spool", "fails", message, name, then, self._settings.path, why)

    def give_up(self) -> None:
        """Open nothing any more, before all is left."""
        self._is_left = True

    def leave(self) -> None:
        """Close all files, for good. What is not settled is there for others."""
        for house, log in self._everywhere():
            log.close()
            house.close()
        self._former.clear()
        self._log = self.house = None

    def tidy(self) -> None:
        """Close what nothing waits in any more."""
        for former in [each for each in self._former if each[1].is_settled]:
            self._former.remove(former)
            house, log = former
            log.close()
            house.close()

    def after_fork(self) -> None:
        """Close the child's copies of all files."""
        for house, log in self._everywhere():
            log.after_fork()
            house.close()

    def _everywhere(self) -> list[tuple[House, Log]]:
        now = [] if self.house is None or self._log is None else [(self.house, self._log)]
        return [*self._former, *now]

    @property
    def _logs(self) -> list[Log]:
        return [log for _, log in self._everywhere()]

    def speak(self) -> None:
        """Say what there is to say. Nobody who calls this holds a lock."""
        self._unsaid.speak()
        if self.is_well_again and not self._troubled:
            self.is_well_again = False
            self._unsaid.fine("spool", "the spool takes events again")
            self._unsaid.fine("spool full", "the spool has room for new events again")

    def _refuse(self) -> DropReason:
        self._troubled = True
        use, mib = self._use, 1 << 20
        if (use.dead + use.quarantine) * 2 > self._bound:
            message = (
                "the spool is full, mostly of dead letters (%.1f MiB) and of what is in its quarantine (%.1f MiB), "
                "which stay until you remove them: new events are dropped, those in it are still delivered"
            )
            self._unsaid.trouble("spool full", "kept", message, use.dead / mib, use.quarantine / mib)
        else:
            message = "the spool or its disk is full: new events are dropped, those in it are still delivered"
            self._unsaid.trouble("spool full", "full", message)
        return DropReason.QUEUE_FULL

    def _measure(self) -> None:
        house = self.house
        if house is None:
            return
        self._measured_at = self._clock.monotonic()
        self.is_freed = False
        room = self._settings.max_bytes
        # What cannot be measured bounds nothing: the disk itself says when it is full.
        with contextlib.suppress(OSError):
            self._use = house.used()
            room -= sum(self._use)
        with contextlib.suppress(OSError):
            room = min(room, house.free() - self._settings.min_free_bytes)
        self._room = max(0, room)
        self._bound = sum(self._use) + self._room


def _is_full(error: OSError) -> bool:
    return error.errno in _FULL and not isinstance(error, NotKept)
