"""Warnings: when Customer.io says 200 and does less than one hopes."""

from __future__ import annotations

import pytest

from cio_middleware.sandbox.advice import ADVICE, Situation, advise, is_ulid
from cio_middleware.sandbox.operations import from_item

NOW = 1_800_000_000
ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


def warnings(*, known=True, action="event", **members):
    """Return the codes for one v2 item that arrived now."""
    ids = {"id": ULID} if action == "event" else {}
    item = {"type": "person", "action": action, "identifiers": {"id": "ada"}, **ids, **members}
    return [finding.code for finding in advise(Situation(from_item(item, 1), NOW, known))]


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
