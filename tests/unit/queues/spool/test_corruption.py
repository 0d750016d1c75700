"""
Files that were cut, flipped or zeroed, anywhere: what is delivered was put, and damage costs only what it touches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cio_middleware._stats import DropReason
from cio_middleware.queues.spool import format as layout
from tests.unit.queues.spool.fake_files import FakeFiles
from tests.unit.queues.spool.spooling import PATH, Spool, item, names

EVENTS = 14
A_SEGMENT = 5
"""Events in a segment."""


@dataclass(frozen=True, slots=True)
class Blow:
    """One thing that happens to a file. `at` and `length` are shares of it."""

    how: Literal["cut", "flip", "zero"]
    segment: int
    at: float
    length: float
    bit: int

    def to(self, data: bytes) -> bytes:
        """What is left."""
        start = min(int(self.at * len(data)), max(0, len(data) - 1))
        end = start + 1 + int(self.length * 700)
        if self.how == "cut" or not data:
            return data[:start]
        if self.how == "flip":
            return data[:start] + bytes([data[start] ^ 1 << self.bit]) + data[start + 1 :]
        return data[:start] + bytes(len(data[start:end])) + data[end:]


shares = st.floats(0, 1, exclude_max=True)
# The interesting part of a header is its first percent, and the slots are at 12 and 24 percent of so small a segment.
places = shares | st.floats(0, 0.01) | st.floats(0.1, 0.11) | st.floats(0.2, 0.22)
blows = st.lists(
    st.builds(Blow, st.sampled_from(["cut", "flip", "zero"]), st.integers(0, 2), places, shares, st.integers(0, 7)),
    min_size=1,
    max_size=5,
)


def written(files: FakeFiles, settled: int, **changes) -> Spool:
    """A spool with three segments of events, of which the first few are settled."""
    spool = Spool(files, **changes)
    for number in range(EVENTS):
        spool.put(number)
        if number % A_SEGMENT == A_SEGMENT - 1:
            spool.clock.advance(61)
    done: list[str] = []
    while len(done) < settled:
        done += spool.deliver(settled - len(done))
    assert done == [str(number) for number in range(settled)]
    return spool


def segments(files: FakeFiles) -> list[str]:
    """The paths of the segments, in order."""
    return [f"{PATH}/v1/{name}" for name in files.listing(f"{PATH}/v1") if name.endswith(".seg")]


def struck(files: FakeFiles, hits: list[Blow]) -> dict[str, tuple[bytes, bytes]]:
    """Let it happen. Returns each segment's bytes before and after."""
    paths = segments(files)
    before = {path: files.read(path) for path in paths}
    for hit in hits:
        path = paths[hit.segment % len(paths)]
        files.plant(path, hit.to(files.read(path)))
    return {path: (before[path], files.read(path)) for path in paths}


def expected(before: bytes, after: bytes) -> tuple[set[str], bool]:
    """Of one segment: the events that are whole and not marked as settled, and whether there is damage beside them."""
    try:
        header = layout.read_header(after[: layout.FIRST_BYTES])
    except layout.Unreadable:
        return set(), False
    whole = {
        name_of(each)
        for each in layout.scan(before[4096:], 4096, whole=True)
        if isinstance(each, layout.Record) and each.start >= header.acked
        if before[each.start : each.end] == after[each.start : each.end]
    }
    start = min(header.acked, len(after))
    damage = [each for each in layout.scan(after[start:], start, whole=True) if isinstance(each, layout.Damage)]
    return whole, any(not each.torn for each in damage)


def name_of(record: layout.Record) -> str:
    """Which event it is, from its item."""
    return record.item.split(b'"')[3].decode()


@given(hits=blows, settled=st.integers(0, EVENTS - 1))
@example(hits=[Blow("zero", 0, 0.0, 0.99, 0), Blow("cut", 1, 0.99, 0, 0)], settled=3)
@settings(max_examples=150)
def test_57_whatever_happens_to_the_files_of_the_dead_nothing_is_altered(hits, settled):
    """
    An heir delivers a part of what was put, byte for byte, and all of what was not touched; nothing raises (fault 57).

    Damage is in quarantine, and is said once.
    """
    files = FakeFiles()
    written(files, settled)
    files.die()
    files = FakeFiles(files.machine)
    found = struck(files, hits)
    spool = Spool(files)
    spool.put("mine")
    entries = {envelope.event_id: content for envelope, content in spool.drain()}
    assert entries.pop("mine") == item("mine")
    assert all(int(name) in range(EVENTS) and content == item(name) for name, content in entries.items())
    verdicts = [expected(*each) for each in found.values()]
    assert set(entries) >= set().union(*(whole for whole, _ in verdicts))
    is_damaged = any(damaged for _, damaged in verdicts)
    assert len(spool.lines.about("could not be read")) == is_damaged
    aside = files.listing(f"{PATH}/quarantine")
    assert any(name.endswith(".bin") for name in aside) >= is_damaged
    unreadable = {path.rpartition("/")[2] for path, (_, after) in found.items() if after and not readable(after)}
    assert {name for name in aside if name.endswith(".seg")} == unreadable
    assert len(spool.lines.about("is no segment")) == bool(unreadable)
    stats = spool.ledger.read()
    assert stats.balanced
    assert (stats.pending, stats.adopted) == (0, len(entries))
    assert spool.put("again").reason is None
    assert spool.drained() == ["again"]
    assert len(segments(files)) == 1


def readable(data: bytes) -> bool:
    """Whether a segment's header can be read."""
    try:
        layout.read_header(data[: layout.FIRST_BYTES])
    except layout.Unreadable:
        return False
    return True


@given(hits=blows, settled=st.integers(0, EVENTS - 1), leased=st.integers(0, 4))
@settings(max_examples=100)
def test_57_whatever_happens_to_the_files_of_the_living_nothing_is_altered_or_lost_count_of(hits, settled, leased):
    """A process whose own files are damaged under it delivers what is whole, and counts the rest; nothing raises."""
    files = FakeFiles()
    spool = written(files, settled, room=1, max_in_flight=2)
    lease = spool.queue.lease(leased, 475_000) if leased else None
    got = {envelope.event_id: content for envelope, content in ([] if lease is None else lease.entries)}
    struck(files, hits)
    assert spool.put("new").reason is None
    spool.tick()
    if lease is not None:
        assert spool.queue.ack(lease, range(len(lease.entries))) == len(names(lease))
    entries = {envelope.event_id: content for envelope, content in spool.drain()}
    assert not set(got) & set(entries)
    got |= entries
    assert all(content == item(name) for name, content in got.items())
    assert "new" in got
    stats = spool.ledger.read()
    assert stats.balanced
    assert stats.pending == 0
    assert stats.delivered == settled + len(got)
    assert stats.delivered + stats.dropped.get(DropReason.QUARANTINED, 0) == EVENTS + 1
    assert spool.queue.head == spool.queue.tail == EVENTS + 1
    assert spool.queue.front is None


@pytest.mark.parametrize("offset", range(0, 40, 3))
def test_a_header_of_which_a_byte_is_wrong_costs_its_segment_and_no_other(offset):
    """All of the segment is in quarantine, for whoever wants to look at it."""
    files = FakeFiles()
    written(files, 0)
    files.die()
    files = FakeFiles(files.machine)
    path = segments(files)[1]
    data = bytearray(files.read(path))
    data[offset] ^= 0x10
    files.plant(path, bytes(data))
    spool = Spool(files)
    spool.put("mine")
    assert spool.drained() == ["mine", *map(str, range(5)), *map(str, range(10, EVENTS))]
    assert files.read(f"{PATH}/quarantine/{path.rpartition('/')[2]}") == bytes(data)
