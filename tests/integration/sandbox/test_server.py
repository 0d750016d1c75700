"""Starting, stopping, and staying on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from cio_middleware.exceptions import ConfigurationError
from cio_middleware.sandbox.server import SandboxServer
from cio_middleware.testing import Sandbox


def test_an_outage_ends_on_the_same_port_with_everything_kept(own_sandbox, web):
    """While it is down, connections are refused; afterwards the state is what it was."""
    url, auth = own_sandbox.url, ("dev", "key")
    web.put(f"{url}/api/v1/customers/ada", json={"plan": "pro"}, auth=auth)

    own_sandbox.stop()
    with pytest.raises(httpx.ConnectError):
        web.put(f"{url}/api/v1/customers/ada", json={}, auth=auth)
    own_sandbox.stop()
    own_sandbox.start()
    own_sandbox.start()

    assert own_sandbox.url == url
    assert own_sandbox.people["ada"].attributes == {"plan": "pro"}
    web.post(f"{url}/api/v1/customers/ada/events", json={"name": "order"}, auth=auth)
    assert own_sandbox.wait_for("order").person == "ada"


@pytest.mark.parametrize("step", ["hang", "latency=30000"])
def test_stopping_resets_open_requests_and_takes_less_than_a_second(own_sandbox, caplog, step, web):
    """Nobody waits for a request that is in progress, and an idle connection does not hold it up."""
    own_sandbox.faults.script([step])
    seen: list[Exception] = []

    def call():
        try:
            web.put(f"{own_sandbox.url}/api/v1/customers/ada", json={}, auth=("dev", "key"), timeout=20)
        except httpx.TransportError as error:
            seen.append(error)

    with httpx.Client(base_url=own_sandbox.url) as idle:
        idle.get("/_sandbox/v1/health")
        caller = threading.Thread(target=call)
        caller.start()
        deadline = time.monotonic() + 5
        while idle.get("/_sandbox/v1/faults").json()["script"]["taken"] == 0:
            assert time.monotonic() < deadline
        began = time.monotonic()
        own_sandbox.stop()
        assert time.monotonic() - began < 1
    caller.join()
    assert isinstance(seen[0], httpx.ReadError)
    assert [record for record in caplog.records if record.name.startswith("cio_middleware.sandbox")] == []


def test_many_threads_lose_nothing(sandbox, http):
    """Everything runs on one loop, so counters and profiles are exact however many call at once."""
    with ThreadPoolExecutor(8) as pool:
        paths = [f"/api/v1/customers/u{number % 4}/events" for number in range(120)]
        replies = list(pool.map(lambda path: http.post(path, json={"name": "order"}).status_code, paths))

    assert replies == [200] * 120
    assert sandbox.count("order") == 120
    assert [len(person.events) for person in sandbox.people] == [30] * 4
    assert [row.seq for row in sandbox.events()] == list(range(1, 121))


@pytest.mark.parametrize("env", ["production", "PRODUCTION", " prod "])
def test_it_does_not_start_in_production(env):
    """A sandbox there would swallow real events."""
    with pytest.raises(ConfigurationError, match="unset CUSTOMERIO_ENV"):
        SandboxServer(environ={"CUSTOMERIO_ENV": env})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", ""])  # noqa: S104  # that it is refused is the test
def test_it_listens_on_this_machine_only(host):
    """It takes any credentials and shows every payload."""
    with pytest.raises(ConfigurationError, match=r"127\.0\.0\.1, ::1 or localhost"):
        SandboxServer(host, environ={})


def test_a_port_that_is_taken_is_an_error_and_leaves_nothing_running():
    """The error is the operating system's own."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = SandboxServer(port=taken.getsockname()[1], environ={})
        with pytest.raises(OSError, match="in use"):
            server.start()
        assert not server.running


def test_a_handle_without_a_server_cannot_stop_it(own_sandbox):
    """It may look at a sandbox that runs elsewhere, and no more."""
    with Sandbox(own_sandbox.url) as elsewhere:
        assert elsewhere.events() == []
        with pytest.raises(RuntimeError, match="started elsewhere"):
            elsewhere.stop()


def test_a_person_nobody_knows_is_a_key_error(sandbox, http):
    """The handle's people behave as a mapping, and the error names who is there, up to five."""
    assert "ada" not in sandbox.people
    with pytest.raises(KeyError, match="nobody here is called 'ada'; nobody is here at all"):
        sandbox.people["ada"]
    assert len(sandbox.people) == 0

    for number in range(7):
        http.put(f"/api/v1/customers/u{number}", json={})
    with pytest.raises(KeyError, match="'ada'; here: u0, u1, u2, u3, u4 and 2 more"):
        sandbox.people["ada"]


@pytest.mark.parametrize(
    "look",
    [lambda sandbox: sandbox.events(), lambda sandbox: sandbox.people["ada"], lambda sandbox: sandbox.wait_for("x")],
    ids=["events", "people", "wait_for"],
)
def test_a_sandbox_that_is_down_is_named(own_sandbox, look):
    """Which of several servers does not answer, a test should not have to guess."""
    own_sandbox.stop()
    with pytest.raises(ConnectionError, match=own_sandbox.url):
        look(own_sandbox)


def test_without_uvicorn_a_test_is_told_what_to_install(tmp_path):
    """The server is an extra, and the error is one line that can be typed."""
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError(name='uvicorn')")
    script = (
        "from cio_middleware.testing import Sandbox\n"
        "try:\n    Sandbox.running().__enter__()\n"
        "except ImportError as error:\n    print(error)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    said = subprocess.check_output([sys.executable, "-c", script], env=env, text=True, timeout=20)
    assert said == 'the sandbox needs uvicorn. Type: pip install "cio-middleware[sandbox]"\n'
