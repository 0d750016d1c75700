"""
Send a share of the events: the same people's, for every event and in every process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import translate
from hashlib import blake2b

from .._events import Event
from .._stats import DropReason
from ..exceptions import ConfigurationError


def sample(rates: float | Mapping[str, float], *, salt: str = "") -> Sample:
    """
    A processor that sends a share of the events.

    Whose events go is decided by a hash of the person, or of the anonymous id. So a funnel stays whole: who is among
    the 10 % of one event is among the 10 % of all, and among the 20 % of any other. What is known about a person always
    goes.

    Args:
        rates: From 0 (none) to 1 (all), for everything, or by the name of the event with `*` and `?` as in a shell; the
            first that fits holds, and what fits none goes. A page goes by its URL.
        salt: Another salt chooses other people.

    Raises:
        ConfigurationError: a rate that is none.
    """
    given = rates if isinstance(rates, Mapping) else {"*": rates}
    for name, rate in given.items():
        if (
            not isinstance(name, str)
            or isinstance(rate, bool)
            or not isinstance(rate, int | float)
            or not 0 <= rate <= 1
        ):
            message = 'sample() takes a rate from 0 to 1, or rates by name: sample({"page_scrolled": 0.1}).'
            raise ConfigurationError(message)
    if not isinstance(salt, str):
        message = f"sample(salt=...) is a {type(salt).__name__}. Type a text."
        raise ConfigurationError(message)
    return Sample(tuple((re.compile(translate(name)), float(rate)) for name, rate in given.items()), salt.encode())


@dataclass(frozen=True, slots=True, repr=False)
class Sample:
    """See `sample`."""

    _rates: tuple[tuple[re.Pattern[str], float], ...]
    _salt: bytes

    def __call__(self, event: Event) -> Event | DropReason:
        """The event, or `DropReason.SAMPLED`."""
        if event.kind not in {"event", "page", "screen"}:
            return event
        rate = next((rate for pattern, rate in self._rates if pattern.match(event.name)), 1.0)
        return event if rate == 1.0 or self._place(event) < rate else DropReason.SAMPLED

    def __repr__(self) -> str:
        return f"sample({len(self._rates)} rates)"

    def _place(self, event: Event) -> float:
        """Where the event's person stands between 0 and 1."""
        who = event.anonymous_id if event.identity is None else "\0".join(event.identity.key)
        digest = blake2b((who or "").encode(), digest_size=7, key=self._salt[:64]).digest()
        return int.from_bytes(digest, "big") / 2**56
