"""The ways out of a process, and what calls `track()` on the way: each in a real process."""

from __future__ import annotations

import signal

import pytest

CHILDREN = """
    import multiprocessing
    import cio_middleware as cio

    def work(n):
        cio.track("work", {{"n": n}}, person="ada")

    if __name__ == "__main__":
        cio.track("parent", {{"n": 0}}, person="ada")
        context = multiprocessing.get_context("{method}")
        children = [context.Process(target=work, args=(n,)) for n in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        assert [child.exitcode for child in children] == [0, 0, 0]
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_37_each_kind_of_multiprocessing_child_delivers_at_its_end(method, run, numbers):
    """Forked or spawned, a child delivers what it captured when its function returns, and only that."""
    done = run(CHILDREN.format(method=method))
    assert (done.returncode, done.stderr) == (0, "")
    assert (numbers("parent"), numbers("work")) == ([0], [0, 1, 2])


def test_42_os_exit_delivers_what_was_flushed(run, numbers):
    """`os._exit` runs nothing of ours: the memory queue loses what was not flushed, and the child ends at once."""
    done = run("""
        import os
        import cio_middleware as cio
        cio.track("flushed", {"n": 0}, person="ada")
        assert cio.flush(10)
        cio.track("left", {"n": 1}, person="ada")
        os._exit(0)
    """)
    assert (done.returncode, done.stderr) == (0, "")
    assert (numbers("flushed"), numbers("left")) == ([0], [])


KILLED = """
    import os, signal
    import cio_middleware as cio
    {handler}
    cio.track("step", {{"n": 0}}, person="ada")
    os.kill(os.getpid(), signal.{name})
    signal.pause()
"""
AS_AN_EXIT = "signal.signal(signal.SIGTERM, lambda *_: exit(0))"


@pytest.mark.parametrize(
    ("name", "handler", "code", "arrived"),
    [
        ("SIGINT", "", -signal.SIGINT, [0]),
        ("SIGTERM", AS_AN_EXIT, 0, [0]),
        ("SIGTERM", "", -signal.SIGTERM, []),
        ("SIGKILL", "", -signal.SIGKILL, []),
    ],
    ids=["ctrl-c", "sigterm-as-an-exit", "sigterm", "sigkill"],
)
def test_41_a_signal_delivers_if_it_is_an_exit(name, handler, code, arrived, run, numbers):
    """Ctrl-C is one by itself, SIGTERM if the script makes it one; others end the process before anything can run."""
    done = run(KILLED.format(name=name, handler=handler))
    assert done.returncode == code
    assert numbers("step") == arrived


def test_41_no_signal_handler_is_ours(run):
    """From the import to `close`, every signal does what it did before."""
    done = run("""
        import signal
        before = {number: signal.getsignal(number) for number in signal.valid_signals()}
        import cio_middleware as cio
        client = cio.get_client()
        client.track("step", {"n": 0}, person="ada")
        assert client.flush(10)
        client.close()
        assert before == {number: signal.getsignal(number) for number in signal.valid_signals()}
        assert signal.set_wakeup_fd(-1) == -1
    """)
    assert (done.returncode, done.stderr) == (0, "")


def test_41_ctrl_c_ends_the_wait_at_the_exit(run, sandbox):
    """Who does not want to wait for a Customer.io that hangs interrupts the exit; what is left is said all the same."""
    sandbox.faults.script(["hang*"])
    done = run(
        """
        import atexit, os, signal
        import cio_middleware as cio
        cio.track("step", {"n": 0}, person="ada")
        # The last to be registered runs first: the signal comes while the client waits.
        atexit.register(signal.setitimer, signal.ITIMER_REAL, 0.3)
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        """,
        timeout=15,
        CUSTOMERIO_SHUTDOWN_TIMEOUT="60",
    )
    assert "KeyboardInterrupt" in done.stderr
    assert "1 event(s) were not delivered" in done.stderr


@pytest.mark.parametrize("workers", ["1", "4"])
def test_48_a_capture_in_the_middle_of_a_delivery_at_the_exit_ends(workers, run, sandbox, numbers):
    """Where no thread can be had, a signal handler that captures while the exit delivers leaves its event to that."""
    sandbox.faults.script(["latency=300", "ok*"])
    done = run(
        """
        import atexit, signal
        import cio_middleware as cio
        cio.get_client()

        def late():
            signal.signal(signal.SIGALRM, lambda *_: cio.track("step", {"n": 1}, person="bob"))
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            assert cio.track("step", {"n": 0}, person="ada")
            assert cio.get_client().stats().delivered == 2

        atexit.register(late)
        """,
        timeout=10,
        CUSTOMERIO_MAX_IN_FLIGHT=workers,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert numbers("step") == [0, 1]


def test_45_a_loop_that_closed_takes_no_event_with_it(run, numbers):
    """A client that a loop used goes on when the loop is closed, in the next one, and without any."""
    done = run("""
        import asyncio
        import cio_middleware as cio
        client = cio.get_client()
        loop = asyncio.new_event_loop()
        loop.run_until_complete(client.atrack("step", {"n": 0}, person="ada"))
        loop.close()
        client.track("step", {"n": 1}, person="ada")

        async def later():
            await client.atrack("step", {"n": 2}, person="ada")
            asyncio.get_running_loop().stop()

        try:
            asyncio.run(later())
        except RuntimeError:
            pass  # the loop was stopped under its own feet
        client.track("step", {"n": 3}, person="ada")
    """)
    assert (done.returncode, done.stderr) == (0, "")
    assert numbers("step") == [0, 1, 2, 3]


def test_45_the_direct_backend_outlives_its_loops(run, numbers):
    """Its awaited deliveries hold connections of a loop; the next loop opens its own."""
    script = """
        import asyncio
        import cio_middleware as cio
        client = cio.get_client()
        for n in range(3):
            assert asyncio.run(client.atrack("step", {"n": n}, person="ada"))
        assert client.stats().delivered == 3
    """
    done = run(script, warnings="default", CUSTOMERIO_BACKEND="direct")
    assert done.returncode == 0, done.stderr
    assert numbers("step") == [0, 1, 2]


@pytest.mark.parametrize("workers", ["1", "4"])
def test_48_what_the_garbage_collector_ends_may_capture(workers, run, numbers):
    """A `__del__` that captures, in the middle of captures and of a flush, neither hangs nor loses one."""
    done = run(
        """
        import gc
        import cio_middleware as cio
        client = cio.get_client()

        class Ends:
            def __init__(self, n):
                self.n, self.circle = n, self

            def __del__(self):
                client.track("end", {"n": self.n}, person="ada")

        gc.set_threshold(5, 1, 1)
        for n in range(2000):
            Ends(n)
            client.track("step", {"n": n}, person="ada")
            client.stats()
            if n % 500 == 0:
                assert client.flush(10)
        gc.collect()
        stats = client.stats()
        assert stats.balanced and stats.captured == 4000, stats
        """,
        CUSTOMERIO_MAX_IN_FLIGHT=workers,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert numbers("step") == numbers("end") == list(range(2000))
