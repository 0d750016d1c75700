"""
Send nothing of those who did not agree to it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from .. import _extract
from .._context import RequestCell, current
from .._events import Event, Identity
from .._stats import DropReason
from ..exceptions import ConfigurationError

_SIGNALS = {"gpc": "sec-gpc", "dnt": "dnt"}


@dataclass(frozen=True, slots=True)
class Asked:
    """
    Whose consent is asked for: a person, or a browser by its anonymous id; and the request, outside of one None.
    """

    identity: Identity | None
    anonymous_id: str | None = field(repr=False)
    request: RequestCell | None

    def header(self, name: str) -> str:
        """A header of the request; empty when there is none."""
        return "" if self.request is None else _extract.one_header(self.request.source, name)

    def cookie(self, name: str) -> str | None:
        """A cookie of the request, as the browser sent it; None when there is none."""
        if self.request is None:
            return None
        return next(_extract.cookie_values(_extract.cookies(self.request.source), name), None)


def consent(ask: Callable[[Asked], bool] | None = None, *, signals: Collection[str] = ()) -> Consent:
    """
    A processor that drops the events of those who did not agree.

    Args:
        ask: Called before anything is queued, once per request and person; True lets events go. One that raises, or
            returns a coroutine, drops the event. None asks nobody, for `signals` alone.
        signals: What a browser may say by itself: `"gpc"` (`Sec-GPC: 1`) and `"dnt"` (`DNT: 1`) count as no.

    Raises:
        ConfigurationError: nothing to ask, or no such signal.
    """
    if isinstance(signals, str) or not _SIGNALS.keys() >= set(signals):
        message = f"consent(signals=...) takes a list of some of {', '.join(map(repr, _SIGNALS))}."
        raise ConfigurationError(message)
    if ask is None and not signals:
        message = 'consent() asks nobody. Type consent(ask), or consent(signals=["gpc"]).'
        raise ConfigurationError(message)
    if ask is not None and (not callable(ask) or inspect.iscoroutinefunction(ask)):
        message = "consent(ask) takes a plain function of one Asked that returns True or False; nothing awaits it."
        raise ConfigurationError(message)
    return Consent(ask, tuple(_SIGNALS[name] for name in signals))


class Consent:
    """See `consent`."""

    def __init__(self, ask: Callable[[Asked], bool] | None, signals: tuple[str, ...]) -> None:
        self._ask = ask
        self._signals = signals
        self._answers: WeakKeyDictionary[RequestCell, dict[Identity | str | None, bool]] = WeakKeyDictionary()

    def __call__(self, event: Event) -> Event | DropReason:
        """The event, or `DropReason.NO_CONSENT`."""
        if event.identity is None and event.anonymous_id is None:
            return event  # about an object
        asked = Asked(event.identity, event.anonymous_id, current.get())
        if asked.request is None:
            agreed = self._agrees(asked)
        else:
            answers = self._answers.setdefault(asked.request, {})
            who = asked.identity or asked.anonymous_id
            if who not in answers:
                answers[who] = self._agrees(asked)
            agreed = answers[who]
        return event if agreed else DropReason.NO_CONSENT

    def _agrees(self, asked: Asked) -> bool:
        if any(asked.header(signal).strip() == "1" for signal in self._signals):
            return False
        if self._ask is None:
            return True
        answer = self._ask(asked)
        if answer is not True and answer is not False:
            if inspect.iscoroutine(answer):
                answer.close()
            message = "a consent is True or False"
            raise TypeError(message)
        return answer

    def __repr__(self) -> str:
        return "consent(...)"
