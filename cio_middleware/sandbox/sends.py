"""
The App API's transactional sends, minimally: nothing is sent, and who would get what is a row of kind ``send``.

A send is not idempotent: the same call twice is two deliveries, here as there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cio_middleware.sandbox.checks import MILLISECONDS_FROM, addressed, invalid, required
from cio_middleware.sandbox.operations import Operation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cio_middleware.sandbox.fidelity import Fidelity
    from cio_middleware.sandbox.jsontext import Document
    from cio_middleware.sandbox.verdicts import Finding

CHANNELS = ("email", "push", "sms", "in_app", "inbox_message", "whatsapp")
RECIPIENTS = 15
"""Addresses of one email at most, over to, cc and bcc."""
AHEAD_SECONDS = 90 * 24 * 3600
"""How far in the future a send may be set."""

_TEMPLATE = "transactional_message_id"


def from_call(channel: str, document: Document, now: float) -> Operation:
    """Understand a send through one channel; its name is the message's, or else the channel."""
    body: dict[str, Any] = document.value if isinstance(document.value, dict) else {}
    template = body.get(_TEMPLATE)
    return Operation(
        api="app",
        subject="person",
        kind="send",
        verb=channel,
        sent=document.value,
        size=document.size,
        identifiers=body.get("identifiers", {}),
        name=str(template) if isinstance(template, str | int) and template else channel,
        attributes=body,
        attributes_size=document.size,
        arrived=now,
    )


def objections(op: Operation, fidelity: Fidelity) -> tuple[Finding, ...]:
    """Return everything for which the App API would refuse a send."""
    if not isinstance(op.sent, dict):
        return (invalid("E-body-not-object", "", "the body must be a JSON object"),)
    return tuple(_found(op, fidelity))


def _found(op: Operation, fidelity: Fidelity) -> Iterator[Finding]:
    yield from addressed(op.identifiers, "identifiers", ("id", "email", "cio_id"), fidelity)
    template = op.sent.get(_TEMPLATE)
    if template is not None and (isinstance(template, bool) or not isinstance(template, str | int)):
        yield invalid("E-template", _TEMPLATE, f"{_TEMPLATE} must be a number or a name")
    own_words = op.verb == "email" and template is None
    for name in ("to", *(("from", "subject", "body") if own_words else ())) if op.verb == "email" else ():
        if not op.sent.get(name):
            yield required(name, name, f"Send it, or a {_TEMPLATE}." if name != "to" else "Send the address.")
    if op.verb != "email" and not template:
        yield required(_TEMPLATE, _TEMPLATE, "Send the number or the name of the message.")
    if op.sent.get("message_data") is not None and not isinstance(op.sent["message_data"], dict):
        yield invalid("E-data-not-object", "message_data", "message_data must be an object", fix="Send an object.")
    yield from _when(op.sent.get("send_at"), op.arrived)
    given = [op.sent.get(name) for name in ("to", "cc", "bcc")]
    count = sum(len(value.split(",")) for value in given if isinstance(value, str) and value)
    if op.verb == "email" and count > RECIPIENTS:
        message = f"an email cannot have more than {RECIPIENTS} recipients"
        yield invalid("E-recipients", "to", message, f"there are {count}", "Send it in several calls.")


def _when(stamp: Any, now: float) -> Iterator[Finding]:
    if stamp is None:
        return
    if isinstance(stamp, bool) or not isinstance(stamp, int):
        yield invalid("E-timestamp", "send_at", "send_at must be an integer", fix="Send Unix seconds.")
    elif stamp >= MILLISECONDS_FROM or stamp > now + AHEAD_SECONDS:
        explain = f"it is {stamp - int(now)} seconds from now"
        yield invalid("E-send-at", "send_at", "send_at cannot be more than 90 days ahead", explain)


def answer(op: Operation, seq: int) -> dict[str, Any]:
    """Return the body of a good answer: the delivery is named by the number of its row."""
    later = op.sent.get("send_at")
    return {"delivery_id": f"delivery-{seq}", "queued_at": int(op.arrived), **({"send_at": later} if later else {})}
