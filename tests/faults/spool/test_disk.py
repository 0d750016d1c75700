"""What a disk can do to a spool: fill up, fail, refuse, or lose its files. Events go on, and are counted."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cio_middleware as cio
from cio_middleware import DropReason
from cio_middleware._notices import Notices
from cio_middleware._stats import Ledger
from cio_middleware.backends.queued import QueuedBackend
from cio_middleware.queues.spool.files import PosixFiles
from cio_middleware.queues.spool.house import check_path
from cio_middleware.queues.spool.queue import SpoolQueue
from cio_middleware.testing.clock import ManualClock
from tests.faults.spool import parts

HELD = {"held_events": 1000, "held_bytes": 1_000_000}


class Spooled:
    """A spool on a disk that the test makes fail, on a clock that it moves, and the worker that delivers."""

    def __init__(self, path: Path, eventually: Any, **changes: Any) -> None:
        self.trouble = parts.Trouble()
        self.sink = parts.MemorySink()
        self.clock = ManualClock()
        self.ledger = Ledger()
        self.path = path
        self.eventually = eventually
        notices = Notices(self.clock)
        self.queue: SpoolQueue = parts.spool_queue(
            parts.settings(path, **{**HELD, **changes}), files=parts.Watched(self.trouble), clock=self.clock,
            ledger=self.ledger, notices=notices,
        )  # fmt: skip
        self.backend: QueuedBackend = parts.backend_of(
            self.queue, self.sink, ledger=self.ledger, clock=self.clock, notices=notices
        )

    def put(self, *numbers: int) -> list[DropReason | None]:
        """Put events, as a client does: why each was not taken."""
        reasons = []
        for number in numbers:
            self.ledger.capture()
            reason = self.backend.emit(*parts.event(number)).reason
            if reason is not None:
                self.ledger.drop(reason)
            reasons.append(reason)
        return reasons

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and whoever waits look at it."""
        self.clock.advance(seconds)
        looks = self.clock.looks
        self.eventually(lambda: self.clock.looks >= looks + 6)

    def until(self, holds: Callable[[], object], seconds: float) -> None:
        """Let so much time pass, again and again, until something holds."""

        def holds_then() -> object:
            self.pass_time(seconds)
            return holds()

        self.eventually(holds_then, 10)

    def deliver(self) -> list[int]:
        """Have all delivered that is there, and return what has arrived."""
        self.sink.status = 200
        # Whoever backs off waits for the clock.
        self.until(lambda: self.ledger.read().pending == 0, 1.0)
        return self.sink.numbers

    def segments(self) -> list[str]:
        """The names of the segments."""
        return sorted(path.name for path in (self.path / "v1").glob("*.seg"))

    def after_a_crash(self) -> list[int]:
        """What is left for others, as if this process were gone."""
        self.sink.status = 503
        self.queue.abandon(DropReason.SHUTDOWN_TIMEOUT, within=30.0)
        return left_in(self.path, self.eventually)


def left_in(path: Path, eventually: Any) -> list[int]:
    """What another process delivers of what is left there."""
    again = Spooled(path, eventually)
    try:
        again.put(9999)
        again.until(lambda: len(list((path / "v1").glob("*.lock"))) == 1, 1.0)
        again.deliver()
        return sorted(number for number in again.sink.numbers if number != 9999)
    finally:
        again.backend.close(1)


@pytest.fixture(name="make_spooled")
def _make_spooled(spool_dir, eventually) -> Iterator[Any]:
    made = []

    def make(**changes: Any) -> Spooled:
        made.append(Spooled(spool_dir, eventually, **changes))
        return made[-1]

    yield make
    for spooled in made:
        spooled.trouble.errors.clear()
        spooled.sink.status = 200
        spooled.clock.advance(60.0)  # nobody backs off any more
        spooled.backend.close(30)  # a thread that lived on would log into the next test


@pytest.fixture(name="spooled")
def _spooled(make_spooled):
    return make_spooled()


# ----------------------------------------------------------------------------------------------------------------- full


def test_54_a_full_disk_rejects_new_events_and_delivers_the_others(spooled):
    """With no byte left, accepted events are delivered and removed, and new ones are dropped and counted."""
    spooled.sink.status = 503
    assert spooled.put(*range(10)) == [None] * 10
    spooled.trouble.errors["write"] = errno.ENOSPC
    assert set(spooled.put(*range(100, 110))) == {DropReason.QUEUE_FULL}
    assert spooled.deliver() == list(range(10))
    stats = spooled.ledger.read()
    assert (stats.delivered, dict(stats.dropped), stats.balanced) == (10, {DropReason.QUEUE_FULL: 10}, True)


def test_54_a_disk_with_room_again_takes_events_again(spooled, caplog):
    """When there is room, events are accepted within a second, and each change is said once."""
    spooled.put(*range(3))
    spooled.trouble.errors["write"] = errno.ENOSPC
    assert set(spooled.put(*range(100, 110))) == {DropReason.QUEUE_FULL}
    del spooled.trouble.errors["write"]
    spooled.until(lambda: spooled.put(3) == [None], 1.0)
    assert spooled.deliver()[:3] == [0, 1, 2]
    assert spooled.deliver()[3:] == [3]
    said = [record.getMessage() for record in caplog.records if "full" in record.getMessage() or "room" in record.msg]
    assert len(said) == 2


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG], ids=errno.errorcode.get)
def test_54_no_quota_is_a_full_disk(spooled, code):
    """A quota of the user, or a limit on the size of files, rejects like a full disk and is no failure."""
    spooled.put(0)
    spooled.trouble.errors["write"] = code
    assert spooled.put(1) == [DropReason.QUEUE_FULL]
    assert not spooled.queue.is_degraded


def test_54_a_short_write_leaves_no_trace(spooled):
    """A disk that takes half of an event takes none of it: the event is rejected, and those around it stay whole."""
    spooled.sink.status = 503
    spooled.put(0, 1)
    spooled.trouble.short = True
    assert spooled.put(2) == [DropReason.QUEUE_FULL]
    spooled.trouble.short = False
    spooled.until(lambda: spooled.put(3) == [None], 1.0)
    assert spooled.after_a_crash() == [0, 1, 3]
    assert list((spooled.path / "quarantine").iterdir()) == []


def test_54_what_cannot_be_cut_off_again_is_not_written_behind(spooled):
    """A short write that cannot be undone ends its segment: later events go to another, and all are read."""
    spooled.sink.status = 503
    spooled.put(0, 1)
    spooled.trouble.short = True
    spooled.trouble.errors["truncate"] = errno.EIO
    assert spooled.put(2) in ([None], [DropReason.QUEUE_FULL])
    spooled.trouble.short = False
    spooled.trouble.errors.clear()
    spooled.until(lambda: spooled.put(3) == [None], 5.0)
    assert set(spooled.after_a_crash()) >= {0, 1, 3}


def test_54_a_spool_at_its_own_bound_rejects_drains_and_accepts_again(make_spooled):
    """`spool_max_bytes` smaller than a segment: rejected when it is reached, and accepted again after the drain."""
    spooled = make_spooled(max_bytes=12_000, segment_bytes=1_000_000)
    spooled.sink.status = 503
    accepted = spooled.put(*range(100)).count(None)
    assert spooled.put(100) == [DropReason.QUEUE_FULL]
    assert spooled.deliver() == list(range(accepted))
    spooled.until(lambda: spooled.put(7) == [None], 1.0)


def test_54_the_last_bytes_are_left_to_others(make_spooled):
    """`spool_min_free_bytes` is left free, whatever the spool itself takes."""
    assert set(make_spooled(min_free_bytes=1 << 60).put(*range(3))) == {DropReason.QUEUE_FULL}


FILL = """
    import json, resource, sys
    import cio_middleware as cio
    LIMIT
    client = cio.get_client()

    def full():
        return client.stats().dropped.get(cio.DropReason.QUEUE_FULL, 0)

    accepted = 0
    while full() < 20:
        refused = full()
        cio.track("step", {"n": accepted, "text": "x" * 400}, person="ada")
        accepted += full() == refused
    print(accepted, flush=True)
    sys.stdin.readline()
    again = full()
    assert client.flush(20)
    pause = __import__("threading").Event()
    for attempt in range(400):
        refused = full()
        cio.track("again", {"n": 0}, person="ada")
        if full() == refused:
            break
        pause.wait(0.02)
    stats = client.close(20)
    assert stats.balanced and stats.pending == 0, stats
    assert list(stats.dropped) == [cio.DropReason.QUEUE_FULL], stats
    print(stats.delivered)
"""


def fill_and_drain(start, sandbox, numbers, script: str, **more: str) -> None:
    """Fill a real disk while nothing is taken, then let all be taken."""
    sandbox.faults.script(["503*"])
    process = start(script, CUSTOMERIO_RETRY_CAP="0.02", CUSTOMERIO_RATE_LIMIT="10000", **more)
    accepted = int(process.stdout.readline())
    assert accepted > 20
    sandbox.faults.clear()
    out, errors = process.communicate("\n", timeout=60)
    assert (process.returncode, out) == (0, f"{accepted + 1}\n"), errors
    assert numbers("step") == list(range(accepted))
    assert numbers("again") == [0]
    assert errors.count("the spool or its disk is full") == errors.count("the spool has room") == 1


def test_54_a_limit_on_the_size_of_files(start, sandbox, numbers):
    """With the kernel's own limit on files: what was accepted is delivered, and events are accepted again after."""
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))"
    fill_and_drain(start, sandbox, numbers, FILL.replace("LIMIT", limit))


@pytest.mark.skipif(os.geteuid() != 0, reason="by design: only root may mount")
def test_54_a_real_disk_without_a_free_byte(start, sandbox, numbers, tmp_path):
    """On a disk of 1 MB that is full: what was accepted is delivered, and events are accepted again after."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", disk],  # noqa: S607 - where it is differs
        capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode != 0:
        pytest.skip("by design: this root may not mount")
    try:
        fill_and_drain(start, sandbox, numbers, FILL.replace("LIMIT", ""), CUSTOMERIO_SPOOL_DIR=f"{disk}/spool")
    finally:
        subprocess.run(["umount", disk], check=True)  # noqa: S607 - as above


# ---------------------------------------------------------------------------------------------------------------- fails


def test_55_an_error_of_a_write_costs_nothing(spooled, caplog):
    """EIO: that event and later ones are held in memory and delivered; it is said once, and once when it is over."""
    spooled.sink.status = 503
    spooled.put(0, 1)
    spooled.trouble.errors["write"] = errno.EIO
    assert spooled.put(*range(2, 8)) == [None] * 6
    assert spooled.queue.is_degraded
    assert spooled.deliver() == list(range(8))
    del spooled.trouble.errors["write"]
    spooled.until(lambda: not spooled.queue.is_degraded, 5.0)
    assert spooled.put(8) == [None]
    assert spooled.deliver() == list(range(9))
    said = [record.getMessage() for record in caplog.records if "spool" in record.getMessage()]
    assert [("EIO" in line, "again" in line) for line in said] == [(True, False), (False, True)]


def test_55_events_that_a_failed_sync_may_have_lost_are_written_again(spooled):
    """After EIO of fsync no later success is believed: what is unsent is in a new segment, and the old one is gone."""
    spooled.sink.status = 503
    spooled.put(*range(6))
    before = spooled.segments()
    spooled.trouble.errors["sync"] = errno.EIO
    spooled.until(lambda: spooled.queue.is_degraded, 0.2)
    assert spooled.put(6, 7) == [None, None]
    spooled.trouble.errors.clear()
    spooled.until(lambda: not spooled.queue.is_degraded, 5.0)
    spooled.eventually(lambda: before[-1] not in spooled.segments())  # those before it were synced in time
    spooled.put(8)
    left = spooled.after_a_crash()
    assert [number for number in left if number not in {6, 7}] == [*range(6), 8]


def test_55_a_put_that_waits_for_the_disk_is_told_of_no_failure(make_spooled):
    """With `fsync="always"`, an event whose sync fails is taken all the same: it is in memory, and written again."""
    spooled = make_spooled(fsync="always")
    spooled.sink.status = 503
    spooled.put(0)
    spooled.trouble.errors["sync"] = errno.EIO
    assert spooled.put(1) == [None]
    assert spooled.queue.is_degraded
    spooled.trouble.errors.clear()
    spooled.until(lambda: not spooled.queue.is_degraded, 5.0)
    assert spooled.after_a_crash() == [0, 1]


def test_55_a_segment_that_is_settled_before_its_sync_is_no_failure(spool_dir, clock, eventually):
    """All is delivered while the keeper is at its first sync: that the other files are gone by then is no trouble."""
    settled: list[int] = []

    def around(name: str, call: Any, *arguments: Any, **options: Any) -> Any:
        if name != "sync" or settled or threading.current_thread() is threading.main_thread():
            return call(*arguments, **options)
        lease = queue.lease(100, 100_000)
        assert lease is not None
        settled.append(queue.ack(lease, range(len(lease.entries))))
        queue.tend(closing=False)
        return None

    queue = parts.spool_queue(parts.settings(spool_dir, room=100_000), files=parts.Watched(around), clock=clock)
    for number in range(20):
        queue.put(*parts.event(number))
    eventually(lambda: clock.advance(0.2) or settled == [20])
    looks = clock.looks
    eventually(lambda: clock.looks > looks)
    assert not queue.is_degraded
    queue.abandon(DropReason.SHUTDOWN_TIMEOUT)


# -------------------------------------------------------------------------------------------------------------- refuses


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("open", errno.EACCES), ("open", errno.EROFS), ("open", errno.ENOSYS), ("open", errno.EMFILE),
        ("make_directory", errno.EROFS), ("make_directory", errno.EACCES), ("lock", errno.ENOSYS),
        ("lock", errno.ENOLCK),
    ],
    ids=lambda value: value if isinstance(value, str) else errno.errorcode[value],
)  # fmt: skip
def test_56_a_spool_that_cannot_be_made_costs_nothing(spooled, caplog, call, code):
    """Read-only, forbidden, or a sandbox without locks: events are held and delivered, and one line says so."""
    spooled.trouble.errors[call] = code
    for number in range(8):
        assert spooled.put(number) == [None]
        spooled.pass_time(3.0)
    assert spooled.queue.is_degraded
    assert spooled.deliver() == list(range(8))
    said = [record.getMessage() for record in caplog.records if "spool" in record.getMessage()]
    (line,) = said
    begins = f"the spool cannot be written to ({errno.errorcode[code]}): events are held in memory until it can."
    assert line.startswith(f"{begins} spool_dir is {spooled.path}")
    assert line.endswith("may not write") is (code in {errno.EACCES, errno.EPERM})
    if (spooled.path / "v1").exists():
        # The worker may be in the middle of another attempt.
        spooled.eventually(lambda: not list((spooled.path / "v1").iterdir()))


def test_56_held_events_have_a_bound(make_spooled):
    """What is held in memory while the disk fails is bounded; above it, events are dropped and counted."""
    spooled = make_spooled(held_events=5)
    spooled.sink.status = 503
    spooled.trouble.errors["open"] = errno.EROFS
    assert spooled.put(*range(8)) == [None] * 5 + [DropReason.SPOOL_FAILED] * 3
    assert spooled.deliver() == list(range(5))
    assert spooled.put(9) == [None]


def test_56_rejecting_instead(make_spooled):
    """Where nothing may be held, events are dropped as spool_failed until the disk is tried again, after 5 s."""
    spooled = make_spooled(held_events=0, held_bytes=0)
    spooled.trouble.errors["open"] = errno.EROFS
    assert spooled.put(0, 1) == [DropReason.SPOOL_FAILED] * 2
    spooled.clock.advance(4.0)
    spooled.trouble.errors.clear()
    assert spooled.put(2) == [DropReason.SPOOL_FAILED]
    spooled.clock.advance(1.0)
    assert spooled.put(3) == [None]
    assert spooled.deliver() == [3]
    assert spooled.ledger.read().dropped == {DropReason.SPOOL_FAILED: 3}


@pytest.mark.parametrize(("on_spool_error", "delivered"), [("memory", 3), ("reject", 0)])
def test_56_an_app_on_a_read_only_directory_starts(run, numbers, folder, on_spool_error, delivered):
    """On a directory that this user may not write to, an application starts and tracks; a line says what happens."""
    there = folder / f"readonly-{on_spool_error}"
    there.mkdir()
    there.chmod(0o500)
    folder.chmod(0o711)  # so that whoever root becomes may come here
    if os.geteuid() == 0:
        os.chown(there, 65534, 65534)
    code, out, errors = run(
        """
        import os
        import cio_middleware as cio
        # What is imported at the first delivery is imported as the user who may read it.
        account = {name: os.environ["CUSTOMERIO_" + name.upper()] for name in ("site_id", "api_key", "base_url")}
        with cio.Client(cio.Settings(**account)) as first:
            first.track("first", person="ada")
        if os.geteuid() == 0:
            os.setresuid(65534, 65534, 65534)
        for n in range(3):
            cio.track("step", {"n": n}, person="ada")
        stats = cio.get_client().close()
        assert stats.balanced and stats.pending == 0
        print(dict(stats.dropped))
        """,
        CUSTOMERIO_SPOOL_DIR=str(there / "spool"), CUSTOMERIO_ON_SPOOL_ERROR=on_spool_error,
    )  # fmt: skip
    dropped = {DropReason.SPOOL_FAILED: 3 - delivered} if delivered < 3 else {}
    assert (code, out) == (0, f"{dropped}\n"), errors
    assert numbers("step") == list(range(delivered))
    assert errors.count("the spool cannot be written to (EACCES)") == 1
    assert errors.count("\n") == 1 + (delivered < 3)


def test_56_a_missing_directory_is_made(run, numbers, tmp_path):
    """A directory that is not there yet is made, with its parents, for this user alone."""
    there = tmp_path / "not" / "yet" / "there"
    done = run(
        "import cio_middleware as cio; cio.track('step', {'n': 0}, person='ada')", CUSTOMERIO_SPOOL_DIR=str(there)
    )
    assert done == (0, "", "")
    assert numbers("step") == [0]
    assert there.stat().st_mode & 0o777 == 0o700


# ---------------------------------------------------------------------------------------------------------------- loses


def test_59_a_directory_that_is_removed_is_made_again(spooled):
    """Somebody removes the spool under a running process: events go on, and what was unsent is written again."""
    spooled.sink.status = 503
    spooled.put(*range(6))
    shutil.rmtree(spooled.path)
    assert spooled.put(6, 7) == [None, None]
    spooled.until((spooled.path / "v1").exists, 1.0)
    spooled.until(lambda: not spooled.queue.is_degraded, 1.0)
    assert spooled.put(8) == [None]
    left = spooled.after_a_crash()
    assert left[-1] == 8
    # A segment that was full and closed is gone for good, and what was read of it into memory is not.
    assert set(left) >= {4, 5, 6, 7, 8}
    stats = spooled.ledger.read()
    assert stats.dropped.get(DropReason.QUARANTINED, 0) == 9 - len(left)


def test_59_a_removed_directory_costs_no_delivery(spooled):
    """With a sink that takes events, a process whose spool is removed delivers all that is open or in memory."""
    spooled.sink.status = 503
    spooled.put(0, 1, 2)
    shutil.rmtree(spooled.path)
    spooled.put(3)
    assert spooled.deliver() == [0, 1, 2, 3]
    spooled.until((spooled.path / "v1").exists, 1.0)
    spooled.put(4)
    assert spooled.deliver() == [0, 1, 2, 3, 4]
    assert spooled.ledger.read().balanced


def test_59_a_segment_that_is_removed_is_written_again(spooled):
    """A cleaner of old files takes the open segment: what is unsent of it is in another, before the process dies."""
    spooled.sink.status = 503
    spooled.put(0, 1, 2)
    (segment,) = (spooled.path / "v1").glob("*.00000000.seg")
    segment.unlink()
    spooled.until(lambda: spooled.queue.is_degraded, 1.0)
    spooled.until(lambda: not spooled.queue.is_degraded, 1.0)
    assert spooled.put(3) == [None]
    assert spooled.after_a_crash() == [0, 1, 2, 3]


def test_59_a_closed_segment_that_is_removed_is_counted(make_spooled):
    """What was in a file that is gone, and nowhere else, is dropped as quarantined: the law holds, and others go on."""
    spooled = make_spooled(room=200)
    spooled.sink.status = 503
    spooled.put(*range(30))
    spooled.pass_time(1.0)
    middle = spooled.segments()[3]
    (spooled.path / "v1" / middle).unlink()
    delivered = spooled.deliver()
    lost = 30 - len(delivered)
    assert 0 < lost <= 6
    stats = spooled.ledger.read()
    assert (stats.pending, stats.dropped[DropReason.QUARANTINED], stats.balanced) == (0, lost, True)
    assert delivered == sorted(delivered)


class OnNetwork(PosixFiles):
    """Files on a network."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def kind(self, path: str) -> str:  # type: ignore[override]  # a static method there
        """What it is."""
        return self._kind


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph"])
def test_60_a_network_is_refused(tmp_path, kind):
    """A spool on a network, where locks promise less than they say, is refused with what to type."""
    with pytest.raises(cio.ConfigurationError, match=rf"is on a network \({kind}\).*Type a path on a local disk"):
        check_path(OnNetwork(kind), str(tmp_path))


@pytest.mark.parametrize("kind", ["ext4", "xfs", "tmpfs", "overlay", "btrfs", ""])
def test_60_a_local_disk_is_not(tmp_path, kind):
    """Local disks, a container's own layers and what cannot be told are fine."""
    check_path(OnNetwork(kind), str(tmp_path))


# -------------------------------------------------------------------------------------------------------------- stalls


class Stall:
    """A disk that stands still at calls of one kind, once it is told to, until it is let go."""

    def __init__(self) -> None:
        self.call = ""
        self.is_there, self._go_on = threading.Event(), threading.Event()

    def __call__(self, name: str, call: Any, *arguments: Any, **options: Any) -> Any:
        """Make a call, at once or later."""
        if name == self.call:
            self.is_there.set()
            assert self._go_on.wait(30)
        return call(*arguments, **options)

    def let_go(self) -> None:
        """Go on."""
        self._go_on.set()


@pytest.mark.parametrize("call", ["sync", "sync_directory", "unlink", "pwrite", "write", "close"])
def test_52_close_keeps_its_deadline_on_a_disk_that_stalls(spool_dir, call, eventually):
    """Whatever the disk is asked last: who closes waits no longer than he said, and nothing that waited is lost."""
    stall, ledger = Stall(), Ledger()
    sink = parts.MemorySink(200 if call in {"pwrite", "unlink"} else 503)
    queue = parts.spool_queue(parts.settings(spool_dir), files=parts.Watched(stall), ledger=ledger)
    backend = parts.backend_of(queue, sink, ledger=ledger)
    stall.call = "" if call != "pwrite" else call
    for number in range(10):
        ledger.capture()
        backend.emit(*parts.event(number))
    stall.call = call
    if call == "write":
        threading.Thread(target=backend.emit, args=parts.event(10), daemon=True).start()
    if call in {"pwrite", "write"}:
        assert stall.is_there.wait(10)
    started = time.monotonic()
    backend.close(0.3)
    took = time.monotonic() - started
    stall.let_go()
    assert took < 1.5
    if call == "write":
        ledger.capture()  # what was written late is others'
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "cio_middleware spool"])
    assert {*range(10)} <= {*sink.numbers, *left_in(spool_dir, eventually)}
