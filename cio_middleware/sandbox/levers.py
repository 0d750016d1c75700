"""
The six levers that are always in reach: fault rules with an id, a label and an act that never change.

A lever is pulled by putting its rule, and put back by removing it; it is a rule as any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cio_middleware.sandbox.faults import describe
from cio_middleware.sandbox.faultspec import rule

if TYPE_CHECKING:
    from cio_middleware.sandbox.faults import Faults, Rule

_ACTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("429, wait 2 seconds", {"type": "status", "status": 429, "headers": {"Retry-After": "2"}}),
    ("500, always", {"type": "status", "status": 500}),
    ("Timeout, never answer", {"type": "hang"}),
    ("Reset, drop the connection", {"type": "reset"}),
    ("Slow, 800 milliseconds more", {"type": "latency", "ms": 800}),
    ("Partial, refuse item 2 of a batch", {"type": "partial", "indexes": [1]}),
)

LEVERS: dict[str, Rule] = {
    f"lever-{number}": rule({"label": label, "do": act}, f"lever-{number}")
    for number, (label, act) in enumerate(_ACTS, 1)
}


def document(faults: Faults) -> list[dict[str, Any]]:
    """Return all six, each with the rule to put, whether it is pulled, and what it did since."""
    armed = {each["id"]: each for each in faults.document()["rules"]}
    return [
        {
            **armed.get(name, {**describe(lever), "seen": 0, "hits": 0}),
            "pulled": bool(armed.get(name, {}).get("enabled")),
        }
        for name, lever in LEVERS.items()
    ]
