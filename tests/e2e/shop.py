"""What an app sends, in as few words as a test has room for."""

from __future__ import annotations

import itertools
import secrets
from typing import Any

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_numbers = itertools.count()

RETRIED = ["429;retry_after=1", "429;retry_after=1", "ok*"]


def ulid() -> str:
    """An id by which Customer.io knows a repeat."""
    return "0" + "".join(secrets.choice(_CROCKFORD) for _ in range(25))


def event(name: str, person: str = "ada", **attributes: Any) -> dict[str, Any]:
    """An item of the v2 API: something that a person did."""
    return {
        "type": "person",
        "action": "event",
        "identifiers": {"id": person},
        "name": name,
        "id": ulid(),
        "attributes": attributes,
    }


def identify(person: str = "ada", **attributes: Any) -> dict[str, Any]:
    """An item of the v2 API: what is known of a person."""
    return {"type": "person", "action": "identify", "identifiers": {"id": person}, "attributes": attributes}
