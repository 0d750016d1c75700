"""
A file of records that all processes of a spool append to, each under the lock of its directory.

For what is rare: an append may take a lock and a sync, and a reader may walk the file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator

from ..._ids import Clock
from . import format as layout
from .files import Files
from .house import House
from .segment import held, is_plain, write_all

_CHUNK = 1024 * 1024
_PATIENCE_SECONDS = 2.0
_RETRY_SECONDS = 0.01


class Shelf:
    """The file `name` in the directory `at` of a house. Every method may raise `OSError`."""

    def __init__(self, files: Files, clock: Clock, house: House, at: int, name: str) -> None:
        self._files = files
        self._clock = clock
        self._house = house
        self._at = at
        self._name = name
        self._here = threading.RLock()

    def append(self, record: bytes) -> None:
        """Keep a record, on the disk when this returns."""
        with self._locked():
            fd = self._files.open(self._name, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, at=self._at)
            try:
                found = self._files.stat(fd)
                if not is_plain(found):
                    raise PermissionError(errno.EPERM, "not ours")
                size = found.st_size
                self._files.truncate(fd, size)
                try:
                    write_all(self._files, fd, record)
                    self._files.sync(fd)
                except OSError:
                    self._files.truncate(fd, size)
                    raise
                if not size:
                    self._house.sync_names(self._at)
            finally:
                self._files.close(fd)

    def records(self) -> Iterator[tuple[layout.Record, bytes]]:
        """
        All that can be read, each with its bytes.

        Without the lock: what is appended meanwhile may be missed, and a removal puts another file in its place.
        """
        try:
            fd = self._files.open(self._name, os.O_RDONLY | os.O_NONBLOCK, at=self._at)
        except FileNotFoundError:
            return
        try:
            found = self._files.stat(fd)
            cursor, size = 0, found.st_size if is_plain(found) else 0
            while cursor < size:
                data, start = self._files.pread(fd, _CHUNK, cursor), cursor
                for record in layout.scan(data, cursor, whole=cursor + len(data) >= size):
                    cursor = record.end
                    if isinstance(record, layout.Record):
                        yield record, data[record.start - start : record.end - start]
                if cursor == start:
                    # Damage before the end: step over it.
                    damage = next(iter(layout.scan(data, cursor, whole=True)), None)
                    cursor = damage.end if damage is not None else size
        finally:
            self._files.close(fd)

    def remove(self, is_meant: Callable[[layout.Record], bool]) -> int:
        """Forget records. Returns how many; after an error all are still there."""
        with self._locked():
            # Twice through the file, a piece at a time: it may be larger than what fits the memory.
            meant = Counter(is_meant(record) for record, _ in self.records())
            if meant[True] and not meant[False]:
                self._files.unlink(self._name, at=self._at)  # this much can be done on a full disk
            elif meant[True]:
                self._rewrite(is_meant)
            return meant[True]

    def _rewrite(self, is_gone: Callable[[layout.Record], bool]) -> None:
        fresh = f"{self._name}.new"
        with contextlib.suppress(FileNotFoundError):
            self._files.unlink(fresh, at=self._at)
        fd = self._files.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, at=self._at)
        try:
            self._copy(fd, is_gone)
        except BaseException:
            with contextlib.suppress(OSError):
                self._files.unlink(fresh, at=self._at)
            raise
        finally:
            self._files.close(fd)
        self._files.rename(fresh, self._name, at=self._at, to_at=self._at)
        self._house.sync_names(self._at)

    def _copy(self, fd: int, is_gone: Callable[[layout.Record], bool]) -> None:
        """Write what stays, and sync it."""
        pending = bytearray()
        for record, data in self.records():
            if not is_gone(record):
                pending += data
            if len(pending) >= _CHUNK:
                write_all(self._files, fd, bytes(pending))
                pending.clear()
        if pending:
            write_all(self._files, fd, bytes(pending))
        self._files.sync(fd)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the directory; raises `TimeoutError` when somebody else does not let go of it."""
        until = self._clock.monotonic() + _PATIENCE_SECONDS
        # Nor is another thread waited for without end: a signal handler in its middle may want what this one has.
        with held(self._here, _PATIENCE_SECONDS):
            fd = self._files.open(".", os.O_RDONLY | os.O_DIRECTORY, at=self._at)
            try:
                while not self._files.lock(fd):
                    if self._clock.monotonic() >= until:
                        raise TimeoutError(errno.ETIMEDOUT, "another process does not let go of the lock")
                    self._clock.sleep(_RETRY_SECONDS)
                try:
                    yield
                finally:
                    self._files.unlock(fd)  # closing it is not enough: a child may have been forked meanwhile
            finally:
                self._files.close(fd)
