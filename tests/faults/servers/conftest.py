"""Real servers in processes of their own, and a gate at which their requests wait."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

APPS = Path(__file__).parent / "apps"


def free_port() -> int:
    """A port that nobody listens on, for servers that do not say which one they chose."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def environment(sandbox: Any, **variables: str) -> dict[str, str]:
    """What a child finds in its environment: a sandbox, and a queue that sends nothing before it must."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CUSTOMERIO_")}
    settings = {f"CUSTOMERIO_{name.upper()}": str(value) for name, value in sandbox.settings.items()}
    waiting = {"CUSTOMERIO_FLUSH_INTERVAL": "60", "CUSTOMERIO_RETRY_BASE": "0.01", "PYTHONWARNINGS": "error"}
    return {**kept, **settings, **waiting, **variables}


class Server:
    """One server process, in a group of its own, so that nothing of it outlives the test."""

    def __init__(self, command: Sequence[str], folder: Path, environ: Mapping[str, str], log: Path) -> None:
        self.port = free_port()
        self.folder = folder
        self.environ = dict(environ)
        self._log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *(part.format(port=self.port) for part in command)],
                cwd=folder, env=self.environ, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    @property
    def said(self) -> str:
        """All that the server and its workers have printed."""
        return self._log.read_text("utf-8")

    def get(self, n: int, *, gate: int | None = None, timeout: float = 20.0) -> dict[str, Any]:
        """One request, on a connection of its own: which process answered, and the ids of what it captured."""
        query = {"n": n} if gate is None else {"n": n, "gate": gate}
        with httpx.Client(trust_env=False, timeout=timeout) as browser:
            answer = browser.get(f"http://127.0.0.1:{self.port}/", params=query)
        answer.raise_for_status()
        answered: dict[str, Any] = answer.json()
        return answered

    def until_it_listens(self) -> None:
        """Wait until a connection is taken; the request after it may still have to wait for a worker."""

        def takes_one() -> bool:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port)).close()
                return True
            return False

        self.until(takes_one)

    def until_it_says(self, words: str) -> None:
        """Wait until the server has printed this."""
        self.until(lambda: words in self.said)

    def workers(self) -> set[int]:
        """The processes that it has forked or spawned."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text("utf-8")
        return {int(pid) for pid in children.split()}

    def until(self, holds: Callable[[], object], timeout: float = 20.0) -> None:
        """Wait until something holds while the server runs."""
        end = time.monotonic() + timeout
        while not holds():
            assert self.process.poll() is None or holds(), self.said
            assert time.monotonic() < end, self.said
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.01)

    def stop(self, how: signal.Signals = signal.SIGTERM, timeout: float = 20.0) -> int:
        """Tell the server to stop as a supervisor does, wait until it has, and return its exit code."""
        self.process.send_signal(how)
        return self.wait(timeout)

    def wait(self, timeout: float = 20.0) -> int:
        """Wait until the server is gone."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server did not stop\n{self.said}") from None

    def kill(self) -> None:
        """Leave nothing of it behind."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)


class Gate:
    """Where requests wait inside the application: the test sees them come, and lets them go on."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(20)
        self.port: int = self._listener.getsockname()[1]
        self._waiting: list[socket.socket] = []

    def until_one_waits(self) -> None:
        """Wait until one more request is in the middle of the application."""
        self._waiting.append(self._listener.accept()[0])

    def open(self) -> None:
        """Let all that wait go on."""
        for waiting in self._waiting:
            waiting.close()
        self._waiting.clear()

    def close(self) -> None:
        """Let all go on, and listen no more."""
        self.open()
        self._listener.close()


@pytest.fixture(name="queue", params=["memory", pytest.param("spool", marks=pytest.mark.slow)])
def _queue(request, tmp_path) -> dict[str, str]:
    """Which queue the servers' processes use, as variables of their environment; the second one takes its time."""
    spool = {"CUSTOMERIO_SPOOL_DIR": str(tmp_path / "spool"), "CUSTOMERIO_SPOOL_MIN_FREE_BYTES": "0"}
    return {"CUSTOMERIO_QUEUE": request.param, **(spool if request.param == "spool" else {})}


@pytest.fixture(name="launch")
def _launch(sandbox, queue, tmp_path) -> Iterator[Callable[..., Server]]:
    """Runs a module in a process; keywords are variables of its environment."""
    launched: list[Server] = []

    def launch(*command: str, folder: Path = APPS, **variables: str) -> Server:
        log = tmp_path / f"server{len(launched)}.log"
        launched.append(Server(command, folder, environment(sandbox, **queue, **variables), log))
        return launched[-1]

    yield launch
    for server in launched:
        server.kill()


@pytest.fixture(name="start")
def _start(launch) -> Callable[..., Server]:
    """The same for a server: with it, wait until it takes connections. `{port}` in its arguments is a free one."""

    def start(*command: str, **options: Any) -> Server:
        server: Server = launch(*command, **options)
        server.until_it_listens()
        return server

    return start


@pytest.fixture(name="gate")
def _gate() -> Iterator[Gate]:
    """A gate at which requests wait."""
    gate = Gate()
    yield gate
    gate.close()


@pytest.fixture(name="arrived")
def _arrived(sandbox) -> Callable[[], list[str]]:
    """The ids of all events that the sandbox took, sorted; an id that came twice is there twice."""
    return lambda: sorted(event.event_id for event in sandbox.good for _ in range(event.attempts))
