"""Who an event is about: explicit > bound() > identify() > resolver > anonymous id."""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser, SimpleUser, UnauthenticatedUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient

import cio_middleware as cio
from cio_middleware.asgi import CustomerIOMiddleware

COOKIE = [(b"cookie", b"theme=dark; _cioanonid=browser-1")]


@pytest.fixture(name="request_with")
def _request_with(client, call_asgi, answer):
    """Runs a function inside a request; keywords go to the middleware, `scope` into the scope."""

    async def run(inside, *, scope=None, the_client=client, **options):
        async def app(scope, receive, send):
            found = inside()
            if asyncio.iscoroutine(found):
                await found
            await answer(send)

        await call_asgi(CustomerIOMiddleware(app, client=the_client, **options), **(scope or {}))
        if not client.stats().pending:
            return
        assert await client.aflush()

    return run


@pytest.fixture(name="whose")
def _whose(sandbox):
    """The identifiers of the only event that arrived; None when there is none."""

    def whose(name="e"):
        events = sandbox.events(name)
        assert len(events) <= 1
        return dict(events[0].identifiers) if events else None

    return whose


ORDER = [
    ("explicit", {"id": "explicit"}),
    ("bound", {"id": "bound"}),
    ("identify", {"id": "identify"}),
    ("resolver", {"id": "resolver"}),
    ("anonymous", {"anonymous_id": "browser-1"}),
    ("nobody", None),
]


@pytest.mark.parametrize(("best", "expected"), ORDER, ids=[best for best, _ in ORDER])
async def test_the_best_known_person_wins(client, request_with, whose, best, expected):
    """Each source is used only when no better one names somebody."""
    there = {source for source, _ in ORDER[[source for source, _ in ORDER].index(best) :]}

    def inside():
        if "identify" in there:
            client.identify("identify")
        with cio.bound(person="bound" if "bound" in there else None):
            client.track("e", person="explicit" if "explicit" in there else None)

    await request_with(
        inside,
        person=(lambda cell: "resolver") if "resolver" in there else (lambda cell: None),
        scope={"headers": COOKIE if "anonymous" in there else []},
    )

    assert whose() == expected
    assert client.stats().dropped == ({} if expected else {"no_identity": 1})


async def test_an_explicit_anonymous_id_is_not_overruled(client, request_with, whose):
    """An event that names a browser is about that browser, whoever is signed in."""
    await request_with(lambda: client.track("e", anonymous_id="other"), person=lambda cell: "ada")

    assert whose() == {"anonymous_id": "other"}


async def ada_later(cell):
    """An asynchronous resolver that really waits."""
    await asyncio.sleep(0)
    return cio.Identity(email="ada@example.com")


def ada_future(cell):
    """A plain function that returns something to await."""
    future = asyncio.get_running_loop().create_future()
    future.set_result("ada")
    return future


class Later:
    """An object that can be awaited, and nothing else."""

    def __await__(self):
        yield from asyncio.sleep(0).__await__()
        return "ada"


RESOLVERS = {
    "string": (lambda cell: "ada", {"id": "ada"}),
    "int": (lambda cell: 7, {"id": "7"}),
    "identity": (lambda cell: cio.Identity(cio_id="a1"), {"cio_id": "a1"}),
    "coroutine function": (ada_later, {"email": "ada@example.com"}),
    "lambda of a coroutine": (lambda cell: ada_later(cell), {"email": "ada@example.com"}),  # noqa: PLW0108
    "future": (ada_future, {"id": "ada"}),
    "awaitable object": (lambda cell: Later(), {"id": "ada"}),
}


@pytest.mark.parametrize(("resolver", "expected"), RESOLVERS.values(), ids=RESOLVERS)
async def test_a_resolver_may_answer_at_once_or_later(client, request_with, whose, resolver, expected):
    """`person=` is a plain or an asynchronous callable, or a plain one that returns an awaitable."""
    await request_with(lambda: client.track("e"), person=resolver)

    assert whose() == expected


class Hostile:
    """Raises whatever is done to it."""

    @property  # type: ignore[misc]
    def __class__(self):
        raise OSError

    def __bool__(self):
        raise OSError

    def __eq__(self, other):
        raise OSError

    __hash__: Any = None


class HostileInt(int):
    """An int that is none."""

    def __int__(self):
        raise OSError


async def awaits_nonsense(cell):
    """Answers with something to await once more."""
    return ada_later(cell)


async def cancelled(cell):
    """Waits for something that is cancelled, though its request is not."""
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()
    return await task


def raising(error):
    """A resolver that raises."""

    def resolver(cell):
        raise error

    return resolver


async def raising_later(cell):
    """An asynchronous resolver that raises."""
    raise LookupError("ada@example.com")


BAD = {
    "raises": raising(LookupError("ada@example.com")),
    "raises later": raising_later,
    "raises StopIteration": raising(StopIteration("ada@example.com")),
    "recursion": raising(RecursionError()),
    "stray cancellation": cancelled,
    "an object": lambda cell: object(),
    "a bool": lambda cell: True,
    "an empty string": lambda cell: "",
    "a blank string": lambda cell: "  ",
    "too long": lambda cell: "x" * 151,
    "bytes": lambda cell: b"ada",
    "a hostile object": lambda cell: Hostile(),
    "a hostile int": lambda cell: HostileInt(7),
    "an awaitable of an awaitable": awaits_nonsense,
}


@pytest.mark.parametrize("resolver", BAD.values(), ids=BAD)
async def test_a_resolver_that_fails_is_as_good_as_none(client, request_with, whose, caplog, resolver):
    """Whatever a resolver does, the request goes on with the browser's id, and the log says so without the value."""
    await request_with(lambda: client.track("e"), person=resolver, scope={"headers": COOKIE})

    assert whose() == {"anonymous_id": "browser-1"}
    assert client.stats().balanced
    assert any("person=" in record.getMessage() for record in caplog.records)
    assert "ada@" not in caplog.text


async def test_a_resolver_that_fails_is_named_once(client, request_with, caplog):
    """A thousand requests with a broken resolver are one line in the log."""
    for _ in range(20):
        await request_with(lambda: client.track("e"), person=BAD["raises"], scope={"headers": COOKIE})

    assert len(caplog.records) == 1


async def test_a_slow_resolver_is_named_once(make_client, clock, request_with, caplog):
    """A plain resolver that holds up the loop for more than 0.1 seconds is worth a line, once."""

    def slow(cell):
        clock.advance(0.3)
        return "ada"

    client = make_client(client_options={"clock": clock})
    for _ in range(3):
        await request_with(lambda: client.track("e"), person=slow, the_client=client)

    assert [record.getMessage() for record in caplog.records] == [
        "person= took 0.30 s; make it asynchronous, or cache what it looks up"
    ]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_nobody_is_asked_without_an_event(client, request_with, kind):
    """A request without an event costs no look-up; nor does one whose events name their person."""
    asked = []

    async def later(cell):
        asked.append(cell)

    def inside():
        client.track("e", person="ada")
        client.identify("ada", {"plan": "pro"})
        client.flush()

    resolver = asked.append if kind == "sync" else later
    await request_with(lambda: None, person=resolver)
    await request_with(inside, person=resolver)

    assert asked == []


async def test_a_resolver_is_asked_once_when_it_knows(client, request_with):
    """However many events a request has, a resolver that answers is asked once."""
    asked = []

    def resolver(cell):
        asked.append(cell)
        return "ada"

    await request_with(lambda: [client.track("e") for _ in range(5)], person=resolver)

    assert len(asked) == 1


async def test_a_resolver_that_does_not_know_is_asked_again_at_the_end(client, request_with):
    """However many events a request has, a resolver without an answer is asked at the first and at the end."""
    asked: list[cio.RequestCell] = []

    await request_with(lambda: [client.track("e") for _ in range(5)], person=asked.append)

    assert len(asked) == 2


async def test_an_asynchronous_answer_that_is_not_needed_leaves_no_warning(client, request_with, whose):
    """When `identify()` comes first, the coroutine of the resolver is closed and not forgotten."""

    def inside():
        client.track("e")
        client.identify("bob")

    await request_with(inside, person=ada_later)

    assert whose() == {"id": "bob"}


async def test_a_resolver_may_capture_events_itself(client, request_with, sandbox):
    """An event inside a resolver is one more event of the request, and no endless loop."""

    def resolver(cell):
        client.track("looked_up")
        client.flush()
        return "ada"

    await request_with(lambda: client.track("e"), person=resolver)

    assert sandbox.count("e") == 1
    assert client.stats().parked == 0
    assert client.stats().balanced


# -------------------------------------------------------------------------------------------- who the framework knows


class Member(BaseUser):
    """A user class as Starlette documents it."""

    is_authenticated = True
    display_name = "Ada"

    def __init__(self, identity):
        self._identity = identity

    @property
    def identity(self):
        """Who."""
        return self._identity


class Account:
    """A user class as an ORM makes it; attributes are given."""

    is_authenticated = True

    def __init__(self, **attributes):
        self.__dict__.update(attributes)


KEY = uuid.UUID(int=7)

USERS = {
    "nobody": (None, None),
    "UnauthenticatedUser": (UnauthenticatedUser(), None),
    "SimpleUser": (SimpleUser("ada"), {"id": "ada"}),
    "identity": (Member("ada"), {"id": "ada"}),
    "identity wins over id": (Account(identity="ada", id=7), {"id": "ada"}),
    "int": (Account(id=7), {"id": "7"}),
    "pk": (Account(pk=7, id=8), {"id": "7"}),
    "uuid": (Account(id=KEY, username="ada"), {"id": str(KEY)}),
    "get_id": (Account(get_id=lambda: "7", id=8), {"id": "7"}),
    "unset id": (Account(id=None, username="ada"), {"id": "ada"}),
    "a method is no id": (Account(identity=lambda: 1, id=7), {"id": "7"}),
    "another kind of id": (Account(id=object(), username="ada"), None),
    "is_authenticated as a method": (Account(is_authenticated=lambda: False, id=7), None),
    "no is_authenticated": ({"id": 7}, None),
    "a string": ("ada", None),
    "hostile": (Hostile(), None),
}


@pytest.mark.parametrize(("user", "expected"), USERS.values(), ids=USERS)
async def test_the_signed_in_user_is_the_person(client, request_with, whose, user, expected):
    """With no configuration `scope["user"]` names the person, if it says that it is signed in and has an id."""
    await request_with(lambda: client.track("e"), scope={"user": user})

    assert whose() == expected
    assert client.stats().balanced


def test_starlettes_own_authentication_is_enough(sandbox, client, serve_asgi):
    """An application with AuthenticationMiddleware needs to say nothing about persons."""

    class ByHeader(AuthenticationBackend):
        async def authenticate(self, conn):
            who = conn.headers.get("authorization")
            return (AuthCredentials(["authenticated"]), SimpleUser(who)) if who else None

    def endpoint(request):
        cio.track("viewed")
        return PlainTextResponse("ok")

    middleware = [Middleware(CustomerIOMiddleware, client=client), Middleware(AuthenticationMiddleware, ByHeader())]
    http = serve_asgi(Starlette(routes=[Route("/", endpoint)], middleware=middleware))
    http.get("/", headers={"authorization": "ada"})
    http.get("/", headers={"cookie": "_cioanonid=browser-1"})
    client.flush()

    sandbox.wait_for("viewed", person="ada")
    assert "ada" not in str(sandbox.wait_for("viewed", person="ada").data)
    sandbox.wait_for("viewed", person="browser-1")


FORGED = [
    *(
        (name.encode(), b"mallory")
        for name in ("x-user-id", "x-user", "x-forwarded-user", "remote-user", "user", "from")
    ),
    (b"cookie", b"user=mallory; id=mallory; person=mallory; _cioanonid=ada; _cioid=mallory"),
    (b"authorization", b"Basic bWFsbG9yeTo="),
    (b"baggage", b"user.id=mallory"),
]


@pytest.mark.parametrize("resolver", [lambda cell: "ada", lambda cell: None], ids=["signed in", "signed out"])
async def test_no_header_and_no_cookie_changes_the_person(client, request_with, sandbox, resolver):
    """What a browser sends names a browser at most, even if it carries somebody's id."""
    await request_with(
        lambda: client.track("e"),
        person=resolver,
        scope={"headers": FORGED, "query_string": b"user_id=mallory&person=mallory"},
    )

    (event,) = sandbox.events("e")
    assert event.identifiers in ({"id": "ada"}, {"anonymous_id": "ada"})
    assert ("id" in event.identifiers) == (resolver(None) == "ada")
    assert "mallory" not in str(event.data)


COOKIES = {
    "plain": (b"_cioanonid=browser-1", "browser-1"),
    "among others": (b"a=b; _cioanonid=browser-1; c=d", "browser-1"),
    "no such cookie": (b"a=b", None),
    "empty": (b"_cioanonid=", None),
    "not an id": (b"_cioanonid=<script>", None),
    "too long": (b"_cioanonid=" + b"x" * 151, None),
    "not even text": (b"\xff_cioanonid=\xff\xfe", None),
}


@pytest.mark.parametrize(("cookie", "expected"), COOKIES.values(), ids=COOKIES)
async def test_the_cookie_names_the_browser(client, request_with, whose, cookie, expected):
    """Without a person the browser's id is used if it looks like one; else the event is dropped and counted."""
    await request_with(lambda: client.track("e"), scope={"headers": [(b"cookie", cookie)]})

    assert whose() == ({"anonymous_id": expected} if expected else None)
    assert client.stats().dropped == ({} if expected else {"no_identity": 1})


async def test_a_scope_with_broken_headers_raises_nowhere(client, request_with):
    """A server that hands over nonsense costs an event, not a request."""
    await request_with(lambda: client.track("e"), scope={"headers": [None]})

    assert client.stats().balanced
    assert client.stats().parked == 0


async def test_the_cookie_may_be_ignored(client, request_with, whose):
    """`anonymous_id_cookie=None` reads no cookie."""
    await request_with(lambda: client.track("e"), anonymous_id_cookie=None, scope={"headers": COOKIE})

    assert whose() is None


# ------------------------------------------------------------------------------------------------------------- identify


async def test_identify_without_attributes_binds_and_sends_nothing(client, request_with, sandbox):
    """Naming the request's person is no event of its own."""

    def inside():
        assert client.identify("ada") is None
        client.track("e")

    await request_with(inside)

    assert [event.kind for event in sandbox.events()] == ["event"]
    assert sandbox.count("e") == 1


async def test_identify_links_the_browser_once(client, request_with, sandbox):
    """With an anonymous id to link there is something to send, once per request."""

    def inside():
        assert client.identify("ada") is not None
        assert client.identify("ada") is None

    await request_with(inside, scope={"headers": COOKIE})

    (linked,) = sandbox.events(kind="identify")
    assert (linked.person, linked.data["anonymous_id"]) == ("ada", "browser-1")


async def test_a_link_that_could_not_be_sent_is_tried_again(client, request_with, sandbox):
    """An identify that was dropped has linked nothing; the next one does, and the person is bound all the same."""

    def inside():
        assert client.identify("ada", {"": 1}) is None
        client.track("e")
        assert client.identify("ada", {"plan": "pro"}) is not None

    await request_with(inside, scope={"headers": COOKIE})

    (linked,) = sandbox.events(kind="identify")
    assert linked.data["anonymous_id"] == "browser-1"
    assert sandbox.wait_for("e").person == "ada"


async def test_identify_about_somebody_bound_does_not_change_the_request(client, request_with, sandbox):
    """`bound()` names somebody for its block; the request's person stays."""

    def inside():
        with cio.bound(person="bob"):
            client.identify(attributes={"plan": "pro"})
        client.track("e")

    await request_with(inside, person=lambda cell: "ada")

    assert sandbox.wait_for(kind="identify").person == "bob"
    assert sandbox.wait_for("e").person == "ada"


async def test_a_person_that_is_none_binds_nobody(client, request_with, whose):
    """An identify that is invalid is dropped, counted, and leaves the request as it was."""
    await request_with(lambda: (client.identify(object(), {"a": 1}), client.track("e")), person=lambda cell: "ada")

    assert whose() == {"id": "ada"}
    assert client.stats().dropped == {"invalid_event": 1}


async def test_with_debug_an_invalid_identify_raises_and_still_binds(make_client, request_with, sandbox):
    """`debug` shows what is wrong with the attributes; the person was right, and is the request's from then on."""
    client = make_client(debug=True)

    def inside():
        client.track("e")
        with pytest.raises(cio.InvalidEvent):
            client.identify("ada", {"": 1})

    await request_with(inside, the_client=client)
    client.flush()

    assert sandbox.wait_for("e").person == "ada"


# ---------------------------------------------------------------------------------------------------------------- bound


def test_bound_adds_to_every_event_inside(sandbox, client):
    """Attributes and a person are added to each event; inner blocks and the event's own win."""
    with cio.bound({"a": 1, "b": 1, "c": 1}, person="ada"):
        with cio.bound({"b": 2, "c": 2}):
            client.track("inner", {"c": 3})
        with cio.bound(person="bob"):
            client.track("other")
        client.track("outer")
    assert client.track("outside") is None
    client.flush()

    inner, other, outer = (sandbox.wait_for(name) for name in ("inner", "other", "outer"))
    assert (inner.person, inner.data["a"], inner.data["b"], inner.data["c"]) == ("ada", 1, 2, 3)
    assert (other.person, other.data["b"]) == ("bob", 1)
    assert (outer.person, outer.data["c"]) == ("ada", 1)


def test_one_bound_serves_many_threads(sandbox, client):
    """A block that is shared between threads leaves each of them as it was."""
    shared = cio.bound({"campaign": "spring"}, person="ada")
    both_inside = threading.Barrier(4)

    def work(number):
        with shared:
            both_inside.wait(5)
            client.track("e", {"number": number})
            both_inside.wait(5)
        return client.track("outside")

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(work, range(4))) == [None] * 4
    client.flush()

    assert {event.data["number"] for event in sandbox.events("e")} == {0, 1, 2, 3}
    assert all(event.data["campaign"] == "spring" for event in sandbox.events("e"))


async def test_bound_travels_into_tasks_and_ends_in_any_context(client, sandbox):
    """A task that is started inside has the block; a generator that is closed elsewhere does not fail."""

    async def later():
        client.track("later")

    async def steps():
        with cio.bound(person="bob"):
            yield 1

    with cio.bound(person="ada"):
        task = asyncio.create_task(later())
    await task
    generator = steps()
    await asyncio.create_task(generator.__anext__())
    with cio.bound(person="carol"):
        await generator.aclose()
        client.track("inside")
    client.track("outside")
    client.flush()

    assert sandbox.wait_for("later").person == "ada"
    assert sandbox.wait_for("inside").person == "carol"
    assert client.stats().dropped == {"no_identity": 1}


class HostileMapping(dict):
    """Cannot be read."""

    def keys(self):
        """Raises."""
        raise OSError

    __iter__ = keys


UNUSABLE = {
    "person": {"person": object()},
    "empty person": {"person": ""},
    "attributes": {"attributes": 5},
    "hostile": {"attributes": Hostile()},
    "hostile mapping": {"attributes": HostileMapping(a=1)},
}


@pytest.mark.parametrize("wrong", UNUSABLE.values(), ids=UNUSABLE)
def test_a_wrong_bound_raises_nothing_and_misleads_nobody(make_client, caplog, wrong):
    """What cannot be used makes the events inside invalid, which is counted and said; only `debug` raises."""
    client, debugging = make_client(), make_client(debug=True)

    with cio.bound(**wrong):
        assert client.track("e", person="ada") is None
        with pytest.raises(cio.InvalidEvent):
            debugging.track("e", person="ada")

    assert client.stats().dropped == {"invalid_event": 1}
    assert len(caplog.records) == 1


# ----------------------------------------------------------------------------------------------------------- websockets


def test_a_websocket_waits_for_its_person_where_it_may(sandbox, client, caplog):
    """In a websocket `atrack` awaits an asynchronous resolver; a plain `track` cannot, and the log says what to do."""

    async def awaiting(websocket):
        await websocket.accept()
        await client.atrack("awaited")
        await websocket.close()

    async def plain(websocket):
        await websocket.accept()
        client.track("plain")
        await websocket.close()

    routes = [WebSocketRoute("/awaiting", awaiting), WebSocketRoute("/plain", plain)]
    browser = TestClient(
        CustomerIOMiddleware(Starlette(routes=routes), client=client, person=ada_later),
        headers={"cookie": "_cioanonid=browser-1"},
    )
    for path in ("/awaiting", "/plain"):
        with browser.websocket_connect(path), caplog.at_level(logging.WARNING):
            pass
    client.flush()

    assert sandbox.wait_for("awaited").identifiers == {"email": "ada@example.com"}
    assert sandbox.wait_for("plain").identifiers == {"anonymous_id": "browser-1"}
    assert "await client.atrack()" in caplog.text
