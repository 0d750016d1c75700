"""
From what a setting names to an object: an instance, a short name, "module:attr", or an entry point.

Only what is named is ever imported: an installed package cannot enter by itself.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from ._environ import nearest
from .exceptions import ConfigurationError


def load(named: object, *, group: str, built_in: Mapping[str, Callable[[], Any]], methods: tuple[str, ...]) -> Any:
    """
    The object that a setting means.

    Args:
        named: An instance, a short name, "module:attr" or an entry point's name.
        group: What it is, in the singular ("backend"); its entry-point group is `cio_middleware.<group>s`.
        built_in: Makers by short name.
        methods: What the object must have.

    Raises:
        ConfigurationError: nothing of that name, or it lacks a method.
    """
    if isinstance(named, str):
        found = built_in[named]() if named in built_in else _import(named, group, built_in)
    else:
        found = named
    if isinstance(found, type) or (callable(found) and not hasattr(found, methods[0])):
        found = _guarded(found, group, named, "made")
    missing = [method for method in methods if not callable(getattr(found, method, None))]
    if missing:
        protocol = f"cio_middleware.typing.{group.capitalize()}"
        message = f"{group} {_shown(named)} has no method {', '.join(missing)}. It must implement {protocol}."
        raise ConfigurationError(message)
    return found


def _import(named: str, group: str, built_in: Mapping[str, object]) -> Any:
    if ":" in named:
        module, _, attribute = named.partition(":")
        return _guarded(lambda: getattr(importlib.import_module(module), attribute), group, named, "imported")
    installed = entry_points(group=f"cio_middleware.{group}s")
    found = {entry.value: entry for entry in installed if entry.name == named}
    if len(found) > 1:
        message = f"{group} {named!r} is what {' and '.join(sorted(found))} are both called. Type one of the two."
        raise ConfigurationError(message)
    for entry in found.values():
        return _guarded(entry.load, group, named, "imported")
    meant = nearest(named, [*built_in, *installed.names])
    hint = f" Did you mean {meant!r}?" if meant else ""
    message = (
        f"{group} is {named!r}: type one of {', '.join(built_in)}, a 'module:attr', "
        f"or the name of an installed plug-in.{hint}"
    )
    raise ConfigurationError(message)


def _guarded(make: Callable[[], Any], group: str, named: object, done: str) -> Any:
    try:
        return make()
    except ConfigurationError:
        raise
    except Exception as error:
        # A text that is not Python's own may hold a password; the chain keeps it for whoever looks.
        text = f": {error}" if isinstance(error, (ImportError, AttributeError)) else ""
        message = f"{group} {_shown(named)} cannot be {done}: {type(error).__name__}{text}."
        raise ConfigurationError(message) from error


def _shown(named: object) -> str:
    return repr(named) if isinstance(named, str) else f"<{type(named).__name__}>"
