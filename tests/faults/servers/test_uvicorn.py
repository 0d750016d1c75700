"""uvicorn spawns its workers, restarts them when a file changes, and raises the signal that stopped it once more."""

from __future__ import annotations

import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

STOPPED_BY = {signal.SIGTERM: -signal.SIGTERM, signal.SIGINT: 0}


@pytest.fixture(name="uvicorn")
def _uvicorn(start):
    """Starts uvicorn with so many options; keywords are variables of its environment."""

    def serve(*options, **variables):
        return start("uvicorn", "shop_asgi:app", "--port", "{port}", *options, **variables)

    return serve


@pytest.mark.parametrize("how", STOPPED_BY, ids=lambda how: how.name)
def test_41_a_signal_in_the_middle_of_a_request_loses_none_of_its_events(how, uvicorn, gate, arrived):
    """The request ends first; what it captured before the signal arrives, and so does what it captured after."""
    server = uvicorn()
    with ThreadPoolExecutor(1) as browser:
        answer = browser.submit(server.get, 0, gate=gate.port)
        gate.until_one_waits()
        server.process.send_signal(how)
        server.until_it_says("Shutting down")
        gate.open()

    assert server.wait() == STOPPED_BY[how]
    assert len(answer.result()["sent"]) == 2
    assert arrived() == sorted(answer.result()["sent"])


def test_52_lifespan_and_exit_share_one_deadline(uvicorn, sandbox):
    """After Ctrl-C uvicorn ends the lifespan and then the interpreter: the second does not wait for what hangs."""
    sandbox.faults.script(["hang*"])
    server = uvicorn(CUSTOMERIO_SHUTDOWN_TIMEOUT="1")
    server.get(0)

    assert server.stop(signal.SIGINT) == 0
    assert "1 event(s) were not delivered before the shutdown" in server.said
    assert "1 event(s) were not delivered within 0.1 s of closing" in server.said


@pytest.mark.parametrize("how", STOPPED_BY, ids=lambda how: how.name)
def test_41_each_of_several_workers_delivers_what_it_captured(how, uvicorn, arrived):
    """Two workers, each a process with a client of its own, are stopped through their parent."""
    server = uvicorn("--workers", "2")
    answers = [server.get(n) for n in range(10)]

    server.stop(how)
    assert arrived() == sorted(event_id for answer in answers for event_id in answer["sent"])
    assert "Traceback" not in server.said


def test_42_a_worker_that_is_killed_takes_no_other_with_it(uvicorn, arrived):
    """SIGKILL loses what that worker held in memory; the others serve on and deliver."""
    server = uvicorn("--workers", "2")
    answers = [server.get(n) for n in range(4)]
    victim = answers[-1]["pid"]
    os.kill(victim, signal.SIGKILL)
    answers += [server.get(n) for n in range(4, 10)]

    server.stop()
    assert {answer["pid"] for answer in answers} != {victim}
    assert arrived() == sorted(id_ for answer in answers if answer["pid"] != victim for id_ in answer["sent"])


def test_41_a_reload_delivers_what_the_process_before_it_captured(uvicorn, tmp_path, arrived):
    """When a file changes, uvicorn stops its process and starts another: nothing is lost in between."""
    folder = shutil.copytree(Path(__file__).with_name("apps"), tmp_path / "apps")
    server = uvicorn("--reload", "--reload-delay", "0.05", folder=folder)
    answers = [server.get(n) for n in range(3)]

    (folder / "shop_asgi.py").write_text((folder / "shop_asgi.py").read_text("utf-8") + "\n", "utf-8")
    server.until_it_says("Reloading...")
    server.until(lambda: server.said.count("Application startup complete") == 2)
    answers += [server.get(n) for n in range(3, 6)]

    server.stop()
    assert len({answer["pid"] for answer in answers}) == 2
    assert arrived() == sorted(event_id for answer in answers for event_id in answer["sent"])
