"""
Events that wait in their request for a person: until `identify()`, the end of the request, or five seconds.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from ._context import MAX_PARKED_BYTES, MAX_PARKED_EVENTS, Parked, RequestCell, current, leave
from ._dispatch import Dispatch, Packed
from ._events import Event
from ._ids import Clock
from ._person import People
from ._stats import Ledger
from .exceptions import DeliveryError, InvalidEvent

MAX_SECONDS = 5.0


class Parking:
    """
    The parked events of one client.

    However many threads settle a cell, each event leaves it once. A cell is held for as long as it has parked events,
    so that they go on even if a server forgets the request.
    """

    def __init__(
        self, people: People, dispatch: Dispatch, ledger: Ledger, clock: Clock, wake: Callable[[], None] | None = None
    ) -> None:
        self._wake = wake
        self._people = people
        self._dispatch = dispatch
        self._ledger = ledger
        self._clock = clock
        self._cells: dict[RequestCell, float] = {}
        self.after_fork()

    def after_fork(self) -> None:
        """What a request of the parent had parked is the parent's to send."""
        # Re-entrant, because a signal handler that captures an event may interrupt a thread that holds it.
        self._lock = threading.RLock()
        for cell in self._cells:
            cell.parked, cell.parked_bytes = None, 0
        self._cells = {}

    def park(self, cell: RequestCell, event: Event, captured_at: float, carrier: Any) -> None:
        """Keep an event with its request. At the bound, all of them go on with the identity then known."""
        with self._lock:
            if cell.parked is None:
                cell.parked = deque()
            self._ledger.park()
            cell.parked.append(Parked(event, captured_at, carrier))
            cell.parked_bytes += len(event.attributes_json)
            self._cells.setdefault(cell, self._clock.monotonic() + MAX_SECONDS)
            full = len(cell.parked) >= MAX_PARKED_EVENTS or cell.parked_bytes >= MAX_PARKED_BYTES
        if full or not cell.parks:
            self.release(cell)
        elif self._wake is not None:
            self._wake()

    def settle(self, cell: RequestCell) -> None:
        """Find the person, and send what is parked; it stays if only an asynchronous resolver can still tell."""
        if cell.parked:
            self._people.settle(cell)
            if cell.identity is not None or cell.answer is None or not cell.parks:
                self.release(cell)

    async def asettle(self, cell: RequestCell) -> None:
        """The same; waits for an asynchronous resolver, and for a backend that delivers while one waits."""
        if not cell.parked:
            return
        try:
            await self._people.asettle(cell)
            while (parked := self._take(cell)) is not None:
                try:
                    packed = self._pack(parked, cell)
                    if packed is not None:
                        await self._dispatch.asend(*packed)
                except (DeliveryError, InvalidEvent):
                    continue
        except BaseException:
            # Cancelled: nothing more can be awaited.
            self.release(cell)
            raise

    def release(self, cell: RequestCell) -> None:
        """Send what is parked, with the identity that is known now."""
        while (parked := self._take(cell)) is not None:
            try:
                packed = self._pack(parked, cell)
                if packed is not None:
                    self._dispatch.send(*packed)
            except (DeliveryError, InvalidEvent):
                # Asked for by `debug` or on_error="raise", and said in the log; but the call that captured the event
                # has returned, and whoever settles it is somebody else.
                continue

    def end(self, cell: RequestCell) -> None:
        """The request is over: settle it. Code that outlives it parks nothing any more."""
        cell.parks = False
        self.settle(cell)
        self._people.forget(cell)

    async def aend(self, cell: RequestCell) -> None:
        """The same; waits as `asettle` does."""
        cell.parks = False
        try:
            await self.asettle(cell)
        finally:
            self._people.forget(cell)

    def sweep(self) -> float:
        """Send what has been parked for five seconds. Returns the seconds until the next such moment, at most five."""
        while (first := self._first()) is not None:
            cell, due = first
            left = due - self._clock.monotonic()
            if left > 0:
                return min(left, MAX_SECONDS)
            self.release(cell)
        return MAX_SECONDS

    def empty(self) -> None:
        """Send everything that is parked anywhere; for closing."""
        while (first := self._first()) is not None:
            self.release(first[0])

    def _first(self) -> tuple[RequestCell, float] | None:
        """The cell whose oldest event has waited longest, and when that is due. They are in the order of that."""
        with self._lock:
            return next(iter(self._cells.items()), None)

    def _take(self, cell: RequestCell) -> Parked | None:
        with self._lock:
            parked = cell.parked.popleft() if cell.parked else None
            if parked is not None:
                cell.parked_bytes -= len(parked.event.attributes_json)
                self._ledger.unpark()
            if not cell.parked:
                self._cells.pop(cell, None)
            return parked

    def _pack(self, parked: Parked, cell: RequestCell) -> Packed | None:
        event = parked.event.about(cell.identity, None if cell.identity is not None else cell.browser())
        # Whoever settles it may be another thread, or the process's end: a processor sees the request all the same.
        token = current.set(cell)
        try:
            return self._dispatch.pack(event, parked.captured_at, parked.carrier)
        finally:
            leave(token)
