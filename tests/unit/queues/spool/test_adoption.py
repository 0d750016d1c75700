"""What a dead process left: taken over once, by one, and only if it is ours to send."""

from __future__ import annotations

import errno
import logging
import struct
import threading
import zlib
from collections.abc import Callable

import pytest

from cio_middleware.queues.spool import format as layout
from tests.unit.queues.spool.fake_files import FakeFiles
from tests.unit.queues.spool.spooling import ELSEWHERE, HERE, PATH, Lines, Spool, item, names, new_name


def left(*events: str, files: FakeFiles | None = None, **changes) -> FakeFiles:
    """The files of a process that put these and was killed."""
    files = files or FakeFiles()
    spool = Spool(files, **changes)
    for event in events:
        spool.put(event)
    files.die()
    return FakeFiles(files.machine)


def heir(files: FakeFiles, **changes) -> Spool:
    """A process that has put an event of its own, and so has opened the spool."""
    spool = Spool(files, **changes)
    spool.put("mine")
    assert spool.deliver() == ["mine"]
    return spool


def segments(files: FakeFiles) -> list[str]:
    """The names of the segments, in order."""
    return [name for name in files.listing(f"{PATH}/v1") if name.endswith(".seg")]


def test_what_a_dead_process_left_is_delivered_and_then_gone():
    """Its events come in their order, are counted as adopted, and neither segment nor lock is left."""
    files = left(*"abc")
    spool = heir(files)
    before = len(files.listing(f"{PATH}/v1"))
    assert spool.drained() == list("abc")
    stats = spool.ledger.read()
    assert stats.balanced
    assert (stats.captured, stats.adopted, stats.delivered, stats.pending) == (1, 3, 4, 0)
    assert len(files.listing(f"{PATH}/v1")) == before - 2


def test_the_dead_are_taken_over_one_at_a_time():
    """While one is drained the others wait; in the end all are."""
    files = left("a")
    for name in "bc":
        files = left(name, files=files)
    spool = heir(files)
    spool.queue.tend(closing=False)
    assert spool.ledger.read().adopted <= 1
    assert sorted(spool.drained()) == list("abc")


def test_own_and_adopted_events_leave_by_turns():
    """A long backlog of a dead process holds up nobody's own events, nor they it."""
    files = left(*"abcd")
    spool = heir(files)
    for number in range(4):
        spool.put(number)
    spool.queue.tend(closing=False)
    turns = [spool.deliver(1)[0] for _ in range(8)]
    assert sorted(turns[:2]) == ["0", "a"]
    assert sorted(turns[2:4]) == ["1", "b"]
    assert [turn for turn in turns if turn in "abcd"] == list("abcd")


def test_what_an_heir_has_not_settled_is_left_to_the_next():
    """An adopter that closes lets go of what it had not delivered, and counts it no more; what is settled stays so."""
    files = left(*"abcd")
    first = heir(files)
    first.queue.tend(closing=False)
    lease = first.lease(2)
    first.queue.ack(lease, [0])
    first.close()
    stats = first.ledger.read()
    assert stats.balanced
    assert (stats.adopted, stats.delivered, stats.pending) == (1, 2, 0)
    second = heir(files.another())
    assert second.drained() == list("bcd")


def test_what_an_heir_leaves_when_it_is_killed_is_taken_over_again():
    """The lock of the dead goes with its adopter: nothing is lost with him."""
    files = left(*"abc")
    first = heir(files)
    first.queue.tend(closing=False)
    assert names(first.lease(2)) == ["a", "b"]
    other = heir(files.another())
    assert other.drained() == []
    files.die()
    assert other.drained() == list("abc")


def test_a_closing_process_takes_over_nothing():
    """Who closes leaves the dead to others, and what it has taken over it lets go once nothing of it is leased."""
    files = left(*"ab")
    spool = heir(files, max_in_flight=2)
    spool.queue.tend(closing=True)
    assert spool.queue.front is None
    spool.queue.tend(closing=False)
    lease = spool.lease(1)
    spool.queue.tend(closing=True)
    assert spool.queue.front is None
    assert spool.queue.lease(1, 475_000) is None
    assert spool.ledger.read().pending == 2
    assert spool.ack(lease) == ["a"]
    spool.queue.tend(closing=True)
    assert spool.ledger.read().pending == 0
    assert heir(files.another()).drained() == ["b"]


def test_a_live_process_is_left_alone():
    """However long it says nothing: its lock decides."""
    files = FakeFiles()
    alive = Spool(files)
    alive.put("a")
    other = heir(files.another())
    other.clock.advance(100_000)
    assert other.drained() == []
    assert alive.drained() == ["a"]


def test_order_is_that_of_put_and_not_of_names():
    """After a failure of the disk older events may stand in a later file: they still leave first."""
    files = FakeFiles()
    spool = Spool(files)
    for name in "abc":
        spool.put(name)
    files.fail("sync", errno.EIO, times=1)
    spool.tick()

    def another_thread() -> None:
        files.before.clear()
        spool.put("d")

    files.before["stat"] = another_thread  # while the disk is opened anew, and before the old events are copied
    spool.tick(5.0)
    spool.clock.advance(61)
    spool.put("e")
    files.die()
    assert heir(FakeFiles(files.machine)).drained() == list("abcde")


def test_a_takeover_is_told_to_who_listens():
    """One quiet line for each process that has ended, at INFO, so that a log can answer where events came from."""
    files = left(*"ab")
    spool = heir(files)
    assert spool.drained() == list("ab")
    (line,) = spool.lines.records_about("is taken over")
    assert line.levelno == logging.INFO
    assert line.getMessage() == "what a process that ended has left in the spool is taken over: 1 file(s)"
    spool.close()


# -------------------------------------------------------------------------------------------------- not ours to send


def test_s14_events_for_another_workspace_are_held_and_said_once():
    """A backlog is not sent to the wrong workspace after a change of settings: it waits for its own client."""
    files = left(*"ab", destination=ELSEWHERE)
    spool = heir(files)
    for _ in range(50):
        assert spool.drained() == []
    assert len(spool.lines.about("another workspace or host")) == 1 + (50 * 30 // 600)
    assert spool.ledger.read().adopted == 0
    spool.close()
    assert heir(files.another(), destination=ELSEWHERE).drained() == list("ab")


def test_of_a_process_that_served_two_workspaces_ours_is_delivered_and_the_rest_held():
    """Segments are told apart one by one."""
    files = left(*"ab")
    (name,) = segments(files)
    theirs = bytearray(files.read(f"{PATH}/v1/{name}"))
    theirs[: layout.HEADER_BYTES] = layout.header(0.0, ELSEWHERE)
    files.plant(f"{PATH}/v1/{name.replace('00000000.seg', '00000001.seg')}", bytes(theirs))
    spool = heir(files)
    assert spool.drained() == list("ab")
    assert segments(files)[0].endswith(".00000001.seg")
    assert files.read(f"{PATH}/v1/{segments(files)[0]}") == bytes(theirs)


def later(page: bytes) -> bytes:
    """The same header, of a later version."""
    head = page[:8] + struct.pack("<I", layout.VERSION + 1) + page[12:36]
    return head + struct.pack("<I", zlib.crc32(head)) + page[40:]


def test_62_a_later_version_is_left_alone():
    """After a downgrade what the later release wrote stays as it is, to the byte, and is said once."""
    files = left(*"ab")
    (name,) = segments(files)
    data = later(files.read(f"{PATH}/v1/{name}"))
    files.plant(f"{PATH}/v1/{name}", data)
    spool = heir(files)
    assert spool.drained() == []
    assert len(spool.lines.about("later version")) == len(spool.lines.said) == 1
    assert files.read(f"{PATH}/v1/{name}") == data
    assert files.listing(f"{PATH}/quarantine") == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: bytes(100) + data[100:],
        lambda data: data[:1000],
        lambda data: data[:20] + b"\xff" + data[21:],
        lambda data: b"GIF89a",
    ],
    ids=["zeroed", "cut", "one byte", "something else"],
)
def test_57_a_file_that_is_no_segment_is_set_aside(spoil):
    """A segment without a header that can be read is in quarantine as it is, said once, and the others go on."""
    files = left(*"ab")
    (name,) = segments(files)
    data = files.read(f"{PATH}/v1/{name}")
    files.plant(f"{PATH}/v1/{name}", spoil(data))
    files.plant(f"{PATH}/v1/{name.replace('00000000.seg', '00000001.seg')}", data)
    spool = heir(files)
    assert spool.drained() == list("ab")
    assert files.read(f"{PATH}/quarantine/{name}") == spoil(data)
    assert len(spool.lines.about("in quarantine")) == len(spool.lines.said) == 1


def test_a_file_that_cannot_be_set_aside_holds_up_nobody():
    """Where even that fails, the file stays, and what is beside it is delivered."""
    files = left(*"ab")
    (name,) = segments(files)
    files.plant(f"{PATH}/v1/{name.replace('00000000.seg', '00000001.seg')}", b"x")
    files.fail("rename", errno.EACCES)
    spool = heir(files)
    assert spool.drained() == list("ab")
    assert heir(left("c", files=files.another())).drained() == ["c"]


def test_an_empty_segment_is_removed_without_a_word():
    """It is what a loss of power, or a kill at the wrong moment, leaves of a segment that was just begun."""
    files = left(*"ab")
    files.plant(f"{PATH}/v1/{segments(files)[0].replace('00000000.seg', '00000001.seg')}", b"")
    spool = heir(files)
    assert spool.drained() == list("ab")
    assert spool.lines.said == []
    assert files.listing(f"{PATH}/quarantine") == []


def test_an_empty_segment_that_cannot_be_removed_is_no_word_worth():
    """The disk fails at that very moment: it is empty all the same, and is tried again later."""
    files = left("a")
    files.plant(f"{PATH}/v1/{segments(files)[0].replace('00000000.seg', '00000001.seg')}", b"")
    files.fail("unlink", errno.EIO, times=1000)
    spool = heir(files)
    assert spool.drained() == ["a"]
    assert spool.lines.said == []
    assert files.listing(f"{PATH}/quarantine") == []


def test_s13_a_foreign_file_is_ignored():
    """What is not named like one of ours is neither read nor moved, whatever it holds."""
    files = left(*"ab")
    data = files.read(f"{PATH}/v1/{segments(files)[0]}")
    for name in ("events.seg", "1-00.00000000.seg", "backup.seg.bak"):
        files.plant(f"{PATH}/v1/{name}", data)
    spool = heir(files)
    assert spool.drained() == list("ab")
    assert {"events.seg", "1-00.00000000.seg", "backup.seg.bak"} <= set(files.listing(f"{PATH}/v1"))


def test_s13_a_forged_owner_of_another_user_is_not_adopted():
    """A segment that belongs to somebody else is not delivered, even if it found its way into the directory."""
    files = left(*"ab")
    files.find(f"{PATH}/v1/{segments(files)[0]}").uid += 1
    assert heir(files).drained() == []


# ------------------------------------------------------------------------------------------------------- adversity


def test_a_torn_tail_is_no_damage():
    """What a kill left of a record that was never accepted is dropped without a word."""
    files = left(*"ab")
    path = f"{PATH}/v1/{segments(files)[0]}"
    files.plant(path, files.read(path) + layout.record(2, b"{}", item("c"))[:-3])
    spool = heir(files)
    assert spool.drained() == list("ab")
    assert spool.lines.said == []
    assert files.listing(f"{PATH}/quarantine") == []
    assert len(segments(files)) == 1


def test_57_damage_between_records_is_kept_aside_and_said_once():
    """The records around it are delivered, the bytes are in quarantine, one line is said."""
    files = left(*"abcde")
    path = f"{PATH}/v1/{segments(files)[0]}"
    data = bytearray(files.read(path))
    data[4096 + 200] ^= 1
    files.plant(path, bytes(data))
    spool = heir(files)
    got = spool.drained()
    assert len(got) == 4
    assert got == [name for name in "abcde" if name in got]
    (aside,) = files.listing(f"{PATH}/quarantine")
    assert files.read(f"{PATH}/quarantine/{aside}") in bytes(data)
    assert len(spool.lines.said) == 1
    assert spool.ledger.read().balanced


@pytest.mark.parametrize("kind", ["names", "open", "pread", "stat", "lock", "stat_at"])
def test_a_look_that_fails_is_made_again(kind):
    """Whatever fails while the dead are looked for, their locks are let go, and the next look finds them (G9)."""
    for nth in range(1, 6):
        files = left(*"ab")
        spool = heir(files)
        opened = len(files.opened)
        files.fail(kind, errno.EMFILE, nth=nth, times=3)
        for _ in range(3):
            spool.queue.tend(closing=False)
            spool.clock.advance(10)
        if spool.queue._adopter is not None and spool.queue._adopter.current is None:
            assert len(files.opened) == opened
        files.heal()
        spool.clock.advance(400)
        assert spool.drained() == list("ab")


def test_the_same_adopter_finds_what_comes_later():
    """Processes die at any time: each is found at the next look, five seconds later or so."""
    files = FakeFiles()
    spool = heir(files.another())
    assert spool.queue.tend(closing=False) <= 7.5
    left("a", files=files)
    spool.clock.advance(7.6)
    spool.queue.tend(closing=False)
    assert spool.deliver() == ["a"]


@pytest.mark.parametrize("destination", [HERE, ELSEWHERE], ids=["ours", "another workspace's"])
def test_the_directory_is_not_listed_for_each_dead_process(destination):
    """A crash loop leaves thousands: a list of all for each of them would take hours, and hold up the reader."""
    files = FakeFiles()
    for number in range(40):
        files = left(str(number), files=files, destination=destination)
    spool = heir(files)
    listed: list[str] = []
    files.before["names"] = lambda: listed.append("")
    drained = spool.drained()
    assert len(drained) == (40 if destination == HERE else 0)
    assert len(listed) < 15


def test_what_a_process_began_after_it_was_listed_is_found_later():
    """A list of the dead may be old when one's turn comes: nothing is lost by that, and the order is kept."""
    files = FakeFiles()
    theirs, ours = files.another(), files.another()
    late = Spool(theirs)
    late.put("b")
    spool = heir(ours)

    def die() -> None:
        ours.before.clear()
        late.clock.advance(61)
        late.put("c")
        theirs.die()

    ours.before["lock"] = die
    assert spool.drained() == ["b", "c"]
    assert len(segments(files)) == 1


def test_names_are_never_used_again():
    """Two processes with one process id, as in containers, have owners of different names."""
    assert new_name() != new_name()
    files = FakeFiles()
    for name in "ab":
        Spool(files.another()).put(name)
    assert len(segments(files)) == 2


class Asking(Lines):
    """A log whose handler waits for another thread that wants something of the spool."""

    def __init__(self, ask: Callable[[], object]) -> None:
        super().__init__()
        self._ask = ask

    def handle(self, record: logging.LogRecord) -> None:
        """Ask, wait, and keep the line of whether there was an answer."""
        thread = threading.Thread(target=self._ask, daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive(), "the handler waits for a lock of whoever says the line"
        super().handle(record)


@pytest.mark.parametrize("what", ["another workspace's", "a later version's", "no segment", "damage"])
def test_a_log_that_waits_for_another_thread_is_told_without_a_lock(what):
    """What is found in the middle of reading is said after it: a handler of the log may wait for a reader."""
    files = left("a", destination=ELSEWHERE if what == "another workspace's" else HERE)
    (name,) = segments(files)
    data = files.read(f"{PATH}/v1/{name}")
    if what == "a later version's":
        data = later(data)
    elif what == "no segment":
        data = b"GIF89a"
    elif what == "damage":
        data = data[:-1] + bytes([data[-1] ^ 1])
    files.plant(f"{PATH}/v1/{name}", data)
    lines = Asking(lambda: spool.queue.front)
    spool = Spool(files, lines=lines)
    spool.put("mine")
    spool.drain()
    assert len(lines.said) == 1
    spool.close()
