"""The reading side: the order of put, marks of what is settled, and how much is in memory and open meanwhile."""

from __future__ import annotations

import errno
import itertools
import os
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cio_middleware._stats import DropReason
from cio_middleware.queues.spool import format as layout
from cio_middleware.queues.spool.drain import Drain
from cio_middleware.queues.spool.files import PosixFiles
from cio_middleware.queues.spool.segment import Segment
from cio_middleware.queues.window import Window
from cio_middleware.testing.clock import ManualClock
from cio_middleware.typing import Refusal
from tests.unit.queues.spool.fake_files import FakeFiles
from tests.unit.queues.spool.spooling import HERE, PATH, Spool, envelope, item, names


def spread(count: int, *, files: FakeFiles | None = None, size: int = 30, **changes) -> Spool:
    """A spool with so many events, each in a segment of its own."""
    spool = Spool(files or FakeFiles(), **changes)
    for number in range(count):
        spool.put(number, size)
        spool.clock.advance(61)
    return spool


def segments(files: FakeFiles) -> list[str]:
    """The paths of the segments, in order."""
    return [f"{PATH}/v1/{name}" for name in files.listing(f"{PATH}/v1") if name.endswith(".seg")]


def acked(files: FakeFiles, segment: int = 0) -> int:
    """How many bytes of records are marked as settled in a segment."""
    return layout.read_header(files.read(segments(files)[segment])[: layout.FIRST_BYTES]).acked - layout.HEADER_BYTES


def ends(files: FakeFiles, segment: int = 0) -> list[int]:
    """Where the records of a segment end."""
    data = files.read(segments(files)[segment])[layout.HEADER_BYTES :]
    return [each.end for each in layout.scan(data, 0, whole=True)]


def adopted(files: FakeFiles) -> list[str]:
    """What another process delivers of what this one leaves when it is killed."""
    files.die()
    other = Spool(FakeFiles(files.machine))
    other.put("mine")
    return [name for name in other.drained() if name != "mine"]


def test_events_leave_in_the_order_of_put_across_segments():
    """First in, first out, wherever a segment ends."""
    spool = spread(7)
    assert [spool.deliver(3) for _ in range(3)] == [["0", "1", "2"], ["3", "4", "5"], ["6"]]
    assert spool.deliver() == []


@pytest.mark.parametrize("size", [60_000, 99_999])
def test_records_that_lie_across_what_is_read_at_once_are_whole(size):
    """Large events are delivered byte for byte, wherever a chunk ends."""
    spool = Spool(FakeFiles(), room=100_000_000)
    for number in range(60):
        spool.put(number, size)
    entries = spool.drain()
    assert [content for _, content in entries] == [item(number, size) for number in range(60)]


def test_settled_segments_are_removed():
    """When its last event is settled a segment goes, and the next one is the first."""
    files = FakeFiles()
    spool = spread(4, files=files)
    before = segments(files)
    lease = spool.lease(3)
    spool.queue.ack(lease, [0, 1])
    spool.queue.tend(closing=False)
    assert segments(files) == before[2:]
    spool.queue.ack(lease, [2])
    spool.queue.tend(closing=False)
    assert segments(files) == before[3:]


def test_the_mark_follows_what_is_settled_without_a_gap():
    """What is settled out of order is marked when all before it is: a mark never passes an event that waits."""
    files = FakeFiles()
    spool = Spool(files)
    for name in "abcde":
        spool.put(name)
    after = ends(files)
    lease = spool.lease()
    marks = []
    for index in (1, 3, 0, 4, 2):
        spool.queue.ack(lease, [index])
        marks.append(acked(files))
    assert marks == [0, 0, after[1], after[1], after[4]]


@given(st.permutations(range(8)), st.integers(0, 8))
def test_after_death_exactly_what_was_not_marked_comes_again(order, count):
    """Leases on many lanes are settled in any order: what others find is all from the first that was not settled on."""
    files = FakeFiles()
    spool = Spool(files, max_in_flight=8)
    for number in range(8):
        spool.put(number)
    leases = [spool.lease(1) for _ in range(8)]
    for number in order[:count]:
        assert spool.ack(leases[number]) == [str(number)]
    settled = set(order[:count])
    first = next((number for number in range(8) if number not in settled), 8)
    assert spool.queue.head == first
    assert adopted(files) == [str(number) for number in range(first, 8)]


def test_all_ways_to_settle_are_marked():
    """Delivered, given up or kept aside: none of it comes again."""
    files = FakeFiles()
    spool = Spool(files)
    for name in "abcd":
        spool.put(name)
    lease = spool.lease()
    spool.queue.ack(lease, [0])
    spool.queue.drop(lease, [1], DropReason.EXPIRED)
    spool.queue.dead_letter(lease, 2, Refusal("why"))
    spool.queue.nack(lease)
    assert adopted(files) == ["d"]


def test_a_place_settles_once_and_not_after_its_lease():
    """Settling again, or after the lease came back, changes nothing."""
    spool = Spool(FakeFiles())
    for name in "ab":
        spool.put(name)
    lease = spool.lease()
    assert [spool.queue.ack(lease, [0]), spool.queue.ack(lease, [0])] == [1, 0]
    spool.queue.nack(lease)
    assert spool.queue.ack(lease, [1]) == 0
    assert not spool.queue.dead_letter(lease, 1, Refusal("why"))
    assert spool.drained() == ["b"]
    assert spool.ledger.read().delivered == 2


def test_a_mark_that_cannot_be_made_costs_repeats_only():
    """Where an ack cannot be written, the event is settled here, and comes again after death."""
    files = FakeFiles()
    spool = Spool(files)
    spool.put("a")
    files.fail("pwrite", errno.EIO)
    assert spool.deliver() == ["a"]
    assert spool.deliver() == []
    assert spool.ledger.read().delivered == 1
    assert adopted(files) == ["a"]


def test_only_what_is_needed_is_in_memory():
    """However much waits, what is read ahead stays within the room, by its bytes (fault 61)."""
    spool = Spool(FakeFiles(), room=5000)
    for number in range(2000):
        spool.put(number, 1000)
    delivered = []
    while got := spool.deliver(3):
        delivered += got
        assert spool.queue._own.in_memory <= 5
    assert delivered == [str(number) for number in range(2000)]


def test_what_came_back_counts_towards_the_room():
    """A batch that is sent again and again does not let more and more into memory."""
    spool = Spool(FakeFiles(), room=5000)
    for number in range(100):
        spool.put(number, 1000)
    for _ in range(20):
        lease = spool.lease(4)
        assert names(lease) == list("0123")
        spool.queue.nack(lease)
        assert spool.queue.front is not None
        assert spool.queue._own.in_memory <= 9


def test_however_many_segments_wait_few_files_are_open():
    """
    A backlog of an event a minute is a file per event: only those that are read or written are open.

    Also when all their events are in memory, or leased, and wait for Customer.io.
    """
    files = FakeFiles()
    spool = spread(300, files=files)
    files.most_open = 0
    lease = spool.lease(200)
    spool.queue.nack(lease)
    for _ in range(20):
        spool.tick()
        spool.queue.tend(closing=False)
    assert len(spool.drained()) == 300
    assert files.most_open <= 12


def test_an_adopted_backlog_opens_few_files():
    """The same for what a dead process left."""
    files = FakeFiles()
    spread(300, files=files)
    files.die()
    mine = FakeFiles(files.machine)
    other = Spool(mine)
    other.put("mine")
    assert len(other.drained()) == 301
    assert mine.most_open <= 14


def test_too_many_open_files_cost_no_event():
    """A read that cannot open its file is made again later; nothing is given up for it."""
    files = FakeFiles()
    spool = spread(10, files=files, room=1)
    files.fail("open", errno.EMFILE)
    got = spool.deliver()
    for _ in range(5):
        got += spool.deliver()
        spool.queue.tend(closing=False)
    assert len(got) < 10
    files.heal()
    assert got + spool.drained() == [str(number) for number in range(10)]
    assert spool.lines.about("quarantine") == []


def damage(files: FakeFiles, segment: int, at: int) -> None:
    """Flip a bit of the records of a segment, counted from their beginning."""
    path = segments(files)[segment]
    data = bytearray(files.read(path))
    data[layout.HEADER_BYTES + at] ^= 4
    files.plant(path, bytes(data))


def test_a_damaged_record_is_counted_kept_aside_and_said_once():
    """Of this process's own events it knows how many are gone; the others are delivered (fault 57)."""
    files = FakeFiles()
    spool = Spool(files)
    for number in range(10):
        spool.put(number)
    starts = [0, *ends(files)]
    original = files.read(segments(files)[0])[layout.HEADER_BYTES :]
    for number in (3, 7, 8):
        damage(files, 0, starts[number] + 30)
    assert spool.drained() == ["0", "1", "2", "4", "5", "6", "9"]
    spool.clock.advance(61)
    spool.put("next")
    assert spool.drained() == ["next"]
    stats = spool.ledger.read()
    assert stats.balanced
    assert (stats.pending, stats.dropped) == (0, {DropReason.QUARANTINED: 3})
    assert len(spool.lines.about("could not be read")) == len(spool.lines.said) == 1
    aside = files.listing(f"{PATH}/quarantine")
    assert sum(len(files.read(f"{PATH}/quarantine/{name}")) for name in aside) == sum(
        starts[number + 1] - starts[number] for number in (3, 7, 8)
    )
    assert any(original[starts[3] : starts[3] + 30] in files.read(f"{PATH}/quarantine/{name}") for name in aside)
    assert spool.queue.head == spool.queue.tail


@pytest.mark.parametrize("how", ["cut", "removed", "emptied"])
def test_a_segment_that_is_gone_is_counted(how):
    """A file that was cut, emptied or removed from outside: what is missing is counted, and nothing waits for it."""
    files = FakeFiles()
    spool = spread(3, files=files, size=100, room=1)
    path = segments(files)[1]
    if how == "removed":
        parent = files.find(f"{PATH}/v1")
        parent.rename({path.rpartition("/")[2]: None})
    else:
        files.plant(path, files.read(path)[: 4096 + 20 if how == "cut" else 0])
    assert spool.drained() == ["0", "2"]
    spool.put("next")
    assert spool.drained() == ["next"]
    assert spool.ledger.read().dropped == {DropReason.QUARANTINED: 1}
    assert spool.ledger.read().pending == 0
    assert spool.queue.head == spool.queue.tail == 4


def test_a_record_that_is_no_event_is_kept_aside():
    """A whole record with an envelope that cannot be read, such as a later version's, does not hold up what follows."""
    files = FakeFiles()
    spool = Spool(files)
    spool.put("a")
    spool.clock.advance(61)
    spool.put("b")
    path = segments(files)[0]
    files.plant(path, files.read(path)[:4096] + layout.record(0, b'{"v":2}', b"[]"))
    spool.queue._segments[0].size = len(files.read(path))
    assert spool.drained() == ["b"]
    assert len(spool.lines.said) == 1


def test_a_clock_that_is_set_back_puts_no_event_into_the_future():
    """After NTP has set the clock back an hour, events of before are due at once, not in an hour (fault 53)."""
    files = FakeFiles()
    spool = Spool(files)
    spool.clock.step_wall(-3600)
    spool.put("a")
    front = spool.queue.front
    assert front is not None
    assert front.at <= spool.clock.monotonic()
    files.die()
    other = Spool(FakeFiles(files.machine), spool.clock)
    other.put("mine")
    spool.clock.step_wall(-3600)
    other.queue.tend(closing=False)
    assert other.queue.oldest is not None
    assert other.queue.oldest <= spool.clock.monotonic()


def test_levels_agree_with_what_waits():
    """depth, head and tail tell what waits, what is leased and what is settled, in memory or not."""
    spool = Spool(FakeFiles(), room=100)
    seen = []
    for number, _ in enumerate("abcde"):
        spool.put(number)
        seen.append(spool.queue.depth)
    assert seen == [1, 2, 3, 4, 5]
    lease = spool.lease(2)
    assert (spool.queue.depth, spool.queue.head, spool.queue.tail) == (3, 0, 5)
    spool.queue.ack(lease, [1])
    assert (spool.queue.depth, spool.queue.head) == (3, 0)
    spool.queue.ack(lease, [0])
    assert (spool.queue.depth, spool.queue.head) == (3, 2)
    assert spool.queue.front is not None
    assert spool.queue.front.events == 3
    assert spool.queue.front.place == 2


def test_a_put_in_the_middle_of_a_put_comes_after_it():
    """What a signal handler captures while its thread writes is taken, behind what is under way (fault 48)."""
    files = FakeFiles()
    spool = Spool(files)
    spool.put("a")

    def handler() -> None:
        files.before.clear()
        assert spool.put("inner").reason is None

    files.before["write"] = handler
    assert spool.put("b").reason is None
    assert spool.drained() == ["a", "b", "inner"]
    assert spool.ledger.read().balanced


def test_a_put_that_is_interrupted_takes_what_came_in_the_middle_of_it():
    """The handler raises: the event under way is not taken, the one that the handler captured is (fault 48)."""
    files = FakeFiles()
    spool = Spool(files)
    spool.put("a")

    def handler() -> None:
        files.before.clear()
        spool.put("inner")
        raise KeyboardInterrupt

    files.before["write"] = handler
    with pytest.raises(KeyboardInterrupt):
        spool.put("b")
    assert not spool.queue.holds(item("b"))
    assert spool.drained() == ["a", "inner"]


def test_a_worker_that_comes_late_finds_nothing(tmp_path):
    """After the end the events are others', and the numbers of the files other files': who still asks is given none."""
    spool = Spool(PosixFiles(), path=str(tmp_path / "spool"))
    for name in "abc":
        spool.put(name)
    spool.close()
    others = [os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY) for _ in range(10)]
    try:
        spool.queue.tend(closing=True)
        assert spool.queue.front is None
        assert spool.queue.lease(10, 475_000) is None
    finally:
        for fd in others:
            os.close(fd)
    stats = spool.ledger.read()
    assert (stats.pending, stats.dropped) == (3, {})


@pytest.mark.parametrize("call", ["open", "lock", "write", "sync"])
@pytest.mark.parametrize("where", ["before", "after"])
def test_a_put_in_whose_middle_the_queue_is_closed_takes_nothing(call, where):
    """A signal handler closes while its thread writes: the event is refused, and nothing is opened any more (48)."""
    files = FakeFiles()
    spool = Spool(files)
    if call == "sync":
        spool.put("first")
        spool.clock.advance(61)
    done = getattr(files, call)

    def interrupted(*arguments: Any, **options: Any) -> Any:
        setattr(files, call, done)
        if where == "before":
            spool.queue.abandon(DropReason.SHUTDOWN_TIMEOUT)
        result = done(*arguments, **options)
        if where == "after":
            spool.queue.abandon(DropReason.SHUTDOWN_TIMEOUT)
        return result

    setattr(files, call, interrupted)
    assert spool.put("b").reason is DropReason.CLOSED
    assert not spool.queue.holds(item("b"))
    assert spool.put("c").reason is DropReason.CLOSED
    assert spool.lines.about("cannot be written") == []


def test_lanes_of_an_event_stay_in_order_over_many_leases():
    """With several leases out, no lane is on two of them, and each lane leaves in the order of put."""
    spool = Spool(FakeFiles(), max_in_flight=4, room=200)
    for number, lane in enumerate("aabacabbca"):
        spool.put(number, lane=lane)
    left: dict[str, list[str]] = {}
    for number, lane in enumerate("aabacabbca"):
        left.setdefault(lane, []).append(str(number))
    for most in itertools.cycle([1, 2, 3]):
        leases = [lease for _ in range(4) if (lease := spool.queue.lease(most, 475_000)) is not None]
        if not leases:
            break
        lanes = [{lane for lane, events in left.items() if set(names(lease)) & set(events)} for lease in leases]
        assert sum(map(len, lanes)) == len(set().union(*lanes))
        for lease in reversed(leases):
            for name in spool.ack(lease):
                lane = next(lane for lane, events in left.items() if name in events)
                assert left[lane].pop(0) == name
    assert not any(left.values())


class Raced(Segment):
    """Calls `after_look` when somebody has looked whether all of it is read: as a writer does in another thread."""

    after_look: Callable[[], None] | None = None

    @property
    def is_read(self) -> bool:
        """As the segment says, a moment ago."""
        was_read = super().is_read
        if (hook := self.after_look) is not None:
            self.after_look = None
            hook()
        return was_read


def test_an_event_that_is_put_while_the_drain_looks_is_not_missing():
    """A record that comes between two looks of the reader is no record that was written and is gone."""
    files = FakeFiles()
    files.make_directory(PATH)
    segment = Raced.create(files, files.open(PATH, 0), "x.seg", created=0.0, destination=HERE)
    assert isinstance(segment, Raced)
    record = layout.record(0, msgspec.json.encode(envelope("a")), item("a"))
    missing: list[int] = []
    drain = Drain(
        deque([segment]), Window(1), room=1000, clock=ManualClock(), taken=lambda _: None, missing=missing.append,
        damaged=lambda *_: None, freed=lambda: None,
    )  # fmt: skip
    segment.after_look = lambda: segment.append(record)
    drain.tidy()
    assert missing == []
    assert names(drain.lease(10, 1000)) == ["a"]
