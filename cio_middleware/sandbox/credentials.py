"""
Read credentials, and remember nothing of them but by what one key can be told from another.
"""

from __future__ import annotations

import base64
import hashlib
import re

KEY_CHARS = 16
"""Characters from which a key is long enough to show its end."""

_SECRET = re.compile(r"authorization|cookie|token|secret|password|passwd|api-?key|credential", re.IGNORECASE)


def secret_of(authorization: str | None) -> str | None:
    """Return the half of credentials that is a secret: a Bearer, or the password of Basic."""
    scheme, _, given = (authorization or "").partition(" ")
    if scheme.lower() == "bearer":
        return given.strip()
    if scheme.lower() != "basic":
        return None
    try:
        # Customer.io's Go client sends the URL-safe alphabet, all others the standard one; both are in use.
        decoded = base64.b64decode(given.strip().translate(str.maketrans("-_", "+/")), validate=True).decode()
    except ValueError:  # no base64, not even ASCII, or no UTF-8 inside
        return None
    return decoded.partition(":")[2]


def fingerprint(authorization: str | None) -> str | None:
    """
    Return by what a key can be told from another: its last four characters, and eight digits of its SHA-256.

    A key of less than `KEY_CHARS` characters is none of Customer.io's, and four of it would be most of it.
    """
    key = secret_of(authorization)
    if not key:
        return None
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"…{key[-4:]} sha256:{digest}" if len(key) >= KEY_CHARS else f"{len(key)} characters"


def is_secret(name: str) -> bool:
    """Return True for a header whose value may be a credential, by its name: it is never kept."""
    return _SECRET.search(name) is not None
