"""
Whose events must not be sent any more, although they wait.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Self
from zlib import crc32

import msgspec

from .._events import ALL_LANES, Entry

_IDENTIFIERS = re.compile(rb'"identifiers":(\{"[a-z_]+":"(?:[^"\\]|\\.)*"\})')
"""The first object of an item: one name, and a text in which quotes are escaped."""


class Purge(msgspec.Struct, frozen=True):
    """One person by a digest of their identifiers, their lane, and when it was (Unix seconds)."""

    key: str
    lane: int
    at: float

    @classmethod
    def of(cls, who: bytes, at: float) -> Self:
        """Of whom these identifiers name, in the form of the wire."""
        return cls(_digest(who), crc32(who), at)

    def __repr__(self) -> str:
        return "Purge(...)"


class Purges:
    """The people that were purged. What was captured later is sent again."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._lanes = {ALL_LANES}

    def add(self, purge: Purge) -> None:
        """Nothing that was captured until then is sent."""
        self._until[purge.key] = max(purge.at, self._until.get(purge.key, purge.at))
        self._lanes.add(purge.lane)

    def among(self, entries: Sequence[Entry]) -> list[int]:
        """Which of these must not be sent."""
        return [index for index, entry in enumerate(entries) if self.covers(entry)] if self._until else []

    def covers(self, entry: Entry) -> bool:
        """Whether this one must not."""
        envelope, item = entry
        if not self._until or envelope.lane not in self._lanes:
            return False
        until = self._until.get(_digest(_identifiers(item)))
        return until is not None and envelope.captured_at <= until


def _digest(who: bytes) -> str:
    return hashlib.sha256(who).hexdigest()


def _identifiers(item: bytes) -> bytes:
    """The identifiers of an item, in the form of the wire."""
    found = _IDENTIFIERS.search(item)
    return b"" if found is None else found[1]
