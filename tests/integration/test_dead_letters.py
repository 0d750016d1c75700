"""What Customer.io refused: listed, exported, sent again and dropped, whatever kept it."""

from __future__ import annotations

import json
import stat

import pytest

from cio_middleware import DropReason


@pytest.fixture(name="settings", params=["memory", "spool", "direct"])
def _settings(request, tmp_path):
    """Where letters may be kept."""
    if request.param == "direct":
        return {"backend": "direct"}
    return {"queue": request.param} | ({"spool_dir": str(tmp_path / "spool")} if request.param == "spool" else {})


@pytest.fixture(name="refused")
def _refused(make_client, sandbox, settings, eventually):
    """A client with three dead letters, and their ids."""
    client = make_client(**settings)
    sandbox.faults.script(["400*"])
    ids = [client.track("step", {"n": n}, person="ada") for n in range(3)]
    assert client.flush(5)
    eventually(lambda: len(client.dead_letters) == 3)
    sandbox.faults.clear()
    return client, ids


def test_a_letter_says_why_and_when(make_client, sandbox, settings):
    """Customer.io's reason, field and message are kept apart, as it gave them, with the time."""
    client = make_client(**settings)
    sandbox.faults.script(["partial=0", "ok*"])
    event_id = client.track("step", person="ada")
    assert client.flush(5)
    (letter,) = client.dead_letters
    assert letter.envelope.event_id == event_id
    assert all((letter.why.reason, letter.why.message))
    assert letter.why.text.startswith(letter.why.reason)
    assert letter.refused_at >= letter.envelope.captured_at
    assert json.loads(letter.item)["name"] == "step"


def test_the_log_says_what_to_type_to_see_it(make_client, sandbox, settings, caplog):
    """A line for the first of them names the event, and the attribute of the client that has the reason."""
    client = make_client(**settings)
    sandbox.faults.script(["partial=0", "ok*"])
    event_id = client.track("step", person="ada")
    assert client.flush(5)
    assert f"Customer.io refused event {event_id}: client.dead_letters says why" in caplog.text


def test_letters_are_listed_in_their_order_and_shown_by_their_number(refused):
    """The collection is what it seems to be; its repr tells no more than how many there are."""
    client, ids = refused
    assert [letter.envelope.event_id for letter in client.dead_letters] == ids
    assert next(iter(client.dead_letters)) in client.dead_letters
    assert "nothing" not in client.dead_letters
    assert repr(client.dead_letters) == "DeadLetters(3)"


def test_an_export_is_a_line_of_json_for_each_and_private(refused, tmp_path):
    """Another program can read it, another user cannot, and a file that exists is not written over."""
    client, ids = refused
    path = tmp_path / "letters.jsonl"
    assert client.dead_letters.export(path, ids[:2]) == 2
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [row["event_id"] for row in rows] == ids[:2]
    assert [row["item"]["attributes"]["n"] for row in rows] == [0, 1]
    assert set(rows[0]) == {"event_id", "kind", "captured_at", "refused_at", "reason", "field", "message", "item"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        client.dead_letters.export(path)


def test_a_replay_sends_the_same_events_once_more(refused, sandbox):
    """They arrive with their ids, are letters no longer, and the sum comes out even."""
    client, ids = refused
    assert client.dead_letters.replay() == 3
    assert client.flush(5)
    assert [event.event_id for event in sandbox.good] == ids
    assert len(client.dead_letters) == 0
    stats = client.stats()
    assert stats.balanced
    assert (stats.dead_lettered, stats.replayed, stats.delivered, stats.pending) == (3, 3, 3, 0)


def test_a_single_id_may_be_named_by_itself(refused, sandbox):
    """A string is one id and not its letters."""
    client, ids = refused
    assert client.dead_letters.replay(ids[1]) == 1
    assert client.flush(5)
    assert [event.event_id for event in sandbox.good] == [ids[1]]
    assert client.dead_letters.drop(ids[0]) == 1
    assert [letter.envelope.event_id for letter in client.dead_letters] == [ids[2]]


def test_what_is_refused_again_is_a_letter_again(refused, sandbox, eventually):
    """No letter is lost by trying, and none is there twice."""
    client, ids = refused
    sandbox.faults.script(["400*"])
    assert client.dead_letters.replay() == 3
    assert client.flush(5)
    eventually(lambda: sorted(letter.envelope.event_id for letter in client.dead_letters) == sorted(ids))
    stats = client.stats()
    assert stats.balanced
    assert (stats.dead_lettered, stats.replayed) == (6, 3)


def test_a_letter_that_cannot_be_sent_stays(make_client, sandbox):
    """After `close` nothing is taken: the letter is still there, and the attempt is counted."""
    sandbox.faults.script(["400"])
    client = make_client()
    client.track("step", person="ada")
    client.close()
    assert client.dead_letters.replay() == 0
    assert len(client.dead_letters) == 1
    stats = client.stats()
    assert (stats.replayed, stats.dropped, stats.balanced) == (1, {DropReason.CLOSED: 1}, True)


def test_dropped_letters_are_gone_for_good(refused):
    """All of them, when none is named; what was refused stays counted as that."""
    client, _ = refused
    assert client.dead_letters.drop() == 3
    assert (len(client.dead_letters), client.dead_letters.drop()) == (0, 0)
    stats = client.stats()
    assert (stats.dead_lettered, stats.balanced) == (3, True)


def test_letters_on_a_spool_outlive_their_process(make_client, sandbox, tmp_path):
    """Whoever opens the same folder sees them, and may send them again; a queue that is full takes none."""
    settings = {"queue": "spool", "spool_dir": str(tmp_path / "spool")}
    sandbox.faults.script(["400*"])
    first = make_client(**settings)
    event_id = first.track("step", person="ada")
    first.close()
    sandbox.faults.clear()

    second = make_client(**settings)
    assert [letter.envelope.event_id for letter in second.dead_letters] == [event_id]
    assert second.dead_letters.replay() == 1
    assert second.flush(5)
    assert sandbox.count("step") == 1
    assert len(second.dead_letters) == 0


def test_a_full_queue_takes_no_replay(make_client, sandbox):
    """The letter stays where it is, and the attempt is a drop like any other."""
    sandbox.faults.script(["400", "503*"])
    client = make_client(max_queue_events=1, flush_interval=3600.0, flush_at=1)
    refused = client.track("step", person="ada")
    assert client.flush(5)
    client.track("waits", person="ada")
    assert client.dead_letters.replay() == 0
    assert [letter.envelope.event_id for letter in client.dead_letters] == [refused]
    assert client.stats().dropped[DropReason.QUEUE_FULL] == 1
    sandbox.faults.clear()
