"""The environment variables that settings are read from, and the names and words that were probably meant."""

from __future__ import annotations

import difflib
import inspect
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from ._secret import Secret

PREFIX = "CUSTOMERIO_"
_NAME_CHARACTERS = 100

_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


def read(environ: Mapping[str, str], kinds: Mapping[str, Any]) -> tuple[dict[str, Any], list[str], list[str]]:
    """The values of the settings in `kinds`, what does not read as its kind, and what is no setting's name."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    unknown: list[str] = []
    names = {PREFIX + name.upper(): name for name in kinds}
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or environ[variable] == "":
            continue
        if variable == PREFIX + "API_KEY_FILE":
            values.setdefault("api_key", Secret(pathlib.Path(environ[variable])))
        elif (name := names.get(variable)) is None:
            unknown.append(_unknown(variable, list(names)))
        elif name == "api_key":
            values[name] = Secret(environ[variable])
        else:
            try:
                values[name] = _parse(environ[variable], kinds[name])
            except ValueError as error:
                problems.append(f"{variable} is {environ[variable]!r}: {error}.")
    return values, problems, unknown


def levels_up() -> int:
    """The `stacklevel`, for a warning of the caller's, of the first line above it that is not this package's."""
    level, frame = 0, inspect.currentframe()
    ours = __name__.partition(".")[0]
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == ours:
        level, frame = level + 1, frame.f_back
    return level


def nearest(word: str, known: Iterator[str] | list[str] | tuple[str, ...]) -> str | None:
    """The known word that was most likely meant."""
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def _unknown(variable: str, names: list[str]) -> str:
    # Without the prefix, which would make every variable look like every other.
    meant = nearest(variable.removeprefix(PREFIX), [name.removeprefix(PREFIX) for name in names])
    hint = f" Did you mean {PREFIX}{meant}?" if meant else ""
    return f"{named(variable)} is not a setting of cio_middleware and is ignored.{hint}"


def named(name: str) -> str:
    """A name from outside, as it may stand in a log: short, and with nothing in it that breaks or forges a line."""
    return name if name.isprintable() and len(name) <= _NAME_CHARACTERS else repr(name[:_NAME_CHARACTERS])


def _parse(text: str, kind: Any) -> Any:
    if kind is bool:
        word = text.strip().lower()
        if word not in _TRUE | _FALSE:
            message = "type true or false"
            raise ValueError(message)
        return word in _TRUE
    if kind is int or kind is float or kind == float | None:
        if kind == float | None and text.strip().lower() == "none":
            return None
        try:
            return int(text.replace("_", "")) if kind is int else float(text)
        except ValueError:
            message = "type a whole number" if kind is int else "type a number"
            raise ValueError(message) from None
    return text
