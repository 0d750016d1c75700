"""
A file system in memory that counts what would survive, and can lose power.

`FakeFiles` is what one process sees; `another` is a further process on the same machine. A process dies by `die`: its
bytes stay, its fds and locks are gone. The machine dies by `crash`: of each file stays what was synced and a part of
what came after, of each directory the same with its names. No name is durable because its file is, and no directory
because something in it is: POSIX promises neither.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Keep = Callable[[str, int], int]
"""Told whether it is about "bytes" or "names" and how many there are, says how many of them stay: from 0 to all."""


class Died(BaseException):
    """What a process sees of its own death: nothing that it runs afterwards has an effect."""


@dataclass(eq=False, slots=True)
class Inode:
    """A file or a directory. `durable` is what a loss of power leaves for sure."""

    number: int
    mode: int
    uid: int = field(default_factory=os.geteuid)
    parent: Inode | None = None
    links: int = 0
    data: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    changes: list[tuple[int, bytes | None, bool]] = field(default_factory=list)
    """Since the last sync: where, what (None: cut there), and whether it was written in place."""
    names: dict[str, Inode] = field(default_factory=dict)
    durable_names: dict[str, Inode] = field(default_factory=dict)
    renames: list[dict[str, Inode | None]] = field(default_factory=list)
    """Since the last sync: which names came, and which (None) went."""
    holder: Description | None = None
    """Who has its lock."""

    @property
    def is_directory(self) -> bool:
        """Whether it has names instead of bytes."""
        return stat.S_ISDIR(self.mode)

    def put(self, offset: int, data: bytes, *, in_place: bool) -> None:
        """Write bytes there; a gap before them is filled with zeros."""
        self.data += bytes(max(0, offset - len(self.data)))
        self.data[offset : offset + len(data)] = data
        self.changes.append((offset, data, in_place))

    def cut(self, size: int) -> None:
        """Make it that long."""
        del self.data[size:]
        self.data += bytes(size - len(self.data))
        self.changes.append((size, None, False))

    def sync(self) -> None:
        """Make its bytes durable."""
        self.durable = bytes(self.data)
        self.changes.clear()

    def sync_names(self) -> None:
        """Make its names durable."""
        self.durable_names = dict(self.names)
        self.renames.clear()

    def rename(self, change: dict[str, Inode | None]) -> None:
        """Change names, all at once."""
        for name, inode in change.items():
            if (old := self.names.pop(name, None)) is not None:
                old.links -= 1
            if inode is not None:
                self.names[name] = inode
                inode.links += 1
        self.renames.append(change)

    def lose_power(self, keep: Keep) -> None:
        """
        Forget what was not synced, but for what `keep` says.

        Of what was appended or cut a prefix stays, the last of it in part. What was written in place is in other pages:
        of each such write a prefix stays, whatever became of the others.
        """
        kept = bytearray(self.durable)
        appended = [change for change in self.changes if not change[2]]
        left = keep("bytes", sum(len(data or b"x") for _, data, _ in appended)) if appended else 0
        for offset, data, _ in appended:
            if left <= 0:
                break
            if data is None:
                del kept[offset:]
                left -= 1
            else:
                kept += bytes(max(0, offset - len(kept)))
                kept[offset : offset + len(data[:left])] = data[:left]
                left -= len(data)
        for offset, data, in_place in self.changes:
            if in_place and data is not None and offset + len(data) <= len(kept):
                part = data[: keep("bytes", len(data))]
                kept[offset : offset + len(part)] = part
        self.data, self.durable = kept, bytes(kept)
        self.changes.clear()
        names = dict(self.durable_names)
        for change in self.renames[: keep("names", len(self.renames)) if self.renames else 0]:
            for name, inode in change.items():
                names.pop(name, None)
                if inode is not None:
                    names[name] = inode
        self.names, self.durable_names = names, dict(names)
        self.renames.clear()


@dataclass(eq=False, slots=True)
class Description:
    """An open file: its inode, where the next write goes, and whether writes are allowed."""

    inode: Inode
    writes: bool
    position: int = 0


class Machine:
    """What processes share: the files, the room on the disk. `/var/spool` is there from the beginning."""

    def __init__(self) -> None:
        self._numbers = itertools.count(2)
        self.root = Inode(1, stat.S_IFDIR | 0o755, links=1)
        self.inodes = [self.root]
        self.capacity: int | None = None
        """Bytes that fit the disk; None: any number."""
        self.quota: int | None = None
        """Bytes that this user may have, of which `free` says nothing."""
        self.processes: list[FakeFiles] = []
        self.kinds: dict[str, str] = {}
        inode = self.root
        for name in ("var", "spool"):
            inode.rename({name: self.make(stat.S_IFDIR | 0o755, inode)})
            inode.sync_names()
            inode = inode.names[name]

    def make(self, mode: int, parent: Inode) -> Inode:
        """A new file or directory, without a name."""
        inode = Inode(next(self._numbers), mode, parent=parent)
        self.inodes.append(inode)
        return inode

    @property
    def used(self) -> int:
        """Bytes on the disk: of a file without a name, too, while it is open."""
        opened = {id(each.inode) for process in self.processes for each in process.opened}
        return sum(len(inode.data) for inode in self.inodes if inode.links or id(inode) in opened)

    def room(self) -> tuple[float, int]:
        """How many bytes may still be written, and the errno of one more."""
        used = 0 if self.capacity is self.quota is None else self.used
        limits = [(self.capacity, errno.ENOSPC), (self.quota, errno.EDQUOT)]
        left = [(limit - used, code) for limit, code in limits if limit is not None]
        return min(left, default=(float("inf"), 0))

    def crash(self, keep: Keep) -> None:
        """The power goes, and comes back: no process is left."""
        for process in self.processes:
            process.forget()
        self.processes.clear()
        for inode in self.inodes:
            inode.lose_power(keep)
        reached = list(self._below(self.root))
        for inode in reached:
            inode.links = 0
        for inode in reached:
            for child in inode.names.values():
                child.links += 1
        self.root.links = 1
        self.inodes = reached

    def _below(self, inode: Inode) -> Iterator[Inode]:
        yield inode
        for child in inode.names.values():
            yield from self._below(child)


class FakeFiles:
    """Implements the spool's `Files`, for one process on a `Machine`."""

    def __init__(self, machine: Machine | None = None) -> None:
        self.machine = machine or Machine()
        self.machine.processes.append(self)
        self.calls: Counter[str] = Counter()
        """How often each was called."""
        self.history: list[str] = []
        """What was called, one after the other."""
        self.before: dict[str, Callable[[], None]] = {}
        """What to do at each call of a kind, before it has its effect."""
        self.most_open = 0
        """How many fds were open at most, at the same time."""
        self._descriptions: dict[int, Description] = {}
        self._fds = itertools.count(3)
        self._failing: dict[str, list[tuple[int, int, int]]] = {}
        self._dies_at: int | None = None
        self._torn = 0.0
        self._dead = False
        self._lock = threading.RLock()

    # ------------------------------------------------------------------------------------------------ what tests do

    def another(self) -> FakeFiles:
        """What another process of the machine sees."""
        return FakeFiles(self.machine)

    def die(self) -> None:
        """The process is killed: what it wrote stays, its fds and locks go."""
        self.forget()
        if self in self.machine.processes:
            self.machine.processes.remove(self)

    def forget(self) -> None:
        """Nobody can call this any more."""
        for fd in list(self._descriptions):
            self._release(fd)
        self._dead = True

    def crash(self, keep: Keep) -> None:
        """The machine loses power: see `Inode.lose_power`."""
        self.machine.crash(keep)

    def fail(self, kind: str, code: int, *, nth: int = 1, times: int = 1_000_000) -> None:
        """From the n-th call of this kind on, counted from now, so many fail with this errno."""
        first = self.calls[kind] + nth
        self._failing.setdefault(kind, []).append((first, first + times, code))

    def heal(self) -> None:
        """Nothing fails any more."""
        self._failing.clear()

    def die_at(self, call: int, torn: float = 0.0) -> None:
        """The process dies at that call, counted from now over all kinds; a write gets as far as that part of it."""
        self._dies_at, self._torn = len(self.history) + call, torn

    @property
    def opened(self) -> list[Description]:
        """What this process has open."""
        return list(self._descriptions.values())

    def find(self, path: str) -> Inode:
        """The file or directory at a path."""
        inode = self.machine.root
        for part in path.strip("/").split("/") if path.strip("/") else []:
            if not inode.is_directory:
                raise OSError(errno.ENOTDIR, "not a directory")
            inode = _step(inode, part)
        return inode

    def read(self, path: str) -> bytes:
        """The bytes of a file."""
        return bytes(self.find(path).data)

    def plant(self, path: str, data: bytes) -> None:
        """Put bytes there from outside, durable: as a new file, or into the one that is there."""
        parent, name = self._parent(path, None)
        if name not in parent.names:
            parent.rename({name: self.machine.make(stat.S_IFREG | 0o600, parent)})
            parent.sync_names()
        inode = parent.names[name]
        inode.data = bytearray(data)
        inode.sync()

    def listing(self, path: str) -> list[str]:
        """The names in a directory, in order."""
        return sorted(self.find(path).names)

    # ---------------------------------------------------------------------------------------------------- `Files`

    def open(self, name: str, flags: int, mode: int = 0o600, *, at: int | None = None) -> int:
        """As `Files.open`."""
        self._begin("open")
        parent, last = self._parent(name, at)
        found = {".": parent, "..": parent.parent or parent}.get(last, parent.names.get(last))
        if found is None:
            if not flags & os.O_CREAT:
                raise OSError(errno.ENOENT, "no such file")
            found = self.machine.make(stat.S_IFREG | mode, parent)
            parent.rename({last: found})
        elif flags & os.O_EXCL:
            raise OSError(errno.EEXIST, "it is there")
        if stat.S_ISLNK(found.mode):
            raise OSError(errno.ELOOP, "a link")
        if flags & os.O_DIRECTORY and not found.is_directory:
            raise OSError(errno.ENOTDIR, "not a directory")
        writes = flags & os.O_ACCMODE != os.O_RDONLY
        if found.is_directory and writes:
            raise OSError(errno.EISDIR, "a directory")
        fd = next(self._fds)
        self._descriptions[fd] = Description(found, writes)
        self.most_open = max(self.most_open, len(self._descriptions))
        return fd

    def close(self, fd: int, /) -> None:
        """As `Files.close`."""
        self._begin("close")
        self._description(fd)
        self._release(fd)

    def write(self, fd: int, data: bytes, /) -> int:
        """As `Files.write`."""
        with self._lock:
            dies = self._begin("write", dies_in_it=True)
            description = self._description(fd, writes=True)
            taken = self._fits(
                description.inode, description.position, data[: int(len(data) * self._torn) if dies else None]
            )
            if taken or not dies:
                description.inode.put(description.position, taken, in_place=False)
            description.position += len(taken)
            self._end(dies)
            return len(taken)

    def pwrite(self, fd: int, data: bytes, offset: int, /) -> int:
        """As `Files.pwrite`."""
        with self._lock:
            dies = self._begin("pwrite", dies_in_it=True)
            inode = self._description(fd, writes=True).inode
            taken = self._fits(inode, offset, data[: int(len(data) * self._torn) if dies else None])
            inode.put(offset, taken, in_place=offset + len(taken) <= len(inode.data))
            self._end(dies)
            return len(taken)

    def pread(self, fd: int, size: int, offset: int, /) -> bytes:
        """As `Files.pread`."""
        self._begin("pread")
        return bytes(self._description(fd).inode.data[offset : offset + size])

    def truncate(self, fd: int, size: int) -> None:
        """As `Files.truncate`."""
        self._begin("truncate")
        description = self._description(fd, writes=True)
        description.inode.cut(size)
        description.position = size

    def sync(self, fd: int, /) -> None:
        """As `Files.sync`."""
        self._begin("sync")
        self._description(fd).inode.sync()

    def sync_directory(self, fd: int, /) -> None:
        """As `Files.sync_directory`."""
        self._begin("sync_directory")
        self._description(fd).inode.sync_names()

    def unlink(self, name: str, *, at: int) -> None:
        """As `Files.unlink`."""
        self._begin("unlink")
        parent, last = self._parent(name, at)
        _step(parent, last)
        parent.rename({last: None})

    def rename(self, name: str, to: str, *, at: int, to_at: int) -> None:
        """As `Files.rename`; between two directories it is durable at once."""
        self._begin("rename")
        (old, last), (new, to_last) = self._parent(name, at), self._parent(to, to_at)
        inode = _step(old, last)
        inode.parent = new
        if old is new:
            old.rename({last: None, to_last: inode})
        else:
            new.rename({to_last: inode})
            old.rename({last: None})
            new.sync_names()
            old.sync_names()

    def names(self, fd: int) -> list[str]:
        """As `Files.names`, in an order that nobody would expect."""
        self._begin("names")
        return sorted(self._description(fd).inode.names, reverse=True)

    def make_directory(self, path: str) -> None:
        """As `Files.make_directory`."""
        self._begin("make_directory")
        inode = self.machine.root
        for part in path.strip("/").split("/"):
            if not inode.is_directory:
                raise OSError(errno.ENOTDIR, "not a directory")
            if part not in inode.names:
                inode.rename({part: self.machine.make(stat.S_IFDIR | 0o700, inode)})
            inode = inode.names[part]

    def stat(self, fd: int, /) -> os.stat_result:
        """As `Files.stat`."""
        self._begin("stat")
        return _stat(self._description(fd).inode)

    def stat_at(self, name: str, *, at: int | None = None) -> os.stat_result:
        """As `Files.stat_at`."""
        self._begin("stat_at")
        return _stat(_step(*self._parent(name, at)))

    def free(self, fd: int) -> int:
        """As `Files.free`; a quota does not show in it."""
        self._begin("free")
        self._description(fd)
        capacity = self.machine.capacity
        return 1 << 40 if capacity is None else capacity - self.machine.used

    def lock(self, fd: int) -> bool:
        """As `Files.lock`."""
        self._begin("lock")
        description = self._description(fd)
        if description.inode.holder not in {None, description}:
            return False
        description.inode.holder = description
        return True

    def unlock(self, fd: int) -> None:
        """As `Files.unlock`."""
        self._begin("unlock")
        description = self._description(fd)
        if description.inode.holder is description:
            description.inode.holder = None

    def kind(self, path: str) -> str:
        """As `Files.kind`: what the machine was told, by path."""
        self._begin("kind")
        return self.machine.kinds.get(path, "ext4")

    # -------------------------------------------------------------------------------------------------------- within

    def _begin(self, kind: str, *, dies_in_it: bool = False) -> bool:
        """Count a call, and let it fail if it is to fail. Returns whether the process dies in the middle of it."""
        if self._dead:
            raise Died
        self.calls[kind] += 1
        self.history.append(kind)
        if (hook := self.before.get(kind)) is not None:
            hook()
        for first, end, code in self._failing.get(kind, ()):
            if first <= self.calls[kind] < end:
                raise OSError(code, "as the test says")
        dies = self._dies_at is not None and len(self.history) >= self._dies_at
        if dies and not dies_in_it:
            self._end(dies=True)
        return dies

    def _end(self, dies: bool) -> None:  # noqa: FBT001 - nobody else calls it
        if dies:
            self.die()
            raise Died

    def _description(self, fd: int, *, writes: bool = False) -> Description:
        found = self._descriptions.get(fd)
        if found is None or (writes and not found.writes):
            raise OSError(errno.EBADF, "not open for this")
        return found

    def _release(self, fd: int) -> None:
        description = self._descriptions.pop(fd)
        if description.inode.holder is description:
            description.inode.holder = None

    def _parent(self, name: str, at: int | None) -> tuple[Inode, str]:
        if at is None:
            assert name.startswith("/"), "a path from the root, or a name in a directory"
            path, _, last = name.rstrip("/").rpartition("/")
            return self.find(path), last
        assert "/" not in name
        return self._description(at).inode, name

    def _fits(self, inode: Inode, offset: int, data: bytes) -> bytes:
        growth = offset + len(data) - len(inode.data)
        room, code = self.machine.room()
        if growth <= max(0, room):
            return data
        taken = data[: int(len(data) - growth + max(0, room))]
        if not taken:
            raise OSError(code, "no room")
        return taken


def _step(parent: Inode, name: str) -> Inode:
    if name not in parent.names:
        raise OSError(errno.ENOENT, "no such file")
    return parent.names[name]


def _stat(inode: Inode) -> os.stat_result:
    return os.stat_result((inode.mode, inode.number, 1, inode.links, inode.uid, 0, len(inode.data), 0, 0, 0))
