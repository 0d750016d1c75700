"""The steps of a shutdown take one `shutdown_timeout` together, and a process that goes on has all of it again."""

from __future__ import annotations

import time

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from cio_middleware.asgi import CustomerIOMiddleware
from cio_middleware.backends._exit import Shutdown


def spend(shutdown, clock, seconds):
    """One step that takes so long; returns how long it might have taken."""
    with shutdown.step() as left:
        clock.advance(seconds)
    return left


def test_52_each_step_may_take_what_the_ones_before_have_left(clock):
    """Three steps share five seconds; who comes when nothing is left may still attempt a delivery, without waiting."""
    shutdown = Shutdown(clock, 5.0)
    assert [spend(shutdown, clock, seconds) for seconds in (2.0, 2.5, 0.5, 0.0)] == [5.0, 3.0, 0.5, 0.1]


def test_52_the_time_between_two_steps_is_not_spent(clock):
    """A process that goes on after a lifespan, as a test's does, is owed nearly all of its time at its exit."""
    shutdown = Shutdown(clock, 5.0)
    spend(shutdown, clock, 0.5)
    clock.advance(30.0)
    assert spend(shutdown, clock, 0.0) == 4.5


@pytest.mark.parametrize(
    "lives_on",
    [
        lambda shutdown, clock: shutdown.call_off(),
        lambda shutdown, clock: shutdown.after_fork(),
        lambda shutdown, clock: clock.advance(61.0),
    ],
    ids=["it-serves-again", "it-is-forked", "a-minute-passes"],
)
def test_52_a_process_that_lives_on_has_all_of_its_time_again(lives_on, clock):
    """What a shutdown spent that was none is forgotten."""
    shutdown = Shutdown(clock, 5.0)
    spend(shutdown, clock, 5.0)
    lives_on(shutdown, clock)
    assert spend(shutdown, clock, 0.0) == 5.0


def test_52_no_time_at_all_stays_none(clock):
    """Who asks not to wait at the end is not made to wait a little."""
    assert spend(Shutdown(clock, 0.0), clock, 0.0) == 0.0


@pytest.mark.parametrize("workers", [1, 4])
def test_52_close_takes_what_the_lifespan_left(workers, make_client, sandbox, eventually):
    """A lifespan that ends while Customer.io hangs uses the time up; `close` waits for no worker and drops the rest."""
    sandbox.faults.script(["hang*"])
    client = make_client(shutdown_timeout=0.5, flush_interval=60.0, flush_at=1, max_in_flight=workers, timeout=30.0)
    with TestClient(CustomerIOMiddleware(Starlette(), client=client)):
        for n in range(workers):
            client.track("step", person=f"person{n}")
            eventually(lambda under_way=n + 1: client.stats().requests == under_way)
        client.track("step", person="last")
    assert client.stats().pending == workers + 1

    started = time.monotonic()
    stats = client.close()
    assert time.monotonic() - started < 0.4
    assert stats.dropped == {"shutdown_timeout": workers + 1}
    sandbox.faults.clear()


def test_52_an_application_that_starts_again_has_its_time_again(make_client, sandbox):
    """Its second lifespan waits for what is slow, although its first had used the time up."""
    sandbox.faults.script(["hang", "ok*"])
    client = make_client(shutdown_timeout=0.3, timeout=0.5, flush_interval=60.0)
    app = CustomerIOMiddleware(Starlette(), client=client)
    with TestClient(app):
        client.track("step", person="ada")
    assert client.stats().pending == 1

    with TestClient(app):
        assert client.shutdown._spent == 0.0
    assert client.stats().delivered == 1
