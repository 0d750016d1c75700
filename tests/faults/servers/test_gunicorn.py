"""Gunicorn forks its workers, recycles them and ends them; none of this loses an event or sends one twice."""

from __future__ import annotations

import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[3] / "docs/how-to/deploy.md"
WORKERS = {
    "sync": ("shop_wsgi", ("-k", "sync")),
    "gthread": ("shop_wsgi", ("-k", "gthread", "--threads", "4")),
    "gevent": ("shop_wsgi", ("-k", "gevent")),
    "uvicorn": ("shop_asgi", ("-k", "uvicorn_worker.UvicornWorker")),
}


@pytest.fixture(name="gunicorn")
def _gunicorn(start):
    """Starts gunicorn with one kind of worker; keywords are variables of its environment."""

    def serve(kind, *options, **variables):
        app, how = WORKERS[kind]
        alone = ("--bind", "127.0.0.1:{port}", "--no-control-socket")
        return start("gunicorn", f"{app}:app", *alone, *how, *options, **variables)

    return serve


@pytest.fixture(name="recipe")
def _recipe(tmp_path):
    """The configuration that the how-to page shows, as a file."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    (block,) = (block for block in blocks if "def worker_exit(" in block)
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(block, "utf-8")
    return str(path)


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])
@pytest.mark.parametrize("kind", WORKERS)
def test_41_recycled_workers_deliver_what_they_captured(kind, preload, gunicorn, arrived, eventually):
    """A worker that ends after so many requests, and the one that SIGTERM ends, deliver each event once."""
    server = gunicorn(kind, "--max-requests", "3", *preload)
    answers: list[dict[str, Any]] = []

    def another_worker_answers():
        answers.append(server.get(len(answers)))
        return answers[-1]["pid"] != answers[0]["pid"]

    eventually(another_worker_answers, 20)  # gevent's looks once a second whether it has had enough

    assert server.stop() == 0
    assert arrived() == sorted(event_id for answer in answers for event_id in answer["sent"])
    assert "Traceback" not in server.said


@pytest.mark.parametrize("kind", WORKERS)
def test_41_sigterm_in_the_middle_of_a_request_loses_none_of_its_events(kind, gunicorn, gate, arrived):
    """The request ends first; what it captured before the signal arrives, and so does what it captured after."""
    server = gunicorn(kind)
    with ThreadPoolExecutor(1) as browser:
        answer = browser.submit(server.get, 0, gate=gate.port)
        gate.until_one_waits()
        server.process.send_signal(signal.SIGTERM)
        server.until_it_says("Handling signal")
        gate.open()

    assert server.wait() == 0
    assert len(answer.result()["sent"]) == 2
    assert arrived() == sorted(answer.result()["sent"])


@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"])
def test_41_sigint_in_the_middle_of_a_request_loses_nothing_that_was_captured(kind, gunicorn, gate, sandbox):
    """Whether gunicorn cuts the request off or not: what it had captured by then arrives, once."""
    server = gunicorn(kind)
    with ThreadPoolExecutor(1) as browser:
        browser.submit(server.get, 0, gate=gate.port)
        gate.until_one_waits()
        server.process.send_signal(signal.SIGINT)
        server.until_it_says("Worker exiting")
        gate.open()

    assert server.wait() == 0
    assert (sandbox.count("step"), sandbox.duplicates("step")) == (1, 0)


def test_42_a_worker_that_is_killed_takes_no_other_with_it(gunicorn, gate, arrived):
    """SIGKILL in the middle of a request loses what that worker held in memory; the others serve on and deliver."""
    server = gunicorn("sync", "--workers", "2")
    with ThreadPoolExecutor(1) as browser:
        cut_off = browser.submit(server.get, 0, gate=gate.port)
        gate.until_one_waits()
        survivor = server.get(1)
        (victim,) = server.workers() - {survivor["pid"]}
        os.kill(victim, signal.SIGKILL)
        assert cut_off.exception() is not None
    answers = [survivor, *(server.get(n) for n in range(2, 8))]

    assert server.stop() == 0
    assert arrived() == sorted(event_id for answer in answers for event_id in answer["sent"])


@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_41_the_hook_of_the_how_to_page_reports_what_became_of_the_events(kind, gunicorn, recipe, arrived):
    """`close()` in gunicorn's `worker_exit` delivers, and the interpreter's exit finds nothing left to do."""
    server = gunicorn(kind, "--config", recipe)
    answers = [server.get(n) for n in range(3)]

    assert server.stop() == 0
    assert arrived() == sorted(event_id for answer in answers for event_id in answer["sent"])
    assert "events: 3 delivered, 0 dropped" in server.said


def test_52_lifespan_hook_and_exit_share_one_deadline(gunicorn, recipe, sandbox, queue):
    """When Customer.io hangs, the lifespan's end uses the time up; `worker_exit` and the exit after it do not wait."""
    sandbox.faults.script(["hang*"])
    server = gunicorn("uvicorn", "--max-requests", "1", "--config", recipe, CUSTOMERIO_SHUTDOWN_TIMEOUT="1")
    server.get(0)
    lost = queue["CUSTOMERIO_QUEUE"] == "memory"
    server.until_it_says(f"events: 0 delivered, {int(lost)} dropped")

    assert server.stop() == 0
    assert "1 event(s) were not delivered before the shutdown" in server.said
    what = "are dropped" if lost else "stay for another process"
    assert f"1 event(s) were not delivered within 0.1 s of closing and {what}" in server.said
