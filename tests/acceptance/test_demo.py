"""The demo, run as `make demo` runs it, and the judge at its end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cio_middleware.testing import SeenEvent, SeenPerson, SeenRequest
from examples.demo import show, verdict
from examples.demo.visitors import Deed, Person, Step, plan

ROOT = Path(__file__).parents[2]
URL = "http://127.0.0.1:1"


def run_demo(*options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command of the Makefile."""
    command = [sys.executable, "-m", "examples.demo", *options]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, check=False, timeout=120
    )


def table(output: str) -> dict[str, list[int]]:
    """The rows of the table of events: captured, delivered, sent again, repeats ignored."""
    rows = re.findall(r"^  ([a-z_]+) +(\d+) +(\d+) +(\d+) +(\d+)$", output, flags=re.MULTILINE)
    return {name: [int(count) for count in counts] for name, *counts in rows}


def test_the_demo_proves_that_nothing_is_lost():
    """Five faults, two shops and twenty people later, every event is in Customer.io exactly once, and the exit is 0."""
    run = run_demo()

    assert run.returncode == 0, run.stdout + run.stderr
    rows = table(run.stdout)
    captured, delivered, sent_again, _ = rows.pop("total")
    assert captured == delivered == sum(row[0] for row in rows.values()) > 700
    assert sent_again > 0
    assert {"identify", "page", "order_placed", "payment_failed", "signed_up", "logged_in", "logged_out"} <= set(rows)
    said = " ".join(run.stdout.split())
    assert "2 x 429 (wait 1 s), 1 x 503, 1 x connection reset, 1 x accepted but the reply lost" in said
    assert f"PROVED      All {captured} are in Customer.io exactly once" in run.stdout
    assert max(map(len, run.stdout.splitlines())) <= 80
    assert run.stderr == ""


def test_a_machine_that_stalls_does_not_break_the_table():
    """Whatever was measured, a line stays within 80 columns."""
    report = {"idle": [10**10] * 9, "busy": [20_000] * 9, "verbs": {verb: [10**10] * 9 for verb in show.VERBS}}
    lines = list(show.costs({"starlette": report}))
    assert max(map(len, lines)) <= show.WIDTH
    assert " >999 / >9999      20 / 20 >999 / >9999" in lines[2]


def test_the_demo_notices_one_request_that_is_lost():
    """A client that skips one send and reports success is found out, person by person, and the exit is 1."""
    run = run_demo("--lose-one")

    assert run.returncode == 1, run.stdout + run.stderr
    captured, delivered, *_ = table(run.stdout)["total"]
    assert delivered < captured
    assert re.search(r"FAILED +\d+ things", run.stdout)
    assert re.search(r"^ +[a-z]+ lacks 1 x ", run.stdout, flags=re.MULTILINE)
    assert "PROVED" not in run.stdout


def test_ctrl_c_stops_the_demo_and_leaves_nothing_running():
    """An interrupt while people visit ends both shops, says so, and exits 130."""
    with subprocess.Popen(
        [sys.executable, "-m", "examples.demo"],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell that runs the tests in the background ignores the signal, and so would every child.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    ) as demo:
        assert demo.stdout is not None
        shops = [int(pid) for pid in _pids(demo.stdout)]
        demo.send_signal(signal.SIGINT)
        _, said = demo.communicate(timeout=30)

    assert demo.returncode == 130
    assert "Nothing is left running" in said
    for shop in shops:
        with pytest.raises(ProcessLookupError):
            os.kill(shop, 0)


def test_a_shop_that_cannot_start_is_named(tmp_path):
    """When a server fails at once, the demo says which one, with its last words, and exits 2."""
    (tmp_path / "waitress.py").write_text("raise ImportError('no waitress today')")

    run = run_demo(PYTHONPATH=str(tmp_path))

    assert run.returncode == 2
    assert "the flask shop did not start: it ended with 1." in run.stderr
    assert "no waitress today" in run.stderr


def test_a_missing_package_is_named_with_what_to_type(tmp_path):
    """Without the server that the sandbox needs there is no traceback, but a command."""
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError(name='uvicorn')")

    run = run_demo(PYTHONPATH=str(tmp_path))

    assert run.returncode == 2
    assert 'The demo needs uvicorn. Type: make demo, or pip install ".[demo]"' in run.stderr
    assert "Traceback" not in run.stderr


def _pids(lines: Iterator[str]) -> list[str]:
    pids: list[str] = []
    for line in lines:
        pids += re.findall(r"process (\d+)", line)
        if "visiting" in line:
            break
    return pids


def test_the_plan_of_the_visitors_is_the_same_each_time():
    """Twenty people make at least 600 requests, half of them at each shop, and a run can be repeated."""
    people = plan(["starlette", "flask"])

    assert people == plan(["starlette", "flask"])
    assert [person.shop for person in people].count("flask") == 10
    assert sum(len(person.steps) for person in people) >= 600


ID = "01J0000000000000000000000A"
LACKS = "ada lacks 1 x order_placed {'total': 42} at /orders"
STEP = Step("POST", "/orders", "visitor-ada-1", events=(("order_placed", {"total": 42}),))
ADA = Person("ada", "flask", "en-GB", (STEP,), {"plan": "pro"})
ORDER = SeenEvent(
    seq=1, kind="event", subject="person", name="order_placed", person="ada", identifiers={"id": "ada"},
    event_id=ID,
    data={"total": 42, "_queued_at": 1, "context": {"page": {"path": "/orders"}, "locale": "en-GB"}},
    context=None,
    timestamp=1, received_at=1.0, api="track.v2", request="r1", batch_index=0, verdict="accepted", good=True,
    errors=(), warnings=(), attempts=1, statuses=(200,),
)  # fmt: skip
PROFILE = SeenPerson(
    key="ada", cio_id="03000001", identified=True, identifiers={"id": "ada"},
    attributes={"plan": "pro", "_updated_at": 1}, devices=[], relationships=[], segments=[],
    events=[ID], event_names=["order_placed"], merged=[],
)  # fmt: skip
BOB = replace(PROFILE, key="bob")
GOOD = verdict.Seen([ORDER], [PROFILE], [])


@pytest.mark.parametrize(
    ("seen", "problem"),
    [
        (replace(GOOD, people=[]), "ada is not there at all"),
        (replace(GOOD, people=[replace(PROFILE, events=[])]), LACKS),
        (replace(GOOD, people=[PROFILE, BOB]), "bob is there, and nobody here is called that"),
        (
            replace(GOOD, people=[replace(PROFILE, events=PROFILE.events * 2)]),
            "ada has 1 too many of order_placed {'total': 42} at /orders",
        ),
        (
            replace(GOOD, events=[ORDER, replace(ORDER, seq=2)]),
            f"event {ID} is stored more than once",
        ),
        (replace(GOOD, events=[replace(ORDER, data={**ORDER.data, "total": 41})]), LACKS),
        (
            replace(
                GOOD,
                events=[replace(ORDER, data={"total": 42, "context": {"page": {"path": "/cart"}, "locale": "en-GB"}})],
            ),
            LACKS,
        ),
        (
            replace(GOOD, people=[replace(PROFILE, attributes={"plan": "free"})]),
            "ada's plan is 'free', expected 'pro'",
        ),
        (
            replace(GOOD, people=[replace(PROFILE, attributes={"plan": "pro", "visits": 1})]),
            "ada's visits is 1, expected None",
        ),
    ],
    ids=["nobody", "lost", "stranger", "twice", "stored-twice", "altered", "elsewhere", "profile", "more-profile"],
)  # fmt: skip
def test_the_judge_finds_what_is_wrong(seen, problem):
    """Whatever is lost, doubled, altered or given to somebody else is named in a sentence."""
    assert problem in verdict.missing_and_wrong([ADA], {"flask": URL}, seen)


def test_the_judge_has_nothing_to_say_of_what_is_right():
    """What people did and what Customer.io knows agree."""
    assert verdict.missing_and_wrong([ADA], {"flask": URL}, GOOD) == []
    assert list(ADA.deeds(URL)) == [Deed("order_placed", (("total", 42),), "/orders", "en-GB")]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"balanced": False}, "flask: the ledger does not add up"),
        ({"flushed": False}, "flask: events still wait"),
        ({"dropped": {"queue_full": 3}}, "flask: 3 events dropped (queue_full)"),
        ({"captured": {"page": 2}}, "flask: the ledger says 1 captured, the shop noted 2"),
    ],
    ids=["unbalanced", "waiting", "dropped", "uncounted"],
)
def test_a_ledger_that_admits_a_loss_is_reported(change, problem):
    """A shop's own count must come out even, with nothing dropped and nothing waiting."""
    ledger = {"captured": 1, "delivered": 1, "dead_lettered": 0, "parked": 0, "pending": 0}
    report = {"balanced": True, "flushed": True, "dropped": {}, "captured": {"page": 1}, "ledger": ledger}

    assert verdict.unbalanced("flask", report) == []
    assert [said for said in verdict.unbalanced("flask", {**report, **change}) if said.startswith(problem)]


def test_faults_that_did_not_happen_are_reported():
    """A proof in fine weather proves little, so every fault must have struck as often as planned."""
    struck = SeenRequest(
        id="r1", method="POST", path="/", query="", endpoint="track.v2.batch", headers={}, body="", size=0,
        status=429, fault="status", received_at=1.0,
    )  # fmt: skip

    assert verdict.quiet({"429": 1}, [struck]) == []
    assert verdict.quiet({"429": 2, "reset": 1}, [struck]) == [
        "429 happened 1 times, not 2",
        "reset happened 0 times, not 1",
    ]
