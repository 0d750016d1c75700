"""
Twenty people, and what each of them does. `plan` decides it; `walk` does it over HTTP.

Nothing here reads what the shops or their clients say of themselves. What Customer.io should know afterwards is worked
out from the plan alone, so that it can be held against what Customer.io does know.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx

from .goods import PRICES

NAMES = (
    "ada", "alan", "annie", "barbara", "claude", "dennis", "donald", "edsger", "evelyn", "frances",
    "grace", "hedy", "jean", "john", "katherine", "ken", "margaret", "niklaus", "radia", "tim",
)  # fmt: skip
VISITS = 3
PLANS = ("free", "pro")
TONGUES = ("en-GB", "de-DE", "fr-FR", "pt-BR")


@dataclass(frozen=True, slots=True)
class Deed:
    """An event that Customer.io should have: name, attributes, and the path and the language of its request."""

    name: str
    attributes: tuple[tuple[str, Any], ...]
    path: str
    locale: str

    def __str__(self) -> str:
        """The event as a sentence would name it."""
        return f"{self.name} {dict(self.attributes)} at {self.path}"


@dataclass(frozen=True, slots=True)
class Step:
    """One request of a person, the status that it must get, and the events that it should leave."""

    method: str
    path: str
    visitor: str
    status: int = 200
    form: dict[str, Any] | None = None
    query: dict[str, str] = field(default_factory=dict)
    events: tuple[tuple[str, dict[str, Any]], ...] = ()


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody, the shop that they go to, what they do there, and what Customer.io should know of them afterwards."""

    name: str
    shop: str
    locale: str
    steps: tuple[Step, ...]
    profile: dict[str, Any]

    def deeds(self, url: str) -> Iterator[Deed]:
        """The events that should be there; `url` is the shop's."""
        for step in self.steps:
            for name, attributes in step.events:
                # A page is named by its URL.
                named = url + step.path if name == "page" else name
                yield Deed(named, tuple(sorted(attributes.items())), step.path, self.locale)


def plan(shops: Sequence[str], seed: int = 7) -> list[Person]:
    """Decide who does what, the same for the same seed; half of the people go to each shop."""
    dice = random.Random(seed)  # noqa: S311 - a story needs no secrecy
    return [_person(number, name, shops[number % len(shops)], dice) for number, name in enumerate(NAMES)]


def _person(number: int, name: str, shop: str, dice: random.Random) -> Person:
    joined = dt.datetime(2024, 5, 1 + number, 9, 30, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    account = {"email": f"{name}@example.com", "plan": PLANS[number % 2]}
    steps: list[Step] = []
    for visit in range(1, VISITS + 1):
        form = {"customer": name, **account, "joined": joined.isoformat()} if visit == 1 else {"customer": name}
        steps += _visit(name, visit, form, dice)
    # Customer.io reads a date as Unix seconds, whatever the time zone it was written in.
    profile = {**account, "joined": int(joined.timestamp()), "visits": VISITS}
    return Person(name, shop, TONGUES[number % len(TONGUES)], tuple(steps), profile)


def _visit(name: str, visit: int, form: dict[str, Any], dice: random.Random) -> Iterator[Step]:
    """A visit: look around as nobody, sign in half-way, buy, leave."""
    # Signing out resets the anonymous id, as Customer.io's own snippet does: each visit starts as a new visitor.
    visitor = f"visitor-{name}-{visit}"
    yield Step("GET", "/", visitor, events=(("page", {}),))
    for sku in dice.sample(list(PRICES), 3):
        yield _look(sku, visitor)
    if visit == 1:
        events = (("form_sent", {"form": "sign_up"}), ("signed_up", {"plan": form["plan"]}))
        yield Step("POST", "/sign-up", visitor, form=form, events=events)
    else:
        events = (("form_sent", {"form": "log_in"}), ("logged_in", {}))
        yield Step("POST", "/log-in", visitor, form=form, events=events)
    basket = {sku: dice.randint(1, 3) for sku in dice.sample(list(PRICES), 2)}
    for sku, quantity in basket.items():
        yield _look(sku, visitor)
        added = ("added_to_cart", {"sku": sku, "quantity": quantity})
        yield Step("POST", f"/cart/{sku}", visitor, 204, query={"quantity": str(quantity)}, events=(added,))
    yield Step("GET", "/health", visitor)
    order = {"order": f"{name}-{visit}", "deliver_on": f"2027-01-{visit:02}"}
    if dice.random() < 1 / 3:
        failed = ("payment_failed", {"order": order["order"]})
        yield Step("POST", "/orders", visitor, 402, form={**order, "card": "declined"}, events=(failed,))
    total = sum((PRICES[sku] * quantity for sku, quantity in basket.items()), Decimal(0))
    delivery = dt.datetime.fromisoformat(order["deliver_on"]).replace(tzinfo=dt.UTC)
    placed = {
        "order": order["order"],
        "total": float(total),
        "items": sum(basket.values()),
        "deliver_on": int(delivery.timestamp()),
    }
    yield Step("POST", "/orders", visitor, form={**order, "card": "good"}, events=(("order_placed", placed),))
    yield Step("POST", "/log-out", visitor, 204, events=(("logged_out", {}),))


def _look(sku: str, visitor: str) -> Step:
    return Step("GET", f"/products/{sku}", visitor, events=(("product_viewed", {"sku": sku}),))


async def walk(person: Person, http: httpx.AsyncClient, pauses: Callable[[], float], done: Callable[[], None]) -> None:
    """
    Do all of a person's steps, one after the other, with pauses between.

    Raises:
        RuntimeError: the shop answered something else than it should.
    """
    for step in person.steps:
        http.cookies.set("_cioanonid", step.visitor)
        reply = await http.request(
            step.method, step.path, json=step.form, params=step.query, headers={"Accept-Language": person.locale}
        )
        if reply.status_code != step.status:
            message = f"{person.shop} answered {reply.status_code} to {step.method} {step.path}, expected {step.status}"
            raise RuntimeError(message)
        done()
        await asyncio.sleep(pauses())
