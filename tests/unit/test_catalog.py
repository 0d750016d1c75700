"""Events as classes: what a catalog finds wrong, what it writes down, and what it says that a new one breaks."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest

import cio_middleware as cio
from cio_middleware.catalog import Catalog, EventType, changes, markdown, schema
from cio_middleware.cli.main import main
from cio_middleware.exceptions import ConfigurationError

CANARY = "c4n4ry"


class Line(msgspec.Struct):
    """A line of an order."""

    sku: str
    count: int = 1


class OrderPlaced(EventType, name="order_placed"):
    """
    Somebody paid.

    Once for each order.
    """

    order_id: str
    total: float
    """Euros | with tax."""
    plan: Literal["free", "pro"] = "pro"
    coupon: Annotated[str, msgspec.Meta(max_length=8)] | None = None
    placed_at: datetime | msgspec.UnsetType = msgspec.UNSET
    """When."""
    lines: list[Line] = msgspec.field(default_factory=list, name="orderLines")
    discount: Decimal = Decimal("0.5")


class SignedUp(EventType, name="signed_up"):  # noqa: D101 - a plan may have one without a word
    pass


def make(cls_name, body=None, **keywords):
    """A class, as the class statement makes it."""
    metaclass: Any = type(EventType)
    return metaclass(cls_name, (EventType,), body or {}, **keywords)


PLAN = Catalog([OrderPlaced, SignedUp])
GOOD = {"order_id": "7", "total": 3}


@pytest.mark.parametrize(("name", "attributes", "says"), [
    ("order_placed", GOOD, None),
    ("order_placed", OrderPlaced(order_id="7", total=3.5, placed_at=datetime.now(UTC), lines=[Line("a")]), None),
    ("order_placed", {**GOOD, "orderLines": [{"sku": "a"}], "coupon": None, "plan": "free"}, None),
    ("signed_up", None, None),
    ("signed_up", {}, None),
    ("order_placd", GOOD, "'order_placd' is not in the catalog. Did you mean 'order_placed'?"),
    ("xyz", GOOD, "'xyz' is not in the catalog. Add a class for it."),
    (f"order of {CANARY}@example.com", GOOD, "this event is not in the catalog. Add a class for it."),
    ("order_placed", {"order_id": "7"}, "order_placed lacks total, a float."),
    ("order_placed", None, "order_placed lacks order_id, a str."),
    ("order_placed", {**GOOD, "totl": 1}, "order_placed has no attribute 'totl'. Did you mean 'total'?"),
    ("order_placed", {**GOOD, f"{CANARY}@x": 1}, "order_placed has no attribute one of them. It has order_id, total,"),
    ("order_placed", {**GOOD, "order_id": 7}, "order_id of order_placed is an int, and not the str that"),
    ("order_placed", {**GOOD, "total": CANARY}, "total of order_placed is a str, and not the float that"),
    ("order_placed", {**GOOD, "plan": CANARY}, "plan of order_placed is a str, and not the Literal['free', 'pro']"),
    ("order_placed", {**GOOD, "coupon": CANARY * 2}, "coupon of order_placed is a str, and not the"),
    ("order_placed", {**GOOD, "orderLines": [{"sku": CANARY, "n": 1}, 7]}, "orderLines of order_placed is a list"),
    ("order_placed", {**GOOD, "plan": object()}, "plan of order_placed is an object, and not"),
    ("signed_up", {"plan": 1}, "signed_up has no attribute 'plan'. It has none."),
    ("signed_up", {7: 1}, "signed_up has no attribute one of them. It has none."),
])  # fmt: skip
def test_a_catalog_says_what_is_wrong_and_shows_no_value(name, attributes, says):
    """The field, what was given, what the catalog says, the nearest known name; nothing that a person typed."""
    problem = PLAN.problem(name, attributes)
    if says is None:
        assert problem is None
    else:
        assert problem is not None
        assert problem.startswith(says)
        assert CANARY not in problem


def test_an_event_is_made_by_the_names_of_its_fields_and_stays_as_it_is():
    """Keywords alone, defaults as written, no change afterwards, and no value in its repr."""
    made = OrderPlaced(order_id=CANARY, total=3)
    assert (made.plan, made.coupon) == ("pro", None)
    assert repr(made) == "OrderPlaced(...)"
    with pytest.raises(AttributeError):
        made.total = 4
    with pytest.raises(TypeError):
        OrderPlaced("7", 3)  # type: ignore[call-arg]


def test_a_subclass_may_share_fields():
    """What several events have in common stands once."""

    class Shop(EventType, name="shop"):
        shop: str

    class Closed(Shop, name="shop_closed"):
        why: str = ""

    assert Catalog([Closed]).problem("shop_closed", {"shop": "a"}) is None
    assert Closed(shop="a").__event_name__ == "shop_closed"


@pytest.mark.parametrize("name", ["", " ", "x" * 101])
def test_a_class_has_a_name_that_customer_io_takes(name):
    """Found when the class is made, with what to type."""
    with pytest.raises(ConfigurationError, match=r"Type class Nameless\(cio.EventType, name="):
        make("Nameless", name=name)


@pytest.mark.parametrize(("types", "mode", "says"), [
    ([OrderPlaced, make("Other", name="order_placed")], "warn", "two classes"),
    ([Line], "warn", "derive from EventType"), ([EventType], "warn", "derive from EventType"),
    ([OrderPlaced(order_id="7", total=3)], "warn", "derive from EventType"),
    ([OrderPlaced], "strict", "'open', 'warn', 'closed'"),
])  # fmt: skip
def test_a_catalog_that_cannot_be_meant_is_refused(types, mode, says):
    """When it is made."""
    with pytest.raises(ConfigurationError, match=says):
        Catalog(types, mode=mode)


def test_a_catalog_can_be_looked_at():
    """Its classes, by name and all of them."""
    assert list(PLAN) == [OrderPlaced, SignedUp]
    assert PLAN["signed_up"] is SignedUp
    assert "signed_up" in PLAN
    assert len(PLAN) == 2


def test_the_schema_says_what_is_sent():
    """Dates as seconds, a Decimal as a number, the names of the wire, and what the docstrings say."""
    whole = schema(PLAN)
    order = whole["$defs"]["OrderPlaced"]
    assert list(whole["properties"]) == ["order_placed", "signed_up"]
    assert order["description"] == "Somebody paid.\n\nOnce for each order."
    assert order["required"] == ["order_id", "total"]
    assert order["properties"]["total"] == {"type": "number", "description": "Euros | with tax."}
    assert order["properties"]["placed_at"] == {"type": "integer", "description": "When."}
    assert order["properties"]["discount"] == {"type": "number", "default": 0.5}
    assert order["properties"]["coupon"]["anyOf"] == [{"type": "string", "maxLength": 8}, {"type": "null"}]
    assert "orderLines" in order["properties"]
    json.dumps(whole)


def test_the_plan_reads_well():
    """A table for each event, in the order of their names."""
    assert markdown(PLAN) == (Path(__file__).parent / "tracking_plan.md").read_text("utf-8")


def plan(**fields):
    """A plan with one event of these fields, by their annotation and perhaps a default."""
    body = {"__annotations__": {name: value[0] for name, value in fields.items()}}
    body |= {name: value[1] for name, value in fields.items() if len(value) > 1}
    return schema(Catalog([make("Made", body, name="made")]))


@pytest.mark.parametrize(("old", "new", "says", "breaks"), [
    ({"a": (str,)}, {"a": (str,)}, None, False),
    ({"a": (str,)}, {}, "is gone", True),
    ({}, {"a": (str,)}, "is new, and required", False),
    ({}, {"a": (str, "x")}, "is new", False),
    ({"a": (str,)}, {"a": (int,)}, "was string, is integer", True),
    ({"a": (int,)}, {"a": (float,)}, "was integer, is number", True),
    ({"a": (float,)}, {"a": (int,)}, "was number, is integer", False),
    ({"a": (str,)}, {"a": (str | None,)}, "was string, is null or string", True),
    ({"a": (str | None,)}, {"a": (str,)}, "was null or string, is string", False),
    ({"a": (Literal["x", "y"],)}, {"a": (Literal["x"],)}, "was one of 'x', 'y', is one of 'x'", False),
    ({"a": (Literal["x"],)}, {"a": (Literal["x", "y"],)}, "was one of 'x', is one of 'x', 'y'", True),
    ({"a": (Literal["x"],)}, {"a": (str,)}, "was one of 'x', is string", True),
    ({"a": (str,)}, {"a": (Literal["x"],)}, "was string, is one of 'x'", False),
    ({"a": (int,)}, {"a": (Literal["x"],)}, "was integer, is one of 'x'", True),
    ({"a": (datetime,)}, {"a": (int,)}, None, False),
    ({"a": (str,)}, {"a": (str, "x")}, "is not required any more", False),
    ({"a": (str,)}, {"a": (str | msgspec.UnsetType, msgspec.UNSET)}, "is not required any more", True),
    ({"a": (str, "x")}, {"a": (str,)}, "is required now", False),
])  # fmt: skip
def test_a_new_plan_is_compared_for_those_who_read_events(old, new, says, breaks):
    """It breaks a campaign that something goes, or may be what it could not be; that there is more breaks nothing."""
    found = changes(plan(**old), plan(**new))
    assert [(change.text, change.breaks) for change in found] == ([] if says is None else [(says, breaks)])


def test_events_come_and_go():
    """A new event breaks nothing, one that goes does."""
    found = changes(schema(Catalog([SignedUp])), schema(Catalog([OrderPlaced])))
    assert [str(change) for change in found] == ["fine    order_placed: is new", "breaks  signed_up: is gone"]


@pytest.fixture(name="shop")
def _shop(tmp_path, monkeypatch):
    """A folder with a module `shop_events`, in which the command is typed."""
    source = (
        "import cio_middleware as cio\n\n\nclass SignedUp(cio.EventType, name='signed_up'):\n"
        "    plan: str\n    '''Which.'''\n\n\ncatalog = cio.Catalog([SignedUp])\nnothing = 7\n"
    )
    (tmp_path / "shop_events.py").write_text(source, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "shop_events", raising=False)
    return tmp_path


def test_the_command_writes_a_plan_and_compares_with_it(shop, capsys):
    """As a team uses it in CI: export once, compare at each change."""
    assert main(["catalog", "export", "shop_events:catalog"]) == 0
    (shop / "plan.json").write_text(capsys.readouterr().out, "utf-8")
    assert main(["catalog", "diff", "plan.json", "shop_events:catalog"]) == 0
    assert capsys.readouterr().err == "No changes.\n"

    assert main(["catalog", "export", "shop_events:catalog", "--markdown"]) == 0
    assert "| `plan` | `str` | required | Which. |" in capsys.readouterr().out

    whole = json.loads((shop / "plan.json").read_text("utf-8"))
    whole["$defs"]["SignedUp"]["properties"]["email"] = {"type": "string"}
    (shop / "older.json").write_text(json.dumps(whole), "utf-8")
    assert main(["catalog", "diff", "older.json", "shop_events:catalog"]) == 1
    said = capsys.readouterr()
    assert said.out == "breaks  signed_up.email: is gone\n"
    assert said.err == "1 of 1 changes break what was made for the old plan.\n"
    assert main(["catalog", "diff", "older.json", "plan.json", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["breaks"] is True


@pytest.mark.parametrize(("words", "says"), [
    (["export", "shop_events"], "MODULE:NAME"), (["export", "no_shop:catalog"], "there is no module 'no_shop'"),
    (["export", "shop_events:nothing"], "is a int, not a Catalog"), (["export", "shop_events:x.y"], "is a NoneType"),
    (["diff", "no.json", "shop_events:catalog"], "there is no file 'no.json'"),
    (["diff", "shop_events.py", "shop_events:catalog"], "is no JSON"),
])  # fmt: skip
def test_a_mistake_is_answered_with_what_to_type(shop, capsys, words, says):
    """The exit code is the one for configuration."""
    assert main(["catalog", *words]) == 3
    assert says in capsys.readouterr().err


def test_the_names_are_at_the_top():
    """`cio.EventType` and `cio.Catalog`."""
    assert cio.EventType is EventType
    assert cio.Catalog is Catalog
