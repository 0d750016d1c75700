"""What becomes of events when the process forks or ends; every process here is a real one."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
import time

import pytest

import cio_middleware as cio
from cio_middleware import DropReason, Stats


def run(script: str, sandbox, *, timeout: float = 20.0) -> subprocess.CompletedProcess[str]:
    """Run a script that finds a sandbox in its environment, as an application would."""
    environment = {
        "CUSTOMERIO_SITE_ID": sandbox.site_id,
        "CUSTOMERIO_API_KEY": "key",
        "CUSTOMERIO_BASE_URL": sandbox.url,
        "CUSTOMERIO_RETRY_BASE": "0.01",
    }
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        env=environment, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


def numbers(sandbox, name: str) -> list[int]:
    """What the events of this name carry as `n`, in order of arrival, repeats left out."""
    return [event.data["n"] for event in sandbox.good if event.name == name]


def test_37_events_queued_before_a_fork_are_delivered_once(sandbox):
    """The parent keeps what it had queued; the child starts empty and delivers its own; nothing is lost or doubled."""
    done = run(
        """
        import os, sys
        import cio_middleware as cio
        client = cio.get_client()
        for n in range(50):
            cio.track("before", {"n": n}, person="ada")
        children = []
        for child in range(2):
            pid = os.fork()
            if pid == 0:
                assert client.stats().captured == 0
                for n in range(30):
                    assert cio.track(f"child{child}", {"n": n}, person="ada")
                stats = client.close()
                os._exit(0 if (stats.delivered, stats.pending) == (30, 0) else 7)
            children.append(pid)
        for n in range(30):
            cio.track("parent", {"n": n}, person="ada")
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
        stats = client.close()
        print(codes, stats.delivered, stats.balanced)
        """,
        sandbox,
    )
    assert done.stdout.split("\n")[0] == "[0, 0] 80 True", done.stderr
    assert done.stderr == ""
    assert numbers(sandbox, "before") == list(range(50))
    for name in ("parent", "child0", "child1"):
        assert numbers(sandbox, name) == list(range(30))
    assert sum(sandbox.duplicates(name) for name in ("before", "parent", "child0", "child1")) == 0


def test_37_a_fork_of_a_fork_starts_afresh_too(sandbox):
    """A grandchild, and a child made before the first event, deliver their own events and only theirs."""
    done = run(
        """
        import os
        import cio_middleware as cio
        client = cio.get_client()

        def fork(work):
            pid = os.fork()
            if pid == 0:
                work()
                client.close()
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0

        fork(lambda: cio.track("early", {"n": 0}, person="ada"))
        cio.track("parent", {"n": 0}, person="ada")

        def child():
            cio.track("child", {"n": 0}, person="ada")
            fork(lambda: cio.track("grandchild", {"n": 0}, person="ada"))

        fork(child)
        """,
        sandbox,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(event.name for event in sandbox.good) == ["child", "early", "grandchild", "parent"]
    assert len({event.event_id for event in sandbox.good}) == 4


def test_38_a_fork_while_locks_are_held_does_not_hang(sandbox):
    """With eight threads capturing without pause, children that are forked at any moment can capture at once."""
    done = run(
        """
        import os, sys, threading
        import cio_middleware as cio
        client = cio.get_client()
        stop = threading.Event()

        def hammer():
            while not stop.wait(0.001):
                client.track("noise", {"n": 0}, person="ada")
                client.stats()

        for _ in range(8):
            threading.Thread(target=hammer, daemon=True).start()
        codes = []
        for n in range(20):
            pid = os.fork()
            if pid == 0:
                import signal
                signal.alarm(5)
                client.track("child", {"n": n}, person="bob")
                stats = client.close()
                os._exit(0 if stats.delivered == 1 else 7)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        print(codes, flush=True)
        os._exit(0)
        """,
        sandbox,
        timeout=60,
    )
    assert (done.stderr, done.stdout) == ("", f"{[0] * 20}\n")
    assert len(sandbox.people["bob"].events) == 20


def test_39_a_child_does_not_use_its_parents_connection(sandbox):
    """Parent and child have connections of their own, so that no answer reaches the wrong one."""
    done = run(
        """
        import os
        import cio_middleware as cio
        client = cio.get_client()
        cio.track("parent", {"n": 0}, person="ada")
        assert client.flush()
        pid = os.fork()
        for n in range(1, 20):
            cio.track("parent" if pid else "child", {"n": n}, person="ada")
            assert client.flush()
        if pid == 0:
            client.close()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        """,
        sandbox,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert numbers(sandbox, "parent") == list(range(20))
    assert numbers(sandbox, "child") == list(range(1, 20))


def test_multiprocessing_children_deliver_at_their_end(sandbox):
    """A worker of a fork-based pool has no atexit of its own; what it flushes is delivered."""
    done = run(
        """
        import multiprocessing
        import cio_middleware as cio

        def work(n):
            cio.track("work", {"n": n}, person="ada")
            return cio.flush(5)

        if __name__ == "__main__":
            cio.track("parent", {"n": 0}, person="ada")
            with multiprocessing.get_context("fork").Pool(2) as pool:
                assert all(pool.map(work, range(6)))
                pool.close()
                pool.join()
        """,
        sandbox,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(numbers(sandbox, "work")) == list(range(6))
    assert numbers(sandbox, "parent") == [0]


@pytest.mark.parametrize("count", [1, 1000])
def test_43_leaving_straight_after_track_delivers(sandbox, count):
    """A program that ends with its last `track()`, with no flush and no close, loses nothing and prints nothing."""
    done = run(
        f"""
        import cio_middleware as cio
        for n in range({count}):
            assert cio.track("step", {{"n": n}}, person="ada")
        """,
        sandbox,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert numbers(sandbox, "step") == list(range(count))


def test_43_an_exception_at_the_end_delivers_too(sandbox):
    """An unhandled error ends the program, not the events before it."""
    done = run(
        """
        import cio_middleware as cio
        cio.track("step", {"n": 0}, person="ada")
        raise SystemExit(3)
        """,
        sandbox,
    )
    assert done.returncode == 3
    assert numbers(sandbox, "step") == [0]


def test_44_events_captured_while_the_interpreter_ends_are_delivered(sandbox):
    """A handler that runs at exit may still capture, whether the worker had been started before or not."""
    done = run(
        """
        import atexit
        import cio_middleware as cio
        client = cio.get_client()
        atexit.register(lambda: print(cio.track("late", {"n": 0}, person="ada") is not None, client.close().delivered))
        """,
        sandbox,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True 1\n", "")
    assert numbers(sandbox, "late") == [0]


def test_52_leaving_keeps_the_deadline_against_a_sandbox_that_hangs(sandbox):
    """Exit takes no longer than shutdown_timeout, and says how many events it had to leave."""
    sandbox.faults.script(["hang*"])
    started = time.monotonic()
    done = run(
        """
        import os
        os.environ["CUSTOMERIO_SHUTDOWN_TIMEOUT"] = "0.5"
        import cio_middleware as cio
        cio.track("step", {"n": 0}, person="canary")
        """,
        sandbox,
    )
    assert time.monotonic() - started < 6
    assert done.returncode == 0
    assert "1 event(s) were not delivered within 0.5 s" in done.stderr
    assert "canary" not in done.stderr


def test_45_asyncio_run_twice_is_fine(sandbox):
    """A client outlives event loops: the queued backend has no loop of its own to lose."""
    done = run(
        """
        import asyncio
        import cio_middleware as cio

        async def main(n):
            await cio.get_client().atrack("step", {"n": n}, person="ada")
            assert await cio.get_client().aflush(5)

        asyncio.run(main(0))
        asyncio.run(main(1))
        """,
        sandbox,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert numbers(sandbox, "step") == [0, 1]


def test_48_a_signal_handler_may_capture(sandbox):
    """A handler that captures in the middle of captures neither deadlocks nor breaks the law, and loses nothing."""
    done = run(
        """
        import signal
        import cio_middleware as cio
        client = cio.get_client()
        caught = 0

        def handler(*_):
            global caught
            caught += 1
            client.track("signal", {"n": caught}, person="ada")

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        for n in range(5000):
            client.track("step", {"n": n}, person="ada")
            client.stats()
        signal.setitimer(signal.ITIMER_REAL, 0)
        stats = client.close(10)
        assert caught > 10
        assert stats.balanced and stats.pending == 0, stats
        print(stats.delivered - 5000 - caught)
        """,
        sandbox,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "0\n"


def test_the_law_holds_at_any_instant_under_eight_threads(make_client, sandbox):
    """While eight threads capture and deliveries fail and succeed, no reading of the ledger ever breaks the law."""
    sandbox.faults.script(["503", "partial=0", "400", "reset", "ack_lost", "ok*"])
    client = make_client(max_queue_events=2000, flush_interval=0.01)
    stop = threading.Event()
    readings: list[Stats] = []

    def read() -> None:
        while not stop.is_set():
            readings.append(client.stats())

    def capture(thread: int) -> None:
        for number in range(300):
            client.track("step" if number % 10 else "", {"n": number}, person=f"p{thread}")

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=capture, args=(number,)) for number in range(8)]
    for thread in [reader, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    client.flush(10)
    stop.set()
    reader.join()
    final = client.close()
    assert len(readings) > 100
    assert all(reading.balanced for reading in readings)
    assert final.captured == 2400
    assert final.dropped[DropReason.INVALID_EVENT] == 240
    assert final.pending == 0
    assert final.delivered + final.dead_lettered == 2400 - sum(final.dropped.values())
    in_sandbox = [event.event_id for event in sandbox.good if event.kind == "event"]
    assert len(in_sandbox) == len(set(in_sandbox)) == final.delivered


def test_stats_are_readable_as_they_are():
    """A fresh ledger is balanced, and one that lost an event is not: the check has teeth."""
    assert Stats().balanced
    assert not Stats(captured=1).balanced
    assert json.dumps(dict.fromkeys(cio.DropReason, 1))


def test_what_is_parked_at_the_end_goes_out_with_what_is_known(sandbox):
    """A process that ends in the middle of a request sends its parked events with the identity then known."""
    done = run(
        """
        import cio_middleware as cio
        from cio_middleware.wsgi import CustomerIOMiddleware

        def app(environ, start_response):
            cio.track("parked", {"n": 0})
            assert cio.get_client().stats().parked == 1
            raise SystemExit(0)

        environ = {"PATH_INFO": "/", "HTTP_COOKIE": "_cioanonid=browser-1", "wsgi.version": (1, 0)}
        CustomerIOMiddleware(app)(environ, lambda *_: None)
        """,
        sandbox,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert numbers(sandbox, "parked") == [0]


def test_events_of_a_multiprocessing_child_are_delivered_at_its_end(sandbox):
    """A child of multiprocessing ends without Python's exit handlers, and delivers what it captured all the same."""
    done = run(
        """
        import multiprocessing
        import cio_middleware as cio

        def work(n):
            cio.track("work", {"n": n}, person="ada")

        if __name__ == "__main__":
            cio.track("parent", {"n": 0}, person="ada")
            children = [multiprocessing.get_context("fork").Process(target=work, args=(n,)) for n in range(3)]
            for child in children:
                child.start()
            for child in children:
                child.join()
            assert [child.exitcode for child in children] == [0, 0, 0]
        """,
        sandbox,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(numbers(sandbox, "work")) == [0, 1, 2]


def test_a_client_that_is_made_while_the_interpreter_ends_delivers(sandbox):
    """The first event of a process may be captured by an exit handler, when no thread can be started any more."""
    done = run(
        """
        import atexit
        import cio_middleware as cio
        atexit.register(lambda: [cio.track("late", {"n": n}, person="ada") for n in range(3)])
        """,
        sandbox,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert numbers(sandbox, "late") == [0, 1, 2]


def test_a_close_that_is_under_way_at_exit_is_waited_for(sandbox):
    """A daemon thread closes the client while the program ends: what waits is delivered, not forgotten."""
    done = run(
        """
        import threading
        import cio_middleware as cio
        client = cio.get_client()
        for n in range(10):
            client.track("step", {"n": n}, person="ada")
        threading.Thread(target=client.close, daemon=True).start()
        """,
        sandbox,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert numbers(sandbox, "step") == list(range(10))


def test_an_interrupt_never_counts_an_event_twice(sandbox):
    """Exceptions from a signal handler, at any moment of a capture, leave a ledger without a negative number."""
    done = run(
        """
        import signal
        import cio_middleware as cio
        client = cio.Client.from_env(flush_at=1, rate_limit=100_000)

        def handler(*_):
            raise KeyboardInterrupt

        signal.signal(signal.SIGALRM, handler)
        for n in range(300):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0002 + n * 0.000002)
                while True:
                    client.track("step", {"n": n}, person="ada")
            except KeyboardInterrupt:
                pass
            assert client.stats().balanced
        stats = client.close(10)
        assert stats.balanced, stats
        """,
        sandbox,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("verb", ["aflush", "aclose"])
def test_44_an_awaited_flush_while_the_interpreter_ends_delivers(sandbox, verb):
    """An exit handler may run a loop of its own: where no thread can be had, the delivery runs on that loop's."""
    done = run(
        f"""
        import asyncio, atexit
        import cio_middleware as cio

        async def last():
            cio.track("late", {{"n": 0}}, person="ada")
            print(bool(await cio.get_client().{verb}()))

        atexit.register(lambda: asyncio.run(last()))
        """,
        sandbox,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
    assert numbers(sandbox, "late") == [0]


def test_44_events_captured_one_by_one_at_the_end_wait_once(sandbox):
    """When Customer.io hangs, an exit handler that captures five events waits one shutdown_timeout, not five."""
    sandbox.faults.script(["hang*"])
    done = run(
        """
        import atexit, os, time
        os.environ["CUSTOMERIO_SHUTDOWN_TIMEOUT"] = "0.5"
        import cio_middleware as cio

        def late():
            started = time.monotonic()
            for n in range(5):
                cio.track("late", {"n": n}, person="ada")
            print(time.monotonic() - started < 1.5)

        atexit.register(late)
        """,
        sandbox,
    )
    assert (done.returncode, done.stdout) == (0, "True\n")
