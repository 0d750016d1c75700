"""Masks: no value of a masked field gets through, whatever is around it, and everything else does."""

from __future__ import annotations

import json
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cio_middleware.exceptions import ConfigurationError
from cio_middleware.sandbox.veil import Veil

SECRET = "zq-secret+x@mail.example"
HARMLESS = st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text("abc ./:", max_size=12)
WAYS = st.sampled_from([
    SECRET,
    f"to {SECRET}, now",
    f"<{SECRET}>",
    f"/api/v1/customers/{quote(SECRET, safe='')}/events?x=1",
    json.dumps({"email": SECRET, "n": 1}),
    json.dumps({"list": [SECRET.replace("@", "\u0040")]}).replace("@", "\\u0040"),
    json.dumps(json.dumps({"deep": SECRET})),
    f"curl -d '{{\"email\": \"{SECRET}\"}}' http://127.0.0.1",
    f'{{"twice": 1, "twice": "{SECRET}"',
])  # fmt: skip
VALUES = st.recursive(
    HARMLESS | WAYS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "email", SECRET]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(VALUES)
def test_no_email_gets_through(value):
    """As a value, a key, a part of a text, an address, JSON in JSON, or code that quotes it."""
    shown = json.dumps(Veil(("email",)).over(value), ensure_ascii=False)
    assert "zq-secret" not in shown
    assert "mail.example" not in shown


@given(st.recursive(HARMLESS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner)))
def test_what_is_harmless_stays_as_it_is(value):
    """To the letter, keys and numbers included; and what masks nothing changes nothing."""
    assert Veil(("phone", "card")).over(value) == value


@pytest.mark.parametrize(
    ("fields", "given", "gone", "kept"),
    [
        ("phone", {"phone": "0171 5551234", "person": "0171 5551234"}, ["0171"], []),
        (
            "phone",
            {"text": "call +49 171 555-1234 today", "total": 1715551234},
            ["+49", "555-"],
            ["call ", "1715551234"],
        ),
        ("phone", {"phone": 1715551234, "ok": None}, ["1715551234"], ['"ok": null']),
        ("card", {"Card": {"number": "4111", "valid": True}, "plan": "pro"}, ["4111"], ["true", "pro"]),
        ("card", [["card", "4111"], ["plan", "pro"]], ["4111"], ["card", "plan", "pro"]),
        ("card", {"raw": '{"card": [{"n": "4111"}], "plan": "4112"}'}, ["4111"], ["4112"]),
        ("email", {"plan": "a@b", "handle": "@ada", "n": "1@2"}, [], ["a@b", "@ada", "1@2"]),
        ("email", {"email": ""}, [], ['"email": ""']),
    ],
    ids=range(8),
)
def test_a_field_is_masked_and_its_neighbours_are_not(fields, given, gone, kept):
    """By its name in any case, at any depth, and wherever else the same value stands."""
    shown = json.dumps(Veil((fields,)).over(given))
    assert all(text not in shown for text in gone), shown
    assert all(text in shown for text in kept), shown


def test_a_mask_is_the_same_for_the_same_value_and_can_be_taken_off():
    """So that two rows of one person still look like it, and a link with a mask in it leads somewhere."""
    veil = Veil(("email", "phone"))
    mask = veil.over("ada@example.com")
    assert mask == veil.over({"email": "ada@example.com"})["email"] == veil.over(mask)
    assert mask != veil.over("bob@example.com")
    assert mask != Veil(("email",)).over("ada@example.com")
    assert veil.off(f"/people/{mask}") == veil.off(f"/people/{quote(mask)}") == "/people/ada%40example.com"
    assert veil.off("/people/masked-0000000000") == "/people/masked-0000000000"


@pytest.mark.parametrize(
    "text",
    ["a" * 300_000, "a@" * 50_000, "%40" * 50_000, '"\\' * 50_000, '"' * 50_000, "+1 " * 50_000, "a@" + "b." * 50_000],
    ids=lambda text: text[:4],
)  # fmt: skip
def test_no_text_takes_much_longer_than_its_length(text):
    """A payload that was made to be slow holds nobody up."""
    began = time.perf_counter()
    Veil(("email", "phone")).over({"text": text})
    assert time.perf_counter() - began < 3


@pytest.mark.parametrize("name", ["", "e*", "a" * 200, "-x", '"'])
def test_a_name_that_is_none_is_refused(name):
    """With what to type."""
    with pytest.raises(ConfigurationError, match="Type for example: --redact email,phone"):
        Veil((name,))
