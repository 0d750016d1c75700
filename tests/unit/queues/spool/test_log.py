"""The writing side: when a segment ends, who waits for a sync, and what a full disk leaves."""

from __future__ import annotations

import errno
import threading
from collections import deque

import pytest

from cio_middleware.queues.spool import format as layout
from cio_middleware.queues.spool.house import House
from cio_middleware.queues.spool.log import SEGMENT_BYTES, SEGMENT_SECONDS, Log
from cio_middleware.queues.spool.segment import Segment
from tests.unit.queues.spool.fake_files import FakeFiles
from tests.unit.queues.spool.spooling import HERE, PATH, new_name

RECORD = layout.record(0, b"{}", b"[]")
LARGE = layout.record(0, b"{}", bytes(100_000))


class Desk:
    """A log, and the directory that it writes to."""

    def __init__(self, fsync: str = "interval") -> None:
        self.files = FakeFiles()
        self.house = House(self.files, PATH)
        self.segments: deque[Segment] = deque()
        self.owner = self.house.claim(new_name)
        self.woken = threading.Semaphore(0)
        self.log = Log(
            self.files, self.house, self.owner, HERE, segments=self.segments, fsync=fsync, segment_bytes=SEGMENT_BYTES,
            wake=self.woken.release,
        )  # fmt: skip

    def append(self, record: bytes = RECORD, now: float = 0.0) -> None:
        """Append one record."""
        self.log.append(record, now, 1_800_000_000.0)

    @property
    def there(self) -> list[str]:
        """What is in the directory of segments."""
        return self.files.listing(f"{PATH}/v1")

    def survivors(self) -> int:
        """How many records are left after a loss of power that takes all that it may."""
        self.files.crash(lambda what, much: 0)
        try:
            found = {name: self.files.read(f"{PATH}/v1/{name}") for name in self.there if name.endswith(".seg")}
        except FileNotFoundError:
            return 0
        return sum(len(list(layout.scan(data[4096:], 0, whole=True))) for data in found.values())


def test_a_segment_ends_before_it_is_too_large():
    """No segment grows beyond 4 MiB; the record that would not fit begins the next one, in the order of the names."""
    desk = Desk()
    for _ in range(100):
        desk.append(LARGE)
    sizes = [segment.size for segment in desk.segments]
    assert max(sizes) <= SEGMENT_BYTES
    assert min(sizes[:-1]) > SEGMENT_BYTES - len(LARGE)
    assert [segment.name for segment in desk.segments] == [name for name in desk.there if name.endswith(".seg")]
    assert [segment.sealed for segment in desk.segments] == [True, True, False]
    assert sum(segment.count for segment in desk.segments) == 100


def test_a_segment_ends_after_a_minute():
    """What was begun more than a minute ago takes nothing more, so that its room can be given back."""
    desk = Desk()
    desk.append(now=0.0)
    desk.append(now=SEGMENT_SECONDS)
    assert len(desk.segments) == 1
    desk.append(now=SEGMENT_SECONDS + 0.1)
    assert [segment.count for segment in desk.segments] == [2, 1]
    desk.append(now=2 * SEGMENT_SECONDS)
    assert len(desk.segments) == 2


def test_a_next_segment_that_is_ready_is_taken_as_it_is():
    """When the keeper has synced and made the next segment, beginning it is one write, like every append."""
    desk = Desk()
    desk.append()
    desk.log.sync()
    desk.log.prepare(1_800_000_000.0)
    desk.files.calls.clear()
    desk.append(now=100.0)
    assert dict(desk.files.calls) == {"write": 1}
    assert [segment.count for segment in desk.segments] == [1, 1]


def test_the_keeper_is_woken_by_a_burst():
    """At each quarter of a segment, so that most of it is synced, and the next one ready, when it is full."""
    desk = Desk()
    marks = []
    for _ in range(80):
        desk.append(LARGE)
        if desk.woken.acquire(blocking=False):
            marks.append(desk.segments[-1].size / SEGMENT_BYTES)
    assert [round(mark, 1) for mark in marks] == [0.3, 0.5, 0.8, 0.3, 0.5, 0.8]
    assert not desk.woken.acquire(blocking=False)


def test_a_next_segment_is_made_once():
    """The keeper makes one segment in advance, and none before the first event."""
    desk = Desk()
    desk.log.prepare(0.0)
    assert desk.there == [f"{desk.owner.name}.lock"]
    desk.append()
    for _ in range(3):
        desk.log.prepare(0.0)
    assert len(desk.there) == 3


def test_what_was_synced_survives_a_loss_of_power():
    """Everything that was appended before a sync of the keeper is there afterwards, with its name and its directory."""
    desk = Desk()
    for now in (0.0, 100.0, 200.0):
        desk.append(now=now)
    desk.log.sync()
    desk.append(now=200.0)
    assert desk.survivors() == 3


def test_a_segment_that_is_made_while_the_names_are_synced_is_synced_the_next_time():
    """The keeper may sync the directory just before the name is there: it does not take it for synced."""
    desk = Desk()

    def keeper() -> None:
        desk.files.before.clear()
        desk.log.sync()

    desk.files.before["open"] = keeper
    desk.append()
    desk.log.sync()
    assert desk.survivors() == 1


def test_a_segment_is_synced_before_the_next_is_begun():
    """Of two events in two segments the older one survives a loss of power if the newer does: no hole."""
    desk = Desk()
    desk.append(now=0.0)
    desk.append(now=100.0)
    first, second = desk.segments
    assert (first.synced, second.synced) == (first.size, 0)


def test_without_syncs_nothing_is_synced():
    """fsync=off leaves it to the system."""
    desk = Desk("off")
    desk.append(now=0.0)
    desk.append(now=100.0)
    desk.log.sync()
    desk.log.prepare(0.0)
    desk.log.close()
    assert not {"sync", "sync_directory"} & set(desk.files.calls)


def test_a_commit_waits_for_its_own_record():
    """With fsync=always a record is synced, and its name, before its put returns."""
    desk = Desk("always")
    desk.log.commit()
    for now in (0.0, 1.0, 100.0):
        desk.append(now=now)
        desk.log.commit()
    assert desk.survivors() == 3


def test_committers_share_a_sync():
    """Who comes while a sync is under way waits for the next one, together with all others that wait (group commit)."""
    desk = Desk("always")
    desk.append()
    desk.log.commit()
    under_way, go_on, appended = threading.Event(), threading.Event(), threading.Semaphore(0)
    writing = threading.Lock()

    def slow() -> None:
        under_way.set()
        assert go_on.wait(10)

    def put() -> None:
        with writing:
            desk.append()
        appended.release()
        desk.log.commit()

    desk.files.calls.clear()
    desk.files.before["sync"] = slow
    threads = [threading.Thread(target=put) for _ in range(9)]
    threads[0].start()
    assert under_way.wait(10)
    for thread in threads[1:]:
        thread.start()
    for _ in threads:
        assert appended.acquire(timeout=10)
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert desk.files.calls["sync"] == 2
    assert desk.survivors() == 10


def test_a_commit_that_fails_says_so():
    """A sync that fails is an error of every record that waited for it, not only of the first (fault 55)."""
    desk = Desk("always")
    desk.append()
    desk.append()
    desk.files.fail("sync", errno.EIO, times=1)
    for _ in range(2):
        with pytest.raises(OSError, match="not synced"):
            desk.log.commit()


def test_a_full_disk_keeps_the_old_segment():
    """When the next segment cannot be made, the record is refused, and the old one goes on as soon as there is room."""
    desk = Desk()
    desk.append()
    desk.files.machine.capacity = desk.files.machine.used + 100
    with pytest.raises(OSError, match="short write") as caught:
        desk.append(now=100.0)
    assert caught.value.errno == errno.ENOSPC
    assert [segment.sealed for segment in desk.segments] == [False]
    assert len(desk.there) == 2
    desk.files.machine.capacity = None
    desk.append(now=100.0)
    assert [segment.count for segment in desk.segments] == [1, 1]


def test_a_settled_segment_makes_room_for_the_next():
    """On a full disk a segment whose events are all settled is ended, so that it can be removed."""
    desk = Desk()
    desk.append()
    (segment,) = desk.segments
    segment.ack(segment.size)
    desk.files.machine.capacity = desk.files.machine.used
    with pytest.raises(OSError, match="no room"):
        desk.append(now=100.0)
    assert segment.is_done
    segment.remove()
    desk.segments.clear()
    desk.append(now=100.0)
    assert [each.count for each in desk.segments] == [1]


def test_a_sync_that_fails_before_the_next_segment_leaves_no_file_behind():
    """The segment that was ready stays the next one."""
    desk = Desk()
    desk.append()
    desk.log.prepare(0.0)
    desk.files.fail("sync", errno.EIO, times=1)
    with pytest.raises(OSError, match="not synced"):
        desk.append(now=100.0)
    desk.log.close()
    assert len(desk.there) == 2
    assert [each.inode.is_directory for each in desk.files.opened] == [True] * 4


def test_after_a_spoilt_segment_comes_another():
    """A segment that cannot be cut back to whole records takes nothing more."""
    desk = Desk()
    desk.append()
    desk.files.machine.capacity = desk.files.machine.used + 5
    desk.files.fail("truncate", errno.EIO, times=1)
    with pytest.raises(OSError, match="as the test says"):
        desk.append()
    desk.files.machine.capacity = None
    desk.append()
    assert [(segment.sealed, segment.count) for segment in desk.segments] == [(True, 1), (False, 1)]


def test_closing_leaves_what_is_not_settled_and_nothing_else():
    """What waits stays, synced, for others; what is settled goes, and with the last event the lock as well."""
    desk = Desk()
    for now in (0.0, 100.0):
        desk.append(now=now)
    desk.log.prepare(0.0)
    first, second = desk.segments
    first.ack(first.size)
    desk.log.close()
    assert desk.there == [second.name, f"{desk.owner.name}.lock"]
    assert [each.inode.is_directory for each in desk.files.opened] == [True] * 4
    assert desk.survivors() == 1

    desk = Desk()
    desk.append()
    (segment,) = desk.segments
    segment.ack(segment.size)
    desk.log.close()
    assert desk.there == []


def test_one_file_that_cannot_be_removed_does_not_keep_the_others_from_being_synced():
    """Closing goes on after an error: each segment is settled by itself."""
    desk = Desk()
    for now in (0.0, 100.0):
        desk.append(now=now)
    first, _ = desk.segments
    first.ack(first.size)
    desk.files.fail("unlink", errno.EIO)
    desk.log.close()
    assert [each.inode.is_directory for each in desk.files.opened] == [True] * 4
    assert desk.survivors() == 2


def test_a_name_that_is_gone_is_noticed():
    """Somebody may remove what is appended to: the log can tell (fault 59)."""
    desk = Desk()
    assert desk.log.is_there
    desk.append()
    assert desk.log.is_there
    desk.files.unlink(desk.segments[0].name, at=desk.house.live)
    assert not desk.log.is_there
