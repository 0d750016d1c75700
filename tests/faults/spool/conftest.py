"""Processes to kill, and a Customer.io that fails on its own account."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cio_middleware import Client, Stats
from cio_middleware.testing import Sandbox

ROOT = Path(__file__).parents[3]
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it


class ForkServer:
    """A warm process that forks others; see `fork_server`."""

    def __init__(self, folder: Path, *inherited: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.faults.spool.fork_server", str(folder)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=inherited,
        )  # fmt: skip

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Ask, and read one answer."""
        self.tell(do, **request)
        return self.answer()

    def tell(self, do: str, **request: Any) -> None:
        """Ask for what has several answers."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Read one answer."""
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        assert self._process.wait(30) == 0
        self._process.stdout.close()


@pytest.fixture(scope="session", name="folder")
def _folder() -> Iterator[Path]:
    """A folder in memory where there is one: the death of a process does not ask for a disk, and a sync takes 4 ms."""
    folder = Path(tempfile.mkdtemp(dir=MEMORY if os.access(MEMORY, os.W_OK) else None, prefix="spool"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session", name="lanes")
def _lanes(folder: Path) -> Iterator[list[ForkServer]]:
    """Two fork servers, to be asked at once."""
    lanes = []
    for name in ("odd", "even"):
        (folder / name).mkdir()
        lanes.append(ForkServer(folder / name))
    yield lanes
    for lane in lanes:
        lane.close()


class Sink:
    """
    A Customer.io that takes events over real sockets, remembers their bytes, and fails again and again.

    Each 7th connection is reset before anything is read of it. Each 17th request is answered with 503, each 199th with
    429 (a second is the least that a client then waits), and each 19th is accepted and reset, so that nobody learns it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connections = itertools.count(1)
        self._requests = itertools.count(1)
        self.copies: dict[str, set[bytes]] = defaultdict(set)
        """The different bytes that came under each id."""
        self.arrived: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if next(self._connections) % 7 == 0:
                self._reset(connection, "reset")
                return
            while body := read_body(connection):
                number = next(self._requests)
                if number % 17 == 0:
                    self.failed["503"] += 1
                    connection.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
                    continue
                if number % 199 == 0:
                    self.failed["429"] += 1
                    connection.sendall(b"HTTP/1.1 429 Slow\r\nRetry-After: 0.01\r\nContent-Length: 0\r\n\r\n")
                    continue
                self._take(body)
                if number % 19 == 0:
                    self._reset(connection, "lost answer")
                    return
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}\n")

    def _take(self, body: bytes) -> None:
        items = msgspec.json.decode(body, type=_Batch).batch
        with self._lock:
            for item in items:
                event_id = msgspec.json.decode(item, type=_Item).id
                self.arrived[event_id] += 1
                self.copies[event_id].add(bytes(item))

    def _reset(self, connection: socket.socket, why: str) -> None:
        self.failed[why] += 1
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def close(self) -> None:
        """Listen no more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class _Batch(msgspec.Struct):
    batch: list[msgspec.Raw]


class _Item(msgspec.Struct):
    id: str


def read_body(connection: socket.socket) -> bytes:
    """The body of the next request; nothing when the client is gone."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += (more := connection.recv(65536))
        if not more:
            return b""
    head, _, body = received.partition(b"\r\n\r\n")
    (length,) = re.findall(rb"(?i)content-length: *(\d+)", head)
    while len(body) < int(length):
        body += (more := connection.recv(65536))
        if not more:
            return b""
    return body


@pytest.fixture(name="sink")
def _sink() -> Iterator[Sink]:
    """A Customer.io that fails."""
    sink = Sink()
    yield sink
    sink.close()


class Confirmed:
    """Reads from a pipe which process had which event accepted."""

    def __init__(self) -> None:
        self._out, self.report = os.pipe()
        self._changed = threading.Condition()
        self.by_process: Counter[int] = Counter()
        self.ids: list[str] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with os.fdopen(self._out, encoding="ascii") as lines:
            for line in lines:
                pid, event_id = line.split()
                with self._changed:
                    self.by_process[int(pid)] += 1
                    self.ids.append(event_id)
                    self._changed.notify_all()

    def wait_for(self, pid: int, count: int) -> None:
        """Wait until a process had so many events accepted."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.by_process[pid] >= count, 20), "it stands still"

    def end(self) -> None:
        """Wait for the last line, when all who write are gone."""
        os.close(self.report)
        self._thread.join(10)


@pytest.fixture(name="confirmed")
def _confirmed() -> Confirmed:
    """A pipe for reports of accepted events."""
    return Confirmed()


@pytest.fixture(name="spool_dir")
def _spool_dir(tmp_path: Path) -> Path:
    """Where a test's spool is."""
    return tmp_path / "spool"


@pytest.fixture(name="variables")
def _variables(sandbox: Sandbox, spool_dir: Path) -> dict[str, str]:
    """The environment of an application that spools, with nothing due for a while."""
    return {
        "CUSTOMERIO_SITE_ID": sandbox.site_id, "CUSTOMERIO_API_KEY": "key", "CUSTOMERIO_BASE_URL": sandbox.url,
        "CUSTOMERIO_QUEUE": "spool", "CUSTOMERIO_SPOOL_DIR": str(spool_dir), "CUSTOMERIO_SPOOL_MIN_FREE_BYTES": "0",
        "CUSTOMERIO_RETRY_BASE": "0.01",
        # A process that may write small files only, or is killed, would leave Python's own cache of a module cut off.
        "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip


@pytest.fixture(name="start")
def _start(variables: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a script as an application that spools, and waits for its first line when told to."""
    started: list[subprocess.Popen[str]] = []

    def start(script: str, *, until: str | None = None, **more: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(script)], env={**variables, **more}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        if until is not None:
            assert process.stdout is not None
            assert process.stdout.readline() == f"{until}\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(name="run")
def _run(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., tuple[int, str, str]]:
    """Runs a script to its end: exit code, output, errors."""

    def run(script: str, **more: str) -> tuple[int, str, str]:
        process = start(script, **more)
        out, errors = process.communicate(timeout=30)
        return process.returncode, out, errors

    return run


@pytest.fixture(name="adopt")
def _adopt(
    make_client: Callable[..., Client], spool_dir: Path, eventually: Callable[..., None]
) -> Callable[..., Stats]:
    """Has a new client deliver what others left in the spool, or one of them, and closes it."""

    def adopt(pid: int | str = "") -> Stats:
        left = [*(spool_dir / "v1").glob(f"{pid}*")]
        assert left
        client = make_client(queue="spool", spool_dir=str(spool_dir), spool_min_free_bytes=0)
        client.track("adopter", person="ada")
        eventually(lambda: not any(path.exists() for path in left), 10)
        return client.close()

    return adopt


@pytest.fixture(name="numbers")
def _numbers(sandbox: Sandbox) -> Callable[[str], list[int]]:
    """What the events of a name carry as `n`, in order of arrival, repeats left out."""
    return lambda name: [event.data["n"] for event in sandbox.good if event.name == name]
