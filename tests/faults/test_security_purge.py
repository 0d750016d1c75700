"""S30: who asked to be forgotten is not sent, wherever the event waits."""

from __future__ import annotations

import httpx
import pytest

import cio_middleware as cio
from cio_middleware import DropReason


def spool(tmp_path) -> dict[str, str]:
    """The settings of a spool."""
    return {"queue": "spool", "spool_dir": str(tmp_path / "spool")}


@pytest.fixture(name="settings", params=["memory", "spool"])
def _settings(request, tmp_path):
    return spool(tmp_path) if request.param == "spool" else {}


@pytest.mark.parametrize(
    ("about", "named"),
    [
        ({"person": "eve"}, {"person": "eve"}),
        ({"person": cio.Identity(email="eve@example.com")}, {"person": cio.Identity(email="eve@example.com")}),
        ({"person": 'e"},"v}'}, {"person": 'e"},"v}'}),
        ({"person": "e},"}, {"person": "e},"}),
        ({"person": 'e\\"},\\'}, {"person": 'e\\"},\\'}),
        ({"anonymous_id": "browser-1"}, {"anonymous_id": "browser-1"}),
        ({"anonymous_id": "b},"}, {"anonymous_id": "b},"}),
    ],
    ids=["id", "email", "odd", "ends like an object", "escapes", "anonymous", "anonymous, ends like an object"],
)
def test_s30_what_waits_for_somebody_purged_is_not_sent(make_client, sandbox, settings, about, named):
    """Their events are dropped and counted, everybody else's arrive, and what they do later is sent again."""
    client = make_client(**settings, flush_interval=3600.0)
    for n in range(3):
        client.track("step", {"n": n}, **about)
        client.track("step", {"n": n}, person="ada")
    client.purge(**named)
    assert client.flush(5)
    assert sorted(event.data["n"] for event in sandbox.good) == [0, 1, 2]
    assert {event.person for event in sandbox.good} == {"ada"}
    assert client.stats().dropped == {DropReason.PURGED: 3}
    client.track("later", **about)
    assert client.flush(5)
    assert sandbox.count("later") == 1
    assert client.stats().balanced


def test_s30_a_batch_that_is_tried_again_leaves_them_out(make_client, sandbox, settings, eventually):
    """Also what is under way, from the next attempt on."""
    sandbox.faults.script(["503*"])
    client = make_client(**settings, retry_cap=0.05)
    client.track("step", person="eve")
    client.track("step", person="ada")
    eventually(lambda: client.stats().requests > 1)
    client.purge("eve")
    requests = client.stats().requests
    eventually(lambda: client.stats().requests > requests + 1)
    sandbox.faults.clear()
    assert client.flush(5)
    assert [event.person for event in sandbox.good] == ["ada"]
    assert client.stats().dropped == {DropReason.PURGED: 1}


def test_s30_a_later_process_knows_of_it(make_client, sandbox, tmp_path, eventually):
    """What a process left on its spool is not sent by the one that takes it over."""
    sandbox.faults.script(["503*"])
    first = make_client(**spool(tmp_path))
    first.track("step", person="eve")
    first.track("step", person="ada")
    first.purge("eve")
    first.close(0.0)
    sandbox.faults.clear()

    second = make_client(**spool(tmp_path))
    second.track("other", person="ada")
    eventually(lambda: second.stats().dropped == {DropReason.PURGED: 1})
    eventually(lambda: len(sandbox.good) == 2)
    assert {event.person for event in sandbox.good} == {"ada"}


def test_s30_dead_letters_are_forgotten(make_client, sandbox, settings):
    """What Customer.io refused is kept for nobody who asked to be forgotten."""
    sandbox.faults.script(["400*"])
    client = make_client(**settings)
    client.track("step", person="eve")
    kept = client.track("step", person="ada")
    assert client.flush(5)
    client.purge("eve")
    assert [letter.envelope.event_id for letter in client.dead_letters] == [kept]
    sandbox.faults.clear()


def test_s30_what_is_refused_after_it_leaves_no_dead_letter(make_client, settings):
    """A request that was under way is refused: of somebody who was purged meanwhile no dead letter is made."""
    clients: list[cio.Client] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        clients[0].purge("eve")
        return httpx.Response(400, request=request)

    with httpx.Client(transport=httpx.MockTransport(refuse)) as http_client:
        clients.append(make_client(**settings, client_options={"http_client": http_client}))
        clients[0].track("step", person="eve")
        assert clients[0].flush(5)
        assert len(clients[0].dead_letters) == 0
        assert clients[0].close().dropped == {DropReason.PURGED: 1}
        assert clients[0].stats().balanced


def test_s30_the_disk_holds_no_name_of_theirs(make_client, sandbox, tmp_path):
    """Who is not to be remembered is not remembered by a list of them."""
    client = make_client(**spool(tmp_path))
    client.track("step", person="ada")
    client.purge("canary-eve")
    assert client.flush(5)
    files = [path for path in (tmp_path / "spool").rglob("*") if path.is_file()]
    assert any(path.name == "purged.seg" for path in files)
    assert not any(b"canary" in path.read_bytes() for path in files)


def test_s30_purging_nobody_is_an_error(client):
    """A call that names nobody, or two, would leave somebody in doubt."""
    for named in ({}, {"person": "eve", "anonymous_id": "b"}):
        with pytest.raises(cio.InvalidEvent, match="takes a person, or an anonymous_id"):
            client.purge(**named)
