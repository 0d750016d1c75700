"""One row for each event: what a fault refused gives its place to the attempt that comes after it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cio_middleware.sandbox.access import Credentials
from cio_middleware.sandbox.emulator import Call, Emulator
from cio_middleware.sandbox.faultspec import rule, script
from cio_middleware.sandbox.store import Capacity, House, Workspaces

DEV = Credentials("basic", "dev", password=True)

ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
CALL = Call("POST", b"/api/v1/customers/ada/events", {}, "", (), b"", DEV, "http://sandbox", 1000.0)


@pytest.fixture(name="workspaces")
def _workspaces():
    return Workspaces(House(clock=lambda: 1000.0))


@pytest.fixture(name="send")
def _send(workspaces):
    def send(*, at=1000.0, **said):
        """Send one event at a time, in seconds, and return the workspace."""
        body = json.dumps({"name": "order", "id": ULID, **said}).encode()
        emulator = Emulator(workspaces)
        plan = emulator.plan(replace(CALL, body=body, at=at))
        emulator.carry_out(plan)
        return plan.workspace

    return send


def play(workspaces, *steps):
    """Start a script."""
    workspaces.open("dev").faults.play(script(steps))


def test_an_event_that_gets_in_at_last_is_one_row(workspaces, send):
    """It lists the rows that it replaces; lists and counters know nothing of them any more."""
    play(workspaces, "429;retry_after=2", "503", "ok*")
    for second in range(3):
        workspace = send(at=1000.0 + second)

    (row,) = workspace.events
    assert (row.seq, row.verdict, row.statuses, row.replaces) == (3, "accepted_but", (429, 503, 200), (1, 2))
    summary = workspace.summary()
    assert (summary["total"], summary["by_verdict"]["fault"]) == (1, 0)
    assert summary["by_name"] == {"order": {"accepted_but": 1}}
    assert row.document()["headline"].startswith("accepted on the third attempt, but ")


def test_an_event_that_is_still_out_is_one_row(workspaces, send):
    """Every attempt that a fault refuses takes the place of the one before."""
    play(workspaces, "503*")
    for _ in range(3):
        workspace = send()
    assert [(row.seq, row.replaces) for row in workspace.events] == [(3, (1, 2))]
    assert next(iter(workspace.events)).document()["headline"] == "not in after 3 attempts: 503"


def test_a_reply_that_was_lost_leaves_two_rows(workspaces, send):
    """One was stored, and the other is its repeat; a fault in between belongs to the repeat."""
    play(workspaces, "ack_lost", "503", "ok*")
    for _ in range(3):
        workspace = send()
    rows = [(row.seq, row.verdict, row.statuses, row.replaces) for row in workspace.events]
    assert rows == [(1, "accepted_but", ("ack_lost",), ()), (3, "duplicate", ("ack_lost", 503, 200), (2,))]


def test_an_item_that_a_partial_fault_refuses_is_replaced_too(workspaces):
    """Also when it has no id and is only known by its bytes."""
    item = {"type": "person", "action": "identify", "identifiers": {"id": "ada"}, "attributes": {"plan": "pro"}}
    body = json.dumps({"batch": [item]}).encode()
    play(workspaces, "partial=0", "ok*")
    for _ in range(3):
        emulator = Emulator(workspaces)
        plan = emulator.plan(replace(CALL, raw_path=b"/api/v2/batch", body=body))
        emulator.carry_out(plan)
    assert [(row.statuses, row.replaces) for row in plan.workspace.events] == [((207, 200), (1,)), ((200,), ())]


def test_an_attempt_knows_when_and_where_it_came(workspaces, send):
    """What met it in words, how long it took, and whether it came before it was asked to."""
    workspaces.open("dev").faults.put(rule({"label": "Throttled", "when": {"mode": "first"}, "do": THROTTLE}))
    send(at=1000.0)
    (row,) = send(at=1000.25).events

    first, second = (attempt.document() for attempt in row.attempts_log)
    expected = {"n": 1, "at": 1000.0, "status": 429, "fault": "status", "label": "Throttled", "request": "r1"}
    assert expected.items() <= first.items()
    assert (first["retry_after"], first["note"], first["batch_size"]) == (2.0, None, 1)
    assert (first["method"], first["path"]) == ("POST", "/api/v1/customers/ada/events")
    assert (second["n"], second["status"], second["fault"], second["too_soon"]) == (2, 200, None, True)
    assert second["note"] in {
        f"came 0.{hundredths} s after attempt 1; Retry-After asked for 2 s" for hundredths in (24, 25)
    }
    assert 250 <= row.took_ms < 300


def test_an_attempt_that_waited_is_praised(workspaces, send):
    """It came as it was asked to."""
    play(workspaces, "429;retry_after=2", "ok*")
    send(at=1000.0)
    (row,) = send(at=1002.5).events
    assert row.attempts_log[-1].note in {
        "came 2.50 s after attempt 1, as asked",
        "came 2.49 s after attempt 1, as asked",
    }
    assert not row.attempts_log[-1].too_soon


@pytest.mark.parametrize(
    ("step", "label"),
    [
        ("503", "503"), ("429;retry_after=2", "429, wait 2 s"), ("reset", "reset"), ("hang", "no answer"),
        ("reset=mid_body", "reset mid body"), ("ack_lost", "stored, reply lost"), ("html", "200 from a proxy"),
        ("redirect=https://example.test", "307 to elsewhere"), ("partial=0", "item 1 refused"),
        ("latency=50", "+50 ms"),
    ],
)  # fmt: skip
def test_every_fault_has_words(workspaces, send, step, label):
    """An attempt that met it shows them."""
    play(workspaces, step, "ok*")
    assert [attempt.label for row in send().events for attempt in row.attempts_log] == [label]
    assert send().events.get(2).attempts_log[-1].label is None


def test_a_replaced_row_that_was_evicted_stays_counted():
    """Counters count everything since the last reset, and what is no longer known cannot be taken back."""
    workspaces = Workspaces(House(capacity=Capacity(events=1)))
    play(workspaces, "503", "ok*")
    emulator = Emulator(workspaces)
    for person in (b"ada", b"bob", b"ada"):
        body = b'{"name": "order"}'
        plan = emulator.plan(replace(CALL, raw_path=b"/api/v1/customers/%s/events" % person, body=body))
        emulator.carry_out(plan)
    assert plan.workspace.summary()["total"] == 3


THROTTLE = {"type": "status", "status": 429, "headers": {"Retry-After": "2"}}
