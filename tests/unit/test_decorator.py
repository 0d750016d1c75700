"""`@track_event`: an event per call of whatever can be called, and nothing else changes."""

from __future__ import annotations

import asyncio
import copy
import functools
import gc
import inspect
import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

import cio_middleware as cio
from cio_middleware import Call, Client, Settings, track_event
from cio_middleware._events import Receipt
from cio_middleware.asgi import CustomerIOMiddleware


class Keeping:
    """A backend that keeps what it is given."""

    settles = False

    def __init__(self):
        self.items = []

    def emit(self, envelope, item):
        """Keep it."""
        self.items.append(json.loads(item))
        return Receipt()

    def flush(self, timeout):
        """Nothing waits."""
        return True

    def close(self, timeout):
        """Nothing is open."""

    def taken(self):
        """What was kept since the last look: name, person and attributes of each."""
        items, self.items = self.items, []
        return [
            (item["name"], item["identifiers"].get("id"), item["attributes"]) if "name" in item else item
            for item in items
        ]


KEPT = Keeping()
CLIENT = Client(Settings(site_id="s", api_key="k", backend=KEPT, stamps=False))
DEBUG = Client(Settings(site_id="s", api_key="k", backend=KEPT, stamps=False, debug=True))

track = functools.partial(track_event, person="ada", client=CLIENT)


@pytest.fixture(name="kept", autouse=True)
def _kept():
    """What the decorated functions of this module have sent."""
    KEPT.taken()
    yield KEPT
    KEPT.taken()


class Boom(Exception):
    """The application's own."""


# --------------------------------------------------------------------------------------------------------------- kinds


@track()
def function(a, b=2):
    """What it does."""
    if a == "boom":
        raise Boom
    return a, b


@track()
async def coroutine(a, b=2):
    """What it does."""
    await asyncio.sleep(0)
    if a == "boom":
        raise Boom
    return a, b


@track()
def generator(a):
    """Echoes what is sent to it."""
    got: list[Any] = []
    try:
        while True:
            try:
                sent = yield a
            except LookupError:
                sent = "caught"
            if sent == "boom":
                raise Boom
            if sent == "stop":
                return got
            got.append(sent)
    finally:
        got.append("closed")


@track()
async def async_generator(a):
    """Echoes what is sent to it."""
    while True:
        try:
            sent = yield a
        except LookupError:
            sent = "caught"
        if sent == "boom":
            raise Boom
        if sent == "stop":
            return
        a = sent


class Shop:
    """Methods of every kind, with the decorator on either side."""

    @track()
    def method(self, a, b=2):
        """What it does."""
        return self, a, b

    @track()
    async def coroutine(self, a, b=2):
        """What it does."""
        return self, a, b

    @track()
    @classmethod
    def class_above(cls, a, b=2):
        """What it does."""
        return cls, a, b

    @classmethod
    @track()
    def class_below(cls, a, b=2):
        """What it does."""
        return cls, a, b

    @track()
    @staticmethod
    def static_above(a, b=2):
        """What it does."""
        return a, b

    @staticmethod
    @track()
    def static_below(a, b=2):
        """What it does."""
        return a, b

    @track()
    @classmethod
    async def class_coroutine(cls, a, b=2):
        """What it does."""
        return cls, a, b

    @track()
    def generator(self, a):
        """What it does."""
        yield self
        yield a

    @property
    @track()
    def prop(self):
        """What it does."""
        return self

    part = track()(functools.partialmethod(method.__wrapped__, b=3))

    @track("called")
    def __call__(self, a):
        """What it does."""
        return a


class AsyncCallable:
    """An object whose call is a coroutine."""

    def __init__(self):
        self.called_with = []

    async def __call__(self, a):
        """What it does."""
        self.called_with.append(a)


async_callable = track()(AsyncCallable())
partial = track()(functools.partial(function.__wrapped__, 1))
partial_coroutine = track()(functools.partial(coroutine.__wrapped__, b=5))
cached = track()(functools.lru_cache(function.__wrapped__))
builtin = track()(len)
shop = Shop()

CALLS = {
    "function": (lambda: function(1), (1, 2), "function"),
    "method": (lambda: shop.method(1), (shop, 1, 2), "method"),
    "method by class": (lambda: Shop.method(shop, 1), (shop, 1, 2), "method"),
    "classmethod above": (lambda: Shop.class_above(1), (Shop, 1, 2), "class_above"),
    "classmethod above, by instance": (lambda: shop.class_above(1), (Shop, 1, 2), "class_above"),
    "classmethod below": (lambda: Shop.class_below(1), (Shop, 1, 2), "class_below"),
    "staticmethod above": (lambda: Shop.static_above(1), (1, 2), "static_above"),
    "staticmethod below": (lambda: shop.static_below(1), (1, 2), "static_below"),
    "property": (lambda: shop.prop, shop, "prop"),
    "partial": (lambda: partial(b=4), (1, 4), "function"),
    "partialmethod": (lambda: shop.part(1), (shop, 1, 3), "method"),
    "callable object": (lambda: shop(1), 1, "called"),
    "lru_cache": (lambda: cached(1), (1, 2), "function"),
    "built-in": (lambda: builtin("abc"), 3, "len"),
    "coroutine": (lambda: asyncio.run(coroutine(1)), (1, 2), "coroutine"),
    "method coroutine": (lambda: asyncio.run(shop.coroutine(1)), (shop, 1, 2), "coroutine"),
    "classmethod coroutine": (lambda: asyncio.run(Shop.class_coroutine(1)), (Shop, 1, 2), "class_coroutine"),
    "partial of a coroutine": (lambda: asyncio.run(partial_coroutine(1)), (1, 5), "coroutine"),
    "generator method": (lambda: list(shop.generator(1)), [shop, 1], "generator"),
}


@pytest.mark.parametrize(("call", "result", "name"), CALLS.values(), ids=CALLS)
def test_every_kind_of_function_keeps_its_result(kept, call, result, name):
    """Whatever is decorated returns what it returned, and its call is an event named after the function."""
    assert call() == result
    assert kept.taken() == [(name, "ada", {})]


def test_what_python_tells_about_a_function_stays():
    """Names, texts and signatures are the function's own, and frameworks still see what kind it is."""
    for made in (function, coroutine, shop.method, Shop.class_above, Shop.static_above, generator, async_generator):
        bare = made.__wrapped__
        assert made.__name__ == bare.__name__
        assert made.__doc__ == bare.__doc__
        assert made.__module__ == bare.__module__
        assert inspect.signature(made) == inspect.signature(bare)
        for kind in (
            inspect.iscoroutinefunction,
            inspect.isgeneratorfunction,
            inspect.isasyncgenfunction,
            inspect.isfunction,
            inspect.ismethod,
        ):
            assert kind(made) == kind(bare), (made, kind)
    assert isinstance(function, type(lambda: None))
    assert inspect.isgenerator(generator(1))
    assert inspect.isasyncgen(async_generator(1))
    assert inspect.iscoroutinefunction(async_callable.__call__)


def test_wrong_arguments_fail_where_they_are_passed():
    """Also a generator refuses wrong arguments when it is called and not at its first step."""
    for call in (lambda: function(), lambda: generator(), lambda: async_generator()):  # noqa: PLW0108
        with pytest.raises(TypeError, match="missing 1 required positional argument"):
            call()


def test_starlette_takes_them_for_what_they_are(kept):
    """Endpoints and background tasks may be functions, coroutine functions, or objects with an async call."""

    @track("sync")
    def sync(request):
        return PlainTextResponse("sync")

    @track("async")
    async def awaited(request):
        return PlainTextResponse("async", background=BackgroundTask(async_callable, "later"))

    browser = TestClient(Starlette(routes=[Route("/sync", sync), Route("/async", awaited)]))

    assert [browser.get(path).text for path in ("/sync", "/async")] == ["sync", "async"]
    assert [name for name, *_ in kept.taken()] == ["sync", "async", "AsyncCallable"]
    assert async_callable.called_with == ["later"]


def test_an_exception_passes_as_it_is(kept):
    """The function's own exception arrives, and a failure is no event unless it was asked for."""
    for call in (lambda: function("boom"), lambda: asyncio.run(coroutine("boom"))):
        with pytest.raises(Boom) as raised:
            call()
        assert raised.value.__context__ is None
    assert kept.taken() == []


def test_a_recursive_function_is_an_event_per_call(kept):
    """Each call counts, the innermost first."""

    @track(attributes=["n"])
    def down(n):
        return n and down(n - 1)

    down(3)

    assert [attributes["n"] for _, _, attributes in kept.taken()] == [0, 1, 2, 3]


def test_decorated_twice_it_is_two_events(kept):
    """Two decorators are two events."""

    @track("outer")
    @track("inner")
    async def both():
        return 1

    assert asyncio.run(both()) == 1
    assert [name for name, *_ in kept.taken()] == ["inner", "outer"]


# ---------------------------------------------------------------------------------------------------------- generators


def test_a_generator_is_driven_as_before(kept):
    """send, throw, close and the value of `return` pass through; the event comes at the end, once."""
    steps = generator("a")
    assert next(steps) == "a"
    assert steps.send("sent") == "a"
    assert steps.throw(LookupError()) == "a"
    assert kept.taken() == []
    with pytest.raises(StopIteration) as stop:
        steps.send("stop")

    assert stop.value.value == ["sent", "caught", "closed"]
    assert kept.taken() == [("generator", "ada", {})]
    steps.close()
    assert kept.taken() == []


def test_a_generator_that_is_closed_early_is_a_success(kept):
    """Whoever iterates had enough: the generator is closed, which is an event and no failure."""
    steps = generator("a")
    next(steps)
    steps.close()

    assert kept.taken() == [("generator", "ada", {})]


def test_a_generator_that_never_began_is_no_event(kept):
    """Nothing ran, so nothing happened."""
    generator("a").close()
    asyncio.run(async_generator("a").aclose())

    assert kept.taken() == []


def test_a_generator_that_fails_is_none(kept):
    """An error inside passes, and is a failure."""
    steps = generator("a")
    next(steps)
    with pytest.raises(Boom):
        steps.send("boom")

    assert kept.taken() == []


async def test_an_async_generator_is_driven_as_before(kept):
    """asend, athrow, aclose and iteration pass through; the event comes at the end, once."""
    steps = async_generator("a")
    assert await anext(steps) == "a"
    assert await steps.asend("b") == "b"
    assert await steps.athrow(LookupError()) == "caught"
    assert kept.taken() == []
    with pytest.raises(StopAsyncIteration):
        await steps.asend("stop")
    assert kept.taken() == [("async_generator", "ada", {})]
    await steps.aclose()

    steps = async_generator("a")
    await anext(steps)
    with pytest.raises(Boom):
        await steps.asend("boom")
    assert kept.taken() == []

    steps = async_generator("a")
    await anext(steps)
    await steps.aclose()
    await steps.aclose()
    assert kept.taken() == [("async_generator", "ada", {})]


async def test_an_async_generator_closes_what_is_inside_it(kept):
    """A loop that is left early and a generator that is thrown away both close the inner one, which is the event."""
    closed = []

    @track()
    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    steps = numbers()
    await anext(steps)
    await steps.aclose()
    assert closed == [True]
    assert kept.taken() == [("numbers", "ada", {})]

    async for _ in numbers():
        break
    gc.collect()
    for _ in range(5):
        await asyncio.sleep(0)
    assert closed == [True, True]
    assert kept.taken() == [("numbers", "ada", {})]


async def test_a_cancelled_async_generator_passes_the_cancellation_on(kept):
    """A cancellation inside a step reaches the code inside, and is a failure."""
    seen = []

    @track(when="failure", attributes=lambda call: {"error": type(call.exception).__name__})
    async def waiting():
        try:
            await asyncio.Event().wait()
            yield 1
        except asyncio.CancelledError:
            seen.append("inside")
            raise

    task = asyncio.ensure_future(anext(waiting()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert seen == ["inside"]
    assert kept.taken() == [("waiting", "ada", {"error": "CancelledError"})]


async def test_a_generator_belongs_to_the_request_in_which_it_began(kept):
    """One that is closed by whoever comes later, such as the garbage collector, takes nobody else's person."""
    left = []

    @track_event(client=CLIENT)
    def steps():
        yield 1

    async def app(scope, receive, send):
        if scope["path"] == "/ada":
            left.append(steps())
            next(left[0])
        else:
            left.pop().close()

    for path in ("/ada", "/bob"):
        scope: dict[str, Any] = {"type": "http", "path": path, "headers": []}
        middleware: Any = CustomerIOMiddleware(app, client=CLIENT, person=lambda cell: cell.source["path"].strip("/"))
        await middleware(scope, None, None)

    ((_, person, attributes),) = kept.taken()
    assert person == "ada"
    assert attributes["context"]["page"]["path"] == "/ada"


def test_a_generator_keeps_the_block_in_which_it_began(kept):
    """The same for `bound()`."""

    @track_event(client=CLIENT)
    def steps():
        yield 1

    with cio.bound(person="ada"):
        begun = steps()
        next(begun)
    with cio.bound(person="bob"):
        begun.close()

    assert kept.taken() == [("steps", "ada", {})]


# ------------------------------------------------------------------------------------------------------------- options


def test_a_name_may_be_given(kept):
    """A name of its own, or the function's; with and without parentheses."""

    def place_order():
        """What it does."""

    with cio.bound(person="ada"):
        cio.configure(CLIENT)
        track_event(place_order)()
        track_event()(place_order)()
        track_event(None)(place_order)()
        track_event("order placed")(place_order)()

    assert [name for name, *_ in kept.taken()] == ["place_order"] * 3 + ["order placed"]


def picked(a, b=2, *args, c, **more):
    """Something with every kind of argument."""


ATTRIBUTES = {
    "mapping": ({"plan": "pro"}, {"plan": "pro"}),
    "names": (["b", "c"], {"b": 2, "c": 3}),
    "one name": ("c", {"c": 3}),
    "tuple": (("args",), {"args": [5, 6]}),
    "set": ({"c"}, {"c": 3}),
    "keyword of **": (["d"], {"d": 4}),
    "callable": (lambda call: {"b": call.arguments["b"], "d": call.arguments["d"]}, {"b": 2, "d": 4}),
    "none": (None, {}),
    "callable of none": (lambda call: None, {}),
}


@pytest.mark.parametrize(("attributes", "expected"), ATTRIBUTES.values(), ids=ATTRIBUTES)
def test_attributes_come_from_the_call(kept, attributes, expected):
    """A mapping, names of arguments (defaults, `*args` and `**kwargs` included), or a callable of the call."""
    call = track(attributes=attributes)(picked)
    if attributes == ("args",):
        call(1, 2, 5, 6, c=3)
    else:
        call(1, c=3, d=4)

    assert kept.taken() == [("picked", "ada", expected)]


def bare(a, b=2):
    """A function."""
    return a


class Tracked:
    """Methods that send an argument."""

    @track(attributes=["a"])
    def method(self, a):
        """What it does."""

    @track(attributes=["a"])
    @classmethod
    def class_above(cls, a):
        """What it does."""

    @classmethod
    @track(attributes=["a"])
    def class_below(cls, a):
        """What it does."""

    @track(attributes=["a"])
    @staticmethod
    def static(a):
        """What it does."""

    def plain(self, a):
        """What it does."""

    part = track(attributes=["a"])(functools.partialmethod(plain, 1))


BOUND_ARGUMENTS = {
    "method": lambda a: Tracked().method(1),
    "method by class": lambda a: Tracked.method(Tracked(), 1),
    "classmethod above": lambda a: Tracked.class_above(1),
    "classmethod below": lambda a: Tracked.class_below(a=1),
    "staticmethod": lambda a: Tracked.static(1),
    "partial": lambda a: track(attributes=["a"])(functools.partial(bare, 1))(),
    "partial by keyword": lambda a: track(attributes=["a"])(functools.partial(bare, a=1))(),
    "partial of partial": lambda a: track(attributes=["a"])(functools.partial(functools.partial(bare, 1), b=3))(),
    "partialmethod": lambda a: Tracked().part(),
}


@pytest.mark.parametrize("call", BOUND_ARGUMENTS.values(), ids=BOUND_ARGUMENTS)
def test_arguments_are_found_by_name_on_every_kind(kept, call):
    """The same argument has the same name, however the function is reached."""
    call(1)

    assert [attributes for _, _, attributes in kept.taken()] == [{"a": 1}]


def test_a_call_tells_how_it_went(kept):
    """Arguments, result, exception and duration are there; its repr shows none of their values."""
    calls: list[Call] = []

    @track(when="always", attributes=calls.append)
    def works(a, b=2):
        if a is None:
            raise Boom
        return a + b

    works(1)
    with pytest.raises(Boom):
        works(None)

    success, failure = calls
    assert (success.arguments, success.result, success.exception) == ({"a": 1, "b": 2}, 3, None)
    assert (failure.arguments, failure.result) == ({"a": None, "b": 2}, None)
    assert isinstance(failure.exception, Boom)
    assert 0 <= success.duration < 1
    assert repr(success).startswith("Call(succeeded after 0.0")
    assert repr(failure).startswith("Call(failed after 0.0")


def test_a_generators_result_is_what_it_returned(kept):
    """`call.result` is the value of `return`; what was yielded is not kept."""

    @track(attributes=lambda call: {"result": call.result})
    def steps():
        yield 1
        return 2

    list(steps())

    assert kept.taken() == [("steps", "ada", {"result": 2})]


PERSONS = {
    "value": ("bob", "bob"),
    "int": (7, "7"),
    "identity": (cio.Identity(id="bob"), "bob"),
    "callable": (lambda call: call.arguments["a"], "bob"),
    "callable of none": (lambda call: None, "bound"),
    "none": (None, "bound"),
}


@pytest.mark.parametrize(("person", "expected"), PERSONS.values(), ids=PERSONS)
def test_the_person_is_a_value_or_a_callable(kept, person, expected):
    """Who it is about is said at decoration, found from the call, or found as for every event."""
    with cio.bound(person="bound"):
        track_event(person=person, client=CLIENT)(bare)("bob")

    assert [found for _, found, _ in kept.taken()] == [expected]


@pytest.mark.parametrize(
    ("when", "expected"), [("success", ["fine"]), ("failure", ["boom"]), ("always", ["fine", "boom"])]
)
@pytest.mark.parametrize("kind", ["sync", "async", "generator", "async generator"])
def test_when_says_after_which_calls(kept, when, expected, kind):
    """After a success, a failure, or both; the same for every kind of function."""
    decorate = track(when=when, attributes=["a"])

    def sync(a):
        if a == "boom":
            raise Boom

    async def awaited(a):
        sync(a)

    def steps(a):
        yield sync(a)

    async def async_steps(a):
        yield sync(a)

    async def exhaust(a):
        async for _ in decorated(a):
            pass

    made = {"sync": sync, "async": awaited, "generator": steps, "async generator": async_steps}[kind]
    decorated = decorate(made)
    run = {
        "sync": decorated,
        "async": lambda a: asyncio.run(decorated(a)),
        "generator": lambda a: list(decorated(a)),
        "async generator": lambda a: asyncio.run(exhaust(a)),
    }[kind]
    run("fine")
    with pytest.raises(Boom):
        run("boom")

    assert [attributes["a"] for _, _, attributes in kept.taken()] == expected


async def asynchronous(call):
    """No use as attributes= or person=."""


WRONG = {
    "when": ({"when": "sometimes"}, "when is 'sometimes': type one of success, failure, always"),
    "argument": ({"attributes": ["a", "x", "y"]}, "bare has no argument x, y; it has a, b"),
    "async attributes": ({"attributes": asynchronous}, "asynchronous"),
    "async person": ({"person": asynchronous}, "asynchronous"),
}


@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_option_fails_at_decoration(options, message):
    """A mistake shows when the module is imported and not in production."""
    with pytest.raises(cio.ConfigurationError, match=message):
        track_event(**options)(bare)


@pytest.mark.parametrize("what", [Shop, functools.partial(Shop), 7, None.__class__, property(bare)])
def test_what_is_no_function_is_refused(what):
    """A class, and what cannot be called, is a clear TypeError at decoration."""
    with pytest.raises(TypeError, match="@track_event decorates functions"):
        track_event()(what)


# ----------------------------------------------------------------------------------------------------------- isolation


class Hostile:
    """Raises whatever is done to it."""

    def __getattribute__(self, name):
        raise OSError

    def _raise(self, *_) -> Any:
        raise ZeroDivisionError

    __bool__ = __eq__ = __iter__ = __len__ = __str__ = __repr__ = __call__ = _raise
    __hash__: Any = None


def fails(call):
    """A callable of the application that raises."""
    raise LookupError("ada@example.com")


@pytest.mark.parametrize(
    "options", [{"attributes": fails}, {"person": fails}, {"attributes": lambda call: call.nothing}]
)
@pytest.mark.parametrize("argument", ["fine", "boom"])
def test_a_callable_that_fails_harms_no_call(kept, caplog, options, argument):
    """The call goes on as if there were no decorator; the event is dropped, counted, and said once without values."""
    client = Client(Settings(site_id="s", api_key="k", backend=KEPT))
    call = track_event(when="always", client=client, **{"person": "ada", **options})(function.__wrapped__)

    for _ in range(3):
        if argument == "boom":
            with pytest.raises(Boom) as raised:
                call(argument)
            assert raised.value.__context__ is None
        else:
            assert call(argument) == (argument, 2)

    assert kept.taken() == []
    assert client.stats().dropped == {"callable_failed": 3}
    assert client.stats().balanced
    assert len(caplog.records) == 1
    assert "ada@" not in caplog.text


async def test_hostile_arguments_and_results_harm_no_call(kept):
    """Whatever a function takes and returns, it is not looked at more than it must be, and nothing raises."""
    hostile = Hostile()

    @track(attributes=lambda call: {"result": call.result, **call.arguments})
    def echo(a):
        return a

    @track(attributes=["a"])
    async def later(a):
        return a

    assert echo(hostile) is hostile
    assert await later(hostile) is hostile
    assert [name for name, *_ in kept.taken()] == ["echo", "later"]


def test_attributes_that_are_none_of_that_harm_no_call(kept):
    """What cannot be attributes or a person is dropped as invalid."""
    client = Client(Settings(site_id="s", api_key="k", backend=KEPT))
    for options in (
        {"attributes": lambda call: 5},
        {"attributes": lambda call: Hostile()},
        {"person": lambda call: 1.5},
    ):
        assert track_event(client=client, **options)(bare)(1) == 1

    assert client.stats().dropped == {"invalid_event": 3}


def test_a_wrong_call_is_a_failure_like_others(kept):
    """A call with wrong arguments raises the function's own TypeError, and its failure can be an event."""
    call = track(when="failure", attributes=lambda call: {"error": type(call.exception).__name__})(bare)

    with pytest.raises(TypeError, match="unexpected keyword"):
        call(1, c=3)
    assert kept.taken() == [("bare", "ada", {"error": "TypeError"})]


def test_debug_raises_what_is_wrong_but_hides_no_exception():
    """With `debug` an invalid event raises after a success; the function's own exception comes first."""
    invalid = functools.partial(track_event, when="always", person="ada", client=DEBUG, attributes=lambda call: 5)

    with pytest.raises(cio.InvalidEvent):
        invalid()(bare)(1)
    with pytest.raises(Boom):
        invalid()(function.__wrapped__)("boom")


def test_without_a_client_a_call_returns(clean_environment, caplog):
    """An application that is not configured runs on; its first event says what is missing."""
    call = track_event(bare)

    assert [call(1) for _ in range(3)] == [1, 1, 1]
    assert len(caplog.records) == 1
    assert "credentials not configured" in caplog.text


@pytest.fixture(name="clean_environment")
def _clean_environment(monkeypatch):
    """An environment that knows nothing of Customer.io."""
    for name in ("CUSTOMERIO_SITE_ID", "CUSTOMERIO_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_exits_pass(kept):
    """KeyboardInterrupt and SystemExit are failures that go on as they are."""

    @track(when="failure")
    def leaves(error):
        raise error

    for error in (KeyboardInterrupt(), SystemExit(3), GeneratorExit()):
        with pytest.raises(type(error)) as raised:
            leaves(error)
        assert raised.value is error
    assert len(kept.taken()) == 3


def test_many_threads_may_call(kept):
    """Calls from many threads are an event each."""
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(function, range(200)))

    assert len(kept.taken()) == 200


# ------------------------------------------------------------------------------------------------------------- pickling


def pickled(value):
    """There and back."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own bytes


def test_functions_and_methods_pickle_by_name(kept):
    """A decorated function pickles as the function that it stands for, and comes back decorated."""
    assert pickled(function) is function
    assert pickled(coroutine) is coroutine
    assert pickled(Shop.method)(shop, 1) == (shop, 1, 2)
    assert pickled(Shop.class_above)(1) == (Shop, 1, 2)
    assert pickled(Shop.static_above)(1) == (1, 2)
    assert pickled(shop.method)(1)[1:] == (1, 2)
    assert len(kept.taken()) == 4

    with pytest.raises((TypeError, AttributeError)):
        pickle.dumps(track()(lambda: 1))


def test_a_replaced_function_does_not_pickle():
    """What would come back as something else is refused, as for plain functions."""

    def impostor():
        """What it does."""

    impostor.__qualname__ = "function"
    with pytest.raises(TypeError, match="no longer the function"):
        pickle.dumps(track()(impostor))


def test_it_is_its_own_copy():
    """An object that holds a decorated function can be copied."""
    assert copy.copy(function) is function
    assert copy.deepcopy({"call": function})["call"] is function
    assert copy.deepcopy(shop.method)(1)[1:] == (1, 2)


def test_another_process_may_call_it(tmp_path):
    """A process pool that spawns its workers takes decorated functions."""
    (tmp_path / "work.py").write_text(POOL, "utf-8")
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "work.py"], cwd=tmp_path, env={"PYTHONPATH": root}, capture_output=True, text=True, check=False
    )

    assert (done.stdout, done.stderr) == ("[0, 1, 4, 9]\n", "")


POOL = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from cio_middleware import Client, Settings, track_event

CLIENT = Client(Settings(site_id="s", api_key="k", backend="null"))

@track_event(client=CLIENT, person="ada")
def square(number):
    return number * number

if __name__ == "__main__":
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        print(list(pool.map(square, range(4))))
"""
