"""A disk that is full, that fails, that comes back: what is taken, what is refused, and what is said of it."""

from __future__ import annotations

import errno

import pytest

from cio_middleware._stats import DropReason
from cio_middleware.queues.spool.log import SEGMENT_BYTES
from tests.unit.queues.spool.fake_files import FakeFiles
from tests.unit.queues.spool.spooling import PATH, Spool, item, names

FULL = "the spool or its disk is full"
FAILS = "the spool cannot be written to"


def numbers(first: int, last: int) -> list[str]:
    """The names of events, from the first to before the last."""
    return [str(number) for number in range(first, last)]


# ---------------------------------------------------------------------------------------------------------- full


def filled(spool: Spool) -> int:
    """Put until the spool refuses. Returns how many it took."""
    for number in range(10_000):
        reason = spool.put(number, 1000).reason
        if reason is not None:
            assert reason is DropReason.QUEUE_FULL
            return number
    pytest.fail("it never was full")


@pytest.mark.parametrize("limit", ["capacity", "quota"])
def test_a_full_disk_refuses_what_is_new_and_delivers_what_is_there(limit):
    """Without a free byte events are leased and acked, and the room that this gives is used again (fault 54, G8)."""
    files = FakeFiles()
    setattr(files.machine, limit, 50_000)
    spool = Spool(files)
    taken = filled(spool)
    assert taken > 30
    for _ in range(20):
        spool.tick(1.0)
        assert spool.put("refused", 1000).reason is DropReason.QUEUE_FULL
    assert spool.drained() == numbers(0, taken)
    spool.tick(1.0)
    assert spool.put("again").reason is None
    assert spool.drained() == ["again"]
    stats = spool.ledger.read()
    assert stats.balanced
    assert (stats.pending, stats.dropped) == (0, {DropReason.QUEUE_FULL: 21})


@pytest.mark.parametrize("limit", ["capacity", "quota"])
def test_a_full_disk_is_said_once_and_so_is_its_recovery(limit):
    """
    One line for a disk that is full, one when an event was taken again.

    A quota shows in no measurement: that there seems to be room is no reason to say so.
    """
    files = FakeFiles()
    setattr(files.machine, limit, 50_000)
    spool = Spool(files)
    filled(spool)
    for _ in range(20):
        spool.tick(1.0)
        spool.put("refused", 1000)
    assert [line[: len(FULL)] for line in spool.lines.said] == [FULL]
    setattr(files.machine, limit, None)
    spool.tick(1.0)
    assert len(spool.lines.said) == 1
    spool.put("again")
    assert spool.lines.said[1:] == ["the spool has room for new events again"]


def test_the_spool_keeps_to_its_bound():
    """All files together stay within `max_bytes`, and below it events are taken again."""
    files = FakeFiles()
    spool = Spool(files, max_bytes=100_000)
    taken = filled(spool)
    spool.tick()
    assert 90_000 < files.machine.used <= 100_000 + 2 * 4096
    assert spool.drained() == numbers(0, taken)
    spool.tick(1.0)
    assert filled(spool) >= taken


def test_settled_events_do_not_fill_the_spool_for_ever():
    """A bound below the size of a segment: what is settled is removed although its segment could take more."""
    files = FakeFiles()
    spool = Spool(files, max_bytes=SEGMENT_BYTES // 40)
    for _ in range(5):
        taken = filled(spool)
        assert taken > 50
        assert len(spool.drained()) == taken
        spool.tick(1.0)


def test_without_a_keeper_a_full_spool_is_measured_by_who_puts():
    """Where no thread can be started, room that somebody makes is found all the same, in five seconds (fault 40)."""
    files = FakeFiles()
    files.machine.capacity = 50_000
    spool = Spool(files)
    filled(spool)
    files.machine.capacity = None
    spool.clock.advance(5.0)
    assert spool.put("again", 1000).reason is None


def test_the_spool_leaves_room_to_others():
    """It stops at `min_free_bytes` of the disk."""
    files = FakeFiles()
    files.machine.capacity = 100_000
    spool = Spool(files, min_free_bytes=60_000)
    filled(spool)
    assert 100_000 - files.machine.used >= 55_000


def test_two_processes_share_the_bound():
    """What others hold counts: each looks once a second."""
    files = FakeFiles()
    first, second = Spool(files, max_bytes=60_000), Spool(files.another(), max_bytes=60_000)
    filled(first)
    assert second.put("a", 1000).reason is DropReason.QUEUE_FULL
    first.drained()
    first.close()
    second.tick(1.0)
    assert second.put("a", 1000).reason is None


def test_a_disk_that_cannot_be_measured_is_used_until_it_is_full():
    """Where a sandbox forbids to ask for free space, events are written all the same (fault 56)."""
    files = FakeFiles()
    files.machine.capacity = 50_000
    files.fail("free", errno.ENOSYS)
    files.fail("names", errno.ENOSYS)
    assert filled(Spool(files)) > 30


def test_a_file_that_may_not_grow_is_a_full_disk():
    """RLIMIT_FSIZE says EFBIG: new events are refused, nothing is held in memory."""
    files = FakeFiles()
    spool = Spool(files)
    spool.put("a")
    files.fail("write", errno.EFBIG)
    assert spool.put("b").reason is DropReason.QUEUE_FULL
    assert not spool.queue.is_degraded


# ---------------------------------------------------------------------------------------------------------- failing


def failing(**changes) -> tuple[FakeFiles, Spool]:
    """A spool that holds a and b on a disk that fails from now on."""
    files = FakeFiles()
    spool = Spool(files, **changes)
    for name in "ab":
        spool.put(name)
    files.fail("write", errno.EIO)
    files.fail("open", errno.EIO)
    return files, spool


def test_while_the_disk_fails_events_are_held_in_memory():
    """They are taken, counted and delivered in their order, behind those that are on disk (fault 55)."""
    _, spool = failing()
    for name in "cd":
        assert spool.put(name).reason is None
    assert spool.queue.is_degraded
    assert (spool.queue.depth, spool.queue.tail) == (4, 4)
    assert spool.drained() == list("abcd")
    assert spool.ledger.read().balanced
    assert spool.ledger.read().pending == 0


def test_what_is_held_in_memory_is_bounded():
    """Beyond the bounds of the memory queue events are refused, by their number and by their bytes."""
    _, spool = failing(held_events=3, held_bytes=1000)
    assert [spool.put(name, 10).reason for name in "cdef"] == [None, None, None, DropReason.SPOOL_FAILED]
    assert spool.drained() == list("abcde")
    assert [spool.put(name, 600).reason for name in "gh"] == [None, DropReason.SPOOL_FAILED]
    assert spool.queue.urgent
    assert spool.drained() == ["g"]
    assert not spool.queue.urgent


def test_a_spool_that_may_hold_nothing_refuses():
    """on_spool_error=reject: an event that cannot be written is refused, with its reason."""
    _, spool = failing(held_events=0, held_bytes=0)
    assert spool.put("c").reason is DropReason.SPOOL_FAILED
    assert "events are dropped until it can" in spool.lines.said[0]
    assert spool.drained() == list("ab")


def test_a_disk_that_failed_is_tried_again_after_five_seconds():
    """Not before, and then events are written again; both is said once (fault 55)."""
    files, spool = failing()
    spool.put("c")
    files.heal()
    opened = files.calls["open"]
    for _ in range(24):
        spool.tick(0.2)
    assert files.calls["open"] == opened
    assert spool.queue.is_degraded
    spool.tick(0.3)
    assert not spool.queue.is_degraded
    spool.put("d")
    assert [line[: len(FAILS)] for line in spool.lines.said] == [FAILS, "the spool takes events again"]
    assert "(EIO): events are held in memory" in spool.lines.said[0]
    assert spool.drained() == list("abcd")


def test_a_disk_that_opens_and_does_not_write_is_said_once():
    """Trying again every five seconds is no change of state: a day of it is not a day of lines."""
    files, spool = failing()
    files.heal()
    files.fail("write", errno.EIO)
    for number in range(60):
        assert spool.put(number).reason is None
        spool.tick(5.0)
    assert len(spool.lines.about(FAILS)) == 1
    assert spool.lines.about("again") == []
    assert spool.drained() == ["a", "b", *numbers(0, 60)]


def test_what_a_failed_sync_may_have_lost_is_written_again():
    """
    After a sync that failed the old segment is not to be trusted: what waits in it is in a new one, synced (fault 55).

    A part of it is in memory, a part leased, and a part was not read.
    """
    files = FakeFiles()
    spool = Spool(files, room=100, max_in_flight=2)
    for number in range(12):
        spool.put(number)
    lease = spool.lease(3)
    spool.queue.ack(lease, [1])
    files.fail("sync", errno.EIO, times=1)
    spool.tick()
    assert spool.queue.is_degraded
    before = files.listing(f"{PATH}/v1")
    spool.tick(5.0)
    spool.put("new")
    spool.tick()
    files.crash(lambda what, much: 0)
    left = Spool(FakeFiles(files.machine))
    left.put("mine")
    assert sorted(left.drained()) == sorted(["mine", "new", "0", *numbers(2, 12)])
    assert not set(before) & set(files.listing(f"{PATH}/v1"))


def test_leases_go_on_over_a_new_segment():
    """What was leased from a segment that is replaced is settled where it is now, and only once."""
    files = FakeFiles()
    spool = Spool(files, room=100, max_in_flight=2)
    for number in range(6):
        spool.put(number)
    lease = spool.lease(2)
    files.fail("sync", errno.EIO, times=1)
    spool.tick()
    spool.tick(5.0)
    assert spool.queue.ack(lease, [0, 1]) == 2
    assert spool.drained() == numbers(2, 6)
    spool.tick()
    assert [name for name in files.listing(f"{PATH}/v1") if name.endswith(".seg")] == []
    assert spool.ledger.read().balanced
    assert spool.lines.about("quarantine") == []


@pytest.mark.parametrize(("kind", "times"), [("unlink", 1000), ("sync_directory", 1)])
def test_a_segment_that_was_written_again_is_not_delivered_twice(kind, times):
    """Where the old file cannot be removed, or the new one's name not synced, no event comes again in this process."""
    files = FakeFiles()
    spool = Spool(files)
    for name in "abc":
        spool.put(name)
    files.fail("sync", errno.EIO, times=1)
    spool.tick()
    files.fail(kind, errno.EIO, times=times)
    spool.tick(5.0)
    got = spool.drained()
    files.heal()
    spool.clock.advance(1000)
    assert got + spool.drained() == list("abc")
    assert spool.ledger.read().adopted == 0
    assert spool.ledger.read().balanced


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_sync_that_says_full_is_a_failure(code):
    """A disk that is found full at a sync has lost what it took: that is written again, not taken for refused."""
    files = FakeFiles()
    spool = Spool(files)
    spool.put("a")
    files.fail("sync", code, times=1)
    spool.tick()
    assert spool.queue.is_degraded
    spool.tick(5.0)
    files.crash(lambda what, much: 0)
    left = Spool(FakeFiles(files.machine))
    left.put("mine")
    assert sorted(left.drained()) == ["a", "mine"]


def test_with_every_event_synced_a_failed_sync_is_found_by_the_put():
    """fsync=always: the put that cannot be synced turns the spool to memory at once."""
    files = FakeFiles()
    spool = Spool(files, fsync="always")
    files.fail("sync", errno.EIO, times=1)
    assert spool.put("a").reason is None
    assert spool.queue.is_degraded
    spool.tick(5.0)
    files.crash(lambda what, much: 0)
    left = Spool(FakeFiles(files.machine))
    left.put("mine")
    assert sorted(left.drained()) == ["a", "mine"]


def test_a_disk_that_fails_is_tried_again_however_many_events_come_meanwhile():
    """fsync=always: an event that is held in memory is not synced, and so no reason to wait longer (fault 55)."""
    files = FakeFiles()
    spool = Spool(files, fsync="always")
    files.fail("sync_directory", errno.EIO)
    for number in range(30):
        spool.put(number)
        spool.tick(1.0)
    assert files.calls["lock"] >= 5


def test_what_nobody_foresaw_does_not_end_the_keeper():
    """An error that is none of the disk is said, and the next time events are synced as before."""
    files = FakeFiles()
    spool = Spool(files)
    spool.put("a")

    def broken() -> None:
        raise ZeroDivisionError

    files.before["sync"] = broken
    spool.tick()
    assert spool.lines.said == ["looking after the spool failed with ZeroDivisionError; trying again"]
    files.before.clear()
    spool.tick()
    files.crash(lambda what, much: 0)
    left = Spool(FakeFiles(files.machine))
    left.queue.tend(closing=False)
    assert left.drained() == ["a"]


def test_a_removed_segment_is_noticed_and_written_again():
    """Somebody cleans up the directory at run time: within a second it is noticed, and nothing is lost (fault 59)."""
    files = FakeFiles()
    spool = Spool(files)
    for number in range(5):
        spool.put(number)
    directory = files.open(f"{PATH}/v1", 0)
    for name in files.listing(f"{PATH}/v1"):
        files.unlink(name, at=directory)
    spool.tick(1.0)
    assert spool.queue.is_degraded
    spool.put(5)
    spool.tick(5.0)
    spool.put(6)
    files.die()
    left = Spool(FakeFiles(files.machine))
    left.put("mine")
    assert sorted(left.drained()) == ["0", "1", "2", "3", "4", "6", "mine"]


def test_a_removed_directory_is_made_again():
    """The same when the whole directory is moved away."""
    files = FakeFiles()
    spool = Spool(files)
    spool.put("a")
    parent = files.open("/var/spool", 0)
    files.rename("shop", "moved", at=parent, to_at=parent)
    files.find("/var/spool/moved").names["v1"].rename(dict.fromkeys(files.listing("/var/spool/moved/v1")))
    spool.tick(1.0)
    spool.tick(5.0)
    spool.put("b")
    files.die()
    left = Spool(FakeFiles(files.machine))
    left.put("mine")
    assert sorted(left.drained()) == ["a", "b", "mine"]


@pytest.mark.parametrize("what", ["spool", "v1", "lock"])
def test_what_nobody_would_find_is_written_where_it_is_found(what):
    """Somebody moves the directory away, or removes the lock that keeps others off: nothing is lost or doubled (59)."""
    files = FakeFiles()
    spool = Spool(files)
    spool.put("a")
    spool.tick()
    if what == "lock":
        (lock,) = [name for name in files.listing(f"{PATH}/v1") if name.endswith(".lock")]
        files.unlink(lock, at=files.open(f"{PATH}/v1", 0))
    else:
        at = files.open("/var/spool" if what == "spool" else PATH, 0)
        files.rename("shop" if what == "spool" else "v1", "moved", at=at, to_at=at)
    spool.tick(1.0)
    assert spool.queue.is_degraded
    spool.tick(5.0)
    assert not spool.queue.is_degraded
    spool.put("b")
    other = Spool(files.another())
    other.put("mine")
    assert other.drained() == ["mine"]
    files.die()
    assert sorted(other.drained()) == ["a", "b"]


@pytest.mark.parametrize("kind", ["make_directory", "open", "lock", "stat", "stat_at"])
@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSYS, errno.ENOLCK])
def test_a_spool_that_cannot_be_opened_does_not_keep_the_application_from_running(kind, code):
    """A read-only disk, a missing right, no locks: events are held in memory, one line is said (fault 56)."""
    files = FakeFiles()
    files.fail(kind, code)
    spool = Spool(files)
    for name in "ab":
        assert spool.put(name).reason is None
        spool.queue.tend(closing=False)
        spool.clock.advance(6.0)
    assert spool.queue.is_degraded
    assert files.opened == []
    assert [line for line in spool.lines.said if FAILS in line] == spool.lines.said
    assert len(spool.lines.said) == 1
    files.heal()
    spool.put("c")
    assert not spool.queue.is_degraded
    assert spool.drained() == list("abc")
    assert spool.ledger.read().balanced


def test_what_is_held_in_memory_is_lost_with_the_process_and_counted():
    """Closing while the disk fails: what is on disk stays for others, what is in memory is dropped with the reason."""
    files, spool = failing()
    for name in "cde":
        spool.put(name)
    files.heal()
    assert spool.close() == 3
    assert spool.queue.kept == 2
    assert spool.ledger.read().dropped == {DropReason.SHUTDOWN_TIMEOUT: 3}
    assert spool.ledger.read().pending == 2
    left = Spool(files.another())
    left.put("mine")
    assert sorted(left.drained()) == ["a", "b", "mine"]


def test_a_failure_in_the_middle_of_leases_loses_and_repeats_nothing():
    """Leases that are out while the disk fails and comes back are settled once, and the rest follows in order."""
    files, spool = failing(max_in_flight=3)
    first = spool.lease(1)
    for name in "cd":
        spool.put(name)
    second = spool.lease(2)
    assert (names(first), names(second)) == (["a"], ["b", "c"])
    files.heal()
    spool.tick(5.0)
    spool.put("e")
    spool.queue.nack(second)
    assert spool.queue.ack(first, [0]) == 1
    assert spool.drained() == list("bcde")
    assert spool.ledger.read().balanced
    assert spool.queue.head == spool.queue.tail == 5


def test_an_event_is_the_same_whether_it_was_held_or_written():
    """The bytes that were put are the bytes that leave."""
    files, spool = failing()
    spool.put("c", 500)
    files.heal()
    spool.tick(5.0)
    spool.put("d", 500)
    entries = {envelope.event_id: content for envelope, content in spool.drain()}
    assert entries == {"a": item("a"), "b": item("b"), "c": item("c", 500), "d": item("d", 500)}


@pytest.mark.parametrize("where", ["dead/letters.seg", "quarantine/x.bin"])
def test_54_a_spool_that_is_full_of_what_it_keeps_says_so(where):
    """Dead letters and quarantine stay until somebody removes them, who must be told; else nobody would ever do it."""
    files = FakeFiles()
    spool = Spool(files, max_bytes=100_000)
    spool.put("a")
    files.plant(f"{PATH}/{where}", bytes(90_000))
    spool.tick(1.0)
    assert spool.put("b", 10_000).reason is DropReason.QUEUE_FULL
    (line,) = spool.lines.said
    assert "0.1 MiB" in line
    assert "until you remove them" in line
    assert ("dead letters (0.1" in line) == (where == "dead/letters.seg")


def test_54_a_spool_that_is_full_of_events_names_nothing_else():
    """What it keeps is the smaller part: to remove that would help little."""
    files = FakeFiles()
    spool = Spool(files, max_bytes=100_000)
    spool.put("a")
    files.plant(f"{PATH}/dead/letters.seg", bytes(20_000))
    spool.tick(1.0)
    while spool.put("b", 10_000).reason is None:
        pass
    (line,) = spool.lines.said
    assert "dead letters" not in line


def test_54_a_full_spool_that_is_drained_takes_events_at_once():
    """What a delivery has removed is known to be free, before the keeper looks again."""
    files = FakeFiles()
    spool = Spool(files, segment_bytes=10_000)
    spool.put("first")
    files.machine.capacity = files.machine.used + 40_000
    spool.tick(1.0)
    while spool.put("a", 1000).reason is None:
        pass
    assert spool.deliver()
    assert spool.queue.front is None
    assert [spool.put("b", 1000).reason for _ in range(10)] == [None] * 10
