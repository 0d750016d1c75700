"""The bounded queue in memory: who holds what, in which order, and what the ledger says of it."""

from __future__ import annotations

import itertools
import threading
import time
from functools import partial
from zlib import crc32

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from cio_middleware._events import Envelope, Receipt, Route
from cio_middleware._stats import DropReason, Ledger
from cio_middleware.queues import window
from cio_middleware.queues.memory import DeadLetters, MemoryQueue
from cio_middleware.testing.clock import ManualClock
from cio_middleware.typing import Front, Lease, Refusal


def envelope(name: object, route: Route = "batch") -> Envelope:
    """An envelope that is told apart by its id; its lane is what stands before a dash."""
    return Envelope(str(name), "event", route, crc32(str(name).partition("-")[0].encode()), 0.0)


class Filled:
    """A queue and its ledger; `put` captures first, as the client does."""

    def __init__(
        self, *, max_events: int = 100, max_bytes: int = 10_000, overflow: str = "drop_newest", max_in_flight: int = 8
    ) -> None:
        self.ledger = Ledger()
        self.clock = ManualClock()
        self.queue = MemoryQueue(
            max_events=max_events,
            max_bytes=max_bytes,
            overflow=overflow,
            ledger=self.ledger,
            clock=self.clock,
            max_in_flight=max_in_flight,
        )

    def put(
        self, name: object, size: int = 10, route: Route = "batch", *, may_block: bool = False, may_wait: bool = True
    ) -> Receipt:
        """Capture and put one event; a refusal is counted, as the client does."""
        self.ledger.capture()
        receipt = self.queue.put(envelope(name, route), b"x" * size, may_block=may_block, may_wait=may_wait)
        if receipt.reason is not None:
            self.ledger.drop(receipt.reason)
        return receipt

    def lease(self, most: int, max_bytes: int = 10_000) -> Lease:
        """A lease on what is there."""
        lease = self.queue.lease(most, max_bytes)
        assert lease is not None
        return lease

    def names(self, lease) -> list[str]:
        """Which events a lease holds."""
        return [entry[0].event_id for entry in lease.entries]


def test_events_leave_in_the_order_of_put():
    """First in, first out, as many as asked for."""
    filled = Filled()
    for name in "abcde":
        filled.put(name)
    assert filled.names(filled.lease(3, 1000)) == ["a", "b", "c"]
    assert filled.names(filled.lease(3, 1000)) == ["d", "e"]
    assert filled.queue.lease(3, 1000) is None


def test_what_comes_back_takes_its_old_place():
    """A nack puts exactly what is not settled back in front, in order; it goes out again before anything else."""
    filled = Filled()
    for name in "abcd":
        filled.put(name)
    lease = filled.lease(3, 1000)
    filled.queue.ack(lease, [1])
    filled.queue.nack(lease)
    assert [filled.names(filled.lease(10, 1000)) for _ in range(2)] == [["a", "c"], ["d"]]


def test_a_lease_is_cut_at_exactly_the_bytes_of_the_body():
    """Items, commas and envelope together fill the limit to the byte, and one byte less takes one item less."""
    filled = Filled()
    for name in range(10):
        filled.put(name, size=100)
    body_of_three = len(b'{"batch":[') + 3 * 100 + 2 + len(b"]}")
    lease = filled.lease(100, body_of_three)
    assert len(lease.entries) == 3
    assert len(filled.lease(100, body_of_three - 1).entries) == 2


def test_an_event_that_travels_alone_is_leased_alone():
    """A single neither joins a batch nor is joined."""
    filled = Filled()
    routes: dict[str, Route] = {"a": "batch", "b": "single", "c": "single", "d": "batch", "e": "batch"}
    for name, route in routes.items():
        filled.put(name, route=route)
    leases = [filled.names(filled.lease(10, 1000)) for _ in range(4)]
    assert leases == [["a"], ["b"], ["c"], ["d", "e"]]


@pytest.mark.parametrize(
    ("bounds", "sizes"),
    [({"max_events": 3}, [10, 10, 10, 10]), ({"max_bytes": 35}, [10, 10, 15, 1])],
    ids=["events", "bytes"],
)
def test_a_full_queue_refuses_with_a_reason(bounds, sizes):
    """At its bound the queue refuses the newest, and what it has stays."""
    filled = Filled(**bounds)
    receipts = [filled.put(number, size) for number, size in enumerate(sizes)]
    assert [receipt.reason for receipt in receipts] == [None, None, None, DropReason.QUEUE_FULL]
    assert filled.ledger.read().dropped == {DropReason.QUEUE_FULL: 1}
    assert filled.ledger.read().pending == 3


def test_leased_events_still_count_against_the_bound():
    """What is under way still takes its place, or a slow sink would let memory grow."""
    filled = Filled(max_events=2)
    filled.put("a")
    filled.put("b")
    lease = filled.lease(10, 1000)
    assert filled.put("c").reason is DropReason.QUEUE_FULL
    filled.queue.ack(lease, [0])
    assert filled.put("d").reason is None


def test_drop_oldest_makes_room_and_counts():
    """With drop_oldest the newest event gets in, and the oldest is counted as evicted."""
    filled = Filled(max_events=2, overflow="drop_oldest")
    for name in "abc":
        assert filled.put(name).reason is None
    assert filled.names(filled.lease(10, 1000)) == ["b", "c"]
    assert filled.ledger.read().dropped == {DropReason.EVICTED: 1}


def test_drop_oldest_does_not_touch_what_is_leased():
    """An event that is being delivered is not evicted: the newest is refused instead."""
    filled = Filled(max_events=1, overflow="drop_oldest")
    filled.put("a")
    filled.lease(10, 1000)
    assert filled.put("b").reason is DropReason.QUEUE_FULL


def test_block_waits_for_room():
    """With block, put waits in its thread until an event is settled."""
    filled = Filled(max_events=1, overflow="block")
    filled.put("a")
    lease = filled.lease(10, 1000)
    threading.Timer(0.05, lambda: filled.queue.ack(lease, [0])).start()
    assert filled.put("b", may_block=True).reason is None


def test_block_is_bounded():
    """A put that finds no room within a second is refused, so no request hangs for ever."""
    filled = Filled(max_events=1, overflow="block")
    filled.put("a")
    assert filled.put("b", may_block=True).reason is DropReason.QUEUE_FULL


def test_block_never_waits_where_it_must_not():
    """On an event loop's thread a full queue refuses at once."""
    filled = Filled(max_events=1, overflow="block")
    filled.put("a")
    assert filled.put("b", may_block=False).reason is DropReason.QUEUE_FULL


def test_settling_after_abandon_changes_nothing():
    """A delivery that outlives the queue's end cannot count its events a second time."""
    filled = Filled()
    for name in "abc":
        filled.put(name)
    lease = filled.lease(2, 1000)
    assert filled.queue.abandon(DropReason.SHUTDOWN_TIMEOUT) == 3
    assert filled.queue.ack(lease, [0, 1]) == 0
    assert filled.put("late").reason is DropReason.CLOSED
    stats = filled.ledger.read()
    assert stats.balanced
    assert stats.dropped == {DropReason.SHUTDOWN_TIMEOUT: 3, DropReason.CLOSED: 1}
    assert (stats.delivered, stats.pending) == (0, 0)


def test_a_place_settles_once():
    """Settling the same place twice counts it once."""
    filled = Filled()
    filled.put("a")
    lease = filled.lease(1, 1000)
    assert [filled.queue.ack(lease, [0]), filled.queue.ack(lease, [0])] == [1, 0]
    assert filled.ledger.read().delivered == 1


def test_dead_letters_keep_the_newest_and_count_the_rest():
    """The ring of refused events is bounded; what falls out becomes a drop with its own reason."""
    ledger = Ledger()
    letters = DeadLetters(ledger, ManualClock(), keep=2)
    for name in "abc":
        ledger.capture()
        letters.add((envelope(name), b"{}"), Refusal("why"))
    assert [letter.envelope.event_id for letter in letters] == ["b", "c"]
    stats = ledger.read()
    assert stats.balanced
    assert (stats.dead_lettered, stats.dropped) == (2, {DropReason.DEAD_LETTERS_FULL: 1})


def test_head_and_tail_tell_what_is_settled():
    """`head` reaches a place only when everything before it is settled, leased or not."""
    filled = Filled()
    for name in "abc":
        filled.put(name)
    assert (filled.queue.head, filled.queue.tail) == (0, 3)
    lease = filled.lease(2, 1000)
    filled.queue.ack(lease, [1])
    assert filled.queue.head == 0
    filled.queue.ack(lease, [0])
    assert filled.queue.head == 2
    assert filled.queue.front == Front(1, 2, filled.clock.monotonic())


def test_by_default_one_lease_is_out_at_a_time():
    """Nothing is leased beside a lease that is not settled; then the rest is."""
    filled = Filled(max_in_flight=1)
    for name in "abc":
        filled.put(name)
    lease = filled.lease(2, 1000)
    assert filled.queue.lease(2, 1000) is None
    assert filled.queue.front is None
    assert filled.queue.depth == 1
    filled.queue.ack(lease, [0, 1])
    assert filled.names(filled.lease(2, 1000)) == ["c"]


def test_events_held_back_by_their_lane_do_not_count_towards_a_batch():
    """A receipt tells how many events could leave now, so that a batch of others is seen when it is full."""
    filled = Filled()
    filled.put("a")
    first = filled.lease(1, 1000)
    assert filled.put("a").depth == 1
    assert filled.queue.lease(1, 1000) is None
    assert [filled.put(name).depth for name in "bcd"] == [1, 2, 3]
    filled.queue.ack(first, [0])
    assert filled.put("e").depth == 5


class BusyDay:
    """A bit of everything that a queue does, in one thread, and the names of what was acked, in that order."""

    def __init__(self, filled: Filled) -> None:
        self.filled = filled
        self.acked: list[str] = []

    def ack(self, lease: Lease, *places: int) -> None:
        """These were delivered."""
        self.acked += [self.filled.names(lease)[place] for place in places]
        assert self.filled.queue.ack(lease, places) == len(places)

    def morning(self) -> None:
        """Two leases, of which one comes back, goes out again in halves, and three events beyond the bound of six."""
        for number, lane in enumerate("abacab"):
            self.filled.put(f"{lane}-{number:02}")
        first, second = self.filled.lease(3), self.filled.queue.lease(2, 10_000)
        self.ack(first, 0)
        for number, lane in enumerate("cad", 6):
            self.filled.put(f"{lane}-{number:02}")
        self.look()
        self.filled.queue.nack(first)
        self.look()
        if (half := self.filled.queue.lease(1, 10_000)) is not None:
            self.ack(half, 0)
        if second is not None:
            self.ack(second, 0)
            self.filled.queue.nack(second)
        self.look()

    def noon(self) -> None:
        """One lane holds events back, is free again, and the queue is full."""
        for number, lane in enumerate("aabb", 10):
            self.filled.put(f"{lane}-{number:02}")
        first, second = self.filled.lease(1), self.filled.queue.lease(1, 10_000)
        self.ack(first, 0)
        for number, lane in enumerate("acad", 14):
            self.filled.put(f"{lane}-{number:02}")
        self.look()
        if second is not None:
            self.filled.queue.nack(second)
        self.look()

    def look(self) -> None:
        """What the workers and the metrics ask."""
        queue = self.filled.queue
        assert queue.oldest is not None
        assert queue.head < queue.tail
        assert queue.front is not None or queue.depth < 6

    def evening(self) -> None:
        """What is left is delivered, but for one event of each lease."""
        while (lease := self.filled.queue.lease(3, 10_000)) is not None:
            self.filled.queue.dead_letter(lease, 1, Refusal("why"))
            self.ack(lease, *{0, 2} & set(range(len(lease.entries))))


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest"])
def test_48_whatever_a_put_comes_in_the_middle_of_each_event_has_one_end(overflow, interrupted):
    """What the garbage collector ends in a thread that is at work in the queue may capture, also when it is full."""

    def try_at(at):
        filled = Filled(max_events=6, max_bytes=1000, overflow=overflow)
        day = BusyDay(filled)
        with interrupted(at, lambda: filled.put("a-late")) as interruption:
            day.morning()
            day.evening()
            day.noon()
            day.evening()
        day.evening()  # it may have come when the last look was over
        stats, acked = filled.ledger.read(), day.acked
        assert (stats.captured, stats.pending, stats.balanced) == (17 + (at > 0), 0, True)
        assert len(acked) == len(set(acked)) == stats.delivered
        of_a = [name for name in acked if name[0] == "a" and name != "a-late"]
        assert of_a == sorted(of_a)
        # Nothing is left, neither of events nor of their bytes: one of exactly the bound's size fits.
        assert (filled.queue.depth, filled.queue.front, filled.queue.head) == (0, None, filled.queue.tail)
        assert filled.put("last", 1000).reason is None
        assert filled.queue.abandon(DropReason.SHUTDOWN_TIMEOUT) == 1
        return interruption.points

    points = try_at(0)
    assert points > 300
    for at in range(1, points + 1):
        try_at(at)


def test_48_no_put_waits_for_room_in_the_middle_of_a_lease(interrupted):
    """To wait it would have to let go of the lock, and others would find a batch that is half cut."""

    def try_at(at):
        filled = Filled(max_events=2, overflow="block")
        filled.put("a")
        filled.put("b")
        with interrupted(at, lambda: filled.put("late", may_block=True), [window]) as interruption:
            assert filled.queue.lease(1, 10_000) is not None
        return interruption.points

    points = try_at(0)
    started = time.monotonic()
    for at in range(2, points):  # the very first and last are outside of the work
        try_at(at)
    assert time.monotonic() - started < 1.0


def test_48_an_interrupted_put_is_found_while_another_comes(interrupted):
    """Whether the queue holds an event is told although one more is put in the middle of the look."""

    def try_at(at):
        filled = Filled()
        for name in "aab":
            filled.put(name)
        item = filled.lease(1).entries[0][1]
        with interrupted(at, lambda: filled.put("late")) as interruption:
            assert filled.queue.holds(item)
            assert not filled.queue.holds(b"another")
        return interruption.points

    for at in range(1, try_at(0) + 1):
        try_at(at)


def test_48_a_put_that_may_not_wait_waits_for_no_lock():
    """It is taken aside while another thread has the queue; whoever comes next takes it, in its order."""
    filled = Filled()
    filled.put("a")
    item = b"waits for nobody"
    filled.ledger.capture()
    with filled.queue._lock:
        put = partial(filled.queue.put, envelope("b"), item, may_wait=False)
        thread = threading.Thread(target=put, daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
    assert filled.queue.holds(item)
    assert filled.put("c").urgent  # the depth may have gone past the one that wakes the worker
    assert filled.names(filled.lease(10)) == ["a", "b", "c"]
    filled.put("d", may_wait=False)
    front = filled.queue.front
    assert front is not None
    assert front.events == 1


def test_48_what_is_taken_aside_has_one_end():
    """It is refused where there is no room for it, and dropped where the queue is closed, or closes."""
    filled = Filled(max_events=1)
    for name in "ab":
        filled.put(name, may_wait=False)
    assert filled.queue.front is not None
    assert filled.ledger.read().dropped == {DropReason.QUEUE_FULL: 1}
    filled = Filled()
    filled.put("a", may_wait=False)
    assert filled.queue.abandon(DropReason.SHUTDOWN_TIMEOUT) == 1
    filled.put("b", may_wait=False)
    stats = filled.ledger.read()
    assert stats.dropped == {DropReason.SHUTDOWN_TIMEOUT: 1, DropReason.CLOSED: 1}
    assert (stats.pending, stats.balanced) == (0, True)


class QueueModel(RuleBasedStateMachine):
    """The queue beside a plain list: whatever happens, the order, the counts and the law agree."""

    leases = Bundle("leases")

    @initialize()
    def begin(self):
        """An empty queue."""
        self.filled = Filled(max_events=6, max_bytes=200, max_in_flight=100)
        self.returned: list[list[tuple[int, int]]] = []
        self.waiting: list[tuple[int, int]] = []
        self.out: dict[object, dict[int, tuple[int, int]]] = {}
        self.number = 0
        self.settled = 0

    @rule(size=st.integers(1, 120))
    def put(self, size):
        """One more event, or a refusal if the bounds say so."""
        held = [
            *self.waiting,
            *itertools.chain(*self.returned),
            *(event for lease in self.out.values() for event in lease.values()),
        ]
        fits = len(held) < 6 and sum(size for _, size in held) + size <= 200
        receipt = self.filled.put(self.number, size)
        assert (receipt.reason is None) == fits
        if fits:
            self.waiting.append((self.number, size))
        self.number += 1

    @rule(target=leases, most=st.integers(1, 4))
    def lease(self, most):
        """The oldest events, at most so many; what came back comes by itself, and first."""
        lease = self.filled.queue.lease(most if not self.returned else 10, 10_000)
        if lease is None:
            assert not self.waiting
            return None
        if self.returned:
            taken = self.returned.pop(0)
        else:
            taken, self.waiting = self.waiting[:most], self.waiting[most:]
        assert self.filled.names(lease) == [str(number) for number, _ in taken]
        self.out[lease] = dict(enumerate(taken))
        return lease

    @rule(lease=leases, index=st.integers(0, 3), how=st.sampled_from(["ack", "drop", "dead"]))
    def settle(self, lease, index, how):
        """One place of a lease is settled, if it was not yet."""
        if lease is None:
            return
        fresh = self.out.get(lease, {}).pop(index, None) is not None
        queue = self.filled.queue
        if how == "ack":
            assert queue.ack(lease, [index]) == fresh
        elif how == "drop":
            assert queue.drop(lease, [index], DropReason.EXPIRED) == fresh
        elif index < len(lease.entries):
            assert queue.dead_letter(lease, index, Refusal("why")) == fresh
        self.settled += fresh

    @rule(lease=consumes(leases))
    def nack(self, lease):
        """What is left of a lease comes back in front."""
        if lease is not None:
            self.filled.queue.nack(lease)
            if left := [event for _, event in sorted(self.out.pop(lease, {}).items())]:
                self.returned = sorted([*self.returned, left])

    @invariant()
    def agrees(self):
        """Depth, pending and the law."""
        out = sum(len(lease) for lease in self.out.values())
        stats = self.filled.ledger.read()
        waiting = len(self.waiting) + sum(map(len, self.returned))
        assert self.filled.queue.depth == waiting
        assert stats.pending == waiting + out
        assert stats.balanced


TestQueueModel = QueueModel.TestCase
TestQueueModel.settings = settings(max_examples=60, stateful_step_count=40, suppress_health_check=list(HealthCheck))
