"""The sandbox's own API: looking changes nothing, changing needs a header, and web pages are kept out."""

from __future__ import annotations

import re

import pytest

from cio_middleware.testing import Sandbox

ROOT = "/_sandbox/v1"
LOOKS = [
    "/health",
    "/info",
    "/summary",
    "/events",
    "/events/1",
    "/good",
    "/bad",
    "/people",
    "/people/ada",
    "/objects",
    "/requests",
    "/faults",
    "/events/999",
    "/people/nobody",
    "/reset",
    "/wait",
    "/nothing",
]


@pytest.fixture(name="track")
def _track(web):
    def track(sandbox, name="order", person="ada", **members):
        """Send one event by v1."""
        body = {"name": name, **members}
        url = f"{sandbox.url}/api/v1/customers/{person}/events"
        return web.post(url, json=body, auth=(sandbox.site_id, "key"))

    return track


@pytest.fixture(name="look")
def _look(web):
    def look(sandbox, path, **params):
        """Return what a GET shows."""
        reply = web.get(f"{sandbox.url}{ROOT}{path}", params={"workspace": sandbox.site_id, **params})
        return reply.json()

    return look


@pytest.fixture(name="export")
def _export(look):
    def export(sandbox):
        """Return everything there is to see, without what a clock moves."""
        shown = {
            path: look(sandbox, path)
            for path in ("/info", "/summary", "/events", "/people", "/objects", "/requests", "/faults")
        }
        shown["/info"].pop("uptime_s", None)
        return shown

    return export


@pytest.mark.parametrize("path", ["/", "/_sandbox", "/_sandbox/"])
def test_a_browser_that_looks_around_is_told_what_there_is(own_sandbox, path, web):
    """Plain text, until there is a page: what to export, and addresses that answer."""
    reply = web.get(f"{own_sandbox.url}{path}")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert f"export CUSTOMERIO_BASE_URL={own_sandbox.url}\n" in reply.text
    addresses = re.findall(r"http://\S+/_sandbox/v1/\w+", reply.text)
    assert len(addresses) == 6
    assert {web.get(address).status_code for address in addresses} == {200}
    assert web.get(f"{own_sandbox.url}/favicon.ico").status_code == 404


def test_looking_changes_nothing(own_sandbox, track, export, web):
    """The state before and after every GET, also at a workspace that does not exist, is the same."""
    track(own_sandbox)
    own_sandbox.faults.rule(when={"mode": "chance", "p": 0.5}, do={"type": "status"})
    before = export(own_sandbox)

    for path in LOOKS:
        for workspace in ("dev", "nowhere"):
            web.get(f"{own_sandbox.url}{ROOT}{path}", params={"workspace": workspace})
    for path in ("/", "/favicon.ico", "/_sandbox", "/_sandbox/"):
        web.get(f"{own_sandbox.url}{path}")

    assert export(own_sandbox) == before
    assert before["/info"]["workspaces"] == ["dev"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/reset"),
        ("POST", "/wait"),
        ("POST", "/faults"),
        ("DELETE", "/faults"),
        ("PUT", "/faults/script"),
        ("PUT", "/faults/a"),
        ("DELETE", "/faults/a"),
    ],
)
def test_a_change_needs_the_header(sandbox, method, path, track, web):
    """Without it the answer is 403 and says what to type."""
    track(sandbox)
    reply = web.request(method, f"{sandbox.url}{ROOT}{path}", params={"workspace": sandbox.site_id})
    assert reply.status_code == 403
    assert reply.json()["error"]["fix"] == "Add the header X-Cio-Sandbox: 1"
    assert len(sandbox.events()) == 1


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:9", 200),
        ("localhost", 200),
        ("LOCALHOST:80", 200),
        ("[::1]", 200),
        ("[::1]:8246", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example:80", 421),
        ("127.0.0.1:x", 421),
        ("::1", 421),
        ("127.0.0.2", 421),
        ("", 421),
        ("user@localhost", 421),
        ("localhost:80:80", 421),
    ],
)
@pytest.mark.parametrize("path", ["/_sandbox/v1/health", "/api/v1/accounts/region"])
def test_only_loopback_names_are_answered(sandbox, http, host, status, path):
    """The name must fit exactly, which stops a name that an attacker points at this machine."""
    reply = http.get(path, headers={"Host": host})
    assert reply.status_code == status
    if status == 421:
        assert reply.json()["error"]["code"] == "CIO-SBX-001"
        assert "Open http://127.0.0.1:" in reply.json()["error"]["fix"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
    ids=str,
)
def test_a_foreign_page_is_refused(sandbox, http, headers):
    """No event is stored, and nothing is shown."""
    assert http.put("/api/v1/customers/ada", json={}, headers=headers).status_code == 403
    assert http.get(f"{ROOT}/events", headers=headers).status_code == 403
    assert sandbox.events() == []


def test_the_sandboxs_own_page_may_call(sandbox, http):
    """Its origin is the one by which it was reached."""
    assert http.get(f"{ROOT}/health", headers={"Origin": sandbox.url}).status_code == 200


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"name": "order"}, [1, 4]),
        ({"name": "o*"}, [1, 4]),
        ({"person": "bob"}, [3, 4]),
        ({"kind": "page"}, [2]),
        ({"verdict": "rejected"}, [5]),
        ({"verdict": "accepted_but"}, [1, 2, 3, 4]),
        ({"good": "false"}, [5]),
        ({"since": 3}, [4, 5]),
        ({"before": 3}, [1, 2]),
        ({"limit": 2}, [4, 5]),
        ({"name": "order", "person": "ada"}, [1]),
    ],
    ids=str,
)
def test_events_are_filtered(sandbox, filters, found, track, look):
    """Each filter narrows, newest first."""
    track(sandbox)
    track(sandbox, "/home", type="page")
    track(sandbox, "login", "bob")
    track(sandbox, "order", "bob")
    track(sandbox, "x" * 101)
    assert [row["seq"] for row in look(sandbox, "/events", **filters)["items"]] == found[::-1]


def test_pages_follow_each_other(sandbox, track, look):
    """`next` leads to the rows before, and the last page has none."""
    for number in range(5):
        track(sandbox, f"n{number}")
    first = look(sandbox, "/events", limit=3)
    second = look(sandbox, "/events", limit=3, before=first["next"])
    assert [row["name"] for row in first["items"] + second["items"]] == ["n4", "n3", "n2", "n1", "n0"]
    assert (second["next"], first["cursor"]) == (None, 5)


@pytest.mark.parametrize("query", ["title=x", "verdict=lost", "limit=many", "since=-1"])
def test_a_filter_that_is_not_known_is_refused(sandbox, query, web):
    """A typing mistake must not look like an empty list."""
    reply = web.get(f"{sandbox.url}{ROOT}/events?{query}")
    assert reply.status_code == 400
    assert "Known: " in reply.text or "Type a whole number" in reply.text


def test_one_event_shows_what_was_sent(sandbox, track, look):
    """The list leaves it out, the single view has it."""
    track(sandbox, data={"total": 42, "context": {"page": {"path": "/x"}}})
    shown = look(sandbox, "/events/1")
    assert shown["sent"] == {"name": "order", "data": {"total": 42, "context": {"page": {"path": "/x"}}}}
    assert shown["context"] is None, "where it came from is not in what was sent"
    assert look(sandbox, "/events")["items"][0]["context"] == {"page": {"path": "/x"}}
    assert shown["warnings"][0]["fix"]


def test_the_summary_counts_by_verdict_and_by_name(sandbox, track, look):
    """Counters are exact, also for what is no longer shown."""
    track(sandbox)
    track(sandbox, "x" * 101)
    summary = look(sandbox, "/summary")
    assert (summary["total"], summary["good"], summary["bad"], summary["requests"]) == (2, 1, 1, 2)
    assert summary["by_name"]["order"] == {"accepted_but": 1}


def test_a_reset_forgets_and_goes_on_counting(sandbox, track):
    """Faults are put away, and an old cursor never points at a new event."""
    track(sandbox)
    cursor = sandbox.cursor
    sandbox.faults.script(["503*"])
    sandbox.reset()

    assert (sandbox.events(), list(sandbox.people), sandbox.requests()) == ([], [], [])
    assert track(sandbox, "later").status_code == 200
    assert [row.name for row in sandbox.events(since=cursor)] == ["later"]


def test_the_ring_keeps_the_newest_and_counts_all(track):
    """What had to go is counted as evicted, and totals still have it."""
    with Sandbox.running(keep=3) as sandbox:
        for number in range(5):
            track(sandbox, f"n{number}")
        assert [row.name for row in sandbox.events()] == ["n2", "n3", "n4"]
        assert len(sandbox.requests()) == 3
        summary = sandbox.summary()
        assert (summary["total"], summary["kept"], summary["evicted"]) == (5, 3, 2)
        assert sandbox.count("n0") == 1


def test_workspaces_share_nothing(own_sandbox, track, web):
    """One site id sees nothing of another, and without a name the only one is meant, or else `dev`."""
    with own_sandbox.workspace("other") as other:
        track(other)
        assert web.get(f"{own_sandbox.url}{ROOT}/summary").json()["workspace"] == "other"
        track(own_sandbox, "mine")
        assert web.get(f"{own_sandbox.url}{ROOT}/summary").json()["workspace"] == "dev"

        other.reset()
        assert [row.name for row in own_sandbox.events()] == ["mine"]
        assert "ada" not in other.people


def test_info_says_how_to_reach_it(sandbox, look):
    """The environment to paste points at this server."""
    info = look(sandbox, "/info")
    assert info["environment"]["CUSTOMERIO_BASE_URL"] == info["url"] == sandbox.url
    assert info["limits"] == {"item_bytes": 32_000, "batch_bytes": 500_000}


@pytest.mark.parametrize(
    ("path", "query", "found"),
    [
        ("/events", "name:ORDER*", [1, 4]),
        ("/events", "-name:order data.total:>40", [2]),
        ("/events", 'person:bob "order"', [4]),
        ("/events", "is:rejected since:1m", [5]),
        ("/good", "person:bob", [3, 4]),
        ("/bad", "code:*", [5]),
        ("/bad", "person:ada", [5]),
        ("/events", "", [1, 2, 3, 4, 5]),
    ],
)
def test_events_are_searched(sandbox, path, query, found, track, look):
    """`q` is the language of the filter box, on all three lists."""
    track(sandbox)
    track(sandbox, "/home", type="page", data={"total": 42})
    track(sandbox, "login", "bob")
    track(sandbox, "order", "bob")
    track(sandbox, "x" * 101)
    assert [row["seq"] for row in look(sandbox, path, q=query)["items"]] == found[::-1]


def test_a_search_that_finds_nothing_says_which_term_did_not(sandbox, track, look, web):
    """Each term alone, so that one sees which to drop; and a mistyped key is refused with the nearest."""
    track(sandbox)
    track(sandbox, "login", "bob")
    empty = look(sandbox, "/events", q="name:order person:bob")
    assert empty["items"] == []
    assert empty["term_counts"] == [{"term": "name:order", "matches": 1}, {"term": "person:bob", "matches": 1}]
    assert "term_counts" not in look(sandbox, "/events", q="name:order")
    assert "term_counts" not in look(sandbox, "/bad")

    refused = web.get(f"{sandbox.url}{ROOT}/events", params={"q": "naem:order"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "CIO-SBX-005")
    assert "Did you mean name:order_*?" in refused.json()["error"]["message"]


def test_the_differences_from_the_real_one_are_listed(sandbox, web):
    """Each with what holds here, the other sides, a sentence, a source and how sure it is."""
    items = web.get(f"{sandbox.url}/_sandbox/v1/differences").json()["items"]
    (kilobyte,) = [item for item in items if item["key"] == "kilobyte"]
    assert set(kilobyte) == {"key", "value", "default", "alternatives", "sentence", "source", "sure"}
    assert (kilobyte["value"], kilobyte["alternatives"]) == (1000, [1024])
