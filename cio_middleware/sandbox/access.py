"""
Who may call which API, and which workspace a credential opens.

Any key will do, as nothing here knows the real ones; what counts is its kind. Each of Customer.io's three APIs has
credentials of its own, and one of them at the door of another is a mistake that the real one refuses.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cio_middleware.sandbox.fidelity import Fidelity

INVALID = "invalid"
"""The site id, write key or App key that is always refused."""

_SECRET = re.compile(r"[0-9a-f]{32,}|sa_live_.*|sk_(us|eu)_.*", re.IGNORECASE | re.DOTALL)
"""What a real App key, a service account's token or a secret Pipelines key looks like."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """
    What an `Authorization` header says, without what it keeps secret.

    Attributes:
        scheme: ``basic``, ``bearer``, or nothing.
        name: The site id, the write key, or what stands for a bearer key.
        password: True when Basic credentials have a second half.
    """

    scheme: str = ""
    name: str | None = None
    password: bool = False


def read(authorization: str | None) -> Credentials:
    """Read a header; what is no credential becomes empty ones."""
    scheme, _, rest = (authorization or "").partition(" ")
    if scheme.lower() == "bearer" and rest.strip():
        return Credentials("bearer", _called(rest.strip()))
    if scheme.lower() != "basic":
        return Credentials()
    try:
        # Customer.io's Go client sends the URL-safe alphabet, all others the standard one; both are in use.
        decoded = base64.b64decode(rest.strip().translate(str.maketrans("-_", "+/")), validate=True).decode()
    except ValueError:  # no base64, not even ASCII, or no UTF-8 inside
        return Credentials()
    name, _, password = decoded.partition(":")
    return Credentials("basic", name or None, bool(password))


def site(api: str, credentials: Credentials, fidelity: Fidelity) -> str | None:
    """Return the workspace that credentials open at an API, or None; where there is no API, any name opens its own."""
    if not credentials.name or credentials.name == INVALID:
        return None
    if not api:
        opens = True
    elif api == "app":
        opens = credentials.scheme == "bearer"
    elif api == "pipelines":
        blank = not credentials.password or fidelity.write_key_pair == "accept"
        opens = credentials.scheme == "bearer" or blank
    else:
        opens = credentials.scheme == "basic" and credentials.password
    return credentials.name if opens else None


NEEDS = {
    "app": "the App API takes a Bearer key: Authorization: Bearer <App API key>",
    "pipelines": "Pipelines takes Basic credentials of a write key and a blank password, or a regional key as Bearer",
    "track.v1": "the Track API takes Basic credentials: site id and Track API key, both not empty",
    "track.v2": "the Track API takes Basic credentials: site id and Track API key, both not empty",
}
"""What each API wants to see, for those whom it refuses."""


def _called(key: str) -> str:
    # A bearer key is a secret as a whole, and the name of a workspace is shown: one that looks real is not its name.
    if not _SECRET.fullmatch(key):
        return key
    return f"key-{key[-4:]}-{blake2b(key.encode(), digest_size=3).hexdigest()}"
