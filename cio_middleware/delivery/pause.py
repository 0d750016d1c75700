"""
When nobody may ask, and who asks first: a destination that takes nothing is told so by one request, not by one each.
"""

from __future__ import annotations

from math import inf


class SharedPause:
    """
    One pause for all deliveries of a client, begun by an answer that is about all of them: 401, or a `Retry-After`.

    Who was told first asks again when the time has come, and goes on asking, with its own growing waits, until it is
    answered; the others wait for that. If it leaves without an answer, the next one takes its place. Deliveries are
    told apart by whatever `who` they give. Knows no lock, clock or thread.
    """

    def __init__(self) -> None:
        self._until: float | None = None
        self._asks: object = None

    def begin(self, until: float, who: object, *, told: bool) -> None:
        """Nobody asks before `until`. When Customer.io itself has `told` the time, it counts from whomever it comes."""
        if self._asks is None:
            self._asks = who
        if self._asks == who or told:
            self._until = until if self._until is None else max(self._until, until)

    def wait(self, now: float, who: object = None) -> float:
        """Seconds until `who` may ask; 0 for now, and infinity while another one does. At 0, `who` is the one."""
        if self._until is None:
            return 0.0
        if self._asks is not None and self._asks != who:
            return inf
        if now >= self._until:
            self._asks = who
        return max(0.0, self._until - now)

    def answered(self, who: object) -> bool:
        """An answer came that is about the events: if `who` asked for all, all may go on. Returns whether it did."""
        if self._asks is None or self._asks != who:
            return False
        self._until = self._asks = None
        return True

    def leave(self, who: object) -> None:
        """This delivery is over, answered or not."""
        if self._asks == who:
            self._asks = None
