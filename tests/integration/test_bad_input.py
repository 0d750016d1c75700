"""Whatever an application passes to a verb: nothing is raised, the event is counted, the log says what to type."""

from __future__ import annotations

import logging

import pytest

import cio_middleware as cio
from cio_middleware import DropReason, Identity

LONG = "é" * 76  # 152 bytes in 76 characters


class Hostile:
    """Raises at every touch."""

    def __getattribute__(self, name):
        raise RuntimeError("canary")

    def __str__(self):
        raise RuntimeError("canary")

    __repr__ = __str__


class HostileMapping(dict):
    """A mapping that cannot be iterated."""

    def items(self):
        """Fail, with something that must not be repeated."""
        raise RuntimeError("canary")

    values = keys = __iter__ = items


REFUSED = {
    "blank name": lambda client: client.track("  ", person="ada"),
    "no name": lambda client: client.track("", person="ada"),
    "name is None": lambda client: client.track(None, person="ada"),
    "name is a list": lambda client: client.track(["canary"], person="ada"),
    "name too long": lambda client: client.track("é" * 51, person="ada"),
    "page without a name": lambda client: client.page("", person="ada"),
    "empty person": lambda client: client.track("step", person=""),
    "blank person": lambda client: client.track("step", person="   "),
    "person too long": lambda client: client.track("step", person=LONG),
    "person is a bool": lambda client: client.track("step", person=True),
    "person is a dict": lambda client: client.track("step", person={"id": "canary"}),
    "person is hostile": lambda client: client.track("step", person=Hostile()),
    "both identifiers": lambda client: client.track("step", person="ada", anonymous_id="canary"),
    "empty anonymous id": lambda client: client.track("step", anonymous_id=""),
    "anonymous id too long": lambda client: client.track("step", anonymous_id=LONG),
    "attributes are a list": lambda client: client.track("step", ["canary"], person="ada"),
    "attributes are hostile": lambda client: client.track("step", Hostile(), person="ada"),
    "attributes cannot be read": lambda client: client.track("step", HostileMapping(a=1), person="ada"),
    "milliseconds": lambda client: client.track("step", person="ada", timestamp=1_795_486_471_000),
    "timestamp is text": lambda client: client.track("step", person="ada", timestamp="canary"),
    "event id is no ULID": lambda client: client.track("step", person="ada", event_id="canary"),
    "identify nobody's name": lambda client: client.identify("", {"plan": "pro"}),
    "301 attributes": lambda client: client.identify("ada", {f"a{n}": n for n in range(301)}),
    "attribute name too long": lambda client: client.identify("ada", {"é" * 76: 1}),
    "attribute value too long": lambda client: client.identify("ada", {"bio": "é" * 501}),
    "blank attribute": lambda client: client.identify("ada", {" ": 1}),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED.keys())
def test_what_customerio_would_refuse_is_counted_and_logged(client, sandbox, caplog, call):
    """The verb returns None, nothing is sent, the reason is counted, and one line says what is wrong, unquoted."""
    with caplog.at_level(logging.WARNING, logger="cio_middleware"):
        assert call(client) is None
        assert call(client) is None
    assert client.flush(5)
    assert sandbox.requests() == []
    assert client.stats().dropped == {DropReason.INVALID_EVENT: 2}
    assert client.stats().balanced
    assert len(caplog.records) == 1
    assert "canary" not in caplog.text


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED.keys())
def test_debug_raises_what_is_otherwise_logged(make_client, call):
    """With debug, the same calls raise InvalidEvent at the line that made them, and are counted as well."""
    client = make_client(debug=True)
    with pytest.raises(cio.InvalidEvent) as caught:
        call(client)
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert client.stats().dropped == {DropReason.INVALID_EVENT: 1}


@pytest.mark.parametrize("verb", ["track", "page", "screen", "identify"])
def test_nobody_known_is_a_drop_with_its_own_reason(client, verb):
    """Outside a request, an event about nobody is dropped{no_identity}."""
    call = getattr(client, verb)
    assert (call(None, {"plan": "pro"}) if verb == "identify" else call("name")) is None
    assert client.stats().dropped == {DropReason.NO_IDENTITY: 1}


def test_limits_are_met_exactly(client, sandbox):
    """What is exactly at a limit goes through, in bytes of UTF-8."""
    assert client.track("é" * 50, person="é" * 75)
    assert client.identify("ada", {"é" * 75: "é" * 500, **{f"a{n}": n for n in range(298)}})
    assert client.flush(5)
    assert client.stats().delivered == 2
    assert sandbox.bad == []


def test_what_cannot_be_said_in_json_is_replaced_and_counted(client, sandbox):
    """An object without meaning in JSON arrives as its type's name, NaN as null, and both are counted."""
    assert client.track("step", {"who": Hostile(), "nan": float("nan"), "text": "a\ud800b"}, person="ada")
    assert client.flush(5)
    (event,) = sandbox.events("step")
    assert event.data["who"] == "<Hostile>"
    assert event.data["nan"] is None
    assert event.data["text"] == "a�b"
    assert (client.stats().values_replaced, client.stats().values_not_finite) == (2, 1)


def test_later_changes_do_not_reach_a_captured_event(client, sandbox):
    """An event is what it was at the call, whatever the caller does with the dict afterwards."""
    items = ["a"]
    attributes: dict[str, object] = {"items": items}
    client.track("step", attributes, person="ada")
    items.append("b")
    attributes["more"] = True
    assert client.flush(5)
    assert sandbox.events("step")[0].data["items"] == ["a"]
    assert "more" not in sandbox.events("step")[0].data


def test_bound_reaches_every_event_inside_and_none_outside(client, sandbox):
    """Attributes and person of nested blocks add up, and an event's own win."""
    with cio.bound({"campaign": "spring", "step": 1}, person="ada"):
        client.track("outer", {"step": 2})
        with cio.bound({"campaign": "summer"}, person=Identity(email="bob@example.com")):
            client.track("inner")
        client.track("named", person="eve")
    assert client.track("outside") is None
    assert client.flush(5)
    found = {event.name: (event.person, event.data.get("campaign"), event.data.get("step")) for event in sandbox.good}
    assert found == {
        "outer": ("ada", "spring", 2),
        "inner": ("bob@example.com", "summer", 1),
        "named": ("eve", "spring", 1),
    }
