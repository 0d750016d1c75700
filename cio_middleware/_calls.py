"""
What becomes of a call that finished: `Call` is how the application sees it, `Reporter` makes an event of it.

Nothing here raises on its own account, once the function is decorated.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Literal

import wrapt

from ._client import Client
from ._context import Overlay, RequestCell, current, overlay
from ._default import client_here
from ._discreet import RAISED, bare
from ._fork import WATCH
from ._notices import Notices
from ._person import takes
from .exceptions import ConfigurationError
from .typing import Person

When = Literal["success", "failure", "always"]
_WHEN = ("success", "failure", "always")


@dataclass(frozen=True, slots=True)
class Call:
    """
    One finished call, as `attributes=` and `person=` see it.

    `arguments` are by name, defaults included, without `self`. `result` is what was returned (None after a failure; for
    a generator what its `return` gave), `exception` what was raised, `duration` how long it took, in seconds.
    """

    arguments: Mapping[str, Any]
    result: Any
    exception: BaseException | None
    duration: float

    def __repr__(self) -> str:
        return f"Call({'failed' if self.exception is not None else 'succeeded'} after {self.duration:.3f} s)"


Attributes = Mapping[str, Any] | Sequence[str] | Callable[[Call], Any] | None
Persons = Person | Callable[[Call], Person | None] | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What one decorator was told."""

    name: str | None
    attributes: Attributes = field(repr=False)
    person: Persons = field(repr=False)
    when: str
    client: Client | None


Began = tuple[float, RequestCell | None, Overlay | None]
"""When a call began, and in which request and `bound()` block: a generator may end in another's."""


def begin() -> Began:
    return time.monotonic(), current.get(), overlay.get()


Made = tuple[Any, Any, tuple[Any, ...], dict[str, Any]]
"""What was called: the function, what it is bound to, and its arguments."""


class Reporter:
    """Turns finished calls into events."""

    def __init__(self, plan: Plan, bare: Any) -> None:
        self._plan = plan
        self._name = plan.name or str(getattr(bare, "__name__", type(bare).__name__))
        self._notices = Notices()
        WATCH.add(self._notices)
        self._signatures: dict[bool, inspect.Signature] = {}
        self._picked = _picked(plan.attributes)
        self._needs_arguments = bool(self._picked) or callable(plan.attributes) or callable(plan.person)
        self._check(bare)

    def _check(self, bare: Any) -> None:
        plan = self._plan
        if plan.when not in _WHEN:
            message = f"when is {plan.when!r}: type one of {', '.join(_WHEN)}."
            raise ConfigurationError(message)
        if inspect.iscoroutinefunction(plan.attributes) or inspect.iscoroutinefunction(plan.person):
            message = (
                f"attributes= or person= of event {self._name!r} is asynchronous. Pass a plain function of one Call."
            )
            raise ConfigurationError(message)
        for name, given in (("attributes", plan.attributes), ("person", plan.person)):
            if callable(given) and not takes(given, 1):
                message = (
                    f"{name}= of event {self._name!r} cannot be called as it will be:"
                    " it is given one Call: type lambda call: ..."
                )
                raise ConfigurationError(message)
        if not self._picked:
            return
        parameters = inspect.signature(bare).parameters
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            return
        unknown = [name for name in self._picked if name not in parameters]
        if unknown:
            message = f"{self._name} has no argument {', '.join(unknown)}; it has {', '.join(parameters) or 'none'}."
            raise ConfigurationError(message)

    def report(self, made: Made, began: Began, result: Any = None, exception: BaseException | None = None) -> None:
        """One call finished. Never raises, unless the client was told to."""
        if not self._wanted(exception):
            return
        here, event = _enter(began), None
        try:
            if (event := self._event(made, began, result, exception)) is not None:
                event[0].track(self._name, event[1], person=event[2])
        except RAISED as error:
            # `debug` and on_error="raise" ask for it, but it must not hide what the function itself raised.
            if exception is None:
                del made, result, event
                raise bare(error) from None
        finally:
            _leave(here)

    async def areport(
        self, made: Made, began: Began, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """The same for a coroutine, which can await a backend that delivers meanwhile."""
        if exception is not None and not isinstance(exception, Exception):
            self.report(made, began, result, exception)  # cancelled: nothing is awaited any more
            return
        if not self._wanted(exception):
            return
        here, event = _enter(began), None
        try:
            if (event := self._event(made, began, result, exception)) is not None:
                await event[0].atrack(self._name, event[1], person=event[2])
        except RAISED as error:
            if exception is None:
                del made, result, event
                raise bare(error) from None
        finally:
            _leave(here)

    def _wanted(self, exception: BaseException | None) -> bool:
        return self._plan.when == "always" or (self._plan.when == "success") == (exception is None)

    def _event(
        self, made: Made, began: Began, result: Any, exception: BaseException | None
    ) -> tuple[Client, Any, Any] | None:
        """Who captures what about whom; None without a client, or when a callable failed, which is counted."""
        client = self._plan.client or client_here()
        if client is None:
            return None
        asked = "attributes="
        try:
            call = None
            if self._needs_arguments:
                call = Call(self._arguments(made), result, exception, time.monotonic() - began[0])
            attributes = self._attributes(call)
            asked = "person="
            person: Any = self._plan.person
            if callable(person) and call is not None:
                person = person(call)
        except Exception as error:  # noqa: BLE001 - attributes= and person= are the application's
            client.drop_call()
            kind = type(error).__name__
            self._notices.trouble(
                "call", asked + kind, "%s of event %r raised %s: its events are dropped", asked, self._name, kind
            )
            return None
        return client, attributes, person

    def _attributes(self, call: Call | None) -> Any:
        attributes: Any = self._plan.attributes
        if call is None:
            return attributes
        if self._picked:
            return {name: call.arguments[name] for name in self._picked if name in call.arguments}
        return attributes(call) if callable(attributes) else attributes

    def _arguments(self, made: Made) -> dict[str, Any]:
        wrapped, instance, args, kwargs = made
        if isinstance(wrapped, wrapt.PartialCallableObjectProxy):
            # A method that is called by its class; whether its signature has a `self` depends on the version of wrapt.
            wrapped = wrapped.__wrapped__.__get__(instance)
        while isinstance(wrapped, functools.partial):
            args, kwargs, wrapped = wrapped.args + args, {**wrapped.keywords, **kwargs}, wrapped.func
        is_method = inspect.ismethod(wrapped)
        try:
            if (signature := self._signatures.get(is_method)) is None:
                signature = self._signatures[is_method] = inspect.signature(wrapped)
            bound = signature.bind(*args, **kwargs)
        except (TypeError, ValueError):
            # Called wrongly, which is how it failed; or a built-in without a signature.
            return dict(kwargs)
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        for name, parameter in signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                arguments.update(arguments.pop(name, {}))
        return arguments


def _picked(attributes: Attributes) -> tuple[str, ...]:
    if isinstance(attributes, str):
        return (attributes,)
    if isinstance(attributes, (Sequence, AbstractSet)):
        return tuple(attributes)
    return ()


def _enter(began: Began) -> tuple[Any, Any] | None:
    """Go back to where a call began. None when that is here."""
    _, cell, block = began
    if cell is current.get() and block is overlay.get():
        return None
    return current.set(cell), overlay.set(block)


def _leave(here: tuple[Any, Any] | None) -> None:
    if here is not None:
        current.reset(here[0])
        overlay.reset(here[1])
