"""
What a fault did, in a few words: on the attempt that met it, and on the lever that was pulled for it.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cio_middleware.sandbox.faults import Act, Decision


def label(decision: Decision, own: str) -> str | None:
    """
    Return the words for a fault; None when none was met.

    Args:
        decision: What was decided.
        own: The label of the rule that decided it, if it has one.
    """
    if decision.act.type == "ok" and not decision.delay_ms:
        return None
    if own:
        return own
    return f"+{decision.delay_ms:.0f} ms" if decision.act.type == "ok" else words(decision.act)


def words(act: Act) -> str:
    """Return what an act does."""
    if act.type == "status":
        waits = next((value for name, value in act.headers.items() if name.lower() == "retry-after"), None)
        if waits is None:
            return str(act.status)
        return f"{act.status}, wait {waits} s" if waits.isdecimal() else f"{act.status}, wait until {waits}"
    if act.items:
        return f"items with {', '.join(f'{name} {pattern}' for name, pattern in act.items.items())} refused"
    if act.type == "partial":
        return f"item {', '.join(str(index + 1) for index in act.indexes)} refused"
    if act.type == "reset":
        return {"before_reply": "reset"}.get(act.at, f"reset {act.at.replace('_', ' ')}")
    fixed = {
        "latency": f"+{act.ms:.0f} ms",
        "hang": "no answer",
        "ack_lost": "stored, reply lost",
        "blackhole": "swallowed",
        "flap": f"{act.status}, down for {act.down_s:g} s",
        "rate_limit": f"{act.status}, over {act.rate:g}/s",
        "garbage": f"{act.status} from a proxy",
        "redirect": f"{act.status} to elsewhere",
    }
    return fixed.get(act.type, act.type.replace("_", " "))


def asked_to_wait(headers: Iterable[tuple[str, str]], at: float) -> float | None:
    """Return the seconds that a Retry-After among these headers asks for, counted from `at`; None without one."""
    value = next((value for name, value in headers if name.lower() == "retry-after"), None)
    if value is None:
        return None
    try:
        return float(value) if value.isdecimal() else max(parsedate_to_datetime(value).timestamp() - at, 0.0)
    except ValueError:
        return None
