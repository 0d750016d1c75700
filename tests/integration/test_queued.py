"""The queued backend on a real sandbox: when it sends, what it waits for, and what becomes of each event."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading

import pytest

import cio_middleware as cio
from cio_middleware import ClosedError, DropReason
from cio_middleware.typing import Receipt


@pytest.fixture(name="timed")
def _timed(make_client, clock):
    """A client with the default pace, on a clock that stands still."""
    return make_client(flush_interval=5.0, flush_at=100, client_options={"clock": clock})


def saw_all(clock, eventually):
    """Wait until the worker has looked at everything that came before."""
    looks = clock.looks
    eventually(lambda: clock.looks >= looks + 2)


def test_the_hundredth_event_sends_the_batch(timed, sandbox, clock, eventually):
    """Ninety-nine events wait; the hundredth sends all of them in one request, with no time passing."""
    for number in range(99):
        timed.track("step", {"number": number}, person="ada")
    saw_all(clock, eventually)
    assert timed.stats().requests == 0

    timed.track("step", {"number": 99}, person="ada")

    eventually(lambda: timed.stats().delivered == 100)
    assert timed.stats().requests == 1
    assert [event.data["number"] for event in sandbox.events("step")] == list(range(100))


def test_five_seconds_send_what_there_is(timed, sandbox, clock, eventually):
    """A single event waits until the interval after its capture is over, and no longer."""
    timed.track("step", person="ada")
    clock.advance(4.99)
    saw_all(clock, eventually)
    assert timed.stats().requests == 0

    clock.advance(0.01)

    eventually(lambda: timed.stats().delivered == 1)
    assert sandbox.count("step") == 1


def test_the_interval_starts_with_the_oldest_event(timed, clock, eventually):
    """Later events do not postpone an earlier one."""
    timed.track("first", person="ada")
    clock.advance(3)
    timed.track("second", person="ada")
    saw_all(clock, eventually)

    clock.advance(2)

    eventually(lambda: timed.stats().delivered == 2)


def test_queued_events_are_stamped(client, sandbox, clock):
    """`_queued_at` is added in Unix seconds, and the caller's own value wins."""
    client.track("stamped", person="ada")
    client.track("own", {"_queued_at": 7}, person="ada")
    client.identify("ada", {"plan": "pro"})
    client.identify("bob", {"_updated_at": 7})
    assert client.flush(5)

    stamp = sandbox.events("stamped")[0].data["_queued_at"]
    assert abs(stamp - sandbox.events("stamped")[0].timestamp) <= 1
    assert sandbox.events("own")[0].data["_queued_at"] == 7
    assert sandbox.people["ada"].attributes["_updated_at"] == pytest.approx(stamp, abs=2)
    assert sandbox.people["bob"].attributes["_updated_at"] == 7


def test_stamps_can_be_left_out(make_client, sandbox):
    """With stamps off, attributes arrive as they were given."""
    client = make_client(stamps=False)
    client.track("bare", {"a": 1}, person="ada")
    client.identify("ada", {"plan": "pro"})
    assert client.flush(5)
    assert sandbox.events("bare")[0].data == {"a": 1}
    assert sandbox.people["ada"].attributes == {"plan": "pro"}


def test_an_identify_carries_the_time_of_its_capture(make_client, sandbox, clock, eventually):
    """A late delivery cannot overwrite what was learnt later, because it says when it was true."""
    client = make_client(flush_interval=5.0, client_options={"clock": clock})
    client.identify("ada", {"plan": "old"})
    captured = int(clock.time())
    clock.advance(60)
    eventually(lambda: client.stats().delivered == 1)
    (identify,) = sandbox.events(kind="identify")
    assert identify.timestamp == captured


def test_flush_waits_for_what_was_captured_before(client, sandbox):
    """When flush returns True, everything captured before it has been settled."""
    for number in range(250):
        client.track("step", {"number": number}, person=f"p{number % 7}")
    assert client.flush(10)
    assert client.stats().pending == 0
    assert sandbox.count("step") == 250


def test_flush_keeps_its_deadline(make_client, sandbox):
    """Against a sandbox that never answers, flush returns False in time, and the event stays pending."""
    sandbox.faults.script(["hang*"])
    client = make_client(timeout=30.0)
    client.track("step", person="ada")
    assert client.flush(0.2) is False
    assert client.stats().pending == 1
    client.close(0.1)


def test_flush_after_close_says_so(client):
    """A closed client cannot flush, and says why."""
    client.close()
    with pytest.raises(ClosedError, match="closed"):
        client.flush()


def test_close_delivers_and_is_final(client, sandbox):
    """Close delivers what waits; later events are dropped{closed}, later closes do nothing."""
    client.track("before", person="ada")
    stats = client.close()
    assert (stats.delivered, stats.pending) == (1, 0)
    assert client.track("after", person="ada") is None
    assert client.close().dropped == {DropReason.CLOSED: 1}
    assert [event.name for event in sandbox.good] == ["before"]


def test_close_keeps_its_deadline_and_counts_what_is_left(make_client, sandbox):
    """A hanging sandbox cannot hold close up; what it kept is dropped{shutdown_timeout}, once."""
    sandbox.faults.script(["hang*"])
    client = make_client(timeout=30.0, flush_at=1)
    client.track("one", person="ada")
    client.track("two", person="ada")
    stats = client.close(timeout=0.3)
    assert stats.dropped == {DropReason.SHUTDOWN_TIMEOUT: 2}
    assert stats.balanced
    assert stats.pending == 0
    sandbox.faults.clear()


def test_close_gives_up_at_once_when_no_attempt_is_due_in_time(make_client, sandbox, eventually):
    """If the server asks to wait beyond the deadline, close does not sit it out, and does not hammer either."""
    sandbox.faults.script(["429;retry_after=60*"])
    client = make_client(flush_at=1)
    client.track("one", person="ada")
    eventually(lambda: client.stats().requests == 1)
    stats = client.close(timeout=30)
    assert stats.dropped == {DropReason.SHUTDOWN_TIMEOUT: 1}
    assert stats.requests == 1


def test_a_refused_item_is_kept_with_its_reason(client, sandbox, caplog):
    """What Customer.io refuses becomes a dead letter with its words; the log names the event, and no more."""
    sandbox.faults.script(["partial=1", "ok*"])
    ids = [client.track("step", {"n": n, "secret": "canary"}, person="canary") for n in range(3)]
    with caplog.at_level(logging.INFO):
        assert client.flush(5)
    (letter,) = client.dead_letters
    assert letter.envelope.event_id == ids[1]
    assert letter.why.reason
    stats = client.stats()
    assert (stats.delivered, stats.dead_lettered) == (2, 1)
    assert ids[1] in caplog.text
    assert "canary" not in caplog.text
    assert "canary" not in repr(client.dead_letters)


def test_one_line_for_an_outage_and_one_for_its_end(make_client, sandbox_server, caplog, eventually):
    """However many events and attempts an outage costs, the log says it once, and once that it is over."""
    with sandbox_server.workspace("outage") as sandbox, caplog.at_level(logging.INFO, logger="cio_middleware"):
        sandbox.faults.script(["503", "503", "503", "503", "ok*"])
        settings = cio.Settings(**sandbox.settings, retry_base=0.001, flush_at=1)
        with cio.Client(settings) as client:
            for number in range(20):
                client.track("step", {"number": number}, person="ada")
            eventually(lambda: client.stats().delivered == 20)
    lines = [record.getMessage() for record in caplog.records]
    assert sum("not taking events" in line for line in lines) == 1
    assert sum("takes events again" in line for line in lines) == 1


def test_events_older_than_max_age_are_dropped(make_client, sandbox, clock, eventually):
    """What could not be delivered within max_age is dropped{expired}, without being sent again; newer events go on."""
    sandbox.faults.script(["503", "ok*"])
    client = make_client(flush_at=1, max_age=60.0, retry_base=10.0, client_options={"clock": clock})
    client.track("old", person="ada")
    eventually(lambda: client.stats().requests == 1)
    saw_all(clock, eventually)

    clock.advance(61)

    eventually(lambda: client.stats().dropped == {DropReason.EXPIRED: 1})
    client.track("new", person="ada")
    eventually(lambda: client.stats().delivered == 1)
    assert [event.name for event in sandbox.good] == ["new"]
    assert client.stats().requests == 2


def test_a_track_event_above_32000_bytes_goes_alone_and_arrives(client, sandbox):
    """Between 32,000 and 100,000 bytes only v1 takes an event; it goes there, between its neighbours."""
    client.track("small", person="a/b c")
    client.track("large", {"text": "x" * 50_000}, person="a/b c")
    client.track("small", person="a/b c")
    assert client.flush(5)
    assert [event.name for event in sandbox.good] == ["small", "large", "small"]
    assert {event.person for event in sandbox.good} == {"a/b c"}
    (large,) = sandbox.events("large")
    assert large.api == "track.v1"
    assert len(large.data["text"]) == 50_000


@pytest.mark.parametrize("kind", ["page", "screen", "identify"])
def test_anything_else_above_32000_bytes_is_refused_at_capture(client, sandbox, kind):
    """Only a track event may be that large: the others are counted as too large, and nothing is sent."""
    attributes = {f"a{n}": "x" * 1000 for n in range(40)}
    call = {"page": client.page, "screen": client.screen}.get(kind)
    sent = call("name", attributes, person="ada") if call else client.identify("ada", attributes)
    assert sent is None
    assert client.stats().dropped == {DropReason.EVENT_TOO_LARGE: 1}


def test_anonymous_events_go_one_by_one_to_the_documented_address(client, sandbox):
    """An event of a browser goes to v1, where anonymous events are documented, and is merged when somebody signs in."""
    client.track("browsed", {"n": 1}, anonymous_id="browser-1")
    client.track("browsed", {"n": 2}, anonymous_id="browser-1")
    client.identify("ada", {"plan": "pro"}, anonymous_id="browser-1")
    assert client.flush(5)
    assert [event.api for event in sandbox.events("browsed")] == ["track.v1", "track.v1"]
    assert sandbox.people["ada"].event_names == ["browsed", "browsed"]


def test_anonymous_events_can_be_batched(make_client, sandbox):
    """With anonymous_via="v2" they travel in batches, which others use in production without its being documented."""
    client = make_client(anonymous_via="v2", flush_interval=5.0)
    for number in range(5):
        client.track("browsed", {"n": number}, anonymous_id="browser-1")
    assert client.flush(5)
    assert client.stats().requests == 1
    assert [event.api for event in sandbox.events("browsed")] == ["track.v2"] * 5


def test_the_worker_is_no_child_of_the_request_that_started_it(client, eventually):
    """The worker runs in a context of its own: what a request set there does not reach it."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="")
    seen: list[str] = []

    def sweep() -> float:
        seen.append(variable.get())
        return 1.0

    client._parts.backend.sweep = sweep

    def request() -> None:
        variable.set("a request")
        client.track("step", person="ada")

    contextvars.copy_context().run(request)
    eventually(lambda: seen)
    assert set(seen) == {""}


def test_nothing_starts_before_the_first_event(make_client):
    """A client that captured nothing has no thread, so a preloading server may fork it as it is."""
    before = threading.active_count()
    make_client()
    assert threading.active_count() == before


def test_track_works_from_an_event_loop(client, sandbox):
    """The queued verbs never wait, so they are the same on an event loop; aflush does not block it."""

    async def main() -> bool:
        assert await client.atrack("awaited", person="ada")
        assert client.track("plain", person="ada")
        await client.aidentify("ada", {"plan": "pro"})
        await client.apage("https://shop.example/", person="ada")
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        sandbox.faults.script(["latency=100", "ok*"])
        ticking = asyncio.create_task(tick())
        flushed = await client.aflush(5)
        ticking.cancel()
        assert ticks > 10
        return bool(flushed)

    assert asyncio.run(main())
    assert sandbox.people["ada"].event_names == ["awaited", "plain", "https://shop.example/"]
    assert sandbox.people["ada"].attributes["plan"] == "pro"


def test_the_client_is_a_context_manager(sandbox):
    """Leaving the block closes the client, which delivers what waits; the same for async code."""
    with cio.Client(cio.Settings(**sandbox.settings)) as client:
        client.track("sync", person="ada")

    async def main() -> None:
        async with cio.Client(cio.Settings(**sandbox.settings)) as client:
            client.track("async", person="ada")

    asyncio.run(main())
    assert [event.name for event in sandbox.good] == ["sync", "async"]


def test_a_foreign_backend_answers_for_its_events(sandbox):
    """A backend of somebody else's takes events over: they count as forwarded, whatever it raises as dropped."""

    class Mine:
        def __init__(self) -> None:
            self.seen: list[tuple[str, bytes]] = []

        def emit(self, envelope, item):
            if b"bad" in item:
                raise RuntimeError("canary")
            self.seen.append((envelope.event_id, item))
            return Receipt()

        def flush(self, timeout):
            return True

        def close(self, timeout):
            pass

    backend = Mine()
    client = cio.Client(cio.Settings(site_id="s", api_key="k", backend=backend))
    event_id = client.track("step", person="ada")
    assert client.track("bad", person="ada") is None
    assert [seen[0] for seen in backend.seen] == [event_id]
    stats = client.close()
    assert stats.balanced
    assert (stats.forwarded, stats.dropped) == (1, {DropReason.BACKEND_FAILED: 1})


def test_a_disabled_client_captures_and_sends_nothing(sandbox):
    """With enabled=False, or the null backend, no credentials are needed and every event is counted as dropped."""
    for settings in ({"enabled": False}, {"backend": "null"}):
        with cio.Client(cio.Settings(**settings)) as client:
            assert client.track("step", person="ada") is None
            assert client.flush(0)
            assert client.stats().dropped == {DropReason.DISABLED: 1}


def test_processors_see_every_event_in_turn(make_client, sandbox):
    """Processors change or drop events before they are encoded; one that fails drops its event, it never leaks it."""

    def redact(event):
        return event.with_attributes({**event.attributes, "card": "***"}) if "card" in event.attributes else event

    def refuse(event):
        return None if event.name == "unwanted" else event

    def fail(event):
        if event.name == "poison":
            raise ValueError("canary")
        return "nonsense" if event.name == "odd" else event

    client = make_client(client_options={"processors": [redact, refuse, fail]})
    client.track("paid", {"card": "4111"}, person="ada")
    for name in ("unwanted", "poison", "odd"):
        assert client.track(name, person="ada") is None
    assert client.flush(5)
    (paid,) = sandbox.good
    assert paid.data["card"] == "***"
    stats = client.stats()
    assert stats.dropped == {DropReason.PROCESSOR: 1, DropReason.PROCESSOR_FAILED: 2}
    assert stats.balanced


def test_a_failing_sweep_does_not_stop_the_worker(client, sandbox, caplog):
    """If settling parked events fails in some unexpected way, later events are delivered all the same."""

    def fails() -> float:
        raise RuntimeError("canary")

    client._parts.backend.sweep = fails
    client.track("step", person="ada")
    assert client.flush(5)
    assert sandbox.count("step") == 1
    assert "canary" not in caplog.text


def test_the_worker_never_waits_for_itself(make_client, sandbox, eventually):
    """With overflow="block", what the worker itself settles is refused by a full queue, not waited for."""
    client = make_client(max_queue_events=1, overflow="block", flush_at=1)
    done: list[cio.Stats] = []

    def sweep() -> float:
        if not done:
            client.track("first", person="ada")
            client.track("second", person="ada")
            done.append(client.stats())
        return 1.0

    client._parts.backend.sweep = sweep
    client.track("start", person="ada")
    eventually(lambda: done, timeout=0.9)
    assert done[0].balanced


BACKEND_OF_MINE = """
from cio_middleware.typing import Receipt

SEEN = []

class Backend:
    def emit(self, envelope, item):
        SEEN.append(envelope.event_id)
        return Receipt()

    def flush(self, timeout):
        return True

    def close(self, timeout):
        pass
"""


@pytest.mark.parametrize("named", ["backend_of_mine:Backend", "mine"], ids=["module:attr", "entry point"])
def test_a_backend_is_found_by_name(tmp_path, monkeypatch, named):
    """A backend of somebody else's is chosen in the settings, by "module:attr" or by an entry point's name."""
    (tmp_path / "backend_of_mine.py").write_text(BACKEND_OF_MINE)
    info = tmp_path / "mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[cio_middleware.backends]\nmine = backend_of_mine:Backend\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with cio.Client(cio.Settings(site_id="s", api_key="k", backend=named)) as client:
        event_id = client.track("step", person="ada")
        assert client.stats().forwarded == 1
    import backend_of_mine  # type: ignore[import-not-found]  # made above

    assert backend_of_mine.SEEN[-1] == event_id


def test_a_log_filter_that_raises_stops_nothing(make_client, sandbox):
    """A filter of the application's that fails in our thread costs neither the thread nor an event."""

    class Fails(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            raise RuntimeError(record.name)

    failing, logger = Fails(), logging.getLogger("cio_middleware")
    sandbox.faults.script(["503", "ok*"])
    logger.addFilter(failing)
    try:
        client = make_client(flush_at=1)
        client.track("", person="ada")
        client.track("step", person="ada")
        assert client.flush(5)
    finally:
        logger.removeFilter(failing)
    assert sandbox.count("step") == 1


def test_a_queue_that_is_full_is_sent_at_once(make_client, sandbox):
    """A bound below flush_at does not leave a full queue waiting for its interval."""
    client = make_client(max_queue_events=10, flush_at=100, flush_interval=3600.0)
    for number in range(10):
        client.track("step", {"n": number}, person="ada")
    assert client.flush(5)
    assert sandbox.count("step") == 10


def test_a_clock_that_is_set_forward_expires_nothing_that_can_be_sent(make_client, sandbox, clock):
    """Events that look too old are tried once before they are given up, and arrive."""
    client = make_client(flush_interval=60.0, client_options={"clock": clock})
    client.track("step", person="ada")
    clock.step_wall(7200)
    assert client.flush(5)
    assert sandbox.count("step") == 1


def test_a_processor_that_captures_is_not_called_for_ever(make_client, sandbox):
    """An event that a processor captures is dropped with a reason; the outer one goes on."""
    clients: list[cio.Client] = []

    def captures(event):
        clients[0].track("inner", person="ada")
        return event

    clients.append(make_client(client_options={"processors": [captures]}))
    assert clients[0].track("outer", person="ada")
    assert clients[0].flush(5)
    assert [event.name for event in sandbox.good] == ["outer"]
    assert clients[0].stats().dropped == {DropReason.PROCESSOR_FAILED: 1}


def test_a_processor_that_exits_is_accounted_for(make_client):
    """What is no Exception passes through to the application, and its event is counted."""

    def exits(event):
        raise SystemExit(3)

    client = make_client(client_options={"processors": [exits]})
    with pytest.raises(SystemExit):
        client.track("step", person="ada")
    assert client.stats().dropped == {DropReason.CANCELLED: 1}
    assert client.stats().pending == 0


def test_a_backend_that_returns_nonsense_costs_its_event_and_no_more():
    """A foreign backend whose emit returns no Receipt raises nothing into the application."""

    class Careless:
        def emit(self, envelope, item):
            return None

        def flush(self, timeout):
            return True

        def close(self, timeout):
            pass

    client = cio.Client(cio.Settings(site_id="s", api_key="k", backend=Careless()))
    assert client.track("step", person="ada") is None
    assert client.close().dropped == {DropReason.BACKEND_FAILED: 1}


def test_dead_letters_are_bounded_in_bytes(make_client, sandbox):
    """Large refused events do not fill the memory; what falls out is counted."""
    sandbox.faults.script(["400*"])
    client = make_client(flush_at=1)
    for number in range(120):
        client.track("step", {"n": number, "text": "x" * 90_000}, person="ada")
    assert client.flush(20)
    kept = sum(len(letter.item) for letter in client.dead_letters)
    assert kept <= 8 * 1024 * 1024
    assert client.stats().dropped[DropReason.DEAD_LETTERS_FULL] == 120 - len(client.dead_letters)
    assert client.stats().balanced
