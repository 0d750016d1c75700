"""
A process is killed at each call that it makes, one after the other, before it and in the middle of each write.

What it had accepted and not settled is delivered by the next process. In memory, so that all of it takes a few seconds;
``tests/faults`` kills real processes.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cio_middleware._stats import DropReason
from cio_middleware.queues.spool import format as layout
from cio_middleware.typing import Refusal
from tests.unit.queues.spool.fake_files import Died, FakeFiles
from tests.unit.queues.spool.spooling import PATH, Spool, item, names


class Diary:
    """What a process had been promised when it died."""

    def __init__(self) -> None:
        self.accepted: set[str] = set()
        self.settled: set[str] = set()
        self.letters: set[str] = set()
        self.leased: set[str] = set()
        self.begun: set[str] = set()
        """What it was about to put or to settle."""

    def put(self, spool: Spool, name: str) -> None:
        """Put, and note it."""
        self.begun.add(name)
        assert spool.put(name).reason is None
        self.accepted.add(name)

    def deliver(self, spool: Spool, most: int) -> None:
        """Deliver a batch, and note it."""
        lease = spool.queue.lease(most, 475_000)
        if lease is None:
            return
        self.leased = set(names(lease))
        self.begun |= self.leased
        self.settled |= self.leased  # by the time of the ack it is delivered
        spool.ack(lease)

    def refuse(self, spool: Spool) -> None:
        """Of a batch of three the first is refused, the second given up, the third comes back."""
        lease = spool.lease(3)
        first, second, _ = names(lease)
        self.leased = {first, second}
        self.begun |= self.leased
        assert spool.queue.dead_letter(lease, 0, Refusal("why"))
        self.letters.add(first)
        self.settled.add(second)
        spool.queue.drop(lease, [1], DropReason.EXPIRED)
        spool.queue.nack(lease)


def live(files: FakeFiles, diary: Diary, fsync: str) -> None:
    """A life: events over several segments, ticks, deliveries of all kinds, an adoption, and a close."""
    spool = Spool(files, fsync=fsync)
    for name in ("a", "b", "c", "d"):
        diary.put(spool, name)
    spool.tick()
    diary.deliver(spool, 1)
    spool.clock.advance(61)
    for name in ("e", "f", "g"):
        diary.put(spool, name)
    spool.tick()
    diary.refuse(spool)
    spool.queue.tend(closing=False)
    for _ in range(6):
        diary.deliver(spool, 2)
        spool.queue.tend(closing=False)
    spool.clock.advance(61)
    spool.tick(1.0)
    diary.put(spool, "h")
    diary.put(spool, "i")
    diary.deliver(spool, 1)
    spool.queue.tend(closing=False)
    spool.close()


def stage(diary: Diary) -> FakeFiles:
    """A machine on which another process has died, with events in two segments."""
    files = FakeFiles()
    before = Spool(files)
    for name in ("x", "y", "z"):
        diary.put(before, name)
        before.clock.advance(61)
    files.die()
    return FakeFiles(files.machine)


def runs() -> list[tuple[str, int, float]]:
    """Every death: with which setting, at which call, and how much of it is done."""
    found = []
    for fsync in ("interval", "always"):
        diary = Diary()
        files = stage(diary)
        live(files, diary, fsync)
        for call, kind in enumerate(files.history, 1):
            shares = (0.0, 0.4, 1.0) if kind in {"write", "pwrite"} else (0.0,)
            found += [(fsync, call, share) for share in shares]
    return found


def heirloom(files: FakeFiles) -> tuple[Spool, dict[str, bytes]]:
    """What the next process delivers of all that is there."""
    heir = Spool(FakeFiles(files.machine))
    heir.put("mine")
    entries = heir.drain()
    found = {envelope.event_id: content for envelope, content in entries}
    assert len(found) == len(entries), "an event came twice in one process"
    del found["mine"]
    return heir, found


def check(files: FakeFiles, diary: Diary) -> None:
    """Nothing is lost, altered or said, and no more comes again than the batch that was under way."""
    heir, found = heirloom(files)
    letters = {letter.envelope.event_id for letter in heir.queue.dead_letters}
    assert set(found) | letters >= diary.accepted - diary.settled
    assert set(found) <= diary.begun
    assert set(found) & diary.settled <= diary.leased
    assert all(content == item(name) for name, content in found.items())
    assert diary.letters <= letters <= diary.begun
    assert heir.lines.about("could not be read") == []
    assert heir.ledger.read().balanced
    assert heir.ledger.read().pending == 0
    heir.close()
    assert files.listing(f"{PATH}/v1") == []
    aside = files.listing(f"{PATH}/quarantine")
    assert all(len(files.read(f"{PATH}/quarantine/{name}")) < layout.HEADER_BYTES for name in aside)


def killed(then: Callable[[FakeFiles], None]) -> int:
    """Live and die, in every way. Returns in how many."""
    deaths = runs()
    for fsync, call, share in deaths:
        diary = Diary()
        files = stage(diary)
        files.die_at(call, share)
        with pytest.raises(Died):
            live(files, diary, fsync)
        then(files)
        try:
            check(files, diary)
        except AssertionError as error:
            error.add_note(f"fsync={fsync}, killed at call {call} ({files.history[-1]}), of which {share} was done")
            raise
    return len(deaths)


def test_a_kill_at_any_call_loses_nothing_that_was_accepted():
    """Wherever death comes, the next process delivers what was accepted and not settled (fault 42, G2, G4)."""
    assert killed(lambda files: None) > 200


def test_a_loss_of_power_at_any_call_loses_nothing_that_was_synced():
    """With fsync=always an accepted event survives the machine's death, too, wherever it comes (G3)."""
    count = 0
    for fsync, call, share in runs():
        if fsync != "always":
            continue
        count += 1
        diary = Diary()
        files = stage(diary)
        files.die_at(call, share)
        with pytest.raises(Died):
            live(files, diary, fsync)
        files.crash(lambda what, much: 0)
        heir, found = heirloom(files)
        found |= {letter.envelope.event_id: letter.item for letter in heir.queue.dead_letters}
        # The dead process before it had synced nothing.
        assert set(found) >= diary.accepted - diary.settled - {"x", "y", "z"}, f"killed at {call} ({files.history[-1]})"
    assert count > 100
