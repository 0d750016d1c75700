"""What the exit code of a command means."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """The same for every command, so that a script can tell failures apart."""

    OK = 0
    FOUND_BAD = 1
    """The check itself worked, and what it looked at is not right."""
    USAGE = 2
    CONFIGURATION = 3
    UNREACHABLE = 4
    UNAUTHORIZED = 5
    PARTLY = 6
    TIMED_OUT = 7
    PORT_BUSY = 8
    INTERRUPTED = 130
