"""
Nobody sees a key, a person or a payload (S2, S3, S17), whatever goes wrong.

One eavesdropper collects all that a client shows: the log of the whole process at DEBUG, spans and metrics as a real
SDK exports them, exceptions with the variables of their frames, and the repr of every part. Each value that must not be
seen holds the same word, so one search finds any of them.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import gc
import json
import logging
import pickle
import socket
import struct
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import cio_middleware as cio
from cio_middleware.asgi import CustomerIOMiddleware

CANARY = "c4n4ry"
KEY = f"{CANARY}-key"
NEEDLES = (CANARY, base64.b64encode(f"site:{KEY}".encode()).decode())


class Eavesdropper(logging.Handler):
    """Collects what a client shows, and where."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.heard: list[tuple[str, str]] = []
        self.lines: list[str] = []
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])

    @property
    def providers(self) -> dict[str, Any]:
        """What a client is to be made with."""
        return {"tracer_provider": self.tracers, "meter_provider": self.meters}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep all that a handler could write of a record: its arguments and its traceback are as good as its text."""
        if record.name.startswith("cio_middleware"):
            self.lines.append(record.getMessage())
        self.heard.append((f"log of {record.name}", f"{record.getMessage()} {vars(record)!r}"))
        if record.exc_info and record.exc_info[1] is not None:
            self.heard.append((f"log of {record.name}", report(record.exc_info[1])))

    def raises(self, call: Callable[[], object]) -> BaseException | None:
        """Keep what a call raises, with the variables of every frame but those of this file."""
        try:
            call()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at
            frames = error.__traceback__
            while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
                frames = frames.tb_next
            error.__traceback__ = frames
            self.heard += [("exception", report(error)), ("exception", repr((error, error.args, vars(error))))]
            self.heard.append(("pickled exception", repr(pickle.dumps(error))))
            return error
        return None

    def look_at(self, root: object) -> None:
        """Keep the repr of every part of ours that can be reached from here."""
        for part in parts_of(root):
            self.heard.append((f"repr of {type(part).__name__}", f"{part!r} {part!s} {part}"))

    def leaks(self) -> list[str]:
        """Where a canary was seen, and what stood before it."""
        data = self.reader.get_metrics_data()
        self.heard += [("metrics", data.to_json())] if data is not None else []
        self.heard += [(f"span {span.name}", span.to_json()) for span in self.exporter.get_finished_spans()]
        found = [(where, text, text.find(needle)) for where, text in self.heard for needle in NEEDLES]
        return sorted({f"{where}: {text[max(0, at - 90) : at]}" for where, text, at in found if at >= 0})


def report(error: BaseException) -> str:
    """An exception as an error tracker sends it, with the values of every frame's variables."""
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def parts_of(root: object) -> Iterator[object]:
    """Every object of ours that `root` leads to, by way of ours and of plain containers."""
    seen, left = set(), deque([root])
    while left:
        here = left.popleft()
        ours = type(here).__module__.startswith("cio_middleware")
        if id(here) in seen or not (ours or isinstance(here, (dict, list, tuple, set, deque, MethodType))):
            continue
        seen.add(id(here))
        if ours:
            yield here
        left.extend(gc.get_referents(here))


@pytest.fixture(name="eve")
def _eve() -> Iterator[Eavesdropper]:
    """Listens to the whole process while a test runs."""
    eve, root = Eavesdropper(), logging.getLogger()
    before = root.level
    root.addHandler(eve)
    root.setLevel(logging.DEBUG)
    yield eve
    root.setLevel(before)
    root.removeHandler(eve)


# ------------------------------------------------------------------------------------------------- whatever goes wrong


def quoted(request: bytes) -> bytes:
    """Errors in both of Customer.io's forms, which quote what was sent and try to steer a terminal."""
    text = f"{CANARY}\r\n\x1b[31m\u202e" + request.partition(b"\r\n\r\n")[2].decode("utf-8", "replace")[:2000]
    errors = [{"batch_index": 0, "reason": "invalid", "field": CANARY, "message": text}]
    return json.dumps({"errors": errors, "meta": {"errors": [text]}}).encode()


def answers(status: str, *headers: str, body: Callable[[bytes], bytes] = quoted) -> Callable[..., bytes]:
    """An answer that repeats what it was sent in every place that an answer has."""
    echo = (f"Set-Cookie: {CANARY}={CANARY}", f"X-Echo: {CANARY}", *headers)

    def make(request: bytes) -> bytes:
        sent = body(request)
        return "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(sent)}", *echo]).encode() + b"\r\n\r\n" + sent

    return make


def reset(connection: socket.socket) -> None:
    """Close with RST instead of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


FAULTS: dict[str, Callable[[bytes], bytes | None] | None] = {
    "200-html": answers("200 OK", "Content-Type: text/html", body=lambda _: f"<b>{CANARY}</b>".encode()),
    "200-deep": answers("200 OK", body=lambda _: f'"{CANARY}"'.encode() + b"[" * 64_000),
    "207": answers("207 Multi-Status"),
    "301-elsewhere": answers("301 Moved", f"Location: https://{CANARY}.example/{CANARY}"),
    "400": answers("400 Bad Request"),
    "401": answers(f"401 {CANARY}"),
    "404": answers("404 Not Found"),
    "413": answers("413 Too Large"),
    "429": answers("429 Slow Down", f"Retry-After: {CANARY}"),
    "502-html": answers("502 Bad Gateway", body=lambda _: f"<b>{CANARY}</b>".encode()),
    "503": answers("503 Unavailable", "Retry-After: 1"),
    "no-http": lambda _: f"{CANARY} {CANARY}\r\n\r\n".encode(),
    "odd-header": lambda _: f"HTTP/1.1 200 OK\r\n{CANARY}\x00: {CANARY}\r\n\r\n".encode(),
    "cut-off": lambda _: f"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{CANARY}".encode(),
    "reset": None,
    "silence": lambda _: b"",
}
QUICK: dict[str, Any] = {
    "site_id": "site", "timeout": 5.0, "retries": 0, "retry_base": 0.001, "flush_interval": 0.01,
    "shutdown_timeout": 0.1, "rate_limit": 10_000, "on_error": "raise",
}  # fmt: skip
ATTRIBUTES = {f"{CANARY} of the name": CANARY, "nested": {"value": [CANARY]}}
CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("track", ("step", ATTRIBUTES), {"person": f"{CANARY}/?#"}),
    ("track", ("large", {"text": CANARY * 7000}), {"person": f"{CANARY}@example.com"}),
    ("track", ("browsed", ATTRIBUTES), {"anonymous_id": CANARY}),
    ("page", (f"https://shop.example/{CANARY}?token={CANARY}", ATTRIBUTES), {"person": cio.Identity(phone=CANARY)}),
    ("identify", (cio.Identity(email=CANARY), ATTRIBUTES), {"anonymous_id": CANARY}),
]


def say_all(eve: Eavesdropper, client: cio.Client, calls: list[Any], *, awaited: bool = False) -> list[Any]:
    """Make every call, and keep what it raises."""

    def say(verb: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if awaited:
            asyncio.run(getattr(client, f"a{verb}")(*args, **kwargs))
        else:
            getattr(client, verb)(*args, **kwargs)

    with cio.bound({"bound": CANARY}):
        return [eve.raises(functools.partial(say, *call)) for call in calls]


@pytest.mark.parametrize("way", ["queued", "direct", "awaited"])
@pytest.mark.parametrize("fault", [*FAULTS, "no-tls"])
def test_s02_s03_no_fault_of_a_server_shows_a_key_or_a_payload(eve, serve, sandbox, eventually, fault, way):
    """Whatever a server answers, and quotes, no log, span, metric, exception or repr holds a key or a payload."""

    def how(connection: socket.socket, request: bytes) -> None:
        answer = FAULTS.get(fault)
        if answer is None:
            reset(connection)
        elif sent := answer(request):
            connection.sendall(sent)
            if fault in {"no-http", "odd-header", "cut-off"}:
                connection.close()

    # A server of plain HTTP cannot make sense of a handshake, and says so at once.
    url = sandbox.url.replace("http", "https") if fault == "no-tls" else serve(how).url
    backend = "queued" if way == "queued" else "direct"
    given = {**QUICK, "timeout": 0.1} if fault == "silence" else QUICK
    client = cio.Client(cio.Settings(api_key=KEY, base_url=url, backend=backend, **given), **eve.providers)
    raised = say_all(eve, client, CALLS, awaited=way == "awaited")
    eventually(lambda: eve.lines and client.stats().requests)
    eve.look_at(client)
    client.close()
    eve.look_at(client)

    assert not eve.leaks()
    assert any(isinstance(error, cio.DeliveryError) for error in raised) is (way != "queued")
    assert not any("\r" in line or "\n" in line or "\x1b" in line for line in eve.lines)


# ------------------------------------------------------------------------------------- whatever the application does


class Treacherous:
    """An object that tells its secret whenever it is asked for anything."""

    def __str__(self) -> str:
        raise LookupError(CANARY)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise LookupError(CANARY)


class TreacherousMapping(dict[str, Any]):
    """A mapping that raises with its secret."""

    def items(self) -> Any:
        """Never anything."""
        raise LookupError(CANARY)


class TreacherousText(str):
    """A string that raises with its secret when it is looked at closely."""

    __slots__ = ()

    def strip(self, *_: object) -> str:
        """Never anything."""
        raise LookupError(CANARY)

    def encode(self, *_: object) -> bytes:
        """Never anything."""
        raise LookupError(CANARY)


DEEP = json.loads("[" * 30 + f'"{CANARY}"' + "]" * 30)
MISTAKES: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "name-long": ("track", (CANARY * 20, ATTRIBUTES), {"person": CANARY}),
    "name-no-text": ("track", ([CANARY], ATTRIBUTES), {"person": CANARY}),
    "name-raises": ("track", (TreacherousText("step"),), {"person": CANARY}),
    "page-long": ("page", (CANARY * 99, ATTRIBUTES), {"person": CANARY}),
    "person-long": ("track", ("step", ATTRIBUTES), {"person": CANARY * 99}),
    "person-raises": ("track", ("step", ATTRIBUTES), {"person": TreacherousText(CANARY)}),
    "person-no-person": ("track", ("step", ATTRIBUTES), {"person": [CANARY]}),
    "both": ("track", ("step", ATTRIBUTES), {"person": CANARY, "anonymous_id": CANARY}),
    "anonymous-long": ("track", ("step", ATTRIBUTES), {"anonymous_id": CANARY * 99}),
    "event-id": ("track", ("step", ATTRIBUTES), {"person": CANARY, "event_id": CANARY}),
    "timestamp": ("track", ("step", ATTRIBUTES), {"person": CANARY, "timestamp": CANARY}),
    "attributes-text": ("track", ("step", CANARY), {"person": CANARY}),
    "attributes-raise": ("track", ("step", TreacherousMapping()), {"person": CANARY}),
    "attributes-deep": ("track", ("step", {CANARY: DEEP}), {"person": CANARY}),
    "value-raises": ("track", ("step", {"value": Treacherous()}), {"person": CANARY}),
    "too-large": ("track", ("step", {"text": CANARY * 20_000}), {"person": CANARY}),
    "profile-value": ("identify", (CANARY, {f"{CANARY} of": CANARY * 999}), {}),
    "profile-name": ("identify", (CANARY, {CANARY * 99: CANARY}), {}),
    "nobody": ("track", ("step", ATTRIBUTES), {}),
}


@pytest.mark.parametrize("debug", [False, True], ids=["logged", "raised"])
@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_s03_no_mistake_in_a_call_shows_what_it_was_about(eve, sandbox, mistake, debug):
    """An event that cannot be captured is logged, or raised with `debug`, by what is wrong and never by its values."""
    client = cio.Client(cio.Settings(**sandbox.settings, debug=debug), **eve.providers)
    say_all(eve, client, [mistake])
    eve.look_at(client)
    client.close()
    assert not eve.leaks()
    assert client.stats().balanced


@pytest.mark.parametrize("way", ["sync", "async", "default"])
def test_s03_no_event_of_a_decorator_or_the_default_client_is_in_a_frame(eve, sandbox, way):
    """What `@track_event` and `cio.track` raise with `debug` holds no event in the variables of their frames."""
    client = cio.configure(cio.Client(cio.Settings(**sandbox.settings, debug=True), **eve.providers))
    too_long: dict[str, Any] = {"attributes": lambda _: {"it": DEEP}, "person": lambda _: CANARY}

    @cio.track_event("step", **too_long)
    def step() -> None: ...

    @cio.track_event("step", **too_long)
    async def astep() -> None: ...

    calls = {
        "sync": step,
        "async": lambda: asyncio.run(astep()),
        "default": lambda: cio.track("step", {"it": DEEP}, person=CANARY),
    }
    raised = eve.raises(calls[way])
    client.close()
    assert isinstance(raised, cio.InvalidEvent)
    assert not eve.leaks()


def raises(*_: Any) -> Any:
    """Whatever the application hands in: it fails, and tells why."""
    raise LookupError(CANARY)


async def raises_later(*_: Any) -> Any:
    """The same, when it is awaited."""
    raise LookupError(CANARY)


@pytest.mark.parametrize("debug", [False, True], ids=["logged", "raised"])
@pytest.mark.parametrize("failing", ["processor", "attributes", "person", "resolver", "resolver-later", "resolver-odd"])
def test_s03_no_callable_of_the_application_is_quoted(eve, sandbox, failing, debug):
    """A processor, a resolver or a callable of `@track_event` that raises is named by its type; its text is not."""
    processors = [raises] if failing == "processor" else []
    client = cio.Client(cio.Settings(**sandbox.settings, debug=debug), processors=processors, **eve.providers)
    chosen = {failing: raises} if failing in {"attributes", "person"} else {"attributes": ATTRIBUTES, "person": None}
    resolvers: dict[str, Any] = {"resolver": raises, "resolver-later": raises_later, "resolver-odd": lambda _: [CANARY]}

    @cio.track_event("step", client=client, **chosen)
    def step() -> None:
        client.track("other", ATTRIBUTES)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        step()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Any) -> None:
        eve.look_at(cio.current_request())

    headers = [(b"authorization", CANARY.encode()), (b"cookie", f"_cioanonid={CANARY}; session={CANARY}".encode())]
    scope = {"type": "http", "path": "/", "query_string": CANARY.encode(), "headers": headers}
    middleware = CustomerIOMiddleware(app, client=client, person=resolvers.get(failing))
    eve.raises(lambda: asyncio.run(middleware(scope, raises_later, send)))
    eve.look_at(client)
    client.close()
    assert not eve.leaks()
    assert client.stats().balanced


@pytest.mark.parametrize("way", ["queued", "awaited"])
def test_s17_no_password_of_a_url_is_shown(eve, serve, answer, eventually, monkeypatch, way):
    """The password of a proxy's URL reaches the proxy alone; one in `base_url` is refused, and not repeated."""
    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    proxy = serve(lambda connection, _: connection.sendall(answer("503 Unavailable")))
    monkeypatch.setenv("http_proxy", proxy.url.replace("http://", f"http://user:{CANARY}@"))
    backend = "queued" if way == "queued" else "direct"
    with_url = cio.Settings(api_key=KEY, base_url="http://shop.example", allow_insecure=True, backend=backend, **QUICK)
    client = cio.Client(with_url, **eve.providers)

    say_all(eve, client, CALLS[:1], awaited=way == "awaited")
    eventually(lambda: eve.lines and proxy.requests)
    eve.look_at(client)
    client.close()
    for url in (
        f"https://user:{CANARY}@host",
        f"https://host/?{CANARY}",
        f"https://host/#{CANARY}",
        f"http://{CANARY}@[",
    ):
        refused = cio.Settings(site_id="site", api_key=KEY, base_url=url)
        assert isinstance(eve.raises(lambda refused=refused: cio.Client(refused)), cio.ConfigurationError)
        eve.look_at(refused)

    assert not eve.leaks()
