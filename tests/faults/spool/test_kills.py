"""Fault 42 at random: applications that share a spool are killed again and again, while their sink fails too."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults.spool.conftest import Confirmed, ForkServer, Sink

WRITERS = 3


def kill_at_random(folder: Path, sink: Sink, confirmed: Confirmed, kills: int) -> None:
    """Let three applications run, kill one of them so many times, each time start another; at last, let one drain."""
    dice = random.Random(kills)
    settings = {
        "site_id": "site", "api_key": "key", "base_url": sink.url, "queue": "spool", "spool_dir": str(folder / "spool"),
        "spool_min_free_bytes": 0, "flush_at": 20, "flush_interval": 0.02, "max_batch_events": 100, "retry_base": 0.01,
        "retry_cap": 0.05, "rate_limit": 10_000.0, "fsync": "interval", "shutdown_timeout": 10.0,
    }  # fmt: skip
    server = ForkServer(folder, confirmed.report)
    asked = {"settings": settings, "report": confirmed.report}
    try:
        running = [server.ask("fork", work="track", **asked)["pid"] for _ in range(WRITERS)]
        for _ in range(kills):
            victim = running.pop(dice.randrange(WRITERS))
            confirmed.wait_for(victim, dice.randint(1, 200))
            assert server.ask("kill", pid=victim)["code"] == -9
            running.append(server.ask("fork", work="track", **asked)["pid"])
        for pid in running:
            server.ask("kill", pid=pid)
        last = server.ask("fork", work="drain", **asked)["pid"]
        assert server.ask("wait", pid=last)["code"] == 0
    finally:
        server.close()
    confirmed.end()


def check(folder: Path, sink: Sink, confirmed: Confirmed) -> None:
    """All that was accepted has arrived, always as the same bytes, and the spool is empty."""
    ids = set(confirmed.ids)
    assert len(ids) == len(confirmed.ids)
    assert ids - sink.arrived.keys() == set()
    assert [event_id for event_id, copies in sink.copies.items() if len(copies) > 1] == []
    assert sink.arrived.total() > len(sink.arrived)  # the test would see repeats
    assert len(sink.failed) == 4
    assert list((folder / "spool" / "v1").iterdir()) == []
    assert list((folder / "spool" / "quarantine").iterdir()) == []


def test_42_fifty_random_kills_lose_nothing(tmp_path, sink, confirmed):
    """Fifty times one of three applications is killed; every event that was accepted arrives, with the same bytes."""
    kill_at_random(tmp_path, sink, confirmed, kills=50)
    check(tmp_path, sink, confirmed)


@pytest.mark.slow
def test_42_a_thousand_random_kills_lose_nothing(tmp_path, sink, confirmed):
    """The same a thousand times."""
    kill_at_random(tmp_path, sink, confirmed, kills=1000)
    check(tmp_path, sink, confirmed)
