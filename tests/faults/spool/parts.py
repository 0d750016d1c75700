"""
A spool with its worker, put together by hand: the seams take a disk that kills, a clock that hurries, a sink in a file.

Shared by the tests, and by the processes that they kill (`fork_server`).
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec

from cio_middleware._events import Envelope
from cio_middleware._ids import Clock, SystemClock, dice, owner_name
from cio_middleware._metrics import Metrics
from cio_middleware._notices import Notices
from cio_middleware._stats import Ledger
from cio_middleware._telemetry import Telemetry
from cio_middleware.backends._exit import Shutdown
from cio_middleware.backends.queued import Pace, QueuedBackend
from cio_middleware.delivery.drive import Sender
from cio_middleware.delivery.limiter import Limiter
from cio_middleware.delivery.retry import RetryPolicy
from cio_middleware.queues.spool.disk import SpoolSettings
from cio_middleware.queues.spool.files import Files, PosixFiles
from cio_middleware.queues.spool.format import HEADER_BYTES
from cio_middleware.queues.spool.queue import SpoolQueue
from cio_middleware.transports.http import AsyncHttpTransport
from cio_middleware.typing import Answer, Request, Response, Transport

CALLS = (
    "open", "write", "pwrite", "truncate", "sync", "sync_directory", "rename", "unlink", "close", "lock",
    "make_directory",
)  # fmt: skip
"""What of `Files` changes something."""
BATCH = 4


def settings(path: object, **changes: Any) -> SpoolSettings:
    """A spool in `path` that begins a segment every four events, and holds nothing in memory."""
    plain = SpoolSettings(
        path=str(path), destination=b"d" * 16, fsync="interval", max_bytes=1 << 30, min_free_bytes=0, held_events=0,
        held_bytes=0, max_in_flight=1, room=2000, segment_bytes=HEADER_BYTES + 1000,
    )  # fmt: skip
    return replace(plain, **changes)


def event(number: int) -> tuple[Envelope, bytes]:
    """An event that is told by its number, down to the last byte."""
    event_id = f"{number:026}"
    item = b'{"id":"%b","n":%d,"text":"%b"}' % (event_id.encode(), number, bytes([97 + number % 26]) * (number % 90))
    return Envelope(event_id, "event", "batch", crc32(b"%d" % (number % 5)), time.time()), item


def number_of(event_id: str) -> int:
    """The number of an event."""
    return int(event_id)


class QuickClock:
    """The machine's clock fifty times as fast, so that a child that lives for 20 ms is looked after five times."""

    time = staticmethod(time.time)

    @staticmethod
    def monotonic() -> float:
        """Seconds of its own."""
        return time.monotonic() * 50

    @staticmethod
    def sleep(seconds: float, /) -> None:
        """Wait so many of them."""
        time.sleep(seconds / 50)

    @staticmethod
    def wait(condition: threading.Condition, seconds: float | None) -> None:
        """Wait for the condition, at most so many of them."""
        condition.wait(None if seconds is None else seconds / 50)


@dataclass
class Failpoint:
    """
    Where to die: at the `number`th call of `name`, "before" it, "after" it, or with `torn` of its bytes written.

    A negative `torn` counts from the end, as in a slice.
    """

    name: str
    when: str
    number: int
    torn: int = 0

    def __post_init__(self) -> None:
        self.seen: Counter[str] = Counter()
        """How often each was called."""

    def around(self, name: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Make a call, and die there if this is the place."""
        self.seen[name] += 1
        here = name == self.name and self.seen[name] == self.number
        if here and self.when == "torn":
            fd, data, *rest = arguments
            call(fd, data[: self.torn], *rest)
        if here and self.when != "after":
            die()
        result = call(*arguments, **options)
        if here:
            die()
        return result


def die() -> None:
    """End this process as the out-of-memory killer does."""
    os.kill(os.getpid(), signal.SIGKILL)


class Watched(PosixFiles):
    """The machine's file system, with somebody `around` each call that changes something."""

    def __init__(self, around: Callable[..., Any]) -> None:
        for name in CALLS:
            setattr(self, name, self._watched(name, getattr(self, name), around))

    @staticmethod
    def _watched(name: str, call: Callable[..., Any], around: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **options: around(name, call, *arguments, **options)


class FileSink(Transport):
    """
    Customer.io as one file: a batch is accepted when its line is in there. Refuses events whose number is in `refuses`.

    No socket, because 600 children must not take minutes; what a real server does is the matter of other tests.
    """

    def __init__(
        self, path: Path, refuses: frozenset[int] = frozenset(), around: Callable[..., Any] | None = None
    ) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)
        self._refuses = refuses
        self._around = around or (lambda _, call, *arguments: call(*arguments))

    def send(self, base_url: str, request: Request, timeout: float) -> Answer:
        """Accept a batch, but for what is refused."""
        del base_url, timeout
        items: list[dict[str, Any]] = json.loads(request.body)["batch"]
        self._around("send", os.write, self._fd, request.body + b"\n")
        errors = [
            {"batch_index": index, "reason": "invalid", "field": "n", "message": "refused"}
            for index, item in enumerate(items)
            if item["n"] in self._refuses
        ]
        body = json.dumps({"errors": errors} if errors else {}).encode()
        return Response(207 if errors else 200, {}, body, time.time())

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def spool_queue(
    spool: SpoolSettings,
    *,
    files: Files | None = None,
    clock: Clock | None = None,
    ledger: Ledger | None = None,
    notices: Notices | None = None,
    new_name: Callable[[], str] = owner_name,
) -> SpoolQueue:
    """A spool's queue."""
    clock = clock or SystemClock()
    return SpoolQueue(
        spool, files=files or PosixFiles(), ledger=ledger or Ledger(), clock=clock, notices=notices or Notices(clock),
        dice=dice, new_name=new_name,
    )  # fmt: skip


def backend_of(
    queue: Any,
    transport: Transport,
    *,
    ledger: Ledger,
    clock: Clock | None = None,
    limiter: Limiter | None = None,
    policy: RetryPolicy | None = None,
    notices: Notices | None = None,
    **pace: Any,
) -> QueuedBackend:
    """A queued backend on a queue, with small batches and quick retries."""
    clock = clock or SystemClock()
    sender = Sender(
        base_url="http://127.0.0.1:1",
        transport=transport,
        async_transport=AsyncHttpTransport(lambda: ("site", "key")),
        policy=policy or RetryPolicy(0.01, 0.05),
        limiter=limiter or Limiter(1e6),
        clock=clock,
        ledger=ledger,
        timeout=5.0,
    )
    telemetry = Telemetry(
        base_url="http://127.0.0.1:1", region="us", backend="queued", create_spans=False,
        metrics=Metrics("queued", ledger.read), monotonic=clock.monotonic,
    )  # fmt: skip
    values = {
        "flush_at": BATCH, "flush_interval": 0.05, "max_batch_events": BATCH, "max_batch_bytes": 100_000,
        "max_age": None,
    }  # fmt: skip
    return QueuedBackend(
        queue, sender, pace=Pace(**{**values, **pace}), clock=clock, notices=notices or Notices(clock),
        telemetry=telemetry, shutdown=Shutdown(clock, 100.0),
    )  # fmt: skip


class Trouble:
    """Makes calls of a `Watched` file system fail: those that `errors` names, each with its errno."""

    def __init__(self, **errors: int) -> None:
        self.errors = errors
        self.short = False
        """Whether a write takes half of what it is given."""

    def __call__(self, name: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Make the call, or not."""
        if name in self.errors:
            raise OSError(self.errors[name], os.strerror(self.errors[name]))
        if name == "write" and self.short:
            fd, data = arguments
            return call(fd, data[: len(data) // 2])
        return call(*arguments, **options)


class MemorySink(Transport):
    """Customer.io as a list, which answers with `status`."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.numbers: list[int] = []
        self.requests = 0

    def send(self, base_url: str, request: Request, timeout: float) -> Answer:
        """Accept a batch, or not."""
        del base_url, timeout
        self.requests += 1
        if self.status == 200:
            self.numbers += [item["n"] for item in msgspec.json.decode(request.body)["batch"]]
        return Response(self.status, {}, b"{}", time.time())

    def close(self) -> None:
        """Nothing is open."""
