"""What every client does, whatever its backend: all verbs, a loop that must not be held up, and backends that fail."""

from __future__ import annotations

import asyncio
import logging
import tomllib
from pathlib import Path

import httpx
import pytest

import cio_middleware as cio
from cio_middleware.backends.null import NullBackend

ROOT = Path(__file__).parents[2]
AT = 1_700_000_000
ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


def test_the_version_is_the_packages_own():
    """What `cio_middleware.__version__` and the User-Agent say is what is installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert cio.__version__ == project["version"]


# ---------------------------------------------------------------------------------------------------------------- verbs

VERBS = {"track": "event", "page": "page", "screen": "screen", "atrack": "event", "apage": "page", "ascreen": "screen"}


@pytest.mark.parametrize(("verb", "kind"), VERBS.items(), ids=VERBS)
async def test_every_verb_captures_its_kind_of_event(client, sandbox, verb, kind):
    """Each takes attributes, a person, a time and an id, and returns the id."""
    sent = getattr(client, verb)("here", {"n": 1}, person="ada", timestamp=AT, event_id=ULID)
    assert (await sent if verb.startswith("a") else sent) == ULID
    assert await client.aflush()

    (event,) = sandbox.events()
    assert (event.kind, event.name, event.person, event.event_id) == (kind, "here", "ada", ULID)
    assert (event.data["n"], event.timestamp) == (1, AT)


@pytest.mark.parametrize("verb", VERBS)
async def test_every_verb_takes_a_browser(client, sandbox, verb):
    """Somebody who is not signed in is named by anonymous_id=."""
    sent = getattr(client, verb)("here", anonymous_id="browser-1")
    assert await sent if verb.startswith("a") else sent
    assert await client.aflush()
    (event,) = sandbox.events()
    assert event.identifiers == {"anonymous_id": "browser-1"}


@pytest.mark.parametrize("verb", VERBS)
async def test_a_misspelt_argument_is_a_type_error(client, verb):
    """As of any function: an event about nobody is not what was meant."""
    with pytest.raises(TypeError, match="persn"):
        await getattr(client, verb)("here", persn="ada")


def test_the_modules_verbs_are_those_of_the_default_client(client, sandbox):
    """`cio.track` and `cio.page` hand everything on."""
    cio.configure(client)
    assert cio.page("https://shop/cart", {"n": 1}, person="ada", timestamp=AT, event_id=ULID) == ULID
    assert cio.track("paid", {"n": 2}, person="ada", timestamp=AT)
    assert cio.flush()

    page, paid = sandbox.events()
    assert (page.kind, page.name, page.event_id, page.data["n"]) == ("page", "https://shop/cart", ULID, 1)
    assert (paid.kind, paid.name, paid.data["n"]) == ("event", "paid", 2)
    assert {event.timestamp for event in (page, paid)} == {AT}


# ----------------------------------------------------------------------------------------------------- flush and close


async def test_flush_on_a_loop_delivers_and_says_once_what_to_await(client, sandbox, caplog):
    """A sync flush blocks the loop: it does what it was asked for, and one line names `aflush`."""
    with caplog.at_level(logging.WARNING, logger="cio_middleware"):
        for number in range(3):
            client.track("e", {"n": number}, person="ada")
            assert client.flush()
    assert sandbox.count("e") == 3
    assert [record.getMessage() for record in caplog.records] == [
        "flush() was called on an event loop's thread and blocks it: await client.aflush()."
    ]


async def test_aflush_on_a_loop_says_nothing(client, caplog):
    """Nor does a flush in a thread that a loop waits for."""
    with caplog.at_level(logging.WARNING, logger="cio_middleware"):
        client.track("e", person="ada")
        assert await client.aflush()
        assert await asyncio.to_thread(client.flush)
    assert caplog.records == []


class Broken(NullBackend):
    """A backend that breaks its contract."""

    def begin(self):
        """Raise what may quote a person."""
        raise LookupError("canary")

    def flush(self, timeout):
        """Raise what may quote a person."""
        raise LookupError("canary")

    def close(self, timeout):
        """The same."""
        raise LookupError("canary")

    async def aclose(self):
        """The same."""
        raise LookupError("canary")


def test_what_a_backend_raises_stays_in_the_client(make_client, caplog):
    """A server starts, `flush` is False, `close` goes on to its end, and the log names type and method once each."""
    client = make_client(backend=Broken())
    client.begin()
    assert client.flush() is False
    assert client.flush() is False
    stats = client.close()

    assert stats.balanced
    assert [record.getMessage() for record in caplog.records] == [
        f"backend Broken raised LookupError in {method}()" for method in ("begin", "flush", "close")
    ]  # fmt: skip
    with pytest.raises(cio.ClosedError):
        client.flush()


async def test_what_a_backend_raises_while_it_is_awaited_stays_in_the_client_too(make_client, caplog):
    """`aclose` closes the client whatever its backend does."""
    client = make_client(backend=Broken())
    assert (await client.aclose()).balanced
    assert "raised LookupError in aclose()" in caplog.text
    assert "canary" not in caplog.text
    with pytest.raises(cio.ClosedError):
        await client.aflush()


# ----------------------------------------------------------------------------------------------------- where it is sent


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"env": "production"}, True), ({"env": "staging"}, False), ({}, False)],
    ids=["production", "staging", "unnamed"],
)
def test_production_on_this_machine_is_warned_about(make_client, caplog, settings, said):
    """A sandbox's address that was left in production's environment is named at the start."""
    make_client(**settings)
    assert ("env is production, but base_url is this machine" in caplog.text) is said


def test_production_elsewhere_is_not(make_client, caplog):
    """Customer.io itself is where production sends."""
    make_client(env="production", base_url=None)
    assert caplog.records == []


class Moved:
    """Customer.io as a workspace of the EU sees it: the US host sends it to the other one."""

    def __init__(self):
        self.hosts: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer as the host that was asked."""
        self.hosts.append(request.url.host)
        if request.url.host == "track.customer.io":
            return httpx.Response(301, headers={"Location": f"https://track-eu.customer.io{request.url.path}"})
        return httpx.Response(200, json={})


HOSTS = ["track.customer.io", "track-eu.customer.io", "track-eu.customer.io", "track-eu.customer.io"]


@pytest.mark.parametrize("backend", ["queued", "direct"])
def test_a_redirect_to_the_other_region_is_kept(make_client, backend):
    """Only the first request asks the wrong host: later deliveries begin where that one ended."""
    moved = Moved()
    with httpx.Client(transport=httpx.MockTransport(moved)) as http:
        client = make_client(backend=backend, base_url=None, client_options={"http_client": http})
        for _ in range(3):
            assert client.track("e", person="ada")
            assert client.flush()
    assert moved.hosts == HOSTS
    assert client.stats().delivered == 3


async def test_a_redirect_to_the_other_region_is_kept_by_what_is_awaited(make_client):
    """The same for the async verbs, and for the sync ones after them."""
    moved = Moved()
    async with httpx.AsyncClient(transport=httpx.MockTransport(moved)) as http:
        client = make_client(backend="direct", base_url=None, client_options={"async_http_client": http})
        for _ in range(3):
            assert await client.atrack("e", person="ada")
    assert moved.hosts == HOSTS


async def test_awaited_deliveries_keep_the_rate(make_client, sandbox, clock):
    """Nine requests a second and a burst of one: on a clock that stands still, the third waits for two places."""
    client = make_client(backend="direct", rate_limit=9.0, client_options={"clock": clock})
    loop = asyncio.get_running_loop()
    started = loop.time()
    for number in range(3):
        assert await client.atrack("e", {"n": number}, person="ada")
    assert loop.time() - started >= 3 / 9 - 0.01
    assert sandbox.count("e") == 3
    await client.aclose()


async def test_dead_letters_of_the_direct_backend_are_those_of_its_helper_too(make_client, sandbox):
    """On a loop a helper thread delivers; what Customer.io refuses there is found in the same place."""
    sandbox.faults.script(["400*"])
    client = make_client(backend="direct")
    first = await client.atrack("e", {"n": 1}, person="ada")
    second = client.track("e", {"n": 2}, person="ada")
    assert await client.aflush()

    assert [letter.envelope.event_id for letter in client.dead_letters if letter.envelope.event_id != second] != []
    assert second in [letter.envelope.event_id for letter in client.dead_letters]
    assert client.stats().dead_lettered == 2
    assert first != second
    await client.aclose()


def test_a_backend_without_dead_letters_has_none(make_client):
    """One of somebody else's need not keep any."""
    assert list(make_client(backend=NullBackend()).dead_letters) == []
