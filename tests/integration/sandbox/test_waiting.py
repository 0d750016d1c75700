"""Waiting for events, so that no test ever sleeps."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest


@pytest.fixture(name="track")
def _track(web):
    def track(sandbox, name="order", person="ada", **data):
        """Send one event by v1."""
        url = f"{sandbox.url}/api/v1/customers/{person}/events"
        web.post(url, json={"name": name, "data": data}, auth=(sandbox.site_id, "key"))

    return track


@pytest.fixture(name="wait")
def _wait(web):
    def wait(sandbox, timeout=5, **body):
        """Wait over plain HTTP."""
        url, headers = f"{sandbox.url}/_sandbox/v1/wait", {"X-Cio-Sandbox": "1", "X-Cio-Workspace": sandbox.site_id}
        return web.post(url, json=body, headers=headers, timeout=timeout)

    return wait


def test_what_has_come_already_is_found_at_once(sandbox, track, wait):
    """Waiting after the fact is the usual case."""
    track(sandbox, total=42)
    reply = wait(sandbox, match={"name": "order", "data": {"total": 42}})
    assert reply.status_code == 200
    assert [row["name"] for row in reply.json()["matched"]] == ["order"]
    assert reply.json()["waited_ms"] < 1000


def test_what_comes_later_ends_the_wait(sandbox, track):
    """The waiter is woken by the event, and events that do not match let it sleep on."""
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(sandbox.wait_for, "order", person="ada", data={"total": {"$gt": 40}}, timeout=5)
        for total in (39, 40, 41):
            track(sandbox, total=total)
        assert waiting.result().data == {"total": 41}


def test_twenty_waiters_are_woken_by_one_event(sandbox, track, wait):
    """They wait on the server at the same time, and none of them polls."""
    ready = threading.Barrier(21)

    def waiter():
        ready.wait()
        return sandbox.wait_for("order", timeout=10).seq

    with ThreadPoolExecutor(20) as pool:
        waiters = [pool.submit(waiter) for _ in range(20)]
        ready.wait()
        track(sandbox)
        assert {waiting.result() for waiting in waiters} == {1}


def test_a_miss_says_what_came_closest(sandbox, track, wait):
    """408 carries the nearest events, where they differ, and a hint."""
    track(sandbox, total="42")
    track(sandbox, person="bob", total=42)
    reply = wait(sandbox, match={"name": "order", "person": "ada", "data": {"total": 42}}, timeout_ms=30)

    assert reply.status_code == 408
    answer = reply.json()
    assert {tuple(miss["diff"][0]) for miss in answer["near_misses"]} == {
        ("data.total", 42, "42"),
        ("person", "ada", "bob"),
    }
    assert answer["hint"] == "1 events with this name went to other people"


def test_the_handle_prints_a_miss_for_people(sandbox, track):
    """The assertion shows what was expected, what came closest, and what else was seen."""
    track(sandbox, total="42")
    track(sandbox, "login")
    with pytest.raises(AssertionError) as missed:
        sandbox.wait_for("order", person="ada", data={"total": 42}, timeout=0.02)

    assert str(missed.value).splitlines() == [
        'No event matched within 0.0 s:  order  person=ada  data ⊇ {"total": 42}',
        "Closest (1 of 2 seen):",
        '  #1 order  ada  accepted_but   data.total: expected 42, got "42" (string)',
        "Also seen: #2 login ada",
        f"Never sent: 0.   Watch it: {sandbox.watch}",
    ]


@pytest.mark.parametrize(
    ("wish", "status"),
    [
        ({"count": 2}, 200),
        ({"count": 3}, 408),
        ({"exactly": 2}, 200),
        ({"exactly": 1}, 408),
        ({"at_most": 2}, 200),
        ({"at_most": 1}, 408),
        ({"count": 0}, 408),
    ],
    ids=str,
)
def test_the_number_may_be_a_least_a_most_or_exact(sandbox, wish, status, track, wait):
    """Two events came."""
    track(sandbox)
    track(sandbox)
    reply = wait(sandbox, match={"name": "order"}, timeout_ms=30, settle_ms=10, **wish)
    assert reply.status_code == status
    assert len(reply.json()["matched"]) == 2


def test_an_event_that_should_not_be_is_named(sandbox, track):
    """The assertion shows which ones came, five at most, without what a library adds."""
    for total in range(7):
        track(sandbox, total=total, context={"page": {}}, _queued_at=1)
    with pytest.raises(AssertionError) as found:
        sandbox.assert_not_tracked("order", settle=0)

    first, *events, more = str(found.value).splitlines()[:7]
    assert first.endswith("expected count=0:  order")
    assert events == [f'  #{total + 1} order  ada  accepted_but   {{"total": {total}}}' for total in range(5)]
    assert more == "  and 2 more"


@pytest.mark.parametrize(
    "look",
    [
        lambda sandbox: sandbox.wait_for("nothing", timeout=0),
        lambda sandbox: sandbox.wait({"name": "nothing"}, timeout=0),
        lambda sandbox: sandbox.assert_not_tracked("order", settle=0),
    ],
    ids=["wait_for", "wait", "assert_not_tracked"],
)
def test_a_failure_points_at_the_line_of_the_test(sandbox, track, look):
    """Our own frames are hidden, so what pytest shows last is the caller's."""
    track(sandbox)
    with pytest.raises(AssertionError) as failed:
        look(sandbox)
    assert {str(entry.path) for entry in failed.traceback if not entry.ishidden(failed)} == {__file__}


def test_absence_is_watched_for_as_long_as_asked(sandbox):
    """Nothing may come within the time to settle."""
    began = time.monotonic()
    sandbox.assert_not_tracked("order", settle=0.1)
    assert time.monotonic() - began >= 0.1


def test_absence_ends_with_the_event_that_should_not_be(sandbox, track):
    """It fails when the event arrives, and not at the end."""
    with ThreadPoolExecutor() as pool:
        watching = pool.submit(sandbox.assert_not_tracked, "order", settle=30)
        track(sandbox)
        with pytest.raises(AssertionError, match=r"1 events matched within .* expected count=0"):
            watching.result(timeout=5)


def test_a_wait_may_begin_at_a_cursor(sandbox, track, wait):
    """What came before does not count."""
    track(sandbox, total=1)
    cursor = sandbox.cursor
    track(sandbox, total=2)
    assert sandbox.wait_for("order", since=cursor).data == {"total": 2}
    assert wait(sandbox, match={"name": "order"}, since=cursor + 1, timeout_ms=10).status_code == 408


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"match": "x"},
        {"match": {}, "count": -1},
        {"match": {}, "timeout_ms": "soon"},
        {"match": {"n": {"$gte": 1}}},
        {"match": {"n": {"$regex": "("}}},
    ],
    ids=str,
)
def test_a_wait_that_cannot_be_read_says_what_to_type(sandbox, body, wait):
    """A mistake in a test must not look like an event that never came."""
    reply = wait(sandbox, **body)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"]


def test_a_reset_does_not_strand_a_waiter(sandbox, track):
    """It goes on waiting for what comes after."""
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(sandbox.wait_for, "order", timeout=5)
        sandbox.reset()
        track(sandbox)
        assert waiting.result().name == "order"


def test_a_row_whose_place_was_taken_counts_no_more(sandbox, track, wait):
    """One event that came twice because a fault refused it is one, however it is counted."""
    sandbox.faults.script(["503", "ok*"])
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(wait, sandbox, match={"name": "order"}, exactly=1, settle_ms=300)
        for _ in range(2):
            track(sandbox)
        answer = waiting.result().json()
    assert [(row["statuses"], row["replaces"]) for row in answer["matched"]] == [([503, 200], [1])]


def test_fifty_waiters_are_woken_at_once(sandbox, track):
    """Each by its own event, while all of them wait on the server at the same time."""
    with ThreadPoolExecutor(50) as pool:
        waiters = [pool.submit(sandbox.wait_for, "order", data={"n": n}, timeout=20) for n in range(50)]
        for n in range(50):
            track(sandbox, n=n)
        assert [waiter.result().data["n"] for waiter in waiters] == list(range(50))
