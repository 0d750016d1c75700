"""What an application's start pays for the import."""

from __future__ import annotations

import importlib
import time

_PARTS = ("opentelemetry.trace", "msgspec", "wrapt")


def importing(player: str, url: str, events: int) -> dict[str, float]:
    """Milliseconds of this package's import; for `parts`, of the three that it is built on and cannot do without."""
    del url, events
    names = ("cio_middleware",) if player == "ours" else _PARTS
    start = time.perf_counter()
    for name in names:
        importlib.import_module(name)
    return {"ms": (time.perf_counter() - start) * 1000}
