"""Dead letters on disk: kept with their reason, seen by every process of the spool, removed when told."""

from __future__ import annotations

import errno
from functools import partial

import pytest

from cio_middleware._events import Entry
from cio_middleware._stats import Ledger
from cio_middleware.queues.spool import format as layout
from cio_middleware.queues.spool.house import House
from cio_middleware.queues.spool.letters import Letters
from cio_middleware.testing.clock import ManualClock
from cio_middleware.typing import Refusal
from tests.unit.queues.spool.fake_files import FakeFiles
from tests.unit.queues.spool.spooling import PATH, Spool, envelope, item

FILE = f"{PATH}/dead/letters.seg"


class Box:
    """One process's letters."""

    def __init__(self, files: FakeFiles) -> None:
        self.files = files
        self.clock = ManualClock()
        self.ledger = Ledger()
        self.house = House(files, PATH)
        self.letters = Letters(files, self.ledger, self.clock)
        self.letters.move_in(self.house)

    def add(self, name: str, why: str = "why") -> None:
        """One event is refused."""
        self.ledger.capture()
        self.letters.add(entry(name), Refusal(why))

    @property
    def names(self) -> list[str]:
        """Whose letters there are."""
        return [letter.envelope.event_id for letter in self.letters]


def entry(name: str) -> Entry:
    """An event as a lease has it."""
    return envelope(name), item(name)


def test_a_letter_keeps_the_event_and_the_reason():
    """Envelope, bytes and Customer.io's words come back, from whatever process looks, and are counted."""
    box = Box(FakeFiles())
    box.add("a", 'bad "person" ünd so')
    box.add("b", "too large")
    for look in (box, Box(box.files.another())):
        found = list(look.letters)
        assert [(each.envelope, each.item) for each in found] == [entry("a"), entry("b")]
        assert [each.why.text for each in found] == ['bad "person" ünd so', "too large"]
        assert len(look.letters) == 2
        assert found[0] in look.letters
    assert box.ledger.read().dead_lettered == 2
    assert box.ledger.read().balanced


def test_a_letter_survives_a_loss_of_power_as_soon_as_it_is_there():
    """It is synced, with its name and its directory, before the event is let go of."""
    for others in (0, 1):
        files = FakeFiles()
        spool = Spool(files)
        for number in range(others + 1):
            spool.put(number)
            spool.queue.dead_letter(spool.lease(), 0, Refusal("why"))
        files.crash(lambda what, much: 0)
        assert Box(FakeFiles(files.machine)).names == [str(number) for number in range(others + 1)]


def test_many_processes_write_to_one_file():
    """Each finds what the others have added, and none writes over another's."""
    boxes = [Box(FakeFiles())]
    boxes += [Box(boxes[0].files.another()) for _ in range(3)]
    for number in range(12):
        boxes[number % 4].add(str(number))
    assert all(box.names == [str(number) for number in range(12)] for box in boxes)


def test_letters_are_removed_by_their_ids():
    """Only those that are named go, all others stay in their order, for every process."""
    box = Box(FakeFiles())
    for name in "abcde":
        box.add(name)
    assert box.letters.remove({"b", "d", "x"}) == 2
    assert box.names == list("ace")
    assert Box(box.files.another()).names == list("ace")
    box.add("f")
    assert box.names == list("acef")


def test_all_letters_are_removed_at_once():
    """Then nothing is left of them, and the next one begins the file anew."""
    box = Box(FakeFiles())
    for name in "ab":
        box.add(name)
    assert box.letters.remove() == 2
    assert box.files.listing(f"{PATH}/dead") == []
    assert box.letters.remove() == 0
    box.add("c")
    assert box.names == ["c"]


def test_a_removal_is_all_or_nothing():
    """When the letters that stay cannot be written, all are still there, and it is said."""
    for kind in ("open", "write", "sync", "rename"):
        box = Box(FakeFiles())
        for name in "abc":
            box.add(name)
        box.files.fail(kind, errno.ENOSPC, nth=3 if kind == "open" else 1, times=1)
        with pytest.raises(OSError, match="as the test says"):
            box.letters.remove({"b"})
        assert box.names == list("abc"), kind
        assert box.letters.remove({"b"}) == 1
        assert box.names == list("ac")


def test_a_removal_holds_a_piece_of_the_file_at_a_time():
    """However many letters stay: a spool of gigabytes can be tidied in little memory."""
    box = Box(FakeFiles())
    record = layout.record(0, b"{}", bytes(90_000))
    box.add("a")
    box.files.plant(FILE, box.files.read(FILE) + record * 100)
    largest = [0]
    write = box.files.write

    def watched(fd: int, data: bytes) -> int:
        largest.append(len(data))
        return write(fd, data)

    box.files.write = watched  # type: ignore[method-assign]
    assert box.letters.remove({"a"}) == 1
    assert sum(largest) == 100 * len(record)
    assert max(largest) < 2_000_000
    assert box.files.read(FILE) == record * 100


def kept(amounts: dict[str, int], what: str, much: int) -> int:
    """At most so much of each kind."""
    return min(much, amounts[what])


def test_a_loss_of_power_during_a_removal_leaves_one_of_the_two():
    """Before or after, whatever of it stayed: never neither."""
    for data_stays in (0, 1):
        for names_stay in range(4):
            box = Box(FakeFiles())
            for name in "abc":
                box.add(name)
            box.letters.remove({"b"})
            amounts = {"bytes": 10_000 * data_stays, "names": names_stay}
            box.files.crash(partial(kept, amounts))
            assert Box(FakeFiles(box.files.machine)).names in ([*"abc"], [*"ac"])


@pytest.mark.parametrize("kind", ["open", "write", "sync", "lock"])
def test_where_the_disk_does_not_take_it_a_letter_is_kept_in_memory(kind):
    """It is there for whoever looks in this process, counted once, and nothing half of it is on disk."""
    box = Box(FakeFiles())
    box.add("a")
    box.files.fail(kind, errno.EIO)
    box.add("b")
    box.files.heal()
    assert sorted(box.names) == ["a", "b"]
    assert [letter.envelope.event_id for letter in box.letters.in_memory] == ["b"]
    assert box.ledger.read().dead_lettered == 2
    assert box.letters.remove({"b"}) >= 1
    assert box.names == ["a"]


def test_a_letter_in_memory_and_on_disk_is_shown_once_and_in_its_place():
    """A disk that took a letter and could not sync its name has it all the same; letters are listed oldest first."""
    box = Box(FakeFiles())
    box.files.fail("sync_directory", errno.EIO)
    box.add("a")
    box.files.heal()
    box.clock.advance(1.0)
    box.add("b")
    box.clock.advance(1.0)
    box.files.fail("open", errno.EIO)
    box.add("c")
    box.files.heal()
    box.clock.advance(1.0)
    box.add("d")
    assert box.names == [*"abcd"]
    assert box.ledger.read().dead_lettered == 4


def test_a_full_disk_keeps_no_half_of_a_letter():
    """A short write is cut off again, and what follows later can be read."""
    box = Box(FakeFiles())
    box.add("a")
    size = len(box.files.read(FILE))
    box.files.machine.capacity = box.files.machine.used + 20
    box.add("b")
    assert len(box.files.read(FILE)) == size
    box.files.machine.capacity = None
    box.add("c")
    assert sorted(box.names) == ["a", "b", "c"]


def test_who_does_not_get_the_lock_in_time_keeps_it_in_memory():
    """A process that holds the lock for ever holds up nobody for more than two seconds."""
    box = Box(FakeFiles())
    other = box.files.another()
    held = other.open(f"{PATH}/dead", 0)
    assert other.lock(held)
    box.add("a")
    assert sum(box.clock.slept) <= 2.1
    assert [letter.envelope.event_id for letter in box.letters.in_memory] == ["a"]
    with pytest.raises(TimeoutError):
        box.letters.remove()
    other.close(held)
    box.add("b")
    assert sorted(box.names) == ["a", "b"]


def test_the_lock_is_waited_for():
    """Who holds it for a moment is waited for."""
    box = Box(FakeFiles())
    other = box.files.another()
    held = other.open(f"{PATH}/dead", 0)
    assert other.lock(held)
    looks = iter(range(100))

    def let_go() -> None:
        if next(looks) == 5:
            other.close(held)

    box.files.before["lock"] = let_go
    box.add("a")
    assert list(box.letters.in_memory) == []
    assert box.names == ["a"]


def test_no_file_stays_open():
    """Adding, looking and removing leave the fds as they were, also when a look ends early."""
    box = Box(FakeFiles())
    opened = len(box.files.opened)
    for name in "abc":
        box.add(name)
    next(iter(box.letters))
    assert not any(letter.why.text == "x" for letter in box.letters)
    box.letters.remove({"a"})
    box.letters.remove()
    assert len(box.files.opened) == opened


def test_without_a_directory_letters_are_in_memory():
    """Before the spool is open, and after it is closed, letters are kept like those of the memory queue."""
    box = Box(FakeFiles())
    box.letters.move_in(None)
    box.add("a")
    assert box.names == ["a"]
    assert box.letters.remove() == 1


@pytest.mark.parametrize("how", ["torn", "flipped", "zeroed", "a later one's"])
def test_damage_costs_the_letter_that_it_touches(how):
    """All others can be read, and what is added later as well."""
    box = Box(FakeFiles())
    for name in "abc":
        box.add(name)
    data = box.files.read(FILE)
    start, end = [each.end for each in layout.scan(data, 0, whole=True)][:2]
    spoilt = {
        "torn": data + data[: start - 5],
        "flipped": data[: start + 40] + bytes([data[start + 40] ^ 1]) + data[start + 41 :],
        "zeroed": data[:start] + bytes(end - start) + data[end:],
        "a later one's": data[:start] + layout.record(0, b'{"v":9}', b"{}") + data[end:],
    }[how]
    box.files.plant(FILE, spoilt)
    box.add("d")
    assert box.names == (list("abcd") if how == "torn" else list("acd"))
    assert box.letters.remove({"a"}) == 1
    assert box.names == (list("bcd") if how == "torn" else list("cd"))


def test_a_letter_that_a_crash_left_twice_is_shown_once():
    """An event that is sent and refused again after a crash is one letter."""
    box = Box(FakeFiles())
    for name in "aba":
        box.add(name)
    assert box.names == ["a", "b"]
    assert box.letters.remove({"a"}) == 2
    assert box.names == ["b"]


def test_letters_are_more_than_one_read():
    """However large the file, all of it is found, and a removal keeps the rest as it was."""
    box = Box(FakeFiles())
    for number in range(60):
        box.ledger.capture()
        box.letters.add((envelope(number), item(number, 60_000)), Refusal("why"))
    assert [letter.item for letter in box.letters] == [item(number, 60_000) for number in range(60)]
    assert box.letters.remove({"7"}) == 1
    assert len(box.letters) == 59


def test_after_the_end_letters_can_be_listed_and_removed():
    """They are on the disk, of which nothing is open but while somebody looks."""
    files = FakeFiles()
    spool = Spool(files)
    for name in "ab":
        spool.put(name)
        spool.queue.dead_letter(spool.lease(), 0, Refusal("why"))
    spool.close()
    opened = len(files.opened)
    assert [letter.envelope.event_id for letter in spool.queue.dead_letters] == ["a", "b"]
    next(iter(spool.queue.dead_letters))
    assert spool.queue.dead_letters.remove({"a"}) == 1
    assert [letter.envelope.event_id for letter in spool.queue.dead_letters] == ["b"]
    assert len(files.opened) == opened == 0
