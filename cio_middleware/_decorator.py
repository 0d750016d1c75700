"""
`@track_event`: an event for each call of a function, on wrapt.

What kind of function it is, is decided once, when it is decorated. The wrapper never raises on its own account and
never hides what the function raises; it adds nothing to a call but the event.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, overload

import wrapt

from ._client import Client
from ._default import client_here
from ._notices import Notices
from .exceptions import ConfigurationError, DeliveryError, InvalidEvent
from .typing import Person

F = TypeVar("F", bound=Callable[..., Any])
When = Literal["success", "failure", "always"]
_WHEN = ("success", "failure", "always")


@dataclass(frozen=True, slots=True)
class Call:
    """
    One finished call, as `attributes=` and `person=` see it.

    `arguments` are by name, defaults included. `result` is what was returned (None for a generator or after a failure),
    `exception` what was raised, `duration` how long it took, in seconds.
    """

    arguments: Mapping[str, Any]
    result: Any
    exception: BaseException | None
    duration: float

    def __repr__(self) -> str:
        return f"Call({'failed' if self.exception is not None else 'succeeded'} after {self.duration:.3f} s)"


Attributes = Mapping[str, Any] | Sequence[str] | Callable[[Call], Any] | None
Persons = Person | Callable[[Call], Person | None] | None


@overload
def track_event(name: F, /) -> F: ...
@overload
def track_event(
    name: str | None = None,
    /,
    *,
    attributes: Attributes = None,
    person: Persons = None,
    when: When = "success",
    client: Client | None = None,
) -> Callable[[F], F]: ...
def track_event(
    name: Any = None,
    /,
    *,
    attributes: Attributes = None,
    person: Persons = None,
    when: When = "success",
    client: Client | None = None,
) -> Any:
    """
    Capture an event whenever the decorated function finishes.

    Works on functions, methods, classmethods, staticmethods, coroutines, generators, async generators and partials,
    above or below a framework's own decorator. A generator has finished when it is exhausted or closed.

    Args:
        name: What happened. Default: the function's name.
        attributes: A mapping; names of arguments to send; or a callable of one `Call` that returns a mapping.
        person: Who; or a callable of one `Call` that returns who. Default: as for `Client.track`.
        when: After a "success" (default), a "failure" (an exception), or "always".
        client: Default: the request's client, else the process's.

    Raises:
        ConfigurationError: at decoration, for a `when` that is none or an argument that the function does not have.
        TypeError: at decoration, for a class.
    """
    if name is not None and not isinstance(name, str):
        return _decorate(name, _Plan(None, attributes, person, when, client))
    plan = _Plan(name, attributes, person, when, client)
    return lambda function: _decorate(function, plan)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one decorator was told."""

    name: str | None
    attributes: Attributes
    person: Persons
    when: str
    client: Client | None


class _Tracked(wrapt.FunctionWrapper[..., Any]):
    """Pickles as the function that it stands for, by name, as a plain function does."""

    def __reduce_ex__(self, protocol: Any) -> str:
        return str(self.__wrapped__.__qualname__)

    def __reduce__(self) -> str:
        return str(self.__wrapped__.__qualname__)


def _decorate(function: Any, plan: _Plan) -> Any:
    bare = _bare(function)
    if isinstance(bare, type):
        message = f"@track_event decorates functions, and {bare.__name__} is a class. Decorate its methods."
        raise TypeError(message)
    if not callable(bare):
        message = f"@track_event decorates functions, not a {type(bare).__name__}."
        raise TypeError(message)
    if plan.when not in _WHEN:
        message = f"when is {plan.when!r}: type one of {', '.join(_WHEN)}."
        raise ConfigurationError(message)
    reporter = _Reporter(plan, bare)
    if inspect.iscoroutinefunction(bare):
        return _Tracked(function, _coroutine(reporter))
    if inspect.isasyncgenfunction(bare):
        return _Tracked(function, _async_generator(reporter))
    if inspect.isgeneratorfunction(bare):
        return _Tracked(function, _generator(reporter))
    return _Tracked(function, _plain(reporter))


def _bare(function: Any) -> Any:
    """The function under classmethods, staticmethods, partials and other wrappers."""
    while True:
        if isinstance(function, (classmethod, staticmethod)):
            function = function.__func__
        elif isinstance(function, (functools.partial, functools.partialmethod)):
            function = function.func
        elif not inspect.isroutine(function) and not isinstance(function, type):
            # An object with an async __call__ is a coroutine function that inspect does not see as one.
            call = type(function).__call__ if callable(function) else None
            return call if inspect.iscoroutinefunction(call) else function
        else:
            return function


class _Reporter:
    """Turns finished calls into events."""

    def __init__(self, plan: _Plan, bare: Any) -> None:
        self._plan = plan
        self._name = plan.name or str(getattr(bare, "__name__", type(bare).__name__))
        self._notices = Notices()
        self._signatures: dict[bool, inspect.Signature] = {}
        self._picked = _picked(plan.attributes)
        self._needs_arguments = bool(self._picked) or callable(plan.attributes) or callable(plan.person)
        self._check(bare)

    def _check(self, bare: Any) -> None:
        if not self._picked:
            return
        parameters = inspect.signature(bare).parameters
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            return
        unknown = [name for name in self._picked if name not in parameters]
        if unknown:
            message = f"{self._name} has no argument {', '.join(unknown)}; it has {', '.join(parameters) or 'none'}."
            raise ConfigurationError(message)

    def report(
        self,
        wrapped: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        started: float,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        """One call finished. Never raises, unless the client was told to."""
        if self._plan.when != "always" and (self._plan.when == "success") != (exception is None):
            return
        client = self._plan.client or client_here()
        if client is None:
            return
        try:
            attributes, person = self._values(wrapped, args, kwargs, started, result, exception)
        except Exception as error:  # noqa: BLE001 - attributes= and person= are the application's
            client.drop_call()
            self._notices.trouble(
                "call", type(error).__name__, "attributes= or person= of event %r raised %s: its events are dropped",
                self._name, type(error).__name__,
            )  # fmt: skip
            return
        try:
            client.track(self._name, attributes, person=person)
        except (InvalidEvent, DeliveryError):
            # `debug` and on_error="raise" ask for it, but it must not hide what the function itself raised.
            if exception is None:
                raise

    def _values(
        self,
        wrapped: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        started: float,
        result: Any,
        exception: BaseException | None,
    ) -> tuple[Any, Any]:
        plan = self._plan
        if not self._needs_arguments:
            return plan.attributes, plan.person
        arguments = _arguments(wrapped, args, kwargs)
        call = Call(arguments, result, exception, time.monotonic() - started)
        person = plan.person(call) if callable(plan.person) else plan.person
        if self._picked:
            return {name: arguments[name] for name in self._picked if name in arguments}, person
        return (plan.attributes(call) if callable(plan.attributes) else plan.attributes), person


def _picked(attributes: Attributes) -> tuple[str, ...]:
    if isinstance(attributes, str):
        return (attributes,)
    if isinstance(attributes, Sequence):
        return tuple(attributes)
    return ()


def _arguments(wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    bound = inspect.signature(wrapped).bind(*args, **kwargs)
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    for name, parameter in bound.signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments.update(arguments.pop(name, {}))
    return arguments


def _plain(reporter: _Reporter) -> Callable[..., Any]:
    def call(wrapped: Any, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        started = time.monotonic()
        try:
            result = wrapped(*args, **kwargs)
        except BaseException as error:
            reporter.report(wrapped, args, kwargs, started, exception=error)
            raise
        reporter.report(wrapped, args, kwargs, started, result)
        return result

    return call


def _coroutine(reporter: _Reporter) -> Callable[..., Any]:
    async def call(wrapped: Any, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        started = time.monotonic()
        try:
            result = await wrapped(*args, **kwargs)
        except BaseException as error:
            reporter.report(wrapped, args, kwargs, started, exception=error)
            raise
        reporter.report(wrapped, args, kwargs, started, result)
        return result

    return call


def _generator(reporter: _Reporter) -> Callable[..., Any]:
    def call(wrapped: Any, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        started = time.monotonic()
        try:
            result = yield from wrapped(*args, **kwargs)
        except GeneratorExit:
            # Whoever iterates had enough: an early end, not a failure.
            reporter.report(wrapped, args, kwargs, started)
            raise
        except BaseException as error:
            reporter.report(wrapped, args, kwargs, started, exception=error)
            raise
        reporter.report(wrapped, args, kwargs, started, result)
        return result

    return call


def _async_generator(reporter: _Reporter) -> Callable[..., Any]:
    def call(wrapped: Any, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        started = time.monotonic()

        def finished(exception: BaseException | None) -> None:
            reporter.report(wrapped, args, kwargs, started, exception=exception)

        return _TrackedAsyncGenerator(wrapped(*args, **kwargs), finished)

    return call


class _TrackedAsyncGenerator(AsyncGenerator[Any, Any]):
    """
    An async generator that tells when it ends. A loop over it would lose `asend` and `athrow`; this hands them on.
    """

    def __init__(self, inner: AsyncGenerator[Any, Any], finished: Callable[[BaseException | None], None]) -> None:
        self._inner = inner
        self._finished: Callable[[BaseException | None], None] | None = finished

    async def asend(self, value: Any) -> Any:
        return await self._step(self._inner.asend(value))

    async def athrow(self, *error: Any) -> Any:
        return await self._step(self._inner.athrow(*error))

    async def aclose(self) -> None:
        await self._inner.aclose()
        self._end(None)

    async def _step(self, step: Any) -> Any:
        try:
            return await step
        except (StopAsyncIteration, GeneratorExit):
            self._end(None)
            raise
        except BaseException as error:
            self._end(error)
            raise

    def _end(self, exception: BaseException | None) -> None:
        finished, self._finished = self._finished, None
        if finished is not None:
            finished(exception)
