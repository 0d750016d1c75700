"""
People whose id is a fault, for tests by hand and from a front end: no call to the sandbox's own API is needed.

``sandbox:429:2`` is answered 429 twice and then as everybody, ``sandbox:500`` always 500, ``sandbox:reset:1`` is cut
off once and ``sandbox:slow:800`` waits so many milliseconds. What follows another colon makes it another person.
"""

from __future__ import annotations

import re
from collections import OrderedDict

from cio_middleware.sandbox.ring import trim

PEOPLE = 1000
"""Of so many the sandbox remembers how often they came."""

EXAMPLES = ("sandbox:429:2", "sandbox:500", "sandbox:reset:1", "sandbox:slow:800")

_CUT = re.compile(r"sandbox:(?P<what>[45]\d\d|reset|hang|ack_lost)(?::(?P<times>\d{1,6}))?(?::.*)?", re.DOTALL)
_SLOW = re.compile(r"sandbox:slow:(?P<ms>\d{1,5})(?::.*)?", re.DOTALL)


class Magic:
    """The magic people of one workspace, and how often each has come."""

    def __init__(self) -> None:
        self._came: OrderedDict[str, int] = OrderedDict()

    def step(self, people: list[str]) -> str | None:
        """Return what the first magic person among these asks for: a status or the name of an act; None for nothing."""
        for person in people:
            asked = _CUT.fullmatch(person)
            if asked is None:
                continue
            came = self._came.pop(person, 0) + 1
            self._came[person] = came
            trim(self._came, PEOPLE)
            if asked["times"] is None or came <= int(asked["times"]):
                return asked["what"]
        return None

    def clear(self) -> None:
        """Forget how often anybody came."""
        self._came.clear()


def delay_ms(people: list[str]) -> float:
    """Return the longest wait that one of these people asks for, in milliseconds; at most a minute."""
    return max(
        (min(float(found["ms"]), 60_000.0) for person in people if (found := _SLOW.fullmatch(person))), default=0.0
    )
