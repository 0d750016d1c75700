"""What a test does with the handle: assert, wait for several, filter, export, stop the clock."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from cio_middleware.testing.clock import seconds_of


def test_what_was_tracked_is_asserted_without_waiting(cio_sandbox, cio):
    """The queue is flushed first; how often may be said, and a miss says what came closest."""
    cio.track("paid", {"total": 42}, person="ada")
    assert cio_sandbox.assert_tracked("paid", person="ada", data={"total": {"$gt": 40}}, times=1).data["total"] == 42
    with pytest.raises(AssertionError, match="expected exactly=2"):
        cio_sandbox.assert_tracked("paid", times=2)
    with pytest.raises(AssertionError, match=r'person: expected "bob", got "ada"'):
        cio_sandbox.assert_tracked("paid", person="bob")


def test_several_are_waited_for_in_any_order(cio_sandbox, cio):
    """Each is returned in the order of the question, and the first that is missing is named."""
    cio.track("paid", person="ada")
    cio.track("shipped", person="bob")
    shipped, paid = cio_sandbox.wait_for_all({"name": "shipped", "person": "bob"}, "paid")
    assert (shipped.name, paid.name) == ("shipped", "paid")
    with pytest.raises(AssertionError, match=r"No event matched within 0.\d s:  returned"):
        cio_sandbox.wait_for_all("paid", "returned", timeout=0.1)


def test_a_filter_of_the_page_lists_events(cio_sandbox, cio):
    """`q=` takes what the page's box takes."""
    for total in (1, 200):
        cio.track("order_placed", {"total": total}, person="ada")
    cio_sandbox.flush()
    assert [event.data["total"] for event in cio_sandbox.events(q="name:order_* data.total:>100")] == [200]


def test_a_workspace_is_exported_for_a_bug_report(cio_sandbox, cio, tmp_path):
    """The file is NDJSON with what arrived, and without the key."""
    cio.track("paid", person="ada")
    cio_sandbox.flush()
    size = cio_sandbox.export(tmp_path / "capture.ndjson")
    text = (tmp_path / "capture.ndjson").read_text("utf-8")
    assert size == len(text.encode())
    assert [json.loads(line)["event"]["name"] for line in text.splitlines() if '"type":"event"' in line] == ["paid"]
    assert "dev-key" not in text


def test_the_clock_stops_for_the_workspace_and_its_client(cio_sandbox, cio, sandbox_server):
    """Events are captured and received at that time, other workspaces go on, and so does this one after the block."""
    at = datetime(2030, 1, 1, tzinfo=UTC)
    with cio_sandbox.freeze_time(at):
        cio.track("paid", person="ada")
        paid = cio_sandbox.wait_for("paid")
        assert paid.timestamp == paid.received_at == at.timestamp() == seconds_of(at)
    cio.track("shipped", person="ada")
    assert cio_sandbox.wait_for("shipped").received_at < at.timestamp()
    with pytest.raises(ValueError, match="no time zone"):
        cio_sandbox.freeze_time(datetime(2030, 1, 1))  # noqa: DTZ001 - that is what is wrong with it


@pytest.mark.parametrize("at", ["soon", True, -1], ids=str)
def test_a_clock_takes_seconds_alone(cio_sandbox, at):
    """Anything else is refused with what to type, and the clock goes on."""
    with pytest.raises(ValueError, match="Type Unix seconds, or null"):
        cio_sandbox._call("PUT", "/clock", json={"at": at})


def test_the_environment_leads_an_app_here(cio_sandbox, cio):
    """`env` is what another process needs; the pace of a test is in it."""
    assert cio_sandbox.env == {
        "CUSTOMERIO_SITE_ID": cio_sandbox.site_id,
        "CUSTOMERIO_API_KEY": "dev-key",
        "CUSTOMERIO_BASE_URL": cio_sandbox.url,
        "CUSTOMERIO_FLUSH_INTERVAL": "0.05",
        "CUSTOMERIO_RETRY_BASE": "0.05",
    }


@pytest.mark.cio(faults=["503*"], allow_problems=True)
def test_a_flush_says_when_something_is_left(cio_sandbox, cio):
    """It is not settled, and the caller learns it in the time that it gave."""
    cio.track("paid", person="ada")
    assert not cio_sandbox.flush(0.05)
    cio_sandbox.faults.clear()
    assert cio_sandbox.flush(10)
