"""
A request as facts: ASGI scope or WSGI environ in, plain values out. Pure, and never raises.

Nothing here identifies a person unless it was asked for: no query but an allow-list of keys, no cookie, no body, and of
the headers only what `capture` names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from . import _values
from ._semconv import SCOPE, VERSION
from .exceptions import ConfigurationError

CAPTURE = ("page", "campaign", "locale", "user_agent")
"""What is sent by default."""
KNOWN = (*CAPTURE, "ip")

_CAMPAIGN = {f"utm_{key}": key for key in ("source", "medium", "campaign", "term", "content")}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ANONYMOUS_ID = re.compile(r"[A-Za-z0-9_.~-]{1,150}")
_LOCALE = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*")
_MAX_TEXT = 1000

Header = Callable[[str], str]
"""The value of a request header by its lower-case name; empty when there is none."""


def asgi_header(scope: Mapping[str, Any]) -> Header:
    """Headers of an ASGI scope."""

    def read(name: str) -> str:
        wanted = name.encode()
        return next((value.decode("latin-1") for key, value in scope.get("headers") or () if key.lower() == wanted), "")

    return read


def wsgi_header(environ: Mapping[str, Any]) -> Header:
    """Headers of a WSGI environ."""

    def read(name: str) -> str:
        value = environ.get("HTTP_" + name.upper().replace("-", "_"), "")
        return value if isinstance(value, str) else ""

    return read


def asgi_context(scope: Mapping[str, Any], capture: tuple[str, ...], query_keys: tuple[str, ...]) -> dict[str, Any]:
    """The context of an ASGI request."""
    header = asgi_header(scope)
    path = str(scope.get("path") or "/")
    query = (scope.get("query_string") or b"").decode("latin-1")
    peer = scope.get("client") or ("",)
    return _context(
        header,
        _origin(str(scope.get("scheme") or "http"), header("host")),
        path,
        query,
        str(peer[0]),
        capture,
        query_keys,
    )


def wsgi_context(environ: Mapping[str, Any], capture: tuple[str, ...], query_keys: tuple[str, ...]) -> dict[str, Any]:
    """The context of a WSGI request."""
    header = wsgi_header(environ)
    raw = str(environ.get("SCRIPT_NAME", "")) + str(environ.get("PATH_INFO", ""))
    # WSGI hands bytes over as latin-1 text (PEP 3333).
    path = raw.encode("latin-1", "replace").decode("utf-8", "replace") or "/"
    host = header("host") or str(environ.get("SERVER_NAME", ""))
    origin = _origin(str(environ.get("wsgi.url_scheme") or "http"), host)
    query = str(environ.get("QUERY_STRING", ""))
    return _context(header, origin, path, query, str(environ.get("REMOTE_ADDR", "")), capture, query_keys)


def encode(context: Mapping[str, Any]) -> bytes:
    """The context as JSON bytes."""
    return _values.encode(context).json


def anonymous_id(cookies: str, name: str) -> str | None:
    """The browser's id from its cookies, if it looks like one. A hint about a browser, never a proof of who uses it."""
    if name not in cookies:
        return None
    try:
        morsel = SimpleCookie(cookies).get(name)
    except CookieError:
        return None
    value = morsel.value if morsel is not None else ""
    return value if _ANONYMOUS_ID.fullmatch(value) else None


def check_capture(capture: Iterable[str]) -> tuple[str, ...]:
    """
    What of a request to send.

    Raises:
        ConfigurationError: a name that is not known.
    """
    names = tuple(capture)
    if unknown := [name for name in names if name not in KNOWN]:
        message = f"capture names {', '.join(map(repr, unknown))}: type some of {', '.join(KNOWN)}."
        raise ConfigurationError(message)
    return names


def _context(
    header: Header, origin: str, path: str, query: str, peer: str, capture: tuple[str, ...], query_keys: tuple[str, ...]
) -> dict[str, Any]:
    pairs = _query(query) if query and ("campaign" in capture or query_keys) else []
    context: dict[str, Any] = {}
    if "page" in capture:
        context["page"] = _page(header, origin, path, pairs, query_keys)
    if "campaign" in capture and (
        campaign := {_CAMPAIGN[key]: text(value) for key, value in pairs if key in _CAMPAIGN}
    ):
        if "campaign" in campaign:
            campaign["name"] = campaign.pop("campaign")
        context["campaign"] = campaign
    if "locale" in capture and (locale := _locale(header("accept-language"))):
        context["locale"] = locale
    if "user_agent" in capture and (agent := text(header("user-agent"))):
        context["userAgent"] = agent
    if "ip" in capture and peer:
        context["ip"] = text(peer)
    context["library"] = {"name": SCOPE, "version": VERSION}
    return context


def _page(
    header: Header, origin: str, path: str, pairs: list[tuple[str, str]], query_keys: tuple[str, ...]
) -> dict[str, str]:
    page = {"path": text(path), "url": text(origin + quote(path, safe="/%:@!$&'()*+,;=~-._"))}
    if kept := [(key, value) for key, value in pairs if key in query_keys]:
        page["search"] = text("?" + "&".join(f"{quote(key)}={quote(value)}" for key, value in kept))
    if referrer := _without_query(header("referer")):
        page["referrer"] = referrer
    return page


def _query(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, max_num_fields=100)
    except ValueError:
        return []


def _origin(scheme: str, host: str) -> str:
    return f"{scheme}://{_CONTROL.sub('', host)}" if host else ""


def _without_query(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    # A URL may carry a password before the host, and anything after the path.
    host = parts.netloc.rpartition("@")[2]
    return text(f"{parts.scheme}://{host}{parts.path}") if parts.scheme and host else ""


def _locale(accepted: str) -> str:
    first = accepted.split(",", 1)[0].split(";", 1)[0].strip()
    return first if _LOCALE.fullmatch(first) else ""


def text(value: str) -> str:
    """A value from outside, cleaned: no control characters, at most 1000 characters."""
    return _CONTROL.sub("", value[:_MAX_TEXT])
