"""The WSGI middleware: every kind of body knows its request, and none of them is changed."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import signal
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import flask
import flask_login
import httpx
import pytest
import waitress.buffers

import cio_middleware as cio
from cio_middleware.wsgi import CustomerIOMiddleware

COOKIE = "_cioanonid=browser-1"


class Started:
    """A start_response that remembers."""

    def __init__(self):
        self.calls = []
        self.written = []

    def __call__(self, status, headers, exc_info=None):
        """PEP 3333."""
        self.calls.append((status, exc_info is not None))
        return self.written.append


@pytest.fixture(name="environ")
def _environ():
    """The environ of a GET."""
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/shop",
        "QUERY_STRING": "",
        "SERVER_NAME": "shop.example",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


@pytest.fixture(name="start")
def _start():
    """A start_response."""
    return Started()


class Body:
    """A body that counts what is done with it."""

    def __init__(self, client, items=(b"one", b"two"), error=None):
        self.client = client
        self.items = iter(items)
        self.error = error
        self.closed = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.client.track("step")
        if self.error is not None:
            raise self.error
        return next(self.items)

    def close(self):
        """PEP 3333."""
        self.closed += 1
        self.client.track("close")


class SizedBody(Body):
    """The same, with a length."""

    def __len__(self):
        return 2


class ListWithClose(list):
    """A list that wants to be closed, and knows in which request that was."""

    closed_in = None

    def close(self):
        """PEP 3333."""
        self.closed_in = cio.current_request()


def app_of(body):
    """An application that returns this body."""

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return body

    return app


def respond(app, environ, start) -> Any:
    """The body that a server gets from an application."""
    return app(environ, start)


def run(app, environ, start):
    """What a server does with an application."""
    body = respond(app, environ, start)
    try:
        return list(body)
    finally:
        if hasattr(body, "close"):
            body.close()


def test_a_body_knows_its_request_and_its_person(sandbox, client, environ, start):
    """Events captured while the body is iterated and closed belong to the request; nothing stays current after it."""
    body = Body(client)
    app = CustomerIOMiddleware(app_of(body), client=client, person=lambda cell: "ada")

    assert run(app, environ, start) == [b"one", b"two"]
    assert body.closed == 1
    assert cio.current_request() is None
    client.flush()

    assert sandbox.count("step") == 3
    for name in ("step", "close"):
        assert sandbox.wait_for(name, person="ada").data["context"]["page"]["url"] == "http://shop.example/shop"


@pytest.mark.parametrize("body", [[b"x"], (b"x",), []], ids=["list", "tuple", "empty"])
def test_a_plain_list_is_returned_as_it_is(client, environ, start, body):
    """A server may look at a list's length and items: it gets the very one."""
    returned = CustomerIOMiddleware(app_of(body), client=client)(environ, start)

    assert returned is body


def test_a_list_with_ideas_of_its_own_is_closed(client, environ, start):
    """A subclass of list keeps its length, and its close() is called."""
    body = ListWithClose([b"x"])
    returned = respond(CustomerIOMiddleware(app_of(body), client=client), environ, start)

    assert len(returned) == 1
    assert list(returned) == [b"x"]
    returned.close()
    assert isinstance(body.closed_in, cio.RequestCell)


def test_a_length_is_kept_and_none_is_made_up(client, environ, start):
    """A server reads Content-Length from the length of a body of one item, so it must be there exactly if it was."""
    sized = respond(CustomerIOMiddleware(app_of(SizedBody(client)), client=client), environ, start)
    unsized = respond(CustomerIOMiddleware(app_of(Body(client)), client=client), {**environ}, start)

    assert len(sized) == 2
    assert not hasattr(unsized, "__len__")


def test_a_body_that_is_closed_before_it_began_is_closed(sandbox, client, environ, start):
    """A server that needs no body, as for HEAD, closes it without a step; the application's close() runs, once."""
    inner = Body(client)
    body = respond(CustomerIOMiddleware(app_of(inner), client=client, person=lambda cell: "ada"), environ, start)

    body.close()
    body.close()

    assert inner.closed == 1
    client.flush()
    sandbox.wait_for("close", person="ada")
    assert sandbox.count("step") == 0


def uwsgi_wrapper(file, block_size=8192):
    """As uWSGI's: a function that returns the file itself."""
    return file


@pytest.mark.parametrize(
    "wrapper",
    [FileWrapper, waitress.buffers.ReadOnlyFileBasedBuffer, uwsgi_wrapper],
    ids=["wsgiref", "waitress", "uwsgi"],
)
def test_a_file_wrapper_goes_through_untouched(client, environ, start, wrapper):
    """The server sends a file by itself only if it gets its own wrapper back."""
    wrapped = wrapper(io.BytesIO(b"x"))
    environ["wsgi.file_wrapper"] = wrapper

    assert CustomerIOMiddleware(app_of(wrapped), client=client)(environ, start) is wrapped


def test_a_body_that_is_never_closed_settles_at_its_end(client, environ, start):
    """A careless server that reads a body to its end and forgets to close it still ends the request."""
    body = respond(CustomerIOMiddleware(app_of(Body(client)), client=client), {**environ, "HTTP_COOKIE": COOKIE}, start)

    next(body)
    assert client.stats().parked == 1
    list(body)
    assert client.stats().parked == 0


def test_an_error_before_the_response_passes_unchanged(sandbox, client, environ, start):
    """What the application raises arrives as it is, and what was parked is settled."""
    error = RuntimeError("boom")

    def app(environ, start_response):
        client.track("begun")
        raise error

    with pytest.raises(RuntimeError) as raised:
        CustomerIOMiddleware(app, client=client)({**environ, "HTTP_COOKIE": COOKIE}, start)

    assert raised.value is error
    assert client.stats().parked == 0
    assert cio.current_request() is None
    client.flush()
    assert sandbox.wait_for("begun").identifiers == {"anonymous_id": "browser-1"}


def test_an_error_in_the_body_passes_unchanged(sandbox, client, environ, start):
    """An error in the middle of a body arrives as it is; the body is closed, and what was parked is settled."""
    error = RuntimeError("boom")
    inner = Body(client, error=error)

    with pytest.raises(RuntimeError) as raised:
        run(CustomerIOMiddleware(app_of(inner), client=client), {**environ, "HTTP_COOKIE": COOKIE}, start)

    assert raised.value is error
    assert inner.closed == 1
    assert client.stats().parked == 0
    assert client.flush()
    assert sandbox.count("step") == 1


def test_a_response_may_start_late_and_twice(sandbox, client, environ, start):
    """An application may start its response at the first step of its body, and start it again after an error."""

    def app(environ, start_response):
        client.track("begun")
        start_response("200 OK", [])
        try:
            environ["no such key"]
        except LookupError:
            start_response("500 Oops", [], sys.exc_info())
        yield b"x"
        client.track("ended")

    assert run(CustomerIOMiddleware(app, client=client, person=lambda cell: "ada"), environ, start) == [b"x"]
    assert start.calls == [("200 OK", False), ("500 Oops", True)]
    client.flush()
    for name in ("begun", "ended"):
        sandbox.wait_for(name, person="ada")


def test_write_is_the_servers_own(client, environ, start):
    """The old way to send a body, `write()`, is what the server returned."""

    def app(environ, start_response):
        write = start_response("200 OK", [])
        write(b"x")
        return []

    run(CustomerIOMiddleware(app, client=client), environ, start)

    assert start.written == [b"x"]


def test_an_identity_found_while_the_body_is_sent_is_used(sandbox, client, environ, start):
    """The request is over when its body is: who is identified on the way is the person of what came before."""

    def app(environ, start_response):
        client.track("before")
        start_response("200 OK", [])
        client.track("first")
        yield b"x"
        assert client.stats().parked == 1
        client.identify("ada")
        client.track("second")

    run(CustomerIOMiddleware(app, client=client), environ, start)
    client.flush()

    for name in ("first", "second"):
        sandbox.wait_for(name, person="ada")


def test_the_person_is_asked_for_when_the_response_starts(sandbox, client, environ, start):
    """There a framework's own context is still alive; what is known then settles what was parked."""
    alive = []

    def app(environ, start_response):
        client.track("e")
        alive.append("ada")
        start_response("200 OK", [])
        alive.clear()
        return [b""]

    run(CustomerIOMiddleware(app, client=client, person=lambda cell: alive[0] if alive else None), environ, start)
    client.flush()

    sandbox.wait_for("e", person="ada")


def test_a_server_may_change_threads_at_every_step(sandbox, client, environ, start):
    """Each step of a body may run in another thread; the request is current in it, and not afterwards."""
    body = respond(CustomerIOMiddleware(app_of(Body(client)), client=client, person=lambda cell: "ada"), environ, start)

    def step():
        item = next(body, None)
        assert cio.current_request() is None
        return item

    items = []
    for _ in range(3):
        with ThreadPoolExecutor(1) as thread:
            items.append(thread.submit(step).result())
    body.close()
    client.flush()

    assert items == [b"one", b"two", None]
    assert {event.person for event in sandbox.events("step")} == {"ada"}


def test_interleaved_bodies_keep_their_requests_apart(sandbox, client, environ, start):
    """Two bodies that one thread iterates by turns each know their own request."""
    middleware = CustomerIOMiddleware(
        lambda environ, start_response: (start_response("200 OK", []), Body(client))[1],
        client=client,
        person=lambda cell: cell.source["PATH_INFO"].strip("/"),
    )
    bodies = [respond(middleware, {**environ, "PATH_INFO": f"/{who}"}, start) for who in ("ada", "bob")]
    for _ in range(2):
        for body in bodies:
            next(body)
    for body in bodies:
        body.close()
    client.flush()

    assert [event.person for event in sandbox.events("step")] == ["ada", "bob", "ada", "bob"]


def test_installed_twice_it_is_one_cell(sandbox, client, environ, start):
    """A second middleware further in leaves the request to the first."""

    def app(environ, start_response):
        client.track("e")
        start_response("200 OK", [])
        return [b""]

    inner = CustomerIOMiddleware(app, client=client, person=lambda cell: "mallory")
    run(CustomerIOMiddleware(inner, client=client, person=lambda cell: "ada"), environ, start)
    client.flush()

    sandbox.wait_for("e", person="ada")
    assert client.stats().captured == 1


def test_a_validating_server_has_no_complaint(client, environ, start):
    """The standard library's checker of PEP 3333 accepts what is between it and the application."""

    def app(environ, start_response):
        client.track("e", person="ada")
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"x"

    def checked(environ, start_response):
        return validator(CustomerIOMiddleware(validator(app), client=client))(environ, start_response)

    assert run(checked, environ, lambda status, headers, exc_info=None: start(status, headers, exc_info)) == [b"x"]


class Environ(dict):
    """A dict that can be referred to weakly."""


class UntouchableEnviron(Environ):
    """An environ that fails the test when somebody reads it."""

    def __getitem__(self, key):
        raise AssertionError(key)

    def get(self, key, default=None):
        """As above."""
        raise AssertionError(key)


def test_a_request_without_an_event_is_not_looked_at(client, environ, start):
    """Until an event is captured nothing is read, and nobody is asked for a person."""

    def resolver(cell):
        raise AssertionError(cell)

    app = CustomerIOMiddleware(app_of([b"x"]), client=client, person=resolver)

    assert run(app, UntouchableEnviron(environ), start) == [b"x"]
    assert client.stats().captured == 0


def test_a_request_leaves_nothing_for_the_garbage_collector(client, environ, start):
    """The cell and the environ are gone when the request is, without a run of the garbage collector."""
    kept = Environ(environ)
    reference = weakref.ref(kept)
    gc.disable()
    try:
        run(CustomerIOMiddleware(app_of(iter([b"x"])), client=client), kept, start)
        del kept
        assert reference() is None
    finally:
        gc.enable()


def test_a_resolver_that_must_be_awaited_is_refused_or_named(client, environ, start, caplog):
    """WSGI has nobody to await: a coroutine function fails at once, a disguised one is named in the log."""

    async def resolver(cell):
        return "ada"

    with pytest.raises(cio.ConfigurationError, match="asynchronous"):
        CustomerIOMiddleware(app_of([]), client=client, person=resolver)

    app = CustomerIOMiddleware(app_of(Body(client)), client=client, person=lambda cell: resolver(cell))  # noqa: PLW0108
    run(app, {**environ, "HTTP_COOKIE": COOKIE}, start)
    client.flush()

    assert "make it a plain function" in caplog.text
    assert client.stats().delivered == 4


def test_missing_credentials_fail_the_construction(clean_environment):
    """A WSGI application without credentials does not come up; the message says what is missing."""
    clean_environment.setenv("CUSTOMERIO_SITE_ID", "site")

    with pytest.raises(cio.ConfigurationError, match=r"CUSTOMERIO_API_KEY is missing \(CUSTOMERIO_SITE_ID is set\)"):
        CustomerIOMiddleware(app_of([]))


def test_the_middleware_follows_the_default_client(make_client, environ, start):
    """A client that is configured later serves the next request; with none, requests pass."""
    seen = []

    def app(environ, start_response):
        cell = cio.current_request()
        seen.append(cell and cell.client)
        start_response("200 OK", [])
        return []

    first = cio.configure(make_client())
    middleware = CustomerIOMiddleware(app)
    run(middleware, {**environ}, start)
    second = cio.configure(make_client())
    run(middleware, {**environ}, start)

    assert seen == [first, second]


def test_the_first_request_takes_over_what_a_dead_process_left(make_client, sandbox, environ, start, tmp_path):
    """With a spool: the request need capture nothing, and WSGI tells nobody that a server starts."""
    spool = {"queue": "spool", "spool_dir": str(tmp_path / "spool")}
    dead = make_client(**spool, flush_interval=60.0)
    dead.track("step", person="ada")
    dead.close(0)
    client = make_client(**spool)
    run(CustomerIOMiddleware(app_of([b"ok"]), client=client), environ, start)
    sandbox.wait_for("step", person="ada")
    assert client.stats().captured == 0


# ----------------------------------------------------------------------------------------------------- Flask, for real


@pytest.fixture(name="shop")
def _shop(client):
    """A Flask shop with Flask-Login; our middleware is told nothing about persons."""
    app: Any = flask.Flask("shop")
    app.secret_key = "not so secret"
    logins = flask_login.LoginManager(app)
    loaded = []

    class User(flask_login.UserMixin):  # type: ignore[misc]
        def __init__(self, id_):
            self.id = id_

    @logins.user_loader
    def load(id_):
        loaded.append(id_)
        return User(id_)

    @app.get("/login/<who>")
    def login(who):
        cio.track("before_login")
        flask_login.login_user(User(who))
        return "welcome"

    @app.get("/cart")
    def cart():
        cio.track("viewed_cart")
        return "cart"

    @app.get("/silent")
    def silent():
        return "silent"

    @app.get("/stream")
    def stream():
        def body():
            yield "one"
            cio.track("streamed")
            yield "two"

        return flask.Response(flask.stream_with_context(body()))

    @app.get("/file")
    def file():
        cio.track("downloaded")
        return flask.send_file(__file__)

    @app.get("/broken")
    def broken():
        cio.track("broke")
        raise RuntimeError

    app.wsgi_app = CustomerIOMiddleware(app.wsgi_app, client=client)
    app.loaded = loaded
    app.logger.disabled = True
    return app


def test_flask_login_is_enough(sandbox, client, shop, serve_wsgi):
    """The signed-in person is found with no configuration, also when they sign in during the request."""
    http = serve_wsgi(shop)
    assert http.get("/login/ada").text == "welcome"
    assert http.get("/cart").text == "cart"
    assert http.get("/stream").text == "onetwo"
    assert http.get("/broken").status_code == 500
    assert http.get("/file").text == Path(__file__).read_text("utf-8")
    http.cookies.clear()
    assert http.get("/cart", headers={"cookie": COOKIE}).text == "cart"
    client.flush()

    for name in ("before_login", "viewed_cart", "streamed", "broke", "downloaded"):
        sandbox.wait_for(name, person="ada")
    assert sandbox.wait_for("viewed_cart", person="browser-1").data["context"]["page"]["path"] == "/cart"
    assert client.stats().parked == 0


def test_flask_loads_no_user_without_an_event(shop, serve_wsgi):
    """A page without an event costs no look-up of the user."""
    http = serve_wsgi(shop)
    http.get("/login/ada")
    before = len(shop.loaded)
    http.get("/silent")

    assert len(shop.loaded) == before


def test_many_threads_keep_their_persons_apart(sandbox, client, shop, serve_wsgi):
    """Requests that are served at the same time, by threads that are used again, never share a person."""
    http = serve_wsgi(shop)

    def visit(who):
        with httpx.Client(base_url=http.base_url, trust_env=False, timeout=10) as browser:
            browser.get(f"/login/{who}")
            for _ in range(3):
                browser.get("/stream")
                browser.get("/cart")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(visit, [f"user-{number}" for number in range(8)]))
    client.flush()

    for number in range(8):
        names = sandbox.people[f"user-{number}"].event_names
        assert sorted(names) == ["before_login", *["streamed"] * 3, *["viewed_cart"] * 3]


GUNICORN_APP = """
import os
import cio_middleware as cio
from cio_middleware.wsgi import CustomerIOMiddleware

def app(environ, start_response):
    cio.track("served", {"pid": os.getpid(), "parent": PARENT}, person="ada")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Connection", "close")])
    return [str(os.getpid()).encode()]

PARENT = os.getpid()
cio.track("preloaded", person="ada")
app = CustomerIOMiddleware(app)
"""


def test_workers_that_gunicorn_forks_deliver_their_own_events(sandbox, tmp_path):
    """With a preloaded application each worker delivers what it captured, and the master's event is sent once."""
    (tmp_path / "shop.py").write_text(GUNICORN_APP, "utf-8")
    settings = {f"CUSTOMERIO_{name.upper()}": value for name, value in sandbox.settings.items()}
    settings |= {"CUSTOMERIO_FLUSH_INTERVAL": "0.05", "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-m", "gunicorn", "shop:app", "--preload", "--workers", "2", "--bind", "127.0.0.1:0"]
    with subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, **settings}, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            log: Any = server.stderr
            line = next(line for line in log if "Listening at" in line)
            url = line.split("Listening at: ")[1].split(" ")[0]
            pids: set[int] = set()
            with httpx.Client(base_url=url, trust_env=False, timeout=10) as http:
                while len(pids) < 2:  # each request is a connection of its own, which either may take
                    pids.add(int(http.get("/").text))
            threading.Thread(target=log.read, daemon=True).start()
            for pid in pids:
                sandbox.wait_for("served", data={"pid": pid}, timeout=5)
            sandbox.wait_for("preloaded", timeout=5)
        finally:
            with contextlib.suppress(ProcessLookupError):
                server.send_signal(signal.SIGTERM)

    assert sandbox.count("preloaded") == 1
    assert sandbox.duplicates("preloaded") == 0
    assert {event.data["pid"] for event in sandbox.events("served")} == pids
