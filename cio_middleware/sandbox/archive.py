"""
Keep what the sandbox knows in one file, so that it is there again after a restart: ``--db PATH``.

The store in memory stays what answers. After each change, and before the answer to the request that made it, the lines
of a capture that are new or different are written, and those that are gone are deleted, in one transaction. What is
read at the start is read as a capture is: nothing in the file is believed. Faults are not kept: one that was forgotten
is a trap.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cio_middleware.exceptions import ConfigurationError
from cio_middleware.sandbox import capture
from cio_middleware.sandbox.shadow import Shadow

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cio_middleware.sandbox.people import People
    from cio_middleware.sandbox.rows import EventRow, RequestRow
    from cio_middleware.sandbox.store import Workspace

_LOG = logging.getLogger("cio_middleware.sandbox")
_APPLICATION = 0x43494F53
"""By which the file is known as ours: CIOS."""

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
  workspace TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, place INTEGER NOT NULL, line TEXT NOT NULL,
  PRIMARY KEY (workspace, kind, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen (workspace TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (workspace, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS heads (workspace TEXT PRIMARY KEY, line TEXT NOT NULL);
"""


@dataclass(slots=True)
class _Written:
    """What the file has of one workspace."""

    people: People
    events: Shadow[int, EventRow] = field(default_factory=lambda: Shadow(lambda row: row.seq))
    requests: Shadow[str, RequestRow] = field(default_factory=lambda: Shadow(lambda row: row.id))
    others: dict[tuple[str, str], str] = field(default_factory=dict)
    places: int = 0
    change: int = 0


class Archive:
    """
    One file.

    Args:
        path: Where it is, or will be; only its owner may read it.

    Raises:
        ConfigurationError: when it cannot be opened, is no file of a sandbox, or another sandbox has it open.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written: dict[str, _Written] = {}
        try:
            _only_the_owners(path)
            self._db = sqlite3.connect(path, timeout=0, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(f"{path} cannot be opened: {error}\n  Type --db with another file.") from error
        try:
            self._prepare()
        except (sqlite3.Error, ConfigurationError) as error:
            self._db.close()
            taken = "locked" in str(error)
            fix = "Stop the sandbox that has it open, or type" if taken else "Type"
            raise ConfigurationError(f"{path} cannot be used: {error}\n  {fix} --db with another file.") from error

    def _prepare(self) -> None:
        known = self._db.execute("PRAGMA application_id").fetchone()[0]
        used = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if used and known != _APPLICATION:
            raise ConfigurationError("it is the database of another program")
        if used and self._db.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
            raise ConfigurationError("another version of the sandbox wrote it")
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        # What was answered is with the operating system: it outlives this process, killed or not.
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)
        self._db.execute(f"PRAGMA application_id = {_APPLICATION}")
        self._db.execute(f"PRAGMA user_version = {_VERSION}")
        with self._db:
            self._db.execute("BEGIN EXCLUSIVE")

    def close(self) -> None:
        """Close the file; what was answered is in it."""
        self._db.close()

    def names(self) -> list[str]:
        """Return the workspaces that are in it."""
        return [name for (name,) in self._db.execute("SELECT workspace FROM heads ORDER BY rowid")]

    def load(self, workspace: Workspace) -> None:
        """
        Bring back a workspace.

        Raises:
            ConfigurationError: when the file holds what no sandbox writes.
        """
        name = workspace.name
        (head,) = self._db.execute("SELECT line FROM heads WHERE workspace = ?", (name,)).fetchone()
        query = "SELECT line FROM entries WHERE workspace = ? ORDER BY kind != 'request', kind != 'event', place"
        lines = [line for (line,) in self._db.execute(query, (name,))]
        reader = capture.Reader(workspace.blank())
        try:
            for line in (head, *lines, capture.end(len(lines))):
                reader.feed(line.encode("utf-8", "surrogatepass"))
            workspace.remember(reader.finish())
        except capture.BadCapture as error:
            raise ConfigurationError(
                f"{self.path} holds what no sandbox writes: {error}\n  Type --db with another file."
            ) from error
        for (known,) in self._db.execute("SELECT id FROM seen WHERE workspace = ?", (name,)):
            workspace.saw(known)

    def attach(self, workspace: Workspace) -> None:
        """Write a workspace down now and after each of its changes."""
        workspace.bell.also = lambda: self.save(workspace)
        self.save(workspace)

    def forget(self, name: str) -> None:
        """Delete a workspace."""
        self._written.pop(name, None)
        with self._db:
            for table in ("entries", "seen", "heads"):
                self._db.execute(f"DELETE FROM {table} WHERE workspace = ?", (name,))  # noqa: S608  # a name of ours

    def save(self, workspace: Workspace) -> None:
        """Write what changed; a disk that refuses is logged, and all is written with the next change."""
        try:
            self._save(workspace)
        except sqlite3.Error as error:
            _LOG.warning("the sandbox could not write to its file, and goes on without: %s", error)

    def _save(self, workspace: Workspace) -> None:
        name, memory = workspace.name, workspace.memory
        written = self._written.pop(name, None)  # back when the file has it: after a failure all is written anew
        anew = written is None or written.people is not memory.people  # a beginning: a start, a reset, an import
        if written is None or anew:
            written = _Written(memory.people, places=written.places if written else 0)
        events, gone = written.events.follow(memory.ledger.rows, _updated(workspace, written), lambda row: row.replaces)
        requests, old = written.requests.follow(memory.ledger.requests)
        others = self._others(workspace, written.others)
        lines = {("event", str(row.seq)): capture.entry("event", row) for row in events}
        lines |= {("request", row.id): capture.entry("request", row) for row in requests}
        lines |= {key: line for key, line in others.items() if written.others.get(key) != line}
        dropped = [("event", str(seq)) for seq in gone] + [("request", key) for key in old]
        with self._db:
            if anew:
                self._clear(name)
            self._delete(name, [*dropped, *(written.others.keys() - others.keys())])
            self._insert(name, lines, written.places)
            fresh = [(name, _clean(key)) for key in map(workspace.known_by, events) if key]
            self._db.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?)", fresh)
            upsert = "INSERT INTO heads VALUES (?, ?) ON CONFLICT (workspace) DO UPDATE SET line = excluded.line"
            self._db.execute(upsert, (name, capture.head(workspace, "")))
        written.others, written.places = others, written.places + len(lines)
        self._written[name] = written

    def _others(self, workspace: Workspace, before: dict[tuple[str, str], str]) -> dict[tuple[str, str], str]:
        """The lines of what can change in place; of the people, only those who were looked up are written anew."""
        people, touched = workspace.people, workspace.people.take_touched()
        found: dict[tuple[str, str], str] = {}
        for person in people:
            key = ("person", person.cio_id)
            known = None if person.cio_id in touched else before.get(key)
            found[key] = known or capture.entry("person", person)
        for (kind, value), attributes in workspace.objects.items():
            found["object", _clean(f"{kind}/{value}")] = capture.object_line((kind, value), attributes)
        for kind, value in people.suppressions:
            found["suppressed", _clean(f"{kind}/{value}")] = capture.suppressed_line((kind, value))
        return found

    def _clear(self, name: str) -> None:
        self._db.execute("DELETE FROM entries WHERE workspace = ?", (name,))
        self._db.execute("DELETE FROM seen WHERE workspace = ?", (name,))

    def _delete(self, name: str, keys: Iterable[tuple[str, str]]) -> None:
        query = "DELETE FROM entries WHERE workspace = ? AND kind = ? AND key = ?"
        self._db.executemany(query, [(name, *key) for key in keys])

    def _insert(self, name: str, lines: dict[tuple[str, str], str], place: int) -> None:
        query = (
            "INSERT INTO entries VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (workspace, kind, key) DO UPDATE SET line = excluded.line"
        )
        rows = [
            (name, kind, key, _place(kind, key, place + n), line) for n, ((kind, key), line) in enumerate(lines.items())
        ]
        self._db.executemany(query, rows)


def _updated(workspace: Workspace, written: _Written) -> list[EventRow]:
    """The rows that are known better than they were, by the change log; all, where that does not reach back."""
    fresh = workspace.changes.since(written.change)
    written.change = workspace.changes.latest
    if fresh is None:
        return list(workspace.events)
    found = (workspace.events.get(int(change.key or 0)) for change in fresh if change.kind == "update")
    return [row for row in found if row is not None]


def _clean(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _place(kind: str, key: str, otherwise: int) -> int:
    """Return where a line stands among those of its kind: what has a number stands there, also when it comes late."""
    numbered = re.fullmatch(r"r?(\d{1,18})", key) if kind in {"event", "request"} else None
    return int(numbered[1]) if numbered else otherwise


def _only_the_owners(path: Path) -> None:
    """Make the file if there is none, and close it to others; SQLite gives its side files the same mode."""
    opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with closing(os.fdopen(opened, "rb")), suppress(AttributeError):
        os.fchmod(opened, 0o600)
