"""
Take over what dead processes left: one of them at a time, found every few seconds.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..._ids import Clock
from ..._notices import Unsaid
from . import format as layout
from .drain import Drain
from .files import Files
from .house import House, Owner
from .segment import Segment

SECONDS = 5.0
_AGAIN_SECONDS = 300.0
"""After how long to look again at an owner whose events are not ours to send."""


@dataclass(slots=True)
class Orphan:
    """An owner that is dead, and the drain of its segments."""

    owner: Owner
    drain: Drain


class Adopter:
    """Finds orphans. `current` is the one that is being drained."""

    def __init__(
        self,
        files: Files,
        house: House,
        mine: Owner,
        destination: bytes,
        *,
        drain: Callable[[deque[Segment]], Drain],
        clock: Clock,
        dice: Callable[[], float],
        unsaid: Unsaid,
    ) -> None:
        self._files = files
        self._house = house
        self._mine = mine
        self._destination = destination
        self._drain = drain
        self._clock = clock
        self._dice = dice
        self._unsaid = unsaid
        self._not_ours: dict[str, float] = {}
        self._next = 0.0
        self._orphans: Iterator[Owner] = iter(())
        self.current: Orphan | None = None

    def look(self) -> float:
        """Let go of an orphan that is drained, and find the next. Returns the seconds until the next look."""
        if self.current is not None:
            if not self.current.drain.is_empty:
                return SECONDS
            self._bury(self.current)
            self._next = 0.0
        now = self._clock.monotonic()
        if now >= self._next:
            try:
                self.current = self._find(now)
            except OSError:
                self.current = None
            # Processes that were started together must not all look at once, for ever.
            self._next = now if self.current is not None else now + SECONDS * (0.5 + self._dice())
        return max(0.0, self._next - now) if self.current is None else SECONDS

    def release(self) -> int:
        """Let others have it. Returns how many of its events were in memory."""
        orphan, self.current = self.current, None
        if orphan is None:
            return 0
        if orphan.drain.is_empty:
            self._bury(orphan)
            return 0
        count = orphan.drain.close()
        orphan.owner.release()
        return count

    def after_fork(self) -> None:
        """Close the child's copies of its files."""
        if self.current is not None:
            self.current.drain.after_fork()
            self.current.owner.after_fork()

    def _bury(self, orphan: Orphan) -> None:
        self.current = None
        orphan.drain.tidy()
        orphan.drain.close()  # what could not be removed
        if orphan.owner.is_bare:
            orphan.owner.retire()
        else:
            orphan.owner.release()

    def _find(self, now: float) -> Orphan | None:
        found = self._first(now)
        if found is None:
            # All that were there the last time are looked at.
            self._not_ours = {name: until for name, until in self._not_ours.items() if until > now}
            self._orphans = self._house.orphans({self._mine.name, *self._not_ours})
            found = self._first(now)
        return found

    def _first(self, now: float) -> Orphan | None:
        for owner in self._orphans:
            try:
                segments, ours = self._open(owner)
            except OSError:
                owner.release()
                raise
            if segments:
                message = "what a process that ended has left in the spool is taken over: %d file(s)"
                self._unsaid.trouble("spool adoption", owner.name, message, len(segments), level=logging.INFO)
                return Orphan(owner, self._drain(segments))
            if ours and owner.is_bare:
                owner.retire()
            else:
                self._not_ours[owner.name] = now + _AGAIN_SECONDS
                owner.release()
        return None

    def _open(self, owner: Owner) -> tuple[deque[Segment], bool]:
        """The segments that may be drained, and whether nothing had to be left where it is."""
        found: list[Segment] = []
        ours = True
        for name in owner.segments:
            try:
                segment = Segment.open(self._files, self._house.live, name)
            except layout.Unreadable:
                if self._house.set_aside(name):
                    message = "a file of the spool is no segment, and is in quarantine"
                    self._unsaid.trouble("spool files", "unreadable", message)
            except layout.Later:
                ours = False
                message = "the spool holds events of a later version of this package, which are left alone"
                self._unsaid.trouble("spool later", "later", message)
            except FileNotFoundError:
                continue  # its owner removed it before it died
            except OSError:
                ours = False
            else:
                if segment.destination == self._destination:
                    found.append(segment)
                    continue
                ours = False
                self._unsaid.trouble(
                    "spool destination", "destination",
                    "the spool holds events for another workspace or host, captured under another site_id, region or"
                    " base_url: they are kept until a client with those runs",
                )  # fmt: skip
        # Not by name: what was copied after a failure of the disk is older than what was written meanwhile.
        return deque(sorted(found, key=lambda segment: segment.first)), ours
