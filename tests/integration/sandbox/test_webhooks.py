"""A webhook reaches an app as Customer.io would send it: signed over its bytes, once, and never somewhere else."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from cio_middleware.sandbox import webhooks
from cio_middleware.sandbox.entrance import Access
from cio_middleware.sandbox.store import House
from cio_middleware.testing import Sandbox

KEY = "a-key-of-the-test"


class App(HTTPServer):
    """An app that keeps what it is sent, and answers as told."""

    def __init__(self):
        self.calls: list[tuple[str, dict[str, str], bytes]] = []
        self.answer: tuple[int, dict[str, str], bytes] = (200, {}, b"thanks")
        self.released = threading.Event()
        super().__init__(("127.0.0.1", 0), Receiver)

    @property
    def url(self):
        """Where it takes webhooks."""
        return f"http://127.0.0.1:{self.server_port}/hooks"


class Receiver(BaseHTTPRequestHandler):
    """One call to the app."""

    server: App

    def do_POST(self):
        """Keep the call, and answer."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.calls.append((self.path, dict(self.headers), body))
        status, headers, reply = self.server.answer
        if status == 0:
            self.server.released.wait(10)
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_):
        """Print nothing."""


@pytest.fixture(name="app")
def _app():
    with App() as app:
        thread = threading.Thread(target=app.serve_forever)
        thread.start()
        yield app
        app.released.set()
        app.shutdown()
        thread.join()


@pytest.fixture(name="trigger")
def _trigger(web, sandbox):
    def trigger(**given):
        """Ask the sandbox for a webhook."""
        url = f"{sandbox.url}/_sandbox/v1/webhooks/trigger"
        return web.post(url, json=given, headers={"X-Cio-Sandbox": "1"}, timeout=10)

    return trigger


def verified(headers, body, key=KEY):
    """What an app does, with the standard library alone."""
    signed = b"v0:" + headers["X-CIO-Timestamp"].encode() + b":" + body
    return hmac.compare_digest(hmac.new(key.encode(), signed, hashlib.sha256).hexdigest(), headers["X-CIO-Signature"])


def test_an_app_receives_and_verifies_a_webhook(app, trigger):
    """One object, its kind and its metric, an id to know a repeat by, whole seconds, and a signature that fits."""
    reply = trigger(
        to=app.url, type="email.bounced", person="ada", email="a@b.de", data={"reason": "日本"}, signing_key=KEY
    )
    ((path, headers, body),) = app.calls
    assert (path, headers["Content-Type"]) == ("/hooks", "application/json")
    assert verified(headers, body)
    said = json.loads(body)
    assert (said["object_type"], said["metric"]) == ("email", "bounced")
    assert said["data"] == {"customer_id": "ada", "identifiers": {"id": "ada"}, "recipient": "a@b.de", "reason": "日本"}
    assert str(said["timestamp"]) == headers["X-CIO-Timestamp"]
    assert len(said["event_id"]) == 26
    answer = reply.json()
    assert (answer["status"], answer["reply"], answer["error"]) == (200, "thanks", None)
    assert answer["sent"]["body"].encode() == body
    assert KEY not in reply.text


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda body: json.dumps(json.loads(body)).encode(),
        lambda body: json.dumps(json.loads(body), separators=(",", ":"), ensure_ascii=False).encode(),
        lambda body: json.dumps(json.loads(body), sort_keys=True, ensure_ascii=False).encode(),
        lambda body: body + b"\n",
    ],
    ids=["escapes", "spaces", "order", "newline"],
)
def test_a_body_that_was_encoded_again_does_not_verify(app, trigger, rewrite):
    """The same JSON in other bytes is another text: the mistake that half of all receivers make."""
    trigger(to=app.url, type="email.delivered", person="ada", data={"name": "Ada é"}, signing_key=KEY)
    ((_, headers, body),) = app.calls
    assert json.loads(rewrite(body)) == json.loads(body)
    assert not verified(headers, rewrite(body))
    assert not verified({**headers, "X-CIO-Timestamp": str(int(headers["X-CIO-Timestamp"]) + 1)}, body)
    assert not verified(headers, body, key="another")


def test_a_signature_is_the_one_of_the_published_rule():
    """By a value that openssl computed."""
    signed = webhooks.sign("key", 1800000000, b'{"metric":"sent"}')
    assert signed == "0f175ba635e0f870d97a9ad68d8eacd0eba909b54c0a491b1a9a6fc442e6442d"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(app, trigger, status):
    """It could lead anywhere; it is reported as the answer that it is."""
    app.answer = (status, {"Location": app.url + "/elsewhere"}, b"")
    answer = trigger(to=app.url, type="push.opened").json()
    assert (answer["status"], [path for path, _, _ in app.calls]) == (status, ["/hooks"])
    assert f"answered {status}" in answer["error"]


def test_an_app_that_refuses_or_is_not_there_is_a_sentence(app, trigger):
    """Not an error of the sandbox: what an app answers is what one wanted to know."""
    app.answer = (401, {}, b"bad signature")
    refused = trigger(to=app.url, type="sms.sent").json()
    assert (refused["status"], refused["reply"]) == (401, "bad signature")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
        answer = trigger(to=url, type="sms.sent").json()
    assert (answer["status"], "Is the app running?" in answer["error"]) == (None, True)


def test_an_app_that_does_not_answer_is_given_four_seconds(app, trigger):
    """As long as Customer.io waits."""
    app.answer = (0, {}, b"")
    answer = trigger(to=app.url, type="email.opened").json()
    assert answer["status"] is None
    assert "within 4 s" in answer["error"]
    assert 3900 < answer["took_ms"] < 6000


def test_a_long_answer_is_read_in_part(app, trigger):
    """An app may answer with anything, and fills no memory."""
    app.answer = (200, {"Content-Encoding": "gzip"}, b"x" * 1_000_000)
    assert len(trigger(to=app.url, type="email.opened").json()["reply"]) == webhooks.REPLY_BYTES


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "Type a URL"),
        ({"to": "ftp://127.0.0.1/"}, "Type a URL"),
        ({"to": "http://user:pass@127.0.0.1/"}, "Type a URL"),
        ({"to": "http://127.0.0.1:99999/"}, "Type a URL"),
        ({"to": "http://127.0.0.1/\r\nX: y"}, "Type a URL"),
        ({"to": "http://[::1/"}, "Type a URL"),
        ({"to": 1}, "to is 1. Type a text"),
        ({"to": "http://example.com/"}, "is not this machine. Type 127.0.0.1"),
        ({"to": "http://169.254.169.254/latest"}, "is not this machine"),
        ({"to": "http://192.168.0.1/"}, "is not this machine"),
        ({"to": "http://0.0.0.0/"}, "is not this machine"),
        ({"to": "http://127.0.0.1.evil.example/"}, "is not this machine"),
        ({"to": "http://localhost.evil.example/"}, "is not this machine"),
        ({"to": "http://127.0.0.1@evil.example/"}, "Type a URL"),
        ({"to": "http://2130706433/"}, "is not this machine"),
        ({"to": "http://[::ffff:10.0.0.1]/"}, "is not this machine"),
        ({"type": "email.bouncd"}, "Type an object and a metric: email.bounced"),
        ({"type": "email"}, "Type an object and a metric"),
        ({"timestamp": "now"}, "Type whole Unix seconds"),
        ({"data": []}, "Type an object"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_webhook_to_elsewhere_or_of_no_kind_is_refused(trigger, given, said):
    """With what to type; a sandbox is no way into a network."""
    base = {"to": "http://127.0.0.1:1/", "type": "email.bounced"} if given else {}
    reply = trigger(**base | given)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "CIO-SBX-005")
    assert said in reply.json()["error"]["message"]


def test_another_host_may_be_allowed(web):
    """By its name, with a port or for all of them."""
    house = House(access=Access(webhook_hosts=("app.invalid", "other.invalid:81")))
    with Sandbox.running(house=house) as sandbox:
        for host, status in {"app.invalid:8000": 200, "other.invalid:81": 200, "other.invalid:82": 400}.items():
            url = f"{sandbox.url}/_sandbox/v1/webhooks/trigger"
            given = {"to": f"http://{host}/", "type": "email.sent"}
            assert web.post(url, json=given, headers={"X-Cio-Sandbox": "1"}).status_code == status
