"""Which of the waiting events may leave: the order of a lane, the barrier, and how far leases reach past the head."""

from __future__ import annotations

from zlib import crc32

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cio_middleware._events import ALL_LANES, Envelope
from cio_middleware.queues.window import Waiting, Window
from cio_middleware.typing import Lease

ALL = "*"


class Numbered(Waiting):
    """What a queue on disk would add: something of its own about each event."""

    place: int


def fill(window: Window, lanes: str, *, size: int = 10) -> None:
    """Add an event for each letter, which names its lane; ``*`` is one of all lanes. Their ids count from 0."""
    for lane in lanes:
        place = window.tail
        number = ALL_LANES if lane == ALL else crc32(lane.encode())
        window.add(Numbered(float(place), Envelope(str(place), "event", "batch", number, 0.0), b"x" * size, place))


def places(lease: Lease | None) -> list[int]:
    """Which events a lease holds."""
    return [] if lease is None else [int(envelope.event_id) for envelope, _ in lease.entries]


def out(window: Window, most: int = 10) -> tuple[Lease, list[int]]:
    """A lease, which must be possible, and what it holds."""
    lease = window.lease(most, 10_000)
    assert lease is not None
    return lease, places(lease)


def done(window: Window, lease: Lease) -> None:
    """Settle all of a lease."""
    window.settle(lease, range(len(lease.entries)))


def test_what_its_lane_holds_back_is_passed_over_with_all_that_follows_in_it():
    """A lane that is out lets nothing more go; other lanes go on."""
    window = Window(4)
    fill(window, "aabacb")
    first, held = out(window, 1)
    assert held == [0]
    assert out(window)[1] == [2, 4, 5]
    assert window.lease(10, 10_000) is None
    done(window, first)
    assert out(window)[1] == [1, 3]


def test_a_lease_that_comes_back_holds_its_lanes():
    """What was not settled goes out again by itself and first; nothing of its lanes overtakes it."""
    window = Window(4)
    fill(window, "abcabd")
    first, _ = out(window, 3)
    window.settle(first, [1])
    window.nack(first)
    assert out(window)[1] == [0, 2]
    assert out(window)[1] == [4, 5]


def test_a_lane_is_free_as_soon_as_its_own_events_are_settled():
    """A lease that is settled in part lets the lanes go that it is done with."""
    window = Window(4)
    fill(window, "abab")
    first, _ = out(window, 2)
    assert window.lease(10, 10_000) is None
    window.settle(first, [0])
    assert out(window)[1] == [2]


def test_nothing_overtakes_an_event_of_all_lanes():
    """It waits for what was put before; what was put after is on the same lease, or waits until it is settled."""
    window = Window(4)
    fill(window, "ab*cd")
    before, held = out(window, 1)
    assert held == [0]
    second, held = out(window)
    assert held == [1]
    assert window.front is None
    assert window.lease(10, 10_000) is None
    done(window, before)
    done(window, second)
    barrier, held = out(window, 2)
    assert held == [2, 3]
    assert window.front is None
    assert window.lease(10, 10_000) is None
    window.nack(barrier)
    barrier, held = out(window, 2)
    assert held == [2, 3]
    assert window.lease(10, 10_000) is None
    done(window, barrier)
    assert out(window)[1] == [4]


def test_leasing_stops_at_the_limit_past_a_lease_that_is_not_settled():
    """While the oldest lease is under way, one less than the limit may be handed out and settled beyond it."""
    window = Window(3)
    fill(window, "abcdef")
    oldest, _ = out(window, 1)
    for _ in range(2):
        done(window, out(window, 1)[0])
    assert window.front is None
    assert window.lease(1, 10_000) is None
    window.nack(oldest)
    oldest, held = out(window, 1)
    assert held == [0]
    assert window.lease(1, 10_000) is None
    done(window, oldest)
    assert [out(window, 1)[1] for _ in range(3)] == [[3], [4], [5]]


def test_what_a_lane_holds_back_keeps_leasing_from_running_ahead():
    """A backlog in one lane keeps the head where it is, so that no more leases than the limit reach past it."""
    window = Window(2)
    fill(window, "aaabcd")
    first, _ = out(window, 1)
    done(window, out(window, 1)[0])
    assert window.head == 0
    done(window, first)
    assert window.head == 1
    second, held = out(window, 1)
    assert held == [1]
    assert window.lease(1, 10_000) is None
    done(window, second)
    assert out(window, 1)[1] == [2]


def test_one_lease_passes_over_so_many_and_each_once():
    """However much a lane holds back, a lease is short work, and the next one begins where it stopped."""
    window = Window(4)
    fill(window, "a" * 5001 + "b")
    first, _ = out(window, 1)
    looks = 0
    while (lease := window.lease(10, 10_000)) is None:
        assert window.front is not None
        looks += 1
    assert (looks, places(lease)) == (2, [5001])
    assert len(window.waiting) == 0
    done(window, first)
    assert out(window, 3)[1] == [1, 2, 3]


def test_what_a_queue_adds_to_an_event_comes_back_when_it_is_settled():
    """Settling returns the very objects that were added, once."""
    window = Window(2)
    fill(window, "ab")
    lease, _ = out(window)
    (settled,) = window.settle(lease, [1])
    assert isinstance(settled, Numbered)
    assert settled.place == 1
    assert window.settle(lease, [1]) == []


def test_what_was_forgotten_settles_nothing():
    """After `clear` all is settled as far as the window knows, and an old lease changes nothing."""
    window = Window(2)
    fill(window, "aab")
    lease, _ = out(window, 1)
    window.clear()
    assert (window.depth, window.head, window.tail) == (0, 3, 3)
    assert window.settle(lease, [0]) == []
    window.nack(lease)
    assert window.front is None


def test_48_an_event_that_is_added_in_the_middle_of_a_lease_is_the_last_one(interrupted):
    """The garbage collector may capture in the thread that cuts a batch: its event goes with this or a later one."""

    def try_at(at):
        window = Window(2)
        fill(window, "abacab*ca")
        returned, _ = out(window, 2)
        passing, _ = out(window, 1)
        window.nack(returned)
        done(window, passing)
        held = []

        def lease_all():
            while (lease := window.lease(4, 10_000)) is not None:
                held.extend(places(lease))
                done(window, lease)

        late = Numbered(9.0, Envelope("9", "event", "batch", crc32(b"a"), 0.0), b"x", 9)
        with interrupted(at, lambda: window.add(late)) as interruption:
            lease_all()
        lease_all()  # it may have come when the last look was over
        assert held == [0, 1, 2, *range(4, 9 + (at > 0))]
        assert (window.depth, window.head) == (0, window.tail)
        return interruption.points

    points = try_at(0)
    assert points > 100
    for at in range(1, points + 1):
        try_at(at)


class WindowModel(RuleBasedStateMachine):
    """The window beside a list of all that was added: each rule is stated of single events, as simply as it can be."""

    @initialize(limit=st.sampled_from([1, 2, 4]))
    def begin(self, limit):
        """An empty window."""
        self.limit = limit
        self.window = Window(limit)
        self.lanes: list[str] = []
        self.unsettled: set[int] = set()
        self.out: dict[Lease, dict[int, int]] = {}
        self.batch_of: dict[int, int] = {}
        self.batches = 0

    @rule(lanes=st.text("aaabbc*", min_size=1, max_size=4))
    def add(self, lanes):
        """A few more events."""
        self.unsettled |= set(range(len(self.lanes), len(self.lanes) + len(lanes)))
        self.lanes += lanes
        fill(self.window, lanes)

    @rule(most=st.integers(1, 4), max_bytes=st.integers(20, 60))
    def lease(self, most, max_bytes):
        """Whatever is handed out may go by every rule; what `front` promises is kept."""
        front, waiting = self.window.front, self.waiting
        lease = self.window.lease(most, max_bytes)
        held = places(lease)
        if lease is None:
            assert self.window.front is None, "whoever trusts it would come again and again"
            assert not waiting or self.out, "with nothing out, what waits must go"
            return
        assert front is not None
        assert front.place <= held[0]
        assert len(held) <= front.events
        assert held == sorted(held)
        assert set(held) <= waiting
        for place in held:
            before = {other for other in self.unsettled if other < place} - set(held)
            assert not [other for other in before if self.lanes[other] in {self.lanes[place], ALL}]
            assert self.lanes[place] != ALL or not before
        self.out[lease] = dict(enumerate(held))
        self.batches += 1
        for place in held:
            self.batch_of.setdefault(place, self.batches)
        assert len({self.batch_of[place] for place in held}) == 1

    @precondition(lambda self: self.out)
    @rule(data=st.data(), index=st.integers(0, 3))
    def settle(self, data, index):
        """One place of a lease is settled, if it was not yet."""
        lease = data.draw(st.sampled_from(list(self.out)))
        place = self.out[lease].pop(index, None)
        settled = [getattr(event, "place", None) for event in self.window.settle(lease, [index])]
        assert settled == ([] if place is None else [place])
        self.unsettled.difference_update(settled)
        if not self.out[lease]:
            del self.out[lease]

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def settle_all(self, data):
        """The rest of a lease is settled."""
        lease = data.draw(st.sampled_from(list(self.out)))
        done(self.window, lease)
        self.unsettled.difference_update(self.out.pop(lease).values())

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def nack(self, data):
        """A lease comes back."""
        lease = data.draw(st.sampled_from(list(self.out)))
        self.window.nack(lease)
        del self.out[lease]

    @rule()
    def evict(self):
        """An event that waits is given up."""
        event = self.window.evict()
        assert (event is None) == (not self.waiting)
        if isinstance(event, Numbered):
            assert event.place in self.waiting
            self.unsettled.remove(event.place)

    @property
    def waiting(self) -> set[int]:
        """What is neither settled nor out."""
        return self.unsettled - {place for held in self.out.values() for place in held.values()}

    @invariant()
    def the_counts_agree(self):
        """Nothing is lost, nothing is held twice, and the head is the first that is not settled."""
        window = self.window
        head = min(self.unsettled, default=len(self.lanes))
        assert sorted(getattr(event, "place", -1) for event in window) == sorted(self.unsettled)
        assert (window.tail, window.head, window.depth) == (len(self.lanes), head, len(self.waiting))
        assert window.oldest == min(self.waiting, default=None)
        assert len(window.waiting) + window.ready <= window.depth

    @invariant()
    def no_two_leases_share_a_lane(self):
        """Of each lane, events are on one lease at most; who holds one of all lanes is alone."""
        holders = [{self.lanes[place] for place in held.values()} for held in self.out.values()]
        assert sum(map(len, holders)) == len(set().union(*holders))
        assert not any(ALL in held for held in holders) or len(holders) == 1

    @invariant()
    def few_reach_past_the_head(self):
        """Of the batches that were ever handed out, at most `limit` hold an event at or past the head."""
        head = min(self.unsettled, default=len(self.lanes))
        assert len({batch for place, batch in self.batch_of.items() if place >= head}) <= self.limit


TestWindowModel = WindowModel.TestCase
TestWindowModel.settings = settings(max_examples=150, stateful_step_count=50, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("limit", [1, 4], ids=["one", "several"])
def test_an_eviction_takes_the_oldest_that_waits(limit):
    """What came back is given up before what was never out, and what is out stays."""
    window = Window(limit)
    fill(window, "abcd")
    window.nack(out(window, 2)[0])
    evicted = [window.evict() for _ in range(3)]
    assert [event and event.at for event in evicted] == [0.0, 1.0, 2.0]
    assert out(window)[1] == [3]
