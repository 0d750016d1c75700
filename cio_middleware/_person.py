"""
Who an event is about, and where it waits until that is known.

    explicit person > bound() > identify() > resolver > anonymous id

Nothing a client sends is in that list but the anonymous id, which names a browser and never a person.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from ._context import Overlay, RequestCell
from ._events import Identity
from ._ids import Clock
from ._notices import Notices
from .exceptions import InvalidEvent
from .wire import limits

_BLOCKED_SECONDS = 0.1

# In this order: Starlette documents `identity`, Django and most user classes have `pk` or `id`, Starlette's SimpleUser
# has neither.
_ID_ATTRIBUTES = ("identity", "pk", "id", "user_id", "username")


class People:
    """Finds the person of a request. A resolver that fails is as good as none, and is named in the log once."""

    def __init__(self, clock: Clock, notices: Notices) -> None:
        self._clock = clock
        self._notices = notices

    def explicit(
        self, person: object, anonymous_id: object, bound: Overlay | None
    ) -> tuple[Identity | None, str | None]:
        """
        Whom the caller named, by argument or by `bound()`.

        Raises:
            InvalidEvent: both a person and an anonymous id, or one that is none.
        """
        if person is not None:
            if anonymous_id is not None:
                message = (
                    "an event takes person= or anonymous_id=, not both."
                    " To link the two: client.identify(person, anonymous_id=...)."
                )
                raise InvalidEvent(message)
            identity = Identity.of(person)
            limits.check_identity(identity)
            return identity, None
        if anonymous_id is not None:
            return None, limits.check_anonymous_id(anonymous_id)
        return (bound.identity if bound is not None else None), None

    def bind(
        self, cell: RequestCell | None, person: object, anonymous_id: object, bound: Overlay | None
    ) -> tuple[Identity | None, str | None]:
        """
        Whom an `identify` is about, and the anonymous id that it links to them; a named person becomes the request's.

        Raises:
            InvalidEvent: a person or an anonymous id that is none.
        """
        identity, _ = self.explicit(person, None, bound)
        link = None if anonymous_id is None else limits.check_anonymous_id(anonymous_id)
        if cell is not None:
            if person is not None:
                cell.identity = identity
            identity = identity or self.known(cell)
            if identity is not None and not cell.linked:
                link = link or cell.browser()
                cell.linked = link is not None
        return identity, link

    def known(self, cell: RequestCell) -> Identity | None:
        """Who the request belongs to, as far as can be told without waiting. Asks the resolver once."""
        if cell.identity is None and not cell.asked:
            cell.asked = True
            self._take(cell, self._ask(cell))
        return cell.identity

    def settle(self, cell: RequestCell) -> Identity | None:
        """The same at the end of the request, where the answer may have changed: asks again."""
        if cell.identity is None and cell.answer is None:
            self._take(cell, self._ask(cell))
        return cell.identity

    async def asettle(self, cell: RequestCell) -> Identity | None:
        """The same, and waits for a resolver that is asynchronous."""
        if cell.identity is None:
            answer = cell.answer if cell.answer is not None else self._ask(cell)
            cell.answer = None
            if inspect.isawaitable(answer):
                try:
                    answer = await answer
                except Exception as error:  # noqa: BLE001 - the resolver is the application's
                    self._failed(error)
                    answer = None
            self._take(cell, answer)
        return cell.identity

    def forget(self, cell: RequestCell) -> None:
        """Close an answer that nobody will wait for, so that Python does not complain about it."""
        answer, cell.answer = cell.answer, None
        close: Callable[[], None] | None = getattr(answer, "close", None)
        if close is not None:
            close()

    def _ask(self, cell: RequestCell) -> object:
        resolver = cell.resolver or signed_in
        started = self._clock.monotonic()
        try:
            return resolver(cell)
        except Exception as error:  # noqa: BLE001 - as above
            self._failed(error)
            return None
        finally:
            took = self._clock.monotonic() - started
            if took > _BLOCKED_SECONDS:
                self._notices.trouble(
                    "resolver", "slow", "person= took %.2f s; make it asynchronous, or cache what it looks up", took
                )

    def _take(self, cell: RequestCell, answer: object) -> None:
        if answer is None:
            return
        if isinstance(answer, Awaitable):
            cell.answer = answer
            return
        try:
            identity = Identity.of(answer)
            limits.check_identity(identity)
        except InvalidEvent as error:
            self._notices.trouble("resolver", "invalid", "person= returned something that is no person: %s", error)
            return
        cell.identity = identity

    def _failed(self, error: Exception) -> None:
        self._notices.trouble(
            "resolver", "failed", "person= raised %s; the person counts as unknown", type(error).__name__
        )


def signed_in(cell: RequestCell) -> object:
    """The person that the framework knows: Starlette's `scope["user"]`, or Flask-Login's `current_user`."""
    user = cell.source.get("user")
    if user is None and "wsgi.version" in cell.source:
        user = _flask_user()
    return _id_of(user) if user is not None else None


def _flask_user() -> Any:
    # Only an application that uses Flask-Login has imported it.
    flask_login = sys.modules.get("flask_login")
    flask = sys.modules.get("flask")
    if flask_login is None or flask is None or not flask.has_request_context():
        return None
    return flask_login.current_user if hasattr(flask.current_app, "login_manager") else None


def _id_of(user: Any) -> object:
    authenticated = getattr(user, "is_authenticated", False)
    if not (authenticated() if callable(authenticated) else authenticated):
        return None
    if callable(get_id := getattr(user, "get_id", None)):
        return get_id()
    for name in _ID_ATTRIBUTES:
        try:
            found = getattr(user, name, None)
        except NotImplementedError:
            continue
        if isinstance(found, (str, int)) and not isinstance(found, bool) and found != "":
            return found
    return None
