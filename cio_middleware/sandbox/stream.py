"""
Live updates as server-sent events, without a gap: a client that was cut off goes on from the last cursor it saw.

A stream has no queue of its own. It reads the change log from where it was, so that a client which reads slowly costs
nothing, and one that fell too far behind is told to read the list again. While much happens, what came within a tenth
of a second is sent together.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from cio_middleware.sandbox import changes
from cio_middleware.sandbox.guards import problem
from cio_middleware.sandbox.profiles import summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from starlette.types import Receive, Scope, Send

    from cio_middleware.sandbox.bell import Bell
    from cio_middleware.sandbox.changes import Change
    from cio_middleware.sandbox.store import Workspace, Workspaces

FRAME_ROWS = 200
"""Rows in one frame at most."""


@dataclass(frozen=True, slots=True)
class Pace:
    """
    How a sandbox streams.

    Attributes:
        streams: So many may be open at once.
        heartbeat: Seconds of silence after which a comment says that the line is alive.
        merge_above: Events of one second above which frames are merged.
        merge_seconds: What comes within so many seconds is then one frame.
        behind: Rows that a client may be behind before it is told to read the list again.
    """

    streams: int = 16
    heartbeat: float = 15.0
    merge_above: int = 30
    merge_seconds: float = 0.1
    behind: int = 1000


_LINE_ENDS = {number: f"\\u{number:04x}" for number in (0x85, 0x2028, 0x2029)}


class Streams:
    """The streams of one sandbox."""

    def __init__(self, workspaces: Workspaces, version: str, pace: Pace | None = None) -> None:
        self.workspaces = workspaces
        self.version = version
        self.pace = pace or Pace()
        self.open = 0

    def stream(self, workspace: str, since: str | None) -> Stream:
        """
        Return a stream of a workspace as an ASGI response.

        Args:
            workspace: Its name; there need be no such workspace yet.
            since: The cursor from which to go on; None means from now on.

        Raises:
            BadCursor: for what is no cursor.
        """
        return Stream(self, workspace, None if since is None else changes.read(since))


class Stream:
    """One client's stream."""

    def __init__(self, streams: Streams, workspace: str, since: tuple[int, int] | None) -> None:
        self._streams = streams
        self._name = workspace
        self._since = since
        self._at = (0, 0)
        self._sent: deque[tuple[float, int]] = deque()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the client goes or the server stops."""
        most = self._streams.pace.streams
        if self._streams.open >= most:
            said = f"{most} streams are open already, and the sandbox serves no more"
            fix = "Close a tab or a tail; tabs of one browser share a stream."
            await problem(HTTPStatus.SERVICE_UNAVAILABLE, "CIO-SBX-010", said, fix)(scope, receive, send)
            return
        self._streams.open += 1
        gone = asyncio.ensure_future(_gone(receive))
        pump = asyncio.ensure_future(self._pump(send))
        try:
            await asyncio.wait({gone, pump}, return_when=asyncio.FIRST_COMPLETED)
            if pump.done():
                pump.result()
        except asyncio.CancelledError:
            pass  # the server stops
        finally:
            self._streams.open -= 1
            for task in (gone, pump):
                task.cancel()

    async def _pump(self, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": headers})
        await _write(
            send, b": cio sandbox\nretry: 1000\n\n"
        )  # at once: some browsers open a stream with its first byte
        for frame in self._begin():
            await _write(send, frame)
        spoken = time.monotonic()
        pace = self._streams.pace
        while True:
            await self._merge(spoken)
            frames = list(self._next())
            for frame in frames:
                await _write(send, frame)
            if frames:
                spoken = time.monotonic()
                continue  # meanwhile more may have come
            if not await self._bell().heard(spoken + pace.heartbeat - time.monotonic()):
                await _write(send, b": heartbeat\n\n")
                spoken = time.monotonic()

    def _workspace(self) -> Workspace:
        return self._streams.workspaces.peek(self._name)

    def _bell(self) -> Bell:
        known = self._name in self._streams.workspaces
        return self._workspace().bell if known else self._streams.workspaces.opened

    def _begin(self) -> Iterator[bytes]:
        workspace = self._workspace()
        log = workspace.changes
        epoch, number = self._since or (log.epoch, log.latest)
        missed = log.since(number) if epoch == log.epoch else None
        self._at = (log.epoch, log.latest if missed is None else number)
        hello = {"epoch": log.epoch, "cursor": self._cursor, "version": self._streams.version}
        yield _frame("hello", hello, self._cursor)
        if missed is None:
            kind = "lag" if epoch == log.epoch and number <= log.latest else "reset"
            yield _frame(kind, {"epoch": log.epoch, "cursor": self._cursor}, self._cursor)
        elif missed:
            self._at = (log.epoch, missed[-1].number)
            yield from self._frames(workspace, missed)

    def _next(self) -> Iterator[bytes]:
        workspace = self._workspace()
        log, (epoch, number) = workspace.changes, self._at
        fresh = log.since(number)
        self._at = (log.epoch, log.latest)
        if epoch != log.epoch:
            yield _frame("reset", {"epoch": log.epoch, "cursor": self._cursor}, self._cursor)
            return
        rows = sum(change.kind in {"event", "update"} for change in fresh or ())
        if fresh is None or rows > self._streams.pace.behind:
            yield _frame("lag", {"epoch": log.epoch, "cursor": self._cursor}, self._cursor)
            return
        self._sent.append((time.monotonic(), rows))
        yield from self._frames(workspace, fresh)

    def _frames(self, workspace: Workspace, fresh: Iterable[Change]) -> Iterator[bytes]:
        said = list(_said(workspace, list(fresh)))
        # Only the last one moves the client's cursor: who is cut off before it gets all of them again.
        return (
            _frame(kind, value, self._cursor if number == len(said) else None)
            for number, (kind, value) in enumerate(said, 1)
        )

    async def _merge(self, spoken: float) -> None:
        now = time.monotonic()
        while self._sent and self._sent[0][0] < now - 1:
            self._sent.popleft()
        pace = self._streams.pace
        if sum(rows for _, rows in self._sent) > pace.merge_above:
            await asyncio.sleep(max(spoken + pace.merge_seconds - now, 0))

    @property
    def _cursor(self) -> str:
        return f"{self._at[0]}-{self._at[1]}"


def _said(workspace: Workspace, fresh: list[Change]) -> Iterator[tuple[str, Any]]:
    """Yield what to say about changes: each kind once, with what is known now."""
    resets = [place for place, change in enumerate(fresh) if change.kind == "reset"]
    if resets:
        yield "reset", {"epoch": workspace.epoch, "cursor": workspace.changes.cursor}
        fresh = fresh[resets[-1] + 1 :]
    if any(change.kind == "fault" for change in fresh):
        yield "fault", workspace.faults.document()
    people = dict.fromkeys(change.key for change in fresh if change.kind == "person")
    if people:
        yield "person", {"items": [summary(workspace, str(key)) for key in people]}
    events = dict.fromkeys(change.key for change in fresh if change.kind == "event")
    updates = dict.fromkeys(change.key for change in fresh if change.kind == "update" and change.key not in events)
    yield from _rows(workspace, "update", updates)
    yield from _rows(workspace, "event", events)


def _rows(workspace: Workspace, kind: str, numbers: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    found = [row for seq in numbers if (row := workspace.events.get(seq)) is not None]
    for start in range(0, len(found), FRAME_ROWS):
        yield kind, {"items": [row.document() for row in found[start : start + FRAME_ROWS]]}


def _frame(kind: str, value: Any, cursor: str | None) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    head = f"event: {kind}\n" if cursor is None else f"event: {kind}\nid: {cursor}\n"
    # In JSON a line end inside a text is an escape, so that the data is one line, whatever is in it; except for those
    # that only Unicode knows, at which readers in Python would break it.
    return f"{head}data: {text.translate(_LINE_ENDS)}\n\n".encode("utf-8", "backslashreplace")


async def _write(send: Send, data: bytes) -> None:
    with suppress(OSError):  # the client went; whoever listens for that ends the stream
        await send({"type": "http.response.body", "body": data, "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
