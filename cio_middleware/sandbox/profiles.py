"""
What is shown of people: a line for the list, and the whole story of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cio_middleware.sandbox.store import Workspace


def summary(workspace: Workspace, key: str) -> dict[str, Any]:
    """Return one person's line; `gone` is True for somebody who is no longer known by this key."""
    person = workspace.people.called(key)
    if person is None:
        return {"key": key, "gone": True}
    return {
        "key": person.key,
        "cio_id": person.cio_id,
        "identified": person.identified,
        "identifiers": dict(person.identifiers),
        "gone": False,
    }
