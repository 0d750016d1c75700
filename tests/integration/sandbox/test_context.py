"""What a client tells a sandbox beside its deliveries: it joins the rows, and explains what never came."""

from __future__ import annotations

import json

import pytest

from cio_middleware import DropReason
from cio_middleware.processors import consent, sample
from cio_middleware.sandbox.context import REASONS

ROOT = "/_sandbox/v1"
ULID = "01J0000000000000000000000A"
OTHER = "01J0000000000000000000000B"


@pytest.fixture(name="tell")
def _tell(web, sandbox):
    def tell(*lines, raw=None):
        """Tell a sandbox some lines of JSON; returns its answer."""
        body = raw if raw is not None else "\n".join(json.dumps(line) for line in lines).encode()
        url = f"{sandbox.url}{ROOT}/context?workspace={sandbox.site_id}"
        return web.post(url, content=body, headers={"X-Cio-Sandbox": "1"})

    return tell


@pytest.fixture(name="post")
def _post(web, sandbox):
    def post(event_id=ULID, name="paid"):
        """Send one event by v1."""
        url = f"{sandbox.url}/api/v1/customers/ada/events"
        web.post(url, json={"name": name, "id": event_id, "data": {}}, auth=(sandbox.site_id, "key"))

    return post


CAPTURED = {
    "event_id": ULID, "stage": "captured", "at": 10.0, "call_site": "shop.py:3 in pay", "route": "/pay/{id}",
    "method": "POST", "trace_id": "4bf9", "task": "shop.pay",
}  # fmt: skip


@pytest.mark.parametrize("late", [False, True], ids=["before", "late"])
def test_what_is_told_joins_the_row_of_its_event(late, tell, post, sandbox):
    """It may come before the event or after it; the stages are in the order of their times."""
    if late:
        post()
        assert sandbox.events()[0].context is None
    assert tell({"event_id": ULID.lower(), "stage": "settled", "at": 12.0}, CAPTURED).json()["taken"] == 2
    if not late:
        post()

    (event,) = sandbox.events()
    assert event.context.call_site == "shop.py:3 in pay"
    assert (event.context.route, event.context.method, event.context.task) == ("/pay/{id}", "POST", "shop.pay")
    assert event.context.reached == ["captured", "settled"]
    assert event.trace_id == "4bf9"


def test_late_context_marks_the_row_as_changed(tell, post, sandbox, web):
    """Whoever streams since the list hears of an update of that row, with what is known now."""
    post()
    cursor = web.get(f"{sandbox.url}{ROOT}/events?workspace={sandbox.site_id}").json()["stream_cursor"]
    tell(CAPTURED)
    url = f"{sandbox.url}{ROOT}/stream?workspace={sandbox.site_id}&since={cursor}"
    with web.stream("GET", url) as stream:
        lines = stream.iter_lines()
        assert any(line == "event: update" for line in lines)
        told = json.loads(next(line for line in lines if line.startswith("data: ")).removeprefix("data: "))
    assert told["items"][0]["context"]["call_site"] == "shop.py:3 in pay"
    assert sandbox.summary()["total"] == 1


def test_the_detail_and_the_filter_know_it(tell, post, sandbox, web):
    """The single view has the context, events of one trace are related, and `trace:` and `route:` find them."""
    post()
    post(OTHER, "shipped")
    tell(CAPTURED, {**CAPTURED, "event_id": OTHER})
    shown = web.get(f"{sandbox.url}{ROOT}/events/1?workspace={sandbox.site_id}").json()
    assert shown["context"]["route"] == "/pay/{id}"
    assert shown["related"]["same_trace"] == [2]
    assert [event.seq for event in sandbox.events(q="trace:4bf9 route:/pay* has:context")] == [1, 2]


@pytest.mark.parametrize(
    ("reason", "good"),
    [
        ("invalid_event", False),
        ("event_too_large", False),
        ("queue_full", False),
        ("breaker_open", False),
        ("processor", None),
        ("no_identity", None),
        ("something_new", None),
    ],
)
def test_an_event_that_was_never_sent_has_a_row_that_says_why(reason, good, tell, sandbox):
    """It is bad news for some reasons alone, and counted as such; Customer.io's people and requests know nothing."""
    line = {"event_id": None, "stage": "never_sent", "at": 10.0, "drop_reason": reason, "kind": "event", "name": "paid"}
    assert tell(line).json() == {"taken": 1, "never_sent": 1}

    event = sandbox.wait_for("paid", verdict="never_sent")
    assert (event.drop_reason, event.good, event.received_at) == (reason, good, 10.0)
    assert event.headline.startswith("never sent: ")
    assert [bad.seq for bad in sandbox.bad] == ([event.seq] if good is False else [])
    assert sandbox.summary()["bad"] == (good is False)
    assert sandbox.summary()["by_verdict"]["never_sent"] == 1
    assert not list(sandbox.people)
    assert not sandbox.requests()
    with pytest.raises(AssertionError, match=rf"Never sent: 1: paid \({reason}\)\."):
        sandbox.wait_for("paid", timeout=0)


def test_what_was_sent_once_is_no_secret_of_the_client(tell, post, sandbox):
    """Giving an event up after an attempt makes no second row, and one that nobody attempted gets its row."""
    post()
    gone = {"stage": "settled", "at": 12.0, "drop_reason": "expired"}
    assert tell({**gone, "event_id": ULID}).json()["never_sent"] == 0
    tell({"event_id": OTHER, "stage": "sent#1", "at": 11.0})
    assert tell({**gone, "event_id": OTHER}).json()["never_sent"] == 0
    third = OTHER[:-1] + "C"
    assert tell({**gone, "event_id": third}).json()["never_sent"] == 1
    assert tell({**gone, "event_id": third}).json()["never_sent"] == 0
    assert [(event.event_id, event.verdict) for event in sandbox.events()][1:] == [(third, "never_sent")]


def test_nothing_but_the_known_fields_is_kept(tell, post, sandbox, web):
    """A payload, a person or a value of another type that a client sends by mistake is not in the answer."""
    post()
    tell({**CAPTURED, "attributes": {"card": "4111"}, "person": "ada", "route": {"x": "4111"}, "status": "4111"})
    tell({"event_id": ULID, "stage": "replied", "at": True, "status": 10**400, "call_site": "x" * 9999})
    text = web.get(f"{sandbox.url}{ROOT}/events/1?workspace={sandbox.site_id}").json()["context"]
    assert "4111" not in json.dumps(text)
    assert "ada" not in json.dumps(text)
    assert text["call_site"] == "shop.py:3 in pay"
    assert text["stages"] == [{"stage": "replied", "at": 0.0}, {"stage": "captured", "at": 10.0}]


def test_what_is_kept_of_one_event_is_bounded(tell, post, sandbox):
    """Of endless stages the first and the newest stay, and a text is cut."""
    post()
    tell(
        {**CAPTURED, "route": "/" * 9999}, *({"event_id": ULID, "stage": f"sent#{n}", "at": 10 + n} for n in range(99))
    )
    context = sandbox.events()[0].context
    assert len(context.reached) == 50
    assert (context.reached[0], context.reached[-1]) == ("captured", "sent#98")
    assert len(context.route) == 300


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"{", "line 1: "),
        (b"[]", "line 1 is no object"),
        (b'{"event_id": "x", "stage": "captured"}', "Type a ULID, or null"),
        (b'{"event_id": null, "stage": "captured"}\n{"event_id": 7, "stage": "x"}', "line 2: event_id is 7"),
        (b'{"event_id": null, "stage": "eaten"}', "line 1: stage is 'eaten'"),
        (b'{"event_id": null, "stage": "captured"}\n' * 5001, "5001 lines, and 5000 are read at once"),
        (b'{"a":' * 99, "line 1: "),
    ],
    ids=["cut", "list", "no-ulid", "number", "stage", "many", "deep"],
)
def test_a_line_that_cannot_be_read_is_named(raw, said, tell, sandbox):
    """Nothing of such a call is taken in."""
    reply = tell(raw=raw)
    assert reply.status_code == 400
    assert said in reply.json()["error"]["message"]
    assert sandbox.summary()["total"] == 0


def test_a_body_without_end_is_refused(tell):
    """The cap of every control call holds here, too."""
    assert tell(raw=b"\n" * (1024 * 1024 + 1)).status_code == 413


def test_a_web_page_cannot_tell_anything(web, sandbox):
    """It is a change, which needs the header that makes a browser ask first."""
    assert web.post(f"{sandbox.url}{ROOT}/context", content=b"").status_code == 403


def test_it_is_in_a_capture_and_comes_back(tell, post, sandbox, web):
    """Where an event came from is worth as much in a bug report."""
    post()
    tell(CAPTURED, {"event_id": None, "stage": "never_sent", "drop_reason": "queue_full", "kind": "event"})
    saved = web.get(f"{sandbox.url}{ROOT}/export.ndjson?workspace={sandbox.site_id}").content
    name = f"{sandbox.site_id}-again"
    url = f"{sandbox.url}{ROOT}/import?workspace={name}"
    taken = web.post(url, content=saved, headers={"X-Cio-Sandbox": "1"}).json()
    assert taken["events"] == 2, taken
    with sandbox.workspace(name) as again:
        came, lost = again.events()
        assert came.context.route == "/pay/{id}"
        assert (lost.drop_reason, lost.good) == ("queue_full", False)
        again.reset()


def test_every_answer_says_that_it_is_a_sandbox(web, sandbox):
    """By this a client on this machine knows that it tells nobody else."""
    for path in ("/api/v1/accounts/region", f"{ROOT}/health", "/nowhere"):
        assert web.get(f"{sandbox.url}{path}").headers["x-cio-sandbox"] == "1"


def test_each_reason_of_a_client_has_a_sentence():
    """Whatever a client drops an event for, the page says what it means."""
    assert set(REASONS) == set(DropReason)


@pytest.mark.parametrize(
    ("processor", "reason"),
    [(sample(0), "sampled"), (consent(lambda asked: False), "no_consent")],
    ids=["sampled", "no-consent"],
)
def test_what_a_processor_kept_back_is_a_row_with_its_reason(make_client, sandbox, processor, reason):
    """A client that does not send an event by intention says so, and nobody counts it as lost."""
    client = sandbox.attach(make_client(client_options={"processors": [processor]}))
    client.track("seen", person="ada")
    sandbox.flush()
    (row,) = sandbox.events()
    assert (row.verdict, row.drop_reason, row.person) == ("never_sent", reason, None)
    assert row.good is not False
