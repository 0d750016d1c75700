"""The emulated sends of the App API, as any HTTP client and Customer.io's own package see them."""

from __future__ import annotations

import pytest
from customerio import (
    APIClient,
    CustomerIOException,
    SendEmailRequest,
    SendInAppRequest,
    SendInboxMessageRequest,
    SendPushRequest,
    SendSMSRequest,
    SendWhatsAppRequest,
)

ADA = {"id": "ada"}
WHOLE = {"transactional_message_id": 3, "identifiers": ADA, "message_data": {"total": 42}}
OWN_WORDS = {"to": "a@x.y", "identifiers": ADA, "from": "b@x.y", "subject": "Hi", "body": "Hi"}


@pytest.fixture(name="send")
def _send(http, sandbox):
    def send(channel, body, key=None):
        """Send through one channel."""
        headers = {"Authorization": f"Bearer {key or sandbox.site_id}"}
        return http.post(f"/v1/send/{channel}", json=body, headers=headers, auth=None)

    http.auth = None
    return send


@pytest.mark.parametrize("channel", ["email", "push", "sms", "in_app", "inbox_message", "whatsapp"])
def test_a_send_is_a_row_and_goes_nowhere(send, sandbox, channel):
    """The answer names the delivery, and the person is created if there is none."""
    reply = send(channel, {**WHOLE, "to": "a@x.y"})

    (row,) = sandbox.events()
    assert reply.status_code == 200
    assert reply.json() == {"delivery_id": f"delivery-{row.seq}", "queued_at": int(row.received_at)}
    assert (row.api, row.kind, row.name, row.person, row.verdict) == ("app", "send", "3", "ada", "accepted")
    assert row.data["message_data"] == {"total": 42}
    assert sandbox.people["ada"].identified
    assert sandbox.requests()[0].endpoint == f"app.send_{channel}"


def test_the_same_send_twice_is_two_deliveries(send, sandbox):
    """No send is idempotent, so a client must not repeat one that may have been taken."""
    ids = [send("push", WHOLE).json()["delivery_id"] for _ in range(2)]
    assert len(set(ids)) == 2
    assert [row.verdict for row in sandbox.events(kind="send")] == ["accepted"] * 2


WRONG = {
    "no identifiers": ("push", {"transactional_message_id": 3}, "identifiers"),
    "two identifiers": ("push", {**WHOLE, "identifiers": {"id": "a", "email": "b"}}, "identifiers"),
    "anonymous": ("push", {**WHOLE, "identifiers": {"anonymous_id": "v"}}, "identifiers"),
    "id is a number": ("push", {**WHOLE, "identifiers": {"id": 7}}, "identifiers.id"),
    "no message": ("push", {"identifiers": ADA}, "transactional_message_id"),
    "message is a list": ("push", {**WHOLE, "transactional_message_id": [3]}, "transactional_message_id"),
    "no address": ("email", WHOLE, "to"),
    "no sender": ("email", {**OWN_WORDS, "from": ""}, "from"),
    "no subject": ("email", {**OWN_WORDS, "subject": None}, "subject"),
    "no body": ("email", {key: value for key, value in OWN_WORDS.items() if key != "body"}, "body"),
    "data is a list": ("sms", {**WHOLE, "message_data": []}, "message_data"),
    "send_at is text": ("sms", {**WHOLE, "send_at": "now"}, "send_at"),
    "send_at is in milliseconds": ("sms", {**WHOLE, "send_at": 1_800_000_000_000}, "send_at"),
    "sixteen recipients": ("email", {**WHOLE, "to": "a@x.y", "bcc": ",".join(["b@x.y"] * 15)}, "to"),
}


@pytest.mark.parametrize(("channel", "body", "field"), WRONG.values(), ids=WRONG)
def test_what_is_missing_is_a_400(send, sandbox, channel, body, field):
    """In the envelope of sends, and nobody is created."""
    reply = send(channel, body)
    assert reply.status_code == 400
    assert [error.field for error in sandbox.bad[0].errors] == [field]
    assert reply.json() == {"meta": {"error": sandbox.bad[0].errors[0].message}}
    assert len(list(sandbox.people)) == 0


@pytest.mark.parametrize(
    "body",
    [
        {**WHOLE, "to": "a@x.y", "bcc": ",".join(["b@x.y"] * 14)},
        OWN_WORDS,
        {**WHOLE, "to": "a@x.y", "transactional_message_id": "welcome"},
        {**WHOLE, "to": "a@x.y", "identifiers": {"email": "日" * 50}},
    ],
    ids=["fifteen recipients", "own words", "by name", "150 bytes"],
)
def test_what_is_whole_is_taken(send, body):
    """By number, by name, or with words of its own."""
    assert send("email", body).status_code == 200


def test_an_identifier_of_one_byte_too_many_is_refused(send):
    """150 bytes is the limit here too, and three of them may be one character."""
    assert send("push", {**WHOLE, "identifiers": {"id": "日" * 50 + "a"}}).status_code == 400


def test_a_send_is_set_for_at_most_ninety_days_ahead(send, sandbox):
    """The answer says for when."""
    send("push", WHOLE)
    now = int(sandbox.events()[0].received_at)
    assert send("push", {**WHOLE, "send_at": now + 60}).json()["send_at"] == now + 60
    assert send("push", {**WHOLE, "send_at": now + 91 * 86400}).status_code == 400


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer invalid", "Basic ZGV2OmtleQ=="])
def test_only_a_bearer_key_is_taken(sandbox, web, header):
    """A pair of Track credentials is refused, as the real one does."""
    headers = {} if header is None else {"Authorization": header}
    reply = web.post(f"{sandbox.url}/v1/send/push", json=WHOLE, headers=headers)
    assert (reply.status_code, reply.json()) == (401, {"meta": {"error": "Unauthorized"}})


def test_a_suppressed_person_gets_nothing(send, sandbox, web):
    """The answer is a good one, and the row says that it is ignored."""
    url = f"{sandbox.url}/api/v1/customers/ada/suppress"
    web.post(url, auth=(sandbox.site_id, "key"))
    assert send("push", WHOLE).status_code == 200
    assert [row.errors[0].code for row in sandbox.bad] == ["I-suppressed"]


OFFICIAL = {
    "email": (lambda api: api.send_email(SendEmailRequest(transactional_message_id=3, to="a@x.y", identifiers=ADA))),
    "push": (lambda api: api.send_push(SendPushRequest(transactional_message_id=3, identifiers=ADA))),
    "sms": (lambda api: api.send_sms(SendSMSRequest(transactional_message_id=3, identifiers=ADA))),
    "in_app": (lambda api: api.send_in_app(SendInAppRequest(transactional_message_id=3, identifiers=ADA))),
    "inbox_message": (
        lambda api: api.send_inbox_message(SendInboxMessageRequest(transactional_message_id=3, identifiers=ADA))
    ),
    "whatsapp": (lambda api: api.send_whatsapp(SendWhatsAppRequest(transactional_message_id=3, identifiers=ADA))),
}


@pytest.fixture(name="official_api")
def _official_api(sandbox):
    with APIClient(sandbox.site_id, url=sandbox.url, retries=0, timeout=5) as client:
        client.http.trust_env = False
        yield client


@pytest.mark.parametrize(("channel", "call"), OFFICIAL.items(), ids=OFFICIAL)
def test_customer_ios_own_package_sends(official_api, sandbox, channel, call):
    """The judge: every channel that it has is understood, and it reads the answer."""
    assert set(call(official_api)) == {"delivery_id", "queued_at"}
    assert sandbox.requests()[0].endpoint == f"app.send_{channel}"
    assert sandbox.events()[0].verdict == "accepted"


def test_customer_ios_own_package_is_told_what_is_missing(official_api):
    """A 400 becomes its exception, with the words in it."""
    with pytest.raises(CustomerIOException, match="to must be present"):
        official_api.send_email(SendEmailRequest(transactional_message_id=3, identifiers=ADA))
