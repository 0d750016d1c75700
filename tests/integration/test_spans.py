"""Every send is a span: the table of `docs/reference/spans.md`, as a user's tracing backend sees it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading

import httpx
import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.threading import ThreadingInstrumentor
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.semconv._incubating.attributes import messaging_attributes
from opentelemetry.semconv.attributes import error_attributes, http_attributes, server_attributes, url_attributes
from opentelemetry.trace import SpanKind, StatusCode

import cio_middleware as cio
from cio_middleware import _semconv
from cio_middleware.asgi import CustomerIOMiddleware


class Spans:
    """A tracer provider of the test's own, and what it recorded."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("app")

    def named(self, name: str) -> list:
        """Finished spans of this name, in the order they ended."""
        return [span for span in self.exporter.get_finished_spans() if span.name == name]


@pytest.fixture(name="spans")
def _spans() -> Spans:
    return Spans()


@pytest.fixture(name="traced")
def _traced(make_client, spans):
    """Builds clients that record into `spans`."""

    def make(**settings):
        return make_client(client_options={"tracer_provider": spans.provider}, **settings)

    return make


def parent_id(span) -> int | None:
    """The id of a span's parent."""
    return span.parent.span_id if span.parent else None


def test_capture_is_a_producer_span_below_the_caller(traced, spans, sandbox):
    """`create track` is a child of the caller's span and ends at once, with the event's id, kind and name."""
    client = traced()
    with spans.tracer.start_as_current_span("request") as request:
        event_id = client.track("order_placed", {"total": 42}, person="ada")
    (create,) = spans.named("create track")
    assert create.kind is SpanKind.PRODUCER
    assert parent_id(create) == request.get_span_context().span_id
    port = int(sandbox.url.rsplit(":", 1)[1])
    assert dict(create.attributes) == {
        "messaging.system": "customerio",
        "messaging.operation.name": "create",
        "messaging.operation.type": "create",
        "messaging.destination.name": "track",
        "messaging.message.id": event_id,
        "server.address": "127.0.0.1",
        "server.port": port,
        "customerio.event.type": "event",
        "customerio.event.name": "order_placed",
        "customerio.backend": "queued",
        "customerio.region": "us",
    }
    assert create.status.status_code is StatusCode.UNSET


def test_a_batch_is_a_root_with_links_to_its_captures(traced, spans):
    """`send track` of a batch is a CLIENT span without a parent, linked to each capture with the event's id."""
    client = traced(flush_interval=5.0)
    with spans.tracer.start_as_current_span("request"):
        ids = [client.track("step", {"n": n}, person="ada") for n in range(3)]
        assert client.flush(5)
    (send,) = spans.named("send track")
    assert send.kind is SpanKind.CLIENT
    assert send.parent is None
    assert send.attributes["messaging.batch.message_count"] == 3
    assert "messaging.message.id" not in send.attributes
    created = {span.attributes["messaging.message.id"]: span.context.span_id for span in spans.named("create track")}
    assert {link.attributes["messaging.message.id"]: link.context.span_id for link in send.links} == created
    assert sorted(created) == sorted(ids)
    assert send.status.status_code is StatusCode.UNSET


def test_each_attempt_is_a_client_span_below_the_send(traced, spans, sandbox):
    """Attempts carry method, redacted URL, status and their ordinal; failures stay on them, the send succeeds."""
    sandbox.faults.script(["503", "reset", "ok*"])
    client = traced()
    client.track("step", person="ada")
    assert client.flush(5)
    (send,) = spans.named("send track")
    attempts = spans.named("POST")
    assert {parent_id(attempt) for attempt in attempts} == {send.context.span_id}
    assert [attempt.kind for attempt in attempts] == [SpanKind.CLIENT] * 3
    assert [attempt.attributes.get("http.request.resend_count") for attempt in attempts] == [None, 1, 2]
    assert [attempt.attributes.get("http.response.status_code") for attempt in attempts] == [503, None, 200]
    assert [attempt.attributes.get("error.type") for attempt in attempts] == ["503", "httpcore.ReadError", None]
    assert attempts[0].attributes["url.full"] == f"{sandbox.url}/api/v2/batch"
    assert send.attributes["customerio.retry.count"] == 2
    assert send.status.status_code is StatusCode.UNSET
    assert "error.type" not in send.attributes


def test_a_rejected_item_marks_the_send(traced, spans, sandbox):
    """A partial failure is an error on the batch's span, with how many events will never arrive."""
    sandbox.faults.script(["partial=0", "ok*"])
    client = traced()
    client.track("step", person="ada")
    client.track("step", person="ada")
    assert client.flush(5)
    (send,) = spans.named("send track")
    assert send.attributes["error.type"] == "rejected"
    assert send.attributes["customerio.dropped.count"] == 1
    assert send.status.status_code is StatusCode.ERROR
    assert not send.status.description


def test_a_direct_send_is_a_producer_below_the_caller(traced, spans):
    """On the direct backend the send itself is the capture: a PRODUCER child with the event's id and no batch count."""
    client = traced(backend="direct")
    with spans.tracer.start_as_current_span("request") as request:
        event_id = client.track("paid", person="ada")
    (send,) = spans.named("send track")
    assert send.kind is SpanKind.PRODUCER
    assert parent_id(send) == request.get_span_context().span_id
    assert send.attributes["messaging.message.id"] == event_id
    assert "messaging.batch.message_count" not in send.attributes
    assert spans.named("create track") == []


async def test_an_awaited_direct_send_is_the_same(traced, spans):
    """Awaiting changes nothing about the spans, and the caller's span is current again afterwards."""
    client = traced(backend="direct")
    with spans.tracer.start_as_current_span("request") as request:
        await client.atrack("paid", person="ada")
        assert trace.get_current_span() is request
    (send,) = spans.named("send track")
    (attempt,) = spans.named("POST")
    assert parent_id(send) == request.get_span_context().span_id
    assert parent_id(attempt) == send.context.span_id
    await client.aclose()


def test_a_drop_marks_the_capture(traced, spans):
    """An event that the queue refuses has its reason on its own span."""
    client = traced(max_queue_events=1, flush_interval=60.0)
    client.track("fits", person="ada")
    client.track("does not", person="ada")
    fits, refused = spans.named("create track")
    assert fits.status.status_code is StatusCode.UNSET
    assert refused.attributes["error.type"] == "queue_full"
    assert refused.status.status_code is StatusCode.ERROR


def test_without_create_spans_a_batch_links_to_the_callers(traced, spans):
    """With create_spans off, all events of one request share one link, to the request."""
    client = traced(create_spans=False, flush_interval=5.0)
    with spans.tracer.start_as_current_span("request") as request:
        for number in range(3):
            client.track("step", {"n": number}, person="ada")
    assert client.flush(5)
    assert spans.named("create track") == []
    (send,) = spans.named("send track")
    assert [link.context.span_id for link in send.links] == [request.get_span_context().span_id]


def test_links_are_bounded(traced, spans):
    """A span holds 128 links; what is left out is told, not paid for."""
    client = traced(flush_interval=60.0, flush_at=1000)
    for number in range(130):
        client.track("step", {"n": number}, person="ada")
    assert client.flush(5)
    (send,) = spans.named("send track")
    assert len(send.links) == 128
    assert send.attributes["customerio.links.dropped"] == 2


def test_the_worker_is_never_a_child_of_the_request_that_started_it(traced, spans):
    """Even where threads inherit the trace, a batch is a root of its own."""
    ThreadingInstrumentor().instrument()
    try:
        client = traced()
        with spans.tracer.start_as_current_span("request"):
            client.track("step", person="ada")
        assert client.flush(5)
    finally:
        ThreadingInstrumentor().uninstrument()
    assert [send.parent for send in spans.named("send track")] == [None]


def test_foreign_http_instrumentation_is_silent_during_our_call(traced, spans, sandbox):
    """An instrumented httpx adds no span of its own to our requests, and no trace header or baggage leaves."""
    seen: list[httpx.Headers] = []
    HTTPXClientInstrumentor().instrument(tracer_provider=spans.provider)
    token = context.attach(baggage.set_baggage("secret", "canary"))
    try:
        with httpx.Client(event_hooks={"request": [lambda request: seen.append(request.headers)]}) as http:
            options = {"tracer_provider": spans.provider, "http_client": http}
            with cio.Client(cio.Settings(**sandbox.settings, backend="direct"), **options) as client:
                client.track("step", person="ada")
    finally:
        context.detach(token)
        HTTPXClientInstrumentor().uninstrument()
    assert [span.name for span in spans.exporter.get_finished_spans()] == ["POST", "send track"]
    (headers,) = seen
    assert "traceparent" not in headers
    assert "baggage" not in headers
    assert "canary" not in str(headers)


def test_no_span_holds_a_person_or_a_payload(traced, spans, sandbox):
    """Whatever fails on the way, no attribute, event or status of any span holds who it was about or what."""
    sandbox.faults.script(["503", "400", "400", "ok*"])
    client = traced()
    client.identify(cio.Identity(email="canary@example.com"), {"secret": "canary"})
    client.track("step", {"secret": "canary"}, person="canary")
    client.track("step", {"secret": "canary" * 8000}, person="canary")
    client.track("step", {"secret": "canary"}, anonymous_id="canary")
    client.track("x" * 200, person="canary")
    assert client.flush(5)
    assert client.stats().pending == 0
    for span in spans.exporter.get_finished_spans():
        assert "canary" not in span.to_json()


def test_without_an_sdk_nothing_is_recorded_and_everything_works(client, sandbox):
    """With opentelemetry-api alone, events are delivered and no span exists."""
    client.track("step", person="ada")
    assert client.flush(5)
    assert sandbox.count("step") == 1


def test_a_trace_that_is_not_sampled_costs_no_links_and_no_events(make_client, sandbox):
    """With a sampler that records nothing, events are delivered all the same."""
    provider = TracerProvider(sampler=ALWAYS_OFF)
    client = make_client(client_options={"tracer_provider": provider})
    client.track("step", person="ada")
    assert client.flush(5)
    assert sandbox.count("step") == 1


@pytest.mark.parametrize("processors", ["()", "[lambda event: event]"])
def test_a_late_sdk_is_noticed(processors):
    """A provider that is set after the first events gets spans from the next second on, and is not seen before."""
    script = f"""
        import cio_middleware as cio
        from cio_middleware.testing.clock import ManualClock
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        clock, exporter = ManualClock(), InMemorySpanExporter()
        settings = cio.Settings(site_id="s", api_key="k", base_url="http://127.0.0.1:9", shutdown_timeout=0.0)
        client = cio.Client(settings, clock=clock, processors={processors})
        client.track("before", person="ada")
        trace.set_tracer_provider(TracerProvider())
        trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
        client.track("within", person="ada")
        clock.advance(1)
        client.track("after", person="ada")
        print(*[span.attributes["customerio.event.name"] for span in exporter.get_finished_spans()])
    """
    printed = subprocess.check_output([sys.executable, "-c", textwrap.dedent(script)], text=True)
    assert printed.split() == ["after"]


def test_captures_of_many_threads_keep_their_own_parents(traced, spans):
    """Each capture belongs to the span of its own thread."""
    client = traced(flush_interval=60.0)
    expected: dict[str, int] = {}

    def work(number: int) -> None:
        with spans.tracer.start_as_current_span(f"request {number}") as request:
            for _ in range(20):
                event_id = client.track("step", person="ada")
                expected[event_id] = request.get_span_context().span_id

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    created = {span.attributes["messaging.message.id"]: parent_id(span) for span in spans.named("create track")}
    assert created == expected


def test_names_are_those_of_the_semantic_conventions():
    """Every standard attribute name exists in OpenTelemetry's own package of them."""
    known = {
        value
        for module in (messaging_attributes, error_attributes, http_attributes, server_attributes, url_attributes)
        for value in vars(module).values()
        if isinstance(value, str)
    }
    ours = {value for name, value in vars(_semconv).items() if name.isupper() and "." in str(value)}
    standard = {value for value in ours if not value.startswith(("customerio.", "http.request.resend", "https:"))}
    assert standard - known - {_semconv.VERSION, "url.template"} == set()


async def test_an_event_tells_the_trace_of_its_request(traced, spans, sandbox):
    """While a span is being recorded, the request's context carries its trace id; without one, it does not."""
    client = traced()

    async def app(scope, receive, send):
        client.track(scope["path"][1:], person="ada")

    wrapped = CustomerIOMiddleware(app, client=client)
    for name in ("traced", "untraced"):
        scope = {"type": "http", "path": f"/{name}", "headers": []}
        if name == "traced":
            with spans.tracer.start_as_current_span("request") as request:
                await wrapped(scope, None, None)  # type: ignore[arg-type]  # never called
        else:
            await wrapped(scope, None, None)  # type: ignore[arg-type]  # never called
    assert await client.aflush(5)
    found = {event.name: event.data.get("context", {}).get("traceId") for event in sandbox.good}
    assert found == {"traced": trace.format_trace_id(request.get_span_context().trace_id), "untraced": None}


@pytest.mark.parametrize("failing", ["on_start", "on_end"])
def test_a_span_processor_that_fails_costs_no_event(make_client, sandbox, failing):
    """What a span processor of the application's raises reaches neither the caller nor the delivery."""

    class Fails(SpanProcessor):
        pass

    def fail(*_, **__):
        raise RuntimeError("canary")

    setattr(Fails, failing, fail)
    provider = TracerProvider()
    provider.add_span_processor(Fails())
    client = make_client(client_options={"tracer_provider": provider})
    event_id = client.track("step", person="ada")
    assert client.flush(5)
    assert sandbox.people["ada"].events == [event_id]
    assert sandbox.duplicates("step") == 0
