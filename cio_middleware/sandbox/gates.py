"""
Faults that go by the clock: a token bucket, a service that flaps, and a Retry-After that names a date.
"""

from __future__ import annotations

import math
from email.utils import formatdate


class Bucket:
    """
    A token bucket: full at first, and filled again at a steady rate.

    Args:
        rate: Tokens a second.
        burst: Tokens that it holds.
        now: The time, in seconds.
    """

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._at = now

    def take(self, now: float) -> float:
        """Take a token and return 0, or return the seconds until there is one."""
        self._tokens = min(self._burst, self._tokens + max(now - self._at, 0.0) * self._rate)
        self._at = now
        # A hair less than a whole token is one: sums of binary fractions fall short.
        if self._tokens >= 1 - 1e-9:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._rate


def is_down(up_s: float, down_s: float, elapsed: float) -> bool:
    """Return True in the second part of each period: up for so long, then down for so long, and again."""
    return elapsed % (up_s + down_s) >= up_s


def retry_after(hint: str, wait: float, now: float) -> dict[str, str]:
    """
    Return the header that asks to come back after so many seconds, never earlier.

    Args:
        hint: ``seconds``, ``date``, or ``none`` for no header.
        wait: Seconds from now.
        now: Unix seconds.
    """
    if hint == "none":
        return {}
    return {
        "Retry-After": str(math.ceil(wait)) if hint == "seconds" else formatdate(math.ceil(now + wait), usegmt=True)
    }
