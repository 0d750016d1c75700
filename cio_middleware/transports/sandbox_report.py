"""
Tell a sandbox on this machine where an event came from and how far it got, so that its page can answer "why not?".

Customer.io must never see any of it. So nothing is sent before the other side has said that it is a sandbox, in a
header of an answer, and nothing ever leaves the machine: connections go to the loopback addresses themselves, with no
name looked up, no proxy asked and no redirect followed.

It is a side channel: a bounded queue, and a thread of its own that has 200 ms for each call. What does not fit or does
not arrive is forgotten, in silence; the app waits for none of it, and ends without it.
"""

from __future__ import annotations

import contextvars
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from .._fork import WATCH
from .._settings import is_loopback

HEADER = "x-cio-sandbox"
"""By which a sandbox introduces itself in every answer."""
TIMEOUT = 0.2
"""Seconds for one call, from connecting to the first line of the answer."""
MAX_RECORDS = 2000
"""Records that may wait; later ones are forgotten."""
MAX_LINES = 1000
"""Lines of one call; each is about 200 bytes."""
_LINGER = 0.02
_LONGEST_SILENCE = 30.0

_END = object()
"""Ends the thread."""

Record = tuple[Sequence[str | None], dict[str, Any]]
"""What was noted: of which events, and what."""

_encode = msgspec.json.Encoder().encode


def report_for(base_url: str, site_id: str) -> SandboxReport | None:
    """The side channel to a base URL; None where no sandbox can be: another machine, another scheme, below a path."""
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname or "", parts.port or 80
    except ValueError:
        return None
    if parts.scheme != "http" or not is_loopback(host) or parts.path not in {"", "/"}:
        return None
    hosts = ("127.0.0.1", "::1") if host == "localhost" else (host,)
    return SandboxReport(hosts, port, parts.netloc, site_id)


class SandboxReport:
    """
    The side channel of one client.

    Args:
        hosts: Loopback addresses, to be tried in this order.
        port: The port.
        netloc: Host and port as they are written in the base URL.
        site_id: The workspace.
    """

    def __init__(self, hosts: Sequence[str], port: int, netloc: str, site_id: str) -> None:
        self._hosts = hosts
        self._port = port
        self._netloc = netloc
        self._target = f"/_sandbox/v1/context?workspace={quote(site_id, safe='')}"
        self._met = False
        self.after_fork()
        WATCH.add(self)

    def after_fork(self) -> None:
        """What was noted in the parent is the parent's to tell."""
        self._lock = threading.Lock()
        self._waiting: Any = None
        self._thread: threading.Thread | None = None
        self._failures = 0
        self._silent_until = 0.0

    def met(self, headers: Any) -> None:
        """Look whether an answer was a sandbox's: from then on it is told what is noted, and what was before."""
        if not self._met and HEADER in headers:
            self._met = True
            self._wake()

    def note(self, event_ids: Sequence[str | None], record: dict[str, Any], *, urgent: bool = False) -> None:
        """
        Keep a record to be told. Never waits, never raises.

        Args:
            event_ids: Of which events.
            record: What the sandbox's reference lists; no payload and no person.
            urgent: Ask whether there is a sandbox, although no answer has said so yet.
        """
        try:
            if time.monotonic() < self._silent_until:
                return
            if (waiting := self._waiting) is None:
                # Made late, and by the module's name: gevent may have replaced what it is since we were imported.
                waiting = self._waiting = queue.SimpleQueue()
            if waiting.qsize() < MAX_RECORDS:
                waiting.put((event_ids, record))
            if self._thread is None and (self._met or urgent):
                self._wake()
        except Exception:  # noqa: BLE001, S110 - nothing of this may reach the application
            pass

    def flush(self, timeout: float = TIMEOUT) -> None:
        """Wait until what was noted has been told, at most this long."""
        if self._thread is not None and self._waiting is not None and self._thread.is_alive():
            told = threading.Event()
            self._waiting.put(told)
            told.wait(timeout)

    def close(self, timeout: float = TIMEOUT) -> None:
        """Tell what waits, at most this long, and end the thread: a sub-interpreter cannot end with one."""
        thread, waiting = self._thread, self._waiting
        if thread is not None and waiting is not None and thread.is_alive():
            waiting.put(_END)
            thread.join(timeout)
            self._thread = None

    def _wake(self) -> None:
        # Not waited for: a signal handler may come in the middle, and who holds it starts the thread.
        if self._waiting is None or not self._lock.acquire(blocking=False):
            return
        try:
            if self._thread is None:
                # A fresh context: instrumented threads would make this a child of the request that woke it.
                run = contextvars.Context().run
                thread = threading.Thread(
                    target=run, args=(self._work, self._waiting), name="cio_middleware-report", daemon=True
                )
                self._thread = thread
                with suppress(RuntimeError):  # the interpreter is exiting
                    thread.start()
        finally:
            self._lock.release()

    def _work(self, waiting: Any) -> None:
        ended = False
        while not ended:
            # Whatever happens, the next time is another time.
            with suppress(Exception):
                records, told, ended = _taken(waiting)
                self._tell(records, told)

    def _tell(self, records: list[Record], told: list[threading.Event]) -> None:
        """Tell what was noted in as few calls as it fits."""
        try:
            if not records:
                return
            if not self._met and not self._ask():
                self._failed()
                return
            lines = _lines(records)
            while chunk := b"".join(line for _, line in zip(range(MAX_LINES), lines, strict=False)):
                if not self._call("POST", self._target, chunk):
                    self._failed()
                    return
            self._failures = 0
        finally:
            for event in told:
                event.set()

    def _ask(self) -> bool:
        """Whether a sandbox listens here; nothing is said."""
        self._met = self._call("GET", "/_sandbox/v1/health", b"")
        return self._met

    def _failed(self) -> None:
        self._failures += 1
        self._silent_until = time.monotonic() + min(_LONGEST_SILENCE, 0.5 * 2**self._failures)

    def _call(self, method: str, target: str, body: bytes) -> bool:
        """Make one call. True when a sandbox took it."""
        end = time.monotonic() + TIMEOUT
        head = (
            f"{method} {target} HTTP/1.1\r\nHost: {self._netloc}\r\nX-Cio-Sandbox: 1\r\n"
            f"Content-Type: application/x-ndjson\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        for host in self._hosts:
            try:
                with socket.create_connection((host, self._port), timeout=_left(end)) as connection:
                    connection.settimeout(_left(end))
                    connection.sendall(head.encode("latin-1") + body)
                    return _is_taken(_answer(connection, lambda: _left(end)))
            except OSError:
                continue
        return False


def _left(end: float) -> float:
    return max(0.001, end - time.monotonic())


def _answer(connection: socket.socket, left: Callable[[], float]) -> bytes:
    """The head of an answer, in lower case."""
    head = b""
    while b"\r\n\r\n" not in head and len(head) < 65_536:
        connection.settimeout(left())
        part = connection.recv(4096)
        if not part:
            break
        head += part
    return head.partition(b"\r\n\r\n")[0].lower()


def _is_taken(head: bytes) -> bool:
    return head[9:10] == b"2" and f"\r\n{HEADER}:".encode() in head


def _taken(waiting: Any) -> tuple[list[Record], list[threading.Event], bool]:
    """What waits a moment after the first of it came; apart, who waits for it to be told, and whether it is the end."""
    records: list[Record] = []
    told: list[threading.Event] = []
    taken = waiting.get()
    until = time.monotonic() + _LINGER
    while True:
        if taken is _END:
            return records, told, True
        if isinstance(taken, threading.Event):
            told.append(taken)
        else:
            records.append(taken)
        left = 0.0 if told else until - time.monotonic()
        try:
            taken = waiting.get(timeout=left) if left > 0 else waiting.get_nowait()
        except queue.Empty:
            return records, told, False
        if len(records) >= MAX_LINES and taken is not _END and not isinstance(taken, threading.Event):
            records.append(taken)
            return records, told, False


def _lines(records: Sequence[Record]) -> Iterator[bytes]:
    for event_ids, record in records:
        for event_id in event_ids:
            yield _encode({"event_id": event_id, **record}) + b"\n"
