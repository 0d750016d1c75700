"""Customer.io's rules: every limit at n and at n + 1, in bytes, and every way to get a call wrong."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from cio_middleware.sandbox import jsontext
from cio_middleware.sandbox.endpoints import Route, find
from cio_middleware.sandbox.fidelity import Fidelity
from cio_middleware.sandbox.operations import from_call, from_item
from cio_middleware.sandbox.rules import known_kinds, objections

FIDELITY = Fidelity()


def v1(method, path, body=None):
    """Judge a v1 call; return what Customer.io would say against it."""
    route = find(method, quote(path).encode())
    assert isinstance(route, Route)
    document = None if body is None else jsontext.read(json.dumps(body, ensure_ascii=False).encode(), 64)
    return objections(from_call(route, document, {}), FIDELITY)


def v2(item):
    """Judge a v2 item, as compact JSON."""
    size = len(json.dumps(item, ensure_ascii=False, separators=(",", ":")).encode())
    return objections(from_item(item, size), FIDELITY)


def identify(attributes, identifier="ada"):
    """Judge a v1 identify."""
    return v1("PUT", f"/api/v1/customers/{identifier}", attributes)


def event(**body):
    """Judge a v1 event."""
    return v1("POST", "/api/v1/customers/ada/events", {"name": "order", **body})


def item(action, subject="person", **members):
    """Return a v2 item about ada."""
    return {"type": subject, "action": action, "identifiers": {"id": "ada"}, **members}


def padded(size):
    """Return a v2 event of exactly so many bytes of compact JSON."""
    empty = item("event", name="order", attributes={"x": ""})
    rest = size - len(json.dumps(empty, separators=(",", ":")))
    return item("event", name="order", attributes={"x": "a" * rest})


LIMITS = {
    "identifier": (lambda text: identify({}, text), 150, "E-identifier-too-long"),
    "identifier-v2": (lambda text: v2({**item("identify"), "identifiers": {"id": text}}), 150, "E-identifier-too-long"),
    "attribute-name": (lambda text: identify({text: 1}), 150, "E-attribute-name"),
    "attribute-value": (lambda text: identify({"bio": text}), 1000, "E-attribute-value"),
    "attribute-value-v2": (lambda text: v2(item("identify", attributes={"bio": text})), 1000, "E-attribute-value"),
    "event-name": (lambda text: event(name=text), 100, "E-name-too-long"),
    "event-name-v2": (lambda text: v2(item("event", name=text)), 100, "E-name-too-long"),
    "screen-name-v2": (lambda text: v2(item("screen", name=text)), 100, "E-name-too-long"),
    "page-name": (lambda text: event(name=text, type="page"), 500, "E-name-too-long"),
    "page-name-v2": (lambda text: v2(item("page", name=text)), 500, "E-name-too-long"),
    "object-id": (
        lambda text: v2(item("identify", "object", identifiers={"object_type_id": "1", "object_id": text})),
        150,
        "E-identifier-too-long",
    ),
}


@pytest.mark.parametrize(("judge", "limit", "code"), LIMITS.values(), ids=LIMITS)
def test_a_limit_is_in_bytes_and_inclusive(judge, limit, code):
    """N bytes are accepted and n + 1 refused, whether a character takes one byte or three."""
    assert judge("a" * limit) == ()
    assert [finding.code for finding in judge("a" * (limit + 1))] == [code]
    tail = "a" * (limit % 3)
    assert judge("日" * (limit // 3) + tail) == ()
    assert [finding.code for finding in judge("日" * (limit // 3) + tail + "a")] == [code]


@pytest.mark.parametrize(
    ("judge", "limit", "code"),
    [
        (lambda n: identify({f"a{i}": i for i in range(n)}), 300, "E-too-many-attributes"),
        (lambda n: v2(padded(n)), 32_000, "E-item-too-large"),
        (lambda n: event(data={"x": "a" * (n - len('{"x": ""}'))}), 100_000, "E-data-too-large"),
        (lambda n: v1("POST", "/api/v1/segments/1/add_customers", {"ids": ["a"] * n}), 1000, "E-segment-ids"),
    ],
    ids=["attributes", "v2-item", "v1-data", "segment"],
)
def test_a_count_or_a_size_is_inclusive(judge, limit, code):
    """N is accepted and n + 1 refused."""
    assert judge(limit) == ()
    assert [finding.code for finding in judge(limit + 1)] == [code]


def test_what_steers_an_identify_is_no_attribute():
    """`_timestamp`, `_update` and the like do not count against the 300."""
    attributes = {f"a{number}": number for number in range(300)}
    assert identify({**attributes, "_timestamp": 1, "_update": True, "anonymous_id": "v"}) == ()


def test_an_event_between_the_two_limits_fits_v1_alone():
    """50,000 bytes are too many for an item and fine for a single call."""
    data = {"x": "a" * 50_000}
    assert event(data=data) == ()
    assert [finding.code for finding in v2(item("event", name="order", attributes=data))] == ["E-item-too-large"]


WRONG = {
    "v1 no name": (lambda: event(name=None), "event name must not be blank", "name"),
    "v1 blank name": (lambda: event(name="  "), "event name must not be blank", "name"),
    "v1 name is a number": (lambda: event(name=7), "event name must not be blank", "name"),
    "v1 data is a list": (lambda: event(data=[1]), "event data must be a hash", "data"),
    "v1 data is text": (lambda: event(data="x"), "event data must be a hash", "data"),
    "v1 type": (lambda: event(type="click"), "type must be event, page or screen", "type"),
    "v1 timestamp": (lambda: event(timestamp="now"), "timestamp must be an integer", "timestamp"),
    "v1 _timestamp": (lambda: identify({"_timestamp": 1.5}), "_timestamp must be an integer", "_timestamp"),
    "v1 id is a number": (lambda: identify({"id": 7}), "id attribute must be a string value", "id"),
    "v1 id is empty": (lambda: identify({"id": ""}), "id attribute cannot be an empty string", "id"),
    "v1 body is a list": (lambda: identify([1]), "the body must be a JSON object", ""),
    "v1 long value": (
        lambda: identify({"X": "a" * 1001}),
        "value for attribute 'X' cannot be longer than 1000 bytes",
        "X",
    ),
    "v1 relationships": (
        lambda: identify({"cio_relationships": []}),
        "cio_relationships must be an object with an action and relationships",
        "cio_relationships",
    ),
    "v1 invite": (
        lambda: v1("POST", "/api/v1/events", {"name": "x"}),
        "anonymous_id or data.recipient must be present",
        "data.recipient",
    ),
    "v1 merge": (
        lambda: v1("POST", "/api/v1/merge_customers", {"primary": {"id": "a", "email": "b"}, "secondary": {"id": "c"}}),
        "exactly one of id, email, cio_id must be present",
        "primary",
    ),
    "v1 merge half": (
        lambda: v1("POST", "/api/v1/merge_customers", {"primary": {"id": "a"}}),
        "secondary must be present",
        "secondary",
    ),
    "v1 device": (lambda: v1("PUT", "/api/v1/customers/a/devices", {}), "device must be present", "device"),
    "v1 device id": (
        lambda: v1("PUT", "/api/v1/customers/a/devices", {"device": {"platform": "ios"}}),
        "device id must be present",
        "device.id",
    ),
    "v1 platform": (
        lambda: v1("PUT", "/api/v1/customers/a/devices", {"device": {"id": "t", "platform": "web"}}),
        "device platform must be ios or android",
        "device.platform",
    ),
    "v1 metric": (
        lambda: v1("POST", "/api/v1/metrics", {"metric": "opened"}),
        "delivery_id must be present",
        "delivery_id",
    ),
    "v1 form": (
        lambda: v1("POST", "/api/v1/forms/f/submit", {"data": {"id": "a", "email": "b"}}),
        "exactly one of id, email must be present",
        "data",
    ),
    "v1 form value": (
        lambda: v1("POST", "/api/v1/forms/f/submit", {"data": {"id": "a", "n": 1}}),
        "form values must be strings",
        "data.n",
    ),
    "v2 no item": (lambda: v2(7), "item must be an object", ""),
    "v2 no type": (lambda: v2({"action": "event"}), "type must be present", "type"),
    "v2 no action": (lambda: v2({"type": "person"}), "action must be present", "action"),
    "v2 strange type": (lambda: v2(item("event", "robot")), "type must be one of delivery, object, person", "type"),
    "v2 strange action": (lambda: v2(item("explode", "delivery")), "action must be one of event", "action"),
    "v2 no identifiers": (
        lambda: v2({"type": "person", "action": "delete"}),
        "identifiers must be present",
        "identifiers",
    ),
    "v2 two identifiers": (
        lambda: v2({**item("delete"), "identifiers": {"id": "a", "email": "b"}}),
        "exactly one of id, email, phone, cio_id must be present",
        "identifiers",
    ),
    "v2 id is a number": (
        lambda: v2({**item("delete"), "identifiers": {"id": 7}}),
        "id attribute must be a string value",
        "identifiers.id",
    ),
    "v2 id is empty": (
        lambda: v2({**item("delete"), "identifiers": {"id": ""}}),
        "id attribute cannot be an empty string",
        "identifiers.id",
    ),
    "v2 phone": (
        lambda: v2({**item("delete"), "identifiers": {"phone": "555"}}),
        "phone must be in E.164 format",
        "identifiers.phone",
    ),
    "v2 long value": (
        lambda: v2(item("identify", attributes={"suburb": "a" * 1001})),
        "property value cannot be longer than 1000 bytes",
        "attributes.suburb",
    ),
    "v2 relationships": (
        lambda: v2(item("add_relationships")),
        "cio_relationships must be present",
        "cio_relationships",
    ),
    "v2 relationships object": (
        lambda: v2(item("add_relationships", cio_relationships={})),
        "cio_relationships must be an array",
        "cio_relationships",
    ),
    "v2 token": (lambda: v2(item("delete_device", device={"id": "t"})), "device token must be present", "device.token"),
    "v2 object": (
        lambda: v2(item("identify", "object", identifiers={"object_type_id": "1"})),
        "object_id must be present",
        "identifiers.object_id",
    ),
    "v2 delivery": (
        lambda: v2(item("event", "delivery", name="seen", attributes={"device_token": "t"})),
        "name must be opened, converted or delivered",
        "name",
    ),
}


@pytest.mark.parametrize(("judge", "message", "field"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_named_in_customer_ios_words(judge, message, field):
    """What is wrong is one finding with the field and the message of the API that was called."""
    assert [(finding.message, finding.field) for finding in judge()] == [(message, field)]


RIGHT = [
    item("identify", attributes={"plan": "pro", "tags": ["a"], "address": {"city": "x"}}, timestamp=1),
    item("identify", cio_relationships=[{"identifiers": {"object_type_id": "1", "object_id": "acme"}}]),
    item("delete"),
    item("suppress"),
    item("unsuppress"),
    item("event", name="order"),
    item("page", name="/x"),
    item("screen", name="home"),
    {**item("event", name="order"), "identifiers": {"anonymous_id": "v"}},
    {**item("event", name="order"), "identifiers": {"phone": "+15551234567"}},
    item("add_device", device={"token": "t", "platform": "ios"}),
    item("delete_device", device={"token": "t"}),
    {"type": "person", "action": "merge", "primary": {"id": "a"}, "secondary": {"email": "b@x"}},
    item("add_relationships", cio_relationships=[]),
    item("delete_relationships", cio_relationships=[]),
    item("identify", "object", identifiers={"object_id": "acme"}, attributes={"size": 3}),
    item("identify_anonymous", "object", identifiers={"object_id": "acme"}, cio_relationships=[]),
    item("delete", "object", identifiers={"cio_object_id": "ob1"}),
    item("add_relationships", "object", identifiers={"object_id": "acme"}, cio_relationships=[]),
    item("delete_relationships", "object", identifiers={"object_id": "acme"}, cio_relationships=[]),
    item("event", "delivery", name="opened", attributes={"device_token": "t"}),
]


@pytest.mark.parametrize(
    "good", RIGHT, ids=[f"{number}-{good['type']}-{good['action']}" for number, good in enumerate(RIGHT)]
)
def test_every_action_of_v2_has_a_shape_that_is_accepted(good):
    """Nothing is said against a correct item."""
    assert v2(good) == ()


def test_the_list_of_right_items_has_every_kind():
    """A kind that is added without an example here fails."""
    v2_kinds = {pair for pair in known_kinds() if pair[1] not in {"metric", "unsubscribe", "submit", "add", "remove"}}
    assert {(good["type"], good["action"]) for good in RIGHT} == v2_kinds


def test_every_mistake_of_an_item_is_found_at_once():
    """A caller who mends one fault does not meet the next in the following attempt."""
    found = v2({**item("event", name="", timestamp="x", attributes=[]), "identifiers": {"id": 7}})
    assert {finding.field for finding in found} == {"identifiers.id", "name", "attributes", "timestamp"}


def test_milliseconds_are_refused_where_the_house_says_so():
    """How the real one answers them is a guess, so both sides can be taken; seconds pass either way."""
    refusing = Fidelity(millisecond_timestamps="refuse")
    for stamp, codes in ((1_800_000_000_000, ["E-timestamp"]), (1_800_000_000, [])):
        judged = objections(from_item(item("event", name="order", timestamp=stamp), 1), refusing)
        assert [finding.code for finding in judged] == codes
    assert v2(item("event", name="order", timestamp=1_800_000_000_000)) == ()
