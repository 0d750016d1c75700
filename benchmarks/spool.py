"""
What the disk costs: the caller, beside the queue in memory; four processes at once; and whoever drains what is there.

The drain is timed by itself, from the file to the ack and without HTTP, which `rate` has for the queue in memory.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from .players import NAME, attributes

if TYPE_CHECKING:
    from cio_middleware import Client
    from cio_middleware.queues.spool.queue import SpoolQueue
    from cio_middleware.typing import Entry

_PEOPLE = [f"user-{n}" for n in range(1000)]
_WRITERS = 4
_MIB = 1024 * 1024
_BATCH_BYTES = 475_000


def burst(player: str, url: str, events: int) -> dict[str, float]:
    """`track()` on the spool and in memory, in turns of a hundred, so that both see the same machine."""
    del player
    with _spool_dir() as path:
        clients = {"memory": _client(url), "spool": _client(url, path)}
        took: dict[str, list[int]] = {name: [] for name in clients}
        for client in clients.values():
            _times(client, 300)
        gc.collect()
        for _ in range(events // 100):
            for name, client in clients.items():
                took[name] += _times(client, 100)
        for client in clients.values():
            client.close(0)
        return {name: statistics.median(times) / 1000 for name, times in took.items()}


def writers(player: str, url: str, events: int) -> dict[str, float]:
    """Four processes write at once, each as fast as it can: the call that one in a thousand is slower than."""
    del player
    with _spool_dir() as path:
        reading, writing = os.pipe()
        for _ in range(_WRITERS):
            if os.fork() == 0:
                try:
                    client = _client(url, path)
                    _times(client, 300)
                    slow = statistics.quantiles(_times(client, events), n=1000)[998] / 1e6
                    os.write(writing, json.dumps(slow).encode() + b"\n")
                finally:
                    os._exit(0)
        for _ in range(_WRITERS):
            os.wait()
        os.close(writing)
        with os.fdopen(reading) as lines:
            return {"stall_ms": max(float(line) for line in lines)}


def drain(player: str, url: str, events: int) -> dict[str, float]:
    """From the first lease to the last ack of what a dead process left."""
    del player, url
    with _spool_dir() as path:
        _leave_behind(path, events)
        queue = _queue(path)
        start, done = time.perf_counter(), 0
        while done < events:
            queue.tend(closing=False)
            done += _settle_one(queue)
        return {"us": (time.perf_counter() - start) * 1e6 / events}


def backlog(player: str, url: str, mebibytes: int) -> dict[str, float]:
    """How much memory it takes to drain a backlog of so many mebibytes, over what the process had before."""
    del player, url
    with _spool_dir() as path:
        _leave_behind(path, 12_000)
        _multiply(Path(path) / "v1", mebibytes)
        queue = _queue(path)
        before = most = _resident()
        start, first, idle = time.perf_counter(), 0.0, 0
        while idle < 3:
            queue.tend(closing=False)
            idle = 0 if _settle_one(queue) else idle + 1
            first = first or time.perf_counter() - start
            most = max(most, _resident())
        return {"mib": most - before, "first_ms": first * 1000}


@contextlib.contextmanager
def _spool_dir() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as path:
        yield f"{path}/spool"


def _client(url: str, spool_dir: str | None = None) -> Client:
    from cio_middleware import Client, Settings

    chosen: dict[str, Any] = {} if spool_dir is None else {"queue": "spool", "spool_dir": spool_dir}
    # Nothing is sent meanwhile: what a sending thread costs is another scenario's.
    waiting: dict[str, Any] = {
        "flush_at": 10**8,
        "flush_interval": 3600.0,
        "max_queue_events": 10**8,
        "max_queue_bytes": 10**9,
    }
    return Client(Settings(site_id="bench", api_key="bench", base_url=url, spool_max_bytes=10**9, **waiting, **chosen))


def _times(client: Client, events: int) -> list[int]:
    took, track = [], client.track
    for n in range(events):
        person, values = _PEOPLE[n % 1000], attributes(n)
        start = perf_counter_ns()
        track(NAME, values, person=person)
        took.append(perf_counter_ns() - start)
    return took


def _leave_behind(spool_dir: str, events: int) -> None:
    """Have a process write so many events, and die."""
    pid = os.fork()
    if pid == 0:
        try:
            queue = _queue(spool_dir)
            for entry in _entries(events):
                queue.put(*entry)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def _entries(events: int) -> Iterator[Entry]:
    from cio_middleware._events import Envelope
    from cio_middleware._ids import SystemClock, Ulids
    from cio_middleware.wire import track

    clock = SystemClock()
    ulids = Ulids(clock.time)
    for n in range(events):
        event_id, now = ulids(), clock.time()
        who, values = track.dump({"id": _PEOPLE[n % 1000]}), track.dump(attributes(n))
        item = track.EVENT % (b"event", who, track.dump(NAME), event_id.encode(), int(now), values)
        yield Envelope(event_id, "event", "batch", track.lane(who), now), item


def _multiply(live: Path, mebibytes: int) -> None:
    """Copy a dead process's fullest segment until there is that much."""
    fullest = max(live.glob("*.seg"), key=lambda path: path.stat().st_size)
    data, owner = fullest.read_bytes(), fullest.name.split(".")[0]
    for number in range(100, 100 + mebibytes * _MIB // len(data)):
        copy = live / f"{owner}.{number:08}.seg"
        copy.write_bytes(data)
        copy.chmod(0o600)


def _queue(spool_dir: str) -> SpoolQueue:
    """A spool without a backend, so that nobody but the scenario takes anything out of it."""
    from cio_middleware._ids import SystemClock, dice, owner_name
    from cio_middleware._notices import Notices
    from cio_middleware._stats import Ledger
    from cio_middleware.queues.spool.disk import SpoolSettings
    from cio_middleware.queues.spool.files import PosixFiles
    from cio_middleware.queues.spool.queue import SpoolQueue

    settings = SpoolSettings(
        path=spool_dir, destination=bytes(16), fsync="interval", max_bytes=1 << 40, min_free_bytes=0,
        held_events=0, held_bytes=0, max_in_flight=1, room=2 * _BATCH_BYTES,
    )  # fmt: skip
    clock = SystemClock()
    return SpoolQueue(
        settings, files=PosixFiles(), ledger=Ledger(), clock=clock, notices=Notices(clock), dice=dice,
        new_name=owner_name,
    )  # fmt: skip


def _settle_one(queue: SpoolQueue) -> int:
    lease = queue.lease(1000, _BATCH_BYTES)
    if lease is None:
        return 0
    count = queue.ack(lease, range(len(lease.entries)))
    queue.nack(lease)
    return count


def _resident() -> float:
    """The memory that this process has now, in MiB."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize() / _MIB
