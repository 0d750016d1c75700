"""Who an event is about, and that no printed form of an event or a person tells who that is."""

from __future__ import annotations

import copy
import enum
import json
import math
import pickle
import pprint
from typing import Any

import msgspec
import pytest
from django.utils.safestring import mark_safe
from hypothesis import given, settings
from hypothesis import strategies as st

from cio_middleware import Identity, _values
from cio_middleware._events import IDENTIFIER_BYTES, Envelope, Event, Receipt
from cio_middleware._stats import DropReason
from cio_middleware.exceptions import InvalidEvent, Rejected

CANARY = "ada-c4n4ry"
ULID = "01KB0000000000000000000000"


class Member(enum.StrEnum):
    """A person of an enum, as a fixture may have it."""

    ADA = "ada"


class Number(enum.IntEnum):
    """The same as a number."""

    ADA = 7


ANYWAY: dict[str, tuple[Any, tuple[str, str]]] = {
    "str": ("ada", ("id", "ada")),
    "int": (7, ("id", "7")),
    "zero": (0, ("id", "0")),
    "negative": (-1, ("id", "-1")),
    "str-enum": (Member.ADA, ("id", "ada")),
    "int-enum": (Number.ADA, ("id", "7")),
    "safe-string": (mark_safe("ada"), ("id", "ada")),
    "identity": (Identity(email="a@b"), ("email", "a@b")),
    "cio-id": (Identity(cio_id="03000001"), ("cio_id", "03000001")),
    "phone": (Identity(phone="+4912"), ("phone", "+4912")),
    "longest": ("a" * 150, ("id", "a" * 150)),
    "longest-multi-byte": ("日" * 50, ("id", "日" * 50)),
    "spaces-around": (" ada ", ("id", " ada ")),
}


@pytest.mark.parametrize(("person", "key"), ANYWAY.values(), ids=ANYWAY)
def test_a_person_is_an_id_or_an_identity(person, key):
    """Text and whole numbers are the workspace's id; subclasses become plain text, which is all the encoder takes."""
    identity = Identity.of(person)
    assert identity.key == key
    assert type(identity.key[1]) is str
    assert json.loads(msgspec.json.encode(identity)) == dict([key])


@pytest.mark.parametrize("field", ["id", "email", "cio_id", "phone"])
def test_a_subclass_of_str_becomes_plain_in_every_field(field):
    """An Identity made by hand takes the same values as the verbs do."""
    assert type(Identity(**{field: mark_safe("a@b")}).key[1]) is str


NOBODY: dict[str, tuple[Any, str]] = {
    "none": (None, "person is a NoneType"),
    "bool": (True, "person is a bool"),
    "float": (1.5, "person is a float"),
    "bytes": (b"ada", "person is a bytes"),
    "object": (object(), "person is a object"),
    "empty": ("", "id is blank"),
    "blank": (" \t\n", "id is blank"),
    "blank-long": (" " * 60, "id is blank"),
    "one-byte-too-long": ("a" * 151, "id is 151 bytes long, Customer.io takes 150"),
    "multi-byte-too-long": ("日" * 50 + "a", "id is 151 bytes long"),
    "surrogates-too-long": ("\ud800" * 51, "id is 153 bytes long"),
    "endless-number": (10**5000, "more than 150 digits"),
    "long-number": (10**150, "id is 151 bytes long"),
}


@pytest.mark.parametrize(("person", "reason"), NOBODY.values(), ids=NOBODY)
def test_what_names_nobody_is_refused_with_a_reason(person, reason):
    """The message says what was given by its type or its size, never by its value."""
    with pytest.raises(InvalidEvent, match=reason) as caught:
        Identity.of(person)
    assert "aaa" not in str(caught.value)


FIELDS = {
    "none": ({}, "exactly one of id, email, cio_id, phone; got none"),
    "two": ({"id": CANARY, "email": CANARY}, "got id, email"),
    "empty-and-one": ({"id": "", "email": CANARY}, "got id, email"),
    "empty": ({"email": ""}, "email is blank"),
    "blank": ({"phone": "  "}, "phone is blank"),
    "number": ({"id": 7}, "id is a int, not a string"),
    "bytes": ({"email": CANARY.encode()}, "email is a bytes, not a string"),
    "too-long": ({"cio_id": CANARY * 20}, "cio_id is 200 bytes long"),
}


@pytest.mark.parametrize(("fields", "reason"), FIELDS.values(), ids=FIELDS)
def test_an_identity_is_exactly_one_identifier(fields, reason):
    """None, several, a blank one or one of another type is refused, and the message does not hold it."""
    with pytest.raises(InvalidEvent, match=reason) as caught:
        Identity(**fields)
    assert CANARY not in str(caught.value) + repr(caught.value)


@given(st.lists(st.characters() | st.sampled_from(" \t\ud800"), max_size=200).map("".join))
def test_any_text_is_an_identity_or_refused(person):
    """An id is taken if and only if it is not blank and at most 150 bytes of UTF-8."""
    takes = bool(person.strip()) and len(person.encode("utf-8", "surrogatepass")) <= IDENTIFIER_BYTES
    try:
        Identity.of(person)
    except InvalidEvent:
        assert not takes
    else:
        assert takes


LOOKS = {
    "repr": repr,
    "str": str,
    "format": "{}".format,
    "format-attribute": lambda value: f"{value!s:>5}",
    "pprint": pprint.pformat,
    "rich": lambda value: str(list(value.__rich_repr__())),
    "list": lambda value: str([value, {"it": value}]),
    "exception": lambda value: str(ValueError(value)) + repr(ValueError(value)),
    "copy": lambda value: repr(copy.deepcopy(value)),
}
PRIVATE = {
    "identity": Identity(email=CANARY),
    "event": Event("event", ULID, CANARY, 1, b'{"v":"ada-c4n4ry"}', Identity(id=CANARY), CANARY),
    "event-anonymous": Event("page", ULID, CANARY, 1, b'{"v":"ada-c4n4ry"}', None, CANARY),
    "envelope": Envelope(ULID, "event", "batch", 7, 1.0),
    "receipt": Receipt(reason=DropReason.CLOSED, error=Rejected("refused", event_ids=(ULID,))),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
@pytest.mark.parametrize("value", PRIVATE.values(), ids=PRIVATE)
def test_no_printed_form_names_a_person(look, value):
    """What a log, a debugger or a crash reporter prints holds neither the person nor the payload."""
    assert CANARY not in look(value)


def test_an_event_still_says_which_it_is():
    """The id is in the repr, so that two events can be told apart in a log."""
    assert ULID in repr(PRIVATE["event"])
    assert repr(PRIVATE["identity"]) == "Identity(email=...)"


@pytest.mark.parametrize("value", PRIVATE.values(), ids=PRIVATE)
def test_what_a_queue_keeps_survives_a_copy(value):
    """Values cross processes by pickle or by copy, and come out equal."""
    again = pickle.loads(pickle.dumps(value))  # noqa: S301 - our own bytes
    assert type(again) is type(value)
    assert repr(again) == repr(value)
    if not isinstance(value, Receipt):
        assert again == value


NUMBERS = st.none() | st.booleans() | st.integers(-(2**900), 2**900) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(max_size=8)
TREES = st.recursive(NUMBERS | TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner))


@settings(max_examples=40)
@given(st.dictionaries(TEXTS, TREES, max_size=4))
def test_a_processor_that_changes_nothing_changes_nothing(attributes):
    """Attributes decoded for a processor and given back are the same attributes."""
    event = Event("event", ULID, "order", 1, _values.encode(attributes).json)
    again = event.with_attributes(event.attributes)
    assert again.attributes == event.attributes == attributes


def test_a_processor_works_on_its_own_copy():
    """Events are frozen, and what `attributes` returns is decoded anew."""
    event = Event("event", ULID, "order", 1, b'{"a":1}', Identity(id="ada"))
    event.attributes["a"] = 2
    assert event.attributes == {"a": 1}
    assert event.with_attributes({"a": math.nan}).attributes == {"a": None}
    assert event.about(None, "browser").anonymous_id == "browser"
    with pytest.raises(AttributeError):
        event.name = "other"  # type: ignore[misc]
