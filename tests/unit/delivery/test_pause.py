"""One pause for all deliveries: who may ask, and when."""

from __future__ import annotations

from math import inf

import pytest

from cio_middleware.delivery.pause import SharedPause


def test_nobody_waits_when_nobody_was_told_to():
    """Without a pause everybody may ask, and an answer or an end changes nothing."""
    pause = SharedPause()
    assert not pause.answered("a")
    pause.leave("a")
    assert [pause.wait(0.0, who) for who in ("a", "b", None)] == [0.0, 0.0, 0.0]


def test_who_was_told_first_asks_for_all():
    """The first waits for its time, the others for its answer."""
    pause = SharedPause()
    pause.begin(60.0, "a", told=False)
    pause.begin(90.0, "b", told=False)
    assert [pause.wait(10.0, who) for who in ("a", "b", None)] == [50.0, inf, inf]
    assert [pause.wait(60.0, who) for who in ("a", "b", None)] == [0.0, inf, inf]
    assert not pause.answered("b")
    assert pause.answered("a")
    assert [pause.wait(60.0, who) for who in ("a", "b", None)] == [0.0, 0.0, 0.0]


def test_who_asks_in_vain_asks_again():
    """Told again, the same one waits for longer, and the others with it."""
    pause = SharedPause()
    pause.begin(60.0, "a", told=False)
    assert pause.wait(60.0, "a") == 0.0
    pause.begin(180.0, "a", told=False)
    assert [pause.wait(60.0, who) for who in ("a", "b")] == [120.0, inf]


def test_nobody_asks_earlier_than_customerio_told_anybody():
    """The longest Retry-After counts, whoever was told it; a shorter one ends nothing."""
    pause = SharedPause()
    pause.begin(10.0, "a", told=True)
    pause.begin(30.0, "b", told=True)
    pause.begin(20.0, "c", told=True)
    assert pause.wait(10.0, "a") == 20.0


@pytest.mark.parametrize("now", [10.0, 60.0], ids=["before the time", "after it"])
def test_when_it_leaves_the_next_one_takes_its_place(now):
    """Without an answer the pause goes on: one of the others asks when the time has come, and only one."""
    pause = SharedPause()
    pause.begin(60.0, "a", told=False)
    pause.leave("b")
    assert pause.wait(now, "b") == inf
    pause.leave("a")
    assert pause.wait(now) == pause.wait(now, "b") == 60.0 - now
    assert [pause.wait(60.0, who) for who in ("b", "c")] == [0.0, inf]
