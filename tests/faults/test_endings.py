"""Ends and forks that a client must notice by itself, each in a real process."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import weakref

import pytest

from cio_middleware import Client, Settings
from cio_middleware.delivery.limiter import Limiter


def run(script: str, url: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script whose environment leads to a server."""
    environment = {"CUSTOMERIO_SITE_ID": "site", "CUSTOMERIO_API_KEY": "key", "CUSTOMERIO_BASE_URL": url, **variables}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        env=environment, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


PARKED = """
    import asyncio, os, threading
    import cio_middleware as cio
    from cio_middleware.asgi import CustomerIOMiddleware

    async def app(scope, receive, send):
        assert cio.track("e", person=None)
        assert cio.get_client().stats().parked == 1
        in_request.set()
        await asyncio.Event().wait()

    def serve():
        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [
            (b"cookie", b"_cioanonid=browser-1")]}
        asyncio.run(CustomerIOMiddleware(app)(scope, None, None))

    in_request = threading.Event()
    threading.Thread(target=serve, daemon=True).start()
    assert in_request.wait(10)
"""


@pytest.mark.parametrize("backend", ["direct", "queued"])
def test_what_a_request_has_parked_at_the_end_is_sent(sandbox, backend):
    """The interpreter exits in the middle of a request, and nobody calls `close`: it runs by itself."""
    done = run(PARKED, sandbox.url, CUSTOMERIO_SITE_ID=sandbox.site_id, CUSTOMERIO_BACKEND=backend)
    assert (done.returncode, done.stderr) == (0, "")
    (event,) = sandbox.events("e")
    assert event.identifiers == {"anonymous_id": "browser-1"}


def test_a_backend_of_somebody_elses_is_closed_at_the_end(sandbox):
    """Whatever the backend is, its `close` is called once, before the interpreter is gone."""
    done = run(
        """
        import cio_middleware as cio

        class Mine:
            def emit(self, envelope, item):
                return cio.typing.Receipt()
            def flush(self, timeout):
                return True
            def close(self, timeout):
                print("closed", timeout)

        cio.configure(backend=Mine())
        """,
        sandbox.url,
    )
    assert (done.stdout, done.stderr) == ("closed 5.0\n", "")


def test_a_client_that_nobody_has_is_not_kept_for_its_end():
    """The hook at the interpreter's exit holds no client back from the garbage collector."""
    client = weakref.ref(Client(Settings(site_id="s", api_key="k", backend="direct")))
    gc.collect()
    assert client() is None


RAW_FORK = """
    import ctypes, os, sys
    import cio_middleware as cio
    from cio_middleware._ids import SystemClock

    class Clock(SystemClock):
        ahead = 0
        def time(self):
            return SystemClock.time() + self.ahead

    clock = Clock()
    client = cio.Client(cio.Settings.from_env(), clock=clock)
    client.track("of_parent", person="ada")
    assert client.flush(10)
    clock.ahead = 1
    # PyDLL keeps the interpreter's lock; Python's own hooks never hear of this fork.
    child = ctypes.PyDLL(None).fork()
    if child == 0:
        sent = client.track("of_child", person="ada")
        os._exit(0 if sent and client.flush(3) and client.stats().delivered == 1 else 7)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_fork_that_goes_past_pythons_hooks_is_noticed_at_a_capture(sandbox):
    """A server in C forks by itself, as uWSGI does: the child starts a worker of its own at its first event."""
    # The side channel would have a thread at work. Who forks past Python's hooks meanwhile may take the interpreter's
    # own lock along as it is, and no library can let go of that.
    quiet = {"CUSTOMERIO_SITE_ID": sandbox.site_id, "CUSTOMERIO_SANDBOX_REPORTING": "false"}
    done = run(RAW_FORK, sandbox.url, **quiet)
    assert (done.returncode, done.stderr) == (0, "")
    assert (sandbox.count("of_parent"), sandbox.count("of_child")) == (1, 1)


def test_a_limiter_whose_lock_was_held_at_a_fork_gives_places_in_the_child():
    """A lock that another thread of the parent held is left behind."""
    limiter = Limiter(rate=10.0)
    with limiter._lock:
        held = limiter._lock
        limiter.after_fork()
    assert limiter._lock is not held
    assert limiter.reserve(0.0) == 0.0


LIMITER_HELD = """
    import os, sys
    import cio_middleware as cio
    client = cio.get_client()
    assert client.track("e", person="ada") and client.flush(10)
    limiter = client._parts.backend._sender.limiter
    limiter._lock.acquire()  # as a delivery does that is in the middle of asking for its place
    child = os.fork()
    if child == 0:
        os._exit(0 if client.track("e", person="ada") and client.flush(3) else 7)
    limiter._lock.release()
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_child_sends_though_its_parent_was_asking_for_a_place(sandbox):
    """The limiter of a client is told of a fork, like everything else of it that has a lock."""
    done = run(LIMITER_HELD, sandbox.url, CUSTOMERIO_SITE_ID=sandbox.site_id)
    assert (done.returncode, done.stderr) == (0, "")
    assert sandbox.count("e") == 2


SAME_LOOP = """
    import asyncio, os, sys
    import cio_middleware as cio
    client = cio.get_client()
    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(client.atrack("e", person="ada"))
    child = os.fork()
    if child == 0:
        sent = loop.run_until_complete(client.atrack("e", person="ada"))
        os._exit(0 if sent else 7)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert loop.run_until_complete(client.atrack("e", person="ada"))
    loop.run_until_complete(client.aclose())
    loop.close()
    sys.exit(code)
"""


def test_a_child_does_not_write_to_its_parents_async_connections(serve, answer):
    """Of three awaited deliveries one is a forked child's: it opens a connection, and the parent keeps its own."""
    server = serve(lambda connection, _: connection.sendall(answer("200 OK")))
    done = run(SAME_LOOP, server.url, CUSTOMERIO_BACKEND="direct")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(server.requests) == 3
    assert len(server._open) == 2
