"""What an event looks like on the wire, byte for byte, and which requests carry it."""

from __future__ import annotations

import decimal
import json
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cio_middleware import Identity, _values
from cio_middleware._events import Entry, Envelope, Event
from cio_middleware.exceptions import EventTooLarge, InvalidEvent
from cio_middleware.wire import track

ULID = "01KB0000000000000000000000"
AT = 1_800_000_000


def event(kind: Any = "event", name: str = "order", attributes: Any = None, **who: Any) -> Event:
    """Return an event about ada, unless `who` says otherwise."""
    encoded = _values.encode(attributes or {}).json
    return Event(kind, ULID, name, AT, encoded, **(who or {"identity": Identity(id="ada")}))


def who(what):
    """The identifiers of an event."""
    return track.identifiers(what.identity, what.anonymous_id)


def packed(what: Event) -> bytes:
    """Return an event's item."""
    return track.item(what, who(what))


def entry(what: Event, route: Any = "batch") -> Entry:
    """Return an event as a queue gives it back."""
    return Envelope(what.event_id, what.kind, route, 0, 0.0), packed(what)


ITEMS: dict[str, tuple[Event, dict[str, Any]]] = {
    "event": (
        event(attributes={"total": 42}),
        {
            "type": "person", "action": "event", "identifiers": {"id": "ada"}, "name": "order", "id": ULID,
            "timestamp": AT, "attributes": {"total": 42},
        },
    ),
    "page": (
        event("page", "https://x.test/?a", identity=Identity(email="a@b")),
        {
            "type": "person", "action": "page", "identifiers": {"email": "a@b"}, "name": "https://x.test/?a",
            "id": ULID, "timestamp": AT, "attributes": {},
        },
    ),
    "screen": (
        event("screen", "Home", identity=Identity(cio_id="03")),
        {
            "type": "person", "action": "screen", "identifiers": {"cio_id": "03"}, "name": "Home", "id": ULID,
            "timestamp": AT, "attributes": {},
        },
    ),
    "identify": (
        event("identify", "", {"plan": "pro"}, identity=Identity(phone="+49")),
        {
            "type": "person", "action": "identify", "identifiers": {"phone": "+49"}, "timestamp": AT,
            "attributes": {"plan": "pro"},
        },
    ),
    "anonymous": (
        event(anonymous_id="b-1"),
        {
            "type": "person", "action": "event", "identifiers": {"anonymous_id": "b-1"}, "name": "order", "id": ULID,
            "timestamp": AT, "attributes": {},
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize(("what", "expected"), ITEMS.values(), ids=ITEMS)
def test_an_item_is_what_the_vendor_describes(what, expected):
    """TRACK-SPEC, v2 batch: the members of each action, and no others."""
    assert json.loads(packed(what)) == expected


# st.text would leave the lone surrogates out.
TEXTS = st.lists(st.characters() | st.sampled_from('\ud800\udc00\x00"\\'), min_size=1, max_size=12).map("".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
IDENTITIES = st.builds(
    lambda field, value: Identity(**{field: value}),
    st.sampled_from(["id", "email", "cio_id", "phone"]),
    TEXTS.filter(str.strip),
)
EVENTS = st.builds(
    lambda kind, name, attributes, who: event(kind, name, attributes, **who),
    st.sampled_from(["event", "page", "screen", "identify"]),
    TEXTS.filter(str.strip),
    st.dictionaries(TEXTS, VALUES, max_size=3),
    IDENTITIES.map(lambda identity: {"identity": identity}) | TEXTS.map(lambda text: {"anonymous_id": text}),
)


def repaired(value: Any) -> Any:
    """Say what arrives of a value: the same, without lone surrogates."""
    if isinstance(value, str):
        return _values.text(value)
    if isinstance(value, dict):
        return {repaired(key): repaired(each) for key, each in value.items()}
    return value


@given(EVENTS)
def test_an_item_of_any_event_is_the_json_that_it_stands_for(what):
    """Joined from bytes by hand, an item decodes to what an encoder would have written."""
    field, value = what.identity.key if what.identity is not None else ("anonymous_id", what.anonymous_id)
    expected = {
        "type": "person", "action": what.kind, "identifiers": repaired({field: value}), "name": repaired(what.name),
        "id": ULID, "timestamp": AT, "attributes": what.attributes,
    }  # fmt: skip
    if what.kind == "identify":
        del expected["name"], expected["id"]
    assert json.loads(packed(what)) == expected


@given(st.dictionaries(st.text(max_size=3), st.integers()), st.integers())
def test_a_member_is_added_without_decoding(attributes, value):
    """An empty object gets no comma, any other one does."""
    encoded = _values.encode(attributes).json
    spliced = _values.splice(encoded, b'"_new":%d' % value)
    assert json.loads(spliced) == {**attributes, "_new": value}


@pytest.mark.parametrize("name", [5, None, ["x"], "", "x" * 101], ids=repr)
def test_an_event_that_a_processor_spoiled_is_refused(name):
    """Names are looked at again, because a processor may return another event."""
    with pytest.raises(InvalidEvent):
        packed(msgspec.structs.replace(event(), name=name))


# -------------------------------------------------------------------------------------------------------------- routes

ADA = Identity(id="ada")
ROUTES: dict[str, tuple[Event, int, str, int, Any]] = {
    "small": (event(), 100, "v1", 100_000, "batch"),
    "at-32000": (event(), 32_000, "v1", 100_000, "batch"),
    "above": (event(), 32_001, "v1", 100_000, "single"),
    "at-100000": (event(), 100_000, "v1", 100_000, "single"),
    "above-all": (event(), 100_001, "v1", 100_000, "limit is 100,000"),
    "own-limit": (event(), 501, "v1", 500, "limit is 500"),
    "own-limit-at": (event(), 500, "v1", 500, "batch"),
    "own-limit-between": (event(), 40_001, "v1", 40_000, "limit is 40,000"),
    "identify": (event("identify"), 32_001, "v1", 100_000, "this identify is 32,001 bytes long, the limit is 32,000"),
    "page": (event("page"), 32_001, "v1", 100_000, "this page is 32,001 bytes long"),
    "screen": (event("screen"), 32_001, "v1", 100_000, "this screen is 32,001 bytes long"),
    "anonymous-v1": (event(anonymous_id="b"), 100, "v1", 100_000, "single"),
    "anonymous-v1-above": (event(anonymous_id="b"), 32_001, "v1", 100_000, "limit is 32,000"),
    "anonymous-v2": (event(anonymous_id="b"), 100, "v2", 100_000, "batch"),
    "anonymous-v2-above": (event(anonymous_id="b"), 32_001, "v2", 100_000, "limit is 32,000"),
    "email": (event(identity=Identity(email="a@b")), 50_000, "v1", 100_000, "single"),
    "cio-id": (event(identity=Identity(cio_id="03")), 50_000, "v1", 100_000, "single"),
    "phone": (event(identity=Identity(phone="+49")), 50_000, "v1", 100_000, "limit is 32,000"),
    "id-like-an-email": (event(identity=Identity(id="a@b")), 50_000, "v1", 100_000, "limit is 32,000"),
    "id-like-a-cio-id": (event(identity=Identity(id="cio_03")), 50_000, "v1", 100_000, "limit is 32,000"),
    "email-like-an-id": (event(identity=Identity(email="ab")), 50_000, "v1", 100_000, "limit is 32,000"),
    "dot": (event(identity=Identity(id=".")), 50_000, "v1", 100_000, "limit is 32,000"),
    "dots": (event(identity=Identity(id="..")), 50_000, "v1", 100_000, "limit is 32,000"),
    "dots-small": (event(identity=Identity(id="..")), 100, "v1", 100_000, "batch"),
}


@pytest.mark.parametrize(("what", "size", "anonymous_via", "most", "expected"), ROUTES.values(), ids=ROUTES)
def test_how_an_item_travels(what, size, anonymous_via, most, expected):
    """Above 32,000 bytes only v1 takes an event, and only of a person that its path names and nobody else's."""
    if expected in {"batch", "single"}:
        assert track.route(what, size, anonymous_via, most) == expected
    else:
        with pytest.raises(EventTooLarge, match=expected):
            track.route(what, size, anonymous_via, most)


@given(IDENTITIES | TEXTS.filter(str.strip))
def test_all_events_of_one_identifier_share_a_lane(whom):
    """A retry holds one lane, so that a person's events stay in order and others' go on."""
    given_by = {"identity": whom} if isinstance(whom, Identity) else {"anonymous_id": whom}
    lanes = {track.lane(who(event(kind, "x", **given_by))) for kind in ("event", "page", "identify")}
    assert len(lanes) == 1
    assert 0 <= lanes.pop() < 2**32


def test_people_are_spread_over_lanes():
    """Few people share a lane with a given one."""
    lanes = {track.lane(who(event(identity=Identity(id=str(number))))) & 0xFF for number in range(1000)}
    assert len(lanes) > 200


# ------------------------------------------------------------------------------------------------------------ requests


def test_a_batch_is_a_join_of_its_items():
    """The items' own bytes, in order; the request knows how many they are."""
    entries = [entry(event(attributes={"n": number})) for number in range(3)]
    request = track.request(entries)
    assert (request.path, request.template, request.count) == ("/api/v2/batch", "/api/v2/batch", 3)
    assert request.body == b'{"batch":[' + b",".join(item for _, item in entries) + b"]}"
    assert [item["attributes"]["n"] for item in json.loads(request.body)["batch"]] == [0, 1, 2]


@given(st.lists(st.tuples(st.sampled_from(["batch", "single"]), st.integers(1, 60)), min_size=1, max_size=30),
       st.integers(1, 8), st.integers(20, 200))  # fmt: skip
def test_no_request_exceeds_its_bounds(waiting, most, most_bytes):
    """Items are cut into requests that keep both bounds, with commas and envelope; only an item alone may be larger."""
    left = list(waiting)
    while left:
        taken = track.cut(iter(left), most, most_bytes)
        part, left = left[:taken], left[taken:]
        assert 1 <= taken <= most
        if taken == 1:
            continue
        sizes = [size for _, size in part]
        entries = [(Envelope(ULID, "event", "batch", 0, 0.0), b"x" * size) for size in sizes]
        assert {route for route, _ in part} == {"batch"}
        assert len(track.batch(entries).body) <= most_bytes
        # And no request is smaller than it must be.
        if left and left[0][0] == "batch" and taken < most:
            more = [*entries, (entries[0][0], b"x" * left[0][1])]
            assert len(track.batch(more).body) > most_bytes


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_a_body_of_exactly_the_bound_is_one_request(count):
    """Two items need a comma and all of them the envelope: at the bound they fit, with one byte less the last waits."""
    entries = [(Envelope(ULID, "event", "batch", 0, 0.0), b"x" * 50)] * count
    waiting: list[Any] = [("batch", 50)] * count
    exactly = len(track.batch(entries).body)
    assert track.cut(waiting, 100, exactly) == count
    assert track.cut(waiting, 100, exactly - 1) == max(1, count - 1)
    assert track.cut(waiting, count - 1 or 1, exactly) == max(1, count - 1)


def test_nothing_waiting_is_no_request():
    """An empty queue asks for nothing."""
    assert track.cut([], 10, 100) == 0


PEOPLE = {
    "plain": ({"id": "ada"}, "ada"),
    "slash": ({"id": "a/b"}, "a%2Fb"),
    "leading-slash": ({"id": "/a"}, "%2Fa"),
    "percent": ({"id": "100%"}, "100%25"),
    "encoded": ({"id": "a%2Fb"}, "a%252Fb"),
    "plus": ({"id": "a+b"}, "a%2Bb"),
    "space": ({"id": "a b"}, "a%20b"),
    "question-mark": ({"id": "a?b#c"}, "a%3Fb%23c"),
    "dots-within": ({"id": "../a"}, "..%2Fa"),
    "backslash": ({"id": "a\\b"}, "a%5Cb"),
    "line-break": ({"id": "a\r\nHost: evil"}, "a%0D%0AHost%3A%20evil"),
    "nul": ({"id": "a\x00"}, "a%00"),
    "umlaut": ({"id": "日本"}, "%E6%97%A5%E6%9C%AC"),
    "surrogate": ({"id": "a\ud800"}, "a%EF%BF%BD"),
    "email": ({"email": "ada+x@example.com"}, "ada%2Bx%40example.com"),
    "cio-id": ({"cio_id": "03000001"}, "cio_03000001"),
}


@pytest.mark.parametrize(("who", "segment"), PEOPLE.values(), ids=PEOPLE)
def test_a_person_is_one_segment_of_the_path(who, segment):
    """Every reserved character is escaped; the template, which goes into spans, names nobody."""
    request = track.request([entry(event(attributes={"a": 1}, identity=Identity(**who)), "single")])
    assert request.path == f"/api/v1/customers/{segment}/events"
    assert request.template == "/api/v1/customers/{id}/events"
    assert request.count is None
    assert json.loads(request.body) == {"name": "order", "id": ULID, "timestamp": AT, "type": "event", "data": {"a": 1}}


@given(TEXTS.filter(str.strip))
def test_any_id_comes_back_out_of_its_path(person):
    """Whatever the id, the path is ASCII on one line, has five segments, and names that id."""
    path = track.single(entry(event(identity=Identity(id=person)), "single")).path
    assert path.isascii()
    assert path.isprintable()
    assert " " not in path
    assert path.count("/") == 5
    assert unquote(path.split("/")[4]) == _values.text(person)


def test_an_anonymous_event_goes_to_its_own_endpoint():
    """The browser's id travels in the body."""
    request = track.request([entry(event(anonymous_id="b/1"), "single")])
    assert (request.path, request.template, request.count) == ("/api/v1/events", "/api/v1/events", None)
    assert json.loads(request.body)["anonymous_id"] == "b/1"


@given(EVENTS.filter(lambda what: what.kind != "identify"))
def test_v1_carries_what_v2_would(what):
    """The same event by either route: name, id, timestamp, kind, and the attributes byte for byte, at every retry."""
    item = json.loads(packed(what))
    request = track.single(entry(what, "single"))
    body = json.loads(request.body)
    assert body["type"] == item["action"]
    assert body["data"] == item["attributes"]
    assert {key: body[key] for key in ("name", "id", "timestamp")} == {
        key: item[key] for key in ("name", "id", "timestamp")
    }
    assert what.attributes_json in request.body
    assert track.single(entry(what, "single")) == request


def test_v1_keeps_every_digit_of_an_amount():
    """An item is not decoded to numbers on its way into a v1 call."""
    amount = decimal.Decimal("1234567890.12345678901234567890")
    body = track.single(entry(event(attributes={"total": amount}), "single")).body
    assert b'"total":1234567890.12345678901234567890' in body
