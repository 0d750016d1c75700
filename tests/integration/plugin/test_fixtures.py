"""What the fixtures of the pytest plugin give to a test, in runs of their own."""

from __future__ import annotations

import re

import pytest

pytest_plugins = ["pytester"]

INI = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""


@pytest.fixture(name="run")
def _run(pytester, monkeypatch):
    """Runs a test module in a process of its own, and returns how it ended."""
    for name in ("SITE_ID", "API_KEY", "BASE_URL", "ENV"):
        monkeypatch.delenv(f"CUSTOMERIO_{name}", raising=False)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)

    def run(source: str, *options: str, ini: str = ""):
        pytester.makeini(INI + ini)
        pytester.makepyfile(source)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *options, timeout=60)

    return run


def test_the_promised_tests_pass(run):
    """An app that uses the default client is seen, a lost reply stores one event, and a coroutine looks as well."""
    run(
        """
        import cio_middleware
        import httpx
        import pytest
        from cio_middleware import track_event
        from cio_middleware.asgi import CustomerIOMiddleware
        from starlette.applications import Starlette
        from starlette.responses import JSONResponse
        from starlette.routing import Route

        @track_event("order_completed", attributes=["total"], person="ada")
        def complete(total):
            return total

        async def checkout(request):
            complete((await request.json())["total"])
            return JSONResponse({})

        def shop():
            app = Starlette(routes=[Route("/checkout", checkout, methods=["POST"])])
            app.add_middleware(CustomerIOMiddleware)
            return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop.example")

        async def test_checkout(acio_sandbox):
            async with shop() as browser:
                await browser.post("/checkout", json={"total": 42})
            event = await acio_sandbox.wait_for("order_completed", person="ada", data={"total": 42})
            assert event.attempts == 1
            await acio_sandbox.assert_not_tracked("order_failed", settle=0.01)

        def test_people(cio_sandbox, cio):
            cio.identify("ada", {"plan": "pro"})
            cio_sandbox.flush()
            assert cio_sandbox.people["ada"].attributes["plan"] == "pro"

        @pytest.mark.cio(faults=["503", "ack_lost", "ok*"], allow_problems=True)
        def test_retry_is_idempotent(cio_sandbox, cio):
            cio.track("paid", {"n": 1}, person="ada"); cio_sandbox.flush()
            assert cio_sandbox.count("paid") == 1 and cio_sandbox.duplicates("paid") == 1
        """
    ).assert_outcomes(passed=3)


def test_a_failure_shows_what_came_and_steers_no_terminal(run):
    """The text names what came closest, the report has the newest events, and no escape of an event's gets out."""
    result = run(
        r"""
        def test_it(cio_sandbox, cio):
            cio.track("order", {"total": "42"}, person="ada")
            cio.track("\x1b]0;owned\x07\x9b2J\u202eevil", person="ada")
            cio.identify("ada")
            cio.identify("ada", {"plan": "pro"})
            cio_sandbox.wait_for("order", person="ada", data={"total": 42})
        """,
        "--color=no",
        "--cio-sandbox-url=",
        ini="cio_timeout = 0.4",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([
        'E *No event matched within 0.4 s:  order  person=ada  data ⊇ {"total": 42}',
        "E *Closest (1 of 4 seen):",
        'E *  #1 order  ada  accepted_but   data.total: expected 42, got "42" (string)',
        "E *Also seen: #2 *⟨U+202E⟩evil ada, #3 identify ada, #4 identify ada",
        "E *Never sent: 0.   Watch it: pytest --cio-keep …",
        "*- cio sandbox -*",
        '*▲  #1  order  ada  accepted_but  200  {"total": "42"}*',
        "*⟨U+001B⟩]0;owned⟨U+0007⟩*",
        "*●  #4  identify  ada  accepted  200*",
    ])  # fmt: skip
    section = result.stdout.str().partition("- cio sandbox -")[2]
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", section)


def test_the_report_of_a_failure_has_the_newest_twenty(run):
    """Of many events, those near the failure are shown, and how many there were."""
    result = run(
        """
        def test_it(cio_memory, cio):
            for n in range(25):
                cio.track("tick", {"n": n}, person="ada")
            assert False
        """
    )
    result.stdout.fnmatch_lines(["*- cio sandbox -*", "the newest 20 of 25 events", "*#6 *", "*#25 *"])
    result.stdout.no_fnmatch_line("*#5 *")


def test_bad_events_fail_a_test_that_did_not_look_at_them(run):
    """Looking at them or allowing them passes; a warning fails with --cio-strict alone."""
    source = """
        import httpx
        import pytest

        def lose(sandbox):
            url = f"{sandbox.url}/api/v1/customers/ada/events"
            httpx.post(url, auth=(sandbox.site_id, "key"), json={"name": ""}, trust_env=False)

        def test_unseen(cio_sandbox):
            lose(cio_sandbox)

        def test_still_queued(cio_sandbox, cio):
            url = f"{cio_sandbox.url}/api/v1/customers/ada/suppress"
            httpx.post(url, auth=(cio_sandbox.site_id, "key"), trust_env=False)
            cio.track("paid", person="ada")

        @pytest.fixture
        def late(cio_sandbox):
            yield
            lose(cio_sandbox)

        def test_lost_while_it_ends(cio_sandbox, late):
            pass

        def test_looked(cio_sandbox):
            lose(cio_sandbox)
            (lost,) = cio_sandbox.bad
            assert lost.errors[0].message == "event name must not be blank"

        def test_waited(cio_sandbox):
            lose(cio_sandbox)
            assert cio_sandbox.wait_for(verdict="rejected")

        @pytest.mark.cio(allow_problems=True)
        def test_allowed(cio_sandbox):
            lose(cio_sandbox)

        def test_warned(cio_sandbox, cio):
            cio.track("Order Completed", person="ada")
        """
    result = run(source)
    result.assert_outcomes(passed=5, failed=2, errors=1)
    result.stdout.fnmatch_lines([
        "*- ERROR at teardown of test_lost_while_it_ends -*".replace("- ", "_ ").replace(" -", " _"),
        "1 event that this test did not look at was lost:",
        "  #1 event  ada  rejected",
        "     event name must not be blank. Give it a name.",
        "Expected? Look at cio_sandbox.bad in the test, or mark it: @pytest.mark.cio(allow_problems=True)",
    ])  # fmt: skip
    strict = run(source, "--cio-strict", "-k", "warned or looked")
    strict.assert_outcomes(passed=1, failed=1, deselected=5)
    strict.stdout.fnmatch_lines(["1 event that this test did not look at was lost or has warnings:"])


def test_a_failed_test_is_not_blamed_twice(run):
    """What a test did not get to look at, because it failed before, is in its report alone."""
    run(
        """
        import httpx

        def test_it(cio_sandbox):
            url = f"{cio_sandbox.url}/api/v1/customers/ada/events"
            httpx.post(url, auth=(cio_sandbox.site_id, "key"), json={"name": ""}, trust_env=False)
            assert False
        """
    ).assert_outcomes(failed=1)


def test_in_memory_no_socket_is_opened(run):
    """Events are judged when `track` returns, people are known, and a fault that could prove nothing is refused."""
    run(
        """
        import socket
        import pytest
        import cio_middleware

        @pytest.fixture(autouse=True)
        def no_network(monkeypatch):
            def refuse(*_):
                raise AssertionError("a socket was used")
            for name in ("connect", "connect_ex", "bind"):
                monkeypatch.setattr(socket.socket, name, refuse)

        def test_it(cio_memory, cio):
            cio_middleware.identify("ada", {"plan": "pro"})
            cio_middleware.track("paid", {"total": 42}, person="ada")
            assert cio_memory.assert_tracked("paid", data={"total": 42}, times=1).verdict == "accepted"
            assert cio_memory.people["ada"].attributes["plan"] == "pro"
            assert cio_memory.bad == []
            assert cio.stats().balanced

        async def test_on_a_loop(cio_memory, cio):
            await cio.atrack("paid", person="ada")
            cio.track("paid", person="bob")
            assert cio_memory.count("paid") == 2
            cio_memory.assert_not_tracked("refunded", settle=0)

        def test_workspaces_are_apart(cio_memory):
            assert cio_memory.events() == []

        def test_faults(cio_memory):
            with pytest.raises(RuntimeError, match="Use the fixture cio_sandbox"):
                cio_memory.faults.script(["503"])

        def test_time(cio_memory, cio):
            with cio_memory.freeze_time(1_800_000_000):
                cio.track("paid", person="ada")
            cio.track("paid", person="ada")
            frozen, free = cio_memory.events("paid")
            assert frozen.timestamp == frozen.received_at == 1_800_000_000
            assert free.timestamp != 1_800_000_000
        """
    ).assert_outcomes(passed=5)


def test_a_run_that_asks_for_nothing_pays_nothing(run):
    """No server is started, no thread either, and no HTTP library or framework is imported."""
    run(
        """
        import sys
        import threading

        def test_it():
            assert "cio_middleware.pytest_plugin" in sys.modules
            heavy = {"starlette", "uvicorn", "httpx", "cio_middleware.testing", "cio_middleware.sandbox"}
            assert not heavy & set(sys.modules)
            assert threading.active_count() == 1
        """
    ).assert_outcomes(passed=1)


def test_the_surroundings_are_as_before(run):
    """The default client and the environment lead to the workspace during the test, and nowhere after it."""
    run(
        """
        import os
        import cio_middleware
        from cio_middleware import Client, _default

        mine = Client(cio_middleware.Settings(site_id="mine", api_key="key", backend="null"))
        os.environ["CUSTOMERIO_SITE_ID"] = "mine"
        cio_middleware.configure(mine)

        def test_inside(cio_sandbox, cio):
            assert cio_middleware.get_client() is cio
            assert os.environ["CUSTOMERIO_BASE_URL"] == cio_sandbox.url
            with Client.from_env() as other:
                cio_sandbox.attach(other)
                other.track("paid", person="ada")
                cio_sandbox.assert_tracked("paid")

        def test_after():
            assert cio_middleware.get_client() is mine
            assert os.environ["CUSTOMERIO_SITE_ID"] == "mine"
            assert "CUSTOMERIO_BASE_URL" not in os.environ
        """
    ).assert_outcomes(passed=2)


def test_mistakes_say_what_to_type(run):
    """A marker with something else, a timeout that is none, and a sandbox that does not answer."""
    marked = run(
        """
        import pytest

        @pytest.mark.cio("503")
        def test_it(cio_sandbox):
            pass
        """
    )
    marked.assert_outcomes(errors=1)
    marked.stdout.fnmatch_lines(["*the marker takes names only: @pytest.mark.cio(faults=*"])
    source = "def test_it(cio_sandbox): pass"
    run(source, ini="cio_timeout = soon").stdout.fnmatch_lines(["*cio_timeout is 'soon'. Type seconds from 0 to 60*"])
    gone = run(source, "--cio-sandbox-url=http://127.0.0.1:9")
    gone.stdout.fnmatch_lines(["*no sandbox answers at http://127.0.0.1:9*Is it running? cio-middleware sandbox*"])


def test_an_outage_of_the_test_s_own_is_no_problem(run):
    """A test may stop the sandbox; its end asks no sandbox that is gone, and the next test has one again."""
    run(
        """
        def test_outage(cio_sandbox, cio):
            cio_sandbox.stop()
            cio.track("paid", person="ada")
            cio_sandbox.start()
            cio_sandbox.wait_for("paid", timeout=5)
            cio_sandbox.stop()

        def test_after(cio_sandbox_server):
            cio_sandbox_server.start()
            assert cio_sandbox_server.summary()["total"] == 0
        """
    ).assert_outcomes(passed=2)
