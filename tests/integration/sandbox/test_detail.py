"""One event in full: to the letter, with what belongs to it, and as something to paste that works."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from cio_middleware.testing import Sandbox

ROOT = Path(__file__).parents[3]
ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
V1 = "/api/v1/customers/ada/events"
BATCH = "/api/v2/batch"


class Bearer(httpx.Auth):
    """Sign as the App API wants it."""

    def auth_flow(self, request: httpx.Request) -> Any:
        """Add the key."""
        request.headers["Authorization"] = "Bearer dev"
        yield request


@pytest.fixture(name="sandbox")
def _sandbox(own_sandbox: Sandbox) -> Sandbox:
    """A server of one's own, with the workspace whose credentials a copied curl has."""
    return own_sandbox


@pytest.fixture(name="post")
def _post(sandbox: Sandbox, web: httpx.Client) -> Any:
    def post(path: str, body: str, method: str = "POST", **more: Any) -> httpx.Response:
        """Send a body to the letter."""
        more.setdefault("auth", (sandbox.site_id, "a-real-key"))
        headers = {"content-type": "application/json"}
        return web.request(method, f"{sandbox.url}{path}", content=body.encode(), headers=headers, **more)

    return post


@pytest.fixture(name="detail")
def _detail(sandbox: Sandbox, web: httpx.Client) -> Any:
    def detail(seq: int) -> Any:
        """Look at one event."""
        return web.get(f"{sandbox.url}/_sandbox/v1/events/{seq}").json()

    return detail


def run(path: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Run a copied test as somebody who pasted it."""
    (path / "test_pasted.py").write_text(text, "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_pasted.py"]
    return subprocess.run(command, cwd=path, capture_output=True, text=True, check=False, timeout=120)


def test_a_payload_is_shown_as_it_was_written(post, detail):
    """Integers that a double cannot hold, both of two members with one name, and escapes."""
    raw = r'{"name":"order","data":{"n":9007199254740993,"n":1.50,"__proto__":{"x":"\u00e9"}}}'
    post(V1, raw)
    shown = detail(1)
    assert shown["raw"] == raw
    assert shown["payload_text"].splitlines() == [
        "{", '  "name": "order",', '  "data": {', '    "n": 9007199254740993,', '    "n": 1.50,',
        '    "__proto__": {', r'      "x": "\u00e9"', "    }", "  }", "}",
    ]  # fmt: skip


def test_an_item_of_a_batch_shows_its_own_part(post, detail):
    """And the others of its request, of its person; the request as it came, without its credentials."""
    items = [
        f'{{"type": "person", "action": "event", "identifiers": {{"id": "{who}"}}, "name": "n{n}"}}'
        for n, who in enumerate(("ada", "bob", "ada"))
    ]
    post(BATCH, f'{{"batch": [{",".join(items)}]}}')
    post(V1, '{"name": "later"}')
    shown = detail(3)
    assert shown["raw"] == items[2]
    assert shown["related"] == {"same_request": [1, 2], "same_person": [1, 4], "same_trace": []}
    assert (shown["request"]["path"], shown["request"]["status"]) == (BATCH, 200)
    assert [shown["attempts_log"][0][name] for name in ("batch_index", "batch_size")] == [2, 3]
    assert shown["context"] is None
    assert "a-real-key" not in json.dumps(shown)
    assert "authorization" not in json.dumps(shown["request"]).lower()


def test_a_number_that_was_replaced_leads_on(sandbox, post, detail):
    """A page that was open on the earlier attempt shows the one that took its place."""
    sandbox.faults.script(["503", "ok*"])
    for _ in range(2):
        post(V1, '{"name": "order"}')
    assert (detail(1)["seq"], detail(1)["replaces"]) == (2, [1])
    assert "no event 99" in detail(99)["error"]["message"]


CASES = [
    ("accepted-event", V1, json.dumps({"name": "order", "id": ULID, "data": {"total": 42, "note": "it's \"so\""}})),
    ("hostile-name", V1, json.dumps({"name": "'; touch pwned; '\n$(id) `id` {é}", "id": ULID})),
    ("too-long-name", V1, json.dumps({"name": "x" * 131})),
    ("no-json", V1, "@name=order"),
    ("at-path-with-signs", "/api/v1/customers/a%20b%2Fc%27/events?x=[1]&y={2}", '{"name": "order"}'),
    ("unknown-endpoint", "/api/v1/nowhere/../x", '{"name": "order"}'),
    ("batch-item", BATCH, '{"batch": [{"type": "person", "action": "identify", "identifiers": {"id": "ada"}, "attributes": {"plan": "pro"}}]}'),  # noqa: E501
    ("batch-item-refused", BATCH, '{"batch": [{"type": "person", "action": "event", "identifiers": {}, "name": "x"}]}'),
    ("pipelines", "/v1/track", json.dumps({"userId": "ada", "event": "order", "messageId": "m1"})),
    ("pipelines-lost", "/v1/track", json.dumps({"userId": "ada"})),
    ("pipelines-batch", "/v1/batch", json.dumps({"context": {"ip": "::1"}, "batch": [{"type": "track", "userId": "ada", "event": "order"}]})),  # noqa: E501
    ("send", "/v1/send/email", json.dumps({"to": "ada@example.com", "identifiers": {"id": "ada"}, "transactional_message_id": 3})),  # noqa: E501
    ("large", V1, json.dumps({"name": "order", "id": ULID, "data": {f"n{n}": "CIO\n" * 200 for n in range(110)}})),
]  # fmt: skip


SIGNED: dict[str, dict[str, Any]] = {
    "track": {"auth": ("dev", "")},
    "batch": {"auth": ("dev", "")},
    "send": {"auth": Bearer()},
}


@pytest.mark.parametrize(("path", "body"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_copied_curl_comes_to_the_same_verdict(sandbox, post, detail, path, body):
    """A real shell and a real curl send it again; what was stored is stored again, and is no repeat."""
    post(path, body, **SIGNED.get(path.split("/")[2 if path.startswith("/v1/") else 0], {}))
    first = detail(1)
    command = first["copy"]["curl"]
    assert "-u dev:" in command or "Bearer dev'" in command
    assert "a-real-key" not in command

    ran = subprocess.run(["/bin/bash", "-c", command], capture_output=True, text=True, check=False, timeout=30)

    assert ran.returncode == 0, ran.stderr
    again = detail(2)
    for name in ("verdict", "kind", "name", "person", "data"):
        assert again[name] == first[name], name
    assert [error["code"] for error in again["errors"]] == [error["code"] for error in first["errors"]]
    assert again["request"]["status"] == first["request"]["status"]
    assert again["request"]["path"] == first["request"]["path"]


def test_a_copied_curl_repeats_what_was_a_repeat_and_what_had_no_credentials(post, detail):
    """A duplicate stays one, and nobody gets in who did not."""
    for _ in range(2):
        post(V1, json.dumps({"name": "order", "id": ULID}))
    post(V1, json.dumps({"name": "order"}), auth=None)
    for seq in (2, 3):
        subprocess.run(["/bin/bash", "-c", detail(seq)["copy"]["curl"]], capture_output=True, check=True, timeout=30)
    assert [detail(seq)["verdict"] for seq in (2, 4)] == ["duplicate", "duplicate"]
    assert [detail(seq)["request"]["status"] for seq in (3, 5)] == [401, 401]


def test_copied_tests_run_green(sandbox, post, detail, tmp_path):
    """Each of them as it was copied, for whoever has the pytest plugin: what was stored, refused, repeated, retried."""
    post("/api/v1/customers/ada", '{"plan": "pro", "n": 9007199254740993}', "PUT")
    post(V1, json.dumps({"name": "order_completed", "id": ULID, "data": {"total": 42, "items": [{"sku": "a'b"}] * 9}}))
    post(V1, json.dumps({"name": "order_completed", "id": ULID}))
    post(V1, json.dumps({"name": 'Order Completed For Customer 8812 """ \\ ' * 4}))
    post(V1, "no json")
    post(V1, "{}", auth=None)
    post("/api/v1/customers/ada/suppress", "")
    post("/api/v1/customers/bob/suppress", "")
    post(V1, json.dumps({"name": "too_late"}))
    sandbox.faults.script(["429;retry_after=1", "503", "ok*"])
    for _ in range(3):
        post("/api/v1/customers/eve/events", json.dumps({"name": "paid", "id": ULID[:-1] + "W", "timestamp": 1}))
    sandbox.faults.script(["503", "ok*"])
    post("/api/v1/customers/eve/events", json.dumps({"name": "refunded", "id": ULID[:-1] + "X"}))
    post("/api/v1/events", json.dumps({"name": "seen", "anonymous_id": "visitor", "id": ULID[:-1] + "Y"}))
    post("/api/v1/customers/cio_03000001", "", "DELETE")
    post("/v1/track", json.dumps({"userId": "ada", "event": "order", "messageId": "m1"}), auth=("dev", ""))
    post("/v1/track", json.dumps({"userId": "ada"}), auth=("dev", ""))
    post("/v1/send/email", json.dumps({"to": "a@b.co", "identifiers": {"id": "x"}, "body": "b"}), auth=Bearer())

    texts = [detail(row.seq)["copy"]["pytest"] for row in sandbox.events()]
    assert len(texts) == 16
    assert sum("cio.track(" in text for text in texts) >= 2, "\n".join(texts)
    for number, text in enumerate(texts):
        compile(text, f"copy {number}", "exec")
        assert "a-real-key" not in text
        (tmp_path / f"test_{number}.py").write_text(text, "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_copied_test_fails_when_the_behaviour_is_gone(post, detail, tmp_path):
    """It asserts something: with another name expected, or without the fault, it is red."""
    post(V1, json.dumps({"name": "x" * 131}))
    text = detail(1)["copy"]["pytest"]
    assert run(tmp_path, text.replace("x" * 131, "x" * 100)).returncode == 1
