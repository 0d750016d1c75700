"""What a workspace remembers to give advice, through its own door: calls go in, warnings come out."""

from __future__ import annotations

import json

import pytest

from cio_middleware.exceptions import ConfigurationError
from cio_middleware.sandbox import registry
from cio_middleware.sandbox.access import Credentials
from cio_middleware.sandbox.emulator import Call, Emulator
from cio_middleware.sandbox.faultspec import script
from cio_middleware.sandbox.lessons import ATTRIBUTES, BEGINNINGS, NAMES, Earlier, Lessons
from cio_middleware.sandbox.operations import from_item
from cio_middleware.sandbox.store import House, Workspaces

ULID = "01ARZ3NDEKTSV4RRFFQ69G5FA"


class World:
    """One workspace, into which calls go at a time of the test's own."""

    def __init__(self, house: House | None = None) -> None:
        self.now = 1_800_000_000.0
        self.workspaces = Workspaces(house)
        self.emulator = Emulator(self.workspaces)
        self.sent = 0

    def call(self, method, path, body):
        """Make one call and return the codes of the warnings of its row."""
        key = Credentials("basic", "dev", password=True)
        call = Call(method, path.encode(), {}, "", (), json.dumps(body).encode(), key, "http://sandbox", self.now)
        self.emulator.carry_out(self.emulator.plan(call))
        (workspace,) = self.workspaces
        row = next(workspace.events.newest_first())
        return [warning.code for warning in row.warnings]

    def identify(self, person, **attributes):
        """Identify by v1."""
        return self.call("PUT", f"/api/v1/customers/{person}", attributes)

    def track(self, name, person="ada"):
        """Track by v1, with an id of its own each time."""
        self.sent += 1
        event = {"name": name, "id": f"{self.sent:026d}"}
        return self.call("POST", f"/api/v1/customers/{person}/events", event)

    def fail(self, *steps):
        """Let the next calls fail."""
        (workspace,) = self.workspaces
        workspace.faults.play(script(list(steps)))


@pytest.fixture(name="world")
def _world():
    world = World()
    world.identify("ada", plan="pro")
    return world


@pytest.mark.parametrize(
    ("value", "codes"),
    [("free", []), (7, ["W-type-drift"]), (True, ["W-type-drift"]), (["pro"], ["W-type-drift"]), (None, [])],
)
def test_an_attribute_that_changes_its_type_is_noticed_across_people(world, value, codes):
    """A plan was a text and is a number now; null deletes, whatever it was."""
    assert world.identify("bob", plan=value) == codes
    assert world.identify("cy", plan="free") == []


def test_whole_and_other_numbers_are_one_type(world):
    """As they are in JSON."""
    assert [world.identify("ada", price=price) for price in (1, 1.5, 2**60 // 2**10)] == [[], [], []]


def test_a_name_too_many_with_one_beginning_is_noticed(world):
    """The first fifty are fine and stay so; every other one is told."""
    names = [f"order_{first}{second}" for first in "abcdefgh" for second in "abcdefgh"][: NAMES + 1]
    assert [world.track(name) for name in names] == [[]] * NAMES + [["W-name-cardinality"]]
    assert world.track(names[0]) == []
    assert world.track("payment_made") == []


def test_a_missing_email_is_only_noticed_where_others_have_one(world):
    """An app that sends none at all is told nothing; a person who has one is neither."""
    assert world.identify("bob") == []
    assert world.identify("cy", email="cy@x.y") == []
    assert world.identify("bob") == ["W-no-email"]
    assert world.identify("bob", email="bob@x.y") == []
    assert world.identify("dan%40x.y") == []


@pytest.mark.parametrize(("email", "codes"), [("new@x.y", ["W-email-as-id-changed"]), ("ADA@x.y", []), (None, [])])
def test_an_email_that_leaves_the_id_behind_is_noticed(world, email, codes):
    """Only where the id is an email, and the person has another one."""
    item = {"type": "person", "action": "identify", "identifiers": {"id": "ada@x.y"}, "attributes": {"email": email}}
    assert world.call("POST", "/api/v2/entity", item) == codes
    assert world.identify("bob", email="bob@x.y") == []


@pytest.mark.parametrize(
    ("step", "after", "codes"),
    [
        ("429;retry_after=2", 1.8, ["W-retry-too-soon"]),
        ("429;retry_after=2", 1.95, []),
        ("503;retry_after=2", 1.8, ["W-retry-too-soon"]),
        ("429", 0.1, []),
        ("429;retry_after=soon", 0.1, []),
        ("429;retry_after=Fri, 15 Jan 2027 08:00:02 GMT", 1.8, ["W-retry-too-soon"]),
        ("429;retry_after=Fri, 15 Jan 2027 08:00:02 GMT", 2.1, []),
    ],
)
def test_an_attempt_before_the_time_that_was_asked_for_is_noticed(world, step, after, codes):
    """In seconds or as a date; without a Retry-After there is nothing to be too early for."""
    event = {"name": "order", "id": ULID + "V"}
    world.fail(step)
    world.call("POST", "/api/v1/customers/ada/events", event)
    world.now += after
    assert world.call("POST", "/api/v1/customers/ada/events", event) == codes


def test_an_attempt_that_was_too_early_is_told_by_the_one_that_got_in(world):
    """Also when a fault answered it, and the last one waited long enough."""
    event = {"name": "order", "id": ULID + "V"}
    world.fail("429;retry_after=2", "503", "ok")
    for pause in (1.0, 60.0):
        world.call("POST", "/api/v1/customers/ada/events", event)
        world.now += pause
    assert world.call("POST", "/api/v1/customers/ada/events", event) == ["W-retry-too-soon"]
    assert world.track("order") == []


@pytest.mark.parametrize(
    ("stamp", "between", "codes"),
    [({}, True, ["W-identify-reordered"]), ({}, False, []), ({"_timestamp": 1_800_000_001}, True, [])],
)
def test_a_late_identify_that_overwrites_a_newer_one_is_noticed(world, stamp, between, codes):
    """It failed, another one came in between, and it has no time by which it could be skipped."""
    world.fail("503")
    world.now += 0.1
    world.identify("ada", plan="free", **stamp)
    world.now += 0.1
    if between:
        world.identify("ada", plan="team")
    world.now += 0.1
    assert world.identify("ada", plan="free", **stamp) == codes


@pytest.mark.parametrize(("stamp", "codes"), [(99, ["W-identify-reordered"]), (100, []), ("99", [])])
def test_a_stamp_that_goes_back_is_noticed(world, stamp, codes):
    """Our own client stamps what it sends; a stamp that is no number says nothing."""
    world.identify("ada", _updated_at=100)
    found = world.identify("ada", _updated_at=stamp)
    assert [code for code in found if code != "W-type-drift"] == codes


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("events.toml", 'events = ["order_*", "paid"]'),
        ("events.toml", "[events.paid]\n[events.'order_*']\nrequired = ['total']"),
        ("events.json", '{"events": ["order_*", "paid"]}'),
        ("events.json", '["order_*", "paid"]'),
        ("events.txt", "# ours\norder_*\n\npaid  # and this\n"),
    ],
)
def test_a_name_that_the_registry_lacks_is_noticed(tmp_path, name, text):
    """In each of the forms that a registry may have; pages are named as they are."""
    path = tmp_path / name
    path.write_text(text, "utf-8")
    world = World(House(registry=registry.read(path)))
    world.identify("ada")
    assert [world.track(event) for event in ("order_placed", "paid", "payd")] == [[], [], ["W-unregistered-event"]]
    page = {"name": "/x", "type": "page", "id": ULID + "V"}
    assert world.call("POST", "/api/v1/customers/ada/events", page) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("r.toml", "events = "),
        ("r.json", "{}"),
        ("r.json", '{"events": 7}'),
        ("r.txt", "# none"),
        ("r.json", "[7]"),
        ("gone", None),
    ],
)
def test_a_registry_that_cannot_be_read_says_what_to_write(tmp_path, name, text):
    """Also one that is not there."""
    if text is not None:
        (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(ConfigurationError, match=r"the registry .*\n  Write: events = "):
        registry.read(tmp_path / name)


def test_what_is_remembered_has_an_end():
    """Beginnings, attributes and refused operations: the oldest go."""
    lessons = Lessons()
    for number in range(BEGINNINGS + 5):
        word = "".join("abcdefghij"[int(digit)] for digit in str(number))
        op = from_item({"type": "person", "action": "event", "name": word}, 1)
        lessons.learn(op, Earlier(), None, 1.0, None)
    attributes = {f"a{number}": 1 for number in range(ATTRIBUTES + 5)}
    op = from_item({"type": "object", "action": "identify", "attributes": attributes}, 1)
    lessons.learn(op, Earlier(), None, 1.0, None)
    assert (len(lessons._names), len(lessons._types)) == (BEGINNINGS, ATTRIBUTES)


def test_a_reset_forgets():
    """What was a text before may be a number now."""
    world = World()
    world.identify("ada", plan="pro")
    (workspace,) = world.workspaces
    workspace.reset()
    assert world.identify("ada", plan=7) == []
