"""
Whom an identify means, by Customer.io's published rules.

The answer is a value, `Resolved` or a reason to ignore the call, so that each rule is one row of a test:
(a) nobody matches: create; (b) the address matches: update; (c) only an identifier in the body matches:
update that person and give them the address; (d) both match and differ: answered 200 and not applied; (e) an
unknown cio_id: dropped; (f) a new id with an email in use: that person takes the new id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cio_middleware.sandbox.fidelity import Fidelity
    from cio_middleware.sandbox.people import People, Person


@dataclass(frozen=True, slots=True)
class Resolved:
    """
    The person that an identify changes.

    Attributes:
        person: Who it is; None means somebody new.
        claims: The identifiers that lead to them from now on, as (kind, value).
    """

    person: Person | None
    claims: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """Why an identify is answered with success and not applied: a code and a sentence."""

    code: str
    explain: str


def resolve(
    people: People, address: tuple[str, str], attributes: dict[str, Any], fidelity: Fidelity
) -> Resolved | Refused:
    """
    Decide whom an identify means.

    Args:
        people: The profiles so far; they are only read.
        address: The identifier in the path (v1) or in `identifiers` (v2), as (kind, value).
        attributes: What the call sets; `id` and `email` among them may name somebody too.
        fidelity: Which of the workspace's settings hold.
    """
    kind, value = address
    addressed = people.find(kind, value)
    if addressed is None and kind == "cio_id":
        return Refused("I-unknown-cio-id", f"no person has the cio_id {value}, and a cio_id creates nobody")
    stated = {name: attributes[name] for name in ("id", "email") if attributes.get(name)}
    matches = [addressed, *(people.find(name, given) for name, given in stated.items() if (name, given) != address)]
    identified = [person for person in matches if person is not None and person.identified]
    if any(person is not identified[0] for person in identified):
        return Refused("I-failed-attribute-change", "the address and the attributes belong to different people")
    if attributes.get("_update") is True and not identified:
        return Refused("I-update-only", "_update is true and nobody is known by this identifier")
    if addressed is not None and addressed.identified and kind != "cio_id":
        changed = [name for name, given in stated.items() if not _same(name, addressed.identifiers.get(name), given)]
        if changed and (kind in changed or "id" in changed or not fidelity.email_update_by_id):
            return Refused(
                "I-failed-attribute-change", f"only a call by cio_id may change the {changed[0]} of a person"
            )
    if kind != "cio_id":
        # Where the address and the attributes name one kind, the address is what leads to the person from now on.
        stated = {**stated, kind: value}
    strangers = (person for person in matches if person is not None)
    return Resolved(identified[0] if identified else next(strangers, None), tuple(stated.items()))


def _same(kind: str, known: str | None, given: str) -> bool:
    if known is None:
        return True
    return known.lower() == given.lower() if kind == "email" else known == given
