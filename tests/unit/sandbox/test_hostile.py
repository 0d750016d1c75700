"""Whatever JSON a call carries, the emulator answers it, and never with an error of its own."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cio_middleware.sandbox.access import Credentials
from cio_middleware.sandbox.emulator import Call, Emulator
from cio_middleware.sandbox.endpoints import ENDPOINTS
from cio_middleware.sandbox.fidelity import Fidelity
from cio_middleware.sandbox.pipelines import SEMANTIC, VERBS
from cio_middleware.sandbox.store import House, Workspaces

VOCABULARY = (
    "id email phone cio_id anonymous_id type action identifiers name attributes data timestamp device token platform "
    "primary secondary cio_relationships relationships relationship_attributes object_id object_type_id cio_object_id "
    "ids batch metric delivery_id recipient _timestamp _update person object delivery event page identify delete merge "
    "add_device add_relationships ios opened 1 ada a@b.c +15551234567 01ARZ3NDEKTSV4RRFFQ69G5FAV \ud800"
)
WORDS = VOCABULARY.split(" ")
LEAVES = st.one_of(
    st.sampled_from([None, True, 0, 1, -1, 10**400, 1.5, 1e308, float("nan"), float("inf"), "", "x" * 1001, *WORDS]),
    st.text(max_size=3),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5),
    max_leaves=12,
)
IDENTIFIERS = st.dictionaries(st.sampled_from(WORDS[:5]), LEAVES, min_size=1, max_size=1) | VALUES
RELATIONS = st.lists(st.fixed_dictionaries({"identifiers": IDENTIFIERS}), max_size=2)
ITEMS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["person", "object", "delivery"]) | VALUES,
        "action": st.sampled_from(["event", "page", "identify", "delete", "merge", "add_device", "add_relationships"]),
        "identifiers": IDENTIFIERS,
    },
    optional={
        "name": LEAVES | VALUES,
        "id": LEAVES,
        "timestamp": LEAVES,
        "attributes": VALUES,
        "device": st.fixed_dictionaries({"token": VALUES, "id": VALUES, "platform": st.just("ios") | VALUES}),
        "primary": IDENTIFIERS,
        "secondary": IDENTIFIERS,
        "cio_relationships": RELATIONS | st.fixed_dictionaries({"action": VALUES, "relationships": RELATIONS}) | VALUES,
    },
)

CALLS = st.fixed_dictionaries(
    {"type": st.sampled_from([*sorted(VERBS), "event"]) | VALUES},
    optional={
        "userId": LEAVES,
        "anonymousId": LEAVES | VALUES,
        "previousId": LEAVES,
        "groupId": LEAVES | VALUES,
        "messageId": LEAVES,
        "event": st.sampled_from(sorted(SEMANTIC)) | VALUES,
        "name": VALUES,
        "traits": VALUES | st.fixed_dictionaries({"email": VALUES, "object_type_id": VALUES}),
        "properties": VALUES | st.fixed_dictionaries({"objectId": LEAVES, "metric": VALUES, "deliveryId": VALUES}),
        "context": VALUES | st.fixed_dictionaries({"device": VALUES | st.fixed_dictionaries({"token": VALUES})}),
        "timestamp": st.just("2027-01-01T00:00:00Z") | VALUES,
        "identifiers": IDENTIFIERS,
        "transactional_message_id": VALUES,
        "to": VALUES,
        "send_at": VALUES,
    },
)

DEV = Credentials("basic", "dev", password=True)
KEYS = {"pipelines": Credentials("basic", "dev"), "app": Credentials("bearer", "dev")}


@pytest.mark.parametrize("non_finite", ["refuse", "discard"])
@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(ENDPOINTS), st.sampled_from(["ada", "a%40b", "cio_03000001", "%ff", "%00"]), ITEMS | CALLS
        ),
        max_size=6,
    ),
    st.sampled_from(["0", "1"]),
)
def test_nothing_that_is_sent_ends_in_an_error_of_the_sandbox(non_finite, calls, strict):
    """The answer is one of Customer.io's, and all that is shown of it is JSON."""
    workspaces = Workspaces(House(fidelity=Fidelity(non_finite=non_finite)))
    emulator = Emulator(workspaces)
    for endpoint, whom, item in calls:
        path = "/".join(whom if part.startswith("{") else part for part in endpoint.path.split("/"))
        body = json.dumps({"batch": [item]} if endpoint.name.endswith("batch") else item).encode()
        key, headers = KEYS.get(endpoint.api, DEV), (("x-strict-mode", strict),)
        call = Call(endpoint.method, path.encode(), {}, "", headers, body, key, "http://sandbox", 1.0)
        reply = emulator.carry_out(emulator.plan(call))
        assert reply.status in {200, 204, 207, 400}
    for workspace in workspaces:
        shown = [*(row.document() for row in workspace.events), *(person.document() for person in workspace.people)]
        json.dumps([shown, workspace.summary()], allow_nan=False)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize(("choice", "status", "verdict"), [("refuse", 400, "rejected"), ("discard", 200, "ignored")])
def test_a_number_that_is_not_finite_is_never_stored(number, choice, status, verdict):
    """Refused, or as in 2017 answered with 200 and discarded."""
    workspaces = Workspaces(House(fidelity=Fidelity(non_finite=choice)))
    emulator = Emulator(workspaces)
    body = f'{{"plan": [{number}]}}'.encode()
    call = Call("PUT", b"/api/v1/customers/ada", {}, "", (), body, DEV, "http://sandbox", 1.0)
    assert emulator.carry_out(emulator.plan(call)).status == status
    emulator.carry_out(emulator.plan(replace(call, body=b'{"plan": "pro"}')))

    (workspace,) = workspaces
    assert [row.verdict for row in workspace.events] == [verdict, "accepted"]
    assert [person.attributes for person in workspace.people] == [{"plan": "pro"}]
