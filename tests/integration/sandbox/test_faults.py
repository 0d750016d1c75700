"""Every fault, as a client sees it on a real socket, and what the sandbox remembers of it."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from cio_middleware.sandbox.faults import ACTS
from cio_middleware.sandbox.fidelity import Fidelity
from cio_middleware.sandbox.store import House
from cio_middleware.testing import Sandbox

ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
BATCH = {
    "batch": [
        {"type": "person", "action": "event", "identifiers": {"id": "ada"}, "name": "order", "id": ULID},
        {"type": "person", "action": "event", "identifiers": {"id": "ada"}, "name": "page", "id": ULID[:-1] + "W"},
    ]
}


def send(http):
    """Send the batch once."""
    return http.post("/api/v2/batch", json=BATCH)


def test_a_status_is_answered_and_nothing_is_stored(http, sandbox):
    """The items are remembered with their ids, and the caller gets the status and the header."""
    sandbox.faults.script(["429;retry_after=7"])
    reply = send(http)

    assert (reply.status_code, reply.headers["retry-after"]) == (429, "7")
    assert [(row.event_id, row.verdict, row.statuses) for row in sandbox.events("order")] == [(ULID, "fault", (429,))]
    assert (sandbox.count("order"), sandbox.bad) == (0, [])
    assert "ada" not in sandbox.people


def test_a_429_may_come_without_a_hint_when_to_return(http, sandbox):
    """Customer.io documents no Retry-After, so a client must do without."""
    sandbox.faults.script(["429"])
    assert "retry-after" not in send(http).headers


def test_every_429_may_carry_a_hint_if_the_house_says_so():
    """Whether the real one does is unpublished, so it is a choice; a header of the fault's own wins."""
    with Sandbox.running(house=House(fidelity=Fidelity(retry_after_on_429="2"))) as sandbox:
        sandbox.faults.script(["429", "429;retry_after=9"])
        with httpx.Client(base_url=sandbox.url, auth=("dev", "key"), trust_env=False) as http:
            assert [send(http).headers["retry-after"] for _ in range(2)] == ["2", "9"]


@pytest.mark.parametrize(
    ("step", "error", "stored"),
    [
        ("reset", httpx.ReadError, 0),
        ("ack_lost", httpx.ReadError, 1),
        ("reset=after_headers", httpx.ReadError, 1),
        ("reset=mid_body", httpx.ReadError, 1),
    ],
)
def test_a_reset_is_a_reset(http, sandbox, step, error, stored):
    """The client sees the connection break, and what was stored depends on where it broke."""
    sandbox.faults.script([step])
    with pytest.raises(error, match="reset by peer"):
        send(http)

    assert sandbox.count("order") == stored
    assert sandbox.requests()[0].status is None
    assert send(http).status_code == 200
    assert sandbox.duplicates("order") == stored


def test_a_reply_that_is_cut_had_begun(http, sandbox):
    """After the headers the status is known, and the body never ends."""
    sandbox.faults.script(["reset=after_headers", "reset=mid_body"])
    begun = []
    for _ in range(2):
        with http.stream("POST", "/api/v2/batch", json=BATCH) as reply:
            assert reply.status_code == 200
            with pytest.raises(httpx.ReadError):
                begun.extend(reply.iter_raw())  # extend keeps what came before the error
    assert begun == [b"{"]


def test_attempts_count_what_faults_answered(http, sandbox):
    """The row that was stored knows the outcome of every request that tried before."""
    sandbox.faults.script(["503", "reset", "429;retry_after=1", "ack_lost", "ok"])
    for _ in range(5):
        try:
            send(http)
        except httpx.ReadError:
            continue

    stored = sandbox.wait_for("order")
    assert (stored.attempts, stored.statuses) == (4, (503, "reset", 429, "ack_lost"))
    (repeat,) = sandbox.events("order", verdict="duplicate")
    assert (repeat.attempts, repeat.statuses[-1]) == (5, 200)
    assert [row.seq for row in sandbox.events("order")] == [stored.seq, repeat.seq]
    assert sandbox.people["ada"].events == [ULID, ULID[:-1] + "W"]


def test_attempts_of_what_has_no_id_are_told_by_their_bytes(http, sandbox):
    """An identify that failed is a retry; the same identify after a success is a new one."""
    sandbox.faults.script(["503", "ok*"])
    for _ in range(3):
        http.put("/api/v1/customers/ada", json={"plan": "pro"})
    assert [row.statuses for row in sandbox.events(kind="identify")] == [(503, 200), (200,)]


def test_a_partial_failure_refuses_the_items_it_names(http, sandbox):
    """The others are stored."""
    sandbox.faults.script(["partial=0"])
    reply = send(http)

    assert reply.status_code == 207
    assert [error["batch_index"] for error in reply.json()["errors"]] == [0]
    assert sandbox.people["ada"].event_names == ["page"]
    assert [row.verdict for row in sandbox.events()] == ["fault", "accepted_but"]
    assert send(http).json() == {}
    assert sandbox.people["ada"].event_names == ["page", "order"]


def test_a_hang_lasts_until_the_client_gives_up(http, sandbox):
    """Nothing is answered and nothing stored."""
    sandbox.faults.script(["hang"])
    with pytest.raises(httpx.ReadTimeout):
        http.post("/api/v2/batch", json=BATCH, timeout=0.1)
    assert sandbox.count("order") == 0
    assert sandbox.events("order")[0].statuses == ("hang",)


def test_latency_delays_and_then_all_is_normal(http, sandbox):
    """The event is stored, and the answer comes late."""
    sandbox.faults.script(["latency=60"])
    began = time.monotonic()
    assert send(http).json() == {}
    assert time.monotonic() - began >= 0.06
    assert sandbox.wait_for("order").statuses == (200,)


def test_a_page_of_html_with_a_200_stores_nothing(http, sandbox):
    """A proxy in between answers like that, and a client must not take it for success."""
    sandbox.faults.script(["html"])
    reply = send(http)
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/html")
    assert sandbox.count("order") == 0


@pytest.mark.parametrize(
    ("step", "status"), [("redirect=https://track-eu.test/", 307), ("301;to=https://track-eu.test", 301)]
)
def test_a_redirect_points_elsewhere_with_the_same_path(http, sandbox, step, status):
    """307 asks for the same request at another base, and a 301 lets a client turn it into a GET; no key goes along."""
    sandbox.faults.script([step])
    reply = send(http)
    assert (reply.status_code, reply.headers["location"]) == (status, "https://track-eu.test/api/v2/batch")
    assert sandbox.count("order") == 0
    assert "authorization" in reply.request.headers
    assert reply.next_request is not None
    assert reply.next_request.method == ("POST" if status == 307 else "GET")
    assert "authorization" not in reply.next_request.headers


SEEN: dict[str, tuple[dict[str, Any], Any, int]] = {
    "hang": ({"type": "hang"}, httpx.ReadTimeout, 0),
    "latency": ({"type": "latency", "ms": 1000}, httpx.ReadTimeout, 0),
    "reset before": ({"type": "reset"}, httpx.ReadError, 0),
    "reset after headers": ({"type": "reset", "at": "after_headers"}, httpx.ReadError, 1),
    "reset in the body": ({"type": "reset", "at": "mid_body"}, httpx.ReadError, 1),
    "ack_lost": ({"type": "ack_lost"}, httpx.ReadError, 1),
    "status": ({"type": "status", "status": 503}, 503, 0),
    "flap": ({"type": "flap", "up_s": 0, "down_s": 60}, 503, 0),
    "rate_limit": ({"type": "rate_limit", "rate": 0.001, "burst": 1}, 429, 1),
    "partial": ({"type": "partial", "indexes": [0]}, 207, 0),
    "partial by name": ({"type": "partial", "items": {"name": "ord*", "person": "ada"}}, 207, 0),
    "partial by another name": ({"type": "partial", "items": {"name": "ord*", "person": "bob"}}, 200, 1),
    "blackhole": ({"type": "blackhole"}, 200, 0),
    "garbage": ({"type": "garbage", "status": 502}, 502, 0),
    "redirect": ({"type": "redirect", "status": 308, "to": "https://track-eu.test"}, 308, 0),
    "ok": ({"type": "ok"}, 200, 1),
}


@pytest.mark.parametrize(("do", "expected", "stored"), SEEN.values(), ids=SEEN)
def test_every_act_is_what_httpx_says_it_is(http, sandbox, do, expected, stored):
    """On a real socket: an exception, or a status; and what of it was stored."""
    sandbox.faults.rule(do=do)
    if isinstance(expected, int):
        if do["type"] == "rate_limit":
            send(http)
        assert send(http).status_code == expected
    else:
        with pytest.raises(expected):
            http.post("/api/v2/batch", json=BATCH, timeout=0.2)
    assert sandbox.count("order") == stored


def test_every_act_is_in_the_table_above():
    """One that is added without a line fails."""
    assert {do["type"] for do, *_ in SEEN.values()} == set(ACTS)


def test_a_black_hole_says_yes_and_keeps_nothing(http, sandbox):
    """The answer is that of a success, and the rows say that they were swallowed."""
    sandbox.faults.script(["blackhole"])
    assert (send(http).status_code, send(http).text) == (200, "{}\n")
    assert [(row.verdict, row.errors[0].code) for row in sandbox.bad] == [("ignored", "fault-blackhole")] * 2
    assert sandbox.people["ada"].event_names == ["order", "page"]  # of the second time


def test_an_answer_that_was_cut_off_is_no_json(http, sandbox):
    """Its type says JSON, and a client that trusts it must not take it for an answer."""
    sandbox.faults.script(["cut_json"])
    reply = send(http)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
    with pytest.raises(ValueError, match="Unterminated string"):
        reply.json()
    assert sandbox.count("order") == 0


def test_a_retry_after_may_be_a_date(http, sandbox):
    """In the words of HTTP, so many seconds from the answer."""
    sandbox.faults.script(["429;retry_date=30"])
    reply = send(http)
    wait = parsedate_to_datetime(reply.headers["retry-after"]).timestamp() - sandbox.requests()[0].received_at
    assert 30 <= wait < 32


def test_a_magic_person_needs_no_call_to_the_sandbox(http, sandbox):
    """By v1, v2 and Pipelines, also as one of a batch; then all is as with anybody."""
    path = f"/api/v1/customers/{quote('sandbox:429:1', safe='')}"
    assert [http.put(path, json={}).status_code for _ in range(2)] == [429, 200]
    item = {"type": "person", "action": "identify", "identifiers": {"id": "sandbox:500"}}
    assert http.post("/api/v2/batch", json={"batch": [*BATCH["batch"], item]}).status_code == 500
    with pytest.raises(httpx.ReadError):
        http.post("/v1/identify", json={"userId": "sandbox:reset:1"}, auth=(sandbox.site_id, ""))
    assert sandbox.requests()[-1].fault == "reset"
    assert sandbox.people["sandbox:429:1"].identified


def test_a_scenario_is_started_by_its_name_and_stopped(http, sandbox, web):
    """The list says what each is and does, and which one runs."""
    root, headers = f"{sandbox.url}/_sandbox/v1", {"X-Cio-Sandbox": "1", "X-Cio-Workspace": sandbox.site_id}
    assert web.post(f"{root}/faults/scenarios/flaky-5%25", headers=headers).json()["name"] == "flaky-5%"
    started = web.post(f"{root}/faults/scenarios/revoked-key", headers=headers)
    assert started.json()["sentence"].startswith("The key is refused with 401")
    assert send(http).status_code == 401

    items = web.get(f"{root}/scenarios", headers=headers).json()["items"]
    assert set(items[0]) == {"name", "sentence", "does", "rules", "running"}
    assert [item["name"] for item in items if item["running"]] == ["revoked-key"]

    assert web.delete(f"{root}/faults/scenarios", headers=headers).json()["rules"] == []
    assert send(http).status_code == 200
    unknown = web.post(f"{root}/faults/scenarios/storm", headers=headers)
    assert (unknown.status_code, "Known: outage-30s" in unknown.text) == (404, True)


@pytest.mark.parametrize("api", ["/api/v1/customers/ada/events", "/api/v2/entity"])
def test_a_partial_failure_of_a_single_call_is_a_400(http, sandbox, api):
    """There is one item, and it is refused in the envelope of its API."""
    sandbox.faults.script(["partial=0"])
    reply = http.post(api, json=BATCH["batch"][0])
    assert reply.status_code == 400
    assert sandbox.count("order") == 0


def test_a_rule_picks_its_requests(http, sandbox):
    """The name of an event in the batch decides, and the first two are hit."""
    rule = sandbox.faults.rule(
        match={"endpoint": "track.v2.batch", "name": "ord*"},
        when={"mode": "first", "n": 2},
        do={"type": "status", "status": 500},
    )
    assert [send(http).status_code for _ in range(3)] == [500, 500, 200]
    assert http.put("/api/v1/customers/ada", json={}).status_code == 200
    assert [(shown.id, shown.seen, shown.hits) for shown in sandbox.faults.rules()] == [(rule, 3, 2)]

    sandbox.faults.clear()
    assert sandbox.faults.rules() == []


def test_a_script_counts_the_requests_that_it_matches(http, sandbox):
    """Others pass between its steps."""
    sandbox.faults.script(["503"], match={"endpoint": "track.v1.*"})
    assert send(http).status_code == 200
    assert [http.put("/api/v1/customers/ada", json={}).status_code for _ in range(2)] == [503, 200]


def test_chance_is_the_same_every_time(http, sandbox):
    """A seed makes a flaky service repeatable."""
    runs = []
    for _ in range(2):
        sandbox.faults.rule(when={"mode": "chance", "p": 0.5, "seed": 7}, do={"type": "status", "status": 503})
        runs.append([http.put("/api/v1/customers/ada", json={}).status_code for _ in range(20)])
        sandbox.faults.clear()
    assert runs[0] == runs[1]
    assert set(runs[0]) == {200, 503}


def test_a_fault_of_one_workspace_leaves_the_others_alone(http, sandbox):
    """Tests that share a server throw faults side by side."""
    with sandbox.workspace("somebody-else") as other:
        other.faults.script(["503*"])
        assert send(http).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "says"),
    [
        ("PUT", "/faults/script", {"steps": ["ok", "boom"]}, 'step 2 "boom" is unknown. Known steps:'),
        ("PUT", "/faults/script", {}, "Type: "),
        ("PUT", "/faults/script", [], "Type: "),
        ("POST", "/faults", {"do": {"type": "explode"}}, "Type one of: ok, status"),
        ("POST", "/faults", {}, "Type: "),
    ],
)
def test_a_fault_that_cannot_be_read_is_a_400_that_says_what_to_type(sandbox, method, path, body, says, web):
    """The error carries the place and an example."""
    url = f"{sandbox.url}/_sandbox/v1{path}"
    reply = web.request(method, url, json=body, headers={"X-Cio-Sandbox": "1"})
    assert reply.status_code == 400
    assert says in reply.json()["error"]["message"]


def test_a_rule_can_be_replaced_and_removed(sandbox, web):
    """By the id that it was given or that it chose."""
    url, headers = f"{sandbox.url}/_sandbox/v1/faults/slow", {"X-Cio-Sandbox": "1", "X-Cio-Workspace": sandbox.site_id}
    for ms in (10, 20):
        web.put(url, json={"do": {"type": "latency", "ms": ms}}, headers=headers)
    assert [(rule.id, rule.do["ms"]) for rule in sandbox.faults.rules()] == [("slow", 20)]

    assert web.delete(url, headers=headers).status_code == 200
    assert web.delete(url, headers=headers).status_code == 404
    assert sandbox.faults.rules() == []
