"""Signal handlers and finalizers that want, in the middle of our work, what another thread has (fault 48)."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

import pytest

import cio_middleware as cio
from cio_middleware._ids import SystemClock

SECONDS = 10.0


class Stage:
    """The machine's clock, which is asked in the middle of what is under a lock: there it plays a handler's part."""

    time = staticmethod(SystemClock.time)
    sleep = staticmethod(SystemClock.sleep)

    def __init__(self) -> None:
        self.looks: Callable[[], None] = lambda: None
        """Played whenever somebody asks for the time."""
        self.waits: Callable[[], None] = lambda: None
        """Played whenever somebody begins to wait, with the lock that this lets go of."""

    def monotonic(self) -> float:
        """Play, and tell the time."""
        self.looks()
        return SystemClock.monotonic()

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        """Play, and wait."""
        self.waits()
        SystemClock.wait(condition, seconds)


class Scene:
    """Has a part played once, in the first thread of a name that comes to where `is_here`."""

    def __init__(self, thread: str, is_here: Callable[[], bool], part: Callable[[], object]) -> None:
        self._thread = thread
        self._is_here = is_here
        self._part = part
        self.is_on, self.is_over = threading.Event(), threading.Event()
        self._ident = 0

    def __call__(self) -> None:
        """Play, if it is time."""
        if not self.is_on.is_set() and threading.current_thread().name == self._thread and self._is_here():
            self._ident = threading.get_ident()
            self.is_on.set()
            self._part()
            self.is_over.set()

    def is_over_or_in(self, function: str) -> bool:
        """Whether it has been played, or stands in this function: it cannot be seen whether it waits there."""
        return self.is_over.is_set() or sys._current_frames()[self._ident].f_code.co_name == function


def run(name: str, what: Callable[[], object]) -> threading.Thread:
    """Do it in another thread."""
    thread = threading.Thread(target=what, name=name, daemon=True)
    thread.start()
    return thread


@pytest.fixture(name="make_staged")
def _make_staged(make_client, tmp_path):
    """Makes a client on a queue of this kind, with a stage."""

    def make(queue: str, **options) -> tuple[cio.Client, Stage]:
        stage = Stage()
        given = {"spool_dir": str(tmp_path / "spool")} if queue == "spool" else {}
        client: cio.Client = make_client(queue=queue, client_options={"clock": stage}, **given, **options)
        return client, stage

    return make


@pytest.mark.parametrize("queue", ["memory", "spool"])
def test_48_what_a_worker_collects_before_it_waits_does_not_wait_for_a_put(make_staged, sandbox, queue):
    """A finalizer captures where a worker has the lock that a handler in the middle of a put wants to flush."""
    client, stage = make_staged(queue, flush_interval=0.05)
    assert client.track("step", person="ada")
    assert client.flush(SECONDS)
    waiting = client._parts.backend.queue

    def finalizer() -> None:
        assert handler.is_on.wait(SECONDS)
        client.track("ended", person="ada")

    in_put = waiting._lock._is_owned if queue == "memory" else lambda: waiting._inlet.is_here
    collecting = Scene("cio_middleware", client._parts.backend._bell.lock._is_owned, finalizer)
    handler = Scene("caller", in_put, lambda: client.flush(0.2))
    stage.waits, stage.looks = collecting, handler
    assert collecting.is_on.wait(SECONDS)
    caller = run("caller", lambda: client.track("step", person="ada"))
    caller.join(SECONDS)
    assert not caller.is_alive()
    assert client.flush(SECONDS)
    stats = client.close()
    assert (stats.delivered, stats.pending, stats.dropped) == (3, 0, {})
    assert (sandbox.count("step"), sandbox.count("ended")) == (2, 1)


def test_48_what_a_reader_collects_does_not_wait_for_who_waits_for_it(make_staged, sandbox, eventually):
    """A finalizer captures in the middle of reading, while a handler that asks the reader has the lock to wake it."""
    client, stage = make_staged("spool", max_in_flight=2, flush_at=1)
    backend = client._parts.backend
    has_bell = threading.Event()

    def finalizer() -> None:
        assert has_bell.wait(SECONDS)
        client.track("ended", person="ada")

    def is_reading() -> bool:
        return backend.queue._reads_here() and not backend._staffed

    def handler() -> None:
        assert collecting.is_on.wait(SECONDS)
        with backend._bell.lock:  # as in the middle of a flush
            has_bell.set()
            eventually(lambda: collecting.is_over_or_in("_start"))
            client.flush(0.0)

    stage.looks = collecting = Scene("cio_middleware", is_reading, finalizer)
    client.track("step", person="ada")
    flusher = run("flusher", handler)
    flusher.join(SECONDS)
    assert not flusher.is_alive()
    assert client.flush(SECONDS)
    assert (sandbox.count("step"), sandbox.count("ended")) == (1, 1)


def test_48_what_the_keeper_collects_before_it_waits_does_not_wait_for_a_put(make_staged, sandbox, eventually):
    """A finalizer captures where the keeper has the lock that a handler in the middle of a put wants to close."""
    client, stage = make_staged("spool")
    assert client.track("step", person="ada")
    assert client.flush(SECONDS)
    queue = client._parts.backend.queue

    def finalizer() -> None:
        assert handler.is_on.wait(SECONDS)
        client.track("ended", person="ada")

    def close() -> None:
        eventually(lambda: collecting.is_over_or_in("put"))
        client.close(0.2)

    collecting = Scene("cio_middleware spool", lambda: True, finalizer)
    handler = Scene("caller", lambda: queue._inlet.is_here, close)
    stage.waits, stage.looks = collecting, handler
    assert collecting.is_on.wait(SECONDS)
    caller = run("caller", lambda: client.track("last", person="ada"))
    caller.join(SECONDS)
    assert not caller.is_alive()
    stats = client.stats()
    assert (stats.captured, stats.balanced) == (3, True)
