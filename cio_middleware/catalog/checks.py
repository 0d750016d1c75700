"""
Check events against the classes of a catalog, at capture, without ever showing a value.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, get_args, get_type_hints

import msgspec

from .. import _values
from .._notices import Notices
from ..exceptions import ConfigurationError, InvalidEvent
from .types import EventType

Mode = Literal["open", "warn", "closed"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_ .:/-]{0,60}")
_MOST_SAID = 60
_MISFITS = (msgspec.ValidationError, TypeError, ValueError, OverflowError, RecursionError)


class Catalog:
    """
    All events of an application. `Client(catalog=...)` checks each `track` against it.

    Args:
        types: The classes.
        mode: What becomes of an event that is not in it, or not as it says: `open` lets it go, `warn` says so once in
            the log, `closed` drops it as invalid. What an unknown name was probably meant to be is said, too.

    Raises:
        ConfigurationError: two classes of one name, something that is no `EventType`, or no such mode.
    """

    def __init__(self, types: Iterable[type[EventType]], *, mode: Mode = "warn") -> None:
        self._types: dict[str, type[EventType]] = {}
        for each in types:
            if not (isinstance(each, type) and issubclass(each, EventType)) or each is EventType:
                message = "Catalog() takes classes that derive from EventType: Catalog([OrderPlaced, SignedUp])."
                raise ConfigurationError(message)
            if self._types.setdefault(each.__event_name__, each) is not each:
                message = f"two classes of the catalog have the name {each.__event_name__!r}. Give one another."
                raise ConfigurationError(message)
        if mode not in get_args(Mode):
            message = f"Catalog(mode=...) is one of {', '.join(map(repr, get_args(Mode)))}."
            raise ConfigurationError(message)
        self.mode = mode

    def __iter__(self) -> Iterator[type[EventType]]:
        return iter(self._types.values())

    def __len__(self) -> int:
        return len(self._types)

    def __getitem__(self, name: str) -> type[EventType]:
        return self._types[name]

    def __contains__(self, name: object) -> bool:
        return name in self._types

    def problem(self, name: str, attributes: object = None) -> str | None:
        """What is wrong with an event, and what to type; None when it is as the catalog says. Holds no value."""
        known = self._types.get(name)
        if known is None:
            near = _nearest(name, self._types)
            shown = repr(name) if _NAME.fullmatch(name) else "this event"
            return f"{shown} is not in the catalog{near or '. Add a class for it.'}"
        return wrong(known, attributes)


def check_catalog(catalog: Catalog | None) -> Catalog | None:
    """
    The `catalog=` of a client.

    Raises:
        ConfigurationError: it is none.
    """
    if catalog is not None and not isinstance(catalog, Catalog):
        message = f"catalog is a {type(catalog).__name__}: type Client(catalog=Catalog([OrderPlaced, SignedUp]))."
        raise ConfigurationError(message)
    return catalog


class Typed:
    """What `track` was given, as a name and attributes, checked against the catalog if there is one."""

    def __init__(self, catalog: Catalog | None, notices: Notices) -> None:
        self._catalog = catalog
        self.has_catalog = catalog is not None
        self._mode = "warn" if catalog is None else catalog.mode
        self._notices = notices

    def settle(self, given: object, attributes: object) -> tuple[object, object]:
        """
        The name and the attributes that are sent.

        Raises:
            InvalidEvent: a class in place of an instance, attributes beside one, or what a closed catalog refuses.
        """
        if isinstance(given, type) and issubclass(given, EventType):
            message = f"track() was given the class {given.__name__}. Make one: track({given.__name__}(...))."
            raise InvalidEvent(message)
        problem = None
        if isinstance(given, EventType):
            if attributes is not None:
                message = f"track() takes {type(given).__name__}(...) or a name and attributes, not both."
                raise InvalidEvent(message)
            name, attributes = type(given).__event_name__, given
            if self._mode != "open" and (self._catalog is None or name not in self._catalog):
                problem = wrong(type(given), given)
        elif isinstance(given, str):
            name = given
        else:
            return given, attributes
        if self._catalog is not None and self._mode != "open":
            problem = problem or self._catalog.problem(name, attributes)
        if problem is not None and self._mode == "closed":
            raise InvalidEvent(problem)
        if problem is not None:
            self._notices.trouble(f"catalog {name[:_MOST_SAID]}", problem, "%s It was sent all the same.", problem)
        return name, attributes


def wrong(kind: type[EventType], attributes: object) -> str | None:
    """What of these attributes is not as the type says, and what to type; None when all is. Holds no value."""
    try:
        msgspec.json.decode(msgspec.json.encode(_plain(attributes)), type=kind)
    except _MISFITS:
        return _wrong(kind, _plain(attributes))
    return None


def _wrong(kind: type[EventType], values: Mapping[Any, Any]) -> str:
    name = kind.__event_name__
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for given in values:
        if given not in fields:
            shown = repr(given) if isinstance(given, str) and _NAME.fullmatch(given) else "one of them"
            return f"{name} has no attribute {shown}{_nearest(str(given), fields) or f'. It has {_listed(fields)}.'}"
    for wanted, field in fields.items():
        if wanted not in values:
            if field.required:
                return f"{name} lacks {wanted}, a {said(field.type)}."
            continue
        try:
            msgspec.json.decode(msgspec.json.encode(values[wanted]), type=field.type)
        except _MISFITS:
            what = type(values[wanted]).__name__
            return f"{wanted} of {name} is {_a(what)}, and not the {said(field.type)} that the catalog says."
    return f"{name} is not as the catalog says."


def said(kind: Any) -> str:
    """A type as one writes it."""
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else re.sub(r"\b(?:\w+\.)+", "", str(kind))


def hints(kind: type[EventType]) -> dict[str, Any]:
    """The types of its fields as they were written, by their names on the wire."""
    found = get_type_hints(kind, include_extras=True)
    return {field.encode_name: found[field.name] for field in msgspec.structs.fields(kind)}


def _plain(attributes: object) -> Mapping[Any, Any]:
    return {} if attributes is None else _values.fields_of(attributes)


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word[:100], known, n=1, cutoff=0.6)
    return f". Did you mean {near[0]!r}?" if near else ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _a(noun: str) -> str:
    return f"an {noun}" if noun[:1].lower() in "aeiou" else f"a {noun}"
