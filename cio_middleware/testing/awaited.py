"""
The handle for tests that are coroutines: the same calls, awaited, while the event loop goes on.

A plain call would hold up the very loop on which the app under test answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from cio_middleware.testing.sandbox import Sandbox

if TYPE_CHECKING:
    from cio_middleware.testing._levers import Faults
    from cio_middleware.testing._seen import SeenEvent, SeenPerson, SeenProblem

P = ParamSpec("P")
R = TypeVar("R")


def _awaited(
    call: Callable[Concatenate[Sandbox, P], R],
) -> Callable[Concatenate[AsyncSandbox, P], Coroutine[Any, Any, R]]:
    """The same call, made in a thread."""

    async def awaited(self: AsyncSandbox, /, *args: P.args, **kwargs: P.kwargs) -> R:
        __tracebackhide__ = True
        return await asyncio.to_thread(call, self.sandbox, *args, **kwargs)

    awaited.__doc__ = call.__doc__
    return awaited


def _bad(sandbox: Sandbox) -> list[SeenEvent]:
    """`Sandbox.bad`, awaited."""
    return sandbox.bad


def _good(sandbox: Sandbox) -> list[SeenEvent]:
    """`Sandbox.good`, awaited."""
    return sandbox.good


def _problems(sandbox: Sandbox) -> list[SeenProblem]:
    """`Sandbox.problems`, awaited."""
    return sandbox.problems


def _person(sandbox: Sandbox, key: str) -> SeenPerson:
    """`Sandbox.people[key]`, awaited."""
    return sandbox.people[key]


class AsyncSandbox:
    """
    One workspace of a sandbox, awaited.

    Attributes:
        sandbox: The handle itself. What it does at once needs no await.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    @property
    def url(self) -> str:
        """Where the sandbox listens."""
        return self.sandbox.url

    @property
    def env(self) -> dict[str, str]:
        """What an app in a process of its own needs to reach this workspace."""
        return self.sandbox.env

    @property
    def client_kwargs(self) -> dict[str, Any]:
        """Settings of a client that reaches this workspace."""
        return self.sandbox.client_kwargs

    @property
    def faults(self) -> Faults:
        """The levers, which answer at once."""
        return self.sandbox.faults

    events = _awaited(Sandbox.events)
    good = _awaited(_good)
    bad = _awaited(_bad)
    problems = _awaited(_problems)
    person = _awaited(_person)
    count = _awaited(Sandbox.count)
    duplicates = _awaited(Sandbox.duplicates)
    requests = _awaited(Sandbox.requests)
    wait = _awaited(Sandbox.wait)
    wait_for = _awaited(Sandbox.wait_for)
    wait_for_all = _awaited(Sandbox.wait_for_all)
    assert_tracked = _awaited(Sandbox.assert_tracked)
    assert_not_tracked = _awaited(Sandbox.assert_not_tracked)
    flush = _awaited(Sandbox.flush)
    reset = _awaited(Sandbox.reset)
    export = _awaited(Sandbox.export)
    freeze_time = _awaited(Sandbox.freeze_time)
