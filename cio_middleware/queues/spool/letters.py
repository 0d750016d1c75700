"""
Events that Customer.io refused, on disk: those of all processes of a spool in one file.

When it cannot be written, a letter is kept in memory like those of the memory queue.
"""

from __future__ import annotations

import contextlib
import heapq
import math
from collections.abc import Callable, Collection, Iterator

import msgspec

from ..._events import Entry
from ..._ids import Clock
from ..._stats import Ledger
from ...typing import DeadLetter, Refusal
from ..memory import DeadLetters, is_meant
from . import format as layout
from .drain import portable, read_envelope
from .files import Files
from .house import House
from .shelf import Shelf

_NAME = "letters.seg"


class _Kept(msgspec.Struct):
    """What stands before the item in a record."""

    envelope: msgspec.Raw
    why: Refusal
    at: float

    def __repr__(self) -> str:
        return "_Kept(...)"


_read_kept = msgspec.json.Decoder(_Kept).decode


class Letters(Collection[DeadLetter]):
    """The dead letters of a spool, those of other processes included."""

    def __init__(self, files: Files, ledger: Ledger, clock: Clock) -> None:
        self._files = files
        self._ledger = ledger
        self._clock = clock
        self._shelf: Shelf | None = None
        self._reopen: Callable[[], House] | None = None
        """How whoever looks after the end gets at the directory."""
        self.in_memory = DeadLetters(ledger, clock)

    def move_in(self, house: House | None) -> None:
        """From now on letters are in this house; None: nowhere."""
        self._shelf, self._reopen = None if house is None else self._shelf_in(house), None

    def move_out(self, reopen: Callable[[], House]) -> None:
        """The end: no letter comes any more, and nothing stays open; who looks opens the directory for as long."""
        self._shelf, self._reopen = None, reopen

    def add(self, entry: Entry, why: Refusal) -> None:
        """Keep a pending event aside."""
        envelope, item = entry
        kept = msgspec.json.encode(_Kept(msgspec.Raw(msgspec.json.encode(portable(envelope))), why, self._clock.time()))
        shelf = self._shelf
        if shelf is not None:
            with contextlib.suppress(OSError):
                shelf.append(layout.record(0, kept, item))
                self._ledger.dead_letter()
                return
        self.in_memory.add(entry, why)

    def remove(self, event_ids: Collection[str] | None = None, *, until: float = math.inf) -> int:
        """
        Forget letters, all by default, that were refused until then. Returns how many.

        Raises:
            OSError: the disk does not allow it; all are still there.
        """

        def is_gone(record: layout.Record) -> bool:
            letter = _letter(record)
            return letter is not None and is_meant(letter, event_ids, until)

        with self._open() as shelf:
            gone = 0 if shelf is None else shelf.remove(is_gone)
        return gone + self.in_memory.remove(event_ids, until=until)

    def __iter__(self) -> Iterator[DeadLetter]:
        seen = set()
        for letter in heapq.merge(self.in_memory, self._on_disk(), key=lambda letter: letter.refused_at):
            # A crash may have kept one twice, or a disk that took it and could not say so.
            if letter.envelope.event_id not in seen:
                seen.add(letter.envelope.event_id)
                yield letter

    def _on_disk(self) -> Iterator[DeadLetter]:
        # Whoever looks at letters is shown those that can be read.
        with contextlib.suppress(OSError), self._open() as shelf:
            for record, _ in () if shelf is None else shelf.records():
                if (letter := _letter(record)) is not None:
                    yield letter

    @contextlib.contextmanager
    def _open(self) -> Iterator[Shelf | None]:
        if self._shelf is not None or self._reopen is None:
            yield self._shelf
            return
        with contextlib.closing(self._reopen()) as house:
            yield self._shelf_in(house)

    def _shelf_in(self, house: House) -> Shelf:
        return Shelf(self._files, self._clock, house, house.dead, _NAME)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, letter: object) -> bool:
        return any(each == letter for each in self)


def _letter(record: layout.Record) -> DeadLetter | None:
    try:
        kept = _read_kept(record.envelope)
    except (msgspec.DecodeError, ValueError):
        return None
    envelope = read_envelope(bytes(kept.envelope))
    return None if envelope is None else DeadLetter(envelope, record.item, kept.why, kept.at)
