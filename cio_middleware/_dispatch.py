"""
The last steps of a capture: processors, the item's bytes, the backend, and the books.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from opentelemetry.trace import Span

from . import _telemetry
from ._context import current
from ._events import ALL_LANES, Entry, Envelope, Event, Receipt, Route
from ._notices import Notices
from ._stats import DropReason, Ledger
from .exceptions import EventTooLarge, InvalidEvent
from .typing import Backend, Processor
from .wire import limits, track, verbs

_HINTS = {
    DropReason.QUEUE_FULL: (
        "the queue is full: raise max_queue_events and max_queue_bytes, or the spool's spool_max_bytes,"
        " or see why Customer.io is not taking events"
    ),
    DropReason.SPOOL_FAILED: (
        "the spool cannot be written to, and what may be held in memory is full, or nothing with on_spool_error=reject:"
        " see the line about the spool, and make spool_dir writable"
    ),
    DropReason.NO_IDENTITY: "nobody is known: pass person=, call identify(), or give the middleware person=",
    DropReason.CLOSED: "the client is closed",
    DropReason.NESTED: "a hook captures our own calls, and each would lead to another: leave them out",
    DropReason.BREAKER_OPEN: "Customer.io failed several times in a row, and is asked again every half minute",
}
_SILENT = frozenset({
    DropReason.DISABLED, DropReason.PROCESSOR, DropReason.PROCESSOR_FAILED, DropReason.SAMPLED, DropReason.NO_CONSENT,
    DropReason.BACKEND_FAILED,
})  # fmt: skip
"""Reasons that somebody asked for, or that are said elsewhere."""
_LANGUAGE = frozenset({"builtins", "cio_middleware"})


Packed = tuple[Envelope, bytes, Span | None]
"""An event as a queue takes it, and the span of its capture."""


class Dispatch:
    """
    Sends pending events on; whatever happens to one, the ledger knows.

    `processors` look at each event first. An item of up to `batched` bytes travels with others.
    """

    def __init__(
        self,
        backend: Backend,
        processors: Sequence[Processor],
        ledger: Ledger,
        notices: Notices,
        *,
        anonymous_via: str,
        max_event_bytes: int,
        raises: bool,
        debug: bool,
    ) -> None:
        self._backend = backend
        self._settles = bool(getattr(backend, "settles", False))
        self._emit = backend.emit
        self._aemit: Any = getattr(backend, "aemit", None)
        self.processors = tuple(processors)
        self._processing = threading.local()
        self._ledger = ledger
        self._notices = notices
        self._anonymous_via = anonymous_via
        self._max_event_bytes = max_event_bytes
        self.batched = min(limits.ITEM_BYTES, max_event_bytes)
        self._raises = raises
        self._debug = debug

    def send(self, envelope: Envelope, item: bytes, span: Span | None = None) -> str | None:
        """Send a packed event. Returns its id, or None when it was dropped."""
        try:
            try:
                receipt = self._emit(envelope, item)
            except BaseException as error:  # noqa: BLE001 - see _interrupted
                receipt = self._interrupted(error)
            if type(receipt) is Receipt and receipt.reason is None and receipt.error is None and self._settles:
                return envelope.event_id  # nearly every event ends here
            return self._finish(envelope, receipt, span)
        finally:
            if span is not None:
                _telemetry.end(span)

    async def asend(self, envelope: Envelope, item: bytes, span: Span | None = None) -> str | None:
        """The same; awaits a backend that delivers while one waits."""
        if self._aemit is None:
            return self.send(envelope, item, span)
        try:
            try:
                receipt = await self._aemit(envelope, item)
            except BaseException as error:  # noqa: BLE001 - see _interrupted
                receipt = self._interrupted(error)
            return self._finish(envelope, receipt, span)
        finally:
            if span is not None:
                _telemetry.end(span)

    def pack(
        self, event: Event, captured_at: float, carrier: Any, span: Span | None = None, form: verbs.Form | None = None
    ) -> Packed | None:
        """
        A pending event whose person is settled, past the processors and as a queue takes it; None when it was dropped.

        `form` is what the item is made in, if it is not an event's.
        """
        packed = None
        try:
            if form is None and event.identity is None and event.anonymous_id is None:
                self.drop(DropReason.NO_IDENTITY, span)
                return None
            processed = self._process(event) if self.processors and event.attributes_json else event
            if isinstance(processed, DropReason):
                self.drop(processed, span)
                return None
            packed = (*self._entry(processed, captured_at, carrier, form), span)
        except InvalidEvent as error:
            self.invalid(error, span)
        except Exception as error:  # noqa: BLE001 - a processor may have put anything into the event's fields
            self.unexpected(error, span)
        except BaseException:
            self._ledger.drop(DropReason.CANCELLED)
            raise
        finally:
            if packed is None and span is not None:
                _telemetry.end(span)
        return packed

    def drop(self, reason: DropReason, span: Span | None = None) -> None:
        """Give a pending event up."""
        self._ledger.drop(reason)
        if span is not None:
            _telemetry.dropped(span, reason)
        if reason not in _SILENT:
            hint = _HINTS.get(reason)
            if reason is DropReason.NO_IDENTITY and current.get() is None:
                hint = "outside of a request nobody is known: pass person=, or install CustomerIOMiddleware"
            self._notices.trouble(f"drop {reason}", reason, "an event was dropped (%s): %s", reason, hint)

    def invalid(self, error: InvalidEvent, span: Span | None = None) -> None:
        """
        Give a pending event up because Customer.io would refuse or misread it.

        Raises:
            InvalidEvent: the error itself, with `debug`.
        """
        reason = DropReason.EVENT_TOO_LARGE if isinstance(error, EventTooLarge) else DropReason.INVALID_EVENT
        self._ledger.drop(reason)
        if span is not None:
            _telemetry.dropped(span, reason)
        if self._debug:
            raise error
        self._notices.trouble(f"drop {reason}", str(error), "an event was dropped (%s): %s", reason, error)

    def unexpected(self, error: Exception, span: Span | None = None) -> None:
        """Give a pending event up for an exception that nobody foresaw; says where it came from."""
        self.invalid(InvalidEvent(f"the event could not be captured: {type(error).__name__}{_where(error)}."), span)

    def _entry(self, event: Event, captured_at: float, carrier: Any, form: verbs.Form | None) -> Entry:
        if form is not None:
            item = form.item(event.attributes_json)
            limits.check_size(len(item), self.batched, form.kind)
            return Envelope(event.event_id, form.kind, form.route, form.lane, captured_at, carrier), item
        who = track.identifiers(event.identity, event.anonymous_id)
        item = track.item(event, who)
        route: Route = "batch"
        if len(item) > self.batched or event.identity is None:
            route = track.route(event, len(item), self._anonymous_via, self._max_event_bytes)
        links = event.kind == "identify" and event.identity is not None and event.anonymous_id is not None
        lane = ALL_LANES if links else track.lane(who)
        return Envelope(event.event_id, event.kind, route, lane, captured_at, carrier), item

    def _process(self, event: Event) -> Event | DropReason:
        if getattr(self._processing, "busy", False):
            # A processor that captures events would otherwise be called for its own, for ever.
            self._notices.trouble("processor", "nested", "a processor captured an event: such events are dropped")
            return DropReason.PROCESSOR_FAILED
        self._processing.busy = True
        try:
            for processor in self.processors:
                try:
                    processed = processor(event)
                except Exception as error:  # noqa: BLE001 - the application's; it may have been there to redact
                    self._processor_failed(processor, f"raised {type(error).__name__}")
                    return DropReason.PROCESSOR_FAILED
                if processed is None or isinstance(processed, DropReason):
                    return processed or DropReason.PROCESSOR
                if not isinstance(processed, Event):
                    self._processor_failed(
                        processor, f"returned a {type(processed).__name__}, no Event, reason or None"
                    )
                    return DropReason.PROCESSOR_FAILED
                event = processed
            return event
        finally:
            self._processing.busy = False

    def _finish(self, envelope: Envelope, receipt: object, span: Span | None) -> str | None:
        if not isinstance(receipt, Receipt):
            receipt = self._backend_failed(f"returned a {type(receipt).__name__}, no Receipt")
        if receipt.reason is None:
            if not self._settles:
                self._ledger.forward()
        elif not receipt.settled:
            self.drop(receipt.reason, span)
        if receipt.error is not None and self._raises:
            raise receipt.error
        return envelope.event_id if receipt.reason is None else None

    def _interrupted(self, error: BaseException) -> Receipt:
        """
        What `emit` raised, as a receipt. Our own backends have accounted for the event by then.

        Raises:
            BaseException: what is the application's own, such as an interrupt, or an exception from a signal handler.
        """
        foreign = type(error).__module__.partition(".")[0] not in _LANGUAGE
        if self._settles:
            if foreign or not isinstance(error, Exception):
                raise error
            self._backend_failed(f"raised {type(error).__name__}{_where(error)}")
            return Receipt(reason=DropReason.BACKEND_FAILED, settled=True)
        if not isinstance(error, Exception):
            self._ledger.drop(DropReason.CANCELLED)
            raise error
        return self._backend_failed(f"raised {type(error).__name__}")

    def _processor_failed(self, processor: Processor, what: str) -> None:
        name = getattr(processor, "__qualname__", type(processor).__qualname__)
        self._notices.trouble("processor", f"{name} {what}", "processor %s %s: its events are dropped", name, what)

    def _backend_failed(self, what: str) -> Receipt:
        backend = type(self._backend).__name__
        self._notices.trouble("backend", what, "backend %s %s from emit(): its events are dropped", backend, what)
        return Receipt(reason=DropReason.BACKEND_FAILED)


def _where(error: BaseException) -> str:
    """File and line that an exception came from; never its text, which may hold a value."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None:
        return ""
    return f" at {last.tb_frame.f_code.co_filename.rpartition('/')[2]}:{last.tb_lineno}"
