"""
What an accepted operation does to the people of a workspace, verb by verb.

Customer.io answers 200 before it applies anything, so an operation that changes nothing is no error: its
effect says `ignored`, and why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cio_middleware.sandbox.identity import Refused, resolve
from cio_middleware.sandbox.people import Moment, Person
from cio_middleware.sandbox.verdicts import Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from cio_middleware.sandbox.fidelity import Fidelity
    from cio_middleware.sandbox.operations import Operation
    from cio_middleware.sandbox.people import People


@dataclass(frozen=True, slots=True)
class Effect:
    """
    What became of an operation.

    Attributes:
        verdict: Accepted, ignored or duplicate.
        person: What the person it went to is called, or nothing.
        known: True when that person had been identified before.
        findings: Why it was ignored.
    """

    verdict: Verdict
    person: str | None = None
    known: bool = True
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Setting:
    """
    Where an operation lands: people, objects, the rules of doubt, the time in Unix seconds, the next number.
    """

    people: People
    objects: dict[tuple[str, str], dict[str, Any]]
    fidelity: Fidelity
    now: float
    seq: int


def apply(op: Operation, setting: Setting) -> Effect:
    """Apply an operation that no rule objects to."""
    if op.subject == "object":
        return _object(op, setting)
    if op.subject == "segment":
        return _segment(op, setting)
    if op.subject == "form":
        return _submit(op, setting)
    if op.subject == "delivery" or not (op.identifiers or op.kind == "merge"):
        return Effect(Verdict.ACCEPTED)
    if op.kind == "merge":
        return _merge(op, setting)
    if op.kind == "alias":
        return _alias(op, setting)
    if op.kind != "unsuppress" and setting.people.suppressed(*_address(op.identifiers)):
        return _ignored("I-suppressed", "this person is suppressed", _address(op.identifiers)[1])
    return _PERSON[op.kind](op, setting)


def _address(identifiers: dict[str, str]) -> tuple[str, str]:
    return next(iter(identifiers.items()))


def _ignored(code: str, explain: str, person: str | None = None) -> Effect:
    return Effect(Verdict.IGNORED, person, findings=(Finding(code, "ignored", "", "", explain),))


def _identify(op: Operation, setting: Setting) -> Effect:
    people, address = setting.people, _address(op.identifiers)
    if any(people.suppressed(kind, op.attributes[kind]) for kind in ("id", "email") if op.attributes.get(kind)):
        return _ignored("I-suppressed", "this person is suppressed", address[1])
    resolved = resolve(people, address, op.attributes, setting.fidelity)
    if isinstance(resolved, Refused):
        return _ignored(resolved.code, resolved.explain, address[1])
    when = op.timestamp if op.timestamp is not None else int(setting.now)
    person = resolved.person or people.meet(*resolved.claims[0])
    if when < person.changed_at:
        explain = f"a change of {int(person.changed_at)} is known, and this one is of {when}"
        return _ignored("I-skipped-update", explain, person.key)
    # A visitor who says something about themselves is a visitor still; only Pipelines identifies those.
    known, person.identified = person.identified, person.identified or address[0] != "anonymous_id"
    for kind, value in resolved.claims:
        _claim(people, person, kind, value)
    person.changed_at = when
    person.change(_settable(op.attributes), setting.now, setting.seq)
    if isinstance(op.anonymous_id, str) and op.anonymous_id:
        _link(people, person, op.anonymous_id, setting.now)
    for target, attributes, linked in _relations(op):
        _relate(person, target, attributes, linked=linked)
    return Effect(Verdict.ACCEPTED, person.key, known)


def _claim(people: People, person: Person, kind: str, value: str) -> None:
    holder = people.find(kind, value)
    if holder is not None and holder is not person:
        people.absorb(person, holder)  # a stranger that only events have named so far
    people.claim(person, kind, value)


def _link(people: People, person: Person, visitor: str, now: float) -> None:
    holder = people.find("anonymous_id", visitor)
    if holder is not None and holder is not person:
        if holder.identified:
            return  # an anonymous id is linked once and not reused
        people.absorb(person, holder)
    people.claim(person, "anonymous_id", visitor)
    person.linked_at = now


RESERVED = frozenset({
    "_timestamp", "_update", "cio_relationships", "anonymous_id", "cio_id", "_created_in_customerio_at"
})  # fmt: skip
"""Members of an identify that are no attributes."""


def _settable(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in RESERVED}


def _set(attributes: dict[str, Any], given: dict[str, Any]) -> None:
    for name, value in _settable(given).items():
        if value is None or value == "":
            attributes.pop(name, None)
        else:
            attributes[name] = value


def _event(op: Operation, setting: Setting) -> Effect:
    kind, value = _address(op.identifiers)
    person = setting.people.find(kind, value)
    if person is not None and kind == "anonymous_id" and person.linked_at is not None:
        late = setting.now - person.linked_at > setting.fidelity.late_merge_seconds
        if late:
            return _ignored("I-late-anonymous", "this visitor was identified more than five minutes ago", value)
    if person is None:
        if kind == "cio_id":
            return _ignored("I-unknown-cio-id", f"no person has the cio_id {value}", value)
        if setting.fidelity.unknown_person == "drop" and kind != "anonymous_id":
            return _ignored("I-unknown-person", "nobody was identified by this identifier", value)
        person = setting.people.meet(kind, value)
    event_id = op.event_id if isinstance(op.event_id, str) else None
    stamp = op.timestamp if op.timestamp is not None else int(setting.now)
    person.moments.append(Moment(setting.seq, event_id, op.kind, op.name.strip(), stamp))
    return Effect(Verdict.ACCEPTED, person.key, person.identified or kind == "anonymous_id")


def _delete(op: Operation, setting: Setting) -> Effect:
    person = setting.people.find(*_address(op.identifiers))
    if person is None:
        return Effect(Verdict.ACCEPTED, _address(op.identifiers)[1])
    setting.people.forget(person)
    return Effect(Verdict.ACCEPTED, person.key)


def _suppress(op: Operation, setting: Setting) -> Effect:
    person = setting.people.find(*_address(op.identifiers))
    setting.people.suppress(*_address(op.identifiers))
    return Effect(Verdict.ACCEPTED, person.key if person else _address(op.identifiers)[1])


def _unsuppress(op: Operation, setting: Setting) -> Effect:
    setting.people.unsuppress(*_address(op.identifiers))
    return Effect(Verdict.ACCEPTED, _address(op.identifiers)[1])


def _add_device(op: Operation, setting: Setting) -> Effect:
    person = setting.people.meet(*_address(op.identifiers))
    token = op.device[op.device_key]
    person.devices[token] = {**op.device, "token": token}
    return Effect(Verdict.ACCEPTED, person.key, person.identified)


def _delete_device(op: Operation, setting: Setting) -> Effect:
    person = setting.people.find(*_address(op.identifiers))
    if person is None:
        return Effect(Verdict.ACCEPTED, _address(op.identifiers)[1])
    person.devices.pop(op.device[op.device_key], None)
    return Effect(Verdict.ACCEPTED, person.key)


def _merge(op: Operation, setting: Setting) -> Effect:
    people = setting.people
    primary = people.find(*_address(op.primary))
    secondary = people.find(*_address(op.secondary))
    if primary is None:
        return _ignored("I-no-primary", "the primary is nobody, so nothing happens", _address(op.primary)[1])
    if secondary is None:
        again = _address(op.secondary)[1] in primary.merged
        missing = _ignored("I-no-secondary", "the secondary is nobody, so nothing happens", primary.key)
        return Effect(Verdict.DUPLICATE, primary.key) if again else missing
    if secondary is not primary:
        people.absorb(primary, secondary)
    return Effect(Verdict.ACCEPTED, primary.key)


def _alias(op: Operation, setting: Setting) -> Effect:
    people, (kind, value) = setting.people, _address(op.identifiers)
    if setting.fidelity.pipelines_alias == "ignore":
        return _ignored("I-alias", "an alias is for a few other destinations", value)
    former = people.find("anonymous_id", op.secondary) or people.find("id", op.secondary)
    person = people.find(kind, value)
    if former is None:
        return _ignored("I-no-previous", "nobody is known by the previousId, so nothing happens", value)
    if person is None:
        person = people.meet(kind, value)
    if former.identifiers.get("anonymous_id") == op.secondary:
        _link(people, person, op.secondary, setting.now)
    elif former is not person:
        people.absorb(person, former)
    return Effect(Verdict.ACCEPTED, person.key, person.identified)


def _send(op: Operation, setting: Setting) -> Effect:
    kind, value = _address(op.identifiers)
    if kind == "cio_id" and setting.people.find(kind, value) is None:
        return _ignored("I-unknown-cio-id", f"no person has the cio_id {value}", value)
    person = setting.people.meet(kind, value)
    person.identified = True  # a send creates whom it names
    return Effect(Verdict.ACCEPTED, person.key)


def _relationships(op: Operation, setting: Setting) -> Effect:
    person = setting.people.meet(*_address(op.identifiers))
    for target, attributes, linked in _relations(op):
        _relate(person, target, attributes, linked=linked)
    return Effect(Verdict.ACCEPTED, person.key, person.identified)


def _relations(op: Operation) -> list[tuple[dict[str, Any], dict[str, Any], bool]]:
    given, action = op.relationships, op.kind
    if isinstance(given, dict):
        given, action = given["relationships"], given["action"]
    linked = action != "delete_relationships"
    entries = [entry for entry in given or () if isinstance(entry, dict) and isinstance(entry.get("identifiers"), dict)]
    return [(entry["identifiers"], entry.get("relationship_attributes") or {}, linked) for entry in entries]


def _relate(person: Person, target: dict[str, Any], attributes: dict[str, Any], *, linked: bool) -> None:
    key = _thing(target)
    if linked:
        person.relationships[key] = {"identifiers": target, "attributes": attributes}
    else:
        person.relationships.pop(key, None)


def _thing(identifiers: dict[str, Any]) -> tuple[str, str]:
    if "cio_object_id" in identifiers:
        return ("cio_object_id", str(identifiers["cio_object_id"]))
    return (str(identifiers.get("object_type_id", "1")), str(identifiers.get("object_id", "")))


def _object(op: Operation, setting: Setting) -> Effect:
    key = _thing(op.identifiers)
    if op.kind == "delete":
        setting.objects.pop(key, None)
        for person in setting.people:
            person.relationships.pop(key, None)
        return Effect(Verdict.ACCEPTED)
    if key[0] == "cio_object_id" and key not in setting.objects:
        return _ignored("I-unknown-object", "a cio_object_id updates, and creates nothing")
    _set(setting.objects.setdefault(key, {}), op.attributes)
    related: str | None = None
    for whom, attributes, linked in _relations(op):
        kinds = ("id", "email", "cio_id", "anonymous_id")
        address = next(((kind, whom[kind]) for kind in kinds if whom.get(kind) and isinstance(whom[kind], str)), None)
        if address and (address[0] != "cio_id" or setting.people.find(*address)):
            person = setting.people.meet(*address)
            _relate(person, op.identifiers, attributes, linked=linked)
            related = person.key
    return Effect(Verdict.ACCEPTED, related if op.api == "pipelines" else None)


def _segment(op: Operation, setting: Setting) -> Effect:
    for given in op.ids:
        person = setting.people.find(op.attributes["id_type"], str(given))
        if person is not None and op.kind == "add":
            person.segments.add(op.name)
        elif person is not None:
            person.segments.discard(op.name)
    return Effect(Verdict.ACCEPTED)


def _submit(op: Operation, setting: Setting) -> Effect:
    person = setting.people.meet(*_address(op.identifiers))
    known, person.identified = person.identified, True
    ignored = {"form_id", "form_name", "form_type", "form_url", "form_url_param"}
    answers = {name: value for name, value in op.attributes.items() if name not in ignored}
    person.change(_settable(answers), setting.now, setting.seq)
    return Effect(Verdict.ACCEPTED, person.key, known)


_PERSON: dict[str, Callable[[Operation, Setting], Effect]] = {
    "identify": _identify,
    "event": _event,
    "page": _event,
    "screen": _event,
    "delete": _delete,
    "suppress": _suppress,
    "unsuppress": _unsuppress,
    "add_device": _add_device,
    "delete_device": _delete_device,
    "add_relationships": _relationships,
    "delete_relationships": _relationships,
    "send": _send,
}
