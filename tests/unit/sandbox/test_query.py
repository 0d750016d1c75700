"""The filter language: what each term finds, what is refused, and that a naive reading of it agrees."""

from __future__ import annotations

import itertools
import json
import time
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cio_middleware.sandbox.query import BadQuery, parse, quoted
from cio_middleware.sandbox.rows import EventRow
from cio_middleware.sandbox.timespec import NoMoment, moment
from cio_middleware.sandbox.verdicts import Finding, Verdict

NOW = datetime(2026, 11, 24, 12, 10).astimezone().timestamp()  # noon, and a bit, of this machine
PLAIN = EventRow(
    seq=1, workspace="dev", api="track.v2", subject="person", kind="event", name="order_placed", person="ada",
    identifiers={"email": "Ada@example.com"}, event_id="01JD", data={}, timestamp=None, received_at=NOW - 60,
    request="r1", batch_index=0, verdict=Verdict.ACCEPTED, statuses=(200,), sent={"name": "order_placed"},
)  # fmt: skip
CONTEXT = {"trace_id": "4bf92f3577b34da6", "route": "/checkout", "page": {"path": "/checkout/42"}}


def row(**changed):
    """A row that differs in a few members."""
    return replace(PLAIN, **changed)


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("name:order_placed", {}),
        ("NAME:Order_*", {}),
        ("name:?rder*", {}),
        ('name:"two words"', {"name": "two words"}),
        ("name:[a]*", {"name": "[a]b"}),
        ("kind:identify", {"kind": "identify"}),
        ("person:ada", {}),
        ("person:ada@*", {}),
        ("is:rejected", {"verdict": Verdict.REJECTED}),
        ("is:bad", {"verdict": Verdict.IGNORED}),
        ("is:good", {}),
        ("is:problem", {"warnings": (Finding("W-x", "", "", ""),)}),
        ("is:problem", {"verdict": Verdict.REJECTED}),
        ("is:retried", {"statuses": (503, 200)}),
        ("has:trace", {"data": {"context": CONTEXT}}),
        ("has:route", {"data": {"context": CONTEXT}}),
        ("has:warnings", {"warnings": (Finding("W-x", "", "", ""),)}),
        ("has:id", {}),
        ("trace:4BF9", {"data": {"context": CONTEXT}}),
        ("route:/checkout", {"data": {"context": CONTEXT}}),
        ("route:/checkout/*", {"data": {"context": CONTEXT}}),
        ("code:W-ms-timestamp", {"warnings": (Finding("W-ms-timestamp", "", "", ""),)}),
        ("code:e-*", {"errors": (Finding("E-name", "", "", ""),)}),
        ("attr.plan:pro", {"kind": "identify", "data": {"plan": "pro"}}),
        ("data.total:42", {"data": {"total": 42}}),
        ("data.total:42", {"data": {"total": "42"}}),
        ("data.total:>100", {"data": {"total": 100.5}}),
        ("data.total:>=100", {"data": {"total": 100}}),
        ("data.total:<100", {"data": {"total": -1}}),
        ("data.total:<=9007199254740993", {"data": {"total": 9007199254740993}}),
        ("data.due:>2026-01-01", {"data": {"due": "2026-01-02"}}),
        ("data.ok:true", {"data": {"ok": True}}),
        ("data.ok:null", {"data": {"ok": None}}),
        ("data.ok:*", {"data": {"ok": None}}),
        ('data.ok:""', {"data": {"ok": ""}}),
        ("data.a.b:1", {"data": {"a": {"b": 1}}}),
        ("data.a.b:1", {"data": {"a.b": 1}}),
        ("data.items.sku:x*", {"data": {"items": [{"sku": "a"}, {"sku": "xy"}]}}),
        ("data.items.1.sku:xy", {"data": {"items": [{"sku": "a"}, {"sku": "xy"}]}}),
        ("data.tags:b", {"data": {"tags": ["a", "b"]}}),
        ("status:429", {"statuses": (429, 200)}),
        ("status:4xx", {"statuses": (429, 200)}),
        ("status:>=500", {"statuses": (503, 200)}),
        ("status:reset", {"statuses": ("reset", 200)}),
        ("since:5m", {}),
        ("since:12:09", {}),
        ("before:12:09:01", {}),
        ("since:12:11:30", {"received_at": NOW - 80_000}),
        ("placed", {}),
        ('"ada@EXAMPLE"', {}),
        ("42", {"sent": {"a": [{"b": 1423}]}}),
        ('"too long"', {"errors": (Finding("E-name", "", "", "name is Too Long"),)}),
        ("-name:page is:good -is:retried", {}),
        ("", {}),
        ("   ", {}),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_term_finds_what_it_says(text, changed):
    """And its negation does not."""
    assert parse(text, NOW).takes(row(**changed))
    for term in parse(text, NOW).terms:
        turned = term.text.removeprefix("-") if term.negated else f"-{term.text}"
        assert not parse(turned, NOW).takes(row(**changed))


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("name:order", {}),
        ("name:*a*a", {"name": "a"}),
        ("attr.plan:pro", {"data": {"plan": "pro"}}),
        ("data.plan:pro", {"kind": "identify", "data": {"plan": "pro"}}),
        ("data.total:>100", {"data": {"total": "500"}}),
        ("data.total:>0", {"data": {"total": True}}),
        ("data.total:1", {"data": {"total": True}}),
        ("data.total:<5", {"data": {}}),
        ("data.total:*", {"data": {}}),
        ("data.items.2:c", {"data": {"items": ["a", "b"]}}),
        ("trace:4bf9", {}),
        ("since:30s", {}),
        ("before:12:09", {}),
        ("status:200", {"statuses": ()}),
        ("name:order_placed is:rejected", {}),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_term_leaves_out_what_it_does_not_mean(text, changed):
    """Near misses: other kinds, other types, nothing there."""
    assert not parse(text, NOW).takes(row(**changed))


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("naem:x", "Did you mean name:order_*?"),
        ("persn:ada", "Did you mean person:ada?"),
        ("dat.total:1", "Did you mean data.total:>100?"),
        ("data:1", "Did you mean data.total:>100?"),
        ("statsu:4", "Did you mean status:429?"),
        ("is:rejectd", "Did you mean is:rejected?"),
        ("has:tracing", "Did you mean has:trace?"),
        ("-is:rejectd", "Did you mean is:rejected?"),
        ("since:lately", "Type since:5m"),
        ("before:25:00", "Type before:5m"),
        ("before:12:99", "Type before:5m"),
        ("since:0001-01-01", "Type since:5m"),
        ("status:>many", "Type for example status:>=500"),
        ("name:", "Type for example name:order_*"),
        ("name: x", "Type for example name:order_*"),
        ("http://x", '"http://x" to look for the text'),
        ("x" * 2001, "Type at most 2000"),
        ("x " * 51, "Type at most 50"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_read_says_what_to_type(text, advice):
    """The nearest key or value, and every one that is known; never the whole of a long text."""
    with pytest.raises(BadQuery) as raised:
        parse(text, NOW)
    assert advice in str(raised.value)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", NOW - 90),
        ("1.5h", NOW - 5400),
        ("2d", NOW - 172_800),
        ("250ms", NOW - 0.25),
        ("12:10", NOW),
        ("12:04:30.5", NOW - 329.5),
        ("23:00", NOW + 39_000 - 86_400),
        ("1764000000", 1764000000.0),
        ("2026-11-24T12:00:00Z", datetime.fromisoformat("2026-11-24T12:00:00+00:00").timestamp()),
    ],
)
def test_a_time_may_be_typed_in_many_ways(text, seconds):
    """Ago, a time of the day, an instant; what would be in the future was yesterday."""
    assert moment(text, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "5 m", "-5m", "now", "9" * 400 + "m", "12:4", "2026-13-01"])
def test_a_text_that_names_no_time_is_none(text):
    """Half a number is refused and not guessed at."""
    with pytest.raises(NoMoment):
        moment(text, NOW)


def test_an_unfinished_quote_is_read_to_its_end():
    """A filter is read while it is typed, and an open quote is no error."""
    assert parse('name:"order_pl*', NOW).takes(PLAIN)
    assert parse('"', NOW).takes(PLAIN)
    assert not parse('"no such', NOW).takes(PLAIN)


def test_an_empty_answer_can_say_what_each_term_alone_finds():
    """Somebody sees which of the terms was one too many; late context counts where it is given."""
    rows = [row(), row(name="page"), row(verdict=Verdict.REJECTED)]
    counts = parse("name:order* is:ignored -name:page", NOW).counts(rows)
    assert counts == [
        {"term": "name:order*", "matches": 2},
        {"term": "is:ignored", "matches": 0},
        {"term": "-name:page", "matches": 2},
    ]
    late = row(context=CONTEXT)
    assert parse("trace:4b", NOW).takes(late)
    assert parse("trace:4b", NOW).counts([PLAIN, late]) == [{"term": "trace:4b", "matches": 1}]


# ------------------------------------------------------------------------------------------------- a naive oracle
#
# Rows and terms are drawn from few words, so that most terms find something; the oracle reads the row's JSON and knows
# nothing of the parser: it is handed the parts of each term, and what `parse` is handed is their text.

WORDS = ["order", "order_paid", "Page", "ada", "a b", 'q"uote', "back\\slash", "日本", "", "-x", "k:v", "*"]
NUMBERS = [0, 1, -1, 42, 42.5, 10**17, True, False, None]
leaves = st.sampled_from([*WORDS, *NUMBERS])
data = st.dictionaries(
    st.sampled_from(["total", "plan", "deep"]),
    leaves | st.dictionaries(st.sampled_from(["x", "y"]), leaves) | st.lists(leaves, max_size=3),
    max_size=3,
)
rows = st.builds(
    row,
    kind=st.sampled_from(["event", "page", "identify"]),
    name=st.none() | st.sampled_from(WORDS),
    person=st.none() | st.sampled_from(WORDS),
    identifiers=st.dictionaries(st.just("id"), st.sampled_from(WORDS)),
    data=data,
    sent=data,
    event_id=st.none() | st.sampled_from(WORDS),
    verdict=st.sampled_from(list(Verdict)),
    errors=st.lists(st.builds(Finding, st.sampled_from(["E-a", "W-b"]), *[st.just("")] * 3), max_size=2).map(tuple),
    statuses=st.lists(st.sampled_from([200, 429, 503, "reset"]), max_size=3).map(tuple),
    received_at=st.sampled_from([NOW - 600, NOW - 60, NOW]),
)
keyed = st.one_of(
    st.tuples(st.sampled_from(["name", "person", "kind", "code"]), st.sampled_from([*WORDS, "page", "event", "E-a"])),
    st.tuples(st.just("is"), st.sampled_from([*map(str, Verdict), "good", "bad", "retried"])),
    st.tuples(st.just("status"), st.sampled_from(["200", "429", "503", "reset", "4xx"])),
    st.tuples(st.sampled_from(["since", "before"]), st.sampled_from(["5m", "30s", "1h"])),
    st.tuples(
        st.sampled_from(["data.total", "attr.plan", "data.deep", "data.deep.x"]),
        st.sampled_from([*WORDS, "1", "42", "42.5", "true", "null", ">1", "<=42", ">a"]),
    ),
    st.tuples(st.just(""), st.sampled_from(WORDS)),
)
terms = st.lists(st.tuples(st.booleans(), keyed), min_size=1, max_size=3)


def spelled(terms):
    """The text of the terms, every value in quotes."""
    return " ".join(f"{'-' * negated}{key}{':' * bool(key)}{quoted(value)}" for negated, (key, value) in terms)


def like(wanted, got):
    """Whether a text is what was wanted; a lone star takes any, and no other value here has one."""
    return isinstance(got, str) and (wanted == "*" or wanted.lower() == got.lower())


def fits(wanted, got):
    """Whether a value of a payload is what was wanted."""
    operator = wanted.rstrip("abcdefghijklmnopqrstuvwxyz0123456789.")
    if operator in {">", "<="} and wanted != operator:
        limit = wanted.removeprefix(operator)
        try:
            limit, comparable = float(limit), type(got) in {int, float}
        except ValueError:
            got, comparable = (got.lower(), True) if isinstance(got, str) else (got, False)
        return comparable and (got > limit if operator == ">" else got <= limit)
    if isinstance(got, str) or wanted == "*":
        return like(wanted, got) if isinstance(got, str) else True
    try:
        return json.loads(wanted) == got and isinstance(json.loads(wanted), bool) == isinstance(got, bool)
    except ValueError:
        return False


def reached(value, path):
    """What stands at a path, a list being each of its members."""
    for key in path:
        below = [one.get(key, MISSING) for one in value if isinstance(one, dict)]
        value = [part for one in below if one is not MISSING for part in (one if isinstance(one, list) else [one])]
        value += [[] for one in below if one == []]
    return value


MISSING = object()


def naive(key, wanted, shown, sent):
    """Whether one term takes a row, read from the row's JSON."""
    if key == "":
        texts = [
            shown["name"],
            shown["kind"],
            shown["person"],
            shown["event_id"],
            *map(str, leaves_of(shown["identifiers"])),
        ]
        texts += [error["code"] + " " for error in shown["errors"]] + list(leaves_of(sent))
        needle = wanted.lower()
        return any(
            needle == text.lower() if text in {"true", "false", "null"} else needle in text.lower()
            for text in texts if text is not None
        )  # fmt: skip
    if key == "code":
        return any(like(wanted, error["code"]) for error in shown["errors"])
    if key == "person":
        return like(wanted, shown["person"]) or any(like(wanted, one) for one in shown["identifiers"].values())
    if key == "is":
        return {"good": shown["good"] is True, "bad": shown["good"] is False, "retried": shown["attempts"] > 1}.get(
            wanted, shown["verdict"] == wanted
        )
    if key == "status":
        return any(str(one) == wanted or (wanted == "4xx" and one == 429) for one in shown["statuses"])
    if key in {"since", "before"}:
        after = shown["received_at"] >= NOW - {"5m": 300, "30s": 30, "1h": 3600}[wanted]
        return after is (key == "since")
    if "." in key:
        head, *path = key.split(".")
        right = (shown["kind"] != "identify") is (head == "data")
        return right and any(fits(wanted, got) for got in reached([shown["data"]], path))
    return like(wanted, shown[key])


def leaves_of(value):
    """Every key and every leaf of a JSON value, as text."""
    if isinstance(value, dict):
        return itertools.chain.from_iterable([key, *leaves_of(below)] for key, below in value.items())
    if isinstance(value, list):
        return itertools.chain.from_iterable(map(leaves_of, value))
    return [value if isinstance(value, str) else json.dumps(value)]


@given(terms, rows)
@settings(max_examples=400)
@example([(False, ("name", "-x"))], row(name="-x"))
def test_a_query_and_a_naive_reading_of_it_agree(terms, one):
    """Whatever the terms and whatever the row, quoting and negation included."""
    expected = all(naive(key, value, one.document(), one.sent) is not negated for negated, (key, value) in terms)
    assert parse(spelled(terms), NOW).takes(one) is expected


@given(st.text(max_size=60))
@settings(max_examples=300)
def test_no_text_breaks_the_parser(text):
    """It is read or refused; as one quoted word it is always read, and finds the row that has it."""
    with suppress(BadQuery):
        parse(text, NOW)
    found = parse(quoted(text), NOW)
    assert len(found.terms) == 1
    assert found.takes(row(name=text))


def test_five_thousand_rows_take_a_blink():
    """Every term at once, the free text last, over as many rows as a workspace keeps."""
    payload = {"name": "order_placed", "attributes": {f"key_{number}": f"value {number}" for number in range(30)}}
    many = [row(seq=number, sent=payload, data=payload["attributes"]) for number in range(5000)]
    query = parse('name:order_* -is:rejected status:2xx data.key_29:value* -data.key_1:>5 -"nowhere at all"', NOW)
    began = time.perf_counter()
    assert sum(query.takes(one) for one in many) == 5000
    assert time.perf_counter() - began < 1.0


@pytest.mark.parametrize("text", ["name:" + "a*" * 60 + "b", '"' + "a" * 1000 + '"', "data.x:" + "*a" * 60])
def test_a_hostile_pattern_takes_no_longer_than_its_text(text):
    """Stars do not multiply, even over a name of 100 kB that was refused."""
    hostile = row(name="a" * 100_000, data={"x": "a" * 100_000}, sent="a" * 100_000)
    began = time.perf_counter()
    parse(text, NOW).takes(hostile)
    assert time.perf_counter() - began < 0.5
