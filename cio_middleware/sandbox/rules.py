"""
Judge an operation by Customer.io's rules, without a clock, a store or a socket.

One table says which checks a call has to pass; `checks` holds them. What is left when nothing objects may
still be worth a warning: that is `advice`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cio_middleware.sandbox import checks, pipelinerules, sends
from cio_middleware.sandbox.verdicts import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cio_middleware.sandbox.checks import Check
    from cio_middleware.sandbox.fidelity import Fidelity
    from cio_middleware.sandbox.operations import Operation


def objections(op: Operation, fidelity: Fidelity) -> tuple[Finding, ...]:
    """Return everything for which Customer.io would refuse the operation; empty when it would take it."""
    if op.api == "pipelines":
        return pipelinerules.objections(op, fidelity)
    if op.api == "app":
        return sends.objections(op, fidelity)
    if op.api == "track.v2":
        shape = tuple(_v2_shape(op))
        if shape:
            return shape
    elif op.sent is not None and not isinstance(op.sent, dict):
        return (checks.invalid("E-body-not-object", "", "the body must be a JSON object"),)
    rule = _rules(op).get((op.subject, op.kind))
    if rule is None:
        return (_unknown_kind(op),)
    sized = (checks.size,) if op.api == "track.v2" else ()
    return tuple(finding for check in (*sized, *rule) for finding in check(op, fidelity))


def _v2_shape(op: Operation) -> Iterator[Finding]:
    if not isinstance(op.sent, dict):
        yield checks.invalid("E-item-not-object", "", "item must be an object")
        return
    for field in ("type", "action"):
        if not op.sent.get(field):
            yield checks.required(field, field, "Every v2 item has a type and an action.")


def _unknown_kind(op: Operation) -> Finding:
    if op.api == "track.v1":
        known = "event, page or screen"
        return checks.invalid(
            "E-type", "type", f"type must be {known}", f"it is {op.kind!r}", f"Send {known}, or leave it out."
        )
    actions = [kind for subject, kind in _V2 if subject == op.subject]
    if not actions:
        subjects = ", ".join(sorted({subject for subject, _ in _V2}))
        return checks.invalid("E-type", "type", f"type must be one of {subjects}", f"it is {op.subject!r}")
    return checks.invalid("E-action", "action", f"action must be one of {', '.join(actions)}", f"it is {op.kind!r}")


def _rules(op: Operation) -> dict[tuple[str, str], tuple[Check, ...]]:
    if op.api == "track.v2":
        return _V2
    return _V1_NOBODY if op.is_event and (not op.identifiers or "anonymous_id" in op.identifiers) else _V1


def _metric(op: Operation, fidelity: Fidelity) -> Iterator[Finding]:  # noqa: ARG001
    for field, value in (("delivery_id", op.attributes.get("delivery_id")), ("metric", op.name)):
        if not isinstance(value, str) or not value:
            yield checks.required(field, field)


def _answers(op: Operation, fidelity: Fidelity) -> Iterator[Finding]:  # noqa: ARG001
    if not isinstance(op.attributes, dict):
        yield checks.required("data", "data", 'Send {"data": {"email": …}}.')
        return
    if len(op.identifiers) != 1:
        explain = "the form is registered all the same" if not op.identifiers else "there are two"
        yield checks.invalid("E-form-identifier", "data", "exactly one of id, email must be present", explain)
    for name, value in op.attributes.items():
        if not isinstance(value, str):
            yield checks.invalid("E-form-value", f"data.{name}", "form values must be strings")


def _segment_ids(op: Operation, fidelity: Fidelity) -> Iterator[Finding]:
    most = fidelity.limits.segment_ids
    if not isinstance(op.ids, list) or not 1 <= len(op.ids) <= most:
        got = len(op.ids) if isinstance(op.ids, list) else "none"
        yield checks.invalid(
            "E-segment-ids", "ids", f"ids must contain between 1 and {most} entries", f"there are {got}"
        )
    if op.attributes["id_type"] not in {"id", "email", "cio_id"}:
        yield checks.invalid("E-id-type", "id_type", "id_type must be id, email or cio_id")


def _delivery(op: Operation, fidelity: Fidelity) -> Iterator[Finding]:  # noqa: ARG001
    if not isinstance(op.identifiers, dict) or not op.identifiers.get("id"):
        yield checks.required("identifiers.id", "id", "Send the id of the delivery.")
    if op.name not in ("opened", "converted", "delivered"):  # no set: also a list may come, which has no hash
        yield checks.invalid("E-metric", "name", "name must be opened, converted or delivered", f"it is {op.name!r}")
    if not isinstance(op.attributes, dict) or not op.attributes.get("device_token"):
        yield checks.required("attributes.device_token", "device_token")


_EVENT: tuple[Check, ...] = (checks.person, checks.event_name, checks.event_data, checks.timestamp)
_NOBODY: tuple[Check, ...] = (checks.visitor_or_invitee, checks.event_name, checks.event_data, checks.timestamp)
_IDENTIFY: tuple[Check, ...] = (checks.person, checks.attributes, checks.relationships, checks.timestamp)
_THING: tuple[Check, ...] = (checks.thing, checks.attributes, checks.object_weight, checks.relationships)
_RELATE: tuple[Check, ...] = (checks.person, checks.relationships)
_DEVICE: tuple[Check, ...] = (checks.person, checks.device)

_PEOPLE: dict[tuple[str, str], tuple[Check, ...]] = {
    ("person", "identify"): _IDENTIFY,
    ("person", "delete"): (checks.person,),
    ("person", "suppress"): (checks.person,),
    ("person", "unsuppress"): (checks.person,),
    ("person", "event"): _EVENT,
    ("person", "page"): _EVENT,
    ("person", "screen"): _EVENT,
    ("person", "add_device"): _DEVICE,
    ("person", "delete_device"): _DEVICE,
    ("person", "merge"): (checks.merge_sides,),
}
_V1: dict[tuple[str, str], tuple[Check, ...]] = {
    **_PEOPLE,
    ("delivery", "metric"): (_metric, checks.timestamp),
    ("delivery", "unsubscribe"): (),
    ("form", "submit"): (_answers,),
    ("segment", "add"): (_segment_ids,),
    ("segment", "remove"): (_segment_ids,),
}
_V1_NOBODY: dict[tuple[str, str], tuple[Check, ...]] = {
    ("person", kind): _NOBODY for kind in ("event", "page", "screen")
}
_V2: dict[tuple[str, str], tuple[Check, ...]] = {
    **_PEOPLE,
    ("person", "add_relationships"): _RELATE,
    ("person", "delete_relationships"): _RELATE,
    ("object", "identify"): _THING,
    ("object", "identify_anonymous"): _THING,
    ("object", "delete"): (checks.thing,),
    ("object", "add_relationships"): (checks.thing, checks.relationships),
    ("object", "delete_relationships"): (checks.thing, checks.relationships),
    ("delivery", "event"): (_delivery, checks.timestamp),
}


def known_kinds() -> tuple[tuple[str, str], ...]:
    """Return every (subject, kind) that has a rule, for tests that want to see each one judged."""
    return tuple({**_V1, **_V2})


def describe(findings: tuple[Finding, ...], batch_index: int | None = None) -> list[dict[str, Any]]:
    """
    Return findings as v2 answers them: reason, field and message, with the item's place when there is one.
    """
    place = {} if batch_index is None else {"batch_index": batch_index}
    return [{**place, "reason": f.reason, "field": f.field, "message": f.message} for f in findings]
