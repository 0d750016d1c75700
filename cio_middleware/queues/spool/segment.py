"""
One segment file: appended to by its owner, read and acked by whoever drains it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Iterator

from . import format as layout
from .files import Files

_PAGE = 4096


class NotKept(OSError):
    """
    A sync failed, so what was written may be gone. Also when it says that the disk is full: a write would have said so.
    """


class Segment:
    """
    A segment, and its file while it is needed.

    `size` is up to where its records are whole; a reader looks no further. `acked` is up to where they are settled, and
    `cursor` up to where its drain has read. In a segment of this process's own, `count` records were appended, of which
    `seen` were read or found missing. `sealed` when nothing will be appended any more, `broken` when nothing can be:
    bytes that do not count could not be cut off. `first` is the seq that another process's begins with.
    """

    def __init__(
        self, files: Files, at: int, fd: int, name: str, size: int, header: layout.Header, *, sealed: bool
    ) -> None:
        self._files = files
        self._at = at
        self._fd = fd
        # Who reads, acks or syncs must not have the file closed under it, and its number be another file's by then.
        # Not held for an append: only whoever appends closes what is appended to.
        self._using = threading.RLock()
        self._generation = header.generation
        self._removed = False
        self.name = name
        self.size = size
        self.synced = 0
        self._not_kept = False
        self.broken = False
        self.created = header.created
        self.destination = header.destination
        self.acked = self.cursor = min(header.acked, size)
        self.sealed = sealed
        self.count = self.seen = 0
        self.first = 0

    @classmethod
    def create(cls, files: Files, at: int, name: str, *, created: float, destination: bytes) -> Segment:
        """
        A new one, in the directory `at`.

        Raises:
            OSError: it could not be made; nothing is left of it.
        """
        fd = files.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, at=at)
        try:
            page = layout.header(created, destination)
            write_all(files, fd, page)
        except BaseException:
            files.close(fd)
            files.unlink(name, at=at)
            raise
        return cls(files, at, fd, name, len(page), layout.read_header(page), sealed=False)

    @classmethod
    def open(cls, files: Files, at: int, name: str) -> Segment:
        """
        Somebody else's, to be drained.

        Raises:
            OSError: it cannot be opened, or is no plain file of its own.
            Unreadable: it is no segment.
            Later: a later version of this package wrote it.
        """
        fd = files.open(name, os.O_RDWR | os.O_NONBLOCK, at=at)
        try:
            found = files.stat(fd)
            page = files.pread(fd, layout.FIRST_BYTES, 0) if is_plain(found) else b""
        finally:
            files.close(fd)
        segment = cls(files, at, -1, name, found.st_size, layout.read_header(page), sealed=True)
        segment.first = layout.first(page)
        return segment

    def append(self, record: bytes) -> None:
        """
        Append one record, in one write.

        Raises:
            OSError: it did not fit, and nothing of it is left.
        """
        try:
            if self._files.write(self._fd, record) != len(record):
                raise OSError(errno.ENOSPC, "short write")  # noqa: TRY301 - a call more, for each event
            self.size += len(record)
            self.count += 1
        except BaseException:
            # Also an exception of a signal handler, which may come when the bytes are written and not yet counted.
            self.broken = True
            self._files.truncate(self._fd, self.size)
            self.broken = False
            raise

    def read(self, start: int, size: int) -> bytes:
        """
        Up to so many bytes of its whole records, from `start`. There are zeros where the disk cannot read a page.

        Raises:
            OSError: the file cannot be read now, or is gone.
        """
        wanted = min(size, self.size - start)
        if wanted <= 0:
            return b""
        with self._using:
            fd = self._opened()
            try:
                return self._files.pread(fd, wanted, start)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
            self._files.pread(fd, layout.HEADER_BYTES, 0)  # fails as well when it is the whole disk: it may come back
            return self._read_pages(fd, start, start + wanted)

    def _read_pages(self, fd: int, start: int, end: int) -> bytes:
        data = b""
        while (at := start + len(data)) < end:
            size = min(end, (at // _PAGE + 1) * _PAGE) - at
            try:
                page = self._files.pread(fd, size, at)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                page = b""
            data += page.ljust(size, b"\0")
        return data

    def ack(self, offset: int) -> None:
        """
        Note that all before `offset` is settled.

        In place, so a full disk does not prevent it; not synced, since losing it costs repeats only.
        """
        self.acked = offset
        self._generation += 1
        at = layout.SLOTS[self._generation % 2]
        with self._using:
            self._files.pwrite(self._opened(), layout.slot(self._generation, offset), at)

    def sync(self, patience: float = -1) -> None:
        """
        Have all that was appended so far survive a loss of power.

        Raises:
            NotKept: it may not, now or since an earlier time: the disk says that only once.
            TimeoutError: another thread has used the file for longer than that.
        """
        with held(self._using, patience):
            size = self.size
            if self.synced >= size or self._removed:
                return
            if self._not_kept:
                raise NotKept(errno.EIO, "not synced")
            fd = self._opened()
            try:
                self._files.sync(fd)
            except OSError as error:
                self._not_kept = True
                raise NotKept(error.errno, "not synced") from None
            self.synced = size

    @property
    def is_read(self) -> bool:
        """Whether its drain has read all of it."""
        return self.cursor >= self.size

    @property
    def is_done(self) -> bool:
        """Whether every record of it is settled, and no other will come."""
        return self.sealed and self.acked >= self.size

    @property
    def is_there(self) -> bool:
        """Whether its name is still there, or nobody but us has removed it: somebody may have cleaned up."""
        with self._using:
            return self._removed or self._files.stat(self._opened()).st_nlink > 0

    def close(self) -> None:
        """Close the file, which is opened again when it is needed; what is not acked stays."""
        with self._using:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                self._files.close(fd)

    def after_fork(self) -> None:
        """Close the child's copy of the file."""
        self._using = threading.RLock()
        self.close()

    def remove(self) -> None:
        """
        Close the file and remove it.

        Raises:
            OSError: it cannot be removed.
        """
        with self._using:
            # First: whoever goes to sync it right now must find neither a closed file nor none.
            self._removed = True
            self.close()
            self._files.unlink(self.name, at=self._at)

    def _opened(self) -> int:
        if self._fd < 0:
            self._fd = self._files.open(self.name, os.O_RDWR | os.O_NONBLOCK, at=self._at)
        return self._fd


@contextlib.contextmanager
def held(lock: threading.RLock, patience: float) -> Iterator[None]:
    """Hold a lock; raises `TimeoutError` when it cannot be had for so many seconds."""
    if not lock.acquire(timeout=patience):
        raise TimeoutError(errno.ETIMEDOUT, "another thread uses it")
    try:
        yield
    finally:
        lock.release()


def is_plain(found: os.stat_result) -> bool:
    """Whether a file is a regular one, with one name, and the process's own: no link, pipe or stranger's plant."""
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid == os.geteuid()


def write_all(files: Files, fd: int, data: bytes) -> None:
    """Write in one go. Raises OSError when that cannot be done, also in part."""
    if files.write(fd, data) != len(data):
        raise OSError(errno.ENOSPC, "short write")
