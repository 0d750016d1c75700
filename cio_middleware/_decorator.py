"""
`@track_event`: an event for each call of a function, on wrapt.

What kind of function it is, is decided once, when it is decorated. The wrapper never raises on its own account and
never hides what the function raises; it adds nothing to a call but the event.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import operator
import pickle
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import wrapt

from ._client import Client
from ._context import Overlay, RequestCell, current, overlay
from ._default import client_here
from ._fork import WATCH
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

    Works on functions, methods, classmethods, staticmethods, coroutines, generators, async generators and partials. Put
    it nearest to the `def`: a framework's route decorator registers what it is given, and never calls what is above it.
    A generator has finished when it is exhausted, closed or thrown away; one that never began is no event.

    Args:
        name: What happened. Default: the function's name.
        attributes: A mapping; names of arguments to send; or a callable of one `Call` that returns a mapping.
        person: Who; or a callable of one `Call` that returns who. Default: as for `Client.track`.
        when: After a "success" (default), a "failure" (an exception), or "always".
        client: Default: the request's client, else the process's.

    Raises:
        ConfigurationError: at decoration, for a `when` that is none, an argument that the function does not have, or an
            asynchronous callable.
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


if TYPE_CHECKING:
    _Wrapper = wrapt.FunctionWrapper[..., Any]
    _BoundWrapper = wrapt.BoundFunctionWrapper[..., Any]
else:  # wrapt 1.x has them, but not as generics
    _Wrapper, _BoundWrapper = wrapt.FunctionWrapper, wrapt.BoundFunctionWrapper


class _Importable:
    """Pickles by name, as functions and methods do, and is its own copy."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__reduce__()

    def __reduce__(self) -> Any:
        function: Any = self.__wrapped__  # type: ignore[attr-defined]
        if inspect.ismethod(function):
            return getattr, (function.__self__, function.__name__)
        name = function.__module__, function.__qualname__
        if getattr(_imported(*name), "__wrapped__", None) is not function:
            message = f"{'.'.join(name)} is no longer the function that @track_event decorated."
            raise pickle.PicklingError(message)
        return _imported, name

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: Any) -> Any:
        return self


class _BoundTracked(_Importable, _BoundWrapper):
    """A tracked function as an attribute of a class or an instance."""


class _Tracked(_Importable, _Wrapper):
    """A tracked function."""

    __bound_function_wrapper__ = _BoundTracked


class _TrackedAsyncCallable(_Tracked):
    """A tracked object with an async `__call__`, by which frameworks tell it."""

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return await super().__call__(*args, **kwargs)


def _imported(module: str, name: str) -> Any:
    return operator.attrgetter(name)(importlib.import_module(module))


def _decorate(function: Any, plan: _Plan) -> Any:
    bare = _bare(function)
    if isinstance(bare, type):
        message = f"@track_event decorates functions, and {bare.__name__} is a class. Decorate its methods."
        raise TypeError(message)
    if not callable(bare):
        message = f"@track_event decorates functions, not a {type(bare).__name__}."
        raise TypeError(message)
    reporter = _Reporter(plan, bare)
    # An object with an async __call__ is a coroutine function that inspect does not see as one.
    kind = bare if inspect.isroutine(bare) else type(bare).__call__
    if inspect.iscoroutinefunction(kind):
        return (_Tracked if kind is bare else _TrackedAsyncCallable)(function, _coroutine(reporter))
    if inspect.isasyncgenfunction(kind):
        return _Tracked(function, _generator(reporter, _async_steps))
    if inspect.isgeneratorfunction(kind):
        return _Tracked(function, _generator(reporter, _steps))
    return _Tracked(function, _plain(reporter))


def _bare(function: Any) -> Any:
    """The function under classmethods, staticmethods and partials."""
    while True:
        if isinstance(function, (classmethod, staticmethod)):
            function = function.__func__
        elif isinstance(function, (functools.partial, functools.partialmethod)):
            function = function.func
        else:
            return function


_Began = tuple[float, RequestCell | None, Overlay | None]
"""When a call began, and in which request and `bound()` block: a generator may end in another's."""


def _begin() -> _Began:
    return time.monotonic(), current.get(), overlay.get()


_Made = tuple[Any, Any, tuple[Any, ...], dict[str, Any]]
"""What was called: the function, what it is bound to, and its arguments."""


class _Reporter:
    """Turns finished calls into events."""

    def __init__(self, plan: _Plan, bare: Any) -> None:
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
        if not self._picked:
            return
        parameters = inspect.signature(bare).parameters
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            return
        unknown = [name for name in self._picked if name not in parameters]
        if unknown:
            message = f"{self._name} has no argument {', '.join(unknown)}; it has {', '.join(parameters) or 'none'}."
            raise ConfigurationError(message)

    def report(self, made: _Made, began: _Began, result: Any = None, exception: BaseException | None = None) -> None:
        """One call finished. Never raises, unless the client was told to."""
        if not self._wanted(exception):
            return
        here = _enter(began)
        try:
            client = self._plan.client or client_here()
            values = None if client is None else self._values(client, self._call(made, began, result, exception))
            if client is not None and values is not None:
                client.track(self._name, values[0], person=values[1])
        except (InvalidEvent, DeliveryError):
            # `debug` and on_error="raise" ask for it, but it must not hide what the function itself raised.
            if exception is None:
                raise
        finally:
            _leave(here)

    async def areport(
        self, made: _Made, began: _Began, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """The same for a coroutine, which can await a backend that delivers meanwhile."""
        if exception is not None and not isinstance(exception, Exception):
            self.report(made, began, result, exception)  # cancelled: nothing is awaited any more
            return
        if not self._wanted(exception):
            return
        here = _enter(began)
        try:
            client = self._plan.client or client_here()
            values = None if client is None else self._values(client, self._call(made, began, result, exception))
            if client is not None and values is not None:
                await client.atrack(self._name, values[0], person=values[1])
        except (InvalidEvent, DeliveryError):
            if exception is None:
                raise
        finally:
            _leave(here)

    def _wanted(self, exception: BaseException | None) -> bool:
        return self._plan.when == "always" or (self._plan.when == "success") == (exception is None)

    def _call(self, made: _Made, began: _Began, result: Any, exception: BaseException | None) -> Call | None:
        if not self._needs_arguments:
            return None
        return Call(self._arguments(made), result, exception, time.monotonic() - began[0])

    def _values(self, client: Client, call: Call | None) -> tuple[Any, Any] | None:
        """Attributes and person of the event; None when the application's callables failed, which is counted."""
        asked = "attributes="
        try:
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
        return attributes, person

    def _attributes(self, call: Call | None) -> Any:
        attributes: Any = self._plan.attributes
        if call is None:
            return attributes
        if self._picked:
            return {name: call.arguments[name] for name in self._picked if name in call.arguments}
        return attributes(call) if callable(attributes) else attributes

    def _arguments(self, made: _Made) -> dict[str, Any]:
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


def _enter(began: _Began) -> tuple[Any, Any] | None:
    """Go back to where a call began. None when that is here."""
    _, cell, block = began
    if cell is current.get() and block is overlay.get():
        return None
    return current.set(cell), overlay.set(block)


def _leave(here: tuple[Any, Any] | None) -> None:
    if here is not None:
        current.reset(here[0])
        overlay.reset(here[1])


def _plain(reporter: _Reporter) -> Callable[..., Any]:
    def call(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        began = _begin()
        try:
            result = wrapped(*args, **kwargs)
        except BaseException as error:
            reporter.report((wrapped, instance, args, kwargs), began, exception=error)
            raise
        reporter.report((wrapped, instance, args, kwargs), began, result)
        return result

    return call


def _coroutine(reporter: _Reporter) -> Callable[..., Any]:
    async def call(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        began = _begin()
        try:
            result = await wrapped(*args, **kwargs)
        except BaseException as error:
            await reporter.areport((wrapped, instance, args, kwargs), began, exception=error)
            raise
        await reporter.areport((wrapped, instance, args, kwargs), began, result)
        return result

    return call


_Finished = Callable[[_Began, Any, BaseException | None], None]


def _generator(reporter: _Reporter, steps: Callable[[Any, _Finished], Any]) -> Callable[..., Any]:
    def call(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        def finished(began: _Began, result: Any, exception: BaseException | None) -> None:
            reporter.report((wrapped, instance, args, kwargs), began, result, exception)

        # Made here and not at the first step, so that wrong arguments fail where they are passed.
        return steps(wrapped(*args, **kwargs), finished)

    return call


def _steps(inner: Generator[Any, Any, Any], finished: _Finished) -> Generator[Any, Any, Any]:
    began = _begin()
    try:
        result = yield from inner
    except GeneratorExit:
        # Whoever iterates had enough: an early end, not a failure.
        finished(began, None, None)
        raise
    except BaseException as error:
        finished(began, None, error)
        raise
    finished(began, result, None)
    return result


async def _async_steps(inner: AsyncGenerator[Any, Any], finished: _Finished) -> AsyncGenerator[Any, Any]:
    """What `yield from` does, which async generators do not have: hands on values, errors and the end."""
    began = _begin()
    step = inner.__anext__()
    try:
        while True:
            item = await step
            try:
                sent = yield item
            except GeneratorExit:
                await inner.aclose()
                raise
            except BaseException as error:  # noqa: BLE001 - it is for the generator inside
                step = inner.athrow(error)
            else:
                step = inner.asend(sent)
    except (StopAsyncIteration, GeneratorExit) as end:
        finished(began, None, None)
        if isinstance(end, GeneratorExit):
            raise
    except BaseException as error:
        finished(began, None, error)
        raise
