"""
A request as facts: ASGI scope or WSGI environ in, plain values out. Pure, and never raises.

Nothing here identifies a person unless it was asked for: no query but an allow-list of keys, no cookie, no body, and of
the headers only what `capture` names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote_plus, urlencode, urlsplit

from . import _values
from ._semconv import SCOPE, VERSION
from .exceptions import ConfigurationError

CAPTURE = ("page", "campaign", "locale", "user_agent")
"""What is sent by default."""
KNOWN = (*CAPTURE, "ip")

_CAMPAIGN = {f"utm_{key}": key for key in ("source", "medium", "campaign", "term", "content")}
# Control characters, and those that break a line or turn the direction of what follows in a log.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]{1,300}")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,20}")
_ANONYMOUS_ID = re.compile(r"[A-Za-z0-9_.~-]{1,150}")
_LOCALE = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8}){0,8}")
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/:@!$&'()*+,;=~._-]*")  # what a URL keeps as it is
_WANTED = {name.encode(): name for name in ("host", "referer", "accept-language", "user-agent", "cookie")}
_MAX_TEXT = 1000
_MAX_FIELDS = 100

Header = Callable[[str], str]
"""The value of a request header by its lower-case name; empty when there is none."""


def asgi_header(scope: Mapping[str, Any]) -> Header:
    """Headers of an ASGI scope, walked once."""
    found: dict[str, str] = {}
    try:
        for key, value in scope.get("headers") or ():
            if (name := _WANTED.get(key) or _WANTED.get(key.lower())) is None:
                continue
            if name not in found:
                found[name] = value.decode("latin-1")
            elif name == "cookie":  # HTTP/2 may bring the cookies in several headers
                found[name] += "; " + value.decode("latin-1")
    except (AttributeError, TypeError, ValueError):  # no headers as ASGI has them
        found = {}
    return lambda name: found.get(name, "")


def wsgi_header(environ: Mapping[str, Any]) -> Header:
    """Headers of a WSGI environ."""

    def read(name: str) -> str:
        value = environ.get("HTTP_" + name.upper().replace("-", "_"), "")
        return value if isinstance(value, str) else ""

    return read


def asgi_route(scope: Mapping[str, Any]) -> str | None:
    """
    The application's template for the path, such as `/shops/{shop}/orders/{id}`; None when no router has said it.

    Starlette and FastAPI write it into the scope while they run, Litestar as `path_template`. What an application is
    mounted at is known by its values alone, so those of parameters are replaced by their names.
    """
    route, endpoint = scope.get("route"), scope.get("endpoint")
    if route is None and endpoint is not None:
        routes = getattr(scope.get("router"), "routes", ())
        named = [each for each in routes if getattr(each, "endpoint", None) is endpoint]
        route = named[0] if len(named) == 1 else None
    leaf = getattr(route, "path_format", None) or getattr(route, "path", None) or scope.get("path_template")
    if not isinstance(leaf, str):
        return None
    mounted = _word(scope.get("root_path")).removeprefix(_word(scope.get("app_root_path")))
    parameters = scope.get("path_params")
    names = {str(value): name for name, value in parameters.items()} if isinstance(parameters, dict) else {}
    return "/".join(f"{{{names[part]}}}" if part in names else part for part in mounted.split("/")) + leaf


def wsgi_route(environ: Mapping[str, Any]) -> str | None:
    """The same of Flask, which keeps its request in the environ; other frameworks tell it to nobody out here."""
    rule = getattr(getattr(environ.get("werkzeug.request"), "url_rule", None), "rule", None)
    return rule if isinstance(rule, str) else None


def asgi_context(scope: Mapping[str, Any], capture: tuple[str, ...], query_keys: tuple[str, ...]) -> dict[str, Any]:
    """The context of an ASGI request."""
    header = asgi_header(scope)
    path, mount = _word(scope.get("path")) or "/", _word(scope.get("root_path")).rstrip("/")
    # ASGI's path includes the mount, but not every server's does.
    if mount and path != mount and not path.startswith(mount + "/"):
        path = mount + path
    raw, client = scope.get("query_string"), scope.get("client")
    query = raw.decode("latin-1") if isinstance(raw, bytes) else ""
    peer = _word(client[0]) if isinstance(client, (tuple, list)) and client else ""
    origin = _origin(_word(scope.get("scheme")), header("host"))
    return _context(header, origin, path, query, peer, capture, query_keys)


def wsgi_context(environ: Mapping[str, Any], capture: tuple[str, ...], query_keys: tuple[str, ...]) -> dict[str, Any]:
    """The context of a WSGI request."""
    header = wsgi_header(environ)
    raw = _word(environ.get("SCRIPT_NAME")) + _word(environ.get("PATH_INFO"))
    # WSGI hands bytes over as latin-1 text (PEP 3333).
    path = raw.encode("latin-1", "replace").decode("utf-8", "replace") or "/"
    host = header("host") or _word(environ.get("SERVER_NAME"))
    origin = _origin(_word(environ.get("wsgi.url_scheme")), host)
    query, peer = _word(environ.get("QUERY_STRING")), _word(environ.get("REMOTE_ADDR"))
    return _context(header, origin, path, query, peer, capture, query_keys)


def encode(context: Mapping[str, Any]) -> bytes:
    """The context as JSON bytes. It holds nothing but text that `text` has cleaned, so it needs no second look."""
    return _values.dump(context)


def one_header(source: Mapping[str, Any], name: str) -> str:
    """Any header of an ASGI scope or a WSGI environ, the first of its name; empty when there is none."""
    if "wsgi.version" in source:
        return wsgi_header(source)(name)
    wanted = name.lower().encode("latin-1", "replace")
    try:
        return next(
            (value.decode("latin-1") for key, value in source.get("headers") or () if key.lower() == wanted), ""
        )
    except (AttributeError, TypeError, ValueError):  # no headers as ASGI has them
        return ""


def cookies(source: Mapping[str, Any]) -> str:
    """All cookies of an ASGI scope or a WSGI environ, as `Cookie` has them."""
    return (wsgi_header if "wsgi.version" in source else asgi_header)(source)("cookie")


def cookie_values(cookies: str, name: str) -> Iterator[str]:
    """The values of a cookie, of which there may be several."""
    if name not in cookies:
        return
    # Not http.cookies: one odd cookie makes it forget all others, and some make it take seconds.
    for cookie in cookies.split(";"):
        key, _, value = cookie.partition("=")
        if key.strip() == name:
            yield value.strip(' \t"')


def anonymous_id(cookies: str, name: str) -> str | None:
    """The browser's id from its cookies, if it looks like one. A hint about a browser, never a proof of who uses it."""
    return next((found for found in cookie_values(cookies, name) if _ANONYMOUS_ID.fullmatch(found)), None)


def check_capture(capture: Iterable[str]) -> tuple[str, ...]:
    """
    What of a request to send.

    Raises:
        ConfigurationError: a name that is not known.
    """
    names = (capture,) if isinstance(capture, str) else tuple(capture)
    if unknown := [name for name in names if name not in KNOWN]:
        message = f"capture names {', '.join(map(repr, unknown))}: type some of {', '.join(KNOWN)}."
        raise ConfigurationError(message)
    return names


def _context(
    header: Header, origin: str, path: str, query: str, peer: str, capture: tuple[str, ...], query_keys: tuple[str, ...]
) -> dict[str, Any]:
    pairs = _query(query, query_keys) if query_keys or ("campaign" in capture and "utm_" in query) else []
    context: dict[str, Any] = {}
    if "page" in capture:
        context["page"] = _page(header, origin, path, pairs, query_keys)
    if "campaign" in capture and (
        campaign := {_CAMPAIGN[key]: cut for key, value in pairs if key in _CAMPAIGN and (cut := text(value))}
    ):
        if "campaign" in campaign:
            campaign["name"] = campaign.pop("campaign")
        context["campaign"] = campaign
    if "locale" in capture and (locale := _locale(header("accept-language"))):
        context["locale"] = locale
    if "user_agent" in capture and (agent := text(header("user-agent"))):
        context["userAgent"] = agent
    if "ip" in capture and (ip := text(peer)):
        context["ip"] = ip
    context["library"] = {"name": SCOPE, "version": VERSION}
    return context


def _page(
    header: Header, origin: str, path: str, pairs: list[tuple[str, str]], query_keys: tuple[str, ...]
) -> dict[str, str]:
    plain = _PLAIN_PATH.fullmatch(path) is not None
    quoted = path if plain else quote(path, safe="/:@!$&'()*+,;=~-._", errors="replace")
    page = {"path": text(path), "url": text(origin + quoted)}
    if kept := [(key, value) for key, value in pairs if key in query_keys]:
        page["search"] = text("?" + urlencode(kept, errors="replace"))
    if referrer := _without_query(header("referer")):
        page["referrer"] = referrer
    return page


def _query(query: str, keys: tuple[str, ...]) -> list[tuple[str, str]]:
    """The pairs that somebody asked for, of the first hundred; only those are decoded."""
    pairs = []
    for field in query.split("&", _MAX_FIELDS)[:_MAX_FIELDS]:
        key, _, value = field.partition("=")
        if (key in _CAMPAIGN or key in keys or unquote_plus(key) in keys) and value:
            pairs.append((unquote_plus(key), unquote_plus(value)))
    return pairs


@lru_cache(256)
def _origin(scheme: str, host: str) -> str:
    # What is no host could carry a password or a query into the URL.
    if not _HOST.fullmatch(host):
        return ""
    return f"{scheme if _SCHEME.fullmatch(scheme) else 'http'}://{host}"


def _without_query(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    # A URL may carry a password before the host, and anything after the path.
    host = parts.netloc.rpartition("@")[2]
    return text(f"{parts.scheme}://{host}{parts.path}") if parts.scheme and host else ""


@lru_cache(256)
def _locale(accepted: str) -> str:
    first = accepted.split(",", 1)[0].split(";", 1)[0].strip()
    return first if _LOCALE.fullmatch(first) else ""


def text(value: str) -> str:
    """A value from outside, cleaned: no control characters, no lone surrogates, at most 1000 characters."""
    if len(value) <= _MAX_TEXT and value.isascii() and value.isprintable():
        return value  # nearly every one
    cut = value[:_MAX_TEXT]
    return _CONTROL.sub("", cut if cut.isascii() else _values.text(cut))


def _word(value: object) -> str:
    return value if isinstance(value, str) else ""
