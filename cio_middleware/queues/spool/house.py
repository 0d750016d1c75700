"""
The spool's directory, and who owns which files in it.

    v1/<owner>.lock           its flock is held for as long as the owner lives
    v1/<owner>.<number>.seg   the owner's events
    dead/letters.seg          events that Customer.io refused
    quarantine/               bytes that could not be read
    purged.seg                digests of those of whom nothing is sent any more

A lock decides who may touch an owner's files, never a process id: ids are used again, and in a container all are 1.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ...exceptions import ConfigurationError
from .files import Files, is_network
from .segment import is_plain, write_all

_SEGMENT = re.compile(r"([0-9]+-[0-9a-f]{16})\.([0-9]{8})\.seg")
_CLAIMS = 10
"""How many adopters may be quicker than an owner at its own lock."""
_LOCK = re.compile(r"([0-9]+-[0-9a-f]{16})\.lock")


class Use(NamedTuple):
    """Bytes of a spool: its segments, the dead letters, and what could not be read."""

    live: int = 0
    dead: int = 0
    quarantine: int = 0


class House:
    """The open directory."""

    def __init__(self, files: Files, path: str) -> None:
        self._files = files
        self._path = path
        self._open: list[int] = []
        self._is_rooted = False
        try:
            self.root, self.live, self.dead, self.quarantine = (
                self._directory(part) for part in (path, f"{path}/v1", f"{path}/dead", f"{path}/quarantine")
            )
        except BaseException:
            self.close()
            raise

    def _directory(self, path: str) -> int:
        self._files.make_directory(path)
        fd = self._files.open(path, os.O_RDONLY | os.O_DIRECTORY)
        self._open.append(fd)
        if wrong(self._files.stat(fd)) is not None:
            raise PermissionError(errno.EPERM, "not this user's alone")
        return fd

    def close(self) -> None:
        """Close the directories."""
        # First: who is late, as a write that a signal handler interrupts to close, must not find another file's number.
        self.root = self.live = self.dead = self.quarantine = -1
        while self._open:
            self._files.close(self._open.pop())

    @property
    def is_there(self) -> bool:
        """Whether its path still leads to it; True when that cannot be told."""
        try:
            there, ours = self._files.stat_at(f"{self._path}/v1"), self._files.stat(self.live)
        except OSError as error:
            return error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
        return (there.st_ino, there.st_dev) == (ours.st_ino, ours.st_dev)

    def claim(self, new_name: Callable[[], str]) -> Owner:
        """
        Become an owner.

        Raises:
            OSError: the lock could not be made.
        """
        names: list[str] = []
        while len(names) < _CLAIMS:
            name = new_name()
            names.append(name)
            fd = self._files.open(f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_EXCL, at=self.live)
            try:
                # An adopter may have been quicker, and may have taken the name away with the lock.
                if self._locks(fd, f"{name}.lock"):
                    return Owner(self._files, self, name, fd)
            except OSError:
                with contextlib.suppress(OSError):
                    self._files.unlink(f"{name}.lock", at=self.live)
                raise
        # No adopter is that quick: this file system does not know a file again by its name.
        for name in names:
            with contextlib.suppress(OSError):
                self._files.unlink(f"{name}.lock", at=self.live)
        raise OSError(errno.ENOLCK, "no lock can be had")

    def orphans(self, but: set[str]) -> Iterator[Owner]:
        """
        Owners that are dead, each locked for the caller, without those in `but`.

        The directory is listed once: thousands of dead owners would take hours else.
        """
        # Sets, since a directory that changes while it is read may name a file twice: seen on tmpfs.
        found: dict[str, set[str]] = defaultdict(set)
        for name in self._files.names(self.live):
            if match := _SEGMENT.fullmatch(name):
                found[match[1]].add(name)
            elif match := _LOCK.fullmatch(name):
                found[match[1]].update()
        for name in sorted(found.keys() - but):
            try:
                fd = self._files.open(f"{name}.lock", os.O_RDWR | os.O_CREAT, at=self.live)
            except OSError:
                continue  # a link, or gone
            # Between the two looks somebody may have drained it and removed the lock that we now hold.
            if self._locks(fd, f"{name}.lock"):
                yield Owner(self._files, self, name, fd, sorted(found[name]))

    def used(self) -> Use:
        """Bytes in all files of the spool."""
        return Use(*(self._bytes_in(at) for at in (self.live, self.dead, self.quarantine)))

    def _bytes_in(self, at: int) -> int:
        total = 0
        for name in {*self._files.names(at)}:
            with contextlib.suppress(FileNotFoundError):
                total += self._files.stat_at(name, at=at).st_size
        return total

    def free(self) -> int:
        """Bytes that may still be written to the disk."""
        return self._files.free(self.root)

    def sync_names(self, directory: int) -> None:
        """Have the names in a directory survive a loss of power; once, those of the directories themselves as well."""
        self._files.sync_directory(directory)
        if self._is_rooted:
            return
        self._files.sync_directory(self.root)
        with contextlib.suppress(OSError):  # it may be somebody else's, and not be looked into
            parent = self._files.open("..", os.O_RDONLY | os.O_DIRECTORY, at=self.root)
            try:
                self._files.sync_directory(parent)
            finally:
                self._files.close(parent)
        self._is_rooted = True

    def keep_aside(self, name: str, data: bytes) -> None:
        """Keep bytes that could not be read for whoever wants to look at them; a full disk loses them."""
        with contextlib.suppress(OSError):
            with contextlib.suppress(FileNotFoundError):
                self._files.stat_at(name, at=self.quarantine)
                return
            # A kill in between must not leave a half of it under its name: whoever finds the damage again would take
            # that for the whole.
            fresh = f"{name}.new"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            try:
                fd = self._files.open(fresh, flags, at=self.quarantine)
            except FileExistsError:  # of somebody who was killed here
                self._files.unlink(fresh, at=self.quarantine)
                fd = self._files.open(fresh, flags, at=self.quarantine)
            try:
                write_all(self._files, fd, data)
                self._files.rename(fresh, name, at=self.quarantine, to_at=self.quarantine)
            except OSError:
                with contextlib.suppress(OSError):
                    self._files.unlink(fresh, at=self.quarantine)
            finally:
                self._files.close(fd)

    def set_aside(self, name: str) -> bool:
        """
        Move a file that is no segment out of the way; where that cannot be done, it stays.

        One without a byte is what death leaves of a segment that was just begun: it is removed. Returns whether not.
        """
        with contextlib.suppress(OSError):
            if not self._files.stat_at(name, at=self.live).st_size:
                with contextlib.suppress(OSError):
                    self._files.unlink(name, at=self.live)
                return False
            self._files.rename(name, name, at=self.live, to_at=self.quarantine)
        return True

    def _locks(self, fd: int, name: str) -> bool:
        """Whether the lock is had, and is still the one of this name; else the file is closed."""
        held = False
        try:
            held = self._files.lock(fd) and self._is(fd, name)
        finally:
            if not held:
                self._files.close(fd)
        return held

    def _is(self, fd: int, name: str) -> bool:
        """Whether the open file still has the name, and is a plain one."""
        try:
            there, ours = self._files.stat_at(name, at=self.live), self._files.stat(fd)
        except FileNotFoundError:
            return False
        return is_plain(ours) and (there.st_ino, there.st_dev) == (ours.st_ino, ours.st_dev)


class Owner:
    """
    A name under which segments are kept, and the lock on it.

    Of an orphan `segments` are those that it had when it was found, oldest first. Others that it made before it died
    are found without a lock the next time.
    """

    def __init__(self, files: Files, house: House, name: str, lock: int, segments: Sequence[str] = ()) -> None:
        self._files = files
        self._house = house
        self.name = name
        self.segments = segments
        self._lock = lock

    @property
    def is_known(self) -> bool:
        """Whether others can see that it lives: somebody may have removed the lock."""
        return self._files.stat(self._lock).st_nlink > 0

    def release(self) -> None:
        """Let others have what is left, also when a child was forked that has a copy of the lock's file."""
        if self._lock >= 0:
            with contextlib.suppress(OSError):
                self._files.unlock(self._lock)
        self.after_fork()

    def after_fork(self) -> None:
        """Close the file; in a child the lock stays its parent's."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            self._files.close(lock)

    def retire(self) -> None:
        """Nothing is left: remove the lock, while it is held, so that two can never hold locks of one name."""
        with contextlib.suppress(OSError):
            self._files.unlink(f"{self.name}.lock", at=self._house.live)
        self.release()

    @property
    def is_bare(self) -> bool:
        """Whether none of its segments is left; False when that cannot be told."""
        for name in self.segments:
            try:
                self._files.stat_at(name, at=self._house.live)
            except FileNotFoundError:
                continue
            except OSError:
                pass
            return False
        return True

    def segment(self, number: int) -> str:
        """The name of its segment of this number."""
        return f"{self.name}.{number:08}.seg"


def check_path(files: Files, path: str) -> None:
    """
    Whether the spool may be there. What does not exist yet is fine, and so is what cannot be looked at now.

    Raises:
        ConfigurationError: others could read or plant events there, or it is on a network.
    """
    try:
        found = files.stat_at(path)
    except OSError as error:
        if error.errno in {errno.ENOTDIR, errno.ELOOP}:
            message = f"spool_dir {path!r} leads through something that is no directory. Type another path."
            raise ConfigurationError(message) from None
        found = None
    problem = None if found is None else wrong(found)
    if problem is not None:
        message = f"spool_dir {path!r} {problem}"
        raise ConfigurationError(message)
    kind = files.kind(path)
    if is_network(kind):
        message = (
            f"spool_dir {path!r} is on a network ({kind}), where a lock and a sync promise less than they say. "
            "Type a path on a local disk."
        )
        raise ConfigurationError(message)


def wrong(found: os.stat_result) -> str | None:
    """Why a spool must not be there; None when it may."""
    if stat.S_ISLNK(found.st_mode):
        return "is a symbolic link, which somebody else may turn. Type the path that it points to."
    if not stat.S_ISDIR(found.st_mode):
        return "is no directory. Type the path of one, or of none yet."
    if found.st_uid != os.geteuid():
        return "belongs to another user, who could read and forge events. Type a path of your own."
    if found.st_mode & 0o022:
        return "may be written to by others, who could forge events. Type: chmod 700 on it."
    return None
