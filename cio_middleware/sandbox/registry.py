"""
The names of events that an app knows, from a file: what else arrives gets the advice W-unregistered-event.

TOML or JSON with `events`, a list of names or an object that has them as keys; or a text with one name on each line.
"""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any

from cio_middleware.exceptions import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLE = 'events = ["order_placed", "page_*"]'


def read(path: Path) -> frozenset[str]:
    """
    Return the names in a registry; ``*`` and ``?`` in one stand for any characters.

    Raises:
        ConfigurationError: for a file that cannot be read, or that has no names.
    """
    try:
        text = path.read_text("utf-8")
        names = _names(path.suffix.lower(), text)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the registry {path} cannot be read: {error}\n  Write: {EXAMPLE}") from error
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ConfigurationError(f"the registry {path} has no list of names.\n  Write: {EXAMPLE}")
    return frozenset(names)


def _names(suffix: str, text: str) -> list[Any]:
    if suffix not in {".toml", ".json"}:
        lines = (line.partition("#")[0].strip() for line in text.splitlines())
        return [line for line in lines if line]
    document = tomllib.loads(text) if suffix == ".toml" else json.loads(text)
    events = document.get("events") if isinstance(document, dict) else document
    return list(events) if isinstance(events, list | dict) else []
