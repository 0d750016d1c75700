"""
Decide what happens to a batch, without doing any of it.

`deliver` is a generator: it yields `Send` and `Sleep`, is told what came of them, and returns a `Settlement`. No
clock, no socket, no thread lives here, so every rule is a table in ``tests/unit/delivery/test_flow.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

from .._events import Entry
from .._stats import DropReason
from ..typing import Answer, Refusal, Request
from ..wire import track
from ..wire.outcome import Outcome, Verdict, read
from .retry import RetryPolicy


@dataclass(frozen=True, slots=True)
class Send:
    """Make this request. `resend` counts the earlier attempts with the same body."""

    request: Request
    base_url: str
    resend: int


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait this long because of that outcome; may be cut short when the process ends."""

    seconds: float
    because: Outcome


@dataclass(frozen=True, slots=True)
class Told:
    """
    What came of a step: the answer to a `Send`, or whether a `Sleep` lasted; `elapsed` is since the delivery began.
    """

    elapsed: float
    answer: Answer | None = None
    slept: bool = True


@dataclass(slots=True)
class Settlement:
    """
    What became of each entry, by its place in the batch; every place is in exactly one column.

    `refused` gives Customer.io's reason. `exhausted` were given up, `released` go back to the queue.
    """

    base_url: str
    delivered: list[int] = field(default_factory=list)
    refused: dict[int, Refusal] = field(default_factory=dict, repr=False)
    expired: list[int] = field(default_factory=list)
    exhausted: list[int] = field(default_factory=list)
    released: list[int] = field(default_factory=list)
    attempts: int = 0
    retries: int = 0
    last: Outcome | None = None

    @property
    def given_up_for(self) -> DropReason:
        """Why `exhausted` were given up."""
        # A certificate that is not believed (no status) says nothing about the credentials, which were not shown.
        denied = self.last is not None and self.last.verdict is Verdict.DENIED and self.last.status is not None
        return DropReason.UNAUTHORIZED if denied else DropReason.RETRIES_EXHAUSTED

    @property
    def failed(self) -> int:
        """How many will never be delivered."""
        return len(self.refused) + len(self.expired) + len(self.exhausted)


Flow = Generator[Send | Sleep, Told, Settlement]


def deliver(
    entries: Sequence[Entry],
    base_url: str,
    policy: RetryPolicy,
    dice: Callable[[], float],
    lives: Sequence[float] | None = None,
) -> Flow:
    """
    Deliver entries of one route.

    Args:
        entries: Oldest first.
        base_url: Where to send; a redirect between Customer.io's own hosts changes it for good (`Settlement.base_url`).
        policy: When to try again, and when to give up.
        dice: Returns a number in [0, 1) for jitter.
        lives: Seconds that each entry may still wait for its delivery; None for ever.
    """
    delivery = _Delivery(entries, policy, dice, lives, Settlement(base_url))
    parts = [list(range(len(entries)))]
    while parts:
        part = parts.pop()
        outcome = yield from delivery.attempt(part)
        if outcome is None:
            delivery.leave([index for left in parts for index in left])
            break
        if outcome.verdict is Verdict.TAKEN:
            delivery.take(part, outcome)
        elif len(part) == 1:
            delivery.settlement.refused[part[0]] = outcome.refused.get(0, Refusal(outcome.error))
        elif part:
            # One of these is at fault; halving finds it in about 2 log2(n) requests and delivers the others in order.
            middle = len(part) // 2
            parts += [part[middle:], part[:middle]]
    return delivery.settlement


class _Delivery:
    """The state of one delivery."""

    def __init__(
        self,
        entries: Sequence[Entry],
        policy: RetryPolicy,
        dice: Callable[[], float],
        lives: Sequence[float] | None,
        settlement: Settlement,
    ) -> None:
        self._entries = entries
        self._policy = policy
        self._dice = dice
        self._lives = lives
        self._moved = False
        self._keep = policy.attempts is None
        self.settlement = settlement
        self.elapsed = 0.0

    def attempt(self, part: list[int]) -> Generator[Send | Sleep, Told, Outcome | None]:
        """
        Send until an answer settles the part; None when nothing more will be sent. Takes expired places out of `part`.
        """
        failures = 0
        while True:
            self._expire(part)
            if not part:
                return Outcome(Verdict.TAKEN)
            outcome = yield from self._send(part, failures)
            if outcome.verdict in {Verdict.TAKEN, Verdict.REFUSED, Verdict.TOO_LARGE}:
                return outcome
            failures += 1
            if outcome.verdict is Verdict.MOVED and outcome.base_url:
                self.settlement.base_url = outcome.base_url
                continue
            seconds = self._policy.wait(outcome, failures, self.elapsed, self._dice())
            if seconds is None:
                self.leave(part)
                return None
            told = yield Sleep(seconds, outcome)
            self.elapsed = told.elapsed
            if not told.slept:
                self._keep = True
                self.leave(part)
                return None

    def _send(self, part: list[int], failures: int) -> Generator[Send | Sleep, Told, Outcome]:
        try:
            request = track.request([self._entries[index] for index in part])
        except Exception as error:  # noqa: BLE001 - an item that a queue gave back damaged; halving finds it
            return Outcome(Verdict.REFUSED, error=f"no request can be made of it: {type(error).__name__}")
        base_url = self.settlement.base_url
        told = yield Send(request, base_url, failures)
        assert told.answer is not None  # noqa: S101 - the drivers answer every Send
        self.elapsed = told.elapsed
        self.settlement.attempts += 1
        self.settlement.retries += failures > 0
        outcome = read(told.answer, base_url, request.count)
        if outcome.verdict is Verdict.MOVED:
            if self._moved:
                # Sent to and fro: nobody owns this workspace. Keep everything and probe.
                outcome = Outcome(Verdict.DENIED, outcome.status, outcome.error)
            self._moved = True
        self.settlement.last = outcome
        return outcome

    def take(self, part: list[int], outcome: Outcome) -> None:
        for place, index in enumerate(part):
            if (why := outcome.refused.get(place)) is None:
                self.settlement.delivered.append(index)
            else:
                self.settlement.refused[index] = why

    def leave(self, indexes: list[int]) -> None:
        """Nothing more is sent for these: back to the queue if somebody keeps them, else given up."""
        (self.settlement.released if self._keep else self.settlement.exhausted).extend(indexes)

    def _expire(self, part: list[int]) -> None:
        # Each batch is tried once, whatever its age: a clock that was set forward must not throw it away.
        if self._lives is None or self.settlement.attempts == 0:
            return
        late = [index for index in part if self.elapsed > self._lives[index]]
        if late:
            self.settlement.expired += late
            part[:] = [index for index in part if index not in late]
