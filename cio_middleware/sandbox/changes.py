"""
The change log of a workspace: what changed, numbered, so that whoever looked once can go on from there.

A cursor is ``<epoch>-<change>``. The list that is read with it and all changes since it are the whole story; what
the log no longer reaches back to has to be read again as a whole.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import Literal

Kind = Literal["event", "update", "person", "fault", "reset"]

_CURSOR = re.compile(r"(\d{1,18})-(\d{1,18})")


class BadCursor(ValueError):
    """A cursor that cannot be read; the message says what one looks like."""


@dataclass(frozen=True, slots=True)
class Change:
    """
    One change.

    Attributes:
        number: Its place in the log, from 1.
        kind: A new row, a row that changed, a person, the faults, or everything at once.
        key: The number of the row, or what the person is called.
    """

    number: int
    kind: Kind
    key: int | str | None = None


class Changes:
    """
    The newest changes.

    Args:
        epoch: The first epoch; a reset begins the next one.
        keep: Changes at most.
    """

    def __init__(self, epoch: int, keep: int) -> None:
        self.epoch = epoch
        self.latest = 0
        self._log: deque[Change] = deque(maxlen=keep)

    @property
    def cursor(self) -> str:
        """Where the log ends now."""
        return f"{self.epoch}-{self.latest}"

    def note(self, kind: Kind, key: int | str | None = None) -> None:
        """Write a change down."""
        self.latest += 1
        self._log.append(Change(self.latest, kind, key))

    def begin_epoch(self) -> None:
        """Forget what was: every older cursor is out of date from now on."""
        self.epoch += 1
        self._log.clear()
        self.note("reset")

    def since(self, number: int) -> list[Change] | None:
        """Return what came after a change, oldest first; None when the log does not know all of it."""
        if number > self.latest or number < self.latest - len(self._log):
            return None
        fresh: list[Change] = []
        for change in reversed(self._log):
            if change.number <= number:
                break
            fresh.append(change)
        return fresh[::-1]


def read(cursor: str) -> tuple[int, int]:
    """
    Take a cursor apart: its epoch and its change.

    Raises:
        BadCursor: for what is none.
    """
    parts = _CURSOR.fullmatch(cursor)
    if parts is None:
        raise BadCursor(f"{cursor!r:.80} is no cursor. Type the stream_cursor of a list, such as 1795486471000-812")
    return int(parts[1]), int(parts[2])
