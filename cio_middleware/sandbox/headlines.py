"""
The sentence at the top of an event: what became of it, and why, in one line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cio_middleware.sandbox.verdicts import Verdict

if TYPE_CHECKING:
    from cio_middleware.sandbox.verdicts import Finding

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


def headline(verdict: Verdict, tried: tuple[int, str | None], findings: tuple[Finding, ...]) -> str:
    """
    Return the sentence for an event.

    Args:
        verdict: What became of it.
        tried: How many attempts there were, and in words the fault that the last one met.
        findings: What is wrong with it.
    """
    count, label = tried
    if verdict is Verdict.ACCEPTED:
        return f"accepted{_on_attempt(count)}"
    if verdict is Verdict.ACCEPTED_BUT:
        return f"accepted{_on_attempt(count)}, but {_said(findings)}"
    if verdict is Verdict.FAULT:
        times = "" if count < 2 else f" after {count} attempts"
        return f"not in{times}: {label or 'an injected fault'}"
    if verdict is Verdict.DUPLICATE:
        return "duplicate: it was stored before, and Customer.io ignores the repeat"
    if verdict is Verdict.IGNORED:
        return f"answered with success and ignored: {_said(findings)}"
    return f"{verdict.replace('_', ' ')}: {_said(findings)}"


def _on_attempt(count: int) -> str:
    if count < 2:
        return ""
    return f" on the {_ORDINALS[count - 1]} attempt" if count <= len(_ORDINALS) else f" on attempt {count}"


def _said(findings: tuple[Finding, ...]) -> str:
    if not findings:
        return "for no known reason"
    first = findings[0].explain or findings[0].message or findings[0].code
    more = len(findings) - 1
    return f"{first} (and {more} more)" if more else first
