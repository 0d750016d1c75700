"""Which fault answers, and how one is written down."""

from __future__ import annotations

import pytest

from cio_middleware.sandbox.faults import RULES, Act, Faults, Rule, TooManyRules, describe
from cio_middleware.sandbox.faultspec import CUT_JSON, HTML, BadFault, rule, script
from cio_middleware.sandbox.scenarios import SCENARIOS, NoScenario, shown, start, stop
from cio_middleware.testing.clock import ManualClock

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
    "301;to=https://eu.test": Act("redirect", status=301, to="https://eu.test"),
    "429;retry_date=2": Act("status", status=429, date_s=2.0),
    "partial=order_placed": Act("partial", items={"name": "order_placed"}),
    "blackhole": Act("blackhole"),
    "cut_json": Act("garbage", status=200, body=CUT_JSON, content_type="application/json"),
    "cut_json=502": Act("garbage", status=502, body=CUT_JSON, content_type="application/json"),
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
        ["503;to=https://eu.test"],
        ["301;to=eu.test"],
        ["429;retry_date=soon"],
        ["429;retry_date=-1"],
        ["429;retry_date=nan"],
        ["blackhole=1"],
        ["cut_json=204"],
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
        {"do": {"type": "ok"}, "when": {"for_s": 0}},
        {"do": {"type": "ok"}, "when": {"for_s": "30"}},
        {"do": {"type": "ok"}, "when": {"for_s": True}},
        {"do": {"type": "partial", "items": {"title": "x"}}},
        {"do": {"type": "partial", "items": {"name": 7}}},
        {"do": {"type": "redirect", "status": 503, "to": "https://eu.test"}},
        {"do": {"type": "garbage", "content_type": "a\r\nb: c"}},
        {"do": {"type": "rate_limit", "rate": 0}},
        {"do": {"type": "rate_limit", "burst": 0}},
        {"do": {"type": "rate_limit", "hint": "soon"}},
        {"do": {"type": "rate_limit", "rate": float("nan")}},
        {"do": {"type": "flap", "up_s": 0, "down_s": 0}},
        {"do": {"type": "flap", "up_s": -1}},
        {"do": {"type": "status", "date_s": "soon"}},
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


@pytest.mark.parametrize(
    "do",
    [
        {"type": "partial", "indexes": [1], "items": {"kind": "page"}},
        {"type": "status", "status": 429, "date_s": 2},
        {"type": "rate_limit", "rate": 2, "burst": 3, "hint": "date"},
        {"type": "flap", "up_s": 1, "down_s": 2},
        {"type": "garbage", "body": "x", "content_type": "application/json"},
    ],
    ids=lambda do: do["type"],
)
def test_a_rule_reads_back_as_it_is_shown(do):
    """What the control API shows can be sent to it again."""
    original = rule({"id": "a", "match": {"name": "x"}, "when": {"mode": "first", "n": 2, "for_s": 5}, "do": do})
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


@pytest.fixture(name="clock")
def _clock():
    return ManualClock(1_800_000_000.25)  # no whole second: a date has only those


def answers(faults, clock, times):
    """Return the status that is answered at each of these seconds from the start, 200 for none."""
    began, seen = clock.time(), []
    for at in times:
        clock.step_wall(began + at - clock.time())
        act = faults.decide("track.v2.batch", [], []).act
        seen.append(200 if act.type == "ok" else act.status)
    return seen


def test_a_rule_ends_after_its_time(clock):
    """`for_s` counts from when it was put, and the rule says when it ends, and then that it is over."""
    faults = Faults(clock.time)
    began = clock.time()
    faults.put(rule({"when": {"for_s": 30}, "do": {"type": "status", "status": 503}}))
    assert answers(faults, clock, [0, 29.9, 30, 31]) == [503, 503, 200, 200]
    (shown_rule,) = faults.document()["rules"]
    assert (shown_rule["seen"], shown_rule["hits"], shown_rule["over"]) == (2, 2, True)
    assert shown_rule["ends_at"] == began + 30
    assert rule(shown_rule).when.for_s == 30  # what is shown can be put again


def test_a_service_flaps(clock):
    """Up, then down, and again; the status of the second part is the rule's."""
    faults = Faults(clock.time)
    faults.put(rule({"do": {"type": "flap", "up_s": 2, "down_s": 1, "status": 502}}))
    assert answers(faults, clock, [0, 1.9, 2, 2.9, 3, 4.9, 5.5]) == [200, 200, 502, 502, 200, 200, 502]


def test_a_rate_limit_is_a_token_bucket(clock):
    """A burst passes, then so many a second; a wait fills the bucket up to the burst and no further."""
    faults = Faults(clock.time)
    faults.put(rule({"do": {"type": "rate_limit", "rate": 2, "burst": 3}}))
    assert answers(faults, clock, [0, 0, 0, 0]) == [200, 200, 200, 429]
    assert answers(faults, clock, [0.4, 0.5, 0.6, 1.0, 1.1]) == [429, 200, 429, 200, 429]
    assert answers(faults, clock, [100, 100, 100, 100]) == [200, 200, 200, 429]
    assert answers(faults, clock, [0.5, 1.0, 1.5]) == [200, 200, 200]


@pytest.mark.parametrize(
    ("hint", "header"), [("none", None), ("seconds", "2"), ("date", "Fri, 15 Jan 2027 08:00:03 GMT")]
)
def test_a_rate_limit_says_when_to_come_back(clock, hint, header):
    """Not at all, in seconds or as a date; never earlier than there is a token."""
    faults = Faults(clock.time)
    faults.put(rule({"do": {"type": "rate_limit", "rate": 0.5, "burst": 1, "hint": hint}}))
    faults.decide("track.v2.batch", [], [])
    assert faults.decide("track.v2.batch", [], []).act.headers.get("Retry-After") == header


def test_a_date_is_counted_from_the_answer(clock):
    """Of a step as of a rule."""
    faults = Faults(clock.time)
    faults.put(rule({"do": {"type": "status", "status": 503, "date_s": 10}}))
    faults.play(script(["429;retry_date=1"]))
    clock.advance(60)
    headers = [faults.decide("track.v2.batch", [], []).act.headers["Retry-After"] for _ in range(2)]
    assert headers == ["Fri, 15 Jan 2027 08:01:02 GMT", "Fri, 15 Jan 2027 08:01:11 GMT"]


def magic(faults, person, requests=3):
    """Return what becomes of so many requests about one person."""
    decisions = [faults.decide("track.v1.event", [], ["ada", person]) for _ in range(requests)]
    return [(one.act.type, one.act.status if one.act.type == "status" else one.delay_ms) for one in decisions]


@pytest.mark.parametrize(
    ("person", "expected"),
    [
        ("sandbox:429:2", [("status", 429), ("status", 429), ("ok", 0)]),
        ("sandbox:500", [("status", 500)] * 3),
        ("sandbox:reset:1", [("reset", 0), ("ok", 0), ("ok", 0)]),
        ("sandbox:hang", [("hang", 0)] * 3),
        ("sandbox:ack_lost:1", [("ack_lost", 0), ("ok", 0), ("ok", 0)]),
        ("sandbox:slow:800", [("ok", 800)] * 3),
        ("sandbox:slow:99999", [("ok", 60_000)] * 3),
        ("sandbox:429:1:a run of my own", [("status", 429), ("ok", 0), ("ok", 0)]),
        ("sandbox:200", [("ok", 0)] * 3),
        ("sandbox:600", [("ok", 0)] * 3),
        ("sandbox:429:x", [("status", 429)] * 3),
        ("sandbox:", [("ok", 0)] * 3),
        ("my-sandbox:500", [("ok", 0)] * 3),
    ],
)
def test_a_person_may_be_a_fault(person, expected):
    """By the beginning of their id: a status, a cut, a wait; a number says how often."""
    assert magic(Faults(), person) == expected


def test_magic_people_are_counted_apart_and_begin_anew_when_all_is_cleared():
    """What follows the number tells runs apart."""
    faults = Faults()
    assert magic(faults, "sandbox:429:1:a", 2) == magic(faults, "sandbox:429:1:b", 2)
    faults.clear()
    assert magic(faults, "sandbox:429:1:a", 1) == [("status", 429)]


def test_a_script_goes_before_a_magic_person_and_rules_after():
    """Whoever writes a script means all that it matches."""
    faults = Faults()
    faults.put(rule({"do": {"type": "status", "status": 502}}))
    faults.play(script(["503"]))
    assert [act for act, _ in magic(faults, "sandbox:reset:1")] == ["status", "reset", "status"]


NAMES = ["outage-30s", "brownout", "throttle", "flaky-5%", "ack-lost", "partial-batch", "wrong-region", "revoked-key"]


def test_the_scenarios_are_these():
    """Each with a sentence, and with rules that can be read."""
    assert [one.name for one in SCENARIOS] == NAMES
    assert all(one.sentence.endswith(".") and one.rules for one in SCENARIOS)
    assert all(rule(given).label for one in SCENARIOS for given in one.rules)


@pytest.mark.parametrize(
    ("name", "times", "expected"),
    [
        ("outage-30s", [0, 29, 31], [503, 503, 200]),
        ("throttle", [0] * 12, [200] * 10 + [429, 429]),
        ("wrong-region", [0], [301]),
        ("revoked-key", [0, 3600], [401, 401]),
    ],
)
def test_a_scenario_does_what_its_sentence_says(clock, name, times, expected):
    """Those whose answer is a status."""
    faults = Faults(clock.time)
    start(faults, name)
    assert answers(faults, clock, times) == expected


@pytest.mark.parametrize(
    ("name", "act", "share"),
    [
        ("brownout", "status", 0.2),
        ("flaky-5%", "reset", 0.025),
        ("flaky-5%", "status", 0.025),
        ("ack-lost", "ack_lost", 1 / 3),
    ],
)
def test_a_scenario_hits_its_share_and_the_same_ones_every_time(name, act, share):
    """Seeded: two runs are one."""
    runs = []
    for _ in range(2):
        faults = Faults()
        start(faults, name)
        runs.append([faults.decide("track.v2.batch", [], []).act.type for _ in range(2000)])
    assert runs[0] == runs[1]
    assert runs[0].count(act) / 2000 == pytest.approx(share, abs=0.02)


def test_a_scenario_takes_the_place_of_the_one_before_and_leaves_other_rules():
    """By its name with or without the percent sign; an unknown one is named with those that there are."""
    faults = Faults()
    faults.put(rule({"id": "mine", "do": {"type": "hang"}}))
    start(faults, "revoked-key")
    start(faults, "flaky-5")
    assert faults.ids() == ["mine", "scenario-flaky-5-1", "scenario-flaky-5-2"]
    assert [entry["name"] for entry in shown(faults) if entry["running"]] == ["flaky-5%"]
    with pytest.raises(NoScenario, match=r"'storm'\. Known: outage-30s, "):
        start(faults, "storm")
    stop(faults)
    assert faults.ids() == ["mine"]
