"""
The bytes of a segment, both ways. Pure: no file is touched here.

    0      header   magic, version, created, destination, crc
    512    ack slot 0   generation, offset, crc       the valid slot with the higher generation counts
    1024   ack slot 1
    4096   records  magic, length, crc, seq, flags, payload = u16 length of the envelope, envelope, item

A CRC covers all that follows the magic, itself left out. So a damaged record is never taken for another one, and after
damage the next magic with a valid CRC is where reading goes on.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

HEADER_BYTES = 4096
VERSION = 1
SLOTS = (512, 1024)
"""Where the ack slots are: in sectors of their own, so that a torn write spoils one at most."""
MAX_PAYLOAD = 2 + 0xFFFF + 100_000
RECORD_HEAD = 21
FIRST_BYTES = HEADER_BYTES + RECORD_HEAD + 2
"""The header, and the fixed part of the first record."""

_FILE_MAGIC = b"CIOSPOOL"
_MAGIC = b"\xc5CIO"
_HEADER = struct.Struct("<8sId16s")
_SLOT = struct.Struct("<QQ")
_CRC = struct.Struct("<I")
_LENGTH = struct.Struct("<I")
_START = struct.Struct("<4sII")
"""Magic, length, crc."""
_REST = struct.Struct("<QBH")
"""What follows the crc: seq, flags, and the first two bytes of the payload."""


class Unreadable(Exception):
    """The file is no segment, or its header is damaged."""


class Later(Exception):
    """The file was written by a later version of this package."""


class Header(NamedTuple):
    """When a segment was made (Unix seconds), whose events it holds, and up to where they are settled."""

    created: float
    destination: bytes
    acked: int
    generation: int


class Record(NamedTuple):
    """One event in a segment, from the byte `start` to the byte before `end`."""

    start: int
    end: int
    seq: int
    flags: int
    envelope: bytes
    item: bytes

    def __repr__(self) -> str:
        return f"Record({self.seq}, {self.start}-{self.end})"


class Damage(NamedTuple):
    """
    Bytes that are no record. `torn` when they look like the beginning of one that was never finished.
    """

    start: int
    end: int
    torn: bool


def header(created: float, destination: bytes) -> bytes:
    """The first 4096 bytes of a new segment, with room for the ack slots: acking needs no space on a full disk."""
    head = _HEADER.pack(_FILE_MAGIC, VERSION, created, destination)
    page = bytearray(HEADER_BYTES)
    page[: len(head)] = head
    page[len(head) : len(head) + 4] = _CRC.pack(zlib.crc32(head))
    first = slot(1, HEADER_BYTES)
    page[SLOTS[0] : SLOTS[0] + len(first)] = first
    return bytes(page)


def slot(generation: int, offset: int) -> bytes:
    """An ack slot: all before `offset` is settled."""
    packed = _SLOT.pack(generation, offset)
    return packed + _CRC.pack(zlib.crc32(packed))


def read_header(page: bytes) -> Header:
    """
    What a segment says of itself.

    Raises:
        Unreadable: it is none, or is damaged.
        Later: another version than ours wrote it.
    """
    head = page[: _HEADER.size]
    if len(page) < HEADER_BYTES or not head.startswith(_FILE_MAGIC):
        raise Unreadable
    if _CRC.unpack_from(page, _HEADER.size)[0] != zlib.crc32(head):
        raise Unreadable
    _, version, created, destination = _HEADER.unpack(head)
    if version != VERSION:
        raise Later
    generation, acked = max(_read_slot(page, at) for at in SLOTS)
    return Header(created, destination, max(acked, HEADER_BYTES), generation)


def _read_slot(page: bytes, at: int) -> tuple[int, int]:
    packed = page[at : at + _SLOT.size]
    if _CRC.unpack_from(page, at + _SLOT.size)[0] != zlib.crc32(packed):
        return 0, HEADER_BYTES
    generation, offset = _SLOT.unpack(packed)
    return generation, offset


def first(page: bytes) -> int:
    """The seq of the record that follows a header; 0 when there is none, or it is cut."""
    head = page[HEADER_BYTES:FIRST_BYTES]
    return _REST.unpack_from(head, 12)[0] if len(head) == RECORD_HEAD + 2 and head.startswith(_MAGIC) else 0


def record(seq: int, envelope: bytes, item: bytes, flags: int = 0) -> bytes:
    """One event as the bytes that are appended."""
    size = len(envelope)
    rest = _REST.pack(seq, flags, size) + envelope + item
    length = 2 + size + len(item)
    return _START.pack(_MAGIC, length, zlib.crc32(rest, zlib.crc32(_LENGTH.pack(length)))) + rest


def scan(data: bytes, base: int, *, whole: bool) -> Iterator[Record | Damage]:
    """
    The records in `data`, which begins at the byte `base` of its segment.

    Args:
        data: Bytes of a segment.
        base: Where they begin.
        whole: Nothing follows them. Else what cannot be read yet ends the scan without a word: read on from there.
    """
    at = 0
    while at < len(data):
        found = _record_at(data, at, base)
        if found is not None:
            yield found
            at = found.end - base
            continue
        if not whole:
            return
        following = _next_record(data, at + 1)
        yield Damage(base + at, base + following, torn=following == len(data) and _is_torn(data, at))
        at = following


def _record_at(data: bytes, at: int, base: int) -> Record | None:
    if data[at : at + 4] != _MAGIC or at + RECORD_HEAD + 2 > len(data):
        return None
    (length,) = _LENGTH.unpack_from(data, at + 4)
    end = at + RECORD_HEAD + length
    if not 2 <= length <= MAX_PAYLOAD or end > len(data):
        return None
    crc = zlib.crc32(data[at + 12 : end], zlib.crc32(data[at + 4 : at + 8]))
    if crc != _CRC.unpack_from(data, at + 8)[0]:
        return None
    seq, flags, size = _REST.unpack_from(data, at + 12)
    start = at + RECORD_HEAD + 2
    return Record(base + at, base + end, seq, flags, data[start : start + size], data[start + size : end])


def _next_record(data: bytes, at: int) -> int:
    while (at := data.find(_MAGIC, at)) >= 0:
        if _record_at(data, at, 0) is not None:
            return at
        at += 1
    return len(data)


def _is_torn(data: bytes, at: int) -> bool:
    """Whether what is left begins like a record that goes on past the end: a write that death cut short."""
    left = data[at:]
    if len(left) < RECORD_HEAD:
        return _MAGIC.startswith(left[:4])
    (length,) = _LENGTH.unpack_from(left, 4)
    return left.startswith(_MAGIC) and length <= MAX_PAYLOAD and RECORD_HEAD + length > len(left)
