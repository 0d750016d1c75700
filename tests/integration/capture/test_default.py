"""The process's default client: made on first use, once, and again right after a fork."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import cio_middleware as cio

ROOT = Path(__file__).parents[3]


@pytest.fixture(name="environment")
def _environment(sandbox, clean_environment):
    """The sandbox's credentials in the environment."""
    for name, value in sandbox.settings.items():
        clean_environment.setenv(f"CUSTOMERIO_{name.upper()}", value)
    clean_environment.setenv("CUSTOMERIO_FLUSH_INTERVAL", "0.05")
    return clean_environment


@pytest.mark.usefixtures("environment")
def test_it_is_made_on_first_use(sandbox):
    """The first verb makes the client from the environment."""
    event_id = cio.track("e", person="ada")

    assert cio.flush()
    assert sandbox.people["ada"].events == [event_id]
    cio.get_client().close()


@pytest.mark.usefixtures("environment")
def test_sixteen_threads_make_one(sandbox):
    """However many threads need a client at the same time, one is made."""
    start = threading.Barrier(16)

    def first_use(number):
        start.wait(5)
        cio.track("e", {"number": number}, person="ada")
        return cio.get_client()

    with ThreadPoolExecutor(16) as threads:
        clients = set(threads.map(first_use, range(16)))

    (client,) = clients
    client.close()
    assert {event.data["number"] for event in sandbox.events("e")} == set(range(16))


SLOW_TO_MAKE = """
import contextlib
import threading
from cio_middleware.backends.null import NullBackend

made = []
two = threading.Barrier(2)

def backend():
    made.append(1)
    with contextlib.suppress(threading.BrokenBarrierError):
        two.wait(0.2)  # whoever made a second one at the same time is here by then
    return NullBackend()
"""


def test_nobody_makes_a_second_one_meanwhile(environment, tmp_path):
    """While one thread makes the client, the others wait for it."""
    (tmp_path / "slow_plug_in.py").write_text(SLOW_TO_MAKE, "utf-8")
    environment.syspath_prepend(tmp_path)
    environment.setenv("CUSTOMERIO_BACKEND", "slow_plug_in:backend")

    with ThreadPoolExecutor(4) as threads:
        clients = set(threads.map(lambda _: cio.get_client(), range(4)))

    assert len(clients) == 1
    assert sys.modules["slow_plug_in"].made == [1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "CUSTOMERIO_SITE_ID and CUSTOMERIO_API_KEY are missing"),
        ({"CUSTOMERIO_SITE_ID": "s"}, r"CUSTOMERIO_API_KEY is missing \(CUSTOMERIO_SITE_ID is set\)"),
        ({"CUSTOMERIO_API_KEY": "k"}, r"CUSTOMERIO_SITE_ID is missing \(CUSTOMERIO_API_KEY is set\)"),
    ],
    ids=["both", "api_key", "site_id"],
)
def test_it_names_what_is_missing(clean_environment, given, message):
    """The error says which variable is missing, which is there, and shows no value."""
    for name, value in given.items():
        clean_environment.setenv(name, value)

    with pytest.raises(cio.ConfigurationError, match=message):
        cio.get_client()


def test_without_credentials_the_verbs_do_nothing_and_say_so_once(clean_environment, caplog):
    """An application that is not configured runs: each verb returns None, and one line names what is missing."""

    @cio.track_event
    def function():
        return "result"

    for _ in range(3):
        assert cio.track("e", person="ada") is None
        assert cio.page("http://x/", person="ada") is None
        assert cio.identify("ada", {"a": 1}) is None
        assert cio.flush() is True
        assert function() == "result"

    assert len(caplog.records) == 1
    assert "credentials not configured" in caplog.text


def test_credentials_that_come_later_are_found(clean_environment, sandbox):
    """`get_client()` looks into the environment again, since a .env file may have been loaded since."""
    assert cio.track("e", person="ada") is None
    for name, value in sandbox.settings.items():
        clean_environment.setenv(f"CUSTOMERIO_{name.upper()}", value)

    client = cio.get_client()

    assert cio.track("e", person="ada") is not None
    client.close()


@pytest.mark.usefixtures("environment")
def test_a_plug_in_that_fails_raises_nothing_into_the_application(environment, tmp_path, caplog):
    """When no client can be made for whatever reason, the verbs return None and say so once."""
    (tmp_path / "broken_plug_in.py").write_text("def backend():\n    raise ZeroDivisionError\n", "utf-8")
    environment.syspath_prepend(tmp_path)
    environment.setenv("CUSTOMERIO_BACKEND", "broken_plug_in:backend")

    assert [cio.track("e", person="ada") for _ in range(3)] == [None] * 3
    assert len(caplog.records) == 1
    assert "ZeroDivisionError" in caplog.text


def test_configure_takes_a_client_or_settings(client, sandbox):
    """A client becomes the default as it is; settings make one; nonsense and both are refused with what to type."""
    assert cio.configure(client) is client is cio.get_client()
    made = cio.configure(**sandbox.settings)
    assert cio.get_client() is made is not client
    made.close()

    with pytest.raises(cio.ConfigurationError, match="not both"):
        cio.configure(client, site_id="x")
    with pytest.raises(cio.ConfigurationError, match="not a dict"):
        cio.configure(sandbox.settings)
    assert cio.get_client() is made


def test_after_close_the_verbs_return_none(client):
    """A closed default client drops what is captured, and counts it."""
    cio.configure(client)
    client.close()

    assert cio.track("e", person="ada") is None
    assert cio.identify("ada", {"a": 1}) is None
    assert client.stats().dropped == {"closed": 2}


def run(script, sandbox, **variables):
    """Run a script that finds the sandbox in its environment."""
    settings = {f"CUSTOMERIO_{name.upper()}": value for name, value in sandbox.settings.items()}
    environment = {**os.environ, **settings, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=30, check=False
    )


FORK_WHILE_IMPORTING = """
import os, sys, threading
import cio_middleware as cio
maker = threading.Thread(target=cio.track, args=["of_parent"], kwargs={"person": "ada"})
maker.start()
while "httpx" not in sys.modules:  # imported by now, or in the middle of that
    pass
child = os.fork()
cio.track("of_child" if child == 0 else "of_parent", person="ada")
if child == 0:
    os._exit(not cio.flush(5))
maker.join()
cio.flush(5)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_fork_in_the_middle_of_an_import_leaves_the_child_able_to_send(sandbox):
    """One thread makes the client while another forks: the child must not wait for ever for an import half done."""
    done = run(FORK_WHILE_IMPORTING, sandbox, CUSTOMERIO_FLUSH_INTERVAL="0.001")

    assert (done.returncode, done.stderr) == (0, "")
    assert (sandbox.count("of_parent"), sandbox.count("of_child")) == (2, 1)
    assert sandbox.duplicates("of_parent") == 0


FORK_WHILE_THREADS_CAPTURE = """
import os, sys, threading
import cio_middleware as cio
stop = threading.Event()

def busy():
    while not stop.is_set():
        cio.track("noise", person="noise")
        cio.get_client().stats()

threads = [threading.Thread(target=busy, daemon=True) for _ in range(2)]
for thread in threads:
    thread.start()
failed = 0
for number in range(10):
    child = os.fork()
    if child == 0:
        event = cio.track("of_child", {"number": number}, person="ada")
        os._exit(not (event and cio.flush(10) and cio.get_client().stats().balanced))
    failed += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
stop.set()
os._exit(failed)
"""


def test_children_of_a_busy_process_find_no_lock_taken(sandbox):
    """Ten forks while two threads capture: each child delivers its own event and nothing of its parent's."""
    done = run(FORK_WHILE_THREADS_CAPTURE, sandbox, CUSTOMERIO_FLUSH_INTERVAL="60", CUSTOMERIO_MAX_QUEUE_EVENTS="9")

    assert done.returncode == 0, done.stderr
    assert {event.data["number"] for event in sandbox.events("of_child")} == set(range(10))
    assert sandbox.count("of_child") == 10


def test_settings_that_do_not_read_the_environment_say_so(monkeypatch):
    """Credentials that are in the environment, where `Settings(...)` does not look, are named as being there."""
    monkeypatch.setenv("CUSTOMERIO_SITE_ID", "site")
    monkeypatch.setenv("CUSTOMERIO_API_KEY", "key")
    with pytest.raises(cio.ConfigurationError, match=r"Client\.from_env"):
        cio.Client(cio.Settings(flush_interval=0.1))
