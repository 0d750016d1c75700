"""
Forks processes that use a spool, each in a few milliseconds: everything is imported once, and no thread runs here.

Reads one JSON request a line, answers with JSON lines. Started as ``python -m tests.faults.spool.fork_server FOLDER``.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import cio_middleware as cio
from cio_middleware._ids import SystemClock, dice, owner_name
from cio_middleware._notices import Notices
from cio_middleware._stats import Ledger
from cio_middleware.queues.spool.files import PosixFiles
from cio_middleware.queues.spool.log import SEGMENT_BYTES
from cio_middleware.queues.spool.queue import SpoolQueue
from cio_middleware.transports import _deadline  # noqa: F401 - a client imports it when made: half a second a child
from cio_middleware.typing import Lease
from tests.faults.spool import parts

EVENTS = 24
"""Events of a process that is killed, numbered from 0."""
LEFT = [number for number in range(1000, 1010) if number != 1004]
"""Events that a process before it left, without the one that is damaged."""
REFUSED = frozenset({2, 9, 1002})
FORGOTTEN = 2
"""The refused event whose letter the process removes again."""
LONGEST = 30
OWN = 2000
"""The one event of the process that drains."""
DRAINER = "1-ffffffffffffffff"


class AcksBeforeItSends(SpoolQueue):
    """What must not be: events are settled as soon as they are handed out."""

    def lease(self, max_events: int, max_bytes: int) -> Lease | None:
        """Hand out, and settle."""
        lease = super().lease(max_events, max_bytes)
        if lease is not None:
            super().ack(lease, range(len(lease.entries)))
        return lease


def leave_a_spool(folder: Path) -> None:
    """What a process leaves that puts ten events and is killed; one of them is damaged, and one file is no segment."""
    queue = parts.spool_queue(parts.settings(folder))
    for number in range(1000, 1010):
        assert queue.put(*parts.event(number)).reason is None
    parts.die()


def damage(folder: Path) -> None:
    """Spoil the record of event 1004, and add a file that is no segment."""
    (lock,) = (folder / "v1").glob("*.lock")
    (folder / "v1" / f"{lock.stem}.99999999.seg").write_bytes(b"junk")
    for path in (folder / "v1").glob("*.seg"):
        at = path.read_bytes().find(parts.event(1004)[1])
        if at >= 0:
            with path.open("r+b") as file:
                file.seek(at + 20)
                file.write(b"~")


def use(folder: Path, where: parts.Failpoint, *, early: bool, fsync: str, report: int) -> None:
    """Put events, deliver them and what was left, and die at the failpoint; report what was accepted."""
    ledger, clock = Ledger(), parts.QuickClock()
    settings = parts.settings(folder, fsync=fsync)
    queue = (AcksBeforeItSends if early else SpoolQueue)(
        settings, files=parts.Watched(where.around), ledger=ledger, clock=clock, notices=Notices(clock),
        dice=dice, new_name=owner_name,
    )  # fmt: skip
    sink = parts.FileSink(folder / "sink", REFUSED, where.around)
    backend = parts.backend_of(queue, sink, ledger=ledger, clock=clock)
    for number in range(EVENTS):
        ledger.capture()
        assert backend.emit(*parts.event(number)).reason is None
        os.write(report, b"%d\n" % number)
        if number % 6 == 5:
            backend.flush(100)
    queue.dead_letters.remove([parts.event(FORGOTTEN)[0].event_id])
    wait_for(lambda: only_of(folder, "") <= 1 and where.seen["sync"] > 0 and where.seen["sync_directory"] > 0)
    backend.close(100)
    stats = ledger.read()
    assert stats.balanced, stats
    assert stats.pending == 0, stats


def drain(folder: Path, *, refused: frozenset[int], report: int) -> None:
    """Adopt what is there and deliver it; report what is left and which letters there are."""
    ledger, clock = Ledger(), parts.QuickClock()
    queue = parts.spool_queue(parts.settings(folder), clock=clock, ledger=ledger, new_name=lambda: DRAINER)
    backend = parts.backend_of(queue, parts.FileSink(folder / "sink", refused), ledger=ledger, clock=clock)
    ledger.capture()
    assert backend.emit(*parts.event(OWN)).reason is None  # from here on the house is open
    wait_for(lambda: not only_of(folder, DRAINER))
    letters = [parts.number_of(letter.envelope.event_id) for letter in queue.dead_letters]
    backend.close(100)
    stats = ledger.read()
    left = sorted(path.name for path in (folder / "v1").iterdir())
    aside = sorted(path.name for path in (folder / "quarantine").iterdir())
    balanced = stats.balanced and stats.pending == 0
    told = {"letters": letters, "left": left, "aside": aside, "balanced": balanced}
    os.write(report, json.dumps(told).encode())


def only_of(folder: Path, but: str) -> int:
    """How many owners there are but for this one."""
    names = {path.name.partition(".")[0] for path in (folder / "v1").iterdir()}
    return len(names - {but})


def wait_for(holds: Callable[[], bool]) -> None:
    """Wait until it holds; whoever waits for ever is ended by its alarm."""
    pause = threading.Event()
    while not holds():
        pause.wait(0.001)


def track_for_ever(settings: dict[str, Any], report: int) -> None:
    """Be an application: track events, and report each that was accepted, until somebody kills this process."""
    client = cio.Client(cio.Settings(**settings))
    pause = threading.Event()
    number = 0
    while True:
        number += 1
        event_id = client.track("step", {"n": number, "text": "ü" * (number % 200)}, person=f"p{number % 7}")
        assert not client.stats().dropped
        os.write(report, f"{os.getpid()} {event_id}\n".encode())
        if number % 5 == 0:
            pause.wait(0.001)  # or three of them would bury the sink


def drain_all(settings: dict[str, Any], report: int) -> None:
    """Be an application that has one event, and deliver what all others left."""
    client = cio.Client(cio.Settings(**settings))
    event_id = client.track("last", {}, person="p0")
    live = Path(settings["spool_dir"]) / "v1"
    wait_for(lambda: client.stats().delivered > 0)
    mine = f"{os.getpid()}-"
    wait_for(lambda: all(path.name.startswith(mine) for path in live.iterdir()))
    stats = client.close(10)
    assert stats.balanced, stats
    assert (stats.pending, dict(stats.dropped)) == (0, {}), stats
    os.write(report, f"{os.getpid()} {event_id}\n".encode())


def leave_an_orphan(folder: Path, name: str, numbers: range) -> None:
    """What a process of this name leaves that puts some events and is killed."""
    queue = parts.spool_queue(parts.settings(folder), new_name=lambda: name)
    for number in numbers:
        assert queue.put(*parts.event(number)).reason is None
    parts.die()


def drain_among_others(folder: Path, name: str, orphans: list[str], started: int) -> None:
    """Wait for the start; then adopt and deliver until no orphan is left."""
    signal.alarm(LONGEST)
    ledger, clock = Ledger(), parts.QuickClock()
    queue = parts.spool_queue(parts.settings(folder), clock=clock, ledger=ledger, new_name=lambda: name)
    backend = parts.backend_of(queue, parts.FileSink(folder / "sink"), ledger=ledger, clock=clock)
    os.read(started, 1)
    backend.wake()
    names = set(orphans)
    wait_for(lambda: names.isdisjoint(path.stem.partition(".")[0] for path in (folder / "v1").iterdir()))
    backend.close(100)
    stats = ledger.read()
    assert stats.balanced, stats
    assert stats.pending == 0, stats


def race(folder: Path, *, drainers: int, orphans: int, each: int) -> None:
    """Have many processes adopt many orphans at once. Every name is one of pid 1, or of this process, which lives."""
    names = [f"{os.getpid() if number % 2 else 1}-{number:016x}" for number in range(orphans)]
    for number, name in enumerate(names):
        assert ended(fork(leave_an_orphan, folder, name, range(number * each, (number + 1) * each))) == -signal.SIGKILL
    started, start = os.pipe()
    pids = [
        fork(drain_among_others, folder, f"1-{number + (1 << 60):016x}", names, started) for number in range(drainers)
    ]
    os.write(start, b"!" * drainers)
    say(codes=[ended(pid) for pid in pids], sink=(folder / "sink").read_text())
    os.close(started)
    os.close(start)


def begin_a_backlog(folder: Path, enough: int, report: int) -> None:
    """Meet a spool that is huge: report how soon the first batch of it left, and how much memory so many took."""
    ledger, clock = Ledger(), SystemClock()
    sink = parts.MemorySink()
    settings = parts.settings(folder, room=950_000, segment_bytes=SEGMENT_BYTES)
    queue = parts.spool_queue(settings, clock=clock, ledger=ledger)
    backend = parts.backend_of(
        queue, sink, ledger=ledger, flush_at=100, flush_interval=5.0, max_batch_events=1000, max_batch_bytes=475_000
    )  # fmt: skip
    before, started = memory("VmRSS"), clock.monotonic()
    backend.emit(*parts.event(0))
    wait_for(lambda: sink.requests > 0)
    first = clock.monotonic() - started
    wait_for(lambda: ledger.read().delivered > enough)
    os.write(report, json.dumps({"first": first, "grown": memory("VmHWM") - before}).encode())
    parts.die()


def memory(what: str) -> int:
    """Bytes of this process, by the kernel's count."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{what}:")]
    return int(line.split()[1]) * 1024


def fork(work: Callable[..., None], *arguments: Any, **options: Any) -> int:
    """Have a child do it. Its exit code is 0 when it came to the end of it."""
    pid = os.fork()
    if pid == 0:
        become(work, *arguments, **options)
    return pid


def become(work: Callable[..., None], *arguments: Any, **options: Any) -> NoReturn:
    """Do it, and be gone."""
    code = 1
    try:
        work(*arguments, **options)
        code = 0
    except BaseException:  # noqa: BLE001 - a child must never go on as the server
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    """Wait for the end of a child: its exit code, or the signal's number, negative."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run(work: Callable[..., None], *arguments: Any, **options: Any) -> tuple[int, bytes]:
    """Have a child do it: its exit code, and what it reported."""
    out, report = os.pipe()

    def bounded() -> None:
        signal.alarm(LONGEST)
        work(*arguments, **options, report=report)

    pid = fork(bounded)
    os.close(report)
    told = b""
    while more := os.read(out, 65536):
        told += more
    os.close(out)
    return ended(pid), told


def sweep(root: Path, request: dict[str, Any]) -> None:
    """Kill a process at every `step`th call, until one comes to its end, and say what became of its events."""
    number, name, when = request["first"], request["name"], request["when"]
    code = -signal.SIGKILL
    while code == -signal.SIGKILL:
        folder = root / f"{name}-{when}-{request['torn']}-{number}"
        shutil.copytree(root / "left", folder)
        where = parts.Failpoint(name, when, number, request["torn"])
        code, accepted = run(use, folder, where, early=request["early"], fsync=request["fsync"])
        drained, told = run(drain, folder, refused=REFUSED)
        say(
            number=number, code=code, accepted=[int(line) for line in accepted.split()], drained=drained,
            sink=(folder / "sink").read_text(), **json.loads(told or b"{}"),
        )  # fmt: skip
        shutil.rmtree(folder)
        number += request["step"]


def say(**answer: Any) -> None:
    """Answer."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Serve."""
    root = Path(sys.argv[1])
    quiet = logging.getLogger("cio_middleware")
    quiet.addHandler(logging.NullHandler())
    quiet.propagate = False
    assert ended(fork(leave_a_spool, root / "left")) == -signal.SIGKILL
    damage(root / "left")
    PosixFiles.make_directory(str(root / "left"))
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "sweep":
            sweep(root, request)
        elif request["do"] == "race":
            race(Path(request["folder"]), drainers=8, orphans=60, each=5)
        elif request["do"] == "backlog":
            code, told = run(begin_a_backlog, Path(request["folder"]), request["enough"])
            say(code=code, **json.loads(told))
        elif request["do"] == "fork":
            work = {"track": track_for_ever, "drain": drain_all}[request["work"]]
            say(pid=fork(work, request["settings"], request["report"]))
        elif request["do"] == "kill":
            os.kill(request["pid"], signal.SIGKILL)
            say(code=ended(request["pid"]))
        else:
            say(code=ended(request["pid"]))


if __name__ == "__main__":
    main()
