"""The log: a line when something changes, a count when it does not, and no flood whatever happens."""

from __future__ import annotations

import logging
import threading

import pytest

from cio_middleware._notices import MAX_LINES, MAX_TOPICS, REPEAT_AFTER, Notices


class Lines(logging.Handler):
    """Keeps what a user would read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.read.append(f"{record.levelname} {record.getMessage()}")


@pytest.fixture(name="lines")
def _lines():
    """The lines so far."""
    return Lines()


@pytest.fixture(name="notices")
def _notices(clock, lines):
    """Notices that write to `lines` by the manual clock."""
    logger = logging.Logger("of this test")  # noqa: LOG001 - getLogger would keep it, and its handler, for ever
    logger.addHandler(lines)
    return Notices(clock, logger)


def test_a_thing_is_said_once_per_state(notices, lines):
    """The same trouble again is silent; another state of it, or another topic, is a line."""
    for _ in range(3):
        notices.trouble("delivery", "503", "not taking events: %s", 503)
    notices.trouble("delivery", "401", "refused: %s", 401)
    notices.trouble("queue", "full", "the queue is full", level=logging.ERROR)
    assert lines.read == [
        "WARNING not taking events: 503",
        "WARNING refused: 401 (2 more since the last line)",
        "ERROR the queue is full",
    ]


def test_trouble_that_lasts_is_repeated_each_minute_with_the_count(notices, lines, clock):
    """Whoever reads the log later sees that it goes on, and how often it happened."""
    for _ in range(10):
        notices.trouble("delivery", "503", "down")
    clock.advance(REPEAT_AFTER - 0.1)
    notices.trouble("delivery", "503", "down")
    assert len(lines.read) == 1

    clock.advance(0.1)
    notices.trouble("delivery", "503", "down")
    clock.advance(REPEAT_AFTER)
    notices.trouble("delivery", "503", "down")

    assert lines.read == ["WARNING down", "WARNING down (10 more since the last line)", "WARNING down"]


def test_the_wall_clock_does_not_matter(notices, lines, clock):
    """A minute is a minute, also when NTP sets the clock."""
    notices.trouble("delivery", "503", "down")
    clock.step_wall(3600)
    notices.trouble("delivery", "503", "down")
    assert len(lines.read) == 1


def test_fine_is_said_only_after_trouble(notices, lines):
    """A success is no news, unless it ends a failure; the next failure is news again."""
    notices.fine("delivery", "delivering again")
    assert lines.read == []

    notices.trouble("delivery", "503", "down")
    notices.fine("delivery", "delivering again")
    notices.fine("delivery", "delivering again")
    notices.trouble("delivery", "503", "down")

    assert lines.read == ["WARNING down", "WARNING delivering again", "WARNING down"]


def test_a_state_that_is_made_of_changing_text_is_no_flood(notices, lines, clock):
    """A reason with a number in it differs at each event, and still gives a handful of lines a minute."""
    for size in range(1000):
        notices.trouble("drop", f"{size} bytes", "too large: %d bytes", size)
    assert len(lines.read) == MAX_LINES

    clock.advance(REPEAT_AFTER)
    notices.trouble("drop", "7 bytes", "too large: %d bytes", 7)
    assert lines.read[MAX_LINES:] == ["WARNING too large: 7 bytes (990 more since the last line)"]


def test_topics_that_are_made_of_changing_text_fill_no_memory(notices, lines, clock):
    """A topic per value would grow for ever; the table is bounded, and what does not fit shares one line."""
    for number in range(10_000):
        notices.trouble(f"topic {number}", "bad", "topic %d is bad", number)
    assert len(notices._topics) <= MAX_TOPICS + 1
    assert len(lines.read) == MAX_TOPICS + 1
    assert lines.read[-1] == "WARNING more kinds of trouble than the log can take"

    clock.advance(REPEAT_AFTER)
    notices.trouble("new", "bad", "new is bad")
    assert lines.read[-1] == "WARNING new is bad"
    assert len(notices._topics) == 1


def test_threads_that_meet_the_same_trouble_write_one_line(notices, lines):
    """A hundred workers that lose the connection at once are one event for the reader."""
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        for _ in range(100):
            notices.trouble("delivery", "503", "down")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert lines.read == ["WARNING down"]


def test_a_forked_child_can_speak_though_its_parent_was_speaking(notices, lines):
    """A lock that another thread of the parent held is left behind."""
    held = threading.Thread(target=notices._lock.acquire)
    held.start()
    held.join()
    notices.after_fork()
    notices.trouble("delivery", "503", "down")
    assert lines.read == ["WARNING down"]
