"""
What came when: counts for each second, kept longer than the rows themselves, and the bars that are drawn of them.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Any

from cio_middleware.sandbox.ring import trim
from cio_middleware.sandbox.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cio_middleware.sandbox.rows import RequestRow

SECONDS = 3600
"""Seconds that have counts of their own; older ones are forgotten."""

BARS = 600
RATE_SECONDS = 10
_BYTES = "bytes"


class BadWindow(ValueError):
    """A window that cannot be drawn; the message says what may be typed."""


class Tally:
    """Events of each verdict and bytes received, second by second."""

    def __init__(self) -> None:
        self._seconds: OrderedDict[int, Counter[str]] = OrderedDict()

    def count(self, at: float, verdict: Verdict, by: int) -> None:
        """Count an event, or take it back with -1."""
        second = math.floor(at)
        if by > 0 or second in self._seconds:
            self._second(second)[verdict] += by

    def receive(self, at: float, size: int) -> None:
        """Count the bytes of a request."""
        self._second(math.floor(at))[_BYTES] += size

    def _second(self, second: int) -> Counter[str]:
        if second not in self._seconds:
            self._seconds[second] = Counter()
            trim(self._seconds, SECONDS)
        return self._seconds[second]

    def add(self, other: Tally) -> None:
        """Count all that another one counted."""
        both = {**self._seconds}
        for second, counts in other._seconds.items():
            both[second] = both.get(second, Counter()) + counts
        self._seconds = OrderedDict(sorted(both.items()))
        trim(self._seconds, SECONDS)

    def between(self, first: int, end: int) -> Counter[str]:
        """Return the counts from one second up to another, which is not included."""
        total: Counter[str] = Counter()
        for second in range(first, end):
            total.update(self._seconds.get(second, {}))
        return total


def draw(tally: Tally, requests: Iterable[RequestRow], now: float, window: int, step: int) -> dict[str, Any]:
    """
    Return the bars of a window that ends now.

    Args:
        tally: The counts.
        requests: Newest first; how long they took is read from those that are kept.
        now: Unix seconds.
        window: Seconds.
        step: Seconds of each bar, which begins at a multiple of it.

    Raises:
        BadWindow: when there would be no bar, or too many.
    """
    if not 1 <= step <= window <= SECONDS or window > step * BARS:
        raise BadWindow(
            f"window={window}&step={step} draws no bars. "
            f"Type a window up to {SECONDS} and a step that makes 1 to {BARS} bars of it"
        )
    end = (math.floor(now) // step + 1) * step
    first = end - window // step * step
    bars = []
    for start in range(first, end, step):
        counts = tally.between(start, start + step)
        bars.append({"at": start, **{str(verdict): counts[verdict] for verdict in Verdict}, "bytes": counts[_BYTES]})
    recent = tally.between(math.floor(now) - RATE_SECONDS + 1, math.floor(now) + 1)
    took = sorted(_since(requests, first))
    return {
        "step": step,
        "from": first,
        "to": end,
        "bars": bars,
        "rate": round((recent.total() - recent[_BYTES]) / RATE_SECONDS, 2),
        "p50_ms": _share(took, 0.50),
        "p95_ms": _share(took, 0.95),
        "bytes": sum(bar["bytes"] for bar in bars),
    }


def _since(requests: Iterable[RequestRow], first: int) -> Iterable[float]:
    for row in requests:
        if row.received_at < first:
            return
        yield row.took_ms


def _share(ordered: list[float], share: float) -> float | None:
    """Return the smallest value that so large a share of all does not exceed."""
    return ordered[math.ceil(len(ordered) * share) - 1] if ordered else None
