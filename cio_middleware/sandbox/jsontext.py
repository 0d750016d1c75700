"""
Read a JSON body once, and know how many bytes each of its parts took as they were sent.

Customer.io's limits are about what travelled, spaces and escapes included, so a size is measured on the text
and never on a re-encoded value. Integers keep their digits. What no double holds, `NaN`, `Infinity` and
``1e999``, is refused, or kept as the text it was.
"""

from __future__ import annotations

import json
import math
import re
import sys
from dataclasses import dataclass, field
from typing import Any, NoReturn


class NotJson(ValueError):
    """The body is not a JSON document that this sandbox reads; the message says where and why."""


class NonFinite(str):
    """A number that no double holds, as it was written; a string, so that it leaves as JSON that anyone can read."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Document:
    """
    One parsed body.

    Attributes:
        value: The parsed value.
        size: Bytes of the whole body.
        members: For an object, bytes of each member's value.
        items: For an object with a list named ``batch``, bytes of each item.
    """

    value: Any
    size: int
    members: dict[str, int] = field(default_factory=dict)
    items: tuple[int, ...] = ()


def read(body: bytes, depth: int, *, keep_non_finite: bool = False) -> Document:
    """
    Parse a body.

    Args:
        body: The bytes as received.
        depth: Levels of nesting that are read.
        keep_non_finite: Read what no double holds as `NonFinite`; otherwise it is refused.

    Raises:
        NotJson: for anything that is not one JSON document of at most that depth.
    """
    try:
        document = _Reader(body.decode(), _KEEPING if keep_non_finite else _STRICT).document(len(body))
    except UnicodeDecodeError as error:
        raise NotJson(f"the body is not UTF-8 (byte {error.start})") from error
    except RecursionError as error:
        raise NotJson(f"the body is nested more than {depth} levels deep") from error
    except json.JSONDecodeError as error:
        raise NotJson(f"the body is not JSON: {error.msg} at character {error.pos}") from error
    except NotJson:
        raise
    except ValueError as error:  # Python's own guard: to read so many digits would take time squared
        digits = sys.get_int_max_str_digits()
        raise NotJson(f"the body has an integer of more than {digits} digits; send it as a string") from error
    if deeper_than(document.value, depth):
        raise NotJson(f"the body is nested more than {depth} levels deep")
    return document


def compact_size(value: Any) -> int:
    """Return the bytes of a value as compact UTF-8 JSON; a string's own bytes, without its quotes."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return len(text.encode("utf-8", "surrogatepass"))


def deeper_than(value: Any, levels: int) -> bool:
    """Return True when containers nest more than `levels` deep."""
    if isinstance(value, dict):
        children = value.values()
    elif isinstance(value, list):
        children = value  # type: ignore[assignment]
    else:
        return False
    return levels <= 0 or any(deeper_than(child, levels - 1) for child in children if isinstance(child, dict | list))


def has_non_finite(value: Any) -> bool:
    """Return True when a number that no double holds is anywhere in the value."""
    if isinstance(value, dict):
        return any(map(has_non_finite, value.values()))
    if isinstance(value, list):
        return any(map(has_non_finite, value))
    return isinstance(value, NonFinite)


def _refuse(constant: str) -> NoReturn:
    raise NotJson(f"the body is not JSON: {constant} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise NotJson(f"the body has a number that no double holds: {text:.40}")
    return number


def _kept(text: str) -> float | NonFinite:
    number = float(text)
    return NonFinite(text) if math.isinf(number) else number


_SPACE = re.compile(r"[ \t\n\r]*")
_STRICT = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
_KEEPING = json.JSONDecoder(parse_constant=NonFinite, parse_float=_kept)


class _Reader:
    """Walk the outermost levels by hand, to know where parts begin and end; `json` reads the parts."""

    def __init__(self, text: str, decoder: json.JSONDecoder) -> None:
        self._text = text
        self._decoder = decoder
        self._at = 0
        self._ascii = text.isascii()

    def document(self, size: int) -> Document:
        members: dict[str, int] = {}
        items: list[int] = []
        value = self._object(members, items) if self._next() == "{" else self._value()[0]
        if self._next():
            raise self._error("Extra data")
        return Document(value, size, members, tuple(items))

    def _object(self, members: dict[str, int], items: list[int]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        self._at += 1
        if self._taken("}"):
            return result
        while True:
            if self._next() != '"':
                raise self._error("Expecting property name enclosed in double quotes")
            key, _ = self._value()
            self._require(":")
            if key == "batch" and self._next() == "[":
                result[key] = self._array(items)
            else:
                result[key], members[key] = self._value()
            if self._taken("}"):
                return result
            self._require(",")

    def _array(self, items: list[int]) -> list[Any]:
        result: list[Any] = []
        items.clear()  # a repeated key: the last one counts
        self._at += 1
        if self._taken("]"):
            return result
        while True:
            value, size = self._value()
            result.append(value)
            items.append(size)
            if self._taken("]"):
                return result
            self._require(",")

    def _value(self) -> tuple[Any, int]:
        self._next()
        start = self._at
        value, self._at = self._decoder.raw_decode(self._text, start)
        length = self._at - start
        return value, length if self._ascii else len(self._text[start : self._at].encode())

    def _next(self) -> str:
        self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]  # it matches everywhere, also nothing
        return self._text[self._at : self._at + 1]

    def _taken(self, char: str) -> bool:
        found = self._next() == char
        self._at += found
        return found

    def _require(self, char: str) -> None:
        if not self._taken(char):
            raise self._error(f"Expecting {char!r} delimiter")

    def _error(self, message: str) -> json.JSONDecodeError:
        return json.JSONDecodeError(message, self._text, self._at)
