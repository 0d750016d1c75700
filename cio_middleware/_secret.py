"""A secret that does not show, and the places that it is read from."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any, NoReturn

from .exceptions import ConfigurationError

SecretSource = str | pathlib.Path | Callable[[], str]


class Secret:
    """
    A secret that shows as *** wherever it is printed and refuses to be pickled.

    Its source is the text, a file that holds it, or a callable that returns it; the last two are asked at each use, so
    a rotated key is picked up without a restart.
    """

    __slots__ = ("_source",)

    def __init__(self, source: SecretSource) -> None:
        self._source = source

    def reveal(self) -> str:
        """
        The secret itself.

        Raises:
            ConfigurationError: its file or callable gave none.
        """
        found, problem = _ask(self._source)
        if problem:
            # A traceback may be printed with the locals of its frames, so this one holds neither source nor answer.
            raise ConfigurationError(problem)
        return found

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format("***", spec)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __getstate__(self) -> NoReturn:
        self.__reduce__()

    def __reduce__(self) -> NoReturn:
        message = "a Customer.io secret does not pickle. Build the client in each process, from its environment."
        raise TypeError(message)


def _ask(source: SecretSource) -> tuple[str, str]:
    """The secret, stripped of the newline that files end with; or what is wrong with its source."""
    if isinstance(source, str):
        return source.strip(), ""
    if not isinstance(source, pathlib.Path) and not callable(source):
        return "", f"a secret is a {type(source).__name__}: pass it as text, as a pathlib.Path or as a callable."
    where, problem = "the callable given for a secret", "returned nothing. It must return text"
    if isinstance(source, pathlib.Path):
        where, problem = f"the file {str(source)!r}", "is empty. It must hold the secret and nothing else"
    try:
        found = source.read_text("utf-8") if isinstance(source, pathlib.Path) else source()
    except Exception as error:  # noqa: BLE001 - a secret manager's client may raise anything
        return "", f"{where} cannot be read: {type(error).__name__}."
    if isinstance(found, str) and found.strip():
        return found.strip(), ""
    if found is not None and not isinstance(found, str):
        problem = f"returned a {type(found).__name__}. It must return text"
    return "", f"{where} {problem}."
