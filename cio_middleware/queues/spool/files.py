"""
What the spool needs of a file system: an object, so that tests can crash one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from pathlib import Path
from typing import Protocol

_OCTAL = re.compile(r"\\([0-7]{3})")  # how a space in the name of a mount is written
_NETWORKS = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs", "ncpfs", "lustre")


class Files(Protocol):
    """A POSIX file system. Every method raises `OSError` as the call it is named after; `at` is a directory's fd."""

    def open(self, name: str, flags: int, mode: int = 0o600, *, at: int | None = None) -> int:
        """Open without following a link; the fd is not inherited by programs that are started."""
        ...

    def close(self, fd: int, /) -> None:
        """Close."""
        ...

    def write(self, fd: int, data: bytes, /) -> int:
        """Write at the fd's own position; may take less than all."""
        ...

    def pwrite(self, fd: int, data: bytes, offset: int, /) -> int:
        """Write there."""
        ...

    def pread(self, fd: int, size: int, offset: int, /) -> bytes:
        """Read up to so many bytes from there."""
        ...

    def truncate(self, fd: int, size: int) -> None:
        """Cut the file there, and go on writing there."""
        ...

    def sync(self, fd: int, /) -> None:
        """Wait until its data would survive a loss of power."""
        ...

    def sync_directory(self, fd: int, /) -> None:
        """The same for the names in a directory."""
        ...

    def unlink(self, name: str, *, at: int) -> None:
        """Remove a name."""
        ...

    def rename(self, name: str, to: str, *, at: int, to_at: int) -> None:
        """Move a file within the spool."""
        ...

    def names(self, fd: int) -> list[str]:
        """What is in a directory."""
        ...

    def make_directory(self, path: str) -> None:
        """Make it, for its owner alone, unless it is there; its parents as well, as the process's umask has it."""
        ...

    def stat(self, fd: int, /) -> os.stat_result:
        """Of an open file."""
        ...

    def stat_at(self, name: str, *, at: int | None = None) -> os.stat_result:
        """Of a name; a link is not followed."""
        ...

    def free(self, fd: int) -> int:
        """Bytes that this user may still write to the disk."""
        ...

    def lock(self, fd: int) -> bool:
        """Take the file's lock, which its open description holds until it is closed; False when somebody has it."""
        ...

    def unlock(self, fd: int) -> None:
        """Let go of it, also where a process that was forked meanwhile has the same description open."""
        ...

    def kind(self, path: str) -> str:
        """The type of the file system, such as ext4 or nfs; empty when it cannot be told."""
        ...


class PosixFiles:
    """The machine's file system."""

    close = staticmethod(os.close)
    write = staticmethod(os.write)
    pwrite = staticmethod(os.pwrite)
    pread = staticmethod(os.pread)
    sync = staticmethod(getattr(os, "fdatasync", os.fsync))  # macOS has none
    sync_directory = staticmethod(os.fsync)
    stat = staticmethod(os.fstat)

    @staticmethod
    def open(name: str, flags: int, mode: int = 0o600, *, at: int | None = None) -> int:
        """As `Files.open`."""
        if flags & os.O_CREAT and not flags & os.O_EXCL:
            with contextlib.suppress(FileNotFoundError):
                return PosixFiles.open(name, flags & ~os.O_CREAT, at=at)
            with contextlib.suppress(FileExistsError):  # somebody else was quicker
                return PosixFiles.open(name, flags | os.O_EXCL, mode, at=at)
            return PosixFiles.open(name, flags & ~os.O_CREAT, at=at)
        fd = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=at)
        if flags & os.O_EXCL:
            # Not left to the umask. Only if it is new for sure: another one may be a planted link to somebody's file.
            os.fchmod(fd, mode)
        return fd

    @staticmethod
    def names(fd: int) -> list[str]:
        """As `Files.names`."""
        return os.listdir(fd)

    @staticmethod
    def truncate(fd: int, size: int) -> None:
        """As `Files.truncate`."""
        os.ftruncate(fd, size)
        os.lseek(fd, size, os.SEEK_SET)

    @staticmethod
    def unlink(name: str, *, at: int) -> None:
        """As `Files.unlink`."""
        os.unlink(name, dir_fd=at)

    @staticmethod
    def rename(name: str, to: str, *, at: int, to_at: int) -> None:
        """As `Files.rename`."""
        os.rename(name, to, src_dir_fd=at, dst_dir_fd=to_at)

    @staticmethod
    def make_directory(path: str) -> None:
        """As `Files.make_directory`."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        try:
            Path(path).mkdir(0o700)
        except FileExistsError:
            return
        Path(path).chmod(0o700)  # not left to the umask

    @staticmethod
    def stat_at(name: str, *, at: int | None = None) -> os.stat_result:
        """As `Files.stat_at`."""
        return os.stat(name, dir_fd=at, follow_symlinks=False)

    @staticmethod
    def free(fd: int) -> int:
        """As `Files.free`."""
        found = os.fstatvfs(fd)
        return found.f_bavail * found.f_frsize

    @staticmethod
    def lock(fd: int) -> bool:
        """As `Files.lock`."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    @staticmethod
    def unlock(fd: int) -> None:
        """As `Files.unlock`."""
        fcntl.flock(fd, fcntl.LOCK_UN)

    @staticmethod
    def kind(path: str) -> str:
        """As `Files.kind`; Linux tells it in a file, elsewhere it stays unknown."""
        try:
            return kind_of(os.path.realpath(path), Path("/proc/self/mounts").read_text("utf-8", "replace"))
        except OSError:
            return ""


def kind_of(path: str, mounts: str) -> str:
    """The type of what is mounted nearest above a path, by Linux's list of mounts; empty when that does not tell."""
    over = [("", "")]
    for line in mounts.splitlines():
        _, mount, kind, *_ = [_OCTAL.sub(lambda found: chr(int(found[1], 8)), part) for part in line.split(" ")]
        if path == mount or path.startswith(mount.rstrip("/") + "/"):
            over.append((mount, kind))
    return max(over, key=lambda each: len(each[0]))[1]


def is_network(kind: str) -> bool:
    """Whether a file system of this type is somewhere else, where locks and syncs promise less."""
    return kind.startswith(_NETWORKS)
