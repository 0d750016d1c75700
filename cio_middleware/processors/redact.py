"""
Keep values back before anything is queued: by the name of their key, or by what they look like.

What is taken away is gone for good: it reaches no queue, no disk and no dead letter. The person of an event stays as
the application named them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fnmatch import translate
from typing import Any, Literal

import msgspec

from .. import _values
from .._events import Event
from ..exceptions import ConfigurationError

EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}?(?:@|%40)(?:[\w-]{1,63}\.){1,8}[^\W\d_][\w-]{1,62}")
"""An e-mail address anywhere in a text."""
CARD_NUMBER = re.compile(r"(?<![\d.])[2-6](?:[ -]?\d){13,18}(?!\d)")
"""14 to 19 digits, in groups or not, that begin as on a payment card. Other long numbers may look the same."""
TOKEN = re.compile(r"eyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*|(?i:bearer|basic) +[\w.~+/-]{8,}=*")
"""A JSON web token, or what follows `Bearer` or `Basic`."""

MARK = "[redacted]"
_KEY_BYTES = 16
_SPACERS = str.maketrans("", "", "_- .")

# Numbers keep all of their digits on the way through.
_read = msgspec.json.Decoder(float_hook=Decimal).decode

Pattern = str | re.Pattern[str]
_Fate = Literal["remove", "hash"]


def redact(
    keys: Iterable[str] = (),
    *,
    patterns: Iterable[Pattern] = (),
    hashed: Iterable[str] = (),
    key: str | bytes | None = None,
) -> Redact:
    """
    A processor that keeps values back, at any depth.

    Args:
        keys: Names of attributes that are removed, with `*` and `?` as in a shell. Upper case, `_`, `-`, dots and
            spaces make no difference: `card_number` is also `cardNumber`.
        patterns: What is replaced by `[redacted]` wherever it stands: in a text, in the name of an event or of an
            attribute, or as a number. Regular expressions, such as `EMAIL`, `CARD_NUMBER`, `TOKEN` of this package.
        hashed: Names of attributes whose value is replaced by its HMAC-SHA256 (64 hex digits), so that equal values
            stay equal. Of a text it is that of its UTF-8, of anything else that of its JSON.
        key: The secret of these; at least 16 bytes.

    Raises:
        ConfigurationError: nothing to do, no regular expression, or no key where one is needed.
    """
    names, secrets, wanted = _names("keys", keys), _names("hashed", hashed), tuple(patterns)
    if isinstance(patterns, str) or not all(isinstance(_source(each), str) for each in wanted):
        message = "redact(patterns=...) takes a list of regular expressions, such as [EMAIL]."
        raise ConfigurationError(message)
    if not (names or secrets or wanted):
        message = 'redact() has nothing to do. Type for example redact(["password", "card*"], patterns=[EMAIL]).'
        raise ConfigurationError(message)
    secret = key.encode() if isinstance(key, str) else key
    if bool(secrets) is not (secret is not None) or (secret is not None and len(secret) < _KEY_BYTES):
        message = f"redact(hashed=..., key=...) belong together, and the key has at least {_KEY_BYTES} bytes."
        raise ConfigurationError(message)
    return Redact(_globs(names), _globs(secrets), tuple(_compiled(each) for each in wanted), secret or b"")


@dataclass(frozen=True, slots=True, repr=False)
class Redact:
    """See `redact`."""

    _removed: Callable[[str], object]
    _hashed: Callable[[str], object]
    _patterns: tuple[re.Pattern[str], ...]
    _key: bytes = field(repr=False)

    def __call__(self, event: Event) -> Event:
        """The event without what is to be kept back; the same one, byte for byte, if nothing is."""
        values = _read(event.attributes_json)
        kept = self._object(values)
        if kept is not values:
            event = event.with_attributes(kept)
        name = self._text(event.name)
        return event if name == event.name else msgspec.structs.replace(event, name=name)

    def __repr__(self) -> str:
        return f"redact({len(self._patterns)} patterns)"

    # Each of these returns what it was given when nothing in it is kept back.

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            return self._object(value)
        if isinstance(value, list):
            kept = [self._value(each) for each in value]
            return value if all(new is old for new, old in zip(kept, value, strict=True)) else kept
        if isinstance(value, bool) or value is None:
            return value
        digits = str(value)
        return value if self._text(digits) == digits else MARK

    def _object(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        kept: dict[str, Any] = {}
        changed = False
        for name, value in values.items():
            fate = self._fate(name)
            if fate == "remove":
                changed = True
                continue
            new_name = self._text(name)
            new = self._digest(value) if fate == "hash" else self._value(value)
            changed = changed or new is not value or new_name != name
            kept[new_name] = new
        return kept if changed else values

    def _fate(self, name: str) -> _Fate | None:
        plain = _plain(name)
        if self._removed(plain):
            return "remove"
        return "hash" if self._hashed(plain) else None

    def _text(self, text: str) -> str:
        changed = text
        for pattern in self._patterns:
            changed = pattern.sub(MARK, changed)
        return text if changed == text else changed

    def _digest(self, value: Any) -> str | None:
        if value is None:
            return None  # which deletes the attribute in Customer.io, and tells nothing
        said = value.encode() if isinstance(value, str) else _values.dump(value)
        return hmac.new(self._key, said, hashlib.sha256).hexdigest()


def _names(what: str, names: Iterable[str]) -> tuple[str, ...]:
    given = () if isinstance(names, str) else tuple(names)
    if isinstance(names, str) or not all(isinstance(name, str) and _plain(name) for name in given):
        message = f'redact({what}=...) takes a list of names, such as ["password", "card*"].'
        raise ConfigurationError(message)
    return given


def _globs(names: tuple[str, ...]) -> Callable[[str], object]:
    if not names:
        return lambda _name: None
    return re.compile("|".join(translate(_plain(name)) for name in names)).match


def _plain(name: str) -> str:
    return name.casefold().translate(_SPACERS)


def _source(pattern: object) -> object:
    return pattern.pattern if isinstance(pattern, re.Pattern) else pattern


def _compiled(pattern: Pattern) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        message = f"redact(patterns=...): {pattern!r:.80} is no regular expression: {error}."
        raise ConfigurationError(message) from None
    if compiled.match("") is not None:
        message = f"redact(patterns=...): {compiled.pattern!r:.80} matches nothing at all, and would match everywhere."
        raise ConfigurationError(message)
    return compiled
