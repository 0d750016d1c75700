"""
Find the event that makes its own delivery fail by an exception, so that it does not stop all the others for ever.

Customer.io's answers never get here: those are settled by the flow. This is for what nobody foresaw.
"""

from __future__ import annotations

from collections.abc import Sequence

CRASHES = 3
"""How often an event may fail alone before it is kept aside."""
_HOPELESS = 10
_WAIT, _WAIT_CAP = 1.0, 60.0


class Suspects:
    """What is left to deliver of one lease of so many events: at first all at once, after an exception one by one."""

    def __init__(self, events: int) -> None:
        self._parts: list[Sequence[int]] = [range(events)]
        self._failures = 0
        self._in_a_row = 0

    @property
    def part(self) -> Sequence[int]:
        """The places in the lease of what is to be sent next, oldest first; none when nothing is left."""
        return self._parts[-1] if self._parts else ()

    @property
    def is_hopeless(self) -> bool:
        """Whether it has failed for so long that it is hardly for the events, so that none should pay for it."""
        return self._in_a_row >= _HOPELESS

    def settled(self) -> None:
        """The part needs no more of this."""
        self._parts.pop()
        self._failures = self._in_a_row = 0

    def failed(self) -> int | None:
        """The part's delivery ended in an exception. Returns the place of an event that is to be kept aside."""
        self._in_a_row += 1
        part = self._parts[-1]
        if len(part) > 1:
            self._parts[-1:] = [[index] for index in reversed(part)]
            return None
        self._failures += 1
        if self._failures < CRASHES:
            return None
        self._parts.pop()
        self._failures = 0
        return part[0]


def wait_after(crashes: int) -> float:
    """
    Seconds to wait after so many exceptions in a row.

    They double while nothing at all is delivered: then it is not for the events, and few should be kept aside.
    """
    return min(_WAIT_CAP, _WAIT * 2.0 ** min(crashes - 1, 16))
