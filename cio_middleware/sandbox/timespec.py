"""
Read a time as a person types it: ``5m`` ago, ``12:04`` today, a date, or Unix seconds.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_AGO = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)")
_CLOCK = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d(?:\.\d{1,6})?))?")
_UNIX = re.compile(r"\d{9,11}(?:\.\d{1,6})?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class NoMoment(ValueError):
    """A text that names no time."""


def moment(text: str, now: float) -> float:
    """
    Return the Unix seconds that a text means.

    Args:
        text: ``5m`` (also ms, s, h, d) before now; ``12:04`` or ``12:04:31`` of this machine's day, of yesterday
            when that is still to come; an ISO date with or without a time; or Unix seconds.
        now: Unix seconds.

    Raises:
        NoMoment: when it means none.
    """
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return now - float(ago[1]) * _SECONDS[ago[2]]
    if _UNIX.fullmatch(text):
        return float(text)
    clock = _CLOCK.fullmatch(text)
    try:
        if clock is not None:
            return _today(clock, now)
        return datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise NoMoment(text) from error


def _today(clock: re.Match[str], now: float) -> float:
    seconds = float(clock[3] or 0)
    here = datetime.fromtimestamp(now).astimezone()
    at = here.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
    meant = at.timestamp() + seconds
    if seconds >= 60:
        raise NoMoment(clock[0])
    # A time that is still to come was yesterday; a minute of grace, for a bar of the strip that has just begun.
    return meant if meant <= now + 60 else (at - timedelta(days=1)).timestamp() + seconds
