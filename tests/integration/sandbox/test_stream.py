"""The stream of changes: who follows it misses nothing, however often the line is cut."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import takewhile
from typing import Any, NamedTuple

import httpx
import pytest

from cio_middleware.sandbox.store import Capacity, House
from cio_middleware.testing import Sandbox

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
Follow = Callable[..., Any]


class Frame(NamedTuple):
    """One server-sent event; a comment has the kind ``comment``."""

    kind: str
    id: str | None
    data: Any


def frames(lines: Iterator[str]) -> Iterator[Frame]:
    """Read a stream as a browser does."""
    for line in lines:
        told = dict(part.partition(": ")[::2] for part in (line, *takewhile(bool, lines)))
        if "data" in told:
            yield Frame(told["event"], told.get("id"), json.loads(told["data"]))
        elif line:
            yield Frame("comment", None, line)


@pytest.fixture(name="follow")
def _follow(sandbox: Sandbox) -> Follow:
    """Open a stream."""

    @contextmanager
    def follow(since: str | None = None, resume: str | None = None, of: Sandbox = sandbox) -> Iterator[Iterator[Frame]]:
        params = {"workspace": of.site_id} | ({} if since is None else {"since": since})
        headers = {} if resume is None else {"Last-Event-ID": resume}
        with (
            httpx.Client(base_url=of.url, trust_env=False, timeout=20, verify=NO_TLS) as client,
            client.stream("GET", "/_sandbox/v1/stream", params=params, headers=headers) as reply,
        ):
            assert reply.status_code == 200, reply.read()
            yield frames(reply.iter_lines())

    return follow


@pytest.fixture(name="track")
def _track(web: httpx.Client) -> Callable[..., None]:
    def track(sandbox: Sandbox, name: str = "order", person: str = "ada", **members: Any) -> None:
        """Send one event by v1."""
        url = f"{sandbox.url}/api/v1/customers/{person}/events"
        web.post(url, json={"name": name, **members}, auth=(sandbox.site_id, "key"))

    return track


def until(told: Iterator[Frame], kind: str) -> Frame:
    """Return the next frame of a kind."""
    return next(frame for frame in told if frame.kind == kind)


def cursor(sandbox: Sandbox) -> str:
    """Return where the list ends now."""
    return str(sandbox.summary()["stream_cursor"])


def test_a_stream_speaks_at_once(sandbox, follow):
    """A comment, which opens it in every browser, how soon to come back, and where it begins."""
    with follow() as told:
        assert next(told) == Frame("comment", None, ": cio sandbox")
        hello = next(told)
    assert (hello.kind, hello.id) == ("hello", hello.data["cursor"])
    assert hello.data["cursor"].startswith(f"{hello.data['epoch']}-")
    assert set(hello.data) == {"epoch", "cursor", "version"}


def test_an_event_is_told_as_it_comes(sandbox, follow, track):
    """The row as the list shows it, and the person that it changed; also in a workspace that nobody had opened."""
    with follow() as told:
        until(told, "hello")
        track(sandbox)
        person, event = until(told, "person"), until(told, "event")
    (row,) = event.data["items"]
    assert (row["seq"], row["name"], row["person"]) == (1, "order", "ada")
    assert "sent" not in row
    assert [(item["key"], item["gone"]) for item in person.data["items"]] == [("ada", False)]
    assert event.id == cursor(sandbox)
    assert person.id is None, "who is cut off between the two has to get both again"


def test_a_retry_tells_what_it_replaces(sandbox, follow, track):
    """Who shows the older row can take it away; who missed it never sees it."""
    sandbox.faults.script(["503", "ok*"])
    before = cursor(sandbox)
    with follow() as told:
        until(told, "hello")
        track(sandbox)
        assert until(told, "event").data["items"][0]["verdict"] == "fault"
        track(sandbox)
        (row,) = until(told, "event").data["items"]
    assert (row["seq"], row["replaces"], row["attempts"]) == (2, [1], 2)
    with follow(since=before) as told:
        assert [item["seq"] for item in until(told, "event").data["items"]] == [2]


def test_faults_are_told_as_a_whole(sandbox, follow):
    """However they were changed: a rule, a script, everything put away."""
    with follow() as told:
        until(told, "hello")
        sandbox.faults.rule(do={"type": "status", "status": 500})
        assert [rule["do"]["status"] for rule in until(told, "fault").data["rules"]] == [500]
        sandbox.faults.script(["503"])
        assert until(told, "fault").data["script"] == {"steps": ["503"], "taken": 0}
        sandbox.faults.clear()
        assert until(told, "fault").data["rules"] == []


def test_a_list_and_the_stream_after_it_are_gapless(sandbox, follow, track):
    """What came between the two is told first."""
    track(sandbox)
    before = cursor(sandbox)
    track(sandbox, person="bob")
    with follow(since=before) as told:
        assert until(told, "hello").data["cursor"] == before
        assert [row["person"] for row in until(told, "event").data["items"]] == ["bob"]
        track(sandbox, person="eve")
        assert [row["person"] for row in until(told, "event").data["items"]] == ["eve"]


def test_a_resume_loses_nothing_of_a_thousand_events(sandbox, follow, web):
    """The client is cut off after every few frames, in the middle of the traffic, and comes back with its last id."""
    batches = [list(range(start, start + 10)) for start in range(0, 1000, 10)]

    def send() -> None:
        for batch in batches:
            items = [
                {"type": "person", "action": "event", "identifiers": {"id": f"p{n}"}, "name": f"n{n}"} for n in batch
            ]
            web.post(f"{sandbox.url}/api/v2/batch", json={"batch": items}, auth=(sandbox.site_id, "key"))

    names: set[str] = set()
    last, cuts = cursor(sandbox), 0
    with ThreadPoolExecutor() as pool:
        sending = pool.submit(send)
        while len(names) < 1000:
            with follow(resume=last) as told:
                for _, frame in zip(range(4), told, strict=False):
                    last = frame.id or last
                    if frame.kind == "event":
                        names |= {row["name"] for row in frame.data["items"]}
                    assert frame.kind not in {"lag", "reset"}
            cuts += 1
        sending.result()
    assert names == {f"n{n}" for n in range(1000)}
    assert cuts > 5


def test_much_at_once_is_merged(sandbox, follow, web):
    """Three hundred events within a moment are a handful of frames, and none is missing."""
    with follow() as told:
        until(told, "hello")
        for start in range(0, 300, 3):
            items = [
                {"type": "person", "action": "event", "identifiers": {"id": "ada"}, "name": f"n{n}"}
                for n in range(start, start + 3)
            ]
            web.post(f"{sandbox.url}/api/v2/batch", json={"batch": items}, auth=(sandbox.site_id, "key"))
        began, seen, count = time.monotonic(), 0, 0
        while seen < 300:
            seen += len(until(told, "event").data["items"])
            count += 1
    assert seen == 300
    assert count < 60, f"{count} frames, {time.monotonic() - began:.1f} s"


def test_a_client_that_fell_behind_is_told_to_read_again(sandbox, follow, web):
    """One batch of more rows than a client may be behind is a `lag`, and what comes after it is told."""
    item = {"type": "person", "action": "event", "identifiers": {"id": "ada"}, "name": "order"}
    with follow() as told:
        until(told, "hello")
        web.post(f"{sandbox.url}/api/v2/batch", json={"batch": [item] * 1001}, auth=(sandbox.site_id, "key"))
        assert next(frame for frame in told if frame.kind in {"event", "lag"}).data["cursor"] == cursor(sandbox)
        web.post(f"{sandbox.url}/api/v2/batch", json={"batch": [item]}, auth=(sandbox.site_id, "key"))
        assert [row["seq"] for row in until(told, "event").data["items"]] == [1002]


def test_a_cursor_that_is_older_than_the_log_is_a_lag(follow, web):
    """The log ends somewhere, and says so."""
    with Sandbox.running(house=House(capacity=Capacity(changes=3))) as small:
        before = cursor(small)
        for person in ("ada", "bob"):
            url = f"{small.url}/api/v1/customers/{person}/events"
            web.post(url, json={"name": "order"}, auth=(small.site_id, "key"))
        with follow(since=before, of=small) as told:
            assert until(told, "hello").data["cursor"] == cursor(small)
            assert next(told).kind == "lag"


def test_a_reset_is_told_and_makes_older_cursors_worthless(sandbox, follow, track):
    """To those who look on, and to those who come back later."""
    track(sandbox)
    before = cursor(sandbox)
    with follow() as told:
        epoch = until(told, "hello").data["epoch"]
        sandbox.reset()
        assert until(told, "reset").data == {"epoch": epoch + 1, "cursor": cursor(sandbox)}
        track(sandbox)
        assert until(told, "event").data["items"][0]["seq"] == 2
    with follow(since=before) as told:
        until(told, "hello")
        assert next(told).kind == "reset"


def test_another_start_of_the_sandbox_is_another_epoch(own_sandbox, follow):
    """A page that was open meanwhile knows that nothing of what it shows is there any more."""
    with Sandbox.running() as later, follow(since=cursor(own_sandbox), of=later) as told:
        until(told, "hello")
        assert next(told).kind == "reset"


@pytest.mark.parametrize("since", ["yesterday", "1", "1-2-3"])
def test_what_is_no_cursor_is_refused(sandbox, web, since):
    """With what one looks like."""
    reply = web.get(f"{sandbox.url}/_sandbox/v1/stream", params={"workspace": sandbox.site_id, "since": since})
    assert reply.status_code == 400
    assert "stream_cursor" in reply.json()["error"]["message"]


def test_the_seventeenth_stream_is_refused_with_a_reason(own_sandbox, follow, web, eventually):
    """One that ends makes room for another."""
    url = f"{own_sandbox.url}/_sandbox/v1/stream"
    with ExitStack() as stack:
        told = [stack.enter_context(follow(of=own_sandbox)) for _ in range(16)]
        assert [until(each, "hello").kind for each in told] == ["hello"] * 16
        refused = web.get(url)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "CIO-SBX-010")
        assert "16 streams are open" in refused.json()["error"]["message"]

    def streams() -> bool:
        with httpx.Client(trust_env=False, verify=NO_TLS) as client, client.stream("GET", url) as reply:
            return reply.status_code == 200

    eventually(streams)


def test_a_server_that_stops_waits_for_no_stream(own_sandbox, follow):
    """Sixteen that are open are cut in less than half a second."""
    with ExitStack() as stack:
        told = [stack.enter_context(follow(of=own_sandbox)) for _ in range(16)]
        assert [until(each, "hello").kind for each in told] == ["hello"] * 16
        began = time.monotonic()
        own_sandbox.stop()
        assert time.monotonic() - began < 0.5


def test_a_stream_of_another_workspace_hears_nothing(sandbox, shared_sandbox, follow, track):
    """Workspaces share nothing."""
    with shared_sandbox.workspace("other-than-that") as other, follow() as told:
        until(told, "hello")
        track(other)
        track(sandbox, name="own")
        assert [row["name"] for row in until(told, "event").data["items"]] == ["own"]


def test_hostile_text_stays_inside_its_frame(sandbox, follow, track):
    """Line ends of every kind, and half a surrogate pair, arrive as they were sent."""
    text = "a\nb\r\nid: 1-1\r\revent: reset\u2028\u2029\x85\x00"
    with follow() as told:
        until(told, "hello")
        track(sandbox, name="order", data={"note": text})
        (row,) = until(told, "event").data["items"]
    assert row["data"]["note"] == text


def test_many_streams_hear_the_same(sandbox, follow, track):
    """Each is told everything."""
    ready = threading.Barrier(9)

    def listen() -> list[int]:
        with follow() as told:
            until(told, "hello")
            ready.wait()
            seen: list[int] = []
            while len(seen) < 20:
                seen += [row["seq"] for row in until(told, "event").data["items"]]
            return seen

    with ThreadPoolExecutor(8) as pool:
        listening = [pool.submit(listen) for _ in range(8)]
        ready.wait()
        for _ in range(20):
            track(sandbox)
        assert [heard.result() for heard in listening] == [list(range(1, 21))] * 8
