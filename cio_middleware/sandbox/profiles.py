"""
What is shown of people: a line for the list, and the whole story of one, also of somebody who is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cio_middleware.sandbox.people import Person
    from cio_middleware.sandbox.rows import EventRow
    from cio_middleware.sandbox.store import Workspace

REQUESTS = 100
"""Requests of a timeline that are shown, the newest."""


def summary(workspace: Workspace, key: str) -> dict[str, Any]:
    """Return one person's line; `gone` is True for somebody who is no longer known by this key."""
    person = workspace.people.called(key)
    return {"key": key, "gone": True} if person is None else {**person.line(), "gone": False}


def profile(workspace: Workspace, person: Person) -> dict[str, Any]:
    """Return everything about a person: what is known, how it became so, and what came."""
    names = {person.key, person.cio_id, *person.identifiers.values(), *person.merged}
    return {
        **person.document(),
        "history": _history(person),
        "suppressed": any(workspace.people.suppressed(kind, value) for kind, value in person.identifiers.items()),
        "merged_from": list(person.merged),
        "timeline": _timeline(workspace, names),
        "known": _known(person),
    }


def gone(workspace: Workspace, key: str) -> dict[str, Any] | None:
    """Return what is left of somebody who is no longer here; None when nothing is."""
    suppressed = any(workspace.people.suppressed(kind, key) for kind in ("id", "email"))
    heir = next((person.key for person in workspace.people if key in person.merged), None)
    timeline = _timeline(workspace, {key})
    if not (suppressed or heir or timeline):
        return None
    return {"key": key, "suppressed": suppressed, "merged_into": heir, "timeline": timeline}


def _history(person: Person) -> dict[str, list[dict[str, Any]]]:
    history: dict[str, list[dict[str, Any]]] = {}
    for change in person.past:
        history.setdefault(change.name, []).append({"at": change.at, "value": change.value, "seq": change.seq})
    return history


def _timeline(workspace: Workspace, names: set[str]) -> list[dict[str, Any]]:
    """Return the rows about somebody by the request that brought each last, the newest request first."""
    requests: dict[str, list[EventRow]] = {}
    for row in workspace.events.newest_first():
        if not names.isdisjoint(_named(row)):
            if row.request not in requests and len(requests) == REQUESTS:
                break
            requests.setdefault(row.request, []).append(row)
    return [_caused(name, rows[::-1]) for name, rows in requests.items()]


def _named(row: EventRow) -> Iterable[str]:
    sent = row.identifiers.values() if isinstance(row.identifiers, dict) else ()
    return [value for value in (row.person, *sent) if isinstance(value, str)]


def _caused(request: str, rows: list[EventRow]) -> dict[str, Any]:
    last = rows[-1].attempts_log[-1] if rows[-1].attempts_log else None
    return {
        "request": request,
        "at": rows[-1].received_at,
        "method": last and last.method,
        "path": last and last.path,
        "status": last and last.status,
        "rows": [row.document() for row in rows],
    }


def _known(person: Person) -> dict[str, Any]:
    """Return a person in the shape in which Customer.io's App API answers for one."""
    identifiers = {kind: value for kind, value in person.identifiers.items() if kind in {"id", "email"}}
    stamps = {change.name: int(change.at) for change in person.past if change.name in person.attributes}
    return {
        "customer": {
            "id": person.identifiers.get("id", ""),
            "identifiers": {**identifiers, "cio_id": person.cio_id},
            "attributes": {**person.attributes, "cio_id": person.cio_id},
            "timestamps": stamps,
            "unsubscribed": person.attributes.get("unsubscribed") in (True, "true"),  # no set: it may be a list
            "devices": list(person.devices.values()),
        }
    }
