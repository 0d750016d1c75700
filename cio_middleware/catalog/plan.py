"""
The tracking plan on paper: as JSON Schema for machines, as Markdown for people, and what a new one breaks.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from .. import _values
from .checks import Catalog, hints, said
from .types import EventType

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_EVERYTHING = frozenset({"string", "integer", "number", "boolean", "null", "object", "array"})

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """
    A difference between two plans. `breaks` says that a campaign or a segment made for the old one may miss something.
    """

    event: str
    attribute: str | None
    text: str
    breaks: bool

    def __str__(self) -> str:
        where = self.event if self.attribute is None else f"{self.event}.{self.attribute}"
        return f"{'breaks' if self.breaks else 'fine  '}  {where}: {self.text}"


def schema(catalog: Catalog) -> dict[str, Any]:
    """
    The plan as one JSON Schema (draft 2020-12), of an object with a member for each event.

    It says what is sent: the attributes, which of them are required, and what the docstrings say about them.
    """
    kinds = sorted(catalog, key=lambda kind: kind.__event_name__)
    found, definitions = msgspec.json.schema_components(
        [_mirror(kind) for kind in kinds], ref_template="#/$defs/{name}"
    )
    for kind, reference in zip(kinds, found, strict=True):
        described = definitions[reference["$ref"].rpartition("/")[2]]
        if kind.__doc__:
            described["description"] = inspect.cleandoc(kind.__doc__)
        for attribute, text in _docstrings(kind).items():
            if attribute in described.get("properties", {}):
                described["properties"][attribute].setdefault("description", text)
    events = {kind.__event_name__: reference for kind, reference in zip(kinds, found, strict=True)}
    return {"$schema": DIALECT, "type": "object", "properties": events, "$defs": definitions}


def markdown(catalog: Catalog) -> str:
    """The plan as Markdown: a table for each event."""
    parts = ["# Tracking plan", ""]
    for kind in sorted(catalog, key=lambda kind: kind.__event_name__):
        texts, types = _docstrings(kind), hints(kind)
        parts += [f"## `{kind.__event_name__}`", ""]
        if about := inspect.cleandoc(kind.__doc__ or ""):
            parts += [about, ""]
        rows = [
            f"| `{field.encode_name}` | `{_cell(said(types[field.encode_name]))}` | {_need(field)} "
            f"| {_cell(texts.get(field.encode_name, ''))} |"
            for field in msgspec.structs.fields(kind)
        ]
        parts += (
            ["| attribute | type | | meaning |", "|---|---|---|---|", *rows, ""] if rows else ["No attributes.", ""]
        )
    return "\n".join(parts)


def changes(old: Schema, new: Schema) -> list[Change]:
    """
    What is different in a new plan, by event and attribute; both as `schema` gives them.

    Campaigns and segments are made for what an event says. So it breaks them that an event or an attribute goes, that
    an attribute is not always there any more, and that it may have values that it could not have before. That there is
    more to read breaks nothing.
    """
    return list(_changes(old, new))


def _changes(old: Schema, new: Schema) -> Iterator[Change]:
    before, after = old.get("properties", {}), new.get("properties", {})
    for event in sorted({*before, *after}):
        if event not in after:
            yield Change(event, None, "is gone", breaks=True)
        elif event not in before:
            yield Change(event, None, "is new", breaks=False)
        else:
            yield from _of_event(event, _resolved(before[event], old), _resolved(after[event], new), old, new)


def _of_event(event: str, before: Schema, after: Schema, old: Schema, new: Schema) -> Iterator[Change]:
    were, are = before.get("properties", {}), after.get("properties", {})
    needed, needs = set(before.get("required", ())), set(after.get("required", ()))
    for name in sorted({*were, *are}):
        if name not in are:
            yield Change(event, name, "is gone", breaks=True)
        elif name not in were:
            yield Change(event, name, "is new, and required" if name in needs else "is new", breaks=False)
        else:
            if name in needed - needs:
                # With a default it is sent all the same.
                gone = "default" not in are[name]
                yield Change(event, name, "is not required any more", breaks=gone)
            if name in needs - needed:
                yield Change(event, name, "is required now", breaks=False)
            was, is_ = _values_of(were[name], old), _values_of(are[name], new)
            if was != is_:
                yield Change(event, name, f"was {_shown(was)}, is {_shown(is_)}", breaks=not _within(is_, was))


Values = tuple[frozenset[str], frozenset[str] | None]
"""The JSON types that an attribute may have, with a string's format, and its values where they are listed."""


def _values_of(found: Schema, whole: Schema) -> Values:
    found = _resolved(found, whole)
    if "anyOf" in found:
        parts = [_values_of(part, whole) for part in found["anyOf"]]
        listed = [values for _, values in parts]
        values = None if None in listed else frozenset().union(*(each for each in listed if each is not None))
        return frozenset().union(*(types for types, _ in parts)), values
    if "enum" in found or "const" in found:
        listed_values = found.get("enum", [found.get("const")])
        return frozenset(map(_kind_of, listed_values)), frozenset(map(repr, listed_values))
    types = found.get("type", sorted(_EVERYTHING))
    kinds = {types} if isinstance(types, str) else set(types)
    if "string" in kinds and "format" in found:
        kinds = {*kinds - {"string"}, f"string ({found['format']})"}
    return frozenset(kinds), None


def _kind_of(value: object) -> str:
    """The JSON type of a listed value: msgspec lists texts, whole numbers and None."""
    return "string" if isinstance(value, str) else "null" if value is None else "integer"


def _within(new: Values, old: Values) -> bool:
    """Whether nothing can come that could not come before."""
    if old[1] is not None:
        return new[1] is not None and new[1] <= old[1]
    wider = set(old[0])
    if "number" in wider:
        wider.add("integer")
    if "string" in wider:
        wider |= {kind for kind in new[0] if kind.startswith("string")}
    return new[0] <= wider


def _shown(values: Values) -> str:
    types, listed = values
    return " or ".join(sorted(types)) if listed is None else f"one of {', '.join(sorted(listed))}"


def _resolved(found: Schema, whole: Schema) -> Schema:
    while isinstance(reference := found.get("$ref"), str):
        found = whole.get("$defs", {}).get(reference.rpartition("/")[2], {})
    return found


def _mirror(kind: type[EventType]) -> type[msgspec.Struct]:
    """The event as it is sent: dates are Unix seconds there, and a Decimal is a number."""
    types, fields = hints(kind), []
    for field in msgspec.structs.fields(kind):
        optional = {} if field.required else {"default": field.default, "default_factory": field.default_factory}
        given = {name: each for name, each in optional.items() if each is not msgspec.NODEFAULT}
        sent = given.get("default")
        if isinstance(sent, date | Decimal):
            given["default"] = msgspec.json.decode(_values.encode({"": sent}).json)[""]
        name = field.encode_name
        fields.append((name, _sent(types[name]), msgspec.field(**given)) if given else (name, _sent(types[name])))
    return msgspec.defstruct(kind.__name__, fields, kw_only=True, forbid_unknown_fields=True)


def _sent(hint: Any) -> Any:
    if isinstance(hint, type) and issubclass(hint, date):
        return int
    if hint is Decimal:
        return float
    origin, given = get_origin(hint), get_args(hint)
    if origin is Literal or not given:
        return hint
    if origin is Annotated:
        inner = _sent(given[0])
        return hint if inner is given[0] else inner
    made = tuple(map(_sent, given))
    if made == given:
        return hint
    generic: Any = Union if origin is UnionType else origin
    return generic[made]


def _docstrings(kind: type[EventType]) -> dict[str, str]:
    """What stands below each field in the source; nothing where there is no source to be had."""
    names = {field.name: field.encode_name for field in msgspec.structs.fields(kind)}
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__[:-1]):
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(each)))
        except (OSError, TypeError, SyntaxError):
            continue
        body = tree.body[0].body if tree.body and isinstance(tree.body[0], ast.ClassDef) else []
        for field, after in itertools.pairwise(body):
            text = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else None
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, str):
                found[names.get(field.target.id, field.target.id)] = " ".join(inspect.cleandoc(text).split())
    return found


def _need(field: Any) -> str:
    if field.required:
        return "required"
    return (
        "optional" if field.default in {msgspec.NODEFAULT, msgspec.UNSET} else f"default `{_cell(repr(field.default))}`"
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
