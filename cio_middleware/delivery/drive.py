"""
The only two loops that act on what `flow` decides: one for threads, one for event loops.

Spans are opened here and not in the flow: a span held across a `yield` could be detached in another context.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

from .._events import Entry
from .._ids import Clock, dice
from .._stats import Ledger
from .._telemetry import Sending
from ..typing import AsyncTransport, Failure, Transport
from ..wire.outcome import Outcome
from . import flow
from .flow import Flow, Settlement, Sleep, Told
from .limiter import Limiter
from .retry import RetryPolicy

_NO_TIME = Failure("rate_limit")
"""The answer to a request whose turn would come after the delivery must be over."""

Pause = Callable[[float, Outcome | None], bool]
"""Sleeps so many seconds, because of that outcome or to keep the rate. False: cut short, or too long to begin."""
Turn = Callable[[bool], bool]
"""Waits until a request may be made; told whether it is a repeat. False: there is no time for it."""
APause = Callable[[float, Outcome | None], Awaitable[bool]]


def _at_once(_: bool) -> bool:  # noqa: FBT001 - a `Turn`
    return True


@dataclass(slots=True)
class Sender:
    """
    Everything a delivery needs, shared by the deliveries of one client.

    `base_url` follows Customer.io's redirect to the workspace's region, once for all. `timeout` bounds one attempt, in
    seconds.
    """

    base_url: str
    transport: Transport
    async_transport: AsyncTransport
    policy: RetryPolicy
    limiter: Limiter
    clock: Clock
    ledger: Ledger
    timeout: float

    def deliver(
        self,
        entries: Sequence[Entry],
        sending: Sending,
        pause: Pause,
        *,
        turn: Turn = _at_once,
        timeout: Callable[[], float] | None = None,
        lives: Sequence[float] | None = None,
    ) -> Settlement:
        """Deliver entries of one route in this thread. `timeout` gives each attempt's bound anew."""
        base_url = self.base_url
        decisions = flow.deliver(entries, base_url, self.policy, dice, lives)
        settlement = drive(decisions, self, sending, pause, turn, timeout or (lambda: self.timeout))
        self._follow(base_url, settlement)
        return settlement

    async def adeliver(
        self,
        entries: Sequence[Entry],
        sending: Sending,
        pause: APause,
        *,
        timeout: Callable[[], float],  # noqa: ASYNC109 - not a timeout of this call
    ) -> Settlement:
        """The same, awaited."""
        base_url = self.base_url
        decisions = flow.deliver(entries, base_url, self.policy, dice)
        settlement = await adrive(decisions, self, sending, pause, timeout)
        self._follow(base_url, settlement)
        return settlement

    def _follow(self, began_at: str, settlement: Settlement) -> None:
        # Only who was sent elsewhere: another delivery, begun before that, would take everybody back.
        if settlement.base_url != began_at:
            self.base_url = settlement.base_url


def drive(
    decisions: Flow, sender: Sender, sending: Sending, pause: Pause, turn: Turn, timeout: Callable[[], float]
) -> Settlement:
    """Run a delivery."""
    started, told = sender.clock.monotonic(), None
    with closing(decisions):
        while True:
            try:
                step = decisions.send(told)  # type: ignore[arg-type]  # None starts a generator
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            answer, slept = None, True
            if isinstance(step, Sleep):
                slept = pause(step.seconds, step.because)
            else:
                if not turn(step.resend > 0) or not _in_time(sender, pause):
                    told = Told(sender.clock.monotonic() - started, _NO_TIME)
                    continue
                sender.ledger.note_request(retry=step.resend > 0)
                with sending.attempt(step.request, step.base_url, step.resend) as attempt:
                    answer = attempt.answered(sender.transport.send(step.base_url, step.request, timeout()))
            told = Told(sender.clock.monotonic() - started, answer, slept)


def _in_time(sender: Sender, pause: Pause) -> bool:
    wait = sender.limiter.reserve(sender.clock.monotonic())
    return not wait or pause(wait, None)


async def adrive(
    decisions: Flow,
    sender: Sender,
    sending: Sending,
    pause: APause,
    timeout: Callable[[], float],  # noqa: ASYNC109 - not a timeout of this call
) -> Settlement:
    """The same, awaited."""
    started, told = sender.clock.monotonic(), None
    with closing(decisions):
        while True:
            try:
                step = decisions.send(told)  # type: ignore[arg-type]  # None starts a generator
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            answer, slept = None, True
            if isinstance(step, Sleep):
                slept = await pause(step.seconds, step.because)
            else:
                wait = sender.limiter.reserve(sender.clock.monotonic())
                if wait and not await pause(wait, None):
                    told = Told(sender.clock.monotonic() - started, _NO_TIME)
                    continue
                sender.ledger.note_request(retry=step.resend > 0)
                with sending.attempt(step.request, step.base_url, step.resend) as attempt:
                    answer = attempt.answered(await sender.async_transport.send(step.base_url, step.request, timeout()))
            told = Told(sender.clock.monotonic() - started, answer, slept)
