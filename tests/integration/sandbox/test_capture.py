"""A capture of a workspace, saved and read again: the same rows and people, and nothing that a file can do besides."""

from __future__ import annotations

import base64
import json
import socket

import httpx
import pytest

from cio_middleware.sandbox.capture import CAPTURE_BYTES, LINE_BYTES
from cio_middleware.testing import Sandbox

ROOT = "/_sandbox/v1"
LOOKS = ("/events?limit=10000", "/people", "/objects", "/requests?limit=10000", "/bad", "/good")


@pytest.fixture(name="filled")
def _filled(sandbox, http):
    """A workspace with people, objects, a merge, a suppression, faults, and payloads that are hard to write down."""
    email = "ada@example.com"
    http.put("/api/v1/customers/ada", json={"email": email, "plan": "pro", "n": 9007199254740993, "日本": "\u202e"})
    http.put("/api/v1/customers/bob", content='{"twice": 1, "twice": 2, "half": "\\ud800", "tiny": 1e-320}')
    http.put("/api/v1/customers/ada/devices", json={"device": {"id": "token", "platform": "ios"}})
    ulid = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
    for _ in range(2):
        http.post("/api/v1/customers/ada/events", json={"name": "order", "data": {"total": 42}, "id": ulid})
    http.post("/api/v1/events", json={"name": "seen", "anonymous_id": "visitor"})
    http.post("/api/v2/batch", json={"batch": [{"type": "object", "action": "identify", "identifiers": {
        "object_type_id": "1", "object_id": "acme"}, "attributes": {"size": 3}}, {"type": "person"}]})  # fmt: skip
    http.post("/api/v1/merge_customers", json={"primary": {"id": "ada"}, "secondary": {"id": "bob"}})
    http.post("/api/v1/customers/eve/suppress")
    http.post("/api/v1/customers/ada/events", content=b"\xff\xfe no JSON")
    http.put("/api/v1/nowhere", json={})
    sandbox.faults.script(["503", "ack_lost", "ok*"])
    http.put("/api/v1/customers/ada", json={"plan": "free"})
    sandbox.faults.clear()
    return sandbox


@pytest.fixture(name="looked")
def _looked(web):
    def looked(sandbox):
        """What there is to see of a workspace, whatever it is called."""
        answers = [
            web.get(f"{sandbox.url}{ROOT}{path}", params={"workspace": sandbox.site_id}).json() for path in LOOKS
        ]
        shown = json.dumps([{key: answer[key] for key in answer if "cursor" not in key} for answer in answers])
        return json.loads(shown.replace(json.dumps(sandbox.site_id), '"here"'))

    return looked


@pytest.fixture(name="capture")
def _capture(web):
    def capture(sandbox):
        """The capture of a workspace, as bytes."""
        return web.get(f"{sandbox.url}{ROOT}/export.ndjson", params={"workspace": sandbox.site_id}).content

    return capture


@pytest.fixture(name="take_in")
def _take_in(web):
    def take_in(sandbox, content, **params):
        """Send a capture to a sandbox."""
        headers = {"X-Cio-Sandbox": "1"}
        return web.post(f"{sandbox.url}{ROOT}/import", content=content, params=params, headers=headers)

    return take_in


def test_a_capture_comes_back_with_the_same_rows_and_people(filled, own_sandbox, looked, capture, take_in):
    """In another sandbox, under the name that it had: events, requests, people, objects, to the last digit."""
    saved = capture(filled)
    reply = take_in(own_sandbox, saved)
    assert (reply.status_code, reply.json()["workspace"]) == (200, filled.site_id)

    with own_sandbox.workspace(filled.site_id) as restored:
        assert looked(restored) == looked(filled)
        assert len(restored.events()) == reply.json()["events"] == 13
        assert restored.people["ada"].attributes["n"] == 9007199254740993
        assert restored.requests()[1].body == '{"twice": 1, "twice": 2, "half": "\\ud800", "tiny": 1e-320}'
        assert sorted(capture(restored).splitlines()[1:]) == sorted(saved.splitlines()[1:])


def test_a_workspace_that_was_read_in_goes_on(filled, own_sandbox, capture, take_in, web):
    """A repeat is a repeat, whom it suppresses stays so, and numbers go on where they were."""
    assert take_in(own_sandbox, capture(filled)).status_code == 200
    auth = (filled.site_id, "key")
    with own_sandbox.workspace(filled.site_id) as restored:
        cursor = restored.cursor
        for path, body in {
            "ada/events": {"name": "order", "id": "01arz3ndektsv4rrffq69g5fav"},
            "eve/events": {"name": "order"},
            "new": {},
        }.items():
            method = "POST" if "/" in path else "PUT"
            web.request(method, f"{restored.url}/api/v1/customers/{path}", json=body, auth=auth)
        rows = restored.events(since=cursor)
        assert [row.verdict for row in rows] == ["duplicate", "ignored", "accepted"]
        assert rows[0].seq == cursor + 1
        assert len({person.cio_id for person in restored.people}) == len(list(restored.people))


def test_a_capture_may_go_to_a_workspace_of_another_name(filled, own_sandbox, capture, take_in):
    """So that somebody else's `dev` does not meet one's own; a workspace that has something is not overwritten."""
    saved = capture(filled)
    assert take_in(own_sandbox, saved, workspace="bug").json()["workspace"] == "bug"
    refused = take_in(own_sandbox, saved, workspace="bug")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "CIO-SBX-009")
    assert "POST /_sandbox/v1/reset?workspace=bug" in refused.json()["error"]["fix"]
    with own_sandbox.workspace("bug") as bug:
        assert len(bug.events()) == 13
        bug.reset()
    assert take_in(own_sandbox, saved, workspace="bug").status_code == 200


def test_a_capture_holds_no_credentials(sandbox, web, capture):
    """Neither the key, nor its Base64, nor a cookie, nor any other header that is named like a secret."""
    basic = base64.b64encode(f"{sandbox.site_id}:k3y-of-mine".encode()).decode()
    headers = {
        "Authorization": f"Basic {basic}",
        "Cookie": "session=c00kie",
        "Proxy-Authorization": "Basic cHJveHk=",
        "X-Api-Key": "ap1key",
        "X-Auth-Token": "t0ken",
        "X-Client-Secret": "s3cret",
        "X-Harmless": "kept",
    }
    web.put(f"{sandbox.url}/api/v1/customers/ada", json={}, headers=headers)
    saved = capture(sandbox).decode()
    assert "x-harmless" in saved
    for secret in ("k3y-of-mine", basic, "c00kie", "cHJveHk", "ap1key", "t0ken", "s3cret"):
        assert secret not in saved


HEAD = {"cio_sandbox": 1, "version": "0", "workspace": "dev", "seq": 9, "requests": 9}
END = {"type": "end", "lines": 1}
PERSON = {"cio_id": "03000001", "identifiers": [["id", "ada"]], "identified": True}
EVENT = {
    "seq": 1, "workspace": "dev", "api": "track.v2", "subject": "person", "kind": "event", "name": "n", "person": "ada",
    "identifiers": {}, "event_id": None, "data": {}, "timestamp": None, "received_at": 1.5, "request": "r1",
    "batch_index": None, "verdict": "accepted",
}  # fmt: skip
REQUEST = {
    "id": "r1", "workspace": "dev", "method": "PUT", "path": "/", "query": "", "endpoint": "e", "headers": [],
    "body": "", "size": 0, "status": 200, "fault": None, "received_at": 1, "took_ms": 0.1, "events": None,
}  # fmt: skip


def event(**changed):
    """A line with an event."""
    return {"type": "event", "event": EVENT | changed}


def person(**changed):
    """A line with a person."""
    return {"type": "person", "person": PERSON | changed}


def request(**changed):
    """A line with a request."""
    return {"type": "request", "request": REQUEST | changed}


@pytest.mark.parametrize("line", [event(), person(), request()], ids=["event", "person", "request"])
def test_the_lines_below_are_right_but_for_what_is_wrong(own_sandbox, take_in, line):
    """Or the refusals would say nothing."""
    reply = take_in(own_sandbox, "\n".join(map(json.dumps, [HEAD, line, END])))
    assert reply.status_code == 200, reply.text


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "cut off"),
        ([HEAD], "cut off"),
        ([HEAD, event()], "cut off"),
        ([HEAD, END], "it says 1 lines, and there were 0"),
        ([HEAD, {"type": "end", "lines": 0}, event()], "line 3 comes after the end"),
        (["PK\x03\x04"], "line 1: the body is not JSON"),
        ([b"\xff"], "line 1: the body is not UTF-8"),
        ([{"events": []}], "no capture of a sandbox"),
        ([HEAD | {"cio_sandbox": 2}], "format 2 is not known"),
        ([HEAD | {"workspace": 1}], "workspace is 1, and should be a text"),
        ([HEAD | {"seq": -1}], "seq is below 0"),
        ([HEAD | {"seq": 10**30}], "seq is 10000"),
        ([HEAD, [1]], "line 2: it is no object"),
        ([HEAD, {"type": "rule"}], "type is 'rule'. Known: request, event"),
        ([HEAD, {"type": ["event"]}], "type is ['event']"),
        ([HEAD, {"type": "event"}], "event is None, and should be an object"),
        ([HEAD, event(seq="1")], "event.seq is '1', and should be a whole number"),
        ([HEAD, event(seq=True)], "event.seq is True"),
        ([HEAD, event(seq=10)], "event.seq is 10, which is not in order"),
        ([HEAD, event(), event()], "line 3: event.seq is 1, which is not in order"),
        ([HEAD, event(verdict="perfect")], "one of accepted"),
        ([HEAD, event(statuses=[200, None])], "event.statuses[1] is None"),
        ([HEAD, event(errors=[{"code": 1}])], "event.errors[0].reason is missing"),
        ([HEAD, event(received_at="soon")], "event.received_at is 'soon'"),
        ([HEAD, event(batch_index=-1)], "event.batch_index is below 0"),
        ([HEAD, event(received_at=1e300)], "event.received_at is 1e+300, which is no time"),
        ([HEAD, event(received_at=-1)], "event.received_at is -1, which is no time"),
        ([HEAD, event(received_at="-inf")], "event.received_at is '-inf'"),
        ([HEAD, request(took_ms=-5)], "request.took_ms is -5"),
        ([HEAD, person(changed_at="-inf")], "person.changed_at is '-inf'"),
        ([HEAD, event(size=-5)], "event.size is below 0"),
        ([HEAD, person(), person()], "'ada' is there twice"),
        ([HEAD, person(identifiers=[["id", {}]])], "person.identifiers[0][1] is {}"),
        ([HEAD, person(moments=[{}])], "person.moments[0].seq is missing"),
        ([HEAD, request(), request()], "'r1' is there twice"),
        ([HEAD, request(headers=[["Authorization", "Basic eDp5"]])], "holds credentials"),
        ([HEAD, request(events=[1])], "request.events is [1], and should be a list of 2"),
        ([HEAD, {"type": "object", "key": ["a"], "attributes": {}}], "key is ['a'], and should be a list of 2"),
        ([HEAD, {"type": "object", "key": ["a", "b"], "attributes": 1}], "attributes is no object"),
        ([HEAD, "[" * 100_000], "nested more than"),
        ([HEAD, '{"type": ' + "9" * 5000 + "}"], "more than 4300 digits"),
    ],
    ids=lambda value: str(value)[-40:],
)
def test_a_hostile_capture_is_refused_with_a_sentence(own_sandbox, take_in, lines, said):
    """Which line, which member, what should stand there; and nothing of it is kept, not even the workspace."""
    as_bytes = [line if isinstance(line, bytes) else _text(line).encode() for line in lines]
    reply = take_in(own_sandbox, b"\n".join(as_bytes))
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["code"] == "CIO-SBX-005"
    assert said in reply.json()["error"]["message"]
    assert len(reply.content) < 600
    assert own_sandbox.events() == []


def _text(line):
    return line if isinstance(line, str) else json.dumps(line)


def test_a_capture_without_end_is_refused_while_it_comes(own_sandbox, take_in):
    """A line that never ends, and a length above the cap, are answered before they are whole."""

    def endless():
        yield json.dumps(HEAD).encode() + b"\n"
        for _ in range(LINE_BYTES // 65_536 + 2):
            yield b" " * 65_536

    reply = take_in(own_sandbox, endless())
    assert (reply.status_code, "line 2 is longer" in reply.text) == (400, True)


def test_a_capture_above_its_cap_is_a_413(own_sandbox):
    """The announced length is enough to say so."""
    address = httpx.URL(own_sandbox.url)
    head = (
        f"POST {ROOT}/import HTTP/1.1\r\nHost: {address.host}\r\nX-Cio-Sandbox: 1\r\nConnection: close\r\n"
        f"Content-Length: {CAPTURE_BYTES + 1}\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection((address.host, address.port), timeout=5) as line:
        line.sendall(head.encode())
        answer = b"".join(iter(lambda: line.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"CIO-SBX-008" in answer


def test_no_more_comes_back_than_a_workspace_keeps(filled, capture, take_in):
    """The newest rows stay, as they would have if they had come one by one."""
    with Sandbox.running(keep=3) as small:
        assert take_in(small, capture(filled), workspace="dev").json()["events"] == 3
        assert [row.seq for row in small.events()] == [row.seq for row in filled.events()][-3:]


def test_a_capture_is_a_file_to_save(filled, web):
    """Its name is that of the workspace, with nothing in it that a disk or a header could take amiss."""
    reply = web.get(f"{filled.url}{ROOT}/export.ndjson", params={"workspace": '../"x\r\n'})
    assert reply.headers["content-disposition"] == 'attachment; filename="cio-sandbox-..__x__.ndjson"'
    assert (reply.headers["content-type"], reply.headers["cache-control"]) == ("application/x-ndjson", "no-store")
