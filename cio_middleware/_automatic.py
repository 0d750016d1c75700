"""
Events that a middleware captures by itself: a page that was seen, a request that was served. Decisions only, no I/O.

What a stranger sends decides no more than whether there is an event: the name of a page is cut, the route is the
application's own, and exclusions are simple globs, which take no longer for a hostile path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Any

from . import _extract
from .exceptions import ConfigurationError, InvalidEvent
from .wire import limits

REQUEST_EVENT = "request_served"
_MOST_PATH = 1000
_PREFETCH = re.compile(r"prefetch|prerender|preview", re.IGNORECASE)
_BOT = re.compile(
    r"bot\b|bot/|crawl|spider|slurp|headless|lighthouse|monitor|preview|fetch|scan|probe|check|validator"
    r"|^(?:curl|wget|python|go-http|java|okhttp|ruby|perl|php|axios|node|http|libwww|apache|postman|insomnia)\b",
    re.IGNORECASE,
)

Seen = Callable[[str], str]
"""The value of a request header by its lower-case name; empty when there is none."""


@dataclass(frozen=True, slots=True)
class Served:
    """A request and how it was answered; `route` is the application's template for the path, if it is known."""

    method: str
    path: str = field(repr=False)
    url: str = field(repr=False)
    route: str | None
    status: int
    content_type: str = field(repr=False)
    duration: float
    header: Seen = field(repr=False)


@dataclass(frozen=True, slots=True)
class Automatic:
    """
    What to capture of each request.

    Attributes:
        page_views: A `page` for each page that somebody saw; see `is_page_view`.
        request_event: The name of an event for each request, or None.
        excluded: Says which paths are left out.
    """

    page_views: bool
    request_event: str | None
    excluded: Callable[[str], object]

    @classmethod
    def of(cls, page_views: object, request_events: object, exclude: Iterable[str]) -> Automatic | None:
        """
        As a middleware is told; None when there is nothing to capture.

        Raises:
            ConfigurationError: what cannot be meant, with what to type.
        """
        if not isinstance(page_views, bool):
            message = f"page_views is a {type(page_views).__name__}. Type page_views=True."
            raise ConfigurationError(message)
        globs = (exclude,) if isinstance(exclude, str) else tuple(exclude)
        if wrong := [glob for glob in globs if not isinstance(glob, str) or not glob.startswith(("/", "*"))]:
            message = f'exclude names {wrong[0]!r:.80}. Type paths, with * for anything: exclude=["/health*"].'
            raise ConfigurationError(message)
        name = _event_name(request_events)
        if not page_views and name is None:
            return None
        pattern = re.compile("|".join(map(translate, globs))) if globs else None
        return cls(page_views, name, pattern.match if pattern is not None else lambda _path: None)

    def events(self, served: Served) -> list[tuple[str, str, dict[str, Any]]]:
        """The kind, the name and the attributes of each event to capture."""
        if self.excluded(served.path[:_MOST_PATH]):
            return []
        found: list[tuple[str, str, dict[str, Any]]] = []
        if self.page_views and is_page_view(served):
            found.append(("page", _cut(served.url), {}))
        if self.request_event is not None:
            said = {"method": served.method, "status": served.status, "duration": round(served.duration, 6)}
            if served.route is not None:
                said["route"] = served.route
            found.append(("event", self.request_event, said))
        return found


def is_page_view(served: Served) -> bool:
    """
    Whether somebody saw a page: a GET that was answered with HTML and 2xx, for a window of a browser and no program.

    A browser that says what it fetches for must say that it is a document, and nobody sees what is fetched in advance.
    Who says nothing about itself, or the name of a well-known program, is none.
    """
    wants, agent = served.header("sec-fetch-dest"), served.header("user-agent")
    return (
        served.method == "GET"
        and 200 <= served.status < 300
        and served.content_type.partition(";")[0].strip().lower() in {"text/html", "application/xhtml+xml"}
        and wants in {"", "document"}
        and not _PREFETCH.search(served.header("sec-purpose") + served.header("purpose") + served.header("x-moz"))
        and served.header("x-requested-with") == ""
        and served.header("hx-request") == ""
        and agent != ""
        and not is_bot(agent)
    )


def is_bot(agent: str) -> bool:
    """Whether a `User-Agent` is a program's: `bot`, `crawl`, `spider` and the like in it, or an HTTP library's."""
    return _BOT.search(agent[:_MOST_PATH]) is not None


def _event_name(given: object) -> str | None:
    if given is None or given is False:
        return None
    if given is True:
        return REQUEST_EVENT
    try:
        limits.name_json(given)  # type: ignore[arg-type]  # which is what it finds out
    except InvalidEvent as error:
        message = f"request_events: {error}"
        raise ConfigurationError(message) from None
    return str(given)


def _cut(url: str) -> str:
    return _extract.text(url.encode()[: limits.PAGE_NAME_BYTES].decode(errors="ignore"))
