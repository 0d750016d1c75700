"""
Mask personal values in everything that the control API answers: ``--redact email,phone``.

It works on the answers themselves, so that no call, stream or export can forget it. A value is masked where it stands
under one of the fields, wherever else the same value stands, and, for ``email`` and ``phone``, wherever something looks
like one. The same value has the same mask until the sandbox ends, and a mask in the address of a control call means
that value: links and filters go on working. What is stored, and what the emulated calls answer, is as it was sent.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from cio_middleware.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

KNOWN = 200_000
"""Masks whose value is known; the oldest goes first."""

_APART = frozenset(" \t\n\r\v\f@\"'<>()[]{},;:/\\|?&=#")
"""What no address has in it, so that none is looked for across it."""

_AT = re.compile(r"@|%40|\\+u0040")
_LABEL = r"[^\s@\"'<>()\[\]{},;:/\\|?&=#%.]"
_DOMAIN = re.compile(
    rf"(?:{_LABEL}{{1,63}}+\.){{1,10}}+{_LABEL}{{2,63}}+|(?:{_LABEL}{{1,63}}+\.){{1,9}}{_LABEL}{{2,63}}+"
)
_PHONE = re.compile(r"(?<![\w.+-])(?:\+|%2B)\d(?:[ ().-]{0,2}\d){6,17}(?!\w)")
_MASK = re.compile(r"masked-[0-9a-f]{10}(?:(?:@|%40)email\.invalid)?")
_TOKENS = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.)*+(?:"|\\?$))(?P<colon>\s*:)?|(?P<number>-?\d[\d.eE+-]*)|(?P<brace>[\[{\]}])', re.DOTALL
)
_FIELD = re.compile(r"[A-Za-z_][\w .-]{0,98}")


class Veil:
    """
    Masks for the values of some fields.

    Args:
        fields: Names of attributes, in any case; none masks nothing.

    Raises:
        ConfigurationError: for a name that is none, with what to type.
    """

    def __init__(self, fields: tuple[str, ...] = ()) -> None:
        for name in fields:
            if not _FIELD.fullmatch(name):
                raise ConfigurationError(f"{name!r:.80} is no field. Type for example: --redact email,phone")
        self.fields = tuple(name.lower() for name in fields)
        self._salt = secrets.token_bytes(16)
        self._values: OrderedDict[str, str] = OrderedDict()
        self._masks: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self.fields)

    def over(self, value: Any) -> Any:
        """Return a JSON value with its masks on."""
        for one in self._below_fields(value):
            self._mask(one)
        return self._covered(value)

    def over_text(self, text: str) -> str:
        """Return a text with its masks on; where it holds JSON, the fields in it count."""
        if text in self._masks:
            return self._masks[text]
        if '"' in text:
            text = self._over_json(text)
        return self._over_patterns(text)

    def _over_patterns(self, text: str) -> str:
        if "email" in self.fields:
            text = self._over_emails(text)
        if "phone" in self.fields:
            text = _PHONE.sub(lambda found: self._mask(unquote(found[0])), text)
        return text

    def _over_emails(self, text: str) -> str:
        """Look back and ahead from each @, so that no text takes longer than its length."""
        parts: list[str] = []
        end = before = 0
        for at in _AT.finditer(text):
            start, edge = at.start(), max(end, before)
            before = at.end()
            while start > edge and at.start() - start < 200 and text[start - 1] not in _APART:
                start -= 1
            domain = _DOMAIN.match(text, at.end())
            if at.start() < end or start == at.start() or domain is None:
                continue
            parts += [text[end:start], self._mask(unquote(_AT.sub("@", text[start : domain.end()])))]
            end = domain.end()
        return "".join([*parts, text[end:]])

    def off(self, address: str) -> str:
        """Return a path or a query with the values that its masks stand for, escaped as it is."""
        return _MASK.sub(lambda found: quote(self._values.get(unquote(found[0]), found[0]), safe=""), address)

    def _mask(self, value: str) -> str:
        if not value or _MASK.fullmatch(value):
            return value
        known = self._masks.get(value)
        if known is None:
            digest = hmac.new(self._salt, value.lower().encode("utf-8", "surrogatepass"), "sha256").hexdigest()[:10]
            # An address stays one, so that who reads a capture in again finds an email where one was.
            known = f"masked-{digest}@email.invalid" if "@" in value else f"masked-{digest}"
            self._masks[value], self._values[known] = known, value
            if len(self._masks) > KNOWN:
                self._masks.pop(self._values.popitem(last=False)[1], None)
        return known

    def _below_fields(self, value: Any, *, inside: bool = False) -> Iterator[str]:
        if isinstance(value, dict):
            for key, below in value.items():
                yield from self._below_fields(below, inside=inside or self._is_field(key))
        elif isinstance(value, list):
            pair = len(value) == 2 and self._is_field(value[0])  # as a capture writes a mapping
            for below in value[1:] if pair else value:
                yield from self._below_fields(below, inside=inside or pair)
        elif inside and isinstance(value, str):
            yield value

    def _covered(self, value: Any, *, inside: bool = False) -> Any:
        if isinstance(value, dict):
            return {
                self.over_text(key): self._covered(below, inside=inside or self._is_field(key))
                for key, below in value.items()
            }
        if isinstance(value, list):
            pair = len(value) == 2 and self._is_field(value[0])
            inner = [self._covered(below, inside=inside or pair) for below in (value[1:] if pair else value)]
            return [value[0], *inner] if pair else inner
        if isinstance(value, str):
            return self._mask(value) if inside else self.over_text(value)
        # A number may be a telephone's; true, false and null say nothing of anybody.
        return self._mask(json.dumps(value)) if inside and type(value) in {int, float} else value

    def _is_field(self, key: Any) -> bool:
        return isinstance(key, str) and key.lower() in self.fields

    def _over_json(self, text: str) -> str:
        """Mask what stands under a field in JSON as it was sent, or in code that quotes it."""
        parts: list[str] = []
        end, below, depth, field = 0, 0, 0, False
        for found in _TOKENS.finditer(text):
            parts.append(text[end : found.start()])
            end = found.end()
            word = found[0]
            if found["brace"]:
                depth += 1 if word in "[{" else -1
                below = below or (depth if field and word in "[{" else 0)
                below = 0 if depth < below else below
                field = False
            elif found["colon"]:
                field = self._is_field(_read(found["string"]))
            else:
                inside = field or below > 0
                field = False
                word = self._over_word(word, inside=inside)
            parts.append(word)
        return "".join([*parts, text[end:]])

    def _over_word(self, word: str, *, inside: bool) -> str:
        value = _read(word)
        if not isinstance(value, str):
            return json.dumps(self._mask(word)) if inside else word
        covered = self._mask(value) if inside else self._masks.get(value, value)
        covered = self._over_patterns(covered)
        return word if covered == value else json.dumps(covered, ensure_ascii=False)


def _read(token: str) -> Any:
    try:
        return json.loads(token)
    except ValueError:  # no JSON after all: code, or text with quotes
        return token.strip('"')
