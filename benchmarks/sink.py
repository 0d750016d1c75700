"""
Where the events go: a server in a process of its own that takes them all, and fails as it is told to.

It answers every POST at once and decodes nothing while a client is being timed; what came is worked out when somebody
asks with a GET. An event is known by its attribute `n`; one with an attribute `bad` is refused by a faulty server.

Run as a module: `python -m benchmarks.sink '{"delay": 0.05}'`. It prints its port and ends when its input does.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_BAD = b'"bad"'


class Seen:
    """What arrived, and how the next request is to be answered."""

    def __init__(self, *, delay: float = 0.0, down_at: float = 0.0, down_for: float = 0.0, refuse: str = "") -> None:
        self.delay = delay
        self.refuse = refuse
        self._down_at = down_at
        self._down_for = down_for
        self._first: float | None = None
        self._bodies: list[tuple[bool, bytes]] = []

    def is_down(self) -> bool:
        """Whether connections are cut at this moment; the clock starts with the first request."""
        now = time.monotonic()
        if self._first is None:
            self._first = now
        return self._down_at <= now - self._first < self._down_at + self._down_for

    def answer(self, body: bytes, *, zipped: bool) -> bytes:
        """Take a request and say what became of it."""
        if self.refuse and _BAD in (plain := gzip.decompress(body) if zipped else body):
            if self.refuse == "batch":
                return _REFUSED
            items = json.loads(plain)["batch"]
            bad = [place for place, item in enumerate(items) if "bad" in _attributes(item)]
            kept = [item for place, item in enumerate(items) if place not in bad]
            self._bodies.append((False, json.dumps({"batch": kept}).encode()))
            errors = [{"batch_index": place, "reason": "invalid", "message": "this event is bad"} for place in bad]
            return _http(b"207 Multi-Status", json.dumps({"errors": errors}).encode())
        self._bodies.append((zipped, body))
        return _OK

    def count(self) -> int:
        """How many different events were accepted."""
        seen: set[int] = set()
        for zipped, body in self._bodies:
            items = json.loads(gzip.decompress(body) if zipped else body)["batch"]
            seen.update(_attributes(item)["n"] for item in items)
        return len(seen)


class Connection(asyncio.Protocol):
    """HTTP/1.1 with Content-Length, as every client here sends it."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._read = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody came."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what a TCP server gets
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer as many requests as are complete."""
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._read[:end]).lower()
            length = int(_header(head, b"content-length") or 0)
            if len(self._read) < end + 4 + length:
                return
            body = bytes(self._read[end + 4 : end + 4 + length])
            del self._read[: end + 4 + length]
            if head.startswith(b"get"):
                self._write(_http(b"200 OK", b"%d" % self._seen.count()))
            elif self._seen.is_down():
                self._transport.abort()
            else:
                answer = self._seen.answer(body, zipped=_header(head, b"content-encoding") == b"gzip")
                asyncio.get_running_loop().call_later(self._seen.delay, self._write, answer)

    def _write(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


@contextmanager
def running(**faults: Any) -> Iterator[str]:
    """Run a sink for as long as the block runs; yields its URL. `faults` are the arguments of `Seen`."""
    command = [sys.executable, "-m", __name__, json.dumps(faults)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None  # noqa: S101
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"


def seen_by(url: str) -> int:
    """How many different events the sink at the URL accepted."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=60) as answer:
        return int(answer.read())


def _http(status: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


# Track v2 says `{}`; the others read `success`.
_OK = _http(b"200 OK", b'{"success":true}')
# Each in its own words, or a client would take the answer for a broken one and send it again.
_REFUSED = _http(
    b"400 Bad Request",
    b'{"errors":[{"reason":"invalid","message":"an event is bad"}],"code":"invalid","message":"an event is bad"}',
)


def _header(head: bytes, name: bytes) -> bytes | None:
    _, found, rest = head.partition(b"\r\n" + name + b":")
    return rest.partition(b"\r\n")[0].strip() if found else None


def _attributes(item: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = item.get("attributes") or item["properties"]
    return found


async def _serve(seen: Seen) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(seen), "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(Seen(**json.loads(sys.argv[1]))))
