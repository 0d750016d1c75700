"""
Lay out JSON for reading without parsing it into values.

What a program makes of JSON is not what was sent: integers above 2**53 are rounded, of two members with one name the
first is lost, escapes are gone. Here every token stays as it was written; only the spaces between them change.
"""

from __future__ import annotations

import json
import re
from typing import Any

INDENT = "  "

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}:,]|[^\s\[\]{}:,"]+', re.DOTALL)
_SPACE = re.compile(r"[ \t\n\r]*")
# Numbers stay text: to read one of a million digits would take time squared.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)


def pretty(text: str) -> str:
    """Return JSON with one member or element on each line; what is no JSON comes back as it was."""
    if not _is_json(text):
        return text
    lines = [""]
    depth = 0
    parts = _TOKEN.findall(text)
    for before, part, after in zip(["", *parts], parts, [*parts[1:], ""], strict=False):
        if part in "]}":
            depth -= 1
            if before not in "[{":
                lines.append(INDENT * depth)
        lines[-1] += ": " if part == ":" else part
        if part == "," or (part in "[{" and after not in "]}"):
            lines.append(INDENT * (depth + (part != ",")))
        depth += part in "[{"
    return "\n".join(lines)


def _is_json(text: str) -> bool:
    try:
        _DECODER.decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def batch_items(text: str) -> list[str]:
    """Return the items of a batch, each as it was written; none when the text is no batch."""
    if not _is_json(text):
        return []
    items: list[str] = []
    for key, start, _ in _members(text):
        if key == "batch" and text[start] == "[":
            items = [text[begin:end] for begin, end in _elements(text, start)]  # of a repeated key the last one counts
    return items


def batch_of(text: str, item: str) -> str:
    """Return a batch as it was written, with this one item in it and nothing else changed."""
    members = [(key, text[start:end]) for key, start, end in _members(text) if key != "batch"]
    return "{" + ", ".join(f"{json.dumps(key)}: {value}" for key, value in [*members, ("batch", f"[{item}]")]) + "}"


def _members(text: str) -> list[tuple[Any, int, int]]:
    """Return each key of the outermost object, and where its value begins and ends."""
    at = _skip(text, 0)
    members: list[tuple[Any, int, int]] = []
    if text[at] != "{" or text[_skip(text, at + 1)] == "}":
        return members
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, _skip(text, at + 1))
        start = _skip(text, _skip(text, at) + 1)
        end = _DECODER.raw_decode(text, start)[1]
        members.append((key, start, end))
        at = _skip(text, end)
    return members


def _elements(text: str, at: int) -> list[tuple[int, int]]:
    elements: list[tuple[int, int]] = []
    if text[_skip(text, at + 1)] == "]":
        return elements
    while text[at] != "]":
        start = _skip(text, at + 1)
        end = _DECODER.raw_decode(text, start)[1]
        elements.append((start, end))
        at = _skip(text, end)
    return elements


def _skip(text: str, at: int) -> int:
    return _SPACE.match(text, at).end()  # type: ignore[union-attr]  # it matches everywhere, also nothing
