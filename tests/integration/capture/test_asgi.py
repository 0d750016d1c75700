"""The ASGI middleware: one cell per request, and nothing else until there is an event."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient

import cio_middleware as cio
from cio_middleware.asgi import CustomerIOMiddleware

COOKIE = [(b"cookie", b"_cioanonid=browser-1")]


def starlette(endpoint, client, *, path="/{who}", middleware=(), **options):
    """An application with one route, behind our middleware."""
    ours = Middleware(CustomerIOMiddleware, client=client, **options)
    return Starlette(routes=[Route(path, endpoint)], middleware=[*middleware, ours])


def from_path(cell):
    """A resolver for tests: the path says who."""
    return cell.source["path"].strip("/") or None


class Untouchable(dict):
    """A scope that fails the test when somebody reads what only an event needs."""

    def __getitem__(self, key):
        assert key == "type", key
        return super().__getitem__(key)

    def get(self, key, default=None):
        """As above."""
        raise AssertionError(key)


async def test_a_request_without_an_event_is_not_looked_at(client, call_asgi, answer):
    """Until an event is captured nothing is read, not even the headers, and nobody is asked for a person."""

    async def app(scope, receive, send):
        await answer(send)

    def resolver(cell):
        raise AssertionError(cell)

    call = call_asgi(CustomerIOMiddleware(app, client=client, person=resolver))
    call.scope = Untouchable(call.scope)
    await call

    assert call.sent == ["http.response.start", "http.response.body"]
    assert client.stats().captured == 0


async def test_a_request_leaves_nothing_for_the_garbage_collector(client, call_asgi, answer):
    """The cell and the scope are gone when the request is, without a run of the garbage collector."""

    class Scope(dict):
        """A dict that can be referred to weakly."""

    async def app(scope, receive, send):
        client.track("seen", person="ada")
        await answer(send)

    call = call_asgi(CustomerIOMiddleware(app, client=client))
    call.scope = Scope(call.scope)
    scope = weakref.ref(call.scope)
    gc.disable()
    try:
        await call
        del call
        assert scope() is None
    finally:
        gc.enable()


def test_an_endpoint_knows_its_request_and_its_person(sandbox, client, serve_asgi):
    """An event in an endpoint carries the page and the person of its request."""

    async def endpoint(request):
        cio.track("viewed")
        return PlainTextResponse("ok")

    http = serve_asgi(starlette(endpoint, client, person=from_path))
    assert http.get("/ada?token=secret").text == "ok"
    client.flush()

    event = sandbox.wait_for("viewed", person="ada")
    assert event.data["context"]["page"]["path"] == "/ada"
    assert "secret" not in str(event.data)


def test_a_streamed_body_knows_its_request_and_its_person(sandbox, client, serve_asgi):
    """An event that is captured while the body is generated belongs to the request."""

    async def endpoint(request):
        async def body():
            yield b"one"
            cio.track("streamed")
            yield b"two"

        return StreamingResponse(body())

    http = serve_asgi(starlette(endpoint, client, person=from_path))
    assert http.get("/ada").text == "onetwo"
    client.flush()

    assert sandbox.wait_for("streamed", person="ada").data["context"]["page"]["path"] == "/ada"


def test_parked_events_go_on_with_the_last_byte_and_the_response_waits_for_no_background_task(
    sandbox, slow_client, serve_asgi, until
):
    """When the last byte is out the person is settled, although a background task still runs; it has the cell too."""
    release = threading.Event()

    def later():
        release.wait(5)
        cio.track("later")

    async def endpoint(request):
        async def body():
            cio.track("streamed")
            assert slow_client.stats().parked == 1
            yield b"x"
            request.scope["user_id"] = "ada"

        return StreamingResponse(body(), background=BackgroundTask(later))

    http = serve_asgi(starlette(endpoint, slow_client, person=lambda cell: cell.source.get("user_id")))
    try:
        assert http.get("/any").text == "x"
        until(lambda: slow_client.stats().parked == 0)
        slow_client.flush()
        sandbox.wait_for("streamed", person="ada")
        assert sandbox.count("later") == 0
    finally:
        release.set()
    until(lambda: slow_client.stats().captured == 2)
    slow_client.flush()
    assert sandbox.wait_for("later", person="ada").data["context"]["page"]["path"] == "/any"


def test_a_person_named_in_a_worker_thread_reaches_the_request(sandbox, client, serve_asgi):
    """A sync endpoint runs in a thread with a copy of the context; whom it identifies is the request's person."""

    def endpoint(request):
        cio.track("before")
        cio.identify(request.path_params["who"])
        return PlainTextResponse("ok", background=BackgroundTask(cio.track, "after"))

    http = serve_asgi(starlette(endpoint, client))
    http.get("/ada")
    http.get("/bob")
    http.close()

    for who in ("ada", "bob"):
        for name in ("before", "after"):
            sandbox.wait_for(name, person=who)
    assert client.stats().balanced


async def _dispatch(request, call_next):
    cio.track("around")
    return await call_next(request)


@pytest.mark.parametrize("place", ["above", "below"])
def test_a_base_http_middleware_may_stand_on_either_side(sandbox, client, serve_asgi, place):
    """Starlette's own kind of middleware runs the rest in another task; the person still gets through."""

    async def endpoint(request):
        cio.track("inside")
        cio.identify("ada")
        return PlainTextResponse("ok")

    order = [Middleware(BaseHTTPMiddleware, dispatch=_dispatch), Middleware(CustomerIOMiddleware, client=client)]
    app = Starlette(routes=[Route("/", endpoint)], middleware=order if place == "above" else order[::-1])
    cio.configure(client)
    serve_asgi(app).get("/")
    client.flush()

    sandbox.wait_for("inside", person="ada")
    if place == "below":
        sandbox.wait_for("around", person="ada")
    else:
        assert client.stats().dropped == {"no_identity": 1}


def test_a_mounted_application_belongs_to_the_request(sandbox, client, serve_asgi):
    """Below a mount the page is the whole path, and a second middleware down there adds no second cell."""
    cells = []

    async def endpoint(request):
        cells.append(cio.current_request())
        cio.track("inside")
        return PlainTextResponse("ok")

    def outer(cell):
        return "ada"

    ours = Middleware(CustomerIOMiddleware, client=client, person=lambda cell: "mallory")
    inner = Starlette(routes=[Route("/cart", endpoint)], middleware=[ours, ours])
    app = CustomerIOMiddleware(Starlette(routes=[Mount("/shop/{id}", inner)]), client=client, person=outer)
    assert serve_asgi(app).get("/shop/7/cart").status_code == 200
    client.flush()

    event = sandbox.wait_for("inside", person="ada")
    assert event.data["context"]["page"]["path"] == "/shop/7/cart"
    assert len(cells) == 1
    assert client.stats().captured == 1


async def test_an_exception_passes_unchanged(sandbox, client, call_asgi):
    """What the application raises arrives as it is, and what was parked is settled."""
    error = RuntimeError("boom")

    async def app(scope, receive, send):
        client.track("failed")
        raise error

    with pytest.raises(RuntimeError) as raised:
        await call_asgi(CustomerIOMiddleware(app, client=client, person=lambda cell: "ada"))

    assert raised.value is error
    assert cio.current_request() is None
    client.flush()
    sandbox.wait_for("failed", person="ada")


async def test_a_task_that_outlives_its_request_parks_nothing(sandbox, client, call_asgi, answer):
    """After the request an event goes on at once: with the person that was found, or dropped when there is none."""
    over = asyncio.Event()
    tasks = []

    async def later():
        await over.wait()
        client.track("later")

    async def app(scope, receive, send):
        tasks.append(asyncio.create_task(later()))
        if scope["path"] == "/ada":
            client.identify("ada")
        await answer(send)

    for path in ("/", "/ada"):
        await call_asgi(CustomerIOMiddleware(app, client=client), path=path)
    over.set()
    await asyncio.gather(*tasks)

    stats = client.stats()
    assert (stats.parked, stats.dropped) == (0, {"no_identity": 1})
    client.flush()
    assert sandbox.wait_for("later", person="ada").data["context"]["page"]["path"] == "/ada"


def test_concurrent_requests_never_share_a_person(sandbox, client, serve_asgi):
    """Sixty requests that are in the middle at the same time each keep their own person."""
    everybody_is_here = asyncio.Barrier(60)

    async def endpoint(request):
        who = request.path_params["who"]
        cio.track("before", {"who": who})
        await everybody_is_here.wait()
        if int(who) % 2:
            cio.identify(who)
        else:
            request.scope["who"] = who
        await everybody_is_here.wait()
        cio.track("after", {"who": who})
        return PlainTextResponse("ok")

    http = serve_asgi(starlette(endpoint, client, person=lambda cell: cell.source.get("who")))

    async def crowd():
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=http.base_url, trust_env=False, limits=limits, timeout=20) as many:
            await asyncio.gather(*(many.get(f"/{who}") for who in range(60)))

    asyncio.run(crowd())
    client.flush()

    events = [*sandbox.events("before"), *sandbox.events("after")]
    assert len(events) == 120
    assert all(event.person == event.data["who"] for event in events)


async def test_a_cancelled_request_settles_what_it_parked(sandbox, client, call_asgi):
    """A request that is cancelled passes the cancellation on, and its events go on with whom the browser names."""
    inside = asyncio.Event()

    async def app(scope, receive, send):
        client.track("begun")
        inside.set()
        await asyncio.Event().wait()

    async def request():
        await call_asgi(CustomerIOMiddleware(app, client=client), headers=COOKIE)

    task = asyncio.create_task(request())
    await inside.wait()
    assert client.stats().parked == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert client.stats().parked == 0
    client.flush()
    assert sandbox.wait_for("begun").identifiers == {"anonymous_id": "browser-1"}


@pytest.mark.parametrize("where", ["app", "resolver"])
async def test_a_scope_that_stays_cancelled_loses_no_event(sandbox, client, call_asgi, answer, where):
    """An anyio scope cancels every further wait as well; what is parked goes on all the same, without the resolver."""
    scope_of_the_server = anyio.CancelScope()

    async def resolver(cell):
        scope_of_the_server.cancel()
        await anyio.sleep_forever()

    async def app(scope, receive, send):
        client.track("begun")
        if where == "app":
            scope_of_the_server.cancel()
            await anyio.sleep_forever()
        await answer(send)

    with scope_of_the_server:
        await call_asgi(CustomerIOMiddleware(app, client=client, person=resolver), headers=COOKIE)

    assert scope_of_the_server.cancelled_caught
    assert client.stats().parked == 0
    client.flush()
    assert sandbox.wait_for("begun").identifiers == {"anonymous_id": "browser-1"}


async def waits_long(cell):
    """An asynchronous resolver that is not done soon."""
    await asyncio.Event().wait()


@pytest.mark.parametrize("resolver", [lambda cell: "ada", waits_long, None], ids=["sync", "async", "none"])
async def test_a_request_that_is_thrown_away_settles_what_it_parked(sandbox, client, call_asgi, resolver):
    """A server that drops a request closes it in whatever context it has; nothing fails, and nothing is lost."""

    class Forever:
        """Never done."""

        def __await__(self):
            yield

    async def app(scope, receive, send):
        client.track("begun")
        await Forever()

    call = call_asgi(CustomerIOMiddleware(app, client=client, person=resolver), headers=COOKIE)
    coroutine = call.app(call.scope, call.receive, call.send)
    contextvars.Context().run(coroutine.send, None)
    contextvars.Context().run(coroutine.close)

    assert client.stats().parked == 0
    client.flush()
    assert sandbox.wait_for("begun").person == ("browser-1" if resolver in {waits_long, None} else "ada")


START = {"type": "http.response.start", "status": 200, "headers": []}
BODY = {"type": "http.response.body", "body": b"x"}
TRAILERS = {"type": "http.response.trailers", "headers": []}


@pytest.mark.parametrize(
    ("messages", "parked"),
    [
        ([START, BODY], [1, 0]),
        ([START, {**BODY, "more_body": True}, {**BODY, "more_body": False}], [1, 1, 0]),
        ([{**START, "status": 204}, {"type": "http.response.body"}], [1, 0]),
        ([START, {"type": "http.response.pathsend", "path": "/dev/null"}], [1, 0]),
        ([START, {"type": "http.response.zerocopysend", "file": 0, "more_body": True}, BODY], [1, 1, 0]),
        ([{**START, "trailers": True}, BODY, {**TRAILERS, "more_trailers": True}, TRAILERS], [1, 1, 1, 0]),
        ([{"type": "http.response.debug", "info": {}}, START, BODY], [1, 1, 0]),
        ([START, {**BODY, "more_body": True}], [1, 1]),
        ([], []),
    ],
    ids=["whole", "parts", "204", "pathsend", "zerocopy", "trailers", "debug", "never-ended", "no-response"],
)
async def test_what_is_parked_settles_with_the_last_message(client, call_asgi, messages, parked):
    """Whatever kind of response it is, its last message settles the request; the return of the application at last."""
    seen = []

    async def app(scope, receive, send):
        client.track("viewed")
        for message in messages:
            await send(message)
            seen.append(client.stats().parked)

    async def resolver(cell):
        return "ada"

    call = call_asgi(CustomerIOMiddleware(app, client=client, person=resolver))
    await call

    assert seen == parked
    assert call.sent == [message["type"] for message in messages]
    assert client.stats().parked == 0
    assert not client.stats().dropped


async def test_the_message_is_out_before_the_person_is_asked_for(client, call_asgi, answer):
    """A slow resolver delays nothing that the browser waits for."""
    order = []

    async def resolver(cell):
        order.append("resolver")
        return "ada"

    async def app(scope, receive, send):
        client.track("viewed")
        await answer(send)

    middleware = CustomerIOMiddleware(app, client=client, person=resolver)
    await call_asgi(middleware, on_send=lambda message: order.append(message["type"]))

    assert order == ["http.response.start", "http.response.body", "resolver"]


def test_a_head_request_settles_too(sandbox, client, serve_asgi):
    """A response without a body is the end of a request as well."""

    async def endpoint(request):
        cio.track("viewed")
        return PlainTextResponse("ok")

    assert serve_asgi(starlette(endpoint, client, person=from_path)).head("/ada").status_code == 200
    client.flush()

    sandbox.wait_for("viewed", person="ada")


def test_a_websocket_never_parks(sandbox, client):
    """A websocket may stay open for days: its events go on at once, under whom is known by then."""
    parked = []

    async def endpoint(websocket):
        await websocket.accept()
        for name in ("first", "second"):
            cio.track(name)
            parked.append(client.stats().parked)
            cio.identify("ada")
        await websocket.send_text("done")
        await websocket.close()

    app = Starlette(routes=[WebSocketRoute("/ws", endpoint)])
    browser = TestClient(CustomerIOMiddleware(app, client=client), headers={"cookie": "_cioanonid=browser-1"})
    with browser.websocket_connect("/ws") as websocket:
        assert websocket.receive_text() == "done"
    client.flush()

    assert parked == [0, 0]
    assert sandbox.wait_for("first").identifiers == {"anonymous_id": "browser-1"}
    assert sandbox.wait_for("second", person="ada").data["context"]["page"]["path"] == "/ws"


async def test_an_unknown_kind_of_connection_passes(client, call_asgi):
    """A scope that is neither http, websocket nor lifespan goes to the application as it is."""
    seen = []

    async def app(scope, receive, send):
        seen.append((scope, cio.current_request()))

    call = call_asgi(CustomerIOMiddleware(app, client=client), type="webtransport")
    await call

    assert seen == [(call.scope, None)]


# ------------------------------------------------------------------------------------------------------------ lifespan


def environment(**variables):
    """The environment of a server process; without Customer.io unless it is given."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CUSTOMERIO_")}
    return {**kept, "PYTHONPATH": str(Path(__file__).parents[3]), **variables}


APPS = {
    "starlette": "app = Starlette()\napp.add_middleware(CustomerIOMiddleware)",
    "plain": "async def inner(scope, receive, send):\n    assert scope['type'] == 'http'\n"
    "app = CustomerIOMiddleware(inner)",
}


@pytest.mark.parametrize("kind", APPS)
def test_missing_credentials_fail_the_start(tmp_path, kind):
    """A server without credentials does not start: it exits with a failure and says what is missing, once."""
    imports = "from starlette.applications import Starlette\nfrom cio_middleware.asgi import CustomerIOMiddleware\n"
    (tmp_path / "shop.py").write_text(imports + APPS[kind], "utf-8")

    server = subprocess.run(
        [sys.executable, "-m", "uvicorn", "shop:app", "--port", "0"],
        cwd=tmp_path, env=environment(CUSTOMERIO_SITE_ID="site"), capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert server.returncode == 3
    assert server.stderr.count("CUSTOMERIO_API_KEY is missing (CUSTOMERIO_SITE_ID is set)") == 1
    assert "Traceback" not in server.stderr


def test_a_stop_flushes(sandbox, slow_client):
    """When the server stops, what is queued is sent before the stop is done."""

    async def endpoint(request):
        cio.track("viewed", person="ada")
        return PlainTextResponse("ok")

    app = starlette(endpoint, slow_client)
    with TestClient(app) as browser:
        browser.get("/x")
        assert sandbox.count("viewed") == 0

    assert sandbox.count("viewed") == 1


def lifespan_app(client, start=lambda: None, stop=lambda: None):
    """An application that does something when it starts and stops."""

    async def app(scope, receive, send):
        assert scope["type"] == "lifespan"
        await receive()
        start()
        try:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        finally:
            stop()
        await send({"type": "lifespan.shutdown.complete"})

    return CustomerIOMiddleware(app, client=client)


def test_an_application_may_configure_when_it_starts(client):
    """The credentials are looked for after the application's own start."""
    with TestClient(lifespan_app(None, start=lambda: cio.configure(client))):
        assert cio.get_client() is client


def test_an_application_cleans_up_when_the_start_fails():
    """An application that began to start without credentials gets the chance to undo it."""
    done = []

    with pytest.raises(cio.ConfigurationError, match="credentials not configured"):
        TestClient(lifespan_app(None, stop=lambda: done.append("stopped"))).__enter__()

    assert done == ["stopped"]


def test_an_application_may_close_the_client_when_it_stops(sandbox, client):
    """A client that the application has closed itself is not flushed again, and the stop succeeds."""
    with TestClient(lifespan_app(client, stop=client.close)):
        client.track("viewed", person="ada")

    assert sandbox.count("viewed") == 1


def test_a_failure_of_the_application_itself_is_its_own(client):
    """An error in the application's start passes unchanged."""

    def fail():
        raise LookupError("no database")

    with pytest.raises(LookupError, match="no database"):
        TestClient(lifespan_app(client, start=fail)).__enter__()


# ------------------------------------------------------------------------------------------------------ default client


async def test_without_a_client_requests_pass(call_asgi, answer, caplog, clean_environment):
    """A server that did not run the lifespan serves on without a client, and says so once."""

    async def app(scope, receive, send):
        assert cio.track("viewed") is None
        await answer(send)

    middleware = CustomerIOMiddleware(app)
    for _ in range(3):
        call = call_asgi(middleware)
        await call
        assert call.sent == ["http.response.start", "http.response.body"]

    assert [record.message.count("CUSTOMERIO_SITE_ID") for record in caplog.records] == [1]


async def test_the_middleware_follows_the_default_client(make_client, call_asgi, answer):
    """A client that is configured later serves the next request."""
    seen = []

    async def app(scope, receive, send):
        cell: Any = cio.current_request()
        seen.append(cell.client)
        await answer(send)

    middleware = CustomerIOMiddleware(app)
    clients = [cio.configure(make_client()), cio.configure(make_client())]
    for client in clients:
        cio.configure(client)
        await call_asgi(middleware)

    assert seen == clients


async def test_inside_a_request_the_verbs_use_its_client(client, make_client, call_asgi, answer):
    """`cio.track` and the others go to the middleware's client, not to the default one."""
    other = cio.configure(make_client())

    async def app(scope, receive, send):
        cio.track("a", person="ada")
        cio.page("http://x/", person="ada")
        cio.identify("ada", {"plan": "pro"})
        assert cio.flush()
        await answer(send)

    await call_asgi(CustomerIOMiddleware(app, client=client))

    assert client.stats().delivered == 3
    assert other.stats().captured == 0


@pytest.mark.parametrize("options", [{"person": "ada"}, {"capture": ["page", "cookies"]}])
def test_a_wrong_option_fails_at_once(client, options):
    """A middleware that could not do what it was told is not made."""

    async def app(scope, receive, send):
        """Never called."""

    with pytest.raises(cio.ConfigurationError):
        CustomerIOMiddleware(app, client=client, **options)


async def test_a_single_query_key_is_one_key(sandbox, client, call_asgi, answer):
    """A string is taken for the name that it is, not for its letters."""

    async def app(scope, receive, send):
        client.track("viewed", person="ada")
        await answer(send)

    middleware = CustomerIOMiddleware(app, client=client, query_keys="ref")
    await call_asgi(middleware, query_string=b"ref=news&r=secret")
    client.flush()

    assert sandbox.wait_for("viewed").data["context"]["page"]["search"] == "?ref=news"
