"""
The judge of Pipelines: Customer.io's own Python package for it, in an environment and a process of its own.

It speaks plain HTTP to the host that it is given, so nothing of it is changed.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".venv" / "judge" / "bin" / "python"
SCRIPT = Path(__file__).with_name("cdp_judge.py")
QUICK = {"upload_interval": 0.05, "timeout": 5, "max_retries": 3}


@pytest.fixture(name="judge")
def _judge(sandbox):
    """Calls Pipelines as the official package does, and returns the errors that it told its caller."""
    if not PYTHON.exists():
        pytest.skip("customerio-cdp-analytics has no environment yet. Type: make .venv/judge/.ready")

    def call(*calls, key=sandbox.site_id, **options):
        given = {"key": key, "host": sandbox.url, "options": {**QUICK, **options}, "calls": calls}
        env = {"PATH": os.environ.get("PATH", ""), "NO_PROXY": "*", "PYTHONWARNINGS": "ignore"}
        ended = subprocess.run(
            [PYTHON, SCRIPT], input=json.dumps(given), capture_output=True, text=True, timeout=60, check=True, env=env
        )
        return json.loads(ended.stdout)

    return call


VERBS = {
    "identify": (
        {"user_id": "ada", "anonymous_id": "v1", "traits": {"email": "ada@x.y"}},
        ("identify", "person", None, {"email": "ada@x.y"}),
    ),
    "track": ({"user_id": "ada", "event": "order", "properties": {"n": 1}}, ("event", "person", "order", {"n": 1})),
    "page": ({"user_id": "ada", "name": "/x", "properties": {"n": 1}}, ("page", "person", "/x", {"n": 1})),
    "screen": ({"anonymous_id": "v1", "name": "Home"}, ("screen", "person", "Home", {})),
    "group": ({"user_id": "ada", "group_id": "acme", "traits": {"n": 1}}, ("identify", "object", None, {"n": 1})),
}


@pytest.mark.parametrize("options", [{}, {"sync_mode": True}, {"gzip": True}], ids=["queued", "sync", "gzip"])
def test_every_verb_is_understood(judge, sandbox, options, web):
    """Queued, one by one, or compressed: each call is taken, and the sandbox recorded what was meant."""
    assert judge(*[(verb, arguments) for verb, (arguments, _) in VERBS.items()], **options) == []

    rows = sandbox.events()
    assert [(row.kind, row.subject, row.name, row.data) for row in rows] == [row for _, row in VERBS.values()]
    assert {(row.api, row.verdict in {"accepted", "accepted_but"}) for row in rows} == {("pipelines", True)}
    assert {warning.code for row in rows for warning in row.warnings} <= {"W-no-identify-yet"}
    shown = web.get(f"{sandbox.url}/_sandbox/v1/events/{rows[0].seq}", params={"workspace": sandbox.site_id}).json()
    assert shown["sent"]["context"]["library"]["name"] == "analytics-python"
    assert {request.endpoint for request in sandbox.requests()} == {"pipelines.batch"}
    assert sandbox.people["ada"].identifiers == {"id": "ada", "anonymous_id": "v1", "email": "ada@x.y"}


def test_an_alias_joins_two_ids(judge, sandbox):
    """What the visitor did is the person's."""
    judge(("track", {"anonymous_id": "v1", "event": "visited"}), ("alias", {"previous_id": "v1", "user_id": "ada"}))
    assert sandbox.people["ada"].event_names == ["visited"]


def test_a_regional_key_goes_as_a_bearer(judge, sandbox):
    """It names the workspace, as any key that is made up does."""
    assert judge(("track", {"user_id": "ada", "event": "order"}), key="pk_us_judged") == []
    with sandbox.workspace("pk_us_judged") as regional:
        assert regional.count("order") == 1


@pytest.mark.parametrize("step", ["429", "503", "html=502", "ack_lost", "reset"])
def test_what_it_sends_again_is_stored_once(judge, sandbox, step):
    """Its messageId stays the same, so a repeat after a lost answer is none."""
    sandbox.faults.script([step, "ok*"])
    assert judge(("track", {"user_id": "ada", "event": "order"})) == []
    assert sandbox.people["ada"].event_names == ["order"]
    assert sandbox.duplicates("order") == (1 if step == "ack_lost" else 0)
    assert sandbox.events("order")[-1].attempts == 2


def test_it_does_not_see_what_the_permissive_mode_loses(judge, sandbox):
    """It has no way to ask for strict mode: the call is answered 200, and only the sandbox says that it is gone."""
    assert judge(("page", {"user_id": "ada"})) == []
    assert [(row.verdict, row.errors[0].field) for row in sandbox.bad] == [("ignored", "name")]


def test_a_key_that_is_revoked_is_told_after_its_retries(judge, sandbox):
    """The 401 has no `code` in it, so it takes it for a failure and tries again: the defect that is ours to avoid."""
    sandbox.faults.script(["401*"])
    assert judge(("track", {"user_id": "ada", "event": "order"}), max_retries=1) != []
    assert sandbox.count("order") == 0
    assert len(sandbox.requests()) > 1
