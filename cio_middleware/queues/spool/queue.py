"""
A queue on disk: what it accepted survives the death of the process.

    put          one write to this process's own segment           the caller's thread
    lease, ack   records read in order, marks made in place        the worker
    look after   sync, the next segment, room on the disk          the keeper, every 200 ms
    adopt        what dead processes left, one of them at a time   the worker

While the disk fails, events are held in memory, within the bounds of the memory queue, and are counted as lost if the
process ends before they are delivered.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections import deque
from collections.abc import Callable

from ..._events import Entry, Envelope, Receipt
from ..._fork import WATCH
from ..._ids import Clock
from ..._locks import owned
from ..._notices import Notices, Unsaid
from ..._stats import DropReason, Ledger
from ...typing import Lease
from ..purges import Purge
from ..window import Window
from .adoption import SECONDS, Adopter
from .disk import Disk, SpoolSettings
from .drain import Drain
from .files import Files
from .house import House, Owner
from .inlet import Inlet
from .keeper import Keeper
from .letters import Letters
from .outlet import Outlet
from .purged import SharedPurges
from .segment import Segment

_CLOSE_SECONDS = 2.0
"""How long to wait for the disk at the end, by default."""


class SpoolQueue(Outlet):
    """
    Takes events from any thread, hands them out to those that deliver.

    Two locks: the inlet's for whoever writes, `_reading` for whoever reads and settles. Who has the first one waits for
    nothing but the disk. Who has the second and wants the first as well does not wait for it for long: a signal handler
    may want the second in the middle of a write.

    A signal handler or a finalizer may also capture in the middle of reading, of a commit or of the keeper's work: who
    writes may wait for just that, so such an event is written later. And it may flush, or close, in the middle of
    anything that the reader may wait for: it does not wait for the reader.
    """

    blocks = False
    is_shared = True

    def __init__(
        self,
        settings: SpoolSettings,
        *,
        files: Files,
        ledger: Ledger,
        clock: Clock,
        notices: Notices,
        dice: Callable[[], float],
        new_name: Callable[[], str],
        keeper: Callable[[Callable[[], None], Clock], Keeper] = Keeper,
    ) -> None:
        self._settings = settings
        self._files = files
        self._ledger = ledger
        self._clock = clock
        self._notices = notices
        self._dice = dice
        self._new_name = new_name
        self._always = settings.fsync == "always"
        self._keeper = keeper(self._look_after, clock)
        self._letters = Letters(files, ledger, clock)
        self._purges = SharedPurges(files, clock)
        self._start_afresh()
        WATCH.add(self)

    def after_fork(self) -> None:
        """What the parent has on disk stays the parent's: the child's copies of its files are closed."""
        if self._adopter is not None:
            self._adopter.after_fork()
        self._disk.after_fork()
        self._letters.move_in(None)
        self._keeper.after_fork()
        self._start_afresh()

    def _start_afresh(self) -> None:
        settings = self._settings
        self._pid = os.getpid()
        self._reading = threading.RLock()
        self._reads_here = owned(self._reading)
        self._segments: deque[Segment] = deque()
        self._adopter: Adopter | None = None
        self._unsaid = Unsaid(self._notices)
        self._own = self._drain(self._segments, taken=lambda _: None)
        self._disk = Disk(
            settings, files=self._files, segments=self._segments, clock=self._clock, unsaid=self._unsaid,
            new_name=self._new_name, opened=self._moved_in, wake=self._keeper.wake,
        )  # fmt: skip
        self._inlet = Inlet(settings, self._disk, self._own, ledger=self._ledger, clock=self._clock)
        self._leases: dict[Lease, Drain] = {}
        self._orphans_turn = False
        self._dry_at = self._clock.monotonic()
        self.head = 0
        self._closing = self._closed = False
        self.kept = 0
        """Events that stay on disk, once the queue is closed."""

    def _drain(self, segments: deque[Segment], *, taken: Callable[[int], None]) -> Drain:
        window = Window(self._settings.max_in_flight)
        return Drain(
            segments, window, room=self._settings.room, clock=self._clock, taken=taken, missing=self._missing,
            damaged=self._damaged, freed=self._freed,
        )  # fmt: skip

    def _moved_in(self, house: House, owner: Owner) -> None:
        if self._adopter is not None:
            self._ledger.disown(self._adopter.release())
        self._adopter = Adopter(
            self._files, house, owner, self._settings.destination,
            drain=lambda segments: self._drain(segments, taken=self._ledger.adopt),
            clock=self._clock, dice=self._dice, unsaid=self._unsaid,
        )  # fmt: skip
        self._letters.move_in(house)
        self._purges.hear(house)
        self._keeper.start()

    # ----------------------------------------------------------------------------------------------------------- put

    def put(self, envelope: Envelope, item: bytes, *, may_block: bool = False, may_wait: bool = True) -> Receipt:
        """Take an event, or say why not. One that is taken is written: the death of the process does not lose it."""
        del may_block
        if self._pid != os.getpid():  # a fork that Python was not told of: the files are the parent's
            WATCH.in_child()
        # In the middle of what a writer may wait for.
        is_at_work = self._reads_here() or self._keeper.ident == threading.get_ident()
        if not may_wait or is_at_work or (self._always and self._disk.is_here):
            return self._inlet.defer(envelope, item)
        receipt = self._inlet.put(envelope, item)
        disk = self._disk
        # Not below a signal's handler in the middle of a put: that put speaks when it is done.
        if disk.has_news and not self._inlet.is_writing:
            disk.speak()
        if self._always and receipt.reason is None:
            self._commit()
        return receipt

    def _commit(self) -> None:
        try:
            self._disk.commit()
        except OSError as error:
            self._fails(error)

    def holds(self, item: bytes) -> bool:
        """Whether this event is one of the last few that this thread put."""
        return self._inlet.holds(item)

    # --------------------------------------------------------------------------------------------------------- drain

    def purge(self, who: bytes) -> None:
        """
        What waits for them, here or for another process, is dropped when its turn comes.

        Raises:
            OSError: the disk does not take it, so other processes cannot be told.
        """
        purge = Purge.of(who, self._clock.time())
        self._purges.add(purge)
        with self._reading:
            self._repair()
            house = self._disk.house
        if house is None:
            raise OSError(errno.EIO, "the spool cannot be written to")
        self._purges.tell(house, purge)

    def is_purged(self, entry: Entry) -> bool:
        """Whether this one must not be sent any more."""
        return self._purges.covers(entry)

    @property
    def dead_letters(self) -> Letters:
        """Those of all processes of the spool, which is opened for whoever looks before there is an event."""
        if self._disk.house is None and not self._inlet.is_here:
            with self._reading:
                self._repair()
            self._disk.speak()
        return self._letters

    # -------------------------------------------------------------------------------------------------------- levels

    @property
    def tail(self) -> int:
        """The place that the next event will have."""
        return self._inlet.tail

    @property
    def depth(self) -> int:
        """Events of this process that wait and are not leased."""
        return self._inlet.depth

    @property
    def urgent(self) -> bool:
        """Whether waiting for more events is no use: what is held in memory fills half of its bounds."""
        return self._inlet.urgent

    @property
    def is_degraded(self) -> bool:
        """Whether the disk fails, so that events are held in memory, or refused."""
        return self._disk.fails_now

    # ------------------------------------------------------------------------------------------------- looking after

    def tend(self, *, closing: bool) -> float:
        """Take over from dead processes, or leave that to others. Returns the seconds until it is worth doing again."""
        with self._reading:
            if self._closed:
                return SECONDS
            self._closing = closing
            self._repair()
            adopter = self._adopter
            if adopter is None:
                wait = SECONDS
            elif not closing:
                wait = adopter.look()
            else:
                wait = SECONDS
                if adopter.current is None or not adopter.current.drain.out:
                    self._ledger.disown(adopter.release())
            self._own.tidy()
            self.head = self._own.head
            self._disk.tidy()
            self._purges.hear(self._disk.house)
        self._disk.speak()
        return wait

    def abandon(self, reason: DropReason, *, within: float = _CLOSE_SECONDS) -> int:
        """
        Take no more, and leave what is on disk to others. What was held in memory is given up.

        Returns how many events are lost; `kept` says how many stay. The keeper syncs and closes the files: where the
        disk stalls, it is not waited for, and what it has not synced is as safe as after a kill.
        """
        until = self._clock.monotonic() + within
        # With or without: a reader may wait for the disk, or for a write in whose middle a signal handler closes.
        locked = self._reading.acquire(timeout=within)
        try:
            if self._closed:
                return 0
            self._closed = True
            lost = self._inlet.close(max(0.0, until - self._clock.monotonic()))
            self.kept = max(0, self._inlet.tail - self._own.done - lost)
            self._leases.clear()
            if self._disk.house is not None:
                self._letters.move_out(lambda: House(self._files, self._settings.path))
            self._disk.give_up()
        finally:
            if locked:
                self._reading.release()
        if lost:
            self._ledger.drop(reason, lost)
        self._keeper.stop(max(0.0, until - self._clock.monotonic()), self._leave)
        self._catch_up()
        return lost

    def _leave(self) -> None:
        adopter, self._adopter = self._adopter, None
        with contextlib.suppress(OSError):
            if adopter is not None:
                self._ledger.disown(adopter.release())
        self._own.tidy()
        with contextlib.suppress(OSError):
            self._disk.leave()

    def _look_after(self) -> None:
        before, self._keeper.ident = self._keeper.ident, threading.get_ident()
        try:
            try:
                self._disk.look_after()
            except OSError as error:
                self._fails(error)
            if self._disk.may_open:
                with self._reading:
                    self._repair()
        except Exception as error:  # noqa: BLE001 - without a keeper nothing would be synced any more
            what = type(error).__name__
            self._notices.trouble("spool keeper", what, "looking after the spool failed with %s; trying again", what)
        finally:
            self._keeper.ident = before
        self._catch_up()
        self._disk.speak()

    def _fails(self, error: OSError) -> None:
        with self._inlet.alone() as is_alone:
            if is_alone:  # else the keeper finds the same trouble again
                self._disk.fails(error)

    def _repair(self) -> None:
        """Open the disk again after a failure, and copy what it may not have kept. `_reading` is held."""
        if self._closed or not self._disk.may_open:
            return
        with self._inlet.alone() as is_alone:
            if not is_alone or not self._disk.open():
                return
        for segment in list(self._segments):
            if segment.sealed:
                _copy(segment, self._disk, self._own)

    def _missing(self, records: int) -> None:
        self._ledger.drop(DropReason.QUARANTINED, records)

    def _freed(self) -> None:
        self._disk.is_freed = True

    def _damaged(self, name: str, start: int, data: bytes) -> None:
        if self._disk.house is not None:
            self._disk.house.keep_aside(f"{name}.{start}.bin", data)
        self._unsaid.trouble("spool damage", "damage", "a part of the spool could not be read: it is in quarantine")


def _copy(old: Segment, disk: Disk, drain: Drain) -> None:
    """Have a segment's events in another one, if the disk may not keep them where they are."""
    try:
        new = disk.spare_for(old)
    except OSError:
        return  # it stays where it is, and is delivered from there as long as that goes well
    if new is None:
        return
    try:
        disk.commit()  # the new one's name, before the old one's goes
        drain.replace(old, new)
    except OSError:
        with contextlib.suppress(OSError):
            new.remove()
        return
    # Where it cannot be removed, whoever adopts it must not find what it held to be waiting.
    with contextlib.suppress(OSError):
        old.ack(old.size)
    with contextlib.suppress(OSError):
        old.remove()
