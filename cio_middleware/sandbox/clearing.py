"""
Clear, and think again: what was cleared can be brought back for ten seconds.

Clear empties the ledger, rows, requests and counters. Who is known stays known, and so does each id by which a repeat
is told: to forget everything is what `reset` is for, and that has no way back.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from cio_middleware.sandbox.ledger import Ledger

UNDO_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Cleared:
    token: str
    ledger: Ledger
    until: float


class Undo:
    """
    What was cleared last, as long as it can be brought back.

    Args:
        clock: Seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._cleared: _Cleared | None = None

    def keep(self, ledger: Ledger) -> str:
        """Keep a ledger, in place of the one before, and return the token that brings it back."""
        cleared = _Cleared(secrets.token_urlsafe(12), ledger, self._clock() + UNDO_SECONDS)
        self._cleared = cleared
        return cleared.token

    def take(self, token: str) -> Ledger | None:
        """Return what this token brings back, once; None when it is too late, or was never true."""
        self.expire()
        if self._cleared is None or not secrets.compare_digest(
            self._cleared.token.encode(), token.encode("utf-8", "surrogatepass")
        ):
            return None
        ledger, self._cleared = self._cleared.ledger, None
        return ledger

    def expire(self) -> None:
        """Let go of what is out of time."""
        if self._cleared is not None and self._clock() > self._cleared.until:
            self._cleared = None

    @property
    def waits(self) -> bool:
        """True while something can be brought back."""
        self.expire()
        return self._cleared is not None
