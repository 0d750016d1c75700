"""Events that wait in their request for a person."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading

import pytest

import cio_middleware as cio
from cio_middleware.asgi import CustomerIOMiddleware
from cio_middleware.wsgi import CustomerIOMiddleware as WSGIMiddleware

COOKIE = [(b"cookie", b"_cioanonid=browser-1")]


@pytest.fixture(name="frozen")
def _frozen(make_client, clock):
    """A client whose time stands still."""
    return make_client(client_options={"clock": clock})


@pytest.fixture(name="inside")
def _inside(call_asgi, answer):
    """Runs a function, or awaits a coroutine function, inside a request of a client."""

    async def run(client, function, *, headers=COOKIE, **options):
        async def app(scope, receive, send):
            found = function()
            if asyncio.iscoroutine(found):
                await found
            await answer(send)

        await call_asgi(CustomerIOMiddleware(app, client=client, **options), headers=headers)

    return run


def balanced(client):
    """The reading of the ledger, which must add up."""
    stats = client.stats()
    assert stats.balanced, stats
    return stats


async def test_every_step_is_counted(sandbox, slow_client, inside):
    """Captured, parked, pending, delivered: at each step every event is in one place."""
    client = slow_client

    def steps():
        assert client.track("e") is not None
        assert (balanced(client).parked, balanced(client).pending) == (1, 0)
        client.track("e")
        assert balanced(client).parked == 2
        client.identify("ada")
        assert (balanced(client).parked, balanced(client).pending) == (0, 3)
        client.track("e")
        assert balanced(client).pending == 4

    await inside(client, steps)

    assert client.flush()
    assert balanced(client).delivered == 4
    assert sandbox.count("e") == 3


async def test_an_identify_goes_out_before_what_was_parked(sandbox, client, inside):
    """Customer.io learns who the person is before their events, in the order of capture."""

    def steps():
        client.track("first")
        client.track("second")
        client.identify("ada", {"plan": "pro"})

    await inside(client, steps, headers=[])
    client.flush()

    assert [event.name or event.kind for event in sandbox.events(person="ada")] == ["identify", "first", "second"]


async def test_aidentify_goes_out_before_what_was_parked(sandbox, make_client, inside):
    """On the direct backend the awaited identify has arrived before the events that waited for it are sent."""
    client = make_client(backend="direct")

    async def steps():
        client.track("first")
        await client.aidentify("ada", {"plan": "pro"})
        assert sandbox.count("first") == 1

    await inside(client, steps, headers=[])
    await client.aclose()

    assert [event.name or event.kind for event in sandbox.events(person="ada")] == ["identify", "first"]


async def test_a_late_identify_of_another_thread_is_not_overtaken(sandbox, make_client, inside):
    """While an identify is on its way to the queue, another thread that flushes sends nothing of that person first."""
    arrived, go_on = threading.Event(), threading.Event()

    def hold(event):
        if event.kind == "identify":
            arrived.set()
            assert go_on.wait(5)
        return event

    client = make_client(client_options={"processors": [hold]})

    def steps():
        client.track("first")
        here = contextvars.copy_context()
        identifying = threading.Thread(target=here.copy().run, args=(client.identify, "ada", {"plan": "pro"}))
        identifying.start()
        assert arrived.wait(5)
        assert client.stats().parked == 1
        assert client.track("second") is not None
        assert client.stats().parked == 2
        go_on.set()
        identifying.join()

    await inside(client, steps, headers=[])
    client.flush()

    assert [event.name or event.kind for event in sandbox.events(person="ada")] == ["identify", "first", "second"]


@pytest.mark.parametrize("count", [99, 100, 101, 250])
async def test_at_a_hundred_events_they_go_on(make_client, inside, count):
    """A request holds at most 99 parked events: the hundredth sends all, under whom is known then."""
    client = make_client(rate_limit=100_000)

    def steps():
        for _ in range(count):
            client.track("e")
        assert balanced(client).parked == count % 100

    await inside(client, steps)

    assert balanced(client).parked == 0
    assert not client.stats().dropped


async def test_at_256_kib_they_go_on(client, inside):
    """A request holds at most 256 KiB of parked events."""

    def steps():
        for number in range(8):
            client.track("e", {"text": "x" * 29_000})
            assert balanced(client).parked == number + 1
        client.track("e", {"text": "x" * 29_000})
        assert balanced(client).parked == 0

    await inside(client, steps)


async def test_after_five_seconds_they_go_on(sandbox, frozen, clock, inside, until):
    """An event waits five seconds from its capture for a person, and no longer, with no further request."""
    await inside(frozen, lambda: steps_of_five_seconds(frozen, clock, until))
    frozen.flush()
    assert sandbox.count("e") == 3


def steps_of_five_seconds(client, clock, until):
    """Two events 3 s apart go on 5 s after the first; a third that comes later has its own five seconds."""
    client.track("e")
    clock.advance(3)
    client.track("e")
    clock.advance(1.9)
    assert balanced(client).parked == 2
    clock.advance(0.1)
    until(lambda: balanced(client).parked == 0)
    client.track("e")
    clock.advance(4.9)
    assert balanced(client).parked == 1
    clock.advance(0.1)
    until(lambda: balanced(client).parked == 0)


@pytest.mark.parametrize("how", ["flush", "aflush"])
async def test_a_flush_settles_the_request_first(sandbox, client, inside, how):
    """A flush inside a request asks for the person, and returns when the request's events have arrived."""
    signed_in = []

    async def steps():
        client.track("e")
        signed_in.append("ada")
        assert await client.aflush() if how == "aflush" else client.flush()
        assert sandbox.count("e") == 1

    await inside(client, steps, person=lambda cell: signed_in[0] if signed_in else None)

    assert sandbox.wait_for("e").person == "ada"


async def test_a_flush_that_cannot_await_loses_nothing(sandbox, client, inside):
    """A plain flush leaves events alone whose person only an asynchronous resolver can tell; `aflush` awaits it."""

    async def resolver(cell):
        return "ada"

    async def steps():
        client.track("e")
        client.flush()
        assert balanced(client).parked == 1
        assert await client.aflush()
        assert balanced(client).parked == 0

    await inside(client, steps, person=resolver)

    assert sandbox.wait_for("e").person == "ada"


async def test_a_flush_elsewhere_leaves_a_request_alone(client, inside):
    """Outside of a request, a flush settles no request."""

    async def steps():
        client.track("e")
        contextvars.Context().run(client.flush)
        assert balanced(client).parked == 1

    await inside(client, steps)


async def test_many_threads_settle_a_request_once(sandbox, client, inside):
    """Eight threads that track, identify and flush in one request send each event exactly once."""
    start = threading.Barrier(8)

    def work(number):
        start.wait(5)
        for count in range(50):
            client.track("e", {"number": number, "count": count})
            if count % 10 == number:
                client.identify("ada")
            if count % 7 == number:
                client.flush()
            balanced(client)

    def steps():
        here = contextvars.copy_context()
        threads = [threading.Thread(target=here.copy().run, args=(work, number)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    await inside(client, steps)

    assert client.flush()
    stats = balanced(client)
    assert (stats.parked, stats.pending) == (0, 0)
    assert sandbox.count("e") == 400
    assert sandbox.duplicates("e") == 0


async def test_settled_requests_leave_nothing_behind(make_client, inside):
    """However many requests parked events, nothing of them is kept when they are over."""
    client = make_client(rate_limit=100_000)
    for _ in range(200):
        await inside(client, lambda: client.track("e"))

    assert not client.parking._cells


def test_a_request_that_a_server_forgets_is_not_lost(sandbox, frozen, clock, until):
    """A WSGI server that neither ends nor closes a body loses no event: after five seconds they go on."""

    def app(environ, start_response):
        start_response("200 OK", [])
        frozen.track("e")
        yield b"x"

    body = WSGIMiddleware(app, client=frozen)(
        {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_COOKIE": "_cioanonid=browser-1"}, lambda *_: None
    )
    next(iter(body))
    del body
    assert balanced(frozen).parked == 1
    clock.advance(5)
    until(lambda: balanced(frozen).parked == 0)
    frozen.flush()

    assert sandbox.wait_for("e").identifiers == {"anonymous_id": "browser-1"}


@pytest.mark.parametrize(
    "settings",
    [{"backend": "direct", "on_error": "raise"}, {"backend": "direct"}, {"debug": True, "max_event_bytes": 100}],
    ids=["on_error=raise", "direct", "debug"],
)
async def test_settling_raises_nothing_into_the_application(sandbox, make_client, call_asgi, settings, answer):
    """The call that captured a parked event has returned: what goes wrong with it later is logged and counted."""
    sandbox.faults.script(["400*"])
    client = make_client(retries=0, **settings)
    done = []

    async def resolver(cell):
        return "ada"

    async def app(scope, receive, send):
        client.track("e", {"text": "x" * 200})
        client.track("e", {"text": "x" * 200})
        await answer(send)
        done.append(True)

    await call_asgi(CustomerIOMiddleware(app, client=client, person=resolver))
    await client.aclose()

    assert done
    stats = balanced(client)
    assert (stats.parked, stats.pending) == (0, 0)
    assert stats.dead_lettered + sum(stats.dropped.values()) == 2


@pytest.mark.parametrize("how", ["identify", "flush", "close"])
async def test_a_call_that_settles_others_events_raises_nothing_of_theirs(make_client, inside, how):
    """With `debug`, an event that turns out too large when it is addressed does not fail the call that did that."""
    client = make_client(debug=True, max_event_bytes=500)

    def steps():
        for _ in range(3):
            client.track("e", {"text": "x" * 400})
        {"identify": lambda: client.identify("ada"), "flush": client.flush, "close": client.close}[how]()
        assert balanced(client).parked == 0

    await inside(client, steps)

    assert balanced(client).dropped == {"event_too_large": 3}


async def test_closing_sends_what_is_parked(sandbox, client, inside):
    """A client that is closed in the middle of a request loses nothing; what comes later is dropped and counted."""

    def steps():
        client.track("before")
        client.close()
        assert balanced(client).parked == 0
        assert client.track("after") is None
        client.identify("ada")

    await inside(client, steps)

    assert sandbox.wait_for("before").identifiers == {"anonymous_id": "browser-1"}
    assert balanced(client).dropped == {"closed": 2}


async def test_a_child_does_not_send_what_its_parent_has_parked(sandbox, client, inside):
    """A process that forks in the middle of a request leaves the parked events to the parent."""

    def steps():
        client.track("of_parent")
        child = os.fork()
        if child == 0:
            client.track("of_child")
            healthy = client.stats().parked == 1 and client.flush() and client.stats().delivered == 1
            os._exit(0 if healthy and client.stats().balanced else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert balanced(client).parked == 1

    await inside(client, steps)
    client.flush()

    assert sandbox.count("of_parent") == 1
    assert sandbox.duplicates("of_parent") == 0
    assert sandbox.count("of_child") == 1


async def test_an_event_of_another_client_is_not_parked(client, make_client, inside):
    """A second client in a request shares its person, but keeps nothing in it."""
    other = make_client()

    def steps():
        assert other.track("e") is not None
        assert balanced(other).parked == 0

    await inside(client, steps)


def test_a_cell_says_nothing_about_the_person():
    """The repr of a request names neither person nor payload."""
    cell = cio.RequestCell(
        None, {}, resolver=None, read_context=lambda source: b"", read_anonymous_id=lambda source: None
    )
    cell.identity = cio.Identity(id="ada")

    assert repr(cell) == "RequestCell(person known, 0 parked)"
