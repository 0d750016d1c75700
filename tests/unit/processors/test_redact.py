"""What `redact` keeps back: by the name of a key, by what a value looks like, and that nothing else changes."""

from __future__ import annotations

import hashlib
import hmac
import json
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cio_middleware as cio
from cio_middleware.exceptions import ConfigurationError
from cio_middleware.processors import CARD_NUMBER, EMAIL, TOKEN, redact

ULID = "01JDEXB8S3ZQ8S1T0F4V9K2M7C"
KEY = "a key of sixteen"


def event(attributes, name="order_placed"):
    """An event with these attributes."""
    raw = attributes if isinstance(attributes, bytes) else json.dumps(attributes).encode()
    return cio.Event("event", ULID, name, 1_800_000_000, raw, cio.Identity(id="ada"))


@pytest.mark.parametrize(
    "key", ["password", "Password", "pass_word", "passWord", "pass-word", "pass word", "pass.word"]
)
def test_a_key_is_removed_however_it_is_written(key):
    """Upper case, underscores, dashes, dots and spaces make no difference."""
    assert redact(["password"])(event({key: "secret", "total": 1})).attributes == {"total": 1}


def test_a_key_is_removed_at_any_depth():
    """Objects in lists in objects are looked at as well."""
    given_ = {"cart": [{"items": {"card_number": "1", "sku": "a"}}], "card": {"last4": "1"}}
    assert redact(["card*"])(event(given_)).attributes == {"cart": [{"items": {"sku": "a"}}]}


def test_a_glob_is_no_regular_expression():
    """Only `*` and `?` mean more than themselves."""
    assert redact(["a(b", "c?"])(event({"a(b": 1, "cd": 1, "c": 1, "ab": 1})).attributes == {"c": 1, "ab": 1}


@pytest.mark.parametrize(
    ("pattern", "text", "left"),
    [
        (EMAIL, "ask ada@example.co.uk, or bob+x@exämple.de.", "ask [redacted], or [redacted]."),
        (EMAIL, "/reset?to=ada%40example.com&x=1", "/reset?to=[redacted]&x=1"),
        (EMAIL, "@ada a@b ada@localhost", "@ada a@b ada@localhost"),
        (CARD_NUMBER, "paid with 4111 1111 1111 1111", "paid with [redacted]"),
        (CARD_NUMBER, "3782-822463-10005 5500000000000004", "[redacted] [redacted]"),
        (CARD_NUMBER, "at 1795486471000, +49 30 1234567", "at 1795486471000, +49 30 1234567"),
        (TOKEN, "Authorization: Bearer abcdefgh.ij", "Authorization: [redacted]"),
        (TOKEN, "t=eyJhbGciOi.eyJzdWIiOiI.c2lnbmF0dXJl", "t=[redacted]"),
        ("sk_[a-z]+", "key sk_live", "key [redacted]"),
    ],
)  # fmt: skip
def test_a_pattern_is_replaced_where_it_stands(pattern, text, left):
    """The text around it stays."""
    assert redact(patterns=[pattern])(event({"text": text})).attributes == {"text": left}


def test_a_pattern_is_found_in_names_and_numbers_too():
    """The name of an event, the name of an attribute, an element of a list, a number."""
    processor = redact(patterns=[EMAIL, CARD_NUMBER])
    made = processor(
        event({"to ada@example.com": ["x", "eve@example.com"], "n": 4111111111111111}, "mail ada@example.com")
    )
    assert made.name == "mail [redacted]"
    assert made.attributes == {"to [redacted]": ["x", "[redacted]"], "n": "[redacted]"}


def test_a_hash_keeps_equal_values_equal_and_needs_the_key():
    """It is the HMAC-SHA256 that anybody with the key computes, of the text, or of the JSON of what is no text."""

    def digest(said, key=KEY):
        return hmac.new(key.encode(), said, hashlib.sha256).hexdigest()

    made = redact(hashed=["user_email", "n", "gone"], key=KEY)(
        event({"userEmail": "ada@b.cd", "n": [1, 2], "gone": None})
    )
    assert made.attributes == {"userEmail": digest(b"ada@b.cd"), "n": digest(b"[1,2]"), "gone": None}
    assert digest(b"ada@b.cd", "another of sixte") != digest(b"ada@b.cd")


def test_an_event_of_which_nothing_is_kept_back_stays_as_it_is():
    """The same object with the same bytes, numbers with all of their digits."""
    given_ = event(b'{"n":12345678901234567890.12345678901234567890,"f":0.30000000000000004,"list":[1,"a",null,true]}')
    assert redact(["password"], patterns=[EMAIL, CARD_NUMBER, TOKEN])(given_) is given_


def test_numbers_keep_their_digits_when_their_neighbour_goes():
    """A price of a Decimal is as exact afterwards as before."""
    made = redact(["password"])(event(b'{"password":"x","total":0.10000000000000000001,"big":9007199254740993}'))
    assert made.attributes_json == b'{"total":0.10000000000000000001,"big":9007199254740993}'


CANARY = "canary7@example.com"
plain = st.recursive(
    st.one_of(st.text(max_size=8), st.integers(-(2**60), 2**60), st.booleans(), st.none(), st.just(f"to {CANARY}!")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["a", "Secret-Key", "x y", CANARY]), inner, max_size=3),
    ),
    max_leaves=12,
)
attributes = st.dictionaries(st.sampled_from(["a", "b", "secretKey", f"k {CANARY}"]), plain, max_size=4)


@given(attributes)
def test_no_canary_comes_through(values):
    """Wherever an address stands, and whatever stands below a secret key, nothing of it is in the bytes."""
    marked = {"secret_key": {"deep": ["under the key"]}, **values}
    made = redact(["secret*"], patterns=[EMAIL])(event(marked, f"mail {CANARY}"))
    said = made.attributes_json + made.name.encode()
    assert b"canary7" not in said
    assert b"under the key" not in said
    assert all("secret" not in name.lower() for name in _names(made.attributes))


@given(attributes)
def test_what_is_no_canary_is_left_alone(values):
    """Without a match the values are those that were given."""
    harmless = json.loads(json.dumps(values).replace(CANARY, "nobody"))
    assert redact(["password"], patterns=[EMAIL])(event(harmless)).attributes == harmless


def _names(value):
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names(inner)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "nothing to do"),
        ({"keys": "password"}, "takes a list of names"),
        ({"keys": [1]}, "takes a list of names"),
        ({"keys": ["_"]}, "takes a list of names"),
        ({"patterns": "x"}, "takes a list of regular expressions"),
        ({"patterns": [b"x"]}, "takes a list of regular expressions"),
        ({"patterns": [re.compile(b"x")]}, "takes a list of regular expressions"),
        ({"patterns": ["("]}, "is no regular expression"),
        ({"patterns": ["x*"]}, "would match everywhere"),
        ({"hashed": ["email"]}, "belong together"),
        ({"hashed": ["email"], "key": "short"}, "at least 16 bytes"),
        ({"keys": ["email"], "key": KEY}, "belong together"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_meant_is_refused_when_it_is_made(arguments, says):
    """A typo in a processor that protects people must not pass until the first event."""
    with pytest.raises(ConfigurationError, match=says):
        redact(**arguments)


def test_the_key_shows_nowhere():
    """Neither the repr nor an error shows it."""
    assert KEY not in repr(redact(hashed=["email"], key=KEY))
    with pytest.raises(ConfigurationError) as caught:
        redact(["x"], key=KEY)
    assert KEY not in str(caught.value)


def test_a_deep_event_is_no_trouble():
    """As deep as an event may be."""
    deep: object = CANARY
    for _ in range(19):
        deep = {"a": deep}
    made = redact(patterns=[EMAIL])(event({"a": deep}))
    assert b"canary7" not in made.attributes_json
    assert msgspec.json.decode(made.attributes_json)["a"]["a"]["a"]
