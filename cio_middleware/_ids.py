"""
Mint event ids and tell the time. The only module that reads the clock or asks for entropy.

A ULID is 26 characters: 48 bits of milliseconds, 80 bits of chance. Customer.io ignores an event whose ULID it has
seen, so one minted at capture makes every retry harmless.
"""

from __future__ import annotations

import itertools
import os
import threading
import time as clock_time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]
_PER_RUN = 1 << 20
_VALID = frozenset(_ALPHABET)


class Clock(Protocol):
    """Time as the rest of the package sees it; tests pass one that they move by hand."""

    def time(self) -> float:
        """Seconds since the epoch, for stamps that leave the process."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, for waits and deadlines: a clock step cannot stretch them."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Wait, whatever happens."""
        ...

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        """Wait for the condition, whose lock is held, to be notified; at most this long."""
        ...


class SystemClock:
    """The machine's clock."""

    time = staticmethod(clock_time.time)
    monotonic = staticmethod(clock_time.monotonic)
    sleep = staticmethod(clock_time.sleep)

    @staticmethod
    def wait(condition: threading.Condition, seconds: float | None) -> None:
        """Wait for the condition, at most this long."""
        condition.wait(seconds)


@dataclass(slots=True, frozen=True)
class _Run:
    """
    What the ids of one second or so share, and the counter that tells them apart.

    `window` is the time without its ten lowest bits; `time` and `chance` are texts of 8 and 12 characters. `successor`
    holds the run that follows, once there is one.
    """

    window: int
    time: str
    chance: str
    counter: itertools.count[int]
    successor: dict[None, _Run]


class Ulids:
    """
    A source of ULIDs, rising within a thread even when the wall clock steps back.

    It holds no lock, so a signal handler or a fork in the middle of a call cannot block the next one: the counter of a
    run is atomic, and of two threads that start a run at once one wins and both use its run.
    """

    __slots__ = ("__weakref__", "_entropy", "_newest", "_now", "_run")

    def __init__(
        self, now: Callable[[], float] = clock_time.time, entropy: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._now = now
        self._entropy = entropy
        self._newest = 0
        self.after_fork()

    def __call__(self) -> str:
        return self.at(self._now())

    def at(self, now: float) -> str:
        """The same, for who has just looked at the clock."""
        run = self._run
        milliseconds = int(now * 1000)
        if milliseconds < self._newest:  # noqa: PLR1730 - max() costs twice as much, at every event
            milliseconds = self._newest
        low = next(run.counter)
        if milliseconds >> 10 != run.window or low >= _PER_RUN:
            run, milliseconds, low = self._move_on(run, milliseconds, low)
        self._newest = milliseconds
        return f"{run.time}{_PAIRS[milliseconds & 1023]}{run.chance}{_PAIRS[low >> 10]}{_PAIRS[low & 1023]}"

    def after_fork(self) -> None:
        """Start afresh, so that a forked child does not count on from where its parent is."""
        self._run = _Run(-1, "", "", itertools.count(), {})

    def _move_on(self, run: _Run, milliseconds: int, low: int) -> tuple[_Run, int, int]:
        while milliseconds >> 10 > run.window or low >= _PER_RUN:
            run = self._after(run, max(milliseconds >> 10, run.window + 1))
            low = next(run.counter)
        # Another thread may be further on: the time follows it, so that no thread's ids fall.
        return run, max(milliseconds, run.window << 10), low

    def _after(self, run: _Run, window: int) -> _Run:
        chance = int.from_bytes(self._entropy(10))
        # The top bit of the counter starts at 0, which leaves half a million ids before the run is used up.
        first = (chance >> 60) & (_PER_RUN // 2 - 1)
        fresh = _Run(window, _text(window, 4), _text(chance, 6), itertools.count(first), {})
        run = self._run = run.successor.setdefault(None, fresh)
        return run


def _text(value: int, pairs: int) -> str:
    return "".join(_PAIRS[(value >> shift) & 1023] for shift in range(10 * (pairs - 1), -1, -10))


def is_ulid(text: str) -> bool:
    """Whether Customer.io would take the text as a ULID: 26 characters of Crockford's base 32."""
    # Some letters outside ASCII have a capital within it.
    return len(text) == 26 and text.isascii() and text[0] <= "7" and _VALID.issuperset(text.upper())


def owner_name() -> str:
    """A name for this process's files, which no other process, container or boot will have again."""
    return f"{os.getpid()}-{os.urandom(8).hex()}"


def dice() -> float:
    """A number in [0, 1) for jitter and sampling; not for secrets."""
    # Not `random`: the application may have seeded it, and forked workers would all wait equally long.
    return (int.from_bytes(os.urandom(7)) >> 3) / (1 << 53)
