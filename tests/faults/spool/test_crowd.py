"""Faults 58 and 61: many processes on one spool, and one process before a spool that is huge."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import msgspec

from cio_middleware._stats import DropReason, Ledger
from cio_middleware.queues.spool import format as layout
from cio_middleware.queues.spool.files import PosixFiles
from tests.faults.spool import parts

MB = 1_000_000


def test_58_a_race_of_adopters_delivers_each_event_once(lanes, folder):
    """Eight processes race for sixty orphans, whose names tell the pid of one that lives, or 1: none goes twice."""
    there = folder / "crowd"
    alive = parts.spool_queue(parts.settings(there), new_name=lambda: "999999-aaaaaaaaaaaaaaaa")
    mine = range(900, 905)
    for number in mine:
        assert alive.put(*parts.event(number)).reason is None

    raced = lanes[0].ask("race", folder=str(there))

    assert raced["codes"] == [0] * 8
    arrived = Counter(item["n"] for line in raced["sink"].splitlines() for item in json.loads(line)["batch"])
    assert arrived == Counter(range(300))
    # The lock decides: there is no process of that number, and the files of the one that lives are left alone.
    lease = alive.lease(10, 100_000)
    assert lease is not None
    assert [parts.number_of(envelope.event_id) for envelope, _ in lease.entries] == list(mine)
    assert alive.abandon(DropReason.SHUTDOWN_TIMEOUT) == 0
    assert alive.kept == 5
    left = {path.name.partition(".")[0] for path in (there / "v1").iterdir()}
    assert left == {"999999-aaaaaaaaaaaaaaaa"}


class NamesTwice(PosixFiles):
    """A directory that names each file twice, as tmpfs may while others change it."""

    @staticmethod
    def names(fd: int) -> list[str]:
        """What is there, and once more."""
        return PosixFiles.names(fd) * 2


def test_58_a_file_that_is_named_twice_is_read_once(spool_dir, eventually):
    """A directory that changes while it is read may name a file twice: its events are delivered once all the same."""
    dead = parts.spool_queue(parts.settings(spool_dir))
    for number in range(10):
        dead.put(*parts.event(number))
    dead.abandon(DropReason.SHUTDOWN_TIMEOUT)
    ledger, sink = Ledger(), parts.MemorySink()
    queue = parts.spool_queue(parts.settings(spool_dir), files=NamesTwice(), ledger=ledger)
    backend = parts.backend_of(queue, sink, ledger=ledger)
    backend.wake()
    eventually(lambda: ledger.read().delivered >= 10)
    backend.close(5)
    assert sink.numbers == list(range(10))


class Overtaken(PosixFiles):
    """Between opening an orphan's lock and locking it, two others are quicker: one retires it, one adopts it."""

    def __init__(self, lock: Path) -> None:
        self._lock = lock
        self._theirs: list[int] = []

    def lock(self, fd: int) -> bool:  # type: ignore[override]  # a static method there
        """Lock, after they did."""
        if not self._theirs and os.fstat(fd).st_ino == self._lock.stat().st_ino:
            self._lock.unlink()
            self._theirs.append(os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600))
            assert PosixFiles.lock(self._theirs[0])
        return PosixFiles.lock(fd)

    def let_go(self) -> None:
        """The one who adopted it dies."""
        os.close(self._theirs[0])


def test_58_the_lock_of_a_file_that_is_gone_is_none(spool_dir, clock, eventually):
    """A lock on a file whose name is another one's by now adopts nothing; the orphan is taken when that one is dead."""
    dead = parts.spool_queue(parts.settings(spool_dir))
    dead.put(*parts.event(0))
    dead.abandon(DropReason.SHUTDOWN_TIMEOUT)
    (orphan,) = (spool_dir / "v1").glob("*.seg")
    files = Overtaken(orphan.with_name(f"{orphan.name.partition('.')[0]}.lock"))
    ledger, sink = Ledger(), parts.MemorySink()
    queue = parts.spool_queue(parts.settings(spool_dir), files=files, ledger=ledger, clock=clock)
    backend = parts.backend_of(queue, sink, ledger=ledger, clock=clock)
    backend.emit(*parts.event(1))
    # A step of the clock before somebody begins to wait is lost on them: it goes on until they have seen enough.
    eventually(lambda: clock.advance(0.1) or sink.numbers == [1])
    assert orphan.exists()

    files.let_go()
    eventually(lambda: clock.advance(0.1) or sink.numbers == [1, 0])
    backend.close(5)


def segment_of(size: int) -> tuple[bytes, int]:
    """A segment that is full of events, and how many."""
    envelope, _ = parts.event(1)
    head = msgspec.json.encode(envelope)
    item = b'{"id":"%b","n":1,"text":"%b"}' % (envelope.event_id.encode(), b"x" * 560)
    count = size // len(layout.record(0, head, item))
    records = b"".join(layout.record(number, head, item) for number in range(count))
    return layout.header(envelope.captured_at, b"d" * 16) + records, count


def test_61_a_huge_spool_is_begun_at_once_and_in_little_memory(lanes, folder):
    """Of 300 MB of orphans, half is drained in 25 MB of memory; the benchmarks say how soon the first batch leaves."""
    there = folder / "huge"
    before = parts.spool_queue(parts.settings(there))
    before.put(*parts.event(0))
    before.abandon(DropReason.SHUTDOWN_TIMEOUT)
    segment, count = segment_of(4 * MB)
    for orphan in range(5):
        for number in range(15):
            path = there / "v1" / f"{orphan + 1}-{0:016x}.{number:08}.seg"
            path.write_bytes(segment)

    begun = lanes[0].ask("backlog", folder=str(there), enough=count * 36)

    assert begun["code"] == -9
    assert begun["grown"] < 25 * MB
    shutil.rmtree(there)
