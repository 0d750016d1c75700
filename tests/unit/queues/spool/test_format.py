"""The bytes of a segment: what is written can be read, and whatever else is found is told from it."""

from __future__ import annotations

import base64
import struct
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cio_middleware._events import Envelope
from cio_middleware.queues.spool import format as layout
from tests.unit.queues.spool.spooling import HERE

EVENTS = [(0, b'{"v":1,"event_id":"a"}', b'{"n":1}'), (1, b'{"v":1,"event_id":"b"}', b'{"n":2}'), (2**64 - 1, b"", b"")]
GOLDEN = {
    0: "Q0lPU1BPT0wBAAAAAABAQB0K2kF3b3Jrc3BhY2UgbnVtYmVy8kudjQ==",
    512: "AQAAAAAAAAAAEAAAAAAAAApGDSU=",
    1024: "AwAAAAAAAAA0EAAAAAAAAO4+KqM=",
    4096: (
        "xUNJTx8AAAAbHzW3AAAAAAAAAAAAFgB7InYiOjEsImV2ZW50X2lkIjoiYSJ9eyJuIjoxfcVDSU8fAAAAnGVr2AEAAAAAAAAAABYA"
        "eyJ2IjoxLCJldmVudF9pZCI6ImIifXsibiI6Mn3FQ0lPAgAAAOTcvon//////////wAAAA=="
    ),
}
"""A segment of version 1, all zeros left out, by the offset of each part."""


def written() -> bytes:
    """The segment of the golden file, as we write it today."""
    page = bytearray(layout.header(1_747_481_857.0, HERE))
    page[1024:1044] = layout.slot(3, 4096 + 52)
    return bytes(page) + b"".join(layout.record(*event) for event in EVENTS)


def golden() -> bytes:
    """The segment of the golden file, as it was written when the format was fixed."""
    data = bytearray(4096)
    for offset, part in GOLDEN.items():
        raw = base64.b64decode(part)
        data[offset : offset + len(raw)] = raw
    return bytes(data)


def scanned(data: bytes, *, whole: bool = True) -> list[layout.Record | layout.Damage]:
    """All that is found in records that begin where a segment's do."""
    return list(layout.scan(data, layout.HEADER_BYTES, whole=whole))


def contents(found: list[layout.Record | layout.Damage]) -> list[tuple[int, bytes, bytes]]:
    """The records among them."""
    return [(each.seq, each.envelope, each.item) for each in found if isinstance(each, layout.Record)]


records = st.lists(st.tuples(st.integers(0, 2**64 - 1), st.binary(max_size=60), st.binary(max_size=60)), max_size=6)


def test_62_a_segment_has_the_bytes_that_it_always_had():
    """What we write is byte for byte what version 1 is: a process of an earlier release can read it."""
    assert written() == golden()


def test_62_a_segment_of_an_earlier_release_can_be_read():
    """Header, acks and records of the stored file say what was put into them."""
    data = golden()
    assert layout.read_header(data[: layout.FIRST_BYTES]) == layout.Header(1_747_481_857.0, HERE, 4096 + 52, 3)
    assert contents(scanned(data[4096:])) == EVENTS
    assert layout.first(data[: layout.FIRST_BYTES]) == 0


def test_a_header_of_a_later_version_is_told_from_damage():
    """What a later release wrote is `Later`, so that it is left alone; with a wrong CRC it is `Unreadable`."""
    page = bytearray(layout.header(0.0, HERE))
    page[8:12] = struct.pack("<I", layout.VERSION + 1)
    with pytest.raises(layout.Unreadable):
        layout.read_header(bytes(page))
    page[36:40] = struct.pack("<I", zlib.crc32(page[:36]))
    with pytest.raises(layout.Later):
        layout.read_header(bytes(page))


@pytest.mark.parametrize("size", [0, 7, 40, layout.HEADER_BYTES - 1])
def test_a_cut_header_is_unreadable(size):
    """A file that ends within its header is no segment."""
    with pytest.raises(layout.Unreadable):
        layout.read_header(layout.header(0.0, HERE)[:size])


def test_every_bit_of_the_header_is_covered():
    """Whichever bit of what a header says is flipped, it is not believed."""
    page = layout.header(1_747_481_857.0, HERE)
    for bit in range(40 * 8):
        with pytest.raises(layout.Unreadable):
            layout.read_header(flipped(page, bit))


@given(records)
def test_what_is_written_is_read(events):
    """Records come back in their order, with all that was in them, and nothing else does."""
    data = b"".join(layout.record(*event) for event in events)
    found = scanned(data)
    assert contents(found) == events
    assert len(found) == len(events)
    ends = [layout.HEADER_BYTES, *(each.end for each in found)]
    assert [each.start for each in found] == ends[:-1]
    assert ends[-1] == layout.HEADER_BYTES + len(data)


def test_flags_are_kept():
    """A record's flags come back; none are in use so far."""
    (found,) = scanned(layout.record(7, b"{}", b"{}", flags=0x81))
    assert isinstance(found, layout.Record)
    assert (found.seq, found.flags) == (7, 0x81)


def flipped(data: bytes, bit: int) -> bytes:
    """The same bytes, but for one bit."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_every_bit_of_a_record_is_covered():
    """
    Whichever bit of a record is flipped (magic, length, crc, seq, flags, envelope, item), it is not read.

    The records around it are.
    """
    before, after = (1, b"{1}", b"[1]"), (3, b"{3}", b"[3]")
    record = layout.record(0x0102030405060708, b'{"v":1}', b'{"n":1}', flags=1)
    start = layout.HEADER_BYTES + len(layout.record(*before))
    for bit in range(len(record) * 8):
        found = scanned(layout.record(*before) + flipped(record, bit) + layout.record(*after))
        assert contents(found) == [before, after], f"bit {bit}"
        assert found[1] == layout.Damage(start, start + len(record), torn=False)


@given(before=records, damage=st.binary(min_size=1, max_size=80), after=records)
def test_reading_goes_on_after_damage(before, damage, after):
    """Whatever stands between two records, those before and after it are read, and the damage covers no more."""
    parts = [b"".join(layout.record(*event) for event in events) for events in (before, after)]
    found = scanned(parts[0] + damage + parts[1])
    assert [event for event in contents(found) if event not in before + after] == []
    assert contents(found)[: len(before)] == before
    # A whole record in front of the end: the damage cannot be the beginning of one that swallows it.
    assert contents(found)[len(contents(found)) - len(after) :] == after
    missing = [each for each in found if isinstance(each, layout.Damage)]
    assert sum(each.end - each.start for each in missing) <= len(damage)


def test_a_magic_within_an_item_is_no_record():
    """After damage, an item that looks like the beginning of a record is stepped over."""
    inner = layout.record(9, b"{}", b"[9]")[:-1]
    data = flipped(layout.record(1, b"{}", inner), 9) + layout.record(2, b"{}", b"[2]")
    assert contents(scanned(data)) == [(2, b"{}", b"[2]")]


@given(st.data())
def test_a_torn_tail_is_told_from_damage(data):
    """A record that was cut short by death is torn; the same with other bytes than a record's beginning is damage."""
    whole = layout.record(1, b'{"v":1}', b'{"n":1}')
    torn = layout.record(2, b'{"v":1}', b'{"n":2}' * 9)
    cut = data.draw(st.integers(1, len(torn) - 1))
    start = layout.HEADER_BYTES + len(whole)
    assert scanned(whole + torn[:cut])[1:] == [layout.Damage(start, start + cut, torn=True)]
    assert scanned(whole + bytes(cut))[1:] == [layout.Damage(start, start + cut, torn=False)]
    # What follows it tells that it was not the last thing written.
    assert scanned(torn[:cut] + whole)[0] == layout.Damage(layout.HEADER_BYTES, layout.HEADER_BYTES + cut, torn=False)


@given(events=records, data=st.data())
def test_a_part_of_the_records_is_read_up_to_where_it_ends(events, data):
    """While more may follow, what is cut ends the reading without a word: reading on from there finds the rest."""
    everything = b"".join(layout.record(*event) for event in events)
    cut = data.draw(st.integers(0, len(everything)))
    found = scanned(everything[:cut], whole=False)
    assert contents(found) == events[: len(found)]
    end = found[-1].end if found else layout.HEADER_BYTES
    rest = list(layout.scan(everything[end - layout.HEADER_BYTES :], end, whole=True))
    assert contents(found + rest) == events


@given(st.binary(max_size=200))
def test_no_bytes_are_an_error(data):
    """Whatever stands in a file, scanning it ends, and covers every byte once."""
    found = scanned(data)
    ends = [layout.HEADER_BYTES, *(each.end for each in found)]
    assert [each.start for each in found] == ends[:-1]
    assert ends[-1] == layout.HEADER_BYTES + len(data)


def page_with(*slots: bytes) -> bytes:
    """A header whose ack slots hold these bytes."""
    page = bytearray(layout.header(0.0, HERE))
    for at, slot in zip(layout.SLOTS, slots, strict=True):
        page[at : at + len(slot)] = slot
    return bytes(page)


@pytest.mark.parametrize(
    ("first", "second", "acked", "generation"),
    [
        (layout.slot(4, 6000), layout.slot(5, 7000), 7000, 5),
        (layout.slot(6, 6000), layout.slot(5, 7000), 6000, 6),
        (layout.slot(2**32, 6000), layout.slot(2**32 - 1, 7000), 6000, 2**32),
        (layout.slot(1, 10), bytes(20), layout.HEADER_BYTES, 1),
        (bytes(20), bytes(20), layout.HEADER_BYTES, 0),
    ],
    ids=["second", "first", "64 bits", "before the records", "none"],
)
def test_the_later_ack_counts(first, second, acked, generation):
    """The valid slot with the higher generation says what is settled; nothing is, where there is none."""
    found = layout.read_header(page_with(first, second))
    assert (found.acked, found.generation) == (acked, generation)


def test_a_torn_ack_falls_back_to_the_one_before():
    """A slot that was half written, or damaged in any bit, leaves what the other one says."""
    old, new = layout.slot(4, 6000), layout.slot(5, 7000)
    for size in range(1, len(new)):
        torn = new[:size] + layout.slot(3, 5000)[size:]
        if torn != new:
            assert layout.read_header(page_with(old, torn)).acked == 6000
    for bit in range(len(new) * 8):
        assert layout.read_header(page_with(old, flipped(new, bit))).acked == 6000


def test_acks_take_no_room_that_is_not_there():
    """Both slots lie within the page that a new segment is written with, each in a sector of its own."""
    assert len(layout.header(0.0, HERE)) == layout.HEADER_BYTES
    sectors = {at // 512 for at in layout.SLOTS}
    assert len(sectors) == 2
    assert 0 not in sectors
    assert max(layout.SLOTS) + len(layout.slot(1, 1)) <= layout.HEADER_BYTES


def test_the_first_record_is_known_from_the_page():
    """A segment tells the seq that it begins with, and 0 when it has no record or its first one is cut or no record."""
    page = layout.header(0.0, HERE)
    assert layout.first((page + layout.record(7, b"{}", b"[]"))[: layout.FIRST_BYTES]) == 7
    assert layout.first(page) == 0
    assert layout.first(page + layout.record(7, b"{}", b"[]")[:10]) == 0
    assert layout.first(page + bytes(40)) == 0


def test_what_an_envelope_holds_belongs_to_the_version():
    """An older package reads what a newer one left: who adds to an envelope decides here whether it still can."""
    required = [field.encode_name for field in msgspec.structs.fields(Envelope) if field.required]
    optional = [field.encode_name for field in msgspec.structs.fields(Envelope) if not field.required]
    assert {layout.VERSION: (required, optional)} == {
        1: (["event_id", "kind", "route", "lane", "captured_at"], ["carrier", "nested"])
    }
    assert Envelope.__struct_config__.tag == layout.VERSION
