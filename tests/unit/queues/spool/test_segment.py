"""One segment file: whole records or none, acks in place, and a file that is open only while it is needed."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cio_middleware.queues.spool import format as layout
from cio_middleware.queues.spool.segment import NotKept, Segment
from tests.unit.queues.spool.fake_files import FakeFiles
from tests.unit.queues.spool.spooling import HERE

NAME = "1-0000000000000001.00000000.seg"


class Shelf:
    """A directory with a segment in it."""

    def __init__(self) -> None:
        self.files = FakeFiles()
        self.files.make_directory("/spool")
        self.at = self.files.open("/spool", 0)
        self.segment = Segment.create(self.files, self.at, NAME, created=5.0, destination=HERE)

    def append(self, count: int) -> list[bytes]:
        """Append records."""
        added = [layout.record(number, b"{}", b"%d" % number) for number in range(count)]
        for record in added:
            self.segment.append(record)
        return added

    def reopen(self) -> Segment:
        """The same segment as another process finds it."""
        return Segment.open(self.files, self.at, NAME)

    @property
    def bytes(self) -> bytes:
        """What is in the file."""
        return self.files.read(f"/spool/{NAME}")


@pytest.fixture(name="shelf")
def _shelf() -> Shelf:
    """A new segment."""
    return Shelf()


def test_what_is_appended_is_what_another_process_reads(shelf):
    """Appended records are the file's bytes behind the header, and the next owner reads the same."""
    records = shelf.append(3)
    there = shelf.reopen()
    assert shelf.bytes[layout.HEADER_BYTES :] == b"".join(records)
    assert there.read(layout.HEADER_BYTES, 10_000) == b"".join(records)
    assert (there.size, there.acked, there.created, there.destination) == (len(shelf.bytes), 4096, 5.0, HERE)
    assert there.sealed
    assert not shelf.segment.sealed


def test_an_append_is_one_write(shelf):
    """One call for one event: nothing else of a put takes time on the disk."""
    shelf.files.calls.clear()
    shelf.append(1)
    assert dict(shelf.files.calls) == {"write": 1}


def test_a_record_that_does_not_fit_leaves_nothing_of_itself(shelf):
    """A short write is cut off again, and what comes when there is room stands right behind the last whole record."""
    (first,) = shelf.append(1)
    shelf.files.machine.capacity = len(shelf.bytes) + 7
    with pytest.raises(OSError, match="short write") as caught:
        shelf.segment.append(layout.record(1, b"{}", b"[]"))
    assert caught.value.errno == errno.ENOSPC
    assert shelf.bytes[layout.HEADER_BYTES :] == first
    shelf.files.machine.capacity = None
    shelf.segment.append(first)
    assert shelf.bytes[layout.HEADER_BYTES :] == first + first
    assert shelf.segment.count == 2


def test_bytes_that_cannot_be_cut_off_end_the_segment(shelf):
    """When a half written record cannot be removed, the segment is broken, and its readers stop before those bytes."""
    (first,) = shelf.append(1)
    shelf.files.machine.capacity = len(shelf.bytes) + 7
    shelf.files.fail("truncate", errno.EIO)
    with pytest.raises(OSError, match="as the test says"):
        shelf.segment.append(layout.record(1, b"{}", b"[]"))
    assert shelf.segment.broken
    assert shelf.segment.read(layout.HEADER_BYTES, 10_000) == first


def test_a_segment_that_cannot_be_made_is_not_there(shelf):
    """No room for a header: no file, no fd, and the error."""
    shelf.files.machine.capacity = shelf.files.machine.used + 100
    opened = len(shelf.files.opened)
    with pytest.raises(OSError, match="short write"):
        Segment.create(shelf.files, shelf.at, "another.seg", created=0.0, destination=HERE)
    assert shelf.files.listing("/spool") == [NAME]
    assert len(shelf.files.opened) == opened


@given(st.lists(st.integers(0, 10), min_size=1, max_size=12))
def test_the_last_ack_counts_and_every_ack_leaves_the_one_before(steps):
    """After any number of acks the last one is found; were the last one torn, the one before would be."""
    shelf = Shelf()
    shelf.append(120)
    offsets = [shelf.segment.acked]
    for step in steps:
        offsets.append(offsets[-1] + step)
        shelf.segment.ack(offsets[-1])
        assert shelf.reopen().acked == offsets[-1]
    whole = shelf.files.find(f"/spool/{NAME}")
    at = max(layout.SLOTS, key=lambda at: int.from_bytes(whole.data[at : at + 8], "little"))
    whole.data[at + 19] ^= 1
    assert shelf.reopen().acked == offsets[-2]


def test_an_ack_needs_no_room_and_no_sync(shelf):
    """On a disk without a free byte an ack is one write in place."""
    shelf.append(2)
    shelf.files.machine.capacity = shelf.files.machine.used
    shelf.files.calls.clear()
    shelf.segment.ack(shelf.segment.size)
    assert dict(shelf.files.calls) == {"pwrite": 1}
    assert shelf.reopen().acked == len(shelf.bytes)


def test_an_ack_beyond_the_end_is_taken_as_the_end(shelf):
    """After a loss of power an ack may have stayed, and what it settles may not: it goes as far as the file."""
    shelf.append(1)
    shelf.segment.ack(1_000_000)
    assert shelf.reopen().acked == len(shelf.bytes)


def test_a_page_that_cannot_be_read_is_zeros(shelf):
    """A bad sector costs the records that it touches; those before and after it are read (G6)."""
    records = shelf.append(1000)
    data = b"".join(records)
    files, bad = shelf.files, 8192
    pread = files.pread

    def read(fd: int, size: int, offset: int) -> bytes:
        if offset <= bad < offset + size:
            raise OSError(errno.EIO, "bad sector")
        return bytes(pread(fd, size, offset))

    files.pread = read
    found = shelf.segment.read(4096, 100_000)
    assert found == data[:4096] + bytes(4096) + data[8192:]
    events = [each for each in layout.scan(found, 4096, whole=True) if isinstance(each, layout.Record)]
    assert len(events) >= 1000 - 4096 // len(records[0]) - 2


def test_a_disk_that_cannot_be_read_at_all_is_no_damage(shelf):
    """When the header cannot be read, either, nothing is made up: it is an error, and may pass."""
    records = shelf.append(3)
    shelf.files.fail("pread", errno.EIO)
    with pytest.raises(OSError, match="as the test says"):
        shelf.segment.read(4096, 100_000)
    shelf.files.heal()
    assert shelf.segment.read(4096, 100_000) == b"".join(records)


def test_a_sync_is_made_once_for_what_was_appended(shelf):
    """Syncing again without an append in between does nothing; with one, the disk is asked again."""
    for _ in range(2):
        shelf.append(1)
        shelf.segment.sync()
        shelf.segment.sync()
        assert shelf.files.find(f"/spool/{NAME}").durable == shelf.bytes
    assert shelf.files.calls["sync"] == 2


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_sync_that_failed_is_never_believed_again(shelf, code):
    """
    The system tells of pages that it could not write only once, so no later sync of the segment counts (fault 55).

    Also when it calls the disk full: what was written is lost, not refused.
    """
    shelf.append(1)
    shelf.segment.sync()
    before = shelf.segment.synced
    shelf.append(1)
    shelf.files.fail("sync", code, times=1)
    for _ in range(2):
        with pytest.raises(NotKept):
            shelf.segment.sync()
    assert shelf.segment.synced == before


def test_a_closed_file_is_opened_again_when_it_is_needed(shelf):
    """A segment keeps no fd while it is closed; reading, acking and syncing open it."""
    records = shelf.append(1)
    opened = len(shelf.files.opened)
    for use in (
        lambda: shelf.segment.read(4096, 100),
        lambda: shelf.segment.ack(4096),
        shelf.segment.sync,
        lambda: shelf.segment.is_there,
    ):
        shelf.segment.close()
        assert len(shelf.files.opened) == opened - 1
        use()
        assert len(shelf.files.opened) == opened
    assert shelf.segment.read(4096, 100) == records[0]


def test_a_removed_segment_needs_no_sync(shelf):
    """Who is about to sync a segment that was settled and removed meanwhile finds nothing to do, and no error."""
    shelf.append(1)
    shelf.segment.remove()
    shelf.segment.sync()
    assert shelf.files.listing("/spool") == []


def test_a_segment_knows_whether_its_name_is_still_there(shelf):
    """Somebody may clean up: `is_there` tells."""
    assert shelf.segment.is_there
    shelf.files.unlink(NAME, at=shelf.at)
    assert not shelf.segment.is_there


def test_an_exception_in_the_middle_of_a_write_leaves_nothing(shelf):
    """A signal handler's exception after the bytes were written and before they count: they are cut off again."""
    records = shelf.append(1)

    def interrupt() -> None:
        raise KeyboardInterrupt

    shelf.files.before["write"] = interrupt
    with pytest.raises(KeyboardInterrupt):
        shelf.segment.append(records[0])
    assert shelf.bytes[layout.HEADER_BYTES :] == records[0]
    assert not shelf.segment.broken
