"""What can go wrong with the thread that delivers, and with time (faults 36, 40, 47 to 50 and 53)."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec

import httpx
import pytest

import cio_middleware as cio
from cio_middleware import DropReason
from cio_middleware.backends._suspects import CRASHES, Suspects, wait_after
from cio_middleware.testing.clock import ManualClock


class Crash(BaseException):
    """What no code of ours expects."""


class Fragile:
    """An HTTP client that crashes its caller over some requests, and sends the others."""

    def __init__(self, crashes: Callable[[bytes], bool]) -> None:
        self._crashes = crashes
        self._inner = httpx.Client()

    def stream(self, method, url, *, content, **options):
        """Send, or crash."""
        if self._crashes(content):
            raise Crash("canary")
        return self._inner.stream(method, url, content=content, **options)

    def close(self) -> None:
        """Close it."""
        self._inner.close()


@pytest.fixture(name="fragile")
def _fragile(make_client):
    """Makes a client whose deliveries may crash."""
    with contextlib.ExitStack() as stack:

        def make(crashes: Callable[[bytes], bool], **options) -> cio.Client:
            http = stack.enter_context(contextlib.closing(Fragile(crashes)))
            given = {"http_client": http, **options.pop("client_options", {})}
            client: cio.Client = make_client(client_options=given, **options)
            return client

        yield make


def test_36_an_event_that_crashes_its_delivery_is_kept_aside(fragile, sandbox, clock, eventually, caplog):
    """The others of its batch arrive, each once and in order; it is a dead letter that tells why, and no more."""
    client = fragile(lambda body: b"poison" in body, flush_at=10, client_options={"clock": clock})
    ids = [client.track("step", {"text": "poison" if n == 4 else "good"}, person="ada") for n in range(10)]

    def over() -> bool:
        clock.advance(1)
        return bool(client.stats().pending == 0)

    eventually(over)
    assert (client.stats().delivered, client.stats().dead_lettered) == (9, 1)
    assert sandbox.people["ada"].events == ids[:4] + ids[5:]
    assert sandbox.duplicates("step") == 0
    (letter,) = client.dead_letters
    assert letter.envelope.event_id == ids[4]
    assert "Crash" in letter.why.reason
    assert "canary" not in caplog.text + letter.why.text


def test_36_closing_delivers_around_such_an_event(fragile, sandbox):
    """At the end of the process nobody waits between the tries, so the others still make it."""
    client = fragile(lambda body: b"poison" in body, flush_interval=60.0)
    for number in range(10):
        client.track("step", {"text": "poison" if number == 4 else "good"}, person="ada")
    stats = client.close(2.0)
    assert (stats.delivered, stats.dead_lettered) == (9, 1)
    assert sandbox.count("step") == 9


def test_36_closing_gives_up_where_everything_crashes(fragile):
    """A fault of the process at its end is no event's: after a few tries the others stay where they are."""
    client = fragile(lambda _: True, flush_interval=60.0)
    for _ in range(10):
        client.track("step", person="ada")
    stats = client.close(5.0)
    assert (stats.delivered, stats.dead_lettered) == (0, 3)
    assert stats.dropped == {DropReason.SHUTDOWN_TIMEOUT: 7}
    assert stats.balanced


def test_36_with_several_workers_the_others_go_on(fragile, sandbox, clock, eventually):
    """While one worker looks for the culprit, the others deliver what is not behind it, and no person loses order."""
    client = fragile(
        lambda body: b"poison" in body, flush_at=5, max_batch_events=5, max_in_flight=4,
        client_options={"clock": clock},
    )  # fmt: skip
    ids: dict[str, list[str | None]] = {f"p{n}": [] for n in range(7)}
    poison: list[str | None] = []
    for number in range(140):
        who = f"p{number % 7}"
        bad = number in {3, 4, 50}
        event_id = client.track("step", {"text": "poison" if bad else "good"}, person=who)
        (poison if bad else ids[who]).append(event_id)

    def over() -> bool:
        clock.advance(1)
        return bool(client.stats().pending == 0)

    eventually(over, 10)
    assert (client.stats().delivered, client.stats().dead_lettered) == (137, 3)
    assert sorted(letter.envelope.event_id for letter in client.dead_letters) == poison
    assert {who: sandbox.people[who].events for who in ids} == ids
    assert sandbox.duplicates("step") == 0


def test_36_a_crash_that_is_not_the_events_fault_costs_none(fragile, sandbox, clock, eventually):
    """What crashes for a while and then no more keeps every event."""
    crashes = iter(range(CRASHES))
    client = fragile(lambda _: next(crashes, None) is not None, flush_at=10, client_options={"clock": clock})
    ids = [client.track("step", person="ada") for _ in range(10)]

    def over() -> bool:
        clock.advance(1)
        return bool(client.stats().pending == 0)

    eventually(over)
    assert sandbox.people["ada"].events == ids
    assert client.stats().dead_lettered == 0


def test_36_where_everything_crashes_few_events_are_kept_aside():
    """The waits double up to a minute while nothing is delivered: an hour of it costs two dozen events."""
    suspects, passed, crashes, aside = Suspects(1000), 0.0, 0, []
    while passed < 3600:
        crashes += 1
        culprit = suspects.failed()
        aside += [] if culprit is None else [culprit]
        passed += wait_after(crashes)
    assert aside == list(range(len(aside)))
    assert 1 <= len(aside) <= 24
    assert wait_after(1) == 1.0
    assert wait_after(10_000) == 60.0


def test_40_without_threads_events_are_delivered_by_whoever_flushes(client, sandbox, monkeypatch, caplog, eventually):
    """Where no thread can be started the log says so once, flush delivers by itself, and a later thread takes over."""
    real = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "cio_middleware":
            raise RuntimeError("can't start new thread")
        real(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        ids = [client.track("step", person="ada") for _ in range(3)]
        assert client.flush(5)
        assert sandbox.people["ada"].events == ids
    assert sum("no thread can be started" in text for text in caplog.messages) == 1
    client.track("step", person="ada")
    eventually(lambda: sandbox.count("step") == 4)


def test_48_a_finalizer_may_capture(make_client, sandbox, eventually):
    """An object that captures when it is collected, in the middle of a capture or of a delivery, loses nothing."""
    client = make_client(flush_at=1, rate_limit=10_000)  # so that the worker is busy, and collects as well
    ended: list[str | None] = []

    class Session:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            ended.append(client.track("ended", person="ada"))

    def hammer() -> None:
        for _ in range(1000):
            Session()
            client.track("step", {"session": {"n": [1]}}, person="ada")
            client.stats()

    def all_ended() -> bool:
        gc.collect()  # does nothing while another thread collects
        return len(ended) == 1000

    before = gc.get_threshold()
    thread = threading.Thread(target=hammer, daemon=True)
    try:
        gc.set_threshold(7, 1000, 1000)  # the young alone: to walk everything so often takes minutes
        thread.start()
        thread.join(20)
    finally:
        gc.set_threshold(*before)
    assert not thread.is_alive()
    eventually(all_ended)
    assert client.flush(30)
    assert client.stats().dropped == {}
    assert (sandbox.count("step"), sandbox.count("ended")) == (1000, 1000)
    assert all(ended)
    assert client.stats().balanced


class Tracks:
    """Captures when it is collected."""

    def __init__(self, client: cio.Client) -> None:
        self.itself = self
        self.client = client

    def __del__(self) -> None:
        self.client.track("ended", person="ada")


@pytest.mark.parametrize("backend", ["queued", "direct"])
def test_48_a_collection_in_the_middle_of_our_call_costs_no_event(make_client, sandbox, eventually, backend):
    """A finalizer that runs inside our own HTTP call is no hook: its event is sent, even three times in a row."""
    clients: list[cio.Client] = []

    def collect(_: object) -> None:
        if doomed:
            doomed.pop()
        gc.collect()

    with httpx.Client(event_hooks={"request": [collect]}) as http:
        clients.append(make_client(backend=backend, timeout=2.0, client_options={"http_client": http}))
        doomed = [Tracks(clients[0]) for _ in range(3)]
        assert clients[0].track("step", person="ada")
        eventually(lambda: clients[0].stats().delivered == 4)
        stats = clients[0].close()
    assert (stats.requests, stats.dropped) == (4, {})
    assert sandbox.count("ended") == 3


class FailingClock(ManualClock):
    """Fails so many times when the worker waits on it."""

    failures = 0

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        """Fail, or wait."""
        if self.failures and threading.current_thread().name == "cio_middleware":
            self.failures -= 1
            raise Crash
        super().wait(condition, seconds)


@pytest.mark.parametrize("failures", [1, 3], ids=["the-worker", "its-care-for-failures-too"])
def test_49_a_worker_that_dies_begins_again(make_client, sandbox, eventually, failures):
    """An exception in the loop, or in what the loop does about exceptions, ends no delivery, and nobody need flush."""
    clock = FailingClock()
    client = make_client(flush_interval=5.0, client_options={"clock": clock})
    clock.failures = failures
    ids = [client.track("step", person="ada")]

    def over() -> bool:
        clock.advance(1)
        return bool(client.stats().delivered == len(ids))

    eventually(over)
    ids.append(client.track("step", person="ada"))
    eventually(over)
    assert clock.failures == 0
    assert sandbox.people["ada"].events == ids


@pytest.mark.parametrize("most", [1, 4])
@pytest.mark.parametrize("backend", ["queued", "direct"])
def test_50_a_hook_that_captures_our_own_call_ends(make_client, sandbox, eventually, backend, most):
    """Tracking every HTTP call of a client that we use as well does not make each delivery cause the next, for ever."""
    clients: list[cio.Client] = []
    settings = {"backend": backend, "timeout": 2.0, "flush_at": 1, "max_in_flight": most}
    with httpx.Client(event_hooks={"request": [lambda _: clients[0].track("called", person="ada")]}) as http:
        clients.append(make_client(**settings, client_options={"http_client": http}))
        assert clients[0].track("step", person="ada")
        eventually(lambda: clients[0].stats().dropped == {DropReason.NESTED: 1})
        assert clients[0].flush(5)
        stats = clients[0].close()
    assert stats.balanced
    assert stats.dropped == {DropReason.NESTED: 1}
    assert sandbox.count("step") == 1
    assert sandbox.count("called") == stats.delivered - 1 <= 4


def test_50_what_is_captured_beside_other_events_is_kept(make_client, sandbox, eventually):
    """As long as there are events of the application's own, a hook's are as good as any: none is dropped."""
    clients: list[cio.Client] = []

    def hook(_: object) -> None:
        clients[0].track("called", person="ada")
        if sandbox.count("step") < 20:
            thread = threading.Thread(target=clients[0].track, args=("step",), kwargs={"person": "ada"})
            thread.start()
            thread.join()

    with httpx.Client(event_hooks={"request": [hook]}) as http:
        clients.append(make_client(flush_at=1, rate_limit=10_000, client_options={"http_client": http}))
        clients[0].track("step", person="ada")
        eventually(lambda: clients[0].stats().dropped)
        assert clients[0].flush(5)
        stats = clients[0].close()
    # The one is from the end, when there was nothing else any more.
    assert stats.dropped == {DropReason.NESTED: 1}
    assert stats.delivered == sandbox.count("step") + sandbox.count("called") == stats.captured - 1
    assert sandbox.count("called") >= 20


async def test_50_an_awaited_hook_ends_too(make_client, sandbox):
    """What a hook of an async client awaits is not another delivery inside of this one: a thread delivers it."""
    clients: list[cio.Client] = []

    async def hook(_: object) -> None:
        assert await clients[0].atrack("called", person="ada")

    async with httpx.AsyncClient(event_hooks={"request": [hook]}) as http:
        clients.append(make_client(backend="direct", timeout=2.0, client_options={"async_http_client": http}))
        async with asyncio.timeout(10):
            assert await clients[0].atrack("step", person="ada")
            assert await clients[0].aflush()
        stats = await clients[0].aclose()
    assert (stats.delivered, stats.dropped) == (2, {})
    assert sandbox.count("called") == 1


def test_52_what_close_had_no_time_for_leaves_no_connection(serve, answer, on):
    """A worker that is still under way when `close` is over closes the connections when it is done, and keeps none."""
    asked, late, gone = threading.Event(), threading.Event(), threading.Event()

    def how(connection: socket.socket, _: bytes) -> None:
        asked.set()
        late.wait(10)
        connection.sendall(answer("200 OK"))
        if not connection.recv(1):
            gone.set()

    client = on(serve(how).url, timeout=10.0, flush_at=1)
    client.track("step", person="ada")
    assert asked.wait(5)
    assert client.close(0.0).dropped == {DropReason.SHUTDOWN_TIMEOUT: 1}
    late.set()
    assert gone.wait(5)
    assert client.stats().balanced


@pytest.mark.parametrize("step", [3600.0, -3600.0], ids=["forward", "back"])
def test_53_a_wall_clock_that_is_set_stretches_no_wait(make_client, sandbox, clock, pass_time, eventually, step):
    """The interval, the backoff and the server's wait go by the monotonic clock, an event's time by the wall's."""
    sandbox.faults.script(["503", "429;retry_after=30", "ok*"])
    client = make_client(flush_interval=5.0, retry_base=10.0, max_age=None, client_options={"clock": clock})
    first = client.track("before", person="ada")
    captured = int(clock.time())
    clock.step_wall(step)
    pass_time(4.9)
    assert client.stats().requests == 0
    pass_time(0.1)
    eventually(lambda: client.stats().requests == 1)
    clock.step_wall(-2 * step)
    pass_time(10)
    eventually(lambda: client.stats().requests == 2)
    clock.step_wall(step)
    pass_time(29.9)
    assert client.stats().requests == 2
    pass_time(3.2)
    eventually(lambda: client.stats().delivered == 1)
    second = client.track("after", person="ada")
    clock.step_wall(-86400)
    third = client.track("after", person="ada")
    assert first < second < third
    (event,) = sandbox.good
    assert event.timestamp == captured


SUB_INTERPRETER = """
import _xxsubinterpreters as interpreters

within = interpreters.create(isolated={isolated})
interpreters.run_string(within, '''
import cio_middleware as cio
client = cio.Client.from_env()
for n in range(3):
    assert client.track("step", {{"n": n}}, person="ada")
assert client.flush(5)
stats = client.close()
assert (stats.delivered, stats.balanced) == (3, True), stats
''')
interpreters.destroy(within)
"""


@pytest.mark.skipif(
    find_spec("_xxsubinterpreters") is None, reason="by design: this Python has another way to make one"
)
@pytest.mark.parametrize("isolated", [False, True], ids=["as-mod_wsgi-does", "isolated"])
def test_47_a_sub_interpreter_delivers(sandbox, isolated):
    """In a sub-interpreter, even in one that may start no thread, events are delivered at a flush."""
    variables = {"SITE_ID": sandbox.site_id, "API_KEY": "key", "BASE_URL": sandbox.url}
    done = subprocess.run(
        [sys.executable, "-c", SUB_INTERPRETER.format(isolated=isolated)],
        env={f"CUSTOMERIO_{name}": value for name, value in variables.items()},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(sandbox.people["ada"].events) == 3
