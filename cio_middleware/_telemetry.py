"""
Spans of capture and delivery, on opentelemetry-api alone.

Without an SDK every call here is a no-op that costs less than encoding the event. A span never holds a person, an
attribute of an event or a key; the event's name is on `create` spans because developers choose it. A page's is its URL,
which may hold anything, and stays out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from opentelemetry import baggage, context, trace
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TracerProvider

from . import _semconv as names
from ._events import Entry, Event
from ._metrics import Metrics
from ._stats import DropReason

MAX_LINKS = 128  # an SDK keeps this many, and drops the oldest after it has paid for all

# Underscored in the API, yet the one key that HTTP instrumentations look at; absent in some versions.
_SUPPRESS_HTTP = getattr(context, "_SUPPRESS_HTTP_INSTRUMENTATION_KEY", "suppress_http_instrumentation")
_Attributes = dict[str, str | int]


class Telemetry:
    """The spans of one client."""

    def __init__(
        self,
        *,
        base_url: str,
        region: str,
        backend: str,
        create_spans: bool,
        metrics: Metrics,
        monotonic: Callable[[], float],
        tracer_provider: TracerProvider | None = None,
    ) -> None:
        self._metrics = metrics
        self._monotonic = monotonic
        self._tracer = trace.get_tracer(names.SCOPE, names.VERSION, tracer_provider, names.SCHEMA_URL)
        self._create_spans = create_spans
        self._may_appear = tracer_provider is None
        self.nothing_at = -1
        """The second for which it is known that nothing records, so that `create` need not be asked."""
        common: _Attributes = {
            names.SYSTEM: "customerio",
            names.DESTINATION: "track",
            names.BACKEND: backend,
            names.REGION: region,
            **_server(base_url),
        }
        self._create: _Attributes = {**common, names.OPERATION_NAME: "create", names.OPERATION_TYPE: "create"}
        self._send: _Attributes = {**common, names.OPERATION_NAME: "send", names.OPERATION_TYPE: "send"}

    def create(self, event: Event, now: float) -> tuple[Span | None, SpanContext | None]:
        """
        The span of a capture at `now` (Unix seconds), and what a later send links to: that span, else the caller's.

        Both are None where nothing records.
        """
        if int(now) == self.nothing_at:
            return None, None
        if not self._create_spans:
            return None, _valid(trace.get_current_span())
        attributes = {**self._create, names.MESSAGE_ID: event.event_id, names.EVENT_TYPE: event.kind}
        if event.name and event.kind != "page":
            attributes[names.EVENT_NAME] = event.name
        span = _start(self._tracer, "create track", None, SpanKind.PRODUCER, attributes)
        carrier = _valid(span)
        if self._may_appear and carrier is None:
            # No SDK so far. A no-op span costs as much as the rest of a capture, so look again only every second.
            self.nothing_at = int(now)
        return span, carrier

    def send_one(self, event_id: str, kind: str) -> Sending:
        """The span of a direct send, a child of the caller's."""
        attributes = {**self._send, names.MESSAGE_ID: event_id, names.EVENT_TYPE: kind}
        return self._sending(SpanKind.PRODUCER, None, attributes, ())

    def send_queued(self, entries: Sequence[Entry]) -> Sending:
        """The span of queued events: a root of its own, linked to the captures."""
        first = entries[0][0]
        if first.route == "single":
            attributes = {**self._send, names.MESSAGE_ID: first.event_id, names.EVENT_TYPE: first.kind}
        else:
            attributes = {**self._send, names.BATCH_COUNT: len(entries)}
        links, left_out = _links(entries)
        if left_out:
            attributes[names.LINKS_DROPPED] = left_out
        return self._sending(SpanKind.CLIENT, context.Context(), attributes, links)

    def _sending(
        self, kind: SpanKind, parent: context.Context | None, attributes: _Attributes, links: Sequence[Link]
    ) -> Sending:
        span = _start(self._tracer, "send track", parent, kind, attributes, links)
        started, count = self._monotonic(), attributes.get(names.BATCH_COUNT)

        def ended(error_type: str | None) -> None:
            with suppress(Exception):
                self._metrics.sent(count if isinstance(count, int) else None, self._monotonic() - started, error_type)

        return Sending(self._tracer, span, ended)


def _valid(span: Span) -> SpanContext | None:
    context_ = span.get_span_context()
    return context_ if context_.is_valid else None


def carrier_text(carrier: SpanContext) -> str:
    """What a send links to, as W3C's `traceparent` has it: for a queue that outlives the process."""
    trace_id_, span_id = trace.format_trace_id(carrier.trace_id), trace.format_span_id(carrier.span_id)
    return f"00-{trace_id_}-{span_id}-{carrier.trace_flags:02x}"


def carrier_of(text: object) -> SpanContext | None:
    """The same read back; None for what is none."""
    try:
        _, trace_id_, span_id, flags = str(text).split("-")
        return SpanContext(int(trace_id_, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    except ValueError:
        return None


def trace_id() -> str | None:
    """The trace that the caller is in, if it is being recorded."""
    span = trace.get_current_span()
    return trace.format_trace_id(span.get_span_context().trace_id) if span.is_recording() else None


def dropped(span: Span, reason: DropReason) -> None:
    """Mark the span of a capture whose event was dropped."""
    _mark(span, {names.ERROR_TYPE: reason.value}, failed=True)


def end(span: Span) -> None:
    """End a span. What a span processor of the application's raises must not cost an event, nor reach the caller."""
    with suppress(Exception):
        span.end()


def _start(
    tracer: trace.Tracer,
    name: str,
    parent: context.Context | None,
    kind: SpanKind,
    attributes: _Attributes,
    links: Sequence[Link] = (),
) -> Span:
    try:
        return tracer.start_span(name, context=parent, kind=kind, attributes=attributes, links=links)
    except Exception:  # noqa: BLE001 - see end
        return trace.INVALID_SPAN


def _mark(span: Span, attributes: _Attributes, *, failed: bool = False) -> None:
    with suppress(Exception):
        span.set_attributes(attributes)
        if failed:
            span.set_status(Status(StatusCode.ERROR))


class Sending:
    """One logical send: a span that covers all its attempts and the waits between them."""

    def __init__(self, tracer: trace.Tracer, span: Span, ended: Callable[[str | None], None]) -> None:
        self._tracer = tracer
        self._span = span
        self._ended = ended
        self._retries = 0
        self._error_type: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is not None:
            self.failed(f"{kind.__module__}.{kind.__qualname__}")
        if self._retries:
            _mark(self._span, {names.RETRIES: self._retries})
        end(self._span)
        self._ended(self._error_type)

    def failed(self, error_type: str, dropped_count: int = 0) -> None:
        """At least one event of this send will never be delivered."""
        self._error_type = error_type
        dropped_ = {names.DROPPED: dropped_count} if dropped_count else {}
        _mark(self._span, {names.ERROR_TYPE: error_type, **dropped_}, failed=True)

    @contextmanager
    def attempt(self, request: Any, base_url: str, resend: int) -> Iterator[Attempt]:
        """The span of one HTTP request. Inside, foreign HTTP instrumentation is silent and no baggage leaves."""
        attributes: _Attributes = {
            names.HTTP_METHOD: "POST",
            names.URL_TEMPLATE: request.template,
            names.URL_FULL: base_url + request.template,
            **_server(base_url),
        }
        if resend:
            self._retries += 1
            attributes[names.HTTP_RESENDS] = resend
        parent = trace.set_span_in_context(self._span)
        span = _start(self._tracer, "POST", parent, SpanKind.CLIENT, attributes)
        inside = baggage.clear(trace.set_span_in_context(span))
        token = context.attach(context.set_value(_SUPPRESS_HTTP, True, inside))
        try:
            yield Attempt(span)
        finally:
            context.detach(token)
            end(span)


class Attempt:
    """One HTTP request under way."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def answered(self, answer: Any) -> Any:
        """Note the answer on the span, and hand it on."""
        status = getattr(answer, "status", None)
        if status is None:
            _mark(self._span, {names.ERROR_TYPE: answer.error}, failed=True)
        elif status >= 300:
            _mark(self._span, {names.HTTP_STATUS: status, names.ERROR_TYPE: str(status)}, failed=True)
        else:
            _mark(self._span, {names.HTTP_STATUS: status})
        return answer


def _server(base_url: str) -> _Attributes:
    parts = urlsplit(base_url)
    return {
        names.SERVER_ADDRESS: parts.hostname or "",
        names.SERVER_PORT: parts.port or (80 if parts.scheme == "http" else 443),
    }


def _links(entries: Sequence[Entry]) -> tuple[list[Link], int]:
    """One link per distinct creation, the first 128; how many were left out."""
    links: list[Link] = []
    seen: set[tuple[int, int]] = set()
    for envelope, _ in entries:
        carrier = envelope.carrier
        if carrier is None or (key := (carrier.trace_id, carrier.span_id)) in seen:
            continue
        seen.add(key)
        if len(links) < MAX_LINKS:
            links.append(Link(carrier, {names.MESSAGE_ID: envelope.event_id}))
    return links, len(seen) - len(links)
