"""Requests that mean harm are answered, with a status that is no outage and words that say what to type."""

from __future__ import annotations

import socket

import httpx
import pytest

from cio_middleware.sandbox.store import Capacity, House
from cio_middleware.sandbox.veil import Veil
from cio_middleware.testing import Sandbox

MIB = 1024 * 1024
EVENT = '{"type": "person", "action": "event", "identifiers": {"id": "ada"}, "name": "n", "attributes": {"x": %s}}'


@pytest.fixture(name="control")
def _control(web, sandbox):
    def control(method, path, content=None):
        """Make one call of the control API in the test's workspace."""
        headers = {"X-Cio-Sandbox": "1", "X-Cio-Workspace": sandbox.site_id}
        return web.request(method, f"{sandbox.url}/_sandbox/v1{path}", content=content, headers=headers)

    return control


@pytest.mark.parametrize("number", ["9" * 4301, "-" + "9" * 5000, "1e999", "NaN"], ids=["9", "-9", "1e999", "NaN"])
@pytest.mark.parametrize(
    ("path", "body"),
    [("/api/v2/entity", EVENT), ("/api/v2/batch", f'{{"batch": [{EVENT}]}}'), ("/api/v1/customers/ada", '{"x": %s}')],
)
def test_a_number_that_cannot_be_read_is_a_parse_error(http, number, path, body):
    """A 500 would be taken for an outage, and sent again."""
    reply = http.request("PUT" if "v1" in path else "POST", path, content=body % number)
    assert reply.status_code == 400
    assert "no double holds" in reply.text or "4300 digits" in reply.text or "no JSON number" in reply.text
    if "v2" in path:
        assert reply.json()["errors"][0]["reason"] == "parse_error"


def test_a_batch_of_too_many_items_is_refused_as_a_whole(http):
    """They fit in 500 kB only because none of them can be valid."""
    for count, status in ((10_000, 207), (10_001, 400)):
        assert http.post("/api/v2/batch", content=f'{{"batch": [{"1," * (count - 1)}1]}}').status_code == status
    assert len(http.post("/api/v2/batch", content='{"batch": [' + "1," * 10_000 + "1]}").json()["errors"]) == 1


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/events?limit=" + "9" * 5000, None),
        ("GET", "/events?since=" + "9" * 19, None),
        ("GET", "/requests?limit=" + "9" * 5000, None),
        ("GET", "/events/" + "9" * 5000, None),
        ("GET", "/events/first", None),
        ("POST", "/wait", "[" * 100_000),
        ("POST", "/wait", '{"match": {"name": "x"}, "since": 1e999}'),
        ("POST", "/wait", '{"match": {"name": "x"}, "since": NaN}'),
        ("POST", "/wait", '{"match": {"name": "x"}, "settle_ms": NaN, "count": 0}'),
        ("POST", "/wait", '{"match": {"name": "x"}, "count": ' + "9" * 5000 + "}"),
        ("POST", "/wait", b'{"match": {"name": "\xff"}}'),
        ("POST", "/wait", '{"match": {"$\\ud800": 1}}'),
        ("POST", "/faults", "[" * 100_000),
        ("POST", "/faults", '{"do": {"type": "status", "headers": {"a": "b\\r\\nc: d"}}}'),
        ("POST", "/faults", '{"do": {"type": "\\ud800"}}'),
        ("PUT", "/faults/script", '{"steps": ["html=204"]}'),
        ("PUT", "/faults/script", "no JSON"),
        ("PUT", "/faults/" + "x" * 201, '{"do": {"type": "ok"}}'),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_control_call_that_cannot_be_read_says_what_to_type(control, sandbox, method, path, body):
    """Numbers, nesting, encodings: each is a 400 of the sandbox's own, and nothing is left behind."""
    reply = control(method, path, body)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["code"] == "CIO-SBX-005"
    assert "ype" in error["message"] or "Known" in error["message"]
    assert len(reply.content) < 1000
    assert sandbox.faults.rules() == []


@pytest.mark.parametrize("path", ["/wait", "/reset", "/faults"])
def test_a_control_body_above_a_mebibyte_is_a_413(control, path):
    """Exactly the limit is read, and the client gets to see the answer however much it sends."""
    body = '{"match": {"name": "x"}, "count": 0, "do": {"type": "ok"}}'
    assert control("POST", path, body.ljust(MIB)).status_code in {200, 400}
    for size in (MIB + 1, 8 * MIB):
        reply = control("POST", path, body.ljust(size))
        assert (reply.status_code, reply.json()["error"]["code"]) == (413, "CIO-SBX-008")


@pytest.mark.parametrize(
    ("request_line", "host", "status"),
    [
        ("POST /api/v2/batch", "127.0.0.1", b"413"),
        ("GET /_sandbox/v1/health", "127.0.0.1", b"200"),
        ("POST /api/v2/batch", "evil.example", b"421"),
        ("POST /api/v1/customers/\u00e9", "127.0.0.1", b"400"),
    ],
)
def test_a_client_that_is_answered_early_reads_the_answer(sandbox, request_line, host, status):
    """It sends eight mebibytes before it looks, and no reset takes the answer away."""
    address = httpx.URL(sandbox.url)
    head = f"{request_line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {8 * MIB}\r\n\r\n"
    with socket.create_connection((address.host, address.port), timeout=5) as line:
        line.sendall(head.encode() + b" " * (8 * MIB))
        answer = b"".join(iter(lambda: line.recv(65536), b""))
    assert answer.split(b" ", 2)[1] == status


@pytest.mark.parametrize("status", [204, 205, 304])
def test_a_status_that_has_no_body_is_answered_without_one(http, sandbox, status):
    """And the connection lives on."""
    sandbox.faults.script([str(status)])
    reply = http.put("/api/v1/customers/ada", json={})
    assert (reply.status_code, reply.content) == (status, b"")
    assert http.put("/api/v1/customers/ada", json={}).content == b"{}\n"


def test_a_header_of_a_fault_may_be_anything_that_is_one(http, sandbox):
    """Latin-1, spaces inside, nothing at all."""
    sandbox.faults.rule(do={"type": "status", "status": 503, "headers": {"X-A": "caf\xe9 au lait", "x_b": ""}})
    reply = http.put("/api/v1/customers/ada", json={})
    assert (reply.status_code, reply.headers["x-a"], reply.headers["x_b"]) == (503, "caf\xe9 au lait", "")


def test_credentials_that_are_no_ascii_are_a_401(sandbox, web):
    """As any others that cannot be read."""
    reply = web.put(f"{sandbox.url}/api/v1/customers/ada", json={}, headers={"Authorization": b"Basic \xff\xfe"})
    assert reply.status_code == 401


def test_one_site_id_too_many_is_told_so_until_one_is_reset(web):
    """A control error, for a Track call and for a control call, and what is known goes on."""
    with Sandbox.running(house=House(capacity=Capacity(workspaces=1))) as sandbox:

        def track(site):
            return web.put(f"{sandbox.url}/api/v1/customers/ada", json={}, auth=(site, "key"))

        assert track("dev").status_code == 200
        refused = [
            track("other"),
            web.post(f"{sandbox.url}/_sandbox/v1/reset?workspace=other", headers={"X-Cio-Sandbox": "1"}),
        ]
        assert [reply.status_code for reply in refused] == [503, 503]
        assert {reply.json()["error"]["code"] for reply in refused} == {"CIO-SBX-007"}
        assert "POST /_sandbox/v1/reset?workspace=" in refused[0].json()["error"]["fix"]
        assert track("dev").status_code == 200

        sandbox.reset()
        assert track("other").status_code == 200


def test_a_device_or_a_platform_of_an_odd_type_is_refused(http):
    """What has no hash must not stop the sandbox."""
    device = {"type": "person", "action": "add_device", "identifiers": {"id": "ada"}}
    for odd in ({"token": {"a": 1}, "platform": "ios"}, {"token": "t", "platform": []}):
        assert http.post("/api/v2/entity", json={**device, "device": odd}).status_code == 400


def test_half_a_character_is_no_outage(control):
    """A token and a key that no UTF-8 can say are answered like any other."""
    control("DELETE", "/events")
    assert control("POST", "/undo", '{"token": "\\ud800"}').status_code == 404
    webhook = '{"to": "http://127.0.0.1:1/", "type": "email.sent", "signing_key": "\\ud800"}'
    assert control("POST", "/webhooks/trigger", webhook).status_code == 200


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ('"workspace": "\\ud800", "seq": 0, "requests": 0', "workspace holds half"),
        ('"workspace": "w", "seq": 1000000000000000000, "requests": 0', "seq is 1000000000000000000"),
        ('"workspace": "w", "seq": 0, "requests": 1000000000000000000', "requests is 1000000000000000000"),
    ],
    ids=["surrogate", "seq", "requests"],
)
def test_a_capture_cannot_name_what_nobody_could_ask_for(control, head, said):
    """A name that no file holds, and numbers after which no row could be looked up."""
    capture = f'{{"cio_sandbox": 1, "version": "0", {head}}}\n{{"type": "end", "lines": 0}}\n'
    reply = control("POST", "/import", capture)
    assert (reply.status_code, said in reply.json()["error"]["message"]) == (400, True)


@pytest.mark.parametrize(
    "path",
    [
        "/_sandbox/x/{}",
        "/_sandbox/v1/people/{}",
        "/_sandbox/v1/requests/{}",
        "/_sandbox/v1/events/{}",
        "/_sandbox/v1/events?since={}",
        "/_sandbox/v1/events?q={}:1",
        "/_sandbox/v1/export.ndjson?workspace={}",
    ],
)
def test_a_refusal_takes_no_mask_off(web, path):
    """A mask in an address means its value, and what repeats the address shows the mask all the same."""
    with Sandbox.running(house=House(veil=Veil(("email", "name")))) as sandbox:
        attributes = {"email": "ada@example.com", "name": "Ada Lovelace"}
        web.put(f"{sandbox.url}/api/v1/customers/1", json=attributes, auth=(sandbox.site_id, "key"))
        shown = web.get(f"{sandbox.url}/_sandbox/v1/people/1", params={"workspace": sandbox.site_id})
        for mask in (shown.json()["attributes"][name] for name in attributes):
            assert mask.startswith("masked-")
            reply = web.get(sandbox.url + path.format(mask))
            told = reply.text + str(reply.headers)
            assert not [part for part in ("ada@", "Ada", "Lovelace") if part in told]
