"""Several batches under way at once: what overlaps, what must not, and what trouble with one means for the others."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager

import httpx
import pytest

import cio_middleware as cio
from cio_middleware import DropReason
from cio_middleware._events import ALL_LANES, Envelope
from cio_middleware.testing.clock import ManualClock
from cio_middleware.typing import Receipt

FOUR = {"max_in_flight": 4, "rate_limit": 10_000.0, "flush_at": 5, "max_batch_events": 5}


class Watching:
    """A server's side of the matter: which items are in a request at this moment, and what to answer."""

    def __init__(self, respond: Callable[[list[dict]], str]) -> None:
        self._respond = respond
        self._lock = threading.Lock()
        self._open: list[list[dict]] = []
        self.most = 0
        self.shared: list[str] = []
        self.beside_a_link: list[int] = []

    def __call__(self, connection: socket.socket, request: bytes) -> None:
        """Answer one request, looking at what else is open."""
        items = json.loads(request.partition(b"\r\n\r\n")[2])["batch"]
        with self._lock:
            others = Counter(person(item) for open_ in self._open for item in open_)
            self.shared += [person(item) for item in items if person(item) in others]
            if self._open and any(links(item) for open_ in [*self._open, items] for item in open_):
                self.beside_a_link.append(len(self._open))
            self._open.append(items)
            self.most = max(self.most, len(self._open))
        status = self._respond(items)
        with self._lock:
            self._open.remove(items)
        body = b"{}\n"
        connection.sendall(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status.encode(), len(body), body))


def person(item: dict) -> str:
    """Whom an item is about."""
    return str(item["identifiers"]["id"])


def links(item: dict) -> bool:
    """Whether an item names two identifiers."""
    return item["action"] == "identify" and "anonymous_id" in item["attributes"]


@contextmanager
def four_workers(url: str, *, clock: ManualClock | None = None, **changes):
    """A client with up to four batches under way, and quick retries."""
    values = {"site_id": "site", "api_key": "key", "base_url": url, "retry_base": 0.01, "flush_interval": 0.02}
    with cio.Client(cio.Settings(**{**values, "shutdown_timeout": 5.0, **FOUR, **changes}), clock=clock) as client:
        yield client


def saw_all(clock: ManualClock, eventually) -> None:
    """Wait until every worker has looked at everything that came before."""
    looks = clock.looks
    eventually(lambda: clock.looks >= looks + 12)


@pytest.mark.parametrize("most", [1, 4])
def test_so_many_batches_are_under_way_at_once_and_no_more(serve, most):
    """With answers that take their time, exactly `max_in_flight` requests overlap."""
    together = threading.Barrier(most)

    def respond(_: list[dict]) -> str:
        together.wait(5)  # broken, and a 500, unless so many are here at once
        return "200 OK"

    watching = Watching(respond)
    with four_workers(serve(watching).url, max_in_flight=most, timeout=10.0) as client:
        for number in range(8 * 5):
            client.track("step", {"n": number}, person=f"p{number}")
        assert client.flush(10)
        assert client.stats().delivered == 40
    assert watching.most == most


def test_a_server_that_takes_its_time_never_sees_a_person_twice_at_once(serve):
    """With a few people, much of what waits is held back; no two open requests hold events of one of them."""
    requests = iter(range(10_000))

    def respond(_: list[dict]) -> str:
        number = next(requests)
        threading.Event().wait(0.005)
        return "503 Busy" if number % 5 == 3 else "200 OK"

    watching = Watching(respond)
    with four_workers(serve(watching).url) as client:
        for number in range(300):
            client.track("step", {"n": number}, person=f"p{number * number % 23}")
            if number % 60 == 30:
                client.identify(f"p{number % 23}", anonymous_id=f"browser-{number}")
        assert client.flush(20)
        assert client.stats().delivered == 305
    assert watching.shared == []
    assert watching.beside_a_link == []
    assert watching.most > 1


def test_each_person_keeps_their_order_through_every_fault(sandbox, make_client):
    """Rejected, throttled, cut, lost, halved and partly refused requests: what arrives of one person is in order."""
    steps = ["ok", "503", "partial=1", "reset", "ok", "429", "ack_lost", "400", "html", "ok", "partial=0,3", "500"]
    sandbox.faults.script([*steps * 4, "ok*"])
    client = make_client(**FOUR)
    ids: dict[str, list[str | None]] = {f"p{n}": [] for n in range(17)}
    for number in range(400):
        who = f"p{number * 7 % 17}"
        ids[who].append(client.track("step", {"n": number}, person=who))
    assert client.flush(20)
    refused = {letter.envelope.event_id for letter in client.dead_letters}
    assert refused
    for who, theirs in ids.items():
        arrived = sandbox.people[who].events
        # More than were not refused: an event whose answer was lost may have been refused when it came again.
        assert arrived == [event_id for event_id in theirs if event_id in arrived]
        assert refused.union(arrived).issuperset(theirs)
    stats = client.stats()
    assert (stats.delivered, stats.dead_lettered, stats.pending) == (400 - len(refused), len(refused), 0)
    assert stats.balanced


def test_nothing_overtakes_the_link_of_two_identifiers(sandbox, make_client):
    """What was captured before an identify with an anonymous id is stored before it, and what came after, after it."""
    sandbox.faults.rule(do={"type": "latency", "ms": 5})
    sandbox.faults.script(["ok", "503", "reset", "ok*"])
    client = make_client(**FOUR)
    for number in range(40):
        client.track("before", person=f"p{number}")
    client.identify("ada", anonymous_id="browser-1")
    for number in range(40):
        client.track("after", person=f"p{number}")
    assert client.flush(20)
    arrived = [event.name or event.kind for event in sandbox.good]
    assert arrived == ["before"] * 40 + ["identify"] + ["after"] * 40


def test_only_what_names_two_identifiers_is_of_all_lanes():
    """An identify that links an anonymous id is; without one, and for events, the lane is the person's."""
    lanes: list[tuple[str, int]] = []

    class Noting:
        def emit(self, envelope: Envelope, item: bytes) -> Receipt:
            lanes.append((envelope.kind, envelope.lane))
            return Receipt()

        def flush(self, timeout: float) -> bool:
            return True

        def close(self, timeout: float) -> None:
            """Nothing to close."""

    with cio.Client(cio.Settings(site_id="s", api_key="k", backend=Noting())) as client:
        client.identify("ada", {"plan": "pro"}, anonymous_id="browser-1")
        client.identify("ada", {"plan": "pro"})
        client.track("step", person="ada")
        client.track("step", anonymous_id="browser-1")
        client.track("step", person="bob")
    (_, linking), (_, hers), (_, event), (_, browsers), (_, his) = lanes
    assert linking == ALL_LANES
    assert hers == event
    assert len({linking, hers, browsers, his}) == 4


def test_one_batch_in_trouble_holds_up_its_people_and_after_a_while_the_rest(
    sandbox, make_client, clock, eventually, caplog
):
    """While a batch is tried again, three more go past it and no further; the log tells of one outage and its end."""
    sandbox.faults.rule(match={"person": "stuck"}, do={"type": "status", "status": 503})
    with caplog.at_level(logging.INFO, logger="cio_middleware"):
        client = make_client(**FOUR, client_options={"clock": clock})
        ids = [client.track("step", {"n": n}, person="stuck") for n in range(7)]
        for number in range(40):
            client.track("step", {"n": number}, person=f"p{number}")
        eventually(lambda: client.stats().delivered == 15)
        saw_all(clock, eventually)
        assert client.stats().delivered == 15
        assert "stuck" not in sandbox.people
        assert "takes events again" not in caplog.text
        sandbox.faults.clear()
        clock.advance(10)
        eventually(lambda: client.stats().delivered == 47)
    assert sandbox.people["stuck"].events == ids
    lines = [record.getMessage() for record in caplog.records]
    assert sum("not taking events" in line for line in lines) == 1
    assert sum("takes events again" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("refusal", "wait"), [("401 No", 60.0), ("429 Slow\r\nRetry-After: 30", 33.0)], ids=["key", "rate"]
)
def test_17_several_workers_pause_as_one(serve, clock, eventually, refusal: str, wait: float):
    """When four requests are told to stop, one asks again; not until it is answered do the others go on."""
    together, going = threading.Barrier(4), threading.Event()
    asked = iter(range(1000))

    def respond(_: list[dict]) -> str:
        if next(asked) < 4:
            together.wait(5)
            return refusal
        return "200 OK" if going.is_set() else refusal

    server = serve(Watching(respond))
    with four_workers(server.url, clock=clock, timeout=10.0) as client:
        for number in range(60):
            client.track("step", {"n": number}, person=f"p{number}")
        eventually(lambda: client.stats().requests == 4)
        saw_all(clock, eventually)
        clock.advance(29)
        saw_all(clock, eventually)
        assert client.stats().requests == 4
        clock.advance(wait - 29)
        eventually(lambda: client.stats().requests == 5)
        saw_all(clock, eventually)
        assert client.stats().requests == 5
        going.set()
        clock.advance(600)
        eventually(lambda: client.stats().delivered == 60)
        assert client.stats().pending == 0
    assert len(server.requests) == 5 + 12


def test_workers_are_started_as_they_are_needed(serve, eventually):
    """None before the first event, one for it, and another only when an event comes while all are under way."""
    going = threading.Event()
    server = serve(Watching(lambda _: "200 OK" if going.wait(10) else ""))
    with four_workers(server.url, flush_at=1, timeout=20.0) as client:
        workers = client._parts.backend._workers
        assert len(workers) == 0
        for number in range(7):
            client.track("step", {"n": number}, person=f"p{number}")
            eventually(lambda number=number: len(server.requests) == min(number + 1, 4))
            assert len(client._parts.backend._workers) == min(number + 1, 4)
        going.set()
        assert client.flush(10)
    assert len(server.requests) == 5


def test_an_idle_worker_is_enough(make_client, sandbox):
    """Events one after the other need no second worker."""
    client = make_client(**{**FOUR, "flush_at": 1})
    for number in range(10):
        client.track("step", {"n": number}, person=f"p{number}")
        assert client.flush(5)
    assert len(client._parts.backend._workers) <= 2
    assert sandbox.count("step") == 10


def test_flush_waits_for_every_worker(serve, eventually):
    """A flush is over when the last of the batches is settled that were captured before it, in whatever order."""
    slow = threading.Event()

    def respond(items: list[dict]) -> str:
        return "200 OK" if person(items[0]) != "slow" or slow.wait(10) else ""

    with four_workers(serve(Watching(respond)).url, max_batch_events=1, flush_at=1, timeout=20.0) as client:
        client.track("step", person="slow")
        for number in range(3):
            client.track("step", person=f"p{number}")
        eventually(lambda: client.stats().delivered == 3)
        assert client.flush(0.1) is False
        slow.set()
        assert client.flush(10) is True
        assert client.stats().delivered == 4


def test_close_delivers_with_all_workers_and_ends_them(serve):
    """A backlog at closing leaves with several requests at once, and no worker outlives the close."""
    together = threading.Barrier(4)

    def respond(_: list[dict]) -> str:
        together.wait(5)
        return "200 OK"

    with four_workers(serve(Watching(respond)).url, flush_at=100, flush_interval=60.0, timeout=10.0) as client:
        for number in range(40):
            client.track("step", {"n": number}, person=f"p{number}")
        assert client.stats().requests == 0
        client._parts.backend._bell.ring()
        client.flush(0)
        assert client.close(10).delivered == 40
        assert not any(worker.is_alive() for worker in client._parts.backend._workers)


def test_close_keeps_its_deadline_however_many_hang(sandbox, make_client, eventually):
    """Four requests that never end hold close up no longer than one; each event is counted once."""
    sandbox.faults.script(["hang*"])
    client = make_client(**FOUR, timeout=30.0)
    for number in range(30):
        client.track("step", {"n": number}, person=f"p{number}")
    eventually(lambda: client.stats().requests == 4)
    stats = client.close(timeout=0.3)
    assert stats.dropped == {DropReason.SHUTDOWN_TIMEOUT: 30}
    assert stats.balanced
    assert stats.pending == 0
    sandbox.faults.clear()


def test_close_ends_at_once_when_all_are_told_to_wait_longer(sandbox, make_client, eventually):
    """A pause for all that outlasts the deadline is not sat out, and nobody asks once more."""
    sandbox.faults.script(["429;retry_after=60*"])
    client = make_client(**FOUR)
    for number in range(30):
        client.track("step", {"n": number}, person=f"p{number}")
    eventually(lambda: client.stats().requests >= 1)
    client.flush(0.05)
    asked = client.stats().requests
    started = time.monotonic()
    stats = client.close(timeout=30)
    assert time.monotonic() - started < 10
    assert stats.dropped == {DropReason.SHUTDOWN_TIMEOUT: 30}
    assert stats.requests == asked <= 4


def test_a_worker_that_fails_costs_no_event_and_no_order(sandbox, make_client):
    """An exception that nobody foresaw, in several workers: their leases come back, and all arrives in order."""

    class Failing(ManualClock):
        """Fails three times where a worker looks at the age of its events, and lets a wait pass at once."""

        left = 3

        def time(self) -> float:
            if threading.current_thread().name == "cio_middleware" and self.left:
                self.left -= 1
                raise LookupError("canary")
            return super().time()

        def wait(self, condition: threading.Condition, seconds: float | None) -> None:
            super().wait(condition, seconds)
            self.advance(0.2)

    client = make_client(**FOUR, client_options={"clock": Failing()})
    ids: dict[str, list[str | None]] = {f"p{n}": [] for n in range(9)}
    for number in range(90):
        ids[f"p{number % 9}"].append(client.track("step", {"n": number}, person=f"p{number % 9}"))
    assert client.flush(3600)
    assert client.stats().delivered == 90
    for who, theirs in ids.items():
        assert sandbox.people[who].events == theirs


def test_13_a_delivery_that_ends_late_takes_nobody_back_to_the_old_host(eventually):
    """One of two requests under way is sent to the workspace's other region; from then on everybody goes there."""
    hosts: list[str] = []
    together = threading.Barrier(2)
    clients: list[cio.Client] = []

    def respond(request: httpx.Request) -> httpx.Response:
        hosts.append(request.url.host)
        if request.url.host == "track-eu.customer.io":
            return httpx.Response(200, json={})
        together.wait(5)
        if b"moved" in request.content:
            return httpx.Response(301, headers={"location": "https://track-eu.customer.io/api/v2/batch"})
        eventually(lambda: clients[0].stats().delivered == 1)
        return httpx.Response(200, json={})

    settings = cio.Settings(site_id="s", api_key="k", max_in_flight=2, flush_at=1, max_batch_events=1)
    with httpx.Client(transport=httpx.MockTransport(respond)) as http, cio.Client(settings, http_client=http) as client:
        clients.append(client)
        client.track("step", person="late")
        client.track("step", person="moved")
        eventually(lambda: client.stats().delivered == 2)
        client.track("step", person="third")
        assert client.flush(5)
    assert hosts == ["track.customer.io"] * 2 + ["track-eu.customer.io"] * 2


def run(script: str, sandbox) -> subprocess.CompletedProcess[str]:
    """Run a script as a process whose client has four workers and small batches."""
    environment = {
        "CUSTOMERIO_SITE_ID": sandbox.site_id, "CUSTOMERIO_API_KEY": "key", "CUSTOMERIO_BASE_URL": sandbox.url,
        "CUSTOMERIO_MAX_IN_FLIGHT": "4", "CUSTOMERIO_FLUSH_AT": "5", "CUSTOMERIO_MAX_BATCH_EVENTS": "5",
        "CUSTOMERIO_RATE_LIMIT": "10000", "CUSTOMERIO_RETRY_BASE": "0.01",
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        env=environment, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


def test_37_a_fork_while_several_batches_are_under_way_doubles_and_loses_nothing(sandbox):
    """The parent's workers and leases stay with it; each child has its own, and all keep the order."""
    sandbox.faults.rule(do={"type": "latency", "ms": 10})
    done = run(
        """
        import os
        import cio_middleware as cio
        client = cio.get_client()

        def track(name, count):
            for n in range(count):
                client.track(name, {"n": n}, person=f"{name}{n % 9}")

        track("parent", 90)
        children = []
        for child in range(2):
            pid = os.fork()
            if pid == 0:
                track(f"child{child}", 90)
                stats = client.close(10)
                os._exit(0 if (stats.delivered, stats.pending) == (90, 0) else 7)
            children.append(pid)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
        print(codes, client.close(10).delivered)
        """,
        sandbox,
    )
    assert (done.stdout, done.stderr) == ("[0, 0] 90\n", "")
    for name in ("parent", "child0", "child1"):
        assert (sandbox.count(name), sandbox.duplicates(name)) == (90, 0)
        for number in range(9):
            arrived = [event.data["n"] for event in sandbox.good if event.person == f"{name}{number}"]
            assert arrived == list(range(number, 90, 9))


def test_43_a_backlog_at_the_end_of_the_interpreter_is_delivered(sandbox):
    """A program that just ends, with far more waiting than one batch, leaves nothing behind and says nothing."""
    sandbox.faults.rule(do={"type": "latency", "ms": 10})
    done = run(
        """
        import cio_middleware as cio
        for n in range(300):
            cio.track("step", {"n": n}, person=f"p{n % 50}")
        """,
        sandbox,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sandbox.count("step") == 300
