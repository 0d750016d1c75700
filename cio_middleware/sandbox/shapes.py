"""
Write what the sandbox remembers as JSON, and read it back without believing it.

`shape` reads the annotations of a dataclass and returns both directions. What is read must have the annotated types all
the way down; anything else is refused with the path to it. A member of type ``Any`` is a payload: it stays as it came.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from functools import cache, partial
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Callable


class BadShape(ValueError):
    """A value of another shape; the message has the path to it and what should stand there."""


@dataclass(frozen=True, slots=True)
class Shape:
    """
    Both directions of one type.

    Attributes:
        dump: Returns the JSON of a value.
        load: Returns the value of a JSON, given the path to it for what it may have to say.
    """

    dump: Callable[[Any], Any]
    load: Callable[[Any, str], Any]


@cache
def shape(hint: Any) -> Shape:
    """
    Return the shape of a type: a dataclass, an enum, a plain type, or a container of those.

    Raises:
        TypeError: for a type that it does not know.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return Shape(lambda value: value, lambda value, _: value)
    if origin in {Union, UnionType}:
        return _either([(_json_types(one), shape(one)) for one in arguments])
    if origin is tuple and arguments[-1] is not ...:
        return _fixed([shape(one) for one in arguments])
    if origin in {tuple, list, set, deque}:
        return _several(origin, shape(arguments[0]))
    if origin is dict:
        return _mapping(*map(shape, arguments))
    if hint in _PLAIN:
        return Shape(_PLAIN[hint][0], partial(_checked, hint))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return Shape(lambda value: value.value, partial(_member, hint))
    if is_dataclass(hint):
        return _record(hint)
    raise TypeError(f"no shape for {hint!r}")


def refuse(value: Any, path: str, wanted: str) -> BadShape:
    """Return the error about a value that should be something else."""
    return BadShape(f"{path} is {value!r:.80}, and should be {wanted}")


def _same(value: Any) -> Any:
    return value


_PLAIN: dict[Any, tuple[Callable[[Any], Any], str]] = {
    str: (_same, "a text"),
    int: (_same, "a whole number"),
    bool: (_same, "true or false"),
    float: (_same, "a number"),
    NoneType: (_same, "null"),
}


def _checked(kind: Any, value: Any, path: str) -> Any:
    fits = type(value) is kind or (kind is float and type(value) is int and abs(value) < 2**63)
    if not fits or (kind is int and abs(value) >= 2**63):
        raise refuse(value, path, _PLAIN[kind][1])
    return value


def _member(kind: type[Enum], value: Any, path: str) -> Any:
    known = {member.value: member for member in kind}
    if not isinstance(value, str) or value not in known:
        raise refuse(value, path, f"one of {', '.join(map(str, known))}")
    return known[value]


def _json_types(hint: Any) -> set[type]:
    """The JSON types by which the alternatives of a union are told apart."""
    if hint in _PLAIN:
        return {float, int} if hint is float else {hint}
    if get_origin(hint) in {tuple, list, set, deque}:
        return {list}
    return {str} if isinstance(hint, type) and issubclass(hint, Enum) else {dict, list}


def _either(choices: list[tuple[set[type], Shape]]) -> Shape:
    def dump(value: Any) -> Any:
        if value is None or isinstance(value, int | float | str):
            return value
        return next(one for kinds, one in choices if kinds & {list, dict}).dump(value)

    def load(value: Any, path: str) -> Any:
        found = next((one for kinds, one in choices if type(value) in kinds), None)
        if found is None:
            raise refuse(value, path, "of another type")
        return found.load(value, path)

    return Shape(dump, load)


def _fixed(members: list[Shape]) -> Shape:
    def load(value: Any, path: str) -> Any:
        if not isinstance(value, list) or len(value) != len(members):
            raise refuse(value, path, f"a list of {len(members)}")
        return tuple(one.load(part, f"{path}[{n}]") for n, (one, part) in enumerate(zip(members, value, strict=True)))

    return Shape(lambda value: [one.dump(part) for one, part in zip(members, value, strict=True)], load)


def _several(kind: Any, member: Shape) -> Shape:
    def load(value: Any, path: str) -> Any:
        if not isinstance(value, list):
            raise refuse(value, path, "a list")
        return kind(member.load(part, f"{path}[{number}]") for number, part in enumerate(value))

    return Shape(lambda value: [member.dump(part) for part in (sorted(value) if kind is set else value)], load)


def _mapping(key: Shape, value: Shape) -> Shape:
    """A mapping is a list of pairs, so that its keys may be anything."""
    pairs = _several(list, _fixed([key, value]))
    return Shape(lambda mapping: pairs.dump(mapping.items()), lambda given, path: dict(pairs.load(given, path)))


def _infinite(value: Any) -> bool:
    """JSON has no infinity; a member that is infinite is so by default, and left out."""
    return isinstance(value, float) and not math.isfinite(value)


def _record(kind: Any) -> Shape:
    hints = get_type_hints(kind)
    members = {field.name: shape(hints[field.name]) for field in fields(kind)}
    required = {field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING}

    def dump(value: Any) -> dict[str, Any]:
        known = ((name, member, getattr(value, name)) for name, member in members.items())
        return {name: member.dump(found) for name, member, found in known if not _infinite(found)}

    def load(given: Any, path: str) -> Any:
        if not isinstance(given, dict):
            raise refuse(given, path, "an object")
        # What a newer or an older sandbox wrote may have more or fewer members; what is there must be right.
        missing = next((name for name in members if name in required and name not in given), None)
        if missing is not None:
            raise BadShape(f"{path}.{missing} is missing")
        return kind(**{name: members[name].load(given[name], f"{path}.{name}") for name in members if name in given})

    return Shape(dump, load)
