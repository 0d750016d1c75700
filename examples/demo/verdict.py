"""
Hold what Customer.io knows against what people did. Values in, sentences out: an empty list is the proof.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cio_middleware.testing import SeenEvent, SeenPerson, SeenRequest

from .visitors import Deed, Person

STORED = frozenset({"accepted", "accepted_but"})


@dataclass(frozen=True, slots=True)
class Seen:
    """What the sandbox holds at the end."""

    events: Sequence[SeenEvent]
    people: Sequence[SeenPerson]
    requests: Sequence[SeenRequest]


@dataclass(frozen=True, slots=True)
class Row:
    """
    One line of the table, in events.

    `sent_again` counts the events of a repeated request, never requests. An `identify` that comes twice is applied
    twice, to no effect: a repeat as well.
    """

    name: str
    captured: int
    delivered: int
    sent_again: int
    repeats: int


def missing_and_wrong(people: Iterable[Person], urls: Mapping[str, str], seen: Seen) -> list[str]:
    """What Customer.io lacks, has twice, has of nobody, or has of somebody else."""
    by_id = {event.event_id: event for event in seen.events if event.verdict in STORED and event.event_id}
    profiles = {profile.key: profile for profile in seen.people}
    problems: list[str] = []
    for person in people:
        profile = profiles.pop(person.name, None)
        if profile is None:
            problems.append(f"{person.name} is not there at all")
            continue
        expected = Counter(person.deeds(urls[person.shop]))
        found = Counter(_deed(by_id[event_id]) for event_id in profile.events if event_id in by_id)
        problems += [f"{person.name} lacks {count} x {deed}" for deed, count in (expected - found).items()]
        problems += [f"{person.name} has {count} too many of {deed}" for deed, count in (found - expected).items()]
        problems += _differences(person, profile)
    problems += [f"{key} is there, and nobody here is called that" for key in profiles]
    twice = [event_id for event_id, count in _stored_ids(seen).items() if count > 1]
    return problems + [f"event {event_id} is stored more than once" for event_id in twice]


def unbalanced(shop: str, report: Mapping[str, Any]) -> list[str]:
    """What a shop's own ledger admits: events that are not delivered."""
    ledger = report["ledger"]
    problems = [] if report["balanced"] else [f"{shop}: the ledger does not add up: {ledger}"]
    problems += [] if report["flushed"] else [f"{shop}: events still wait: {ledger['pending']}"]
    problems += [f"{shop}: {count} events dropped ({reason})" for reason, count in report["dropped"].items()]
    problems += [f"{shop}: {ledger[name]} {name}" for name in ("dead_lettered", "parked", "pending") if ledger[name]]
    if ledger["captured"] != (noted := sum(report["captured"].values())):
        problems.append(f"{shop}: the ledger says {ledger['captured']} captured, the shop noted {noted}")
    return problems


def quiet(injected: Mapping[str, int], requests: Sequence[SeenRequest]) -> list[str]:
    """Which faults did not happen as often as they should: a proof in fine weather proves little."""
    happened = faults_of(requests)
    return [
        f"{fault} happened {happened[fault]} times, not {count}"
        for fault, count in injected.items()
        if happened[fault] != count
    ]


def faults_of(requests: Sequence[SeenRequest]) -> Counter[str]:
    """How often each fault answered: by its status, else by its name."""
    return Counter(str(request.status or request.fault) for request in requests if request.fault)


def table(captured: Mapping[str, int], seen: Seen) -> list[Row]:
    """One row for each name, in the order of the alphabet: pages and identifies first, as they are verbs."""
    rows = []
    for name in sorted(captured, key=lambda name: (name not in {"identify", "page"}, name)):
        tries = Counter(_key(event) for event in seen.events if _name(event) == name)
        stored = Counter(_key(event) for event in seen.events if _name(event) == name and event.verdict in STORED)
        repeats = sum(event.verdict == "duplicate" for event in seen.events if _name(event) == name)
        again = stored.total() - len(stored)
        rows.append(Row(name, captured[name], len(stored), tries.total() - len(tries), repeats + again))
    return rows


def strangers(seen: Seen) -> int:
    """How many events arrived under an anonymous id, before anybody knew whose they were."""
    return sum("anonymous_id" in event.identifiers for event in seen.events if event.verdict in STORED)


def _stored_ids(seen: Seen) -> Counter[str]:
    return Counter(event.event_id for event in seen.events if event.verdict in STORED and event.event_id)


def _name(event: SeenEvent) -> str:
    return str(event.name) if event.kind == "event" else event.kind


def _key(event: SeenEvent) -> str:
    """What tells one event from another: its id, or for an identify, which has none, its bytes."""
    return event.event_id or json.dumps([event.identifiers, event.timestamp, event.data], sort_keys=True)


def _deed(event: SeenEvent) -> Deed:
    context = event.data.get("context") or {}
    own = {name: value for name, value in event.data.items() if name != "context" and not name.startswith("_")}
    path = context.get("page", {}).get("path", "no request")
    return Deed(str(event.name), tuple(sorted(own.items())), path, context.get("locale", ""))


def _differences(person: Person, profile: SeenPerson) -> list[str]:
    found = {name: value for name, value in profile.attributes.items() if not name.startswith("_")}
    names = sorted({*found, *person.profile})
    return [
        f"{person.name}'s {name} is {found.get(name)!r}, expected {person.profile.get(name)!r}"
        for name in names
        if found.get(name) != person.profile.get(name)
    ]
