"""
Events that wait in their request for a person: until `identify()`, the end of the request, or five seconds.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from ._context import MAX_PARKED_BYTES, MAX_PARKED_EVENTS, Parked, RequestCell
from ._dispatch import Dispatch
from ._events import Event, Identity
from ._ids import Clock
from ._person import People
from ._stats import Ledger

MAX_SECONDS = 5.0


class Parking:
    """
    The parked events of one client.

    Events leave a cell by `popleft`, which is atomic: however many threads settle a cell, each event goes on once.
    """

    def __init__(
        self, people: People, dispatch: Dispatch, ledger: Ledger, clock: Clock, wake: Callable[[], None] | None = None
    ) -> None:
        self._wake = wake
        self._people = people
        self._dispatch = dispatch
        self._ledger = ledger
        self._clock = clock
        self.after_fork()

    def after_fork(self) -> None:
        """What a request of the parent had parked is the parent's to send."""
        self._due: deque[tuple[float, weakref.ref[RequestCell]]] = deque()

    def park(self, cell: RequestCell, event: Event, captured_at: float, carrier: Any) -> None:
        """Keep an event with its request. At the bound, all of them go on with the identity then known."""
        if cell.parked is None:
            cell.parked = deque()
        self._ledger.park()
        cell.parked.append(Parked(event, captured_at, carrier))
        cell.parked_bytes += len(event.attributes_json)
        self._due.append((self._clock.monotonic() + MAX_SECONDS, weakref.ref(cell)))
        if len(cell.parked) >= MAX_PARKED_EVENTS or cell.parked_bytes >= MAX_PARKED_BYTES or not cell.parks:
            self.release(cell)
        elif self._wake is not None:
            self._wake()

    def settle(self, cell: RequestCell) -> None:
        """The request ends, or somebody flushes: find the person, and send what is parked."""
        if cell.parked:
            self._people.settle(cell)
            self.release(cell)

    async def asettle(self, cell: RequestCell) -> None:
        """The same; waits for an asynchronous resolver, and for a backend that delivers while one waits."""
        if cell.parked:
            await self._people.asettle(cell)
            for event, parked in self._leaving(cell):
                await self._dispatch.asend(event, parked.captured_at, parked.carrier)

    def release(self, cell: RequestCell) -> None:
        """Send what is parked, with the identity that is known now."""
        for event, parked in self._leaving(cell):
            self._dispatch.send(event, parked.captured_at, parked.carrier)

    def end(self, cell: RequestCell) -> None:
        """The request is over: code that outlives it parks nothing any more."""
        cell.parks = False
        if cell.answer is not None:
            self._people.forget(cell)

    def sweep(self) -> float:
        """Send what has been parked for five seconds. Returns the seconds until the next such moment, at most five."""
        while self._due:
            left = self._due[0][0] - self._clock.monotonic()
            if left > 0:
                return min(left, MAX_SECONDS)
            try:
                _, ref = self._due.popleft()
            except IndexError:
                break
            if (cell := ref()) is not None and cell.parked:
                self.release(cell)
        return MAX_SECONDS

    def empty(self) -> None:
        """Send everything that is parked anywhere; for closing."""
        while self._due:
            _, ref = self._due.popleft()
            if (cell := ref()) is not None:
                self.release(cell)

    def _leaving(self, cell: RequestCell) -> Iterator[tuple[Event, Parked]]:
        while cell.parked:
            try:
                parked = cell.parked.popleft()
            except IndexError:
                return
            cell.parked_bytes -= len(parked.event.attributes_json)
            self._ledger.unpark()
            yield self._addressed(parked.event, cell.identity, cell), parked

    def _addressed(self, event: Event, identity: Identity | None, cell: RequestCell) -> Event:
        return event.about(identity, None if identity is not None else cell.browser())
