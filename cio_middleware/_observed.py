"""
The parts of a client that tell an observer each stage of an event.

They take the place of the plain ones, so that a client that nobody observes does nothing for it, not even a comparison.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from opentelemetry.trace import Span

from ._call_site import call_site, facts
from ._capture import Capture
from ._context import current
from ._dispatch import Dispatch, Packed
from ._events import Entry, Envelope, Event, Kind, Receipt
from ._person import Named
from ._stats import DropReason, Ledger
from .delivery.drive import Pause, Sender, Turn
from .delivery.flow import Settlement
from .typing import Lease, Observer, Queue, Refusal
from .wire.outcome import Outcome
from .wire.verbs import Form

_AFTER_SENDING = frozenset({DropReason.RETRIES_EXHAUSTED, DropReason.UNAUTHORIZED})
_NAMED = frozenset({"event", "screen"})
"""Kinds whose name a developer chose. A page's is its URL, which may hold anything."""


class _Why(threading.local):
    """Why the latest event of this thread was dropped, and whether the observer knows."""

    reason: DropReason | None = None
    told = False


class ObservedLedger(Ledger):
    """Remembers for each thread why it dropped an event: what is dropped at capture says so nowhere else."""

    def __init__(self) -> None:
        self.why = _Why()
        super().__init__()

    def drop(self, reason: DropReason, count: int = 1) -> None:
        """Pending events are given up."""
        self.why.reason = reason
        super().drop(reason, count)


class ObservedCapture(Capture):
    """Tells where each event was captured; for one that was not, why."""

    def __init__(self, observer: Observer, why: _Why, **parts: Any) -> None:
        super().__init__(**parts)
        self._observer = observer
        self._why = why

    def event(
        self,
        kind: Kind,
        name: Any,
        attributes: object,
        person: object,
        anonymous_id: object,
        timestamp: object,
        event_id: str | None,
    ) -> Packed | str | None:
        """Capture an event, a page or a screen."""
        captured, at = None, self._look()
        try:
            captured = super().event(kind, name, attributes, person, anonymous_id, timestamp, event_id)
        finally:
            self._tell(kind, name, captured, at)
        return captured

    def identify(self, named: Named, attributes: object, timestamp: object) -> Packed | None:
        """Capture what is known about a person."""
        captured, at = None, self._look()
        try:
            captured = super().identify(named, attributes, timestamp)
        finally:
            self._tell("identify", None, captured, at)
        return captured

    def verb(self, form: Callable[[str, int], Form], attributes: object) -> Packed | None:
        """Capture what has a form of its own."""
        captured, at = None, self._look()
        kind: Kind = "event"

        def made(event_id: str, seconds: int) -> Form:
            nonlocal kind
            found = form(event_id, seconds)
            kind = found.kind
            return found

        try:
            captured = super().verb(made, attributes)
        finally:
            self._tell(kind, None, captured, at)
        return captured

    def nothing(self) -> None:
        """Count an event whose attributes could not be made."""
        at = self._look()
        super().nothing()
        self._tell("event", None, None, at)

    def _look(self) -> float:
        self._why.reason, self._why.told = None, False
        return self._time()

    def _tell(self, kind: Kind, name: object, captured: Packed | str | None, at: float) -> None:
        why = self._why
        event_id = captured[0].event_id if isinstance(captured, tuple) else captured
        if event_id is None and (why.reason is None or why.told):
            return
        record = {"stage": "captured", "at": at, "call_site": call_site(), **facts(current.get())}
        if event_id is None and why.reason is not None:
            record |= _never_sent(why.reason, kind, name)
        self._observer.note((event_id,), record, urgent=event_id is None)


class ObservedDispatch(Dispatch):
    """Tells whether a backend took an event, and why one never got there."""

    def __init__(
        self,
        observer: Observer,
        why: _Why,
        backend: Any,
        *parts: Any,
        stage: str,
        now: Callable[[], float],
        **options: Any,
    ) -> None:
        super().__init__(backend, *parts, **options)
        self._now = now
        self._observer = observer
        self._why = why
        self._stage = stage
        self._plain_emit, self._plain_aemit = self._emit, self._aemit
        self._emit = self._told_emit
        if self._plain_aemit is not None:
            self._aemit = self._told_aemit

    def pack(
        self, event: Event, captured_at: float, carrier: Any, span: Span | None = None, form: Form | None = None
    ) -> Packed | None:
        """A pending event past the processors; None when it was dropped."""
        packed = None
        try:
            packed = super().pack(event, captured_at, carrier, span, form)
        finally:
            if packed is None:
                reason = self._why.reason or DropReason.CANCELLED
                record = {"at": captured_at, "call_site": call_site(), **facts(current.get())}
                record |= _never_sent(reason, event.kind, event.name)
                self._why.told = True
                self._observer.note((event.event_id,), record, urgent=True)
        return packed

    def _told_emit(self, envelope: Envelope, item: bytes) -> Receipt:
        receipt: Any = None
        try:
            receipt = self._plain_emit(envelope, item)
        finally:
            self._tell(envelope, item, receipt)
        return receipt  # type: ignore[no-any-return]  # a foreign backend may return anything

    async def _told_aemit(self, envelope: Envelope, item: bytes) -> Receipt:
        receipt: Any = None
        try:
            receipt = await self._plain_aemit(envelope, item)
        finally:
            self._tell(envelope, item, receipt)
        return receipt  # type: ignore[no-any-return]  # as above

    def _tell(self, envelope: Envelope, item: bytes, receipt: object) -> None:
        if not isinstance(receipt, Receipt):
            receipt = Receipt(reason=self._why.reason or DropReason.BACKEND_FAILED)
        record: dict[str, Any] = {"at": envelope.captured_at}
        if receipt.reason is None and receipt.settled:
            record |= {"stage": "settled", "at": self._now()}
        elif receipt.reason is None:
            record |= {"stage": self._stage, "queue_depth": receipt.depth}
        elif receipt.reason in _AFTER_SENDING:
            record |= {"stage": "settled", "at": self._now(), "drop_reason": receipt.reason.value}
        else:
            record |= _never_sent(receipt.reason, envelope.kind, _name_in(item))
        self._observer.note((envelope.event_id,), record, urgent=receipt.reason is not None)


class ObservedQueue:
    """A queue that tells how each of its events is settled. All the rest is the queue's own."""

    def __init__(self, queue: Queue, observer: Observer, now: Callable[[], float]) -> None:
        self._queue = queue
        self._observer = observer
        self._now = now
        # Bound once: these are called for every event or every batch.
        self.put, self.lease, self.nack, self.holds = queue.put, queue.lease, queue.nack, queue.holds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    def ack(self, lease: Lease, indexes: Sequence[int]) -> int:
        """These were delivered."""
        held = self._queue.ack(lease, indexes)
        self._tell(lease, indexes, None)
        return held

    def drop(self, lease: Lease, indexes: Sequence[int], reason: DropReason) -> int:
        """Give these up."""
        held = self._queue.drop(lease, indexes, reason)
        self._tell(lease, indexes, reason.value)
        return held

    def dead_letter(self, lease: Lease, index: int, why: Refusal) -> bool:
        """Keep this one aside."""
        held = self._queue.dead_letter(lease, index, why)
        self._tell(lease, (index,), None)
        return held

    def _tell(self, lease: Lease, indexes: Sequence[int], reason: str | None) -> None:
        if indexes:
            record = {"stage": "settled", "at": self._now(), **({} if reason is None else {"drop_reason": reason})}
            self._observer.note([lease.entries[index][0].event_id for index in indexes], record)


class ObservedSender(Sender):
    """Tells each attempt, its answer, and when the next one is due."""

    __slots__ = ("observer",)

    observer: Observer

    def deliver(
        self,
        entries: Sequence[Entry],
        sending: Any,
        pause: Pause,
        *,
        turn: Turn | None = None,
        timeout: Callable[[], float] | None = None,
        lives: Sequence[float] | None = None,
    ) -> Settlement:
        """Deliver entries of one route in this thread."""
        told: Any = _Attempts(self.observer, self.clock.time, entries, sending)

        def observed(seconds: float, because: Outcome | None) -> bool:
            told.pausing(seconds, because)
            return pause(seconds, because)

        options: dict[str, Any] = {} if turn is None else {"turn": turn}
        try:
            return Sender.deliver(self, entries, told, observed, timeout=timeout, lives=lives, **options)
        finally:
            told.tell()

    async def adeliver(
        self,
        entries: Sequence[Entry],
        sending: Any,
        pause: Any,
        *,
        timeout: Callable[[], float],  # noqa: ASYNC109 - not a timeout of this call
    ) -> Settlement:
        """The same, awaited."""
        told: Any = _Attempts(self.observer, self.clock.time, entries, sending)

        async def observed(seconds: float, because: Outcome | None) -> bool:
            told.pausing(seconds, because)
            return bool(await pause(seconds, because))

        try:
            return await Sender.adeliver(self, entries, told, observed, timeout=timeout)
        finally:
            told.tell()


class _Attempts:
    """Stands in the place of a delivery's span: what it does not know of is the span's."""

    def __init__(self, observer: Observer, now: Callable[[], float], entries: Sequence[Entry], sending: Any) -> None:
        self._observer = observer
        self._now = now
        self._ids = [envelope.event_id for envelope, _ in entries]
        self._sending = sending
        self._ids_of_attempt: Sequence[str] = ()
        self._held: dict[str, Any] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sending, name)

    @contextmanager
    def attempt(self, request: Any, base_url: str, resend: int) -> Iterator[_Attempts]:
        """One HTTP request."""
        self.tell()
        ids = self._ids
        if request.count is not None and request.count != len(ids):
            ids = [event_id for event_id in ids if event_id.encode() in request.body]
        self._ids_of_attempt = ids
        self._observer.note(ids, {"stage": f"sent#{resend + 1}", "at": self._now()})
        with self._sending.attempt(request, base_url, resend) as attempt:
            self._attempt = attempt
            yield self

    def answered(self, answer: Any) -> Any:
        """Note the answer, and hand it on."""
        status = getattr(answer, "status", None)
        if status is not None:
            self._observer.met(answer.headers)
        outcome = {"status": status} if status is not None else {"error": answer.error}
        self._held = {"stage": "replied", "at": self._now(), **outcome}
        return self._attempt.answered(answer)

    def pausing(self, seconds: float, because: Outcome | None) -> None:
        """The delivery waits before its next attempt."""
        if self._held is not None and because is not None:
            self._held |= {
                "next_retry_at": self._now() + seconds,
                "breaker": "open" if because.is_for_all else "closed",
            }
        self.tell()

    def tell(self) -> None:
        """Tell the latest answer, if it is not told yet."""
        held, self._held = self._held, None
        if held is not None:
            self._observer.note(self._ids_of_attempt, held)


def _never_sent(reason: DropReason, kind: str, name: object) -> dict[str, Any]:
    record: dict[str, Any] = {"stage": "never_sent", "drop_reason": reason.value, "kind": kind}
    if reason is DropReason.BREAKER_OPEN:
        record["breaker"] = "open"
    if kind in _NAMED and isinstance(name, str):
        record["name"] = name.encode("utf-8", "replace").decode()[:200]
    return record


class _Item(msgspec.Struct):
    name: str = ""

    def __repr__(self) -> str:
        return "_Item(...)"


_read_item = msgspec.json.Decoder(_Item).decode


def _name_in(item: bytes) -> str:
    try:
        return _read_item(item).name
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
