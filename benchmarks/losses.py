"""
What is lost when something goes wrong. Counts, not speed.

Each function tracks events as an application would and ends as it says. It returns how many events ought to have
arrived; the sink says how many did. What is not there ten seconds after the documented shutdown began counts as lost.
"""

from __future__ import annotations

import os
import signal
import time

from .players import CLOSE_SECONDS, Player, attributes, make

_KEPT: list[Player] = []  # as an application keeps its client in a global


def leaves(player: str, url: str, events: int) -> dict[str, float]:
    """The program ends with its last `track()`: no flush, no shutdown."""
    subject = make(player, url)
    _KEPT.append(subject)
    for n in range(events):
        subject.track("ada", attributes(n))
    return {"due": events}


def outage(player: str, url: str, events: int) -> dict[str, float]:
    """The server is away for three seconds while 4,000 events per second come in."""
    return _paced(player, url, events)


def bad(player: str, url: str, events: int) -> dict[str, float]:
    """Four events are bad, and the server has a way of saying so."""
    return _paced(player, url, events, every=events // 4)


def fork(player: str, url: str, events: int) -> dict[str, float]:
    """A process with fifty events in its queue forks twice; it and its children go on tracking."""
    subject = make(player, url)
    subject.track("ada", attributes(0))
    time.sleep(0.8)
    for n in range(1, 50):
        subject.track("ada", attributes(n))
    children = [_child(subject, first=1000 * place, events=events) for place in (1, 2)]
    _some(subject, 3000, events)
    subject.close()
    until = time.monotonic() + CLOSE_SECONDS + 2
    while children:
        children = [pid for pid in children if os.waitpid(pid, os.WNOHANG)[0] == 0]
        if time.monotonic() > until:
            break
        time.sleep(0.02)
    for pid in children:  # it waits for a thread that stayed with its parent
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return {"due": 50 + 3 * events}


def _child(subject: Player, first: int, events: int) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            _some(subject, first, events)
            subject.close()
        finally:
            os._exit(0)
    return pid


def _some(subject: Player, first: int, events: int) -> None:
    for n in range(first, first + events):
        subject.track("ada", attributes(n))
        if n % 50 == 0:
            time.sleep(0.01)


def _paced(player: str, url: str, events: int, every: int | None = None) -> dict[str, float]:
    """4,000 events per second, in portions of 20; one of `every` is bad."""
    subject = make(player, url)
    start, bad_ones = time.monotonic(), 0
    for n in range(events):
        is_bad = every is not None and n % every == every // 2
        bad_ones += is_bad
        subject.track("ada", attributes(n, bad=is_bad))
        if n % 20 == 0:
            time.sleep(max(0.0, start + n / 4000 - time.monotonic()))
    subject.close()
    return {"due": events - bad_ones}
