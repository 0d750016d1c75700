"""
JSON values as Python somebody would have written: double quotes, and one member on a line where they do not fit on one.
"""

from __future__ import annotations

import json
from typing import Any

WIDTH = 80


def literal(value: Any, indent: int = 0) -> str:
    """Return a value as a literal; what follows its first line is indented by so many spaces."""
    flat = _flat(value)
    if len(flat) + indent <= WIDTH or not value or not isinstance(value, dict | list):
        return flat
    inner = " " * (indent + 4)
    if isinstance(value, dict):
        lines = [f"{inner}{_flat(name)}: {literal(member, indent + 4)},\n" for name, member in value.items()]
    else:
        lines = [f"{inner}{literal(member, indent + 4)},\n" for member in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n{''.join(lines)}{' ' * indent}{closing}"


def _flat(value: Any) -> str:
    if isinstance(value, str):
        # What JSON escapes, Python reads the same way; what does not print is escaped.
        return json.dumps(value, ensure_ascii=not value.isprintable())
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flat(name)}: {_flat(member)}" for name, member in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flat, value)) + "]"
    return repr(value)
