"""A bounded history keeps the newest and counts the rest."""

from __future__ import annotations

from collections import OrderedDict

import pytest

from cio_middleware.sandbox.ring import Latest, Ring, trim


@pytest.mark.parametrize(
    ("count", "weight", "kept"),
    [(3, None, [7, 8, 9]), (None, 25, [8, 9]), (3, 1000, [7, 8, 9]), (3, 5, [9]), (None, None, list(range(10)))],
)
def test_the_oldest_goes_first_by_count_or_by_weight(count, weight, kept):
    """Whichever bound is met first decides, and the newest always stays."""
    ring: Ring[int] = Ring(count, weight)
    for number in range(10):
        ring.append(number, 10)

    assert list(ring) == kept
    assert list(ring.newest_first()) == kept[::-1]
    assert ring.evicted == 10 - len(kept)


def test_the_latest_values_are_known_and_the_oldest_forgotten():
    """A value that is added again keeps its place, so that n others push it out."""
    latest: Latest[str] = Latest(2)
    for value in ("a", "b", "a", "c"):
        latest.add(value)
    assert [value in latest for value in "abc"] == [False, True, True]


def test_a_mapping_is_trimmed_from_its_oldest_end():
    """Nothing happens while it is small enough."""
    mapping = OrderedDict.fromkeys("abc", 1)
    trim(mapping, 3)
    assert list(mapping) == ["a", "b", "c"]
    trim(mapping, 1)
    assert list(mapping) == ["c"]
