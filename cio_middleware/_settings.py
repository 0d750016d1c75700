"""
Every setting, as one frozen value that never shows a secret.

A setting comes from the constructor, else from the environment variable `CUSTOMERIO_` + its name in upper case, else
from its default. Nothing is read at import, and no `.env` file is read at all.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from ._environ import PREFIX, levels_up, named, nearest, read
from ._secret import Secret, SecretSource
from .exceptions import ConfigurationError

_WHERE_CREDENTIALS_ARE = (
    "\n  For local work: cio-middleware sandbox."
    " For the real thing: Customer.io > Settings > API credentials > Track API."
)
_OTHER_KEYS = (
    (re.compile(r"sa_live_"), "a service-account token of the App API"),
    (re.compile(r"(pk|sk)_(us|eu)_"), "a key of a Pipelines source"),
    (re.compile(r"(?i)(basic|bearer)\s"), "a whole Authorization header"),
)

_CREDENTIAL = re.compile(r"[!-~]*")
_LONGEST = 1_000_000_000


class _AsTheQueueHasIt(float):
    """The default of `max_age`, to be told from the same number typed by somebody."""


_AN_HOUR = _AsTheQueueHasIt(3600.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    How a client behaves. Durations are in seconds, sizes in bytes of UTF-8.

    Nothing is checked until a `Client` is built from it, which raises `ConfigurationError` with what to type.
    """

    site_id: str | None = None
    """Track API site id (Customer.io > Settings > API credentials > Track API)."""
    api_key: SecretSource | Secret | None = None
    """Track API key: the text, a `pathlib.Path` to a file that holds it, or a callable that returns it."""
    region: Literal["us", "eu"] = "us"
    """Where the workspace lives: us or eu."""
    base_url: str | None = None
    """Where to send instead of the region's host: https, or http on loopback."""
    allow_insecure: bool = False
    """Allow http to another machine."""
    env: str | None = None
    """Name of this deployment; `production` warns about a loopback `base_url`."""

    backend: Any = "queued"
    """What happens to an event: queued, direct, null, an instance, "module:attr", or an entry point's name."""
    queue: Literal["memory", "spool"] = "memory"
    """Where a queued event waits: memory, or spool for files that survive the process (POSIX only)."""
    enabled: bool = True
    """False counts every event as dropped and sends none."""
    debug: bool = False
    """Raise `InvalidEvent` at the call instead of logging it."""

    flush_at: int = 100
    """Send as soon as this many events wait."""
    flush_interval: float = 5.0
    """Send no later than this after an event was captured."""
    max_batch_events: int = 1000
    """Events per request, at most."""
    max_batch_bytes: int = 475_000
    """Bytes per request, at most. Customer.io takes 500 kB, and does not say whether that is 500,000 or 512,000."""
    max_event_bytes: int = 100_000
    """Bytes per event, at most. Above 32,000 a track event goes alone."""

    max_queue_events: int = 100_000
    """Events that may wait."""
    max_queue_bytes: int = 64 * 1024 * 1024
    """Bytes that may wait."""
    overflow: Literal["drop_newest", "drop_oldest", "block"] = "drop_newest"
    """
    What a full queue does: drop_newest, drop_oldest, or block (at most a second, never on an event loop's thread).
    """
    max_age: float | None = _AN_HOUR
    """Give an undelivered event up after this; None never does, which is the spool's default."""

    spool_dir: str | os.PathLike[str] | None = None
    """
    The spool's directory, absolute, on a local disk and this user's alone; it is made if it is not there. No default.
    """
    spool_max_bytes: int = 1024 * 1024 * 1024
    """Bytes that the files of all processes in it may take together."""
    spool_min_free_bytes: int = 64 * 1024 * 1024
    """Bytes of the disk that the spool leaves free."""
    fsync: Literal["interval", "always", "off"] = "interval"
    """
    What a loss of power may cost: the last 200 ms (interval), nothing (always: each `track` waits for the disk), or
    half a minute (off). The death of a process costs nothing with any of them.
    """
    on_spool_error: Literal["memory", "reject"] = "memory"
    """What happens to new events while the disk fails: memory holds them there, reject drops them."""

    max_in_flight: int = 1
    """Batches under way at once, 1 to 32. The events of one identifier still leave in their order."""
    rate_limit: float = 100.0
    """Requests per second, at most."""
    retries: int = 3
    """How often the direct backend tries again. The queue goes on until `max_age`."""
    retry_base: float = 1.0
    """Upper bound of the first backoff; each next one doubles it."""
    retry_cap: float = 10.0
    """Upper bound of any backoff."""
    timeout: float = 10.0
    """One delivery attempt, from connecting to the last byte read; for the direct backend, the whole delivery."""
    shutdown_timeout: float = 5.0
    """How long `close` and interpreter exit may take."""
    on_error: Literal["log", "raise"] = "log"
    """What the direct backend does with an event that it cannot deliver: log or raise."""
    anonymous_via: Literal["v1", "v2"] = "v1"
    """Anonymous events one by one (v1, documented) or batched (v2, used in production by others, undocumented)."""

    stamps: bool = True
    """Add `_updated_at` to an identify and `_queued_at` to queued events, in Unix seconds."""
    create_spans: bool = True
    """One `create track` span per queued event; without, batches link to the caller's own span."""
    sandbox_reporting: bool = True
    """Tell a sandbox on this machine where events come from and how far they get; it is never told anybody else."""

    def __post_init__(self) -> None:
        if self.api_key is not None and not isinstance(self.api_key, Secret):
            object.__setattr__(self, "api_key", Secret(self.api_key))

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        """
        Settings from `CUSTOMERIO_*`, with `overrides` on top.

        `CUSTOMERIO_API_KEY_FILE` names a file that holds the key.

        Raises:
            ConfigurationError: a variable does not read as its type, or a name is not a setting's.
        """
        hide_key(overrides)
        values, problems, unknown = read(os.environ if environ is None else environ, get_type_hints(cls))
        # A traceback may be printed with the locals of its frames: this one must not hold the environment by then.
        del environ
        for hint in unknown:
            warnings.warn(hint, stacklevel=levels_up())
        problems += _unknown_names(overrides)
        if problems:
            # What else is wrong is told along with it: nobody restarts once per mistake.
            known = {name: overrides[name] for name in overrides.keys() & _names()}
            problems += _wrong_by_themselves(cls(**{**values, **known}))
            del values
            raise ConfigurationError("\n".join(problems))
        return cls(**{**values, **overrides})

    @property
    def secret(self) -> Secret:
        """The API key; empty when there is none."""
        return self.api_key if isinstance(self.api_key, Secret) else Secret("")

    @property
    def is_loopback(self) -> bool:
        """Whether events stay on this machine."""
        try:
            return self.base_url is not None and is_loopback(urlsplit(self.base_url).hostname or "")
        except ValueError:
            return False

    def __repr__(self) -> str:
        """What differs from the defaults; a password in `base_url` is not shown."""
        shown = {
            field.name: value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != field.default
        }
        if self.base_url is not None:
            shown["base_url"] = _shown_url(str(self.base_url))
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @property
    def longest_age(self) -> float | None:
        """`max_age`, or what the queue has for it."""
        return None if self.queue == "spool" and isinstance(self.max_age, _AsTheQueueHasIt) else self.max_age

    def check(self) -> None:
        """
        Look at every setting.

        Raises:
            ConfigurationError: with all that is wrong, and what to type.
        """
        problems = [*_wrong_by_themselves(self), *_wrong_spool(self)]
        if self.backend != "null" and self.enabled:
            problems += _wrong_credentials(self)
        if problems:
            raise ConfigurationError("\n".join(problems))


def hide_key(overrides: dict[str, Any]) -> None:
    """
    Wrap a key in place: a traceback may be printed with the locals of the frame that holds these.

    The same for what no setting is called: it may be the key, misspelt.
    """
    for name in overrides.keys() - (_names() - {"api_key"}):
        if overrides[name] is not None and not isinstance(overrides[name], Secret):
            overrides[name] = Secret(overrides[name])


def is_loopback(host: str) -> bool:
    """Whether a host name means this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _names() -> set[str]:
    return {field.name for field in dataclasses.fields(Settings)}


def _unknown_names(overrides: Mapping[str, Any]) -> Iterator[str]:
    known = _names()
    for name in sorted(overrides.keys() - known):
        meant = nearest(name, sorted(known))
        hint = f"Did you mean {meant}?" if meant else "Type help(cio_middleware.Settings) for a list."
        yield f"{named(name)} is not a setting. {hint}"


def _wrong_by_themselves(settings: Settings) -> list[str]:
    """What is wrong with each setting, whatever the others are."""
    return [*_wrong_choices(settings), *_wrong_types(settings), *_wrong_numbers(settings), *_wrong_url(settings)]


def _wrong_choices(settings: Settings) -> Iterator[str]:
    choices = {name: get_args(hint) for name, hint in get_type_hints(Settings).items() if get_origin(hint) is Literal}
    for name, known in choices.items():
        value = getattr(settings, name)
        if value not in known:
            meant = nearest(str(value), known)
            yield f"{name} is {value!r}: type one of {', '.join(known)}." + (
                f" Did you mean {meant!r}?" if meant else ""
            )


def _wrong_types(settings: Settings) -> Iterator[str]:
    for name, kind in get_type_hints(Settings).items():
        value = getattr(settings, name)
        if kind is bool and not isinstance(value, bool):
            yield f"{name} is {value!r}: type True or False."
        elif kind == str | None and not isinstance(value, str | None):
            yield f"{name} is a {type(value).__name__}: type it as text."


def _wrong_numbers(settings: Settings) -> Iterator[str]:
    least = {
        "flush_at": 1, "max_batch_events": 1, "max_queue_events": 1, "retries": 0, "flush_interval": 0.001,
        "max_age": 0.001, "max_in_flight": 1, "rate_limit": 0.001, "retry_base": 0.0, "retry_cap": 0.0,
        "timeout": 0.001, "shutdown_timeout": 0.0, "max_batch_bytes": 1_000, "max_queue_bytes": 1_000,
        "max_event_bytes": 100, "spool_max_bytes": 1_000_000, "spool_min_free_bytes": 0,
    }  # fmt: skip
    most = {"max_batch_bytes": 500_000, "max_event_bytes": 100_000}
    most_here = {"max_in_flight": 32}
    whole = {name for name, kind in get_type_hints(Settings).items() if kind is int}
    for name, low in least.items():
        value = getattr(settings, name)
        if value is None and name == "max_age":
            continue
        kinds, number = (int, "whole number") if name in whole else ((int, float), "number")
        if isinstance(value, bool) or not isinstance(value, kinds) or not value >= low:
            yield f"{name} is {value!r}: type a {number} of at least {low:.10g}."
        elif name in most and value > most[name]:
            yield f"{name} is {value!r}: Customer.io takes at most {most[name]:,}."
        elif name in most_here and value > most_here[name]:
            yield f"{name} is {value!r}: type a {number} of at most {most_here[name]}."
        elif name not in whole and value > _LONGEST:  # no lock and no socket waits for ever
            none = " Type None to never give up." if name == "max_age" else ""
            yield f"{name} is {value!r}: type a number of at most {_LONGEST:,}.{none}"


def _wrong_spool(settings: Settings) -> Iterator[str]:
    if settings.queue != "spool":
        # Of any other word it is already said what to type.
        if settings.queue == "memory" and settings.spool_dir is not None:
            yield (
                'spool_dir is set, but queue is not spool: type queue="spool" (CUSTOMERIO_QUEUE=spool),'
                " or leave spool_dir out."
            )
        return
    if os.name != "posix":
        yield 'queue="spool" needs the file locks of POSIX, which this system does not have: type queue="memory".'
    else:
        yield from _wrong_path(settings.spool_dir)
    if (overflow := settings.overflow) in {"drop_oldest", "block"}:
        yield f'queue="spool" evicts nothing and holds nobody up, so overflow cannot be {overflow}: type drop_newest.'


def _wrong_path(path: object) -> Iterator[str]:
    example = 'type a directory on a local disk, such as "/var/lib/shop/events".'
    if not path:
        yield f'queue="spool" needs spool_dir (CUSTOMERIO_SPOOL_DIR): {example}'
    elif not isinstance(path, str | os.PathLike):
        yield f"spool_dir is a {type(path).__name__}: {example}"
    elif "\0" in os.fspath(path) or not os.path.isabs(path):  # noqa: PTH117 - a Path takes no NUL
        # A relative one would be another directory wherever a process happens to start.
        yield f"spool_dir is {os.fspath(path)!r}, which is no absolute path: {example}"


def _wrong_url(settings: Settings) -> Iterator[str]:
    url = settings.base_url
    if not isinstance(url, str):
        return
    shown = _shown_url(url)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        yield f"base_url is {shown!r}, which is no URL. Type https://host or http://127.0.0.1:port."
        return
    if parts.scheme not in {"http", "https"} or not host or not url.isprintable() or " " in url:
        yield f"base_url is {shown!r}: type a whole URL, such as http://127.0.0.1:8246."
    elif {"@", "?", "#"}.intersection(url):
        yield f"base_url is {shown!r}: leave out user name, query and fragment. The key belongs in api_key."
    elif parts.scheme == "http" and not is_loopback(host) and not settings.allow_insecure:
        yield (
            f"base_url {shown!r} would send the API key in clear to another machine."
            " Use https, or allow_insecure=True on a private network."
        )


def _shown_url(url: str) -> str:
    """The URL without what may hold a password: all before the last @, query and fragment."""
    start, _, rest = url.partition("://") if "://" in url else ("", "", url)
    hidden = "***@" if "@" in rest else ""
    kept = re.split(r"[?#]", rest.rpartition("@")[2], maxsplit=1)
    return (f"{start}://" if start else "") + hidden + kept[0] + ("?***" if len(kept) > 1 else "")


def _wrong_credentials(settings: Settings) -> Iterator[str]:
    key, problem = "", ""
    if settings.api_key is not None:
        try:
            key = settings.secret.reveal()
        except ConfigurationError as error:
            problem = str(error)
    site_id = str(settings.site_id or "").strip()
    given = {"site_id": bool(site_id), "api_key": bool(key or problem)}
    if not all(given.values()):
        missing = [PREFIX + name.upper() for name, is_given in given.items() if not is_given]
        there = "".join(f" ({PREFIX}{name.upper()} is set)" for name, is_given in given.items() if is_given)
        verb = "is" if len(missing) == 1 else "are"
        names = " and ".join(missing)
        unread = all(os.environ.get(variable) for variable in missing)
        where = (
            _WHERE_CREDENTIALS_ARE
            if not unread
            else (
                "\n  The environment has them, but Settings(...) does not read it:"
                " use Client.from_env(...), configure(...), or pass them."
            )
        )
        yield f"Customer.io credentials not configured: {names} {verb} missing{there}.{where}"
    if problem:
        yield f"Customer.io credentials not configured: {problem}{_WHERE_CREDENTIALS_ARE}"
    for pattern, kind in _OTHER_KEYS:
        if pattern.match(key):
            yield f"api_key is {kind}. Track needs the Track API key of the site id.{_WHERE_CREDENTIALS_ARE}"
            return
    if not _CREDENTIAL.fullmatch(key):
        yield "api_key holds a character that cannot be in one. Copy it anew from Customer.io."
    if not _CREDENTIAL.fullmatch(str(settings.site_id or "")) or ":" in site_id:
        yield "site_id holds a character that cannot be in one. Copy it anew from Customer.io."
