"""
What Pipelines objects to. Its reference has the required members and the sizes; the words are the sandbox's own.

In permissive mode, which is its default, nobody is told: the answer is 200 and the call is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cio_middleware.sandbox.checks import invalid, oversized, required
from cio_middleware.sandbox.pipelines import VERBS, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cio_middleware.sandbox.fidelity import Fidelity
    from cio_middleware.sandbox.operations import Operation
    from cio_middleware.sandbox.verdicts import Finding


def objections(op: Operation, fidelity: Fidelity) -> tuple[Finding, ...]:
    """Return everything for which Pipelines would refuse a call, or lose it."""
    if not isinstance(op.sent, dict):
        return (invalid("E-item-not-object", "", "the call must be a JSON object"),)
    if op.verb not in VERBS:
        known = ", ".join(sorted(VERBS))
        return (invalid("E-type", "type", f"type must be one of {known}", f"it is {op.sent.get('type')!r:.80}"),)
    return tuple(_found(op, fidelity))


def _found(op: Operation, fidelity: Fidelity) -> Iterator[Finding]:
    yield from oversized(op, fidelity, "Send less: Pipelines takes no larger call, single or in a batch.")
    yield from _someone(op, fidelity)
    yield from _named(op)
    if op.sent.get("timestamp") is not None and seconds(op.sent["timestamp"]) is None:
        message = "timestamp must be an ISO 8601 time"
        yield invalid("E-timestamp", "timestamp", message, fix="Send moment.isoformat(), or leave it out.")
    held = "traits" if op.verb in {"identify", "group"} else "properties"
    if op.sent.get(held) is not None and not isinstance(op.sent[held], dict):
        yield invalid("E-data-not-object", held, f"{held} must be an object", fix="Send an object.")
    elif op.verb == "identify":
        for name in ("id", "email"):
            if not isinstance(op.attributes.get(name), str | None):
                yield invalid("E-identifier-not-string", f"traits.{name}", f"{name} must be a string")
    if op.sent.get("context") is not None and not isinstance(op.sent["context"], dict):
        yield invalid("E-context", "context", "context must be an object", fix="Send an object.")
    elif op.verb == "track" and (op.subject, op.kind) != ("person", "event"):
        yield from _semantic(op)


def _someone(op: Operation, fidelity: Fidelity) -> Iterator[Finding]:
    members = ("userId", "previousId") if op.verb == "alias" else ("userId", "anonymousId")
    given = {name: op.sent[name] for name in members if op.sent.get(name) not in (None, "")}
    if op.verb == "alias":
        yield from (required(name, name) for name in members if name not in given)
    elif not given and not _elsewhere(op):
        yield required("userId", "userId or anonymousId", "Send whom it is about.")
    if op.verb == "group":
        given["groupId"] = op.sent.get("groupId")
        if given["groupId"] in (None, ""):
            del given["groupId"]
            yield required("groupId", "groupId", "Send the id of the group.")
    limit = fidelity.limits.identifier_bytes
    for name, value in given.items():
        if not isinstance(value, str):
            yield invalid("E-identifier-not-string", name, f"{name} must be a string", fix="Send a string.")
        elif (length := len(value.encode("utf-8", "surrogatepass"))) > limit:
            explain = f"it is {length} bytes, the limit is {limit}"
            yield invalid("E-identifier-too-long", name, f"{name} cannot be longer than {limit} bytes", explain)


def _elsewhere(op: Operation) -> bool:
    """A call may say otherwise whom it is about: by the email, or by the group."""
    return (op.verb == "identify" and "email" in op.identifiers) or (
        op.verb in {"group", "track"} and op.sent.get("groupId") not in (None, "")
    )


def _named(op: Operation) -> Iterator[Finding]:
    member = {"track": "event", "page": "name", "screen": "name"}.get(op.verb)
    if member is None:
        return
    value = op.sent.get(member)
    if value is None:
        yield required(member, member, "Give it a name.")
    elif not isinstance(value, str) or not value.strip():
        yield invalid("E-name-blank", member, f"{member} must be a string that is not blank", f"it is {value!r:.80}")


def _semantic(op: Operation) -> Iterator[Finding]:
    wanted: list[tuple[str, Any]] = []
    held = op.attributes if isinstance(op.attributes, dict) else {}
    if op.kind in {"add_device", "delete_device"}:
        wanted.append(("context.device.token", op.device.get("token") if isinstance(op.device, dict) else None))
    elif op.kind == "delete_relationships" or op.subject == "object":
        wanted.append(("properties.objectId", held.get("objectId")))
    elif op.kind == "metric":
        wanted += [("properties.deliveryId", held.get("deliveryId")), ("properties.metric", held.get("metric"))]
    for field, value in wanted:
        if not isinstance(value, str) or not value:
            yield required(field, field)
