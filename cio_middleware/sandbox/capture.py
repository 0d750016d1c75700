"""
A capture of one workspace as lines of JSON: what somebody attaches to a bug report, and what comes back from it.

The first line says what it is; each other line is one request, event, person, object or suppressed identifier. What is
read is not believed: `Reader` refuses whatever `lines` would not have written, with a sentence, and nothing is put in
place before the last line was right. Faults, waits and credentials are not in it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cio_middleware.sandbox import jsontext
from cio_middleware.sandbox.credentials import is_secret
from cio_middleware.sandbox.people import Person
from cio_middleware.sandbox.rows import EventRow, RequestRow
from cio_middleware.sandbox.shapes import BadShape, shape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cio_middleware.sandbox.store import Memory, Workspace

FORMAT = 1
CAPTURE_BYTES = 256 * 1024 * 1024
"""Bytes of a capture that are read: a full workspace with its requests."""

LINE_BYTES = 8 * 1024 * 1024
"""Bytes of one line: a body of a mebibyte, all of it escapes."""

LINES = 1_000_000
LATEST = 1e11
"""Unix seconds that a row may have: the year 5138, and milliseconds that it may have taken."""

LARGEST = 10**15
"""Numbers of rows and requests, and bytes: what follows them still has few enough digits to be asked for."""

DEPTH = 72
"""Nesting of a line: a payload of 64 levels, and the row around it."""


class BadCapture(ValueError):
    """What was sent is no capture; the message says in which line, and why."""


def lines(workspace: Workspace, version: str) -> Iterator[str]:
    """Yield the lines of a capture; what changes while they are read is in none of them or in all."""
    memory = workspace.memory
    entries = [("request", row) for row in memory.ledger.requests] + [("event", row) for row in memory.ledger.rows]
    # Rows are frozen; profiles are not, so they are written down now.
    others = [entry("person", person) for person in memory.people]
    others += [object_line(key, value) for key, value in memory.objects.items()]
    others += [suppressed_line(key) for key in memory.people.suppressions]
    yield head(workspace, version)
    for kind, row in entries:
        yield entry(kind, row)
    yield from others
    yield end(len(entries) + len(others))


def head(workspace: Workspace, version: str) -> str:
    """Return the first line."""
    memory = workspace.memory
    return _line({
        "cio_sandbox": FORMAT,
        "version": version,
        "workspace": workspace.name,
        "seq": memory.seq,
        "requests": memory.requests_numbered,
    })  # fmt: skip


def entry(kind: str, value: Any) -> str:
    """Return the line of a request, an event or a person."""
    return _line({"type": kind, kind: _SHAPES[kind].dump(value)})


def object_line(key: tuple[str, str], attributes: dict[str, Any]) -> str:
    """Return the line of an object."""
    return _line({"type": "object", "key": [*key], "attributes": attributes})


def suppressed_line(key: tuple[str, str]) -> str:
    """Return the line of a suppressed identifier."""
    return _line({"type": "suppressed", "key": [*key]})


def end(count: int) -> str:
    """Return the last line, after so many others."""
    return _line({"type": "end", "lines": count})


def _line(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # Half a surrogate pair, which no file can hold, becomes the escape that it came in as.
    return text.encode("utf-8", "backslashreplace").decode() + "\n"


class Reader:
    """
    Take a capture in as it arrives, into a memory of its own.

    Args:
        memory: An empty one; it is filled line by line.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.workspace = ""
        self._rest = b""
        self._lines = 0
        self._ended = False
        self._requests: set[str] = set()
        self._kinds: dict[str, Callable[[dict[str, Any]], None]] = {
            "request": self._request,
            "event": self._event,
            "person": self._person,
            "object": self._object,
            "suppressed": self._suppressed,
            "end": self._end,
        }

    def feed(self, chunk: bytes) -> None:
        """
        Read the lines that are whole.

        Raises:
            BadCapture: for the first line that cannot be right.
        """
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        for text in whole:
            self._read(text)
        if len(self._rest) > LINE_BYTES:
            raise BadCapture(f"line {self._lines + 1} is longer than {LINE_BYTES} bytes")

    def finish(self) -> Memory:
        """
        Return what was read.

        Raises:
            BadCapture: when the last line is not the end of a capture.
        """
        if self._rest.strip():
            self._read(self._rest)
        if not self._ended:
            raise BadCapture("the capture is cut off: its last line is missing. Save it again")
        return self.memory

    def _read(self, text: bytes) -> None:
        self._lines += 1
        if self._ended or self._lines > LINES:
            raise BadCapture(f"line {self._lines} comes after the end of the capture")
        try:
            given = jsontext.read(text, DEPTH).value
            if not isinstance(given, dict):
                raise BadShape("it is no object")  # noqa: TRY301  # the line's number is added below
            if self._lines == 1:
                self._head(given)
            else:
                self._entry(given)
        except (jsontext.NotJson, BadShape, ValueError) as error:
            raise BadCapture(f"line {self._lines}: {error}") from error

    def _head(self, given: dict[str, Any]) -> None:
        if "cio_sandbox" not in given:
            raise BadShape("this is no capture of a sandbox. Type: GET /_sandbox/v1/export.ndjson writes one")
        if given["cio_sandbox"] != FORMAT:
            raise BadShape(f"format {given['cio_sandbox']!r:.40} is not known here, only {FORMAT}. Use a newer sandbox")
        self.workspace = _TEXT.load(given.get("workspace"), "workspace")[:200]
        if any("\ud800" <= char <= "\udfff" for char in self.workspace):  # no credential can say it, nor a file
            raise BadShape("workspace holds half a surrogate pair")
        self.memory.seq = _natural(given.get("seq"), "seq")
        self.memory.requests_numbered = _natural(given.get("requests"), "requests")

    def _entry(self, given: dict[str, Any]) -> None:
        kind = given.get("type")
        if not isinstance(kind, str) or kind not in self._kinds:
            raise BadShape(f"type is {kind!r:.80}. Known: {', '.join(self._kinds)}")
        self._kinds[kind](given)

    def _request(self, given: dict[str, Any]) -> None:
        row: RequestRow = _SHAPES["request"].load(given.get("request"), "request")
        if row.id in self._requests:
            raise BadShape(f"request.id {row.id!r:.80} is there twice")
        if any(is_secret(name) for name, _ in row.headers):
            raise BadShape("request.headers holds credentials, which a capture never does")
        self._requests.add(row.id)
        _natural(row.size, "request.size")
        _moment(row.received_at, "request.received_at")
        _moment(row.took_ms, "request.took_ms")
        self.memory.ledger.request(row)

    def _event(self, given: dict[str, Any]) -> None:
        row: EventRow = _SHAPES["event"].load(given.get("event"), "event")
        newest = next(self.memory.ledger.rows.newest_first(), None)
        if not (newest.seq if newest else 0) < row.seq <= self.memory.seq:
            raise BadShape(f"event.seq is {row.seq}, which is not in order")
        _natural(row.batch_index or 0, "event.batch_index")
        _moment(row.received_at, "event.received_at")
        for attempt in row.attempts_log:
            _moment(attempt.at, "event.attempts_log.at")
            _moment(attempt.took_ms, "event.attempts_log.took_ms")
        self.memory.ledger.add(row, _natural(row.size, "event.size"))

    def _person(self, given: dict[str, Any]) -> None:
        self.memory.people.adopt(_SHAPES["person"].load(given.get("person"), "person"))
        self.memory.people.trim()

    def _object(self, given: dict[str, Any]) -> None:
        attributes = given.get("attributes")
        if not isinstance(attributes, dict):
            raise BadShape("attributes is no object")
        self.memory.objects[_KEY.load(given.get("key"), "key")] = attributes

    def _suppressed(self, given: dict[str, Any]) -> None:
        self.memory.people.block(*_KEY.load(given.get("key"), "key"))
        self.memory.people.trim()

    def _end(self, given: dict[str, Any]) -> None:
        if given.get("lines") != self._lines - 2:
            raise BadShape(f"it says {given.get('lines')!r:.40} lines, and there were {self._lines - 2}")
        self._ended = True


def _natural(value: Any, path: str) -> int:
    number: int = _WHOLE.load(value, path)
    if number < 0:
        raise BadShape(f"{path} is below 0")
    if number > LARGEST:
        raise BadShape(f"{path} is {number!r:.80}, which is above {LARGEST}")
    return number


def _moment(value: float, path: str) -> None:
    if not 0 <= value < LATEST:
        raise BadShape(f"{path} is {value!r:.80}, which is no time")


_SHAPES = {"request": shape(RequestRow), "event": shape(EventRow), "person": shape(Person)}
_KEY = shape(tuple[str, str])
_TEXT = shape(str)
_WHOLE = shape(int)
