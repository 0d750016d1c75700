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
from ..typing import Answer, AsyncTransport, Failure, Transport
from ..wire.outcome import Outcome
from . import flow
from .flow import Flow, Send, Settlement, Sleep, Told
from .limiter import Limiter
from .retry import RetryPolicy

Pause = Callable[[float, Outcome | None], bool]
"""Sleeps so many seconds, because of that outcome or to keep the rate. False: cut short, the process is ending."""
APause = Callable[[float, Outcome | None], Awaitable[bool]]


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
        timeout: Callable[[], float] | None = None,
        lives: Sequence[float] | None = None,
    ) -> Settlement:
        """Deliver entries of one route in this thread. `timeout` gives each attempt's bound anew."""
        decisions = flow.deliver(entries, self.base_url, self.policy, dice, lives)
        settlement = drive(decisions, self, sending, pause, timeout or (lambda: self.timeout))
        self.base_url = settlement.base_url
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
        decisions = flow.deliver(entries, self.base_url, self.policy, dice)
        settlement = await adrive(decisions, self, sending, pause, timeout)
        self.base_url = settlement.base_url
        return settlement


def drive(decisions: Flow, sender: Sender, sending: Sending, pause: Pause, timeout: Callable[[], float]) -> Settlement:
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
                if wait := sender.limiter.reserve(sender.clock.monotonic()):
                    pause(wait, None)
                sender.ledger.note_request(retry=step.resend > 0)
                with sending.attempt(step.request, step.base_url, step.resend) as attempt:
                    answer = attempt.answered(_send(sender.transport, step, timeout()))
            told = Told(sender.clock.monotonic() - started, answer, slept)


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
                if wait := sender.limiter.reserve(sender.clock.monotonic()):
                    await pause(wait, None)
                sender.ledger.note_request(retry=step.resend > 0)
                with sending.attempt(step.request, step.base_url, step.resend) as attempt:
                    answer = attempt.answered(await _asend(sender.async_transport, step, timeout()))
            told = Told(sender.clock.monotonic() - started, answer, slept)


def _send(transport: Transport, step: Send, timeout: float) -> Answer:
    try:
        return transport.send(step.base_url, step.request, timeout)
    except Exception as error:  # noqa: BLE001 - a foreign transport may break its contract; the events must not suffer
        return failure(error)


async def _asend(transport: AsyncTransport, step: Send, timeout: float) -> Answer:  # noqa: ASYNC109 - handed on
    try:
        return await transport.send(step.base_url, step.request, timeout)
    except Exception as error:  # noqa: BLE001 - as above
        return failure(error)


def failure(error: BaseException) -> Failure:
    """An exception as an answer: its name, never its text, which may hold a URL with a person in it."""
    kind = type(error)
    return Failure(f"{kind.__module__}.{kind.__qualname__}")
