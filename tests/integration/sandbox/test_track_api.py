"""The emulated Track API, as any HTTP client sees it."""

from __future__ import annotations

import json
import socket
from urllib.parse import quote

import pytest

ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


def event(name="order", person="ada", **members):
    """Return a v2 event."""
    return {"type": "person", "action": "event", "identifiers": {"id": person}, "name": name, **members}


def test_a_call_that_is_taken_answers_an_empty_object_and_a_newline(http):
    """The bytes and the headers are those that were recorded from the real API."""
    reply = http.put("/api/v1/customers/ada", json={"plan": "pro"})

    assert (reply.status_code, reply.content) == (200, b"{}\n")
    assert reply.headers["content-type"] == "application/json; charset=utf-8"
    assert reply.headers["cache-control"] == "no-cache, no-store, must-revalidate, max-age=0"
    assert reply.headers["status"] == "200 OK"
    assert reply.headers["via"] == "1.1 google"


@pytest.mark.parametrize("identifier", ["a/b", "a+b", "100%", "a b", "日本", "a%2Fb", "x?y#z"])
def test_an_identifier_in_a_path_arrives_whole(http, sandbox, identifier):
    """Whatever an encoded segment holds is the person's id, and nothing else."""
    path = f"/api/v1/customers/{quote(identifier, safe='')}"
    http.put(path, json={"plan": "pro"})
    http.post(f"{path}/events", json={"name": "order", "id": ULID})

    assert [(row.kind, row.identifiers) for row in sandbox.events()] == [
        ("identify", {"id": identifier}),
        ("event", {"id": identifier}),
    ]
    assert sandbox.people[identifier].attributes == {"plan": "pro"}
    assert sandbox.people[identifier].events == [ULID]


@pytest.mark.parametrize(
    ("path", "identifiers"),
    [
        ("ada%40example.com", {"email": "ada@example.com"}),
        ("cio_03000001", {"cio_id": "03000001"}),
        ("%2B15551234567", {"id": "+15551234567"}),
    ],
)
def test_the_kind_of_an_identifier_is_read_from_its_shape(http, sandbox, path, identifiers):
    """An email and a cio_id are told from an id; a phone number is taken for an id."""
    http.post(f"/api/v1/customers/{path}/events", json={"name": "order"})
    assert sandbox.events()[0].identifiers == identifiers


@pytest.mark.parametrize(
    ("credentials", "status"),
    [
        (None, 401),
        (("", "key"), 401),
        (("site", ""), 401),
        (("invalid", "key"), 401),
        (("any-site-of-a-test", "any"), 200),
    ],
)
def test_any_whole_pair_of_credentials_is_taken(own_sandbox, credentials, status, web):
    """Without credentials, with an empty half or for the site id `invalid`, the answer is 401."""
    reply = web.put(f"{own_sandbox.url}/api/v1/customers/ada", json={}, auth=credentials)
    assert reply.status_code == status
    if status == 401:
        assert reply.json() == {"meta": {"error": "Unauthorized"}}
        assert web.post(f"{own_sandbox.url}/api/v2/batch", json={}).json() == {"meta": {"error": "Unauthorized"}}
        assert [row.errors[0].code for row in own_sandbox.bad] == ["E-unauthorized"] * 2


def test_credentials_in_the_url_safe_alphabet_are_taken(sandbox, web):
    """Customer.io's Go client sends those."""
    headers = {"Authorization": "Basic c2l0ZTo-Pz8_"}
    assert web.get(f"{sandbox.url}/api/v1/accounts/region", headers=headers).status_code == 200


def test_metrics_need_no_credentials(own_sandbox, web):
    """A push metric comes from a phone, which has none."""
    metric = {"delivery_id": "d1", "metric": "opened", "timestamp": 1}
    reply = web.post(f"{own_sandbox.url}/api/v1/metrics", json=metric)
    assert reply.status_code == 200
    assert [(row.kind, row.name) for row in own_sandbox.good] == [("metric", "opened")]


def test_the_region_is_this_server(http, sandbox):
    """A client that asks where to go is told to stay."""
    assert http.get("/api/v1/accounts/region").json() == {"url": sandbox.url, "region": "us", "environment_id": 1}


def test_an_error_of_v1_is_wrapped_in_meta(http):
    """One message is `error`, more are `errors`: both are real."""
    one = http.post("/api/v1/customers/ada/events", json={"name": ""})
    two = http.post("/api/v1/customers/ada/events", json={"name": "", "data": 1})

    assert (one.status_code, one.json()) == (400, {"meta": {"error": "event name must not be blank"}})
    assert two.json() == {"meta": {"errors": ["event name must not be blank", "event data must be a hash"]}}


def test_an_error_of_v2_is_a_list_with_reason_field_and_message(http):
    """The entity call has no batch_index."""
    reply = http.post("/api/v2/entity", json={"type": "person", "action": "event", "identifiers": {"id": "ada"}})
    expected = {"reason": "required", "field": "name", "message": "event name must not be blank"}
    assert (reply.status_code, reply.json()) == (400, {"errors": [expected]})


def test_one_bad_item_of_three_is_named_and_the_others_stay(http, sandbox):
    """A 207 lists only what failed, by its place, and everything else is stored."""
    reply = http.post("/api/v2/batch", json={"batch": [event("one"), event("x" * 101), event("three")]})

    message = "event name cannot be longer than 100 bytes"
    failed = {"batch_index": 1, "reason": "invalid", "field": "name", "message": message}
    assert (reply.status_code, reply.json()) == (207, {"errors": [failed]})
    assert sandbox.people["ada"].event_names == ["one", "three"]
    assert [(row.batch_index, row.verdict) for row in sandbox.events()] == [
        (0, "accepted_but"),
        (1, "rejected"),
        (2, "accepted_but"),
    ]


@pytest.mark.parametrize("body", ["", "{", "[]", "{}", '{"batch": {}}', '{"batch": []}', "null", '{"batch": [NaN]}'])
def test_a_batch_that_is_none_is_refused_as_a_whole(http, sandbox, body):
    """No batch_index, one problem, nothing stored."""
    reply = http.post("/api/v2/batch", content=body)

    assert reply.status_code == 400
    assert set(reply.json()["errors"][0]) == {"reason", "field", "message"}
    assert [row.verdict for row in sandbox.events()] == ["rejected"]


@pytest.mark.parametrize(("path", "key"), [("/api/v1/customers/ada/events", "meta"), ("/api/v2/entity", "errors")])
def test_a_body_that_is_no_json_is_refused_in_the_words_of_its_api(http, path, key):
    """v1 and v2 have their own envelopes."""
    reply = http.post(path, content=b"name=order", headers={"content-type": "application/x-www-form-urlencoded"})
    assert reply.status_code == 400
    assert key in reply.json()


@pytest.mark.parametrize(("extra", "status"), [(0, 200), (1, 400)])
def test_a_batch_of_exactly_the_limit_is_taken(http, extra, status):
    """500,000 bytes with the envelope, counted as sent."""
    items = [event(f"n{number}", attributes={"x": "a" * 30_000}) for number in range(16)]
    body = json.dumps({"batch": items}).encode()
    body += b" " * (500_000 - len(body) + extra)
    assert http.post("/api/v2/batch", content=body).status_code == status


def test_an_item_is_measured_as_sent(http):
    """An item whose escapes take it above 32,000 bytes is refused, though its text is short."""
    attributes = {"x": "é" * 6000}
    reply = http.post("/api/v2/batch", content=json.dumps({"batch": [event(attributes=attributes)]}))
    assert reply.status_code == 207
    terse = json.dumps({"batch": [event(attributes=attributes)]}, ensure_ascii=False)
    assert http.post("/api/v2/batch", content=terse.encode()).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "hint"),
    [
        ("POST", "/api/v1/customers/ada", 405, "Did you mean PUT (identify)"),
        ("POST", "/api/v2/bacth", 404, "Did you mean POST /api/v2/batch?"),
        ("POST", "/v1/trak", 404, "Did you mean POST /v1/track?"),
        ("POST", "/v9/nothing/of/the/kind", 404, "does not exist"),
    ],
)
def test_a_call_that_does_not_exist_is_a_problem_with_a_hint(http, sandbox, method, path, status, hint):
    """It is answered as Customer.io would, and remembered with what may have been meant."""
    reply = http.request(method, path, json={})

    assert reply.status_code == status
    assert [row.errors[0].code for row in sandbox.bad] == ["CIO-SBX-002"]
    assert hint in sandbox.bad[0].errors[0].message
    assert sandbox.requests()[0].endpoint == "unknown"


def test_a_body_above_a_mebibyte_is_cut_off_while_it_streams(http, sandbox):
    """The answer comes before the body ends, whether its length was announced or not."""
    announced = http.post("/api/v2/batch", content=b" " * (1024 * 1024 + 1))
    host, port = sandbox.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        head = f"POST /api/v2/batch HTTP/1.1\r\nHost: {host}:{port}\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode() + b"100001\r\n" + b" " * 0x100001)  # and the chunk never ends
        streamed = connection.recv(100)

    assert announced.status_code == 413
    assert announced.json()["errors"][0]["reason"] == "invalid"
    assert streamed.startswith(b"HTTP/1.1 413 ")


def test_a_number_beyond_double_precision_keeps_its_digits(http, sandbox):
    """What was sent is shown exactly, with a warning."""
    http.post("/api/v1/customers/ada/events", json={"name": "order", "id": ULID, "data": {"n": 9007199254740993}})
    row = sandbox.wait_for("order")
    assert row.data == {"n": 9007199254740993}
    assert "W-number-precision" in [warning.code for warning in row.warnings]


def test_half_a_surrogate_pair_does_not_break_the_sandbox(http, sandbox):
    """A payload that is no Unicode text is kept and shown as it came."""
    http.post("/api/v1/customers/ada/events", content=b'{"name": "order", "data": {"x": "\\ud800"}}')
    assert sandbox.wait_for("order").data == {"x": "\ud800"}


def test_no_secret_is_kept(http, sandbox, web):
    """Credentials and cookies are gone from everything that the sandbox shows."""
    http.put(
        "/api/v1/customers/ada",
        json={},
        headers={"Cookie": "session=s3cret", "X-Kept": "yes"},
        auth=(sandbox.site_id, "s3cret"),
    )
    (request,) = sandbox.requests()
    assert request.headers["x-kept"] == "yes"
    assert not {"authorization", "cookie"} & set(request.headers)
    for path in ("events", "requests", "events/1", "people", "info", "summary"):
        shown = web.get(f"{sandbox.url}/_sandbox/v1/{path}", params={"workspace": sandbox.site_id})
        assert "s3cret" not in shown.text


def test_a_compressed_body_is_refused(http, sandbox):
    """No source says that Track takes one, so a client must not rely on it."""
    reply = http.post("/api/v2/batch", content=b"\x1f\x8b", headers={"content-encoding": "gzip"})
    assert reply.status_code == 400
    assert "gzip" in sandbox.bad[0].errors[0].message
