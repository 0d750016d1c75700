"""What came when: bars that add up, also for rows that are no longer kept."""

from __future__ import annotations

import pytest

from cio_middleware.sandbox.access import Credentials
from cio_middleware.sandbox.emulator import Call, Emulator
from cio_middleware.sandbox.faultspec import script
from cio_middleware.sandbox.series import BadWindow, Tally, draw
from cio_middleware.sandbox.store import Capacity, House, Workspaces
from cio_middleware.sandbox.verdicts import Verdict

DEV = Credentials("basic", "dev", password=True)


@pytest.fixture(name="send")
def _send():
    workspaces = Workspaces(House(capacity=Capacity(events=2)))

    def send(at, person="ada", body=b'{"name": "order"}', steps=()):
        """Send one event at a time, and return the workspace."""
        if steps:
            workspaces.open("dev").faults.play(script(steps))
        path = b"/api/v1/customers/%s/events" % person.encode()
        emulator = Emulator(workspaces)
        plan = emulator.plan(Call("POST", path, {}, "", (), body, DEV, "http://sandbox", at))
        emulator.carry_out(plan)
        return plan.workspace

    return send


def bars(workspace, now, window=10, step=2):
    """Draw, and return all of it."""
    return draw(workspace.ledger.tally, workspace.requests.newest_first(), now, window, step)


def test_bars_stand_where_events_came(send):
    """They begin at multiples of the step, cover the window up to now, and count by verdict; evicted rows too."""
    for at in (1000.9, 1001.0, 1003.5, 1007.2):
        workspace = send(at)
    workspace = send(1007.9, body=b"{}")
    drawn = bars(workspace, 1008.4)
    assert (drawn["from"], drawn["to"], drawn["step"]) == (1000, 1010, 2)
    assert [bar["at"] for bar in drawn["bars"]] == [1000, 1002, 1004, 1006, 1008]
    assert [bar["accepted_but"] for bar in drawn["bars"]] == [2, 1, 0, 1, 0]
    assert [bar["rejected"] for bar in drawn["bars"]] == [0, 0, 0, 1, 0]
    assert {str(verdict) for verdict in Verdict} < set(drawn["bars"][0])
    assert drawn["bytes"] == 4 * len(b'{"name": "order"}') + 2
    assert drawn["rate"] == 0.5
    assert 0 < drawn["p50_ms"] <= drawn["p95_ms"]


def test_a_retry_is_counted_where_it_got_in(send):
    """The bar of the attempt that was refused falls back, so that bars and counters agree."""
    send(1000.0, steps=["503", "ok*"])
    workspace = send(1004.0)
    drawn = bars(workspace, 1005.0)
    assert [(bar["fault"], bar["accepted_but"]) for bar in drawn["bars"]] == [(0, 0), (0, 0), (0, 0), (0, 0), (0, 1)]


def test_an_empty_window_is_flat():
    """No rate, and no time that anything took."""
    drawn = draw(Tally(), [], 1000.0, 300, 2)
    assert len(drawn["bars"]) == 150
    assert (drawn["rate"], drawn["p50_ms"], drawn["p95_ms"], drawn["bytes"]) == (0.0, None, None, 0)


@pytest.mark.parametrize(("window", "step"), [(0, 1), (10, 0), (10, 20), (3601, 10), (3600, 1)])
def test_a_window_without_bars_is_refused(window, step):
    """Too short, too long, or more bars than a screen has."""
    with pytest.raises(BadWindow, match="Type a window"):
        draw(Tally(), [], 0.0, window, step)


def test_the_counts_of_an_hour_are_kept():
    """And no longer."""
    tally = Tally()
    for second in range(4000):
        tally.count(float(second), Verdict.ACCEPTED, 1)
    assert (tally.between(0, 400)["accepted"], tally.between(400, 4000)["accepted"]) == (0, 3600)
