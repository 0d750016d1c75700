"""An exception of a signal handler in the middle of a put: the event is in the spool, or its caller knows."""

from __future__ import annotations

import errno
import gc
import itertools
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType
from typing import Any

import pytest

from cio_middleware._stats import DropReason
from cio_middleware.testing.clock import ManualClock
from tests.unit.queues.spool.fake_files import FakeFiles
from tests.unit.queues.spool.spooling import Spool, envelope, item


class Interrupted(BaseException):
    """What a signal handler raises."""


def interrupted_at(number: int, handler: Callable[[], object], work: Callable[[], object]) -> bool:
    """Run a handler and raise, at the n-th place where Python may: a function begins, a call ends. Whether it did."""
    places = itertools.count(1)

    def here(_: FrameType, event: str, __: object) -> None:
        if event in {"call", "c_return"} and next(places) == number:
            handler()
            raise Interrupted

    gc.disable()  # what it ends is called as well, and what it raises is nobody's
    try:
        sys.setprofile(here)
        work()
    except Interrupted:
        return True
    finally:
        sys.setprofile(None)
        gc.enable()
    return False


def well(**changes: Any) -> Spool:
    """A spool that holds an event."""
    spool = Spool(FakeFiles(), **changes)
    spool.put("before")
    return spool


def well_again() -> Spool:
    """One whose disk failed, and takes events again from the next one on."""
    files = FakeFiles()
    spool = Spool(files)
    files.fail("write", errno.EIO, times=1)
    spool.put("before")
    files.heal()
    spool.tick(6.0)
    return spool


STATES = {
    "well": well, "synced": lambda: well(fsync="always"), "well-again": well_again,
    "rolls": lambda: well(segment_bytes=4096 + 150),
}  # fmt: skip


@pytest.mark.parametrize("captures", [False, True], ids=["raises", "captures-and-raises"])
@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_an_event_whose_put_is_interrupted_is_taken_or_not_and_its_caller_knows(state, captures):
    """At any place: what `holds` says decides whether it is counted as lost, so it must be what is delivered."""
    for number in itertools.count(1):
        spool, mine = state(), item("a")
        handler = partial(spool.queue.put, envelope("late"), item("late")) if captures else int
        stopped = interrupted_at(number, handler, partial(spool.queue.put, envelope("a"), mine))
        held = spool.queue.holds(mine)
        assert held or stopped
        spool.put("after")
        delivered = spool.drained()
        assert delivered.count("a") == held, number
        late = ["late"] if captures and stopped else []
        assert sorted(set(delivered) - {"a"}) == sorted(["before", "after", *late]), number
        assert (spool.queue.depth, spool.queue.head) == (0, spool.queue.tail), number
        if not stopped:
            return


class Telling(ManualClock):
    """Tells when a caller's thread asks for the time, which it does in the middle of its put."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()

    def monotonic(self) -> float:
        """The time."""
        if threading.current_thread().name == "caller":
            self.asked.set()
        return super().monotonic()


@pytest.mark.parametrize("kind", ["sync", "write"])
def test_48_what_is_collected_in_the_keepers_thread_may_capture_while_a_caller_waits_for_the_keeper(kind):
    """The keeper syncs a segment, or makes one; a finalizer there waits for the caller, which waits for the keeper."""
    files, clock = FakeFiles(), Telling()
    spool = Spool(files, clock, segment_bytes=4096 + 150)
    spool.put("before")
    caller = threading.Thread(target=spool.put, args=("a",), name="caller", daemon=True)

    def collected() -> None:
        files.before.clear()
        caller.start()
        assert clock.asked.wait(10)
        spool.put("late")

    files.before[kind] = collected
    keeper = threading.Thread(target=spool.tick, daemon=True)
    keeper.start()
    keeper.join(10)
    caller.join(10)
    assert not keeper.is_alive()
    spool.tick(6.0)
    assert sorted(spool.drained()) == ["a", "before", "late"]
    assert spool.ledger.read().balanced


class Signals(ManualClock):
    """Each of the next looks at the clock is when a signal comes, to these handlers."""

    handlers: Sequence[Callable[[], None]] = ()

    def monotonic(self) -> float:
        """The time."""
        if self.handlers:
            handler, self.handlers = self.handlers[0], self.handlers[1:]
            handler()
        return super().monotonic()


def test_nothing_is_said_in_the_middle_of_a_put():
    """A log's handler may wait for a thread that waits for this put: a disk that fails is named when it is done."""
    files, clock = FakeFiles(), Signals()
    spool = Spool(files, clock)
    spool.put("before")
    files.fail("write", errno.EIO)
    said: list[list[str]] = []

    def captures() -> None:
        spool.queue.put(envelope("late"), item("late"))
        said.append([*spool.lines.said])

    clock.handlers = [captures] * 4
    spool.queue.put(envelope("a"), item("a"))
    assert len(said) == 4
    assert not any(said)
    assert len(spool.lines.about("the spool cannot be written to")) == 1


def test_what_a_handler_captured_is_counted_if_another_handler_ends_its_write():
    """It was taken when the first handler ran; what the second one keeps from the disk is dropped as cancelled."""
    files = FakeFiles()
    spool = Spool(files)
    spool.put("before")
    handlers: list[Callable[[], object]] = [interrupt, partial(spool.put, "late")]

    def signal() -> None:
        handlers.pop()()

    files.before["write"] = signal
    with pytest.raises(Interrupted):
        spool.put("a")
    del files.before["write"]
    assert spool.drained() == ["before", "a"]
    stats = spool.ledger.read()
    assert (stats.pending, stats.dropped) == (0, {DropReason.CANCELLED: 1})


def interrupt() -> None:
    """What a handler does that ends the program."""
    raise Interrupted
