"""The side channel to a sandbox: what it tells, whom it tells nothing, and that the app never notices it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from flask import Flask
from opentelemetry.sdk.trace import TracerProvider
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

import cio_middleware as cio
from cio_middleware import Client, Settings
from cio_middleware._capture import Capture
from cio_middleware.asgi import CustomerIOMiddleware
from cio_middleware.exceptions import InvalidEvent
from cio_middleware.testing import Sandbox
from cio_middleware.transports.sandbox_report import MAX_RECORDS, SandboxReport, report_for
from cio_middleware.wsgi import CustomerIOMiddleware as WSGIMiddleware

SANDBOX = "X-Cio-Sandbox: 1"


@pytest.fixture(name="told")
def _told(serve, answer):
    """A sandbox that only listens: `told()` is what the side channel said, line by line."""
    server = serve(lambda connection, _: connection.sendall(answer("200 OK", b"{}\n", SANDBOX)))

    def told():
        bodies = [
            request.partition(b"\r\n\r\n")[2]
            for request in list(server.requests)
            if request.startswith(b"POST /_sandbox/")
        ]
        return [json.loads(line) for line in b"".join(bodies).splitlines()]

    told.server = server  # type: ignore[attr-defined]
    return told


def test_the_life_of_an_event_is_told_stage_by_stage(sandbox, make_client):
    """Capture with its line, queue, each attempt with its answer and the next one's time, and the end."""
    sandbox.faults.script(["503"])
    client = sandbox.attach(make_client())
    client.track("paid", {"total": 42}, person="ada")
    sandbox.flush()

    event = sandbox.wait_for("paid")
    assert event.context.reached == ["captured", "queued", "sent#1", "replied", "sent#2", "replied", "settled"]
    captured, queued, _, failed, _, taken, _ = event.context.stages
    assert queued["queue_depth"] == 1
    assert (failed["status"], failed["breaker"], taken["status"]) == (503, "closed", 200)
    assert failed["next_retry_at"] >= failed["at"] > captured["at"]
    assert event.context.call_site.startswith(os.path.relpath(__file__) + ":")
    assert event.context.call_site.endswith(" in test_the_life_of_an_event_is_told_stage_by_stage")


def test_the_direct_backend_and_the_spool_tell_the_same(sandbox, make_client, tmp_path):
    """What is delivered at once is settled, and what lies on a disk was spooled."""
    direct = make_client(backend="direct")
    direct.track("now", person="ada")
    spooled = make_client(queue="spool", spool_dir=str(tmp_path), spool_min_free_bytes=0)
    spooled.track("later", person="ada")
    spooled.flush(5)
    for client in (direct, spooled):
        sandbox.attach(client)
    sandbox.flush()
    assert sandbox.wait_for("now").context.reached == ["captured", "sent#1", "replied", "settled"]
    assert sandbox.wait_for("later").context.reached == ["captured", "spooled", "sent#1", "replied", "settled"]


async def test_an_awaited_event_is_told_as_well(sandbox, make_client, eventually):
    """The direct backend's coroutine tells the same stages, from the line that awaits."""
    client = make_client(backend="direct")
    await client.atrack("now", person="ada")
    eventually(lambda: (context := sandbox.wait_for("now").context) and "settled" in context.reached)
    assert sandbox.wait_for("now").context.call_site.endswith("in test_an_awaited_event_is_told_as_well")
    await client.aclose()


def test_a_request_is_told_by_its_route_and_never_by_its_path(sandbox, make_client):
    """Names stand in the place of values, which may be a person's; trace, method and request id come along."""
    client = sandbox.attach(make_client())

    async def order(_request):
        with TracerProvider().get_tracer("shop").start_as_current_span("order"):
            cio.track("ordered", person="ada")
        return PlainTextResponse("")

    routes = [Mount("/shops/{shop}", routes=[Route("/people/{who}", order, methods=["POST"])])]
    app = Starlette(routes=routes)
    app.add_middleware(CustomerIOMiddleware, client=client)
    with TestClient(app) as browser:
        browser.post("/shops/7/people/ada", headers={"x-request-id": "req-1"})
    sandbox.flush()

    context = sandbox.wait_for("ordered").context
    assert (context.route, context.method, context.request_id) == ("/shops/{shop}/people/{who}", "POST", "req-1")
    assert len(context.trace_id) == 32
    assert len(context.span_id) == 16


def test_a_flask_request_is_told_by_its_rule(sandbox, make_client):
    """The same on WSGI."""
    client = sandbox.attach(make_client())
    app = Flask(__name__)

    @app.get("/people/<who>")
    def person(who):
        client.track("seen", person=who)
        return ""

    app.wsgi_app = WSGIMiddleware(app.wsgi_app, client=client)  # type: ignore[method-assign]
    app.test_client().get("/people/ada")
    sandbox.flush()
    assert sandbox.wait_for("seen").context.route == "/people/<who>"


def drop_all(_event):
    """No consent."""
    return


@pytest.mark.parametrize(
    ("settings", "options", "name", "reason", "is_bad"),
    [
        ({}, {}, "", "invalid_event", True),
        ({}, {"processors": [drop_all]}, "paid", "processor", False),
        ({"max_queue_events": 1, "flush_interval": 60.0}, {}, "paid", "queue_full", True),
    ],
    ids=["invalid", "processor", "full"],
)
def test_an_event_that_is_never_sent_is_explained(
    settings, options, name, reason, is_bad, sandbox, make_client, eventually
):
    """Even when nothing is ever sent: a sandbox is asked whether it is one, and then told the reason."""
    client = make_client(client_options=options, **settings)
    client.track(name or "first", person="ada") if reason == "queue_full" else None
    client.track(name, {"card": "4111"}, person="ada")
    eventually(lambda: sandbox.events(verdict="never_sent"))

    (event,) = sandbox.events(verdict="never_sent")
    assert (event.name or "", event.drop_reason, event.person) == (name, reason, None)
    assert event.context.call_site.endswith("in test_an_event_that_is_never_sent_is_explained")
    assert bool(sandbox.bad) == is_bad


def test_debug_raises_and_tells(sandbox, make_client, eventually):
    """An event that raises at its call is on the page as well."""
    client = make_client(debug=True)
    with pytest.raises(InvalidEvent):
        client.track("", person="ada")
    eventually(lambda: sandbox.events(verdict="never_sent"))


def test_no_payload_and_no_person_is_told(told, on):
    """Of everything that the side channel says, an event's name is the most; a page's is its URL, and stays out."""
    client = on(told.server.url)
    client.identify("ada@example.org", {"card": "4111"})
    client.track("paid", {"card": "4111"}, person="ada@example.org")
    client.page("https://shop.example/ada@example.org" + "x" * 600, {"card": "4111"}, person="ada@example.org")
    client.track("", {"card": "4111"}, person="ada@example.org")
    client.flush(5)
    client.close()

    lines = told()
    assert {line["stage"] for line in lines} >= {"captured", "queued", "sent#1", "replied", "settled", "never_sent"}
    assert not [line for line in lines if "4111" in json.dumps(line) or "ada@" in json.dumps(line)]
    assert not [line for line in lines if "shop.example" in json.dumps(line)]


def test_one_that_does_not_say_that_it_is_a_sandbox_is_told_nothing(serve, answer, on, eventually):
    """A tunnel to the real Customer.io on this machine sees its events, and at most a question without content."""
    server = serve(lambda connection, _: connection.sendall(answer("200 OK")))
    client = on(server.url)
    client.track("paid", person="ada")
    client.flush(5)
    client.track("", person="ada")
    eventually(lambda: any(request.startswith(b"GET /_sandbox/v1/health") for request in server.requests))
    client.close()
    assert not [request for request in server.requests if b"POST /_sandbox" in request]
    assert not [request for request in server.requests if b"/_sandbox" in request and request[-4:] != b"\r\n\r\n"]


@pytest.mark.parametrize(
    "url",
    [
        "https://track.customer.io",
        "http://10.0.0.1:8246",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "https://127.0.0.1:8246",
        "http://127.0.0.1:8246/proxy",
        "http://[::1",
        "http://0.0.0.0:8246",
    ],
)
def test_no_other_machine_and_no_proxy_gets_a_side_channel(url):
    """It is not even made."""
    assert report_for(url, "dev") is None


def test_localhost_is_this_machine_whatever_the_name_leads_to(resolve, told):
    """No name is looked up: one that leads elsewhere leads the side channel to this machine all the same."""
    resolve["localhost"] = ["10.255.255.1"]
    port = told.server.url.rpartition(":")[2]
    report = report_for(f"http://localhost:{port}", "dev")
    assert report is not None
    report.met({"x-cio-sandbox": "1"})
    report.note([None], {"stage": "captured"})
    report.flush(2)
    assert told() == [{"event_id": None, "stage": "captured"}]


def test_a_redirect_is_not_followed(serve, answer, told, eventually):
    """What answers the side channel with another address has it told nothing there."""
    elsewhere = f"Location: {told.server.url}/_sandbox/v1/context"
    server = serve(lambda connection, _: connection.sendall(answer("307 Temporary Redirect", b"", elsewhere, SANDBOX)))
    report = report_for(server.url, "dev")
    assert report is not None
    report.met({"x-cio-sandbox": "1"})
    report.note([None], {"stage": "captured"})
    eventually(lambda: server.requests)
    report.flush(1)
    assert told.server.connections == 0


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch, told, on):
    """Neither by the side channel nor, for this machine, by anything else."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    client = on(told.server.url)
    client.track("paid", person="ada")
    client.flush(5)
    client.close()
    assert told()


def test_switched_off_nothing_of_it_is_there(told, on):
    """The parts of such a client are the plain ones, and the sandbox hears of deliveries alone."""
    client = on(told.server.url, sandbox_reporting=False)
    assert type(client._capture) is Capture
    assert client._parts.report is None
    client.track("paid", person="ada")
    client.flush(5)
    client.close()
    assert told() == []
    remote = Client(Settings(site_id="a", api_key="b", backend="queued"))
    assert type(remote._capture) is Capture
    remote.close(0)


def test_a_sandbox_that_hangs_holds_nobody_up(serve, answer, on):
    """It takes events and never answers the side channel: captures stay quick, and closing costs 200 ms at most."""

    def hang(connection, request):
        if request.startswith(b"POST /_sandbox"):
            threading.Event().wait(3)
        else:
            connection.sendall(answer("200 OK", b"{}\n", SANDBOX))

    server = serve(hang)
    client = on(server.url, shutdown_timeout=5.0)
    client.track("paid", person="ada")
    assert client.flush(5)
    began = time.monotonic()
    for _ in range(200):
        client.track("paid", person="ada")
    assert client.flush(5)
    flushed = time.monotonic() - began
    client.close()
    assert flushed < 2
    assert time.monotonic() - began < flushed + 1
    assert client.stats().delivered == 201


def test_a_sandbox_that_is_gone_is_left_alone(sandbox, make_client):
    """The side channel falls silent, forgets what it was told meanwhile, and nothing is raised."""
    with Sandbox.running() as other:
        client = Client(Settings(**other.client_kwargs, shutdown_timeout=0.1))
        other.attach(client)
        client.track("paid", person="ada")
        other.flush()
        other.stop()
        report = client._parts.report
        assert report is not None
        for _ in range(MAX_RECORDS * 2):
            report.note([None], {"stage": "captured"})
        report.flush(2)
        assert report._silent_until > time.monotonic()
        assert report._waiting.qsize() <= MAX_RECORDS
        client.close()


def test_what_waits_is_bounded():
    """Nobody ever says that it is a sandbox: the newest records are forgotten, and no thread is started."""
    before = threading.active_count()
    report = SandboxReport(("127.0.0.1",), 9, "127.0.0.1:9", "dev")
    for _ in range(MAX_RECORDS * 3):
        report.note([None], {"stage": "captured"})
    assert report._waiting.qsize() == MAX_RECORDS
    assert threading.active_count() == before


def test_an_observer_that_breaks_reaches_nobody(sandbox, make_client):
    """Whatever is noted, a record that cannot be written does not stop the others, nor raise."""
    client = sandbox.attach(make_client())
    client.track("first", person="ada")
    sandbox.flush()
    client._parts.report.note([None], {"stage": object()})
    client._parts.report.flush(1)
    client.track("paid", person="ada")
    sandbox.flush()
    assert sandbox.wait_for("paid").context.reached[-1] == "settled"


SCRIPT = """
import os
import sys
import threading
from cio_middleware import Client

client = Client.from_env()
client.track("parent", person="ada")
client.flush(5)
pid = os.fork()
if pid == 0:
    client.track("child", person="ada")
    client.flush(5)
    client.close()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
client.track("after", person="ada")
client.close()
print(threading.active_count())
"""


def test_a_forked_child_tells_for_itself(sandbox):
    """Parent and child each tell their own events, once, and both end."""
    environment = {**os.environ, **sandbox.env}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    for name in ("parent", "child", "after"):
        context = sandbox.wait_for(name).context
        assert context is not None, name
        assert context.reached == ["captured", "queued", "sent#1", "replied", "settled"], name


def test_a_process_ends_at_once_although_its_sandbox_hangs(serve, answer):
    """The side channel keeps no process alive: neither its thread nor what it still has to tell."""

    def hang(connection, request):
        if request.startswith(b"POST /_sandbox"):
            threading.Event().wait(20)
        else:
            connection.sendall(answer("200 OK", b"{}\n", SANDBOX))

    server = serve(hang)
    script = textwrap.dedent("""
        import time
        from cio_middleware import Client
        client = Client.from_env()
        client.track("paid", person="ada")
        client.flush(5)
        client.track("paid", person="ada")
        print(time.time(), flush=True)
    """)
    environment = {
        **os.environ,
        "CUSTOMERIO_BASE_URL": server.url,
        "CUSTOMERIO_SITE_ID": "dev",
        "CUSTOMERIO_API_KEY": "dev",
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, check=False, capture_output=True, text=True, timeout=15
    )
    assert done.returncode == 0, done.stderr
    assert time.time() - float(done.stdout) < 5
    assert len([request for request in server.requests if b"/api/v2/batch" in request]) == 2


def test_a_signal_in_the_middle_of_a_note_is_no_deadlock(sandbox, make_client):
    """A handler that captures an event may interrupt any line of the side channel."""
    client = sandbox.attach(make_client())
    client.track("first", person="ada")
    sandbox.flush()
    before = signal.signal(signal.SIGALRM, lambda *_: client.track("signalled", person="ada"))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        for _ in range(2000):
            client.track("tick", person="ada")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert sandbox.flush(10)
    assert sandbox.count("tick") == 2000
    assert sandbox.count("signalled") > 0
