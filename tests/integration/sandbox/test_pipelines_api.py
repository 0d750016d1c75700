"""The emulated Pipelines API: permissive, where what is wrong is lost in silence, and strict, where it is refused."""

from __future__ import annotations

import gzip
import json

import httpx
import pytest

from cio_middleware.sandbox.fidelity import Fidelity
from cio_middleware.sandbox.store import House
from cio_middleware.testing import Sandbox

STRICT = {"X-Strict-Mode": "1"}
NOON = "2026-01-15T12:00:00.000Z"


@pytest.fixture(name="cdp")
def _cdp(http, sandbox):
    """An app's connection to Pipelines: the write key is the user, and the password is blank."""
    http.auth = (sandbox.site_id, "")
    return http


def post(cdp, verb, /, *flags, **body):
    """Make one call."""
    return cdp.post(f"/v1/{verb}", json=body, headers=STRICT if True in flags else {})


TAKEN = {
    "identify": (
        {"userId": "ada", "traits": {"plan": "pro"}},
        ("identify", "person", None, "ada", {"id": "ada"}, {"plan": "pro"}),
    ),
    "identify by email": (
        {"verb": "identify", "traits": {"email": "a@x.y"}},
        ("identify", "person", None, "a@x.y", {"email": "a@x.y"}, {"email": "a@x.y"}),
    ),
    "track": (
        {"userId": "ada", "event": "order", "properties": {"n": 1}},
        ("event", "person", "order", "ada", {"id": "ada"}, {"n": 1}),
    ),
    "track a visitor": (
        {"verb": "track", "anonymousId": "v1", "event": "order"},
        ("event", "person", "order", "v1", {"anonymous_id": "v1"}, {}),
    ),
    "track a group": ({"verb": "track", "groupId": "acme", "event": "paid"}, ("event", "person", "paid", None, {}, {})),
    "page": (
        {"userId": "ada", "name": "/x", "properties": {"url": "/x"}},
        ("page", "person", "/x", "ada", {"id": "ada"}, {"url": "/x"}),
    ),
    "screen": ({"userId": "ada", "name": "Home"}, ("screen", "person", "Home", "ada", {"id": "ada"}, {})),
    "group": (
        {"userId": "ada", "groupId": "acme", "traits": {"size": 3, "object_type_id": "2"}},
        ("identify", "object", None, "ada", {"object_type_id": "2", "object_id": "acme"}, {"size": 3}),
    ),
    "group of nobody": (
        {"verb": "group", "groupId": "acme"},
        ("identify", "object", None, None, {"object_type_id": "1", "object_id": "acme"}, {}),
    ),
    "Device Created or Updated": (
        {"verb": "track", "userId": "ada", "context": {"device": {"token": "t1", "type": "ios"}}},
        ("add_device", "person", None, "ada", {"id": "ada"}, {}),
    ),
    "Device Deleted": (
        {"verb": "track", "userId": "ada", "context": {"device": {"token": "t1"}}},
        ("delete_device", "person", None, "ada", {"id": "ada"}, {}),
    ),
    "User Deleted": ({"verb": "track", "userId": "ada"}, ("delete", "person", None, "ada", {"id": "ada"}, {})),
    "User Suppressed": ({"verb": "track", "userId": "ada"}, ("suppress", "person", None, "ada", {"id": "ada"}, {})),
    "User Unsuppressed": ({"verb": "track", "userId": "ada"}, ("unsuppress", "person", None, "ada", {"id": "ada"}, {})),
    "Relationship Deleted": (
        {"verb": "track", "userId": "ada", "properties": {"objectId": "acme"}},
        ("delete_relationships", "person", None, "ada", {"id": "ada"}, {"objectId": "acme"}),
    ),
    "Object Deleted": (
        {"verb": "track", "anonymousId": "v1", "properties": {"objectId": "acme", "objectTypeId": "2"}},
        (
            "delete", "object", None, None,
            {"object_type_id": "2", "object_id": "acme"}, {"objectId": "acme", "objectTypeId": "2"},
        ),
    ),
    "Report Delivery Event": (
        {"verb": "track", "userId": "ada", "properties": {"deliveryId": "d", "metric": "opened"}},
        ("metric", "delivery", "opened", None, {"id": "ada"}, {"deliveryId": "d", "metric": "opened"}),
    ),
    "Report Content Event": (
        {"verb": "track", "userId": "ada", "properties": {"actionType": "viewed_content"}},
        ("content", "delivery", "viewed_content", None, {"id": "ada"}, {"actionType": "viewed_content"}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("strict", [False, True], ids=["permissive", "strict"])
@pytest.mark.parametrize(("case", "body", "row"), [(case, *pair) for case, pair in TAKEN.items()], ids=TAKEN)
def test_every_call_is_understood(cdp, sandbox, case, body, row, strict):
    """Also an event that Customer.io gives a meaning of its own does what its name says."""
    verb = body.get("verb", case)
    event = {"event": case} if case[0].isupper() else {}
    said = {key: value for key, value in body.items() if key != "verb"}
    reply = post(cdp, verb, strict, **event, **said)

    assert (reply.status_code, reply.json()) == (200, {"success": True})
    (seen,) = sandbox.events()
    assert (seen.kind, seen.subject, seen.name, seen.person, seen.identifiers, seen.data) == row
    assert (seen.api, seen.verdict in {"accepted", "accepted_but"}) == ("pipelines", True)
    assert sandbox.requests()[0].endpoint == f"pipelines.{verb}"


LOST = {
    "nobody": ("track", {"event": "order"}, "userId"),
    "no event": ("track", {"userId": "ada"}, "event"),
    "blank event": ("track", {"userId": "ada", "event": " "}, "event"),
    "event is a number": ("track", {"userId": "ada", "event": 7}, "event"),
    "page without a name": ("page", {"userId": "ada"}, "name"),
    "identify nobody": ("identify", {"traits": {"plan": "pro"}}, "userId"),
    "user id is a number": ("identify", {"userId": 7}, "userId"),
    "email is a number": ("identify", {"userId": "ada", "traits": {"email": 7}}, "traits.email"),
    "traits are a list": ("identify", {"userId": "ada", "traits": []}, "traits"),
    "properties are text": ("track", {"userId": "ada", "event": "order", "properties": "x"}, "properties"),
    "context is a list": ("track", {"userId": "ada", "event": "order", "context": []}, "context"),
    "timestamp": ("track", {"userId": "ada", "event": "order", "timestamp": 1_800_000_000}, "timestamp"),
    "timestamp is no time": ("track", {"userId": "ada", "event": "order", "timestamp": "noon"}, "timestamp"),
    "no group": ("group", {"userId": "ada"}, "groupId"),
    "no previous": ("alias", {"userId": "ada"}, "previousId"),
    "no user": ("alias", {"previousId": "v1"}, "userId"),
    "no token": ("track", {"userId": "ada", "event": "Device Deleted"}, "context.device.token"),
    "no object": ("track", {"userId": "ada", "event": "Object Deleted"}, "properties.objectId"),
    "no metric": (
        "track",
        {"userId": "ada", "event": "Report Delivery Event", "properties": {"deliveryId": "d"}},
        "properties.metric",
    ),
}


@pytest.mark.parametrize(("verb", "body", "field"), LOST.values(), ids=LOST)
def test_what_is_wrong_is_lost_or_refused(cdp, sandbox, verb, body, field):
    """Permissive answers 200 and applies nothing; strict answers 400 with the reason; the row says what is wrong."""
    quiet, loud = post(cdp, verb, **body), post(cdp, verb, True, **body)

    assert (quiet.status_code, quiet.json()) == (200, {"success": True})
    assert loud.status_code == 400
    assert [row.verdict for row in sandbox.bad] == ["ignored", "rejected"]
    assert [[error.field for error in row.errors] for row in sandbox.bad] == [[field], [field]]
    assert loud.json() == {"meta": {"error": sandbox.bad[1].errors[0].message}}
    assert len(list(sandbox.people)) == 0


@pytest.mark.parametrize(("body", "mark"), [(b"", "x"), (b"{", "y"), (b"[]", "z"), (b'"x"', "w"), (b"null", "v")])
def test_a_body_that_is_no_call_is_lost_or_refused(cdp, sandbox, body, mark):
    """Whatever it is, permissive says nothing."""
    assert [cdp.post("/v1/track", content=body, headers=head).status_code for head in ({}, STRICT)] == [200, 400], mark
    assert [row.verdict for row in sandbox.bad] == ["ignored", "rejected"]


KEYS = {
    "write key": ({"auth": ("write-key", "")}, "write-key", True),
    "regional key": ({"headers": {"Authorization": "Bearer pk_us_shop"}}, "pk_us_shop", True),
    "no key": ({}, "dev", False),
    "empty key": ({"auth": ("", "")}, "dev", False),
    "invalid": ({"auth": ("invalid", "")}, "dev", False),
    "an invalid regional key": ({"headers": {"Authorization": "Bearer invalid"}}, "dev", False),
    "a pair of Track credentials": ({"auth": ("site", "key")}, "dev", False),
    "no base64": ({"headers": {"Authorization": "Basic \N{SNOWMAN}".encode()}}, "dev", False),
}


@pytest.mark.parametrize(("key", "workspace", "good"), KEYS.values(), ids=KEYS)
def test_a_bad_key_is_only_told_in_strict_mode(own_sandbox, web, key, workspace, good):
    """In permissive mode the call is answered 200 and lost; a good key names the workspace."""
    answers = []
    for strict in ("1", "0"):
        headers = {**key.get("headers", {}), "X-Strict-Mode": strict}
        body = {"userId": "ada", "event": "order"}
        answers.append(web.post(f"{own_sandbox.url}/v1/track", json=body, headers=headers, auth=key.get("auth")))

    assert [answer.status_code for answer in answers] == [200 if good else 401, 200]
    with own_sandbox.workspace(workspace) as seen:
        assert [row.verdict for row in seen.events()] == (["accepted_but"] * 2 if good else ["rejected", "ignored"])


def test_a_batch_is_taken_item_by_item_and_the_bad_ones_are_lost(cdp, sandbox, web):
    """Permissive stores what is good; the context of the batch holds for all items, and an item's own wins."""
    items = [
        {"type": "identify", "userId": "ada", "messageId": "m1"},
        {"type": "track", "userId": "ada", "messageId": "m2"},
        {"type": "track", "userId": "ada", "event": "order", "messageId": "m3", "context": {"ip": "::1"}},
        {"type": "explode", "userId": "ada"},
        7,
    ]
    reply = post(cdp, "batch", batch=items, context={"ip": "::2", "locale": "de"})

    assert (reply.status_code, reply.json()) == (200, {"success": True})
    assert [(row.batch_index, row.verdict) for row in sandbox.events()] == [
        (0, "accepted"), (1, "ignored"), (2, "accepted"), (3, "ignored"), (4, "ignored"),
    ]  # fmt: skip
    (order,) = sandbox.events("order")
    place = {"workspace": sandbox.settings["site_id"]}
    shown = web.get(f"{sandbox.url}/_sandbox/v1/events/{order.seq}", params=place).json()
    assert shown["sent"]["context"] == {"ip": "::1", "locale": "de"}
    assert sandbox.people["ada"].event_names == ["order"]


@pytest.mark.parametrize("body", [{}, {"batch": {}}, {"batch": []}])
def test_a_batch_that_is_none_is_lost_or_refused(cdp, sandbox, body):
    """As a whole."""
    assert [post(cdp, "batch", strict, **body).status_code for strict in (False, True)] == [200, 400]
    assert [row.verdict for row in sandbox.bad] == ["ignored", "rejected"]


@pytest.mark.parametrize(("choice", "stored"), [("whole", []), ("item", ["order"])])
def test_one_bad_item_of_a_strict_batch(web, choice, stored):
    """Whether it takes the good ones down is undocumented, so both sides can be taken; the answer names the bad one."""
    house = House(fidelity=Fidelity(pipelines_strict_batch=choice))
    items = [{"type": "track", "userId": "ada", "event": "order"}, {"type": "track", "userId": "ada"}]
    with Sandbox.running(house=house) as sandbox:
        reply = web.post(f"{sandbox.url}/v1/batch", json={"batch": items}, auth=("dev", ""), headers=STRICT)
        assert (reply.status_code, reply.json()) == (400, {"meta": {"error": "event must be present"}})
        assert [row.name for row in sandbox.good] == stored
        assert sandbox.bad[-1].errors[0].field == "event"


def event_of(size, char="a"):
    """Return the text of a track call of exactly so many bytes."""
    head, tail = '{"type":"track","userId":"ada","event":"order","properties":{"x":"', '"}}'
    room = size - len(head + tail)
    width = len(char.encode())
    return head + char * (room // width) + "a" * (room % width) + tail


@pytest.mark.parametrize("char", ["a", "日"])
@pytest.mark.parametrize(("extra", "strict", "quiet"), [(0, 200, True), (1, 400, False)])
def test_a_call_of_exactly_32_kb_is_taken(cdp, sandbox, char, extra, strict, quiet):
    """Counted in bytes as sent, single or in a batch; one more is lost, or refused."""
    text = event_of(32_000 + extra, char)
    assert len(text.encode()) == 32_000 + extra
    batch = f'{{"batch":[{text}]}}'
    for path, body in (("/v1/track", text), ("/v1/batch", batch)):
        assert cdp.post(path, content=body.encode(), headers=STRICT).status_code == strict
        assert cdp.post(path, content=body.encode()).status_code == 200
    assert (sandbox.count("order") == 4) is quiet
    assert len(sandbox.bad) == (0 if quiet else 4)


@pytest.mark.parametrize(("extra", "strict", "stored"), [(0, 200, 17), (1, 400, 0)])
def test_a_batch_of_exactly_500_kb_is_taken(cdp, sandbox, extra, strict, stored):
    """One byte more, and all of it is lost, or refused."""
    body = f'{{"batch":[{",".join([event_of(29_000, "é")] * 17)}]}}'
    body += " " * (500_000 - len(body.encode()) + extra)
    assert cdp.post("/v1/batch", content=body.encode()).status_code == 200
    assert sandbox.count("order") == stored
    assert cdp.post("/v1/batch", content=body.encode(), headers=STRICT).status_code == strict


@pytest.mark.parametrize("member", ["userId", "anonymousId"])
def test_an_identifier_has_150_bytes(cdp, sandbox, member):
    """Whether a character takes one or three."""
    for long in ("a" * 150, "日" * 50):
        assert post(cdp, "track", True, event="order", **{member: long}).status_code == 200
        assert post(cdp, "track", True, event="order", **{member: long + "a"}).status_code == 400
    assert [row.errors[0].code for row in sandbox.bad] == ["E-identifier-too-long"] * 2


def test_a_visitor_becomes_a_person_and_keeps_what_they_did(cdp, sandbox):
    """`anonymousId` and `userId` in one identify join the two; Track's calls reach the same person."""
    post(cdp, "identify", anonymousId="v1", traits={"seen": True})
    post(cdp, "page", anonymousId="v1", name="/pricing")
    assert (sandbox.people["v1"].identified, sandbox.people["v1"].attributes) == (False, {"seen": True})

    post(cdp, "identify", userId="ada", anonymousId="v1", traits={"email": "ada@x.y"})
    post(cdp, "track", anonymousId="v1", event="late")
    cdp.post("/api/v1/customers/ada/events", json={"name": "by_track"}, auth=(sandbox.site_id, "key"))

    ada = sandbox.people["ada"]
    assert ada.identifiers == {"id": "ada", "anonymous_id": "v1", "email": "ada@x.y"}
    assert ada.attributes == {"seen": True, "email": "ada@x.y"}
    assert ada.event_names == ["/pricing", "late", "by_track"]


def test_a_group_makes_an_object_and_a_relationship(cdp, sandbox, web):
    """With the attributes of each, until an event takes them apart."""
    traits = {"name": "Acme", "relationshipAttributes": {"role": "admin"}}
    post(cdp, "group", userId="ada", groupId="acme", traits=traits)

    url, where = f"{sandbox.url}/_sandbox/v1/objects", {"workspace": sandbox.site_id}
    assert web.get(url, params=where).json()["items"] == [{"type": "1", "id": "acme", "attributes": {"name": "Acme"}}]
    related = {"identifiers": {"object_type_id": "1", "object_id": "acme"}, "attributes": {"role": "admin"}}
    assert sandbox.people["ada"].relationships == [related]

    post(cdp, "track", userId="ada", event="Relationship Deleted", properties={"objectId": "acme"})
    assert sandbox.people["ada"].relationships == []
    post(cdp, "track", anonymousId="v", event="Object Deleted", properties={"objectId": "acme"})
    assert web.get(url, params=where).json()["items"] == []


def test_an_alias_gives_the_past_of_one_id_to_another(cdp, sandbox):
    """Of a visitor or of a person; of nobody it is ignored, and says so."""
    post(cdp, "track", anonymousId="v1", event="visited")
    post(cdp, "track", userId="old", event="bought")
    for previous in ("v1", "old", "nobody"):
        assert post(cdp, "alias", previousId=previous, userId="ada").status_code == 200

    assert sandbox.people["ada"].event_names == ["visited", "bought"]
    assert sandbox.people["v1"].key == "ada"
    assert [row.errors[0].code for row in sandbox.bad] == ["I-no-previous"]


def test_an_alias_may_do_nothing_if_the_house_says_so(web):
    """The reference says that only a few other destinations need it."""
    with Sandbox.running(house=House(fidelity=Fidelity(pipelines_alias="ignore"))) as sandbox:
        body = {"previousId": "v1", "userId": "ada"}
        assert web.post(f"{sandbox.url}/v1/alias", json=body, auth=("dev", "")).status_code == 200
        assert [row.errors[0].code for row in sandbox.bad] == ["I-alias"]


@pytest.mark.parametrize(("choice", "verdict"), [("message_id", "duplicate"), ("stored", "accepted")])
def test_a_message_id_makes_a_call_unique(web, choice, verdict):
    """Of any kind of call; the other side stores it again."""
    with Sandbox.running(house=House(fidelity=Fidelity(pipelines_repeat=choice))) as sandbox:
        for verb, event in (("identify", {}), ("track", {"event": "order"})):
            for _ in range(2):
                body = {"userId": "ada", "messageId": f"m-{verb}", **event}
                web.post(f"{sandbox.url}/v1/{verb}", json=body, auth=("dev", ""))
        assert [row.verdict for row in sandbox.events()] == ["accepted", verdict] * 2


def test_an_identify_that_is_older_than_what_is_known_is_skipped(cdp, sandbox):
    """By its ISO timestamp, with or without a zone; the row has it in Unix seconds."""
    for stamp, plan in ((NOON, "pro"), ("2026-01-15T11:59:59", "free"), ("2026-01-15T14:00:00+01:00", "team")):
        post(cdp, "identify", userId="ada", traits={"plan": plan}, timestamp=stamp)
    assert [row.verdict for row in sandbox.events()] == ["accepted", "ignored", "accepted"]
    assert sandbox.people["ada"].attributes == {"plan": "team"}
    assert sandbox.events()[0].timestamp == 1_768_478_400


@pytest.mark.parametrize(
    ("choice", "ok", "refused"),
    [
        ({}, {"success": True}, {"meta": {"error": "event must be present"}}),
        ({"pipelines_success": "empty", "pipelines_error": "code"}, {},
         {"code": "required", "message": "event must be present"}),
    ],
)  # fmt: skip
def test_the_bodies_are_a_choice(web, choice, ok, refused):
    """Neither is documented in full."""
    with Sandbox.running(house=House(fidelity=Fidelity(**choice))) as sandbox:
        url, key = f"{sandbox.url}/v1/track", ("dev", "")
        assert web.post(url, json={"userId": "a", "event": "x"}, auth=key).json() == ok
        assert web.post(url, json={"userId": "a"}, auth=key, headers=STRICT).json() == refused


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (gzip.compress(event_of(31_000).encode()), 200, ""),
        (gzip.compress(b" " * (4 * 1024 * 1024 + 1)), 400, "unfolds to more than 4194304 bytes"),
        (gzip.compress(event_of(1000).encode())[:-9], 400, "is cut short"),
        (b"no gzip", 400, "is no gzip"),
    ],
    ids=["whole", "bomb", "cut", "none"],
)
def test_a_compressed_body_is_unfolded_with_an_end(cdp, sandbox, body, status, said):
    """Customer.io's own Python client sends them; what unfolds without an end is refused, and what is cut is too."""
    head = {"Content-Encoding": "gzip", **STRICT}
    reply = cdp.post("/v1/track", content=body, headers=head)
    assert (reply.status_code, said in reply.text) == (status, True)
    assert sandbox.count("order") == (status == 200)


def test_a_suppressed_person_is_ignored_here_too(cdp, sandbox):
    """Suppression by one API holds for the other."""
    post(cdp, "track", userId="ada", event="User Suppressed")
    assert post(cdp, "track", True, userId="ada", event="order").status_code == 200
    assert [row.errors[0].code for row in sandbox.bad] == ["I-suppressed"]


def test_a_fault_answers_a_call_and_nothing_is_stored(cdp, sandbox):
    """As any other endpoint, by its name."""
    sandbox.faults.rule(match={"endpoint": "pipelines.*"}, do={"type": "status", "status": 503})
    assert post(cdp, "track", userId="ada", event="order").status_code == 503
    assert [row.verdict for row in sandbox.events()] == ["fault"]


def test_a_real_looking_bearer_key_is_no_name_to_show(own_sandbox, web):
    """The workspace is called by its last four characters; a key made up for a test names it as it is."""
    for key in ("sk_us_0123456789abcdef", "0123456789abcdef0123456789abcdef"):
        headers = {"Authorization": f"Bearer {key}"}
        web.post(f"{own_sandbox.url}/v1/track", json={"userId": "ada", "event": "order"}, headers=headers)
    shown = json.dumps(web.get(f"{own_sandbox.url}/_sandbox/v1/info").json()["workspaces"])
    assert "0123456789" not in shown
    assert shown.count("key-cdef-") == 2


def test_a_redirected_client_would_not_take_the_key_along(cdp, sandbox):
    """A client drops the credentials when the host changes, and the sandbox keeps none to leak."""
    sandbox.faults.script(["redirect=https://cdp-eu.sandbox.invalid"])
    reply = post(cdp, "track", userId="ada", event="order")
    assert reply.status_code == 307
    assert isinstance(reply.next_request, httpx.Request)
    assert "authorization" not in reply.next_request.headers
