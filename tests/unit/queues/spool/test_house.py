"""The spool's directory: who may be there, who owns what, and what somebody else may have planted."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cio_middleware.exceptions import ConfigurationError
from cio_middleware.queues.spool.files import PosixFiles, is_network, kind_of
from cio_middleware.queues.spool.house import House, Owner, check_path
from cio_middleware.typing import Refusal
from tests.unit.queues.spool.fake_files import Died, FakeFiles
from tests.unit.queues.spool.spooling import PATH, Spool, new_name

OWNER = "1-00000000000000aa"


def planted(files: FakeFiles, *names: str) -> House:
    """An open house, with these in it."""
    house = House(files, PATH)
    for name in names:
        files.plant(f"{PATH}/v1/{name}", b"")
    return house


def orphans(house: House, *but: str) -> list[str]:
    """The owners that are dead, which are let go again."""
    found = []
    for owner in house.orphans(set(but)):
        found.append(owner.name)
        owner.release()
    return found


def test_an_owner_is_nobody_elses_orphan_while_it_lives():
    """What is claimed is found by others only once its owner is dead."""
    files = FakeFiles()
    mine = House(files, PATH).claim(new_name)
    other = House(files.another(), PATH)
    assert orphans(other) == []
    files.die()
    assert orphans(other) == [mine.name]


def test_an_orphan_is_one_adopters_at_a_time():
    """Who has found an orphan has its lock; others find it when it is let go."""
    files = FakeFiles()
    planted(files, f"{OWNER}.00000000.seg")
    first, second = House(files.another(), PATH), House(files.another(), PATH)
    owner = next(first.orphans(set()))
    assert orphans(second) == []
    owner.release()
    assert orphans(second) == [OWNER]


def test_an_owner_retires_with_its_lock():
    """Nothing is left of an owner that retires, and a name whose lock is gone can be claimed."""
    files = FakeFiles()
    house = House(files, PATH)
    house.claim(lambda: OWNER).retire()
    assert files.listing(f"{PATH}/v1") == []
    assert house.claim(lambda: OWNER).name == OWNER


def test_segments_are_found_without_a_lock():
    """Somebody may have removed the lock of a dead owner: its segments are adopted all the same."""
    files = FakeFiles()
    house = planted(files, f"{OWNER}.00000000.seg")
    assert orphans(house) == [OWNER]
    assert orphans(house, OWNER) == []


def test_a_lock_that_was_drained_between_two_looks_is_no_orphan():
    """
    Without another look at the inode, two adopters would hold locks of one name: one of a file that is gone.

    Here another process drains the orphan and retires it after our `open` and before our `lock`.
    """
    files = FakeFiles()
    planted(files, f"{OWNER}.lock")
    ours, theirs = files.another(), files.another()
    adopter, other = House(ours, PATH), House(theirs, PATH)

    def drained() -> None:
        ours.before.clear()
        for owner in other.orphans(set()):
            owner.retire()

    ours.before["lock"] = drained
    opened = len(ours.opened)
    assert orphans(adopter) == []
    assert len(ours.opened) == opened
    assert files.listing(f"{PATH}/v1") == []


def test_a_name_that_an_adopter_was_quicker_to_lock_is_not_claimed():
    """An adopter may see a lock before its owner holds it: the owner takes another name."""
    files = FakeFiles()
    theirs = files.another()
    other = House(theirs, PATH)
    held: list[Owner] = []

    def adopted() -> None:
        files.before.clear()
        held.extend(other.orphans(set()))

    files.before["lock"] = adopted
    names = iter(["1-000000000000000a", "1-000000000000000b"])
    opened = len(files.opened)
    owner = House(files, PATH).claim(lambda: next(names))
    assert owner.name == "1-000000000000000b"
    assert [each.name for each in held] == ["1-000000000000000a"]
    assert len(files.opened) == opened + 5


def test_a_file_system_that_does_not_know_a_file_again_is_a_failure():
    """Where no lock is ever the one of its name, that is found out after a few, which are removed."""
    files = FakeFiles()
    house = House(files, PATH)
    opened = len(files.opened)
    files.lock = lambda fd: False  # type: ignore[method-assign]
    with pytest.raises(OSError, match="no lock can be had"):
        house.claim(new_name)
    assert len(files.opened) == opened
    assert files.listing(f"{PATH}/v1") == []


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_costs_no_fds(code):
    """Where no lock can be had, nobody is an owner, and trying again for a day leaves no fd and no file behind."""
    files = FakeFiles()
    house = planted(files, f"{OWNER}.lock")
    files.fail("lock", code)
    opened = len(files.opened)
    for _ in range(3):
        with pytest.raises(OSError, match="as the test says"):
            house.claim(new_name)
        with pytest.raises(OSError, match="as the test says"):
            list(house.orphans(set()))
    assert len(files.opened) == opened
    assert files.listing(f"{PATH}/v1") == [f"{OWNER}.lock"]


def test_a_house_that_cannot_be_entered_leaves_nothing_open():
    """Whichever of its directories cannot be opened, the fds of the others are closed."""
    for nth in range(1, 5):
        files = FakeFiles()
        files.fail("open", errno.EACCES, nth=nth)
        with pytest.raises(OSError, match="as the test says"):
            House(files, PATH)
        assert files.opened == []


def test_foreign_names_are_nobodys():
    """Files whose names are not ours are no segments and no locks, whatever they look like."""
    files = FakeFiles()
    house = planted(
        files, "notes.txt", f"{OWNER}.seg", f"{OWNER}.0000000.seg", f"x{OWNER}.00000000.seg", f"{OWNER}.00000000.seg.x",
        "1-XX.lock", f"{OWNER}.lock.swp",
    )  # fmt: skip
    assert orphans(house) == []


def test_an_owners_segments_are_in_their_order():
    """Segments are listed by their number, whatever order the directory has."""
    files = FakeFiles()
    house = planted(
        files, *(f"{OWNER}.{number:08}.seg" for number in (10, 2, 0, 100)), "1-00000000000000ab.00000003.seg"
    )
    found = {owner.name: owner.segments for owner in house.orphans(set())}
    assert found[OWNER] == [f"{OWNER}.{number:08}.seg" for number in (0, 2, 10, 100)]
    assert len(found) == 2


def test_all_files_of_the_spool_are_counted_as_its_bytes():
    """Segments, dead letters and what is in quarantine share one bound, and a file that goes meanwhile is no error."""
    files = FakeFiles()
    house = planted(files, "x")
    files.plant(f"{PATH}/v1/x", bytes(100))
    files.plant(f"{PATH}/dead/y", bytes(20))
    files.plant(f"{PATH}/quarantine/z", bytes(3))
    assert house.used() == (100, 20, 3)
    files.fail("stat_at", errno.ENOENT, nth=1, times=1)
    assert house.used() == (0, 20, 3)


def test_what_is_kept_aside_is_kept_once():
    """Damaged bytes are kept under their name; the same again changes nothing, and a full disk loses them quietly."""
    files = FakeFiles()
    house = House(files, PATH)
    house.keep_aside("a.bin", b"first")
    house.keep_aside("a.bin", b"second")
    assert files.read(f"{PATH}/quarantine/a.bin") == b"first"
    files.machine.capacity = files.machine.used
    house.keep_aside("b.bin", b"third")
    files.fail("unlink", errno.EIO)
    house.keep_aside("c.bin", b"third")
    assert files.opened[-1].inode.is_directory


@pytest.mark.parametrize("torn", [0.0, 0.5])
def test_what_is_kept_aside_is_whole_although_its_process_is_killed(torn):
    """Whoever finds the damage again keeps all of it, and nothing is left of the first attempt."""
    calls = 0
    for at in itertools.count(1):
        files = FakeFiles()
        house = House(files, PATH)
        before = len(files.history)
        files.die_at(at, torn)
        with contextlib.suppress(Died):
            house.keep_aside("a.bin", b"damaged bytes")
        calls = len(files.history) - before
        if calls < at:
            break
        other = files.another()
        House(other, PATH).keep_aside("a.bin", b"damaged bytes")
        assert other.listing(f"{PATH}/quarantine") == ["a.bin"]
        assert other.read(f"{PATH}/quarantine/a.bin") == b"damaged bytes"
    assert calls >= 4


# --------------------------------------------------------------------------------------------------- the real one


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Another umask, for as long as it takes."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def modes(path: Path) -> dict[str, int]:
    """The permissions of everything at and below a path."""
    return {
        str(each.relative_to(path)): stat.S_IMODE(each.lstat().st_mode)
        for each in [path, *path.rglob("*")]
        if not each.is_symlink()
    }


@pytest.mark.parametrize("mask", [0, 0o777])
def test_s11_the_spool_is_its_owners_alone_whatever_the_umask(tmp_path, mask):
    """Directories are 0700 and files 0600, no more and no less: segments, locks, letters and quarantine."""
    path = tmp_path / "spool"
    with umask(mask):
        spool = Spool(PosixFiles(), path=str(path))
        for name in "abc":
            spool.put(name)
        spool.queue.dead_letter(spool.lease(), 0, Refusal("why"))
        spool.tick()
        assert spool.queue._disk.house is not None
        spool.queue._disk.house.keep_aside("x.bin", b"x")
        found = modes(path)
        spool.close()
    directories = {name for name, mode in found.items() if mode == 0o700}
    assert directories == {".", "v1", "dead", "quarantine"}
    assert {mode for name, mode in found.items() if name not in directories} == {0o600}
    assert len(found) == 4 + 5


def test_s11_the_spools_directory_is_its_owners_alone_from_its_first_moment(tmp_path):
    """A umask that takes everything away does not lock its owner out, either."""
    path = tmp_path / "spool"
    with umask(0o777):
        house = House(PosixFiles(), str(path))
        owner = house.claim(new_name)
    assert modes(path)["v1"] == 0o700
    assert modes(path)[f"v1/{owner.name}.lock"] == 0o600
    owner.retire()
    house.close()


def left_behind(path: Path) -> Path:
    """A spool at this path that holds the events of a dead process, and the path of their segment."""
    spool = Spool(PosixFiles(), path=str(path))
    for name in "abc":
        spool.put(name)
    spool.close()
    (segment,) = (path / "v1").glob("*.seg")
    return segment


def found_in(path: Path) -> tuple[list[str], list[str]]:
    """What another process delivers of a spool, and what it says."""
    spool = Spool(PosixFiles(), path=str(path))
    spool.put("mine")
    delivered = spool.drained()
    spool.close()
    return delivered, spool.lines.said


@pytest.mark.parametrize("how", ["symlink", "hard link", "fifo", "directory"])
def test_s12_a_planted_segment_is_not_delivered(tmp_path, how):
    """A link, a pipe or a directory in a segment's place is neither read nor waited for, nor changed."""
    forged = left_behind(tmp_path / "elsewhere")
    before = forged.read_bytes()
    path = tmp_path / "spool"
    left_behind(path).unlink()
    place = path / "v1" / f"{OWNER}.00000000.seg"
    plant(place, how, forged)
    assert found_in(path)[0] == ["mine"]
    assert forged.read_bytes() == before


@pytest.mark.parametrize("how", ["symlink", "hard link", "fifo", "directory"])
def test_s12_a_planted_lock_locks_nothing(tmp_path, how):
    """A link, a pipe or a directory in a lock's place: its owner is left alone, and what it leads to as it is."""
    path = tmp_path / "spool"
    segment = left_behind(path)
    victim = tmp_path / "victim"
    victim.write_bytes(b"something else")
    victim.chmod(0o640)
    lock = segment.with_name(segment.name.partition(".")[0] + ".lock")
    lock.unlink()
    plant(lock, how, victim)
    assert found_in(path)[0] == ["mine"]
    assert segment.exists()
    assert (victim.read_bytes(), stat.S_IMODE(victim.stat().st_mode)) == (b"something else", 0o640)


@pytest.mark.parametrize("how", ["symlink", "hard link", "fifo", "directory"])
def test_s12_planted_letters_are_not_written_to(tmp_path, how):
    """With a link, a pipe or a directory in their place, dead letters stay in memory: nothing else changes."""
    path = tmp_path / "spool"
    victim = tmp_path / "victim"
    victim.write_bytes(b"something else")
    victim.chmod(0o640)
    spool = Spool(PosixFiles(), path=str(path))
    spool.put("a")
    plant(path / "dead" / "letters.seg", how, victim)
    assert spool.queue.dead_letter(spool.lease(), 0, Refusal("why"))
    assert [letter.why for letter in spool.queue.dead_letters] == [Refusal("why")]
    assert spool.ledger.read().dead_lettered == 1
    spool.close()
    assert (victim.read_bytes(), stat.S_IMODE(victim.stat().st_mode)) == (b"something else", 0o640)


@pytest.mark.parametrize("part", ["", "v1", "dead", "quarantine"])
@pytest.mark.parametrize("how", ["symlink", "fifo", "file"])
def test_s12_a_planted_directory_is_not_entered(tmp_path, part, how):
    """A link, a pipe or a file in place of one of the directories: nothing is written behind it."""
    path = tmp_path / "spool"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if part:
        path.mkdir(0o700)
    plant(path / part if part else path, how, elsewhere)
    with pytest.raises(OSError, match=r"\[Errno"):
        House(PosixFiles(), str(path))
    assert list(elsewhere.iterdir()) == []


def test_s11_a_house_that_others_may_write_to_is_not_entered(tmp_path):
    """A directory that was opened to others after the client was made is found when the spool is opened."""
    path = tmp_path / "spool"
    House(PosixFiles(), str(path)).close()
    for part in (path, path / "v1", path / "dead", path / "quarantine"):
        part.chmod(0o770)
        with pytest.raises(PermissionError):
            House(PosixFiles(), str(path))
        part.chmod(0o700)
    House(PosixFiles(), str(path)).close()


def plant(place: Path, how: str, victim: Path) -> None:
    """Put something there that is no plain file of the spool's."""
    if how == "symlink":
        place.symlink_to(victim)
    elif how == "hard link":
        place.hardlink_to(victim)
    elif how == "fifo":
        os.mkfifo(place)
    elif how == "file":
        place.write_bytes(b"x")
    else:
        place.mkdir()


# --------------------------------------------------------------------------------------------- before it is entered


def refused(path: str, files: FakeFiles | PosixFiles) -> str:
    """What is said of a directory that may not be."""
    with pytest.raises(ConfigurationError) as caught:
        check_path(files, path)
    return str(caught.value)


def test_a_directory_that_is_not_there_yet_may_be(tmp_path):
    """A path of nothing, and one of a directory of one's own, are fine."""
    check_path(PosixFiles(), str(tmp_path / "a" / "b" / "spool"))
    (tmp_path / "mine").mkdir(0o755)
    check_path(PosixFiles(), str(tmp_path / "mine"))


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o1777])
def test_s11_a_directory_that_others_may_write_to_is_refused(tmp_path, mode):
    """Who could plant events there could have them sent in our name: refused, with what to type."""
    path = tmp_path / "spool"
    path.mkdir()
    path.chmod(mode)
    message = refused(str(path), PosixFiles())
    assert str(path) in message
    assert "chmod 700" in message


def test_s11_a_directory_of_another_user_is_refused():
    """It could be read and forged by its owner."""
    files = FakeFiles()
    files.make_directory(PATH)
    files.find(PATH).uid = os.geteuid() + 1
    assert "another user" in refused(PATH, files)
    with pytest.raises(PermissionError):
        House(files, PATH)


@pytest.mark.parametrize(
    ("how", "said"), [("symlink", "symbolic link"), ("fifo", "no directory"), ("file", "no directory")]
)
def test_s12_what_is_no_directory_is_refused(tmp_path, how, said):
    """A link may be turned by somebody else, and anything else cannot hold files."""
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "spool"
    plant(path, how, tmp_path / "elsewhere")
    message = refused(str(path), PosixFiles())
    assert said in message
    assert "Type " in message


def test_a_path_through_a_file_is_refused(tmp_path):
    """A path that leads through a file can never be a directory."""
    (tmp_path / "file").write_bytes(b"")
    assert "no directory" in refused(str(tmp_path / "file" / "spool"), PosixFiles())


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.sshfs", "glusterfs", "lustre"])
def test_a_network_is_refused(kind):
    """Locks and syncs over a network promise less than they say: refused by name (fault 60)."""
    files = FakeFiles()
    files.machine.kinds[PATH] = kind
    message = refused(PATH, files)
    assert f"on a network ({kind})" in message
    assert "local disk" in message


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "apfs", "zfs", ""])
def test_a_disk_of_this_machine_is_fine(kind):
    """Also tmpfs and overlay, as in containers, and what cannot be told (fault 60)."""
    assert not is_network(kind)
    files = FakeFiles()
    files.machine.kinds[PATH] = kind
    check_path(files, PATH)


def test_what_cannot_be_looked_at_now_is_no_mistake():
    """An error that may pass does not keep the application from starting (fault 56)."""
    files = FakeFiles()
    files.fail("stat_at", errno.EACCES)
    check_path(files, PATH)


def test_the_real_file_system_is_known_by_its_mount():
    """The kind is that of the mount a path is on, also for a path that is not there yet."""
    assert PosixFiles().kind("/proc/self") in {"proc", ""}
    assert PosixFiles().kind("/proc/not/there") == PosixFiles().kind("/proc")


MOUNTS = """\
/dev/vda1 / ext4 rw 0 0
server:/a /mnt/shared nfs4 rw 0 0
server:/b /mnt/with\\040a\\040space nfs rw 0 0
tmpfs /mnt/shared/tmp tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib", "ext4"),
        ("/mnt/shared", "nfs4"),
        ("/mnt/shared/events", "nfs4"),
        ("/mnt/shared/tmp/x", "tmpfs"),
        ("/mnt/sharedother", "ext4"),
        ("/mnt/with a space/x", "nfs"),
    ],
)
def test_60_the_nearest_mount_tells_the_kind(path, kind):
    """Also one whose name has a space, which the list writes as a number."""
    assert kind_of(path, MOUNTS) == kind
    assert kind_of(path, "") == ""


def test_39_a_lock_is_let_go_of_although_a_child_has_a_copy_of_its_file(tmp_path):
    """A child that was forked in between holds the same open file: the lock is free all the same."""
    files, path = PosixFiles(), str(tmp_path / "spool")
    house, other = House(files, path), House(files, path)
    owner = house.claim(new_name)
    copied = os.dup(owner._lock)
    try:
        assert list(other.orphans(set())) == []
        owner.release()
        (found,) = other.orphans(set())
        found.retire()
    finally:
        os.close(copied)
        house.close()
        other.close()


def test_39_a_child_that_closes_its_copy_leaves_the_lock_to_its_parent(tmp_path):
    """What a child does after a fork must not let go of what its parent holds."""
    files, path = PosixFiles(), str(tmp_path / "spool")
    house, other = House(files, path), House(files, path)
    owner = house.claim(new_name)
    copied = Owner(files, house, owner.name, os.dup(owner._lock))
    copied.after_fork()
    assert list(other.orphans(set())) == []
    owner.retire()
    house.close()
    other.close()
