"""
Whose events must not be sent any more, told to all processes of a spool: digests in a file, no identifiers.
"""

from __future__ import annotations

import contextlib
import math

import msgspec

from ..._ids import Clock
from ..purges import Purge, Purges
from . import format as layout
from .files import Files
from .house import House
from .shelf import Shelf

_NAME = "purged.seg"
_SECONDS = 1.0

_read = msgspec.json.Decoder(Purge).decode


class SharedPurges(Purges):
    """Purges that outlive the process, and that others hear of within seconds."""

    def __init__(self, files: Files, clock: Clock) -> None:
        super().__init__()
        self._files = files
        self._clock = clock
        self._heard_at = -math.inf
        self._heard: tuple[int, int, float] | None = None
        """Which file was read, as it was then."""

    def tell(self, house: House, purge: Purge) -> None:
        """
        Have others know.

        Raises:
            OSError: the disk does not take it.
        """
        self._shelf(house).append(layout.record(0, msgspec.json.encode(purge), b""))

    def hear(self, house: House | None) -> None:
        """Look whether others have purged somebody, at most once a second."""
        now = self._clock.monotonic()
        if house is None or now - self._heard_at < _SECONDS:
            return
        self._heard_at = now
        with contextlib.suppress(OSError):
            found = self._files.stat_at(_NAME, at=house.root)
            state = (found.st_ino, found.st_size, found.st_mtime)
            if state == self._heard:
                return  # the list only grows, and most looks find nothing new
            for record, _ in self._shelf(house).records():
                with contextlib.suppress(msgspec.DecodeError):
                    self.add(_read(record.envelope))
            self._heard = state

    def _shelf(self, house: House) -> Shelf:
        return Shelf(self._files, self._clock, house, house.root, _NAME)
