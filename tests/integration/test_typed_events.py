"""Typed events through a client: what arrives, and what a catalog lets through in each of its modes."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest

import cio_middleware as cio
from cio_middleware import Catalog, DropReason
from cio_middleware.exceptions import ConfigurationError, InvalidEvent


class OrderPlaced(cio.EventType, name="order_placed"):
    """Somebody paid."""

    order_id: str
    total: float
    placed_at: datetime | None = None


CALLS = {
    "typed": lambda client: client.track(OrderPlaced(order_id="7", total=3), person="ada"),
    "by name": lambda client: client.track("order_placed", {"order_id": "7", "total": 3}, person="ada"),
    "mistyped": lambda client: client.track("order_placd", {"order_id": "7", "total": 3}, person="ada"),
    "a wrong value": lambda client: client.track("order_placed", {"order_id": 7, "total": 3}, person="ada"),
    "a wrong field": lambda client: client.track(OrderPlaced(order_id=7, total=3), person="ada"),  # type: ignore[arg-type]
}
GOOD = {"typed", "by name"}


def test_a_typed_event_arrives_as_its_name_and_attributes(client, sandbox):
    """Values are sent as any others: a datetime as seconds."""
    moment = datetime(2026, 11, 24, tzinfo=UTC)
    client.track(OrderPlaced(order_id="7", total=49.9, placed_at=moment), person="ada")
    client.flush()
    (row,) = sandbox.events(name="order_placed")
    assert {"order_id": "7", "total": 49.9, "placed_at": int(moment.timestamp())}.items() <= row.data.items()


async def test_it_is_awaited_and_captured_by_the_default_client_too(client, sandbox):
    """`atrack` and `cio.track` take one."""
    await client.atrack(OrderPlaced(order_id="1", total=1), person="ada")
    cio.configure(client)
    cio.track(OrderPlaced(order_id="2", total=1), person="ada")
    await client.aflush()
    assert sandbox.count("order_placed") == 2


@pytest.mark.parametrize("mode", ["open", "warn", "closed", None])
@pytest.mark.parametrize("call", CALLS)
def test_a_catalog_lets_go_what_its_mode_says(make_client, sandbox, caplog, mode, call):
    """`open` says nothing, `warn` says it once, `closed` drops it; without one only a class's own fields count."""
    catalog = None if mode is None else Catalog([OrderPlaced], mode=mode)
    client = make_client(client_options={"catalog": catalog})
    with caplog.at_level(logging.WARNING, "cio_middleware"):
        for _ in range(2):
            CALLS[call](client)
    client.flush()
    bad = call not in GOOD
    refused = bad and mode == "closed"
    assert len(sandbox.events(kind="event")) == (0 if refused else 2)
    assert client.stats().dropped == ({DropReason.INVALID_EVENT: 2} if refused else {})
    speaks = bad and (mode in {"warn", "closed"} or (mode is None and call == "a wrong field"))
    assert len(caplog.messages) == speaks
    if bad and mode == "warn":
        assert caplog.messages[0].endswith("It was sent all the same.")


def test_debug_raises_what_a_closed_catalog_refuses(make_client):
    """The message is the catalog's."""
    client = make_client(debug=True, client_options={"catalog": Catalog([OrderPlaced], mode="closed")})
    with pytest.raises(InvalidEvent, match="Did you mean 'order_placed'"):
        client.track("order_placd", person="ada")


@pytest.mark.parametrize(("wrong", "says"), [
    (lambda client: client.track(OrderPlaced, person="ada"), r"Make one: track\(OrderPlaced\(...\)\)"),
    (lambda client: client.track(OrderPlaced(order_id="1", total=1), {"a": 1}, person="ada"), "not both"),
    (lambda client: client.track(7, person="ada"), "is a int"),
])  # fmt: skip
def test_what_is_no_event_is_said(make_client, wrong, says):
    """A class in place of an instance, attributes beside one."""
    with pytest.raises(InvalidEvent, match=says):
        wrong(make_client(debug=True))


def test_a_client_takes_a_catalog_alone():
    """A list of classes is none yet."""
    with pytest.raises(ConfigurationError, match=r"type Client\(catalog=Catalog"):
        cio.Client(cio.Settings(backend="null"), catalog=[OrderPlaced])  # type: ignore[arg-type]
