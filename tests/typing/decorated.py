"""
What a type checker says about the public surface: every kind of function keeps its exact type.

Checked by mypy and pyright, as `test_types.py` runs them; never imported.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypedDict, TypeVar, Unpack, assert_type

import attrs
import httpx
import httpx2
import msgspec
import pydantic
from starlette.applications import Starlette
from starlette.middleware import Middleware

import cio_middleware as cio
from cio_middleware import Call, Client, Event, Identity, RequestCell, Settings, Stats, bound, track_event
from cio_middleware.asgi import CustomerIOMiddleware
from cio_middleware.typing import About, Attributes
from cio_middleware.wsgi import CustomerIOMiddleware as WSGIMiddleware

T = TypeVar("T")


@track_event
def bare(a: int, *, b: str = "") -> float:
    """Without parentheses."""
    return a + len(b)


@track_event()
def empty(a: int) -> float:
    """With empty parentheses."""
    return a


@track_event("placed", attributes=["a"], when="always")
def named(a: int) -> float:
    """With a name."""
    return a


@track_event("placed", attributes={"plan": "pro"}, person="ada")
async def coroutine(a: int) -> str:
    """A coroutine."""
    return str(a)


@track_event(attributes=lambda call: {"total": call.result}, person=lambda call: Identity(email=call.arguments["a"]))
def generator(a: str) -> Generator[int, str, bool]:
    """A generator."""
    yield len(a)
    return True


@track_event
def iterator(a: str) -> Iterator[int]:
    """A generator that says less."""
    yield len(a)


@track_event
async def async_generator(a: str) -> AsyncGenerator[int, str]:
    """An async generator."""
    yield len(a)


@track_event
async def async_iterator(a: str) -> AsyncIterator[int]:
    """An async generator that says less."""
    yield len(a)


@track_event
def generic(a: T) -> list[T]:
    """A generic function."""
    return [a]


class Shop:
    """Methods of every kind."""

    @track_event
    def method(self, a: int) -> str:
        """A method."""
        return str(a)

    @track_event("async")
    async def coroutine(self, a: int) -> str:
        """A coroutine."""
        return str(a)

    @classmethod
    @track_event("class")
    def class_below(cls, a: int) -> Shop:
        """A classmethod, below."""
        return cls()

    @staticmethod
    @track_event
    def static_below(a: int) -> str:
        """A staticmethod, below."""
        return str(a)

    @track_event("static")
    @staticmethod
    def static_above(a: int) -> str:
        """A staticmethod, above."""
        return str(a)

    @property
    @track_event
    def size(self) -> int:
        """A property."""
        return 1


def total(call: Call) -> dict[str, float]:
    """Attributes of a call."""
    assert_type(call.duration, float)
    assert_type(call.exception, BaseException | None)
    return {"total": call.result.total}


@dataclass
class Order:
    """Attributes may be an object."""

    total: float


@attrs.define
class AttrsOrder:
    """One of attrs."""

    total: float


class StructOrder(msgspec.Struct):
    """One of msgspec."""

    total: float


class ModelOrder(pydantic.BaseModel):
    """One of pydantic."""

    total: float


class DictOrder(TypedDict):
    """One with declared keys."""

    total: float


def attributes_may_be_of_every_kind(client: Client, order: DictOrder) -> None:
    """Attributes."""
    kinds: list[Attributes] = [order, Order(1.0), AttrsOrder(1.0), StructOrder(1.0), ModelOrder(total=1.0)]
    for attributes in kinds:
        client.track("e", attributes)
    with bound(AttrsOrder(1.0)):
        client.identify("ada", ModelOrder(total=1.0))


def placed(client: Client, order: Order, **about: Unpack[About]) -> str | None:
    """A verb of the application's own."""
    return client.page("https://x/", order, **about)


async def every_kind_keeps_its_type(shop: Shop) -> None:
    """Calls."""
    assert_type(bare(1, b="x"), float)
    assert_type(empty(1), float)
    assert_type(named(1), float)
    assert_type(await coroutine(1), str)
    pending: Coroutine[Any, Any, str] = coroutine(1)
    assert_type(await pending, str)
    assert_type(generator("a"), Generator[int, str, bool])
    assert_type(iterator("a"), Iterator[int])
    assert_type(async_generator("a"), AsyncGenerator[int, str])
    assert_type(async_iterator("a"), AsyncIterator[int])
    assert_type(generic(1), list[int])
    assert_type(shop.method(1), str)
    assert_type(Shop.method(shop, 1), str)
    assert_type(await shop.coroutine(1), str)
    assert_type(Shop.class_below(1), Shop)
    assert_type(shop.static_below(1), str)
    assert_type(shop.size, int)
    assert_type(track_event("placed", attributes=total)(functools.partial(bare, 1)), functools.partial[float])
    function: Callable[[int], float] = named
    assert_type(function(1), float)


async def every_verb_has_its_type(client: Client, settings: Settings) -> None:
    """Verbs."""
    assert_type(client.track("e", {"a": 1}, person="ada"), str | None)
    assert_type(client.track("e", Order(1.0), person=7, timestamp=1_700_000_000), str | None)
    assert_type(client.track("e", anonymous_id="browser"), str | None)
    assert_type(client.page("https://x/"), str | None)
    assert_type(client.screen("Cart", timestamp=datetime.now(UTC)), str | None)
    assert_type(placed(client, Order(1.0), person="ada", timestamp=1.5), str | None)
    assert_type(client.identify(Identity(phone="+49"), {"plan": None}), str | None)
    assert_type(client.identify(), str | None)
    assert_type(client.flush(5), bool)
    assert_type(client.close(), Stats)
    assert_type(client.stats().balanced, bool)
    assert_type(await client.atrack("e"), str | None)
    assert_type(await client.apage("https://x/"), str | None)
    assert_type(await client.ascreen("Cart", person=None), str | None)
    assert_type(await client.aidentify("ada"), str | None)
    assert_type(await client.aflush(), bool)
    assert_type(await client.aclose(), Stats)
    with Client(settings) as entered:
        assert_type(entered, Client)
    async with Client.from_env(region="eu") as entered:
        assert_type(entered, Client)
    assert_type(cio.track("e"), str | None)
    assert_type(cio.identify("ada"), str | None)
    assert_type(cio.page("https://x/"), str | None)
    assert_type(cio.flush(), bool)
    assert_type(cio.get_client(), Client)
    assert_type(cio.configure(client), Client)
    assert_type(cio.configure(site_id="s", api_key="k"), Client)
    assert_type(cio.current_request(), RequestCell | None)
    with bound({"campaign": "spring"}, person="ada") as nothing:
        assert_type(nothing, None)


def settings_have_their_types() -> None:
    """Settings."""
    settings = Settings(site_id="s", api_key="k", region="eu", backend="queued", flush_at=10, flush_interval=1)
    assert_type(settings.flush_at, int)
    assert_type(settings.timeout, float)
    assert_type(Settings.from_env({}, site_id="s"), Settings)


def redact(event: Event) -> Event | None:
    """A processor."""
    return event.with_attributes({**event.attributes, "email": None})


async def who(cell: RequestCell) -> int | None:
    """An asynchronous resolver."""
    return len(cell.source)


class OrderPlaced(cio.EventType, name="order_placed"):
    """A typed event."""

    order_id: str
    total: float
    currency: str = "EUR"


class UserAttributes(TypedDict, total=False):
    """What this application knows of its users."""

    email: str
    plan: str


def events_and_users_may_have_types(client: Client) -> None:
    """Typed events, and a client that knows what users are made of."""
    order = OrderPlaced(order_id="1", total=3)
    assert_type(order.total, float)
    assert_type(client.track(order, person="ada"), str | None)
    assert_type(cio.track(order), str | None)
    typed = Client[UserAttributes](catalog=cio.Catalog([OrderPlaced], mode="closed"))
    typed.identify("ada", {"plan": "pro"})
    client.identify("ada", {"anything": 1})


def middlewares_are_made_as_frameworks_make_them(client: Client) -> None:
    """Middleware."""
    app = Starlette(middleware=[Middleware(CustomerIOMiddleware, client=client, person=who)])
    app.add_middleware(CustomerIOMiddleware, person=lambda cell: cell.source["user"].id, capture=("page",))
    CustomerIOMiddleware(app)
    WSGIMiddleware(lambda environ, start_response: [b""], client=client, person=lambda cell: "ada")
    Client(processors=[redact])
    Client(http_client=httpx.Client(), async_http_client=httpx.AsyncClient())
    Client(http_client=httpx2.Client(), async_http_client=httpx2.AsyncClient())
