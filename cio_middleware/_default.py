"""
The process's own client: made from the environment on first use, unless `configure` made one before.
"""

from __future__ import annotations

from typing import Any, Unpack

from ._client import Client
from ._context import current
from ._discreet import discreet
from ._fork import WATCH
from ._notices import Notices
from ._settings import Settings, hide_key
from .catalog import EventType
from .exceptions import ConfigurationError
from .typing import About, Attributes, Person, Timestamp


class _Default:
    """Holds the default client. One per process; a forked child keeps it, since a client is fork-safe itself."""

    def __init__(self) -> None:
        self.client: Client | None = None
        self.problem: str | None = None
        self.notices = Notices()

    def after_fork(self) -> None:
        """A child's log is its own."""
        self.notices.after_fork()

    def get(self) -> Client:
        if (client := self.client) is not None:
            return client
        if self.problem is not None:
            # The environment does not change by itself: asking it again for every event would only cost time.
            raise ConfigurationError(self.problem)
        return self.make()

    def make(self) -> Client:
        # A fork waits until no client is being made: the child would find what this imports half done.
        with WATCH.one_at_a_time():
            if self.client is None:
                WATCH.add(self)
                try:
                    self.client = Client.from_env()
                except ConfigurationError as error:
                    self.problem = str(error)
                    raise
                self.problem = None
            return self.client

    def put(self, client: Client | None) -> None:
        with WATCH.one_at_a_time():
            self.client = client
            self.problem = None
            self.notices = Notices()


_DEFAULT = _Default()


def configure(client: Client | None = None, **settings: Any) -> Client:
    """
    Set the process's default client, or build one from settings (the rest comes from the environment) and return it.

    A client that was the default before is not closed: it is its owner's.

    Raises:
        ConfigurationError: with what to type.
    """
    hide_key(settings)
    if client is None:
        client = Client(Settings.from_env(**settings))
    elif not isinstance(client, Client):
        # By its type's name alone: a traceback may be printed with the locals of its frames, and this may hold the key.
        given, client = type(client).__name__, None
        message = f"configure() takes a Client, not a {given}. Settings are passed by name: site_id=..."
        raise ConfigurationError(message)
    elif settings:
        message = "configure() takes a client or settings, not both."
        raise ConfigurationError(message)
    _DEFAULT.put(client)
    return client


def reset() -> None:
    """Forget the default client, for tests; it is not closed."""
    _DEFAULT.put(None)


def get_client() -> Client:
    """
    The process's default client, made from the environment on first use.

    Raises:
        ConfigurationError: names what is missing, and where to get it.
    """
    # Not from memory what was missing a while ago: a .env file may have been loaded since.
    return _DEFAULT.client or _DEFAULT.make()


def client_here() -> Client | None:
    """The client of the current request, else the default one; None, said once, when there is none."""
    cell = current.get()
    if cell is not None:
        client: Client = cell.client
        return client
    return default_client()


def default_client() -> Client | None:
    """The default client; None, said once, when there is none."""
    if (client := _DEFAULT.client) is not None:
        return client
    try:
        return _DEFAULT.get()
    except ConfigurationError as error:
        _DEFAULT.notices.trouble("default", "unconfigured", "events are not captured: %s", error)
    except Exception as error:  # noqa: BLE001 - a plug-in may fail in its own way, and this runs inside the application
        _DEFAULT.notices.trouble("default", "failed", "events are not captured: no client, %s", type(error).__name__)
    return None


@discreet
def track(name: str | EventType, attributes: Attributes | None = None, **about: Unpack[About]) -> str | None:
    """`Client.track` on the request's client, else the default one. None when there is none."""
    client = client_here()
    return None if client is None else client.track(name, attributes, **about)


@discreet
def identify(
    person: Person | None = None,
    attributes: Attributes | None = None,
    *,
    anonymous_id: str | None = None,
    timestamp: Timestamp | None = None,
) -> str | None:
    """`Client.identify` on the request's client, else the default one. None when there is none."""
    client = client_here()
    if client is None:
        return None
    return client.identify(person, attributes, anonymous_id=anonymous_id, timestamp=timestamp)


@discreet
def page(name: str, attributes: Attributes | None = None, **about: Unpack[About]) -> str | None:
    """`Client.page` on the request's client, else the default one. None when there is none."""
    client = client_here()
    return None if client is None else client.page(name, attributes, **about)


def flush(timeout: float | None = None) -> bool:
    """`Client.flush` on the request's client, else the default one. True when there is none: nothing waits."""
    client = client_here()
    return True if client is None else client.flush(timeout)
