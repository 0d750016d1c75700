"""What becomes of a spool when its process forks or ends; every process here is a real one."""

from __future__ import annotations

import signal
import time

import pytest

CLIENT = """
    import os, signal, sys, threading
    import cio_middleware as cio
    signal.alarm(25)  # else a process that hangs would hang the test
    client = cio.get_client()

    def fork(work):
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)
            os._exit(work() or 0)
        return pid

    def code(pid):
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def test_37_events_spooled_before_a_fork_are_delivered_once(run, sandbox, numbers, spool_dir):
    """The parent keeps what it had on disk; each child has files of its own; nothing is lost, doubled or left."""
    done = run(
        CLIENT
        + """
    for n in range(50):
        cio.track("before", {"n": n}, person="ada")

    def child(name):
        assert client.stats().captured == 0
        for n in range(30):
            assert cio.track(name, {"n": n}, person="ada")
        stats = client.close()
        return 0 if (stats.delivered, stats.adopted, stats.pending) == (30, 0, 0) else 7

    children = [fork(lambda: child("child0")), fork(lambda: child("child1"))]
    for n in range(30):
        cio.track("parent", {"n": n}, person="ada")
    codes = [code(pid) for pid in children]
    stats = client.close()
    print(codes, stats.delivered, stats.balanced)
    """
    )
    assert done == (0, "[0, 0] 80 True\n", "")
    assert numbers("before") == list(range(50))
    for name in ("parent", "child0", "child1"):
        assert numbers(name) == list(range(30))
    assert sum(sandbox.duplicates(name) for name in ("before", "parent", "child0", "child1")) == 0
    assert list((spool_dir / "v1").iterdir()) == []


def test_37_a_child_that_is_killed_leaves_its_own_events_only(run, adopt, numbers, sandbox):
    """What a forked child had accepted is adopted when it is killed; its parent goes on with its own files."""
    done = run(
        CLIENT
        + """
    cio.track("parent", {"n": 0}, person="ada")

    def child():
        for n in range(10):
            cio.track("child", {"n": n}, person="ada")
        os.kill(os.getpid(), signal.SIGKILL)

    assert code(fork(child)) == -9
    cio.track("parent", {"n": 1}, person="ada")
    assert client.close().delivered == 2
    """
    )
    assert done == (0, "", "")
    assert numbers("child") == []
    assert adopt().adopted == 10
    assert numbers("child") == list(range(10))
    assert numbers("parent") == [0, 1]
    assert sandbox.duplicates("parent") == 0


def test_38_a_fork_while_every_lock_is_held_leaves_a_child_that_works(run, numbers):
    """With each lock of the spool held by a thread of the parent, a child tracks and delivers at once."""
    done = run(
        CLIENT
        + """
    cio.track("parent", {"n": 0}, person="ada")
    assert client.flush(10)
    queue = client._parts.backend.queue
    log = queue._disk._log
    locks = [queue._inlet._lock, queue._reading, queue._keeper._changed, queue.dead_letters._shelf._here]
    locks += [log._making, log._syncing]
    locks += [segment._using for segment in queue._segments]
    held, over = threading.Event(), threading.Event()

    def hold():
        for lock in locks:
            lock.acquire()
        held.set()
        over.wait()
        for lock in locks:
            lock.release()

    threading.Thread(target=hold, daemon=True).start()
    held.wait()

    def child():
        for n in range(3):
            assert cio.track("child", {"n": n}, person="bob")
        return 0 if client.flush(5) and client.stats().delivered == 3 else 7

    print(len(locks), code(fork(child)))
    over.set()
    """
    )
    assert done == (0, "7 0\n", "")
    assert numbers("child") == [0, 1, 2]


LIVES_ON = (
    CLIENT
    + """
    cio.track("first", person="ada")
    assert client.flush(10)
    for n in range(5):
        cio.track("parent", {"n": n}, person="ada")
    QUIET

    def child():
        signal.alarm(20)
        BORN
        print("ready", flush=True)
        sys.stdin.read()
        client._parts.backend.queue.abandon(cio.DropReason.SHUTDOWN_TIMEOUT)

    if FORK == 0:
        os._exit(child() or 0)
    signal.pause()
    """
)


def test_39_a_child_that_lives_on_does_not_keep_its_dead_parents_spool(start, adopt, numbers):
    """The parent is killed while its child lives: the child holds neither its lock nor its files, so others adopt."""
    script = LIVES_ON.replace("QUIET", "").replace("BORN", "pass").replace("FORK", "os.fork()")
    parent = start(script, until="ready")
    parent.kill()
    assert parent.wait(10) == -signal.SIGKILL
    assert adopt().adopted == 5
    assert numbers("parent") == list(range(5))


def test_39_the_same_after_a_fork_that_python_was_not_told_of(start, spool_dir, eventually, numbers):
    """A server in C forks by itself, as uWSGI does: from its first event on, the child holds nothing of its parent."""
    born = 'cio.track("child", {"n": 0}, person="ada")'
    fork = "__import__('ctypes').PyDLL(None).fork()"
    # A thread that waits for the interpreter in the moment of such a fork would stop the child for good.
    quiet = "client._parts.backend.queue._keeper.stop(5)"
    script = LIVES_ON.replace("QUIET", quiet).replace("BORN", born).replace("FORK", fork)
    parent = start(script, until="ready")
    parent.kill()
    assert parent.wait(10) == -signal.SIGKILL
    # The child has a worker of its own, which adopts them.
    eventually(lambda: not [*(spool_dir / "v1").glob(f"{parent.pid}-*")], 10)
    assert numbers("parent") == list(range(5))


def test_39_a_child_that_is_forked_while_a_letter_is_written_keeps_no_lock(run, spool_dir):
    """The lock of the dead letters goes with who took it: a child that lives on holds up no later letter."""
    done = run(
        CLIENT
        + f"""
    from cio_middleware._stats import Ledger
    from cio_middleware.queues.spool.files import PosixFiles
    from cio_middleware.queues.spool.house import House
    from cio_middleware.queues.spool.letters import Letters
    from cio_middleware.testing.clock import ManualClock
    from cio_middleware.typing import Refusal
    from tests.faults.spool import parts

    begun, forked = threading.Event(), threading.Event()

    class Slow(PosixFiles):
        @staticmethod
        def sync(fd):
            begun.set()
            forked.wait()

    letters = Letters(Slow(), Ledger(), ManualClock())
    letters.move_in(House(Slow(), {str(spool_dir)!r}))
    first = threading.Thread(target=letters.add, args=(parts.event(1), Refusal("no")))
    first.start()
    begun.wait()
    pid = fork(lambda: signal.pause())
    forked.set()
    first.join()
    letters.add(parts.event(2), Refusal("no"))
    print(len(letters), len(letters.in_memory))
    os.kill(pid, signal.SIGKILL)
    code(pid)
    """
    )
    assert done == (0, "2 0\n", "")


@pytest.mark.parametrize("count", [1, 1000])
def test_43_leaving_straight_after_track_delivers(run, numbers, spool_dir, count):
    """A program that ends with its last `track()` delivers, prints nothing, and leaves no file."""
    done = run(
        f"""
        import cio_middleware as cio
        for n in range({count}):
            assert cio.track("step", {{"n": n}}, person="ada")
        """
    )
    assert done == (0, "", "")
    assert numbers("step") == list(range(count))
    assert list((spool_dir / "v1").iterdir()) == []


def test_43_an_exception_at_the_end_delivers_too(run, numbers):
    """An unhandled error ends the program, not the events before it."""
    code, _, errors = run(
        """
        import cio_middleware as cio
        cio.track("step", {"n": 0}, person="ada")
        raise SystemExit(3)
        """
    )
    assert (code, errors) == (3, "")
    assert numbers("step") == [0]


def test_44_a_spool_that_is_opened_while_the_interpreter_ends_delivers(run, numbers, adopt):
    """A handler at exit may capture the first event of all, when no thread can be started and nobody closes."""
    done = run(
        """
        import atexit
        import cio_middleware as cio
        atexit.register(lambda: [cio.track("late", {"n": n}, person="ada") for n in range(3)])
        """
    )
    assert done == (0, "", "")
    assert numbers("late") == [0, 1, 2]
    assert adopt().adopted == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], ids=lambda number: number.name)
def test_41_a_signal_that_ends_the_process_costs_nothing(start, adopt, numbers, number):
    """A plain script has no handler and runs none of Python's exit: what it had accepted is adopted."""
    process = start(
        """
        import signal
        import cio_middleware as cio
        for n in range(20):
            cio.track("step", {"n": n}, person="ada")
        print("ready", flush=True)
        signal.pause()
        """,
        until="ready",
    )
    process.send_signal(number)
    assert process.wait(10) == -number
    assert numbers("step") == []
    assert adopt().adopted == 20
    assert numbers("step") == list(range(20))


def test_52_leaving_keeps_its_deadline_and_the_spool_keeps_the_events(run, sandbox, adopt, numbers):
    """Exit takes no longer than shutdown_timeout against a sandbox that hangs, and nothing is lost by it."""
    sandbox.faults.script(["hang*"])
    started = time.monotonic()
    code, _, errors = run(
        """
        import cio_middleware as cio
        for n in range(7):
            cio.track("step", {"n": n}, person="canary")
        """,
        CUSTOMERIO_SHUTDOWN_TIMEOUT="0.5",
    )
    assert time.monotonic() - started < 6
    assert code == 0
    assert "dropped" not in errors
    assert "canary" not in errors
    sandbox.faults.clear()
    assert adopt().adopted == 7
    assert numbers("step") == list(range(7))


def test_52_close_says_what_stays(make_client, sandbox, spool_dir, adopt):
    """`close(timeout)` against a sandbox that hangs returns in time; what stays is pending, not dropped."""
    sandbox.faults.script(["hang*"])
    client = make_client(queue="spool", spool_dir=str(spool_dir), spool_min_free_bytes=0)
    for n in range(7):
        client.track("step", {"n": n}, person="ada")
    started = time.monotonic()
    stats = client.close(0.3)
    assert time.monotonic() - started < 3
    assert (stats.pending, dict(stats.dropped), stats.balanced) == (7, {}, True)
    assert client._parts.backend.queue.kept == 7
    sandbox.faults.clear()
    assert adopt().adopted == 7
