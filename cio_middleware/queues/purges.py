"""
Whose events must not be sent any more, although they wait.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from typing import Self
from zlib import crc32

import msgspec

from .._events import ALL_LANES, Entry

_IDENTIFIERS = re.compile(rb'"identifiers":(\{"[a-z_]+":"(?:[^"\\]|\\.)*"\})')
"""The first object of an item: one name, and a text in which quotes are escaped."""
_SIDES = re.compile(
    rb'^\{"type":"person","action":"merge","primary":(\{"[a-z_]+":"(?:[^"\\]|\\.)*"\}),"secondary":(\{.*\})\}$'
)
_KEEPS = frozenset({"delete", "suppress", "unsuppress"})
"""What is sent of a purged person all the same: it says the same to Customer.io."""


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
        if not self._until or envelope.lane not in self._lanes or envelope.kind in _KEEPS:
            return False
        return any(envelope.captured_at <= self._until.get(_digest(who), -math.inf) for who in _identifiers(item))


def _digest(who: bytes) -> str:
    return hashlib.sha256(who).hexdigest()


def _identifiers(item: bytes) -> tuple[bytes, ...]:
    """Whom an item names, in the form of the wire."""
    if (found := _SIDES.match(item)) is not None:
        return found.groups()
    return () if (found := _IDENTIFIERS.search(item)) is None else (found[1],)
