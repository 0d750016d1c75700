"""
Whatever an application puts into an event (faults 27 to 35), through a whole client to a sandbox that judges by itself.

The tables behind these are in ``tests/unit/test_values.py``, ``tests/unit/wire`` and ``test_bad_input.py``.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import threading
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

import cio_middleware as cio
from cio_middleware import DropReason
from cio_middleware.typing import Receipt


class Measured:
    """A backend that keeps the size of each item."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def emit(self, envelope, item: bytes) -> Receipt:
        """Note its size."""
        self.sizes.append(len(item))
        return Receipt()

    def flush(self, timeout: float) -> bool:
        """Nothing waits."""
        return True

    def close(self, timeout: float) -> None:
        """Nothing is open."""


@pytest.fixture(name="of_size")
def _of_size():
    """Makes attributes whose event is exactly so many bytes long as UTF-8, filled with characters of one or of two."""
    backend = Measured()
    client = cio.Client(cio.Settings(site_id="s", api_key="k", backend=backend, stamps=False))

    def make(size: int, character: str) -> dict[str, str]:
        client.track("step", {"text": ""}, person="ada")
        room = size - backend.sizes[-1]
        width = len(character.encode())
        return {"text": character * (room // width) + "x" * (room % width)}

    return make


@pytest.mark.parametrize("character", ["x", "é"], ids=["one-byte", "two-bytes"])
@pytest.mark.parametrize(
    ("size", "api"),
    [(31_999, "track.v2"), (32_000, "track.v2"), (32_001, "track.v1"), (100_000, "track.v1"), (100_001, None)],
)
def test_27_an_events_size_is_its_bytes(make_client, sandbox, of_size, size, api, character):
    """Up to 32,000 bytes it goes in a batch, up to 100,000 alone; beyond that it is refused at once, and never cut."""
    client = make_client(stamps=False)
    attributes = of_size(size, character)
    assert (client.track("step", attributes, person="ada") is None) is (api is None)
    assert client.flush(5)
    if api is None:
        assert client.stats().dropped == {DropReason.EVENT_TOO_LARGE: 1}
        assert client.stats().requests == 0
    else:
        (event,) = sandbox.good
        assert (event.api, event.data) == (api, attributes)


def test_28_a_batch_is_measured_to_the_byte(serve, answer, on, of_size):
    """Commas and the envelope count: a batch of exactly the bound is one request, and a byte less makes it two."""
    server = serve(lambda connection, _: connection.sendall(answer("200 OK")))
    whole = len(b'{"batch":[') + 3 * 1000 + 2 * len(b",") + len(b"]}")
    for bound, requests in ((whole, 1), (whole - 1, 2)):
        before = len(server.requests)
        client = on(server.url, flush_interval=60.0, max_batch_bytes=bound, max_event_bytes=1000, stamps=False)
        for _ in range(3):
            assert client.track("step", of_size(1000, "x"), person="ada")
        assert client.flush(5)
        bodies = [request.partition(b"\r\n\r\n")[2] for request in server.requests[before:]]
        assert len(bodies) == requests
        assert max(map(len, bodies)) <= bound


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, Decimal("NaN"), Decimal("1e400")], ids=str)
def test_29_a_number_that_is_not_finite_deletes_nothing(client, sandbox, number):
    """A track sends null; an identify leaves the attribute as it was; both are counted."""
    client.identify("ada", {"score": 7})
    client.identify("ada", {"score": number, "plan": "pro"})
    client.track("step", {"score": number}, person="ada")
    assert client.flush(5)
    assert sandbox.bad == []
    assert sandbox.people["ada"].attributes["score"] == 7
    assert sandbox.people["ada"].attributes["plan"] == "pro"
    assert sandbox.events("step")[0].data["score"] is None
    assert client.stats().values_not_finite == 2


def test_30_half_a_surrogate_pair_is_replaced_wherever_it_stands(client, sandbox):
    """In a value, a key, a name and an identifier it becomes U+FFFD, and the event arrives as valid UTF-8."""
    client.track("st\ud800ep", {"k\udfffey": "a\ud800b", "n": ["\udc00"]}, person="a\ud800da")
    assert client.flush(5)
    (event,) = sandbox.good
    assert (event.name, event.person) == ("st\ufffdep", "a\ufffdda")
    assert {key: event.data[key] for key in ("k\ufffdey", "n")} == {"k\ufffdey": "a\ufffdb", "n": ["\ufffd"]}


def _cycle() -> dict[str, Any]:
    found: dict[str, Any] = {}
    found["itself"] = [found]
    return found


def _nested(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(levels):
        found = {"a": found}
    return found


@pytest.mark.parametrize(
    "attributes",
    [_cycle(), _nested(100_000), {"n": [0] * 20_001}, {"n": 10**5000}],
    ids=["cycle", "deep", "many", "huge"],
)
def test_31_what_would_not_end_is_refused(make_client, attributes):
    """Cycles, depth, number and digits are `InvalidEvent` and no RecursionError, in the call that made them."""
    client = make_client()
    assert client.track("step", attributes, person="ada") is None
    assert client.stats().dropped == {DropReason.INVALID_EVENT: 1}
    with pytest.raises(cio.InvalidEvent):
        make_client(debug=True).track("step", attributes, person="ada")


class Colour(enum.Enum):
    """An enum."""

    RED = "red"


@dataclasses.dataclass
class Point:
    """A dataclass."""

    x: int


class Lazy:
    """A translation that is not made yet, as Django's are, in all but name."""

    def __str__(self) -> str:
        return "later"


def test_32_every_kind_of_value_arrives_as_documented(client, sandbox):
    """The page of values, end to end; what has no meaning in JSON is its type's name and never its repr."""
    given = {
        "bytes": b"\x00\xff",
        "money": Decimal("19.90"),
        "naive": datetime(2027, 1, 1, 12, 0),  # noqa: DTZ001 - that is the case
        "aware": datetime(2027, 1, 1, 12, 0, tzinfo=UTC),
        "uuid": uuid.UUID(int=1),
        "enum": Colour.RED,
        "set": {"a"},
        "dataclass": Point(1),
        "lazy": Lazy(),
        "large": 2**63,
    }
    client.track("step", given, person="ada")
    assert client.flush(5)
    (event,) = sandbox.good
    assert {key: event.data[key] for key in given} == {
        "bytes": "AP8=",
        "money": 19.9,
        "naive": 1798804800,
        "aware": 1798804800,
        "uuid": str(uuid.UUID(int=1)),
        "enum": "red",
        "set": ["a"],
        "dataclass": {"x": 1},
        "lazy": "<Lazy>",
        "large": 2**63,
    }


class Hostile(dict):
    """Notes in which thread it is looked at, and fails."""

    seen: list[threading.Thread] = []  # noqa: RUF012 - shared on purpose

    def __iter__(self):
        self.seen.append(threading.current_thread())
        raise RuntimeError("canary")

    keys = values = items = __len__ = __str__ = __repr__ = __iter__


def test_33_an_object_that_fails_when_looked_at_is_contained(client, sandbox, caplog):
    """It is looked at in the thread that captures and in no other, and costs its own event at most."""
    assert client.track("good", {"n": 1}, person="ada")
    client.track("bad", Hostile(), person="ada")
    client.track("bad", {"deep": [Hostile()]}, person="ada")
    assert client.track("good", {"n": 2}, person="ada")
    assert client.flush(5)
    assert sandbox.count("good") == 2
    assert set(Hostile.seen) == {threading.current_thread()}
    assert client.stats().balanced
    assert "canary" not in caplog.text


def test_34_what_is_changed_after_the_call_changes_no_event(client, sandbox):
    """An event is what it was when it was captured, down to the innermost list."""
    attributes: dict[str, Any] = {"order": {"items": ["a"]}}
    client.track("step", attributes, person="ada")
    attributes["order"]["items"].append("b")
    attributes["order"]["paid"] = True
    attributes.clear()
    assert client.flush(5)
    assert sandbox.good[0].data["order"] == {"items": ["a"]}


def test_35_keys_that_become_equal_are_still_one_object(serve, answer, on):
    """A number and its text are the same name in JSON: what is sent is valid all the same, and one of them wins."""
    server = serve(lambda connection, _: connection.sendall(answer("200 OK")))
    raw = on(server.url)
    raw.track("step", {"d": {1: "number", "1": "text"}, 2: "number", "2": "text"}, person="ada")
    assert raw.flush(5)
    body = server.requests[0].partition(b"\r\n\r\n")[2]
    pairs: list[str] = []

    def note(found: list[tuple[str, Any]]) -> dict[str, Any]:
        pairs.extend(key for key, _ in found)
        return dict(found)

    json.loads(body, object_pairs_hook=note)
    assert (pairs.count("1"), pairs.count("2")) == (1, 1)


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.track("", person="ada"),
        lambda client: client.track("step", person=""),
        lambda client: client.track("step", person="é" * 76),
        lambda client: client.track("step", person="ada", event_id="no ULID"),
        lambda client: client.identify("ada", {"": 1}),
    ],
    ids=["empty-name", "empty-person", "long-person", "event-id", "empty-key"],
)
def test_35_what_customerio_would_refuse_is_not_sent(client, sandbox, call):
    """Names and identifiers keep its rules before anything leaves: counted, and no request is made."""
    assert call(client) is None
    assert client.flush(5)
    assert client.stats().dropped == {DropReason.INVALID_EVENT: 1}
    assert sandbox.requests() == []
