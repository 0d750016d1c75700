"""Which fault answers, and how one is written down."""

from __future__ import annotations

import pytest

from cio_middleware.sandbox.faults import RULES, Act, Faults, Rule, TooManyRules, describe
from cio_middleware.sandbox.faultspec import HTML, BadFault, rule, script

STEPS = {
    "ok": Act("ok"),
    "429;retry_after=1": Act("status", status=429, headers={"Retry-After": "1"}),
    "503": Act("status", status=503),
    "reset": Act("reset"),
    "reset=mid_body": Act("reset", at="mid_body"),
    "ack_lost": Act("ack_lost"),
    "partial=0,2": Act("partial", indexes=(0, 2)),
    "latency=50": Act("latency", ms=50),
    "hang": Act("hang"),
    "html": Act("garbage", status=200, body=HTML),
    "html=502": Act("garbage", status=502, body=HTML),
    "redirect=https://eu.test": Act("redirect", status=307, to="https://eu.test"),
}


@pytest.mark.parametrize(("text", "act"), STEPS.items(), ids=STEPS)
def test_a_step_reads_as_written(text, act):
    """Every kind of step has its act."""
    assert script([text]).steps == (act,)


@pytest.mark.parametrize(
    "steps",
    [
        ["42"],
        ["700"],
        ["boom"],
        ["429;after=1"],
        ["partial="],
        ["partial=-1"],
        ["latency=soon"],
        ["reset=later"],
        ["ok=1"],
        ["redirect=eu"],
        ["latency=nan"],
        ["latency=1e999"],
        ["503;retry_after=1\r\nx: y"],
        ["503;retry_after=\u2603"],
        ["html=204"],
        ["html=999"],
        ["9" * 5000],
        ["redirect=https://\u2603"],
        ["redirect=https://x\r\ny"],
        ["reset;x=1"],
        [""],
    ],
    ids=str,
)
def test_a_step_that_cannot_be_read_is_named_with_what_is_known(steps):
    """The message has the number and the text of the step, and the list of steps."""
    with pytest.raises(BadFault) as refused:
        script(["ok", *steps])
    assert f'step 2 "{steps[0]}"' in str(refused.value)
    assert "Known steps: ok, 503" in str(refused.value)


@pytest.mark.parametrize("steps", [[], "ok", [1], None])
def test_a_script_that_is_no_list_of_steps_shows_one(steps):
    """The message has an example to copy."""
    with pytest.raises(BadFault, match="Type: "):
        script(steps)


def test_only_the_last_step_may_repeat():
    """A star in the middle would never let the rest happen."""
    with pytest.raises(BadFault, match='step 1 "ok\\*": only the last step repeats'):
        script(["ok*", "503"])


@pytest.mark.parametrize(
    "given",
    [
        7,
        {},
        {"do": {"type": "explode"}},
        {"do": {"type": "hang", "ms": 1}},
        {"do": {"type": "status", "status": 99}},
        {"do": {"type": "ok"}, "when": {"mode": "sometimes"}},
        {"do": {"type": "ok"}, "when": {"mode": "first", "n": 0}},
        {"do": {"type": "ok"}, "when": {"mode": "chance", "p": 2}},
        {"do": {"type": "ok"}, "match": {"title": "x"}},
        {"do": {"type": "ok"}, "match": "x"},
        {"do": {"type": "ok"}, "wenn": {}},
        {"do": {"type": "partial"}},
        {"do": {"type": ["ok"]}},
        {"do": {"type": "partial", "indexes": ["x"]}},
        {"do": {"type": "partial", "indexes": [1e3]}},
        {"do": {"type": "partial", "indexes": 7}},
        {"do": {"type": "status", "status": "503"}},
        {"do": {"type": "status", "status": True}},
        {"do": {"type": "status", "body": 7}},
        {"do": {"type": "status", "body": "\ud800"}},
        {"do": {"type": "status", "status": 204, "body": "x"}},
        {"do": {"type": "status", "status": 304, "body": "x"}},
        {"do": {"type": "status", "status": 101}},
        {"do": {"type": "status", "headers": ["a"]}},
        {"do": {"type": "status", "headers": {"a": 1}}},
        {"do": {"type": "status", "headers": {"a": "b\r\nc: d"}}},
        {"do": {"type": "status", "headers": {"a": "b\nc"}}},
        {"do": {"type": "status", "headers": {"a": "\u65e5"}}},
        {"do": {"type": "status", "headers": {"a": " b"}}},
        {"do": {"type": "status", "headers": {"a\nb": "c"}}},
        {"do": {"type": "status", "headers": {"": "c"}}},
        {"do": {"type": "status", "headers": {"Content-Length": "3"}}},
        {"do": {"type": "status", "headers": {"transfer-encoding": "chunked"}}},
        {"do": {"type": "garbage", "status": 304}},
        {"do": {"type": "latency", "ms": "1"}},
        {"do": {"type": "latency", "ms": 10**400}},
        {"do": {"type": "redirect", "to": 7}},
        {"do": {"type": "reset", "at": []}},
        {"do": {"type": "ok"}, "match": {"name": 7}},
        {"do": {"type": "ok"}, "when": {"mode": "chance", "seed": {}}},
        {"do": {"type": "ok"}, "when": {"mode": []}},
        {"do": {"type": "ok"}, "id": {}},
        {"do": {"type": "ok"}, "label": "x" * 201},
    ],
    ids=str,
)
def test_a_rule_that_cannot_be_read_says_what_to_type(given):
    """The message names what is known or shows an example."""
    with pytest.raises(BadFault, match=r"Type|Known|names|type|Leave it out|milliseconds"):
        rule(given)


@pytest.mark.parametrize("status", [204, 205, 304])
def test_a_status_without_a_body_is_fine_without_one(status):
    """As a step and as a rule."""
    assert script([str(status)]).steps == (Act("status", status=status),)
    assert rule({"do": {"type": "status", "status": status, "body": ""}}).do.body == ""


def test_there_is_an_end_to_rules():
    """One more is refused with what to type, and one in the place of another is not."""
    faults = Faults()
    for number in range(RULES):
        faults.put(Rule(f"r{number}", Act("ok")))
    with pytest.raises(TooManyRules, match="Type: DELETE /_sandbox/v1/faults"):
        faults.put(Rule("", Act("ok")))
    faults.put(Rule("r0", Act("hang")))


def sequence(faults: Faults, requests: int) -> str:
    """Return which of so many requests are hit, as a line of marks."""
    decisions = [faults.decide("track.v2.batch", ["order"], ["ada"]) for _ in range(requests)]
    return "".join("x" if decision.act.type == "status" else "." for decision in decisions)


@pytest.mark.parametrize(
    ("when", "hit"),
    [
        ({"mode": "always"}, "xxxxxx"),
        ({"mode": "first", "n": 2}, "xx...."),
        ({"mode": "after", "n": 2}, "..xxxx"),
        ({"mode": "every", "n": 3}, "..x..x"),
    ],
)
def test_a_rule_hits_when_it_says(when, hit):
    """The mode picks among the requests that match."""
    faults = Faults()
    faults.put(rule({"when": when, "do": {"type": "status", "status": 503}}))
    assert sequence(faults, 6) == hit


def test_chance_repeats_itself():
    """The same seed gives the same sequence, another seed another one."""
    runs = []
    for seed in (1, 1, 2):
        faults = Faults()
        faults.put(rule({"when": {"mode": "chance", "p": 0.5, "seed": seed}, "do": {"type": "status"}}))
        runs.append(sequence(faults, 60))
    assert runs[0] == runs[1] != runs[2]
    assert 15 < runs[0].count("x") < 45


@pytest.mark.parametrize(
    ("match", "hit"),
    [
        ({"endpoint": "track.v2.*"}, True),
        ({"endpoint": "track.v1.*"}, False),
        ({"name": "ord*"}, True),
        ({"name": "page"}, False),
        ({"person": "ada"}, True),
        ({"person": "bob", "name": "order"}, False),
    ],
)
def test_a_rule_looks_at_endpoint_name_and_person(match, hit):
    """All patterns that are given must fit."""
    faults = Faults()
    faults.put(rule({"match": match, "do": {"type": "status"}}))
    assert (sequence(faults, 1) == "x") is hit


def test_the_first_hit_answers_and_latency_adds_up_before_it():
    """Rules run top to bottom."""
    faults = Faults()
    for do in ({"type": "latency", "ms": 20}, {"type": "latency", "ms": 5}, {"type": "hang"}, {"type": "status"}):
        faults.put(rule({"do": do}))
    decision = faults.decide("track.v1.event", [], [])
    assert (decision.act.type, decision.delay_ms) == ("hang", 25)


def test_a_script_goes_before_the_rules_and_then_gives_way():
    """After its last step all is as the rules say."""
    faults = Faults()
    faults.put(rule({"do": {"type": "status"}}))
    faults.play(script(["ok", "ok"]))
    assert sequence(faults, 4) == "..xx"


def test_a_script_repeats_its_last_step_with_a_star():
    """`503*` never ends."""
    faults = Faults()
    faults.play(script(["ok", "503*"]))
    assert sequence(faults, 5) == ".xxxx"


def test_a_rule_reads_back_as_it_is_shown():
    """What the control API shows can be sent to it again."""
    original = rule(
        {
            "id": "a",
            "match": {"name": "x"},
            "when": {"mode": "first", "n": 2},
            "do": {"type": "partial", "indexes": [1]},
        }
    )
    assert rule(describe(original)) == original


def test_a_rule_is_replaced_in_its_place():
    """The order of the others stays, and the counters begin anew."""
    faults = Faults()
    for name in ("a", "b"):
        faults.put(rule({"id": name, "do": {"type": "status", "status": 500}}))
    sequence(faults, 3)
    faults.put(rule({"do": {"type": "status", "status": 503}}, "a"))
    shown = faults.document()["rules"]
    assert [(entry["id"], entry["do"]["status"], entry["hits"]) for entry in shown] == [("a", 503, 0), ("b", 500, 0)]
