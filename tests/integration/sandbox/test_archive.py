"""A sandbox with a file: what was answered is there again after a restart, however the one before it ended."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import contextmanager

import pytest

from cio_middleware.exceptions import ConfigurationError
from cio_middleware.sandbox.archive import Archive
from cio_middleware.sandbox.store import Capacity, House
from cio_middleware.testing import Sandbox

AUTH = ("dev", "key")
ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
LOOKS = ("/events?limit=10000", "/people", "/people/ada", "/objects", "/requests?limit=10000", "/events/1", "/summary")


@pytest.fixture(name="path")
def _path(tmp_path):
    return tmp_path / "sandbox.db"


@contextmanager
def running(path, **house):
    """A sandbox over a file."""
    archive = Archive(path)
    try:
        with Sandbox.running(house=House(archive=archive, **house)) as sandbox:
            yield sandbox
    finally:
        archive.close()


@pytest.fixture(name="fill")
def _fill(web):
    def fill(sandbox):
        """Do a little of everything, some of it hard to write down."""
        url = sandbox.url
        web.put(
            f"{url}/api/v1/customers/ada", json={"email": "a@b.de", "n": 9007199254740993, "日本": "\u202e"}, auth=AUTH
        )
        half = '{"half": "\\ud800"}'
        web.put(f"{url}/api/v1/customers/bob", content=half, auth=AUTH)
        web.post(f"{url}/api/v1/customers/ada/events", json={"name": "order", "id": ULID}, auth=AUTH)
        web.post(f"{url}/api/v1/customers/ada/events", json={"name": "x" * 101}, auth=AUTH)
        thing = {"type": "object", "action": "identify", "identifiers": {"object_type_id": "1", "object_id": "acme"}}
        web.post(f"{url}/api/v2/entity", json={**thing, "attributes": {"size": 3}}, auth=AUTH)
        web.post(
            f"{url}/api/v1/merge_customers", json={"primary": {"id": "ada"}, "secondary": {"id": "bob"}}, auth=AUTH
        )
        web.post(f"{url}/api/v1/customers/eve/suppress", auth=AUTH)
        sandbox.faults.script(["503", "ok*"])
        for _ in range(2):
            web.put(f"{url}/api/v1/customers/ada", json={"plan": "free"}, auth=AUTH)
        web.put(f"{url}/api/v1/customers/cat", json={}, auth=("other", "key"))

    return fill


@pytest.fixture(name="looked")
def _looked(web):
    def looked(sandbox, workspace="dev"):
        """What there is to see, but for cursors and epochs, which begin anew."""
        answers = []
        for path in LOOKS:
            answer = web.get(f"{sandbox.url}/_sandbox/v1{path}", params={"workspace": workspace}).json()
            answers.append({key: answer[key] for key in answer if key not in {"stream_cursor", "epoch"}})
        return re.sub(r"127\.0\.0\.1:\d+", "here", json.dumps(answers))

    return looked


def test_a_restart_keeps_everything(path, fill, looked):
    """Rows, people with their history, objects, requests and counts, in every workspace; and it goes on from there."""
    with running(path) as sandbox:
        fill(sandbox)
        before = looked(sandbox), looked(sandbox, "other")
    for _ in range(2):
        with running(path) as sandbox:
            assert (looked(sandbox), looked(sandbox, "other")) == before


def test_after_a_restart_a_repeat_is_a_repeat(path, fill, web):
    """What was seen, who is suppressed and the next number are known; faults are put away."""
    with running(path) as sandbox:
        fill(sandbox)
        sandbox.faults.script(["503*"])
        cursor = sandbox.cursor
    with running(path) as sandbox:
        url = f"{sandbox.url}/api/v1/customers"
        web.post(f"{url}/ada/events", json={"name": "order", "id": ULID}, auth=AUTH)
        web.put(f"{url}/eve", json={}, auth=AUTH)
        web.put(f"{url}/new", json={}, auth=AUTH)
        rows = sandbox.events(since=cursor)
        assert [(row.seq, row.verdict) for row in rows] == [
            (cursor + 1, "duplicate"), (cursor + 2, "ignored"), (cursor + 3, "accepted"),
        ]  # fmt: skip


def test_a_repeat_is_known_also_when_its_row_is_gone(path, web):
    """The ring forgets rows; the file remembers the ids that it had."""
    with running(path, capacity=Capacity(events=2)) as sandbox:
        events = f"{sandbox.url}/api/v1/customers/ada/events"
        web.post(events, json={"name": "order", "id": ULID}, auth=AUTH)
        for number in range(3):
            web.post(events, json={"name": f"n{number}"}, auth=AUTH)
        assert [row.name for row in sandbox.events()] == ["n1", "n2"]
    with running(path, capacity=Capacity(events=2)) as sandbox:
        assert [row.name for row in sandbox.events()] == ["n1", "n2"]
        web.post(f"{sandbox.url}/api/v1/customers/ada/events", json={"name": "order", "id": ULID}, auth=AUTH)
        assert sandbox.events()[-1].verdict == "duplicate"


def test_a_reset_a_clear_and_an_undo_are_kept_too(path, fill, looked, web):
    """What is gone does not come back, and what came back is there, in its order."""
    headers = {"X-Cio-Sandbox": "1"}
    with running(path) as sandbox:
        fill(sandbox)
        cleared = web.delete(f"{sandbox.url}/_sandbox/v1/events?workspace=dev", headers=headers).json()
        web.put(f"{sandbox.url}/api/v1/customers/dan", json={}, auth=AUTH)
        web.post(f"{sandbox.url}/_sandbox/v1/undo?workspace=dev", json={"token": cleared["undo"]}, headers=headers)
        before = looked(sandbox)
        with sandbox.workspace("other") as other:
            other.reset()
    with running(path) as sandbox:
        assert looked(sandbox) == before
        with sandbox.workspace("other") as other:
            assert (other.events(), list(other.people)) == ([], [])


def test_a_sandbox_that_was_killed_loses_nothing_that_it_answered(path, web):
    """SIGKILL in the middle of it: every event that got a 200 is there."""
    command = [sys.executable, "-m", "cio_middleware", "sandbox", "--port", "0", "--db", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert url
        for number in range(50):
            events = f"{url.group()}/api/v1/customers/ada/events"
            assert web.post(events, json={"name": f"n{number}"}, auth=AUTH).status_code == 200
        process.send_signal(signal.SIGKILL)
        process.communicate()
    with running(path) as sandbox:
        assert [row.name for row in sandbox.events()] == [f"n{number}" for number in range(50)]


def test_a_sandbox_that_ends_leaves_one_file(path):
    """What its side files held is in it, and it can be copied."""
    command = [sys.executable, "-m", "cio_middleware", "sandbox", "--port", "0", "--db", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_file_is_its_owners_alone(path, fill):
    """Its side files too, whatever the umask, and also when it was open to others before."""
    path.touch(0o666)
    path.chmod(0o666)
    umask = os.umask(0)
    try:
        with running(path) as sandbox:
            fill(sandbox)
            modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    finally:
        os.umask(umask)
    assert set(modes.values()) == {0o600}
    assert {path.name, f"{path.name}-wal"} <= set(modes)


def test_a_file_that_is_in_use_is_not_shared(path):
    """Two sandboxes would overwrite each other."""
    with running(path), pytest.raises(ConfigurationError, match="Stop the sandbox that has it open"):
        Archive(path)


def _text(path):
    path.write_text("hello, I am no database, whatever you think of me, and I am long enough to be read")


def _others(path):
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()


def _later(path):
    Archive(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 2")
    db.close()


def _folder(path):
    path.mkdir()


def _link(path):
    path.with_name("elsewhere").touch()
    path.symlink_to(path.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_text, "not a database"),
        (_others, "database of another program"),
        (_later, "another version"),
        (_folder, "cannot be opened"),
        (_link, "cannot be opened"),
    ],
)
def test_a_file_that_is_not_ours_is_left_alone(path, make, said):
    """The message names it and says what to type, and nothing is written to it."""
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(ConfigurationError, match=said) as raised:
        Archive(path)
    assert "--db with another file" in str(raised.value)
    assert (path.read_bytes() if path.is_file() else b"") == before


def test_a_file_with_something_else_in_it_is_refused(path, fill):
    """It is read as a capture is: what no sandbox writes is named with its line."""
    with running(path) as sandbox:
        fill(sandbox)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE entries SET line = replace(line, '\"seq\":3', '\"seq\":\"x\"') WHERE kind = 'event'")
    db.close()
    archive = Archive(path)
    with pytest.raises(ConfigurationError, match=r"event\.seq is 'x'"), Sandbox.running(house=House(archive=archive)):
        pass
    archive.close()


def test_a_folder_that_does_not_exist_is_said_at_the_start(tmp_path):
    """By the command, with the code of a wrong configuration and without a traceback."""
    command = [sys.executable, "-m", "cio_middleware", "sandbox", "--port", "0", "--db", str(tmp_path / "no" / "x.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, "cannot be opened" in done.stderr, "Traceback" in done.stderr) == (3, True, False)
