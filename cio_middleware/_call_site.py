"""
Where in the application an event was captured, and for which request: for the sandbox's page, and for nobody else.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping
from types import CodeType, FrameType
from typing import Any

from opentelemetry import trace

from . import _extract
from ._context import RequestCell

_OURS = os.path.dirname(__file__) + os.sep  # noqa: PTH120 - compared with the text of every frame
_UNDER = f"{os.sep}wrapt{os.sep}"
_MAX_FRAMES = 60
_MAX_TEXT = 200


def call_site() -> str | None:
    """The line of the application that leads here, as ``file:line in function``."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - ten times cheaper than inspect
    for _ in range(_MAX_FRAMES):
        if frame is None:
            return None
        code = frame.f_code
        if not code.co_filename.startswith(_OURS) and _UNDER not in code.co_filename:
            return _named(code, frame.f_lineno)
        frame = frame.f_back
    return None


@functools.lru_cache(maxsize=1000)
def _named(code: CodeType, line: int) -> str:
    return f"{_short(code.co_filename)}:{line} in {code.co_qualname}"[-_MAX_TEXT:]


def _short(path: str) -> str:
    """A path below the working directory, where there is one."""
    try:
        here = os.getcwd() + os.sep  # noqa: PTH109 - a text is needed
    except OSError:
        return path
    return path.removeprefix(here)


def facts(cell: RequestCell | None) -> dict[str, str]:
    """What is known of the trace, the task and the request; never a path, which may name a person."""
    known: dict[str, str | None] = {}
    if "celery._state" in sys.modules:
        known["task"] = _task()
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        known["trace_id"], known["span_id"] = trace.format_trace_id(span.trace_id), trace.format_span_id(span.span_id)
    if cell is not None:
        known.update(_of_request(cell.source))
    if not known:
        return {}
    return {name: text[:_MAX_TEXT] for name, text in known.items() if isinstance(text, str) and text}


def _of_request(source: Mapping[str, Any]) -> dict[str, str | None]:
    is_wsgi = "REQUEST_METHOD" in source
    return {
        "method": source["REQUEST_METHOD"] if is_wsgi else source.get("method", "WEBSOCKET"),
        "route": (_extract.wsgi_route if is_wsgi else _extract.asgi_route)(source),
        "request_id": _extract.one_header(source, "x-request-id"),
    }


def _task() -> str | None:
    """The Celery task that runs here."""
    state: Any = sys.modules["celery._state"]
    task = state.get_current_task()
    return getattr(task, "name", None)
