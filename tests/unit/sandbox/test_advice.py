"""Warnings: when Customer.io says 200 and does less than one hopes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cio_middleware.sandbox.advice import ADVICE, Situation, advise, is_ulid
from cio_middleware.sandbox.lessons import NOTHING, Lesson
from cio_middleware.sandbox.operations import from_item

NOW = 1_800_000_000
ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


def warnings(*, known=True, action="event", lesson=NOTHING, api="track.v2", **members):
    """Return the codes for one v2 item that arrived now."""
    ids = {"id": ULID} if action == "event" else {}
    item = {"type": "person", "action": action, "identifiers": {"id": "ada"}, **ids, **members}
    op = replace(from_item(item, 1), api=api)
    return [finding.code for finding in advise(Situation(op, NOW, known, lesson))]


def identified(**lesson):
    """Return an identify about which the workspace knows something."""
    return {"action": "identify", "lesson": Lesson(**lesson)}


def named(name, **members):
    """Return an event of a name."""
    return {"name": name, **members}


CASES = [
    ("W-ms-timestamp", {"timestamp": NOW * 1000}, {"timestamp": NOW}),
    ("W-ms-timestamp", {"attributes": {"created_at": NOW * 1000}}, {"attributes": {"created_at": NOW}}),
    ("W-future-timestamp", {"timestamp": NOW + 61}, {"timestamp": NOW + 60}),
    ("W-older-than-72h", {"timestamp": NOW - 72 * 3600 - 1}, {"timestamp": NOW - 72 * 3600}),
    ("W-id-not-ulid", {"id": "order-17"}, {"id": ULID.lower()}),
    ("W-no-dedup-id", {"id": None}, {}),
    ("W-no-identify-yet", {"known": False}, {"known": True}),
    ("W-no-identify-yet", {"known": False}, {"known": False, "action": "identify"}),
    ("W-number-precision", {"attributes": {"n": 2**53 + 1}}, {"attributes": {"n": 2**53}}),
    ("W-number-precision", {"attributes": {"deep": [{"n": -(2**60)}]}}, {"attributes": {"n": 1e300}}),
    ("W-no-email", identified(email_missing=True), identified()),
    ("W-email-as-id-changed", identified(id_is_email="a@x.y"), identified()),
    ("W-name-not-snake-case", named("Order Placed"), named("order_placed")),
    ("W-name-not-snake-case", named("orderPlaced"), named("Order Placed", api="pipelines")),
    ("W-name-not-snake-case", named("order-placed"), named("/Order-placed", action="page", id=ULID)),
    ("W-name-not-snake-case", named("order__placed"), named("bestellung_größe_2")),
    ("W-name-has-id-or-email", named("order_12345"), named("order_1234")),
    (
        "W-name-has-id-or-email",
        named("Order 01ARZ3NDEKTSV4RRFFQ69G5FAV", api="pipelines"),
        named("order_abcdefghijklmnopqrstuvwxyz"),
    ),
    ("W-name-has-id-or-email", named("hi ada@x.y", api="pipelines"), named("hi @ada", api="pipelines")),
    (
        "W-name-has-id-or-email",
        named("saw 6f1c2b1e-1111-4222-8333-0123456789ab", api="pipelines"),
        named("saw 6f1c2b1e-1111-4222", api="pipelines"),
    ),
    ("W-name-cardinality", {"lesson": Lesson(beginning="order")}, {}),
    ("W-type-drift", identified(drift=("plan", "a string", "a number")), identified()),
    ("W-reserved-override", {"attributes": {"recipient": "x"}}, {"attributes": {"recipients": "x"}}),
    ("W-reserved-override", {"attributes": {"reply_to": "x"}}, {"attributes": {"reply_to": "x"}, "api": "pipelines"}),
    (
        "W-reserved-override",
        {"attributes": {"from_address": "x"}, "identifiers": {}},
        {"attributes": {"recipient": "x"}, "identifiers": {}},
    ),
    ("W-name-edge-spaces", named(" order_placed"), named("order_placed")),
    ("W-name-edge-spaces", named("Home ", action="screen", id=ULID), named("Home", action="screen", id=ULID)),
    (
        "W-empty-attribute-deletes",
        {"action": "identify", "attributes": {"plan": ""}},
        {"action": "identify", "attributes": {"plan": None, "bio": " "}},
    ),
    ("W-retry-too-soon", {"lesson": Lesson(early=(2, 0.5))}, {}),
    ("W-identify-reordered", identified(overtaken=True), identified()),
    ("W-unregistered-event", {"lesson": Lesson(registered=False)}, {"lesson": Lesson(registered=True)}),
]


@pytest.mark.parametrize(
    ("code", "hit", "near"), CASES, ids=[f"{number}-{case[0]}" for number, case in enumerate(CASES)]
)
def test_a_warning_applies_here_and_not_just_beside(code, hit, near):
    """Each warning has a case that earns it and the nearest one that does not."""
    assert warnings(**hit) == [code]
    assert warnings(**near) == []


def test_every_warning_has_a_case():
    """A warning that is added without a case fails."""
    assert {code for code, _, _ in CASES} == {advice.code for advice in ADVICE}


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (ULID, True),
        ("8ZZZZZZZZZZZZZZZZZZZZZZZZZ", True),
        (ULID[:-1], False),
        (ULID[:-1] + "U", False),
        (ULID + "A", False),
        (7, False),
    ],
)
def test_a_ulid_is_any_26_characters_of_crockford(value, verdict):
    """The form counts, not the time inside."""
    assert is_ulid(value) is verdict
