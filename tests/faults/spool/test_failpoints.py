"""Fault 42: a process is killed at each of its calls to the disk, and at each of its sends, one run for each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.faults.spool import parts
from tests.faults.spool.conftest import ForkServer
from tests.faults.spool.fork_server import EVENTS, FORGOTTEN, LEFT, OWN, REFUSED

KILLED = -9
CALLS = [*parts.CALLS, "send"]
LEAST = {"open": 15, "write": 25, "pwrite": 12, "unlink": 8, "close": 20, "send": 9, "lock": 4, "make_directory": 4}
"""How many runs end with a kill, at least; else the sweep would have looked at nothing."""


@dataclass
class Verdict:
    """What became of the events of one process that was killed, and of the one that was there before it."""

    lost: set[int] = field(default_factory=set)
    repeated: int = 0
    altered: list[str] = field(default_factory=list)
    invented: set[int] = field(default_factory=set)


def judge(run: dict[str, Any]) -> Verdict:
    """What a run did with its events, by what the sink has."""
    verdict = Verdict()
    arrived: Counter[int] = Counter()
    for line in run["sink"].splitlines():
        for item in json.loads(line)["batch"]:
            arrived[item["n"]] += 1
            if json.dumps(item, separators=(",", ":")).encode() != parts.event(item["n"])[1]:
                verdict.altered.append(item["id"])
    accepted = {*run["accepted"], *LEFT, OWN}
    kept = {number for number in arrived if number not in REFUSED} | {*run["letters"]} | ({FORGOTTEN} & arrived.keys())
    verdict.lost = accepted - kept
    verdict.repeated = arrived.total() - len(arrived)
    attempted = min(EVENTS, len(run["accepted"]) + 1)
    verdict.invented = arrived.keys() - {*range(attempted), *LEFT, OWN}
    return verdict


def sweep(
    lanes: list[ForkServer], name: str, when: str, *, torn: int = 0, early: bool = False, fsync: str = "interval"
) -> list[dict[str, Any]]:
    """Every run, one lane with those of odd numbers, the other with those of even ones."""
    request = {"name": name, "when": when, "torn": torn, "early": early, "fsync": fsync, "step": len(lanes)}

    def runs_of(lane: ForkServer, first: int) -> Iterator[dict[str, Any]]:
        lane.tell("sweep", first=first, **request)
        while (run := lane.answer())["code"] == KILLED:
            yield run
        yield run

    with ThreadPoolExecutor(len(lanes)) as threads:
        halves = threads.map(lambda lane, first: list(runs_of(lane, first)), lanes, range(1, len(lanes) + 1))
        return sorted([run for half in halves for run in half], key=lambda run: int(run["number"]))


def check(runs: list[dict[str, Any]], least: int, *, torn: bool = False) -> None:
    """The promise, for each run: what was accepted is there, as it was, and at most one batch twice."""
    assert sum(run["code"] == KILLED for run in runs) >= least
    for run in runs:
        where = f"run {run['number']}"
        assert run["code"] in {0, KILLED}, where
        assert run["drained"] == 0, where
        verdict = judge(run)
        assert not verdict.lost, where
        assert not verdict.altered, where
        assert not verdict.invented, where
        assert verdict.repeated <= (parts.BATCH if run["code"] == KILLED else 0), where
        assert (run["left"], run["balanced"]) == ([], True), where
        # What was damaged from the start, and at most a segment whose first bytes were cut off.
        assert 2 <= len(run["aside"]) <= 2 + (torn and run["code"] == KILLED), where


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", CALLS)
def test_42_death_at_any_call_loses_nothing(lanes, name, when):
    """Killed before or after any call, a process leaves all that it accepted to the next; one batch may go twice."""
    check(sweep(lanes, name, when), LEAST.get(name, 1))


@pytest.mark.parametrize("name", ["write", "pwrite"])
def test_42_death_in_the_middle_of_a_write_loses_nothing(lanes, name):
    """A write of which only the first bytes arrived costs no other event, and is never taken for one."""
    check(sweep(lanes, name, "torn", torn=9), LEAST[name], torn=True)


def test_42_an_ack_before_the_send_is_found_out(lanes):
    """The same sweep, over a drain that settles before it sends, finds events that are lost: it has teeth."""
    runs = sweep(lanes, "send", "before", early=True)
    assert len(runs) >= LEAST["send"]
    assert any(judge(run).lost for run in runs)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", CALLS)
def test_42_death_at_any_call_loses_nothing_when_each_put_waits_for_the_disk(lanes, name, when):
    """The same with `fsync="always"`, where each put syncs."""
    check(sweep(lanes, name, when, fsync="always"), LEAST.get(name, 1))


@pytest.mark.slow
@pytest.mark.parametrize("torn", [1, 4, 20, 100, -1])
@pytest.mark.parametrize("name", ["write", "pwrite"])
def test_42_death_at_any_byte_of_a_write_loses_nothing(lanes, name, torn):
    """The same wherever a write is cut: in the magic, in the lengths, in the event, before its last byte."""
    check(sweep(lanes, name, "torn", torn=torn), LEAST[name], torn=True)
