"""A bounded history keeps the newest and counts the rest."""

from __future__ import annotations

import pytest

from cio_middleware.sandbox.ring import Ring


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
