"""
Who an event is about, and where it waits until that is known.

    explicit person > bound() > identify() > resolver > anonymous id

Nothing a client sends is in that list but the anonymous id, which names a browser and never a person.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from typing import Any

from ._context import Overlay, RequestCell
from ._events import Identity
from ._ids import Clock
from ._notices import Notices
from .exceptions import ConfigurationError, InvalidEvent
from .typing import PersonResolver
from .wire import limits

_BLOCKED_SECONDS = 0.1

# In this order: Starlette documents `identity`, Django and most user classes have `pk` or `id`, Starlette's SimpleUser
# has neither.
_ID_ATTRIBUTES = ("identity", "pk", "id", "user_id", "username")


def check_resolver(person: PersonResolver | None) -> PersonResolver | None:
    """
    The `person=` of a middleware.

    Raises:
        ConfigurationError: it cannot be called, or not with one argument.
    """
    if person is not None and not callable(person):
        message = (
            f"person= is a {type(person).__name__}. "
            "Pass a callable of one RequestCell that says who the request belongs to."
        )
        raise ConfigurationError(message)
    if person is not None and not takes(person, 1):
        message = "person= cannot be called as it will be: it is given one RequestCell: type lambda cell: ..."
        raise ConfigurationError(message)
    return person


def takes(function: object, count: int) -> bool:
    """Whether something can be called with so many arguments. Yes, where Python cannot tell."""
    try:
        signature = inspect.signature(function)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - a built-in one has none, and a proxy may fail in its own way outside of a request
        return True
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


@dataclasses.dataclass(frozen=True, slots=True)
class Named:
    """Whom an `identify` is about, the anonymous id that it links to them, and what was wrong with either."""

    identity: Identity | None = None
    link: str | None = dataclasses.field(default=None, repr=False)
    problem: BaseException | None = dataclasses.field(default=None, repr=False)


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
        if bound is not None and bound.problem is not None:
            raise InvalidEvent(bound.problem)
        if person is not None:
            if anonymous_id is not None:
                message = (
                    "an event takes person= or anonymous_id=, not both."
                    " To link the two: client.identify(person, anonymous_id=...)."
                )
                raise InvalidEvent(message)
            return Identity.of(person), None
        if anonymous_id is not None:
            return None, limits.check_anonymous_id(anonymous_id)
        return (None if bound is None else bound.identity), None

    def named(self, cell: RequestCell | None, person: object, anonymous_id: object, bound: Overlay | None) -> Named:
        """Whom an `identify` names. Binds nobody yet: that comes when it has gone out."""
        try:
            identity, _ = self.explicit(person, None, bound)
            link = None if anonymous_id is None else limits.check_anonymous_id(anonymous_id)
            if cell is not None:
                identity = identity or self.known(cell)
                if identity is not None and not cell.linked:
                    link = link or cell.browser()
        except BaseException as error:  # noqa: BLE001 - the caller accounts for it
            return Named(problem=error)
        return Named(identity, link)

    @staticmethod
    def bind(cell: RequestCell | None, person: object, named: Named, sent: str | None) -> RequestCell | None:
        """Make a person who was named by argument the request's. Returns the request, if its person is known now."""
        if cell is None:
            return None
        if person is not None and named.identity is not None:
            cell.identity = named.identity
        if sent is not None and named.link is not None:
            cell.linked = True
        return cell if cell.identity is not None else None

    def known(self, cell: RequestCell) -> Identity | None:
        """Who the request belongs to, as far as can be told without waiting. Asks the resolver once."""
        if cell.identity is not None:
            return cell.identity
        if cell.resolver is None:
            # The framework's own user: cheap to read, and somebody may sign in or out in the middle of a request.
            return self._read(self._ask(cell))
        if not cell.asked:
            cell.asked = True
            self._take(cell, self._ask(cell))
        return cell.identity

    async def meet(self, cell: RequestCell | None) -> None:
        """Wait for an asynchronous resolver at an event itself, where nothing parks: in a websocket."""
        if cell is not None and not cell.parks and self.known(cell) is None and cell.answer is not None:
            await self.asettle(cell)

    def settle(self, cell: RequestCell) -> Identity | None:
        """The same as `known` at the end of the request, where the answer may have changed: asks again."""
        if cell.identity is None and cell.answer is None:
            self._take(cell, self._ask(cell))
        return cell.identity

    async def asettle(self, cell: RequestCell) -> Identity | None:
        """The same as `settle`, and waits for a resolver that is asynchronous."""
        if cell.identity is None:
            answer = cell.answer if cell.answer is not None else self._ask(cell)
            cell.answer = None
            self._take(cell, answer)
        if cell.identity is None and cell.answer is not None:
            answer, cell.answer = cell.answer, None
            self._take(cell, await self._awaited(answer))
        return cell.identity

    def forget(self, cell: RequestCell) -> None:
        """Close an answer that nobody will wait for, so that Python does not complain about it."""
        answer, cell.answer = cell.answer, None
        if answer is None:
            return
        if inspect.iscoroutine(answer):
            answer.close()
        if cell.identity is None:
            self._notices.trouble(
                "resolver", "unawaited",
                "person= has to be awaited, which nothing did: on WSGI make it a plain function, "
                "in a websocket call identify(), or await client.atrack()",
            )  # fmt: skip

    async def _awaited(self, answer: Any) -> object:
        try:
            return await answer
        except Exception as error:  # noqa: BLE001 - the resolver is the application's
            self._failed(error)
        except BaseException as error:
            if not _is_stray(error):
                raise
            self._failed(error)
        return None

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
        """Make an answer the request's person, or keep it for whoever can await it."""
        if type(answer) is str:  # nearly every one
            cell.identity = self._read(answer) or cell.identity
            return
        try:
            awaitable = inspect.isawaitable(answer)
        except Exception as error:  # noqa: BLE001 - an object may raise when it is only looked at
            self._failed(error)
            return
        if awaitable:
            cell.answer = answer
        elif (identity := self._read(answer)) is not None:
            cell.identity = identity

    def _read(self, answer: object) -> Identity | None:
        if answer is None:
            return None
        try:
            return Identity.of(answer)
        except InvalidEvent as error:
            self._notices.trouble("resolver", "invalid", "person= returned something that is no person: %s", error)
        except Exception as error:  # noqa: BLE001 - an object may raise when it is only looked at
            self._failed(error)
        return None

    def _failed(self, error: BaseException) -> None:
        self._notices.trouble(
            "resolver", "failed", "person= raised %s; the person counts as unknown", type(error).__name__
        )


def signed_in(cell: RequestCell) -> object:
    """The person that the framework knows: Starlette's `scope["user"]`, or Flask-Login's `current_user`."""
    user = _flask_user() if "wsgi.version" in cell.source else cell.source.get("user")
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
        if found is None or found == "" or isinstance(found, bool) or callable(found):
            continue
        # The first that is set decides, even if it is no id that we take: a later one would name somebody else.
        return found
    return None


def _is_stray(error: BaseException) -> bool:
    """Whether something that a resolver waited for was cancelled, and not the task that waits."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or not isinstance(error, asyncio.CancelledError) or asyncio._get_running_loop() is None:  # noqa: SLF001 - get_running_loop() raises
        return False
    task = asyncio.current_task()
    return task is not None and not task.cancelling()
