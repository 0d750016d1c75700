"""
What the fixtures of the pytest plugin do, without pytest: a workspace for each test, and a look at it at the end.

    with serving() as server, watching(server.sandbox, name="test_checkout") as watch:
        watch.client.track("order_completed", person="ada")
        assert not watch.unlooked()
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from cio_middleware import _default
from cio_middleware._client import Client
from cio_middleware._settings import Settings
from cio_middleware.exceptions import ConfigurationError
from cio_middleware.testing.sandbox import Sandbox

LONGEST = 60.0
NAME_CHARS = 60
_RUN = secrets.token_hex(3)
"""Tells this process's workspaces from those of another run, and of another xdist worker, on one server."""


class Server:
    """A sandbox in a thread, from here on until `stop`."""

    def __init__(self) -> None:
        self._until = ExitStack()
        self.sandbox = self._until.enter_context(Sandbox.running())

    def stop(self) -> None:
        """Stop it."""
        self._until.close()


@contextmanager
def serving() -> Iterator[Server]:
    """Run one until the end of the block."""
    server = Server()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def joined(url: str) -> Iterator[Sandbox]:
    """
    A handle on a sandbox that runs already.

    Raises:
        ConnectionError: none answers there.
    """
    with Sandbox(url.rstrip("/")) as sandbox:
        sandbox.summary()
        yield sandbox


@dataclass(frozen=True, slots=True)
class Marks:
    """What the markers of a test say; the one nearest to the test wins."""

    faults: Sequence[str] = ()
    allow_problems: bool = False

    @classmethod
    def of(cls, marks: Iterable[tuple[Sequence[Any], Mapping[str, Any]]]) -> Marks:
        """
        Read arguments and keywords of markers, the nearest first.

        Raises:
            TypeError: for what the marker does not take.
        """
        stated: dict[str, Any] = {}
        for positional, named in marks:
            if positional or not named.keys() <= {"faults", "allow_problems"}:
                raise TypeError('the marker takes names only: @pytest.mark.cio(faults=["429"], allow_problems=True)')
            stated = {**named, **stated}
        return cls(**stated)


class Watch:
    """One test's workspace, its client, and what is said of both at the end."""

    def __init__(self, sandbox: Sandbox, client: Client, *, allow_problems: bool) -> None:
        self.sandbox = sandbox
        self.client = client
        self.failed = False
        self._allow_problems = allow_problems
        self._said: set[int] = set()
        self._report = ""
        self._open = True

    def unlooked(self) -> str:
        """Send what is queued, and return what is to be said of events that were lost unseen; empty if none were."""
        from cio_middleware.testing._failure import unexpected

        if self._allow_problems:
            return ""
        try:
            self.sandbox.flush()
            bad = [event for event in self.sandbox.unlooked() if event.seq not in self._said]
        except ConnectionError:  # the test stopped it, and knows
            return ""
        self._said.update(event.seq for event in bad)
        return unexpected(bad, strict=self.sandbox.strict) if bad else ""

    def report(self) -> str:
        """The newest events of the workspace, as text."""
        if self._open:
            try:
                self.sandbox.flush(1.0)
                self._report = self.sandbox.report(f"Watch it: {self.sandbox.watch}" if self.sandbox.watch else "")
            except Exception as error:  # noqa: BLE001 - a report that cannot be made must not hide the failure
                self._report = f"the sandbox does not answer ({type(error).__name__})"
        return self._report

    def end(self) -> None:
        """From here on the report is what it was."""
        self._open = False


@contextmanager
def watching(
    server: Sandbox,
    *,
    name: str,
    marks: Marks | None = None,
    timeout: float = 2.0,
    strict: bool = False,
    keep: bool = False,
) -> Iterator[Watch]:
    """
    A workspace for one test, with a client that is the process's default one meanwhile.

    Args:
        server: Where.
        name: What the test is called, which becomes a part of the workspace's name.
        marks: The faults to begin with, and whether events may be lost unseen.
        timeout: Seconds that waits take by default.
        strict: Whether a warning is as bad as an error.
        keep: Leave the workspace as it is when the test has failed; otherwise it is emptied.
    """
    marks = marks or Marks()
    with ExitStack() as until:
        sandbox = until.enter_context(server.workspace(_workspace(name)))
        sandbox.timeout, sandbox.strict = timeout, strict
        if sandbox.watch and not keep:
            sandbox.watch = "pytest --cio-keep …"
        client = Client(Settings(**sandbox.client_kwargs), clock=sandbox.clock)
        sandbox.attach(client)
        watch = Watch(sandbox, client, allow_problems=marks.allow_problems)
        until.callback(_empty, watch, keep=keep)
        until.callback(client.close, 1.0)
        until.callback(sandbox.clock.thaw)
        until.enter_context(_surroundings(sandbox.env))
        until.enter_context(_default_client(client))
        if marks.faults:
            sandbox.faults.script(marks.faults)
        yield watch
        watch.end()


def _empty(watch: Watch, *, keep: bool) -> None:
    # Emptied, its place is free for another: a server keeps a thousand at most.
    if not (keep and watch.failed):
        with suppress(ConnectionError):
            watch.sandbox.reset()


def _workspace(name: str) -> str:
    readable = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII)[:NAME_CHARS].strip("-")
    return f"{readable}-{_RUN}{os.getpid():x}-{secrets.token_hex(2)}"


@contextmanager
def _surroundings(env: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in env}
    os.environ.update(env)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _default_client(client: Client) -> Iterator[None]:
    before = _default._DEFAULT.client  # noqa: SLF001 - put back as it was, and not made from the environment
    _default.configure(client)
    try:
        yield
    finally:
        _default._DEFAULT.put(before)  # noqa: SLF001


def seconds(given: str) -> float:
    """
    Read the `cio_timeout` of a configuration file.

    Raises:
        ConfigurationError: it is no number of seconds for which the sandbox would wait.
    """
    try:
        timeout = float(given)
    except ValueError:
        timeout = -1.0
    if not 0 <= timeout <= LONGEST:
        raise ConfigurationError(f"cio_timeout is {given!r}. Type seconds from 0 to {LONGEST:.0f}, such as 2.0")
    return timeout
