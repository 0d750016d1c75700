"""
Start the shops, each in a process of its own, and end them, whatever happens.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

HERE = Path(__file__).parents[2]
START_SECONDS = 20.0
STOP_SECONDS = 5.0


class CannotStart(Exception):
    """Something did not start; the message says what, and shows what it said last."""


@dataclass(frozen=True, slots=True)
class Shop:
    """A shop that listens; `said` is its stderr."""

    name: str
    url: str
    pid: int
    said: IO[str]

    def last_words(self) -> str:
        """The end of what it wrote to stderr."""
        return _end_of(self.said)


@contextmanager
def shops(names: Sequence[str], settings: Mapping[str, str], lose_one: str | None = None) -> Iterator[list[Shop]]:
    """
    Start the shops on free ports, and stop them at the end.

    Args:
        names: `starlette`, `flask`.
        settings: Their `CUSTOMERIO_*` variables; none of this process's own reach them.
        lose_one: The shop whose client loses one request.

    Raises:
        CannotStart: with the last words of the one that did not.
    """
    with ExitStack() as stack:
        started = [(name, *stack.enter_context(_process(name, settings, lose_one=name == lose_one))) for name in names]
        yield [_wait(name, process, said) for name, process, said in started]


@contextmanager
def _process(
    name: str, settings: Mapping[str, str], *, lose_one: bool
) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    command = [sys.executable, "-m", "examples.demo.serve", name, *(["--lose-one"] if lose_one else [])]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command,
            cwd=HERE,
            env=_environment(settings),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            # Ctrl-C reaches this process alone; the shops end when their stdin does, even if this process is killed.
            start_new_session=True,
        )
        try:
            yield process, said
        finally:
            _stop(process)


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CUSTOMERIO_")}
    # A proxy must not come between a shop and this machine.
    return {**kept, **settings, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}


def _wait(name: str, process: subprocess.Popen[str], said: IO[str]) -> Shop:
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    port = process.stdout.readline().strip() if ready else ""
    if not port:
        why = f"it ended with {process.wait(STOP_SECONDS)}" if ready else f"no answer within {START_SECONDS:.0f} s"
        message = f"the {name} shop did not start: {why}.\n{_end_of(said)}"
        raise CannotStart(message)
    return Shop(name, f"http://127.0.0.1:{port}", process.pid, said)


def _end_of(said: IO[str]) -> str:
    said.seek(0)
    return said.read()[-2000:].rstrip()


def _stop(process: subprocess.Popen[str]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
