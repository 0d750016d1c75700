"""
When to try again. Data in, data out: the dice are an argument.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..wire.outcome import Outcome, Verdict


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """
    Full jitter between 0 and min(cap, base * 2**attempt), never earlier than the server asked.

    A refused key or a wrong address is not retried but probed: once a minute, then every ten. `attempts` and `budget`
    (in seconds, for the whole delivery) bound a delivery that somebody waits for; None lets it go on until its events
    expire.
    """

    base: float = 1.0
    cap: float = 10.0
    attempts: int | None = None
    budget: float | None = None
    probe: float = 60.0
    probe_cap: float = 600.0

    def delay(self, attempt: int, retry_after: float | None, dice: float) -> float:
        """Seconds to wait after the `attempt`-th failure (from 0)."""
        # Beyond 2**32 the cap decides anyway, and an outage of days must not compute ever larger powers.
        backoff = dice * min(self.cap, self.base * 2.0 ** min(attempt, 32))
        if retry_after is None:
            return backoff
        # A tenth of jitter on top, so that many processes told the same second do not come back in it.
        return max(retry_after * (1 + dice / 10), backoff)

    def wait(self, outcome: Outcome, failures: int, elapsed: float, dice: float) -> float | None:
        """
        Seconds to wait before the next attempt; None when there is none.

        Args:
            outcome: What the latest attempt came to.
            failures: Attempts that failed so far, this one included.
            elapsed: Seconds since the delivery began.
            dice: A number in [0, 1).
        """
        if outcome.verdict is Verdict.DENIED:
            if self.attempts is not None:
                return None
            return min(self.probe_cap, self.probe * 2.0 ** min(failures - 1, 16))
        if self.attempts is not None and failures > self.attempts:
            return None
        seconds = self.delay(failures - 1, outcome.retry_after, dice)
        if self.budget is not None and elapsed + seconds >= self.budget:
            return None
        return seconds
