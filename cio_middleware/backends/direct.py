"""
Deliver an event before `track()` returns, with a few retries inside one deadline.

For scripts, serverless functions and whoever must know at once. On an event loop's thread a sync verb cannot wait, so
its event goes to a small queue of its own; `await client.atrack(...)` waits without blocking the loop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from .._events import Envelope, Receipt
from .._fork import WATCH
from .._ids import Clock
from .._notices import Notices
from .._stats import DropReason, Ledger
from .._telemetry import Sending, Telemetry
from ..delivery.breaker import Breaker
from ..delivery.drive import Sender
from ..delivery.flow import Settlement
from ..exceptions import DeliveryError, RateLimited, Rejected, ServerUnavailable, TransportFailure, Unauthorized
from ..queues.memory import DeadLetters
from ..transports.http import time_left
from ..wire.outcome import Outcome, Verdict
from ._courier import denied
from .queued import QueuedBackend, on_a_loop


class DirectBackend:
    """Settles an event within `Settings.timeout`, or gives it up."""

    settles = True

    def __init__(
        self,
        sender: Sender,
        *,
        aside: Callable[[], QueuedBackend],
        ledger: Ledger,
        clock: Clock,
        notices: Notices,
        telemetry: Telemetry,
        dead_letters: DeadLetters,
    ) -> None:
        self._sender = sender
        self._make_aside = aside
        self._aside: QueuedBackend | None = None
        self._ledger = ledger
        self._clock = clock
        self._notices = notices
        self._telemetry = telemetry
        self.dead_letters = dead_letters
        self._breaker = Breaker()
        self.after_fork()
        for part in (self, self._breaker):
            WATCH.add(part)

    def after_fork(self) -> None:
        """A child's lock must not be one that its parent held."""
        self._lock = threading.RLock()
        self._sending = threading.local()

    def emit(self, envelope: Envelope, item: bytes) -> Receipt:
        """Deliver the event; on an event loop's thread, or inside another delivery, have it delivered."""
        if on_a_loop():
            self._notices.trouble(
                "direct", "loop",
                "track() was called on an event loop's thread, which must not wait: a helper thread delivers. "
                "Await client.atrack(...) instead, or use the queued backend.",
            )  # fmt: skip
            return self._queue().emit(envelope, item)
        if getattr(self._sending, "busy", False) or (self._aside is not None and self._aside.is_delivering()):
            # A signal handler or a hook, in the middle of a delivery: this very thread may hold the connection pool's
            # lock.
            return self._queue().emit(envelope, item)
        if not self._breaker.admits(self._clock.monotonic()):
            return self._refused_by_breaker(envelope)
        left = self._countdown()

        def pause(seconds: float, because: Outcome | None) -> bool:
            del because
            if seconds >= left():
                return False
            self._clock.sleep(seconds)
            return True

        self._sending.busy = True
        try:
            with self._telemetry.send_one(envelope.event_id, envelope.kind) as sending:
                settlement = self._sender.deliver([(envelope, item)], sending, pause, timeout=left)
                return self._settle(envelope, item, settlement, sending)
        except BaseException:
            self._ledger.drop(DropReason.CANCELLED)
            raise
        finally:
            self._sending.busy = False

    async def aemit(self, envelope: Envelope, item: bytes) -> Receipt:
        """The same, awaited."""
        if time_left() is not None:
            # A hook of the client: to await another delivery in the middle of this one would have no end.
            return self._queue().emit(envelope, item)
        if not self._breaker.admits(self._clock.monotonic()):
            return self._refused_by_breaker(envelope)
        left = self._countdown()

        async def pause(seconds: float, because: Outcome | None) -> bool:
            import asyncio

            del because
            if seconds >= left():
                return False
            await asyncio.sleep(seconds)
            return True

        try:
            with self._telemetry.send_one(envelope.event_id, envelope.kind) as sending:
                settlement = await self._sender.adeliver([(envelope, item)], sending, pause, timeout=left)
                return self._settle(envelope, item, settlement, sending)
        except BaseException:
            self._ledger.drop(DropReason.CANCELLED)
            raise

    def flush(self, timeout: float) -> bool:
        """Wait for events that a helper thread delivers."""
        return self._aside is None or self._aside.flush(timeout)

    def purge(self, who: bytes) -> None:
        """Send nothing of whom these identifiers name that a helper thread still holds."""
        if self._aside is not None:
            self._aside.purge(who)

    def close(self, timeout: float) -> None:
        """The same, and give connections back."""
        if self._aside is not None:
            self._aside.close(timeout)
        else:
            self._sender.transport.close()

    async def aclose(self) -> None:
        """Give this loop's connections back."""
        await self._sender.async_transport.close()

    def _refused_by_breaker(self, envelope: Envelope) -> Receipt:
        message = f"event {envelope.event_id} was not sent: Customer.io failed several times in a row."
        error = ServerUnavailable(message, event_ids=(envelope.event_id,))
        return Receipt(reason=DropReason.BREAKER_OPEN, error=error)

    def _queue(self) -> QueuedBackend:
        with self._lock:
            if self._aside is None:
                self._aside = self._make_aside()
            return self._aside

    def _countdown(self) -> Callable[[], float]:
        """What is left of the whole delivery's time, for each attempt."""
        end = self._clock.monotonic() + self._sender.timeout
        return lambda: max(0.05, end - self._clock.monotonic())

    def _settle(self, envelope: Envelope, item: bytes, settlement: Settlement, sending: Sending) -> Receipt:
        down = bool(settlement.exhausted) and settlement.given_up_for is DropReason.RETRIES_EXHAUSTED
        self._breaker.note(self._clock.monotonic(), failed=down)
        if settlement.delivered:
            self._ledger.deliver()
            self._notices.fine("delivery", "%s takes events again", settlement.base_url)
            return Receipt(settled=True)
        last = settlement.last or Outcome(Verdict.BUSY)
        error = _error(envelope.event_id, settlement, last)
        if settlement.refused:
            self.dead_letters.add((envelope, item), settlement.refused[0])
            sending.failed("rejected", 1)
            message = "Customer.io refused event %s: client.dead_letters says why"
            self._notices.trouble("refused", "refused", message, envelope.event_id)
            return Receipt(reason=None, settled=True, error=error)
        reason = settlement.given_up_for
        self._ledger.drop(reason)
        sending.failed(last.error, 1)
        if last.verdict is Verdict.DENIED:
            self._notices.trouble("delivery", last.error, "%s", denied(last, settlement.base_url, kept=False))
        else:
            self._notices.trouble("delivery", last.error, "%s", error)
        return Receipt(reason=reason, settled=True, error=error)


def _error(event_id: str, settlement: Settlement, last: Outcome) -> DeliveryError:
    kind: type[DeliveryError]
    if settlement.refused:
        kind, what = Rejected, "Customer.io refused the event itself; its reason is kept with the dead letter"
    elif last.verdict is Verdict.DENIED and last.status is None:
        kind, what = TransportFailure, "the server's certificate could not be verified, so nothing was sent"
    elif last.verdict is Verdict.DENIED:
        kind, what = Unauthorized, "Customer.io refused the credentials or the address"
    elif last.status == 429:
        kind, what = RateLimited, "Customer.io asks to slow down, for longer than this delivery may take"
    elif last.status is not None:
        kind, what = ServerUnavailable, "Customer.io is not taking events"
    else:
        kind, what = TransportFailure, "no answer from Customer.io"
    attempts = settlement.attempts
    message = f"event {event_id} was not delivered after {attempts} attempt(s): {what} ({last.error})."
    error = kind(message, event_ids=(event_id,), status=last.status, attempts=attempts)
    if isinstance(error, RateLimited):
        error.retry_after = last.retry_after
    return error
