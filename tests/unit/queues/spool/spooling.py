"""
A spool as one process has it, with a clock that the test moves and a keeper that the test is.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Any
from zlib import crc32

from cio_middleware._events import Entry, Envelope, Receipt
from cio_middleware._notices import Notices
from cio_middleware._stats import DropReason, Ledger
from cio_middleware.queues.spool.disk import SpoolSettings
from cio_middleware.queues.spool.files import Files
from cio_middleware.queues.spool.keeper import Keeper
from cio_middleware.queues.spool.queue import SpoolQueue
from cio_middleware.testing.clock import ManualClock
from cio_middleware.typing import Lease

PATH = "/var/spool/shop"
HERE = b"workspace number"
ELSEWHERE = b"another one's 16"

_owners = itertools.count(1)


def settings(**changes: Any) -> SpoolSettings:
    """What a spool in a test is set to."""
    usual: dict[str, Any] = {
        "path": PATH, "destination": HERE, "fsync": "interval", "max_bytes": 1 << 30, "min_free_bytes": 0,
        "held_events": 100, "held_bytes": 100_000, "max_in_flight": 1, "room": 1_000_000,
    }  # fmt: skip
    return SpoolSettings(**{**usual, **changes})


def new_name() -> str:
    """A name for an owner; all processes have the id 1, as in containers."""
    return f"1-{next(_owners):016x}"


def envelope(name: object, lane: object = None) -> Envelope:
    """An envelope that is told apart by its id; each is a lane of its own, unless the test names one."""
    return Envelope(str(name), "event", "batch", crc32(str(name if lane is None else lane).encode()), 1_800_000_000.0)


def item(name: object, size: int = 30) -> bytes:
    """The item of an event, which no other event has."""
    return f'{{"name":"{name}"}}'.encode().ljust(size)


class ByHand(Keeper):
    """A keeper without a thread."""

    def start(self) -> None:
        """Not needed: the test calls `tick`."""

    @property
    def tick(self) -> Callable[[], None]:
        """What the thread would call."""
        return self._tick


class Lines(logging.Logger):
    """A log that keeps its lines."""

    def __init__(self) -> None:
        super().__init__("spool")
        self.said: list[str] = []
        """Those that are no mere information."""
        self.records: list[logging.LogRecord] = []

    def handle(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.records.append(record)
        if record.levelno > logging.INFO:
            self.said.append(record.getMessage())

    def records_about(self, word: str) -> list[logging.LogRecord]:
        """All records with this word, information too."""
        return [record for record in self.records if word in record.getMessage()]

    def about(self, word: str) -> list[str]:
        """The lines with this word."""
        return [line for line in self.said if word in line]


class Spool:
    """A queue on `files`, and all that it was given. `put` captures first, as the client does."""

    def __init__(
        self,
        files: Files,
        clock: ManualClock | None = None,
        *,
        keeper: Callable[[Callable[[], None], Any], Keeper] = ByHand,
        lines: Lines | None = None,
        **changes: Any,
    ) -> None:
        self.clock = clock or ManualClock()
        self.ledger = Ledger()
        self.lines = lines or Lines()
        self.queue = SpoolQueue(
            settings(**changes), files=files, ledger=self.ledger, clock=self.clock,
            notices=Notices(self.clock, self.lines), dice=lambda: 0.5, new_name=new_name, keeper=keeper,
        )  # fmt: skip

    def put(self, name: object, size: int = 30, *, lane: object = None) -> Receipt:
        """Capture and put one event; a refusal is counted, as the client does."""
        self.ledger.capture()
        receipt = self.queue.put(envelope(name, lane), item(name, size))
        if receipt.reason is not None:
            self.ledger.drop(receipt.reason)
        return receipt

    def tick(self, seconds: float = 0.2) -> None:
        """Let time pass, and the keeper look after the spool."""
        self.clock.advance(seconds)
        assert isinstance(self.queue._keeper, ByHand)
        self.queue._keeper.tick()

    def lease(self, most: int = 1000) -> Lease:
        """A lease, which must be possible."""
        lease = self.queue.lease(most, 475_000)
        assert lease is not None
        return lease

    def deliver(self, most: int = 1000) -> list[str]:
        """Lease and ack once. Returns the names, none when nothing could be leased."""
        lease = self.queue.lease(most, 475_000)
        return [] if lease is None else self.ack(lease)

    def ack(self, lease: Lease) -> list[str]:
        """Ack all of a lease. Returns the names."""
        self.queue.ack(lease, range(len(lease.entries)))
        return names(lease)

    def drain(self) -> list[Entry]:
        """Deliver all that there is, what dead processes left included."""
        entries: list[Entry] = []
        quiet = 0
        while quiet < 3:
            self.queue.tend(closing=False)
            lease = self.queue.lease(1000, 475_000)
            if lease is None:
                quiet += 1
                self.clock.advance(10)
            else:
                quiet = 0
                entries += lease.entries
                self.ack(lease)
        return entries

    def close(self) -> int:
        """Give up, as at the end of the process. Returns how many events are lost."""
        return self.queue.abandon(DropReason.SHUTDOWN_TIMEOUT)

    def drained(self) -> list[str]:
        """The names of all that is there, which is delivered by that."""
        return [envelope.event_id for envelope, _ in self.drain()]


def names(lease: Lease | None) -> list[str]:
    """Which events a lease holds."""
    return [] if lease is None else [envelope.event_id for envelope, _ in lease.entries]
