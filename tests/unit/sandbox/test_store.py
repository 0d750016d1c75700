"""What a workspace keeps has an end, and so has the number of workspaces; the oldest goes first."""

from __future__ import annotations

import json

import pytest

from cio_middleware.sandbox.access import Credentials
from cio_middleware.sandbox.emulator import Call, Emulator
from cio_middleware.sandbox.faultspec import script
from cio_middleware.sandbox.ledger import OTHER_NAMES
from cio_middleware.sandbox.store import Capacity, Full, House, Workspaces

ULIDS = [f"01ARZ3NDEKTSV4RRFFQ69G5FA{last}" for last in "VWXYZ"]

DEV = Credentials("basic", "dev", password=True)


@pytest.fixture(name="post")
def _post():
    def post(workspaces, path, body, site="dev"):
        """Send one call, and return the workspace."""
        call = Call(
            "POST",
            path.encode(),
            {},
            "",
            (),
            body.encode(),
            Credentials("basic", site, password=True),
            "http://sandbox",
            1.0,
        )
        plan = Emulator(workspaces).plan(call)
        Emulator(workspaces).carry_out(plan)
        return plan.workspace

    return post


@pytest.fixture(name="track")
def _track(post):
    def track(workspaces, person="ada", name="order", event_id=""):
        """Send one event."""
        said = f', "id": "{event_id}"' if event_id else ""
        return post(workspaces, f"/api/v1/customers/{person}/events", f'{{"name": "{name}"{said}}}')

    return track


def house(**capacity):
    """Return workspaces with so little room."""
    return Workspaces(House(capacity=Capacity(**capacity)))


def test_the_numbers_are_those_that_are_documented():
    """A million ids by which repeats are known, and a thousand workspaces."""
    room = Capacity()
    assert (room.events, room.size, room.ids, room.workspaces) == (5000, 64 * 1024 * 1024, 1_000_000, 1000)


@pytest.mark.parametrize(("others", "verdict"), [(2, "duplicate"), (3, "accepted_but")])
def test_a_repeat_is_known_as_long_as_its_id_is(track, others, verdict):
    """With room for three ids, two others leave it and the third pushes it out."""
    workspaces = house(ids=3)
    for event_id in (*ULIDS[: others + 1], ULIDS[0]):
        workspace = track(workspaces, event_id=event_id)
    assert [row.verdict for row in workspace.events][-1] == verdict


def test_tries_are_forgotten_oldest_first(track):
    """Of the operation, and of each operation."""
    workspaces = house(tries=2, statuses=3)
    for event_id in (*[ULIDS[0]] * 4, *ULIDS[1:3], ULIDS[0]):
        workspace = track(workspaces, event_id=event_id)
    assert [len(row.statuses) for row in workspace.events] == [1, 2, 3, 3, 1, 1, 1]


def test_a_timeline_keeps_its_newest(track):
    """Each person has one of their own, also after a merge."""
    workspaces = house(moments=2)
    for person, name in (("ada", "a"), ("bob", "b"), ("ada", "c"), ("ada", "d")):
        workspace = track(workspaces, person, name)
    ada, bob = (workspace.people.called(name) for name in ("ada", "bob"))
    assert [[moment.name for moment in person.moments] for person in (ada, bob)] == [["c", "d"], ["b"]]
    workspace.people.absorb(bob, ada)
    assert [moment.name for moment in bob.moments] == ["c", "d"]


def test_the_oldest_profiles_go_first(track, post):
    """What went is counted; objects and suppressions have the same room."""
    workspaces = house(people=2)
    for name in ("ada", "bob", "carol"):
        workspace = track(workspaces, name)
        thing = f'{{"object_type_id": "1", "object_id": "{name}"}}'
        post(workspaces, "/api/v2/entity", f'{{"type": "object", "action": "identify", "identifiers": {thing}}}')
    assert [person.key for person in workspace.people] == ["bob", "carol"]
    assert workspace.people.called("ada") is None
    assert list(workspace.objects) == [("1", "bob"), ("1", "carol")]
    assert workspace.summary()["people_evicted"] == 1

    for name in ("x", "y", "z"):
        post(workspaces, f"/api/v1/customers/{name}/suppress", "")
    assert [workspace.people.suppressed("id", name) for name in "xyz"] == [False, True, True]


def test_names_beyond_the_room_are_counted_together(track):
    """Totals stay exact."""
    workspaces = house(names=2)
    for name in ("a", "b", "c", "d", "a"):
        workspace = track(workspaces, name=name)
    counts = {name: counter.total() for name, counter in workspace.ledger.names.items()}
    assert counts == {"a": 2, "b": 1, OTHER_NAMES: 2}


def test_one_workspace_too_many_is_refused_and_an_empty_one_gives_way(track, post):
    """One with a request or a fault stays, and what was reset is empty."""
    workspaces = house(workspaces=2)
    workspace = track(workspaces)
    workspaces.open("other").faults.play(script(["503"]))
    with pytest.raises(Full, match="has 2 workspaces"):
        post(workspaces, "/api/v2/batch", "{}", site="third")
    assert track(workspaces) is workspace

    workspace.reset()
    post(workspaces, "/api/v2/batch", "{}", site="third")
    assert [known.name for known in workspaces] == ["other", "third"]


@pytest.mark.parametrize("token", [[], "another", None])
def test_a_device_of_v1_is_known_by_its_id(token):
    """Whatever else its object holds: a `token` is v2's word, and nothing here."""
    workspaces = house()
    body = json.dumps({"device": {"id": "abc", "token": token, "platform": "ios"}})
    path = b"/api/v1/customers/ada/devices"
    plan = Emulator(workspaces).plan(Call("PUT", path, {}, "", (), body.encode(), DEV, "http://sandbox", 1.0))
    assert Emulator(workspaces).carry_out(plan).status == 200
    person = plan.workspace.people.find("id", "ada")
    assert person is not None
    assert list(person.devices) == ["abc"]
