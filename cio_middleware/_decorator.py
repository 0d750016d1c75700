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
from collections.abc import AsyncGenerator, Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar, overload

import wrapt

from ._calls import Attributes, Began, Persons, Plan, Reporter, When, begin
from ._client import Client

F = TypeVar("F", bound=Callable[..., Any])


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
        return _decorate(name, Plan(None, attributes, person, when, client))
    plan = Plan(name, attributes, person, when, client)
    return lambda function: _decorate(function, plan)


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
            raise TypeError(message)
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


def _decorate(function: Any, plan: Plan) -> Any:
    bare = _bare(function)
    if isinstance(bare, type):
        message = f"@track_event decorates functions, and {bare.__name__} is a class. Decorate its methods."
        raise TypeError(message)
    if not callable(bare):
        message = f"@track_event decorates functions, not a {type(bare).__name__}."
        raise TypeError(message)
    reporter = Reporter(plan, bare)
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


def _plain(reporter: Reporter) -> Callable[..., Any]:
    def call(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        began = begin()
        try:
            result = wrapped(*args, **kwargs)
        except BaseException as error:
            reporter.report((wrapped, instance, args, kwargs), began, exception=error)
            raise
        reporter.report((wrapped, instance, args, kwargs), began, result)
        return result

    return call


def _coroutine(reporter: Reporter) -> Callable[..., Any]:
    async def call(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        began = begin()
        try:
            result = await wrapped(*args, **kwargs)
        except BaseException as error:
            await reporter.areport((wrapped, instance, args, kwargs), began, exception=error)
            raise
        await reporter.areport((wrapped, instance, args, kwargs), began, result)
        return result

    return call


_Finished = Callable[[Began, Any, BaseException | None], None]


def _generator(reporter: Reporter, steps: Callable[[Any, _Finished], Any]) -> Callable[..., Any]:
    def call(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        def finished(began: Began, result: Any, exception: BaseException | None) -> None:
            reporter.report((wrapped, instance, args, kwargs), began, result, exception)

        # Made here and not at the first step, so that wrong arguments fail where they are passed.
        return steps(wrapped(*args, **kwargs), finished)

    return call


def _steps(inner: Generator[Any, Any, Any], finished: _Finished) -> Generator[Any, Any, Any]:
    began = begin()
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
    began = begin()
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
