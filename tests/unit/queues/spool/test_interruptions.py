"""Signal handlers and finalizers in the middle of the spool's own work, while another thread works too (fault 48)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from cio_middleware._events import Entry
from cio_middleware._stats import DropReason
from cio_middleware.typing import Refusal
from tests.unit.queues.spool.fake_files import FakeFiles
from tests.unit.queues.spool.spooling import Spool, envelope, item

SECONDS = 10.0


class Held:
    """Makes a call of the file system, once, stand still in its middle until it is let go."""

    def __init__(self, files: FakeFiles, call: str) -> None:
        self.is_there, self._go_on = threading.Event(), threading.Event()
        done = getattr(files, call)

        def held(*arguments: Any, **options: Any) -> Any:
            setattr(files, call, done)
            self.is_there.set()
            assert self._go_on.wait(SECONDS)
            return done(*arguments, **options)

        setattr(files, call, held)

    def let_go(self) -> None:
        """Go on."""
        self._go_on.set()


def in_the_middle(files: FakeFiles, call: str, what: Callable[[], object]) -> None:
    """Have `what` run in the next such call, in its thread, as a handler or a finalizer would."""
    done = getattr(files, call)

    def interrupted(*arguments: Any, **options: Any) -> Any:
        setattr(files, call, done)
        what()
        return done(*arguments, **options)

    setattr(files, call, interrupted)


def entry(name: str) -> Entry:
    """An event as a queue takes it."""
    return envelope(name), item(name)


def run(what: Callable[[], object]) -> threading.Thread:
    """Do it in another thread."""
    thread = threading.Thread(target=what, daemon=True)
    thread.start()
    return thread


def ended(*threads: threading.Thread) -> bool:
    """Whether all have ended, in time."""
    for thread in threads:
        thread.join(SECONDS)
    return not any(thread.is_alive() for thread in threads)


def test_a_finalizer_in_the_reader_does_not_wait_for_a_writer():
    """What it captures is written by the writer, who may be waiting for the reader in a signal handler."""
    files = FakeFiles()
    spool = Spool(files)
    spool.put("a")
    writing = Held(files, "write")
    writer = run(lambda: spool.put("b"))
    assert writing.is_there.wait(SECONDS)
    in_the_middle(files, "pread", lambda: spool.put("finalizer's"))
    reader = run(lambda: spool.queue.front)
    assert ended(reader)
    writing.let_go()
    assert ended(writer)
    assert spool.drained() == ["a", "b", "finalizer's"]
    assert spool.ledger.read().balanced


def test_a_finalizer_in_the_keeper_does_not_wait_for_a_writer():
    """What it captures is written when the keeper is done: a writer may be waiting for that."""
    files = FakeFiles()
    spool = Spool(files)
    spool.put("a")
    in_the_middle(files, "sync", lambda: spool.put("finalizer's"))
    writing = Held(files, "write")
    writer = run(lambda: spool.put("b"))
    assert writing.is_there.wait(SECONDS)
    assert ended(run(spool.tick))
    writing.let_go()
    assert ended(writer)
    assert spool.drained() == ["a", "b", "finalizer's"]


def test_a_handler_in_a_commit_does_not_wait_for_a_writer():
    """With every event synced, what it captures is written by the writer, who may be waiting for that very sync."""
    files = FakeFiles()
    spool = Spool(files, fsync="always")
    spool.put("a")
    writers = []

    def handler() -> None:
        writing = Held(files, "write")
        writers.append(run(lambda: spool.put("b")))
        assert writing.is_there.wait(SECONDS)
        assert spool.put("handler's").reason is None
        writing.let_go()

    in_the_middle(files, "sync", handler)
    assert ended(run(lambda: spool.put("c")))
    assert ended(*writers)
    assert spool.drained() == ["a", "c", "b", "handler's"]


def test_what_is_captured_in_the_middle_of_reading_is_written_after_it():
    """A kill right after the reader is done loses nothing of it."""
    files = FakeFiles()
    spool = Spool(files)
    spool.put("a")
    in_the_middle(files, "pread", partial(spool.put, "front's"))
    assert spool.queue.front is not None
    lease = spool.lease(1)
    in_the_middle(files, "pwrite", partial(spool.put, "ack's"))
    spool.ack(lease)
    files.die()
    assert Spool(files.another()).drained() == ["front's", "ack's"]


@pytest.mark.parametrize("soon", [Spool.tick, Spool.close], ids=["the keeper", "who closes"])
def test_what_could_not_be_written_then_is_written_soon(soon):
    """By the keeper, if nobody else writes; by whoever closes, if that is first."""
    files = FakeFiles()
    spool = Spool(files)
    spool.put("a")
    spool.queue._inlet.defer(*entry("late"))
    soon(spool)
    files.die()
    assert Spool(files.another()).drained() == ["a", "late"]


def test_an_exception_while_what_is_late_is_written_holds_up_nobody():
    """Whatever a handler raises in the middle of that, the next writer does not wait for ever."""
    files = FakeFiles()
    spool = Spool(files)
    spool.put("a")
    spool.queue._inlet.defer(*entry("late"))

    def handler() -> None:
        files.before.clear()
        raise KeyboardInterrupt

    files.before["write"] = handler
    with pytest.raises(KeyboardInterrupt):
        spool.queue._inlet.close(1.0)
    assert ended(run(lambda: spool.put("b")))


@pytest.mark.parametrize("fsync", ["interval", "always"])
@pytest.mark.parametrize("ask", [lambda spool: spool.queue.head, Spool.close], ids=["flush", "close"])
def test_a_handler_in_a_sync_does_not_wait_for_a_reader(ask, fsync):
    """Who flushes or closes in the middle of a put does not wait for a reader that waits for this very put."""
    files = FakeFiles()
    spool = Spool(files, fsync=fsync)
    spool.put("a")
    spool.clock.advance(61 if fsync == "interval" else 0)
    readers, answers = [], []

    def handler() -> None:
        readers.append(run(lambda: spool.queue.front))
        while spool.queue._reading.acquire(blocking=False):
            spool.queue._reading.release()
        answers.append(ask(spool))

    in_the_middle(files, "sync", handler)
    assert ended(run(lambda: spool.put("b")))
    assert answers == [0]
    assert ended(*readers)


def test_a_handler_among_the_dead_letters_does_not_wait_for_a_reader():
    """Who flushes in the middle of a removal of letters does not wait for a reader that has one to add to them."""
    files = FakeFiles()
    spool = Spool(files)
    for name in "abc":
        spool.put(name)
    lease = spool.lease()
    for index in (0, 1):
        spool.queue.dead_letter(lease, index, Refusal("why"))
    readers = []

    def handler() -> None:
        readers.append(run(lambda: spool.queue.dead_letter(lease, 2, Refusal("why"))))
        while spool.queue._reading.acquire(blocking=False):
            spool.queue._reading.release()
        assert spool.queue.head == 2

    in_the_middle(files, "rename", handler)
    assert ended(run(lambda: spool.queue.dead_letters.remove({"a"})))
    assert ended(*readers)
    assert [letter.envelope.event_id for letter in spool.queue.dead_letters] == ["b", "c"]


def test_a_put_that_may_not_wait_does_not_wait_for_a_writer():
    """Its thread has a lock that the writer may want; the writer writes it, and after the end it is refused."""
    files = FakeFiles()
    spool = Spool(files)
    spool.put("a")
    writing = Held(files, "write")
    writer = run(lambda: spool.put("b"))
    assert writing.is_there.wait(SECONDS)
    spool.ledger.capture()
    late = entry("late")
    assert spool.queue.put(*late, may_wait=False).late
    assert spool.queue.holds(late[1])
    writing.let_go()
    assert ended(writer)
    assert spool.drained() == ["a", "b", "late"]
    spool.close()
    assert spool.queue.put(*entry("too late"), may_wait=False).reason is DropReason.CLOSED
    assert spool.ledger.read().balanced
